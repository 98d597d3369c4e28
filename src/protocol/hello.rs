//! `hello-ok`: the answer to an accepted `connect`.
use super::frame::StateVersion;
use super::presence::PresenceEntry;
use super::scope::Role;
use serde::Serialize;
use serde_json::value::RawValue;

/// The protocol 4 form differs in `auth`, which is then always there, and in where it tells of the canvas host.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HelloOk<'a> {
    #[cfg_attr(test, schemars(extend("const" = "hello-ok")))]
    pub r#type: &'static str,
    pub protocol: u32,
    pub server: Server<'a>,
    pub features: Features<'a>,
    pub snapshot: Snapshot<'a>,
    /// Protocol 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canvas_host_url: Option<&'a str>,
    /// Protocol 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_surface_urls: Option<Surfaces>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth<'a>>,
    pub policy: Policy,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Server<'a> {
    pub version: &'a str,
    pub host: &'a str,
    pub conn_id: &'a str,
}

/// Where a client's pages find what is served to them; good until this connection ends.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Surfaces {
    pub canvas: String,
}

/// Exactly what works here.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Features<'a> {
    pub methods: &'a [&'static str],
    pub events: &'a [&'static str],
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Snapshot<'a> {
    pub presence: Vec<PresenceEntry>,
    /// The `health` payload, or `{}` before the first refresh.
    #[cfg_attr(test, schemars(with = "serde_json::Value"))]
    pub health: &'a RawValue,
    pub state_version: StateVersion,
    pub uptime_ms: u64,
    pub config_path: &'a str,
    pub state_dir: &'a str,
    pub session_defaults: SessionDefaults<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionDefaults<'a> {
    pub default_agent_id: &'a str,
    pub main_key: &'a str,
    pub main_session_key: &'a str,
    pub scope: &'a str,
}

/// Present for a device connection, and always for protocol 4.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Auth<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_token: Option<&'a str>,
    pub role: Role,
    pub scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at_ms: Option<i64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub max_payload: usize,
    pub max_buffered_bytes: usize,
    pub tick_interval_ms: u64,
}
