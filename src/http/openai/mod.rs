//! The APIs of model servers, answered by an agent: `/v1/chat/completions`, `/v1/responses`, `/v1/models`.
//!
//! ```text
//! head ─► owner? plain? ─► body ─► worker: read(body) ─► Ask ─► a run, heard by a listener ─► one answer, or events as they come
//!                                     │ 400                       │ the client hangs up: the run is stopped
//! ```
//!
//! * One request is one run, as the method `agent` makes them: the same agent, tools, sessions and limits.
//! * Nothing is promised: a run ends with the connection that asked for it, and nothing of it is asked again after a crash.
//! * An answer that failed before its first word has a status of its own, streamed or not.
mod chat;
mod chat_answer;
mod models;
mod prompt;
mod responses;
mod responses_answer;
mod shape;
mod tools;

use super::body::check_plain;
use super::{Asker, Exchange, Route, guard};
use crate::agent::run::{End, Failure};
use crate::base::clock::Now;
use crate::base::ids::{self, ConnId};
use crate::base::limits::{BODY_UNUSED_BYTES_MAX, CHAT_BODY_BYTES_MAX, HTTP_BODY_BYTES_SMALL};
use crate::config::{Endpoints, normal_id};
use crate::conn::answer::Answer;
use crate::conn::head::Head;
use crate::gateway::runs::events::Stop;
use crate::gateway::runs::request::{Kind, Request};
use crate::gateway::runs::{self, Listener, Sink, abort};
use crate::gateway::{Core, sessions};
use crate::protocol::error::{Code, RpcError};
use prompt::Ask;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const CHAT: Route = Route {
    path: "/v1/chat/completions",
    allow: "POST",
    on: |core| of(core).chat_completions,
    admit: |core, asker, now| admit(core, asker, CHAT_BODY_BYTES_MAX, now),
    answer: |core, it, now| ask(core, it, &CHAT_API, now),
};

pub(super) const RESPONSES: Route = Route {
    path: "/v1/responses",
    allow: "POST",
    on: |core| of(core).responses,
    admit: |core, asker, now| admit(core, asker, of(core).body_bytes_max, now),
    answer: |core, it, now| ask(core, it, &RESPONSES_API, now),
};

pub(super) const MODELS: Route = Route {
    path: "/v1/models",
    allow: "GET, HEAD",
    on: |core| of(core).chat_completions || of(core).responses,
    admit: |core, asker, now| admit(core, asker, BODY_UNUSED_BYTES_MAX, now),
    answer: models::answer,
};

pub(super) const MODEL: Route = Route { path: "/v1/models/", ..MODELS };

fn of(core: &Core) -> &Endpoints {
    &core.world.config.config.gateway.endpoints
}

/// What differs between the two.
struct Api {
    read: fn(&[u8], &Endpoints) -> Result<Ask, String>,
    /// Of the answers' ids.
    mark: &'static str,
    /// In the keys of sessions.
    prefix: &'static str,
    /// A later request may go on from an answer.
    is_followed: bool,
    listener: fn(To) -> Box<dyn Listener>,
}

static CHAT_API: Api = Api {
    read: chat::read,
    mark: "chatcmpl",
    prefix: "openai",
    is_followed: false,
    listener: |to| Box::new(chat_answer::Chat::new(to)),
};
static RESPONSES_API: Api = Api {
    read: responses::read,
    mark: "resp",
    prefix: "openresponses",
    is_followed: true,
    listener: |to| Box::new(responses_answer::Responses::new(to)),
};

/// Whom an answer goes to, and what it repeats.
#[derive(Debug)]
struct To {
    conn: ConnId,
    id: String,
    model: String,
    stream: bool,
    include_usage: bool,
    /// Seconds since 1970.
    created: i64,
    /// Of a message, should there be one.
    message_id: String,
}

/// Only the owner, and only a body that is what it says.
fn admit(core: &mut Core, asker: &Asker, bytes_max: u64, now: Now) -> Result<u64, Answer> {
    guard::owner(core, asker, now)?;
    check_plain(asker.head)?;
    Ok(bytes_max)
}

fn refused(status: u16, message: &str) -> Answer {
    error(status, message, "invalid_request_error")
}

fn error(status: u16, message: &str, kind: &str) -> Answer {
    Answer::json(status, &error_body(message, kind))
}

fn error_body(message: &str, kind: &str) -> Value {
    json!({ "error": { "message": message, "type": kind } })
}

/// What is in a large body takes time to read: a worker does.
fn ask(core: &mut Core, it: Exchange, api: &'static Api, now: Now) {
    let (conn, head, body, world) = (it.conn, it.request.head, it.request.body, core.world.clone());
    let is_small = body.len() <= HTTP_BODY_BYTES_SMALL;
    let read =
        move || (api.read)(&body, &world.config.config.gateway.endpoints).map_err(|it| refused(400, &it));
    let then = move |core: &mut Core, asked: Result<Ask, Answer>, now| {
        if let Err(answer) = asked.and_then(|it| begin(core, conn, &head, api, it, now)) {
            core.respond(conn, answer);
        }
    };
    match is_small {
        true => then(core, read(), now),
        false => core.work_for(conn, read, then),
    }
}

fn begin(
    core: &mut Core,
    conn: ConnId,
    head: &Head,
    api: &Api,
    mut ask: Ask,
    now: Now,
) -> Result<(), Answer> {
    let Name { id, key, passing } = name(core, head, api, &ask).map_err(|it| refused(400, &it))?;
    let place = sessions::place(&core.world, &key).map_err(|it| refused(400, &it.message))?;
    let message_id = format!("msg_{}", ids::uuid(core.entropy()));
    let to = To {
        conn,
        id: id.clone(),
        model: std::mem::take(&mut ask.model),
        stream: ask.stream,
        include_usage: ask.include_usage,
        created: now.unix_ms / 1000,
        message_id,
    };
    ask.brought.passing = passing;
    ask.brought.after = ask.previous;
    let request = Request {
        kind: Kind::Http,
        run_id: id,
        session_key: Some(place.key.clone()),
        key: place.key,
        agent_id: place.agent_id,
        message: ask.message,
        extra_system_prompt: Some(ask.system.join("\n\n")).filter(|it| !it.is_empty()),
        timeout_ms: core.world.config.config.agents.timeout_ms,
        channel: Some("webchat".into()),
        brought: Arc::new(ask.brought),
        accepted_at: now.unix_ms,
        ..Request::default()
    };
    let sink = Sink::Listener((api.listener)(to));
    let run =
        runs::begin_unpromised(core, request, vec![sink], now).map_err(|it| Failed::of(&it).answer())?;
    core.when_gone(conn, move |core, now| abort::stop(core, run, Stop::Gone, now));
    Ok(())
}

/// Of an answer and of its session.
struct Name {
    id: String,
    key: String,
    /// Nobody can come back to this session.
    passing: bool,
}

/// The session is what the header says, or the user's; else a new one, whose name stands in the answer's id, so that a later
/// request finds it by that.
fn name(core: &mut Core, head: &Head, api: &Api, ask: &Ask) -> Result<Name, String> {
    let uuid = ids::uuid(core.entropy());
    let given = |name: &str| head.header(name).map(str::trim).filter(|it| !it.is_empty());
    let named = |key: String| Name { id: format!("{}_{uuid}", api.mark), key, passing: false };
    if let Some(key) = given("x-openclaw-session-key") {
        return Ok(named(key.to_owned()));
    }
    let agents = &core.world.config.config.agents;
    let agent = given("x-openclaw-agent-id").or(given("x-openclaw-agent")).map(normal_id);
    let agent =
        agent.or_else(|| agent_of(&ask.model)).filter(|it| it != "default" || agents.get(it).is_some());
    let agent = agent.unwrap_or_else(|| agents.default_id().to_owned());
    let prefix = api.prefix;
    if let Some(user) = ask.user.as_deref().map(str::trim).filter(|it| !it.is_empty()) {
        return Ok(named(format!("agent:{agent}:{prefix}-user:{}", user.to_lowercase())));
    }
    let Some(previous) = ask.previous.as_deref() else {
        return Ok(Name { passing: !api.is_followed, ..named(format!("agent:{agent}:{prefix}:{uuid}")) });
    };
    let root = previous.strip_prefix("resp_").map(|it| it.split('.').next().unwrap_or(it));
    let is_uuid = |it: &&str| it.len() == 36 && it.bytes().all(|c| c == b'-' || c.is_ascii_hexdigit());
    let root =
        root.filter(is_uuid).ok_or_else(|| format!("Previous response with id '{previous}' not found."))?;
    Ok(Name { id: format!("resp_{root}.{}", &uuid[..8]), ..named(format!("agent:{agent}:{prefix}:{root}")) })
}

/// `openclaw:ID`, `openclaw/ID`, `agent:ID`; None for any other name of a model.
fn agent_of(model: &str) -> Option<String> {
    let model = model.trim();
    let id = ["openclaw:", "openclaw/", "agent:"].iter().find_map(|it| {
        let (start, id) = model.split_at_checked(it.len())?;
        start.eq_ignore_ascii_case(it).then_some(id)
    })?;
    let fits = |(n, c): (usize, u8)| c.is_ascii_alphanumeric() || n > 0 && (c == b'_' || c == b'-');
    let is_id = (1..=64).contains(&id.len()) && id.bytes().enumerate().all(fits);
    is_id.then(|| normal_id(id))
}

/// Why there is no answer.
struct Failed {
    status: u16,
    kind: &'static str,
    message: String,
    retry_after_ms: Option<u64>,
}

impl Failed {
    fn of(error: &RpcError) -> Failed {
        let (status, kind) = match error.code {
            Code::InvalidRequest => (400, "invalid_request_error"),
            Code::AgentTimeout => (504, "api_error"),
            _ if error.retry_after_ms.is_some() => (503, "api_error"),
            _ => (500, "api_error"),
        };
        Failed { status, kind, message: error.message.clone(), retry_after_ms: error.retry_after_ms }
    }
    fn answer(&self) -> Answer {
        self.marked(error(self.status, &self.message, self.kind))
    }
    /// OpenAI's clients ask again by themselves. What an agent has done already it would do again.
    fn marked(&self, answer: Answer) -> Answer {
        match self.retry_after_ms {
            Some(ms) => answer.with("Retry-After", &ms.div_ceil(1000).to_string()),
            None => answer.with("x-should-retry", "false"),
        }
    }
}

/// How a run has ended for whoever asked over HTTP. A model that refuses the request has answered nothing.
fn outcome<'e>(end: Option<&'e End>, error: Option<&RpcError>) -> Result<&'e End, Failed> {
    match (end, error) {
        (Some(End { outcome: Err(Failure::Refused(text)), .. }), _) => {
            let kind = "invalid_request_error";
            Err(Failed { status: 400, kind, message: text.clone(), retry_after_ms: None })
        }
        (_, Some(error)) => Err(Failed::of(error)),
        (Some(end), None) => Ok(end),
        (None, None) => Err(Failed::of(&RpcError::unavailable("the run has not begun"))),
    }
}

/// The head of a stream of events.
fn events() -> Answer {
    Answer::new(200, "text/event-stream; charset=utf-8", "").with("Cache-Control", "no-cache")
}

const DONE: &[u8] = b"data: [DONE]\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_by_the_name_of_a_model() {
        for (model, want) in [
            ("openclaw", None),
            ("openclaw:main", Some("main")),
            ("OpenClaw/Beta_2", Some("beta_2")),
            (" agent:x ", Some("x")),
            ("agent/x", None),
            ("openclaw:-x", None),
            ("openclaw:a/b", None),
            ("openclaw:", None),
            ("gpt-5", None),
            ("\u{e9}penclaw:x", None),
        ] {
            assert_eq!(agent_of(model).as_deref(), want, "{model}");
        }
        assert_eq!(agent_of(&format!("agent:{}", "a".repeat(65))), None);
    }
}
