//! `POST /tools/invoke`: one of the agent's tools, called by the owner's program instead of the model.
//!
//! * What may be called is what the agent itself may use; of that, what runs or changes something must be allowed in `gateway.tools`.
//! * A tool has a thread of its own, and is stopped when whoever waits for it hangs up.
mod sessions;

use super::body;
use super::{Asker, Exchange, guard};
use crate::agent::tools::{Host, Outcome, Policy, Toolbox, listed, message};
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::TOOL_BODY_BYTES_MAX;
use crate::config::HttpTools;
use crate::conn::answer::Answer;
use crate::gateway::channels::posting;
use crate::gateway::runs::begin;
use crate::gateway::sessions::{Place, model, place};
use crate::gateway::{Core, World};
use serde_json::{Map, Value, json};

/// What is off until `gateway.tools.allow` names it: it runs commands, changes files, drives other sessions, or starts what does. Latest,
/// and ours: those that write files, which the reference has not at this door.
const OFF: &str =
    "exec process write edit apply_patch sessions_spawn sessions_send gateway whatsapp_login cron nodes";

/// A call, as it was asked for.
struct Wanted {
    tool: String,
    args: Map<String, Value>,
    place: Place,
    is_dry: bool,
}

pub(super) fn admit(core: &mut Core, asker: &Asker, now: Now) -> Result<u64, Answer> {
    guard::owner(core, asker, now)?;
    body::check_plain(asker.head)?;
    Ok(TOOL_BODY_BYTES_MAX)
}

pub(super) fn invoke(core: &mut Core, it: Exchange, now: Now) {
    let (conn, world) = (it.conn, core.world.clone());
    // The body may be large, and which tools there are depends on the model, which depends on what is on disk.
    let read = move || {
        let wanted = wanted(&world, &it.request.body).map_err(|text| invalid(&text))?;
        at_this_door(&world.config.config.gateway.tools, &wanted.tool)?;
        let model = model(&world.models, &wanted.place.agent_id, now.unix_ms);
        let policy = Policy::read(&world.config.resolved, &wanted.place.agent_id, &model);
        Ok((wanted, policy))
    };
    core.work_for(conn, read, move |core, read, now| match read {
        Ok((wanted, policy)) => call(core, conn, wanted, policy, now),
        Err(answer) => core.respond(conn, answer),
    });
}

fn at_this_door(tools: &HttpTools, tool: &str) -> Result<(), Answer> {
    let is_off = OFF.split(' ').any(|it| listed(&[it.to_owned()], tool));
    if is_off && !listed(&tools.allow, tool) {
        return Err(unavailable(tool, Some("it is off here unless gateway.tools.allow names it")));
    }
    if listed(&tools.deny, tool) { Err(unavailable(tool, None)) } else { Ok(()) }
}

/// # Errors
/// What is wrong with the body.
fn wanted(world: &World, bytes: &[u8]) -> Result<Wanted, String> {
    let body = body::json(bytes)?;
    let word = |name: &str| body[name].as_str().map(str::trim).filter(|it| !it.is_empty());
    let tool = word("tool").ok_or("tools.invoke requires body.tool")?;
    let place = place(world, word("sessionKey").unwrap_or("main")).map_err(|err| err.message)?;
    let args = body["args"].as_object().cloned().unwrap_or_default();
    Ok(Wanted { tool: tool.to_owned(), args, place, is_dry: body["dryRun"] == true })
}

fn call(core: &mut Core, conn: ConnId, wanted: Wanted, policy: Policy, now: Now) {
    let toolbox = Toolbox::of(&policy).at(Host::Gateway, core.has_networks());
    let name = wanted.tool.to_lowercase();
    let own = sessions::NAMES.contains(&name.as_str()) && policy.allows(&name);
    let Some(name) = toolbox.get(&name).map(|it| it.name().to_owned()).or(own.then_some(name)) else {
        return core.respond(conn, unavailable(&wanted.tool, None));
    };
    if wanted.is_dry {
        let text = format!("{name} would be called; nothing was done");
        let details =
            json!({ "dryRun": true, "tool": name, "args": wanted.args, "sessionKey": wanted.place.key });
        return core.respond(conn, done(&text, &details));
    }
    if own {
        return sessions::call(core, conn, &name, &wanted.place, &wanted.args, now);
    }
    if name == message::NAME {
        let wish = posting::of_owner(core, &wanted.place, wanted.args);
        core.when_gone(conn, |_, _| {});
        let then = move |core: &mut Core, answer, _| {
            if core.is_answering(conn) {
                core.respond(conn, answered(&message::outcome(answer)));
            }
        };
        return posting::begin(core, wish, Box::new(then), now);
    }
    let (world, clock) = (core.world.clone(), core.clock);
    core.respond_from_thread(conn, move |cancel| {
        let place = begin::place(&world, clock, &wanted.place.key, &wanted.place.agent_id);
        let Some(tool) = toolbox.get(&name) else { return unavailable(&name, None) };
        answered(&tool.call(&Value::Object(wanted.args), &place, cancel, &mut |_| {}))
    });
}

fn answered(outcome: &Outcome) -> Answer {
    match outcome.is_error {
        true => failed(&outcome.text),
        false => Answer::json(200, &json!({ "ok": true, "result": outcome.result() })),
    }
}

/// A result as the tools of the reference give it: text, and the same for programs.
fn done(text: &str, details: &Value) -> Answer {
    let result = json!({ "content": [{ "type": "text", "text": text }], "details": details });
    Answer::json(200, &json!({ "ok": true, "result": result }))
}

fn failed(text: &str) -> Answer {
    Answer::json(400, &json!({ "ok": false, "error": { "type": "tool_error", "message": text } }))
}

fn invalid(text: &str) -> Answer {
    Answer::json(400, &json!({ "error": { "message": text, "type": "invalid_request_error" } }))
}

fn unavailable(tool: &str, hint: Option<&str>) -> Answer {
    let mut error = json!({ "type": "not_found", "message": format!("Tool not available: {tool}") });
    if let Some(hint) = hint {
        error["hint"] = json!(hint);
    }
    Answer::json(404, &json!({ "ok": false, "error": error }))
}
