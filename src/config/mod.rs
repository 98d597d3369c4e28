//! The configuration file: loaded once, validated, held as one immutable value, and edited without harm.
//!
//! Reads JSON5 with `$include` and `${VAR}`. Every mistake in it is reported, each with its path and place; a broken file is never half used.
pub mod change;
pub(crate) mod document;
pub mod dotenv;
pub mod edit;
pub mod endpoints;
#[cfg(test)]
pub(crate) mod generate;
mod hooks;
mod include;
pub mod json5;
pub mod keys;
mod layout;
pub mod legacy;
mod mentions;
pub mod merge;
mod model;
pub mod origin;
mod pairing;
pub mod paths;
pub mod place;
pub mod ports;
mod reader;
pub mod schema;
mod session;
mod speech;
mod substitute;
pub mod write;

use crate::base::{
    files, ids,
    limits::{CONFIG_BYTES_MAX, ISSUES_MAX},
};
use document::Lines;
pub use endpoints::{Endpoints, MediaLimits};
pub use hooks::{Hooks, Mapping};
pub use mentions::Mentions;
pub use model::*;
pub use paths::{Env, Paths};
use serde_json::{Map, Value};
pub use session::*;
pub use speech::*;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// At a line and a column.
    fn at(mut self, (line, column): (usize, usize)) -> Issue {
        (self.line, self.column) = (Some(line), Some(column));
        self
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

/// What a [`File`] was read from: enough to tell an unchanged save from a change, without looking at what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The files that it includes, or would include if they were there.
    pub included: Vec<PathBuf>,
    /// Of all texts together.
    hash: String,
}

impl Source {
    /// `main` is the hash of the main text; the others have none where there is no text.
    fn of(main: &str, included: Vec<(PathBuf, Option<String>)>) -> Source {
        let mut all = main.to_owned();
        for (_, hash) in &included {
            all.push_str(hash.as_deref().unwrap_or("-"));
        }
        let included = included.into_iter().map(|it| it.0).collect();
        Source { included, hash: ids::sha256_hex(all.as_bytes()) }
    }
    /// Whether the files still say what they said. They are read and hashed, no more.
    pub fn is_current(&self, paths: &Paths) -> bool {
        let hash = |path: &Path| {
            let text = files::read(path, CONFIG_BYTES_MAX).ok()?;
            Some(ids::sha256_hex(&text.unwrap_or_default()))
        };
        let Some(main) = hash(&paths.config) else { return false };
        let included = self.included.iter().map(|it| (it.clone(), hash(it).filter(|_| it.exists())));
        Source::of(&main, included.collect()) == *self
    }
}

/// The file as it is on disk, valid or not.
#[derive(Debug)]
pub struct File {
    /// None when there is no file.
    pub raw: Option<String>,
    /// As written; `{}` when absent or unreadable. Where the next two say the same, they are the same.
    pub parsed: Arc<Value>,
    /// With includes followed.
    pub merged: Arc<Value>,
    /// With includes followed and `${VAR}` references resolved.
    pub resolved: Arc<Value>,
    pub source: Source,
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
                let text = format!("cannot read {}: {err}", paths.config.display());
                // One thing that cannot be read is not the same as another.
                file.source.hash = ids::sha256_hex(text.as_bytes());
                file.issues.push(Issue::new("", text));
                file
            }
        }
    }
    /// Checks a text as if it were the file's.
    pub fn of_text(raw: Option<String>, paths: &Paths, env: &Env) -> File {
        let text = raw.as_deref().unwrap_or("{}");
        let (mut issues, mut twice) = (vec![], vec![]);
        let mut parsed = Value::Null;
        match json5::parse(text) {
            Ok(document) => {
                let lines = Lines::of(text);
                twice.extend(document.repeated().into_iter().map(|(path, at)| {
                    let message = "written twice; the later one counts";
                    Issue { severity: Severity::Warning, ..Issue::new(&path, message) }.at(lines.position(at))
                }));
                parsed = document.into_value();
                if !parsed.is_object() {
                    issues.push(Issue::new("", "the file must hold an object"));
                }
            }
            Err(err) => issues.push(Issue::new("", err.to_string()).at((err.line, err.column))),
        }
        if !parsed.is_object() {
            parsed = Value::Object(Map::new());
        }
        let parsed = Arc::new(parsed);
        let (mut merged, mut included) = (parsed.clone(), vec![]);
        if include::any(&parsed) {
            let dir = paths.config.parent().unwrap_or(&paths.state);
            let followed = include::follow(&parsed, dir);
            (merged, included) = (Arc::new(followed.value), followed.files);
            issues.extend(followed.issues);
        }
        let mut resolved = merged.clone();
        if substitute::any(&merged) {
            substitute::substitute(Arc::make_mut(&mut resolved), env, &mut issues);
        }
        issues.extend(keys::check(&resolved));
        let mut unfit = vec![];
        let config = model::read(&resolved, &mut unfit);
        // The table has said it already, in better words.
        unfit.truncate(ISSUES_MAX);
        unfit.retain(|it| !issues.iter().any(|other| other.path == it.path));
        issues.extend(unfit);
        place(&mut issues, text);
        issues.extend(twice);
        let hash = ids::sha256_hex(raw.as_deref().unwrap_or_default().as_bytes());
        let source = Source::of(&hash, included);
        let (issues, warnings) = issues.into_iter().partition(|it| it.severity == Severity::Error);
        File { raw, parsed, merged, resolved, source, hash, issues, warnings, config }
    }
    /// The same file with another meaning: for changes that have to wait.
    #[must_use]
    pub fn meaning(self, resolved: Value) -> File {
        let config = model::read(&resolved, &mut vec![]);
        File { resolved: Arc::new(resolved), config, ..self }
    }
    /// Where a change of what it means can come from: itself, what it is a link to, and what it includes.
    pub fn sources(&self, paths: &Paths) -> Vec<PathBuf> {
        let mut all = vec![paths.config.clone()];
        let linked = std::fs::canonicalize(&paths.config).ok().filter(|it| *it != paths.config);
        all.extend(linked);
        all.extend(self.source.included.iter().cloned());
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
            Some(_) if !self.source.included.is_empty() => format!("{:#}\n", self.merged),
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
    /// A broken file with the meaning of the last good copy, if there is one: what a gateway that runs on it goes by. The mistakes stay.
    #[must_use]
    pub fn or_last_good(self, paths: &Paths, env: &Env) -> File {
        let kept = if self.valid() { None } else { File::load_last_good(paths, env) };
        match kept {
            Some(File { config, resolved, .. }) => File { config, resolved, ..self },
            None => self,
        }
    }
    /// The kept copy; None when there is none that can be used.
    pub fn load_last_good(paths: &Paths, env: &Env) -> Option<File> {
        let raw = files::read_text(&paths.last_good(), CONFIG_BYTES_MAX).ok()??;
        Some(File::of_text(Some(raw), paths, env)).filter(File::valid)
    }
}

/// Finds the places in the text; only a text with mistakes is read a second time for it.
fn place(issues: &mut [Issue], text: &str) {
    if issues.iter().all(|it| it.line.is_some()) {
        return;
    }
    let Ok(document) = json5::parse(text) else { return };
    let lines = Lines::of(text);
    for it in issues.iter_mut().filter(|it| it.line.is_none()) {
        let at = document.locate(it.path.split('.')).span.start;
        *it = it.clone().at(lines.position(at));
    }
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
#[path = "size_tests.rs"]
mod size_tests;
#[cfg(test)]
mod tests;
