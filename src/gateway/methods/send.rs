//! `send` and `poll`: words, and questions with answers to choose from, to somebody on a chat network.
use crate::channels::{Action, Words};
use crate::gateway::Core;
use crate::gateway::channels::mirror::{self, Mirror};
use crate::gateway::channels::outbound::{self, Doing, Found};
use crate::gateway::channels::wished::{Unfit, Wished};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{List, NonEmpty};
use crate::shaped;
use serde::Serialize;
use serde_json::{Map, Value};

pub const METHODS: &[Method] =
    &[Method::of::<Send>(), Method::of::<Poll>().unlisted(), Method::of::<MessageAction>().unlisted()];

shaped! {
    struct SendParams {
        to = "to": NonEmpty,
        message = "message": NonEmpty,
        media_url = "mediaUrl": Option<String>,
        media_urls = "mediaUrls": Option<Vec<String>>,
        #[expect(dead_code, reason = "WhatsApp's")]
        gif_playback = "gifPlayback": Option<bool>,
        channel = "channel": Option<String>,
        account_id = "accountId": Option<String>,
        session_key = "sessionKey": Option<String>,
        idempotency_key = "idempotencyKey": NonEmpty,
    }
}

shaped! {
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

shaped! {
    struct MessageActionParams {
        channel = "channel": NonEmpty,
        action = "action": NonEmpty,
        params = "params": Value,
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

/// Reference: where the caller names none.
const CHANNEL_DEFAULT: &str = "whatsapp";

fn given(text: &Option<String>) -> Option<String> {
    text.as_deref().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned)
}
fn channel(named: &Option<String>) -> String {
    given(named).map_or_else(|| CHANNEL_DEFAULT.to_owned(), |it| it.to_lowercase())
}

/// Has it done, once for each key.
fn start(core: &mut Core, call: Call, key: &str, run_id: &str, doing: Doing) -> RpcResult<Answer<SentReply>> {
    let mut doing = doing;
    doing.reply.insert("runId".into(), run_id.into());
    outbound::call(core, key, doing, call.asked)?;
    Ok(Answer::Held)
}

fn doing(found: Found, action: Action, mirror: Option<Mirror>) -> Doing {
    let mut reply = Map::new();
    reply.insert("channel".into(), found.account.0.into());
    Doing { account: found.account, action, reply, mirror }
}

/// In the session of the default agent with that chat.
fn in_chat(core: &Core, found: &Found, action: &Action) -> Option<Mirror> {
    mirror::in_chat(core, core.world.config.config.agents.default_id(), &found.account, action)
}

enum Send {}
impl Rpc for Send {
    const NAME: &'static str = "send";
    const ACCESS: Access = Access::Write;
    type Params = SendParams;
    type Reply = SentReply;
    fn call(core: &mut Core, call: Call, params: SendParams) -> RpcResult<Answer<SentReply>> {
        let key = format!("send:{}", &*params.idempotency_key);
        if outbound::came_before(core, &key, call.asked, call.now) {
            return Ok(Answer::Held);
        }
        let account = given(&params.account_id);
        let found = outbound::find(
            core,
            "unsupported channel",
            &channel(&params.channel),
            account.as_deref(),
            &params.to,
        )?;
        let media: Vec<String> =
            given(&params.media_url).into_iter().chain(params.media_urls.into_iter().flatten()).collect();
        let words = Words {
            target: found.target.clone(),
            text: params.message.to_string(),
            media,
            reply_to: None,
            buttons: None,
            silent: false,
            as_voice: false,
        };
        let action = Action::Send(words);
        let mirror = match given(&params.session_key) {
            Some(session) => mirror::in_session(core, &session.to_lowercase(), &action),
            None => in_chat(core, &found, &action),
        };
        start(core, call, &key, &params.idempotency_key, doing(found, action, mirror))
    }
}

enum Poll {}
impl Rpc for Poll {
    const NAME: &'static str = "poll";
    const ACCESS: Access = Access::Admin;
    type Params = PollParams;
    type Reply = SentReply;
    fn call(core: &mut Core, call: Call, params: PollParams) -> RpcResult<Answer<SentReply>> {
        let key = format!("poll:{}", &*params.idempotency_key);
        if outbound::came_before(core, &key, call.asked, call.now) {
            return Ok(Answer::Held);
        }
        let account = given(&params.account_id);
        let found = outbound::find(
            core,
            "unsupported poll channel",
            &channel(&params.channel),
            account.as_deref(),
            &params.to,
        )?;
        let action = Action::Poll {
            target: found.target.clone(),
            question: params.question.to_string(),
            options: params.options.0.into_iter().map(|it| it.0).collect(),
            max_selections: params.max_selections.map_or(1, |it| it.0),
            hours: params.duration_hours.map(|it| it.0),
            silent: false,
        };
        start(core, call, &key, &params.idempotency_key, doing(found, action, None))
    }
}

/// What networks can do besides: protocol 4's. `send`, `react`, `edit`, `delete`, `sticker`; `to` and what the action needs are in
/// `params`.
enum MessageAction {}
impl Rpc for MessageAction {
    const NAME: &'static str = "message.action";
    const ACCESS: Access = Access::Write;
    type Params = MessageActionParams;
    type Reply = Value;
    fn call(core: &mut Core, call: Call, params: MessageActionParams) -> RpcResult<Answer<Value>> {
        let key = format!("message.action:{}", &*params.idempotency_key);
        if outbound::came_before(core, &key, call.asked, call.now) {
            return Ok(Answer::Held);
        }
        let wished = Wished(&params.params);
        let account = given(&params.account_id);
        let to = wished.needed(&["to", "target", "chatId"]).map_err(unfit)?;
        let name = params.channel.trim().to_lowercase();
        let mut found = outbound::find(core, "unsupported channel", &name, account.as_deref(), &to)?;
        found.target.thread = wished.text(&["threadId", "messageThreadId"]).or(found.target.thread);
        let action = match &*params.action {
            // The method `poll` is the admin's.
            "poll" => return Err(RpcError::invalid("unsupported action: poll")),
            name => wished.action(name, &found.target).map_err(unfit)?,
        };
        let mirror = in_chat(core, &found, &action);
        let mut doing = doing(found, action, mirror);
        doing.reply.insert("action".into(), params.action.to_string().into());
        outbound::call(core, &key, doing, call.asked)?;
        Ok(Answer::Held)
    }
}

fn unfit(it: Unfit) -> RpcError {
    RpcError::invalid(match it {
        Unfit::Missing(name) => {
            format!("invalid message.action params: at /params: must have required property '{name}'")
        }
        Unfit::Wrong(text) => text,
    })
}
