//! `chat.*`: a conversation as people have it. What comes of a message is told by events.
use super::sessions::session;
use crate::gateway::events::CHAT;
use crate::gateway::registry::{Answer, Call, Finish, Method, Rpc};
use crate::gateway::runs::abort::{is_stop_word, stop_chat, stop_one};
use crate::gateway::runs::accept::{accept_and_reply, before};
use crate::gateway::runs::events::{ChatEvent, ChatState, Stop};
use crate::gateway::runs::request::{Kind, Request};
use crate::gateway::runs::{self, Sink};
use crate::gateway::sessions::Place;
use crate::gateway::{Core, World, attachments, commands, sessions};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{NonEmpty, Text};
use crate::shaped;
use crate::store::agent_sessions::{Behind, transcript_file};
use crate::store::entry::thinking_level;
use crate::store::history::{history, injected};
use crate::store::stores::Stores;
use crate::store::transcript::{Entry, last_messages};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

pub const METHODS: &[Method] = &[
    Method::of::<ChatHistory>(),
    Method::of::<ChatAbort>(),
    Method::of::<ChatSend>(),
    Method::of::<ChatInject>().unlisted(),
];

shaped! {
    struct ChatSendParams {
        session_key = "sessionKey": NonEmpty,
        message = "message": String,
        thinking = "thinking": Option<String>,
        #[expect(dead_code, reason = "a channel's; none is there yet")]
        deliver = "deliver": Option<bool>,
        attachments = "attachments": Option<Vec<Value>>,
        timeout_ms = "timeoutMs": Option<Int<0>>,
        idempotency_key = "idempotencyKey": NonEmpty,
    }
}

/// Of a message: `runId` and `status`. Of a word that stops what runs: the others.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ChatSendReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    /// `started`, `in_flight` or `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aborted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ids: Option<Vec<String>>,
}

impl ChatSendReply {
    fn run(run_id: String, status: &'static str) -> ChatSendReply {
        ChatSendReply { run_id: Some(run_id), status: Some(status), ..ChatSendReply::default() }
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ChatAbortReply {
    ok: bool,
    aborted: bool,
    run_ids: Vec<String>,
}

impl ChatAbortReply {
    fn of(run_ids: Vec<String>) -> ChatAbortReply {
        ChatAbortReply { ok: true, aborted: !run_ids.is_empty(), run_ids }
    }
}

enum ChatSend {}
impl Rpc for ChatSend {
    const NAME: &'static str = "chat.send";
    const ACCESS: Access = Access::Write;
    type Params = ChatSendParams;
    type Reply = ChatSendReply;
    fn call(core: &mut Core, call: Call, params: ChatSendParams) -> RpcResult<Answer<ChatSendReply>> {
        let images = attachments::images(params.attachments.as_deref().unwrap_or_default())?;
        let message = params.message.trim();
        if message.is_empty() && images.is_empty() {
            return Err(RpcError::invalid("message or attachment required"));
        }
        let session_key = params.session_key.trim().to_owned();
        if is_stop_word(message) {
            let it = ChatAbortReply::of(stop_chat(core, &session_key, Stop::Command, call.now));
            let (ok, aborted, run_ids) = (Some(it.ok), Some(it.aborted), Some(it.run_ids));
            return Ok(Answer::Now(ChatSendReply { ok, aborted, run_ids, ..ChatSendReply::default() }));
        }
        let run_id = params.idempotency_key.to_string();
        let of = run_id.clone();
        let under_way = move |_| ChatSendReply::run(of.clone(), "in_flight");
        if let Some(answer) = before(core, Kind::Chat, &run_id, call.asked, call.now, &under_way) {
            return Ok(answer);
        }
        let command = commands::given(core, call.conn, message, !images.is_empty());
        let request = Request { images, command, ..request(core, &params, &session_key, call.now.unix_ms)? };
        let run = runs::reserve(core, request.clone(), vec![Sink::Chat])?;
        runs::watch(core, run, call.conn);
        let reply = ChatSendReply::run(run_id, "started");
        accept_and_reply(core, run, request, call.asked.clone(), reply, under_way);
        Ok(Answer::Held)
    }
}

fn request(core: &Core, params: &ChatSendParams, session_key: &str, unix_ms: i64) -> RpcResult<Request> {
    let world = &core.world;
    let key = sessions::canonical(world, session_key)
        .ok_or_else(|| RpcError::invalid("invalid chat.send params: sessionKey is blank"))?;
    let agents = &world.config.config.agents;
    let agent_id = sessions::agent_of(&key).map(crate::config::normal_id);
    let mut entry = Map::new();
    for (name, value) in [
        ("chatType", json!("direct")),
        ("deliveryContext", json!({ "channel": "webchat" })),
        ("lastChannel", json!("webchat")),
        ("origin", json!({ "provider": "webchat", "surface": "webchat", "chatType": "direct" })),
    ] {
        entry.insert(name.into(), value);
    }
    Ok(Request {
        kind: Kind::Chat,
        run_id: params.idempotency_key.to_string(),
        session_key: Some(session_key.to_owned()),
        key,
        agent_id: agent_id.unwrap_or_else(|| agents.default_id().to_owned()),
        message: params.message.trim().to_owned(),
        thinking: params.thinking.as_deref().and_then(thinking_level).map(str::to_owned),
        timeout_ms: params.timeout_ms.map(|it| it.0 as u64).filter(|it| *it > 0).unwrap_or(agents.timeout_ms),
        channel: Some("webchat".into()),
        entry,
        accepted_at: unix_ms,
        ..Request::default()
    })
}

shaped! {
    struct ChatAbortParams {
        session_key = "sessionKey": NonEmpty,
        run_id = "runId": Option<NonEmpty>,
    }
}

enum ChatAbort {}
impl Rpc for ChatAbort {
    const NAME: &'static str = "chat.abort";
    const ACCESS: Access = Access::Write;
    type Params = ChatAbortParams;
    type Reply = ChatAbortReply;
    fn call(core: &mut Core, call: Call, params: ChatAbortParams) -> RpcResult<Answer<ChatAbortReply>> {
        let run_ids = match &params.run_id {
            None => stop_chat(core, params.session_key.trim(), Stop::Rpc, call.now),
            Some(run_id) => {
                let stopped = stop_one(core, params.session_key.trim(), run_id, call.now)?;
                if stopped { vec![run_id.to_string()] } else { vec![] }
            }
        };
        Ok(Answer::Now(ChatAbortReply::of(run_ids)))
    }
}

shaped! { struct ChatHistoryParams { session_key = "sessionKey": NonEmpty, limit = "limit": Option<Int<1, 1000>> } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ChatHistoryReply {
    /// As it was asked for.
    session_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Oldest first, as stored; users' words without what was put around them.
    messages: Vec<Value>,
    thinking_level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbose_level: Option<String>,
}

/// Messages shown. Reference.
const MESSAGES_DEFAULT: i64 = 200;

/// The last messages of a session; none of one that there is not.
enum ChatHistory {}
impl Rpc for ChatHistory {
    const NAME: &'static str = "chat.history";
    const ACCESS: Access = Access::Read;
    type Params = ChatHistoryParams;
    type Reply = ChatHistoryReply;
    fn call(core: &mut Core, call: Call, params: ChatHistoryParams) -> RpcResult<Answer<ChatHistoryReply>> {
        let (world, unix_ms) = (core.world.clone(), call.now.unix_ms);
        Ok(Answer::locate(move |stores| {
            let found = session(&world, stores, &params.session_key)?;
            Ok(move || read(&world, params, found, unix_ms))
        }))
    }
}

fn read(
    world: &World,
    params: ChatHistoryParams,
    found: Option<(PathBuf, Map<String, Value>)>,
    unix_ms: i64,
) -> RpcResult<ChatHistoryReply> {
    let limit = params.limit.map_or(MESSAGES_DEFAULT, |it| it.0) as usize;
    let file = found.as_ref().and_then(|(store, entry)| transcript_file(store, entry));
    let messages = match file {
        None => vec![],
        Some(file) => last_messages(&file, limit)
            .map_err(|err| RpcError::unavailable(format!("cannot read {}: {err}", file.display())))?,
    };
    let entry = found.map(|it| it.1).unwrap_or_default();
    let agent_id = sessions::place(world, &params.session_key).map(|it| it.agent_id);
    let agent_id = agent_id.unwrap_or_else(|_| sessions::keys(world).default_agent.to_owned());
    let model = sessions::model_of(&entry, &sessions::model(&world.models, &agent_id, unix_ms));
    Ok(ChatHistoryReply {
        session_key: params.session_key.0,
        session_id: entry.get("sessionId").and_then(Value::as_str).map(str::to_owned),
        messages: history(messages),
        thinking_level: sessions::thinking_level(world, &entry, &model),
        verbose_level: sessions::verbose_level(world, &entry),
    })
}

shaped! {
    struct ChatInjectParams {
        session_key = "sessionKey": NonEmpty,
        message = "message": NonEmpty,
        label = "label": Option<Text<0, 100>>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ChatInjectReply {
    ok: bool,
    /// The id of its entry in the transcript.
    message_id: String,
}

/// Puts words into the assistant's mouth: they are shown, and a model is told that it said them.
enum ChatInject {}
impl Rpc for ChatInject {
    const NAME: &'static str = "chat.inject";
    const ACCESS: Access = Access::Admin;
    type Params = ChatInjectParams;
    type Reply = ChatInjectReply;
    fn call(core: &mut Core, _: Call, params: ChatInjectParams) -> RpcResult<Answer<ChatInjectReply>> {
        let world = core.world.clone();
        Ok(Answer::Stored(Box::new(move |stores| match inject(&world, stores, &params) {
            Err(error) => Box::new(move |_, _| Err(error)),
            Ok((message_id, message)) => Box::new(move |core: &mut Core, _| {
                let run_id = format!("inject-{message_id}");
                let event = ChatEvent::new(&run_id, &params.session_key, 0, ChatState::Final);
                core.broadcast(&CHAT, &ChatEvent { message: Some(message), ..event });
                Ok(ChatInjectReply { ok: true, message_id })
            }) as Finish<ChatInjectReply>,
        })))
    }
}

/// The id and the message of the new entry.
fn inject(world: &World, stores: &mut Stores, params: &ChatInjectParams) -> RpcResult<(String, Value)> {
    let none = || RpcError::invalid("session not found");
    let Place { key, agent_id, store } = sessions::place(world, &params.session_key).map_err(|_| none())?;
    let all = stores.existing(&store, &agent_id)?.filter(|it| it.index().get(&key).is_some());
    let file = all.ok_or_else(none)?.transcript(&key).ok_or_else(none)?;
    if !file.is_file() {
        return Err(RpcError::invalid("transcript file not found"));
    }
    let (all, now, entropy) = stores.open(&store, &agent_id)?;
    let label = params.label.as_deref().filter(|it| !it.is_empty());
    let message = injected(&params.message, label, now.unix_ms);
    let cwd = sessions::workspace(world, &agent_id).display().to_string();
    let entries = [Entry::Message { message: message.clone() }];
    let mut ids = all.append(&key, &cwd, Behind::Leaf, &entries, now, entropy)?;
    Ok((ids.pop().unwrap_or_default(), message))
}
