//! The thread that says things: answers that are on disk, calls that somebody waits for, and signs that an answer is being made.
//!
//! * In a chat one thing is said after the other; a chat that Telegram holds back holds no other one.
//! * A part of an answer is marked on disk before it leaves. When nobody knows whether it arrived, it is looked for, not sent again.
//! * With nothing to say it sleeps.
mod answers;
mod calls;
mod drafts;

use super::api::{Api, Failure};
use super::poll::backoff_ms;
use super::say::{Piece, pieces};
use super::{CHANNEL, Shared};
use crate::base::limits::*;
use crate::channels::{Action, Order, Vitals};
use crate::store::agent_sessions;
use crate::store::deliveries::{Deliveries, Delivery, Progress};
use crate::store::stores::Stores;
use crossbeam_channel::{Receiver, never, select};
use drafts::Live;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something to be said.
enum Task {
    Deliver(Box<Deliver>),
    Call { call: u64, action: Action },
}

struct Deliver {
    delivery: Delivery,
    progress: Progress,
    pieces: Vec<Piece>,
    /// The part that was begun is not at any number up to this one.
    looked: i64,
}

impl Deliver {
    /// The number of the message that led to it.
    fn after(&self) -> i64 {
        self.delivery.after.as_ref().and_then(|it| it.parse().ok()).unwrap_or(0)
    }
}

impl Task {
    fn chat(&self) -> &str {
        match self {
            Task::Deliver(it) => &it.delivery.to,
            Task::Call { action, .. } => &action.target().to,
        }
    }
}

pub struct Sender {
    shared: Arc<Shared>,
    api: Api,
    orders: Receiver<Order>,
    missed: Arc<AtomicBool>,
    queue: VecDeque<Task>,
    /// Until when a chat is held back, on the monotonic clock.
    held: BTreeMap<String, u64>,
    /// Chats where a message of ours may be that nobody knows.
    lost: BTreeSet<String>,
    /// Until when nothing is tried: Telegram does not answer.
    down_ms: u64,
    failures: u32,
    live: BTreeMap<String, Live>,
    draft_id: i64,
    /// When answers leave in any case, whether or not it is known what waited at Telegram.
    held_ms: u64,
}

impl Sender {
    pub fn new(shared: Arc<Shared>, orders: Receiver<Order>, missed: Arc<AtomicBool>) -> Sender {
        let held_ms = shared.around.clock.now().mono_ms + TELEGRAM_BEHIND_MS;
        let api = shared.api();
        Sender {
            shared,
            api,
            orders,
            missed,
            queue: VecDeque::new(),
            held: BTreeMap::new(),
            lost: BTreeSet::new(),
            down_ms: 0,
            failures: 0,
            live: BTreeMap::new(),
            draft_id: 0,
            held_ms,
        }
    }

    /// Until it is told to end, or nobody can give orders any more.
    pub fn run(mut self) {
        self.recover();
        let silent = never();
        while !self.shared.cancel.is_cancelled() {
            if self.missed.swap(false, Ordering::AcqRel) {
                self.recover();
            }
            while let Ok(order) = self.orders.try_recv() {
                self.take(order);
            }
            self.shared.around.vitals.waiting.store(self.queue.len(), Ordering::Relaxed);
            let now = self.now();
            if self.work(now) {
                continue;
            }
            // Heard once.
            let current =
                if self.shared.current.is_cancelled() { &silent } else { self.shared.current.done() };
            let wait = match self.due() {
                Some(due) => {
                    crossbeam_channel::after(std::time::Duration::from_millis(due.saturating_sub(now).max(1)))
                }
                None => never(),
            };
            select! {
                recv(self.orders) -> order => match order {
                    Ok(order) => self.take(order),
                    Err(_) => return,
                },
                recv(wait) -> _ => {}
                recv(current) -> _ => {}
                recv(self.shared.cancel.done()) -> _ => return,
            }
        }
    }

    fn now(&self) -> u64 {
        self.shared.around.clock.now().mono_ms
    }
    fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Stores) -> Result<T, agent_sessions::Trouble> + Send + 'static,
    ) -> Result<T, String> {
        match self.shared.around.store.ask(work) {
            Ok(done) => done.map_err(|err| err.to_string()),
            Err(err) => Err(err.to_string()),
        }
    }

    /// What is on disk and not here.
    fn recover(&mut self) {
        let account = self.shared.settings.account.clone();
        match self.store(move |it| Ok(it.deliveries()?.waiting(CHANNEL, &account))) {
            Ok(all) => all.into_iter().for_each(|(delivery, progress)| self.enqueue(delivery, progress)),
            Err(err) => {
                log::error!(target: "channels", "{}: answers may wait on disk: {err}", self.shared.name())
            }
        }
    }
    fn enqueue(&mut self, delivery: Delivery, progress: Progress) {
        let same = |it: &Task| matches!(it, Task::Deliver(it) if it.delivery.id == delivery.id);
        if self.queue.iter().any(same) {
            return;
        }
        let pieces = pieces(&delivery.texts, &delivery.media, delivery.as_voice, &self.shared.settings);
        if progress.begun {
            self.settle(&delivery.to);
        }
        self.queue.push_back(Task::Deliver(Box::new(Deliver { delivery, progress, pieces, looked: 0 })));
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Deliver(delivery) => {
                let id = delivery.id.clone();
                // It may have been sent already: it was found on disk.
                match self.store(move |it| Ok(it.deliveries()?.progress(&id))) {
                    Ok(None) => {}
                    Ok(Some(progress)) => self.enqueue(delivery, progress),
                    Err(err) => {
                        log::error!(target: "channels", "{}: an answer waits on disk: {err}", self.shared.name());
                        self.missed.store(true, Ordering::Release);
                    }
                }
            }
            Order::Call { call, action } => match self.shared.trouble() {
                Some(trouble) => self.answer(call, Err(trouble)),
                None => self.queue.push_back(Task::Call { call, action }),
            },
            Order::Working { run, target } => {
                let now = self.now();
                self.live.entry(run).or_insert_with(|| Live::new(target, now)).heard(now);
            }
            Order::Draft { run, target, reply_to, text } => self.draft(run, target, reply_to, text),
            Order::Done { run } => self.done(&run),
        }
    }

    /// Does one thing whose time has come. False when there is none.
    fn work(&mut self, now: u64) -> bool {
        self.held.retain(|_, until| *until > now);
        self.forget_lost(now);
        if self.down_ms <= now {
            if let Some(at) = self.next(now) {
                let chat = self.queue[at].chat().to_owned();
                match self.queue.remove(at) {
                    Some(Task::Deliver(it)) => self.deliver(*it),
                    Some(Task::Call { call, action }) => self.call(&chat, call, action),
                    None => {}
                }
                return true;
            }
            if let Some(run) = self.next_draft(now) {
                self.step(&run, now);
                return true;
            }
        }
        self.show_typing(now)
    }

    /// The tasks that nothing else in their chat is before, and where they are.
    fn firsts(&self) -> impl Iterator<Item = (usize, &Task)> {
        let mut seen: Vec<&str> = vec![];
        self.queue.iter().enumerate().filter(move |(_, task)| {
            let is_first = !seen.contains(&task.chat());
            if is_first {
                seen.push(task.chat());
            }
            is_first
        })
    }

    /// When it may be done. As long as it is not known what waited at Telegram, a message that gets lost could not be found again.
    fn ready_ms(&self, task: &Task) -> u64 {
        let early = matches!(task, Task::Deliver(_)) && !self.shared.current.is_cancelled();
        let held = self.held.get(task.chat()).copied().unwrap_or(0);
        if early { held.max(self.held_ms) } else { held }
    }

    /// The first task that nothing holds back.
    fn next(&self, now: u64) -> Option<usize> {
        self.firsts().find(|it| self.ready_ms(it.1) <= now).map(|it| it.0)
    }

    /// When there is something to do, on the monotonic clock.
    fn due(&self) -> Option<u64> {
        let tasks = self.firsts().map(|it| self.ready_ms(it.1).max(self.down_ms));
        tasks.chain(self.draft_due()).min()
    }

    /// Nobody waits for it.
    fn write(&self, work: impl FnOnce(&mut Stores) -> Result<(), agent_sessions::Trouble> + Send + 'static) {
        self.shared.around.store.give(Box::new(move |stores| {
            if let Err(err) = work(stores) {
                log::error!(target: "channels", "{err}");
            }
        }));
    }

    fn fine(&mut self, to: &str, number: i64) {
        (self.failures, self.down_ms) = (0, 0);
        let vitals = &self.shared.around.vitals;
        Vitals::set(&vitals.outbound_ms, self.shared.around.clock.now().unix_ms);
        self.shared.said(to, number);
        // What was lost there is before this one.
        self.lost.remove(to);
        let chat = self.shared.count(to);
        self.write(move |stores| with_now(stores, |it, now| it.seen(&chat, number, now)));
    }
    fn hold(&mut self, chat: &str, s: u64) {
        log::warn!(target: "channels", "{}: Telegram holds the chat {chat} back for {s} s", self.shared.name());
        self.held.insert(chat.to_owned(), self.now() + s.clamp(1, TELEGRAM_FLOOD_S_MAX) * 1000);
    }
    /// What may have arrived arrives, before it is looked for.
    fn settle(&mut self, chat: &str) {
        let until = self.now() + TELEGRAM_SETTLE_MS;
        let held = self.held.entry(chat.to_owned()).or_default();
        *held = until.max(*held);
    }
    /// Nothing is tried for a while, longer each time.
    fn down(&mut self, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        // The millisecond is chance enough.
        self.down_ms = self.now() + backoff_ms(self.failures, self.shared.settings.retry_ms_max, self.now());
        if self.failures.is_power_of_two() {
            log::warn!(target: "channels", "{}: answers wait: {failure}", self.shared.name());
        }
        self.shared.around.vitals.fail(&failure.to_string());
    }
}

fn with_now<T>(
    stores: &mut Stores,
    work: impl FnOnce(&mut Deliveries, i64) -> std::io::Result<T>,
) -> Result<T, agent_sessions::Trouble> {
    let unix_ms = stores.now().unix_ms;
    work(stores.deliveries()?, unix_ms)
        .map_err(|err| agent_sessions::Trouble::Disk(format!("deliveries.jsonl: {err}")))
}
