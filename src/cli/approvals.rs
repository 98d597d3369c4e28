//! `approvals`: which commands run unasked, on the gateway's machine, on a node, or here.
use super::Context;
use super::args::{Calls, command};
use super::call::Trouble;
use super::nodes::with_node;
use super::rpc::{As, Client, Failure};
use super::text::{ago, list, table, word};
use crate::base::clock::Clock;
use crate::base::ids;
use crate::base::limits::STATE_BYTES_MAX;
use crate::base::shown::shown;
use crate::store::exec_approvals::{self, Refused};
use argh::FromArgs;
use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;

/// which commands run without asking
#[derive(FromArgs)]
#[argh(subcommand, name = "approvals", help_triggers("-h", "--help", "help"))]
pub struct Approvals {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Get(Get),
    Set(Set),
}

command! {
    /// show the file of this machine, of the gateway, or of a node
    #[argh(subcommand, name = "get")]
    Get {
        /// a node's, by id, name or address
        #[argh(option, arg_name = "node")]
        node: Option<String>,
        /// the gateway's
        #[argh(switch)]
        gateway: bool,
    }
}
command! {
    /// replace the file of this machine, of the gateway, or of a node
    #[argh(subcommand, name = "set")]
    Set {
        /// a node's, by id, name or address
        #[argh(option, arg_name = "node")]
        node: Option<String>,
        /// the gateway's
        #[argh(switch)]
        gateway: bool,
        /// the new one
        #[argh(option, arg_name = "path")]
        file: Option<String>,
        /// read the new one from stdin
        #[argh(switch)]
        stdin: bool,
    }
}

/// Whose file.
enum Whose<'a> {
    Here,
    Gateway,
    Node(&'a str),
}

impl<'a> Whose<'a> {
    fn of(node: Option<&'a str>, gateway: bool) -> Whose<'a> {
        match node {
            _ if gateway => Whose::Gateway,
            Some(it) => Whose::Node(it),
            None => Whose::Here,
        }
    }
}

impl Approvals {
    pub fn run(&self, context: &Context) -> ExitCode {
        let now = Clock::start().now().unix_ms;
        let (answer, json) = match &self.command {
            Command::Get(it) => (get(context, it, &Whose::of(it.node.as_deref(), it.gateway)), it.json),
            Command::Set(it) => (it.set(context, &Whose::of(it.node.as_deref(), it.gateway)), it.json),
        };
        context.show(answer, json, |it| text(it, now))
    }
}

fn get(context: &Context, it: &dyn Calls, whose: &Whose) -> Result<Value, Trouble> {
    match whose {
        Whose::Here => {
            let file = exec_approvals::look(&context.paths.state).map_err(Failure::Other)?;
            Ok(json!(file))
        }
        Whose::Gateway => context.call(it.link(), "exec.approvals.get", Some(json!({}))),
        Whose::Node(node) => with_node(context, it, node, |client, id| {
            client.call("exec.approvals.node.get", Some(json!({ "nodeId": id })), false)
        }),
    }
}

impl Set {
    fn set(&self, context: &Context, whose: &Whose) -> Result<Value, Trouble> {
        let file = self.read().map_err(Failure::Other)?;
        // What is replaced is what was there a moment before: a change in between is not lost silently.
        let replace = |client: &mut Client, method: [&str; 2], mut params: Value| {
            let before = client.call(method[0], Some(params.clone()), false)?;
            params["file"] = file.clone();
            params["baseHash"] = before["hash"].clone();
            client.call(method[1], Some(params), false)
        };
        match whose {
            Whose::Here => {
                let state = &context.paths.state;
                let hash = exec_approvals::look(state).map_err(Failure::Other)?.hash;
                let set = exec_approvals::replace(state, &file, Some(&hash), &mut ids::os_entropy());
                let set = set.map_err(|it| match it {
                    Refused::Disk(err) => Failure::Other(err),
                    Refused::NoHash | Refused::Changed => {
                        Failure::Other("the file was changed meanwhile: try again".to_owned())
                    }
                });
                Ok(json!(set?))
            }
            Whose::Gateway => {
                let mut client = context.open(&self.link(), As::Cli)?;
                Ok(replace(&mut client, ["exec.approvals.get", "exec.approvals.set"], json!({}))?)
            }
            Whose::Node(node) => with_node(context, self, node, |client, id| {
                replace(
                    client,
                    ["exec.approvals.node.get", "exec.approvals.node.set"],
                    json!({ "nodeId": id }),
                )
            }),
        }
    }

    fn read(&self) -> Result<Value, String> {
        let text = match (&self.file, self.stdin) {
            (Some(path), false) => {
                let text = crate::base::files::read_text(std::path::Path::new(path), STATE_BYTES_MAX);
                let text = text.map_err(|err| format!("cannot read {path}: {err}"))?;
                text.ok_or_else(|| format!("there is no file {path}"))?
            }
            (None, true) => {
                let mut text = String::new();
                let read = std::io::stdin().take(STATE_BYTES_MAX).read_to_string(&mut text);
                read.map_err(|err| format!("cannot read stdin: {err}"))?;
                text
            }
            _ => return Err("say where the new file is: --file PATH or --stdin".to_owned()),
        };
        let file: Value = serde_json::from_str(&text).map_err(|err| format!("that is no JSON: {err}"))?;
        if file.is_object() { Ok(file) } else { Err("that is no JSON object".to_owned()) }
    }
}

fn text(answer: &Value, now: i64) -> String {
    let file = &answer["file"];
    let rules = |it: &Value| {
        let all = ["security", "ask", "askFallback"]
            .iter()
            .filter_map(|name| Some(format!("{name}={}", it[*name].as_str()?)));
        let all: Vec<String> = all.collect();
        if all.is_empty() { "-".to_owned() } else { all.join(", ") }
    };
    let exists = if answer["exists"] == true { "yes" } else { "no" };
    let rows = [
        ("Path", word(answer, "path")),
        ("Exists", exists),
        ("Hash", word(answer, "hash")),
        ("Defaults", &rules(&file["defaults"])),
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(|(name, it)| vec![(*name).to_owned(), shown(it)]).collect();
    let mut parts = vec![table(&["Field", "Value"], &rows)];
    let agents = file["agents"].as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = agents
        .flat_map(|(id, agent)| {
            let entries = list(agent, "allowlist");
            let head = vec![shown(id), "-".to_owned(), rules(agent)];
            let row = |it: &Value| vec![shown(id), shown(word(it, "pattern")), ago(&it["lastUsedAt"], now)];
            std::iter::once(head)
                .filter(|it| entries.is_empty() || it[2] != "-")
                .chain(entries.iter().map(row))
                .collect::<Vec<_>>()
        })
        .collect();
    if !rows.is_empty() {
        parts.push(format!("\n{}", table(&["Agent", "Pattern", "Last used, or rules"], &rows)));
    }
    parts.join("\n")
}
