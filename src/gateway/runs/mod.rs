//! Runs: which message is being answered, which wait, who hears of it.
//!
//! ```text
//! accept ─(durable)─► waiting ─(its session is free, and a place among all)─► running ─► ended: sinks, answer, next
//!    │                   │                                                     │
//!    └ refused           └ aborted                                             └ aborted, timed out, panicked
//! ```
//!
//! * One run at a time in a session, `agents.defaults.maxConcurrent` in all.
//! * What was accepted is answered, by this life of the process or the next one.
//! * A run tells its sinks, and knows nothing else of who listens.
pub mod abort;
pub mod accept;
pub mod begin;
pub mod commanded;
pub mod events;
pub mod ordered;
pub mod recover;
pub mod request;
mod told;
pub mod wait;

use super::ws_log::Asked;
use super::{Core, Effect, Timer, approvals, channels, commands};
use crate::agent::models::Models;
use crate::agent::run::{End, Failure, Steer, Task};
use crate::agent::tools::message::SaidHere;
use crate::base::cancel::Cancel;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::{RUNS_MAX, RUNS_WAITING_MAX};
use crate::config::QueueMode;
use crate::protocol::error::{RpcError, RpcResult};
use crate::store::dedupe::Dedupe;
use crate::store::stores::Stores;
use crossbeam_channel::{Receiver, Sender, unbounded};
use events::{Lifecycle, Stop};
use request::{Kind, Reply, Request};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
pub use told::{on_delta_due, on_event, on_words_due};

/// One run in this process; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunRef(u64);

/// What a thread of its own does; see [`crate::agent::run::run`].
pub struct Start {
    pub run: RunRef,
    pub task: Task,
    pub models: Arc<Models>,
    pub cancel: Cancel,
}

/// Who hears how a run went.
#[derive(Debug)]
pub enum Sink {
    /// The request that started it gets a second answer.
    Reply(Asked),
    /// Everybody who may see `chat` events.
    Chat,
    /// Somebody of a layer above, who answers in a way of its own.
    Listener(Box<dyn Listener>),
}

/// Hears a run from its first word to its end, on the core's thread: it must not block.
pub trait Listener: Send + std::fmt::Debug {
    fn hear(&mut self, core: &mut Core, heard: &Heard);
    /// The last that it hears. `end` is absent where the run never began.
    fn ended(self: Box<Self>, core: &mut Core, end: Option<&End>, error: Option<&RpcError>, now: Now);
}

/// A step of a run.
#[derive(Debug)]
pub enum Heard<'a> {
    Begun,
    /// Of the message that is being said; it never begins with white space.
    Text(&'a str),
    /// Tools may follow, and another message.
    MessageEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Being made durable.
    Accepting,
    Waiting,
    Running,
    /// A command, which needs no turn.
    Commanded,
}

pub struct Run {
    request: Request,
    stage: Stage,
    sinks: Vec<Sink>,
    cancel: Cancel,
    /// Why it was told to end.
    stop: Option<Stop>,
    steer: Sender<Steer>,
    steering: Receiver<Steer>,
    /// Run ids of the messages that were steered into it.
    steered: Vec<String>,
    /// What is to be said to who asked, and why there is no (whole) answer.
    said: Vec<String>,
    said_here: SaidHere,
    trouble: Option<String>,
    /// Of its events, from 1.
    seq: u64,
    started_ms: i64,
    mono_ms: u64,
    /// What the model has said of its message so far.
    text: String,
    chat: told::Chat,
    words: told::Words,
    verbose: events::Verbose,
    /// Connections that asked to see what tools do.
    watchers: Vec<ConnId>,
    session_id: Option<String>,
}

/// All runs of this life.
#[derive(Default)]
pub struct Runs {
    next: u64,
    all: BTreeMap<RunRef, Run>,
    /// By canonical session key; the first one runs, or is next to.
    lanes: BTreeMap<String, VecDeque<RunRef>>,
    running: usize,
    /// Requests that are being made durable, those that were aborted meanwhile too.
    promises: usize,
    /// What was answered to `chat:<key>` and `agent:<key>`.
    answers: Dedupe,
    ended: wait::Ended,
    /// Calls that wait for a session to be free.
    idle: Vec<abort::WhenIdle>,
}

impl Runs {
    /// No run is under way or waits.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
    fn by_id(&self, kind: Kind, run_id: &str) -> Option<RunRef> {
        let is = |it: &Request| it.kind == kind && it.run_id == run_id;
        self.all.iter().find(|it| is(&it.1.request)).map(|it| *it.0)
    }
    /// Chat messages of a session that have no answer, those that are being made durable too.
    pub fn chats(&self, key: &str) -> usize {
        let is = |it: &Request| it.kind == Kind::Chat && it.key == key && it.command.is_none();
        self.all.values().filter(|it| is(&it.request)).count()
    }
    /// Whether a session has a run, and whether one waits behind it.
    pub fn depth(&self, key: &str) -> usize {
        self.lanes.get(key).map_or(0, VecDeque::len)
    }
    /// A run is under way.
    pub fn any_running(&self) -> bool {
        self.running > 0
    }
    /// It runs, and nobody has told it to end.
    pub(in crate::gateway) fn is_wanted(&self, run: RunRef) -> bool {
        self.all.get(&run).is_some_and(|it| it.stage == Stage::Running && it.stop.is_none())
    }
    fn is_running(&self, run: RunRef) -> bool {
        self.all.get(&run).is_some_and(|it| it.stage == Stage::Running)
    }
}

/// What is known of an idempotency key.
pub enum Known {
    /// Nothing: go on.
    New,
    /// When it was accepted, in milliseconds since 1970.
    UnderWay(i64),
    Answered(Value),
}

/// Whether a request was made before.
pub fn known(core: &Core, kind: Kind, run_id: &str, now: Now) -> Known {
    let runs = &core.runs;
    if let Some(run) = runs.by_id(kind, run_id) {
        return Known::UnderWay(runs.all[&run].request.accepted_at);
    }
    match runs.answers.get(&kind.key(run_id), now.unix_ms) {
        Some(it) => Known::Answered(it.clone()),
        None => Known::New,
    }
}

/// Takes a place for a run that is about to be made durable.
///
/// # Errors
/// Too many wait already, or the gateway is stopping.
pub fn reserve(core: &mut Core, request: Request, sinks: Vec<Sink>) -> RpcResult<RunRef> {
    if core.is_leaving() {
        return Err(RpcError::unavailable("the gateway is stopping").retry_after(1500));
    }
    let queue = &core.world.config.config.queue;
    // One runs, and `cap` wait.
    let queues = request.kind == Kind::Chat && request.command.is_none();
    // A channel keeps what there is no room for, of all chats: no chat holds the others up before all places are taken.
    let crowded = queues && request.reply.is_none() && core.runs.chats(&request.key) > queue.cap;
    let full = core.runs.all.len().max(core.runs.promises) >= RUNS_WAITING_MAX;
    if full || crowded && !queue.drop_old {
        return Err(RpcError::busy(1000));
    }
    Ok(insert(core, request, sinks))
}

/// Begins what nobody is promised: see [`Kind::Http`].
///
/// # Errors
/// As [`reserve`].
pub fn begin_unpromised(core: &mut Core, request: Request, sinks: Vec<Sink>, now: Now) -> RpcResult<RunRef> {
    let run = reserve(core, request, sinks)?;
    accepted(core, run, now);
    Ok(run)
}

fn insert(core: &mut Core, request: Request, sinks: Vec<Sink>) -> RunRef {
    // What is steered waits in the lane too, and is counted there.
    let (steer, steering) = unbounded();
    let run = RunRef(core.runs.next);
    core.runs.next += 1;
    let entry = Run {
        request,
        stage: Stage::Accepting,
        sinks,
        cancel: Cancel::new(),
        stop: None,
        steer,
        steering,
        steered: vec![],
        said: vec![],
        said_here: SaidHere::default(),
        trouble: None,
        seq: 0,
        started_ms: 0,
        mono_ms: 0,
        text: String::new(),
        chat: told::Chat::default(),
        words: told::Words::default(),
        verbose: events::Verbose::Off,
        watchers: vec![],
        session_id: None,
    };
    core.runs.all.insert(run, entry);
    run
}

pub fn request_of(core: &Core, run: RunRef) -> Option<Request> {
    core.runs.all.get(&run).map(|it| it.request.clone())
}

/// Who is to get a run's answer.
pub fn reply_of(core: &Core, run: RunRef) -> Option<&Reply> {
    core.runs.all.get(&run)?.request.reply.as_ref()
}

/// It could not be made durable: as if it had never been asked for.
pub fn forget(core: &mut Core, run: RunRef) {
    core.runs.all.remove(&run);
}

/// It is durable: it waits for its turn.
pub fn accepted(core: &mut Core, run: RunRef, now: Now) {
    if core.runs.all.get(&run).is_some_and(|it| it.request.command.is_some()) {
        return commands::carry_out(core, run, now);
    }
    let Some(first) = enqueue(core, run) else { return };
    let request = &core.runs.all[&run].request;
    if request.kind == Kind::Chat {
        make_room(core, run, now);
        meet(core, run, first, now);
    }
    pump(core, now);
}

/// It waits behind the others of its session; the first of them.
fn enqueue(core: &mut Core, run: RunRef) -> Option<RunRef> {
    let entry = core.runs.all.get_mut(&run)?;
    entry.stage = Stage::Waiting;
    let lane = core.runs.lanes.entry(entry.request.key.clone()).or_default();
    lane.push_back(run);
    Some(lane[0])
}

/// Where `messages.queue.drop` is `old`, the oldest message that waits gives way to the newest.
fn make_room(core: &mut Core, run: RunRef, now: Now) {
    let (runs, key) = (&core.runs, &core.runs.all[&run].request.key);
    let waits = |it: &RunRef| {
        let entry = &runs.all[it];
        *it != run && entry.stage == Stage::Waiting && entry.request.kind == Kind::Chat
    };
    let queue = &core.world.config.config.queue;
    // Those of the last life may be more than may wait now.
    let full = queue.drop_old && runs.chats(key) > queue.cap + 1;
    let oldest = runs.lanes[key].iter().copied().find(waits);
    if let Some(oldest) = oldest.filter(|_| full) {
        abort::stop(core, oldest, Stop::Interrupt, now);
    }
}

/// What becomes of a message to a session that is at work.
fn meet(core: &mut Core, run: RunRef, first: RunRef, now: Now) {
    if first == run || !core.runs.is_running(first) {
        return;
    }
    let request = &core.runs.all[&run].request;
    let own = request.queue_mode.as_deref().and_then(QueueMode::of_word);
    let all = core.world.config.config.queue.mode_of(request.channel.as_deref());
    match if request.stands_alone() { QueueMode::Followup } else { own.unwrap_or(all) } {
        QueueMode::Followup => {}
        // Whose tools are others asks with those.
        QueueMode::Steer if core.runs.all[&first].request.tools != request.tools => {}
        QueueMode::Steer => {
            let steer = Steer {
                run_id: request.run_id.clone(),
                accepted_at: request.accepted_at,
                text: begin::stamped(&core.world, request),
                images: request.images.clone(),
            };
            // It stays in its place until the model was told.
            drop(core.runs.all[&first].steer.try_send(steer));
        }
        QueueMode::Interrupt => abort::stop(core, first, Stop::Interrupt, now),
    }
}

/// A connection that wants to see what tools do sees those of the runs that it starts.
pub fn watch(core: &mut Core, run: RunRef, conn: ConnId) {
    let sees = core.clients.get(&conn).and_then(|it| it.ready()).is_some_and(|it| it.sees_tools);
    if let Some(entry) = core.runs.all.get_mut(&run).filter(|_| sees) {
        entry.watchers.push(conn);
    }
}

/// Starts what can be started.
fn pump(core: &mut Core, now: Now) {
    if core.is_leaving() {
        // What waits is kept, and begun by the next life.
        return;
    }
    let most = core.world.config.config.agents.max_concurrent.min(RUNS_MAX);
    while core.runs.running < most {
        let runs = &core.runs;
        // The one that was accepted first, of those whose session is free.
        let heads = runs.lanes.values().filter_map(|it| it.front().copied());
        let Some(run) = heads.filter(|it| !runs.is_running(*it)).min() else { return };
        start(core, run, now);
    }
}

fn start(core: &mut Core, run: RunRef, now: Now) {
    let Some(key) = core.runs.all.get(&run).map(|it| it.request.key.clone()) else { return };
    let mut notes = core.take_system_events(&key, run);
    notes.extend(channels::take_notes(core, &key));
    let (world, has_networks) = (core.world.clone(), core.has_networks());
    let Some(entry) = core.runs.all.get_mut(&run) else { return };
    entry.stage = Stage::Running;
    (entry.started_ms, entry.mono_ms) = (now.unix_ms, now.mono_ms);
    let task = begin::task(&world, core.clock, &entry.request, notes, entry.steering.clone(), has_networks);
    let timeout_ms = task.timeout_ms;
    let start = Start { run, task, models: world.models.clone(), cancel: entry.cancel.clone() };
    core.runs.running += 1;
    let request = entry.request.clone();
    core.effects.push(Effect::Run(Box::new(start)));
    channels::outbound::working(core, &request);
    core.arm(now.mono_ms + timeout_ms, Timer::RunTooLong(run));
}

/// Its time is over.
pub fn on_timeout(core: &mut Core, run: RunRef, now: Now) {
    if core.runs.is_running(run) {
        abort::stop(core, run, Stop::Timeout, now);
    }
}

/// The thread of a run has ended.
pub fn on_ended(core: &mut Core, run: RunRef, end: End, now: Now) {
    let Some(mut entry) = core.runs.all.remove(&run) else { return };
    core.runs.running -= 1;
    approvals::forget_run(core, run, now);
    core.forget_system_events(run);
    core.runs.leave_lane(&entry.request.key, run);
    core.disarm(
        |it| matches!(it, Timer::RunTooLong(of) | Timer::ChatDelta(of) | Timer::Words(of) if *of == run),
    );
    if entry.request.only_compact.is_some() && end.outcome != Err(Failure::Cancelled) {
        entry.stage = Stage::Commanded;
        core.runs.all.insert(run, entry);
        commands::folded(core, run, &end);
    } else {
        let answer = finish(core, &mut entry, &end, now);
        entry.said.clone_from(&end.texts);
        entry.said_here.clone_from(&end.said_here);
        // Who has ended it knows.
        let quiet = matches!(entry.stop, Some(Stop::Rpc | Stop::Command | Stop::Interrupt | Stop::Deleted));
        if quiet {
            entry.said.clear();
        } else {
            entry.trouble = match (&end.outcome, &answer.error) {
                (Err(Failure::Refused(text)), _) => Some(text.clone()),
                (_, error) => error.as_ref().map(|it| it.message.clone()),
            };
        }
        tell_sinks(core, &mut entry, Some(&end), &answer, now);
        // What a stopping gateway has not finished is finished, and told, by its next life.
        if let Some(order) = entry.request.order.as_ref().filter(|_| entry.stop != Some(Stop::Shutdown)) {
            ordered::report(core, &entry, order, &end, &answer, now);
        }
        remember(core, &entry, answer, now);
    }
    abort::check_idle(core, now);
    pump(core, now);
    core.go_on_leaving(now);
}

impl Runs {
    fn leave_lane(&mut self, key: &str, run: RunRef) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.retain(|it| *it != run);
            if lane.is_empty() {
                self.lanes.remove(key);
            }
        }
    }
}

/// What the client that asked is told at the end, and whoever asks again.
#[derive(Debug, Clone)]
pub struct Answer {
    pub payload: Value,
    pub error: Option<RpcError>,
}

impl Answer {
    pub fn to_json(&self) -> Value {
        json!({ "payload": self.payload, "error": self.error })
    }
}

/// The last events of a run, and its answer.
fn finish(core: &mut Core, run: &mut Run, end: &End, now: Now) -> Answer {
    let (started, ended) = (run.started_ms, now.unix_ms);
    let failure = end.outcome.as_ref().err();
    let lifecycle = match (failure, run.stop) {
        // Who has heard that it was aborted hears nothing more, whatever came of it.
        (_, Some(Stop::Rpc | Stop::Command | Stop::Interrupt)) => None,
        (Some(Failure::Cancelled), _) | (_, Some(_)) => {
            Some(Lifecycle::End { started_at: Some(started), ended_at: ended, aborted: true })
        }
        (Some(Failure::Failed(error) | Failure::Unfit(error)), _) => {
            Some(Lifecycle::Error { started_at: started, ended_at: ended, error: error.clone() })
        }
        _ => Some(Lifecycle::End { started_at: None, ended_at: ended, aborted: false }),
    };
    let only_compact = run.request.only_compact.is_some();
    if run.stop.is_none() {
        told::tell_words(core, run, now);
    }
    if let Some(it) = lifecycle.filter(|_| !only_compact) {
        told::agent_event(core, run, "lifecycle", &it, now);
    }
    told::last_chat(core, run, end, now);
    let run_id = &run.request.run_id;
    match failure {
        None | Some(Failure::Refused(_)) if let Some(channel) = undeliverable(core, &run.request) => {
            let error = match channels::outbound::needs_target(core, channel) {
                Some(text) => RpcError::unavailable(text),
                None => RpcError::unavailable(format!("Unknown channel: {channel}")),
            };
            let payload = json!({ "runId": run_id, "status": "error", "summary": error.message });
            Answer { payload, error: Some(error) }
        }
        None | Some(Failure::Refused(_)) => {
            let payload = json!({
                "runId": run_id, "status": "ok", "summary": "completed", "result": events::result(run, end, now),
            });
            Answer { payload, error: None }
        }
        Some(failure) => {
            let error = match (failure, run.stop) {
                (_, Some(Stop::Timeout)) => RpcError::agent_timeout(run.request.timeout_ms.div_ceil(1000)),
                (_, Some(Stop::Shutdown)) => {
                    RpcError::unavailable("the gateway is stopping").retry_after(1500)
                }
                (Failure::Failed(text) | Failure::Refused(text), None) => RpcError::unavailable(text),
                (Failure::Unfit(text), None) => RpcError::invalid(text),
                _ => RpcError::unavailable("the run was aborted"),
            };
            let payload = json!({ "runId": run_id, "status": "error", "summary": error.message });
            Answer { payload, error: Some(error) }
        }
    }
}

/// A channel that was to get the answer and does not run here. Who watches has seen it all the same.
fn undeliverable<'r>(core: &Core, request: &'r Request) -> Option<&'r str> {
    let reaches = request.reply.as_ref().is_some_and(|it| channels::outbound::knows(core, it));
    // What was ordered goes to the main session in any case, and to whom that last spoke if there is somebody.
    let nobody = |it: &&str| reaches || *it == "webchat" || *it == "last" && request.order.is_some();
    request.deliver_to.as_deref().filter(|it| !nobody(it))
}

fn tell_sinks(core: &mut Core, run: &mut Run, end: Option<&End>, answer: &Answer, now: Now) {
    for sink in std::mem::take(&mut run.sinks) {
        match sink {
            Sink::Reply(asked) => core.answer_twice(&asked, answer, now),
            Sink::Chat => {}
            Sink::Listener(it) => it.ended(core, end, answer.error.as_ref(), now),
        }
    }
}

/// What a chat message is answered once its run has ended, however: events have told the rest.
fn chat_answer(run_id: &str) -> Value {
    json!({ "payload": { "runId": run_id, "status": "ok" }, "error": null })
}

/// What comes of an ended run for those who ask again or wait for it; durable soon.
fn remember(core: &mut Core, run: &Run, answer: Answer, now: Now) {
    let request = &run.request;
    // A stopping gateway keeps its promise in its next life.
    if run.stop == Some(Stop::Shutdown) {
        return;
    }
    let status = wait::Status::of(&answer, run.started_ms, now.unix_ms);
    let mut all: Vec<(String, Value)> =
        run.steered.iter().map(|it| (Kind::Chat.key(it), chat_answer(it))).collect();
    let value = match request.kind {
        Kind::Chat => chat_answer(&request.run_id),
        Kind::Agent | Kind::Http => answer.to_json(),
    };
    all.push((request.kind.key(&request.run_id), value));
    // For the next life's `agent.wait`.
    all.iter_mut().for_each(|it| it.1["wait"] = json!(status));
    wait::ended(core, &request.run_id, status, now);
    if request.kind == Kind::Http {
        // Nothing was promised, and nobody asks for it again.
        all.pop();
    }
    for (key, value) in &all {
        core.runs.answers.put(key, value.clone(), now.unix_ms);
    }
    if all.is_empty() {
        return;
    }
    let delivery = channels::outbound::delivery(request, &run.said, &run.said_here, run.trouble.as_deref());
    let request = request.clone();
    let keep = move |stores: &mut Stores| {
        let unix_ms = stores.now().unix_ms;
        // On disk before the request counts as answered: a life that finds it unanswered finds the answer, and delivers that.
        let promised = delivery.clone().map(|it| {
            let deliveries = stores.deliveries().map_err(|err| err.to_string())?;
            deliveries.add(it, unix_ms).map_err(|err| err.to_string())
        });
        if let Some(Err(err)) = promised {
            log::error!(target: "channels", "an answer could not be stored, and is sent after a restart: {err}");
            return None;
        }
        for (key, value) in all {
            let done = stores
                .accepted()
                .map_err(|err| err.to_string())
                .and_then(|it| it.end(&key, Some(value), unix_ms).map_err(|err| err.to_string()));
            if let Err(err) = done {
                log::error!(target: "agent", "{key}: {err}");
            }
        }
        delivery
    };
    core.store(keep, move |core, delivery, _| channels::outbound::done(core, &request, delivery));
}

/// A run that cannot even begin: its client is told, nobody else.
pub fn fail(core: &mut Core, run: RunRef, text: &str, now: Now) {
    let Some(mut entry) = core.runs.all.remove(&run) else { return };
    let error = RpcError::unavailable(text);
    let payload = json!({ "runId": entry.request.run_id, "status": "error", "summary": error.message });
    let answer = Answer { payload, error: Some(error) };
    tell_sinks(core, &mut entry, None, &answer, now);
    remember(core, &entry, answer, now);
}
