//! `channels.status`: what each chat network does. Empty maps while no channel is built in.
use crate::gateway::Core;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::RpcResult;
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::shaped;
use serde::Serialize;
use serde_json::{Map, Value};

pub const METHODS: &[Method] = &[Method::of::<ChannelsStatus>()];

shaped! { struct ChannelsStatusParams { _probe = "probe": Option<bool>, _timeout_ms = "timeoutMs": Option<Int<0>> } }

/// Every map is keyed by channel id.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ChannelsStatusReply {
    ts: i64,
    channel_order: Vec<String>,
    channel_labels: Map<String, Value>,
    channel_detail_labels: Map<String, Value>,
    channel_system_images: Map<String, Value>,
    channel_meta: Vec<Value>,
    channels: Map<String, Value>,
    channel_accounts: Map<String, Value>,
    channel_default_account_id: Map<String, Value>,
}

enum ChannelsStatus {}
impl Rpc for ChannelsStatus {
    const NAME: &'static str = "channels.status";
    const ACCESS: Access = Access::Read;
    type Params = ChannelsStatusParams;
    type Reply = ChannelsStatusReply;
    fn call(_: &mut Core, call: Call, _: ChannelsStatusParams) -> RpcResult<Answer<ChannelsStatusReply>> {
        Ok(Answer::Now(ChannelsStatusReply {
            ts: call.now.unix_ms,
            channel_order: vec![],
            channel_labels: Map::new(),
            channel_detail_labels: Map::new(),
            channel_system_images: Map::new(),
            channel_meta: vec![],
            channels: Map::new(),
            channel_accounts: Map::new(),
            channel_default_account_id: Map::new(),
        }))
    }
}
