//! Answers that are on disk: each part arrives, and none twice.
//!
//! ```text
//! part ─► marked on disk, with the last number known ─► sent ─► its number known: next part
//!                                    ▲                   └─ nobody knows ─► wait ─► looked for ─► there: next part
//!                                    └───────────────────────────────────────────────────┴─► not there
//! ```
//!
//! The Bot API knows no key by which it would tell a second attempt from a first one. What makes up for that:
//!
//! * A message can be told any number of times to say what it says: where a preview is there, the answer takes its place by an edit.
//! * A part that may be there is looked for by editing each number that it can have; whatever else is there cannot be edited by us, or
//!   is known to be ours. That needs two things: no number of ours below the search that nobody knows (so previews are marked before
//!   they leave as well, and where a message of ours was lost the next answer gets a preview first, whose number is known to be above it),
//!   and no part that arrives after the search (so it waits `TELEGRAM_SETTLE_MS`).
//!
//! What stays open: Telegram takes longer than that to carry out a call whose connection broke; more than `TELEGRAM_SEARCH_MIN` others
//! wrote, in chats that count together, between the last poll and the call that was lost; a crash in the middle of a client's `send`
//! (which nobody repeats), and then the next answer there is lost on its way as well.
use super::{Deliver, Sender, Task, with_now};
use crate::base::limits::{
    TELEGRAM_CALL_MS, TELEGRAM_OWN_MAX, TELEGRAM_RETRY_MS_MAX, TELEGRAM_SEARCH_MAX, TELEGRAM_SEARCH_MIN,
};
use crate::channels::Target;
use crate::channels::telegram::api::Failure;
use crate::channels::telegram::say::{Piece, Place, chat_id, edit, find, replies, say};
use crate::store::deliveries::{Deliveries, Preview, Progress};
use serde_json::json;

impl Sender {
    pub(super) fn deliver(&mut self, mut it: Deliver) {
        let (part, id) = (it.progress.sent, it.delivery.id.clone());
        let Some(piece) = it.pieces.get(part).cloned() else { return self.end(&id) };
        if it.progress.begun {
            return self.look(it, part, &piece);
        }
        let preview =
            it.progress.preview.as_ref().and_then(|it| it.parse::<i64>().ok()).filter(|_| part == 0);
        let to = it.delivery.to.clone();
        let is_text = matches!(piece, Piece::Text(_));
        let result = match preview {
            Some(message) => {
                let done = match &piece {
                    Piece::Text(text) => edit(&self.api, &self.shared.settings, &to, message, text),
                    // What it says goes with the file.
                    Piece::File { .. } => {
                        let params = json!({ "chat_id": chat_id(&to), "message_id": message });
                        self.api.call("deleteMessage", &params, TELEGRAM_CALL_MS).map(drop)
                    }
                };
                match done {
                    Ok(()) if is_text => Ok(message),
                    // It is gone: the answer is said as if it had never been.
                    Ok(()) | Err(Failure::Refused { code: 400, moved_to: None, .. }) => {
                        it.progress.preview = None;
                        self.write(move |stores| with_now(stores, |it, now| it.preview(&id, "", now)));
                        return self.queue.push_front(Task::Deliver(Box::new(it)));
                    }
                    Err(failure) => Err(failure),
                }
            }
            None if part == 0 && is_text && !self.knows_what_is_ours(&to) => return self.anchor(it),
            None => {
                if let Err(err) = self.begin(&mut it, part) {
                    return self.unwritten(it, &err);
                }
                let place = self.place(&it, part);
                say(&self.api, &self.shared.settings, &place, &piece, &self.shared.roots)
            }
        };
        match result {
            Ok(number) => self.arrived(it, part, number),
            Err(failure) => self.failed(it, part, failure),
        }
    }

    /// Looks for a part, or a preview, that may be there.
    fn look(&mut self, mut it: Deliver, part: usize, piece: &Piece) {
        let (base, to) = (it.progress.base, it.delivery.to.clone());
        let last = (base + TELEGRAM_SEARCH_MIN).max(self.shared.seen(&to).min(base + TELEGRAM_SEARCH_MAX));
        let known = |message| self.shared.is_own(&to, message);
        it.looked = it.looked.max(base);
        match find(&self.api, &self.shared.settings, &to, &mut it.looked, last, known, piece) {
            Ok(Some(number)) => self.arrived(it, part, number),
            Ok(None) => {
                (it.progress.begun, it.looked) = (false, 0);
                // It may be where it was not looked for.
                self.lost(&to);
                let id = it.delivery.id.clone();
                self.write(move |stores| with_now(stores, |it, now| it.unsent(&id, part, now)));
                self.queue.push_front(Task::Deliver(Box::new(it)));
            }
            // What is asked here is asked again: it changes nothing.
            Err(Failure::Cancelled) => {}
            Err(failure) => {
                match failure {
                    Failure::Refused { retry_after: Some(s), .. } => self.hold(&to, s),
                    Failure::Refused { moved_to: Some(to), .. } => {
                        (it.delivery.to, it.looked) = (to.to_string(), 0);
                    }
                    _ => self.down(&failure),
                }
                self.queue.push_front(Task::Deliver(Box::new(it)));
            }
        }
    }

    /// A message of ours may be there of which nobody knows the number.
    pub(super) fn lost(&mut self, to: &str) {
        if self.lost.len() >= TELEGRAM_OWN_MAX {
            self.lost.pop_first();
        }
        self.lost.insert(to.to_owned());
    }
    fn knows_what_is_ours(&self, to: &str) -> bool {
        self.shared.knows_numbers(to) && !self.lost.contains(to)
    }

    /// A message that says nothing yet: its number will be known, and the answer takes its place.
    fn anchor(&mut self, mut it: Deliver) {
        let (id, to, after) = (it.delivery.id.clone(), it.delivery.to.clone(), it.after());
        match self.begin_preview(id.clone(), &to, after) {
            Ok((None, base)) => it.progress = Progress::with(Some(Preview::Begun(base))),
            Ok((known, _)) => {
                it.progress = Progress::with(known);
                return self.queue.push_front(Task::Deliver(Box::new(it)));
            }
            Err(err) => return self.unwritten(it, &err),
        }
        let (place, piece) = (self.place(&it, 0), Piece::Text("…".into()));
        match say(&self.api, &self.shared.settings, &place, &piece, &self.shared.roots) {
            Ok(number) => {
                self.shown(id, &to, number);
                it.progress = Progress::with(Some(Preview::There(number.to_string())));
                self.queue.push_front(Task::Deliver(Box::new(it)));
            }
            Err(failure) => self.failed(it, 0, failure),
        }
    }
    /// A preview is there.
    pub(super) fn shown(&mut self, id: String, to: &str, number: i64) {
        self.write(move |stores| with_now(stores, |it, now| it.preview(&id, &number.to_string(), now)));
        self.fine(to, number);
    }
    fn unwritten(&mut self, it: Deliver, err: &str) {
        log::error!(target: "channels", "{}: an answer waits: {err}", self.shared.name());
        self.down_ms = self.now() + TELEGRAM_RETRY_MS_MAX;
        self.queue.push_front(Task::Deliver(Box::new(it)));
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

    /// Marks a part on disk: from here on it may be there.
    fn begin(&self, it: &mut Deliver, part: usize) -> Result<(), String> {
        let id = it.delivery.id.clone();
        let work = move |it: &mut Deliveries, base, now| it.begin(&id, part, base, now);
        let (_, base) = self.mark(&it.delivery.to, it.after(), work)?;
        (it.progress.begun, it.progress.base) = (true, base);
        Ok(())
    }
    /// The same of a preview; the one that is marked already, if one is.
    pub(super) fn begin_preview(
        &self,
        id: String,
        to: &str,
        after: i64,
    ) -> Result<(Option<Preview>, i64), String> {
        self.mark(to, after, move |it, base, now| it.begin_preview(&id, base, now))
    }
    /// `work` is given the number of the last message in that chat that is there for certain, `after` or a later one.
    fn mark<T: Send + 'static>(
        &self,
        to: &str,
        after: i64,
        work: impl FnOnce(&mut Deliveries, i64, i64) -> std::io::Result<T> + Send + 'static,
    ) -> Result<(T, i64), String> {
        let (chat, base) = (self.shared.count(to), after.max(self.shared.seen(to)));
        self.store(move |stores| {
            with_now(stores, |it, now| {
                let base = base.max(it.last(&chat));
                Ok((work(it, base, now)?, base))
            })
        })
    }

    fn arrived(&mut self, mut it: Deliver, part: usize, number: i64) {
        self.fine(&it.delivery.to, number);
        (it.progress.sent, it.progress.begun) = (part + 1, false);
        let (id, is_last) = (it.delivery.id.clone(), part + 1 >= it.pieces.len());
        if is_last {
            // Its end may not have been told: there was no room for that.
            self.live.remove(&id);
        }
        if is_last && it.delivery.acked {
            self.take_ack_back(&it);
        }
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

    /// The reaction was there for the time until the answer. One that stays harms nobody.
    fn take_ack_back(&self, it: &Deliver) {
        let params = json!({ "chat_id": chat_id(&it.delivery.to), "message_id": it.after(), "reaction": [] });
        if let Err(failure) = self.api.call("setMessageReaction", &params, TELEGRAM_CALL_MS) {
            log::debug!(target: "channels", "{}: a reaction stays: {failure}", self.shared.name());
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
            Failure::Unsent(_) => self.down(&failure),
            Failure::Unknown(_) => {
                self.settle(&it.delivery.to);
                self.down(&failure);
            }
            // The next life knows as much as we do.
            Failure::Cancelled => return,
        }
        self.queue.push_front(Task::Deliver(Box::new(it)));
    }

    fn end(&self, id: &str) {
        let id = id.to_owned();
        self.write(move |stores| with_now(stores, |it, now| it.end(&id, now)));
    }
}
