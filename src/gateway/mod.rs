//! The state of the gateway and what happens to it: clients, presence, devices, health, events. Pure.
//!
//! ```text
//! Input ──► Core::on_* ──► state changes, Effects queued ──► the driver takes them: frames out, jobs to workers
//! ```
//!
//! * `Core` never touches a socket, a file or the clock: time and randomness arrive from outside.
//! * One owner: no lock anywhere.
//! * Every map keyed by remote data has a cap in `base/limits.rs`.
pub mod approvals;
pub mod attachments;
pub mod auth;
mod calls;
pub mod canvas;
pub mod channels;
pub mod commands;
#[cfg(test)]
mod contract;
pub mod device;
pub mod events;
pub mod exchange;
pub mod freshness;
pub mod grants;
#[cfg(test)]
mod grants_tests;
mod handshake;
pub mod health;
mod leave;
pub mod methods;
pub mod nodes;
pub mod pairing;
pub mod peer;
pub mod presence;
pub mod registry;
pub mod reload;
pub mod routing;
#[cfg(test)]
mod routing_tests;
pub mod runs;
#[cfg(test)]
mod scope_tests;
pub mod send_policy;
pub mod sessions;
pub mod skills;
pub mod system_events;
pub mod tailscale;
pub mod wizard;
mod world;
pub mod ws_log;

use crate::agent;
use crate::base::clock::{Clock, Now};
use crate::base::ids::{self, ConnId, Entropy};
use crate::base::limits::*;
use crate::conn::Bytes;
use crate::conn::answer::Answer;
use crate::protocol::connect::{ClientId, ClientMode};
use crate::protocol::frame::StateVersion;
use crate::protocol::scope::{Role, Scopes};
use crate::store::devices::Devices;
use crate::store::stores::Stores;
use auth::{Limiter, SharedAuth};
use peer::{HostNames, Peer};
use presence::Presence;
use registry::Registry;
use runs::RunRef;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
pub use world::{Installer, World, zones};
use ws_log::WsLog;

/// What the core asks of its driver.
pub enum Effect {
    /// A text frame for one connection.
    Send {
        conn: ConnId,
        text: String,
    },
    /// One text frame for many.
    Broadcast {
        to: Vec<ConnId>,
        text: String,
        drop_if_slow: bool,
    },
    /// The body of a HTTP request may be read.
    Admit {
        conn: ConnId,
        bytes_max: u64,
    },
    /// The whole answer to a HTTP request.
    Answer {
        conn: ConnId,
        answer: Answer,
    },
    /// The beginning of one that comes in pieces, a piece, and its end.
    Stream {
        conn: ConnId,
        head: Answer,
    },
    Piece {
        conn: ConnId,
        piece: Bytes,
    },
    EndStream {
        conn: ConnId,
    },
    /// Tell when all that was said to it is written.
    TellDrained {
        conn: ConnId,
    },
    /// Its answer cannot be finished: the connection ends in the middle of it.
    Cut {
        conn: ConnId,
    },
    /// Tell when a file below one of these folders changes, and forget those named before.
    WatchTree(Arc<[std::path::PathBuf]>),
    /// A WebSocket close.
    Close {
        conn: ConnId,
        code: u16,
        reason: String,
    },
    /// `connect` was accepted, or a request was the owner's: it is no longer among those that may be anybody.
    Authenticated {
        conn: ConnId,
    },
    /// Work that may block; what it returns comes back through [`Core::on_done`].
    Job(Job),
    /// As [`Effect::Job`], on the thread that writes state files, in the order given.
    Store(StoreJob),
    /// As [`Effect::Job`], on a thread of its own where the system gives one: it may take long.
    Thread(Job),
    /// A run on a thread of its own; what it does comes back through [`runs::on_event`] and [`runs::on_ended`].
    Run(Box<runs::Start>),
    /// For the accounts of chat networks; what they tell comes back through [`Core::on_channel`].
    Channel(crate::channels::Command),
    /// Tell when one of these files changes, and forget those named before.
    Watch(Vec<std::path::PathBuf>),
    /// All is said: end the process, or start over in it.
    End(End),
}

pub type Job = Box<dyn FnOnce() -> Done + Send>;
pub type StoreJob = Box<dyn FnOnce(&mut Stores) -> Done + Send>;
pub type Done = Box<dyn FnOnce(&mut Core, Now) + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Stop,
    Restart,
}

/// What the system asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Stop,
    Restart,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Tick,
    Health,
    Reload,
    Restart,
    /// A refusal that was held back to slow guessing.
    Refuse(ConnId),
    RunTooLong(RunRef),
    ChatDelta(RunRef),
    Words(RunRef),
    /// Somebody has waited long enough for a node.
    NodeInvoke,
    /// Somebody has waited long enough for an approval.
    Approval,
    /// Somebody has waited long enough for a run.
    RunWait,
    /// Somebody has waited long enough for a session to be free.
    SessionIdle,
    /// The gateway has waited long enough for its runs.
    Leave,
}

/// One connection that is a WebSocket.
pub struct Client {
    pub conn_id: String,
    errors: (u64, u32),
    phase: Phase,
    /// Told to close: nothing more is said to it, nor heard.
    closing: bool,
}

enum Phase {
    /// Has its challenge; the first request decides.
    Challenged {
        peer: Box<Peer>,
        nonce: String,
    },
    /// Its pairing is being written; what came behind `connect` waits.
    Pairing {
        waiting: Vec<Bytes>,
    },
    /// Refused; the refusal is held back.
    Held {
        refusal: Box<handshake::Refusal>,
    },
    Ready(Box<Ready>),
    /// Told to close.
    Closing,
}

/// A connection that has passed the handshake.
#[derive(Debug)]
pub struct Ready {
    pub protocol: u32,
    pub role: Role,
    pub scopes: Scopes,
    pub client_id: ClientId,
    pub display_name: Option<String>,
    pub mode: ClientMode,
    pub presence_key: Option<String>,
    /// It said `caps: ["tool-events"]`.
    pub sees_tools: bool,
    pub device_id: Option<String>,
    /// It knew the shared secret, and stays no longer than that is the secret.
    pub by_secret: bool,
    pub node: Option<Box<Node>>,
    /// By which its pages reach the canvas host.
    pub canvas: Option<Box<canvas::Surface>>,
}

/// What a connected node declared, and what of it counts.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub node_id: String,
    /// Its id is that of a key, and it is paired by that.
    pub has_device: bool,
    pub display_name: Option<String>,
    pub platform: String,
    pub version: String,
    pub device_family: Option<String>,
    pub model_identifier: Option<String>,
    pub remote_ip: Option<String>,
    /// Sorted, each once.
    pub declared_caps: Vec<String>,
    pub declared_commands: Vec<String>,
    /// Of those, what its pairing and its platform let it have.
    pub caps: Vec<String>,
    pub commands: Vec<String>,
    pub path_env: Option<String>,
    pub permissions: BTreeMap<String, bool>,
    pub connected_at_ms: i64,
}

impl Client {
    pub fn ready(&self) -> Option<&Ready> {
        match &self.phase {
            Phase::Ready(it) => Some(it),
            _ => None,
        }
    }
    fn ready_mut(&mut self) -> Option<&mut Ready> {
        match &mut self.phase {
            Phase::Ready(it) => Some(it),
            _ => None,
        }
    }
}

/// The state. See the module's invariants.
pub struct Core {
    pub world: Arc<World>,
    pub clock: Clock,
    pub auth: SharedAuth,
    pub host_names: HostNames,
    pub clients: BTreeMap<ConnId, Client>,
    pub presence: Presence,
    pub devices: Devices,
    device_changes: pairing::Changes,
    pub health: health::HealthCache,
    pub state_version: StateVersion,
    pub heartbeats_enabled: bool,
    pub wake_words: Vec<String>,
    /// Held a second time by the worker that has a text read aloud.
    reading_aloud: Arc<()>,
    system_events: system_events::SystemEvents,
    pub config_writes: methods::config::Writes,
    /// The set-up that a client is in the middle of.
    wizard: Option<Box<methods::wizard::Session>>,
    nodes: nodes::Nodes,
    approvals: approvals::Approvals,
    runs: runs::Runs,
    channels: channels::Channels,
    reload: reload::Reload,
    whois: tailscale::Whois,
    limiter: Limiter,
    /// Of guesses at the token of webhooks.
    hook_limiter: Limiter,
    old_signatures: device::OldSignatures,
    entropy: Entropy,
    registry: &'static Registry,
    event_seq: u64,
    ws_log: WsLog,
    ready: usize,
    /// HTTP requests that are being answered, and what happens when their client hangs up; one for each connection.
    exchanges: BTreeMap<ConnId, exchange::Then>,
    /// Of those, the ones that go on once all is written.
    drained: BTreeMap<ConnId, exchange::Then>,
    pub canvas: canvas::Canvas,
    /// Calls whose answer a worker is making.
    calls_at_work: usize,
    /// Answers that have a thread of their own.
    threads: usize,
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    effects: Vec<Effect>,
    /// It ends once no run is under way.
    leaving: Option<End>,
    ending: bool,
}

/// What the core starts with.
pub struct Start {
    pub world: Arc<World>,
    pub clock: Clock,
    pub auth: SharedAuth,
    pub devices: Devices,
    pub nodes: crate::store::nodes::Nodes,
    pub wake_words: Vec<String>,
    pub system_events: Vec<crate::store::system_events::SystemEvent>,
    pub entropy: Entropy,
    /// When this process last started over, on the monotonic clock.
    pub restarted_ms: Option<u64>,
    pub ws_log: WsLog,
}

impl Core {
    pub fn new(start: Start) -> Core {
        let gateway = &start.world.config.config.gateway;
        let names =
            HostNames::new(&start.world.host, &gateway.allowed_origins, gateway.custom_bind_host.as_deref());
        let whois = tailscale::Whois::new(gateway, start.auth.mode);
        let limiter = Limiter::new(&gateway.rate_limit);
        for it in gateway.trusted_proxies.iter().filter(|it| !peer::is_range(it)) {
            log::warn!(target: "config", "gateway.trustedProxies: {it:?} is no address and no range such as 10.0.0.0/8, and is trusted by nobody");
        }
        let mut core = Core {
            presence: Presence::new(start.world.presence()),
            canvas: canvas::Canvas::new(&start.world),
            host_names: names,
            world: start.world,
            clock: start.clock,
            auth: start.auth,
            clients: BTreeMap::new(),
            devices: start.devices,
            device_changes: pairing::Changes::default(),
            health: health::HealthCache::default(),
            state_version: StateVersion { presence: 1, health: 1 },
            heartbeats_enabled: true,
            wake_words: start.wake_words,
            reading_aloud: Arc::new(()),
            system_events: system_events::SystemEvents::new(start.system_events),
            config_writes: methods::config::Writes::default(),
            wizard: None,
            nodes: nodes::Nodes::new(start.nodes),
            approvals: approvals::Approvals::default(),
            runs: runs::Runs::default(),
            channels: channels::Channels::default(),
            reload: reload::Reload::new(start.restarted_ms),
            whois,
            limiter,
            hook_limiter: Limiter::of_hooks(),
            old_signatures: device::OldSignatures::default(),
            entropy: start.entropy,
            registry: methods::registry(),
            event_seq: 0,
            ws_log: start.ws_log,
            ready: 0,
            exchanges: BTreeMap::new(),
            drained: BTreeMap::new(),
            calls_at_work: 0,
            threads: 0,
            timers: BinaryHeap::new(),
            effects: vec![],
            leaving: None,
            ending: false,
        };
        // First, so that the first hello already has a snapshot.
        health::refresh(&mut core, start.clock.now());
        runs::recover::begin(&mut core);
        channels::load(&mut core);
        tailscale::expose(&mut core);
        core
    }

    /// What the driver must do now.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
    /// When [`Core::on_time`] is due, on the monotonic clock.
    pub fn next_due(&self) -> Option<u64> {
        self.timers.peek().map(|it| it.0.0)
    }
    pub fn is_ending(&self) -> bool {
        self.ending
    }

    // Inputs.

    pub fn on_opened(&mut self, conn: ConnId, peer: Peer, now: Now) {
        let nonce = ids::uuid(&mut self.entropy);
        let challenge = events::Challenge { nonce: nonce.clone(), ts: now.unix_ms };
        let phase = Phase::Challenged { peer: Box::new(peer), nonce };
        let conn_id = ids::uuid(&mut self.entropy);
        self.clients.insert(conn, Client { conn_id, errors: (now.mono_ms, 0), phase, closing: false });
        self.tell(conn, &events::CHALLENGE, &challenge);
    }

    pub fn on_message(&mut self, conn: ConnId, text: Bytes, now: Now) {
        let Some(client) = self.clients.get_mut(&conn).filter(|it| !it.closing) else { return };
        match &mut client.phase {
            Phase::Challenged { .. } => handshake::on_first(self, conn, &text, now),
            Phase::Pairing { waiting } => {
                if waiting.iter().map(|it| it.len()).sum::<usize>() + text.len() <= PREAUTH_FRAME_BYTES_MAX {
                    waiting.push(text);
                } else {
                    self.close(conn, 1008, "too much sent before hello-ok");
                }
            }
            Phase::Held { .. } | Phase::Closing => {}
            Phase::Ready(_) => self.on_request(conn, &text, now),
        }
        self.check();
    }

    pub fn on_gone(&mut self, conn: ConnId, now: Now) {
        self.drained.remove(&conn);
        if let Some(gone) = self.exchanges.remove(&conn) {
            gone(self, now);
        }
        let Some(client) = self.clients.remove(&conn) else { return };
        runs::wait::on_gone(self, conn);
        nodes::on_gone(self, conn, client.ready().and_then(|it| it.node.as_deref()), now);
        if let Phase::Ready(ready) = client.phase {
            self.ready -= 1;
            if self.ready == 0 {
                // Nobody is there to hear of it: the next client arms them again.
                self.disarm(|it| matches!(it, Timer::Tick | Timer::Health));
            }
            if let Some(key) = ready.presence_key {
                self.presence.disconnected(&key, now.unix_ms);
                self.announce_presence(now.unix_ms);
            }
        }
        self.check();
    }

    pub fn on_time(&mut self, now: Now) {
        while self.next_due().is_some_and(|it| it <= now.mono_ms) {
            let Some(Reverse((_, timer))) = self.timers.pop() else { break };
            match timer {
                Timer::Refuse(conn) => handshake::refuse_held(self, conn),
                Timer::Health => health::on_timer(self, now),
                Timer::Reload => reload::on_timer(self, now),
                Timer::Restart => reload::on_restart_timer(self, now),
                Timer::RunTooLong(run) => runs::on_timeout(self, run, now),
                Timer::ChatDelta(run) => runs::on_delta_due(self, run, now),
                Timer::Words(run) => runs::on_words_due(self, run, now),
                Timer::NodeInvoke => nodes::invoke::on_timer(self, now),
                Timer::Approval => approvals::on_timer(self, now),
                Timer::RunWait => runs::wait::on_timer(self, now),
                Timer::SessionIdle => runs::abort::check_idle(self, now),
                Timer::Leave => self.on_leave_timer(now),
                Timer::Tick => {
                    self.broadcast(&events::TICK, &events::Tick { ts: now.unix_ms });
                    self.arm(now.mono_ms + TICK_MS, Timer::Tick);
                }
            }
        }
        self.check();
    }

    pub fn on_done(&mut self, done: Done, now: Now) {
        done(self, now);
        self.check();
    }

    pub fn on_run_event(&mut self, run: RunRef, event: agent::run::Event, now: Now) {
        runs::on_event(self, run, event, now);
        self.check();
    }

    /// A run has a command for a node, and waits for what comes of it.
    pub fn on_node_command(&mut self, run: RunRef, command: agent::tools::NodeCommand, now: Now) {
        nodes::exec::on_asked(self, run, command, now);
        self.check();
    }

    /// A run wants something done on a chat network, and waits for what comes of it.
    pub fn on_post(&mut self, run: RunRef, post: agent::tools::message::Post, now: Now) {
        channels::posting::on_asked(self, run, post, now);
        self.check();
    }

    pub fn on_run_ended(&mut self, run: RunRef, end: agent::run::End, now: Now) {
        runs::on_ended(self, run, end, now);
        self.check();
    }

    pub fn on_channel(&mut self, event: crate::channels::Event, now: Now) {
        channels::on_event(self, event, now);
        self.check();
    }

    pub fn on_signal(&mut self, signal: Signal, now: Now) {
        match signal {
            Signal::Stop => self.leave(End::Stop, now),
            Signal::Restart if self.world.config.config.restart_allowed || self.reload.signal_allowed => {
                self.reload.signal_allowed = false;
                reload::restart_at(self, now.mono_ms, "SIGUSR1".into(), now);
                self.on_time(now);
            }
            Signal::Restart => {
                log::warn!(target: "gateway", "SIGUSR1 ignored: a restart by signal needs commands.restart=true in the configuration, or a configuration write before it");
            }
        }
    }

    fn arm(&mut self, due_ms: u64, timer: Timer) {
        self.timers.push(Reverse((due_ms, timer)));
    }
    /// For ids that a method makes.
    pub fn entropy(&mut self) -> &mut Entropy {
        &mut self.entropy
    }
    /// As [`Core::arm`], for a timer that stands for many deadlines: one of its kind that is due before is enough.
    fn arm_by(&mut self, due_ms: u64, timer: Timer) {
        if !self.timers.iter().any(|it| it.0.1 == timer && it.0.0 <= due_ms) {
            self.arm(due_ms, timer);
        }
    }
    /// Nothing wakes for what is over.
    fn disarm(&mut self, over: impl Fn(&Timer) -> bool) {
        self.timers.retain(|it| !over(&it.0.1));
    }

    /// The first client starts the clocks that only clients need.
    fn became_ready(&mut self, now: Now) {
        self.ready += 1;
        let armed = |core: &Core, timer: &Timer| core.timers.iter().any(|it| it.0.1 == *timer);
        if !armed(self, &Timer::Tick) {
            self.arm(now.mono_ms + TICK_MS, Timer::Tick);
        }
        if !armed(self, &Timer::Health) {
            self.arm(now.mono_ms + HEALTH_REFRESH_MS, Timer::Health);
        }
    }

    /// The restart that a client asked for is done: the session hears of it.
    pub fn on_sentinel(&mut self, sentinel: &Value) {
        let note = sentinel["message"].as_str().unwrap_or("done");
        let reason = sentinel["stats"]["mode"].as_str().unwrap_or("restart");
        log::info!(target: "gateway", "back after {reason}: {note}");
        let keep =
            self.queue_system_event(&format!("Gateway restarted after {reason}: {note}"), self.clock.now());
        self.keep_in_the_background(keep);
    }

    /// Asks a worker.
    pub fn job<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Core, T, Now) + Send + 'static,
    ) {
        self.effects.push(Effect::Job(Box::new(move || {
            let result = work();
            Box::new(move |core, now| then(core, result, now))
        })));
    }
    /// Asks the thread that writes state files.
    pub fn store<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Stores) -> T + Send + 'static,
        then: impl FnOnce(&mut Core, T, Now) + Send + 'static,
    ) {
        self.effects.push(Effect::Store(Box::new(move |stores| {
            let result = work(stores);
            Box::new(move |core, now| then(core, result, now))
        })));
    }

    fn check(&self) {
        debug_assert_eq!(self.ready, self.clients.values().filter(|it| it.ready().is_some()).count());
    }
}

#[cfg(test)]
mod tests;
