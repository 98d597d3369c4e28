//! `sessions.patch`, `sessions.reset`, `sessions.delete`, `sessions.compact`: done by the store thread, answered when durable.
use crate::base::ids;
use crate::gateway::registry::{Answer, Call, Rpc, erased};
use crate::gateway::runs::abort::when_idle;
use crate::gateway::runs::events::Stop;
use crate::gateway::sessions::{self, Place};
use crate::gateway::{Core, World};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::{Field, Int, Shape, Shaped};
use crate::protocol::types::{NonEmpty, Text};
use crate::shaped;
use crate::store::entry::{self, Around};
use crate::store::stores::Stores;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// As they came: a field that is absent is left, one that is null is cleared.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct SessionsPatchParams(Map<String, Value>);

const TEXT: Shape = Shape::AnyOf(&[NonEmpty::SHAPE, Shape::Null]);

const fn field(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, shape, required: false }
}

impl Shaped for SessionsPatchParams {
    const SHAPE: Shape = Shape::Named {
        name: "SessionsPatchParams",
        shape: &Shape::Object {
            fields: &[
                Field { name: "key", shape: &NonEmpty::SHAPE, required: true },
                field("label", &Shape::AnyOf(&[Text::<1, 64>::SHAPE, Shape::Null])),
                field("thinkingLevel", &TEXT),
                field("verboseLevel", &TEXT),
                field("reasoningLevel", &TEXT),
                field(
                    "responseUsage",
                    &Shape::AnyOf(&[
                        Shape::Literal("off"),
                        Shape::Literal("tokens"),
                        Shape::Literal("full"),
                        Shape::Literal("on"),
                        Shape::Null,
                    ]),
                ),
                field("elevatedLevel", &TEXT),
                field("execHost", &TEXT),
                field("execSecurity", &TEXT),
                field("execAsk", &TEXT),
                field("execNode", &TEXT),
                field("model", &TEXT),
                field("spawnedBy", &TEXT),
                field(
                    "sendPolicy",
                    &Shape::AnyOf(&[Shape::Literal("allow"), Shape::Literal("deny"), Shape::Null]),
                ),
                field(
                    "groupActivation",
                    &Shape::AnyOf(&[Shape::Literal("mention"), Shape::Literal("always"), Shape::Null]),
                ),
            ],
        },
    };
}
crate::described_by_shape!(SessionsPatchParams);

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct SessionsPatchReply {
    ok: bool,
    /// The store file.
    path: PathBuf,
    /// Canonical.
    key: String,
    /// As it is stored now.
    entry: Map<String, Value>,
    resolved: Resolved,
}

/// What the session's next run is asked of.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Resolved {
    model_provider: String,
    model: String,
}

/// Sets and clears what a session keeps; makes it when there is none.
pub(super) enum SessionsPatch {}
impl Rpc for SessionsPatch {
    const NAME: &'static str = "sessions.patch";
    const ACCESS: Access = Access::Admin;
    type Params = SessionsPatchParams;
    type Reply = SessionsPatchReply;
    fn call(core: &mut Core, _: Call, params: SessionsPatchParams) -> RpcResult<Answer<SessionsPatchReply>> {
        let world = core.world.clone();
        let place = sessions::place(&world, params.0["key"].as_str().unwrap_or_default())?;
        Ok(Answer::store(move |stores| patch(&world, stores, place, &params.0)))
    }
}

fn patch(
    world: &World,
    stores: &mut Stores,
    place: Place,
    patch: &Map<String, Value>,
) -> RpcResult<SessionsPatchReply> {
    let Place { key, agent_id, store } = place;
    let default = sessions::model(&world.models, &agent_id, stores.now().unix_ms);
    let (all, now, entropy) = stores.open(&store, &agent_id)?;
    let new_session_id = ids::uuid(entropy);
    let find_model = |name: &str| {
        sessions::named_model(&world.models, &agent_id, name, &default).map(|it| (it.provider, it.model))
    };
    let edit = |before, index: &crate::store::index::Index| {
        let around = Around {
            unix_ms: now.unix_ms,
            new_session_id: &new_session_id,
            default_model: (&default.provider, &default.model),
            label_taken: &|label| index.has_label(label, &key),
            find_model: &find_model,
        };
        entry::patch(&key, before, patch, &around)
    };
    let entry = all.change(&key, edit, now)?;
    let model = sessions::model_of(&entry, &default);
    let resolved = Resolved { model_provider: model.provider, model: model.model };
    Ok(SessionsPatchReply { ok: true, path: store, key, entry, resolved })
}

shaped! { pub(super) struct SessionsResetParams { key = "key": NonEmpty } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct SessionsResetReply {
    ok: bool,
    key: String,
    /// As it is stored now.
    entry: Map<String, Value>,
}

/// A new conversation under the same key. The old transcript stays.
pub(super) enum SessionsReset {}
impl Rpc for SessionsReset {
    const NAME: &'static str = "sessions.reset";
    const ACCESS: Access = Access::Admin;
    type Params = SessionsResetParams;
    type Reply = SessionsResetReply;
    fn call(core: &mut Core, _: Call, params: SessionsResetParams) -> RpcResult<Answer<SessionsResetReply>> {
        let Place { key, agent_id, store } = sessions::place(&core.world, &params.key)?;
        Ok(Answer::store(move |stores| {
            let (all, now, entropy) = stores.open(&store, &agent_id)?;
            let entry = all.reset(&key, &ids::uuid(entropy), now)?;
            Ok(SessionsResetReply { ok: true, key, entry })
        }))
    }
}

shaped! { pub(super) struct SessionsDeleteParams { key = "key": NonEmpty, delete_transcript = "deleteTranscript": Option<bool> } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct SessionsDeleteReply {
    ok: bool,
    key: String,
    /// Whether there was one.
    deleted: bool,
    /// What its transcript is called now.
    archived: Vec<PathBuf>,
}

/// Forgets a session, once what runs in it has ended. The main one stays: it can be reset.
pub(super) enum SessionsDelete {}
impl Rpc for SessionsDelete {
    const NAME: &'static str = "sessions.delete";
    const ACCESS: Access = Access::Admin;
    type Params = SessionsDeleteParams;
    type Reply = SessionsDeleteReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: SessionsDeleteParams,
    ) -> RpcResult<Answer<SessionsDeleteReply>> {
        let Place { key, agent_id, store } = sessions::place(&core.world, &params.key)?;
        let keys = sessions::keys(&core.world);
        if key == sessions::main_key(keys.default_agent, keys.global) {
            return Err(RpcError::invalid(format!("Cannot delete the main session ({key}).")));
        }
        let transcript = params.delete_transcript.unwrap_or(true);
        let (asked, lane) = (call.asked.clone(), key.clone());
        let delete = Answer::store(move |stores| delete(stores, key, &agent_id, &store, transcript));
        let then = move |core: &mut Core, idle, now| match idle {
            Ok(()) => core.carry_out(asked, erased::<SessionsDelete>(delete), now),
            Err(error) => core.answer(&asked, Err(error), now),
        };
        when_idle(core, &lane, Stop::Deleted, call.now, Box::new(then));
        Ok(Answer::Held)
    }
}

fn delete(
    stores: &mut Stores,
    key: String,
    agent_id: &str,
    store: &Path,
    transcript: bool,
) -> RpcResult<SessionsDeleteReply> {
    if stores.existing(store, agent_id)?.is_none() {
        return Ok(SessionsDeleteReply { ok: true, key, deleted: false, archived: vec![] });
    }
    let (all, now, _) = stores.open(store, agent_id)?;
    let gone = all.delete(&key, transcript, now)?;
    let deleted = gone.is_some();
    Ok(SessionsDeleteReply { ok: true, key, deleted, archived: gone.unwrap_or_default() })
}

shaped! { pub(super) struct SessionsCompactParams { key = "key": NonEmpty, max_lines = "maxLines": Option<Int<1>> } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct SessionsCompactReply {
    ok: bool,
    key: String,
    compacted: bool,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The whole transcript as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    archived: Option<PathBuf>,
    /// Entries that are there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<usize>,
}

/// Lines kept. Reference.
const LINES_DEFAULT: i64 = 400;

/// Keeps the end of a transcript.
pub(super) enum SessionsCompact {}
impl Rpc for SessionsCompact {
    const NAME: &'static str = "sessions.compact";
    const ACCESS: Access = Access::Admin;
    type Params = SessionsCompactParams;
    type Reply = SessionsCompactReply;
    fn call(
        core: &mut Core,
        _: Call,
        params: SessionsCompactParams,
    ) -> RpcResult<Answer<SessionsCompactReply>> {
        let Place { key, agent_id, store } = sessions::place(&core.world, &params.key)?;
        let lines_max = params.max_lines.map_or(LINES_DEFAULT, |it| it.0) as usize;
        Ok(Answer::store(move |stores| compact(stores, key, &agent_id, &store, lines_max)))
    }
}

fn compact(
    stores: &mut Stores,
    key: String,
    agent_id: &str,
    store: &Path,
    lines_max: usize,
) -> RpcResult<SessionsCompactReply> {
    let nothing = |key, reason| {
        Ok(SessionsCompactReply {
            ok: true,
            key,
            compacted: false,
            reason: Some(reason),
            archived: None,
            kept: None,
        })
    };
    let slot = stores.existing(store, agent_id)?.and_then(|it| it.index().get(&key));
    if slot.and_then(|it| it.session_id()).is_none() {
        return nothing(key, "no sessionId");
    }
    let (all, now, _) = stores.open(store, agent_id)?;
    let Some(done) = all.keep_last(&key, lines_max, now)? else { return nothing(key, "no transcript") };
    let (compacted, kept) = (done.archived.is_some(), Some(done.kept));
    Ok(SessionsCompactReply { ok: true, key, compacted, reason: None, archived: done.archived, kept })
}
