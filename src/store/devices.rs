//! `devices/paired.json` and `devices/pending.json`, in the reference's shape; unknown fields survive a rewrite.
use super::pairings::Pairings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A paired device. `tokens` is keyed by role.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Paired {
    pub device_id: String,
    pub public_key: String,
    #[serde(flatten)]
    pub about: About,
    pub tokens: BTreeMap<String, Token>,
    pub created_at_ms: i64,
    pub approved_at_ms: i64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a device said of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
}

/// A device's credential for one role. Its value never leaves except in that device's own hello.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Token {
    pub token: String,
    pub role: String,
    pub scopes: Vec<String>,
    pub created_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at_ms: Option<i64>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("role", &self.role)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// A device that waits for approval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pending {
    pub request_id: String,
    pub device_id: String,
    pub public_key: String,
    #[serde(flatten)]
    pub about: About,
    pub silent: bool,
    pub is_repair: bool,
    pub ts: i64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Both files. Keyed by device id and by request id.
pub type Devices = Pairings<Paired, Pending>;

/// The folder of both files.
pub fn dir(state: &Path) -> PathBuf {
    state.join("devices")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{read_json, write_json};
    use serde_json::json;

    #[test]
    fn what_is_not_known_here_survives() {
        let state = std::env::temp_dir().join(format!("gatewayd-devices-{}", std::process::id()));
        let paired = json!({ "d": { "deviceId": "d", "publicKey": "k", "displayName": "Phone", "roles": ["operator"],
            "scopes": ["operator.read"], "createdAtMs": 1, "approvedAtMs": 2, "colour": "red",
            "tokens": { "operator": { "token": "t", "role": "operator", "scopes": [], "createdAtMs": 3, "note": { "a": 1 } } } } });
        let pending = json!({ "r": { "requestId": "r", "deviceId": "e", "publicKey": "k", "platform": "linux", "silent": false,
            "isRepair": false, "ts": 5, "via": "qr" } });
        write_json(&dir(&state).join("paired.json"), &paired).unwrap();
        write_json(&dir(&state).join("pending.json"), &pending).unwrap();
        let devices = Devices::load(&dir(&state)).unwrap();
        devices.save(&dir(&state), &Devices::default()).unwrap();
        assert_eq!(read_json(&dir(&state).join("paired.json")).unwrap(), Some(paired));
        assert_eq!(read_json(&dir(&state).join("pending.json")).unwrap(), Some(pending));
        std::fs::remove_dir_all(&state).unwrap();
    }
}
