//! Session keys, agents and their models, and the rows that `sessions.list` and `status` show.
use super::World;
use crate::agent::model::ModelRef;
use crate::agent::models::Models;
use crate::base::files;
use crate::base::limits::SESSION_KEY_BYTES_MAX;
use crate::protocol::error::RpcError;
use crate::store::agent_sessions::{AgentSessions, Trouble};
pub use crate::store::lookup::agent_of;
use crate::store::lookup::{Keys, canonical_key};
use crate::store::sessions::updated_at;
use crate::store::stores::Stores;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The key of the main session: `agent:<id>:main`, or `global`.
pub fn main_key(agent_id: &str, global: bool) -> String {
    if global { "global".into() } else { format!("agent:{agent_id}:main") }
}

/// The store's key for what a client calls a session; None for a blank one.
pub fn canonical(world: &World, text: &str) -> Option<String> {
    canonical_key(text, keys(world))
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

/// What completes a session key here.
pub fn keys(world: &World) -> Keys<'_> {
    let config = &world.config.config;
    // The reference ignores `session.mainKey`.
    Keys { default_agent: config.agents.default_id(), main_key: "main", global: config.session.global }
}

/// A session that a client has named, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Canonical.
    pub key: String,
    pub agent_id: String,
    pub store: PathBuf,
}

/// # Errors
/// A key that is blank or too long.
pub fn place(world: &World, key: &str) -> Result<Place, RpcError> {
    let keys = keys(world);
    let key = canonical(world, key).ok_or_else(|| RpcError::invalid("key required"))?;
    if key.len() > SESSION_KEY_BYTES_MAX {
        let text = format!("key too long: at most {SESSION_KEY_BYTES_MAX} bytes");
        return Err(RpcError::invalid(text));
    }
    let agent_id = agent_of(&key).map_or_else(|| keys.default_agent.to_owned(), crate::config::normal_id);
    let store = world.session_store(&agent_id);
    Ok(Place { key, agent_id, store })
}

impl From<Trouble> for RpcError {
    fn from(it: Trouble) -> RpcError {
        match it {
            Trouble::Refused(text) => RpcError::invalid(text),
            Trouble::Disk(text) => RpcError::unavailable(text),
        }
    }
}

/// The sessions of all agents, each store once. One that cannot be read is reported by `health`; the others are still there.
pub fn all<'s>(world: &World, stores: &'s mut Stores) -> Vec<&'s AgentSessions> {
    let mut paths: Vec<PathBuf> = vec![];
    for agent_id in agent_ids(world) {
        let path = world.session_store(&agent_id);
        if !paths.contains(&path) && stores.sessions(&path, &agent_id).is_ok() {
            paths.push(path);
        }
    }
    let stores = &*stores;
    paths.iter().filter_map(|it| stores.opened(it)).collect()
}

/// The model of an agent when neither person nor session asks for another. Reads the disk: jobs only.
pub fn model(models: &Models, agent_id: &str, unix_ms: i64) -> ModelRef {
    let any_key = models.with_keys(agent_id, unix_ms, |it| it.any());
    let chosen = models.catalog.choose(agent_id, None, any_key).ok().and_then(|it| it.into_iter().next());
    // A name that means nothing is said by the run that tries it.
    chosen.unwrap_or_else(|| ModelRef { provider: MODEL_DEFAULT.0.into(), model: MODEL_DEFAULT.1.into() })
}

/// The model that a name in a patch stands for. One that nobody knows is taken at its word while every model is allowed: its
/// provider may know it.
///
/// # Errors
/// The reference's texts.
pub fn named_model(
    models: &Models,
    agent_id: &str,
    name: &str,
    default: &ModelRef,
) -> Result<ModelRef, String> {
    let at_its_word = || {
        let (provider, model) = crate::store::entry::parse_model(name, &default.provider)?;
        Ok::<_, String>(ModelRef { provider, model })
    };
    let found = models.catalog.find(name).or_else(|_| at_its_word())?;
    match found == *default || models.catalog.allows(agent_id, &found) {
        true => Ok(found),
        false => Err(format!("model not allowed: {found}")),
    }
}

/// The model of a session.
pub fn model_of(entry: &Map<String, Value>, default: &ModelRef) -> ModelRef {
    let (provider, model) = crate::store::entry::model_of(entry, (&default.provider, &default.model));
    ModelRef { provider: provider.to_owned(), model: model.to_owned() }
}

/// How hard a session's model thinks: as the session says, or the configuration, or as its model does by itself.
pub fn thinking_level(world: &World, entry: &Map<String, Value>, model: &ModelRef) -> String {
    let own = entry.get("thinkingLevel").and_then(Value::as_str);
    let by_itself = || if world.models.catalog.thinks(model) { "low" } else { "off" };
    own.or(world.config.config.agents.thinking_default.as_deref()).unwrap_or_else(by_itself).to_owned()
}

/// How much of its tools a session shows; None when nobody says.
pub fn verbose_level(world: &World, entry: &Map<String, Value>) -> Option<String> {
    let own = entry.get("verboseLevel").and_then(Value::as_str);
    own.or(world.config.config.agents.verbose_default.as_deref()).map(str::to_owned)
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
const MODEL_DEFAULT: (&str, &str) = ("anthropic", "claude-opus-4-5");

/// Those of the default agent. Reads the disk: jobs only.
pub fn defaults(world: &World, unix_ms: i64) -> Defaults {
    let models = &world.models;
    let agents = &world.config.config.agents;
    let model = model(models, agents.default_id(), unix_ms);
    let context = agents.context_tokens.or_else(|| models.catalog.context_window(&model));
    Defaults {
        model_provider: Some(model.provider),
        model: Some(model.model),
        context_tokens: Some(context.unwrap_or(CONTEXT_TOKENS_DEFAULT)),
    }
}

/// `global`, `unknown`, `group` or `direct`.
pub fn kind(key: &str, entry: &Map<String, Value>) -> &'static str {
    let is_group = matches!(entry.get("chatType").and_then(Value::as_str), Some("group" | "channel"))
        || key.contains(":group:")
        || key.contains(":channel:");
    match key {
        "global" => "global",
        "unknown" => "unknown",
        _ if is_group => "group",
        _ => "direct",
    }
}

/// The channel and what is behind `group` or `channel` in a key: `agent:main:telegram:group:-100`.
fn group_of(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.strip_prefix("agent:")?.splitn(4, ':').skip(1);
    let (channel, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
    matches!(kind, "group" | "channel").then_some((channel, id))
}

/// What a group is called that has no name of its own: `telegram:g-family`, `discord:server#general`. Measured.
fn group_name(channel: &str, id: &str, entry: &Map<String, Value>) -> String {
    let text = |name: &str| {
        entry.get(name).and_then(Value::as_str).map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned)
    };
    let room = text("groupChannel");
    let label = match (text("space"), &room) {
        (Some(space), Some(room)) if room.starts_with('#') => space + room,
        (Some(space), Some(room)) => format!("{space}#{room}"),
        (space, _) => room.clone().or_else(|| text("subject")).or(space).unwrap_or_else(|| id.to_owned()),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "#@._+".contains(c) { c } else { '-' };
    let mut token: String = label.to_lowercase().chars().map(plain).collect();
    while token.contains("--") {
        token = token.replace("--", "-");
    }
    let mut token = token.trim_matches(['-', '.', '_']);
    if room.is_none() {
        token = token.trim_start_matches('#');
    }
    match token {
        "" => channel.to_owned(),
        it if it.starts_with(['@', '#']) || it.starts_with("g-") || it.contains('#') => {
            format!("{channel}:{it}")
        }
        it => format!("{channel}:g-{it}"),
    }
}

/// Fields of a store entry that a row passes on as they are.
const PASSED_ON: [&str; 27] = [
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
    "contextTokens",
    "deliveryContext",
    "lastChannel",
    "lastTo",
    "lastAccountId",
    "spawnedBy",
    "groupActivation",
];

/// A row of `sessions.list`.
pub fn row(key: &str, entry: &Map<String, Value>, model: &ModelRef) -> Map<String, Value> {
    let mut out = Map::new();
    let (kind, group) = (kind(key, entry), group_of(key));
    out.insert("key".into(), key.into());
    out.insert("kind".into(), kind.into());
    let updated = Some(updated_at(entry)).filter(|it| *it > 0);
    out.insert("updatedAt".into(), updated.into());
    for name in PASSED_ON {
        if let Some(value) = entry.get(name).filter(|it| !it.is_null()) {
            out.insert(name.into(), value.clone());
        }
    }
    if let Some((channel, _)) = group {
        out.entry("channel").or_insert_with(|| channel.into());
    }
    if let (Some(channel), true) = (out.get("channel").and_then(Value::as_str), kind == "group") {
        let name = group_name(channel, group.map_or(key, |it| it.1), entry);
        out.entry("displayName").or_insert_with(|| name.into());
    }
    if let Some(label) = out.get("label").cloned() {
        out.entry("displayName").or_insert(label);
    }
    let tokens = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or(0);
    out.entry("totalTokens").or_insert_with(|| (tokens("inputTokens") + tokens("outputTokens")).into());
    out.insert("modelProvider".into(), model.provider.as_str().into());
    out.insert("model".into(), model.model.as_str().into());
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
    pub reasoning_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elevated_level: Option<String>,
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

pub fn status_row(
    agent_id: &str,
    key: &str,
    entry: &Map<String, Value>,
    defaults: &Defaults,
    unix_ms: i64,
) -> StatusRow {
    let field = |name: &str| entry.get(name).unwrap_or(&Value::Null);
    let text = |name: &str| field(name).as_str().map(str::to_owned);
    let total = field("totalTokens").as_u64().unwrap_or(0);
    let context_tokens = field("contextTokens").as_u64().or(defaults.context_tokens);
    let updated_at = Some(updated_at(entry)).filter(|it| *it > 0);
    let flag = |name: &str, label: &str| text(name).map(|it| format!("{label}:{it}"));
    let flags = [
        flag("thinkingLevel", "think"),
        flag("verboseLevel", "verbose"),
        flag("reasoningLevel", "reasoning"),
        flag("elevatedLevel", "elevated"),
        flag("sessionId", "id"),
    ];
    StatusRow {
        agent_id: agent_id.to_owned(),
        key: key.to_owned(),
        kind: kind(key, entry),
        session_id: text("sessionId"),
        updated_at,
        age: updated_at.map(|it| unix_ms - it),
        thinking_level: text("thinkingLevel"),
        verbose_level: text("verboseLevel"),
        reasoning_level: text("reasoningLevel"),
        elevated_level: text("elevatedLevel"),
        system_sent: field("systemSent").as_bool(),
        aborted_last_run: field("abortedLastRun").as_bool(),
        input_tokens: field("inputTokens").as_u64(),
        output_tokens: field("outputTokens").as_u64(),
        total_tokens: total,
        remaining_tokens: context_tokens.map(|it| it.saturating_sub(total)),
        percent_used: context_tokens.map(|it| (total * 100).checked_div(it).unwrap_or(0).min(999)),
        model: text("model").or_else(|| defaults.model.clone()),
        context_tokens,
        flags: flags.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_have_names() {
        for (key, entry, name) in [
            ("telegram:group:-100", json!({ "subject": "Fam" }), "telegram:g-fam"),
            ("telegram:group:-100", json!({}), "telegram:g-100"),
            ("telegram:group:-5:topic:7", json!({ "subject": "Ünïcode Grüppe" }), "telegram:g-n-code-gr-ppe"),
            ("whatsapp:group:120@g.us", json!({ "label": "wl" }), "whatsapp:g-120@g.us"),
            (
                "discord:channel:1",
                json!({ "groupChannel": "#general", "space": "My Srv" }),
                "discord:my-srv#general",
            ),
            ("discord:channel:3", json!({ "groupChannel": "dev", "space": "My Srv" }), "discord:my-srv#dev"),
            ("discord:channel:2", json!({ "groupChannel": "#gen x" }), "discord:#gen-x"),
            ("slack:channel:c1:thread:9", json!({}), "slack:g-c1-thread-9"),
            ("matrix:channel:!room:server.org", json!({}), "matrix:g-room-server.org"),
            ("x:group:5", json!({ "subject": "@Team  A/B!" }), "x:@team-a-b"),
            ("zalo:group:9", json!({ "subject": "!!!" }), "zalo"),
            ("zalo:group:11", json!({ "subject": "--a..b__c--" }), "zalo:g-a..b__c"),
            ("zalo:group:12", json!({ "displayName": "Mine" }), "Mine"),
            ("odd", json!({ "chatType": "group", "channel": "signal", "subject": "#Zed" }), "signal:g-zed"),
            ("odd", json!({ "chatType": "group", "label": "ll" }), "ll"),
        ] {
            let Value::Object(entry) = entry else { unreachable!() };
            let model = ModelRef { provider: "p".into(), model: "m".into() };
            let row = row(&format!("agent:main:{key}"), &entry, &model);
            assert_eq!((&row["displayName"], &row["kind"]), (&json!(name), &json!("group")), "{key}");
        }
    }
}
