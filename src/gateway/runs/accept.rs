//! From a call to a run that waits for its turn: which session, whether it may, and the promise on disk.
use super::request::{Kind, Reply, Request};
use super::{Known, RunRef, accepted, forget};
use crate::base::clock::Now;
use crate::channels::{Keep, Target, named};
use crate::config::DEFAULT_ACCOUNT;
use crate::gateway::registry::Answer;
use crate::gateway::send_policy::may_send;
use crate::gateway::ws_log::Asked;
use crate::gateway::{Core, World};
use crate::protocol::error::{Code, RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::store::agent_sessions::Trouble;
use crate::store::stores::Stores;
use serde::Serialize;
use serde_json::{Map, Value, json};
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
        let promised = catch_unwind(AssertUnwindSafe(|| promise(&world, stores, request, None)));
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
        // Only what a source has given can be that.
        Ok(Promise::Overheard(_)) => forget(core, run),
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
    /// It is no message to this gateway.
    Overheard(Overheard),
}

/// Words of a group that are kept for context, and how many of them are.
pub struct Overheard {
    pub line: String,
    pub most: usize,
}

/// Puts a message together once its session's entry is known, and what was overheard in the same row: session keys and lines.
pub type Compose = Box<
    dyn FnOnce(&mut Request, Option<&Map<String, Value>>, &[(String, String)]) -> Option<Overheard> + Send,
>;

/// A request from a source that counts what it gives, and may give it again.
pub struct Counted {
    pub run: RunRef,
    pub request: Request,
    pub source: String,
    pub number: i64,
    pub compose: Compose,
}

/// What became of it.
pub enum Given {
    Accepted,
    Known,
    Overheard(Overheard),
    /// By a rule; it is not to come again.
    Refused(RpcError),
}

/// Makes requests durable in their order, then `keep` what says how many of the `all` given things are done with. `then` hears that,
/// and what became of each; a disk that refuses ends the row, and the rest is as if it had not been given.
pub fn accept_counted(
    core: &mut Core,
    all: Vec<(usize, Counted)>,
    total: usize,
    keep: Keep,
    then: impl FnOnce(&mut Core, Result<usize, String>, Vec<(RunRef, Given)>, Now) + Send + 'static,
) {
    let world = core.world.clone();
    let runs: Vec<RunRef> = all.iter().map(|it| it.1.run).collect();
    core.runs.promises += runs.len();
    let work = move |stores: &mut Stores| {
        let (mut taken, mut promised, mut lines) = (Ok(total), vec![], vec![]);
        for (at, it) in all {
            let key = it.request.key.clone();
            let counted =
                Counting { source: &it.source, number: it.number, compose: it.compose, lines: &lines };
            let work = AssertUnwindSafe(|| promise(&world, stores, it.request, Some(counted)));
            let result = catch_unwind(work).unwrap_or_else(|_| {
                stores.forget();
                Err(RpcError::invalid("it could not be taken: see the gateway's log"))
            });
            match result {
                Err(err) if err.code == Code::Unavailable => {
                    log::error!(target: "channels", "{}", err.message);
                    taken = if at > 0 { Ok(at) } else { Err(err.message) };
                    break;
                }
                other => {
                    if let Ok(Promise::Overheard(overheard)) = &other {
                        lines.push((key, overheard.line.clone()));
                    }
                    promised.push((it.run, other));
                }
            }
        }
        if let Ok(count) = taken
            && let Err(err) = keep(stores, count)
        {
            // What is accepted is known by its number as well.
            log::warn!(target: "channels", "{err}");
        }
        (taken, promised)
    };
    core.store(work, move |core, (taken, promised), now| {
        core.runs.promises -= runs.len();
        let mut given = vec![];
        for (run, result) in promised {
            let it = match result {
                Ok(Promise::Made(request)) => {
                    if let Some(entry) = core.runs.all.get_mut(&run) {
                        entry.request = *request;
                    }
                    Given::Accepted
                }
                Ok(Promise::Known) => Given::Known,
                Ok(Promise::Overheard(it)) => Given::Overheard(it),
                Err(err) => Given::Refused(err),
            };
            given.push((run, it));
        }
        for run in runs.into_iter().filter(|it| given.iter().all(|given| given.0 != *it)) {
            forget(core, run);
        }
        then(core, taken, given, now);
    });
}

/// Whether another run has the same name, or its answer is there.
fn is_twin(core: &mut Core, run: RunRef, now: Now) -> bool {
    let Some(entry) = core.runs.all.remove(&run) else { return true };
    let known = super::known(core, entry.request.kind, &entry.request.run_id, now);
    core.runs.all.insert(run, entry);
    !matches!(known, Known::New)
}

/// See [`Counted`].
struct Counting<'a> {
    source: &'a str,
    number: i64,
    compose: Compose,
    lines: &'a [(String, String)],
}

fn promise(
    world: &World,
    stores: &mut Stores,
    mut request: Request,
    counted: Option<Counting<'_>>,
) -> RpcResult<Promise> {
    let disk = |err: Trouble| RpcError::unavailable(err);
    let (key, unix_ms) = (request.kind.key(&request.run_id), stores.now().unix_ms);
    let known = match &counted {
        Some(it) => stores.accepted().map_err(disk)?.mark(it.source, unix_ms) >= Some(it.number),
        None => stores.accepted().map_err(disk)?.knows(&key, unix_ms),
    };
    if known {
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
    if request.deliver_to.is_some() && request.reply.is_none() {
        let main = crate::gateway::sessions::main_key(&request.agent_id, world.config.config.session.global);
        let main = sessions.index().get(&main).map(|it| Value::Object(it.entry()));
        request.reply = route_of(&request, entry.as_ref(), main.as_ref());
    }
    let own_mode = entry.as_ref().and_then(|it| it["queueMode"].as_str());
    request.queue_mode = own_mode.map(str::to_owned);
    // A command says nothing in the conversation; `/send on` is the way back.
    if request.command.is_none()
        && !may_send(&world.config.config.session.send_policy, &request.key, entry.as_ref())
    {
        return Err(RpcError::invalid("send blocked by session policy"));
    }
    let counted = match counted {
        None => None,
        Some(it) => {
            if let Some(it) = (it.compose)(&mut request, entry.as_ref().and_then(Value::as_object), it.lines)
            {
                return Ok(Promise::Overheard(it));
            }
            Some((it.source, it.number))
        }
    };
    let accepted = stores.accepted().map_err(disk)?;
    let written = match counted {
        Some((source, number)) => accepted.accept_from(source, number, &key, json!(request), unix_ms),
        None => accepted.accept(&key, json!(request), unix_ms),
    };
    written.map_err(|err| RpcError::unavailable(format!("the message could not be stored: {err}")))?;
    Ok(Promise::Made(Box::new(request)))
}

/// To whom an answer goes that is for a channel: whom the request names, else who spoke last in its session, else in the main one.
fn route_of(request: &Request, entry: Option<&Value>, main: Option<&Value>) -> Option<Reply> {
    let wanted = request.deliver_to.as_deref();
    let mut all = [entry, main].into_iter().flatten().filter_map(spoken_last);
    let last = all.find(|it| wanted == Some("last") || wanted == Some(it.channel.as_str()));
    let Some(whom) = &request.deliver_to_whom else { return last };
    let channel = last.as_ref().map(|it| it.channel.clone()).or_else(|| wanted.map(str::to_owned))?;
    let Target { to, thread } = named(&channel)?.target(whom).ok()?;
    let account = last.map_or_else(|| DEFAULT_ACCOUNT.to_owned(), |it| it.account);
    Some(Reply { channel, account, to, thread, ..Reply::default() })
}

/// The place where somebody last spoke in a session, by its entry.
pub fn spoken_last(entry: &Value) -> Option<Reply> {
    let text = |name: &str| entry[name].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
    let channel = text("lastChannel")?;
    let Target { to, thread } = named(&channel)?.target(&text("lastTo")?).ok()?;
    let account = text("lastAccountId").unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned());
    Some(Reply { channel, account, to, thread: thread.or_else(|| text("lastThreadId")), ..Reply::default() })
}

/// Whether a text may name a session's transcript.
pub fn is_session_id(text: &str) -> bool {
    crate::store::transcript::path(Path::new(""), text).is_some()
}
