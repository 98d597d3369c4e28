//! Answers that are on disk: each part arrives, and none twice.
use super::{Deliver, Sender, Task, with_now};
use crate::base::limits::TELEGRAM_RETRY_MS_MAX;
use crate::channels::Target;
use crate::channels::telegram::api::Failure;
use crate::channels::telegram::say::{Piece, Place, edit, find, replies, say};

impl Sender {
    pub(super) fn deliver(&mut self, mut it: Deliver) {
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
}
