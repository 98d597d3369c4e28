//! The end of a handshake, once every check has passed: whoever needs a pairing or a token waits until that is on disk.
use super::{Accepted, Device, Refusal, Refuse, refuse, set_phase, welcome};
use crate::base::clock::Now;
use crate::base::ids::{self, ConnId};
use crate::conn::Bytes;
use crate::gateway::events::{self, Decision, DevicePairResolved, PairingRequest};
use crate::gateway::grants::{self, Standing, Why};
use crate::gateway::{Core, Phase, device};
use crate::protocol::error::RpcError;
use crate::store::devices::Pending;
use serde_json::{Value, json};

/// Who needs a pairing or a token first waits until that is on disk.
pub(super) fn accept(core: &mut Core, conn: ConnId, mut accepted: Accepted, now: Now) {
    let wanted = accepted.wanted();
    let Some(own) = &accepted.device else { return welcome(core, conn, accepted, now) };
    let standing = grants::standing(&core.devices, &own.id, &own.public_key, wanted);
    if standing == Standing::Paired {
        let token = grants::live_token(&core.devices, &own.id, wanted.role.as_str(), wanted.scopes).cloned();
        if token.is_some() {
            accepted.device = accepted.device.map(|it| Device { token, ..it });
            return welcome(core, conn, accepted, now);
        }
    }
    set_phase(core, conn, Phase::Pairing { waiting: vec![] });
    match standing {
        Standing::Unpaired(why) if !accepted.local => ask_for_pairing(core, conn, accepted, why, now),
        _ => give_token(core, conn, accepted, now),
    }
}

/// A device on this machine is paired by the way.
fn give_token(core: &mut Core, conn: ConnId, mut accepted: Accepted, now: Now) {
    core.change_devices(Box::new(move |devices, entropy| {
        let (role, mut approved, mut why) = (accepted.role.as_str(), None, Why::Lost);
        if let Some(own) = &accepted.device {
            let (wanted, id) = (accepted.wanted(), own.id.clone());
            let mut standing = grants::standing(devices, &id, &own.public_key, wanted);
            if standing != Standing::Paired && accepted.local && grants::make_room(devices, &id) {
                let about = device::about(&accepted.params, role, &accepted.scopes, None);
                grants::pair(devices, &id, &own.public_key, about, now.unix_ms);
                approved = Some((ids::uuid(entropy), id.clone()));
                standing = Standing::Paired;
            }
            let token = match standing {
                Standing::Paired => {
                    grants::ensure_token(devices, &id, role, &accepted.scopes, now.unix_ms, entropy)
                }
                Standing::Unpaired(it) => {
                    why = it;
                    None
                }
            };
            accepted.device = accepted.device.map(|it| Device { token, ..it });
        }
        Box::new(move |core, saved, now| {
            if let (Ok(()), Some((request_id, device_id))) = (&saved, approved) {
                let decision = Decision::Approved;
                let event = DevicePairResolved { request_id, device_id, decision, ts: now.unix_ms };
                core.broadcast(&events::DEVICE_PAIR_RESOLVED, &event);
            }
            let Some(waiting) = end_pairing(core, conn) else { return };
            if let Err(err) = saved {
                return refuse(core, conn, not_saved(accepted.id, err));
            }
            if accepted.device.as_ref().is_none_or(|it| it.token.is_none()) {
                // It was unpaired while this waited for its turn, or there is no room.
                let refuser = Refuse { id: accepted.id, protocol: accepted.protocol };
                let refusal = pairing_required(core, &refuser, None, why);
                return refuse(core, conn, refusal);
            }
            welcome(core, conn, accepted, now);
            for text in waiting {
                core.on_message(conn, text, now);
            }
        })
    }));
}

/// A device that is not on this machine waits for its owner's word.
fn ask_for_pairing(core: &mut Core, conn: ConnId, accepted: Accepted, why: Why, now: Now) {
    let Some(own) = accepted.device else { return };
    let refuser = Refuse { id: accepted.id, protocol: accepted.protocol };
    let role = accepted.role.as_str();
    let about = device::about(&accepted.params, role, &accepted.scopes, accepted.client_ip);
    let known = grants::pending_of(&core.devices, &own.id, &own.public_key, &about, now.unix_ms);
    if let Some(it) = known {
        log::info!(target: "pairing", "{}", asks(&core.world.program, it, why));
        let refusal = pairing_required(core, &refuser, Some(&it.request_id), why);
        return refuse(core, conn, refusal);
    }
    core.change_devices(Box::new(move |devices, entropy| {
        let request = Pending {
            request_id: ids::uuid(entropy),
            device_id: own.id,
            public_key: own.public_key,
            about,
            is_repair: why != Why::New,
            ts: now.unix_ms,
            ..Pending::default()
        };
        let (request, is_new) = grants::request_pairing(devices, request, now.unix_ms);
        Box::new(move |core, saved, _| {
            let refusal = match saved {
                Ok(()) => pairing_required(core, &refuser, Some(&request.request_id), why),
                Err(err) => not_saved(refuser.id, err),
            };
            if is_new && refusal.code != NOT_SAVED {
                log::info!(target: "pairing", "{}", asks(&core.world.program, &request, why));
                core.broadcast(&events::DEVICE_PAIR_REQUESTED, &PairingRequest::from(&request));
            }
            if end_pairing(core, conn).is_some() {
                refuse(core, conn, refusal);
            }
        })
    }));
}

/// For the person who reads the log.
fn asks(program: &str, it: &Pending, why: Why) -> String {
    let from = it.about.remote_ip.as_deref().unwrap_or("this machine");
    let (device, request) = (&it.device_id, &it.request_id);
    format!(
        "device {device} at {from} asks to be paired ({}): {program} devices approve {request}",
        why.as_str()
    )
}

/// The text is what clients know; what to do about it stands beside it.
fn pairing_required(core: &Core, refuser: &Refuse, request_id: Option<&str>, why: Why) -> Refusal {
    let program = &core.world.program;
    let mut details = match request_id {
        Some(id) => json!({ "requestId": id, "command": format!("{program} devices approve {id}") }),
        None => json!({ "command": format!("{program} devices list") }),
    };
    if refuser.protocol >= 4 {
        details["reason"] = why.as_str().into();
    }
    let mut refusal =
        refuser.with(RpcError::not_paired("pairing required"), "PAIRING_REQUIRED", details.clone());
    if refuser.protocol < 4
        && let Some((_, error)) = &mut refusal.answer
    {
        error.details = Some(details);
    }
    refusal
}

/// The close code of what could not be written.
const NOT_SAVED: u16 = 1011;

fn not_saved(id: Value, err: String) -> Refusal {
    let error = RpcError::unavailable(err);
    Refusal { reason: error.message.clone(), answer: Some((id, error)), code: NOT_SAVED, hold_ms: 0 }
}

/// What came behind `connect` meanwhile; None when the client did not wait.
fn end_pairing(core: &mut Core, conn: ConnId) -> Option<Vec<Bytes>> {
    let client = core.clients.get_mut(&conn).filter(|it| !it.closing)?;
    match std::mem::replace(&mut client.phase, Phase::Closing) {
        Phase::Pairing { waiting } => Some(waiting),
        _ => None,
    }
}
