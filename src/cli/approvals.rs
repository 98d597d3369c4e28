//! `approvals`: which commands run unasked, on the gateway's machine, on a node, or here.
use super::args::{Calls, command};
use super::call::Trouble;
use super::nodes::with_node;
use super::rpc::{As, Client, Failure};
use super::text::{ago, list, table, word};
use super::{Context, fail, say};
use crate::base::clock::Clock;
use crate::base::ids;
use crate::base::limits::STATE_BYTES_MAX;
use crate::base::shown::shown;
use crate::store::exec_approvals::{self, Refused};
use argh::FromArgs;
use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;
use std::str::FromStr;

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
    Allowlist(Allowlist),
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

command! {
    /// let a program run without asking, or no longer: approvals allowlist add /usr/bin/uptime
    #[argh(subcommand, name = "allowlist")]
    Allowlist {
        /// on a node, by id, name or address
        #[argh(option, arg_name = "node")]
        node: Option<String>,
        /// on the gateway's machine
        #[argh(switch)]
        gateway: bool,
        /// for this agent alone (default: *, all)
        #[argh(option, arg_name = "id", default = "String::from(\"*\")")]
        agent: String,
        /// add or remove
        #[argh(positional)]
        action: Action,
        /// path of the program; * and ? stay inside a folder, ** does not, ~/ is the home
        #[argh(positional)]
        pattern: String,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Add,
    Remove,
}

impl FromStr for Action {
    type Err = String;
    fn from_str(text: &str) -> Result<Action, String> {
        match text {
            "add" => Ok(Action::Add),
            "remove" => Ok(Action::Remove),
            _ => Err("add or remove".to_owned()),
        }
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
            Command::Set(it) => (it.set(context), it.json),
            Command::Allowlist(it) => match it.change(context) {
                Ok((_, false)) if !it.json => {
                    say(if it.action == Action::Add { "Already allowlisted." } else { "Pattern not found." });
                    return ExitCode::SUCCESS;
                }
                answer => (answer.map(|it| it.0), it.json),
            },
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

/// Edits the file, and says what is there then and whether that is new. What is replaced is what was there a moment before: a change in
/// between is not lost silently.
fn change(
    context: &Context,
    it: &dyn Calls,
    whose: &Whose,
    edit: &dyn Fn(&mut Value) -> bool,
) -> Result<(Value, bool), Trouble> {
    let over = |client: &mut Client, method: [&str; 2], mut params: Value| {
        let mut before = client.call(method[0], Some(params.clone()), false)?;
        if !edit(&mut before["file"]) {
            return Ok((before, false));
        }
        params["file"] = before["file"].take();
        params["baseHash"] = before["hash"].take();
        Ok((client.call(method[1], Some(params), false)?, true))
    };
    match whose {
        Whose::Here => {
            let state = &context.paths.state;
            let mut before = exec_approvals::look(state).map_err(Failure::Other)?;
            if !edit(&mut before.file) {
                return Ok((json!(before), false));
            }
            let set =
                exec_approvals::replace(state, &before.file, Some(&before.hash), &mut ids::os_entropy());
            let set = set.map_err(|it| match it {
                Refused::Disk(err) => Failure::Other(err),
                Refused::NoHash | Refused::Changed => {
                    Failure::Other("the file was changed meanwhile: try again".to_owned())
                }
            });
            Ok((json!(set?), true))
        }
        Whose::Gateway => {
            let mut client = context.open(&it.link(), As::Cli)?;
            Ok(over(&mut client, ["exec.approvals.get", "exec.approvals.set"], json!({}))?)
        }
        Whose::Node(node) => with_node(context, it, node, |client, id| {
            let methods = ["exec.approvals.node.get", "exec.approvals.node.set"];
            over(client, methods, json!({ "nodeId": id }))
        }),
    }
}

impl Allowlist {
    fn change(&self, context: &Context) -> Result<(Value, bool), Trouble> {
        let (agent, pattern) = (self.agent.trim(), self.pattern.trim());
        if agent.is_empty() || pattern.is_empty() {
            return Err(Failure::Other("Pattern required.".to_owned()).into());
        }
        if self.action == Action::Add && !pattern.contains('/') {
            fail(&format!("note: {pattern:?} names no folder, and so no program: write the whole path"), 0);
        }
        let edit = |file: &mut Value| match self.action {
            Action::Add => add(file, agent, pattern),
            Action::Remove => remove(file, agent, pattern),
        };
        change(context, self, &Whose::of(self.node.as_deref(), self.gateway), &edit)
    }
}

/// False when it is there already.
fn add(file: &mut Value, agent: &str, pattern: &str) -> bool {
    let list = &mut file["agents"][agent]["allowlist"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut().filter(|it| !it.iter().any(|it| is_pattern(it, pattern))) else {
        return false;
    };
    list.push(json!({ "pattern": pattern }));
    true
}

/// False when it is not there. What holds nothing any more goes with it.
fn remove(file: &mut Value, agent: &str, pattern: &str) -> bool {
    // Indexing would make what is not there.
    let rules = file.get_mut("agents").and_then(|it| it.get_mut(agent));
    let list = rules.and_then(|it| it.get_mut("allowlist")).and_then(Value::as_array_mut);
    let Some(list) = list else { return false };
    let before = list.len();
    list.retain(|it| !is_pattern(it, pattern));
    let (is_less, is_empty) = (list.len() < before, list.is_empty());
    if let Some(rules) = file["agents"][agent].as_object_mut().filter(|_| is_less && is_empty) {
        rules.shift_remove("allowlist");
        if rules.is_empty()
            && let Some(agents) = file["agents"].as_object_mut()
        {
            agents.shift_remove(agent);
        }
    }
    is_less
}

fn is_pattern(entry: &Value, pattern: &str) -> bool {
    entry["pattern"].as_str().map(str::trim) == Some(pattern)
}

impl Set {
    fn set(&self, context: &Context) -> Result<Value, Trouble> {
        let new = self.read().map_err(Failure::Other)?;
        let edit = |file: &mut Value| {
            file.clone_from(&new);
            true
        };
        Ok(change(context, self, &Whose::of(self.node.as_deref(), self.gateway), &edit)?.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn patterns_come_and_go() {
        let mut file = json!({"version": 1, "agents": {"main": {"ask": "off"}}});
        assert!(add(&mut file, "*", "/bin/ls") && !add(&mut file, "*", "/bin/ls"));
        assert!(add(&mut file, "main", "/bin/ls") && add(&mut file, "main", "~/bin/*"));
        assert!(remove(&mut file, "main", "/bin/ls") && !remove(&mut file, "main", "/bin/ls"));
        let want = json!({"*": {"allowlist": [{"pattern": "/bin/ls"}]}, "main": {"ask": "off", "allowlist": [{"pattern": "~/bin/*"}]}});
        assert_eq!(file["agents"], want);
        assert!(remove(&mut file, "*", "/bin/ls") && remove(&mut file, "main", "~/bin/*"));
        assert!(!remove(&mut file, "nobody", "x"));
        assert_eq!(file["agents"], json!({"main": {"ask": "off"}}));
    }
}
