//! The threads: who runs where, and how they hand over.
//!
//! ```text
//! main = net (mio) ──Vec<Input>──► core ──jobs──► job-0, job-1, store
//!        ▲   ▲ signals             │  ▲              │
//!        │   └─ Bell ◄─Vec<Output>─┘  └──── Done ◄───┘             log
//! ```
//!
//! * net never blocks; core blocks only on its inbox and, when net is behind, on net.
//! * The only module that names mio's `Poll`.
pub mod certificate;
mod core_thread;
pub mod listen;
mod net;
pub mod port;
mod tls;
mod tree;
mod watch;

use crate::agent;
use crate::agent::run::Event;
use crate::agent::tools::NodeCommand;
use crate::agent::tools::message::Post;
use crate::base::clock::Clock;
use crate::base::ids::{self, ConnId};
use crate::base::limits::*;
use crate::base::mailbox::{Bell, mailbox};
use crate::base::sys::SignalFd;
use crate::channels;
use crate::conn::answer::Answer;
use crate::conn::head::Head;
use crate::conn::{Bytes, Request};
use crate::gateway::auth::SharedAuth;
use crate::gateway::methods::voicewake;
use crate::gateway::peer::{Door, Way};
use crate::gateway::runs::RunRef;
use crate::gateway::tailscale;
use crate::gateway::ws_log::WsLog;
use crate::gateway::{Core, Done, End, Signal, Start, World, reload};
use crate::service::notify::Notify;
use crate::store;
use crate::store::devices::Devices;
use crate::store::nodes::Nodes;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// From net, and from the workers, to core.
enum Input {
    Opened(ConnId, Way, Box<Head>),
    Message(ConnId, Bytes),
    Gone(ConnId),
    /// A request with a body, which may be refused before it is read.
    Head(ConnId, Way, Arc<Head>),
    Request(ConnId, Way, Request),
    /// All that was to be written is.
    Drained(ConnId),
    /// A file below a watched folder changed.
    CanvasTouched,
    Signal(Signal),
    ConfigTouched,
    /// The supervisor wants to know whether we live.
    Pulse,
    Done(Done),
    Run(RunRef, Event),
    /// A run has a command for a node.
    ForNode(RunRef, NodeCommand),
    Post(RunRef, Post),
    RunEnded(RunRef, agent::run::End),
    Channel(channels::Event),
}

/// From core to net.
enum Output {
    Send(ConnId, String),
    Broadcast {
        to: Vec<ConnId>,
        text: String,
        drop_if_slow: bool,
    },
    Close(ConnId, u16, String),
    Authenticated(ConnId),
    Admit(ConnId, u64),
    Answer(ConnId, Answer),
    Stream(ConnId, Answer),
    Piece(ConnId, Bytes),
    EndStream(ConnId),
    TellDrained(ConnId),
    Cut(ConnId),
    Watch(Vec<std::path::PathBuf>),
    /// The core lives.
    Pulse,
    End(End),
}

/// What [`run`] needs.
pub struct Options {
    pub world: World,
    pub auth: SharedAuth,
    pub listeners: Vec<std::net::TcpListener>,
    /// The canvas host's own port; none when it has none.
    pub canvas: Vec<std::net::TcpListener>,
    /// Every listener speaks TLS with it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub clock: Clock,
    /// When this process last started over, on the clock.
    pub restarted_ms: Option<u64>,
    pub ws_log: WsLog,
    /// The supervisor's ear.
    pub notify: Arc<Notify>,
}

/// Why the gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    State(String),
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// What one life leaves to the next.
pub struct Ended {
    pub end: End,
    /// The signal that stopped it.
    pub signal: Option<i32>,
    /// As it was last in force.
    pub world: Arc<World>,
    /// They listened all the time; none after [`End::Stop`].
    pub listeners: Vec<std::net::TcpListener>,
}

/// Runs until it is told to stop or to start over.
///
/// # Errors
/// A state file that cannot be trusted, or a refusal of the system.
pub fn run(options: Options, signals: &SignalFd) -> Result<Ended, RunError> {
    // What this life shows is hidden at its end, whatever is configured by then.
    let (begun, env) = (options.world.config.clone(), options.world.env.clone());
    let state = &options.world.paths.state;
    let devices = Devices::load(&store::devices::dir(state)).map_err(RunError::State)?;
    let nodes = Nodes::load(&store::nodes::dir(state)).map_err(RunError::State)?;
    let wake_words = store::settings::wake_words(state).unwrap_or_else(|err| {
        log::warn!(target: "gateway", "{err}; using the default wake words");
        None
    });
    let system_events = store::system_events::load(state, options.clock.now().unix_ms);
    let mut watch = watch::Watch::new()?;
    watch.set(&options.world.config.sources(&options.world.paths));
    // It was read before it was watched.
    let missed =
        options.world.problem.is_none() && !options.world.config.source.is_current(&options.world.paths);
    let sentinel = store::sentinel::take(state);
    let mut core = Core::new(Start {
        world: Arc::new(options.world),
        clock: options.clock,
        auth: options.auth,
        devices,
        nodes,
        wake_words: voicewake::clean(&wake_words.unwrap_or_default()),
        system_events,
        entropy: ids::os_entropy(),
        restarted_ms: options.restarted_ms,
        ws_log: options.ws_log,
    });
    if let Some(it) = sentinel {
        core.on_sentinel(&it);
    }
    if missed {
        reload::touched(&mut core, options.clock.now());
    }
    let poll = mio::Poll::new()?;
    let bell = Bell::new(mio::Waker::new(poll.registry(), net::WAKER)?);
    let (to_net, from_core) = mailbox::<Vec<Output>>(&bell, MAILBOX_BATCHES_MAX);
    let (to_core, from_net) = crossbeam_channel::bounded(MAILBOX_BATCHES_MAX);
    let starved = Arc::new(AtomicBool::new(false));
    let thread = core_thread::start(core, options.clock, from_net, to_core.clone(), to_net, starved.clone())?;
    let link = net::Link { to_core, from_core, bell, starved, notify: options.notify };
    let gateway = options.listeners.into_iter().map(|it| (it, Door::Gateway));
    let doors = gateway.chain(options.canvas.into_iter().map(|it| (it, Door::Canvas))).collect();
    let (end, signal, listeners) =
        net::Net::new(poll, doors, options.tls, signals, watch, link, options.clock)?.run()?;
    // The core has said End, or its channel is gone: either way it returns.
    let Ok(world) = thread.join() else {
        return Err(RunError::State("the core thread panicked; see the log".into()));
    };
    tailscale::hide(&begun.config, &env, options.clock);
    Ok(Ended { end, signal, world, listeners })
}
