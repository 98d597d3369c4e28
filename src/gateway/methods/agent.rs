//! `agent` and `agent.wait`: a run for whoever asks, answered twice: accepted, then what came of it.
use crate::base::limits::RUN_WAIT_MS;
use crate::config::normal_id;
use crate::gateway::channels::outbound;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::runs::accept::{accept_and_reply, before, is_session_id};
use crate::gateway::runs::request::{Kind, Reply, Request};
use crate::gateway::runs::wait::{self, WaitReply};
use crate::gateway::runs::{self, Sink};
use crate::gateway::{Core, attachments, sessions};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{NonEmpty, Text};
use crate::shaped;
use crate::store::entry::thinking_level;
use serde::Serialize;
use serde_json::{Map, Value};

pub const METHODS: &[Method] = &[Method::of::<Agent>(), Method::of::<AgentWait>()];

shaped! {
    struct AgentParams {
        message = "message": NonEmpty,
        agent_id = "agentId": Option<NonEmpty>,
        to = "to": Option<String>,
        reply_to = "replyTo": Option<String>,
        session_id = "sessionId": Option<String>,
        session_key = "sessionKey": Option<String>,
        thinking = "thinking": Option<String>,
        deliver = "deliver": Option<bool>,
        attachments = "attachments": Option<Vec<Value>>,
        channel = "channel": Option<String>,
        reply_channel = "replyChannel": Option<String>,
        account_id = "accountId": Option<String>,
        reply_account_id = "replyAccountId": Option<String>,
        thread_id = "threadId": Option<String>,
        group_id = "groupId": Option<String>,
        group_channel = "groupChannel": Option<String>,
        group_space = "groupSpace": Option<String>,
        timeout = "timeout": Option<Int<0>>,
        #[expect(dead_code, reason = "every session is a lane of its own")]
        lane = "lane": Option<String>,
        extra_system_prompt = "extraSystemPrompt": Option<String>,
        idempotency_key = "idempotencyKey": NonEmpty,
        label = "label": Option<Text<1, 64>>,
        spawned_by = "spawnedBy": Option<String>,
    }
}

/// The first answer. The second, on the same id, is `{runId, status: "ok" | "error", summary, result?}`, with an error beside it
/// when it failed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct AgentReply {
    run_id: String,
    status: &'static str,
    /// Milliseconds since 1970.
    accepted_at: i64,
}

/// Channels that the reference knows by name, running or not.
const CHANNELS: [&str; 9] =
    ["last", "webchat", "telegram", "whatsapp", "discord", "googlechat", "slack", "signal", "imessage"];

enum Agent {}
impl Rpc for Agent {
    const NAME: &'static str = "agent";
    const ACCESS: Access = Access::Write;
    type Params = AgentParams;
    type Reply = AgentReply;
    fn call(core: &mut Core, call: Call, params: AgentParams) -> RpcResult<Answer<AgentReply>> {
        let run_id = params.idempotency_key.to_string();
        let of = run_id.clone();
        let under_way = move |accepted_at| AgentReply { run_id: of.clone(), status: "accepted", accepted_at };
        if let Some(answer) = before(core, Kind::Agent, &run_id, call.asked, call.now, &under_way) {
            return Ok(answer);
        }
        let images = attachments::images(params.attachments.as_deref().unwrap_or_default())?;
        let given =
            |it: &Option<String>| it.as_deref().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
        for channel in [given(&params.channel), given(&params.reply_channel)].into_iter().flatten() {
            if !CHANNELS.contains(&channel.to_lowercase().as_str()) {
                return Err(RpcError::invalid(format!("invalid agent params: unknown channel: {channel}")));
            }
        }
        let request = Request { images, ..request(core, &params, call.now.unix_ms)? };
        let problem = problem(&params, &request);
        let run = runs::reserve(core, request.clone(), vec![Sink::Reply(call.asked.clone())])?;
        runs::watch(core, run, call.conn);
        let (asked, reply) =
            (call.asked.clone(), AgentReply { run_id, status: "accepted", accepted_at: call.now.unix_ms });
        if let Some(text) = problem {
            core.answer(&asked, Ok(&raw(&reply)), call.now);
            runs::fail(core, run, &text, call.now);
            return Ok(Answer::Held);
        }
        accept_and_reply(core, run, request, asked, reply, under_way);
        Ok(Answer::Held)
    }
}

/// What is found wrong once the run is accepted, in the reference's words.
fn problem(params: &AgentParams, request: &Request) -> Option<String> {
    if request.message.trim().is_empty() {
        return Some("Message (--message) is required".into());
    }
    if request.session_key.is_none() && request.session_id.is_none() {
        return Some("Pass --to <E.164>, --session-id, or --agent to choose a session".into());
    }
    let word = params.thinking.as_deref().map(str::trim).filter(|it| !it.is_empty())?;
    let known = thinking_level(word).is_some();
    (!known).then(|| "Invalid thinking level. Use one of: off, minimal, low, medium, high.".into())
}

/// What is asked for, with the session by its canonical name.
fn request(core: &Core, params: &AgentParams, unix_ms: i64) -> RpcResult<Request> {
    let world = &core.world;
    let given =
        |it: &Option<String>| it.as_deref().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let agents = &world.config.config.agents;
    let named = params.agent_id.as_ref().map(|it| normal_id(it));
    if let (Some(id), Some(raw)) = (&named, &params.agent_id)
        && agents.get(id).is_none()
        && id != agents.default_id()
    {
        return Err(RpcError::invalid(format!("invalid agent params: unknown agent id \"{}\"", &**raw)));
    }
    let session_key = given(&params.session_key);
    if let (Some(id), Some(of)) = (&named, session_key.as_deref().and_then(sessions::agent_of))
        && id != of
    {
        return Err(RpcError::invalid(format!(
            "invalid agent params: agent \"{id}\" does not match session key agent \"{of}\""
        )));
    }
    let session_id = given(&params.session_id).filter(|_| session_key.is_none());
    if session_id.as_deref().is_some_and(|it| !is_session_id(it)) {
        return Err(RpcError::invalid(
            "invalid agent params: sessionId may hold letters, digits, '-', '_' and '.'",
        ));
    }
    let main = |agent: &str| sessions::main_key(agent, world.config.config.session.global);
    let default = agents.default_id().to_owned();
    let (echo, key) = match (&session_key, &session_id) {
        (Some(key), _) => {
            (Some(key.clone()), sessions::canonical(world, key).unwrap_or_else(|| main(&default)))
        }
        (None, Some(id)) => {
            let agent = named.as_deref().unwrap_or(&default);
            (None, format!("agent:{agent}:{}", id.to_lowercase()))
        }
        (None, None) if named.is_some() || given(&params.to).is_some() => {
            let key = main(named.as_deref().unwrap_or(&default));
            (Some(key.clone()), key)
        }
        (None, None) => (None, main(&default)),
    };
    let agent_id = sessions::agent_of(&key).map(normal_id).or(named).unwrap_or(default);
    let thinking = given(&params.thinking).and_then(|it| thinking_level(&it)).map(str::to_owned);
    let mut entry = Map::new();
    let fields = [
        ("label", params.label.as_ref().map(|it| it.to_string())),
        ("spawnedBy", given(&params.spawned_by)),
        ("groupId", given(&params.group_id)),
        ("groupChannel", given(&params.group_channel)),
        ("space", given(&params.group_space)),
        ("thinkingLevel", thinking.clone().filter(|it| it != "off")),
    ];
    for (name, value) in fields {
        entry.extend(value.map(|it| (name.to_owned(), it.into())));
    }
    let timeout_ms = match params.timeout.map(|it| it.0 as u64) {
        Some(seconds) if seconds > 0 => seconds.saturating_mul(1000),
        _ => world.config.config.agents.timeout_ms,
    };
    Ok(Request {
        kind: Kind::Agent,
        run_id: params.idempotency_key.to_string(),
        session_key: echo,
        key,
        agent_id,
        session_id,
        message: params.message.to_string(),
        thinking,
        extra_system_prompt: given(&params.extra_system_prompt),
        timeout_ms,
        channel: given(&params.channel),
        reply: reply(core, params)?,
        deliver_to: (params.deliver == Some(true)).then(|| deliver_to(params)),
        entry,
        accepted_at: unix_ms,
        ..Request::default()
    })
}

/// Where the answer goes, if it is said where. Else the session knows who spoke last: see `runs::accept`.
///
/// # Errors
/// A target that the channel does not know.
fn reply(core: &Core, params: &AgentParams) -> RpcResult<Option<Reply>> {
    let given =
        |it: &Option<String>| it.as_deref().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let channel = deliver_to(params);
    let to = given(&params.reply_to).or_else(|| given(&params.to));
    let (Some(to), true) = (to, params.deliver == Some(true) && core.channels.has(&channel)) else {
        return Ok(None);
    };
    let account = given(&params.reply_account_id).or_else(|| given(&params.account_id));
    let found =
        outbound::find(core, "invalid agent params: unknown channel", &channel, account.as_deref(), &to)?;
    let thread = given(&params.thread_id).or(found.target.thread);
    Ok(Some(Reply {
        channel,
        account: found.account.1,
        to: found.target.to,
        thread,
        reply_to: None,
        message: None,
        acked: false,
    }))
}

/// The channel that is to get the answer. Reference: whatsapp when none is named.
fn deliver_to(params: &AgentParams) -> String {
    let named =
        [&params.reply_channel, &params.channel].into_iter().flatten().map(|it| it.trim().to_lowercase());
    named.into_iter().find(|it| !it.is_empty()).unwrap_or_else(|| "whatsapp".into())
}

shaped! {
    struct AgentWaitParams {
        run_id = "runId": NonEmpty,
        timeout_ms = "timeoutMs": Option<Int<0>>,
    }
}

enum AgentWait {}
impl Rpc for AgentWait {
    const NAME: &'static str = "agent.wait";
    const ACCESS: Access = Access::Write;
    type Params = AgentWaitParams;
    type Reply = WaitReply;
    fn call(core: &mut Core, call: Call, params: AgentWaitParams) -> RpcResult<Answer<WaitReply>> {
        let run_id = params.run_id.to_string();
        let timeout_ms = params.timeout_ms.map_or(RUN_WAIT_MS, |it| it.0 as u64);
        let status = wait::wait(core, &run_id, timeout_ms, call.asked, call.now)?;
        Ok(status.map_or(Answer::Held, |status| Answer::Now(WaitReply { run_id, status })))
    }
}
