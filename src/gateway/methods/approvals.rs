//! `exec.approvals.*`, the file that says what may run unasked, here and on nodes; `exec.approval.*`, one command at a time.
use super::system::Okay;
use crate::base::ids;
use crate::gateway::Core;
use crate::gateway::approvals::{self, ApprovalDecision, ApprovalReply, Wanted};
use crate::gateway::nodes::invoke::{self, Ask, End};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::protocol::shape::{Int, Shape, Shaped};
use crate::protocol::types::{NoParams, NonEmpty, OrNull};
use crate::store::exec_approvals::{self, ExecApprovalsSnapshot, Refused};
use crate::{described_by_shape, shaped};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const METHODS: &[Method] = &[
    Method::of::<ExecApprovalsGet>(),
    Method::of::<ExecApprovalsSet>(),
    Method::of::<ExecApprovalsNodeGet>(),
    Method::of::<ExecApprovalsNodeSet>(),
    Method::of::<ExecApprovalRequest>(),
    Method::of::<ExecApprovalResolve>(),
];

/// The number 1.
struct One;
impl Shaped for One {
    const SHAPE: Shape = Shape::Constant(1);
}
impl<'de> Deserialize<'de> for One {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<One, D::Error> {
        f64::deserialize(from).map(|_| One)
    }
}
impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("1")
    }
}

// The file's own shape: it is checked, and kept as it came.
shaped! {
    #[expect(dead_code, reason = "for its shape")]
    struct ExecApprovalsSocket { path = "path": Option<String>, token = "token": Option<String> }
}
shaped! {
    #[expect(dead_code, reason = "for its shape")]
    struct ExecApprovalsDefaults {
        security = "security": Option<String>,
        ask = "ask": Option<String>,
        ask_fallback = "askFallback": Option<String>,
        auto_allow_skills = "autoAllowSkills": Option<bool>,
    }
}
shaped! {
    #[expect(dead_code, reason = "for its shape")]
    struct ExecApprovalsAllowlistEntry {
        id = "id": Option<NonEmpty>,
        pattern = "pattern": String,
        last_used_at = "lastUsedAt": Option<Int<0>>,
        last_used_command = "lastUsedCommand": Option<String>,
        last_resolved_path = "lastResolvedPath": Option<String>,
    }
}
shaped! {
    #[expect(dead_code, reason = "for its shape")]
    struct ExecApprovalsAgent {
        security = "security": Option<String>,
        ask = "ask": Option<String>,
        ask_fallback = "askFallback": Option<String>,
        auto_allow_skills = "autoAllowSkills": Option<bool>,
        allowlist = "allowlist": Option<Vec<ExecApprovalsAllowlistEntry>>,
    }
}
shaped! {
    #[expect(dead_code, reason = "for its shape")]
    struct ExecApprovalsFileShape {
        version = "version": One,
        socket = "socket": Option<ExecApprovalsSocket>,
        defaults = "defaults": Option<ExecApprovalsDefaults>,
        agents = "agents": Option<BTreeMap<String, ExecApprovalsAgent>>,
    }
}
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct ExecApprovalsFile(Value);
impl Shaped for ExecApprovalsFile {
    const SHAPE: Shape = match ExecApprovalsFileShape::SHAPE {
        Shape::Named { shape, .. } => Shape::Named { name: "ExecApprovalsFile", shape },
        it => it,
    };
}
described_by_shape!(ExecApprovalsFile);

/// The file is made when there is none.
enum ExecApprovalsGet {}
impl Rpc for ExecApprovalsGet {
    const NAME: &'static str = "exec.approvals.get";
    const ACCESS: Access = Access::Admin;
    type Params = NoParams;
    type Reply = ExecApprovalsSnapshot;
    fn call(core: &mut Core, _: Call, _: NoParams) -> RpcResult<Answer<ExecApprovalsSnapshot>> {
        let state = core.world.paths.state.clone();
        Ok(Answer::store(move |_| {
            exec_approvals::snapshot(&state, &mut ids::os_entropy()).map_err(RpcError::unavailable)
        }))
    }
}

shaped! {
    struct ExecApprovalsSetParams {
        file = "file": ExecApprovalsFile,
        base_hash = "baseHash": Option<NonEmpty>,
    }
}

enum ExecApprovalsSet {}
impl Rpc for ExecApprovalsSet {
    const NAME: &'static str = "exec.approvals.set";
    const ACCESS: Access = Access::Admin;
    type Params = ExecApprovalsSetParams;
    type Reply = ExecApprovalsSnapshot;
    fn call(
        core: &mut Core,
        _: Call,
        params: ExecApprovalsSetParams,
    ) -> RpcResult<Answer<ExecApprovalsSnapshot>> {
        let state = core.world.paths.state.clone();
        Ok(Answer::store(move |_| {
            let (mut entropy, base) = (ids::os_entropy(), params.base_hash.as_deref());
            // Whoever writes has looked; so there is a file.
            exec_approvals::snapshot(&state, &mut entropy).map_err(RpcError::unavailable)?;
            exec_approvals::replace(&state, &params.file.0, base, &mut entropy).map_err(|it| match it {
                Refused::NoHash => RpcError::invalid(
                    "exec approvals base hash required; re-run exec.approvals.get and retry",
                ),
                Refused::Changed => RpcError::invalid(
                    "exec approvals changed since last load; re-run exec.approvals.get and retry",
                ),
                Refused::Disk(err) => RpcError::unavailable(err),
            })
        }))
    }
}

/// A node's own file, asked for over its own command. The answer is the node's.
fn at_node(
    core: &mut Core,
    call: Call,
    node_id: &str,
    command: &str,
    params: Value,
) -> RpcResult<Answer<Value>> {
    let node_id = node_id.trim();
    if node_id.is_empty() {
        return Err(RpcError::invalid("nodeId required"));
    }
    if core.node(node_id).is_none() {
        let error = json!({ "code": "NOT_CONNECTED", "message": "node not connected" });
        return Err(RpcError::unavailable_text("node not connected").details(json!({ "nodeError": error })));
    }
    let ask = Ask {
        node_id: node_id.to_owned(),
        command: command.to_owned(),
        params: Some(params),
        timeout_ms: None,
        idempotency_key: None,
        caller: Some(call.conn),
    };
    let (asked, command) = (call.asked.clone(), command.to_owned());
    let then = move |core: &mut Core, end: End, now| {
        let reply = invoke::error(end, &command).map(|it| raw(&it.value()));
        core.answer(&asked, reply.as_deref().map_err(Clone::clone), now);
    };
    invoke::begin(core, ask, Box::new(then), call.now)?;
    Ok(Answer::Held)
}

shaped! { struct ExecApprovalsNodeGetParams { node_id = "nodeId": NonEmpty } }

enum ExecApprovalsNodeGet {}
impl Rpc for ExecApprovalsNodeGet {
    const NAME: &'static str = "exec.approvals.node.get";
    const ACCESS: Access = Access::Admin;
    type Params = ExecApprovalsNodeGetParams;
    type Reply = Value;
    fn call(core: &mut Core, call: Call, params: ExecApprovalsNodeGetParams) -> RpcResult<Answer<Value>> {
        at_node(core, call, &params.node_id, "system.execApprovals.get", json!({}))
    }
}

shaped! {
    struct ExecApprovalsNodeSetParams {
        node_id = "nodeId": NonEmpty,
        file = "file": ExecApprovalsFile,
        base_hash = "baseHash": Option<NonEmpty>,
    }
}

enum ExecApprovalsNodeSet {}
impl Rpc for ExecApprovalsNodeSet {
    const NAME: &'static str = "exec.approvals.node.set";
    const ACCESS: Access = Access::Admin;
    type Params = ExecApprovalsNodeSetParams;
    type Reply = Value;
    fn call(core: &mut Core, call: Call, params: ExecApprovalsNodeSetParams) -> RpcResult<Answer<Value>> {
        let mut ask = json!({ "file": params.file.0 });
        if let Some(it) = params.base_hash {
            ask["baseHash"] = it.0.into();
        }
        at_node(core, call, &params.node_id, "system.execApprovals.set", ask)
    }
}

type Text = Option<OrNull<String>>;

shaped! {
    struct ExecApprovalRequestParams {
        id = "id": Option<NonEmpty>,
        command = "command": NonEmpty,
        /// Ours, as in newer versions: the arguments, the node and the environment that are meant.
        command_argv = "commandArgv": Option<Vec<String>>,
        node_id = "nodeId": Text,
        env = "env": Option<BTreeMap<String, String>>,
        cwd = "cwd": Text,
        host = "host": Text,
        security = "security": Text,
        ask = "ask": Text,
        agent_id = "agentId": Text,
        resolved_path = "resolvedPath": Text,
        session_key = "sessionKey": Text,
        timeout_ms = "timeoutMs": Option<Int<1>>,
    }
}

/// Answered when somebody has decided, or nobody in time.
enum ExecApprovalRequest {}
impl Rpc for ExecApprovalRequest {
    const NAME: &'static str = "exec.approval.request";
    const ACCESS: Access = Access::Approvals;
    type Params = ExecApprovalRequestParams;
    type Reply = ApprovalReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: ExecApprovalRequestParams,
    ) -> RpcResult<Answer<ApprovalReply>> {
        let wanted = Wanted {
            command: params.command.0,
            argv: params.command_argv,
            cwd: params.cwd.map(|it| it.0),
            env: params.env.unwrap_or_default(),
            agent_id: params.agent_id.map(|it| it.0),
            session_key: params.session_key.map(|it| it.0),
            node_id: params.node_id.map(|it| it.0),
            host: params.host.map(|it| it.0),
            security: params.security.map(|it| it.0),
            ask: params.ask.map(|it| it.0),
            resolved_path: params.resolved_path.map(|it| it.0),
        };
        let (id, timeout_ms) = (params.id.map(|it| it.0), params.timeout_ms.map(|it| it.0 as u64));
        approvals::request(core, call, id, wanted, timeout_ms)?;
        Ok(Answer::Held)
    }
}

shaped! { struct ExecApprovalResolveParams { id = "id": NonEmpty, decision = "decision": NonEmpty } }

enum ExecApprovalResolve {}
impl Rpc for ExecApprovalResolve {
    const NAME: &'static str = "exec.approval.resolve";
    const ACCESS: Access = Access::Approvals;
    type Params = ExecApprovalResolveParams;
    type Reply = Okay;
    fn call(core: &mut Core, call: Call, params: ExecApprovalResolveParams) -> RpcResult<Answer<Okay>> {
        let decision =
            ApprovalDecision::parse(&params.decision).ok_or_else(|| RpcError::invalid("invalid decision"))?;
        approvals::resolve(core, call, &params.id, decision)?;
        Ok(Answer::Now(Okay { ok: true }))
    }
}
