//! Session keys, agents, and the rows that `sessions.list` and `status` show.
use super::World;
use crate::base::files;
use crate::store::lookup::{Keys, canonical_key};
use crate::store::sessions::updated_at;
use serde::Serialize;
use serde_json::{Map, Value};

/// The key of the main session: `agent:<id>:main`, or `global`.
pub fn main_key(agent_id: &str, global: bool) -> String {
    if global { "global".into() } else { format!("agent:{agent_id}:main") }
}

/// The store's key for what a client calls a session; None for a blank one.
pub fn canonical(world: &World, text: &str) -> Option<String> {
    let config = &world.config.config;
    let keys =
        Keys { default_agent: config.agents.default_id(), main_key: "main", global: config.session.global };
    canonical_key(text, keys)
}

/// The agent in a session key; None when it names none.
pub fn agent_of(key: &str) -> Option<&str> {
    key.strip_prefix("agent:")?.split(':').next().filter(|it| !it.is_empty())
}

/// Configured agents, or else the default one and every agent folder on disk. Reads the disk: jobs only.
pub fn agent_ids(world: &World) -> Vec<String> {
    let agents = &world.config.config.agents;
    if !agents.list.is_empty() {
        return agents.list.iter().map(|it| it.id.clone()).collect();
    }
    let mut ids = vec![agents.default_id().to_owned()];
    let on_disk = files::names(&world.paths.state.join("agents"));
    ids.extend(
        on_disk
            .into_iter()
            .filter(|it| *it != ids[0] && crate::config::normal_id(it) == *it)
            .collect::<Vec<_>>(),
    );
    ids
}

/// The workspace of an agent: its own, else the default one, else below the state folder.
pub fn workspace(world: &World, agent_id: &str) -> std::path::PathBuf {
    let (agents, paths) = (&world.config.config.agents, &world.paths);
    let own = agents.get(agent_id).and_then(|it| it.workspace.as_deref());
    let is_default = agent_id == agents.default_id();
    match own.or(agents.workspace.as_deref().filter(|_| is_default)) {
        Some(it) => crate::config::paths::expand_home(it, &paths.home),
        None if !is_default => paths.state.join(format!("workspace-{agent_id}")),
        None => paths.workspace(),
    }
}

/// Model and context window in force when a session says nothing.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    pub model_provider: Option<String>,
    pub model: Option<String>,
    pub context_tokens: Option<u64>,
}

/// Reference: the context window assumed for a model that is not described.
const CONTEXT_TOKENS_DEFAULT: u64 = 200_000;
/// Reference: the model when none is configured.
const MODEL_DEFAULT: &str = "anthropic/claude-opus-4-5";

pub fn defaults(world: &World) -> Defaults {
    let config = &world.config.config;
    let primary = config.agents.model.as_deref().unwrap_or(MODEL_DEFAULT);
    let (provider, model) = primary.split_once('/').unwrap_or(("anthropic", primary));
    let known = config.models.iter().find(|it| it.provider == provider && it.id == model);
    let context = config.agents.context_tokens.or_else(|| known.and_then(|it| it.context_window));
    Defaults {
        model_provider: Some(provider.to_owned()),
        model: Some(model.to_owned()),
        context_tokens: Some(context.unwrap_or(CONTEXT_TOKENS_DEFAULT)),
    }
}

/// `global`, `unknown`, `group` or `direct`.
pub fn kind(key: &str, entry: &Value) -> &'static str {
    let is_group = matches!(entry["chatType"].as_str(), Some("group" | "channel"))
        || key.contains(":group:")
        || key.contains(":channel:");
    match key {
        "global" => "global",
        "unknown" => "unknown",
        _ if is_group => "group",
        _ => "direct",
    }
}

/// Fields of a store entry that a row passes on as they are.
const PASSED_ON: [&str; 29] = [
    "label",
    "displayName",
    "channel",
    "subject",
    "groupChannel",
    "space",
    "chatType",
    "origin",
    "sessionId",
    "systemSent",
    "abortedLastRun",
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "sendPolicy",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "responseUsage",
    "modelProvider",
    "model",
    "contextTokens",
    "deliveryContext",
    "lastChannel",
    "lastTo",
    "lastAccountId",
    "spawnedBy",
    "groupActivation",
];

/// A row of `sessions.list`.
pub fn row(key: &str, entry: &Value, defaults: &Defaults) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("key".into(), key.into());
    out.insert("kind".into(), kind(key, entry).into());
    let updated = Some(updated_at(entry)).filter(|it| *it > 0);
    out.insert("updatedAt".into(), updated.into());
    for name in PASSED_ON {
        if let Some(value) = entry.get(name).filter(|it| !it.is_null()) {
            out.insert(name.into(), value.clone());
        }
    }
    out.entry("modelProvider").or_insert_with(|| defaults.model_provider.clone().into());
    out.entry("model").or_insert_with(|| defaults.model.clone().into());
    out.entry("contextTokens").or_insert_with(|| defaults.context_tokens.into());
    out
}

/// A row of `status`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StatusRow {
    pub agent_id: String,
    pub key: String,
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    pub updated_at: Option<i64>,
    pub age: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbose_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_sent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_last_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    pub total_tokens: u64,
    pub remaining_tokens: Option<u64>,
    pub percent_used: Option<u64>,
    pub model: Option<String>,
    pub context_tokens: Option<u64>,
    pub flags: Vec<String>,
}

pub fn status_row(agent_id: &str, key: &str, entry: &Value, defaults: &Defaults, unix_ms: i64) -> StatusRow {
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let total = entry["totalTokens"].as_u64().unwrap_or(0);
    let context_tokens = entry["contextTokens"].as_u64().or(defaults.context_tokens);
    let updated_at = Some(updated_at(entry)).filter(|it| *it > 0);
    let flag = |name: &str, label: &str| text(name).map(|it| format!("{label}:{it}"));
    let flags = [flag("thinkingLevel", "think"), flag("verboseLevel", "verbose"), flag("sessionId", "id")];
    StatusRow {
        agent_id: agent_id.to_owned(),
        key: key.to_owned(),
        kind: kind(key, entry),
        session_id: text("sessionId"),
        updated_at,
        age: updated_at.map(|it| unix_ms - it),
        thinking_level: text("thinkingLevel"),
        verbose_level: text("verboseLevel"),
        system_sent: entry["systemSent"].as_bool(),
        aborted_last_run: entry["abortedLastRun"].as_bool(),
        input_tokens: entry["inputTokens"].as_u64(),
        output_tokens: entry["outputTokens"].as_u64(),
        total_tokens: total,
        remaining_tokens: context_tokens.map(|it| it.saturating_sub(total)),
        percent_used: context_tokens.map(|it| (total * 100).checked_div(it).unwrap_or(0).min(999)),
        model: text("model").or_else(|| defaults.model.clone()),
        context_tokens,
        flags: flags.into_iter().flatten().collect(),
    }
}
