//! `sessions.list`: the conversations of every agent.
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::sessions::{self, Defaults};
use crate::gateway::{Core, World};
use crate::protocol::error::RpcResult;
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{NonEmpty, Text};
use crate::shaped;
use crate::store::sessions::{entries, messages, updated_at};
use serde::Serialize;
use serde_json::{Map, Value};

pub const METHODS: &[Method] = &[Method::of::<SessionsList>()];

shaped! {
    struct SessionsListParams {
        limit = "limit": Option<Int<1>>,
        active_minutes = "activeMinutes": Option<Int<1>>,
        include_global = "includeGlobal": Option<bool>,
        include_unknown = "includeUnknown": Option<bool>,
        include_derived_titles = "includeDerivedTitles": Option<bool>,
        include_last_message = "includeLastMessage": Option<bool>,
        label = "label": Option<Text<1, 64>>,
        spawned_by = "spawnedBy": Option<NonEmpty>,
        agent_id = "agentId": Option<NonEmpty>,
        search = "search": Option<String>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SessionsListReply {
    ts: i64,
    /// The store's file, or `(multiple)`.
    path: String,
    count: usize,
    defaults: Defaults,
    /// Newest first. Keys as in the store, besides `key`, `kind` and `updatedAt`.
    sessions: Vec<Map<String, Value>>,
}

enum SessionsList {}
impl Rpc for SessionsList {
    const NAME: &'static str = "sessions.list";
    const ACCESS: Access = Access::Read;
    type Params = SessionsListParams;
    type Reply = SessionsListReply;
    fn call(core: &mut Core, call: Call, params: SessionsListParams) -> RpcResult<Answer<SessionsListReply>> {
        let world = core.world.clone();
        Ok(Answer::read(move || Ok(list(&world, &params, call.now.unix_ms))))
    }
}

fn list(world: &World, params: &SessionsListParams, unix_ms: i64) -> SessionsListReply {
    let defaults = sessions::defaults(world);
    let mut found: Vec<(String, String, Value)> = vec![];
    for agent_id in sessions::agent_ids(world) {
        if params.agent_id.as_deref().is_some_and(|it| crate::config::normal_id(it) != agent_id) {
            continue;
        }
        // A store that cannot be read is reported by `health`; the others are still listed.
        let all = entries(&world.session_store(&agent_id)).unwrap_or_default();
        found.extend(
            all.into_iter()
                .filter(|(key, it)| wanted(params, key, it, unix_ms))
                .map(|(key, it)| (agent_id.clone(), key, it)),
        );
    }
    found.sort_by_key(|(_, _, it)| std::cmp::Reverse(updated_at(it)));
    found.truncate(params.limit.map_or(usize::MAX, |it| it.0 as usize));
    let titles = params.include_derived_titles.unwrap_or(false);
    let last = params.include_last_message.unwrap_or(false);
    let row = |(agent_id, key, entry): &(String, String, Value)| {
        let mut row = sessions::row(key, entry, &defaults);
        if titles || last {
            add_previews(&mut row, world, agent_id, entry, titles, last);
        }
        row
    };
    let sessions: Vec<_> = found.iter().map(row).collect();
    SessionsListReply { ts: unix_ms, path: "(multiple)".into(), count: sessions.len(), defaults, sessions }
}

fn wanted(params: &SessionsListParams, key: &str, entry: &Value, unix_ms: i64) -> bool {
    let shown = match key {
        "global" => params.include_global.unwrap_or(false),
        "unknown" => params.include_unknown.unwrap_or(false),
        _ => true,
    };
    let is = |name: &str, want: Option<&str>| want.is_none_or(|it| entry[name] == *it);
    let since = params.active_minutes.map(|it| unix_ms.saturating_sub(it.0.saturating_mul(60_000)));
    let search = params.search.as_deref().unwrap_or_default().trim().to_lowercase();
    let texts = [
        Some(key),
        entry["displayName"].as_str(),
        entry["label"].as_str(),
        entry["subject"].as_str(),
        entry["sessionId"].as_str(),
    ];
    shown
        && is("label", params.label.as_deref())
        && is("spawnedBy", params.spawned_by.as_deref())
        && since.is_none_or(|it| updated_at(entry) >= it)
        && (search.is_empty() || texts.into_iter().flatten().any(|it| it.to_lowercase().contains(&search)))
}

/// Characters of a title and of a preview. Reference: 60 and 200.
const TITLE_CHARS_MAX: usize = 60;
const PREVIEW_CHARS_MAX: usize = 200;

fn add_previews(
    row: &mut Map<String, Value>,
    world: &World,
    agent_id: &str,
    entry: &Value,
    titles: bool,
    last: bool,
) {
    let Some(session_id) = entry["sessionId"].as_str() else { return };
    let messages = messages(&world.session_store(agent_id), session_id);
    let said =
        |it: &&Value, roles: &[&str]| roles.iter().any(|role| it["role"] == *role) && text(it).is_some();
    let cut = |text: String, chars: usize| text.chars().take(chars).collect::<String>();
    if titles {
        let named = entry["displayName"].as_str().or(entry["subject"].as_str()).map(str::to_owned);
        let title = named.or_else(|| messages.iter().find(|it| said(it, &["user"])).and_then(text));
        row.extend(title.map(|it| ("derivedTitle".to_owned(), cut(it, TITLE_CHARS_MAX).into())));
    }
    if last {
        let text = messages.iter().rev().find(|it| said(it, &["user", "assistant"])).and_then(text);
        row.extend(text.map(|it| ("lastMessagePreview".to_owned(), cut(it, PREVIEW_CHARS_MAX).into())));
    }
}

/// The text of a message: its content as a string, or its first text part.
fn text(message: &Value) -> Option<String> {
    let content = &message["content"];
    let part = content.as_array().and_then(|it| it.iter().find_map(|it| it["text"].as_str()));
    content.as_str().or(part).map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned)
}
