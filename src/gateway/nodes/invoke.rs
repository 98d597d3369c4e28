//! `node.invoke`: a call that travels to a node and comes back, or does not.
//!
//! ```text
//! begin ─► pending ── result ──────────► Returned, or Failed
//!             ├────── time ────────────► TimedOut        (a result after that is ignored)
//!             ├────── its node is gone ► Gone
//!             └────── its caller is gone: forgotten
//! ```
use super::allow;
use crate::base::clock::Now;
use crate::base::ids::{self, ConnId};
use crate::base::limits::{NODE_INVOKE_MS, NODE_INVOKES_MAX, NODE_WAIT_MS_MAX};
use crate::gateway::events::{NODE_INVOKE_REQUEST, NodeInvokeRequest};
use crate::gateway::{Core, Timer, canvas};
use crate::protocol::error::{RpcError, RpcResult};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What comes of a call.
#[derive(Debug)]
pub enum End {
    Returned(Returned),
    /// The node's own words.
    Failed {
        code: Option<String>,
        message: Option<String>,
    },
    TimedOut,
    /// The node is gone.
    Gone,
}

/// A node answers with a value, or with its JSON.
#[derive(Debug, Default)]
pub struct Returned {
    pub payload: Option<Value>,
    pub json: Option<String>,
}

impl Returned {
    /// The value. What is no JSON is shown as it came.
    pub fn value(&self) -> Option<Value> {
        match &self.json {
            Some(text) => Some(serde_json::from_str(text).unwrap_or_else(|_| json!({ "payloadJSON": text }))),
            None => self.payload.clone(),
        }
    }
}

/// Runs on the core when the call has ended.
pub type Then = Box<dyn FnOnce(&mut Core, End, Now) + Send>;

struct Pending {
    node_id: String,
    /// Where it was sent.
    conn: ConnId,
    /// Who waits.
    caller: Option<ConnId>,
    idempotency_key: Option<String>,
    due_ms: u64,
    then: Then,
}

/// By the id that the node is told.
#[derive(Default)]
pub struct Invokes(BTreeMap<String, Pending>);

/// What is asked of a node.
pub struct Ask {
    pub node_id: String,
    pub command: String,
    pub params: Option<Value>,
    pub timeout_ms: Option<u64>,
    pub idempotency_key: Option<String>,
    pub caller: Option<ConnId>,
}

/// Whether that node can be asked for that command.
///
/// # Errors
/// What the caller is told.
pub fn check(core: &Core, node_id: &str, command: &str) -> RpcResult<()> {
    let Some((_, node)) = core.node(node_id) else {
        return Err(
            RpcError::unavailable_text("node not connected").details(json!({ "code": "NOT_CONNECTED" }))
        );
    };
    // Its platform and its pairing were looked at when it came.
    if node.commands.iter().any(|it| it == command) {
        return Ok(());
    }
    let rules = &core.world.config.config.gateway.node_commands;
    let reason = if !allow::allows(rules, &node.platform, node.device_family.as_deref(), command) {
        "command not allowlisted"
    } else if node.commands.is_empty() {
        "node did not declare commands"
    } else {
        "command not declared by node"
    };
    Err(RpcError::invalid("node command not allowed")
        .details(json!({ "reason": reason, "command": command })))
}

/// Sends the call to its node; `then` hears what came of it, once, unless the caller goes before.
///
/// # Errors
/// The node is not there, or too many calls wait.
pub fn begin(core: &mut Core, mut ask: Ask, then: Then, now: Now) -> RpcResult<()> {
    check(core, &ask.node_id, &ask.command)?;
    if core.nodes.invokes.0.len() >= NODE_INVOKES_MAX {
        return Err(RpcError::busy(1000));
    }
    let Some((conn, _)) = core.node(&ask.node_id) else { return Err(RpcError::busy(0)) };
    canvas::for_node(core, conn, &ask.command, &mut ask.params);
    let id = ids::uuid(&mut core.entropy);
    let request = NodeInvokeRequest {
        id: id.clone(),
        node_id: ask.node_id.clone(),
        command: ask.command,
        params_json: ask.params.map(|it| it.to_string()),
        timeout_ms: ask.timeout_ms,
        idempotency_key: ask.idempotency_key.clone(),
    };
    let due_ms = now.mono_ms + ask.timeout_ms.unwrap_or(NODE_INVOKE_MS).min(NODE_WAIT_MS_MAX);
    let (node_id, caller, idempotency_key) = (ask.node_id, ask.caller, ask.idempotency_key);
    let pending = Pending { node_id, conn, caller, idempotency_key, due_ms, then };
    core.nodes.invokes.0.insert(id, pending);
    core.arm_by(due_ms, Timer::NodeInvoke);
    core.tell(conn, &NODE_INVOKE_REQUEST, &request);
    Ok(())
}

/// A node has answered. False when nobody waits for it any more, or never did.
pub fn on_result(core: &mut Core, node_id: &str, id: &str, end: End, now: Now) -> bool {
    let ours = core.nodes.invokes.0.get(id).is_some_and(|it| it.node_id == node_id);
    let pending = if ours { core.nodes.invokes.0.remove(id) } else { None };
    let Some(pending) = pending else { return false };
    sleep(core);
    (pending.then)(core, end, now);
    true
}

/// Whether the gateway itself waits for the call of that key at that node.
pub fn is_awaited(core: &Core, conn: ConnId, key: &str) -> bool {
    let its =
        |it: &Pending| it.conn == conn && it.caller.is_none() && it.idempotency_key.as_deref() == Some(key);
    core.nodes.invokes.0.values().any(its)
}

/// Some have waited long enough.
pub fn on_timer(core: &mut Core, now: Now) {
    end_all(core, |it| it.due_ms <= now.mono_ms, || End::TimedOut, now);
    if let Some(next) = core.nodes.invokes.0.values().map(|it| it.due_ms).min() {
        core.arm_by(next, Timer::NodeInvoke);
    }
}

/// A node is gone, and with it what it was asked for.
pub fn on_node_gone(core: &mut Core, conn: ConnId, now: Now) {
    end_all(core, |it| it.conn == conn, || End::Gone, now);
}

/// Nobody waits any more.
pub fn forget_caller(core: &mut Core, conn: ConnId) {
    core.nodes.invokes.0.retain(|_, it| it.caller != Some(conn));
    sleep(core);
}

fn end_all(core: &mut Core, which: impl Fn(&Pending) -> bool, end: impl Fn() -> End, now: Now) {
    let all = std::mem::take(&mut core.nodes.invokes.0);
    let (over, left): (BTreeMap<_, _>, BTreeMap<_, _>) = all.into_iter().partition(|it| which(&it.1));
    core.nodes.invokes.0 = left;
    sleep(core);
    for (_, it) in over {
        (it.then)(core, end(), now);
    }
}

/// Nothing wakes for calls that are over.
fn sleep(core: &mut Core) {
    if core.nodes.invokes.0.is_empty() {
        core.disarm(|it| *it == Timer::NodeInvoke);
    }
}

/// What a caller is told of a call that came to nothing.
pub fn error(end: End, command: &str) -> Result<Returned, RpcError> {
    let failed = |code: Option<String>, message: Option<String>| {
        let text = message.clone().unwrap_or_else(|| "node invoke failed".into());
        let mut words = serde_json::Map::new();
        words.extend(code.map(|it| ("code".to_owned(), it.into())));
        words.extend(message.map(|it| ("message".to_owned(), it.into())));
        RpcError::unavailable_text(text).details(json!({ "nodeError": words }))
    };
    match end {
        End::Returned(it) => Ok(it),
        End::Failed { code, message } => Err(failed(code, message)),
        End::TimedOut => Err(failed(Some("TIMEOUT".into()), Some("node invoke timed out".into()))),
        End::Gone => {
            let error = RpcError::unavailable(format!("node disconnected ({command})"));
            Err(RpcError { retryable: Some(true), ..error })
        }
    }
}
