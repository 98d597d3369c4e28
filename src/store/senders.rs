//! Who may talk on a chat network besides those whom the configuration names: `credentials/<channel>-pairing.json` and
//! `credentials/<channel>-allowFrom.json`, in the reference's shape; unknown fields survive a rewrite.
use super::{read_json, write_json};
use crate::base::clock::{iso, parse_iso};
use crate::base::ids::Entropy;
use crate::base::limits::{SENDER_PAIRING_MAX, SENDER_PAIRING_TTL_MS};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Without what looks alike. Reference.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

fn file(state: &Path, channel: &str, what: &str) -> PathBuf {
    state.join("credentials").join(format!("{channel}-{what}.json"))
}

/// Somebody who waits to be let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub id: String,
    pub code: String,
    /// ISO 8601.
    pub created_at: String,
    pub meta: Value,
}

/// Ids that a person has let in.
///
/// # Errors
/// A sentence that names the file: who may talk must never be guessed.
pub fn allowed(state: &Path, channel: &str) -> Result<Vec<String>, String> {
    let value = read_json(&file(state, channel, "allowFrom"))?.unwrap_or_default();
    let text = |it: &Value| it.as_str().map(str::to_owned).or_else(|| it.as_i64().map(|it| it.to_string()));
    Ok(value["allowFrom"].as_array().into_iter().flatten().filter_map(text).collect())
}

/// Requests that are younger than an hour, the oldest first.
///
/// # Errors
/// A sentence that names the file.
pub fn waiting(state: &Path, channel: &str, unix_ms: i64) -> Result<Vec<Waiting>, String> {
    let (_, all) = requests(state, channel, unix_ms)?;
    let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    Ok(all
        .iter()
        .map(|it| Waiting {
            id: text(it, "id"),
            code: text(it, "code"),
            created_at: text(it, "createdAt"),
            meta: it["meta"].clone(),
        })
        .collect())
}

/// The file, and those of its requests that still count.
fn requests(state: &Path, channel: &str, unix_ms: i64) -> Result<(Map<String, Value>, Vec<Value>), String> {
    let value = read_json(&file(state, channel, "pairing"))?.unwrap_or_default();
    let young = |it: &&Value| {
        let at = it["createdAt"].as_str().and_then(parse_iso).unwrap_or(0);
        (0..SENDER_PAIRING_TTL_MS).contains(&unix_ms.saturating_sub(at).max(0))
    };
    let all = value["requests"].as_array().into_iter().flatten().filter(young).cloned().collect();
    let rest = value.as_object().cloned().unwrap_or_default();
    Ok((rest, all))
}

fn save(state: &Path, channel: &str, mut rest: Map<String, Value>, all: Vec<Value>) -> Result<(), String> {
    rest.insert("version".into(), 1.into());
    rest.insert("requests".into(), all.into());
    write_json(&file(state, channel, "pairing"), &rest)
}

/// Somebody asks to be let in: their new code; None when they have one already, or too many wait.
///
/// # Errors
/// A sentence that names the file.
pub fn ask(
    state: &Path,
    channel: &str,
    id: &str,
    meta: Value,
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Result<Option<String>, String> {
    let (rest, mut all) = requests(state, channel, unix_ms)?;
    if let Some(it) = all.iter_mut().find(|it| it["id"] == id) {
        // Written at most once a minute: somebody who keeps talking must not wear out a card.
        let seen = it["lastSeenAt"].as_str().and_then(parse_iso).unwrap_or(0);
        if unix_ms - seen >= 60_000 {
            it["lastSeenAt"] = iso(unix_ms).into();
            save(state, channel, rest, all)?;
        }
        return Ok(None);
    }
    if all.len() >= SENDER_PAIRING_MAX {
        return Ok(None);
    }
    let mut bytes = [0; 8];
    entropy(&mut bytes);
    let code: String = bytes.iter().map(|it| char::from(ALPHABET[usize::from(it % 32)])).collect();
    all.push(json!({ "id": id, "code": code, "createdAt": iso(unix_ms), "lastSeenAt": iso(unix_ms), "meta": meta }));
    save(state, channel, rest, all)?;
    Ok(Some(code))
}

/// Lets somebody in by their code; who it was. None for a code that nobody has.
///
/// # Errors
/// A sentence that names the file.
pub fn approve(state: &Path, channel: &str, code: &str, unix_ms: i64) -> Result<Option<String>, String> {
    let code = code.trim().to_uppercase();
    let (rest, mut all) = requests(state, channel, unix_ms)?;
    let Some(at) = all.iter().position(|it| it["code"] == code.as_str()) else { return Ok(None) };
    let id = all.remove(at)["id"].as_str().unwrap_or_default().to_owned();
    // Let in first: a request that is gone before that would be lost.
    let path = file(state, channel, "allowFrom");
    let mut known = read_json(&path)?.unwrap_or_else(|| json!({ "version": 1 }));
    let mut ids = known["allowFrom"].as_array().cloned().unwrap_or_default();
    if !ids.iter().any(|it| *it == id.as_str()) {
        ids.push(id.as_str().into());
        known["allowFrom"] = ids.into();
        write_json(&path, &known)?;
    }
    save(state, channel, rest, all)?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::os_entropy;
    use crate::base::testing::TempDir;
    const NOW: i64 = 1_795_478_083_000;

    #[test]
    fn codes() {
        let (dir, mut entropy) = (TempDir::new(), os_entropy());
        let mut ask = |id: &str, at: i64| {
            super::ask(dir.path(), "telegram", id, json!({ "username": "x" }), at, &mut entropy).unwrap()
        };
        let code = ask("7", NOW).unwrap();
        assert!(code.len() == 8 && code.bytes().all(|it| ALPHABET.contains(&it)), "{code}");
        assert_eq!(ask("7", NOW + 1), None, "it is told once");
        assert!(ask("8", NOW).is_some() && ask("9", NOW).is_some());
        assert_eq!(ask("10", NOW), None, "three at a time");
        assert_eq!(waiting(dir.path(), "telegram", NOW).unwrap().len(), 3);
        assert_eq!(approve(dir.path(), "telegram", "AAAAAAA1", NOW), Ok(None));
        assert_eq!(approve(dir.path(), "telegram", &code.to_lowercase(), NOW), Ok(Some("7".into())));
        assert_eq!(approve(dir.path(), "telegram", &code, NOW), Ok(None), "used once");
        assert_eq!(allowed(dir.path(), "telegram").unwrap(), ["7"]);
        let later = NOW + SENDER_PAIRING_TTL_MS;
        assert!(waiting(dir.path(), "telegram", later).unwrap().is_empty(), "an hour");
        assert!(ask("8", later).is_some());
    }
    #[test]
    fn a_file_that_cannot_be_read_lets_nobody_in() {
        let dir = TempDir::new();
        crate::base::files::write_atomic(&file(dir.path(), "telegram", "allowFrom"), b"{").unwrap();
        assert!(allowed(dir.path(), "telegram").is_err());
    }
}
