//! `agents/<id>/sessions/sessions.json` (a map from canonical key to entry) and the transcripts beside it. Read side.
use super::{read_json, transcript};
use crate::base::{files, limits::TRANSCRIPT_BYTES_MAX};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The store file of one agent: `session.store` with `{agentId}` replaced, else below the state folder.
pub fn store_path(state: &Path, home: &Path, template: Option<&str>, agent_id: &str) -> PathBuf {
    match template {
        Some(it) => crate::base::files::expand_home(&it.replace("{agentId}", agent_id), home),
        None => state.join("agents").join(agent_id).join("sessions").join("sessions.json"),
    }
}

/// All entries of one store; empty when there is no file.
///
/// # Errors
/// A sentence that names the file.
pub fn entries(path: &Path) -> Result<Map<String, Value>, String> {
    match read_json(path)? {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(format!("cannot read {}: it must hold an object", path.display())),
    }
}

/// Milliseconds since 1970 of an entry's last change; 0 when it says none.
pub fn updated_at(entry: &Value) -> i64 {
    entry["updatedAt"].as_f64().map_or(0, |it| it as i64)
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

/// The messages of one transcript, oldest first. A session id that is no plain name has none.
pub fn messages(store: &Path, session_id: &str) -> Vec<Value> {
    let path = store.parent().and_then(|dir| transcript::path(dir, session_id));
    path.and_then(|it| transcript::last_messages(&it, usize::MAX).ok()).unwrap_or_default()
}
