//! `device.pair.*` and `device.token.*`: who is paired, who asks to be, and the tokens they hold. The rules are in [`grants`].
use crate::base::clock::Now;
use crate::base::ids::Entropy;
use crate::base::limits::PAIRED_MAX;
use crate::gateway::events::{self, Decision, DevicePairResolved, PairingRequest};
use crate::gateway::grants::{self, Caller, Denied};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Client, Core};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::protocol::types::{NoParams, NonEmpty};
use crate::shaped;
use crate::store::devices::{About, Devices, Paired};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub const METHODS: &[Method] = &[
    Method::of::<DevicePairList>(),
    Method::of::<DevicePairApprove>(),
    Method::of::<DevicePairReject>(),
    Method::of::<DevicePairRemove>(),
    Method::of::<DeviceTokenRotate>(),
    Method::of::<DeviceTokenRevoke>(),
];

/// A change that somebody asks for.
type Work<P, T> = fn(&mut Devices, &Caller, P, i64, &mut Entropy) -> Result<T, Denied>;

/// Makes a change, and answers when it is durable; then everybody who must know of it hears.
fn change<P: Send + 'static, T: Serialize + Send + 'static>(
    core: &mut Core,
    call: Call,
    params: P,
    work: Work<P, T>,
    then: fn(&mut Core, T, Now),
) -> RpcResult<Answer<T>> {
    if !core.may_change_devices() {
        return Err(RpcError::busy(1000));
    }
    let ready = core.clients.get(&call.conn).and_then(Client::ready);
    let who = ready
        .map_or_else(Caller::default, |it| Caller { device_id: it.device_id.clone(), scopes: it.scopes });
    let (asked, protocol, unix_ms) = (call.asked.clone(), call.protocol, call.now.unix_ms);
    core.change_devices(Box::new(move |devices, entropy| {
        let done = work(devices, &who, params, unix_ms, entropy);
        Box::new(move |core, saved, now| match (done, saved) {
            (Err(denied), _) => core.answer(&asked, Err(refusal(denied, protocol)), now),
            (Ok(_), Err(err)) => core.answer(&asked, Err(RpcError::unavailable(err)), now),
            (Ok(reply), Ok(())) => {
                core.answer(&asked, Ok(&raw(&reply)), now);
                then(core, reply, now);
            }
        })
    }));
    Ok(Answer::Held)
}

/// The same while no gateway runs: whoever can write the state folder may do it all.
///
/// # Errors
/// What the person is told.
pub fn offline(
    devices: &mut Devices,
    method: &str,
    params: Value,
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Result<Value, String> {
    fn done<P: DeserializeOwned, T: Serialize>(
        work: Work<P, T>,
        devices: &mut Devices,
        params: Value,
        unix_ms: i64,
        entropy: &mut Entropy,
    ) -> Result<Value, String> {
        let params = serde_json::from_value(params).map_err(|err| err.to_string())?;
        let reply = work(devices, &Caller::owner(), params, unix_ms, entropy);
        let reply = reply.map_err(|it| refusal(it, 3).message)?;
        serde_json::to_value(reply).map_err(|err| err.to_string())
    }
    match method {
        DevicePairList::NAME => serde_json::to_value(list(devices, unix_ms)).map_err(|err| err.to_string()),
        DevicePairApprove::NAME => done(approve, devices, params, unix_ms, entropy),
        DevicePairReject::NAME => done(reject, devices, params, unix_ms, entropy),
        DevicePairRemove::NAME => done(remove, devices, params, unix_ms, entropy),
        DeviceTokenRotate::NAME => done(rotate, devices, params, unix_ms, entropy),
        DeviceTokenRevoke::NAME => done(revoke, devices, params, unix_ms, entropy),
        _ => Err(format!("{method} needs a running gateway")),
    }
}

fn refusal(denied: Denied, protocol: u32) -> RpcError {
    match denied {
        Denied::Unknown(what) => RpcError::invalid(format!("unknown {what}")),
        Denied::Scope(scope) => RpcError::missing_scope(&scope, protocol),
        Denied::Beyond(scopes) => RpcError::invalid(format!(
            "the device was not approved for {}: let it connect asking for that, and approve its request",
            scopes.join(", ")
        )),
        Denied::Full => RpcError::unavailable_text(format!(
            "{PAIRED_MAX} devices are paired, and there is room for no more: remove one (device.pair.remove)"
        )),
    }
}

/// Everybody who may decide hears that it is decided.
fn resolved(core: &mut Core, request_id: String, device_id: String, decision: Decision, now: Now) {
    let event = DevicePairResolved { request_id, device_id, decision, ts: now.unix_ms };
    core.broadcast(&events::DEVICE_PAIR_RESOLVED, &event);
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DevicePairListReply {
    /// Newest first.
    pending: Vec<PairingRequest>,
    paired: Vec<PairedDevice>,
}

/// A paired device without the values of its tokens.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PairedDevice {
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

pub fn summary(device: &Paired) -> PairedDevice {
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
        Ok(Answer::Now(list(&core.devices, call.now.unix_ms)))
    }
}

/// What the answer says; the command line says it too, while no gateway runs.
pub fn list(devices: &Devices, unix_ms: i64) -> DevicePairListReply {
    let pending = grants::waiting(devices, unix_ms).into_iter().map(PairingRequest::from).collect();
    let mut all: Vec<&Paired> = devices.paired.values().collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.approved_at_ms));
    DevicePairListReply { pending, paired: all.into_iter().map(summary).collect() }
}

shaped! {
    pub struct RequestParams {
        request_id = "requestId": NonEmpty,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DevicePairApproveReply {
    request_id: String,
    device: PairedDevice,
}

/// The device is paired with what it asked for, if the caller could do all that himself.
enum DevicePairApprove {}
impl Rpc for DevicePairApprove {
    const NAME: &'static str = "device.pair.approve";
    const ACCESS: Access = Access::Pairing;
    type Params = RequestParams;
    type Reply = DevicePairApproveReply;
    fn call(core: &mut Core, call: Call, params: RequestParams) -> RpcResult<Answer<DevicePairApproveReply>> {
        change(core, call, params, approve, |core, it, now| {
            resolved(core, it.request_id, it.device.device_id, Decision::Approved, now);
        })
    }
}

fn approve(
    devices: &mut Devices,
    who: &Caller,
    params: RequestParams,
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Result<DevicePairApproveReply, Denied> {
    let request_id = params.request_id.0;
    let device = grants::approve(devices, who, &request_id, unix_ms, entropy)?;
    log::info!(target: "pairing", "device {} approved: {}", device.device_id, device.about.scopes.join(", "));
    Ok(DevicePairApproveReply { request_id, device: summary(&device) })
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct DevicePairRejectReply {
    request_id: String,
    device_id: String,
}

enum DevicePairReject {}
impl Rpc for DevicePairReject {
    const NAME: &'static str = "device.pair.reject";
    const ACCESS: Access = Access::Pairing;
    type Params = RequestParams;
    type Reply = DevicePairRejectReply;
    fn call(core: &mut Core, call: Call, params: RequestParams) -> RpcResult<Answer<DevicePairRejectReply>> {
        change(core, call, params, reject, |core, it, now| {
            resolved(core, it.request_id, it.device_id, Decision::Rejected, now);
        })
    }
}

fn reject(
    devices: &mut Devices,
    _: &Caller,
    params: RequestParams,
    unix_ms: i64,
    _: &mut Entropy,
) -> Result<DevicePairRejectReply, Denied> {
    let request_id = params.request_id.0;
    let device_id = grants::reject(devices, &request_id, unix_ms)?.device_id;
    log::info!(target: "pairing", "device {device_id} rejected");
    Ok(DevicePairRejectReply { request_id, device_id })
}

shaped! {
    pub struct DeviceParams {
        device_id = "deviceId": NonEmpty,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct DevicePairRemoveReply {
    device_id: String,
}

/// Protocol 4's: the device is forgotten, and its connections are closed.
enum DevicePairRemove {}
impl Rpc for DevicePairRemove {
    const NAME: &'static str = "device.pair.remove";
    const ACCESS: Access = Access::Pairing;
    type Params = DeviceParams;
    type Reply = DevicePairRemoveReply;
    fn call(core: &mut Core, call: Call, params: DeviceParams) -> RpcResult<Answer<DevicePairRemoveReply>> {
        // Its connections are closed by whoever writes that down.
        change(core, call, params, remove, |_, _, _| {})
    }
}

fn remove(
    devices: &mut Devices,
    who: &Caller,
    params: DeviceParams,
    _: i64,
    _: &mut Entropy,
) -> Result<DevicePairRemoveReply, Denied> {
    let device_id = params.device_id.0;
    grants::remove(devices, who, &device_id)?;
    log::info!(target: "pairing", "device {device_id} removed");
    Ok(DevicePairRemoveReply { device_id })
}

shaped! {
    pub struct RotateParams {
        device_id = "deviceId": NonEmpty,
        role = "role": NonEmpty,
        scopes = "scopes": Option<Vec<NonEmpty>>,
    }
}
shaped! {
    pub struct RevokeParams {
        device_id = "deviceId": NonEmpty,
        role = "role": NonEmpty,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct DeviceTokenRotateReply {
    device_id: String,
    role: String,
    /// Told to the device itself alone; others get theirs in their next hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    scopes: Vec<String>,
    rotated_at_ms: i64,
}

/// The old token is good no more, and whoever is connected as that device in that role has to come again.
enum DeviceTokenRotate {}
impl Rpc for DeviceTokenRotate {
    const NAME: &'static str = "device.token.rotate";
    const ACCESS: Access = Access::Pairing;
    type Params = RotateParams;
    type Reply = DeviceTokenRotateReply;
    fn call(core: &mut Core, call: Call, params: RotateParams) -> RpcResult<Answer<DeviceTokenRotateReply>> {
        change(core, call, params, rotate, |core, it, _| {
            core.close_device(&it.device_id, Some(&it.role), "device token rotated");
        })
    }
}

fn rotate(
    devices: &mut Devices,
    who: &Caller,
    params: RotateParams,
    rotated_at_ms: i64,
    entropy: &mut Entropy,
) -> Result<DeviceTokenRotateReply, Denied> {
    let (device_id, role) = (params.device_id.0, params.role.0);
    let scopes: Option<Vec<String>> = params.scopes.map(|it| it.into_iter().map(|it| it.0).collect());
    let token = grants::rotate(devices, who, &device_id, &role, scopes.as_deref(), rotated_at_ms, entropy)?;
    log::info!(target: "pairing", "token of device {device_id} as {role} rotated");
    let own = who.device_id.as_ref() == Some(&device_id);
    let (token, scopes) = (own.then_some(token.token), token.scopes);
    Ok(DeviceTokenRotateReply { device_id, role, token, scopes, rotated_at_ms })
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct DeviceTokenRevokeReply {
    device_id: String,
    role: String,
    revoked_at_ms: i64,
}

/// The device is paired for that role no more, until it is approved anew.
enum DeviceTokenRevoke {}
impl Rpc for DeviceTokenRevoke {
    const NAME: &'static str = "device.token.revoke";
    const ACCESS: Access = Access::Pairing;
    type Params = RevokeParams;
    type Reply = DeviceTokenRevokeReply;
    fn call(core: &mut Core, call: Call, params: RevokeParams) -> RpcResult<Answer<DeviceTokenRevokeReply>> {
        // As with remove.
        change(core, call, params, revoke, |_, _, _| {})
    }
}

fn revoke(
    devices: &mut Devices,
    who: &Caller,
    params: RevokeParams,
    revoked_at_ms: i64,
    _: &mut Entropy,
) -> Result<DeviceTokenRevokeReply, Denied> {
    let (device_id, role) = (params.device_id.0, params.role.0);
    grants::revoke(devices, who, &device_id, &role, revoked_at_ms)?;
    log::info!(target: "pairing", "token of device {device_id} as {role} revoked");
    Ok(DeviceTokenRevokeReply { device_id, role, revoked_at_ms })
}
