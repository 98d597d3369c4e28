//! `send` and `poll`: words, and questions with answers to choose from, to somebody on a chat network.
use crate::channels::{Action, Target, Words};
use crate::gateway::Core;
use crate::gateway::channels::outbound::{self, Found};
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
        #[expect(dead_code, reason = "what is sent is not repeated in a session")]
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
fn start(
    core: &mut Core,
    call: Call,
    key: &str,
    run_id: &str,
    found: Found,
    action: Action,
) -> RpcResult<Answer<SentReply>> {
    let mut reply = Map::new();
    reply.insert("runId".into(), run_id.into());
    reply.insert("channel".into(), found.account.0.into());
    outbound::call(core, key, found, action, reply, call.asked)?;
    Ok(Answer::Held)
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
        start(core, call, &key, &params.idempotency_key, found, Action::Send(words))
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
        start(core, call, &key, &params.idempotency_key, found, action)
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
        let to = wished.needed(&["to", "target", "chatId"])?;
        let name = params.channel.trim().to_lowercase();
        let mut found = outbound::find(core, "unsupported channel", &name, account.as_deref(), &to)?;
        found.target.thread = wished.text(&["threadId", "messageThreadId"]).or(found.target.thread);
        let action = wished.action(&params.action, &found.target)?;
        let mut reply = Map::new();
        reply.insert("channel".into(), found.account.0.into());
        reply.insert("action".into(), params.action.to_string().into());
        outbound::call(core, &key, found, action, reply, call.asked)?;
        Ok(Answer::Held)
    }
}

/// The params of an action.
struct Wished<'p>(&'p Value);

impl Wished<'_> {
    /// The first of these that is there; numbers are taken as text.
    fn text(&self, names: &[&str]) -> Option<String> {
        let read =
            |it: &Value| it.as_str().map(str::to_owned).or_else(|| it.as_i64().map(|it| it.to_string()));
        names
            .iter()
            .filter_map(|name| read(&self.0[*name]))
            .map(|it| it.trim().to_owned())
            .find(|it| !it.is_empty())
    }
    fn needed(&self, names: &[&str]) -> RpcResult<String> {
        let text = || {
            format!("invalid message.action params: at /params: must have required property '{}'", names[0])
        };
        self.text(names).ok_or_else(|| RpcError::invalid(text()))
    }
    fn action(&self, name: &str, target: &Target) -> RpcResult<Action> {
        let target = target.clone();
        Ok(match name {
            "send" | "sticker" => {
                let sticker = self.text(&["fileId"]).map(|it| format!("sticker:{it}"));
                let media: Vec<String> =
                    self.text(&["media", "mediaUrl"]).into_iter().chain(sticker).collect();
                let text = self.text(&["message", "text", "content"]).unwrap_or_default();
                if text.is_empty() && media.is_empty() {
                    self.needed(&[if name == "send" { "message" } else { "fileId" }])?;
                }
                Action::Send(Words {
                    target,
                    text,
                    media,
                    reply_to: self.text(&["replyTo", "replyToMessageId"]),
                    buttons: Some(self.0["buttons"].clone()).filter(Value::is_array),
                    silent: self.0["silent"] == true,
                    as_voice: self.0["asVoice"] == true,
                })
            }
            "react" => {
                let emoji = self.text(&["emoji"]).filter(|_| self.0["remove"] != true);
                Action::React { target, message_id: self.needed(&["messageId"])?, emoji }
            }
            "edit" => {
                let text = self.needed(&["message", "text"])?;
                Action::Edit { target, message_id: self.needed(&["messageId"])?, text }
            }
            "delete" => Action::Delete { target, message_id: self.needed(&["messageId"])? },
            "read" => {
                return Err(RpcError::invalid(
                    "this network shows a bot no history: what was said to it is in its session (sessions, chat.history)",
                ));
            }
            other => return Err(RpcError::invalid(format!("unsupported action: {other}"))),
        })
    }
}
