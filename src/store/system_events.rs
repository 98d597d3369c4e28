//! `system-events.json`: lines that wait for a session's next turn, oldest first. Ours: the reference forgets them at its end.
use super::{read_json, write_json};
use crate::base::files;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemEvent {
    /// Canonical.
    pub session_key: String,
    pub text: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

fn path(state: &Path) -> PathBuf {
    state.join("system-events.json")
}

/// What was kept. A file that cannot be read is kept aside, and told in the log.
pub fn load(state: &Path, unix_ms: i64) -> Vec<SystemEvent> {
    let path = path(state);
    let read = read_json(&path).and_then(|it| {
        let events = it.map(serde_json::from_value).transpose();
        Ok(events.map_err(|err| format!("{}: {err}", path.display()))?.unwrap_or_default())
    });
    read.unwrap_or_else(|err| {
        let kept = files::keep_aside(&path, "corrupt", unix_ms);
        log::error!("{err}; what waited for the next turns is not told (kept aside: {kept:?})");
        vec![]
    })
}

/// # Errors
/// A sentence that names the file.
pub fn save(state: &Path, events: &[SystemEvent]) -> Result<(), String> {
    write_json(&path(state), &events)
}
