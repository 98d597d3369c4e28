//! Webhooks: whoever knows their token may leave a line for the main session, or have a run made in a session of its own.
//!
//! ```text
//! POST /hooks/wake   {text, mode}          ─► 200 {ok, mode}
//! POST /hooks/agent  {message, name, …}    ─► 202 {ok, runId}, once it is on disk
//! POST /hooks/<any>  what a mapping reads  ─► one of the two
//! ```
//!
//! * The token comes in a header: one in the URL is refused, right or wrong.
//! * What comes is a stranger's: the model is told so, and it chooses neither a foreign session nor a channel that does not run.
mod action;
mod session;
mod template;

use super::body;
use super::guard::bearer;
use super::{Asker, Exchange, Route};
use crate::agent::untrusted;
use crate::base::clock::Now;
use crate::base::ids;
use crate::base::limits::{HOOK_KEY_BYTES_MAX, SESSION_KEY_BYTES_MAX};
use crate::config::Hooks;
use crate::conn::answer::Answer;
use crate::conn::head::{Content, Head};
use crate::gateway::Core;
use crate::gateway::exchange::Unauthorized;
use crate::gateway::methods::system::wake;
use crate::gateway::runs::ordered;
use crate::gateway::runs::request::{Order, Request};
use crate::protocol::error::{Code, RpcError};
use crate::store::entry::thinking_level;
use action::{Action, Ordered, Refused};
use serde_json::{Value, json};

/// For every path at or below `hooks.path`.
static ROUTE: Route =
    Route { path: "/hooks", allow: "POST", on: |core| hooks(core).is_some(), admit, answer };

/// None when the path is not one of theirs, or they are off.
pub(super) fn route(core: &Core, path: &str) -> Option<&'static Route> {
    below(hooks(core)?, path).map(|_| &ROUTE)
}

fn hooks(core: &Core) -> Option<&Hooks> {
    core.world.config.config.hooks.as_ref()
}

/// What is behind `hooks.path/`.
fn below<'p>(hooks: &Hooks, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(&hooks.path)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/'))
}

fn refuse(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "ok": false, "error": text }))
}

fn admit(core: &mut Core, asker: &Asker, now: Now) -> Result<u64, Answer> {
    let world = core.world.clone();
    let Some(hooks) = &world.config.config.hooks else { return Err(Answer::text(404, "Not Found")) };
    let head = asker.head;
    if head.query_pairs().iter().any(|it| it.0 == "token") {
        let text = "Bad Request: a token in the URL ends up in logs; send it as `Authorization: Bearer …` or `X-OpenClaw-Token: …`";
        return Err(Answer::text(400, text));
    }
    let given = bearer(head).or_else(|| head.header("x-openclaw-token").map(str::trim));
    core.check_hook_token(&hooks.token, asker.peer, given, now).map_err(|why| match why {
        Unauthorized::Verdict(_) => Answer::text(401, "Unauthorized").with("WWW-Authenticate", "Bearer"),
        Unauthorized::Locked(ms) => {
            let seconds = ms.div_ceil(1000).to_string();
            let text = format!("Too Many Requests: too many wrong tokens, try again in {seconds} s");
            Answer::text(429, &text).with("Retry-After", &seconds)
        }
    })?;
    core.authenticated(asker.conn);
    body::check_plain(head)?;
    match head.content {
        Content::Sized(n) if n > hooks.body_bytes_max => Err(refuse(413, "payload too large").closing()),
        _ => Ok(hooks.body_bytes_max),
    }
}

fn answer(core: &mut Core, it: Exchange, _: Now) {
    let (conn, head, body) = (it.conn, it.request.head, it.request.body);
    core.work_for(
        conn,
        move || payload(&body),
        move |core, payload, now| act(core, conn, &head, payload, now),
    );
}

/// # Errors
/// It is no JSON.
fn payload(body: &[u8]) -> Result<Value, String> {
    let payload = body::json(body)?;
    // Reference: what holds no fields has none.
    Ok(if payload.is_object() || payload.is_array() { payload } else { json!({}) })
}

fn act(core: &mut Core, conn: ids::ConnId, head: &Head, payload: Result<Value, String>, now: Now) {
    let world = core.world.clone();
    let config = &world.config.config;
    // They may have been switched off meanwhile.
    let found = config.hooks.as_ref().and_then(|hooks| Some((hooks, below(hooks, &head.path)?)));
    let Some((hooks, path)) = found.filter(|it| !it.1.is_empty()) else {
        return core.respond(conn, Answer::text(404, "Not Found"));
    };
    let payload = match payload {
        Ok(it) => it,
        Err(text) => return core.respond(conn, refuse(400, &text)),
    };
    let action = match path {
        "wake" => action::of_wake(&payload),
        "agent" => action::of_agent(&payload),
        _ => {
            let (headers, query) = (shown_headers(head), head.query_pairs());
            let (headers, query, unix_ms) = (&headers[..], &query[..], now.unix_ms);
            let source = template::Source { payload: &payload, headers, query, path, unix_ms };
            action::of_mapping(&hooks.mappings, &source)
        }
    };
    match action {
        Ok(Action::Wake { text, mode }) => {
            // It is not blank: that was seen to.
            let keep = wake(core, &untrusted::lines(&text), mode, now);
            core.store(
                move |_| keep.map_or(Ok(()), |it| it()),
                move |core, kept, _| {
                    let answer = match kept {
                        Ok(()) => Answer::json(200, &json!({ "ok": true, "mode": mode })),
                        Err(err) => refuse(503, &err).with("Retry-After", "1"),
                    };
                    core.respond(conn, answer);
                },
            );
        }
        Ok(Action::Agent(wanted)) => match request(core, hooks, &wanted, key(head, &payload), now) {
            Ok(request) => begin(core, conn, request, now),
            Err(text) => core.respond(conn, refuse(400, &text)),
        },
        Err(Refused::Bad(text)) => core.respond(conn, refuse(400, &text)),
        Err(Refused::NoMapping) => core.respond(conn, Answer::text(404, "Not Found")),
        Err(Refused::Transform) => {
            let text = "this mapping has a transform, a JavaScript module, which gatewayd cannot run: remove `transform` from it and \
                        say with messageTemplate what to tell the agent";
            core.respond(conn, refuse(501, text));
        }
    }
}

fn begin(core: &mut Core, conn: ids::ConnId, request: Request, now: Now) {
    let run_id = request.run_id.clone();
    ordered::begin(core, request, now, move |core, promised, _| {
        let answer = match promised {
            Ok(()) => Answer::json(202, &json!({ "ok": true, "runId": run_id })),
            Err(err) => of_error(&err),
        };
        core.respond(conn, answer);
    });
}

fn of_error(err: &RpcError) -> Answer {
    match err.code {
        Code::InvalidRequest => refuse(400, &err.message),
        _ => {
            let seconds = err.retry_after_ms.unwrap_or(1000).div_ceil(1000);
            refuse(503, &err.message).with("Retry-After", &seconds.to_string())
        }
    }
}

/// The run that is wanted, or what is wrong with it.
fn request(
    core: &mut Core,
    hooks: &Hooks,
    wanted: &Ordered,
    key: Option<String>,
    now: Now,
) -> Result<Request, String> {
    let channels = core.channels_in_use();
    if wanted.channel != "last" && !channels.contains(&wanted.channel.as_str()) {
        return Err(format!("channel must be {}", [&["last"], &channels[..]].concat().join("|")));
    }
    let world = core.world.clone();
    let new = format!("hook:{}", ids::uuid(core.entropy()));
    let named = wanted.session_key.as_ref().map(|it| (it.0.as_str(), it.1));
    let config = &world.config.config;
    let (session_key, agent_id) = session::choose(hooks, config, wanted.agent_id.as_deref(), named, &new)?;
    if session_key.len() > SESSION_KEY_BYTES_MAX {
        return Err(format!("sessionKey is longer than {SESSION_KEY_BYTES_MAX} bytes"));
    }
    let run_id = match key {
        // Its name tells nothing of the key, and is the same in the next life of this process.
        Some(key) => format!("hook-{}", &ids::sha256_hex(key.as_bytes())[..32]),
        None => ids::uuid(core.entropy()),
    };
    let message = match wanted.is_trusted {
        true => wanted.message.clone(),
        false => {
            let mark = ids::token(core.entropy());
            untrusted::fence(&wanted.message, &format!("webhook {:?}", wanted.name), &mark[..16])
        }
    };
    let mut request = Request {
        run_id,
        session_key: Some(session_key.clone()),
        key: session_key,
        agent_id,
        message,
        thinking: wanted.thinking.as_deref().and_then(thinking_level).map(str::to_owned),
        timeout_ms: wanted.timeout_s.map_or(config.agents.timeout_ms, |it| it.saturating_mul(1000)),
        deliver_to: wanted.deliver.then(|| wanted.channel.clone()),
        deliver_to_whom: wanted.to.clone().filter(|_| wanted.deliver),
        order: Some(Order { name: format!("Hook {}", wanted.name), wake: wanted.mode }),
        accepted_at: now.unix_ms,
        ..Request::default()
    };
    if let Some(name) = &wanted.model {
        ordered::with_model(core, &mut request, name).map_err(|err| err.message)?;
    }
    Ok(request)
}

/// Under which key a repeated request is the same one. Latest: these headers, then the payload.
fn key(head: &Head, payload: &Value) -> Option<String> {
    let given = ["idempotency-key", "x-openclaw-idempotency-key"].iter().find_map(|it| head.header(it));
    let key = given.or_else(|| payload["idempotencyKey"].as_str()).map(str::trim)?;
    (1..=HOOK_KEY_BYTES_MAX).contains(&key.len()).then(|| format!("{}\n{key}", head.path))
}

/// Those that a template may repeat to the model.
fn shown_headers(head: &Head) -> Vec<(String, String)> {
    let secret = ["authorization", "proxy-authorization", "cookie", "x-openclaw-token"];
    head.headers.iter().filter(|it| !secret.contains(&it.0.as_str())).cloned().collect()
}
