//! `settings/voicewake.json`: the wake words; `settings/tts.json`: how text is read aloud.
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

/// The preferences about text that is read aloud: `{tts: {auto?, enabled?, provider?, …}}`, empty when there are none.
///
/// # Errors
/// A sentence that names the file.
pub fn speech_prefs(path: &Path) -> Result<Value, String> {
    match read_json(path)? {
        None => Ok(json!({ "tts": {} })),
        Some(Value::Object(mut prefs)) => {
            if !prefs.get("tts").is_some_and(Value::is_object) {
                prefs.insert("tts".to_owned(), json!({}));
            }
            Ok(Value::Object(prefs))
        }
        Some(_) => Err(format!("{} is no JSON object: mend or remove it", path.display())),
    }
}

/// Sets one preference. `enabled`, the older form of `auto`, goes when that is set; all else stays.
///
/// # Errors
/// A sentence that names the file.
pub fn set_speech_pref(path: &Path, name: &str, value: &str) -> Result<(), String> {
    let mut prefs = speech_prefs(path)?;
    prefs["tts"][name] = value.into();
    if let Some(tts) = prefs["tts"].as_object_mut().filter(|_| name == "auto") {
        tts.shift_remove("enabled");
    }
    write_json(path, &prefs)
}
