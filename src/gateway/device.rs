//! Device identity: whose key this is, and whether the signature holds. What a device may do is in [`super::grants`].
use crate::base::ids::{base64url, from_base64, sha256_hex};
use crate::base::limits::{OLD_SIGNATURES_MAX, SIGNATURE_SKEW_MS};
use crate::protocol::connect::{ConnectParams, DeviceProof, signature_payload};
use crate::store::devices::About;
use ring::signature::{ED25519, UnparsedPublicKey};
use std::collections::VecDeque;

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

/// Signatures without a nonce that were good once, so that none is good twice: only clients on this machine may send them, when the
/// challenge did not come in time.
#[derive(Debug, Default)]
pub struct OldSignatures(VecDeque<(i64, Vec<u8>)>);

impl OldSignatures {
    /// Whether this one is new.
    fn first_time(&mut self, signature: &[u8], unix_ms: i64) -> bool {
        // One of a clock that is ahead is good for twice the skew.
        self.0.retain(|it| (unix_ms - it.0).abs() <= 2 * SIGNATURE_SKEW_MS);
        // Full: none without a nonce is taken until the oldest have run out.
        let fresh = self.0.len() < OLD_SIGNATURES_MAX && !self.0.iter().any(|it| it.1 == signature);
        if fresh {
            self.0.push_back((unix_ms, signature.to_vec()));
        }
        fresh
    }
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
    old: Option<&mut OldSignatures>,
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
        None if old.is_none() => return Err(BadProof::NonceRequired),
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
    if !versions.iter().any(holds) {
        return Err(BadProof::Signature);
    }
    let replayed = proof.nonce.is_none() && old.is_some_and(|it| !it.first_time(&signature, unix_ms));
    if replayed { Err(BadProof::NonceRequired) } else { Ok(()) }
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
        assert_eq!(verify(params.device.as_ref().unwrap(), &params, "operator", "nonce-1", None, 1), Ok(()));
    }
    #[test]
    fn proofs() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let mut old = OldSignatures::default();
        let mut check = |params: ConnectParams, local, now| {
            let old = if local { Some(&mut old) } else { None };
            verify(params.device.as_ref().unwrap(), &params, "operator", "n", old, now)
        };
        assert_eq!(check(params(&key, 1, 1000, None), true, 1000), Ok(()));
        assert_eq!(check(params(&key, 1, 1000, None), true, 1001), Err(BadProof::NonceRequired), "a replay");
        assert_eq!(check(params(&key, 1, 1001, None), true, 1001), Ok(()));
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
}
