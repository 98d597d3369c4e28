//! What the configuration says about the tools themselves: `tools.exec`, `tools.fs`, `tools.message`, and the same below
//! `agents.list[].tools`.
//!
//! The agent's own key wins over the common one, each for itself.
use super::policy::agent_tools;
use crate::base::limits::{EXEC_TIMEOUT_S, EXEC_TIMEOUT_S_MAX};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolsConfig {
    /// `read`, `write` and `edit` reach the workspace alone: `tools.fs.workspaceOnly`, a key of the newest releases. There the default
    /// is false, and the reference knows no such key at all; ours is true.
    pub workspace_only: bool,
    pub exec: ExecConfig,
    pub message: MessageRules,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecConfig {
    pub host: Host,
    pub security: Security,
    pub ask: Ask,
    /// The one node that commands run on, by id, name or address.
    pub node: Option<String>,
    pub timeout_s: u64,
    /// Folders in front of PATH; `~` stands for the home.
    pub path_prepend: Vec<String>,
    /// Programs that may run in allowlist mode.
    pub safe_bins: Vec<String>,
}

/// Where `message` may send on behalf of a run that belongs to one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRules {
    /// To other chats of the same network.
    pub within_provider: bool,
    pub across_providers: bool,
    /// Put before and behind what is sent elsewhere; `{channel}` stands for where it comes from. The reference has a default and shows it
    /// nowhere; here whoever sets the key sees it.
    pub marker: Option<(String, String)>,
    pub broadcast: bool,
}

/// Where commands run. There are no sandboxes here, so that `sandbox` means this machine, as in the reference without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Sandbox,
    Gateway,
    Node,
}

/// What may run, here or on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Deny,
    Allowlist,
    Full,
}

/// When a person is asked before a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Off,
    OnMiss,
    Always,
}

const HOSTS: [(&str, Host); 3] =
    [("sandbox", Host::Sandbox), ("gateway", Host::Gateway), ("node", Host::Node)];
const SECURITIES: [(&str, Security); 3] =
    [("deny", Security::Deny), ("allowlist", Security::Allowlist), ("full", Security::Full)];
const ASKS: [(&str, Ask); 3] = [("off", Ask::Off), ("on-miss", Ask::OnMiss), ("always", Ask::Always)];

/// The words for them in files.
macro_rules! words {
    ($($of:ident = $table:ident),*) => {$(
        impl $of {
            pub fn of_word(word: &str) -> Option<$of> {
                $table.iter().find(|it| it.0 == word).map(|it| it.1)
            }
            pub fn word(self) -> &'static str {
                $table.iter().find(|it| it.1 == self).map_or("", |it| it.0)
            }
        }
    )*};
}
words! { Host = HOSTS, Security = SECURITIES, Ask = ASKS }

/// Reference.
const SAFE_BINS: [&str; 9] = ["jq", "grep", "cut", "sort", "uniq", "head", "tail", "tr", "wc"];

/// Reference: the prefix of the marker.
const MARKER: &str = "[from {channel}] ";

impl ToolsConfig {
    /// Reads the resolved configuration for an agent (already validated: what does not fit counts as absent).
    pub fn read(root: &Value, agent_id: &str) -> ToolsConfig {
        let sections = [agent_tools(root, agent_id), &root["tools"]];
        let at = |path: &str| sections.iter().find_map(|it| it.pointer(path)).unwrap_or(&Value::Null);
        let word = |path: &str| at(path).as_str().unwrap_or_default();
        let list = |path: &str| {
            let all = at(path).as_array()?.iter().filter_map(Value::as_str).map(str::trim);
            Some(all.filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>())
        };
        let host = Host::of_word(word("/exec/host")).unwrap_or(Host::Sandbox);
        // Reference: without a sandbox commands run freely, unless the gateway or a node is named as their host.
        let guarded = host != Host::Sandbox;
        let usual = if guarded { Security::Allowlist } else { Security::Full };
        let security = Security::of_word(word("/exec/security")).unwrap_or(usual);
        let ask = Ask::of_word(word("/exec/ask")).unwrap_or(Ask::OnMiss);
        let timeout_s = at("/exec/timeoutSec").as_f64().filter(|it| *it >= 1.0).map(|it| it as u64);
        let safe_bins = list("/exec/safeBins");
        let anywhere = at("/message/allowCrossContextSend") == true;
        let marker = |name: &str| at(&format!("/message/crossContext/marker/{name}"));
        let (prefix, suffix) = (marker("prefix").as_str(), marker("suffix").as_str());
        let marks = match marker("enabled").as_bool() {
            Some(it) => it,
            None => prefix.or(suffix).is_some(),
        };
        ToolsConfig {
            workspace_only: at("/fs/workspaceOnly").as_bool().unwrap_or(true),
            exec: ExecConfig {
                host,
                security,
                ask,
                node: Some(word("/exec/node").trim().to_owned()).filter(|it| !it.is_empty()),
                timeout_s: timeout_s.unwrap_or(EXEC_TIMEOUT_S).min(EXEC_TIMEOUT_S_MAX),
                path_prepend: list("/exec/pathPrepend").unwrap_or_default(),
                safe_bins: safe_bins.unwrap_or_else(|| SAFE_BINS.map(str::to_owned).to_vec()),
            },
            message: MessageRules {
                within_provider: anywhere || at("/message/crossContext/allowWithinProvider") != false,
                across_providers: anywhere || at("/message/crossContext/allowAcrossProviders") == true,
                marker: marks
                    .then(|| (prefix.unwrap_or(MARKER).to_owned(), suffix.unwrap_or_default().to_owned())),
                broadcast: at("/message/broadcast/enabled") != false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[test]
    fn the_agents_own_keys_win() {
        let root = json!({
            "tools": {"exec": {"host": "gateway", "timeoutSec": 7, "safeBins": []}},
            "agents": {"list": [{"id": "a", "tools": {"exec": {"security": "full", "ask": "always"}, "fs": {"workspaceOnly": false}}}]},
        });
        let (a, b) = (ToolsConfig::read(&root, "A"), ToolsConfig::read(&root, "b"));
        assert_eq!((a.exec.security, a.exec.ask, a.exec.timeout_s), (Security::Full, Ask::Always, 7));
        assert_eq!(
            (b.exec.security, b.exec.ask, b.exec.safe_bins.len()),
            (Security::Allowlist, Ask::OnMiss, 0)
        );
        assert!(!a.workspace_only && b.workspace_only);
        let none = ToolsConfig::read(&json!({}), "main");
        assert_eq!((none.exec.security, none.exec.timeout_s), (Security::Full, 1800));
        assert_eq!(none.exec.safe_bins.len(), 9);
    }
    #[test]
    fn where_messages_may_go() {
        let read =
            |message: Value| ToolsConfig::read(&json!({ "tools": { "message": message } }), "main").message;
        let none = read(json!({}));
        assert!(none.within_provider && !none.across_providers && none.broadcast && none.marker.is_none());
        let all =
            read(json!({ "allowCrossContextSend": true, "crossContext": { "allowWithinProvider": false } }));
        assert!(all.within_provider && all.across_providers);
        let marker = |it: Value| read(json!({ "crossContext": { "marker": it } })).marker;
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(marker(json!({ "enabled": true })), pair("[from {channel}] ", ""));
        assert_eq!(marker(json!({ "prefix": "", "suffix": " ({channel})" })), pair("", " ({channel})"));
        assert_eq!(marker(json!({ "enabled": false, "prefix": "x" })), None);
        let own = json!({ "tools": { "message": { "broadcast": { "enabled": false } } }, "agents": { "list": [{ "id": "a", "tools": { "message": { "broadcast": { "enabled": true } } } }] } });
        assert!(
            ToolsConfig::read(&own, "a").message.broadcast && !ToolsConfig::read(&own, "b").message.broadcast
        );
    }
}
