//! `device.pair.list`: who is paired, and who asks to be.
use crate::base::limits::PAIRING_TTL_MS;
use crate::gateway::Core;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::RpcResult;
use crate::protocol::scope::Access;
use crate::protocol::types::NoParams;
use crate::store::devices::{About, Paired, Pending};
use serde::Serialize;

pub const METHODS: &[Method] = &[Method::of::<DevicePairList>()];

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct DevicePairListReply {
    /// Newest first.
    pending: Vec<Pending>,
    paired: Vec<PairedDevice>,
}

/// A paired device without the values of its tokens.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct PairedDevice {
    device_id: String,
    public_key: String,
    #[serde(flatten)]
    about: About,
    created_at_ms: i64,
    approved_at_ms: i64,
    tokens: Vec<TokenSummary>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct TokenSummary {
    role: String,
    scopes: Vec<String>,
    created_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at_ms: Option<i64>,
}

fn paired(device: &Paired) -> PairedDevice {
    let tokens = device.tokens.values().map(|it| TokenSummary {
        role: it.role.clone(),
        scopes: it.scopes.clone(),
        created_at_ms: it.created_at_ms,
        rotated_at_ms: it.rotated_at_ms,
        revoked_at_ms: it.revoked_at_ms,
        last_used_at_ms: it.last_used_at_ms,
    });
    PairedDevice {
        device_id: device.device_id.clone(),
        public_key: device.public_key.clone(),
        about: device.about.clone(),
        created_at_ms: device.created_at_ms,
        approved_at_ms: device.approved_at_ms,
        tokens: tokens.collect(),
    }
}

enum DevicePairList {}
impl Rpc for DevicePairList {
    const NAME: &'static str = "device.pair.list";
    const ACCESS: Access = Access::Pairing;
    type Params = NoParams;
    type Reply = DevicePairListReply;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<DevicePairListReply>> {
        let live = |it: &&Pending| call.now.unix_ms - it.ts <= PAIRING_TTL_MS;
        let mut pending: Vec<Pending> = core.devices.pending.values().filter(live).cloned().collect();
        pending.sort_by_key(|it| std::cmp::Reverse(it.ts));
        let mut all: Vec<&Paired> = core.devices.paired.values().collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.approved_at_ms));
        Ok(Answer::Now(DevicePairListReply { pending, paired: all.into_iter().map(paired).collect() }))
    }
}
