//! `${VAR}` references and SecretRefs of source `env`, resolved from the captured environment.
use super::document::{Step, dotted, names_of};
use super::merge::is_secret;
use super::{Env, Issue};
use crate::base::limits::ISSUES_MAX;
use serde_json::Value;

/// Whether there is anything to resolve.
pub fn any(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(any),
        Value::Object(map) => map.contains_key("source") || map.values().any(any),
        _ => false,
    }
}

/// Replaces `${UPPER_CASE}` in every string; `$${X}` stands for a literal `${X}`. A variable that is not set is an issue.
pub fn substitute(value: &mut Value, env: &Env, issues: &mut Vec<Issue>) {
    walk(value, Trail { above: None, step: Step::Name("") }, env, issues);
}

/// The way from the top, without a list of it: most of it is never asked for.
#[derive(Clone, Copy)]
struct Trail<'t> {
    above: Option<&'t Trail<'t>>,
    step: Step<'t>,
}

impl<'t> Trail<'t> {
    fn steps(&'t self) -> Vec<Step<'t>> {
        let mut steps: Vec<Step> = std::iter::successors(Some(self), |it| it.above)
            .filter(|it| it.above.is_some())
            .map(|it| it.step)
            .collect();
        steps.reverse();
        steps
    }
}

fn walk(value: &mut Value, at: Trail, env: &Env, issues: &mut Vec<Issue>) {
    let mut say = |name: &str| {
        if issues.len() < ISSUES_MAX {
            let message = format!("the environment variable {name} is not set");
            issues.push(Issue::new(&dotted(&at.steps()), message));
        }
    };
    match value {
        Value::String(text) if text.contains("${") => match expand(text, env) {
            Ok(expanded) => *text = expanded,
            Err(name) => say(&name),
        },
        Value::Object(_) if secret_ref(value, &at).is_some() => {
            let name = secret_ref(value, &at).unwrap_or_default().to_owned();
            match env.get(&name).filter(|it| !it.is_empty()) {
                Some(secret) => *value = secret.into(),
                None => say(&name),
            }
        }
        Value::Array(items) => {
            for (n, it) in items.iter_mut().enumerate() {
                walk(it, Trail { above: Some(&at), step: Step::Item(n) }, env, issues);
            }
        }
        Value::Object(map) => {
            for (name, it) in map.iter_mut() {
                walk(it, Trail { above: Some(&at), step: Step::Name(name) }, env, issues);
            }
        }
        _ => {}
    }
}

/// The variable that `{source: "env", id: VAR}` names where a secret may stand.
fn secret_ref<'v>(value: &'v Value, at: &Trail) -> Option<&'v str> {
    let source = value.get("source")?.as_str()?;
    let id = value.get("id")?.as_str().filter(|_| source == "env")?;
    let names = names_of(&at.steps());
    is_secret(&names.iter().map(String::as_str).collect::<Vec<_>>()).then_some(id)
}

fn expand(text: &str, env: &Env) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let tail = &rest[at + 2..];
        let name = tail.split('}').next().unwrap_or_default();
        let is_name = tail.len() > name.len()
            && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !is_name {
            out.push_str(&rest[..at + 2]);
            rest = tail;
            continue;
        }
        match rest[..at].strip_suffix('$') {
            Some(before) => out.push_str(&format!("{before}${{{name}}}")),
            None => {
                out.push_str(&rest[..at]);
                out.push_str(env.get(name).filter(|it| !it.is_empty()).ok_or(name)?);
            }
        }
        rest = &tail[name.len() + 1..];
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[test]
    fn variables() {
        let env = Env::from([("TOKEN", "s3cret"), ("A_1", "x")]);
        assert_eq!(expand("Bearer ${TOKEN}/${A_1}", &env).unwrap(), "Bearer s3cret/x");
        assert_eq!(expand("$${TOKEN} ${lower} ${", &env).unwrap(), "${TOKEN} ${lower} ${");
        assert_eq!(expand("${NONE}", &env).unwrap_err(), "NONE");
    }
    #[test]
    fn secret_refs() {
        let secret = |source: &str, id: &str| json!({ "source": source, "provider": "default", "id": id });
        let mut value = json!({ "auth": { "token": secret("env", "T"), "password": secret("env", "NONE") }, "botToken": secret("file", "/x"), "other": secret("env", "T") });
        let mut issues = vec![];
        substitute(&mut value, &Env::from([("T", "s3cret")]), &mut issues);
        assert_eq!(value["auth"]["token"], "s3cret");
        assert_eq!(
            (value["botToken"].clone(), value["other"].clone()),
            (secret("file", "/x"), secret("env", "T"))
        );
        assert_eq!(issues, [Issue::new("auth.password", "the environment variable NONE is not set")]);
    }
}
