//! `system.run` and `system.which`: the commands themselves. Each runs on a worker's thread.
use super::policy::{self, Around, Decision, Policy};
use crate::agent::tools::{Security, ToolsConfig, allowlist};
use crate::base::cancel::Cancel;
use crate::base::child::{self, Collect, INHERITED, PATH_DEFAULT, is_variable, may_set};
use crate::base::clock::Clock;
use crate::base::ids;
use crate::base::limits::{EXEC_TIMEOUT_S_MAX, FRAME_BYTES_MAX, NODE_EVENT_CHARS_MAX, NODE_OUTPUT_BYTES_MAX};
use crate::base::shown::shown_words;
use crate::config::Env;
use crate::store::exec_approvals;
use serde_json::{Map, Value, json};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

/// The error of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub code: &'static str,
    pub message: String,
}

impl Refused {
    pub fn invalid(message: impl Into<String>) -> Refused {
        Refused { code: "INVALID_REQUEST", message: message.into() }
    }
    pub fn unavailable(message: impl Into<String>) -> Refused {
        Refused { code: "UNAVAILABLE", message: message.into() }
    }
}

/// What does not change while the node runs.
pub struct Machine {
    pub env: Env,
    pub state: PathBuf,
    pub home: PathBuf,
    /// Where commands run that name no folder.
    pub cwd: PathBuf,
    /// The resolved configuration.
    pub config: Arc<Value>,
    pub clock: Clock,
    /// All commands end when it is cancelled.
    pub cancel: Cancel,
    /// One writer of `exec-approvals.json` at a time.
    pub file: Mutex<()>,
}

impl Machine {
    pub fn path(&self) -> &str {
        self.env.get("PATH").filter(|it| !it.is_empty()).unwrap_or(PATH_DEFAULT)
    }
    /// What of it is found here, by name.
    pub fn which(&self, params: &Value) -> Result<Value, Refused> {
        let bins = params["bins"].as_array().ok_or_else(|| Refused::invalid("bins required"))?;
        let mut found = Map::new();
        for name in bins.iter().filter_map(Value::as_str).map(str::trim).filter(|it| !it.contains('/')) {
            if let Some(path) = policy::resolve(name, Path::new("/"), self.path()) {
                found.insert(name.to_owned(), path.display().to_string().into());
            }
        }
        Ok(json!({ "bins": found }))
    }
}

/// What came of a command, and what the gateway is told of it by itself.
pub struct Outcome {
    pub result: Result<Value, Refused>,
    pub event: (&'static str, Value),
}

struct Wanted {
    argv: Vec<String>,
    cwd: PathBuf,
    env: Vec<(String, String)>,
    timeout_ms: u64,
    agent_id: Option<String>,
    decision: Decision,
    records_screen: bool,
    about: Value,
}

/// A command that could be run, or why it could not even be looked at.
pub fn parse(params: &Value, machine: &Machine) -> Result<Parsed, Refused> {
    let text = |name: &str| params[name].as_str().map(str::trim).filter(|it| !it.is_empty());
    let word = |it: &Value| match it {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let argv: Vec<String> = params["command"].as_array().into_iter().flatten().map(word).collect();
    if argv.first().is_none_or(|it| it.trim().is_empty()) {
        return Err(Refused::invalid("command required"));
    }
    let env = params["env"].as_object().into_iter().flatten().filter_map(|(name, value)| {
        // Reference: what may not be set is left out.
        let text = value.as_str().filter(|it| !it.contains('\0'))?;
        (is_variable(name) && may_set(name)).then(|| (name.clone(), text.to_owned()))
    });
    let decision = match (text("approvalDecision"), params["approved"] == true) {
        (Some("deny"), _) => Decision::Denied,
        (Some("allow-always"), _) => Decision::Always,
        (Some("allow-once"), _) | (_, true) => Decision::Once,
        _ => Decision::None,
    };
    let run_id = text("runId").map_or_else(|| ids::uuid(&mut ids::os_entropy()), str::to_owned);
    let command = policy::script(&argv).map_or_else(|| shown_words(&argv), str::to_owned);
    let about = json!({ "sessionKey": text("sessionKey").unwrap_or("node"), "runId": run_id, "host": "node", "command": command });
    let limit_ms = EXEC_TIMEOUT_S_MAX * 1000;
    Ok(Parsed(Wanted {
        cwd: text("cwd").map_or_else(|| machine.cwd.clone(), PathBuf::from),
        env: env.collect(),
        timeout_ms: params["timeoutMs"].as_u64().filter(|it| *it > 0).map_or(limit_ms, |it| it.min(limit_ms)),
        agent_id: text("agentId").map(str::to_owned),
        decision,
        records_screen: params["needsScreenRecording"] == true,
        about,
        argv,
    }))
}

pub struct Parsed(Wanted);

impl Parsed {
    /// Whether what the gateway's skills ask for may run unasked.
    pub fn wants_skills(&self, machine: &Machine) -> bool {
        let file = exec_approvals::stored(&machine.state).unwrap_or_default();
        Policy::of(&file, &machine.config, self.0.agent_id.as_deref()).skills
    }
    /// Blocks until it has ended.
    pub fn run(self, machine: &Machine, skill_bins: &[String]) -> Outcome {
        let about = self.0.about.clone();
        match permitted(&self.0, machine, skill_bins) {
            Ok(path) => run(self.0, &path, machine),
            Err((reason, refused)) => {
                let mut event = about;
                event["reason"] = reason.into();
                Outcome { result: Err(refused), event: ("exec.denied", event) }
            }
        }
    }
}

/// The PATH with which it may run.
fn permitted(
    wanted: &Wanted,
    machine: &Machine,
    skill_bins: &[String],
) -> Result<String, (&'static str, Refused)> {
    let _alone = machine.file.lock().unwrap_or_else(|it| it.into_inner());
    if wanted.records_screen {
        return Err((
            "permission:screenRecording",
            Refused::unavailable("PERMISSION_MISSING: screenRecording"),
        ));
    }
    let broken = |err: String| ("approvals-file", Refused::unavailable(err));
    let file = exec_approvals::stored(&machine.state).map_err(broken)?;
    let policy = Policy::of(&file, &machine.config, wanted.agent_id.as_deref());
    let agent = wanted.agent_id.as_deref().unwrap_or("main");
    let tools = ToolsConfig::read(&machine.config, agent);
    let around =
        Around { cwd: &wanted.cwd, home: &machine.home, safe_bins: &tools.exec.safe_bins, skill_bins };
    // Safe programs come from the system's folders whatever PATH says (security plan 1.4); what is judged is what runs.
    let path = match policy.security {
        Security::Allowlist => format!("{}:{}", allowlist::PATH, machine.path()),
        _ => machine.path().to_owned(),
    };
    let programs = policy::programs(&wanted.argv, &wanted.cwd, &path);
    let used = programs.as_ref().and_then(|it| policy::allowed(&policy, it, &around));
    let denied = |it: policy::Denied| (it.0, Refused::unavailable(it.1));
    policy::judge(&policy, used.is_some(), wanted.decision).map_err(denied)?;
    let (now, mut entropy) = (machine.clock.now().unix_ms, ids::os_entropy());
    if policy.security == Security::Allowlist {
        let command = wanted.about["command"].as_str().unwrap_or_default();
        let kept = match (wanted.decision, programs, used) {
            (Decision::Always, Some(programs), None) => {
                policy::keep(&machine.state, wanted.agent_id.as_deref(), &programs, now, &mut entropy)
            }
            (_, _, Some(used)) if !used.is_empty() => {
                policy::note(&machine.state, &used, command, now, &mut entropy)
            }
            _ => Ok(()),
        };
        kept.map_err(broken)?;
    }
    Ok(path)
}

/// The beginning of what a command writes.
#[derive(Default)]
struct Kept {
    out: Vec<u8>,
    errors: Vec<u8>,
    cut: bool,
}

impl Collect for Kept {
    const APART: bool = true;
    fn push(&mut self, is_error: bool, bytes: &[u8]) {
        let room = NODE_OUTPUT_BYTES_MAX - self.out.len() - self.errors.len();
        self.cut |= bytes.len() > room;
        let into = if is_error { &mut self.errors } else { &mut self.out };
        into.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Reference.
const CUT: &str = "... (truncated)";

fn run(wanted: Wanted, path: &str, machine: &Machine) -> Outcome {
    let (cwd, program) = (&wanted.cwd, &wanted.argv[0]);
    let unset = |error: String| told(&wanted, None, false, String::new(), String::new(), Some(error));
    if !cwd.is_dir() {
        return unset(format!("cwd {} is not a folder", cwd.display()));
    }
    let Some(file) = policy::resolve(program, cwd, path) else {
        return unset(format!("spawn {program} ENOENT"));
    };
    let inherited = INHERITED.split_whitespace().filter_map(|it| Some((it, machine.env.get(it)?)));
    #[expect(clippy::disallowed_methods, reason = "running commands is what a node is for")]
    let mut command = std::process::Command::new(&file);
    command.arg0(program).args(&wanted.argv[1..]).current_dir(cwd).env_clear();
    command.envs(inherited).env("PATH", path).envs(wanted.env.iter().map(|(name, it)| (name, it)));
    match child::run::<Kept>(
        command,
        Stdio::null(),
        wanted.timeout_ms,
        &machine.clock,
        &machine.cancel,
        &mut |_, _| {},
    ) {
        Err(err) => unset(format!("spawn {program}: {err}")),
        Ok(ran) => {
            let code = if let child::End::Code(it) = ran.end { Some(it) } else { None };
            let (mut out, mut errors) = (text(ran.output.out), text(ran.output.errors));
            if ran.output.cut {
                let into = if errors.is_empty() { &mut out } else { &mut errors };
                *into += &format!("\n{CUT}");
            }
            told(&wanted, code, ran.end == child::End::TimedOut, out, errors, None)
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
}

/// The answer, and the event; both fit into a frame.
fn told(
    wanted: &Wanted,
    code: Option<i32>,
    timed_out: bool,
    mut out: String,
    mut errors: String,
    error: Option<String>,
) -> Outcome {
    let success = code == Some(0);
    let payload = loop {
        let mut payload = json!({
            "timedOut": timed_out, "success": success, "stdout": out, "stderr": errors, "error": error,
        });
        if let Some(it) = code {
            payload["exitCode"] = it.into();
        }
        // It travels as a string in a frame: what was escaped once is escaped again.
        let bytes = Value::String(payload.to_string()).to_string().len();
        if bytes <= FRAME_BYTES_MAX - 4096 {
            break payload;
        }
        for it in [&mut out, &mut errors].into_iter().filter(|it| !it.is_empty()) {
            it.truncate(it.floor_char_boundary(it.len() / 2));
            *it += &format!("\n{CUT}");
        }
    };
    let parts: Vec<&str> = [out.as_str(), &errors, error.as_deref().unwrap_or_default()]
        .into_iter()
        .filter(|it| !it.is_empty())
        .collect();
    let all = parts.join("\n");
    let all = all.trim();
    let skip = all.chars().count().saturating_sub(NODE_EVENT_CHARS_MAX);
    let end: String = all.chars().skip(skip).collect();
    let mut event = wanted.about.clone();
    if let Some(it) = code {
        event["exitCode"] = it.into();
    }
    event["timedOut"] = timed_out.into();
    event["success"] = success.into();
    event["output"] = if skip > 0 { format!("{CUT} {end}") } else { end }.into();
    Outcome { result: Ok(payload), event: ("exec.finished", event) }
}
