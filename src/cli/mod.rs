//! The command line: one file a command, and the blocking RPC client.
//!
//! * Results go to stdout, everything else to stderr; exit codes: 0, 1 (failed), 2 (wrong usage), 78 (configuration).
//! * The name in every text is the one the program was called by.
mod agents;
mod args;
mod call;
mod channels;
mod cron;
mod devices;
mod gateway;
mod gateway_status;
mod health;
mod identity;
mod logs;
mod models;
mod nodes;
mod probe;
mod rpc;
mod run;
mod service;
mod status;
mod system;
mod target;
mod text;

use crate::base::sys;
use crate::config::{Env, Paths};
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
    Health(health::Health),
    Status(status::Status),
    System(system::System),
    Logs(logs::Logs),
    Nodes(nodes::Nodes),
    Devices(devices::Devices),
    Channels(channels::Channels),
    Cron(cron::Cron),
    Models(models::Models),
    Agents(agents::Agents),
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
    let env = Env::of_process();
    let profile = if cli.dev { Some("dev") } else { cli.profile.as_deref() };
    let context = Context { paths: Paths::resolve(&env, profile), env, name };
    if let Some(wrong) = wrong_profile(&cli, &context) {
        return fail(&wrong, 2);
    }
    match cli.command {
        Some(Command::Gateway(it)) => it.run(&context),
        Some(Command::Health(it)) => it.run(&context),
        Some(Command::Status(it)) => it.run(&context),
        Some(Command::System(it)) => it.run(&context),
        Some(Command::Logs(it)) => it.run(&context),
        Some(Command::Nodes(it)) => it.run(&context),
        Some(Command::Devices(it)) => it.run(&context),
        Some(Command::Channels(it)) => it.run(&context),
        Some(Command::Cron(it)) => it.run(&context),
        Some(Command::Models(it)) => it.run(&context),
        Some(Command::Agents(it)) => it.run(&context),
        None => fail(&format!("No command given. See `{} --help`.", context.name), 2),
    }
}

/// A profile is part of file names, so only plain words are taken.
fn wrong_profile(cli: &Cli, context: &Context) -> Option<String> {
    let named = cli.profile.as_deref().is_some_and(|it| it != "dev");
    if cli.dev && named {
        return Some("--dev is itself a profile: give either --dev or --profile.".to_owned());
    }
    let profile = context.paths.profile.as_deref().unwrap_or("default");
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
}
