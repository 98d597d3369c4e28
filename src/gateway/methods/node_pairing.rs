//! `node.pair.*`: the pairing store of nodes. Devices of role node are entered by themselves, with what they declared.
use crate::base::ids;
use crate::base::limits::{NODE_NAMES_MAX, NODE_TEXT_BYTES_MAX, PAIRING_TTL_MS};
use crate::gateway::Core;
use crate::gateway::events::Decision;
use crate::gateway::nodes::pairing;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::types::{NoParams, NonEmpty};
use crate::shaped;
use crate::store::nodes::{About, Nodes, PairedNode, PendingNode};
use serde::Serialize;

pub const METHODS: &[Method] = &[
    Method::of::<NodePairRequest>(),
    Method::of::<NodePairList>(),
    Method::of::<NodePairApprove>(),
    Method::of::<NodePairReject>(),
    Method::of::<NodePairVerify>(),
];

shaped! {
    struct NodePairRequestParams {
        node_id = "nodeId": NonEmpty,
        display_name = "displayName": Option<NonEmpty>,
        platform = "platform": Option<NonEmpty>,
        version = "version": Option<NonEmpty>,
        core_version = "coreVersion": Option<NonEmpty>,
        ui_version = "uiVersion": Option<NonEmpty>,
        device_family = "deviceFamily": Option<NonEmpty>,
        model_identifier = "modelIdentifier": Option<NonEmpty>,
        caps = "caps": Option<Vec<NonEmpty>>,
        commands = "commands": Option<Vec<NonEmpty>>,
        remote_ip = "remoteIp": Option<NonEmpty>,
        silent = "silent": Option<bool>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodePairRequestReply {
    /// `pending`.
    status: &'static str,
    request: PendingNode,
    /// False when the node had asked before.
    created: bool,
}

/// A text of a node that is stored.
fn kept(name: &str, it: &NonEmpty) -> RpcResult<String> {
    // The file is shared with a program in which these names are no plain keys.
    let odd = ["__proto__", "constructor", "prototype"].contains(&&**it);
    if it.len() > NODE_TEXT_BYTES_MAX || odd {
        return Err(RpcError::invalid(format!(
            "invalid node.pair.request params: {name} may hold {NODE_TEXT_BYTES_MAX} bytes, and not be __proto__, constructor or prototype"
        )));
    }
    Ok(it.trim().to_owned())
}

enum NodePairRequest {}
impl Rpc for NodePairRequest {
    const NAME: &'static str = "node.pair.request";
    const ACCESS: Access = Access::Pairing;
    type Params = NodePairRequestParams;
    type Reply = NodePairRequestReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: NodePairRequestParams,
    ) -> RpcResult<Answer<NodePairRequestReply>> {
        let node_id = kept("nodeId", &params.node_id)?;
        if node_id.is_empty() {
            return Err(RpcError::unavailable("nodeId required"));
        }
        let text = |name: &str, it: &Option<NonEmpty>| it.as_ref().map(|it| kept(name, it)).transpose();
        let list = |name: &str, it: Option<Vec<NonEmpty>>| match it {
            Some(all) if all.len() > NODE_NAMES_MAX => Err(RpcError::invalid(format!(
                "invalid node.pair.request params: {name} may hold {NODE_NAMES_MAX} names"
            ))),
            Some(all) => all.iter().map(|it| kept(name, it)).collect::<RpcResult<Vec<_>>>().map(Some),
            None => Ok(None),
        };
        let about = About {
            display_name: text("displayName", &params.display_name)?,
            platform: text("platform", &params.platform)?,
            version: text("version", &params.version)?,
            core_version: text("coreVersion", &params.core_version)?,
            ui_version: text("uiVersion", &params.ui_version)?,
            device_family: text("deviceFamily", &params.device_family)?,
            model_identifier: text("modelIdentifier", &params.model_identifier)?,
            caps: list("caps", params.caps)?,
            commands: list("commands", params.commands)?,
            remote_ip: text("remoteIp", &params.remote_ip)?,
        };
        let request_id = ids::uuid(core.entropy());
        let request =
            PendingNode { request_id, node_id, about, silent: params.silent, ..PendingNode::default() };
        let change = move |nodes: &mut Nodes| Ok(pairing::request(nodes, request, call.now.unix_ms));
        Ok(Answer::Stored(core.changed_nodes(change, |core, (request, created), _| {
            pairing::announce(core, &request, created);
            Ok(NodePairRequestReply { status: "pending", request, created })
        })))
    }
}

/// Newest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodePairListReply {
    pending: Vec<PendingNode>,
    paired: Vec<PairedNode>,
}

/// What is on disk: another program may have written there.
enum NodePairList {}
impl Rpc for NodePairList {
    const NAME: &'static str = "node.pair.list";
    const ACCESS: Access = Access::Pairing;
    type Params = NoParams;
    type Reply = NodePairListReply;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<NodePairListReply>> {
        let look = |nodes: &mut Nodes| Ok(nodes.clone());
        Ok(Answer::Stored(core.changed_nodes(look, move |_, nodes, _| {
            let mut pending: Vec<PendingNode> = nodes.pending.into_values().collect();
            pending.retain(|it| call.now.unix_ms - it.ts <= PAIRING_TTL_MS);
            pending.sort_by_key(|it| std::cmp::Reverse(it.ts));
            let mut paired: Vec<PairedNode> = nodes.paired.into_values().collect();
            paired.sort_by_key(|it| std::cmp::Reverse(it.approved_at_ms));
            Ok(NodePairListReply { pending, paired })
        })))
    }
}

shaped! { struct NodePairApproveParams { request_id = "requestId": NonEmpty } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NodePairApproveReply {
    request_id: String,
    node: PairedNode,
}

/// A node that is here may do at once what it was approved for.
enum NodePairApprove {}
impl Rpc for NodePairApprove {
    const NAME: &'static str = "node.pair.approve";
    const ACCESS: Access = Access::Pairing;
    type Params = NodePairApproveParams;
    type Reply = NodePairApproveReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: NodePairApproveParams,
    ) -> RpcResult<Answer<NodePairApproveReply>> {
        let (request_id, token) = (params.request_id.0, ids::token(core.entropy()));
        let id = request_id.clone();
        let change = move |nodes: &mut Nodes| pairing::approve(nodes, &id, token, call.now.unix_ms);
        Ok(Answer::Stored(core.changed_nodes(change, move |core, node, now| {
            pairing::resolved(core, &request_id, &node.node_id, Decision::Approved, now.unix_ms);
            Ok(NodePairApproveReply { request_id, node })
        })))
    }
}

shaped! { struct NodePairRejectParams { request_id = "requestId": NonEmpty } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NodePairRejectReply {
    request_id: String,
    node_id: String,
}

enum NodePairReject {}
impl Rpc for NodePairReject {
    const NAME: &'static str = "node.pair.reject";
    const ACCESS: Access = Access::Pairing;
    type Params = NodePairRejectParams;
    type Reply = NodePairRejectReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: NodePairRejectParams,
    ) -> RpcResult<Answer<NodePairRejectReply>> {
        let id = params.request_id.0;
        let change = move |nodes: &mut Nodes| pairing::reject(nodes, &id, call.now.unix_ms);
        Ok(Answer::Stored(core.changed_nodes(change, |core, request, now| {
            let (request_id, node_id) = (request.request_id, request.node_id);
            pairing::resolved(core, &request_id, &node_id, Decision::Rejected, now.unix_ms);
            Ok(NodePairRejectReply { request_id, node_id })
        })))
    }
}

shaped! { struct NodePairVerifyParams { node_id = "nodeId": NonEmpty, token = "token": NonEmpty } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodePairVerifyReply {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<PairedNode>,
}

enum NodePairVerify {}
impl Rpc for NodePairVerify {
    const NAME: &'static str = "node.pair.verify";
    const ACCESS: Access = Access::Pairing;
    type Params = NodePairVerifyParams;
    type Reply = NodePairVerifyReply;
    fn call(
        core: &mut Core,
        _: Call,
        params: NodePairVerifyParams,
    ) -> RpcResult<Answer<NodePairVerifyReply>> {
        let look = move |nodes: &mut Nodes| Ok(pairing::verify(nodes, params.node_id.trim(), &params.token));
        Ok(Answer::Stored(
            core.changed_nodes(look, |_, node, _| Ok(NodePairVerifyReply { ok: node.is_some(), node })),
        ))
    }
}
