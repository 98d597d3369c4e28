//! `.env` of the state folder: variables for those who cannot set them otherwise. What the process was given wins.
use super::{Env, Issue, Paths, Severity};
use crate::base::{files, limits::DOTENV_BYTES_MAX};

/// Adds the variables of the file, if there is one, to the environment. What is wrong with it comes back as warnings with lines.
pub fn load(paths: &Paths, env: &mut Env) -> Vec<Issue> {
    let file = paths.state.join(".env");
    match files::read_text(&file, DOTENV_BYTES_MAX) {
        Ok(Some(text)) => apply(&text, env),
        Ok(None) => vec![],
        Err(err) => {
            let message = format!("cannot read {}: {err}", file.display());
            vec![Issue { severity: Severity::Warning, ..Issue::new("", message) }]
        }
    }
}

fn apply(text: &str, env: &mut Env) -> Vec<Issue> {
    let (given, mut issues) = (env.clone(), vec![]);
    for (n, line) in text.lines().enumerate() {
        match assignment(line) {
            Ok(Some((name, value))) if !is_given(&given, name) => env.set(name, &value),
            Ok(_) => {}
            Err(what) => issues.push(Issue {
                severity: Severity::Warning,
                line: Some(n + 1),
                ..Issue::new("", format!(".env: {what}"))
            }),
        }
    }
    issues
}

/// Under its own name or, for the product's variables, the older or newer one.
fn is_given(env: &Env, name: &str) -> bool {
    let ours = name.strip_prefix("OPENCLAW_").or(name.strip_prefix("CLAWDBOT_"));
    env.get(name).is_some() || ours.is_some_and(|it| env.openclaw(it).is_some())
}

fn assignment(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = name.trim();
    let fits = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || !fits {
        return Err("a name holds letters, digits and _ only");
    }
    let value = value.trim();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote)?,
        _ => value.find(" #").map_or(value, |at| value[..at].trim_end()).to_owned(),
    };
    Ok(Some((name, value)))
}

/// Single quotes keep everything; double quotes know `\n`, `\r`, `\t` and `\` before anything else.
fn quoted(text: &str, quote: char) -> Result<String, &'static str> {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => {
                let rest = chars.as_str().trim_start();
                let ends = rest.is_empty() || rest.starts_with('#');
                return if ends { Ok(out) } else { Err("text after the closing quote") };
            }
            '\\' if quote == '"' => match chars.next().ok_or("a value in quotes ends on its own line")? {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
    Err("a value in quotes ends on its own line")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn lines() {
        let text = "# a comment\n\nA=1\nexport B = two words # said\nC='$x\\n#'\nD=\"a\\n\\\"b\\\" ${A}\" # x\nE=\nHOME=/other\nOPENCLAW_GATEWAY_TOKEN=file\nF=a#b\n";
        let mut env = Env::from([("HOME", "/h"), ("CLAWDBOT_GATEWAY_TOKEN", "given")]);
        assert_eq!(apply(text, &mut env), []);
        let want = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$x\\n#"),
            ("D", "a\n\"b\" ${A}"),
            ("E", ""),
            ("HOME", "/h"),
            ("F", "a#b"),
        ];
        for (name, value) in want {
            assert_eq!(env.get(name), Some(value), "{name}");
        }
        assert_eq!(env.openclaw("GATEWAY_TOKEN"), Some("given"));
    }
    #[test]
    fn mistakes_have_lines_and_spoil_nothing_else() {
        let mut env = Env::default();
        let issues = apply("A\nB='x\n1C=2\nD=\"x\" y\nE=5", &mut env);
        assert_eq!(issues.iter().map(|it| it.line.unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(env.get("E"), Some("5"));
    }
}
