//! `chat.history`, `chat.inject`: what was said in a conversation.
use super::sessions::session;
use crate::gateway::events::{CHAT, ChatEvent};
use crate::gateway::registry::{Answer, Call, Finish, Method, Rpc};
use crate::gateway::sessions::{self, Place};
use crate::gateway::{Core, World};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{NonEmpty, Text};
use crate::shaped;
use crate::store::agent_sessions::{Behind, transcript_file};
use crate::store::history::{history, injected};
use crate::store::stores::Stores;
use crate::store::transcript::{Entry, last_messages};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

pub const METHODS: &[Method] = &[Method::of::<ChatHistory>(), Method::of::<ChatInject>().unlisted()];

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
    let models = sessions::models(world);
    let agent_id = sessions::place(world, &params.session_key).map(|it| it.agent_id);
    let agent_id = agent_id.unwrap_or_else(|_| sessions::keys(world).default_agent.to_owned());
    let model = sessions::model_of(&entry, &sessions::model(&models, &agent_id, unix_ms));
    Ok(ChatHistoryReply {
        session_key: params.session_key.0,
        session_id: entry.get("sessionId").and_then(Value::as_str).map(str::to_owned),
        messages: history(messages),
        thinking_level: sessions::thinking_level(world, &models, &entry, &model),
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
                let event = ChatEvent {
                    run_id: format!("inject-{message_id}"),
                    session_key: params.session_key.0,
                    seq: 0,
                    state: "final",
                    message: Some(message),
                    error_message: None,
                    stop_reason: None,
                };
                core.broadcast(&CHAT, &event);
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
