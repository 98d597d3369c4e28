//! `nodes/paired.json` and `nodes/pending.json`, in the reference's shape; unknown fields survive a rewrite.
use super::{read_json, write_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
}

/// A node, and what it may be called for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct PairedNode {
    pub node_id: String,
    pub token: String,
    #[serde(flatten)]
    pub about: About,
    pub created_at_ms: i64,
    pub approved_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_connected_at_ms: Option<i64>,
    /// The name was given by a person: what the node calls itself does not matter. Ours.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub renamed: bool,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(skip))]
    pub rest: Map<String, Value>,
}

/// A node that waits for approval, or for more commands than it was given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct PendingNode {
    pub request_id: String,
    pub node_id: String,
    #[serde(flatten)]
    pub about: About,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<bool>,
    pub is_repair: bool,
    /// Milliseconds since 1970.
    pub ts: i64,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(skip))]
    pub rest: Map<String, Value>,
}

/// Both files. Keyed by node id and by request id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Nodes {
    pub paired: BTreeMap<String, PairedNode>,
    pub pending: BTreeMap<String, PendingNode>,
}

fn dir(state: &Path) -> PathBuf {
    state.join("nodes")
}

/// # Errors
/// A sentence that names the file: what a node may do must never be guessed.
pub fn load(state: &Path) -> Result<Nodes, String> {
    fn map<T: serde::de::DeserializeOwned>(path: &Path) -> Result<BTreeMap<String, T>, String> {
        let Some(value) = read_json(path)? else { return Ok(BTreeMap::new()) };
        serde_json::from_value(value).map_err(|err| format!("cannot read {}: {err}", path.display()))
    }
    let dir = dir(state);
    Ok(Nodes { paired: map(&dir.join("paired.json"))?, pending: map(&dir.join("pending.json"))? })
}

/// Writes what differs from `before`.
///
/// # Errors
/// A sentence that names the file.
pub fn save(state: &Path, before: &Nodes, nodes: &Nodes) -> Result<(), String> {
    let dir = dir(state);
    // What is paired first: a request that is gone before that would be lost.
    if before.paired != nodes.paired {
        write_json(&dir.join("paired.json"), &nodes.paired)?;
    }
    if before.pending != nodes.pending {
        write_json(&dir.join("pending.json"), &nodes.pending)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    use serde_json::json;
    #[test]
    fn what_is_not_known_stays() {
        let home = TempDir::new();
        let paired =
            json!({"n": {"nodeId": "n", "token": "t", "bins": ["a"], "createdAtMs": 1, "approvedAtMs": 2}});
        write_json(&dir(home.path()).join("paired.json"), &paired).unwrap();
        let before = load(home.path()).unwrap();
        let mut nodes = before.clone();
        nodes.paired.get_mut("n").unwrap().about.display_name = Some("N".into());
        save(home.path(), &before, &nodes).unwrap();
        let stored = read_json(&dir(home.path()).join("paired.json")).unwrap().unwrap();
        assert_eq!((&stored["n"]["bins"], &stored["n"]["displayName"]), (&json!(["a"]), &json!("N")));
        assert!(!dir(home.path()).join("pending.json").exists(), "only what changed is written");
        write_json(&dir(home.path()).join("paired.json"), &json!([])).unwrap();
        assert!(load(home.path()).unwrap_err().contains("paired.json"));
    }
}
