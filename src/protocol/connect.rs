//! `connect`: the first request of every connection.
use super::shape::{Int, MAX_SAFE};
use super::types::NonEmpty;
use crate::{literals, shaped};
use std::collections::BTreeMap;

/// The protocol versions spoken here, lowest and highest.
pub const PROTOCOLS: std::ops::RangeInclusive<u32> = 3..=4;

literals! {
    pub enum ClientId {
        WebchatUi = "webchat-ui", ControlUi = "openclaw-control-ui", Webchat = "webchat", Cli = "cli", GatewayClient = "gateway-client",
        MacOs = "openclaw-macos", Ios = "openclaw-ios", Android = "openclaw-android", NodeHost = "node-host", Test = "test",
        Fingerprint = "fingerprint", Probe = "openclaw-probe",
        // Of newer releases, which the reference does not know.
        Tui = "openclaw-tui", Linux = "openclaw-linux", WatchOs = "openclaw-watchos", BrowserCopilot = "openclaw-browser-copilot",
    }
}
literals! {
    pub enum ClientMode {
        Webchat = "webchat", Cli = "cli", Ui = "ui", Backend = "backend", Node = "node", Probe = "probe", Test = "test",
    }
}
shaped! {
    pub struct Client {
        pub id = "id": ClientId,
        pub display_name = "displayName": Option<NonEmpty>,
        pub version = "version": NonEmpty,
        pub platform = "platform": NonEmpty,
        pub device_family = "deviceFamily": Option<NonEmpty>,
        pub model_identifier = "modelIdentifier": Option<NonEmpty>,
        pub mode = "mode": ClientMode,
        pub instance_id = "instanceId": Option<NonEmpty>,
    }
}
shaped! {
    /// The client's device identity: an Ed25519 key and a signature over the payload that [`signature_payload`] builds.
    pub struct DeviceProof {
        /// Lower-case hex SHA-256 of the raw public key.
        pub id = "id": NonEmpty,
        /// Base64url of the raw 32 bytes, or PEM.
        pub public_key = "publicKey": NonEmpty,
        pub signature = "signature": NonEmpty,
        /// Milliseconds since 1970.
        pub signed_at = "signedAt": Int<0, MAX_SAFE>,
        pub nonce = "nonce": Option<NonEmpty>,
    }
}
shaped! {
    pub struct Credentials {
        pub token = "token": Option<String>,
        pub password = "password": Option<String>,
    }
}
shaped! {
    pub struct ConnectParams {
        pub min_protocol = "minProtocol": Int<1>,
        pub max_protocol = "maxProtocol": Int<1>,
        pub client = "client": Client,
        pub caps = "caps": Option<Vec<NonEmpty>>,
        pub commands = "commands": Option<Vec<NonEmpty>>,
        pub permissions = "permissions": Option<BTreeMap<String, bool>>,
        pub path_env = "pathEnv": Option<String>,
        pub role = "role": Option<NonEmpty>,
        pub scopes = "scopes": Option<Vec<NonEmpty>>,
        pub device = "device": Option<DeviceProof>,
        pub auth = "auth": Option<Credentials>,
        pub locale = "locale": Option<String>,
        pub user_agent = "userAgent": Option<String>,
    }
}

impl ConnectParams {
    /// The highest version both sides speak.
    pub fn protocol(&self) -> Option<u32> {
        PROTOCOLS.rev().find(|it| (self.min_protocol.0..=self.max_protocol.0).contains(&i64::from(*it)))
    }
    pub fn scope_names(&self) -> Vec<String> {
        self.scopes.iter().flatten().map(|it| it.0.clone()).collect()
    }
    pub fn token(&self) -> Option<&str> {
        self.auth.as_ref()?.token.as_deref()
    }
    pub fn password(&self) -> Option<&str> {
        self.auth.as_ref()?.password.as_deref()
    }
    pub fn is_webchat(&self) -> bool {
        self.client.mode == ClientMode::Webchat || self.client.id == ClientId::WebchatUi
    }
}

/// What a device signs: the fields joined by `|`. v1 has no nonce, v3 adds platform and device family.
pub fn signature_payload(version: u8, device_id: &str, role: &str, params: &ConnectParams) -> String {
    let device = params.device.as_ref();
    let signed_at = device.map_or(0, |it| it.signed_at.0).to_string();
    let nonce = device.and_then(|it| it.nonce.as_deref()).unwrap_or_default();
    let scopes = params.scope_names().join(",");
    let (client, token) = (&params.client, params.token().unwrap_or_default());
    let head = format!("v{version}");
    // Signed as the newest releases sign them: without a difference of case.
    let bare = |it: &str| it.trim().to_ascii_lowercase();
    let platform = bare(&client.platform);
    let family = bare(client.device_family.as_deref().unwrap_or_default());
    let mut parts: Vec<&str> =
        vec![&head, device_id, client.id.as_str(), client.mode.as_str(), role, &scopes, &signed_at, token];
    if version >= 2 {
        parts.push(nonce);
    }
    if version >= 3 {
        parts.extend([platform.as_str(), &family]);
    }
    parts.join("|")
}
