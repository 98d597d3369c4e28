//! Device identity: whose key this is, whether the signature holds, and what the device may be.
//!
//! Pure decisions over [`Devices`]; the caller makes them durable.
use crate::base::ids::{self, Entropy, base64url, from_base64, sha256_hex};
use crate::base::limits::{PAIRING_PENDING_MAX, PAIRING_TTL_MS, SIGNATURE_SKEW_MS};
use crate::base::secret::Secret;
use crate::protocol::connect::{ConnectParams, DeviceProof, signature_payload};
use crate::store::devices::{About, Devices, Paired, Pending, Token};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Why a device proof is refused; in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadProof {
    IdMismatch,
    Expired,
    NonceRequired,
    NonceMismatch,
    Signature,
}

impl BadProof {
    /// The reference's text, and protocol 4's `details.code`.
    pub fn texts(self) -> (&'static str, &'static str) {
        match self {
            BadProof::IdMismatch => ("device identity mismatch", "DEVICE_AUTH_DEVICE_ID_MISMATCH"),
            BadProof::Expired => ("device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED"),
            BadProof::NonceRequired => ("device nonce required", "DEVICE_AUTH_NONCE_REQUIRED"),
            BadProof::NonceMismatch => ("device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH"),
            BadProof::Signature => ("device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID"),
        }
    }
}

/// The raw key: base64 of 32 bytes, or a PEM `PUBLIC KEY` (the last 32 bytes of an Ed25519 SubjectPublicKeyInfo, RFC 8410).
pub fn raw_public_key(text: &str) -> Option<[u8; 32]> {
    /// The DER in front of every Ed25519 public key.
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    if text.contains("BEGIN") {
        let body: String = text.lines().filter(|it| !it.contains("-----")).map(str::trim).collect();
        return from_base64(&body)?.strip_prefix(&PREFIX)?.try_into().ok();
    }
    from_base64(text.trim())?.try_into().ok()
}

/// Checks id, age, nonce and signature, in that order.
///
/// # Errors
/// The first that fails.
pub fn verify(
    proof: &DeviceProof,
    params: &ConnectParams,
    role: &str,
    nonce: &str,
    local: bool,
    unix_ms: i64,
) -> Result<(), BadProof> {
    let key = raw_public_key(&proof.public_key).ok_or(BadProof::IdMismatch)?;
    if sha256_hex(&key) != *proof.id {
        return Err(BadProof::IdMismatch);
    }
    if (unix_ms - proof.signed_at.0).abs() > SIGNATURE_SKEW_MS {
        return Err(BadProof::Expired);
    }
    let versions: &[u8] = match proof.nonce.as_deref() {
        None if !local => return Err(BadProof::NonceRequired),
        None => &[1],
        Some(it) if it != nonce => return Err(BadProof::NonceMismatch),
        Some(_) => &[2, 3],
    };
    let signature = from_base64(&proof.signature).ok_or(BadProof::Signature)?;
    let key = UnparsedPublicKey::new(&ED25519, key);
    let holds = |version: &u8| {
        let payload = signature_payload(*version, &proof.id, role, params);
        key.verify(payload.as_bytes(), &signature).is_ok()
    };
    if versions.iter().any(holds) { Ok(()) } else { Err(BadProof::Signature) }
}

/// What pairing says of a device that has proved itself.
#[derive(Debug, PartialEq)]
pub enum Standing {
    /// Paired for this role and these scopes.
    Paired,
    /// New, or asks for more than it was given.
    Unpaired { is_repair: bool },
}

pub fn standing(
    devices: &Devices,
    device_id: &str,
    public_key: &str,
    role: &str,
    scopes: &[String],
) -> Standing {
    match devices.paired.get(device_id) {
        Some(it) if it.public_key != public_key => Standing::Unpaired { is_repair: true },
        Some(it) if it.about.roles.iter().any(|it| it == role) && is_subset(scopes, &it.about.scopes) => {
            Standing::Paired
        }
        Some(_) => Standing::Unpaired { is_repair: true },
        None => Standing::Unpaired { is_repair: false },
    }
}

fn is_subset(asked: &[String], given: &[String]) -> bool {
    asked.iter().all(|it| given.contains(it))
}

/// Whether `token` is this device's live credential for the role, wide enough for the scopes.
pub fn token_allows(devices: &Devices, device_id: &str, role: &str, scopes: &[String], token: &str) -> bool {
    live_token(devices, device_id, role, scopes).is_some_and(|it| Secret::new(it.token.clone()).is(token))
}

/// What the device says of itself in `connect`.
pub fn about(params: &ConnectParams, role: &str, scopes: &[String], remote_ip: Option<String>) -> About {
    let client = &params.client;
    About {
        display_name: client.display_name.as_ref().map(|it| it.0.clone()),
        platform: Some(client.platform.0.clone()),
        client_id: Some(client.id.as_str().to_owned()),
        client_mode: Some(client.mode.as_str().to_owned()),
        role: Some(role.to_owned()),
        roles: vec![role.to_owned()],
        scopes: scopes.to_vec(),
        remote_ip,
    }
}

/// The key as it is stored: base64url of the raw bytes.
pub fn stored_key(proof: &DeviceProof) -> String {
    raw_public_key(&proof.public_key).map_or_else(|| proof.public_key.0.clone(), |it| base64url(&it))
}

/// Pairs the device, or widens what it has: roles and scopes are merged.
pub fn approve(devices: &mut Devices, device_id: &str, public_key: &str, about: About, unix_ms: i64) {
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

/// The device's credential for the role, when it is wide enough for the scopes.
pub fn live_token<'a>(
    devices: &'a Devices,
    device_id: &str,
    role: &str,
    scopes: &[String],
) -> Option<&'a Token> {
    let token = devices.paired.get(device_id)?.tokens.get(role)?;
    Some(token).filter(|it| it.revoked_at_ms.is_none() && is_subset(scopes, &it.scopes))
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
    let old = paired.tokens.get(role);
    let fresh = Token {
        token: ids::token(entropy),
        role: role.to_owned(),
        scopes: scopes.to_vec(),
        created_at_ms: old.map_or(unix_ms, |it| it.created_at_ms),
        rotated_at_ms: old.map(|_| unix_ms),
        ..Token::default()
    };
    paired.tokens.insert(role.to_owned(), fresh.clone());
    Some(fresh)
}

/// The pairing request of this device that still waits.
pub fn pending_of<'a>(
    devices: &'a Devices,
    device_id: &str,
    public_key: &str,
    unix_ms: i64,
) -> Option<&'a Pending> {
    devices.pending.values().find(|it| {
        it.device_id == device_id && it.public_key == public_key && unix_ms - it.ts <= PAIRING_TTL_MS
    })
}

/// The pending request of this device: the one it has, or a new one (`true`). Expired ones go.
pub fn request_pairing(devices: &mut Devices, request: Pending, unix_ms: i64) -> (Pending, bool) {
    devices.pending.retain(|_, it| unix_ms - it.ts <= PAIRING_TTL_MS);
    if let Some(it) = pending_of(devices, &request.device_id, &request.public_key, unix_ms) {
        return (it.clone(), false);
    }
    if devices.pending.len() >= PAIRING_PENDING_MAX {
        let oldest = devices.pending.values().min_by_key(|it| it.ts).map(|it| it.request_id.clone());
        oldest.map(|it| devices.pending.remove(&it));
    }
    devices.pending.insert(request.request_id.clone(), request.clone());
    (request, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::shape::Shaped;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn params(key: &Ed25519KeyPair, version: u8, signed_at: i64, nonce: Option<&str>) -> ConnectParams {
        let public = key.public_key().as_ref();
        let mut value = serde_json::json!({ "minProtocol": 3, "maxProtocol": 4, "scopes": ["operator.read"],
            "client": { "id": "cli", "version": "1", "platform": "linux", "mode": "cli", "deviceFamily": "Linux" }, "auth": { "token": "t" },
            "device": { "id": sha256_hex(public), "publicKey": base64url(public), "signature": "x", "signedAt": signed_at } });
        if let Some(nonce) = nonce {
            value["device"]["nonce"] = nonce.into();
        }
        assert!(ConnectParams::SHAPE.check(&value).is_empty());
        let unsigned: ConnectParams = serde_json::from_value(value.clone()).unwrap();
        let payload = signature_payload(version, &sha256_hex(public), "operator", &unsigned);
        value["device"]["signature"] = base64url(key.sign(payload.as_bytes()).as_ref()).into();
        serde_json::from_value(value).unwrap()
    }
    /// What the terminal UI of 2026.9.6 sent.
    #[test]
    fn a_proof_of_the_newest_release() {
        let params: ConnectParams = serde_json::from_value(serde_json::json!({
            "minProtocol": 4, "maxProtocol": 4, "role": "operator", "auth": { "token": "compat" },
            "client": { "id": "openclaw-tui", "version": "2026.9.6", "platform": "linux", "deviceFamily": "Linux", "mode": "ui" },
            "scopes": ["operator.admin", "operator.read", "operator.write", "operator.approvals"],
            "device": { "id": "659a09bef77dd7cb9f037d98189a124598aa9030b4b18c17152f3d7cb7df8018",
                "publicKey": "ChtFhtlSskEMKY0UimLbvCZuhdGGG8e5dfQdmyMntuE", "signedAt": 1, "nonce": "nonce-1",
                "signature": "OPHMM0E790OlSLeacNtUUJR2xPYGdOEiqn8V3bwyAGU-KLilhOhBIGxagYfvephDq71RRH47ITc9Vog6b26qAA" },
        }))
        .unwrap();
        assert_eq!(verify(params.device.as_ref().unwrap(), &params, "operator", "nonce-1", false, 1), Ok(()));
    }
    #[test]
    fn proofs() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let check = |params: ConnectParams, local, now| {
            verify(params.device.as_ref().unwrap(), &params, "operator", "n", local, now)
        };
        assert_eq!(check(params(&key, 1, 1000, None), true, 1000), Ok(()));
        assert_eq!(check(params(&key, 2, 1000, Some("n")), false, 1000), Ok(()));
        assert_eq!(check(params(&key, 3, 1000, Some("n")), false, 1000), Ok(()));
        assert_eq!(check(params(&key, 1, 1000, Some("n")), true, 1000), Err(BadProof::Signature));
        assert_eq!(check(params(&key, 1, 1000, None), false, 1000), Err(BadProof::NonceRequired));
        assert_eq!(check(params(&key, 2, 1000, Some("m")), true, 1000), Err(BadProof::NonceMismatch));
        assert_eq!(check(params(&key, 2, 1000, Some("n")), true, 601_001), Err(BadProof::Expired));
        assert_eq!(check(params(&key, 2, 601_000, Some("n")), true, 1000), Ok(()));
        let mut wider = params(&key, 2, 1000, Some("n"));
        wider.scopes = Some(vec![crate::protocol::types::Text("operator.admin".into())]);
        assert_eq!(check(wider, true, 1000), Err(BadProof::Signature));
        let mut other = params(&key, 2, 1000, Some("n"));
        other.device.as_mut().unwrap().id.0 = "ab".into();
        assert_eq!(check(other, true, 1000), Err(BadProof::IdMismatch));
    }
    #[test]
    fn pem_keys() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert!(raw_public_key(pem).is_some());
        assert_eq!(raw_public_key("AAAA"), None);
    }
    #[test]
    fn pairing_is_bounded_and_tokens_follow_scopes() {
        let (mut devices, mut entropy) = (Devices::default(), ids::os_entropy());
        let read = vec!["operator.read".to_owned()];
        for n in 0..PAIRING_PENDING_MAX + 5 {
            let id = n.to_string();
            let request =
                Pending { request_id: id.clone(), device_id: id, ts: n as i64, ..Pending::default() };
            assert!(request_pairing(&mut devices, request, n as i64).1);
        }
        assert_eq!(devices.pending.len(), PAIRING_PENDING_MAX);
        let about = About { roles: vec!["operator".into()], scopes: read.clone(), ..About::default() };
        approve(&mut devices, "5", "k", about, 9);
        assert_eq!(standing(&devices, "5", "k", "operator", &read), Standing::Paired);
        assert_eq!(
            standing(&devices, "5", "other", "operator", &read),
            Standing::Unpaired { is_repair: true }
        );
        let token = ensure_token(&mut devices, "5", "operator", &read, 9, &mut entropy).unwrap();
        assert_eq!(token.token.len(), 32);
        assert_eq!(ensure_token(&mut devices, "5", "operator", &read, 10, &mut entropy), Some(token.clone()));
        assert!(token_allows(&devices, "5", "operator", &read, &token.token));
        assert!(!token_allows(&devices, "5", "operator", &["operator.admin".into()], &token.token));
        assert!(!token_allows(&devices, "5", "node", &[], &token.token));
    }
}
