//! `exec.approval.*`: a person decides whether one command may run. What was approved is that command and nothing else.
//!
//! ```text
//! asked ─► pending ── resolved ─► granted ── the very same call of system.run ─► used
//!             └────── time ─────► answered null          └── time ─► forgotten
//! ```
//!
//! * An approval binds the command, its folder, environment, agent, session and node, and who asked; it is used once.
//! * Where the asking client named only a text, the text must be what the arguments read as; an environment that it did not name is none.
use super::Timer;
use super::events::{
    ApprovalRequest, ApprovalRequested, ApprovalResolved, EXEC_APPROVAL_REQUESTED, EXEC_APPROVAL_RESOLVED,
};
use super::registry::Call;
use super::runs::RunRef;
use super::ws_log::Asked;
use super::{Client, Core};
use crate::base::clock::Now;
use crate::base::ids::{self, ConnId};
use crate::base::limits::{
    APPROVAL_BYTES_MAX, APPROVAL_MS, APPROVAL_USE_MS, APPROVALS_MAX, NODE_WAIT_MS_MAX,
};
use crate::base::shown::{shown, shown_words};
use crate::literals;
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

literals! { pub enum ApprovalDecision { AllowOnce = "allow-once", AllowAlways = "allow-always", Deny = "deny" } }

impl ApprovalDecision {
    pub fn parse(text: &str) -> Option<ApprovalDecision> {
        [Self::AllowOnce, Self::AllowAlways, Self::Deny].into_iter().find(|it| it.as_str() == text)
    }
}

/// The answer to who asked; no decision when time ran out.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApprovalReply {
    pub id: String,
    pub decision: Option<ApprovalDecision>,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
}

/// What is asked for, as its client said it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub command: String,
    pub argv: Option<Vec<String>>,
    pub cwd: Option<String>,
    pub env: BTreeMap<String, String>,
    pub agent_id: Option<String>,
    pub session_key: Option<String>,
    pub node_id: Option<String>,
    pub host: Option<String>,
    pub security: Option<String>,
    pub ask: Option<String>,
    pub resolved_path: Option<String>,
}

/// Hears what was decided, or that nobody did in time.
pub type Then = Box<dyn FnOnce(&mut Core, Option<ApprovalDecision>, Now) + Send>;

/// Who waits for the decision.
enum Waiting {
    /// A client; it may use what was granted.
    Client {
        who: String,
        asked: Asked,
    },
    Run(RunRef, Then),
}

struct Pending {
    wanted: Wanted,
    waiting: Waiting,
    created_at_ms: i64,
    expires_at_ms: i64,
    due_ms: u64,
}

struct Granted {
    wanted: Wanted,
    who: String,
    decision: ApprovalDecision,
    due_ms: u64,
}

/// Those that wait for a person, by id, and those that wait to be used, oldest first.
#[derive(Default)]
pub struct Approvals {
    pending: BTreeMap<String, Pending>,
    granted: VecDeque<Granted>,
}

/// A device, else a kind of client: command lines connect anew for every call.
fn who(core: &Core, conn: ConnId) -> String {
    let ready = core.clients.get(&conn).and_then(Client::ready);
    match ready.and_then(|it| it.device_id.as_ref()) {
        Some(device) => format!("device {device}"),
        None => format!("client {}", ready.map_or("", |it| it.client_id.as_str())),
    }
}

/// Asks whoever may approve. The answer comes when somebody has decided, or nobody in time.
///
/// # Errors
/// What the caller is told.
pub fn request(
    core: &mut Core,
    call: Call,
    id: Option<String>,
    wanted: Wanted,
    timeout_ms: Option<u64>,
) -> RpcResult<()> {
    let id = id.unwrap_or_else(|| ids::uuid(&mut core.entropy));
    if core.approvals.pending.contains_key(&id) {
        return Err(RpcError::invalid("approval id already pending"));
    }
    let waiting = Waiting::Client { who: who(core, call.conn), asked: call.asked.clone() };
    begin(core, id, wanted, timeout_ms.unwrap_or(APPROVAL_MS), waiting, call.now)
}

/// Asks for a run; `then` hears the decision, unless the run ends before.
///
/// # Errors
/// What the run is told: too much waits.
pub fn ask_for_run(core: &mut Core, run: RunRef, wanted: Wanted, then: Then, now: Now) -> RpcResult<()> {
    let id = ids::uuid(&mut core.entropy);
    begin(core, id, wanted, APPROVAL_MS, Waiting::Run(run, then), now)
}

fn begin(
    core: &mut Core,
    id: String,
    wanted: Wanted,
    wait_ms: u64,
    waiting: Waiting,
    now: Now,
) -> RpcResult<()> {
    if bytes(&wanted) > APPROVAL_BYTES_MAX {
        let text = format!(
            "invalid exec.approval.request params: a command of over {APPROVAL_BYTES_MAX} bytes cannot be judged: put it in a file"
        );
        return Err(RpcError::invalid(text));
    }
    if core.approvals.pending.len() >= APPROVALS_MAX {
        return Err(RpcError::busy(1000));
    }
    let wait_ms = wait_ms.min(NODE_WAIT_MS_MAX);
    let (created_at_ms, due_ms) = (now.unix_ms, now.mono_ms + wait_ms);
    let expires_at_ms = created_at_ms + wait_ms as i64;
    let event =
        ApprovalRequested { id: id.clone(), request: as_shown(&wanted), created_at_ms, expires_at_ms };
    core.approvals.pending.insert(id, Pending { wanted, waiting, created_at_ms, expires_at_ms, due_ms });
    core.arm_by(due_ms, Timer::Approval);
    core.broadcast(&EXEC_APPROVAL_REQUESTED, &event);
    Ok(())
}

fn bytes(wanted: &Wanted) -> usize {
    let words = wanted.argv.iter().flatten().chain(wanted.env.values());
    wanted.command.len() + words.map(String::len).sum::<usize>()
}

/// Nothing in it hides. A list of arguments is shown itself, whatever its client calls it.
fn as_shown(wanted: &Wanted) -> ApprovalRequest {
    let text = |it: &Option<String>| it.as_deref().map(shown);
    ApprovalRequest {
        command: wanted.argv.as_ref().map_or_else(|| shown(&wanted.command), |it| shown_words(it)),
        cwd: text(&wanted.cwd),
        host: text(&wanted.host),
        security: text(&wanted.security),
        ask: text(&wanted.ask),
        agent_id: text(&wanted.agent_id),
        resolved_path: text(&wanted.resolved_path),
        session_key: text(&wanted.session_key),
        node_id: text(&wanted.node_id),
        env: wanted.env.iter().map(|(name, value)| (shown(name), shown(value))).collect(),
    }
}

/// Somebody has decided.
///
/// # Errors
/// What the caller is told.
pub fn resolve(core: &mut Core, call: Call, id: &str, decision: ApprovalDecision) -> RpcResult<()> {
    let pending =
        core.approvals.pending.remove(id).ok_or_else(|| RpcError::invalid("unknown approval id"))?;
    let now = call.now;
    let ready = core.clients.get(&call.conn).and_then(Client::ready);
    let resolved_by =
        ready.map(|it| it.display_name.clone().unwrap_or_else(|| it.client_id.as_str().to_owned()));
    if let (Waiting::Client { who, .. }, true) = (&pending.waiting, decision != ApprovalDecision::Deny) {
        let granted = &mut core.approvals.granted;
        granted.retain(|it| it.due_ms > now.mono_ms);
        if granted.len() >= APPROVALS_MAX {
            granted.pop_front();
        }
        let (due_ms, wanted) = (now.mono_ms + APPROVAL_USE_MS, pending.wanted.clone());
        granted.push_back(Granted { wanted, who: who.clone(), decision, due_ms });
    }
    answer(core, id, pending, Some(decision), now);
    let event = ApprovalResolved { id: id.to_owned(), decision, resolved_by, ts: now.unix_ms };
    core.broadcast(&EXEC_APPROVAL_RESOLVED, &event);
    sleep(core);
    Ok(())
}

fn answer(core: &mut Core, id: &str, pending: Pending, decision: Option<ApprovalDecision>, now: Now) {
    match pending.waiting {
        Waiting::Client { asked, .. } => {
            let (created_at_ms, expires_at_ms) = (pending.created_at_ms, pending.expires_at_ms);
            let reply = ApprovalReply { id: id.to_owned(), decision, created_at_ms, expires_at_ms };
            core.answer(&asked, Ok(&raw(&reply)), now);
        }
        Waiting::Run(_, then) => then(core, decision, now),
    }
}

/// A run has ended: nobody needs to decide for it any more.
pub fn forget_run(core: &mut Core, run: RunRef, now: Now) {
    let its = |it: &Pending| matches!(it.waiting, Waiting::Run(of, _) if of == run);
    let ids: Vec<String> =
        core.approvals.pending.iter().filter(|it| its(it.1)).map(|it| it.0.clone()).collect();
    for id in ids {
        core.approvals.pending.remove(&id);
        let (decision, resolved_by) = (ApprovalDecision::Deny, Some("gateway: the run has ended".to_owned()));
        core.broadcast(
            &EXEC_APPROVAL_RESOLVED,
            &ApprovalResolved { id, decision, resolved_by, ts: now.unix_ms },
        );
    }
    sleep(core);
}

/// Some have waited long enough.
pub fn on_timer(core: &mut Core, now: Now) {
    let all = std::mem::take(&mut core.approvals.pending);
    let (over, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|it| it.1.due_ms <= now.mono_ms);
    core.approvals.pending = left;
    for (id, it) in over {
        answer(core, &id, it, None, now);
    }
    if let Some(next) = core.approvals.pending.values().map(|it| it.due_ms).min() {
        core.arm_by(next, Timer::Approval);
    }
}

fn sleep(core: &mut Core) {
    if core.approvals.pending.is_empty() {
        core.disarm(|it| *it == Timer::Approval);
    }
}

/// `system.run` on a node. One that says it was approved passes when it was, and then not again. The text beside the arguments must be
/// what they read as: nodes in use judge by that text, and run the arguments.
///
/// # Errors
/// No approval of this very command is known, or two commands are named.
pub fn pass(core: &mut Core, conn: ConnId, node_id: &str, params: &Value, now: Now) -> RpcResult<()> {
    if let (Some(argv), Some(text)) = (argv(params), params["rawCommand"].as_str())
        && !text.trim().is_empty()
        && !reads_as(&argv, text)
    {
        return Err(RpcError::invalid(
            "system.run names two commands: rawCommand must be what command reads as, or be left out",
        )
        .details(serde_json::json!({ "reason": "rawCommand mismatch", "command": "system.run" })));
    }
    let said = ApprovalDecision::parse(params["approvalDecision"].as_str().unwrap_or_default());
    let says_so = params["approved"] == true || matches!(said, Some(it) if it != ApprovalDecision::Deny);
    if !says_so {
        return Ok(());
    }
    let who = who(core, conn);
    let granted = &mut core.approvals.granted;
    granted.retain(|it| it.due_ms > now.mono_ms);
    let fits = |it: &Granted| {
        // Once is not always.
        let as_wide =
            said != Some(ApprovalDecision::AllowAlways) || it.decision == ApprovalDecision::AllowAlways;
        it.who == who && as_wide && is_same(&it.wanted, node_id, params)
    };
    match granted.iter().position(fits) {
        Some(at) => drop(granted.remove(at)),
        None => {
            return Err(RpcError::invalid(
                "system.run says approved, but nobody has approved this command with this folder, environment, agent, session and node: ask with exec.approval.request, and run what was approved, once",
            )
            .details(serde_json::json!({ "reason": "approval required", "command": "system.run" })));
        }
    }
    Ok(())
}

fn argv(params: &Value) -> Option<Vec<&str>> {
    params["command"].as_array()?.iter().map(Value::as_str).collect()
}

fn is_same(wanted: &Wanted, node_id: &str, params: &Value) -> bool {
    let text = |it: Option<&str>| it.map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let same = |wanted: &Option<String>, name: &str| text(wanted.as_deref()) == text(params[name].as_str());
    let Some(argv) = argv(params) else { return false };
    let command = match &wanted.argv {
        Some(it) => it.iter().eq(argv.iter()),
        None => reads_as(&argv, &wanted.command),
    };
    let empty = serde_json::Map::new();
    let env = params["env"].as_object().unwrap_or(&empty);
    let env = env.len() == wanted.env.len()
        && env.iter().all(|(name, value)| wanted.env.get(name).is_some_and(|it| value.as_str() == Some(it)));
    let node = text(wanted.node_id.as_deref()).is_none_or(|it| it == node_id);
    command
        && env
        && node
        && same(&wanted.cwd, "cwd")
        && same(&wanted.agent_id, "agentId")
        && same(&wanted.session_key, "sessionKey")
}

/// What the reference's clients show for an argument list: its words, or what they give to a shell.
fn reads_as(argv: &[&str], text: &str) -> bool {
    const SHELLS: [(&str, &str); 3] = [("/bin/sh", "-lc"), ("/bin/sh", "-c"), ("cmd.exe", "/c")];
    let script = match argv {
        [shell, .., flag, script] if SHELLS.contains(&(*shell, *flag)) => Some(*script),
        _ => None,
    };
    argv.join(" ").trim() == text.trim() || script.is_some_and(|it| it.trim() == text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[test]
    fn another_field_is_another_command() {
        let wanted = Wanted {
            command: "git status".into(),
            cwd: Some("/srv".into()),
            env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            session_key: Some("main".into()),
            ..Wanted::default()
        };
        let right = json!({"command": ["git", "status"], "cwd": "/srv", "env": {"A": "b"}, "sessionKey": "main", "agentId": null});
        assert!(is_same(&wanted, "n", &right));
        for (name, value) in [
            ("command", json!(["git", "status", "-v"])),
            ("command", json!(["git"])),
            ("command", json!("git status")),
            ("command", json!(["git", 5])),
            ("cwd", json!("/")),
            ("cwd", json!(null)),
            ("env", json!({"A": "b", "GIT_SSH": "x"})),
            ("env", json!({"A": "c"})),
            ("env", json!({"A": 5})),
            ("env", json!(null)),
            ("sessionKey", json!("other")),
            ("agentId", json!("main")),
        ] {
            let mut other = right.clone();
            other[name] = value;
            assert!(!is_same(&wanted, "n", &other), "{other}");
        }
        let exact = Wanted {
            argv: Some(vec!["git".into(), "status".into()]),
            node_id: Some("n".into()),
            ..wanted.clone()
        };
        assert!(is_same(&exact, "n", &right) && !is_same(&exact, "m", &right));
        let mut other = right.clone();
        other["command"] = json!(["git status"]);
        assert!(is_same(&wanted, "n", &other), "who names no arguments binds what they read as");
        assert!(!is_same(&exact, "n", &other));
    }
    #[test]
    fn shells() {
        assert!(reads_as(&["/bin/sh", "-lc", "a | b"], "a | b"));
        assert!(reads_as(&["cmd.exe", "/d", "/s", "/c", "dir"], "dir"));
        assert!(!reads_as(&["/tmp/sh", "-lc", "a | b"], "a | b"));
        assert!(!reads_as(&["/bin/sh", "-lc", "a | b", "x"], "a | b"));
    }
    #[test]
    fn nothing_hides_from_the_operator() {
        let wanted = Wanted {
            command: "ls".into(),
            argv: Some(vec!["rm".into(), "a\u{202e}b".into(), "x y".into()]),
            cwd: Some("/\u{200b}".into()),
            ..Wanted::default()
        };
        let it = as_shown(&wanted);
        assert_eq!(
            (it.command.as_str(), it.cwd.as_deref()),
            ("rm \"a\\u{202e}b\" \"x y\"", Some("/\\u{200b}"))
        );
    }
}
