//! From a call to a run that waits for its turn: which session, whether it may, and the promise on disk.
use super::request::{Kind, Request};
use super::{Known, RunRef, accepted, forget};
use crate::base::clock::Now;
use crate::gateway::registry::Answer;
use crate::gateway::send_policy::may_send;
use crate::gateway::ws_log::Asked;
use crate::gateway::{Core, World};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::store::agent_sessions::Trouble;
use crate::store::stores::Stores;
use serde::Serialize;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Whether this is a new request, or one that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    Now,
    /// By a life whose journal was still being read when it came again: see [`super::known`].
    Before,
}

/// Makes the request durable, and then either `told` says so to the client and the run waits for its turn, or it gets the error.
pub fn accept(
    core: &mut Core,
    run: RunRef,
    request: Request,
    told: impl FnOnce(&mut Core, RpcResult<Accepted>, Now) + Send + 'static,
) {
    let world = core.world.clone();
    let work = move |stores: &mut Stores| {
        let promised = catch_unwind(AssertUnwindSafe(|| promise(&world, stores, request)));
        promised.unwrap_or_else(|_| {
            stores.forget();
            Err(RpcError::unavailable("the message could not be taken: see the gateway's log"))
        })
    };
    core.runs.promises += 1;
    core.store(work, move |core, promised, now| {
        core.runs.promises -= 1;
        promised_or_not(core, run, promised, told, now);
    });
}

/// What is answered to a request that came before; `under_way` says it of a run that has not ended yet, and when that was accepted.
pub fn before<R>(
    core: &mut Core,
    kind: Kind,
    run_id: &str,
    asked: &Asked,
    now: Now,
    under_way: impl Fn(i64) -> R,
) -> Option<Answer<R>> {
    match super::known(core, kind, run_id, now) {
        Known::New => None,
        Known::UnderWay(accepted_at) => Some(Answer::Now(under_way(accepted_at))),
        Known::Answered(answer) => {
            core.answer_again(asked, &answer, now);
            Some(Answer::Held)
        }
    }
}

/// As [`accept`], for a request that waits for `reply`, or for what is said of it when it came [`before`].
pub fn accept_and_reply<R: Serialize + Send + 'static>(
    core: &mut Core,
    run: RunRef,
    request: Request,
    asked: Asked,
    reply: R,
    under_way: impl Fn(i64) -> R + Send + 'static,
) {
    let (kind, run_id) = (request.kind, request.run_id.clone());
    accept(core, run, request, move |core, promised, now| {
        let reply = match promised {
            Ok(Accepted::Now) => Ok(reply),
            Ok(Accepted::Before) => match before(core, kind, &run_id, &asked, now, &under_way) {
                Some(Answer::Now(reply)) => Ok(reply),
                _ => return,
            },
            Err(err) => Err(err),
        };
        core.answer(&asked, reply.map(|it| raw(&it)).as_deref().map_err(Clone::clone), now);
    });
}

fn promised_or_not(
    core: &mut Core,
    run: RunRef,
    promised: RpcResult<Promise>,
    told: impl FnOnce(&mut Core, RpcResult<Accepted>, Now),
    now: Now,
) {
    match promised {
        Ok(Promise::Known) if is_twin(core, run, now) => {
            forget(core, run);
            told(core, Ok(Accepted::Before), now);
        }
        // Known to the journal alone, which could not be read when this life began: it is begun now.
        Ok(Promise::Known) => {
            told(core, Ok(Accepted::Now), now);
            accepted(core, run, now);
        }
        Ok(Promise::Made(request)) => {
            if let Some(entry) = core.runs.all.get_mut(&run) {
                entry.request = *request;
            }
            told(core, Ok(Accepted::Now), now);
            accepted(core, run, now);
        }
        Err(err) => {
            forget(core, run);
            told(core, Err(err), now);
        }
    }
}

enum Promise {
    Made(Box<Request>),
    /// The journal holds it already.
    Known,
}

/// Whether another run has the same name, or its answer is there.
fn is_twin(core: &mut Core, run: RunRef, now: Now) -> bool {
    let Some(entry) = core.runs.all.remove(&run) else { return true };
    let known = super::known(core, entry.request.kind, &entry.request.run_id, now);
    core.runs.all.insert(run, entry);
    !matches!(known, Known::New)
}

fn promise(world: &World, stores: &mut Stores, mut request: Request) -> RpcResult<Promise> {
    let disk = |err: Trouble| RpcError::unavailable(err);
    let (key, unix_ms) = (request.kind.key(&request.run_id), stores.now().unix_ms);
    if stores.accepted().map_err(disk)?.knows(&key, unix_ms) {
        return Ok(Promise::Known);
    }
    let path = world.session_store(&request.agent_id);
    let sessions = stores.sessions(&path, &request.agent_id).map_err(disk)?;
    if let Some(id) = &request.session_id {
        let known =
            sessions.index().iter().find(|it| it.1.session_id() == Some(id)).map(|it| it.0.to_owned());
        if let Some(key) = known {
            request.session_key = Some(key.clone());
            request.key = key;
            request.session_id = None;
        }
    }
    let entry = sessions.index().get(&request.key).map(|it| Value::Object(it.entry()));
    let own_mode = entry.as_ref().and_then(|it| it["queueMode"].as_str());
    request.queue_mode = own_mode.map(str::to_owned);
    // A command says nothing in the conversation; `/send on` is the way back.
    if request.command.is_none()
        && !may_send(&world.config.config.session.send_policy, &request.key, entry.as_ref())
    {
        return Err(RpcError::invalid("send blocked by session policy"));
    }
    let written = stores.accepted().map_err(disk)?.accept(&key, json!(request), unix_ms);
    written.map_err(|err| RpcError::unavailable(format!("the message could not be stored: {err}")))?;
    Ok(Promise::Made(Box::new(request)))
}

/// Whether a text may name a session's transcript.
pub fn is_session_id(text: &str) -> bool {
    crate::store::transcript::path(Path::new(""), text).is_some()
}
