//! `node run`: this machine works for a gateway elsewhere: its programs can be found and run.
//!
//! ```text
//! connect ─► serve ── connection lost, silence ─► wait (1 s, doubling to 30 s) ─► connect …
//!              │  ▲                                            SIGTERM, SIGINT: commands are stopped, goodbye
//!   invoke ────┘  └──── bell: a worker has a result
//! ```
//!
//! * One thread has the connection and answers what takes no time; commands have workers.
//! * A result belongs to the connection over which it was asked for: over another nobody waits for it.
//! * A call that comes again with its idempotency key is the same call: it is not run twice.
mod host;
mod once;
mod policy;
mod run;
mod settings;

use super::target::{self, Link, Source, Target};
use super::{Context, fail, tls};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::base::sys::{self, SignalFd};
use crate::config::Mode;
use argh::FromArgs;
use host::Host;
use run::Machine;
use settings::{Flags, Settings};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Mutex;

/// this machine as a node of a gateway
#[derive(FromArgs)]
#[argh(subcommand, name = "node", help_triggers("-h", "--help", "help"))]
pub struct Node {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(Run),
}

/// serve a gateway in the foreground: it may find programs here, and run those that exec-approvals.json allows
#[derive(FromArgs)]
#[argh(subcommand, name = "run", help_triggers("-h", "--help", "help"))]
struct Run {
    /// the gateway's host (default: the last one, else 127.0.0.1)
    #[argh(option, arg_name = "host")]
    host: Option<String>,
    /// the gateway's port (default: the last one, else 18789)
    #[argh(option, arg_name = "port")]
    port: Option<u16>,
    /// over TLS
    #[argh(switch)]
    tls: bool,
    /// the SHA-256 fingerprint that the gateway's certificate must have; means --tls
    #[argh(option, arg_name = "sha256")]
    tls_fingerprint: Option<String>,
    /// what this node is called (default: the machine's name)
    #[argh(option, arg_name = "name")]
    display_name: Option<String>,
    /// id of this installation, for lists
    #[argh(option, arg_name = "id")]
    node_id: Option<String>,
    /// the gateway's token; better in OPENCLAW_GATEWAY_TOKEN, where other users of this machine do not see it
    #[argh(option, arg_name = "token")]
    token: Option<String>,
    /// the gateway's password; better in OPENCLAW_GATEWAY_PASSWORD
    #[argh(option, arg_name = "password")]
    password: Option<String>,
}

impl Node {
    pub fn run(&self, context: &Context) -> ExitCode {
        let Command::Run(it) = &self.command;
        match it.prepare(context) {
            Ok(host) => host.run(),
            Err(text) => fail(&text, 1),
        }
    }
}

impl Run {
    fn prepare(&self, context: &Context) -> Result<Host, String> {
        // Before any thread starts: they inherit which signals are blocked.
        let signals = SignalFd::open().map_err(|err| format!("cannot listen for signals: {err}"))?;
        let config = context.config();
        let clock = Clock::start();
        let flags = Flags {
            node_id: self.node_id.as_deref(),
            display_name: self.display_name.as_deref(),
            host: self.host.as_deref(),
            port: self.port,
            tls: self.tls,
            tls_fingerprint: self.tls_fingerprint.as_deref(),
        };
        if let Some(text) = flags.tls_fingerprint {
            tls::fingerprint(text)?;
        }
        let port = context.paths.port(None, &context.env, config.config.gateway.port);
        let settings = settings::settle(&context.paths.state, &flags, ("127.0.0.1", port), &sys::uname().0)?;
        let target = self.target(context, &config.config, &settings)?;
        let machine = Machine {
            env: context.env.clone(),
            state: context.paths.state.clone(),
            home: context.paths.home.clone(),
            cwd: std::env::current_dir().unwrap_or_else(|_| context.paths.home.clone()),
            config: config.resolved,
            clock,
            cancel: Cancel::new(),
            file: Mutex::new(()),
        };
        Host::new(context.clone(), signals, settings, target, machine)
    }

    /// Secrets: flags, else the environment, else those of the configuration for a gateway elsewhere, else this machine's own for itself.
    fn target(
        &self,
        context: &Context,
        config: &crate::config::Config,
        settings: &Settings,
    ) -> Result<Target, String> {
        let given = |it: Option<&str>| it.filter(|it| !it.is_empty()).map(|it| Secret::new(it.to_owned()));
        let flags = (given(self.token.as_deref()), given(self.password.as_deref()));
        let env =
            (given(context.env.openclaw("GATEWAY_TOKEN")), given(context.env.openclaw("GATEWAY_PASSWORD")));
        let gateway = &config.gateway;
        let (host, port) = (&settings.host, settings.port);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        let stored = match (gateway.mode, is_here) {
            (Some(Mode::Remote), _) => (gateway.remote_token.clone(), gateway.remote_password.clone()),
            (_, true) => (gateway.token.clone(), gateway.password.clone()),
            // What guards this machine's own gateway is not sent elsewhere.
            (_, false) => (None, None),
        };
        let is_some = |it: &(Option<Secret>, Option<Secret>)| it.0.is_some() || it.1.is_some();
        let (token, password) = [flags, env, stored].into_iter().find(is_some).unwrap_or_default();
        // This machine's own gateway may be sealed without a word of ours.
        let scheme = if settings.tls || is_here && gateway.tls.enabled { "wss" } else { "ws" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let link = Link { fingerprint: settings.tls_fingerprint.clone(), ..Link::default() };
        let trust = target::trust(&link, gateway.remote_fingerprint.as_deref(), config, context)?;
        // A token that the gateway gave this device goes before the shared one, and is dropped when it is refused.
        let url = format!("{scheme}://{host}:{port}");
        Ok(Target { url, source: Source::Flag, token, password, explicit: false, trust })
    }
}
