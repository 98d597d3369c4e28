//! `devices`: the clients that are paired, or ask to be.
use super::Context;
use super::args::{Calls, command};
use super::text::{ago, list, table, word, words};
use crate::base::clock::Clock;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// paired devices and their tokens
#[derive(FromArgs)]
#[argh(subcommand, name = "devices", help_triggers("-h", "--help", "help"))]
pub struct Devices {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
}

command! {
    /// devices that ask to be paired, and those that are
    #[argh(subcommand, name = "list")]
    List {}
}

impl Devices {
    pub fn run(&self, context: &Context) -> ExitCode {
        let Command::List(it) = &self.command;
        let answer = context.call(it.link(), "device.pair.list", Some(json!({})));
        context.show(answer, it.json, |it| text(it, Clock::start().now().unix_ms))
    }
}

fn text(answer: &Value, now: i64) -> String {
    let (pending, paired) = (list(answer, "pending"), list(answer, "paired"));
    let name = |it: &Value| it["displayName"].as_str().unwrap_or(word(it, "deviceId")).to_owned();
    let mut parts = vec![];
    if !pending.is_empty() {
        let row = |it: &Value| {
            vec![
                word(it, "requestId").into(),
                name(it),
                word(it, "role").into(),
                word(it, "remoteIp").into(),
                ago(&it["ts"], now),
            ]
        };
        let rows: Vec<_> = pending.iter().map(row).collect();
        parts.push(format!(
            "Pending ({})\n{}",
            rows.len(),
            table(&["Request", "Device", "Role", "IP", "Requested"], &rows)
        ));
    }
    if !paired.is_empty() {
        let token = |it: &Value| match it["revokedAtMs"].is_null() {
            true => word(it, "role").to_owned(),
            false => format!("{} (revoked)", word(it, "role")),
        };
        let tokens = |it: &Value| list(it, "tokens").iter().map(token).collect::<Vec<_>>().join(", ");
        let row = |it: &Value| {
            vec![name(it), words(it, "roles"), words(it, "scopes"), tokens(it), word(it, "remoteIp").into()]
        };
        let rows: Vec<_> = paired.iter().map(row).collect();
        parts.push(format!(
            "Paired ({})\n{}",
            rows.len(),
            table(&["Device", "Roles", "Scopes", "Tokens", "IP"], &rows)
        ));
    }
    if parts.is_empty() { "No device pairing entries.".into() } else { parts.join("\n\n") }
}
