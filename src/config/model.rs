//! The typed form of every key that gatewayd acts on. All others are left alone.
use super::Issue;
use super::endpoints::{Endpoints, endpoints};
use super::hooks::{Hooks, hooks};
use super::mentions::{Mentions, mentions};
use super::reader::{Node, Reader};
use super::session::{Binding, Session, bindings, session};
use super::speech::{Speech, speech};
use crate::base::limits::{AUTH_ATTEMPTS_MAX, AUTH_LOCKOUT_MS, AUTH_WINDOW_MS};
use crate::base::secret::Secret;
use log::LevelFilter;
use serde_json::Value;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Config {
    pub gateway: Gateway,
    pub logging: Logging,
    pub agents: Agents,
    pub models: Vec<Model>,
    pub session: Session,
    pub queue: Queue,
    pub speech: Speech,
    /// In the file's order.
    pub bindings: Vec<Binding>,
    pub cron: Cron,
    pub canvas: Canvas,
    pub assistant: Identity,
    /// `commands.restart`: SIGUSR1 by hand is allowed, and `/restart`.
    pub restart_allowed: bool,
    pub commands: Commands,
    pub mentions: Arc<Mentions>,
    /// `messages.ackReaction`: what a message is acknowledged with; empty for nothing.
    pub ack_reaction: Option<String>,
    /// None: they are off.
    pub hooks: Option<Hooks>,
}

/// `canvasHost`: the pages that an agent makes for its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Canvas {
    pub disabled: bool,
    /// As written.
    pub root: Option<String>,
    pub port: Option<u16>,
    /// `liveReload` is false: pages are served as they are, and nothing is watched.
    pub still: bool,
}

/// `commands`: what is typed in a chat behind a slash.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// `useAccessGroups` is false: whoever may write may command.
    pub for_all: bool,
    /// `ownerAllowFrom`: `123`, `telegram:123` or `*`, lower case.
    pub owners: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Gateway {
    pub mode: Option<Mode>,
    pub port: Option<u16>,
    pub bind: Bind,
    pub custom_bind_host: Option<String>,
    pub auth_mode: Option<AuthMode>,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub trusted_proxies: Vec<String>,
    pub rate_limit: RateLimit,
    /// Lower case.
    pub allowed_origins: Vec<String>,
    /// The Control UI may connect without a device identity.
    pub insecure_control_ui: bool,
    /// `gateway.remote`: what the command line connects to when `mode` is remote.
    pub remote_url: Option<String>,
    pub remote_token: Option<Secret>,
    pub remote_password: Option<Secret>,
    /// The SHA-256 fingerprint that its certificate must have.
    pub remote_fingerprint: Option<String>,
    pub tls: Tls,
    pub tailscale: Tailscale,
    /// `gateway.auth.allowTailscale`; what it is when not set depends on the mode and on what else is required.
    pub allow_tailscale: Option<bool>,
    pub reload: Reload,
    /// `gateway.nodes.allowCommands`, and `denyCommands`, which wins.
    pub node_commands: NodeCommands,
    /// `gateway.tools`: which of the agent's tools may be called over HTTP.
    pub tools: HttpTools,
    /// `gateway.config.redact`: secrets are masked for everybody, protocol 3's admins too.
    pub redact: bool,
    pub endpoints: Endpoints,
}

/// `gateway.tls`. Paths as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub enabled: bool,
    /// Make a certificate when there is none. Reference: yes.
    pub auto_generate: bool,
    pub cert_path: Option<String>,
    pub key_path: Option<String>,
    /// Roots of a private authority, for the command line of this machine.
    pub ca_path: Option<String>,
}

/// `gateway.tailscale`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tailscale {
    pub mode: TailscaleMode,
    pub reset_on_exit: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TailscaleMode {
    #[default]
    Off,
    /// Reached by the tailnet.
    Serve,
    /// Reached by everybody.
    Funnel,
}

/// `gateway.auth.rateLimit`.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Wrong secrets in a window before the lock-out; 0: there is none.
    pub attempts: u32,
    pub window_ms: u64,
    pub lockout_ms: u64,
    /// Programs on this machine are slowed only.
    pub exempt_loopback: bool,
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        RateLimit {
            attempts: AUTH_ATTEMPTS_MAX,
            window_ms: AUTH_WINDOW_MS,
            lockout_ms: AUTH_LOCKOUT_MS,
            exempt_loopback: true,
        }
    }
}

/// `gateway.tools`, as written.
#[derive(Debug, Default)]
pub struct HttpTools {
    /// Of those that are off by default.
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

/// Commands of nodes, besides those that their platform may have.
#[derive(Debug, Default)]
pub struct NodeCommands {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

/// `gateway.reload`.
#[derive(Debug)]
pub struct Reload {
    pub mode: ReloadMode,
    pub debounce_ms: u64,
}

impl Default for Reload {
    /// Reference: hybrid, 300 ms.
    fn default() -> Reload {
        Reload { mode: ReloadMode::Hybrid, debounce_ms: 300 }
    }
}

/// What a change of the file may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadMode {
    /// Nothing.
    Off,
    /// Always a restart.
    Restart,
    /// Never a restart: what would need one waits.
    Hot,
    /// As the change needs.
    Hybrid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Local,
    Remote,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bind {
    #[default]
    Loopback,
    Auto,
    Lan,
    Tailnet,
    Custom,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    Token,
    Password,
}

#[derive(Debug, Default)]
pub struct Logging {
    pub level: Option<LevelFilter>,
    pub console_level: Option<LevelFilter>,
    pub file: Option<String>,
}

#[derive(Debug, Default)]
pub struct Agents {
    pub list: Vec<Agent>,
    pub workspace: Option<String>,
    pub model: Option<String>,
    pub context_tokens: Option<u64>,
    pub heartbeat: Heartbeat,
    /// Runs at a time, in all.
    pub max_concurrent: usize,
    /// Of one run.
    pub timeout_ms: u64,
    /// A word of the protocol.
    pub thinking_default: Option<String>,
    /// See [`Agents::thinking_default`].
    pub verbose_default: Option<String>,
    /// `compaction.reserveTokensFloor`.
    pub reserve_tokens: Option<u64>,
    /// Of one workspace file in the prompt, in characters.
    pub bootstrap_max_chars: Option<u64>,
    pub times: Times,
}

/// `messages.queue`: what becomes of a message to a session that is at work.
#[derive(Debug, Default)]
pub struct Queue {
    pub mode: QueueMode,
    pub by_channel: Vec<(String, QueueMode)>,
    /// Messages that wait in one session.
    pub cap: usize,
    /// Beyond that the oldest one goes; else the new one is refused.
    pub drop_old: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueMode {
    /// It is answered behind the others. `collect` means the same for messages that each have an answer of their own.
    #[default]
    Followup,
    /// It is told to the model that is at work; `queue` and `steer-backlog` mean this too.
    Steer,
    /// What is at work ends, and it is answered.
    Interrupt,
}

/// The words for [`QueueMode`] in files and in `/queue`.
pub const QUEUE_MODES: &[(&str, QueueMode)] = &[
    ("followup", QueueMode::Followup),
    ("collect", QueueMode::Followup),
    ("steer", QueueMode::Steer),
    ("queue", QueueMode::Steer),
    ("steer-backlog", QueueMode::Steer),
    ("steer+backlog", QueueMode::Steer),
    ("interrupt", QueueMode::Interrupt),
];

impl QueueMode {
    pub fn of_word(word: &str) -> Option<QueueMode> {
        QUEUE_MODES.iter().find(|it| it.0 == word).map(|it| it.1)
    }
    /// The first of the words for it.
    pub fn word(self) -> &'static str {
        QUEUE_MODES.iter().find(|it| it.1 == self).map_or("", |it| it.0)
    }
}

impl Queue {
    pub fn mode_of(&self, channel: Option<&str>) -> QueueMode {
        let own = self.by_channel.iter().find(|it| Some(it.0.as_str()) == channel);
        own.map_or(self.mode, |it| it.1)
    }
}

/// How times are told to a model: `agents.defaults.userTimezone` and `envelope*`.
#[derive(Debug, Clone)]
pub struct Times {
    pub user_timezone: Option<String>,
    /// `utc`, `local`, `user`, or a name.
    pub envelope_timezone: Option<String>,
    pub envelope_timestamp: bool,
    pub envelope_elapsed: bool,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            user_timezone: None,
            envelope_timezone: None,
            envelope_timestamp: true,
            envelope_elapsed: true,
        }
    }
}

#[derive(Debug, Default, Clone)]
pub struct Agent {
    pub id: String,
    pub is_default: bool,
    pub name: Option<String>,
    pub workspace: Option<String>,
    pub identity: Identity,
    /// Its own heartbeat; when any agent has one, only those beat.
    pub heartbeat: Option<Heartbeat>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: Option<String>,
    pub theme: Option<String>,
    pub emoji: Option<String>,
    pub avatar: Option<String>,
}

#[derive(Debug, Default, Clone)]
pub struct Heartbeat {
    pub every: Option<String>,
    pub target: Option<String>,
    pub prompt: Option<String>,
    pub ack_max_chars: Option<u64>,
    pub model: Option<String>,
}

/// A model of a configured provider, as `models.list` shows it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Model {
    pub id: String,
    pub name: String,
    pub provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Cron {
    pub disabled: bool,
    pub store: Option<String>,
}

/// `any` but no number fits `u32`.
const COUNT_MAX: u64 = u32::MAX as u64;

const ON_OFF: &[(&str, bool)] = &[("on", true), ("off", false)];

const LEVELS: &[(&str, LevelFilter)] = &[
    ("silent", LevelFilter::Off),
    ("fatal", LevelFilter::Error),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

pub(super) fn read(root: &Value, issues: &mut Vec<Issue>) -> Config {
    let (root, r) = (Node::root(root), &mut Reader { issues });
    let agents = agents(&root.at("agents"), r);
    Config {
        gateway: gateway(&root.at("gateway"), r),
        logging: Logging {
            level: r.word(root.at("logging.level"), LEVELS),
            console_level: r.word(root.at("logging.consoleLevel"), LEVELS),
            file: r.string(root.at("logging.file")),
        },
        bindings: bindings(&root.at("bindings"), &agents, r),
        agents,
        models: models(&root.at("models.providers"), r),
        session: session(&root.at("session"), r),
        queue: queue(&root.at("messages.queue"), r),
        speech: speech(&root.at("messages.tts"), r),
        hooks: hooks(&root.at("hooks"), r),
        cron: Cron {
            disabled: !r.boolean(root.at("cron.enabled")).unwrap_or(true),
            store: r.string(root.at("cron.store")),
        },
        canvas: Canvas {
            disabled: !r.boolean(root.at("canvasHost.enabled")).unwrap_or(true),
            root: r.string(root.at("canvasHost.root")),
            port: r.port(root.at("canvasHost.port")),
            still: !r.boolean(root.at("canvasHost.liveReload")).unwrap_or(true),
        },
        assistant: Identity {
            name: r.string(root.at("ui.assistant.name")),
            avatar: r.string(root.at("ui.assistant.avatar")),
            ..Identity::default()
        },
        mentions: Arc::new(mentions(&root, r)),
        ack_reaction: r.string(root.at("messages.ackReaction")).map(|it| it.trim().to_owned()),
        restart_allowed: r.boolean(root.at("commands.restart")).unwrap_or(false),
        commands: Commands {
            for_all: !r.boolean(root.at("commands.useAccessGroups")).unwrap_or(true),
            owners: r
                .names(root.at("commands.ownerAllowFrom"))
                .iter()
                .map(|it| it.trim().to_lowercase())
                .collect(),
        },
    }
}

fn gateway(at: &Node, r: &mut Reader) -> Gateway {
    let bind = &[
        ("loopback", Bind::Loopback),
        ("auto", Bind::Auto),
        ("lan", Bind::Lan),
        ("tailnet", Bind::Tailnet),
        ("custom", Bind::Custom),
    ];
    let secret = |text: Option<String>| text.filter(|it| !it.trim().is_empty()).map(Secret::new);
    Gateway {
        mode: r.word(at.at("mode"), &[("local", Mode::Local), ("remote", Mode::Remote)]),
        port: r.port(at.at("port")),
        bind: r.word(at.at("bind"), bind).unwrap_or_default(),
        custom_bind_host: r.string(at.at("customBindHost")),
        auth_mode: r
            .word(at.at("auth.mode"), &[("token", AuthMode::Token), ("password", AuthMode::Password)]),
        token: secret(r.string(at.at("auth.token"))),
        password: secret(r.string(at.at("auth.password"))),
        trusted_proxies: r.strings(at.at("trustedProxies")),
        rate_limit: rate_limit(&at.at("auth.rateLimit"), r),
        allowed_origins: r
            .strings(at.at("controlUi.allowedOrigins"))
            .iter()
            .map(|it| it.trim().to_lowercase())
            .collect(),
        insecure_control_ui: r.boolean(at.at("controlUi.allowInsecureAuth")).unwrap_or(false)
            | r.boolean(at.at("controlUi.dangerouslyDisableDeviceAuth")).unwrap_or(false),
        remote_url: r.string(at.at("remote.url")),
        remote_token: secret(r.string(at.at("remote.token"))),
        remote_password: secret(r.string(at.at("remote.password"))),
        remote_fingerprint: r.string(at.at("remote.tlsFingerprint")).filter(|it| !it.trim().is_empty()),
        tls: tls(&at.at("tls"), r),
        tailscale: tailscale(&at.at("tailscale"), r),
        allow_tailscale: r.boolean(at.at("auth.allowTailscale")),
        reload: reload(&at.at("reload"), r),
        node_commands: NodeCommands {
            allow: r.strings(at.at("nodes.allowCommands")),
            deny: r.strings(at.at("nodes.denyCommands")),
        },
        tools: HttpTools { allow: r.strings(at.at("tools.allow")), deny: r.strings(at.at("tools.deny")) },
        redact: r.boolean(at.at("config.redact")).unwrap_or(false),
        endpoints: endpoints(&at.at("http.endpoints"), r),
    }
}

fn tls(at: &Node, r: &mut Reader) -> Tls {
    let mut path = |name: &str| r.string(at.at(name)).filter(|it| !it.trim().is_empty());
    let (cert_path, key_path, ca_path) = (path("certPath"), path("keyPath"), path("caPath"));
    Tls {
        enabled: r.boolean(at.at("enabled")).unwrap_or(false),
        auto_generate: r.boolean(at.at("autoGenerate")).unwrap_or(true),
        cert_path,
        key_path,
        ca_path,
    }
}

fn tailscale(at: &Node, r: &mut Reader) -> Tailscale {
    let modes =
        &[("off", TailscaleMode::Off), ("serve", TailscaleMode::Serve), ("funnel", TailscaleMode::Funnel)];
    Tailscale {
        mode: r.word(at.at("mode"), modes).unwrap_or_default(),
        reset_on_exit: r.boolean(at.at("resetOnExit")).unwrap_or(false),
    }
}

fn rate_limit(at: &Node, r: &mut Reader) -> RateLimit {
    let usual = RateLimit::default();
    let attempts = r.integer(at.at("maxAttempts"), 0, u32::MAX.into()).and_then(|it| it.try_into().ok());
    RateLimit {
        attempts: attempts.unwrap_or(usual.attempts),
        window_ms: r.integer(at.at("windowMs"), 0, MAX_MS).unwrap_or(usual.window_ms),
        lockout_ms: r.integer(at.at("lockoutMs"), 0, MAX_MS).unwrap_or(usual.lockout_ms),
        exempt_loopback: r.boolean(at.at("exemptLoopback")).unwrap_or(usual.exempt_loopback),
    }
}

/// What a number of JSON holds exactly.
const MAX_MS: u64 = (1 << 53) - 1;

fn reload(at: &Node, r: &mut Reader) -> Reload {
    let modes = &[
        ("off", ReloadMode::Off),
        ("restart", ReloadMode::Restart),
        ("hot", ReloadMode::Hot),
        ("hybrid", ReloadMode::Hybrid),
    ];
    let default = Reload::default();
    Reload {
        mode: r.word(at.at("mode"), modes).unwrap_or(default.mode),
        debounce_ms: r.integer(at.at("debounceMs"), 0, COUNT_MAX).unwrap_or(default.debounce_ms),
    }
}

/// Reference: 20.
const QUEUE_CAP_DEFAULT: u64 = 20;

fn queue(at: &Node, r: &mut Reader) -> Queue {
    let modes = QUEUE_MODES;
    let by_channel = at.at("byChannel").entries().into_iter();
    Queue {
        by_channel: by_channel.filter_map(|(name, it)| Some((name.to_owned(), r.word(it, modes)?))).collect(),
        mode: r.word(at.at("mode"), modes).unwrap_or_default(),
        cap: r.integer(at.at("cap"), 1, COUNT_MAX).unwrap_or(QUEUE_CAP_DEFAULT) as usize,
        drop_old: r
            .word(at.at("drop"), &[("old", true), ("new", false), ("summarize", false)])
            .unwrap_or(false),
    }
}

/// Reference: 4.
const MAX_CONCURRENT_DEFAULT: u64 = 4;
/// Reference: 10 minutes.
const TIMEOUT_S_DEFAULT: u64 = 600;

fn heartbeat(at: &Node, r: &mut Reader) -> Heartbeat {
    Heartbeat {
        every: r.string(at.at("every")),
        target: r.string(at.at("target")),
        prompt: r.string(at.at("prompt")),
        ack_max_chars: r.integer(at.at("ackMaxChars"), 0, COUNT_MAX),
        model: r.string(at.at("model")),
    }
}

fn agents(at: &Node, r: &mut Reader) -> Agents {
    let list = at.at("list").items().into_iter().filter_map(|it| {
        let identity = it.at("identity");
        Some(Agent {
            id: normal_id(&r.string(it.at("id"))?),
            is_default: r.boolean(it.at("default")).unwrap_or(false),
            name: r.string(it.at("name")),
            workspace: r.string(it.at("workspace")),
            identity: Identity {
                name: r.string(identity.at("name")),
                theme: r.string(identity.at("theme")),
                emoji: r.string(identity.at("emoji")),
                avatar: r.string(identity.at("avatar")),
            },
            heartbeat: (!it.at("heartbeat").entries().is_empty()).then(|| heartbeat(&it.at("heartbeat"), r)),
        })
    });
    let list = list.collect();
    Agents {
        list,
        workspace: r.string(at.at("defaults.workspace")),
        model: r.string(at.at("defaults.model.primary")),
        context_tokens: r.integer(at.at("defaults.contextTokens"), 1, COUNT_MAX),
        heartbeat: heartbeat(&at.at("defaults.heartbeat"), r),
        max_concurrent: r
            .integer(at.at("defaults.maxConcurrent"), 1, COUNT_MAX)
            .unwrap_or(MAX_CONCURRENT_DEFAULT) as usize,
        timeout_ms: r.integer(at.at("defaults.timeoutSeconds"), 1, COUNT_MAX).unwrap_or(TIMEOUT_S_DEFAULT)
            * 1000,
        thinking_default: r.string(at.at("defaults.thinkingDefault")),
        verbose_default: r.string(at.at("defaults.verboseDefault")),
        reserve_tokens: r.integer(at.at("defaults.compaction.reserveTokensFloor"), 0, COUNT_MAX),
        bootstrap_max_chars: r.integer(at.at("defaults.bootstrapMaxChars"), 1, COUNT_MAX),
        times: Times {
            user_timezone: r.string(at.at("defaults.userTimezone")),
            envelope_timezone: r.string(at.at("defaults.envelopeTimezone")),
            envelope_timestamp: r.word(at.at("defaults.envelopeTimestamp"), ON_OFF).unwrap_or(true),
            envelope_elapsed: r.word(at.at("defaults.envelopeElapsed"), ON_OFF).unwrap_or(true),
        },
    }
}

fn models(at: &Node, r: &mut Reader) -> Vec<Model> {
    let mut out = vec![];
    for (provider, node) in at.entries() {
        for it in node.at("models").items() {
            let Some(id) = r.string(it.at("id")) else { continue };
            out.push(Model {
                name: r.string(it.at("name")).unwrap_or_else(|| id.clone()),
                id,
                provider: provider.to_owned(),
                context_window: r.integer(it.at("contextWindow"), 1, COUNT_MAX),
                reasoning: r.boolean(it.at("reasoning")),
                input: r.strings(it.at("input")),
            });
        }
    }
    out.sort_by(|a, b| (&a.provider, &a.name).cmp(&(&b.provider, &b.name)));
    out
}

/// An agent id as it stands in keys and paths: lower case, only letters, digits, `-` and `_`, at most 64; `main` when nothing is left.
pub fn normal_id(text: &str) -> String {
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c.to_ascii_lowercase() } else { '-' }
    };
    let id: String = text.trim().chars().map(clean).take(64).collect();
    let id = id.trim_matches('-');
    if id.is_empty() { "main".to_owned() } else { id.to_owned() }
}

impl Agents {
    /// The agent that answers when nobody is named.
    pub fn default_id(&self) -> &str {
        let chosen = self.list.iter().find(|it| it.is_default).or(self.list.first());
        chosen.map_or("main", |it| it.id.as_str())
    }
    pub fn get(&self, id: &str) -> Option<&Agent> {
        self.list.iter().find(|it| it.id == id)
    }
}
