//! Whole values: patches, masks over secrets and their way back, and the check against a file that vanishes.
use super::below;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What stands for a secret in what leaves the process. The reference's word, so that its clients know it.
pub const REDACTED: &str = "__OPENCLAW_REDACTED__";
/// Names that would reach the prototype of an object in the original, which reads the same file.
pub(super) const POISON: &[&str] = &["__proto__", "constructor", "prototype"];

/// Why a new value is refused; `path` is dotted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{path}: a key of this name is not allowed")]
    Poison { path: String },
    #[error("{path}: {REDACTED} stands for a secret, and there is none here to keep; send the secret itself")]
    Mask { path: String },
}

/// RFC 7386: members replace members, null removes, arrays and all else replace whole.
///
/// # Errors
/// A patch with a key that the original could not survive.
pub fn patch(target: &Value, patch: &Value) -> Result<Value, Refusal> {
    poison(patch, "")?;
    Ok(patched(Some(target), patch))
}

fn patched(target: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut out = target.and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, it) in patch {
        if it.is_null() {
            out.shift_remove(key);
        } else {
            let new = patched(out.get(key), it);
            out.insert(key.clone(), new);
        }
    }
    Value::Object(out)
}

/// The first key anywhere in the value that the original could not survive is refused.
///
/// # Errors
/// See above.
pub fn poison(value: &Value, path: &str) -> Result<(), Refusal> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, it)| {
            let path = below(path, key);
            if POISON.contains(&key.as_str()) { Err(Refusal::Poison { path }) } else { poison(it, &path) }
        }),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(n, it)| poison(it, &below(path, &n.to_string())))
        }
        _ => Ok(()),
    }
}

/// Whether texts at this place are secrets: by the name of the key, or because anything may be there (`env`, `headers`).
pub fn is_secret(path: &[&str]) -> bool {
    let Some((key, above)) = path.split_last() else { return false };
    let name = key.to_ascii_lowercase();
    let named = ["token", "password", "passphrase", "secret", "apikey", "privatekey", "authorization"];
    named.iter().any(|it| name.ends_with(it))
        || matches!(above, ["env"] | ["env", "vars"])
        || above.last().is_some_and(|it| matches!(*it, "env" | "headers"))
}

/// The value with [`REDACTED`] in the place of every secret text. Numbers are never secrets, and a bare `${VAR}` says none.
pub fn mask(value: &Value) -> Value {
    masked(value, &mut vec![])
}

fn masked<'v>(value: &'v Value, path: &mut Vec<&'v str>) -> Value {
    match value {
        Value::Object(map) => {
            let members = map.iter().map(|(key, it)| {
                path.push(key);
                let it = masked(it, path);
                path.pop();
                (key.clone(), it)
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        // Items go by the name of their array: `tokens: [..]` is no known key, `token: [..]` would be secret.
        Value::Array(items) => items.iter().map(|it| masked(it, path)).collect(),
        Value::String(text) if !text.is_empty() && !is_reference(text) && is_secret(path) => REDACTED.into(),
        other => other.clone(),
    }
}

fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|it| it.strip_suffix('}'))
        .is_some_and(|it| !it.contains(['$', '{', '}']))
}

/// A value that came back from a client that saw it masked: every mask becomes the old text of that place.
///
/// # Errors
/// A mask where nothing was hidden, inside a longer text, or as a key.
pub fn restore(new: &Value, old: &Value) -> Result<Value, Refusal> {
    restored(new, Some(old), "")
}

fn restored(new: &Value, old: Option<&Value>, path: &str) -> Result<Value, Refusal> {
    let refused = |path: &str| Err(Refusal::Mask { path: path.to_owned() });
    match new {
        Value::String(text) if text == REDACTED => match old {
            Some(Value::String(old)) if !old.contains(REDACTED) => Ok(old.as_str().into()),
            _ => refused(path),
        },
        Value::String(text) if text.contains(REDACTED) => refused(path),
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, it) in map {
                let path = below(path, key);
                if key.contains(REDACTED) {
                    return refused(&path);
                }
                out.insert(key.clone(), restored(it, old.and_then(|old| old.get(key)), &path)?);
            }
            Ok(Value::Object(out))
        }
        Value::Array(items) => {
            let old = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let by_id: HashMap<&str, &Value> = old.iter().filter_map(|it| Some((id(it)?, it))).collect();
            let items = items.iter().enumerate().map(|(n, it)| {
                // By position only when nothing can have moved; else the wrong secret would come back.
                let by_position = || old.get(n).filter(|_| old.len() == items.len());
                let old = id(it).map_or_else(by_position, |id| by_id.get(id).copied());
                restored(it, old, &below(path, &n.to_string()))
            });
            items.collect()
        }
        other => Ok(other.clone()),
    }
}

/// What tells an item of an array from its neighbours.
fn id(item: &Value) -> Option<&str> {
    ["id", "accountId", "name"].iter().find_map(|it| item.get(it)?.as_str())
}

/// More than half of the leaves of `old` have no counterpart in `new`: a sign of an accident.
pub fn drops_most(old: &Value, new: &Value) -> bool {
    let (all, gone) = leaves(old, Some(new));
    gone * 2 > all
}

/// Leaves in all, and those that are gone.
fn leaves(old: &Value, new: Option<&Value>) -> (usize, usize) {
    let sum = |counts: &mut dyn Iterator<Item = (usize, usize)>| {
        counts.fold((0, 0), |(all, gone), it| (all + it.0, gone + it.1))
    };
    match old {
        Value::Object(map) if !map.is_empty() => {
            sum(&mut map.iter().map(|(key, it)| leaves(it, new.and_then(|new| new.get(key)))))
        }
        Value::Array(items) if !items.is_empty() => {
            sum(&mut items.iter().enumerate().map(|(n, it)| leaves(it, new.and_then(|new| new.get(n)))))
        }
        _ => (1, usize::from(new.is_none())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches() {
        let target = json!({ "a": { "b": 1, "c": 2 }, "l": [1, 2], "s": "x" });
        let cases = [
            (json!({ "a": { "b": null } }), json!({ "a": { "c": 2 }, "l": [1, 2], "s": "x" })),
            (
                json!({ "l": [3], "s": { "n": 1, "no": null } }),
                json!({ "a": { "b": 1, "c": 2 }, "l": [3], "s": { "n": 1 } }),
            ),
            (json!({ "none": null }), target.clone()),
            (json!({ "l": [null] }), json!({ "a": { "b": 1, "c": 2 }, "l": [null], "s": "x" })),
        ];
        for (change, want) in cases {
            assert_eq!(patch(&target, &change).unwrap(), want);
        }
        let poisoned: Value = serde_json::from_str(r#"{"a":[{"__proto__":{}}]}"#).unwrap();
        assert_eq!(patch(&target, &poisoned), Err(Refusal::Poison { path: "a.0.__proto__".into() }));
    }

    fn secrets() -> Value {
        json!({
            "gateway": { "auth": { "token": "s3cret", "mode": "token" } },
            "models": { "providers": { "p": { "apiKey": "${KEY}", "headers": { "X-Any": "h" }, "models": [{ "maxTokens": 5 }] } } },
            "env": { "vars": { "A": "v" }, "B": "w", "shellEnv": { "enabled": true } },
            "channels": { "telegram": { "accounts": [{ "id": "a", "botToken": "t1" }, { "id": "b", "botToken": "t2" }] } },
            "numbers": { "token": 5 },
        })
    }

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let shown = mask(&secrets());
        let want = json!({
            "gateway": { "auth": { "token": REDACTED, "mode": "token" } },
            "models": { "providers": { "p": { "apiKey": "${KEY}", "headers": { "X-Any": REDACTED }, "models": [{ "maxTokens": 5 }] } } },
            "env": { "vars": { "A": REDACTED }, "B": REDACTED, "shellEnv": { "enabled": true } },
            "channels": { "telegram": { "accounts": [{ "id": "a", "botToken": REDACTED }, { "id": "b", "botToken": REDACTED }] } },
            "numbers": { "token": 5 },
        });
        assert_eq!(shown, want);
        assert_eq!(restore(&shown, &secrets()).unwrap(), secrets());
    }

    #[test]
    fn a_mask_comes_back_only_as_what_it_hid() {
        let old = secrets();
        let mut moved = mask(&old);
        moved["channels"]["telegram"]["accounts"].as_array_mut().unwrap().reverse();
        let back = restore(&moved, &old).unwrap();
        assert_eq!(back["channels"]["telegram"]["accounts"][0], json!({ "id": "b", "botToken": "t2" }));
        let refused = |new: Value, at: &str| {
            assert_eq!(restore(&new, &old), Err(Refusal::Mask { path: at.into() }), "{new}");
        };
        refused(json!({ "gateway": { "auth": { "password": REDACTED } } }), "gateway.auth.password");
        refused(
            json!({ "gateway": { "auth": { "token": format!("Bearer {REDACTED}") } } }),
            "gateway.auth.token",
        );
        refused(json!({ "numbers": { "token": REDACTED } }), "numbers.token");
        refused(json!({ (REDACTED): 1 }), REDACTED);
        refused(
            json!({ "channels": { "telegram": { "accounts": [{ "id": "c", "botToken": REDACTED }] } } }),
            "channels.telegram.accounts.0.botToken",
        );
        let plain = json!({ "l": ["a", "b"] });
        assert!(restore(&json!({ "l": [REDACTED] }), &plain).is_err(), "which of the two is unknown");
    }

    #[test]
    fn a_vanishing_file_is_noticed() {
        let old = json!({ "a": 1, "b": { "c": 2, "d": [1, 2] }, "e": {} });
        assert!(!drops_most(&old, &old));
        assert!(!drops_most(&old, &json!({ "a": 9, "b": { "c": "x", "d": [0] } })));
        assert!(drops_most(&old, &json!({ "a": 1, "b": { "c": 1 } })));
        assert!(drops_most(&old, &json!({})));
        assert!(!drops_most(&json!({}), &json!({ "a": 1 })));
    }
}
