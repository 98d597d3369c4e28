//! `exec` where `tools.exec.host` is `node`: the command runs on another machine, and that decides by its own file what may.
//!
//! The tool puts a question to whoever knows the nodes, and waits for the answer or for the run's end. What the configuration forbids is
//! not even asked. The reference lets a call choose only what is configured, too.
use super::exec::{added, argv};
use super::output::Output;
use super::settings::{Ask, Host, Security};
use super::{Outcome, Place, Tool, number_of, one_line, text_of};
use crate::base::cancel::Cancel;
use crate::base::child::Collect;
use crate::base::limits::EXEC_TIMEOUT_S_MAX;
use crossbeam_channel::{Sender, bounded, select};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A command for a node.
#[derive(Debug)]
pub struct NodeCommand {
    /// Id, name or address; None where there is only one.
    pub node: Option<String>,
    pub argv: Vec<String>,
    /// What the arguments read as, where they are a text for a shell.
    pub text: Option<String>,
    pub cwd: Option<String>,
    pub env: Map<String, Value>,
    pub agent_id: String,
    pub session_key: String,
    pub timeout_ms: u64,
    /// Never `Deny`.
    pub security: Security,
    pub ask: Ask,
    /// What the node answers to `system.run`, or a sentence that says why it did not run.
    pub answer: Sender<Result<Value, String>>,
}

/// Puts the question. Does not block.
#[derive(Clone)]
pub struct Nodes(pub Arc<dyn Fn(NodeCommand) + Send + Sync>);

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nodes")
    }
}

pub(super) struct ExecOnNode;

impl Tool for ExecOnNode {
    fn name(&self) -> &'static str {
        "exec"
    }
    fn description(&self) -> &'static str {
        "Runs a shell command on a paired node, another machine, and waits for its end; answers what it wrote. A person may be asked first."
    }
    fn parameters(&self) -> Value {
        json!({"type": "object", "required": ["command"], "properties": {
            "command": {"type": "string", "description": "For the node's shell"},
            "node": {"type": "string", "description": "Id or name of the node, if there are several"},
            "workdir": {"type": "string", "description": "Folder of the node to run it in"},
            "env": {"type": "object", "description": "Environment variables to add", "additionalProperties": {"type": "string"}},
            "timeout": {"type": "number", "description": "Seconds after which it is stopped"},
        }})
    }
    fn call(&self, args: &Value, place: &Place, cancel: &Cancel, _: &mut dyn FnMut(Value)) -> Outcome {
        call(args, place, cancel).unwrap_or_else(|text| Outcome::error("exec", text))
    }
    fn meta(&self, args: &Value) -> Option<String> {
        match &args["command"] {
            Value::String(text) => one_line(text),
            list => one_line(&argv(list)?.join(" ")),
        }
    }
}

fn call(args: &Value, place: &Place, cancel: &Cancel) -> Result<Outcome, String> {
    let (sender, answer) = bounded(1);
    let command = command(args, place, sender)?;
    let nodes = place.nodes.as_ref().ok_or("commands run on nodes here, and only in a conversation")?;
    let started_ms = place.clock.now().mono_ms;
    if !cancel.is_cancelled() {
        (nodes.0)(command);
    }
    let stopped = "stopped: the run was aborted. What the node runs already, it may go on with";
    let payload = select! {
        recv(answer) -> it => it.map_err(|_| stopped.to_owned())??,
        recv(cancel.done()) -> _ => return Err(stopped.to_owned()),
    };
    Ok(outcome(&payload, place.clock.now().mono_ms - started_ms))
}

fn command(
    args: &Value,
    place: &Place,
    answer: Sender<Result<Value, String>>,
) -> Result<NodeCommand, String> {
    let config = &place.config.exec;
    if config.security == Security::Deny {
        return Err("commands are turned off by tools.exec.security \"deny\"".to_owned());
    }
    if args["host"].as_str().is_some_and(|it| it != "node") {
        return Err("commands run on a node here: tools.exec.host is \"node\"".to_owned());
    }
    let optional = |name: &str| match &args[name] {
        Value::Null => Ok(None),
        _ => text_of(args, &[name]).map(|it| Some(it.trim().to_owned()).filter(|it| !it.is_empty())),
    };
    let node = match (&config.node, optional("node")?) {
        (Some(bound), Some(wanted)) if !bound.eq_ignore_ascii_case(&wanted) => {
            return Err(format!("commands run on the node {bound:?} alone: that is tools.exec.node"));
        }
        (bound, wanted) => bound.clone().or(wanted),
    };
    let (argv, text) = match &args["command"] {
        list @ Value::Array(_) => {
            (argv(list).ok_or("command must be a string, or an array of strings")?, None)
        }
        _ => {
            let text = text_of(args, &["command"])?.to_owned();
            (["/bin/sh", "-lc", &text].map(str::to_owned).to_vec(), Some(text))
        }
    };
    if argv.iter().any(|it| it.contains('\0')) || argv.last().is_none_or(|it| it.trim().is_empty()) {
        return Err("command must say what to run".to_owned());
    }
    let timeout_s = match number_of(args, "timeout")? {
        Some(it) if it > 0.0 => it.min(EXEC_TIMEOUT_S_MAX as f64),
        Some(it) => return Err(format!("timeout must be a number of seconds above 0, not {it}")),
        None => config.timeout_s as f64,
    };
    Ok(NodeCommand {
        node,
        argv,
        text,
        cwd: optional("workdir")?,
        env: added(&args["env"])?.into_iter().map(|(name, value)| (name, value.into())).collect(),
        agent_id: place.agent_id.clone(),
        session_key: place.session_key.clone(),
        timeout_ms: (timeout_s * 1000.0) as u64,
        security: config.security,
        ask: config.ask,
        answer,
    })
}

/// As a command of this machine tells it.
fn outcome(payload: &Value, took_ms: u64) -> Outcome {
    let mut output = Output::default();
    for name in ["stdout", "stderr"] {
        let text = payload[name].as_str().unwrap_or_default();
        output.push(false, text.as_bytes());
        if !text.is_empty() && !text.ends_with('\n') {
            output.push(false, b"\n");
        }
    }
    let aggregated = output.text();
    let failure = match (payload["error"].as_str().filter(|it| !it.is_empty()), payload["exitCode"].as_i64())
    {
        (Some(text), _) => Some(text.to_owned()),
        _ if payload["timedOut"] == true => Some("stopped by its timeout".to_owned()),
        (_, Some(0)) => None,
        (_, Some(code)) => Some(format!("exit code {code}")),
        (_, None) if payload["success"] == true => None,
        (_, None) => Some("ended without an exit code".to_owned()),
    };
    let mut parts = vec![aggregated.clone()];
    parts.extend(failure.clone());
    parts.retain(|it| !it.is_empty());
    let text = if parts.is_empty() { "(no output)".to_owned() } else { parts.join("\n\n") };
    let mut details = json!({
        "status": if failure.is_some() { "error" } else { "completed" },
        "exitCode": payload["exitCode"],
        "durationMs": took_ms,
        "aggregated": aggregated,
        "host": Host::Node.word(),
    });
    let is_error = failure.is_some();
    if let Some(failure) = failure {
        details["tool"] = "exec".into();
        details["error"] = failure.into();
    }
    Outcome { text, details, is_error, image: None }
}
