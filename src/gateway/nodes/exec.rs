//! A run's command for a node: a node is chosen, a person asked where that is needed, and the run told what came of it.
//!
//! ```text
//! asks ─┬─ ask "always" ──────────────────────► approval ─┬─ no, or nobody in time ─► told
//!       ├─ allowlist: does the node keep one? ─ no ─►─┘   └─ yes ─► system.run, approved ─► told
//!       └─ else ─► system.run ─ "approval required" ─► approval …
//! ```
//!
//! * What may run unasked is the node's to say (its `exec-approvals.json`). `tools.exec` of the gateway only narrows that: `deny` forbids,
//!   `ask: "always"` asks each time, and `allowlist` asks where the node's own file lets everything run.
//! * What was approved is sent as it was shown. A run that has ended by then, or was told to, runs nothing.
use super::invoke::{self, End};
use crate::agent::tools::{Ask, NodeCommand, Security};
use crate::base::clock::Now;
use crate::base::ids;
use crate::gateway::approvals::{self, ApprovalDecision, Wanted};
use crate::gateway::runs::RunRef;
use crate::gateway::{Core, Node};
use crossbeam_channel::Sender;
use serde_json::{Value, json};

const RUN: &str = "system.run";
const LOOK: &str = "system.execApprovals.get";
/// What a node has beyond the command's own time to answer. Reference: 5 s.
const ANSWER_MS: u64 = 5_000;
/// The least time for a call. Reference: 10 s.
const CALL_MS: u64 = 10_000;

type Answer = Sender<Result<Value, String>>;

struct Job {
    run: RunRef,
    node_id: String,
    command: NodeCommand,
}

impl Job {
    /// Nobody hears it when the run is over.
    fn tell(self, answer: Result<Value, String>) {
        let _ = self.command.answer.try_send(answer);
    }
}

/// A run asks.
pub fn on_asked(core: &mut Core, run: RunRef, command: NodeCommand, now: Now) {
    let job = match pick(core, command.node.as_deref()) {
        Ok(node) => Job { run, node_id: node.node_id.clone(), command },
        Err(why) => return drop(command.answer.try_send(Err(why))),
    };
    match (job.command.security, job.command.ask) {
        (_, Ask::Always) => approve(core, job, now),
        (Security::Allowlist, _) => look(core, job, now),
        _ => call(core, job, None, now),
    }
}

/// The node that is meant: by id, name or address; the only one when none is named.
fn pick<'c>(core: &'c Core, wanted: Option<&str>) -> Result<&'c Node, String> {
    let name = |it: &Node| {
        let given = core.nodes.stored.paired.get(&it.node_id).filter(|it| it.renamed);
        let given = given.and_then(|it| it.about.display_name.clone());
        given.or_else(|| it.display_name.clone()).unwrap_or_else(|| it.node_id.clone())
    };
    let all: Vec<&Node> =
        core.connected_nodes().filter(|it| it.commands.iter().any(|it| it == RUN)).collect();
    let names = all.iter().map(|it| name(it)).collect::<Vec<_>>().join(", ");
    let Some(wanted) = wanted else {
        return match all[..] {
            [] => {
                Err("no node is connected that may run commands: start one with `gatewayd node run`"
                    .to_owned())
            }
            [one] => Ok(one),
            _ => Err(format!("several nodes are connected ({names}): say which one, or set tools.exec.node")),
        };
    };
    let fits = |it: &&Node| {
        it.node_id == wanted
            || it.remote_ip.as_deref() == Some(wanted)
            || name(it).eq_ignore_ascii_case(wanted)
    };
    let found: Vec<&Node> = all.iter().copied().filter(fits).collect();
    match found[..] {
        [one] => Ok(one),
        [] if names.is_empty() => {
            Err(format!("no node {wanted:?} is connected that may run commands: none is"))
        }
        [] => Err(format!("no node {wanted:?} is connected that may run commands: there is {names}")),
        _ => Err(format!("several nodes are called {wanted:?}: use the id of one")),
    }
}

/// Whether the node keeps a list of what may run: else `allowlist` here would mean nothing there.
fn look(core: &mut Core, job: Job, now: Now) {
    let ask = invoke::Ask {
        node_id: job.node_id.clone(),
        command: LOOK.to_owned(),
        params: Some(json!({})),
        timeout_ms: Some(CALL_MS),
        idempotency_key: Some(ids::uuid(&mut core.entropy)),
        caller: None,
    };
    if invoke::check(core, &ask.node_id, &ask.command).is_err() {
        return missed(core, job, now);
    }
    let sender = job.command.answer.clone();
    let on_end = move |core: &mut Core, end: End, now| {
        let file = invoke::error(end, LOOK).ok().and_then(|it| it.value()).unwrap_or_default();
        match keeps_a_list(&file["file"], &job.command.agent_id) {
            true => call(core, job, None, now),
            false => missed(core, job, now),
        }
    };
    begin(core, ask, &sender, Box::new(on_end), now);
}

/// A job that cannot be sent is told why: its own sender went with it.
fn begin(core: &mut Core, ask: invoke::Ask, sender: &Answer, then: invoke::Then, now: Now) {
    if let Err(err) = invoke::begin(core, ask, then, now) {
        let _ = sender.try_send(Err(err.message));
    }
}

/// A file without a word about it means a list, in the reference and here.
fn keeps_a_list(file: &Value, agent_id: &str) -> bool {
    let places = [&file["agents"][agent_id], &file["agents"]["*"], &file["defaults"]];
    let word = places.iter().find_map(|it| it["security"].as_str());
    file.is_object() && word != Some("full")
}

fn missed(core: &mut Core, job: Job, now: Now) {
    match job.command.ask {
        Ask::Off => job.tell(Err(
            "not allowed: tools.exec.security is \"allowlist\", but the node lets everything run, and tools.exec.ask is \"off\"".to_owned(),
        )),
        _ => approve(core, job, now),
    }
}

fn approve(core: &mut Core, job: Job, now: Now) {
    let (run, command) = (job.run, &job.command);
    if !core.runs.is_wanted(run) {
        return;
    }
    let env = command.env.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let wanted = Wanted {
        command: command.text.clone().unwrap_or_else(|| command.argv.join(" ")),
        argv: Some(command.argv.clone()),
        cwd: command.cwd.clone(),
        env: env.collect(),
        agent_id: Some(command.agent_id.clone()),
        session_key: Some(command.session_key.clone()),
        node_id: Some(job.node_id.clone()),
        host: Some("node".to_owned()),
        security: Some(command.security.word().to_owned()),
        ask: Some(command.ask.word().to_owned()),
        resolved_path: None,
    };
    let sender = command.answer.clone();
    let then = move |core: &mut Core, decision: Option<ApprovalDecision>, now| match decision {
        Some(ApprovalDecision::Deny) => job.tell(Err("denied: a person has refused this command".to_owned())),
        None => job.tell(Err("denied: nobody has approved this command in time".to_owned())),
        decision => call(core, job, decision, now),
    };
    if let Err(err) = approvals::ask_for_run(core, run, wanted, Box::new(then), now) {
        let _ = sender.try_send(Err(err.message));
    }
}

/// The command itself.
fn call(core: &mut Core, job: Job, decision: Option<ApprovalDecision>, now: Now) {
    if !core.runs.is_wanted(job.run) {
        return;
    }
    let command = &job.command;
    let key = ids::uuid(&mut core.entropy);
    let mut params = json!({
        "command": command.argv, "agentId": command.agent_id, "sessionKey": command.session_key,
        "timeoutMs": command.timeout_ms, "runId": key,
    });
    let more = [
        ("rawCommand", command.text.as_ref().map(|it| json!(it))),
        ("cwd", command.cwd.as_ref().map(|it| json!(it))),
        ("env", (!command.env.is_empty()).then(|| json!(command.env))),
        ("approved", decision.map(|_| json!(true))),
        ("approvalDecision", decision.map(|it| json!(it.as_str()))),
    ];
    params
        .as_object_mut()
        .expect("it is one")
        .extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let ask = invoke::Ask {
        node_id: job.node_id.clone(),
        command: RUN.to_owned(),
        params: Some(params),
        timeout_ms: Some((command.timeout_ms + ANSWER_MS).max(CALL_MS)),
        idempotency_key: Some(key),
        caller: None,
    };
    let sender = command.answer.clone();
    let on_end = move |core: &mut Core, end: End, now| match invoke::error(end, RUN) {
        Ok(it) => job.tell(Ok(it.value().unwrap_or_default())),
        Err(err)
            if decision.is_none()
                && job.command.ask != Ask::Off
                && err.message.contains("approval required") =>
        {
            approve(core, job, now);
        }
        Err(err) => job.tell(Err(err.message)),
    };
    begin(core, ask, &sender, Box::new(on_end), now);
}
