//! `nodes/paired.json` and `nodes/pending.json`, in the reference's shape; unknown fields survive a rewrite.
use super::pairings::Pairings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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
pub type Nodes = Pairings<PairedNode, PendingNode>;

/// The folder of both files.
pub fn dir(state: &Path) -> PathBuf {
    state.join("nodes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    use crate::store::{read_json, write_json};
    use serde_json::json;
    #[test]
    fn what_is_not_known_stays() {
        let home = TempDir::new();
        let paired =
            json!({"n": {"nodeId": "n", "token": "t", "bins": ["a"], "createdAtMs": 1, "approvedAtMs": 2}});
        write_json(&dir(home.path()).join("paired.json"), &paired).unwrap();
        let before = Nodes::load(&dir(home.path())).unwrap();
        let mut nodes = before.clone();
        nodes.paired.get_mut("n").unwrap().about.display_name = Some("N".into());
        nodes.save(&dir(home.path()), &before).unwrap();
        let stored = read_json(&dir(home.path()).join("paired.json")).unwrap().unwrap();
        assert_eq!((&stored["n"]["bins"], &stored["n"]["displayName"]), (&json!(["a"]), &json!("N")));
        assert!(!dir(home.path()).join("pending.json").exists(), "only what changed is written");
        write_json(&dir(home.path()).join("paired.json"), &json!([])).unwrap();
        assert!(Nodes::load(&dir(home.path())).unwrap_err().contains("paired.json"));
    }
}
