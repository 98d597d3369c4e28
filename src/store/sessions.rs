//! `agents/<id>/sessions/sessions.json` (a map from canonical key to entry) and the transcripts beside it. Read side.
use super::index::Index;
use crate::base::files;
use crate::base::limits::{STATE_BYTES_MAX, TRANSCRIPT_BYTES_MAX};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The store file of one agent: `session.store` with `{agentId}` replaced, else below the state folder.
pub fn store_path(state: &Path, home: &Path, template: Option<&str>, agent_id: &str) -> PathBuf {
    match template {
        Some(it) => crate::base::files::expand_home(&it.replace("{agentId}", agent_id), home),
        None => state.join("agents").join(agent_id).join("sessions").join("sessions.json"),
    }
}

/// The index of one store as it is on disk, for who must not change it; empty when there is no file.
///
/// # Errors
/// A sentence that names the file.
pub fn read(path: &Path, agent_id: &str) -> Result<Index, String> {
    let named = |err: &dyn std::fmt::Display| format!("cannot read {}: {err}", path.display());
    match files::read(path, STATE_BYTES_MAX).map_err(|err| named(&err))? {
        None => Ok(Index::default()),
        Some(bytes) => Index::parse(&bytes, agent_id).map_err(|err| named(&err)),
    }
}

/// Where a later OpenClaw (2026.9.6) keeps conversations: SQLite, which is neither read nor written here.
pub fn of_a_later_version(state: &Path) -> Vec<PathBuf> {
    let agents = state.join("agents");
    let files =
        files::names(&agents).into_iter().map(|it| agents.join(it).join("agent/openclaw-agent.sqlite"));
    files.filter(|it| it.is_file()).collect()
}

/// Milliseconds since 1970 of an entry's last change; 0 when it says none.
pub fn updated_at(entry: &Map<String, Value>) -> i64 {
    entry.get("updatedAt").and_then(Value::as_f64).map_or(0, |it| it as i64)
}

/// Every line of every transcript in a folder that is JSON, by file. Lines that are not JSON are skipped: a crash may cut the last one.
pub fn transcripts(dir: &Path, mut each: impl FnMut(&Value)) {
    for name in files::names(dir).iter().filter(|it| it.ends_with(".jsonl")) {
        let Ok(Some(bytes)) = files::read(&dir.join(name), TRANSCRIPT_BYTES_MAX) else { continue };
        for line in bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
            if let Ok(value) = serde_json::from_slice(line) {
                each(&value);
            }
        }
    }
}
