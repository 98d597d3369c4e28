//! The core thread: feeds [`Core`], carries its effects out.
use super::tree::Tree;
use super::{Input, Output};
use crate::agent;
use crate::agent::run::{Around, End, Event, Task};
use crate::agent::tools::Nodes;
use crate::agent::tools::message::Messages;
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::ids::os_entropy;
use crate::base::limits::*;
use crate::base::mailbox::Outbox;
use crate::base::pool::{Patient, Pool};
use crate::channels::{self, Runner};
use crate::gateway::{Core, Effect, Job, StoreJob, World, reload, runs};
use crate::http;
use crate::store::stores::Stores;
use crate::store::writer::{Hand, Writer};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

struct Driver {
    core: Core,
    clock: Clock,
    inbox: Receiver<Vec<Input>>,
    back: Sender<Vec<Input>>,
    net: Outbox<Vec<Output>>,
    starved: Arc<AtomicBool>,
    workers: Patient,
    store: Hand,
    channels: Runner,
    tell: Arc<dyn Fn(channels::Event) + Send + Sync>,
    /// What is watched for pages that wait.
    tree: Option<Tree>,
    /// The net thread asked whether this one is alive.
    pulse: bool,
}

pub(super) fn start(
    core: Core,
    clock: Clock,
    inbox: Receiver<Vec<Input>>,
    back: Sender<Vec<Input>>,
    net: Outbox<Vec<Output>>,
    starved: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<Arc<World>>> {
    let workers = Patient::new(Pool::start("job", WORKERS, JOB_QUEUE_MAX)?);
    let journal = core.world.paths.state.join("accepted.jsonl");
    let writer = Writer::start(Stores::new(journal, clock, os_entropy()), clock)?;
    let store = writer.hand();
    let to_core = back.clone();
    let tell = Arc::new(move |event| {
        // The core is gone: nobody hears of it any more.
        let _ = to_core.send(vec![Input::Channel(event)]);
    });
    let channels = Runner::default();
    let mut driver = Driver {
        core,
        clock,
        inbox,
        back,
        net,
        starved,
        workers,
        store,
        channels,
        tell,
        tree: None,
        pulse: false,
    };
    Builder::new().name("core".into()).stack_size(THREAD_STACK_BYTES).spawn(move || {
        driver.run();
        let world = driver.core.world.clone();
        let channels = std::mem::take(&mut driver.channels);
        // Nobody hears its answers any more, so none of them waits to be heard.
        drop(driver);
        channels.stop();
        // What is being written is on disk before the next life reads it.
        writer.finish();
        world
    })
}

impl Driver {
    fn run(&mut self) {
        let mut outputs = vec![];
        if self.flush(&mut outputs) {
            return;
        }
        loop {
            let batch = match self.core.next_due() {
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => self.inbox.recv_deadline(self.clock.instant(due)),
            };
            match batch {
                Ok(batch) => {
                    self.handle(batch);
                    // What is here already travels back in one go.
                    for _ in 0..BATCH_INPUTS_MAX {
                        let Ok(batch) = self.inbox.try_recv() else { break };
                        self.handle(batch);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.workers.go_on();
            self.core.on_time(self.clock.now());
            if self.flush(&mut outputs) {
                return;
            }
        }
    }

    fn handle(&mut self, batch: Vec<Input>) {
        let now = self.clock.now();
        for input in batch {
            match input {
                Input::Opened(conn, from, head) => http::on_opened(&mut self.core, conn, from, &head, now),
                Input::Message(conn, text) => self.core.on_message(conn, text, now),
                Input::Gone(conn) => self.core.on_gone(conn, now),
                Input::Signal(signal) => self.core.on_signal(signal, now),
                Input::ConfigTouched => reload::touched(&mut self.core, now),
                Input::Done(done) => self.core.on_done(done, now),
                Input::Run(run, event) => self.core.on_run_event(run, event, now),
                Input::ForNode(run, command) => self.core.on_node_command(run, command, now),
                Input::Post(run, post) => self.core.on_post(run, post, now),
                Input::RunEnded(run, end) => self.core.on_run_ended(run, end, now),
                Input::Channel(event) => self.core.on_channel(event, now),
                Input::Pulse => self.pulse = true,
                Input::Head(conn, from, head) => http::on_head(&mut self.core, conn, from, &head, now),
                Input::Request(conn, from, request) => {
                    http::on_request(&mut self.core, conn, from, request, now);
                }
                Input::Drained(conn) => self.core.on_drained(conn, now),
                Input::CanvasTouched => self.core.on_canvas_touched(),
            }
        }
    }

    /// Hands the effects out. True when this was the end.
    fn flush(&mut self, outputs: &mut Vec<Output>) -> bool {
        let mut ended = false;
        if std::mem::take(&mut self.pulse) {
            outputs.push(Output::Pulse);
        }
        let mut effects = VecDeque::from(self.core.take_effects());
        while let Some(effect) = effects.pop_front() {
            outputs.push(match effect {
                Effect::Send { conn, text } => Output::Send(conn, text),
                Effect::Broadcast { to, text, drop_if_slow } => Output::Broadcast { to, text, drop_if_slow },
                Effect::Admit { conn, bytes_max } => Output::Admit(conn, bytes_max),
                Effect::Answer { conn, answer } => Output::Answer(conn, answer),
                Effect::Stream { conn, head } => Output::Stream(conn, head),
                Effect::Piece { conn, piece } => Output::Piece(conn, piece),
                Effect::EndStream { conn } => Output::EndStream(conn),
                Effect::TellDrained { conn } => Output::TellDrained(conn),
                Effect::Cut { conn } => Output::Cut(conn),
                Effect::Close { conn, code, reason } => Output::Close(conn, code, reason),
                Effect::Authenticated { conn } => Output::Authenticated(conn),
                Effect::Watch(files) => Output::Watch(files),
                Effect::End(end) => {
                    ended = true;
                    Output::End(end)
                }
                Effect::WatchTree(roots) => {
                    self.tree = (!roots.is_empty())
                        .then(|| Tree::watch(&roots, self.clock, self.back.clone()))
                        .flatten();
                    continue;
                }
                Effect::Job(job) => {
                    self.start_job(job);
                    continue;
                }
                Effect::Thread(job) => {
                    self.start_thread(job);
                    continue;
                }
                Effect::Run(start) => {
                    self.start_run(*start);
                    // A run that cannot be started has more to say.
                    effects.extend(self.core.take_effects());
                    continue;
                }
                Effect::Channel(command) => {
                    let told = self.channels.carry_out(command, self.clock, &self.store, &self.tell);
                    if let Some(event) = told {
                        self.core.on_channel(event, self.clock.now());
                        effects.extend(self.core.take_effects());
                    }
                    continue;
                }
                Effect::Store(job) => {
                    self.start_store_job(job);
                    continue;
                }
            });
        }
        // net stopped reading because our inbox was full: an empty batch tells it to go on.
        if self.starved.swap(false, Ordering::AcqRel) || !outputs.is_empty() {
            return self.net.send(std::mem::take(outputs)).is_err() || ended;
        }
        ended
    }

    fn start_job(&mut self, job: Job) {
        let back = self.back.clone();
        let work = Box::new(move || {
            // The core is gone: nobody waits for this any more.
            let _ = back.send(vec![Input::Done(job())]);
        });
        self.workers.give(work);
    }

    fn start_thread(&mut self, job: Job) {
        let back = self.back.clone();
        let job = Arc::new(Mutex::new(Some(job)));
        let its = job.clone();
        let work = move || {
            let job = its.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The core is gone: nobody waits for this any more.
            let _ = job.map(|job| back.send(vec![Input::Done(job())]));
        };
        let thread = Builder::new().name("answer".into()).stack_size(THREAD_STACK_BYTES).spawn(work);
        if let Err(err) = thread {
            log::warn!(target: "gateway", "the system gives no thread for an answer: {err}");
            let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
            job.map(|job| self.start_job(job)).unwrap_or_default();
        }
    }

    fn start_run(&mut self, start: runs::Start) {
        let around = Around { models: start.models, store: self.store.clone(), clock: self.clock };
        let (run, mut task, cancel, back) = (start.run, start.task, start.cancel, self.back.clone());
        let (to_core, posts) = (self.back.clone(), self.back.clone());
        task.place.messages = Some(Messages(Arc::new(move |post| {
            let _ = posts.send(vec![Input::Post(run, post)]);
        })));
        task.place.nodes = Some(Nodes(Arc::new(move |command| {
            // The core is gone: the run is stopped, and waits no longer.
            let _ = to_core.send(vec![Input::ForNode(run, command)]);
        })));
        let work = move || {
            let mut emit = |event| {
                // The core is gone: nobody hears of it any more.
                let _ = back.send(vec![Input::Run(run, event)]);
            };
            let end = carry_out(task, &around, &cancel, &mut emit);
            let _ = back.send(vec![Input::RunEnded(run, end)]);
        };
        let thread = Builder::new().name("run".into()).stack_size(THREAD_STACK_BYTES).spawn(work);
        if let Err(err) = thread {
            let end = End::failed(format!("the system gives no thread for it: {err}"));
            self.core.on_run_ended(run, end, self.clock.now());
        }
    }

    fn start_store_job(&self, job: StoreJob) {
        let back = self.back.clone();
        self.store.give(Box::new(move |stores| {
            let _ = back.send(vec![Input::Done(job(stores))]);
        }));
    }
}

/// A panic ends the run, and nothing else.
fn carry_out(task: Task, around: &Around, cancel: &Cancel, emit: &mut dyn FnMut(Event)) -> End {
    catch_unwind(AssertUnwindSafe(|| agent::run::run(task, around, cancel, emit)))
        .unwrap_or_else(|_| End::panicked())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::models::Models;
    use crate::agent::run::{Begun, Failure};
    use crate::agent::tools::{Place, Policy, Toolbox, ToolsConfig};
    use crate::base::testing::TempDir;
    use crate::config::{Env, File, Paths};
    use crossbeam_channel::bounded;
    use serde_json::{Map, Value};

    /// A run whose prompt cannot be written.
    fn broken(dir: &TempDir, clock: Clock) -> Task {
        let begin = |_: &mut Stores| {
            Ok(Begun { session_id: "s".into(), entry: Map::new(), transcript: None, text: "hi".into() })
        };
        let place = Place {
            workspace: dir.path().to_owned(),
            session_key: "agent:main:main".into(),
            agent_id: "main".into(),
            config: ToolsConfig::read(&Value::Null, "main"),
            env: Arc::new(Env::from([])),
            clock,
            nodes: None,
            messages: None,
        };
        Task {
            run_id: "A".into(),
            accepted_at: 1,
            lives: 0,
            agent_id: "main".into(),
            session_key: "agent:main:main".into(),
            store: dir.path().join("sessions.json"),
            begin: Box::new(begin),
            prompt: Box::new(|_, _, _, _| panic!("on purpose")),
            images: vec![],
            brought: Arc::default(),
            thinking: None,
            thinking_default: None,
            context_tokens: None,
            compaction: Default::default(),
            tools: Box::new(|model| Toolbox::of(&Policy::read(&Value::Null, "main", model))),
            place,
            timeout_ms: 1000,
            steering: bounded(1).1,
            only_compact: None,
        }
    }

    #[test]
    fn a_panic_ends_its_run_with_an_error() {
        let dir = TempDir::new();
        let env = Env::from([("HOME", dir.path().to_str().unwrap())]);
        let paths = Paths::resolve(&env, None);
        let file = Arc::new(File::load(&paths, &env));
        let clock = Clock::start();
        let stores = Stores::new(dir.path().join("accepted.jsonl"), clock, os_entropy());
        let writer = Writer::start(stores, clock).unwrap();
        let around = Around { models: Arc::new(Models::new(file, paths, env)), store: writer.hand(), clock };
        let mut events = vec![];
        let end = carry_out(broken(&dir, clock), &around, &Cancel::new(), &mut |it| events.push(it));
        assert!(matches!(&end.outcome, Err(Failure::Failed(text)) if text.contains("report it")), "{end:?}");
        assert!(matches!(events[..], [Event::Begun { .. }]), "{events:?}");
        writer.finish();
    }
}
