//! Chat networks: what people say there becomes [`Inbound`], and what is to be said there is an [`Order`].
//!
//! ```text
//! network ─► account's threads ─► Event::Heard (durable before it is taken off the network) ─► the core
//!            account's threads ◄─ Order ◄────────────────────────────────────────────────────── the core
//! ```
//!
//! * A network is one folder here and one word in [`CHANNELS`]; it parses its own section of the configuration.
//! * Nothing here knows sessions or agents. Who may not talk here is dropped before anything else happens.
pub mod telegram;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::config::{Env, Mentions, Paths, PeerKind};
use crate::store::deliveries::Delivery;
use crate::store::stores::Stores;
use crate::store::writer::Hand;
use crossbeam_channel::Sender;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Every network, in the order in which they are shown.
pub const CHANNELS: &[&dyn Channel] = &[&telegram::Telegram];

pub fn named(id: &str) -> Option<&'static dyn Channel> {
    CHANNELS.iter().copied().find(|it| it.meta().id == id)
}

/// A chat network.
pub trait Channel: Sync {
    fn meta(&self) -> Meta;
    /// The accounts that its section describes; none when nobody asks for this network. Reads files.
    fn accounts(&self, about: &About) -> Vec<Account>;
    /// Puts what a person calls somebody into the one form that the network knows.
    ///
    /// # Errors
    /// What a target looks like.
    fn target(&self, text: &str) -> Result<Target, String>;
    /// What kind of chat that is, as far as its id tells.
    fn kind(&self, target: &Target) -> PeerKind;
}

/// What a network is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub id: &'static str,
    pub label: &'static str,
    pub detail_label: &'static str,
    pub system_image: &'static str,
}

/// What a section is read with.
#[derive(Debug, Clone)]
pub struct About {
    /// The whole configuration.
    pub config: Arc<Value>,
    pub mentions: Arc<Mentions>,
    pub env: Env,
    pub paths: Paths,
    /// The start of a command line for this instance.
    pub program: String,
}

/// One account of a network, as configured.
#[derive(Clone)]
pub struct Account {
    pub channel: &'static str,
    pub id: String,
    pub enabled: bool,
    /// It has what it needs to sign in.
    pub configured: bool,
    /// Fields of its snapshot that the configuration decides.
    pub facts: Map<String, Value>,
    /// Equal as long as a change of the configuration does not concern it.
    pub fingerprint: String,
    /// Begins its threads.
    pub start: Arc<dyn Fn(Around) -> io::Result<Handle> + Send + Sync>,
    /// Asks the network who it is; blocks at most so many milliseconds.
    pub probe: Arc<dyn Fn(u64) -> Probed + Send + Sync>,
    /// Whether an agent may do that there, by the word for it: else why not, and which key would allow it.
    pub may: Arc<May>,
}

/// What a network says of an account.
pub struct Probed {
    pub probe: Value,
    /// Whether it is in the chats that the configuration names; None when there is nothing to ask.
    pub audit: Option<Value>,
}

impl Account {
    pub fn key(&self) -> Key {
        (self.channel, self.id.clone())
    }
}

/// See [`Account::may`].
pub type May = dyn Fn(&str, &Action) -> Result<(), String> + Send + Sync;

/// Channel and account.
pub type Key = (&'static str, String);

/// What the threads of an account work with.
#[derive(Clone)]
pub struct Around {
    pub clock: Clock,
    pub store: Hand,
    pub vitals: Arc<Vitals>,
    /// Tells the core. It returns when the core is gone.
    pub tell: Arc<dyn Fn(Event) + Send + Sync>,
}

/// The threads of an account. They end when it is dropped, and nobody waits for them.
pub struct Handle {
    pub orders: Sender<Order>,
    /// There was no room for a delivery: look for it on disk.
    pub missed: Arc<AtomicBool>,
    pub cancel: Cancel,
    pub threads: Vec<JoinHandle<()>>,
}

impl Handle {
    /// Tells them to end, and waits until they have.
    pub fn stop(self) {
        self.cancel.cancel();
        drop(self.orders);
        for it in self.threads {
            // A panic of theirs was logged.
            let _ = it.join();
        }
    }
}

/// How an account is, measured where it happens. Times in milliseconds since 1970; 0 for never.
#[derive(Debug, Default)]
pub struct Vitals {
    pub running: AtomicBool,
    /// The last call of the network was answered.
    pub connected: AtomicBool,
    /// The network does not know this account (any more).
    pub refused: AtomicBool,
    pub started_ms: AtomicI64,
    pub stopped_ms: AtomicI64,
    pub polled_ms: AtomicI64,
    pub inbound_ms: AtomicI64,
    pub outbound_ms: AtomicI64,
    /// Answers and calls that wait to be sent.
    pub waiting: AtomicUsize,
    error: Mutex<Option<String>>,
}

impl Vitals {
    pub fn set(at: &AtomicI64, unix_ms: i64) {
        at.store(unix_ms, Ordering::Relaxed);
    }
    /// None for never.
    pub fn at(at: &AtomicI64) -> Option<i64> {
        Some(at.load(Ordering::Relaxed)).filter(|it| *it != 0)
    }
    pub fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }
    pub fn fail(&self, text: &str) {
        *self.error() = Some(text.to_owned());
    }
    pub fn recover(&self) {
        *self.error() = None;
    }
    pub fn last_error(&self) -> Option<String> {
        self.error().clone()
    }
    fn error(&self) -> MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(|it| it.into_inner())
    }
}

/// Where something is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The network's own id of the chat.
    pub to: String,
    /// A topic or a thread in it.
    pub thread: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Video,
    Audio,
    Document,
    Sticker,
}

impl MediaKind {
    /// What stands for it in a text. Reference.
    pub fn placeholder(self) -> &'static str {
        match self {
            MediaKind::Image => "<media:image>",
            MediaKind::Video => "<media:video>",
            MediaKind::Audio => "<media:audio>",
            MediaKind::Document => "<media:document>",
            MediaKind::Sticker => "<media:sticker>",
        }
    }
}

/// A file that somebody sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    pub kind: MediaKind,
    /// The network's own name of it.
    pub reference: String,
    pub mime: Option<String>,
    /// As the sender calls it.
    pub name: Option<String>,
    /// As the network says.
    pub bytes: Option<u64>,
    /// Where it lies, once it was fetched.
    pub local: Option<PathBuf>,
}

/// Something that happened on a network, by somebody who may talk here.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Never the same for two of an account.
    pub number: i64,
    pub chat: PeerKind,
    /// The network's own id of the chat.
    pub peer: String,
    /// A forum topic: a conversation of its own.
    pub topic: Option<String>,
    /// A thread in a direct chat: a conversation of its own.
    pub thread: Option<String>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Said(Box<Said>),
    /// For the next turn of the conversation.
    Note(String),
}

/// Words.
#[derive(Debug, Clone)]
pub struct Said {
    pub message_id: String,
    pub sender_id: String,
    pub sender_name: String,
    /// Of a group.
    pub title: Option<String>,
    /// As they were said.
    pub text: String,
    /// What they answer, where they come from: told to the model besides.
    pub before: String,
    pub behind: String,
    pub media: Vec<Media>,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// May give commands.
    pub allowed: bool,
    /// Meant for the bot: named, answered, or nobody else is there. That its agent is named by the configuration's words is not said here.
    pub addressed: bool,
    /// In this group only what is meant for it is answered.
    pub must_be_addressed: bool,
    /// What this group's configuration tells the model.
    pub system_prompt: Option<String>,
    /// Messages of a group that are kept for context.
    pub history_max: usize,
    /// Answers name the message that they answer.
    pub reply_to: bool,
    pub acks: Acks,
    /// The reaction is taken back when the answer is there.
    pub takes_ack_back: bool,
    /// `{allow, alsoAllow, deny}`: what the tools of the agent are narrowed to here.
    pub tools: Option<Value>,
}

/// Whether a message that was taken gets a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    Never,
    /// Where it is meant for the bot.
    IfAddressed,
    Always,
}

/// What the threads of an account tell.
pub enum Event {
    Heard(Heard),
    /// What an [`Order::Call`] came to.
    Answered {
        call: u64,
        result: Result<Value, Trouble>,
    },
}

/// See [`Heard::keep`].
pub type Keep = Box<dyn FnOnce(&mut Stores, usize) -> Result<(), String> + Send>;

/// In the order in which it happened.
pub struct Heard {
    pub account: Key,
    pub inbound: Vec<Inbound>,
    /// Runs where state files are written, once so many of them are durable: the network may forget them then.
    pub keep: Keep,
    /// How many were taken; fewer than all when there is no room for more now.
    pub taken: Sender<Result<usize, String>>,
}

/// What an account is to do.
pub enum Order {
    /// It is durable; see [`crate::store::deliveries`].
    Deliver(Delivery),
    /// Somebody waits for the answer.
    Call { call: u64, action: Action },
    /// A run is at work on an answer to this chat. It is told again before so many milliseconds are over.
    Working { run: String, target: Target },
    /// What an answer says so far.
    Draft { run: String, target: Target, reply_to: Option<String>, text: String },
    /// The run has ended.
    Done { run: String },
}

/// What a call asks of a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Send(Words),
    Poll {
        target: Target,
        question: String,
        options: Vec<String>,
        max_selections: i64,
        hours: Option<i64>,
        silent: bool,
    },
    /// None takes the reaction away.
    React {
        target: Target,
        message_id: String,
        emoji: Option<String>,
    },
    Edit {
        target: Target,
        message_id: String,
        text: String,
    },
    Delete {
        target: Target,
        message_id: String,
    },
}

impl Action {
    /// The chat that it concerns.
    pub fn target(&self) -> &Target {
        match self {
            Action::Send(it) => &it.target,
            Action::Poll { target, .. }
            | Action::React { target, .. }
            | Action::Edit { target, .. }
            | Action::Delete { target, .. } => target,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    pub target: Target,
    pub text: String,
    /// Paths and addresses.
    pub media: Vec<String>,
    pub reply_to: Option<String>,
    pub buttons: Option<Value>,
    pub silent: bool,
    /// The sound is one that was spoken.
    pub as_voice: bool,
}

/// Why a call was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The network does not know the account.
    NotLinked(String),
    /// The network has looked at it and said no.
    Refused(String),
    /// The network cannot be reached, or has not answered.
    Unavailable(String),
}

/// What the driver does for the core.
pub enum Command {
    Start {
        account: Box<Account>,
        vitals: Arc<Vitals>,
    },
    Stop(Key),
    /// To an account that runs.
    Order(Key, Box<Order>),
}

/// The accounts that run. Starting and ordering never wait; ending is waited for in [`Runner::stop`] alone.
#[derive(Default)]
pub struct Runner {
    running: BTreeMap<Key, Handle>,
}

impl Runner {
    /// What there is to tell at once.
    pub fn carry_out(
        &mut self,
        command: Command,
        clock: Clock,
        store: &Hand,
        tell: &Arc<dyn Fn(Event) + Send + Sync>,
    ) -> Option<Event> {
        match command {
            Command::Start { account, vitals } => {
                let around =
                    Around { clock, store: store.clone(), vitals: vitals.clone(), tell: tell.clone() };
                match (account.start)(around) {
                    Ok(handle) => drop(self.running.insert(account.key(), handle)),
                    Err(err) => {
                        log::error!(target: "channels", "{} {}: the system gives no thread for it: {err}", account.channel, account.id);
                        vitals.fail(&err.to_string());
                    }
                }
            }
            Command::Stop(key) => {
                if let Some(handle) = self.running.remove(&key) {
                    handle.cancel.cancel();
                }
            }
            Command::Order(key, order) => {
                let left = match self.running.get(&key) {
                    Some(handle) => handle.orders.try_send(*order).err().map(|it| it.into_inner()),
                    None => Some(*order),
                };
                match left {
                    Some(Order::Call { call, .. }) => {
                        let busy = Trouble::Unavailable(
                            "the channel is stopping, or too much waits to be sent".into(),
                        );
                        return Some(Event::Answered { call, result: Err(busy) });
                    }
                    Some(Order::Deliver(it)) => {
                        if let Some(handle) = self.running.get(&key) {
                            handle.missed.store(true, Ordering::Release);
                            // There may be room by now, and a thread that sleeps without having seen that.
                            let _ = handle.orders.try_send(Order::Deliver(it));
                        }
                    }
                    // Worth nothing later.
                    _ => {}
                }
            }
        }
        None
    }
    /// Ends all of them, and waits until they have.
    pub fn stop(self) {
        let handles: Vec<Handle> = self.running.into_values().collect();
        handles.iter().for_each(|it| it.cancel.cancel());
        handles.into_iter().for_each(Handle::stop);
    }
}
