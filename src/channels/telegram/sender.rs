//! The thread that says things: answers that are on disk, calls that somebody waits for, and signs that an answer is being made.
//!
//! * In a chat one thing is said after the other; a chat that Telegram holds back holds no other one.
//! * A part of an answer is marked on disk before it leaves. When nobody knows whether it arrived, it is looked for, not sent again.
//! * With nothing to say it sleeps.
use super::api::{Api, Failure};
use super::poll::backoff_ms;
use super::say::{Piece, Place, chat_id, edit, find, pieces, replies, say};
use super::settings::{ReplyTo, Stream};
use super::{CHANNEL, Shared};
use crate::base::limits::*;
use crate::channels::{Action, Event, Order, Target, Trouble, Vitals};
use crate::store::agent_sessions;
use crate::store::deliveries::{Deliveries, Delivery, Progress};
use crate::store::stores::Stores;
use crossbeam_channel::{Receiver, never, select};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is new before another block is shown. Reference: 200 characters.
const BLOCK_BYTES: usize = 200;

/// Something to be said.
enum Task {
    Deliver(Box<Deliver>),
    Call { call: u64, action: Action },
}

struct Deliver {
    delivery: Delivery,
    progress: Progress,
    pieces: Vec<Piece>,
}

impl Task {
    fn chat(&self) -> &str {
        match self {
            Task::Deliver(it) => &it.delivery.to,
            Task::Call { action, .. } => &target(action).to,
        }
    }
}

fn target(action: &Action) -> &Target {
    match action {
        Action::Send(it) => &it.target,
        Action::Poll { target, .. }
        | Action::React { target, .. }
        | Action::Edit { target, .. }
        | Action::Delete { target, .. } => target,
    }
}

/// A run whose answer is being made.
struct Live {
    target: Target,
    typing_ms: u64,
    /// Nothing was heard of it for so long that its end was missed.
    lost_ms: u64,
    draft: Option<Draft>,
}

struct Draft {
    /// For drafts that are no messages.
    id: i64,
    reply_to: Option<String>,
    text: String,
    /// What Telegram shows.
    shown: String,
    /// The message that shows it, where it is one.
    message: Option<i64>,
    due_ms: u64,
    /// It cannot be shown, and is not tried again.
    dead: bool,
}

pub struct Sender {
    shared: Arc<Shared>,
    api: Api,
    orders: Receiver<Order>,
    missed: Arc<AtomicBool>,
    queue: VecDeque<Task>,
    /// Until when a chat is held back, on the monotonic clock.
    held: BTreeMap<String, u64>,
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
            let wait = match self.due(now) {
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
        self.queue.push_back(Task::Deliver(Box::new(Deliver { delivery, progress, pieces })));
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Deliver(delivery) => {
                let shown = self.live.get(&delivery.id).and_then(|it| it.draft.as_ref()?.message);
                let id = delivery.id.clone();
                // It may have been sent already: it was found on disk.
                match self.store(move |it| Ok(it.deliveries()?.progress(&id))) {
                    Ok(None) => {}
                    Ok(Some(progress)) => {
                        let preview = progress.preview.or(shown.map(|it| it.to_string()));
                        self.enqueue(delivery, Progress { preview, ..progress });
                    }
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
                self.live.insert(
                    run,
                    Live { target, typing_ms: now, lost_ms: now + TELEGRAM_LOST_MS, draft: None },
                );
            }
            Order::Draft { run, target, reply_to, text } => self.draft(run, target, reply_to, text),
            Order::Done { run } => self.done(&run),
        }
    }

    fn draft(&mut self, run: String, target: Target, reply_to: Option<String>, text: String) {
        let now = self.now();
        // Groups are not shown half an answer.
        if self.shared.settings.stream == Stream::Off || target.to.starts_with('-') {
            return;
        }
        let live = self.live.entry(run).or_insert(Live { target, typing_ms: now, lost_ms: 0, draft: None });
        live.lost_ms = now + TELEGRAM_LOST_MS;
        match &mut live.draft {
            Some(it) => it.text = text,
            None => {
                self.draft_id += 1;
                let (id, due_ms) = (self.draft_id, now + TELEGRAM_DRAFT_MS);
                live.draft = Some(Draft {
                    id,
                    reply_to,
                    text,
                    shown: String::new(),
                    message: None,
                    due_ms,
                    dead: false,
                });
            }
        }
    }

    /// The run has ended. A message that showed its answer, where none follows, is taken away.
    fn done(&mut self, run: &str) {
        let Some(live) = self.live.remove(run) else { return };
        let follows = self.queue.iter().any(|it| matches!(it, Task::Deliver(it) if it.delivery.id == run));
        if let Some(message) = live.draft.and_then(|it| it.message).filter(|_| !follows) {
            let params = json!({ "chat_id": chat_id(&live.target.to), "message_id": message });
            if let Err(failure) = self.api.call("deleteMessage", &params, TELEGRAM_CALL_MS) {
                log::warn!(target: "channels", "{}: half an answer could not be taken back: {failure}", self.shared.name());
            }
        }
    }

    /// Does one thing whose time has come. False when there is none.
    fn work(&mut self, now: u64) -> bool {
        self.held.retain(|_, until| *until > now);
        self.live.retain(|_, it| it.lost_ms > now);
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
            let stream = self.shared.settings.stream;
            // Behind what was said before, or a lost message could not be told from it.
            let free = |it: &Live| self.queue.iter().all(|task| task.chat() != it.target.to);
            let ready = self.live.iter().find(|it| wants_step(it.1, stream, now) && free(it.1));
            if let Some(run) = ready.map(|it| it.0.clone()) {
                self.step(&run, now);
                return true;
            }
        }
        if let Some(live) = self.live.values_mut().find(|it| it.typing_ms <= now) {
            live.typing_ms = now + TELEGRAM_TYPING_MS;
            let mut params = json!({ "chat_id": chat_id(&live.target.to), "action": "typing" });
            if let Some(thread) = live.target.thread.as_ref().and_then(|it| it.parse::<i64>().ok()) {
                params["message_thread_id"] = thread.into();
            }
            // A sign that does not arrive is worth no second one.
            if self.shared.trouble().is_none() {
                let _ = self.api.call("sendChatAction", &params, TELEGRAM_CALL_MS);
            }
            return true;
        }
        false
    }

    /// The first task that nothing holds back.
    fn next(&self, now: u64) -> Option<usize> {
        let mut seen: Vec<&str> = vec![];
        for (at, task) in self.queue.iter().enumerate() {
            let chat = task.chat();
            let early = matches!(task, Task::Deliver(_)) && self.is_early(now);
            if !early && !self.held.contains_key(chat) && !seen.contains(&chat) {
                return Some(at);
            }
            seen.push(chat);
        }
        None
    }

    /// What waited at Telegram is not known yet: a message that gets lost now could not be found again.
    fn is_early(&self, now: u64) -> bool {
        now < self.held_ms && !self.shared.current.is_cancelled()
    }

    /// When there is something to do, on the monotonic clock.
    fn due(&self, now: u64) -> Option<u64> {
        let early = if self.is_early(now) { self.held_ms } else { 0 };
        let chats = self.queue.iter().map(|it| {
            let early = if matches!(it, Task::Deliver(_)) { early } else { 0 };
            self.held.get(it.chat()).copied().unwrap_or(now).max(self.down_ms).max(early)
        });
        let typing = self.live.values().map(|it| it.typing_ms);
        let stream = self.shared.settings.stream;
        let free = |it: &Live| self.queue.iter().all(|task| task.chat() != it.target.to);
        let steps = self.live.values().filter(|it| wants_step(it, stream, u64::MAX) && free(it));
        let steps = steps.filter_map(|it| it.draft.as_ref()).map(|it| it.due_ms.max(self.down_ms));
        chats.chain(typing).chain(steps).min()
    }

    // Answers.

    fn deliver(&mut self, mut it: Deliver) {
        let (part, id) = (it.progress.sent, it.delivery.id.clone());
        let Some(piece) = it.pieces.get(part).cloned() else { return self.end(&id) };
        // A message that says the answer already, or is to, can be told to say it as often as one likes.
        let is_shown = part == 0 && it.progress.preview.is_some() && matches!(piece, Piece::Text(_));
        let is_loose =
            part == 0 && !it.progress.begun && !is_shown && !self.shared.knows_numbers(&it.delivery.to);
        if is_loose
            && matches!(piece, Piece::Text(_))
            && let Err(failure) = self.anchor(&mut it)
        {
            return self.failed(it, part, failure);
        }
        let result = if it.progress.begun && is_shown {
            self.say(&it, part, &piece)
        } else if it.progress.begun {
            let settings = &self.shared.settings;
            let to = &it.delivery.to;
            let between = (it.progress.base, self.shared.seen(to));
            let known = |message| self.shared.is_own(to, message);
            match find(&self.api, settings, to, between, known, &piece) {
                Ok(None) => {
                    it.progress.begun = false;
                    self.write(move |stores| with_now(stores, |it, now| it.unsent(&id, part, now)));
                    return self.queue.push_front(Task::Deliver(Box::new(it)));
                }
                Ok(Some(number)) => Ok(number),
                // What is asked here is asked again: it changes nothing.
                Err(failure) => Err(Failure::Unknown(failure.to_string())),
            }
        } else {
            match self.begin(&mut it, part) {
                Ok(()) => self.say(&it, part, &piece),
                Err(err) => {
                    log::error!(target: "channels", "{}: an answer waits: {err}", self.shared.name());
                    self.down_ms = self.now() + TELEGRAM_RETRY_MS_MAX;
                    return self.queue.push_front(Task::Deliver(Box::new(it)));
                }
            }
        };
        match result {
            Ok(number) => self.arrived(it, part, number),
            Err(failure) => self.failed(it, part, failure),
        }
    }

    /// What waits at Telegram is not known, so neither are the numbers of new messages, and one that got lost could not be found. A
    /// message that says nothing has a number that is: the answer takes its place. That it may be lost harms nobody.
    fn anchor(&mut self, it: &mut Deliver) -> Result<(), Failure> {
        let place = self.place(it, 0);
        let sent =
            say(&self.api, &self.shared.settings, &place, &Piece::Text("…".into()), &self.shared.roots);
        let number = sent.map_err(|failure| match failure {
            // Nothing of the answer was in it.
            Failure::Unknown(text) => Failure::Unsent(text),
            other => other,
        })?;
        it.progress.preview = Some(number.to_string());
        let id = it.delivery.id.clone();
        self.write(move |stores| with_now(stores, |it, now| it.preview(&id, &number.to_string(), now)));
        self.fine(&it.delivery.to, number);
        Ok(())
    }

    fn place(&self, it: &Deliver, part: usize) -> Place {
        let delivery = &it.delivery;
        Place {
            target: Target { to: delivery.to.clone(), thread: delivery.thread.clone() },
            reply_to: replies(part, delivery.reply_to.as_deref(), &self.shared.settings),
            silent: delivery.silent,
            buttons: None,
        }
    }

    /// Marks it on disk: from here on it may be there.
    fn begin(&self, it: &mut Deliver, part: usize) -> Result<(), String> {
        let chat = self.shared.count(&it.delivery.to);
        let after = it.delivery.after.as_ref().and_then(|it| it.parse().ok()).unwrap_or(0);
        let base = after.max(self.shared.seen(&it.delivery.to));
        let id = it.delivery.id.clone();
        let base = self.store(move |stores| {
            with_now(stores, |it, now| {
                let base = base.max(it.last(&chat));
                it.begin(&id, part, base, now).map(|()| base)
            })
        })?;
        (it.progress.begun, it.progress.base) = (true, base);
        Ok(())
    }

    fn say(&self, it: &Deliver, part: usize, piece: &Piece) -> Result<i64, Failure> {
        let (delivery, settings) = (&it.delivery, &self.shared.settings);
        let preview = it.progress.preview.as_ref().and_then(|it| it.parse().ok()).filter(|_| part == 0);
        if let (Some(message), Piece::Text(text)) = (preview, piece) {
            match edit(&self.api, settings, &delivery.to, message, text) {
                Ok(()) => return Ok(message),
                // It is gone: said as if it had never been.
                Err(Failure::Refused { code: 400, .. }) => {}
                Err(other) => return Err(other),
            }
        }
        say(&self.api, settings, &self.place(it, part), piece, &self.shared.roots)
    }

    fn arrived(&mut self, mut it: Deliver, part: usize, number: i64) {
        self.fine(&it.delivery.to, number);
        (it.progress.sent, it.progress.begun) = (part + 1, false);
        let (id, is_last) = (it.delivery.id.clone(), part + 1 >= it.pieces.len());
        self.write(move |stores| {
            with_now(stores, |it, now| {
                it.sent(&id, part, &number.to_string(), now)?;
                if is_last { it.end(&id, now) } else { Ok(()) }
            })
        });
        if !is_last {
            self.queue.push_front(Task::Deliver(Box::new(it)));
        }
    }

    fn failed(&mut self, mut it: Deliver, part: usize, failure: Failure) {
        let id = it.delivery.id.clone();
        let certain = !matches!(failure, Failure::Unknown(_) | Failure::Cancelled);
        if certain && it.progress.begun {
            it.progress.begun = false;
            let id = id.clone();
            self.write(move |stores| with_now(stores, |it, now| it.unsent(&id, part, now)));
        }
        match failure {
            Failure::Refused { retry_after: Some(s), .. } => self.hold(&it.delivery.to, s),
            Failure::Refused { moved_to: Some(to), .. } => it.delivery.to = to.to_string(),
            // The bot is not known (any more): somebody will give it a new token.
            Failure::Refused { code: 401 | 404, .. } => self.down(&failure),
            Failure::Refused { .. } | Failure::TooLong { .. } => {
                log::error!(target: "channels", "{}: a part of an answer to {} is given up: {failure}", self.shared.name(), it.delivery.to);
                self.shared.around.vitals.fail(&failure.to_string());
                it.progress.sent = part + 1;
                self.write(move |stores| with_now(stores, |it, now| it.sent(&id, part, "", now)));
            }
            Failure::Unsent(_) | Failure::Unknown(_) => self.down(&failure),
            // The next life knows as much as we do.
            Failure::Cancelled => return,
        }
        self.queue.push_front(Task::Deliver(Box::new(it)));
    }

    fn end(&self, id: &str) {
        let id = id.to_owned();
        self.write(move |stores| with_now(stores, |it, now| it.end(&id, now)));
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
        let chat = self.shared.count(to);
        self.write(move |stores| with_now(stores, |it, now| it.seen(&chat, number, now)));
    }
    fn hold(&mut self, chat: &str, s: u64) {
        log::warn!(target: "channels", "{}: Telegram holds the chat {chat} back for {s} s", self.shared.name());
        self.held.insert(chat.to_owned(), self.now() + s.clamp(1, TELEGRAM_FLOOD_S_MAX) * 1000);
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

    // Calls.

    fn answer(&self, call: u64, result: Result<Value, Trouble>) {
        (self.shared.around.tell)(Event::Answered { call, result });
    }
    fn call(&mut self, chat: &str, call: u64, action: Action) {
        match self.act(&action) {
            Ok(result) => self.answer(call, Ok(result)),
            Err(Failure::Refused { retry_after: Some(s), .. }) if s * 1000 <= TELEGRAM_CALL_MS / 2 => {
                self.hold(chat, s);
                self.queue.push_front(Task::Call { call, action });
            }
            Err(failure) => self.answer(call, Err(trouble(&failure))),
        }
    }

    fn act(&mut self, action: &Action) -> Result<Value, Failure> {
        let settings = &self.shared.clone().settings;
        match action {
            Action::Send(send) => {
                let all = pieces(std::slice::from_ref(&send.text), &send.media, send.as_voice, settings);
                let (to, mut number) = (send.target.to.clone(), None);
                for (part, piece) in all.iter().enumerate() {
                    let place = Place {
                        target: send.target.clone(),
                        reply_to: replies(part, send.reply_to.as_deref(), settings)
                            .filter(|_| part == 0 || settings.reply_to == ReplyTo::All),
                        silent: send.silent,
                        buttons: send.buttons.clone().filter(|_| part + 1 == all.len()),
                    };
                    let sent = say(&self.api, settings, &place, piece, &self.shared.roots)?;
                    number = Some(sent);
                    self.fine(&to, sent);
                }
                Ok(json!({ "messageId": number.map(|it| it.to_string()), "chatId": to }))
            }
            Action::Poll { target, question, options, max_selections, hours, silent } => {
                let options: Vec<Value> = options.iter().map(|it| json!({ "text": it })).collect();
                let mut params = json!({
                    "chat_id": chat_id(&target.to), "question": question, "options": options,
                    "allows_multiple_answers": *max_selections > 1, "disable_notification": silent, "is_anonymous": false,
                });
                if let Some(thread) = target.thread.as_ref().and_then(|it| it.parse::<i64>().ok()) {
                    params["message_thread_id"] = thread.into();
                }
                if let Some(hours) = hours {
                    // The Bot API closes a poll by itself within 600 s only: a later end is a date.
                    params["close_date"] =
                        (self.shared.around.clock.now().unix_ms / 1000 + hours * 3600).into();
                }
                let sent = self.api.call("sendPoll", &params, TELEGRAM_CALL_MS)?;
                let number = sent["message_id"].as_i64().unwrap_or(0);
                self.fine(&target.to, number);
                Ok(
                    json!({ "messageId": number.to_string(), "chatId": target.to, "pollId": sent["poll"]["id"] }),
                )
            }
            Action::React { target, message_id, emoji } => {
                let reaction: Vec<Value> =
                    emoji.iter().map(|it| json!({ "type": "emoji", "emoji": it })).collect();
                let params = json!({ "chat_id": chat_id(&target.to), "message_id": message_number(message_id)?, "reaction": reaction });
                self.api.call("setMessageReaction", &params, TELEGRAM_CALL_MS)?;
                Ok(json!({ "ok": true }))
            }
            Action::Edit { target, message_id, text } => {
                edit(&self.api, settings, &target.to, message_number(message_id)?, text)?;
                Ok(json!({ "ok": true, "messageId": message_id, "chatId": target.to }))
            }
            Action::Delete { target, message_id } => {
                let params =
                    json!({ "chat_id": chat_id(&target.to), "message_id": message_number(message_id)? });
                self.api.call("deleteMessage", &params, TELEGRAM_CALL_MS)?;
                Ok(json!({ "ok": true, "deleted": true }))
            }
        }
    }

    // Half answers.

    /// Shows what an answer says by now.
    fn step(&mut self, run: &str, now: u64) {
        let settings = &self.shared.clone().settings;
        let Some(live) = self.live.get_mut(run) else { return };
        let Some(draft) = &mut live.draft else { return };
        let text = super::chunk::cut(&draft.text, settings.text_units).to_owned();
        draft.due_ms = now + TELEGRAM_DRAFT_MS;
        draft.shown.clone_from(&draft.text);
        let thread = live.target.thread.as_ref().and_then(|it| it.parse::<i64>().ok());
        let chat = chat_id(&live.target.to);
        let done = match (thread, draft.message) {
            // Private chats with topics show drafts that are no messages.
            (Some(thread), _) => {
                let params = json!({ "chat_id": chat, "message_thread_id": thread, "draft_id": draft.id, "text": text });
                self.api.call("sendMessageDraft", &params, TELEGRAM_CALL_MS).map(|_| None)
            }
            (None, Some(message)) => {
                let params = json!({ "chat_id": chat, "message_id": message, "text": text });
                self.api.call("editMessageText", &params, TELEGRAM_CALL_MS).map(|_| None)
            }
            (None, None) => {
                let mut params = json!({ "chat_id": chat, "text": text });
                if let Some(id) = replies(0, draft.reply_to.as_deref(), settings) {
                    params["reply_parameters"] =
                        json!({ "message_id": id, "allow_sending_without_reply": true });
                }
                self.api.call("sendMessage", &params, TELEGRAM_CALL_MS).map(|it| it["message_id"].as_i64())
            }
        };
        match done {
            Ok(None) => {}
            Ok(Some(message)) => {
                draft.message = Some(message);
                let to = live.target.to.clone();
                let (id, name) = (run.to_owned(), message.to_string());
                self.write(move |stores| with_now(stores, |it, now| it.preview(&id, &name, now)));
                self.fine(&to, message);
            }
            Err(Failure::Refused { retry_after: Some(s), .. }) => {
                draft.due_ms = now + s.min(TELEGRAM_FLOOD_S_MAX) * 1000
            }
            Err(failure) if failure.says("not modified") => {}
            // The answer itself follows.
            Err(failure) => {
                draft.dead = true;
                log::debug!(target: "channels", "{}: half an answer could not be shown: {failure}", self.shared.name());
            }
        }
    }
}

/// In blocks there must be more to show.
fn wants_step(live: &Live, stream: Stream, now: u64) -> bool {
    let least = if stream == Stream::Block { BLOCK_BYTES } else { 1 };
    live.draft.as_ref().is_some_and(|it| {
        let more = it.text.len().saturating_sub(it.shown.len()) >= least;
        !it.dead && it.due_ms <= now && it.text != it.shown && (more || !it.text.starts_with(&it.shown))
    })
}

fn message_number(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::Refused {
        code: 400,
        text: format!("{text:?} is no message id"),
        retry_after: None,
        moved_to: None,
    };
    text.trim().parse().map_err(|_| wrong())
}

fn trouble(failure: &Failure) -> Trouble {
    match failure {
        Failure::Refused { code: 401 | 404, .. } => {
            Trouble::NotLinked("Telegram does not know this bot token".into())
        }
        Failure::Refused { code: 429, .. } => Trouble::Unavailable(failure.to_string()),
        Failure::Refused { .. } | Failure::TooLong { .. } => Trouble::Refused(failure.to_string()),
        Failure::Unsent(text) => Trouble::Unavailable(format!("Telegram cannot be reached: {text}")),
        Failure::Unknown(text) => {
            Trouble::Unavailable(format!("Telegram has not answered, it may have been sent: {text}"))
        }
        Failure::Cancelled => Trouble::Unavailable("the channel is stopping".into()),
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
