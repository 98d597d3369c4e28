//! This machine's identity as a client, in the reference's own files: either program reads what the other wrote.
//!
//! * `<state>/identity/device.json`: the Ed25519 key, as PEM.
//! * `<state>/identity/device-auth.json`: the token that a gateway gave this device, one a role.
use crate::base::ids::{self, base64, base64url, from_base64, sha256_hex};
use crate::base::secret::Secret;
use crate::store::{read_json, write_json};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The DER in front of every Ed25519 private key (RFC 8410, PKCS#8 version 1): 32 bytes of seed follow.
const PRIVATE_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The DER in front of every Ed25519 public key (RFC 8410).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

pub struct Identity {
    key: Ed25519KeyPair,
    /// Lower-case hex SHA-256 of the raw public key.
    pub device_id: String,
    dir: PathBuf,
}

impl Identity {
    /// The stored identity, or a new one, which is then stored.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn load_or_make(state: &Path, unix_ms: i64) -> Result<Identity, String> {
        let dir = state.join("identity");
        let path = dir.join("device.json");
        if let Some(stored) = read_json(&path)? {
            let key = stored["privateKeyPem"].as_str().and_then(seed_of_pem);
            let key = key.and_then(|it| Ed25519KeyPair::from_seed_unchecked(&it).ok());
            return key.map(|it| Identity::of(it, dir)).ok_or_else(|| {
                format!(
                    "{} holds no Ed25519 private key; move it away to get a new identity, which must then be paired anew",
                    path.display()
                )
            });
        }
        let mut seed = [0u8; 32];
        ids::os_entropy()(&mut seed);
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        let it = Identity::of(key, dir);
        let public: &[u8] = it.key.public_key().as_ref();
        let stored = json!({
            "version": 1,
            "deviceId": it.device_id,
            "publicKeyPem": pem("PUBLIC KEY", &[&PUBLIC_PREFIX, public].concat()),
            "privateKeyPem": pem("PRIVATE KEY", &[&PRIVATE_PREFIX[..], &seed].concat()),
            "createdAtMs": unix_ms,
        });
        write_json(&path, &stored)?;
        Ok(it)
    }
    fn of(key: Ed25519KeyPair, dir: PathBuf) -> Identity {
        Identity { device_id: sha256_hex(key.public_key().as_ref()), key, dir }
    }
    /// Base64url of the raw 32 bytes.
    pub fn public_key(&self) -> String {
        base64url(self.key.public_key().as_ref())
    }
    /// Base64url.
    pub fn sign(&self, payload: &str) -> String {
        base64url(self.key.sign(payload.as_bytes()).as_ref())
    }

    fn tokens_path(&self) -> PathBuf {
        self.dir.join("device-auth.json")
    }
    /// The tokens file, or an empty one when it is missing, broken or another device's: tokens can be had again.
    fn tokens(&self) -> Value {
        let stored = read_json(&self.tokens_path()).ok().flatten();
        stored
            .filter(|it| it["deviceId"] == *self.device_id && it["tokens"].is_object())
            .unwrap_or_else(|| json!({ "version": 1, "deviceId": self.device_id, "tokens": {} }))
    }
    pub fn token(&self, role: &str) -> Option<Secret> {
        self.tokens()["tokens"][role]["token"].as_str().map(|it| Secret::new(it.to_owned()))
    }
    /// Whether the token was given for all of these scopes.
    pub fn covers(&self, role: &str, scopes: &[&str]) -> bool {
        let all = self.tokens();
        let given = all["tokens"][role]["scopes"].as_array();
        scopes.iter().all(|it| given.is_some_and(|given| given.iter().any(|scope| scope == it)))
    }
    /// Keeps a token; writes only what is new.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn keep_token(&self, role: &str, token: &str, scopes: &Value, unix_ms: i64) -> Result<(), String> {
        let mut all = self.tokens();
        let old = &all["tokens"][role];
        if old["token"] == *token && old["scopes"] == *scopes {
            return Ok(());
        }
        all["tokens"][role] =
            json!({ "token": token, "role": role, "scopes": scopes, "updatedAtMs": unix_ms });
        write_json(&self.tokens_path(), &all)
    }
    /// # Errors
    /// A sentence that names the file.
    pub fn drop_token(&self, role: &str) -> Result<(), String> {
        let mut all = self.tokens();
        all["tokens"].as_object_mut().map(|it| it.remove(role));
        write_json(&self.tokens_path(), &all)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64(der);
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn seed_of_pem(text: &str) -> Option<[u8; 32]> {
    let body: String = text.lines().filter(|it| !it.contains("-----")).map(str::trim).collect();
    from_base64(&body)?.strip_prefix(&PRIVATE_PREFIX)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files;

    #[test]
    fn round_trip() {
        let state = std::env::temp_dir().join(format!("gatewayd-identity-{}", std::process::id()));
        let made = Identity::load_or_make(&state, 5).unwrap();
        made.keep_token("operator", "t1", &json!(["operator.admin"]), 6).unwrap();
        made.keep_token("node", "t2", &json!([]), 6).unwrap();
        let again = Identity::load_or_make(&state, 7).unwrap();
        assert_eq!((&made.device_id, made.public_key()), (&again.device_id, again.public_key()));
        assert_eq!(made.sign("x"), again.sign("x"));
        assert_eq!(again.token("operator").unwrap().expose(), "t1");
        again.drop_token("operator").unwrap();
        assert!(made.token("operator").is_none() && made.token("node").is_some());
        let stored = read_json(&state.join("identity/device.json")).unwrap().unwrap();
        let public =
            crate::gateway::device::raw_public_key(stored["publicKeyPem"].as_str().unwrap()).unwrap();
        assert_eq!(base64url(&public), made.public_key());
        assert_eq!((&stored["version"], &stored["createdAtMs"]), (&json!(1), &json!(5)));
        files::write_atomic(&state.join("identity/device.json"), b"{}").unwrap();
        assert!(Identity::load_or_make(&state, 8).err().unwrap().contains("device.json"));
        std::fs::remove_dir_all(&state).unwrap();
    }
    #[test]
    fn reads_a_key_written_by_another_program() {
        // RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let key = Ed25519KeyPair::from_seed_unchecked(&seed_of_pem(pem).unwrap()).unwrap();
        assert_eq!(base64(key.public_key().as_ref()), "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
    }
}
