//! `nodes`: paired and connected nodes, and what they do for this gateway.
use super::args::{Calls, command};
use super::call::Trouble;
use super::rpc::{As, Client, Failure};
use super::text::{ago, list, table, word, words};
use super::{Context, fail, print, say};
use crate::base::clock::Clock;
use crate::base::ids;
use crate::base::shown::shown;
use argh::FromArgs;
use serde_json::{Map, Value, json};
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
    Pending(Pending),
    Status(Status),
    Describe(Describe),
    Invoke(Invoke),
    Run(Run),
    Rename(Rename),
    Approve(Approve),
    Reject(Reject),
}

command! {
    /// nodes that ask to be paired, and those that are
    #[argh(subcommand, name = "list")]
    List {}
}
command! {
    /// nodes that ask to be paired, or for more than they were paired with
    #[argh(subcommand, name = "pending")]
    Pending {}
}
command! {
    /// known nodes and whether they are connected
    #[argh(subcommand, name = "status")]
    Status {}
}
command! {
    /// what a node is and can do
    #[argh(subcommand, name = "describe")]
    Describe {
        /// its id, name or address
        #[argh(option, arg_name = "node")]
        node: String,
    }
}
command! {
    /// call a command of a node
    #[argh(subcommand, name = "invoke")]
    Invoke {
        /// its id, name or address
        #[argh(option, arg_name = "node")]
        node: String,
        /// the command, such as system.which
        #[argh(option, arg_name = "name")]
        command: String,
        /// its parameters (default {{}})
        #[argh(option, arg_name = "json", default = "String::from(\"{{}}\")")]
        params: String,
        /// how long the node may take (default 15000)
        #[argh(option, arg_name = "ms", default = "15_000")]
        invoke_timeout: u64,
        /// the same key means the same call
        #[argh(option, arg_name = "key")]
        idempotency_key: Option<String>,
    }
}
command! {
    /// run a program on a node: nodes run --node pi -- uname -a
    #[argh(subcommand, name = "run")]
    Run {
        /// its id, name or address
        #[argh(option, arg_name = "node")]
        node: String,
        /// folder to run it in
        #[argh(option, arg_name = "path")]
        cwd: Option<String>,
        /// environment variable to add, may be repeated
        #[argh(option, arg_name = "name=value")]
        env: Vec<String>,
        /// text for the node's shell, instead of a program
        #[argh(option, arg_name = "text")]
        raw: Option<String>,
        /// agent whose rules apply (default main)
        #[argh(option, arg_name = "agent")]
        agent: Option<String>,
        /// off, on-miss or always: always asks for an approval, off never does (default on-miss)
        #[argh(option, arg_name = "mode")]
        ask: Option<String>,
        /// deny, allowlist or full: what the request for an approval says
        #[argh(option, arg_name = "mode")]
        security: Option<String>,
        /// how long the program may run
        #[argh(option, arg_name = "ms")]
        command_timeout: Option<u64>,
        /// it records the screen
        #[argh(switch)]
        needs_screen_recording: bool,
        /// how long the node may take (default 30000)
        #[argh(option, arg_name = "ms", default = "30_000")]
        invoke_timeout: u64,
        /// program and arguments
        #[argh(positional, greedy)]
        words: Vec<String>,
    }
}
command! {
    /// give a node a name
    #[argh(subcommand, name = "rename")]
    Rename {
        /// its id, name or address
        #[argh(option, arg_name = "node")]
        node: String,
        /// the name
        #[argh(option, arg_name = "name")]
        name: String,
    }
}
command! {
    /// pair a node, or let it do what else it asks for
    #[argh(subcommand, name = "approve")]
    Approve {
        /// see `nodes list`
        #[argh(positional)]
        request: String,
    }
}
command! {
    /// refuse a node
    #[argh(subcommand, name = "reject")]
    Reject {
        /// see `nodes list`
        #[argh(positional)]
        request: String,
    }
}

/// How long a person may think about an approval, milliseconds. Reference: 2 minutes.
const APPROVAL_MS: u64 = 120_000;

impl Nodes {
    pub fn run(&self, context: &Context) -> ExitCode {
        let now = Clock::start().now().unix_ms;
        let ask = |it: &dyn Calls, method: &str, params: Value| context.call(it.link(), method, Some(params));
        let pretty = |it: &Value| format!("{it:#}");
        match &self.command {
            Command::List(it) => {
                context.show(ask(it, "node.pair.list", json!({})), it.json, |it| pairs(it, now))
            }
            Command::Pending(it) => {
                let answer = ask(it, "node.pair.list", json!({})).map(|mut it| it["pending"].take());
                context.show(answer, it.json, |it| pending(it, now))
            }
            Command::Status(it) => {
                context.show(ask(it, "node.list", json!({})), it.json, |it| status(it, now))
            }
            Command::Describe(it) => {
                let answer = with_node(context, it, &it.node, |client, id| {
                    client.call("node.describe", Some(json!({ "nodeId": id })), false)
                });
                context.show(answer, it.json, |it| describe(it, now))
            }
            Command::Invoke(it) => context.show(it.ask(context), it.json, pretty),
            Command::Run(it) => it.run(context),
            Command::Rename(it) => {
                let answer = with_node(context, it, &it.node, |client, id| {
                    client.call("node.rename", Some(json!({ "nodeId": id, "displayName": it.name })), false)
                });
                context.show(answer, it.json, |it| format!("{} is called {}", word(it, "nodeId"), name(it)))
            }
            Command::Approve(it) => {
                let answer = ask(it, "node.pair.approve", json!({ "requestId": it.request }));
                context.show(answer, it.json, pretty)
            }
            Command::Reject(it) => {
                let answer = ask(it, "node.pair.reject", json!({ "requestId": it.request }));
                context.show(answer, it.json, pretty)
            }
        }
    }
}

/// A connection, and the id of the node that is meant. Nodes that are only in the pairing store can be named too.
pub fn with_node<T>(
    context: &Context,
    it: &dyn Calls,
    wanted: &str,
    then: impl FnOnce(&mut Client, &str) -> Result<T, Failure>,
) -> Result<T, Trouble> {
    let mut client = context.open(&it.link(), As::Cli)?;
    let mut all = client.call("node.list", Some(json!({})), false)?["nodes"].take();
    if let (Ok(stored), Some(all)) =
        (client.call("node.pair.list", Some(json!({})), false), all.as_array_mut())
    {
        let known = |node: &Value, all: &[Value]| all.iter().any(|it| it["nodeId"] == node["nodeId"]);
        for node in list(&stored, "paired") {
            if !known(node, all) {
                all.push(node.clone());
            }
        }
    }
    let all = all.as_array().map_or(&[][..], Vec::as_slice);
    let id = resolve(all, wanted).map_err(Failure::Other)?;
    client.renew();
    Ok(then(&mut client, &id)?)
}

/// Lower case, with one dash for whatever is no letter or digit.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|it| !it.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// The one node with that id, address or name, or whose id begins so (6 characters at least).
fn resolve(all: &[Value], wanted: &str) -> Result<String, String> {
    let wanted = wanted.trim();
    let fits: [&dyn Fn(&Value) -> bool; 4] = [
        &|it| it["nodeId"] == *wanted,
        &|it| it["remoteIp"] == *wanted,
        &|it| !plain(wanted).is_empty() && plain(&name(it)) == plain(wanted),
        &|it| wanted.len() >= 6 && it["nodeId"].as_str().is_some_and(|it| it.starts_with(wanted)),
    ];
    for fit in fits {
        let found: Vec<&Value> = all.iter().filter(|it| fit(it)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one["nodeId"].as_str().unwrap_or_default().to_owned()),
            // Of two with one name the one that is here is meant.
            many => match many.iter().filter(|it| it["connected"] == true).collect::<Vec<_>>().as_slice() {
                [one] => return Ok(one["nodeId"].as_str().unwrap_or_default().to_owned()),
                _ => {
                    let ids: Vec<&str> = many.iter().filter_map(|it| it["nodeId"].as_str()).collect();
                    return Err(format!(
                        "{wanted:?} names {} nodes; say which by its id: {}",
                        many.len(),
                        ids.join(", ")
                    ));
                }
            },
        }
    }
    let known: Vec<String> = all.iter().map(name).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(format!("unknown node: {wanted} (known: {known})"))
}

impl Invoke {
    fn ask(&self, context: &Context) -> Result<Value, Trouble> {
        let params: Value = serde_json::from_str(&self.params)
            .map_err(|err| Failure::Other(format!("--params is no JSON: {err}")))?;
        with_node(context, self, &self.node, |client, id| {
            let key = self.idempotency_key.clone().unwrap_or_else(|| ids::uuid(&mut ids::os_entropy()));
            client.extend(self.invoke_timeout);
            let ask = json!({
                "nodeId": id, "command": self.command, "params": params,
                "timeoutMs": self.invoke_timeout, "idempotencyKey": key,
            });
            client.call("node.invoke", Some(ask), false)
        })
    }
}

impl Run {
    fn run(&self, context: &Context) -> ExitCode {
        let wrong = |text: &str| fail(&format!("nodes run: {text}"), 2);
        let argv = match (&self.raw, self.words.as_slice()) {
            (Some(text), []) => ["/bin/sh", "-lc", text].map(str::to_owned).to_vec(),
            (None, [_, ..]) => self.words.clone(),
            _ => {
                return wrong(
                    "say what to run, either --raw TEXT or, behind the options, a program: nodes run --node NAME -- PROGRAM ARGUMENTS",
                );
            }
        };
        if self.security.as_deref() == Some("deny") {
            return wrong("--security deny runs nothing");
        }
        let mut env = Map::new();
        for it in &self.env {
            let Some((name, value)) = it.split_once('=') else { return wrong("--env wants NAME=VALUE") };
            env.insert(name.to_owned(), value.into());
        }
        let answer = with_node(context, self, &self.node, |client, id| self.ask(client, id, &argv, &env));
        match answer {
            Ok(it) if self.json => say(&format!("{it:#}")),
            Ok(it) => finished(&it["payload"]),
            Err(trouble) => fail(&format!("nodes run failed: Error: {trouble}"), 1),
        }
    }

    /// Runs it; asks for an approval when the node says that it needs one.
    fn ask(
        &self,
        client: &mut Client,
        id: &str,
        argv: &[String],
        env: &Map<String, Value>,
    ) -> Result<Value, Failure> {
        let agent = self.agent.as_deref().unwrap_or("main");
        let mut params = json!({
            "command": argv, "agentId": agent, "needsScreenRecording": self.needs_screen_recording,
        });
        let given = [
            ("cwd", self.cwd.as_ref().map(|it| json!(it))),
            ("env", (!env.is_empty()).then(|| json!(env))),
            ("timeoutMs", self.command_timeout.map(|it| json!(it))),
            ("rawCommand", self.raw.as_ref().map(|it| json!(it))),
        ];
        for (name, value) in given {
            if let Some(it) = value {
                params[name] = it;
            }
        }
        if self.ask.as_deref() != Some("always") {
            match self.invoke(client, id, &params) {
                Err(Failure::Refused { message, .. })
                    if message.contains("approval required") && self.ask.as_deref() != Some("off") => {}
                other => return other,
            }
        }
        let decision = self.approval(client, id, argv, env, agent)?;
        params["approved"] = true.into();
        params["approvalDecision"] = decision.into();
        self.invoke(client, id, &params)
    }

    fn invoke(&self, client: &mut Client, id: &str, params: &Value) -> Result<Value, Failure> {
        client.extend(self.invoke_timeout);
        let key = ids::uuid(&mut ids::os_entropy());
        let ask = json!({
            "nodeId": id, "command": "system.run", "params": params,
            "timeoutMs": self.invoke_timeout, "idempotencyKey": key,
        });
        client.call("node.invoke", Some(ask), false)
    }

    /// What somebody has decided, unless it is no.
    fn approval(
        &self,
        client: &mut Client,
        id: &str,
        argv: &[String],
        env: &Map<String, Value>,
        agent: &str,
    ) -> Result<String, Failure> {
        fail("waiting for an approval (exec.approval.requested) …", 0);
        client.extend(APPROVAL_MS);
        let command = self.raw.clone().unwrap_or_else(|| argv.join(" "));
        let ask = json!({
            "command": command, "cwd": self.cwd, "host": "node", "agentId": agent, "timeoutMs": APPROVAL_MS,
            "security": self.security.as_deref().unwrap_or("allowlist"), "ask": self.ask.as_deref().unwrap_or("on-miss"),
        });
        let mut exact = ask.clone();
        exact["commandArgv"] = json!(argv);
        exact["nodeId"] = id.into();
        exact["env"] = json!(env);
        let answer = match client.call("exec.approval.request", Some(exact), false) {
            // The reference binds less, and knows no words for more.
            Err(Failure::Refused { message, .. }) if message.contains("unexpected property") => {
                client.call("exec.approval.request", Some(ask), false)
            }
            other => other,
        }?;
        match answer["decision"].as_str() {
            Some("deny") => Err(Failure::Other("exec denied: user denied".to_owned())),
            Some(it) => Ok(it.to_owned()),
            None => Err(Failure::Other("exec denied: nobody has decided in time".to_owned())),
        }
    }
}

/// What the program wrote, each to where it belongs.
fn finished(payload: &Value) -> ExitCode {
    let text = |name: &str| payload[name].as_str().map(str::trim_end).filter(|it| !it.is_empty());
    if let Some(it) = text("stdout") {
        print(it);
    }
    if let Some(it) = text("stderr") {
        fail(it, 0);
    }
    match (text("error"), payload["exitCode"].as_i64()) {
        (Some(error), _) => fail(&format!("nodes run failed: Error: {error}"), 1),
        (None, Some(0)) => ExitCode::SUCCESS,
        (None, _) if payload["timedOut"] == true => fail("nodes run failed: Error: it ran out of time", 1),
        (None, Some(code)) => fail(&format!("nodes run failed: Error: exit code {code}"), 1),
        (None, None) => fail("nodes run failed: Error: it was ended by a signal", 1),
    }
}

fn describe(node: &Value, now: i64) -> String {
    let connected = match node["connected"] == true {
        true => format!("connected {}", ago(&node["connectedAtMs"], now)),
        false => "disconnected".to_owned(),
    };
    let paired = if node["paired"] == true { "paired" } else { "not paired" };
    let rows = [
        ("Id", word(node, "nodeId").to_owned()),
        ("Name", name(node)),
        ("Platform", word(node, "platform").to_owned()),
        ("Version", word(node, "version").to_owned()),
        ("IP", word(node, "remoteIp").to_owned()),
        ("PATH", word(node, "pathEnv").to_owned()),
        ("State", format!("{paired}, {connected}")),
        ("Caps", words(node, "caps")),
        ("Commands", words(node, "commands")),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, it)| vec![name.to_owned(), shown(&it)]).collect();
    table(&["Field", "Value"], &rows)
}

fn name(node: &Value) -> String {
    shown(node["displayName"].as_str().unwrap_or(word(node, "nodeId")))
}

fn pending(all: &Value, now: i64) -> String {
    let row = |it: &Value| {
        vec![word(it, "requestId").into(), name(it), word(it, "remoteIp").into(), ago(&it["ts"], now)]
    };
    match all.as_array().map_or(&[][..], Vec::as_slice) {
        [] => "No pending pairing requests.".to_owned(),
        all => {
            let rows: Vec<_> = all.iter().map(row).collect();
            format!("Pending\n{}", table(&["Request", "Node", "IP", "Requested"], &rows))
        }
    }
}

fn pairs(answer: &Value, now: i64) -> String {
    let paired = list(answer, "paired");
    let count = list(answer, "pending").len();
    let mut parts = vec![format!("Pending: {count} · Paired: {}", paired.len())];
    if count > 0 {
        parts.push(format!("\n{}", pending(&answer["pending"], now)));
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

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn names_of_nodes() {
        let all = [
            json!({"nodeId": "abcdef123", "displayName": "Pi in the Attic", "connected": true}),
            json!({"nodeId": "abcdef999", "displayName": "Phone", "remoteIp": "10.0.0.9", "connected": true}),
            json!({"nodeId": "old", "displayName": "Phone", "connected": false}),
            json!({"nodeId": "x1", "displayName": "Twin"}),
            json!({"nodeId": "x2", "displayName": "Twin"}),
        ];
        for (wanted, id) in [
            ("abcdef123", "abcdef123"),
            (" pi-in the attic ", "abcdef123"),
            ("10.0.0.9", "abcdef999"),
            ("phone", "abcdef999"),
            ("abcdef1", "abcdef123"),
            ("old", "old"),
        ] {
            assert_eq!(resolve(&all, wanted).as_deref(), Ok(id), "{wanted}");
        }
        assert!(resolve(&all, "abcdef").unwrap_err().contains("names 2 nodes"));
        assert!(resolve(&all, "twin").unwrap_err().contains("x1, x2"));
        assert_eq!(
            resolve(&all, "ab").unwrap_err(),
            "unknown node: ab (known: Pi in the Attic, Phone, Phone, Twin, Twin)"
        );
        assert!(resolve(&all, "").is_err() && resolve(&[], "a").unwrap_err().ends_with("(known: none)"));
    }
}
