//! What an answer says while it is made, and the signs that it is.
use super::{Sender, Task, with_now};
use crate::base::limits::{
    TELEGRAM_CALL_MS, TELEGRAM_DRAFT_MS, TELEGRAM_FLOOD_S_MAX, TELEGRAM_LOST_MS, TELEGRAM_TYPING_MS,
};
use crate::channels::Target;
use crate::channels::telegram::api::Failure;
use crate::channels::telegram::chunk::cut;
use crate::channels::telegram::say::{chat_id, replies};
use crate::channels::telegram::settings::{Settings, Stream};
use crate::store::deliveries::Preview;
use serde_json::json;

/// A run whose answer is being made.
pub(super) struct Live {
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

impl Live {
    pub(super) fn new(target: Target, now: u64) -> Live {
        Live { target, typing_ms: now, lost_ms: now + TELEGRAM_LOST_MS, draft: None }
    }
    pub(super) fn heard(&mut self, now: u64) {
        self.lost_ms = now + TELEGRAM_LOST_MS;
    }
}

impl Sender {
    pub(super) fn draft(&mut self, run: String, target: Target, reply_to: Option<String>, text: String) {
        let now = self.now();
        // Groups are not shown half an answer.
        if self.shared.settings.stream == Stream::Off || target.to.starts_with('-') {
            return;
        }
        let live = self.live.entry(run).or_insert_with(|| Live::new(target, now));
        live.heard(now);
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
    pub(super) fn done(&mut self, run: &str) {
        let live = self.live.remove(run);
        let follows = self.queue.iter().any(|it| matches!(it, Task::Deliver(it) if it.delivery.id == run));
        let Some(live) = live.filter(|_| !follows) else { return };
        let id = run.to_owned();
        // Or an earlier life has shown it.
        let shown = self.store(move |it| Ok(it.deliveries()?.preview_of(&id).map(str::to_owned)));
        let Some(message) = shown.ok().flatten().and_then(|it| it.parse::<i64>().ok()) else { return };
        let params = json!({ "chat_id": chat_id(&live.target.to), "message_id": message });
        if let Err(failure) = self.api.call("deleteMessage", &params, TELEGRAM_CALL_MS) {
            log::warn!(target: "channels", "{}: half an answer could not be taken back: {failure}", self.shared.name());
        }
        let id = run.to_owned();
        self.write(move |stores| with_now(stores, |it, now| it.preview(&id, "", now)));
    }

    pub(super) fn forget_lost(&mut self, now: u64) {
        self.live.retain(|_, it| it.lost_ms > now);
    }

    /// Half an answer goes behind all that is to be said there, and where a message that gets lost could be found.
    fn is_free(&self, live: &Live) -> bool {
        self.shared.knows_numbers(&live.target.to)
            && self.queue.iter().all(|task| task.chat() != live.target.to)
    }

    /// The run whose half answer is to be shown now.
    pub(super) fn next_draft(&self, now: u64) -> Option<String> {
        let settings = &self.shared.settings;
        let ready = self.live.iter().find(|it| wants_step(it.1, settings, now) && self.is_free(it.1));
        ready.map(|it| it.0.clone())
    }

    /// When there is something to show, on the monotonic clock.
    pub(super) fn draft_due(&self) -> Option<u64> {
        let settings = &self.shared.settings;
        let steps = self.live.values().filter(|it| wants_step(it, settings, u64::MAX) && self.is_free(it));
        let steps = steps.filter_map(|it| it.draft.as_ref()).map(|it| it.due_ms.max(self.down_ms));
        self.live.values().map(|it| it.typing_ms).chain(steps).min()
    }

    /// Shows one chat that its answer is being made. False when none is to be shown that now.
    pub(super) fn show_typing(&mut self, now: u64) -> bool {
        let Some(live) = self.live.values_mut().find(|it| it.typing_ms <= now) else { return false };
        live.typing_ms = now + TELEGRAM_TYPING_MS;
        let mut params = json!({ "chat_id": chat_id(&live.target.to), "action": "typing" });
        if let Some(thread) = live.target.thread.as_ref().and_then(|it| it.parse::<i64>().ok()) {
            params["message_thread_id"] = thread.into();
        }
        // A sign that does not arrive is worth no second one.
        if self.shared.trouble().is_none() {
            let _ = self.api.call("sendChatAction", &params, TELEGRAM_CALL_MS);
        }
        true
    }

    /// Shows what an answer says by now.
    pub(super) fn step(&mut self, run: &str, now: u64) {
        let settings = self.shared.settings.clone();
        let Some(live) = self.live.get_mut(run) else { return };
        let (to, thread) = (live.target.to.clone(), live.target.thread.clone());
        let Some(draft) = &mut live.draft else { return };
        draft.due_ms = now + TELEGRAM_DRAFT_MS;
        draft.shown.clone_from(&draft.text);
        let (text, number, reply_to) =
            (cut(&draft.text, settings.text_units).to_owned(), draft.id, draft.reply_to.clone());
        let mut message = draft.message;
        let is_message = thread.is_none();
        if is_message && message.is_none() {
            // The answer itself is shown in any case.
            let known = self.begin_preview(run.to_owned(), &to, 0);
            message = match known {
                Ok((None, _)) => None,
                Ok((Some(Preview::There(name)), _)) => name.parse().ok(),
                Ok((Some(Preview::Begun(_)), _)) | Err(_) => return self.drop_draft(run),
            };
        }
        let chat = chat_id(&to);
        let done = match (thread.and_then(|it| it.parse::<i64>().ok()), message) {
            // Private chats with topics show drafts that are no messages.
            (Some(thread), _) => {
                let params =
                    json!({ "chat_id": chat, "message_thread_id": thread, "draft_id": number, "text": text });
                self.api.call("sendMessageDraft", &params, TELEGRAM_CALL_MS).map(|_| None)
            }
            (None, Some(message)) => {
                let params = json!({ "chat_id": chat, "message_id": message, "text": text });
                match self.api.call("editMessageText", &params, TELEGRAM_CALL_MS) {
                    Err(failure) if !failure.says("not modified") => Err(failure),
                    _ => Ok(Some(message)),
                }
            }
            (None, None) => {
                let mut params = json!({ "chat_id": chat, "text": text });
                if let Some(id) = replies(0, reply_to.as_deref(), &settings) {
                    params["reply_parameters"] =
                        json!({ "message_id": id, "allow_sending_without_reply": true });
                }
                let sent = self.api.call("sendMessage", &params, TELEGRAM_CALL_MS);
                let sent = sent.map(|it| it["message_id"].as_i64());
                if let Ok(Some(number)) = sent {
                    self.shown(run.to_owned(), &to, number);
                }
                sent
            }
        };
        self.stepped(run, &to, is_message && message.is_none(), done, now);
    }

    /// What came of a step. `is_new`: it was to bring a message.
    fn stepped(&mut self, run: &str, to: &str, is_new: bool, done: Result<Option<i64>, Failure>, now: u64) {
        if is_new && matches!(done, Err(Failure::Refused { .. } | Failure::Unsent(_))) {
            let id = run.to_owned();
            self.write(move |stores| with_now(stores, |it, now| it.preview(&id, "", now)));
        } else if is_new && done.is_err() {
            self.lost(to);
        }
        let Some(draft) = self.live.get_mut(run).and_then(|it| it.draft.as_mut()) else { return };
        match done {
            Ok(message) => draft.message = message,
            Err(Failure::Refused { retry_after: Some(s), .. }) => {
                draft.due_ms = now + s.min(TELEGRAM_FLOOD_S_MAX) * 1000
            }
            Err(failure) => {
                log::debug!(target: "channels", "{}: half an answer could not be shown: {failure}", self.shared.name());
                self.drop_draft(run);
            }
        }
    }

    /// It is not tried again: the answer itself follows.
    fn drop_draft(&mut self, run: &str) {
        if let Some(draft) = self.live.get_mut(run).and_then(|it| it.draft.as_mut()) {
            draft.dead = true;
        }
    }
}

/// In blocks there must be more to show.
fn wants_step(live: &Live, settings: &Settings, now: u64) -> bool {
    let least = if settings.stream == Stream::Block { settings.block_bytes } else { 1 };
    live.draft.as_ref().is_some_and(|it| {
        let more = it.text.len().saturating_sub(it.shown.len()) >= least;
        !it.dead && it.due_ms <= now && it.text != it.shown && (more || !it.text.starts_with(&it.shown))
    })
}
