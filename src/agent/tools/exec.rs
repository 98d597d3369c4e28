//! `exec`: a command, in the workspace, with a small environment of its own.
//!
//! Text is run by `/bin/sh -c`; an array is a program and its arguments, which no shell reads. `tools.exec.{host,security,ask}` decide
//! whether it runs at all: what would need a person's approval does not.
use super::output::Output;
use super::settings::{Ask, ExecConfig, Host, Security};
use super::{Outcome, Place, Tool, allowlist, number_of, one_line, text_of};
use crate::base::cancel::Cancel;
use crate::base::child::{self, End, INHERITED, PATH_DEFAULT, is_variable, may_set};
use crate::base::files;
use crate::base::limits::{EXEC_TAIL_CHARS, EXEC_TIMEOUT_S_MAX};
use crate::config::paths::expand_home;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) struct Exec;

impl Tool for Exec {
    fn name(&self) -> &'static str {
        "exec"
    }
    fn description(&self) -> &'static str {
        "Runs a shell command in the workspace and waits for its end; answers what it wrote. Nothing can be typed into it."
    }
    fn parameters(&self) -> Value {
        json!({"type": "object", "required": ["command"], "properties": {
            "command": {"type": "string", "description": "For /bin/sh"},
            "workdir": {"type": "string", "description": "Folder to run it in, if not the workspace"},
            "env": {"type": "object", "description": "Environment variables to add", "additionalProperties": {"type": "string"}},
            "timeout": {"type": "number", "description": "Seconds after which it is stopped"},
        }})
    }
    fn call(&self, args: &Value, place: &Place, cancel: &Cancel, update: &mut dyn FnMut(Value)) -> Outcome {
        exec(args, place, cancel, update).unwrap_or_else(|text| Outcome::error("exec", text))
    }
    fn meta(&self, args: &Value) -> Option<String> {
        match &args["command"] {
            Value::String(text) => one_line(text),
            list => one_line(&argv(list)?.join(" ")),
        }
    }
}

fn exec(
    args: &Value,
    place: &Place,
    cancel: &Cancel,
    update: &mut dyn FnMut(Value),
) -> Result<Outcome, String> {
    let config = &place.config.exec;
    let words = match &args["command"] {
        Value::Array(_) => {
            argv(&args["command"]).ok_or("command must be a string, or an array of strings")?
        }
        _ => ["/bin/sh", "-c", text_of(args, &["command"])?].map(str::to_owned).to_vec(),
    };
    if words.iter().any(|it| it.contains('\0')) || words.last().is_none_or(|it| it.trim().is_empty()) {
        return Err("command must say what to run".to_owned());
    }
    let timeout_s = match number_of(args, "timeout")? {
        Some(it) if it > 0.0 => it.min(EXEC_TIMEOUT_S_MAX as f64),
        Some(it) => return Err(format!("timeout must be a number of seconds above 0, not {it}")),
        None => config.timeout_s as f64,
    };
    let cwd = workdir(args, place)?;
    let added = added(&args["env"])?;
    permit(args, config, &added, &cwd)?;
    if cancel.is_cancelled() {
        return Err("not run: it was stopped before".to_owned());
    }
    #[expect(clippy::disallowed_methods, reason = "this is the tool that starts them")]
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(&cwd).env_clear().envs(inherited(place)).envs(added);
    let started_at = place.clock.now().unix_ms;
    let timeout_ms = (timeout_s * 1000.0) as u64;
    let ran =
        child::run(command, Stdio::null(), timeout_ms, &place.clock, cancel, &mut |pid, output: &Output| {
            update(partial(pid, output, started_at, &cwd));
        });
    let ran = ran.map_err(|err| format!("{} cannot be run: {err}", words[0]))?;
    Ok(outcome(&ran, &cwd, timeout_s))
}

/// An array of strings that names a program.
pub(super) fn argv(list: &Value) -> Option<Vec<String>> {
    let words: Option<Vec<String>> =
        list.as_array()?.iter().map(|it| it.as_str().map(str::to_owned)).collect();
    words.filter(|it| it.first().is_some_and(|it| !it.is_empty()))
}

fn workdir(args: &Value, place: &Place) -> Result<PathBuf, String> {
    let workspace = &place.workspace;
    files::make_dir(workspace).map_err(|err| format!("the workspace {}: {err}", workspace.display()))?;
    if args["workdir"].is_null() {
        return Ok(workspace.clone());
    }
    let written = text_of(args, &["workdir"])?;
    let dir = workspace.join(expand_home(written, &place.env.home()));
    // Not run elsewhere instead, as the reference does: a command may remove what it finds.
    if dir.is_dir() { Ok(dir) } else { Err(format!("workdir {written} is not a folder: make it first")) }
}

/// The variables that a call adds.
pub(super) fn added(env: &Value) -> Result<Vec<(String, String)>, String> {
    let map = match env {
        Value::Null => return Ok(vec![]),
        Value::Object(map) => map,
        _ => return Err("env must be an object of strings".to_owned()),
    };
    let one = |(name, value): (&String, &Value)| {
        if !is_variable(name) {
            return Err(format!("env: {name:?} is no name of a variable"));
        }
        if !may_set(name) {
            return Err(format!("env: {name} may not be set"));
        }
        match value {
            Value::String(text) if !text.contains('\0') => Ok((name.clone(), text.clone())),
            Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string())),
            _ => Err(format!("env: {name} must be a string")),
        }
    };
    map.iter().map(one).collect()
}

fn inherited(place: &Place) -> Vec<(&'static str, String)> {
    let env = &place.env;
    let config = &place.config.exec;
    let mut all: Vec<_> = INHERITED.split(' ').filter_map(|it| Some((it, env.get(it)?.to_owned()))).collect();
    let path = if config.security == Security::Allowlist {
        allowlist::PATH.to_owned()
    } else {
        let before = config.path_prepend.iter().map(|it| expand_home(it, &env.home()).display().to_string());
        let path = env.get("PATH").filter(|it| !it.is_empty()).unwrap_or(PATH_DEFAULT);
        before.chain([path.to_owned()]).collect::<Vec<_>>().join(":")
    };
    all.push(("PATH", path));
    all
}

/// # Errors
/// Why the command is not run, and which key decides that.
fn permit(args: &Value, config: &ExecConfig, added: &[(String, String)], cwd: &Path) -> Result<(), String> {
    if config.host == Host::Node {
        return Err("commands run on a node (tools.exec.host), and that only in a conversation".to_owned());
    }
    if args["host"] == "node" {
        return Err("commands run on the gateway's own machine here: tools.exec.host decides that".to_owned());
    }
    const UNASKED: &str =
        "nobody can be asked for an approval: to let commands run unasked set tools.exec.ask to \"off\"";
    match (config.security, config.ask) {
        (Security::Deny, _) => {
            Err("commands are turned off by tools.exec.security \"deny\"; \"allowlist\" or \"full\" lets them run".to_owned())
        }
        (_, Ask::Always) => Err(format!("tools.exec.ask is \"always\", but {UNASKED}")),
        (Security::Full, _) => Ok(()),
        (Security::Allowlist, ask) => {
            let checked = match &args["command"] {
                Value::String(_) if !added.is_empty() => Err("env may not be given in allowlist mode".to_owned()),
                Value::String(command) => allowlist::check(command, &config.safe_bins, cwd),
                _ => Err("command must be a string in allowlist mode".to_owned()),
            };
            let and_ask = if ask == Ask::OnMiss { ", and nobody can be asked for an approval" } else { "" };
            checked.map_err(|why| {
                format!(
                    "not allowed: {why}{and_ask}. tools.exec.safeBins names the programs that may run, tools.exec.security \"full\" allows all"
                )
            })
        }
    }
}

/// What there is while it runs.
fn partial(pid: u32, output: &Output, started_at: i64, cwd: &Path) -> Value {
    let tail = output.end(EXEC_TAIL_CHARS);
    json!({
        "content": [{"type": "text", "text": tail}],
        "details": {"status": "running", "pid": pid, "startedAt": started_at, "cwd": cwd.display().to_string(), "tail": tail},
    })
}

fn outcome(ran: &child::Ran<Output>, cwd: &Path, timeout_s: f64) -> Outcome {
    let aggregated = ran.output.text();
    let failure = match ran.end {
        End::Code(0) => None,
        End::Code(code) => Some(format!("exit code {code}")),
        End::Signal(signal) => Some(format!("killed by {}", signal_name(signal))),
        End::TimedOut => Some(format!("stopped after {timeout_s} s, its timeout")),
        End::Aborted => Some("stopped: the run was aborted".to_owned()),
    };
    let mut parts = vec![aggregated.clone()];
    parts.extend(ran.left_open.then(|| {
        "[something it started is still running; what that writes from now on is lost, so send it to a file]".to_owned()
    }));
    parts.extend(failure.clone());
    parts.retain(|it| !it.is_empty());
    let text = if parts.is_empty() { "(no output)".to_owned() } else { parts.join("\n\n") };
    let mut details = json!({
        "status": if failure.is_some() { "error" } else { "completed" },
        "exitCode": null,
        "durationMs": ran.took_ms,
        "aggregated": aggregated,
        "cwd": cwd.display().to_string(),
    });
    match ran.end {
        End::Code(code) => details["exitCode"] = code.into(),
        End::Signal(signal) => details["exitSignal"] = signal_name(signal).into(),
        End::TimedOut => details["timedOut"] = true.into(),
        End::Aborted => details["aborted"] = true.into(),
    }
    let is_error = failure.is_some();
    if let Some(failure) = failure {
        details["tool"] = "exec".into();
        details["error"] = failure.into();
    }
    Outcome { text, details, is_error, image: None }
}

fn signal_name(signal: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    let name = NAMES.iter().find(|it| it.0 == signal).map(|it| it.1.to_owned());
    name.unwrap_or_else(|| format!("signal {signal}"))
}
