//! `chat.*`: a conversation as people have it. What comes of a message is told by events.
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::runs::abort::{is_stop_word, stop_chat, stop_one};
use crate::gateway::runs::accept::accept;
use crate::gateway::runs::events::Stop;
use crate::gateway::runs::request::{Kind, Request};
use crate::gateway::runs::{self, Known, Sink};
use crate::gateway::{Core, attachments, commands, sessions};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::NonEmpty;
use crate::shaped;
use crate::store::entry::thinking_level;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub const METHODS: &[Method] = &[Method::of::<ChatAbort>(), Method::of::<ChatSend>()];

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
        match runs::known(core, Kind::Chat, &run_id, call.now) {
            Known::New => {}
            Known::UnderWay(_) => {
                return Ok(Answer::Now(ChatSendReply::run(run_id, "in_flight")));
            }
            Known::Answered(answer) => {
                core.answer_again(call.asked, &answer, call.now);
                return Ok(Answer::Held);
            }
        }
        let command = commands::given(core, call.conn, message, !images.is_empty());
        let request = Request { images, command, ..request(core, &params, &session_key, call.now.unix_ms)? };
        let run = runs::reserve(core, request.clone(), vec![Sink::Chat])?;
        runs::watch(core, run, call.conn);
        let asked = call.asked.clone();
        accept(core, run, request, move |core, promised, now| {
            let reply = ChatSendReply::run(run_id, "started");
            core.answer(&asked, promised.map(|()| raw(&reply)).as_deref().map_err(Clone::clone), now);
        });
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
        session_id: None,
        message: params.message.trim().to_owned(),
        images: vec![],
        thinking: params.thinking.as_deref().and_then(thinking_level).map(str::to_owned),
        extra_system_prompt: None,
        timeout_ms: params.timeout_ms.map(|it| it.0 as u64).filter(|it| *it > 0).unwrap_or(agents.timeout_ms),
        channel: Some("webchat".into()),
        entry,
        deliver_to: None,
        only_compact: None,
        once: Map::new(),
        new_session: None,
        queue_mode: None,
        command: None,
        accepted_at: unix_ms,
        lives: 0,
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
