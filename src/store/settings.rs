//! `settings/voicewake.json`: the wake words.
use super::{read_json, write_json};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn path(state: &Path) -> PathBuf {
    state.join("settings").join("voicewake.json")
}

/// The stored wake words, or None when there are none.
///
/// # Errors
/// A sentence that names the file.
pub fn wake_words(state: &Path) -> Result<Option<Vec<Value>>, String> {
    Ok(read_json(&path(state))?.and_then(|mut it| match it["triggers"].take() {
        Value::Array(words) => Some(words),
        _ => None,
    }))
}

/// # Errors
/// A sentence that names the file.
pub fn save_wake_words(state: &Path, words: &[String], unix_ms: i64) -> Result<(), String> {
    write_json(&path(state), &json!({ "triggers": words, "updatedAtMs": unix_ms }))
}
