//! Nodes: other machines that work for this gateway: who they are, calls to them, and what they tell by themselves.
use super::system::Okay;
use crate::base::limits::NODE_TEXT_BYTES_MAX;
use crate::gateway::nodes::events;
use crate::gateway::nodes::invoke::{self, Ask, End, Returned};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Client, Core, Node, approvals};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{NoParams, NonEmpty};
use crate::shaped;
use crate::store::devices::Paired;
use crate::store::nodes::Nodes;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub const METHODS: &[Method] = &[
    Method::of::<NodeRename>(),
    Method::of::<NodeList>(),
    Method::of::<NodeDescribe>(),
    Method::of::<NodeInvoke>(),
    Method::of::<NodeInvokeResult>(),
    Method::of::<NodeEvent>(),
];

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodeListReply {
    ts: i64,
    /// Connected ones first, then by name.
    nodes: Vec<NodeSummary>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NodeSummary {
    node_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_ip: Option<String>,
    caps: Vec<String>,
    commands: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_env: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    permissions: BTreeMap<String, bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at_ms: Option<i64>,
    paired: bool,
    connected: bool,
}

fn connected(node: &Node, paired: bool) -> NodeSummary {
    let it = node.clone();
    NodeSummary {
        node_id: it.node_id,
        display_name: it.display_name,
        platform: Some(it.platform),
        version: Some(it.version),
        device_family: it.device_family,
        model_identifier: it.model_identifier,
        remote_ip: it.remote_ip,
        caps: it.caps,
        commands: it.commands,
        path_env: it.path_env,
        permissions: it.permissions,
        connected_at_ms: Some(it.connected_at_ms),
        paired,
        connected: true,
    }
}

fn absent(device: &Paired) -> NodeSummary {
    NodeSummary {
        node_id: device.device_id.clone(),
        display_name: device.about.display_name.clone(),
        platform: device.about.platform.clone(),
        version: None,
        device_family: None,
        model_identifier: None,
        remote_ip: device.about.remote_ip.clone(),
        caps: vec![],
        commands: vec![],
        path_env: None,
        permissions: BTreeMap::new(),
        connected_at_ms: None,
        paired: true,
        connected: false,
    }
}

/// Connected nodes, and paired devices of role node.
fn summaries(core: &Core) -> Vec<NodeSummary> {
    let is_node = |it: &&Paired| it.about.roles.iter().any(|it| it == "node");
    let paired: Vec<&Paired> = core.devices.paired.values().filter(is_node).collect();
    let is_paired = |id: &str| paired.iter().any(|it| it.device_id == id);
    let mut nodes: Vec<NodeSummary> =
        core.connected_nodes().map(|it| connected(it, is_paired(&it.node_id))).collect();
    for device in &paired {
        if !nodes.iter().any(|it| it.node_id == device.device_id) {
            nodes.push(absent(device));
        }
    }
    for it in &mut nodes {
        // A name that a person gave.
        let stored = core.nodes.stored.paired.get(&it.node_id).filter(|it| it.renamed);
        it.display_name = stored.and_then(|it| it.about.display_name.clone()).or(it.display_name.take());
    }
    let name =
        |it: &NodeSummary| it.display_name.clone().unwrap_or_else(|| it.node_id.clone()).to_lowercase();
    nodes.sort_by_cached_key(|it| (!it.connected, name(it)));
    nodes
}

enum NodeList {}
impl Rpc for NodeList {
    const NAME: &'static str = "node.list";
    const ACCESS: Access = Access::Read;
    type Params = NoParams;
    type Reply = NodeListReply;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<NodeListReply>> {
        Ok(Answer::Now(NodeListReply { ts: call.now.unix_ms, nodes: summaries(core) }))
    }
}

shaped! { struct NodeDescribeParams { node_id = "nodeId": NonEmpty } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodeDescribeReply {
    ts: i64,
    #[serde(flatten)]
    node: NodeSummary,
}

enum NodeDescribe {}
impl Rpc for NodeDescribe {
    const NAME: &'static str = "node.describe";
    const ACCESS: Access = Access::Read;
    type Params = NodeDescribeParams;
    type Reply = NodeDescribeReply;
    fn call(core: &mut Core, call: Call, params: NodeDescribeParams) -> RpcResult<Answer<NodeDescribeReply>> {
        let node_id = params.node_id.trim();
        if node_id.is_empty() {
            return Err(RpcError::invalid("nodeId required"));
        }
        let node = summaries(core).into_iter().find(|it| it.node_id == node_id);
        let node = node.ok_or_else(|| RpcError::invalid("unknown nodeId"))?;
        Ok(Answer::Now(NodeDescribeReply { ts: call.now.unix_ms, node }))
    }
}

shaped! { struct NodeRenameParams { node_id = "nodeId": NonEmpty, display_name = "displayName": NonEmpty } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NodeRenameReply {
    node_id: String,
    display_name: String,
}

/// The name stays, whatever the node calls itself.
enum NodeRename {}
impl Rpc for NodeRename {
    const NAME: &'static str = "node.rename";
    const ACCESS: Access = Access::Pairing;
    type Params = NodeRenameParams;
    type Reply = NodeRenameReply;
    fn call(core: &mut Core, _: Call, params: NodeRenameParams) -> RpcResult<Answer<NodeRenameReply>> {
        let (node_id, display_name) =
            (params.node_id.trim().to_owned(), params.display_name.trim().to_owned());
        if display_name.is_empty() {
            return Err(RpcError::invalid("displayName required"));
        }
        if display_name.len() > NODE_TEXT_BYTES_MAX {
            let text =
                format!("invalid node.rename params: displayName may hold {NODE_TEXT_BYTES_MAX} bytes");
            return Err(RpcError::invalid(text));
        }
        let change = move |nodes: &mut Nodes| {
            let node = nodes.paired.get_mut(&node_id).ok_or_else(|| RpcError::invalid("unknown nodeId"))?;
            (node.renamed, node.about.display_name) = (true, Some(display_name.clone()));
            Ok(NodeRenameReply { node_id, display_name })
        };
        Ok(Answer::Stored(core.changed_nodes(change, |_, reply, _| Ok(reply))))
    }
}

shaped! {
    struct NodeInvokeParams {
        node_id = "nodeId": NonEmpty,
        command = "command": NonEmpty,
        params = "params": Option<Value>,
        timeout_ms = "timeoutMs": Option<Int<0>>,
        idempotency_key = "idempotencyKey": NonEmpty,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NodeInvokeReply {
    ok: bool,
    node_id: String,
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// As the node wrote it; null when it sent a value.
    #[serde(rename = "payloadJSON")]
    payload_json: Option<String>,
}

/// Answered by the node, or by time.
enum NodeInvoke {}
impl Rpc for NodeInvoke {
    const NAME: &'static str = "node.invoke";
    const ACCESS: Access = Access::Write;
    type Params = NodeInvokeParams;
    type Reply = NodeInvokeReply;
    fn call(core: &mut Core, call: Call, params: NodeInvokeParams) -> RpcResult<Answer<NodeInvokeReply>> {
        let (node_id, command) = (params.node_id.trim().to_owned(), params.command.trim().to_owned());
        if node_id.is_empty() || command.is_empty() {
            return Err(RpcError::invalid("nodeId and command required"));
        }
        invoke::check(core, &node_id, &command)?;
        // What decides about approvals is for those alone who may decide about them (security plan 1.4).
        let admin = core
            .clients
            .get(&call.conn)
            .and_then(Client::ready)
            .is_some_and(|it| it.scopes.allow(Access::Admin));
        if command.starts_with("system.execApprovals.") && !admin {
            return Err(RpcError::missing_scope(Access::Admin.scope(), call.protocol));
        }
        if command == "system.run" {
            approvals::pass(
                core,
                call.conn,
                &node_id,
                params.params.as_ref().unwrap_or(&Value::Null),
                call.now,
            )?;
        }
        let ask = Ask {
            node_id: node_id.clone(),
            command: command.clone(),
            params: params.params,
            timeout_ms: params.timeout_ms.map(|it| it.0 as u64),
            idempotency_key: Some(params.idempotency_key.0),
            caller: Some(call.conn),
        };
        let asked = call.asked.clone();
        let then = move |core: &mut Core, end: End, now| {
            let reply = invoke::error(end, &command).map(|it| {
                let payload = it.value();
                raw(&NodeInvokeReply { ok: true, node_id, command, payload, payload_json: it.json })
            });
            core.answer(&asked, reply.as_deref().map_err(Clone::clone), now);
        };
        invoke::begin(core, ask, Box::new(then), call.now)?;
        Ok(Answer::Held)
    }
}

shaped! {
    struct NodeError {
        code = "code": Option<NonEmpty>,
        message = "message": Option<NonEmpty>,
    }
}
shaped! {
    struct NodeInvokeResultParams {
        id = "id": NonEmpty,
        node_id = "nodeId": NonEmpty,
        ok = "ok": bool,
        payload = "payload": Option<Value>,
        payload_json = "payloadJSON": Option<String>,
        error = "error": Option<NodeError>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodeInvokeResultReply {
    ok: bool,
    /// Nobody waits for it (any more).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignored: bool,
}

/// Nodes in use say null for nothing, and put a value where its JSON belongs.
fn adapt_payload(params: &mut Value) {
    let Some(map) = params.as_object_mut() else { return };
    if map.get("payloadJSON").is_some_and(|it| it.is_object() || it.is_array())
        && let Some(it) = map.remove("payloadJSON")
    {
        map.entry("payload").or_insert(it);
    }
    map.retain(|name, it| !(it.is_null() && matches!(name.as_str(), "payloadJSON" | "error")));
}

/// A node's answer.
enum NodeInvokeResult {}
impl Rpc for NodeInvokeResult {
    const NAME: &'static str = "node.invoke.result";
    const ACCESS: Access = Access::NodeOnly;
    type Params = NodeInvokeResultParams;
    type Reply = NodeInvokeResultReply;
    fn adapt(params: &mut Value) {
        adapt_payload(params);
    }
    fn call(
        core: &mut Core,
        call: Call,
        params: NodeInvokeResultParams,
    ) -> RpcResult<Answer<NodeInvokeResultReply>> {
        let node_id = params.node_id.0;
        if core.node_at(call.conn).is_none_or(|it| it.node_id != node_id) {
            return Err(RpcError::invalid("nodeId mismatch"));
        }
        let end = match params.ok {
            true => End::Returned(Returned { payload: params.payload, json: params.payload_json }),
            false => {
                let (code, message) = params.error.map_or((None, None), |it| (it.code, it.message));
                End::Failed { code: code.map(|it| it.0), message: message.map(|it| it.0) }
            }
        };
        let heard = invoke::on_result(core, &node_id, &params.id, end, call.now);
        Ok(Answer::Now(NodeInvokeResultReply { ok: true, ignored: !heard }))
    }
}

shaped! {
    struct NodeEventParams {
        event = "event": NonEmpty,
        payload = "payload": Option<Value>,
        payload_json = "payloadJSON": Option<String>,
    }
}

/// What a node tells by itself.
enum NodeEvent {}
impl Rpc for NodeEvent {
    const NAME: &'static str = "node.event";
    const ACCESS: Access = Access::NodeOnly;
    type Params = NodeEventParams;
    type Reply = Okay;
    fn adapt(params: &mut Value) {
        adapt_payload(params);
    }
    fn call(core: &mut Core, call: Call, params: NodeEventParams) -> RpcResult<Answer<Okay>> {
        let json = params.payload_json.as_deref().and_then(|it| serde_json::from_str(it).ok());
        let payload = json.or(params.payload).unwrap_or_default();
        events::on_event(core, call, &params.event, &payload)
    }
}
