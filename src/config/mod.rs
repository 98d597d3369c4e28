//! The configuration file: loaded once, validated, held as one immutable value.
//!
//! Reads JSON5 with `${VAR}` references. Every mistake in it is reported, each with its path; a broken file is never half used.
mod model;
pub mod paths;
mod reader;

use crate::base::{files, ids, limits::CONFIG_BYTES_MAX};
pub use model::*;
pub use paths::{Env, Paths};
use serde_json::Value;

/// One mistake: dotted path (empty for the file itself) and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Issue {
    pub path: String,
    pub message: String,
}

/// The file as it is on disk, valid or not.
#[derive(Debug)]
pub struct File {
    /// None when there is no file.
    pub raw: Option<String>,
    /// As written; `{}` when absent or unreadable.
    pub parsed: Value,
    /// With `${VAR}` references resolved.
    pub resolved: Value,
    /// Lower-case hex SHA-256 of the raw text.
    pub hash: String,
    pub issues: Vec<Issue>,
    /// The typed form; defaults wherever the file is wrong.
    pub config: Config,
}

impl File {
    /// Reads and checks the file. A file that cannot be read is an issue, not an error.
    pub fn load(paths: &Paths, env: &Env) -> File {
        let read = files::read_text(&paths.config, CONFIG_BYTES_MAX);
        let mut issues = vec![];
        let mut say = |message: String| issues.push(Issue { path: String::new(), message });
        let raw = read.unwrap_or_else(|err| {
            say(format!("cannot read {}: {err}", paths.config.display()));
            None
        });
        let empty = || Value::Object(Default::default());
        let parsed = match raw.as_deref().map(json5::from_str::<Value>) {
            None => empty(),
            Some(Ok(value)) if value.is_object() => value,
            Some(Ok(_)) => {
                say("the file must hold an object".into());
                empty()
            }
            Some(Err(err)) => {
                say(format!("JSON5: {err}"));
                empty()
            }
        };
        let mut resolved = parsed.clone();
        substitute(&mut resolved, "", env, &mut issues);
        let config = model::read(&resolved, &mut issues);
        let hash = ids::sha256_hex(raw.as_deref().unwrap_or_default().as_bytes());
        File { raw, parsed, resolved, hash, issues, config }
    }
    pub fn exists(&self) -> bool {
        self.raw.is_some()
    }
    pub fn valid(&self) -> bool {
        self.issues.is_empty()
    }
}

/// Replaces `${UPPER_CASE}` in every string; `$${X}` stands for a literal `${X}`.
fn substitute(value: &mut Value, path: &str, env: &Env, issues: &mut Vec<Issue>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::String(text) if text.contains("${") => match expand(text, env) {
            Ok(expanded) => *text = expanded,
            Err(name) => {
                let message = format!("the environment variable {name} is not set");
                issues.push(Issue { path: path.to_owned(), message });
            }
        },
        Value::Array(items) => {
            items
                .iter_mut()
                .enumerate()
                .for_each(|(n, it)| substitute(it, &below(&n.to_string()), env, issues));
        }
        Value::Object(map) => map.iter_mut().for_each(|(name, it)| substitute(it, &below(name), env, issues)),
        _ => {}
    }
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

/// The typed form of a literal, for tests of other modules.
#[cfg(test)]
pub fn read_for_tests(value: &Value) -> Config {
    let mut issues = vec![];
    let config = model::read(value, &mut issues);
    assert_eq!(issues, []);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn variables() {
        let env = Env::from([("TOKEN", "s3cret"), ("A_1", "x")]);
        assert_eq!(expand("Bearer ${TOKEN}/${A_1}", &env).unwrap(), "Bearer s3cret/x");
        assert_eq!(expand("$${TOKEN} ${lower} ${", &env).unwrap(), "${TOKEN} ${lower} ${");
        assert_eq!(expand("${NONE}", &env).unwrap_err(), "NONE");
    }
}
