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
mod heed;

use super::api::{Api, Bot, Failure};
use super::{CHANNEL, Shared, hook, menu, update};
use crate::base::cancel::Cancel;
use crate::base::files;
use crate::base::ids::{Entropy, os_entropy};
use crate::base::limits::*;
use crate::channels::{self, Event, Heard, Inbound, Vitals};
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

/// How long to wait after so many failures in a row: twice as long each time, and half of it by chance.
pub fn backoff_ms(failures: u32, most: u64, random: u64) -> u64 {
    let ms = (TELEGRAM_RETRY_MS << failures.saturating_sub(1).min(10)).min(most);
    ms / 2 + random % (ms / 2 + 1)
}

/// Waits, or is told to end.
pub fn pause(cancel: &Cancel, ms: u64) {
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
}
