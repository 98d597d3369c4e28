//! The configuration file: loaded once, validated, held as one immutable value, and edited without harm.
//!
//! Reads JSON5 with `$include` and `${VAR}`. Every mistake in it is reported, each with its path and place; a broken file is never half used.
pub mod change;
mod document;
pub mod dotenv;
pub mod edit;
#[cfg(test)]
mod generate;
mod include;
pub mod json5;
pub mod keys;
mod layout;
pub mod merge;
mod model;
pub mod origin;
mod pairing;
pub mod paths;
pub mod place;
pub mod ports;
mod reader;
pub mod schema;
mod substitute;
pub mod write;

use crate::base::{
    files, ids,
    limits::{CONFIG_BYTES_MAX, ISSUES_MAX},
};
pub use model::*;
pub use paths::{Env, Paths};
use serde_json::{Map, Value};
use std::io;
use std::path::PathBuf;

/// One mistake, or something that looks like one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Issue {
    /// Dotted; empty for the file itself.
    pub path: String,
    pub message: String,
    /// In the main file, from 1; for what an included file says, the place of its `$include`. Not part of the protocol.
    #[serde(skip)]
    pub line: Option<usize>,
    #[serde(skip)]
    pub column: Option<usize>,
    #[serde(skip)]
    pub severity: Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Worth a word; the file is used.
    Warning,
    /// The file is not used.
    Error,
}

impl Issue {
    /// An error whose place is not known.
    pub fn new(path: &str, message: impl Into<String>) -> Issue {
        Issue {
            path: path.to_owned(),
            message: message.into(),
            line: None,
            column: None,
            severity: Severity::Error,
        }
    }
}

impl std::fmt::Display for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, " (line {line}, column {column})"),
            (Some(line), None) => write!(f, " (line {line})"),
            _ => Ok(()),
        }
    }
}

/// The file as it is on disk, valid or not.
#[derive(Debug)]
pub struct File {
    /// None when there is no file.
    pub raw: Option<String>,
    /// As written; `{}` when absent or unreadable.
    pub parsed: Value,
    /// With includes followed.
    pub merged: Value,
    /// With includes followed and `${VAR}` references resolved.
    pub resolved: Value,
    /// The included files.
    pub included: Vec<PathBuf>,
    /// Lower-case hex SHA-256 of the raw text.
    pub hash: String,
    /// Why the file cannot be used.
    pub issues: Vec<Issue>,
    /// What looks wrong in a file that can be used.
    pub warnings: Vec<Issue>,
    /// The typed form; defaults wherever the file is wrong.
    pub config: Config,
}

impl File {
    /// Reads and checks the file. A file that cannot be read is an issue, not an error.
    pub fn load(paths: &Paths, env: &Env) -> File {
        match files::read_text(&paths.config, CONFIG_BYTES_MAX) {
            Ok(raw) => File::of_text(raw, paths, env),
            Err(err) => {
                let mut file = File::of_text(None, paths, env);
                file.issues.push(Issue::new("", format!("cannot read {}: {err}", paths.config.display())));
                file
            }
        }
    }
    /// Checks a text as if it were the file's.
    pub fn of_text(raw: Option<String>, paths: &Paths, env: &Env) -> File {
        let text = raw.as_deref().unwrap_or("{}");
        let mut issues = vec![];
        let document = json5::parse(text).map_err(|err| {
            let (line, column) = (Some(err.line), Some(err.column));
            issues.push(Issue { line, column, ..Issue::new("", err.to_string()) });
        });
        let mut parsed = document.as_ref().map_or(Value::Null, |it| it.value());
        if !parsed.is_object() {
            if document.is_ok() {
                issues.push(Issue::new("", "the file must hold an object"));
            }
            parsed = Value::Object(Map::new());
        }
        let dir = paths.config.parent().unwrap_or(&paths.state);
        let include::Merged { value: merged, files: included, issues: broken } =
            include::follow(&parsed, dir);
        issues.extend(broken);
        let mut resolved = merged.clone();
        substitute::substitute(&mut resolved, env, &mut issues);
        issues.extend(keys::check(&resolved));
        let mut unfit = vec![];
        let config = model::read(&resolved, &mut unfit);
        // The table has said it already, in better words.
        unfit.truncate(ISSUES_MAX);
        unfit.retain(|it| !issues.iter().any(|other| other.path == it.path));
        issues.extend(unfit);
        if let Ok(document) = &document {
            let repeated = document.repeated().into_iter().map(|(path, at)| {
                let message = "written twice; the later one counts";
                placed(Issue { severity: Severity::Warning, ..Issue::new(&path, message) }, text, at)
            });
            issues.extend(repeated);
            for it in issues.iter_mut().filter(|it| it.line.is_none()) {
                *it = placed(it.clone(), text, document.locate(it.path.split('.')).span.start);
            }
        }
        let hash = ids::sha256_hex(raw.as_deref().unwrap_or_default().as_bytes());
        let (issues, warnings) = issues.into_iter().partition(|it| it.severity == Severity::Error);
        File { raw, parsed, merged, resolved, included, hash, issues, warnings, config }
    }
    /// [`File::hash`] of the text on disk; None when it cannot be read.
    pub fn hash_on_disk(paths: &Paths) -> Option<String> {
        let text = files::read_text(&paths.config, CONFIG_BYTES_MAX).ok()?;
        Some(ids::sha256_hex(text.unwrap_or_default().as_bytes()))
    }
    /// The same file with another meaning: for changes that have to wait.
    #[must_use]
    pub fn meaning(self, resolved: Value) -> File {
        let config = model::read(&resolved, &mut vec![]);
        File { resolved, config, ..self }
    }
    /// Where a change of what it means can come from: itself, what it is a link to, and what it includes.
    pub fn sources(&self, paths: &Paths) -> Vec<PathBuf> {
        let mut all = vec![paths.config.clone()];
        let linked = std::fs::canonicalize(&paths.config).ok().filter(|it| *it != paths.config);
        all.extend(linked);
        all.extend(self.included.iter().cloned());
        all
    }
    pub fn exists(&self) -> bool {
        self.raw.is_some()
    }
    pub fn valid(&self) -> bool {
        self.issues.is_empty()
    }
    /// Keeps a copy to start from when the file is broken one day. References stay references; included files are in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep_last_good(&self, paths: &Paths) -> io::Result<()> {
        let text = match &self.raw {
            Some(_) if !self.included.is_empty() => format!("{:#}\n", self.merged),
            Some(raw) => raw.clone(),
            None => return Ok(()),
        };
        let kept = files::read_text(&paths.last_good(), CONFIG_BYTES_MAX).ok().flatten();
        if kept.as_ref() == Some(&text) {
            Ok(())
        } else {
            files::write_atomic(&paths.last_good(), text.as_bytes())
        }
    }
    /// The kept copy; None when there is none that can be used.
    pub fn load_last_good(paths: &Paths, env: &Env) -> Option<File> {
        let raw = files::read_text(&paths.last_good(), CONFIG_BYTES_MAX).ok()??;
        Some(File::of_text(Some(raw), paths, env)).filter(File::valid)
    }
}

fn placed(mut issue: Issue, text: &str, at: usize) -> Issue {
    let (line, column) = document::position(text, at);
    (issue.line, issue.column) = (Some(line), Some(column));
    issue
}

/// A path one step longer.
fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
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
mod tests;
#[cfg(test)]
#[path = "size_tests.rs"]
mod size_tests;
