//! The command line: one file a command, and the blocking RPC client.
//!
//! * Results go to stdout, everything else to stderr; exit codes: 0, 1 (failed), 2 (wrong usage), 78 (configuration).
//! * The name in every text is the one the program was called by.
mod agent;
mod agents;
mod approvals;
mod args;
mod ask;
mod call;
mod channels;
mod completion;
mod config;
mod cron;
mod dashboard;
mod devices;
mod doctor;
mod gateway;
mod gateway_status;
mod health;
mod identity;
mod line;
mod lock;
mod logs;
mod message;
mod models;
mod models_edit;
mod models_status;
mod node;
mod nodes;
mod onboard;
mod pairing;
mod probe;
mod reset;
mod rpc;
mod run;
mod service;
mod service_actions;
mod service_install;
mod sessions;
mod setup;
mod status;
mod system;
mod target;
mod text;
mod tls;

use crate::base::sys;
use crate::config::{Env, Paths, dotenv};
use argh::{EarlyExit, FromArgs};
use std::process::ExitCode;

/// Bad configuration (`EX_CONFIG`): a supervisor need not try again.
pub const EXIT_CONFIG: u8 = 78;

/// The OpenClaw Gateway for small machines.
#[derive(FromArgs)]
#[argh(help_triggers("-h", "--help", "help"))]
struct Cli {
    /// use the profile `dev`: ~/.openclaw-dev, port 19001 (anywhere on the line)
    #[argh(switch)]
    dev: bool,
    /// use a profile of its own: ~/.openclaw-NAME (anywhere on the line)
    #[argh(option, arg_name = "name")]
    profile: Option<String>,
    /// print the version
    #[argh(switch, short = 'V')]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Gateway(gateway::Gateway),
    Agent(agent::Agent),
    Sessions(sessions::Sessions),
    Health(health::Health),
    Status(status::Status),
    System(system::System),
    Logs(logs::Logs),
    Nodes(nodes::Nodes),
    Node(node::Node),
    Approvals(approvals::Approvals),
    Devices(devices::Devices),
    Channels(channels::Channels),
    Message(message::Message),
    Pairing(pairing::Pairing),
    Cron(cron::Cron),
    Models(models::Models),
    Agents(agents::Agents),
    Config(config::Config),
    Doctor(doctor::Doctor),
    Setup(setup::Setup),
    Onboard(onboard::Onboard),
    Configure(onboard::Configure),
    Dashboard(dashboard::Dashboard),
    Reset(reset::Reset),
    Uninstall(reset::Uninstall),
    Completion(completion::Completion),
}

/// What every command starts from.
#[derive(Debug, Clone)]
pub struct Context {
    pub env: Env,
    pub paths: Paths,
    /// The name the program was called by, without its folder.
    pub name: String,
}

impl Context {
    /// The start of a command line for this instance, for texts that tell what to type.
    pub fn program(&self) -> String {
        match self.paths.profile.as_deref() {
            None => self.name.clone(),
            Some("dev") => format!("{} --dev", self.name),
            Some(profile) => format!("{} --profile {profile}", self.name),
        }
    }
}

pub fn main() -> ExitCode {
    sys::umask_private();
    sys::limit_malloc_arenas();
    let words: Vec<String> = std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
    let name = words.first().and_then(|it| it.rsplit('/').next()).unwrap_or("gatewayd").to_owned();
    let cli = match parse(&name, words.get(1..).unwrap_or_default()) {
        Ok(cli) => cli,
        Err(EarlyExit { output, status }) => {
            if status.is_ok() {
                return say(&output);
            }
            return fail(&format!("{}\nSee `{name} --help`.", output.trim_end()), 2);
        }
    };
    if cli.version {
        return say(env!("CARGO_PKG_VERSION"));
    }
    let mut env = Env::of_process();
    let profile = if cli.dev { Some("dev") } else { cli.profile.as_deref() };
    let paths = Paths::resolve(&env, profile);
    if let Some(wrong) = wrong_profile(&cli, &paths) {
        return fail(&wrong, 2);
    }
    for it in dotenv::load(&paths, &mut env) {
        fail(&format!("Warning: {it}"), 0);
    }
    let context = Context { paths, env, name };
    match cli.command {
        Some(Command::Gateway(it)) => it.run(&context),
        Some(Command::Agent(it)) => it.run(&context),
        Some(Command::Sessions(it)) => it.run(&context),
        Some(Command::Health(it)) => it.run(&context),
        Some(Command::Status(it)) => it.run(&context),
        Some(Command::System(it)) => it.run(&context),
        Some(Command::Logs(it)) => it.run(&context),
        Some(Command::Nodes(it)) => it.run(&context),
        Some(Command::Node(it)) => it.run(&context),
        Some(Command::Approvals(it)) => it.run(&context),
        Some(Command::Devices(it)) => it.run(&context),
        Some(Command::Channels(it)) => it.run(&context),
        Some(Command::Message(it)) => it.run(&context),
        Some(Command::Pairing(it)) => it.run(&context),
        Some(Command::Cron(it)) => it.run(&context),
        Some(Command::Models(it)) => it.run(&context),
        Some(Command::Agents(it)) => it.run(&context),
        Some(Command::Config(it)) => it.run(&context),
        Some(Command::Doctor(it)) => it.run(&context),
        Some(Command::Setup(it)) => it.run(&context),
        Some(Command::Onboard(it)) => it.run(&context),
        Some(Command::Configure(it)) => it.run(&context),
        Some(Command::Dashboard(it)) => it.run(&context),
        Some(Command::Reset(it)) => it.run(&context),
        Some(Command::Uninstall(it)) => it.run(&context),
        Some(Command::Completion(it)) => it.run(&context),
        None => fail(&format!("No command given. See `{} --help`.", context.name), 2),
    }
}

/// A profile is part of file names, so only plain words are taken.
fn wrong_profile(cli: &Cli, paths: &Paths) -> Option<String> {
    let named = cli.profile.as_deref().is_some_and(|it| it != "dev");
    if cli.dev && named {
        return Some("--dev is itself a profile: give either --dev or --profile.".to_owned());
    }
    let profile = paths.profile.as_deref().unwrap_or("default");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let good = (1..=64).contains(&profile.len()) && profile.chars().all(plain) && !profile.starts_with('-');
    (!good).then(|| format!("{profile:?} is no profile name: use up to 64 letters, digits, `-` and `_`."))
}

fn parse(name: &str, words: &[String]) -> Result<Cli, EarlyExit> {
    let words = args::arrange(words)?;
    Cli::from_args(&[name], &words)
}

pub fn say(text: &str) -> ExitCode {
    print(text);
    ExitCode::SUCCESS
}

/// Writes to stdout. False when nobody reads it any more (`… | head`), which is no error of ours.
pub fn print(text: &str) -> bool {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).is_ok()
}

#[expect(clippy::print_stderr, reason = "the one place that prints errors")]
pub fn fail(text: &str, status: u8) -> ExitCode {
    eprintln!("{}", text.trim_end());
    ExitCode::from(status)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    /// A context whose home is `home`, with nothing else in the environment.
    pub fn context(home: &std::path::Path) -> Context {
        let env = Env::from([("HOME", home.to_str().unwrap())]);
        Context { paths: Paths::resolve(&env, None), env, name: "gatewayd".into() }
    }

    fn line(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }
    #[test]
    fn lines_that_are_understood() {
        for text in include_str!("../../tests/data/lines.txt").lines() {
            let parsed = parse("openclaw", &line(text));
            assert!(parsed.is_ok(), "{text}: {}", parsed.err().unwrap().output);
        }
    }
    #[test]
    fn lines_that_are_not() {
        for (text, about) in [
            ("bogus", "bogus"),
            ("health --bogus", "--bogus"),
            ("gateway call", "method"),
            ("gateway call a b", "b"),
            ("gateway --port x", "port"),
            ("gateway --port 70000", "port"),
            ("system event", "--text"),
            ("logs --limit many", "limit"),
            ("nodes", "list"),
            ("nodes approve", "request"),
            ("nodes invoke --node x", "command"),
            ("node", "run"),
            ("approvals", "get"),
            ("config set gateway.port", "value"),
            ("config get", "path"),
            ("--profile", "--profile"),
            ("health --timeout", "timeout"),
            ("agent --agent main", "--message"),
            ("agent -m hi --timeout 1.5", "timeout"),
            ("sessions --active x", "active"),
            ("models set", "model"),
            ("models fallbacks", "clear"),
        ] {
            let Err(it) = parse("openclaw", &line(text)) else { panic!("{text} was taken") };
            assert!(it.status.is_err() && it.output.contains(about), "{text}: {}", it.output);
        }
    }
    #[test]
    fn help_uses_the_name_of_the_program() {
        for text in ["--help", "-h", "gateway call --help", "logs -h", "system heartbeat last --help"] {
            let Err(it) = parse("openclaw", &line(text)) else { panic!("{text} gave no help") };
            assert!(it.status.is_ok() && it.output.contains("Usage: openclaw"), "{text}: {}", it.output);
        }
    }
    #[test]
    fn profiles_are_plain_words() {
        let wrong = |text: &str| {
            let cli = parse("gatewayd", &line(text)).ok().unwrap();
            let paths = Paths::resolve(&Env::from([("HOME", "/h")]), cli.profile.as_deref());
            wrong_profile(&cli, &paths).is_some()
        };
        assert!(!wrong("--profile rescue health") && !wrong("--dev health") && !wrong("health"));
        for name in ["../x", "a/b", "a.b", "-x"] {
            assert!(wrong(&format!("--profile={name} health")), "{name}");
        }
        assert!(wrong("--dev --profile rescue health"));
    }
}
