//! The thread that asks Telegram what is new.
//!
//! ```text
//! getMe ─► menu ─► getUpdates ─► read ─► admitted? ─► files ─► core: durable ─► offset moves on ─► getUpdates …
//!            ▲          │
//!            └──────────┴ failed: wait, twice as long each time, with jitter
//! ```
//!
//! * An update is off the network only when it is on disk, or when nothing was to come of it.
//! * Nothing is done for who is not admitted.
use super::admit::{Hear, Verdict, admit, topic};
use super::api::{Api, Bot, Failure, probe};
use super::settings::{Reactions, ReplyTo, Settings};
use super::update::{self, ChatKind, Message, Update, What};
use super::{CHANNEL, Shared, hook, menu};
use crate::base::files;
use crate::base::ids::{Entropy, os_entropy};
use crate::base::limits::*;
use crate::channels::{self, Event, Heard, Inbound, Media, MediaKind, Said, Vitals};
use crate::config::PeerKind;
use crate::store::senders;
use crate::store::stores::Stores;
use crate::store::{read_json, write_json};
use crossbeam_channel::{RecvTimeoutError, bounded, select};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// An update that something comes of: its number, and that.
pub struct Heed {
    pub number: i64,
    pub inbound: Inbound,
}

pub struct Poll {
    pub shared: Arc<Shared>,
    pub api: Api,
    entropy: Entropy,
    /// The next update that is wanted.
    offset: i64,
    limit: u64,
    failures: u32,
    /// When there was last something new, on the monotonic clock.
    heard_ms: u64,
}

/// The file of the reference, which a home that moves between both takes along.
fn offset_path(state: &Path, account: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = account.chars().map(plain).collect();
    state.join("telegram").join(format!("update-offset-{name}.json"))
}

impl Poll {
    pub fn new(shared: Arc<Shared>) -> Poll {
        let (api, heard_ms) = (shared.api(), shared.around.clock.now().mono_ms);
        Poll {
            shared,
            api,
            entropy: os_entropy(),
            offset: 0,
            limit: TELEGRAM_UPDATES_MAX,
            failures: 0,
            heard_ms,
        }
    }

    /// Until it is told to end.
    pub fn run(mut self) {
        let vitals = self.shared.around.vitals.clone();
        vitals.running.store(true, Ordering::Relaxed);
        Vitals::set(&vitals.started_ms, self.unix_ms());
        if self.begin() {
            match self.shared.settings.hook.clone() {
                Some(it) => hook::run(&mut self, &it),
                None => self.poll(),
            }
        }
        vitals.running.store(false, Ordering::Relaxed);
        vitals.connected.store(false, Ordering::Relaxed);
        Vitals::set(&vitals.stopped_ms, self.unix_ms());
    }

    fn poll(&mut self) {
        // As long as it calls us it does not let us ask.
        let known = self.api.call("getWebhookInfo", &json!({}), TELEGRAM_CALL_MS);
        if known.is_ok_and(|it| it["url"].as_str().is_some_and(|it| !it.is_empty())) {
            let _ = self.api.call("deleteWebhook", &json!({}), TELEGRAM_CALL_MS);
        }
        while !self.shared.cancel.is_cancelled() {
            self.turn();
        }
    }

    fn unix_ms(&self) -> i64 {
        self.shared.around.clock.now().unix_ms
    }

    /// Who we are, and where we were; tried until it is known. False when told to end.
    pub fn begin(&mut self) -> bool {
        let source = self.shared.source();
        let path = offset_path(&self.shared.state, &self.shared.settings.account);
        let known = self.shared.around.store.ask(move |stores: &mut Stores| {
            let unix_ms = stores.now().unix_ms;
            let young = unix_ms - files::modified_ms(&path) < MARK_TTL_MS;
            let file = read_json(&path)?.and_then(|it| it["lastUpdateId"].as_i64()).filter(|_| young);
            let mark = stores.accepted().map_err(|err| err.to_string())?.mark(&source, unix_ms);
            Ok::<_, String>(file.max(mark))
        });
        match known {
            Ok(Ok(last)) => self.offset = last.map_or(0, |it| it + 1),
            // Telegram knows it as well, and what comes again is known by its number.
            Ok(Err(err)) => log::warn!(target: "channels", "{}: {err}", self.shared.name()),
            Err(err) => log::warn!(target: "channels", "{}: {err}", self.shared.name()),
        }
        while !self.shared.cancel.is_cancelled() {
            match self.api.call("getMe", &json!({}), TELEGRAM_CALL_MS) {
                Ok(me) => {
                    let bot = Bot::of(&me).unwrap_or_default();
                    log::info!(target: "channels", "{} is @{}", self.shared.name(), bot.username);
                    self.shared.know(bot);
                    self.fine();
                    menu::set(&self.api, &self.shared.settings);
                    return true;
                }
                Err(failure) => self.wait_after(&failure),
            }
        }
        false
    }

    fn fine(&mut self) {
        let vitals = &self.shared.around.vitals;
        if self.failures > 0 {
            log::info!(target: "channels", "{}: Telegram answers again", self.shared.name());
        }
        self.failures = 0;
        vitals.connected.store(true, Ordering::Relaxed);
        vitals.refused.store(false, Ordering::Relaxed);
        Vitals::set(&vitals.polled_ms, self.unix_ms());
        vitals.recover();
    }

    /// One poll, and what comes of it.
    fn turn(&mut self) {
        // What waits there already is not waited for.
        let hold_s = if self.shared.current.is_cancelled() { TELEGRAM_POLL_S } else { 0 };
        let mut params = json!({ "limit": self.limit, "timeout": hold_s, "allowed_updates": update::KINDS });
        if self.offset > 0 {
            params["offset"] = self.offset.into();
        }
        let begun = self.shared.around.clock.now();
        // After a week of silence Telegram may number anew.
        if begun.mono_ms.saturating_sub(self.heard_ms) > MARK_TTL_MS as u64 {
            self.offset = 0;
        }
        match self.api.call("getUpdates", &params, TELEGRAM_POLL_S * 1000 + TELEGRAM_POLL_GRACE_MS) {
            Ok(Value::Array(updates)) => {
                self.fine();
                let now = self.shared.around.clock.now().mono_ms;
                if !updates.is_empty() {
                    self.heard_ms = now;
                } else if hold_s > 0 && now < begun.mono_ms + TELEGRAM_RETRY_MS {
                    // A server that does not hold a poll is not asked without a pause.
                    self.shared.pause(TELEGRAM_RETRY_MS);
                }
                let is_all = (updates.len() as u64) < self.limit;
                self.limit = TELEGRAM_UPDATES_MAX;
                self.see(&updates);
                self.shared.caught_up.store(is_all, Ordering::Relaxed);
                if is_all {
                    self.shared.current.cancel();
                }
                let _ = self.take(&updates);
            }
            Ok(_) => self.wait_after(&Failure::Unknown("the answer is no list of updates".into())),
            Err(Failure::TooLong { .. }) if self.limit > 1 => self.limit = 1,
            Err(Failure::TooLong { update }) if update.is_some() || self.offset > 0 => {
                // They are numbered in a row.
                let number = update.unwrap_or(self.offset);
                log::warn!(target: "channels", "{}: update {number} is longer than anything real, and is passed over", self.shared.name());
                self.offset = number + 1;
            }
            Err(failure) => self.wait_after(&failure),
        }
    }

    /// Waits after a failure, longer each time; a flood as long as it says.
    pub fn wait_after(&mut self, failure: &Failure) {
        let (name, vitals) = (self.shared.name(), &self.shared.around.vitals);
        if *failure == Failure::Cancelled {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        vitals.connected.store(false, Ordering::Relaxed);
        let most = self.shared.settings.retry_ms_max;
        let (least, text) = match failure {
            Failure::Refused { code: 401 | 404, .. } => {
                vitals.refused.store(true, Ordering::Relaxed);
                (most, "Telegram does not know this bot token: get a new one from @BotFather".to_owned())
            }
            Failure::Refused { code: 409, text, .. } => (
                most / 6,
                format!(
                    "another program takes this bot's messages: stop it, or give it a bot of its own ({text})"
                ),
            ),
            Failure::Refused { retry_after: Some(s), .. } => {
                ((*s).min(TELEGRAM_FLOOD_S_MAX) * 1000, failure.to_string())
            }
            other => (0, other.to_string()),
        };
        // Said once, and then now and then.
        if self.failures.is_power_of_two() {
            log::warn!(target: "channels", "{name}: {text}");
        }
        vitals.fail(&text);
        let mut random = [0; 8];
        (self.entropy)(&mut random);
        self.shared.pause(backoff_ms(self.failures, most, u64::from_le_bytes(random)).max(least));
    }

    /// Numbers of messages, whoever wrote them.
    pub fn see(&self, updates: &[Value]) {
        for (chat, number) in updates.iter().filter_map(update::message_number) {
            self.shared.see(&chat.to_string(), number);
        }
    }

    /// Updates in their order; returns when the network may forget them. False when told to end before that.
    pub fn take(&mut self, updates: &[Value]) -> bool {
        let mut last = None;
        let mut heeds = vec![];
        let paired = if updates.is_empty() { vec![] } else { self.paired() };
        for it in updates {
            let Some(number) = update::number(it) else {
                log::warn!(target: "channels", "{}: an update without a number is passed over", self.shared.name());
                continue;
            };
            // It came before, and was taken.
            if number < self.offset {
                continue;
            }
            last = last.max(Some(number));
            if let Some(inbound) = self.heed(it, number, &paired) {
                heeds.push(Heed { number, inbound });
            }
        }
        let given = self.give(heeds);
        if let Some(last) = last.filter(|_| given) {
            self.offset = self.offset.max(last + 1);
        }
        given
    }

    /// Who was let in by a code. A file that cannot be read lets nobody in.
    fn paired(&self) -> Vec<i64> {
        senders::allowed(&self.shared.state, CHANNEL)
            .unwrap_or_else(|err| {
                log::error!(target: "channels", "{err}");
                vec![]
            })
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect()
    }

    /// What comes of one update; None when nothing does.
    fn heed(&mut self, value: &Value, number: i64, paired: &[i64]) -> Option<Inbound> {
        let (name, bot) = (self.shared.name(), self.shared.bot());
        let update = match update::read(value, &bot.username) {
            Ok(it) => it,
            Err(why) => {
                log::warn!(target: "channels", "{name}: update {number} is passed over: {why}");
                return None;
            }
        };
        match admit(&update, &self.shared.settings, &bot, paired) {
            Verdict::Drop(why) => {
                log::debug!(target: "channels", "{name}: update {number} is dropped: {why}");
                None
            }
            Verdict::Pair => {
                self.pair(&update);
                None
            }
            Verdict::Hear(hear) => {
                Vitals::set(&self.shared.around.vitals.inbound_ms, self.unix_ms());
                self.inbound(update, number, hear)
            }
        }
    }

    /// Somebody new is told a code, once.
    fn pair(&mut self, update: &Update) {
        let Some(person) = &update.from else { return };
        let meta = json!({ "username": person.username, "firstName": person.name });
        let asked = senders::ask(
            &self.shared.state,
            CHANNEL,
            &person.id.to_string(),
            meta,
            self.shared.around.clock.now().unix_ms,
            &mut self.entropy,
        );
        let code = match asked {
            Ok(Some(code)) => code,
            Ok(None) => return,
            Err(err) => return log::error!(target: "channels", "{err}"),
        };
        log::info!(target: "channels", "{}: {} (id {}) asks to be let in: {} pairing approve telegram {code}", self.shared.name(), person.shown(), person.id, self.shared.program);
        let text = format!(
            "I do not know you yet.\n\nYour Telegram id: {}\nPairing code: {code}\n\nThe owner of this bot lets you in with\n{} pairing approve telegram {code}\nThe code holds for an hour.",
            person.id, self.shared.program
        );
        let sent = self.api.call(
            "sendMessage",
            &json!({ "chat_id": update.chat.id, "text": text }),
            TELEGRAM_CALL_MS,
        );
        if let Err(failure) = sent {
            log::warn!(target: "channels", "{}: the pairing code could not be told: {failure}", self.shared.name());
        }
    }

    fn inbound(&mut self, update: Update, number: i64, hear: Hear) -> Option<Inbound> {
        let topic = topic(&update);
        let is_private = update.chat.kind == ChatKind::Private;
        let thread = match &update.what {
            What::Message(it) | What::Edited(it) => it.thread,
            What::Callback { thread, .. } => *thread,
            What::Reaction { .. } => None,
        };
        let sender = update.from.clone().unwrap_or_default();
        let shown = if update.from.is_some() { sender.shown() } else { "somebody".to_owned() };
        let what = match update.what {
            What::Message(Message { moved_to: Some(id), .. }) => {
                log::warn!(target: "channels", "{}: the group {} is now {id}: change its entry in channels.telegram.groups", self.shared.name(), update.chat.id);
                return None;
            }
            What::Message(ref message) => {
                if message.text.is_empty() && message.media.is_empty() {
                    return None;
                }
                channels::What::Said(Box::new(self.said(message, &update, &hear, number)))
            }
            What::Edited(ref message) => {
                if message.text.is_empty() {
                    return None;
                }
                channels::What::Note(format!(
                    "Telegram message {} was edited by {shown}; it now says: {:?}",
                    message.id, message.text
                ))
            }
            What::Callback { ref id, ref data, message, .. } => {
                // Or its button spins for a minute.
                let _ = self.api.call(
                    "answerCallbackQuery",
                    &json!({ "callback_query_id": id }),
                    TELEGRAM_CALL_MS,
                );
                let pressed = Message {
                    id: message,
                    date: self.unix_ms() / 1000,
                    text: if data.starts_with('/') { data.clone() } else { format!("callback_data: {data}") },
                    thread: None,
                    media: vec![],
                    answers: None,
                    forwarded_from: None,
                    names_bot: true,
                    moved_to: None,
                };
                channels::What::Said(Box::new(self.said(&pressed, &update, &hear, number)))
            }
            What::Reaction { message, ref added } => {
                let counts = self.shared.settings.reactions == Reactions::All
                    || self.shared.is_own(&update.chat.id.to_string(), message);
                if added.is_empty() || !counts {
                    return None;
                }
                channels::What::Note(format!(
                    "Telegram reaction added: {} by {shown} on msg {message}",
                    added.join(" ")
                ))
            }
        };
        Some(Inbound {
            number,
            chat: if is_private { PeerKind::Direct } else { PeerKind::Group },
            peer: update.chat.id.to_string(),
            topic: topic.map(|it| it.to_string()),
            thread: thread.filter(|_| is_private).map(|it| it.to_string()),
            what,
        })
    }

    fn said(&mut self, message: &Message, update: &Update, hear: &Hear, number: i64) -> Said {
        let settings = &self.shared.settings;
        let sender = update.from.clone().unwrap_or_default();
        let is_private = update.chat.kind == ChatKind::Private;
        let bot = self.shared.bot();
        let ack = settings.ack.clone().filter(|_| acks(settings, is_private, hear));
        let (reply_to, history_max, limit) =
            (settings.reply_to != ReplyTo::Off, settings.history_max, settings.media_bytes_max);
        let heard = hear.addressed || !hear.must_be_addressed;
        let mut media = message.media.clone();
        if heard {
            for (n, it) in media.iter_mut().enumerate() {
                it.local = self.fetch(it, limit, &format!("telegram-{number}-{n}"));
            }
        }
        let behind = message.answers.as_ref().filter(|it| !it.text.is_empty()).map(|it| {
            let from = it.from.as_ref().map_or("somebody".to_owned(), |from| {
                if from.id == bot.id { "you".into() } else { from.shown() }
            });
            let (word, id) = (if it.is_quote { "Quoting" } else { "Replying to" }, it.id);
            format!("\n\n[{word} {from} id:{id}]\n{}\n[/{word}]", it.text)
        });
        Said {
            message_id: message.id.to_string(),
            sender_id: sender.id.to_string(),
            sender_name: if update.from.is_some() { sender.shown() } else { "somebody".into() },
            title: update.chat.title.clone(),
            text: without_own_name(&message.text, &bot.username),
            before: message
                .forwarded_from
                .as_ref()
                .map(|it| format!("[Forwarded from {it}]\n"))
                .unwrap_or_default(),
            behind: behind.unwrap_or_default(),
            media,
            at_ms: message.date.saturating_mul(1000),
            allowed: hear.allowed,
            addressed: hear.addressed,
            must_be_addressed: hear.must_be_addressed,
            system_prompt: hear.system_prompt.clone(),
            history_max,
            reply_to: reply_to && !is_private || settings.reply_to == ReplyTo::All,
            ack,
        }
    }

    /// Where the file lies now; None when it is too large or cannot be had, which the text then says.
    fn fetch(&self, media: &Media, bytes_max: u64, name: &str) -> Option<PathBuf> {
        if media.kind == MediaKind::Sticker && media.mime.is_none() {
            return None;
        }
        let said = |why: &dyn std::fmt::Display| log::warn!(target: "channels", "{}: a file is left out: {why}", self.shared.name());
        if media.bytes.is_some_and(|it| it > bytes_max) {
            said(&"it is larger than mediaMaxMb allows");
            return None;
        }
        for attempt in 0..3 {
            let got = self
                .api
                .call("getFile", &json!({ "file_id": media.reference }), TELEGRAM_CALL_MS)
                .and_then(|it| {
                    let path = it["file_path"].as_str().unwrap_or_default().to_owned();
                    self.api.download(&path, bytes_max, TELEGRAM_FILE_MS).map(|it| (path, it))
                });
            match got {
                Ok((path, bytes)) => {
                    let ending = ending(media, &path);
                    let place =
                        self.shared.state.join("media").join("inbound").join(format!("{name}{ending}"));
                    return match files::write_atomic(&place, &bytes) {
                        Ok(()) => Some(place),
                        Err(err) => {
                            said(&err);
                            None
                        }
                    };
                }
                Err(Failure::Unsent(_) | Failure::Unknown(_)) if attempt < 2 => {
                    self.shared.pause(TELEGRAM_RETRY_MS)
                }
                Err(failure) => {
                    said(&failure);
                    return None;
                }
            }
        }
        None
    }

    /// The highest number of a message for each of what counts them.
    fn seen(&self, heeds: &[Heed]) -> BTreeMap<String, i64> {
        let mut out = BTreeMap::new();
        for it in heeds {
            if let channels::What::Said(said) = &it.inbound.what {
                let highest: &mut i64 = out.entry(self.shared.count(&it.inbound.peer)).or_default();
                *highest = said.message_id.parse().unwrap_or(0).max(*highest);
            }
        }
        out
    }

    /// Offers what was heard to the core until all of it is durable. False when told to end.
    fn give(&mut self, mut heeds: Vec<Heed>) -> bool {
        while !heeds.is_empty() {
            let numbers: Vec<i64> = heeds.iter().map(|it| it.number).collect();
            let path = offset_path(&self.shared.state, &self.shared.settings.account);
            let seen = self.seen(&heeds);
            let keep = move |stores: &mut Stores, taken: usize| {
                let Some(last) = taken.checked_sub(1).and_then(|it| numbers.get(it)) else { return Ok(()) };
                let unix_ms = stores.now().unix_ms;
                let deliveries = stores.deliveries().map_err(|err| err.to_string())?;
                for (count, number) in &seen {
                    deliveries.seen(count, *number, unix_ms).map_err(|err| err.to_string())?;
                }
                write_json(&path, &json!({ "version": 1, "lastUpdateId": last }))
            };
            let (say, hear) = bounded(1);
            let inbound = heeds.iter().map(|it| it.inbound.clone()).collect();
            let account = (CHANNEL, self.shared.settings.account.clone());
            (self.shared.around.tell)(Event::Heard(Heard {
                account,
                inbound,
                keep: Box::new(keep),
                taken: say,
            }));
            let taken = select! {
                recv(hear) -> it => it.unwrap_or(Err("the gateway is stopping".into())),
                recv(self.shared.cancel.done()) -> _ => return false,
            };
            match taken {
                Ok(n) => {
                    if let Some(last) = n.checked_sub(1).and_then(|it| heeds.get(it)) {
                        self.offset = self.offset.max(last.number + 1);
                    }
                    heeds.drain(..n.min(heeds.len()));
                    if !heeds.is_empty() {
                        // Answers make room.
                        self.shared.current.cancel();
                        self.shared.pause(TELEGRAM_FULL_MS);
                    }
                }
                Err(why) => {
                    log::warn!(target: "channels", "{}: messages wait: {why}", self.shared.name());
                    self.shared.around.vitals.fail(&why);
                    self.shared.pause(TELEGRAM_RETRY_MS_MAX);
                }
            }
            if self.shared.cancel.is_cancelled() {
                return false;
            }
        }
        true
    }
}

/// `messages.ackReactionScope`.
fn acks(settings: &Settings, is_private: bool, hear: &Hear) -> bool {
    match settings.ack_scope.as_str() {
        "all" => true,
        "direct" => is_private,
        "group-all" => !is_private,
        "group-mentions" => !is_private && hear.must_be_addressed && hear.addressed,
        _ => false,
    }
}

/// `/status@ourbot` is `/status`.
fn without_own_name(text: &str, username: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or_default();
    match word.split_once('@') {
        Some((command, name)) if command.starts_with('/') && name.to_lowercase() == username => {
            format!("{command}{}", &text[word.len()..])
        }
        _ => text.to_owned(),
    }
}

/// Of the file's name: by its kind, never as a stranger wrote it.
fn ending(media: &Media, path: &str) -> String {
    let of_path = path.rsplit('/').next().and_then(|it| it.rsplit_once('.')).map(|it| it.1.to_lowercase());
    let plain = |it: &String| (1..=8).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric());
    let of_kind = match media.kind {
        MediaKind::Image => "jpg",
        MediaKind::Sticker => "webp",
        MediaKind::Audio => "ogg",
        MediaKind::Video => "mp4",
        MediaKind::Document => "bin",
    };
    format!(".{}", of_path.filter(plain).unwrap_or_else(|| of_kind.into()))
}

/// What a status shows of the bot: asked by a worker.
pub fn look(settings: &Settings, ms: u64) -> Value {
    let cancel = crate::base::cancel::Cancel::new();
    let Some(token) = &settings.token else {
        return json!({ "ok": false, "status": null, "error": "no token" });
    };
    let api = Api::new(&settings.root, token, super::proxy(settings), &cancel);
    match probe(&api, ms) {
        Ok(mut it) => {
            it["ok"] = true.into();
            it["status"] = Value::Null;
            it["error"] = Value::Null;
            it
        }
        Err(failure) => {
            let code = Some(failure.code()).filter(|it| *it > 0);
            json!({ "ok": false, "status": code, "error": failure.to_string() })
        }
    }
}

/// How long to wait after so many failures in a row: twice as long each time, and half of it by chance.
pub fn backoff_ms(failures: u32, most: u64, random: u64) -> u64 {
    let ms = (TELEGRAM_RETRY_MS << failures.saturating_sub(1).min(10)).min(most);
    ms / 2 + random % (ms / 2 + 1)
}

/// Waits, or is told to end.
pub fn pause(cancel: &crate::base::cancel::Cancel, ms: u64) {
    match cancel.done().recv_timeout(Duration::from_millis(ms)) {
        Ok(never) => match never {},
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::each_seed;

    /// An outage of two hours, in virtual time: tried some hundred times, and noticed half a minute after its end at the latest.
    #[test]
    fn an_outage_costs_its_own_time() {
        each_seed(50, |mut seed| {
            let (mut at, mut failures, hours) = (0, 0, 7_200_000);
            while at < hours {
                failures += 1;
                at += backoff_ms(failures, TELEGRAM_RETRY_MS_MAX, seed.below(1 << 30) as u64);
            }
            assert!((240..600).contains(&failures), "{failures}");
            assert!(at - hours <= TELEGRAM_RETRY_MS_MAX);
        });
        assert!((500..=1000).contains(&backoff_ms(1, TELEGRAM_RETRY_MS_MAX, u64::MAX)));
    }
    #[test]
    fn names_of_files_are_ours() {
        let media = |kind| Media {
            kind,
            reference: String::new(),
            mime: None,
            name: Some("../../x.sh".into()),
            bytes: None,
            local: None,
        };
        assert_eq!(ending(&media(MediaKind::Document), "documents/file_1.PDF"), ".pdf");
        for path in ["documents/x", "a/../b.e/../c", "x.averylongending", "x.s h"] {
            assert_eq!(ending(&media(MediaKind::Document), path), ".bin", "{path}");
        }
    }
}
