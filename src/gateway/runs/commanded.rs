//! Commands as runs know them: they have a key and an answer, and no turn.
use super::events::{ChatEvent, ChatState};
use super::request::Request;
use super::{Answer, Core, Run, RunRef, Stage, accepted, remember, tell_sinks};
use crate::base::clock::Now;
use crate::gateway::events::CHAT;
use crate::protocol::error::RpcError;
use serde_json::{Value, json};

/// What is to be carried out; from here on nobody can abort it.
pub fn begin(core: &mut Core, run: RunRef, now: Now) -> Option<Request> {
    let entry = core.runs.all.get_mut(&run)?;
    (entry.stage, entry.started_ms, entry.mono_ms) = (Stage::Commanded, now.unix_ms, now.mono_ms);
    Some(entry.request.clone())
}

pub fn request(core: &Core, run: RunRef) -> Option<Request> {
    core.runs.all.get(&run).map(|it| it.request.clone())
}

/// The command has left a message for the model, or is a run itself.
pub fn goes_on(core: &mut Core, run: RunRef, request: Request, now: Now) {
    let Some(entry) = core.runs.all.get_mut(&run) else { return };
    entry.request = request;
    entry.started_ms = 0;
    accepted(core, run, now);
}

/// It has been answered before, by an earlier life.
pub fn answered(core: &mut Core, run: RunRef, now: Now) {
    if let Some(entry) = core.runs.all.remove(&run) {
        end(core, entry, None, now);
    }
}

/// The answer, which is on disk by now, or why there is none.
pub fn say(core: &mut Core, run: RunRef, said: Result<Value, String>, now: Now) {
    let Some(mut entry) = core.runs.all.remove(&run) else { return };
    match &said {
        Ok(message) => entry.said.extend(message["content"][0]["text"].as_str().map(str::to_owned)),
        Err(text) => entry.trouble = Some(text.clone()),
    }
    entry.seq += 1;
    let state = if said.is_ok() { ChatState::Final } else { ChatState::Error };
    if let Some(key) = entry.request.session_key.as_deref() {
        let mut event = ChatEvent::new(&entry.request.run_id, key, entry.seq, state);
        event.error_message = said.as_ref().err().cloned();
        event.message = said.as_ref().ok().cloned();
        core.broadcast(&CHAT, &event);
    }
    end(core, entry, said.err(), now);
}

fn end(core: &mut Core, mut run: Run, error: Option<String>, now: Now) {
    let error = error.map(RpcError::unavailable);
    let status = if error.is_some() { "error" } else { "ok" };
    let summary = error.as_ref().map_or("completed", |it| it.message.as_str());
    let payload = json!({ "runId": run.request.run_id, "status": status, "summary": summary });
    let answer = Answer { payload, error };
    tell_sinks(core, &mut run, None, &answer, now);
    remember(core, &run, answer, now);
}
