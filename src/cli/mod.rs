//! The command line: one file a command, and the blocking RPC client.
//!
//! * Results go to stdout, everything else to stderr; exit codes are those of `sysexits.h` where one fits (78: configuration).
mod run;

use crate::base::sys;
use crate::config::{Env, Paths};
use argh::{EarlyExit, FromArgs};
use std::process::ExitCode;

/// Bad configuration (`EX_CONFIG`): a supervisor need not try again.
pub const EXIT_CONFIG: u8 = 78;

/// The OpenClaw Gateway for small machines.
#[derive(FromArgs)]
struct Cli {
    /// use the profile `dev`: ~/.openclaw-dev, port 19001
    #[argh(switch)]
    dev: bool,
    /// use a profile of its own: ~/.openclaw-NAME
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
    Gateway(run::Gateway),
}

/// What every command starts from.
pub struct Context {
    pub env: Env,
    pub paths: Paths,
}

pub fn main() -> ExitCode {
    sys::umask_private();
    sys::limit_malloc_arenas();
    let args: Vec<String> = std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(EarlyExit { output, status }) => {
            return if status.is_ok() { say(&output) } else { fail(&output, 2) };
        }
    };
    if cli.version {
        return say(env!("CARGO_PKG_VERSION"));
    }
    let env = Env::of_process();
    let profile = if cli.dev { Some("dev") } else { cli.profile.as_deref() };
    let context = Context { paths: Paths::resolve(&env, profile), env };
    match cli.command {
        Some(Command::Gateway(it)) => it.run(context),
        None => fail("no command given; try --help", 2),
    }
}

fn parse(args: &[String]) -> Result<Cli, EarlyExit> {
    let name = args.first().map_or("gatewayd", |it| it.rsplit('/').next().unwrap_or(it));
    let mut words: Vec<&str> = vec![];
    for word in args.iter().skip(1) {
        // `--port=1` is `--port 1`.
        match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => words.extend([flag, value]),
            _ => words.push(word),
        }
    }
    Cli::from_args(&[name], &words)
}

#[expect(clippy::print_stdout, reason = "the one place that prints results")]
pub fn say(text: &str) -> ExitCode {
    println!("{}", text.trim_end());
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "the one place that prints errors")]
pub fn fail(text: &str, status: u8) -> ExitCode {
    eprintln!("{}", text.trim_end());
    ExitCode::from(status)
}
