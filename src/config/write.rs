//! The one way a configuration file changes: checked, kept from harm, noted, replaced whole.
//!
//! Everyone who changes it goes through here, the command line and the daemon alike.
use super::edit::{self, EditError};
use super::merge::{self, Refusal};
use super::{Env, File, Issue, Paths, change};
use crate::base::limits::{AUDIT_BYTES_MAX, CONFIG_BYTES_MAX};
use crate::base::{clock, files, sys};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Old texts kept beside the file: `.bak` is the newest, `.bak.4` the oldest. Reference: five.
pub const BACKUPS: usize = 5;

/// Who changes what.
pub struct Change<'a> {
    pub paths: &'a Paths,
    pub env: &'a Env,
    /// The file as it was when the change was thought of.
    pub base: &'a File,
    /// For the audit log: the command or method, and by whom.
    pub who: &'a str,
    /// Milliseconds since 1970.
    pub unix_ms: i64,
    /// More than half of the file may go.
    pub force: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Written {
    /// The file as it is now.
    pub file: File,
    /// Paths whose values differ; empty when nothing had to be written.
    pub changed: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{0}")]
    Edit(#[from] EditError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Mistakes that the change would bring in.
    #[error("{}", .0.iter().map(Issue::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Issue>),
    #[error("more than half of the configuration would be dropped; add --force if that is meant")]
    Drops,
    #[error("the file was changed by somebody else in the meantime; look at it and try again")]
    Changed,
    #[error("another change is being written; try again")]
    Busy,
    #[error("{0}")]
    File(String),
}

impl Change<'_> {
    /// Makes the file mean `new`, a whole document with references and includes followed or as written ([`edit::rewrite`]).
    ///
    /// Mistakes that the file had before are no reason to refuse: it may be mended step by step.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then as it was.
    pub fn write(&self, new: &Value) -> Result<Written, WriteError> {
        merge::poison(new, "")?;
        // What had to be put back is put back by now.
        merge::restore(new, &Value::Null)?;
        let old = self.base.raw.as_deref().unwrap_or_default();
        let text = edit::rewrite(old, new, &self.base.resolved)?;
        if text.len() as u64 > CONFIG_BYTES_MAX {
            return Err(WriteError::File(format!("the file would have more than {CONFIG_BYTES_MAX} bytes")));
        }
        let file = File::of_text(Some(text), self.paths, self.env);
        let had = |it: &&Issue| {
            self.base.issues.iter().any(|old| (&old.path, &old.message) == (&it.path, &it.message))
        };
        let brought: Vec<Issue> = file.issues.iter().filter(|it| !had(it)).cloned().collect();
        if !brought.is_empty() {
            return Err(WriteError::Invalid(brought));
        }
        if !self.force && merge::drops_most(&self.base.merged, &file.merged) {
            return Err(WriteError::Drops);
        }
        let changed = change::changed(&self.base.merged, &file.merged);
        if file.raw != self.base.raw {
            self.replace(&file, &changed)?;
        }
        Ok(Written { file, changed })
    }

    fn replace(&self, file: &File, changed: &[String]) -> Result<(), WriteError> {
        let failed =
            |path: &Path, err: io::Error| WriteError::File(format!("cannot write {}: {err}", path.display()));
        let target = target(&self.paths.config).map_err(|err| failed(&self.paths.config, err))?;
        let _lock = lock(&target).map_err(|err| match err.kind() {
            io::ErrorKind::WouldBlock => WriteError::Busy,
            _ => failed(&target, err),
        })?;
        let now = files::read(&target, CONFIG_BYTES_MAX).map_err(|err| failed(&target, err))?;
        let same = now.as_deref() == self.base.raw.as_deref().map(str::as_bytes);
        if !same {
            return Err(WriteError::Changed);
        }
        if let Some(old) = now {
            rotate(&self.paths.config).map_err(|err| failed(&backup(&self.paths.config, 0), err))?;
            let newest = backup(&self.paths.config, 0);
            files::write_atomic(&newest, &old).map_err(|err| failed(&newest, err))?;
        }
        let audit = self.paths.config_audit();
        self.audit(&audit, file, changed).map_err(|err| failed(&audit, err))?;
        let raw = file.raw.as_deref().unwrap_or_default();
        files::write_atomic(&target, raw.as_bytes()).map_err(|err| failed(&target, err))
    }

    /// One line: when, who, which paths; never a value. It stands before the change is made, so that none goes unseen.
    fn audit(&self, path: &Path, file: &File, changed: &[String]) -> io::Result<()> {
        files::make_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        if fs::metadata(path).is_ok_and(|it| it.len() > AUDIT_BYTES_MAX) {
            fs::rename(path, path.with_extension("1.jsonl"))?;
        }
        let line = json!({
            "ts": clock::iso(self.unix_ms), "who": self.who, "file": self.paths.config, "paths": changed,
            "previousHash": self.base.hash, "hash": file.hash, "pid": std::process::id(),
        });
        let mut log = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        log.write_all(format!("{line}\n").as_bytes())?;
        log.sync_data()
    }
}

/// The file itself, behind whatever link names it.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Err(io::Error::new(err.kind(), "it is a link to a file that does not exist"))
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        other => other,
    }
}

/// Held until it is dropped, so that two writers of ours cannot both find the old text and replace it; None when there is no file yet.
fn lock(target: &Path) -> io::Result<Option<fs::File>> {
    match fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(target) {
        Ok(file) => {
            sys::lock_exclusive(&file)?;
            Ok(Some(file))
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn backup(config: &Path, age: usize) -> PathBuf {
    let mut name = config.as_os_str().to_owned();
    name.push(".bak");
    if age > 0 {
        name.push(format!(".{age}"));
    }
    name.into()
}

fn rotate(config: &Path) -> io::Result<()> {
    for age in (1..BACKUPS).rev() {
        match fs::rename(backup(config, age - 1), backup(config, age)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
