//! What devices are given: pairings, and a token for each role. Pure decisions over [`Devices`]; the caller makes them durable.
//!
//! ```text
//! unpaired ── request_pairing ──► pending ── approve ──► paired, with a token ── revoke ──► unpaired for that role
//!                                    └────── reject ──► gone          └── remove ──► gone
//! ```
//!
//! * A token is never wider than what its device was approved for.
//! * Nobody gives what is not his: see [`Caller`].
use crate::base::ids::{self, Entropy};
use crate::base::limits::{PAIRED_MAX, PAIRING_PENDING_MAX, PAIRING_TTL_MS};
use crate::base::secret::Secret;
use crate::protocol::scope::{Role, Scopes, missing_from};
use crate::store::devices::{About, Devices, Paired, Pending, Token};
use std::collections::BTreeMap;

/// What pairing says of a device that has proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Paired for this role and these scopes, with a token for the role that nobody has revoked.
    Paired,
    Unpaired(Why),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    New,
    /// Another key under the same id, or no live token for a role that it once had.
    Lost,
    Role,
    Scopes,
    /// A node that says it runs on something else than when it was approved: what it may do goes by that.
    Platform,
}

impl Why {
    /// Protocol 4's `details.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::New | Why::Lost => "not-paired",
            Why::Role => "role-upgrade",
            Why::Scopes => "scope-upgrade",
            Why::Platform => "metadata-upgrade",
        }
    }
}

/// What a device asks to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub role: Role,
    pub scopes: &'a [String],
    pub platform: &'a str,
}

pub fn standing(devices: &Devices, device_id: &str, public_key: &str, wanted: Wanted) -> Standing {
    let Some(it) = devices.paired.get(device_id) else { return Standing::Unpaired(Why::New) };
    let role = wanted.role.as_str();
    let moved = |old: &str| platform_family(old) != platform_family(wanted.platform);
    let why = if it.public_key != public_key {
        Why::Lost
    } else if !it.about.roles.iter().any(|it| it == role) {
        Why::Role
    } else if !missing_from(wanted.scopes, &it.about.scopes).is_empty() {
        Why::Scopes
    } else if wanted.role == Role::Node && it.about.platform.as_deref().is_some_and(moved) {
        Why::Platform
    } else if it.tokens.get(role).is_none_or(|it| it.revoked_at_ms.is_some()) {
        Why::Lost
    } else {
        return Standing::Paired;
    };
    Standing::Unpaired(why)
}

/// `iOS 18.1` and `iOS 18.2` are the same, `linux` is not.
fn platform_family(text: &str) -> String {
    let word: String = text.trim().chars().take_while(|it| it.is_alphanumeric()).collect();
    word.to_lowercase()
}

/// What a role may hold of these: an operator's scopes mean nothing to a node, and must not become something by way of it.
pub fn fitting(role: Role, scopes: Vec<String>) -> Vec<String> {
    let mut scopes = scopes;
    if role == Role::Node {
        scopes.retain(|it| !it.starts_with("operator."));
    }
    scopes
}

/// The device's credential for the role, when it is wide enough for the scopes.
pub fn live_token<'a>(
    devices: &'a Devices,
    device_id: &str,
    role: &str,
    scopes: &[String],
) -> Option<&'a Token> {
    let token = devices.paired.get(device_id)?.tokens.get(role)?;
    Some(token).filter(|it| it.revoked_at_ms.is_none() && missing_from(scopes, &it.scopes).is_empty())
}

/// Whether `token` is this device's live credential for the role, wide enough for the scopes.
pub fn token_allows(devices: &Devices, device_id: &str, role: &str, scopes: &[String], token: &str) -> bool {
    live_token(devices, device_id, role, scopes).is_some_and(|it| Secret::new(it.token.clone()).is(token))
}

/// The live token for the role, reused while it is wide enough, else made anew; None when the device is not paired.
pub fn ensure_token(
    devices: &mut Devices,
    device_id: &str,
    role: &str,
    scopes: &[String],
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Option<Token> {
    if let Some(it) = live_token(devices, device_id, role, scopes) {
        return Some(it.clone());
    }
    let paired = devices.paired.get_mut(device_id)?;
    Some(new_token(paired, role, scopes.to_vec(), unix_ms, entropy))
}

fn new_token(
    paired: &mut Paired,
    role: &str,
    scopes: Vec<String>,
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Token {
    let old = paired.tokens.remove(role);
    let fresh = Token {
        token: ids::token(entropy),
        role: role.to_owned(),
        scopes,
        created_at_ms: old.as_ref().map_or(unix_ms, |it| it.created_at_ms),
        rotated_at_ms: old.as_ref().map(|_| unix_ms),
        last_used_at_ms: old.as_ref().and_then(|it| it.last_used_at_ms),
        revoked_at_ms: None,
        rest: old.map(|it| it.rest).unwrap_or_default(),
    };
    paired.tokens.insert(role.to_owned(), fresh.clone());
    fresh
}

/// Also when the clock was set back since: a request must not wait for years.
fn is_live(request: &Pending, unix_ms: i64) -> bool {
    (unix_ms - request.ts).abs() <= PAIRING_TTL_MS
}

/// The pairing requests that still wait, newest first.
pub fn waiting(devices: &Devices, unix_ms: i64) -> Vec<&Pending> {
    let mut all: Vec<&Pending> = devices.pending.values().filter(|it| is_live(it, unix_ms)).collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.ts));
    all
}

/// The pairing request of this device that still waits, and asks for as much.
pub fn pending_of<'a>(
    devices: &'a Devices,
    device_id: &str,
    public_key: &str,
    wanted: &About,
    unix_ms: i64,
) -> Option<&'a Pending> {
    devices.pending.values().find(|it| {
        it.device_id == device_id
            && it.public_key == public_key
            && is_live(it, unix_ms)
            && missing_from(&wanted.roles, &it.about.roles).is_empty()
            && missing_from(&wanted.scopes, &it.about.scopes).is_empty()
    })
}

/// The pending request of this device: the one it has, or a new one (`true`), which takes the place of one for less. Expired ones go.
pub fn request_pairing(devices: &mut Devices, request: Pending, unix_ms: i64) -> (Pending, bool) {
    devices.pending.retain(|_, it| is_live(it, unix_ms));
    let known = pending_of(devices, &request.device_id, &request.public_key, &request.about, unix_ms);
    if let Some(it) = known {
        return (it.clone(), false);
    }
    devices.pending.retain(|_, it| it.device_id != request.device_id);
    if devices.pending.len() >= PAIRING_PENDING_MAX {
        // Whoever floods displaces himself.
        let mut by_address: BTreeMap<Option<&str>, Vec<&Pending>> = BTreeMap::new();
        for it in devices.pending.values() {
            by_address.entry(it.about.remote_ip.as_deref()).or_default().push(it);
        }
        let busiest = by_address.into_values().max_by_key(Vec::len).unwrap_or_default();
        let oldest = busiest.into_iter().min_by_key(|it| it.ts).map(|it| it.request_id.clone());
        oldest.map(|it| devices.pending.remove(&it));
    }
    devices.pending.insert(request.request_id.clone(), request.clone());
    (request, true)
}

/// Room for one more device: a device of this machine, which is paired without asking, gives way. False when there is none.
pub fn make_room(devices: &mut Devices, device_id: &str) -> bool {
    if devices.paired.len() < PAIRED_MAX || devices.paired.contains_key(device_id) {
        return true;
    }
    let local = devices.paired.values().filter(|it| it.about.remote_ip.is_none());
    let oldest = local.min_by_key(|it| it.approved_at_ms).map(|it| it.device_id.clone());
    oldest.and_then(|it| devices.paired.remove(&it)).is_some()
}

/// Pairs the device, or widens what it has: roles and scopes are merged.
pub fn pair(devices: &mut Devices, device_id: &str, public_key: &str, about: About, unix_ms: i64) {
    devices.pending.retain(|_, it| it.device_id != device_id);
    let known = devices.paired.remove(device_id).filter(|it| it.public_key == public_key);
    let mut it = known.unwrap_or_else(|| Paired {
        device_id: device_id.to_owned(),
        public_key: public_key.to_owned(),
        created_at_ms: unix_ms,
        ..Paired::default()
    });
    let merge = |old: &[String], new: &[String]| {
        let mut all = old.to_vec();
        all.extend(new.iter().filter(|it| !old.contains(it)).cloned());
        all
    };
    let (roles, scopes) = (merge(&it.about.roles, &about.roles), merge(&it.about.scopes, &about.scopes));
    it.about = About { roles, scopes, ..about };
    it.approved_at_ms = unix_ms;
    devices.paired.insert(device_id.to_owned(), it);
}

/// Who decides. An admin may decide everything; another device only about itself, and only for what it holds.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub device_id: Option<String>,
    pub scopes: Scopes,
}

impl Caller {
    /// Whoever can write the state folder.
    pub fn owner() -> Caller {
        Caller { device_id: None, scopes: Scopes::of(&["operator.admin"]) }
    }
    pub fn is_admin(&self) -> bool {
        self.scopes.covers("operator.admin")
    }
    fn is_own(&self, device_id: &str) -> bool {
        self.device_id.as_deref() == Some(device_id)
    }
    /// Tokens of other devices, and of nodes, are the admin's.
    fn may_touch(&self, device_id: &str, role: &str) -> bool {
        self.is_admin() || self.is_own(device_id) && role == Role::Operator.as_str()
    }
    /// The first scope that this caller lacks.
    fn lacks<'a>(&self, scopes: &'a [String]) -> Option<&'a str> {
        scopes.iter().map(String::as_str).find(|it| !self.scopes.covers(it))
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// There is no such thing, or it is not the caller's: which of both is nobody's business.
    Unknown(&'static str),
    /// More than the device was approved for. Only an admin is told.
    Beyond(Vec<String>),
    /// The caller needs this scope to give what is asked for.
    Scope(String),
    /// [`PAIRED_MAX`].
    Full,
}

const UNKNOWN_TOKEN: Denied = Denied::Unknown("deviceId/role");

/// Approves a request that still waits: the device is paired, and has a token for the role.
///
/// # Errors
/// [`Denied`]: unknown or expired, more than the caller may give, or no room.
pub fn approve(
    devices: &mut Devices,
    who: &Caller,
    request_id: &str,
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Result<Paired, Denied> {
    let waits = devices.pending.get(request_id).filter(|it| is_live(it, unix_ms));
    let request = waits.cloned().ok_or(Denied::Unknown("requestId"))?;
    let role = request.about.role.as_deref().and_then(Role::parse).unwrap_or(Role::Operator);
    let about = About { scopes: fitting(role, request.about.scopes), ..request.about };
    // A node can start what a writer can.
    if role == Role::Node && !who.scopes.covers("operator.write") {
        return Err(Denied::Scope("operator.write".into()));
    }
    if let Some(scope) = who.lacks(&about.scopes) {
        return Err(Denied::Scope(scope.to_owned()));
    }
    if !make_room(devices, &request.device_id) {
        return Err(Denied::Full);
    }
    let scopes = about.scopes.clone();
    pair(devices, &request.device_id, &request.public_key, about, unix_ms);
    ensure_token(devices, &request.device_id, role.as_str(), &scopes, unix_ms, entropy);
    devices.paired.get(&request.device_id).cloned().ok_or(Denied::Unknown("requestId"))
}

/// # Errors
/// [`Denied::Unknown`].
pub fn reject(devices: &mut Devices, request_id: &str, unix_ms: i64) -> Result<Pending, Denied> {
    let it = devices.pending.remove(request_id).ok_or(Denied::Unknown("requestId"))?;
    if is_live(&it, unix_ms) { Ok(it) } else { Err(Denied::Unknown("requestId")) }
}

/// A new token for a role that the device was approved for. `scopes`: what the token, and for an operator the device, is cut down to.
///
/// # Errors
/// [`Denied`].
pub fn rotate(
    devices: &mut Devices,
    who: &Caller,
    device_id: &str,
    role: &str,
    scopes: Option<&[String]>,
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Result<Token, Denied> {
    let device = touchable(devices, who, device_id, role)?;
    let kind = Role::parse(role).ok_or(UNKNOWN_TOKEN)?;
    if !device.about.roles.iter().any(|it| it == role) {
        return Err(UNKNOWN_TOKEN);
    }
    let usual = || device.tokens.get(role).map_or(&device.about.scopes, |it| &it.scopes).clone();
    let wanted = scopes.map_or_else(|| fitting(kind, usual()), <[String]>::to_vec);
    let beyond = missing_from(&wanted, &fitting(kind, device.about.scopes.clone()));
    if !beyond.is_empty() {
        return Err(if who.is_admin() { Denied::Beyond(beyond) } else { UNKNOWN_TOKEN });
    }
    if who.lacks(&wanted).is_some() {
        return Err(UNKNOWN_TOKEN);
    }
    if scopes.is_some() && kind == Role::Operator {
        device.about.scopes.clone_from(&wanted);
    }
    Ok(new_token(device, role, wanted, unix_ms, entropy))
}

/// # Errors
/// [`Denied::Unknown`].
pub fn revoke(
    devices: &mut Devices,
    who: &Caller,
    device_id: &str,
    role: &str,
    unix_ms: i64,
) -> Result<(), Denied> {
    let device = touchable(devices, who, device_id, role)?;
    let token = device.tokens.get_mut(role).ok_or(UNKNOWN_TOKEN)?;
    if who.lacks(&token.scopes).is_some() {
        return Err(UNKNOWN_TOKEN);
    }
    token.revoked_at_ms = Some(unix_ms);
    Ok(())
}

/// Forgets a device and its tokens.
///
/// # Errors
/// [`Denied::Unknown`].
pub fn remove(devices: &mut Devices, who: &Caller, device_id: &str) -> Result<(), Denied> {
    if !who.is_admin() && !who.is_own(device_id) {
        return Err(Denied::Unknown("deviceId"));
    }
    devices.pending.retain(|_, it| it.device_id != device_id);
    devices.paired.remove(device_id).map(drop).ok_or(Denied::Unknown("deviceId"))
}

fn touchable<'a>(
    devices: &'a mut Devices,
    who: &Caller,
    device_id: &str,
    role: &str,
) -> Result<&'a mut Paired, Denied> {
    let device = devices.paired.get_mut(device_id).ok_or(UNKNOWN_TOKEN)?;
    if who.may_touch(device_id, role) { Ok(device) } else { Err(UNKNOWN_TOKEN) }
}
