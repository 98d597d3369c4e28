//! `channels`: the chat networks as the gateway sees them.
use super::Context;
use super::args::{Calls, command};
use super::text::list;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// chat networks
#[derive(FromArgs)]
#[argh(subcommand, name = "channels", help_triggers("-h", "--help", "help"))]
pub struct Channels {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Status(Status),
}

command! {
    /// accounts of every channel and their state
    #[argh(subcommand, name = "status")]
    Status {
        /// ask the networks too
        #[argh(switch)]
        probe: bool,
    }
}

impl Channels {
    pub fn run(&self, context: &Context) -> ExitCode {
        let Command::Status(it) = &self.command;
        let link = it.link();
        let params = json!({ "probe": it.probe, "timeoutMs": link.timeout_ms() });
        context.show(context.call(link, "channels.status", Some(params)), it.json, text)
    }
}

fn text(answer: &Value) -> String {
    let mut lines = vec!["Gateway reachable.".to_owned()];
    for id in list(answer, "channelOrder").iter().filter_map(Value::as_str) {
        let label = answer["channelLabels"][id].as_str().unwrap_or(id);
        for account in list(&answer["channelAccounts"], id) {
            let flags = ["enabled", "configured", "linked", "running", "connected"];
            let set: Vec<&str> = flags.into_iter().filter(|flag| account[*flag] == true).collect();
            let state = if set.is_empty() { "not configured".to_owned() } else { set.join(", ") };
            let error = account["lastError"].as_str().map(|it| format!(", error: {it}")).unwrap_or_default();
            let account = account["accountId"].as_str().unwrap_or("default");
            lines.push(format!("- {label} {account}: {state}{error}"));
        }
    }
    if lines.len() == 1 {
        lines.push("No channels are configured.".to_owned());
    }
    lines.join("\n")
}
