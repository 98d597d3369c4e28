//! `nodes`: paired and connected nodes.
use super::Context;
use super::args::{Calls, command};
use super::text::{ago, list, table, word, words};
use crate::base::clock::Clock;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// paired and connected nodes
#[derive(FromArgs)]
#[argh(subcommand, name = "nodes", help_triggers("-h", "--help", "help"))]
pub struct Nodes {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
    Status(Status),
}

command! {
    /// nodes that ask to be paired, and those that are
    #[argh(subcommand, name = "list")]
    List {}
}
command! {
    /// known nodes and whether they are connected
    #[argh(subcommand, name = "status")]
    Status {}
}

impl Nodes {
    pub fn run(&self, context: &Context) -> ExitCode {
        let now = Clock::start().now().unix_ms;
        let ask = |it: &dyn Calls, method: &str| context.call(it.link(), method, Some(json!({})));
        match &self.command {
            Command::List(it) => context.show(ask(it, "node.pair.list"), it.json, |it| pairs(it, now)),
            Command::Status(it) => context.show(ask(it, "node.list"), it.json, |it| status(it, now)),
        }
    }
}

fn name(node: &Value) -> String {
    node["displayName"].as_str().unwrap_or(word(node, "nodeId")).to_owned()
}

fn pairs(answer: &Value, now: i64) -> String {
    let (pending, paired) = (list(answer, "pending"), list(answer, "paired"));
    let mut parts = vec![format!("Pending: {} · Paired: {}", pending.len(), paired.len())];
    if !pending.is_empty() {
        let rows: Vec<_> = pending
            .iter()
            .map(|it| {
                vec![word(it, "requestId").into(), name(it), word(it, "remoteIp").into(), ago(&it["ts"], now)]
            })
            .collect();
        parts.push(format!("\nPending\n{}", table(&["Request", "Node", "IP", "Requested"], &rows)));
    }
    if !paired.is_empty() {
        let rows: Vec<_> = paired
            .iter()
            .map(|it| {
                vec![
                    name(it),
                    word(it, "nodeId").into(),
                    word(it, "remoteIp").into(),
                    ago(&it["lastConnectedAtMs"], now),
                ]
            })
            .collect();
        parts.push(format!("\nPaired\n{}", table(&["Node", "Id", "IP", "Last connected"], &rows)));
    }
    parts.join("\n")
}

fn status(answer: &Value, now: i64) -> String {
    let nodes = list(answer, "nodes");
    let count = |flag: &str| nodes.iter().filter(|it| it[flag] == true).count();
    let head =
        format!("Known: {} · Paired: {} · Connected: {}", nodes.len(), count("paired"), count("connected"));
    if nodes.is_empty() {
        return head;
    }
    let state = |it: &Value| {
        let paired = if it["paired"] == true { "paired" } else { "not paired" };
        match it["connected"] == true {
            true => format!("{paired}, connected {}", ago(&it["connectedAtMs"], now)),
            false => format!("{paired}, disconnected"),
        }
    };
    let rows: Vec<_> = nodes
        .iter()
        .map(|it| {
            vec![
                name(it),
                word(it, "nodeId").into(),
                word(it, "remoteIp").into(),
                state(it),
                words(it, "caps"),
            ]
        })
        .collect();
    format!("{head}\n\n{}", table(&["Node", "Id", "IP", "State", "Caps"], &rows))
}
