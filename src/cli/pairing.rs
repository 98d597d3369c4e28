//! `pairing`: people who ask on a chat network to be let in. The state folder itself is read and changed: a running gateway looks
//! there at the next message.
use super::text::{ago, table};
use super::{Context, fail, say};
use crate::base::clock::{Clock, parse_iso};
use crate::channels::{CHANNELS, named};
use crate::store::senders::{self, Waiting};
use argh::FromArgs;
use serde_json::json;
use std::process::ExitCode;

/// people who ask on a chat network to be let in
#[derive(FromArgs)]
#[argh(subcommand, name = "pairing", help_triggers("-h", "--help", "help"))]
pub struct Pairing {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
    Approve(Approve),
}

/// who asks to be let in
#[derive(FromArgs)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// the network, as telegram
    #[argh(positional)]
    channel: Option<String>,
    /// the same
    #[argh(option, long = "channel", arg_name = "name")]
    named: Option<String>,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// let somebody in by their code
#[derive(FromArgs)]
#[argh(subcommand, name = "approve", help_triggers("-h", "--help", "help"))]
struct Approve {
    /// the network, as telegram, and the code; or the code alone
    #[argh(positional)]
    words: Vec<String>,
    /// the network
    #[argh(option, long = "channel", arg_name = "name")]
    named: Option<String>,
}

impl Pairing {
    pub fn run(&self, context: &Context) -> ExitCode {
        match &self.command {
            Command::List(it) => it.run(context),
            Command::Approve(it) => it.run(context),
        }
    }
}

/// The network that is meant; the only one there is, when none is named.
fn channel(name: Option<&String>) -> Result<&'static str, String> {
    let known = CHANNELS.iter().map(|it| it.meta().id).collect::<Vec<_>>();
    match name.map(|it| it.trim().to_lowercase()) {
        None => Ok(known[0]),
        Some(name) => named(&name)
            .map(|it| it.meta().id)
            .ok_or_else(|| format!("Unknown channel {name:?}: there is {}.", known.join(", "))),
    }
}

impl List {
    fn run(&self, context: &Context) -> ExitCode {
        let channel = match channel(self.channel.as_ref().or(self.named.as_ref())) {
            Ok(it) => it,
            Err(err) => return fail(&err, 2),
        };
        let unix_ms = Clock::start().now().unix_ms;
        let all = match senders::waiting(&context.paths.state, channel, unix_ms) {
            Ok(it) => it,
            Err(err) => return fail(&err, 1),
        };
        if self.json {
            let requests: Vec<_> = all
                .iter()
                .map(
                    |it| json!({ "id": it.id, "code": it.code, "createdAt": it.created_at, "meta": it.meta }),
                )
                .collect();
            return say(&format!("{:#}", json!({ "channel": channel, "requests": requests })));
        }
        if all.is_empty() {
            return say(&format!("Nobody asks to be let in on {channel}."));
        }
        let row = |it: &Waiting| {
            let name = ["firstName", "username"]
                .iter()
                .filter_map(|name| it.meta[*name].as_str())
                .collect::<Vec<_>>();
            let asked = ago(&json!(parse_iso(&it.created_at)), unix_ms);
            vec![it.code.clone(), it.id.clone(), name.join(" @"), asked]
        };
        say(&table(&["CODE", "ID", "NAME", "ASKED"], &all.iter().map(row).collect::<Vec<_>>()))
    }
}

impl Approve {
    fn run(&self, context: &Context) -> ExitCode {
        let (name, code) = match &self.words[..] {
            [code] => (self.named.as_ref(), code),
            [name, code] if self.named.is_none() => (Some(name), code),
            _ => {
                return fail(
                    &format!(
                        "Give the network and the code: {} pairing approve telegram CODE",
                        context.program()
                    ),
                    2,
                );
            }
        };
        let channel = match channel(name) {
            Ok(it) => it,
            Err(err) => return fail(&err, 2),
        };
        match senders::approve(&context.paths.state, channel, code, Clock::start().now().unix_ms) {
            Ok(Some(id)) => say(&format!("{id} may talk on {channel} now.")),
            Ok(None) => fail(
                &format!(
                    "Nobody on {channel} has the code {code:?}, or its hour is over: see `{} pairing list {channel}`.",
                    context.program()
                ),
                1,
            ),
            Err(err) => fail(&err, 1),
        }
    }
}
