//! One daemon for one state folder: a lock that ends with the process, however it ends.
use crate::base::{files, sys};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held until it is dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it; its number when it could be read.
    #[error("{}", held(.0, *.1))]
    Held(String, Option<i32>),
    #[error("cannot lock the state folder {0}: {1}")]
    System(String, io::Error),
}

fn held(state: &str, pid: Option<i32>) -> String {
    let who = pid.map_or("a process of unknown number".to_owned(), |it| format!("PID {it}"));
    format!(
        "another gateway instance uses the state folder {state} ({who})\n\
         Stop it, or give this one a folder of its own: --profile NAME, or OPENCLAW_STATE_DIR and OPENCLAW_CONFIG_PATH."
    )
}

impl StateLock {
    /// Takes the lock and leaves this process's number in it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(state: &Path) -> Result<StateLock, LockError> {
        let path = state.join(LOCK);
        let name = || state.display().to_string();
        let system = |err| LockError::System(name(), err);
        files::make_dir(state).map_err(system)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path).map_err(system)?;
        match sys::lock_exclusive(&file) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                return Err(LockError::Held(name(), holder(state)));
            }
            other => other.map_err(system)?,
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(system)?;
        Ok(StateLock { _file: file })
    }
}

/// The process that last took the lock; it may be gone.
pub fn holder(state: &Path) -> Option<i32> {
    files::read_text(&state.join(LOCK), PID_BYTES_MAX).ok()??.trim().parse().ok()
}

const LOCK: &str = "gateway.lock";

/// A process number in decimal, and room.
const PID_BYTES_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn only_one_holds_it() {
        let dir = std::env::temp_dir().join(format!("gatewayd-lock-{}", std::process::id()));
        let first = StateLock::take(&dir).unwrap();
        let text = StateLock::take(&dir).unwrap_err().to_string();
        assert!(
            text.contains(&format!("PID {}", std::process::id())) && text.contains("OPENCLAW_STATE_DIR"),
            "{text}"
        );
        drop(first);
        StateLock::take(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        files::write_atomic(&dir, b"").unwrap();
        assert!(matches!(StateLock::take(&dir), Err(LockError::System(..))), "a file, no folder");
        std::fs::remove_file(&dir).unwrap();
    }
}
