//! Telegram, by its Bot API: two threads an account, one that asks what is new and one that says things.
pub mod admit;
pub mod api;
mod chunk;
mod hook;
mod html;
mod may;
mod menu;
mod people;
mod poll;
mod probe;
mod say;
mod sender;
pub mod settings;
pub mod update;

use super::{About, Account, Around, Channel, Handle, Meta, Target, Trouble, Vitals};
use crate::base::cancel::Cancel;
use crate::base::limits::{CHANNEL_ORDERS_MAX, CHANNEL_STACK_BYTES, TELEGRAM_OWN_MAX};
use crate::base::secret::Secret;
use crate::config::PeerKind;
use crate::wire::proxy::{self, Proxies};
use api::{Api, Bot};
use crossbeam_channel::bounded;
use serde_json::{Map, Value, json};
use settings::Settings;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

pub const CHANNEL: &str = "telegram";

pub struct Telegram;

impl Channel for Telegram {
    fn meta(&self) -> Meta {
        Meta { id: CHANNEL, label: "Telegram", detail_label: "Telegram Bot", system_image: "paperplane" }
    }

    fn accounts(&self, about: &About) -> Vec<Account> {
        let proxies = Arc::new(Proxies::of(|name| about.env.get(name)));
        settings::read(about).into_iter().map(|it| account(about, it, &proxies)).collect()
    }

    fn target(&self, text: &str) -> Result<Target, String> {
        let wrong = || {
            format!(
                "{text:?} is no Telegram chat: give a number such as 123456789 or -1001234567890, or @name; :topic:<id> behind it names a topic"
            )
        };
        let bare = text.trim();
        let lower = bare.to_lowercase();
        let start = ["telegram:", "tg:"].iter().find(|it| lower.starts_with(*it)).map_or(0, |it| it.len());
        let bare = &bare[start..];
        let bare = bare.strip_prefix("group:").unwrap_or(bare);
        let bare = ["https://t.me/", "http://t.me/", "t.me/"]
            .iter()
            .find_map(|it| bare.strip_prefix(it))
            .map_or(bare.to_owned(), |it| format!("@{it}"));
        let (to, thread) = match bare.split_once(":topic:").or_else(|| bare.split_once(':')) {
            Some((to, thread)) if thread.parse::<i64>().is_ok() => (to, Some(thread.to_owned())),
            Some(_) => return Err(wrong()),
            None => (bare.as_str(), None),
        };
        let name = |it: &str| it.len() >= 4 && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        match to.parse::<i64>().is_ok() || to.strip_prefix('@').is_some_and(name) {
            true => Ok(Target { to: to.to_owned(), thread }),
            false => Err(wrong()),
        }
    }

    fn kind(&self, target: &Target) -> PeerKind {
        if target.to.starts_with('-') { PeerKind::Group } else { PeerKind::Direct }
    }
}

fn account(about: &About, settings: Settings, proxies: &Arc<Proxies>) -> Account {
    let mode = if settings.hook.is_some() { "webhook" } else { "polling" };
    let open = |group: &people::Group| group.must_be_addressed == Some(false);
    let unmentioned = settings.groups.iter().flatten().any(|it| open(it.1) || it.1.topics.values().any(open));
    let mut facts = Map::new();
    facts.extend(settings.name.clone().map(|it| ("name".to_owned(), it.into())));
    for (name, value) in [
        ("tokenSource", json!(settings.token_source)),
        ("mode", json!(mode)),
        ("allowUnmentionedGroups", json!(unmentioned)),
    ] {
        facts.insert(name.into(), value);
    }
    facts.extend(settings.problem.clone().map(|it| ("lastError".to_owned(), it.into())));
    let (state, program, roots) = (about.paths.state.clone(), about.program.clone(), roots(about));
    let (settings, proxies) = (Arc::new(settings), proxies.clone());
    let (probed, asked) = (settings.clone(), settings.clone());
    Account {
        channel: CHANNEL,
        id: settings.account.clone(),
        enabled: settings.enabled,
        configured: settings.token.is_some() && settings.problem.is_none(),
        facts,
        fingerprint: settings.fingerprint.clone(),
        probe: Arc::new(move |ms| probe::look(&probed, ms)),
        may: Arc::new(move |name, action| asked.may.check(asked.buttons, name, action)),
        start: Arc::new(move |around| {
            let token = settings.token.clone().ok_or_else(|| io::Error::other("no token"))?;
            let shared = Shared {
                settings: settings.clone(),
                proxies: proxies.clone(),
                token,
                state: state.clone(),
                program: program.clone(),
                roots: roots.clone(),
                around,
                cancel: Cancel::new(),
                current: Cancel::new(),
                caught_up: AtomicBool::new(false),
                known: Mutex::default(),
            };
            start(Arc::new(shared))
        }),
    }
}

/// Folders whose files an answer may bring along.
fn roots(about: &About) -> Vec<PathBuf> {
    let paths = &about.paths;
    let agents = &about.config["agents"];
    let list = agents["list"].as_array().into_iter().flatten();
    let named = list.clone().map(|it| &it["workspace"]).chain([&agents["defaults"]["workspace"]]);
    let named = named.filter_map(Value::as_str).map(|it| crate::config::paths::expand_home(it, &paths.home));
    let own = list
        .filter_map(|it| it["id"].as_str())
        .map(|it| paths.state.join(format!("workspace-{}", crate::config::normal_id(it))));
    named.chain(own).chain([paths.workspace(), paths.state.join("media")]).collect()
}

/// What both threads of an account know.
pub struct Shared {
    settings: Arc<Settings>,
    proxies: Arc<Proxies>,
    token: Secret,
    state: PathBuf,
    program: String,
    roots: Vec<PathBuf>,
    around: Around,
    cancel: Cancel,
    /// Cancelled once what waited at Telegram was seen: from then on message numbers are known to be current.
    current: Cancel,
    /// A poll has left nothing at Telegram.
    caught_up: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    bot: Bot,
    /// Our last messages: chat and number.
    own: VecDeque<(String, i64)>,
    /// The highest number of a message, by what counts it.
    seen: BTreeMap<String, i64>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|it| it.into_inner())
    }
    fn know(&self, bot: Bot) {
        self.known().bot = bot;
    }
    fn bot(&self) -> Bot {
        self.known().bot.clone()
    }
    fn said(&self, to: &str, number: i64) {
        self.see(to, number);
        let own = &mut self.known().own;
        if own.len() == TELEGRAM_OWN_MAX {
            own.pop_front();
        }
        own.push_back((to.to_owned(), number));
    }
    /// A message is there, whoever wrote it.
    fn see(&self, chat: &str, number: i64) {
        let seen = &mut self.known().seen;
        let count = self.count(chat);
        if seen.len() >= TELEGRAM_OWN_MAX && !seen.contains_key(&count) {
            seen.pop_first();
        }
        let highest = seen.entry(count).or_default();
        *highest = number.max(*highest);
    }
    /// Whether the number of the next message there is about known: all was seen, or this life has said something.
    fn knows_numbers(&self, chat: &str) -> bool {
        let count = self.count(chat);
        let said = |it: &(String, i64)| self.count(&it.0) == count;
        self.caught_up.load(Ordering::Relaxed) || self.known().own.iter().any(said)
    }
    fn seen(&self, chat: &str) -> i64 {
        self.known().seen.get(&self.count(chat)).copied().unwrap_or(0)
    }
    fn is_own(&self, chat: &str, number: i64) -> bool {
        self.known().own.iter().any(|it| it.0 == chat && it.1 == number)
    }
    fn name(&self) -> String {
        format!("{CHANNEL} {}", self.settings.account)
    }
    /// What counts the updates that it gives.
    fn source(&self) -> String {
        format!("{CHANNEL}:{}", self.settings.account)
    }
    /// What counts the messages of a chat: supergroups count their own, all others count together.
    fn count(&self, to: &str) -> String {
        let chat = if to.starts_with("-100") { to } else { "*" };
        format!("{CHANNEL}:{}:{chat}", self.settings.account)
    }
    fn api(&self) -> Api {
        let own = proxy(&self.settings);
        let proxy = own.or_else(|| self.proxies.of_uri(&self.settings.root.parse().ok()?).ok().flatten());
        Api::new(&self.settings.root, &self.token, proxy, &self.cancel)
    }
    /// Why nothing can be sent now.
    fn trouble(&self) -> Option<Trouble> {
        let vitals = &self.around.vitals;
        let why = || vitals.last_error().unwrap_or_else(|| "it has not been reached yet".into());
        if Vitals::is(&vitals.refused) {
            return Some(Trouble::NotLinked(why()));
        }
        (!Vitals::is(&vitals.connected))
            .then(|| Trouble::Unavailable(format!("Telegram cannot be reached: {}", why())))
    }
    fn pause(&self, ms: u64) {
        poll::pause(&self.cancel, ms);
    }
}

/// `channels.telegram.proxy`.
fn proxy(settings: &Settings) -> Option<ureq::Proxy> {
    let text = settings.proxy.as_ref()?;
    let proxy = proxy::named(text);
    if proxy.is_none() {
        log::warn!(target: "channels", "telegram {}: proxy is not of the form http://host:port, and is not used", settings.account);
    }
    proxy
}

fn start(shared: Arc<Shared>) -> io::Result<Handle> {
    let (give, orders) = bounded(CHANNEL_ORDERS_MAX);
    let (cancel, missed) = (shared.cancel.clone(), Arc::new(AtomicBool::new(false)));
    let sender = sender::Sender::new(shared.clone(), orders, missed.clone());
    let threads = vec![
        thread("tg-poll", move || poll::Poll::new(shared).run())?,
        thread("tg-send", move || sender.run())?,
    ];
    Ok(Handle { orders: give, missed, cancel, threads })
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).stack_size(CHANNEL_STACK_BYTES).spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (text, want) in [
            ("123", Some(("123", None))),
            (" telegram:-1001 ", Some(("-1001", None))),
            ("telegram:group:-1001:topic:7", Some(("-1001", Some("7")))),
            ("-1001:7", Some(("-1001", Some("7")))),
            ("@name_x", Some(("@name_x", None))),
            ("https://t.me/name_x", Some(("@name_x", None))),
            ("", None),
            ("+1555", Some(("+1555", None))),
            ("name", None),
            ("@a b", None),
            ("12:x", None),
        ] {
            let got = Telegram.target(text).ok();
            assert_eq!(got.as_ref().map(|it| (it.to.as_str(), it.thread.as_deref())), want, "{text}");
        }
    }
}
