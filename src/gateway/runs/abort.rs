//! Ending runs before they end: by a client, a word, a timer, or because the gateway leaves.
use super::events::Stop;
use super::request::Kind;
use super::{Answer, Run, RunRef, Stage, told};
use crate::base::clock::Now;
use crate::base::limits::{RUN_WAITS_MAX, SESSION_IDLE_WAIT_MS};
use crate::gateway::{Core, Timer, sessions};
use crate::protocol::error::RpcError;
use serde_json::json;

/// Words that mean `/stop` when they are all that is said. Reference.
const STOP_WORDS: [&str; 7] = ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"];

pub fn is_stop_word(message: &str) -> bool {
    let word = message.trim().to_lowercase();
    STOP_WORDS.contains(&word.as_str())
}

/// Tells one run to end. One that has not begun ends here; one under way when its thread has noticed.
pub fn stop(core: &mut Core, run: RunRef, why: Stop, now: Now) {
    let Some(mut entry) = core.runs.all.remove(&run) else { return };
    // A command ends by itself, and at once.
    if entry.stop.is_some() || entry.stage == Stage::Commanded {
        core.runs.all.insert(run, entry);
        return;
    }
    entry.stop = Some(why);
    entry.cancel.cancel();
    if entry.stage == Stage::Running {
        told::tell_aborted(core, &mut entry, why);
        core.runs.all.insert(run, entry);
        return;
    }
    core.runs.leave_lane(&entry.request.key, run);
    told::tell_aborted(core, &mut entry, why);
    let error = RpcError::unavailable("the run was aborted before it began");
    let payload = json!({ "runId": entry.request.run_id, "status": "error", "summary": error.message });
    let answer = Answer { payload, error: Some(error) };
    super::tell_sinks(core, &mut entry, None, &answer, now);
    super::remember(core, &entry, answer, now);
}

/// What `chat.abort` may end: runs that `chat.send` started in a session, however either of them called it. (The reference
/// compares the names as they came, so that `main` cannot stop `agent:main:main`.)
fn is_chat_of(run: &Run, key: Option<&str>) -> bool {
    run.request.kind == Kind::Chat && Some(run.request.key.as_str()) == key
}

/// `chat.abort` without a run id, and `/stop`: what runs there ends, or is next to and waits for a place among all; what waits
/// behind it does not. The ids of those that end.
pub fn stop_chat(core: &mut Core, session_key: &str, why: Stop, now: Now) -> Vec<String> {
    let key = sessions::canonical(&core.world, session_key);
    let runs = &core.runs;
    let is_first = |run: RunRef, it: &Run| runs.lanes.get(&it.request.key).is_some_and(|it| it[0] == run);
    let runs: Vec<(RunRef, String)> = runs
        .all
        .iter()
        .filter(|it| it.1.stop.is_none() && is_chat_of(it.1, key.as_deref()) && is_first(*it.0, it.1))
        .map(|(run, it)| (*run, it.request.run_id.clone()))
        .collect();
    for (run, _) in &runs {
        stop(core, *run, why, now);
    }
    runs.into_iter().map(|it| it.1).collect()
}

/// `chat.abort` with a run id: whether it was there to be ended.
///
/// # Errors
/// It is another session's.
pub fn stop_one(core: &mut Core, session_key: &str, run_id: &str, now: Now) -> Result<bool, RpcError> {
    let Some(run) = core.runs.by_id(Kind::Chat, run_id) else { return Ok(false) };
    let entry = &core.runs.all[&run];
    let is_over = entry.stop.is_some() || entry.request.command.is_some() || entry.stage == Stage::Commanded;
    if is_over {
        return Ok(false);
    }
    if !is_chat_of(entry, sessions::canonical(&core.world, session_key).as_deref()) {
        return Err(RpcError::invalid("runId does not match sessionKey"));
    }
    stop(core, run, Stop::Rpc, now);
    Ok(true)
}

/// Everything ends: the gateway leaves, and has waited long enough.
pub fn stop_all(core: &mut Core, now: Now) {
    let runs: Vec<RunRef> =
        core.runs.all.iter().filter(|it| it.1.stage == Stage::Running).map(|it| *it.0).collect();
    for run in runs {
        stop(core, run, Stop::Shutdown, now);
    }
}

/// Runs once a session has no run; with what is wrong when that takes too long.
pub type Then = Box<dyn FnOnce(&mut Core, Result<(), RpcError>, Now) + Send>;

/// Somebody who waits for a session to be free.
pub struct WhenIdle {
    key: String,
    due_ms: u64,
    then: Then,
}

/// Ends all runs of a session, waiting ones too, and goes on when they have ended; at once, when too many wait for such a thing.
pub fn when_idle(core: &mut Core, key: &str, why: Stop, now: Now, then: Then) {
    if core.runs.idle.len() >= RUN_WAITS_MAX {
        return then(core, Err(RpcError::busy(1000)), now);
    }
    let runs: Vec<RunRef> = core.runs.lanes.get(key).into_iter().flatten().copied().collect();
    for run in runs.into_iter().rev() {
        stop(core, run, why, now);
    }
    let due_ms = now.mono_ms + SESSION_IDLE_WAIT_MS;
    core.runs.idle.push(WhenIdle { key: key.to_owned(), due_ms, then });
    check_idle(core, now);
}

/// A run has ended, or a wait for it.
pub fn check_idle(core: &mut Core, now: Now) {
    let (mut ready, mut late) = (vec![], vec![]);
    for it in std::mem::take(&mut core.runs.idle) {
        match core.runs.depth(&it.key) {
            0 => ready.push(it),
            _ if it.due_ms <= now.mono_ms => late.push(it),
            _ => core.runs.idle.push(it),
        }
    }
    match core.runs.idle.iter().map(|it| it.due_ms).min() {
        Some(next) => core.arm_by(next, Timer::SessionIdle),
        None => core.disarm(|it| *it == Timer::SessionIdle),
    }
    for it in ready {
        (it.then)(core, Ok(()), now);
    }
    for it in late {
        let text = format!("Session {} is still active; try again in a moment.", it.key);
        (it.then)(core, Err(RpcError::unavailable_text(text)), now);
    }
}
