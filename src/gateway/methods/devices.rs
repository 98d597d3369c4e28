//! `device.pair.*` and `device.token.*`: who is paired, who asks to be, and the tokens they hold. The rules are in [`grants`].
use crate::gateway::events::{self, Decision, DevicePairResolved, PairingRequest};
use crate::gateway::grants::{self, Caller, Denied};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Client, Core};
use crate::base::clock::Now;
use crate::base::ids::Entropy;
use crate::base::limits::PAIRED_MAX;
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::protocol::types::{NoParams, NonEmpty};
use crate::shaped;
use crate::store::devices::{About, Devices, Paired};
use serde::Serialize;

pub const METHODS: &[Method] = &[
    Method::of::<DevicePairList>(),
    Method::of::<DevicePairApprove>(),
    Method::of::<DevicePairReject>(),
    Method::of::<DevicePairRemove>(),
    Method::of::<DeviceTokenRotate>(),
    Method::of::<DeviceTokenRevoke>(),
];

/// What is told once a change is on disk.
type Then = Box<dyn FnOnce(&mut Core, Now) + Send>;

/// Makes a change, and answers when it is durable.
fn change<T: Serialize + Send + 'static>(
    core: &mut Core,
    call: Call,
    unknown: &'static str,
    change: impl FnOnce(&mut Devices, &Caller, &mut Entropy) -> Result<(T, Then), Denied> + Send + 'static,
) -> RpcResult<Answer<T>> {
    if !core.may_change_devices() {
        return Err(RpcError::busy(1000));
    }
    let ready = core.clients.get(&call.conn).and_then(Client::ready);
    let who = ready.map_or_else(Caller::default, |it| Caller {
        device_id: it.device_id.clone(),
        scopes: it.scopes,
    });
    let (asked, protocol) = (call.asked.clone(), call.protocol);
    core.change_devices(Box::new(move |devices, entropy| {
        let done = change(devices, &who, entropy);
        Box::new(move |core, saved, now| {
            let reply = match (done, saved) {
                (Err(denied), _) => Err(refusal(denied, unknown, protocol)),
                (Ok(_), Err(err)) => Err(RpcError::unavailable(err)),
                (Ok(done), Ok(())) => Ok(done),
            };
            match reply {
                Ok((reply, then)) => {
                    core.answer(&asked, Ok(&raw(&reply)), now);
                    then(core, now);
                }
                Err(error) => core.answer(&asked, Err(error), now),
            }
        })
    }));
    Ok(Answer::Held)
}

fn refusal(denied: Denied, unknown: &str, protocol: u32) -> RpcError {
    match denied {
        Denied::Unknown => RpcError::invalid(unknown),
        Denied::Scope(scope) => RpcError::missing_scope(&scope, protocol),
        Denied::Beyond(scopes) => RpcError::invalid(denied_beyond(&scopes)),
        Denied::Full => RpcError::unavailable(full()),
    }
}

/// For people: more than a device was approved for.
pub fn denied_beyond(scopes: &[String]) -> String {
    format!(
        "the device was not approved for {}: let it connect asking for that, and approve its request",
        scopes.join(", ")
    )
}

/// For people: see [`PAIRED_MAX`].
pub fn full() -> String {
    format!("{PAIRED_MAX} devices are paired, and there is room for no more: remove one (devices remove)")
}

/// Everybody who may decide hears that it is decided.
fn resolved(request_id: String, device_id: String, decision: Decision) -> Then {
    Box::new(move |core, now| {
        let event = DevicePairResolved { request_id, device_id, decision, ts: now.unix_ms };
        core.broadcast(&events::DEVICE_PAIR_RESOLVED, &event);
    })
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
        let (request_id, unix_ms) = (params.request_id.0, call.now.unix_ms);
        change(core, call, "unknown requestId", move |devices, who, entropy| {
            let device = grants::approve(devices, who, &request_id, unix_ms, entropy)?;
            log::info!(target: "pairing", "device {} approved: {}", device.device_id, device.about.scopes.join(", "));
            let then = resolved(request_id.clone(), device.device_id.clone(), Decision::Approved);
            Ok((DevicePairApproveReply { request_id, device: summary(&device) }, then))
        })
    }
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
        let (request_id, unix_ms) = (params.request_id.0, call.now.unix_ms);
        change(core, call, "unknown requestId", move |devices, _, _| {
            let device_id = grants::reject(devices, &request_id, unix_ms)?.device_id;
            log::info!(target: "pairing", "device {device_id} rejected");
            let then = resolved(request_id.clone(), device_id.clone(), Decision::Rejected);
            Ok((DevicePairRejectReply { request_id, device_id }, then))
        })
    }
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
        let device_id = params.device_id.0;
        change(core, call, "unknown deviceId", move |devices, who, _| {
            grants::remove(devices, who, &device_id)?;
            log::info!(target: "pairing", "device {device_id} removed");
            Ok((DevicePairRemoveReply { device_id }, Box::new(|_, _| {})))
        })
    }
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

const UNKNOWN_TOKEN: &str = "unknown deviceId/role";

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
        let (device_id, role, unix_ms) = (params.device_id.0, params.role.0, call.now.unix_ms);
        let scopes: Option<Vec<String>> =
            params.scopes.map(|it| it.into_iter().map(|it| it.0).collect());
        change(core, call, UNKNOWN_TOKEN, move |devices, who, entropy| {
            let token = grants::rotate(devices, who, &device_id, &role, scopes.as_deref(), unix_ms, entropy)?;
            log::info!(target: "pairing", "token of device {device_id} as {role} rotated");
            let own = who.device_id.as_ref() == Some(&device_id);
            let reply = DeviceTokenRotateReply {
                device_id: device_id.clone(),
                role: role.clone(),
                token: own.then_some(token.token),
                scopes: token.scopes,
                rotated_at_ms: unix_ms,
            };
            let then: Then =
                Box::new(move |core, _| core.close_device(&device_id, Some(&role), "device token rotated"));
            Ok((reply, then))
        })
    }
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
        let (device_id, role, revoked_at_ms) = (params.device_id.0, params.role.0, call.now.unix_ms);
        change(core, call, UNKNOWN_TOKEN, move |devices, who, _| {
            grants::revoke(devices, who, &device_id, &role, revoked_at_ms)?;
            log::info!(target: "pairing", "token of device {device_id} as {role} revoked");
            // Its connections are closed by whoever writes that down.
            Ok((DeviceTokenRevokeReply { device_id, role, revoked_at_ms }, Box::new(|_, _| {})))
        })
    }
}
