//! `send` and `poll`: words, and questions with answers to choose from, to somebody on a chat network.
use crate::gateway::Core;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{List, NonEmpty};
use crate::shaped;
use serde::Serialize;

pub const METHODS: &[Method] = &[Method::of::<Send>(), Method::of::<Poll>().unlisted()];

shaped! {
    #[expect(dead_code, reason = "no channel is there yet")]
    struct SendParams {
        to = "to": NonEmpty,
        message = "message": NonEmpty,
        media_url = "mediaUrl": Option<String>,
        media_urls = "mediaUrls": Option<Vec<String>>,
        gif_playback = "gifPlayback": Option<bool>,
        channel = "channel": Option<String>,
        account_id = "accountId": Option<String>,
        session_key = "sessionKey": Option<String>,
        idempotency_key = "idempotencyKey": NonEmpty,
    }
}

shaped! {
    #[expect(dead_code, reason = "no channel is there yet")]
    struct PollParams {
        to = "to": NonEmpty,
        question = "question": NonEmpty,
        options = "options": List<NonEmpty, 2, 12>,
        max_selections = "maxSelections": Option<Int<1, 12>>,
        duration_hours = "durationHours": Option<Int<1>>,
        channel = "channel": Option<String>,
        account_id = "accountId": Option<String>,
        idempotency_key = "idempotencyKey": NonEmpty,
    }
}

/// What the network calls what was sent, and where it went.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SentReply {
    /// The idempotency key.
    run_id: String,
    message_id: String,
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_id: Option<String>,
}

/// Reference: where neither caller nor configuration names one.
const CHANNEL_DEFAULT: &str = "whatsapp";

fn channel(named: Option<&String>) -> String {
    let named = named.map(|it| it.trim().to_lowercase()).filter(|it| !it.is_empty());
    named.unwrap_or_else(|| CHANNEL_DEFAULT.to_owned())
}

enum Send {}
impl Rpc for Send {
    const NAME: &'static str = "send";
    const ACCESS: Access = Access::Write;
    type Params = SendParams;
    type Reply = SentReply;
    fn call(_: &mut Core, _: Call, params: SendParams) -> RpcResult<Answer<SentReply>> {
        Err(RpcError::invalid(format!("unsupported channel: {}", channel(params.channel.as_ref()))))
    }
}

enum Poll {}
impl Rpc for Poll {
    const NAME: &'static str = "poll";
    const ACCESS: Access = Access::Admin;
    type Params = PollParams;
    type Reply = SentReply;
    fn call(_: &mut Core, _: Call, params: PollParams) -> RpcResult<Answer<SentReply>> {
        Err(RpcError::invalid(format!("unsupported poll channel: {}", channel(params.channel.as_ref()))))
    }
}
