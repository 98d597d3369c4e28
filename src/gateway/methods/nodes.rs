//! Nodes: other machines that work for this gateway. Read side.
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, Node};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::types::NoParams;
use crate::store::devices::Paired;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub const METHODS: &[Method] = &[Method::of::<NodePairList>(), Method::of::<NodeList>()];

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
enum NodeList {}
impl Rpc for NodeList {
    const NAME: &'static str = "node.list";
    const ACCESS: Access = Access::Read;
    type Params = NoParams;
    type Reply = NodeListReply;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<NodeListReply>> {
        let is_node = |it: &&Paired| it.about.roles.iter().any(|it| it == "node");
        let paired: Vec<&Paired> = core.devices.paired.values().filter(is_node).collect();
        let is_paired = |id: &str| paired.iter().any(|it| it.device_id == id);
        let mut nodes: Vec<NodeSummary> =
            core.nodes().map(|it| connected(it, is_paired(&it.node_id))).collect();
        for device in &paired {
            if !nodes.iter().any(|it| it.node_id == device.device_id) {
                nodes.push(absent(device));
            }
        }
        let name =
            |it: &NodeSummary| it.display_name.clone().unwrap_or_else(|| it.node_id.clone()).to_lowercase();
        nodes.sort_by_cached_key(|it| (!it.connected, name(it)));
        Ok(Answer::Now(NodeListReply { ts: call.now.unix_ms, nodes }))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodePairListReply {
    pending: Vec<Value>,
    paired: Vec<Value>,
}

/// The node pairing store of the reference, as it is on disk.
enum NodePairList {}
impl Rpc for NodePairList {
    const NAME: &'static str = "node.pair.list";
    const ACCESS: Access = Access::Pairing;
    type Params = NoParams;
    type Reply = NodePairListReply;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<NodePairListReply>> {
        let dir = core.world.paths.state.join("nodes");
        Ok(Answer::read(move || {
            let values = |name: &str, stamp: &str| -> RpcResult<Vec<Value>> {
                let file = crate::store::read_json(&dir.join(name)).map_err(RpcError::unavailable)?;
                let map = file.and_then(|it| it.as_object().cloned()).unwrap_or_else(Map::new);
                let mut all: Vec<Value> = map.into_iter().map(|it| it.1).collect();
                all.sort_by_key(|it| std::cmp::Reverse(it[stamp].as_i64()));
                Ok(all)
            };
            let mut pending = values("pending.json", "ts")?;
            pending.retain(|it| {
                call.now.unix_ms - it["ts"].as_i64().unwrap_or(0) <= crate::base::limits::PAIRING_TTL_MS
            });
            Ok(NodePairListReply { pending, paired: values("paired.json", "approvedAtMs")? })
        }))
    }
}
