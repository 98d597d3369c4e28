//! `restart-sentinel.json`: what a restart was for, told to the session that asked once the gateway is back.
use crate::base::files;
use crate::base::limits::STATE_BYTES_MAX;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// As the reference writes it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Sentinel {
    pub kind: &'static str,
    pub status: &'static str,
    /// Milliseconds since 1970.
    pub ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// The caller's note; null without one.
    pub message: Option<String>,
    pub doctor_hint: &'static str,
    pub stats: Stats,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stats {
    /// The method.
    pub mode: &'static str,
    /// The configuration file.
    pub root: String,
}

pub fn path(state: &Path) -> PathBuf {
    state.join("restart-sentinel.json")
}

/// # Errors
/// A sentence for the caller.
pub fn write(state: &Path, sentinel: &Sentinel) -> Result<(), String> {
    super::write_json(&path(state), &serde_json::json!({ "version": 1, "payload": sentinel }))
}

/// Its payload, once: the file goes. None when there is none, or none that can be read.
pub fn take(state: &Path) -> Option<Value> {
    let path = path(state);
    let text = files::read_text(&path, STATE_BYTES_MAX).ok().flatten()?;
    // Told once: a sentinel that cannot be removed is not told at all, else it would be told at every start.
    files::remove(&path).ok()?;
    let mut value: Value = serde_json::from_str(&text).ok()?;
    Some(value["payload"].take())
}
