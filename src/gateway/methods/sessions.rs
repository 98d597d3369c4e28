//! `sessions.*`: the conversations of every agent. What changes them is in `changes`.
use crate::base::clock::date;
use crate::base::limits::{PREVIEW_ITEMS_MAX, PREVIEW_KEYS_MAX};
use crate::config::normal_id;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::sessions::{self, Defaults};
use crate::gateway::{Core, World};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{NonEmpty, NonEmptyList, Text};
use crate::shaped;
use crate::store::agent_sessions::transcript_file;
use crate::store::history::{self, PreviewItem};
use crate::store::index::Slot;
use crate::store::stores::Stores;
use crate::store::{lookup, transcript};
use serde::Serialize;
use serde_json::{Map, Value};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

mod changes;

pub const METHODS: &[Method] = &[
    Method::of::<SessionsList>(),
    Method::of::<SessionsPreview>(),
    Method::of::<SessionsResolve>().unlisted(),
    Method::of::<changes::SessionsPatch>(),
    Method::of::<changes::SessionsReset>(),
    Method::of::<changes::SessionsDelete>(),
    Method::of::<changes::SessionsCompact>(),
];

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
        let (world, unix_ms) = (core.world.clone(), call.now.unix_ms);
        Ok(Answer::locate(move |stores| {
            let found = find(&world, stores, &params, unix_ms);
            Ok(move || Ok(list(&world, &params, found, unix_ms)))
        }))
    }
}

/// A session, and the store file that it is in.
struct Found {
    store: PathBuf,
    key: String,
    slot: Slot,
}

/// What may be shown, as far as that is known without reading entries; newest first, each key once.
fn find(world: &World, stores: &mut Stores, params: &SessionsListParams, unix_ms: i64) -> Vec<Found> {
    let since = params.active_minutes.map(|it| unix_ms.saturating_sub(it.0.saturating_mul(60_000)));
    let agent = params.agent_id.as_deref().map(normal_id);
    let shown = |key: &str, slot: &Slot| {
        let shown = match key {
            "global" => params.include_global.unwrap_or(false),
            "unknown" => params.include_unknown.unwrap_or(false),
            _ => true,
        };
        shown
            && params.label.as_deref().is_none_or(|it| slot.label() == Some(it))
            && since.is_none_or(|it| slot.updated_at() >= it)
            && agent.as_ref().is_none_or(|id| sessions::agent_of(key).map(normal_id).as_ref() == Some(id))
    };
    let mut found: Vec<Found> = vec![];
    for it in sessions::all(world, stores) {
        let all = it.index().iter().filter(|(key, slot)| shown(key, slot));
        found.extend(all.map(|(key, slot)| Found {
            store: it.path().to_owned(),
            key: key.to_owned(),
            slot: slot.clone(),
        }));
    }
    found.sort_by_key(|it| Reverse(it.slot.updated_at()));
    let mut seen = BTreeSet::new();
    found.retain(|it| seen.insert(it.key.clone()));
    found
}

fn list(world: &World, params: &SessionsListParams, found: Vec<Found>, unix_ms: i64) -> SessionsListReply {
    let defaults = sessions::defaults(world, unix_ms);
    let mut by_agent = BTreeMap::new();
    let limit = params.limit.map_or(usize::MAX, |it| it.0 as usize);
    let mut rows = vec![];
    for it in found {
        if rows.len() == limit {
            break;
        }
        let entry = it.slot.entry();
        let agent_id = sessions::agent_of(&it.key).map_or_else(|| default_id(world), normal_id);
        let default = by_agent
            .entry(agent_id)
            .or_insert_with_key(|agent_id| sessions::model(&world.models, agent_id, unix_ms));
        let mut row = sessions::row(&it.key, &entry, &sessions::model_of(&entry, default));
        if wanted(world, params, &row) {
            add_texts(&mut row, &it.store, &entry, params);
            rows.push(row);
        }
    }
    SessionsListReply { ts: unix_ms, path: "(multiple)".into(), count: rows.len(), defaults, sessions: rows }
}

fn default_id(world: &World) -> String {
    world.config.config.agents.default_id().to_owned()
}

fn wanted(world: &World, params: &SessionsListParams, row: &Map<String, Value>) -> bool {
    let keys = sessions::keys(world);
    let search = params.search.as_deref().unwrap_or_default().trim().to_lowercase();
    let mut texts = ["key", "displayName", "label", "subject", "sessionId"]
        .iter()
        .filter_map(|it| row.get(*it)?.as_str());
    params.spawned_by.as_deref().is_none_or(|by| lookup::is_spawned_by(row, by, keys))
        && (search.is_empty() || texts.any(|it| it.to_lowercase().contains(&search)))
}

/// Characters of a last message. Ours: the reference shows all of it, or nothing of a very long one.
const LAST_MESSAGE_CHARS_MAX: usize = 1000;
/// Messages looked at for one that says something. Ours: a turn with many tools.
const LAST_MESSAGES_MAX: usize = 64;

/// Title and last message. A transcript that cannot be read has neither.
fn add_texts(
    row: &mut Map<String, Value>,
    store: &Path,
    entry: &Map<String, Value>,
    params: &SessionsListParams,
) {
    let (titles, last) =
        (params.include_derived_titles == Some(true), params.include_last_message == Some(true));
    let Some(file) = transcript_file(store, entry).filter(|_| titles || last) else { return };
    let says = |it: &Value, roles: &[&str]| {
        let role = it["role"].as_str().unwrap_or_default();
        history::first_text(it).filter(|_| roles.contains(&role)).map(str::to_owned)
    };
    if titles {
        let field = |name: &str| {
            entry
                .get(name)
                .and_then(Value::as_str)
                .map(str::trim)
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
        };
        let asked = || {
            let first = transcript::first_messages(&file).unwrap_or_default();
            first.iter().find_map(|it| says(it, &["user"])).map(|it| history::title(&it))
        };
        let by_id = || {
            let id: String = field("sessionId")?.chars().take(8).collect();
            let at = row["updatedAt"].as_i64();
            Some(at.map_or_else(|| id.clone(), |at| format!("{id} ({})", date(at))))
        };
        let title = field("displayName").or_else(|| field("subject")).or_else(asked).or_else(by_id);
        row.extend(title.map(|it| ("derivedTitle".to_owned(), it.into())));
    }
    if last {
        let newest = transcript::newest_messages(&file).into_iter().flatten().take(LAST_MESSAGES_MAX);
        let text = newest.filter_map(Result::ok).find_map(|it| says(&it, &["user", "assistant"]));
        let cut = |it: String| it.chars().take(LAST_MESSAGE_CHARS_MAX).collect::<String>();
        row.extend(text.map(|it| ("lastMessagePreview".to_owned(), cut(it).into())));
    }
}

shaped! {
    struct SessionsPreviewParams {
        keys = "keys": NonEmptyList<NonEmpty>,
        limit = "limit": Option<Int<1>>,
        max_chars = "maxChars": Option<Int<20>>,
    }
}
#[derive(Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum PreviewStatus {
    Ok,
    Empty,
    Missing,
    Error,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SessionsPreviewReply {
    ts: i64,
    previews: Vec<Preview>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Preview {
    /// As it was asked for.
    key: String,
    status: PreviewStatus,
    /// Oldest first.
    items: Vec<PreviewItem>,
}

/// Messages shown of a session, and characters of each. Reference.
const ITEMS_DEFAULT: i64 = 12;
const CHARS_DEFAULT: i64 = 240;
const CHARS_MAX: i64 = 2000;

/// The last few things said in each session.
enum SessionsPreview {}
impl Rpc for SessionsPreview {
    const NAME: &'static str = "sessions.preview";
    const ACCESS: Access = Access::Read;
    type Params = SessionsPreviewParams;
    type Reply = SessionsPreviewReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: SessionsPreviewParams,
    ) -> RpcResult<Answer<SessionsPreviewReply>> {
        let (world, ts) = (core.world.clone(), call.now.unix_ms);
        let limit = params.limit.map_or(ITEMS_DEFAULT, |it| it.0) as usize;
        let chars_max = params.max_chars.map_or(CHARS_DEFAULT, |it| it.0).min(CHARS_MAX) as usize;
        Ok(Answer::locate(move |stores| {
            let keys = params.keys.0.iter().map(|it| it.trim()).filter(|it| !it.is_empty());
            let found: Vec<_> = keys
                .take(PREVIEW_KEYS_MAX)
                .map(|key| (key.to_owned(), session(&world, stores, key)))
                .collect();
            let preview = move |(key, found)| preview(key, found, limit.min(PREVIEW_ITEMS_MAX), chars_max);
            Ok(move || Ok(SessionsPreviewReply { ts, previews: found.into_iter().map(preview).collect() }))
        }))
    }
}

/// A session's entry, and the store file that it is in; None for none.
pub(super) fn session(
    world: &World,
    stores: &mut Stores,
    key: &str,
) -> RpcResult<Option<(PathBuf, Map<String, Value>)>> {
    let Ok(it) = sessions::place(world, key) else { return Ok(None) };
    let entry = stores.existing(&it.store, &it.agent_id)?.and_then(|all| all.index().get(&it.key));
    Ok(entry.map(|entry| (it.store, entry.entry())))
}

fn preview(
    key: String,
    found: RpcResult<Option<(PathBuf, Map<String, Value>)>>,
    limit: usize,
    chars_max: usize,
) -> Preview {
    let file = found.map(|it| it.and_then(|(store, entry)| transcript_file(&store, &entry)));
    let nothing = |status| Preview { key: key.clone(), status, items: vec![] };
    let file = match file {
        Ok(Some(file)) => file,
        Ok(None) => return nothing(PreviewStatus::Missing),
        Err(_) => return nothing(PreviewStatus::Error),
    };
    let items = transcript::newest_messages(&file).and_then(|it| history::preview(it, limit, chars_max));
    match items {
        Ok(items) if items.is_empty() => nothing(PreviewStatus::Empty),
        Ok(items) => Preview { key, status: PreviewStatus::Ok, items },
        Err(err) => {
            log::warn!(target: "gateway", "cannot read {}: {err}", file.display());
            nothing(PreviewStatus::Error)
        }
    }
}

shaped! {
    struct SessionsResolveParams {
        key = "key": Option<NonEmpty>,
        session_id = "sessionId": Option<NonEmpty>,
        label = "label": Option<Text<1, 64>>,
        agent_id = "agentId": Option<NonEmpty>,
        spawned_by = "spawnedBy": Option<NonEmpty>,
        include_global = "includeGlobal": Option<bool>,
        include_unknown = "includeUnknown": Option<bool>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SessionsResolveReply {
    ok: bool,
    /// Canonical.
    key: String,
}

/// The key of the session that a key, an id or a label means.
enum SessionsResolve {}
impl Rpc for SessionsResolve {
    const NAME: &'static str = "sessions.resolve";
    const ACCESS: Access = Access::Admin;
    type Params = SessionsResolveParams;
    type Reply = SessionsResolveReply;
    fn call(
        core: &mut Core,
        _: Call,
        params: SessionsResolveParams,
    ) -> RpcResult<Answer<SessionsResolveReply>> {
        let world = core.world.clone();
        Ok(Answer::store(move |stores| {
            let wanted = lookup::Wanted {
                key: params.key.as_deref(),
                session_id: params.session_id.as_deref(),
                label: params.label.as_deref(),
                agent_id: params.agent_id.as_deref(),
                spawned_by: params.spawned_by.as_deref(),
                include_global: params.include_global.unwrap_or(false),
                include_unknown: params.include_unknown.unwrap_or(false),
            };
            let indexes: Vec<_> = sessions::all(&world, stores).into_iter().map(|it| it.index()).collect();
            let key = lookup::resolve(wanted, &indexes, sessions::keys(&world)).map_err(RpcError::invalid)?;
            Ok(SessionsResolveReply { ok: true, key })
        }))
    }
}
