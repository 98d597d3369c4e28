//! Which tools a run may use: profiles, allow and deny lists, for all, for a provider, for an agent. Every layer only narrows.
//!
//! `tools.{profile,allow,alsoAllow,deny,byProvider}`, and the same below `agents.list[].tools`. Names are compared without case; an
//! entry is a name, a group (`group:fs`), or a pattern with `*`. Deny wins.
use super::canonical;
use crate::agent::model::ModelRef;
use crate::config::normal_id;
use serde_json::Value;

/// The groups of the reference, and what is in each.
const GROUPS: &[(&str, &str)] = &[
    ("group:runtime", "exec process"),
    ("group:fs", "read write edit apply_patch"),
    ("group:sessions", "sessions_list sessions_history sessions_send sessions_spawn session_status"),
    ("group:memory", "memory_search memory_get"),
    ("group:web", "web_search web_fetch"),
    ("group:ui", "browser canvas"),
    ("group:automation", "cron gateway"),
    ("group:messaging", "message"),
    ("group:nodes", "nodes"),
    (
        "group:openclaw",
        "browser canvas nodes cron message gateway agents_list sessions_list sessions_history sessions_send sessions_spawn \
         session_status memory_search memory_get web_search web_fetch image",
    ),
];
/// Tools of the reference that stand in no group.
const UNGROUPED: &str = "tts";

/// What a profile allows; None for everything.
fn profile(name: &str) -> Option<&'static str> {
    match name {
        "full" => None,
        "coding" => Some("group:fs group:runtime group:sessions group:memory image"),
        "messaging" => Some("group:messaging sessions_list sessions_history sessions_send session_status"),
        // A word that is not known was refused with the file; whatever it meant, this is the safe reading.
        _ => Some("session_status"),
    }
}

#[derive(Debug, Clone, Default)]
pub struct Policy {
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, Default)]
struct Layer {
    /// None allows all.
    allow: Option<Vec<String>>,
    deny: Vec<String>,
}

impl Policy {
    /// Reads the resolved configuration for an agent that runs on that model.
    pub fn read(root: &Value, agent_id: &str, model: &ModelRef) -> Policy {
        let all = &root["tools"];
        let own = agent_tools(root, agent_id);
        let (all_model, own_model) = (by_provider(all, model), by_provider(own, model));
        let mut layers = vec![];
        for (own, all) in [(own, all), (own_model, all_model)] {
            let either = |key: &str| [own, all].into_iter().map(|it| &it[key]).find(|it| !it.is_null());
            let Some(base) = either("profile").and_then(Value::as_str).and_then(profile) else { continue };
            let also = either("alsoAllow").map(words).unwrap_or_default();
            let allow = base.split(' ').map(str::to_owned).chain(also).collect();
            layers.push(Layer { allow: Some(allow), deny: vec![] });
        }
        layers.extend([all, all_model, own, own_model].map(Layer::read));
        Policy { layers }
    }
    /// With one more `{allow, alsoAllow, deny}`, where there is one.
    #[must_use]
    pub fn narrowed(mut self, section: Option<&Value>) -> Policy {
        self.layers.extend(section.map(Layer::read));
        self
    }
    pub fn allows(&self, tool: &str) -> bool {
        let tool = canonical(tool);
        self.layers.iter().all(|it| it.allows(&tool))
    }
}

impl Layer {
    fn read(section: &Value) -> Layer {
        let allow = words(&section["allow"]);
        // Reference: a list that names nothing known (only tools of plugins, say) is ignored, so that the agent is not left without any.
        let usable = allow.iter().any(|it| is_known(it));
        if !usable && !allow.is_empty() {
            log::warn!(target: "agent", "tools: the allow list {allow:?} names no known tool and is ignored");
        }
        Layer { allow: usable.then_some(allow), deny: words(&section["deny"]) }
    }
    fn allows(&self, tool: &str) -> bool {
        let denied = self.deny.iter().any(|it| names(it, tool));
        // Who may run commands may patch files (reference's documentation).
        let allows = |it: &String| names(it, tool) || tool == "apply_patch" && names(it, "exec");
        !denied && self.allow.as_ref().is_none_or(|all| all.iter().any(allows))
    }
}

/// Whether a list of names, groups and patterns means that tool.
pub fn listed(list: &[String], tool: &str) -> bool {
    let tool = canonical(tool);
    list.iter().map(|it| canonical(it)).any(|it| names(&it, &tool))
}

/// `agents.list[].tools` of that agent.
pub(super) fn agent_tools<'v>(root: &'v Value, agent_id: &str) -> &'v Value {
    let id = normal_id(agent_id);
    let list = root.pointer("/agents/list").and_then(Value::as_array);
    let found = list.into_iter().flatten().find(|it| it["id"].as_str().is_some_and(|it| normal_id(it) == id));
    found.map_or(&Value::Null, |it| &it["tools"])
}

/// The entry of `byProvider` for a model: `provider/model`, else `provider`.
fn by_provider<'v>(tools: &'v Value, model: &ModelRef) -> &'v Value {
    let all = tools["byProvider"].as_object();
    let find = |wanted: &str| all?.iter().find(|it| it.0.trim().eq_ignore_ascii_case(wanted)).map(|it| it.1);
    find(&model.to_string()).or_else(|| find(&model.provider)).unwrap_or(&Value::Null)
}

fn words(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    all.map(canonical).filter(|it| !it.is_empty()).collect()
}

/// Whether an entry of a list means that tool.
fn names(entry: &str, tool: &str) -> bool {
    match GROUPS.iter().find(|it| it.0 == entry) {
        Some((_, tools)) => tools.split(' ').any(|it| it == tool),
        None => matches(entry, tool),
    }
}

fn is_known(entry: &str) -> bool {
    let mut tools = GROUPS.iter().flat_map(|it| it.1.split(' ')).chain([UNGROUPED]);
    tools.any(|it| names(entry, it))
}

/// `*` stands for any text, nothing else is special.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: &str = "read edit write exec process browser canvas nodes cron message tts gateway agents_list sessions_list \
                       sessions_history sessions_send sessions_spawn session_status web_search web_fetch image memory_search memory_get";

    fn left(tools: &Value, agent: &Value) -> Vec<&'static str> {
        let root = json!({"tools": tools, "agents": {"list": [{"id": "other", "tools": {"deny": ["*"]}}, {"id": "Main", "tools": agent}]}});
        let model = ModelRef { provider: "mock".to_owned(), model: "mock-1".to_owned() };
        let policy = Policy::read(&root, "main", &model);
        ALL.split(' ').filter(|it| policy.allows(it)).collect()
    }

    /// Each line: `tools`, the agent's `tools`, what is left: names, `all`, `none`, or `-` and the names that are not. Played on the
    /// reference, which differs where it says so.
    #[test]
    fn as_the_reference_decides() {
        let table = include_str!("../../../tests/data/tool-policy.jsonl");
        let mut cases = 0;
        for line in table.lines().filter(|it| !it.starts_with('#') && !it.is_empty()) {
            let case: Value = serde_json::from_str(line).unwrap();
            let found = left(&case[0], &case[1]);
            let wanted = case[2].as_str().unwrap();
            let named = |it: &&str| wanted.trim_start_matches('-').split(' ').any(|name| name == *it);
            let expected: Vec<&str> = match wanted {
                "all" => ALL.split(' ').collect(),
                "none" => vec![],
                _ if wanted.starts_with('-') => ALL.split(' ').filter(|it| !named(it)).collect(),
                _ => ALL.split(' ').filter(named).collect(),
            };
            assert_eq!(found, expected, "{line}");
            cases += 1;
        }
        assert!(cases >= 50, "{cases}");
    }
    #[test]
    fn patterns() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("*", "read", true),
            ("re*d", "read", true),
            ("re*ad", "read", true),
            ("rea*ad", "read", false),
            ("*ea*", "read", true),
            ("r**d", "read", true),
            ("read*", "read", true),
            ("*read*read", "read", false),
            ("r?ad", "read", false),
            ("", "read", false),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }
    #[test]
    fn who_may_run_commands_may_patch() {
        let model = ModelRef { provider: "a".to_owned(), model: "b".to_owned() };
        let allows =
            |tools: Value| Policy::read(&json!({"tools": tools}), "main", &model).allows("apply-patch");
        assert!(allows(json!({"allow": ["bash"]})) && allows(json!({"profile": "coding"})));
        assert!(
            !allows(json!({"allow": ["exec"], "deny": ["apply_patch"]}))
                && !allows(json!({"allow": ["read"]}))
        );
    }
}
