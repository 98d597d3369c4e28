//! `exec-approvals.json`: what commands may run here without asking, in the reference's shape. Its socket's token never leaves this module.
//!
//! What this version does not know is not shown, and stays when the file is replaced.
use super::{read_json, write_json};
use crate::base::files;
use crate::base::ids::{self, Entropy, sha256_hex};
use crate::base::limits::STATE_BYTES_MAX;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const RULES: [&str; 4] = ["security", "ask", "askFallback", "autoAllowSkills"];
const ENTRY: [&str; 5] = ["id", "pattern", "lastUsedAt", "lastUsedCommand", "lastResolvedPath"];

/// The file as others see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExecApprovalsSnapshot {
    pub path: String,
    pub exists: bool,
    /// SHA-256 of the text on disk: whoever replaces the file says which one he saw.
    pub hash: String,
    pub file: Value,
}

/// Why the file was not replaced.
#[derive(Debug, PartialEq)]
pub enum Refused {
    NoHash,
    Changed,
    Disk(String),
}

pub fn path(state: &Path) -> PathBuf {
    state.join("exec-approvals.json")
}

/// What is on disk; an empty object when nothing is.
///
/// # Errors
/// A sentence that names the file.
pub fn stored(state: &Path) -> Result<Value, String> {
    let path = path(state);
    match read_json(&path)? {
        None => Ok(json!({})),
        Some(it) if it.is_object() => Ok(it),
        Some(_) => Err(format!("cannot read {}: it holds no object", path.display())),
    }
}

/// Does not make the file.
///
/// # Errors
/// A sentence that names the file.
pub fn look(state: &Path) -> Result<ExecApprovalsSnapshot, String> {
    let file = stored(state)?;
    let path = path(state);
    let text = files::read(&path, STATE_BYTES_MAX);
    let text = text.map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let hash = sha256_hex(text.as_deref().unwrap_or_default());
    Ok(ExecApprovalsSnapshot {
        path: path.display().to_string(),
        exists: text.is_some(),
        hash,
        file: shown(&file),
    })
}

/// Makes the file when there is none, as the reference does.
///
/// # Errors
/// A sentence that names the file.
pub fn snapshot(state: &Path, entropy: &mut Entropy) -> Result<ExecApprovalsSnapshot, String> {
    if !path(state).exists() {
        write_json(&path(state), &merged(&json!({}), &json!({}), state, entropy))?;
    }
    look(state)
}

/// Puts `file` in its place, for who has seen what is there.
///
/// # Errors
/// [`Refused`].
pub fn replace(
    state: &Path,
    file: &Value,
    base_hash: Option<&str>,
    entropy: &mut Entropy,
) -> Result<ExecApprovalsSnapshot, Refused> {
    let before = look(state).map_err(Refused::Disk)?;
    if before.exists {
        let base = base_hash.map(str::trim).filter(|it| !it.is_empty()).ok_or(Refused::NoHash)?;
        if base != before.hash {
            return Err(Refused::Changed);
        }
    }
    let old = stored(state).map_err(Refused::Disk)?;
    let new = merged(&old, file, state, entropy);
    write_json(&path(state), &new).and_then(|()| look(state)).map_err(Refused::Disk)
}

/// Changes the file itself.
///
/// # Errors
/// A sentence that names the file.
pub fn change(
    state: &Path,
    entropy: &mut Entropy,
    change: impl FnOnce(&mut Value, &mut Entropy),
) -> Result<(), String> {
    let old = stored(state)?;
    let mut new = merged(&old, &old, state, entropy);
    change(&mut new, entropy);
    if new == old { Ok(()) } else { write_json(&path(state), &new) }
}

/// Nothing but what is known, and no token.
fn shown(file: &Value) -> Value {
    let mut socket = Map::new();
    socket.extend(file["socket"].get("path").map(|it| ("path".to_owned(), it.clone())));
    let agents = file["agents"].as_object().into_iter().flatten().map(|(id, agent)| {
        let mut rules = only(agent, &RULES);
        if let Some(list) = agent["allowlist"].as_array() {
            rules.insert("allowlist".into(), list.iter().map(|it| Value::Object(only(it, &ENTRY))).collect());
        }
        (id.clone(), Value::Object(rules))
    });
    let agents: Map<String, Value> = agents.collect();
    json!({ "version": 1, "socket": socket, "defaults": only(&file["defaults"], &RULES), "agents": agents })
}

fn only(from: &Value, names: &[&str]) -> Map<String, Value> {
    let all = from.as_object().into_iter().flatten();
    all.filter(|it| names.contains(&it.0.as_str())).map(|(name, it)| (name.clone(), it.clone())).collect()
}

/// `new`, and of `old` what `new` cannot name.
fn merged(old: &Value, new: &Value, state: &Path, entropy: &mut Entropy) -> Value {
    let mut out = old.as_object().cloned().unwrap_or_default();
    out.insert("version".into(), 1.into());
    let text = |file: &Value, name: &str| {
        file["socket"][name].as_str().filter(|it| !it.is_empty()).map(str::to_owned)
    };
    let path = text(new, "path").or_else(|| text(old, "path"));
    let path = path.unwrap_or_else(|| state.join("exec-approvals.sock").display().to_string());
    let token = text(old, "token").or_else(|| text(new, "token")).unwrap_or_else(|| ids::token(entropy));
    let mut socket = old["socket"].as_object().cloned().unwrap_or_default();
    socket.extend([("path".to_owned(), path.into()), ("token".to_owned(), token.into())]);
    out.insert("socket".into(), socket.into());
    out.insert("defaults".into(), with_unknown(&old["defaults"], &new["defaults"], &RULES).into());
    let agents = new["agents"].as_object().into_iter().flatten().map(|(id, agent)| {
        let before = &old["agents"][id];
        let mut rules = with_unknown(before, agent, &[&RULES[..], &["allowlist"]].concat());
        if let Some(list) = agent["allowlist"].as_array() {
            let known = before["allowlist"].as_array().map_or(&[][..], Vec::as_slice);
            let entry = |it: &Value| {
                let same = known.iter().find(|old| !it["id"].is_null() && old["id"] == it["id"]);
                let mut entry = with_unknown(same.unwrap_or(&Value::Null), it, &ENTRY);
                entry.entry("id").or_insert_with(|| ids::uuid(entropy).into());
                Value::Object(entry)
            };
            rules.insert("allowlist".into(), list.iter().map(entry).collect());
        }
        (id.clone(), Value::Object(rules))
    });
    let agents: Map<String, Value> = agents.collect();
    out.insert("agents".into(), agents.into());
    Value::Object(out)
}

fn with_unknown(old: &Value, new: &Value, names: &[&str]) -> Map<String, Value> {
    let mut out = old.as_object().cloned().unwrap_or_default();
    out.retain(|name, _| !names.contains(&name.as_str()));
    out.extend(new.as_object().cloned().unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    #[test]
    fn replaced_by_who_saw_it() {
        let (home, mut entropy) = (TempDir::new(), ids::os_entropy());
        let state = home.path();
        assert!(!look(state).unwrap().exists);
        let first = snapshot(state, &mut entropy).unwrap();
        assert_eq!(first, snapshot(state, &mut entropy).unwrap());
        assert!(first.exists && first.file["socket"].get("token").is_none(), "{first:?}");
        let token = stored(state).unwrap()["socket"]["token"].clone();
        assert_eq!(token.as_str().unwrap().len(), 32);

        let new = json!({"version": 1, "defaults": {"ask": "off"}, "agents": {"main": {"allowlist": [{"pattern": "/bin/ls"}]}}});
        assert_eq!(replace(state, &new, None, &mut entropy), Err(Refused::NoHash));
        assert_eq!(replace(state, &new, Some("x"), &mut entropy), Err(Refused::Changed));
        let second = replace(state, &new, Some(&first.hash), &mut entropy).unwrap();
        assert_eq!(second.file["agents"]["main"]["allowlist"][0]["id"].as_str().unwrap().len(), 36);
        assert_eq!(replace(state, &new, Some(&first.hash), &mut entropy), Err(Refused::Changed));
        assert_eq!(stored(state).unwrap()["socket"]["token"], token);

        // Another version's fields: not shown, and still there behind a change by who did not see them.
        change(state, &mut entropy, |file, _| {
            file["later"] = 1.into();
            file["agents"]["main"]["mood"] = 2.into();
            file["agents"]["main"]["allowlist"][0]["note"] = 3.into();
        })
        .unwrap();
        let mut third = look(state).unwrap();
        assert!(!third.file.to_string().contains("note") && !third.file.to_string().contains("mood"));
        third.file["agents"]["main"]["security"] = "full".into();
        replace(state, &third.file, Some(&third.hash), &mut entropy).unwrap();
        let now = stored(state).unwrap();
        assert_eq!((&now["later"], &now["agents"]["main"]["mood"]), (&json!(1), &json!(2)));
        assert_eq!(now["agents"]["main"]["allowlist"][0]["note"], 3);
        assert_eq!(now["agents"]["main"]["security"], "full");
        files::write_atomic(&path(state), b"{").unwrap();
        assert!(matches!(replace(state, &new, Some("x"), &mut entropy), Err(Refused::Disk(_))));
    }
}
