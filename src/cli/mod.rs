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
        for text in [
            "gateway --port 18789",
            "gateway --port 18789 --verbose",
            "gateway --force",
            "gateway run --port=1 --bind lan --token t --ws-log full",
            "--dev gateway --allow-unconfigured",
            "--dev status",
            "--dev health",
            "health --dev",
            "gateway --profile rescue status",
            "gateway --port 19001",
            "gateway install --port 5 --token t --force --runtime node --json",
            "gateway install --system --user pi --linger",
            "gateway install --print --platform launchd",
            "gateway uninstall --json",
            "gateway start",
            "gateway stop --json",
            "--profile main gateway restart",
            "gateway record-exit",
            "gateway status",
            "gateway status --deep --no-probe --json --url ws://h:1 --token t",
            "gateway health",
            "gateway probe --timeout 100",
            "gateway usage-cost --days 3 --json",
            "gateway --token t call health",
            "gateway call health --token t",
            "gateway --url ws://h:1 --token t call health --params {\"k\":\"v\"}",
            "gateway call m --params={\"k\":\"a=b\"} --expect-final --timeout 5",
            "health --json --verbose",
            "status --json --all --deep --usage",
            "system presence --json",
            "system event --text hi --mode now",
            "system event --text=--dev",
            "system heartbeat last",
            "system heartbeat enable --json",
            "system heartbeat disable",
            "logs --follow",
            "logs --limit 3 --max-bytes 1000 --interval 200 --json --plain --no-color --local-time",
            "nodes list",
            "nodes status --json",
            "nodes describe --node pi --json",
            "nodes invoke --node pi --command system.which --params {\"bins\":[]} --invoke-timeout 5 --idempotency-key k",
            "nodes run --node pi uname",
            "nodes run --node pi --cwd /tmp --env A=b --env C=d --ask off --security full --command-timeout 5 -- uname --version -a",
            "nodes run --node pi --raw ls --agent main --needs-screen-recording --json",
            "nodes rename --node pi --name Attic",
            "nodes approve id --json",
            "nodes reject id",
            "node run",
            "node run --host h --port 5 --display-name n --node-id i --token t --password p",
            "approvals get --gateway --json",
            "approvals set --node pi --file f",
            "approvals set --stdin",
            "devices list",
            "channels status --probe",
            "cron list --all",
            "cron status",
            "models",
            "models list --all --local --provider p --plain",
            "models status --agent main --json --check",
            "models set m",
            "models set-image m",
            "models aliases add a m",
            "models aliases remove a",
            "models aliases list --plain",
            "models fallbacks add m",
            "models fallbacks remove m",
            "models fallbacks clear",
            "models image-fallbacks list --json",
            "agent -m hi -t +15555550123 --thinking low --verbose on --timeout 5 --json",
            "agent --message hi --session-id s --deliver --channel telegram",
            "agent --message hi --agent main --reply-to x --reply-channel slack --reply-account a",
            "agent --message hi --agent main --local",
            "sessions",
            "sessions --json --active 5 --store f",
            "agents list --json",
            "setup",
            "--dev setup",
            "setup --workspace ~/w --mode remote --port 5 --token t --non-interactive --json",
            "--dev gateway --reset",
            "gateway run --dev --reset --force",
            "doctor --repair --fix --yes --force --non-interactive --deep --generate-gateway-token --json",
            "doctor --no-workspace-suggestions",
            "doctor proxy --url wss://h --token t --json",
            "onboard",
            "onboard --non-interactive --accept-risk --reset --flow quickstart --mode local --gateway-port 5 --gateway-bind lan --json",
            "onboard --auth-choice openai-api-key --openai-api-key k --skip-channels --skip-skills --skip-health --skip-ui",
            "configure --section model --section gateway",
            "dashboard --no-open --reveal",
            "reset --scope config+creds+sessions --yes --non-interactive --dry-run",
            "uninstall --service --state --workspace --app --all --yes --non-interactive --dry-run",
            "completion bash",
            "completion --shell fish --write-state",
            "config file",
            "config get gateway.port --json --reveal",
            "config set agents.list[0].id x --string",
            "config set gateway.port 5 --json --force",
            "config set a.b -- -5",
            "config unset gateway.port",
            "config validate --json --strict",
            "config schema --hints",
            "config explain gateway.port --json",
            "--version",
            "-V",
        ] {
            let parsed = parse("openclaw", &line(text));
            assert!(parsed.is_ok(), "{text}: {}", parsed.err().unwrap().output);
        }
    }
    #[test]
    fn lines_about_channels() {
        for text in [
            "channels list",
            "channels add --channel telegram --token 1:a --account work --name Work",
            "channels remove --channel telegram --delete",
            "channels login --channel telegram",
            "channels logout --channel telegram --account work",
            "channels logs --channel all --lines 5 --json",
            "message send --channel telegram --target 1 --message hi",
            "message send -t @name -m hi --media a.png --reply-to 5 --thread-id 7 --silent --dry-run",
            "message poll --target 1 --poll-question q --poll-option a --poll-option b --poll-multi",
            "message react --target 1 --message-id 5 --emoji x",
            "message edit --target 1 --message-id 5 -m new",
            "message delete --target 1 --message-id 5 --json",
            "message read --target 1 --limit 5",
            "pairing list telegram",
            "pairing list --channel telegram --json",
            "pairing approve telegram ABCDEFGH",
            "pairing approve ABCDEFGH",
        ] {
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
