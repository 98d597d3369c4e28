//! `gateway`: the daemon, and the commands that ask a running one.
use super::args::{Calls, command};
use super::gateway_status::Status;
use super::probe::Probe;
use super::run::Flags;
use super::service_actions::{RecordExit, Restart, Start, Stop, Uninstall};
use super::service_install::Install;
use super::target::Link;
use super::text::thousands;
use super::{Context, fail, say};
use crate::gateway::ws_log::WsLog;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// A command that runs the daemon: the flags of [`Flags`], and its own.
macro_rules! runs {
    ($(#[$($meta:tt)*])* $name:ident { $($own:tt)* }) => {
        #[derive(FromArgs)]
        $(#[$($meta)*])*
        #[argh(help_triggers("-h", "--help", "help"))]
        pub struct $name {
            /// listen on this port
            #[argh(option)]
            port: Option<u16>,
            /// loopback, lan, tailnet, auto or custom
            #[argh(option)]
            bind: Option<String>,
            /// require this token (visible to others on this machine: prefer the configuration)
            #[argh(option)]
            token: Option<String>,
            /// require this password (same warning)
            #[argh(option)]
            password: Option<String>,
            /// show the gateway by Tailscale: off, serve (to the tailnet) or funnel (to everybody)
            #[argh(option)]
            tailscale: Option<String>,
            /// undo that when the gateway stops
            #[argh(switch)]
            tailscale_reset_on_exit: bool,
            /// stop whatever listens on the port first
            #[argh(switch)]
            force: bool,
            /// with --dev: start with a new configuration, new sessions and a new workspace; the old ones are put aside
            #[argh(switch)]
            reset: bool,
            /// start without a configuration file
            #[argh(switch)]
            allow_unconfigured: bool,
            /// do not start with a configuration that holds anything unknown
            #[argh(switch)]
            strict: bool,
            /// log everything to stdout
            #[argh(switch)]
            verbose: bool,
            /// log every call and event: auto or compact (a line a call), full (a line a frame)
            #[argh(option)]
            ws_log: Option<WsLog>,
            $($own)*
        }
        impl $name {
            fn flags(&self) -> Flags {
                Flags {
                    port: self.port,
                    bind: self.bind.clone(),
                    token: self.token.clone(),
                    password: self.password.clone(),
                    tailscale: self.tailscale.clone(),
                    tailscale_reset_on_exit: self.tailscale_reset_on_exit,
                    force: self.force,
                    reset: self.reset,
                    allow_unconfigured: self.allow_unconfigured,
                    strict: self.strict,
                    verbose: self.verbose,
                    ws_log: self.ws_log,
                }
            }
        }
    };
}

runs! {
    /// run the gateway, or ask a running one
    #[argh(subcommand, name = "gateway")]
    Gateway {
        /// with a subcommand: the gateway to ask, ws:// or wss://HOST:PORT
        #[argh(option)]
        url: Option<String>,
        /// with a subcommand: the SHA-256 fingerprint that its certificate must have
        #[argh(option, arg_name = "sha256")]
        tls_fingerprint: Option<String>,
        #[argh(subcommand)]
        command: Option<Command>,
    }
}
runs! {
    /// run the gateway in the foreground
    #[argh(subcommand, name = "run")]
    Run {}
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(Run),
    Call(Call),
    Health(Health),
    Status(Status),
    Probe(Probe),
    UsageCost(UsageCost),
    Install(Install),
    Uninstall(Uninstall),
    Start(Start),
    Stop(Stop),
    Restart(Restart),
    RecordExit(RecordExit),
}

command! {
    /// call a method
    #[argh(subcommand, name = "call")]
    Call {
        /// the method, such as health or config.get
        #[argh(positional)]
        method: String,
        /// its params, as JSON (default {})
        #[argh(option, arg_name = "json")]
        params: Option<String>,
    }
}
command! {
    /// ask for the health snapshot
    #[argh(subcommand, name = "health")]
    Health {}
}
command! {
    /// tokens and costs by day
    #[argh(subcommand, name = "usage-cost")]
    UsageCost {
        /// how many days back (default 30)
        #[argh(option)]
        days: Option<u32>,
    }
}

impl Gateway {
    pub fn run(self, context: &Context) -> ExitCode {
        let flags = self.flags();
        let asks = !matches!(self.command, None | Some(Command::Run(_)));
        if self.tls_fingerprint.is_some() && !asks {
            return fail("--tls-fingerprint is for asking a gateway, not for running one", 2);
        }
        if self.url.is_some() && !asks {
            return fail("--url names a gateway to ask; it goes with a subcommand such as `gateway call`", 2);
        }
        if let Some(flag) = flags.only_for_running().filter(|_| asks) {
            return fail(&format!("{flag} is for running the gateway, not for asking one"), 2);
        }
        let (url, token, password) = (self.url, flags.token.clone(), flags.password.clone());
        let fingerprint = self.tls_fingerprint;
        let outer = Link { url, token, password, fingerprint, port: flags.port, ..Link::default() };
        match self.command {
            None => flags.run(context),
            Some(Command::Run(it)) => it.flags().or(flags).run(context),
            Some(Command::Call(it)) => call(&it, context, outer),
            Some(Command::Health(it)) => {
                let answer = context.call(it.link().or(outer), "health", None);
                context.show(answer, it.json(), health_text)
            }
            Some(Command::Status(it)) => it.run(context, outer),
            Some(Command::Probe(it)) => it.run(context, outer),
            Some(Command::Install(mut it)) => {
                it.port = it.port.or(outer.port);
                it.token = it.token.or(outer.token);
                it.run(context)
            }
            Some(Command::Uninstall(it)) => it.run(context),
            Some(Command::Start(it)) => it.run(context),
            Some(Command::Stop(it)) => it.run(context),
            Some(Command::Restart(it)) => it.run(context),
            Some(Command::RecordExit(it)) => it.run(context),
            Some(Command::UsageCost(it)) => {
                let params = json!({ "days": it.days.unwrap_or(30) });
                let answer = context.call(it.link().or(outer), "usage.cost", Some(params));
                context.show(answer, it.json(), usage_text)
            }
        }
    }
}

fn call(it: &Call, context: &Context, outer: Link) -> ExitCode {
    let params: Value = match serde_json::from_str(it.params.as_deref().unwrap_or("{}")) {
        Ok(params) => params,
        Err(err) => return fail(&format!("--params is not JSON: {err}"), 2),
    };
    let answer = context.call(it.link().or(outer), &it.method, Some(params));
    let heading = if it.json() { String::new() } else { format!("Gateway call: {}\n", it.method) };
    match answer {
        Ok(payload) => say(&format!("{heading}{payload:#}")),
        Err(failure) => context.report(&failure),
    }
}

/// One line for the gateway, one a channel.
fn health_text(health: &Value) -> String {
    let word = if health["ok"] == true { "OK" } else { "Not OK" };
    let mut lines = vec![
        "Gateway Health".to_owned(),
        format!("{word} ({}ms)", health["durationMs"].as_u64().unwrap_or(0)),
    ];
    lines.extend(super::health::channel_lines(health));
    lines.join("\n")
}

fn usage_text(usage: &Value) -> String {
    let row = |it: &Value| {
        let (cost, tokens) =
            (it["totalCost"].as_f64().unwrap_or(0.0), it["totalTokens"].as_u64().unwrap_or(0));
        format!("${cost:.4} · {} tokens", thousands(tokens))
    };
    let mut lines =
        vec![format!("Usage cost ({} days)", usage["days"]), format!("Total: {}", row(&usage["totals"]))];
    for day in usage["daily"].as_array().into_iter().flatten() {
        lines.push(format!("{}: {}", day["date"].as_str().unwrap_or("?"), row(day)));
    }
    lines.join("\n")
}
