//! From what a run does to what clients are told.
use super::events::{AgentEvent, ChatEvent, ChatState, Lifecycle, Stop, Verbose, message};
use super::request::Kind;
use super::{Heard, Run, RunRef, Sink, chat_answer, wait};
use crate::agent::run::{End, Event, Failure};
use crate::agent::tools::message::SAID_HERE;
use crate::base::clock::Now;
use crate::base::limits::{CHAT_DELTA_MS, DRAFT_MS, ERROR_CHARS_MAX, TEXT_FREE_BYTES, TEXT_PACE_BYTES_A_MS};
use crate::gateway::events::{AGENT, CHAT};
use crate::gateway::{Core, Timer, channels};
use serde::Serialize;
use serde_json::{Value, json};

/// What of a run's text `chat` events have shown.
#[derive(Default)]
pub struct Chat {
    /// When the last delta left, on the monotonic clock.
    told_ms: Option<u64>,
    /// Bytes of the message that it showed.
    shown: usize,
    /// The message has begun anew since.
    anew: bool,
    /// When a channel was last shown the text, on the monotonic clock.
    drafted_ms: u64,
    /// A delta waits for its time; the number it has then.
    waiting: Option<u64>,
}

/// What of a run's text `agent` events have not shown.
#[derive(Default)]
pub struct Words {
    unsaid: String,
    /// When the last ones left, on the monotonic clock.
    told_ms: u64,
    /// They wait for their time.
    waiting: bool,
}

/// Something has happened in a run.
pub fn on_event(core: &mut Core, run: RunRef, event: Event, now: Now) {
    let Some(mut entry) = core.runs.all.remove(&run) else { return };
    // An aborted run is heard of no more: its thread only needs a moment to notice.
    if entry.stop.is_none() {
        tell(core, run, &mut entry, event, now);
    }
    core.runs.all.insert(run, entry);
}

fn tell(core: &mut Core, run_ref: RunRef, run: &mut Run, event: Event, now: Now) {
    if !matches!(event, Event::Text(_) | Event::Thinking(_)) {
        tell_words(core, run, now);
    }
    match event {
        Event::Begun { session_id, verbose } => {
            run.session_id = Some(session_id);
            let default = core.world.config.config.agents.verbose_default.clone();
            run.verbose = Verbose::of(verbose.or(default).as_deref());
            tell_listeners(core, run, &Heard::Begun);
            if run.request.only_compact.is_none() {
                agent_event(core, run, "lifecycle", &Lifecycle::Start { started_at: run.started_ms }, now);
            }
        }
        Event::Text(delta) => {
            // White space in front of the first word is no word.
            let delta = if run.text.is_empty() { delta.trim_start() } else { &delta };
            if delta.is_empty() {
                return;
            }
            run.text.push_str(delta);
            run.words.unsaid.push_str(delta);
            tell_listeners(core, run, &Heard::Text(delta));
            words(core, run_ref, run, now);
            chat_delta(core, run_ref, run, now);
        }
        Event::Thinking(_) => {}
        Event::MessageEnd => {
            tell_listeners(core, run, &Heard::MessageEnd);
            run.text.clear();
            (run.chat.shown, run.chat.anew, run.chat.waiting) = (0, true, None);
        }
        Event::ToolStart { id, name, args } => {
            run.said_here.last = None;
            tool(core, run, json!({ "phase": "start", "name": name, "toolCallId": id, "args": args }), now);
        }
        Event::ToolUpdate { id, name, partial } => {
            let mut data = json!({ "phase": "update", "name": name, "toolCallId": id });
            if run.verbose == Verbose::Full {
                data["partialResult"] = partial;
            }
            tool(core, run, data, now);
        }
        Event::ToolEnd { id, name, meta, is_error, result } => {
            if result["details"][SAID_HERE].is_string() {
                run.said_here.last = Some(0);
            }
            let mut data = json!({ "phase": "result", "name": name, "toolCallId": id });
            if let Some(it) = meta {
                data["meta"] = it.into();
            }
            data["isError"] = is_error.into();
            if run.verbose == Verbose::Full {
                data["result"] = result;
            }
            tool(core, run, data, now);
        }
        Event::Compacting => agent_event(core, run, "compaction", &json!({ "phase": "start" }), now),
        Event::Compacted { will_retry } => {
            agent_event(core, run, "compaction", &json!({ "phase": "end", "willRetry": will_retry }), now);
        }
        Event::Steered(run_id) => {
            run.said_here.last = None;
            steered(core, run, &run_id, now);
        }
    }
}

/// They hear each piece as it comes: their line carries it once.
fn tell_listeners(core: &mut Core, run: &mut Run, heard: &Heard) {
    for sink in &mut run.sinks {
        if let Sink::Listener(it) = sink {
            it.hear(core, heard);
        }
    }
}

/// At once, as long as the text is short. Each event carries the whole text: a long one is told in fewer steps, so that what
/// it takes of a client's line does not grow with the square of its length.
fn words(core: &mut Core, run_ref: RunRef, run: &mut Run, now: Now) {
    let due = run.words.told_ms + pace_ms(run.text.len());
    if due <= now.mono_ms {
        tell_words(core, run, now);
    } else if !std::mem::replace(&mut run.words.waiting, true) {
        core.arm(due, Timer::Words(run_ref));
    }
}

/// Between two events that carry a text of this length.
fn pace_ms(bytes: usize) -> u64 {
    (bytes.saturating_sub(TEXT_FREE_BYTES) / TEXT_PACE_BYTES_A_MS) as u64
}

/// The time of words that waited has come.
pub fn on_words_due(core: &mut Core, run: RunRef, now: Now) {
    let Some(mut entry) = core.runs.all.remove(&run) else { return };
    if std::mem::take(&mut entry.words.waiting) && entry.stop.is_none() {
        tell_words(core, &mut entry, now);
    }
    core.runs.all.insert(run, entry);
}

pub(super) fn tell_words(core: &mut Core, run: &mut Run, now: Now) {
    let delta = std::mem::take(&mut run.words.unsaid);
    run.words.told_ms = now.mono_ms;
    if !delta.is_empty() {
        let data = json!({ "text": run.text.trim_end(), "delta": delta });
        tell_step(core, run, "assistant", data, now);
    }
}

/// To everybody who may see it; numbered in any case.
pub(super) fn agent_event(
    core: &mut Core,
    run: &mut Run,
    stream: &'static str,
    data: &impl Serialize,
    now: Now,
) {
    tell_step(core, run, stream, json!(data), now);
}

fn tell_step(core: &mut Core, run: &mut Run, stream: &'static str, data: Value, now: Now) {
    run.seq += 1;
    core.broadcast(&AGENT, &step(run, stream, data, now));
}

fn step(run: &Run, stream: &'static str, data: Value, now: Now) -> AgentEvent {
    let (run_id, session_key) = (run.request.run_id.clone(), run.request.session_key.clone());
    AgentEvent { run_id, stream, data, session_key, seq: run.seq, ts: now.unix_ms }
}

/// What tools do is for those alone who asked to see it, and only in a session that is verbose.
fn tool(core: &mut Core, run: &mut Run, data: Value, now: Now) {
    run.seq += 1;
    if run.verbose == Verbose::Off {
        return;
    }
    let payload = step(run, "tool", data, now);
    for conn in &run.watchers {
        core.tell(*conn, &AGENT, &payload);
    }
}

fn event_of(run: &Run, state: ChatState) -> Option<ChatEvent> {
    let key = run.request.session_key.as_deref()?;
    Some(ChatEvent::new(&run.request.run_id, key, run.seq, state))
}

/// At most one in so many milliseconds; the last words of a pause come when that time is over.
fn chat_delta(core: &mut Core, run_ref: RunRef, run: &mut Run, now: Now) {
    let due = run.chat.told_ms.map_or(now.mono_ms, |it| it + CHAT_DELTA_MS);
    if due <= now.mono_ms {
        return tell_delta(core, run, now);
    }
    if run.chat.waiting.replace(run.seq).is_none() {
        core.arm(due, Timer::ChatDelta(run_ref));
    }
}

/// The time of a delta that waited has come.
pub fn on_delta_due(core: &mut Core, run: RunRef, now: Now) {
    let Some(mut entry) = core.runs.all.remove(&run) else { return };
    if entry.chat.waiting.take().is_some() && entry.stop.is_none() {
        tell_delta(core, &mut entry, now);
    }
    core.runs.all.insert(run, entry);
}

fn tell_delta(core: &mut Core, run: &mut Run, now: Now) {
    run.chat.told_ms = Some(now.mono_ms);
    run.chat.waiting = None;
    // What follows an answer that a tool has sent is not sent, so it is not shown either.
    let waits_for_it = run.request.reply.is_some() && run.said_here.last.is_none();
    if waits_for_it && now.mono_ms >= run.chat.drafted_ms + DRAFT_MS {
        run.chat.drafted_ms = now.mono_ms;
        channels::outbound::draft(core, &run.request, run.text.trim_end());
    }
    let Some(mut event) = event_of(run, ChatState::Delta) else { return };
    let text = run.text.trim_end();
    event.message = Some(message(text, now.unix_ms));
    let mut newer = event.clone();
    newer.delta_text = Some(text.get(run.chat.shown..).unwrap_or_default().to_owned());
    newer.replace = run.chat.anew.then_some(true);
    (run.chat.shown, run.chat.anew) = (text.len(), false);
    core.broadcast_delta(&CHAT, &event, &newer);
}

/// The last `chat` event of a run. What was stored is on disk by now.
pub(super) fn last_chat(core: &mut Core, run: &mut Run, end: &End, now: Now) {
    let said = end.texts.last();
    let event = match (&end.outcome, run.stop) {
        // Told when it was aborted, and the last word.
        (_, Some(_)) => None,
        (Err(Failure::Cancelled), None) => aborted(run, Stop::Shutdown),
        (Err(Failure::Failed(text) | Failure::Refused(text) | Failure::Unfit(text)), None) => {
            let mut event = event_of(run, ChatState::Error);
            if let Some(it) = &mut event {
                it.error_message = Some(cut(text));
            }
            event
        }
        (Ok(()), None) => {
            let mut event = event_of(run, ChatState::Final);
            if let Some(it) = &mut event {
                it.message = said.map(|it| message(it, now.unix_ms));
            }
            event
        }
    };
    if let Some(it) = event {
        core.broadcast(&CHAT, &it);
    }
}

/// A run was told to end: everybody hears it now, whenever its thread does.
pub(super) fn tell_aborted(core: &mut Core, run: &mut Run, stop: Stop) {
    run.seq += 1;
    if let Some(it) = aborted(run, stop) {
        core.broadcast(&CHAT, &it);
    }
}

fn aborted(run: &Run, stop: Stop) -> Option<ChatEvent> {
    let mut event = event_of(run, ChatState::Aborted)?;
    event.stop_reason = Some(stop.word());
    Some(event)
}

/// A message that waited was told to the model of the run before it: its own run has nothing left to do.
fn steered(core: &mut Core, into: &mut Run, run_id: &str, now: Now) {
    let Some(run) = core.runs.by_id(Kind::Chat, run_id) else { return };
    let Some(entry) = core.runs.all.remove(&run) else { return };
    core.runs.leave_lane(&entry.request.key, run);
    into.steered.push(run_id.to_owned());
    // On disk it is answered when the run is: until then a crash gives it a run of its own.
    core.runs.answers.put(&Kind::Chat.key(run_id), chat_answer(run_id), now.unix_ms);
    let started_at = Some(into.started_ms);
    let status = wait::Status { status: "ok", started_at, ended_at: Some(now.unix_ms), error: None };
    wait::ended(core, run_id, status, now);
    if let Some(it) = event_of(&entry, ChatState::Final) {
        core.broadcast(&CHAT, &it);
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(ERROR_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    /// A fast model's long answer, a word a millisecond, and what a client is sent of it.
    #[test]
    fn a_long_text_does_not_fill_the_line() {
        let (mut told_ms, mut sent, mut steps) = (0, 0, 0);
        for ms in 1..=40_000 {
            let text = ms * 8;
            if told_ms + pace_ms(text) <= ms as u64 {
                (told_ms, sent, steps) = (ms as u64, sent + text, steps + 1);
            }
            assert!(text > TEXT_FREE_BYTES || steps == ms, "a short one is told word by word");
        }
        // Word by word it would be 6.4 GB.
        assert!(sent < 60_000_000 && steps > 500, "{sent} bytes in {steps} steps");
    }
}
