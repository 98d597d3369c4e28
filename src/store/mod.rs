//! What survives a restart, in the reference's own files: paired devices, sessions, cron jobs, settings.
//!
//! Readers and writers of files; no protocol decisions. All of it runs in jobs or at start.
pub mod accepted;
pub mod agent_sessions;
pub mod cron;
pub mod dedupe;
pub mod deliveries;
pub mod devices;
pub mod entry;
#[cfg(test)]
mod entry_tests;
pub mod exec_approvals;
pub mod history;
pub mod index;
pub mod index_file;
#[cfg(test)]
mod index_file_tests;
pub mod lines;
pub mod lookup;
pub mod nodes;
pub mod pairings;
pub mod senders;
pub mod sentinel;
pub mod sessions;
pub mod settings;
pub mod stores;
pub mod system_events;
pub mod transcript;
#[cfg(test)]
mod transcript_tests;
pub mod writer;

use crate::base::{files, limits::STATE_BYTES_MAX};
use serde_json::Value;
use std::path::Path;

/// A JSON file; `Ok(None)` when absent.
///
/// # Errors
/// A sentence that names the file.
pub fn read_json(path: &Path) -> Result<Option<Value>, String> {
    let named = |err: &dyn std::fmt::Display| format!("cannot read {}: {err}", path.display());
    let Some(bytes) = files::read(path, STATE_BYTES_MAX).map_err(|err| named(&err))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|err| named(&err))
}

/// Writes a JSON file durably, indented by two as the reference does.
///
/// # Errors
/// A sentence that names the file.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), String> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("our own types serialise");
    bytes.push(b'\n');
    files::write_atomic(path, &bytes).map_err(|err| format!("cannot write {}: {err}", path.display()))
}
