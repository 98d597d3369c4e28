//! Chat networks as the core sees them: which accounts there are, what comes in by them, and what is to go out.
mod context;
pub mod directives;
mod inbound;
pub mod mirror;
pub mod outbound;
pub mod posting;
pub mod status;
pub mod wished;

use super::{Core, Effect};
use crate::base::clock::Now;
use crate::base::limits::{OVERHEARD_CHATS_MAX, SYSTEM_EVENTS_MAX};
use crate::channels::{About, Account, Action, CHANNELS, Command, Event, Key, Vitals, named};
use crate::store::dedupe::Dedupe;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All that the core knows of channels.
#[derive(Default)]
pub struct Channels {
    accounts: BTreeMap<Key, Entry>,
    /// What was said in groups since the last answer, by session key.
    overheard: Kept,
    /// What happened since a conversation's last turn, by session key.
    notes: Kept,
    outbound: outbound::Outbound,
    /// What was answered to `send:<key>` and `poll:<key>`.
    answers: Dedupe,
}

struct Entry {
    account: Account,
    vitals: Arc<Vitals>,
    /// Its threads were told to begin.
    started: bool,
}

/// Lines by session key; the session that was silent for longest gives way.
#[derive(Default)]
struct Kept {
    lines: BTreeMap<String, VecDeque<String>>,
    /// Oldest first.
    order: VecDeque<String>,
}

impl Kept {
    fn push(&mut self, key: &str, line: String, most: usize) {
        self.order.retain(|it| it != key);
        self.order.push_back(key.to_owned());
        let lines = self.lines.entry(key.to_owned()).or_default();
        lines.push_back(line);
        while lines.len() > most {
            lines.pop_front();
        }
        while self.order.len() > OVERHEARD_CHATS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.lines.remove(&oldest);
            }
        }
    }
    fn take(&mut self, key: &str) -> Vec<String> {
        self.order.retain(|it| it != key);
        self.lines.remove(key).map(Vec::from).unwrap_or_default()
    }
    fn all(&self, key: &str) -> Vec<String> {
        self.lines.get(key).into_iter().flatten().cloned().collect()
    }
}

/// Reads the sections of all channels, and does what has changed in them.
pub fn load(core: &mut Core) {
    let world = core.world.clone();
    let work = move || {
        let about = About {
            config: world.config.resolved.clone(),
            mentions: world.config.config.mentions.clone(),
            env: world.env.clone(),
            paths: world.paths.clone(),
            program: world.program.clone(),
        };
        CHANNELS.iter().flat_map(|it| it.accounts(&about)).collect::<Vec<Account>>()
    };
    core.job(work, apply);
}

fn apply(core: &mut Core, accounts: Vec<Account>, now: Now) {
    // A word of the reference's, for tests and for repairs.
    let skip = core.world.env.openclaw("SKIP_CHANNELS").is_some();
    let mut before = std::mem::take(&mut core.channels.accounts);
    for account in accounts {
        let key = account.key();
        if let Some(old) = before.remove(&key) {
            let same =
                old.account.fingerprint == account.fingerprint && old.account.enabled == account.enabled;
            if same {
                core.channels.accounts.insert(key, old);
                continue;
            }
            stop(core, &key, &old, now);
        }
        let started = account.enabled && account.configured && !skip && !core.is_leaving();
        let vitals = Arc::new(Vitals::default());
        if started {
            let start = Command::Start { account: Box::new(account.clone()), vitals: vitals.clone() };
            core.effects.push(Effect::Channel(start));
        } else if let Some(text) = account.facts.get("lastError").and_then(|it| it.as_str()) {
            log::error!(target: "channels", "{} {}: {text}", account.channel, account.id);
            vitals.fail(text);
        }
        core.channels.accounts.insert(key, Entry { account, vitals, started });
    }
    for (key, old) in before {
        stop(core, &key, &old, now);
    }
}

fn stop(core: &mut Core, key: &Key, entry: &Entry, now: Now) {
    if entry.started {
        log::info!(target: "channels", "{} {} stops: its configuration has changed", key.0, key.1);
        core.effects.push(Effect::Channel(Command::Stop(key.clone())));
        outbound::abandon(core, key, now);
    }
}

/// Something has come from an account's threads.
pub fn on_event(core: &mut Core, event: Event, now: Now) {
    match event {
        Event::Heard(it) => inbound::heard(core, it, now),
        Event::Answered { call, result } => outbound::answered(core, call, result, now),
    }
}

/// A line for the next turn of a conversation.
pub fn note(core: &mut Core, key: &str, line: String) {
    core.channels.notes.push(key, line, SYSTEM_EVENTS_MAX);
}
pub fn take_notes(core: &mut Core, key: &str) -> Vec<String> {
    core.channels.notes.take(key)
}

impl Core {
    /// Whether anybody can be written to.
    pub fn has_networks(&self) -> bool {
        self.channels.accounts.values().any(|it| it.account.enabled && it.account.configured)
    }
    /// Those with an account that is configured, in the order of their list.
    pub fn channels_in_use(&self) -> Vec<&'static str> {
        CHANNELS.iter().map(|it| it.meta().id).filter(|it| self.channels.has(it)).collect()
    }
}

impl Channels {
    /// Whether any account of it is configured.
    pub fn has(&self, channel: &str) -> bool {
        self.accounts.keys().any(|it| it.0 == channel)
    }
    /// What waits to be sent.
    fn waiting(&self, key: &Key) -> usize {
        self.accounts.get(key).map_or(0, |it| it.vitals.waiting.load(Ordering::Relaxed))
    }
    /// The account that is meant when none is named: `default`, else the first.
    fn default_of(&self, channel: &str) -> Option<&str> {
        let mut of = self.accounts.keys().filter(|it| it.0 == channel).map(|it| it.1.as_str());
        of.clone().find(|it| *it == crate::config::DEFAULT_ACCOUNT).or_else(|| of.next())
    }
    /// Whether an agent may have that account do this.
    ///
    /// # Errors
    /// Why not, and which key would allow it.
    fn may(&self, key: &Key, name: &str, action: &Action) -> Result<(), String> {
        self.accounts.get(key).map_or(Ok(()), |it| (it.account.may)(name, action))
    }
    fn find(&self, channel: &str, account: &str) -> Option<(&Key, &Entry)> {
        let channel = named(channel)?.meta().id;
        self.accounts.get_key_value(&(channel, account.to_owned()))
    }
}
