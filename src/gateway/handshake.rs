//! The first request of a connection: every check in the reference's order, with its texts and close codes.
//!
//! ```text
//! Challenged ── connect ok ──────────────────► Ready
//!     │  └───── connect ok, new device ─► Pairing ── written ──► Ready, or Closing when its owner must say yes first
//!     └──────── anything else ──────────► Closing   (wrong secret: perhaps Held first)
//! ```
mod admit;

use super::auth::{Guesser, Verdict};
use super::device;
use super::events::WakeWords;
use super::grants::{self, Wanted};
use super::peer::Peer;
use super::{Core, Effect, Node, Phase, Ready, Timer, canvas, events, health, nodes, tailscale};
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::{
    FRAME_BYTES_MAX, IDENTITY_CHARS_MAX, NODE_NAMES_MAX, OUT_QUEUE_BYTES_MAX, SCOPES_MAX, TICK_MS,
};
use crate::base::secret::Secret;
use crate::protocol::connect::{ClientId, ClientMode, ConnectParams, PROTOCOLS};
use crate::protocol::error::RpcError;
use crate::protocol::frame::{BadFrame, Request, raw};
use crate::protocol::hello::{Auth, Features, HelloOk, Policy, Server, SessionDefaults, Snapshot, Surfaces};
use crate::protocol::presence::PresenceEntry;
use crate::protocol::scope::{Role, Scopes};
use crate::protocol::shape::{Shaped, join};
use crate::protocol::types::NonEmpty;
use crate::store::devices::Token;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// How a connection is turned away.
#[derive(Debug)]
pub(super) struct Refusal {
    /// None: nothing is said before the close.
    answer: Option<(Value, RpcError)>,
    code: u16,
    reason: String,
    /// Held back this long.
    hold_ms: u64,
}

/// A connect that passed every check.
struct Accepted {
    id: Value,
    params: ConnectParams,
    protocol: u32,
    role: Role,
    scopes: Vec<String>,
    local: bool,
    client_ip: Option<String>,
    device: Option<Device>,
    /// It knew the shared secret.
    by_secret: bool,
    /// Where it finds the canvas host.
    canvas: Option<String>,
}

impl Accepted {
    fn wanted(&self) -> Wanted<'_> {
        Wanted { role: self.role, scopes: &self.scopes, platform: &self.params.client.platform }
    }
}

struct Device {
    id: String,
    public_key: String,
    /// Its own credential, once it has one for this role and these scopes.
    token: Option<Token>,
}

/// Texts of protocol 4 clients' error details (demand page 4.1, rule 9).
struct Refuse {
    id: Value,
    protocol: u32,
}

impl Refuse {
    fn with(&self, error: RpcError, code: &str, details: Value) -> Refusal {
        let mut error = error;
        if self.protocol >= 4 {
            let mut all = json!({ "code": code });
            if let (Some(all), Value::Object(more)) = (all.as_object_mut(), details) {
                all.extend(more);
            }
            error = error.details(all);
        }
        Refusal {
            reason: error.message.clone(),
            answer: Some((self.id.clone(), error)),
            code: 1008,
            hold_ms: 0,
        }
    }
    fn invalid(&self, message: &str, code: &str) -> Refusal {
        self.with(RpcError::invalid(message), code, Value::Null)
    }
}

pub(super) fn on_first(core: &mut Core, conn: ConnId, text: &[u8], now: Now) {
    let Some(client) = core.clients.get_mut(&conn) else { return };
    let Phase::Challenged { peer, nonce } = std::mem::replace(&mut client.phase, Phase::Closing) else {
        return;
    };
    let Some(peer) = tailscale::settle(core, conn, peer, &nonce, text, now) else { return };
    match check(core, &peer, &nonce, text, now) {
        Ok(accepted) => admit::accept(core, conn, accepted, now),
        Err(refusal) => {
            log::info!(target: "ws", "refused a connection from {}: {}", peer.ip, refusal.reason);
            if refusal.hold_ms > 0 {
                core.arm(now.mono_ms + refusal.hold_ms, Timer::Refuse(conn));
                set_phase(core, conn, Phase::Held { refusal: Box::new(refusal) });
            } else {
                refuse(core, conn, refusal);
            }
        }
    }
}

/// The time of a held refusal has come.
pub(super) fn refuse_held(core: &mut Core, conn: ConnId) {
    let Some(client) = core.clients.get_mut(&conn) else { return };
    if let Phase::Held { .. } = client.phase {
        let Phase::Held { refusal } = std::mem::replace(&mut client.phase, Phase::Closing) else { return };
        refuse(core, conn, *refusal);
    }
}

fn refuse(core: &mut Core, conn: ConnId, refusal: Refusal) {
    if let Some((id, error)) = refusal.answer {
        core.reply(conn, &id, Err(error));
    }
    core.close(conn, refusal.code, &refusal.reason);
}

fn set_phase(core: &mut Core, conn: ConnId, phase: Phase) {
    if let Some(client) = core.clients.get_mut(&conn) {
        client.phase = phase;
    }
}

/// Reference 2.2, row by row.
fn check(core: &mut Core, peer: &Peer, nonce: &str, text: &[u8], now: Now) -> Result<Accepted, Refusal> {
    let silent = |code: u16, reason: &str| Refusal { answer: None, code, reason: reason.into(), hold_ms: 0 };
    let request = match Request::parse(text) {
        Ok(it) => it,
        Err(BadFrame::NotJson) => return Err(silent(1000, "")),
        Err(BadFrame::NotRequest { .. }) => return Err(silent(1008, "invalid request frame")),
    };
    let refuse = Refuse { id: Value::String(request.id), protocol: 3 };
    if request.method != "connect" {
        return Err(refuse.invalid("invalid handshake: first request must be connect", ""));
    }
    let complaints = ConnectParams::SHAPE.check(&request.params);
    if !complaints.is_empty() {
        return Err(refuse.invalid(&format!("invalid connect params: {}", join(&complaints)), ""));
    }
    let params: ConnectParams = serde_json::from_value(request.params)
        .map_err(|err| refuse.invalid(&format!("invalid connect params: {err}"), ""))?;
    let Some(protocol) = params.protocol() else { return Err(mismatch(&refuse)) };
    let refuse = Refuse { protocol, ..refuse };
    check_sizes(&params).map_err(|text| refuse.invalid(&format!("invalid connect params: {text}"), ""))?;
    let role = params.role.as_deref().unwrap_or("operator");
    let role = Role::parse(role).ok_or_else(|| refuse.invalid("invalid role", "INVALID_ROLE"))?;
    check_origin(core, peer, &params, &refuse)?;

    let config = &core.world.config.config.gateway;
    let local = peer.is_local();
    let client_ip = peer.client_ip(&config.trusted_proxies);
    let insecure_ui = params.client.id == ClientId::ControlUi && config.insecure_control_ui;
    let guesser = core.limiter.guesser(client_ip, peer.forwarded, peer.origin.as_deref());
    let scopes = effective_scopes(&params, role, protocol);
    let shared = check_shared(core, &params, &guesser, now);
    let mut accepted = Accepted {
        id: refuse.id.clone(),
        protocol,
        role,
        scopes,
        local,
        client_ip: client_ip.filter(|_| !local).map(|it| it.to_string()),
        device: None,
        by_secret: shared.is_ok(),
        canvas: canvas::base(core, peer),
        params,
    };
    // Whose the tailnet says it is knows no less than the secret; but only a person's device is taken for it.
    let owner = peer.claim.as_ref().is_some_and(|it| it.confirmed) && role == Role::Operator;
    let shared = if owner && accepted.params.device.is_some() { Ok(()) } else { shared };
    match accepted.params.device.is_some() {
        false => {
            if accepted.params.client.id == ClientId::ControlUi && !insecure_ui {
                let text = "control ui requires HTTPS or localhost (secure context)";
                return Err(refuse.invalid(text, "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"));
            }
            let gave_some = accepted.params.token().or(accepted.params.password()).is_some();
            match shared {
                Ok(()) => {}
                Err(wrong) if gave_some => {
                    return Err(unauthorized(core, &accepted.params, &refuse, &guesser, wrong, now));
                }
                Err(_) => return Err(device_required(&refuse)),
            }
            if role == Role::Node && protocol >= 4 {
                return Err(device_required(&refuse));
            }
            core.limiter.right(&guesser);
            if (!local || peer.origin.is_some()) && !insecure_ui {
                // A shared secret without a device is the owner's own tool on this machine; a page, or one from elsewhere, may only look in (security plan 1.2).
                accepted.scopes.clear();
            }
        }
        true => check_device(core, &mut accepted, nonce, shared, &guesser, &refuse, now)?,
    }
    Ok(accepted)
}

fn device_required(refuse: &Refuse) -> Refusal {
    refuse.with(RpcError::not_paired("device identity required"), "DEVICE_IDENTITY_REQUIRED", Value::Null)
}

fn mismatch(refuse: &Refuse) -> Refusal {
    let error =
        RpcError::invalid("protocol mismatch").details(json!({ "expectedProtocol": PROTOCOLS.start() }));
    Refusal {
        reason: error.message.clone(),
        answer: Some((refuse.id.clone(), error)),
        code: 1002,
        hold_ms: 0,
    }
}

/// Every page must be one we trust, whatever client it says it is; the Control UI and web chats must be pages.
fn check_origin(core: &Core, peer: &Peer, params: &ConnectParams, refuse: &Refuse) -> Result<(), Refusal> {
    let must_be_page = params.client.id == ClientId::ControlUi || params.is_webchat();
    if peer.origin.is_none() && !must_be_page {
        return Ok(());
    }
    if peer.origin_allowed(&core.world.config.config.gateway.allowed_origins, &core.host_names) {
        return Ok(());
    }
    let text = "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)";
    let reason = if peer.origin.is_none() { "origin missing or invalid" } else { "origin not allowed" };
    Err(refuse.with(RpcError::invalid(text), "CONTROL_UI_ORIGIN_NOT_ALLOWED", json!({ "reason": reason })))
}

/// What is remembered of a client is short, however much fits into a frame.
fn check_sizes(params: &ConnectParams) -> Result<(), String> {
    let client = &params.client;
    let texts = [
        ("/client/displayName", client.display_name.as_ref()),
        ("/client/version", Some(&client.version)),
        ("/client/platform", Some(&client.platform)),
        ("/client/deviceFamily", client.device_family.as_ref()),
        ("/client/modelIdentifier", client.model_identifier.as_ref()),
        ("/client/instanceId", client.instance_id.as_ref()),
        ("/role", params.role.as_ref()),
    ];
    let scopes = params.scopes.as_deref().unwrap_or_default();
    if scopes.len() > SCOPES_MAX {
        return Err(format!("at /scopes: must NOT have more than {SCOPES_MAX} items"));
    }
    let long = |it: &NonEmpty| it.chars().count() > IDENTITY_CHARS_MAX;
    let texts = texts.into_iter().filter_map(|(at, text)| Some((at, text?)));
    match texts.chain(scopes.iter().map(|it| ("/scopes", it))).find(|it| long(it.1)) {
        Some((at, _)) => Err(format!("at {at}: must NOT have more than {IDENTITY_CHARS_MAX} characters")),
        None => Ok(()),
    }
}

/// Operators of protocol 3 that ask for nothing get everything: its clients rely on that.
fn effective_scopes(params: &ConnectParams, role: Role, protocol: u32) -> Vec<String> {
    let asked = params.scope_names();
    if asked.is_empty() && role == Role::Operator && protocol < 4 {
        vec!["operator.admin".into()]
    } else {
        grants::fitting(role, asked)
    }
}

enum Wrong {
    Verdict(Verdict),
    Locked(u64),
}

fn check_shared(core: &Core, params: &ConnectParams, guesser: &Guesser, now: Now) -> Result<(), Wrong> {
    if let Some(ms) = core.limiter.locked(guesser, now.mono_ms) {
        return Err(Wrong::Locked(ms));
    }
    match core.auth.given(params) {
        None => Err(Wrong::Verdict(Verdict::Missing)),
        Some(given) if core.auth.secret.is(given) => Ok(()),
        Some(_) => Err(Wrong::Verdict(Verdict::Mismatch)),
    }
}

fn unauthorized(
    core: &mut Core,
    params: &ConnectParams,
    refuse: &Refuse,
    guesser: &Guesser,
    wrong: Wrong,
    now: Now,
) -> Refusal {
    let kind = if core.auth.mode == crate::config::AuthMode::Token { "TOKEN" } else { "PASSWORD" };
    match wrong {
        Wrong::Locked(ms) => {
            let text = format!("unauthorized: too many wrong attempts, try again in {} s", ms.div_ceil(1000));
            let details = json!({ "authReason": "rate_limited", "retryAfterMs": ms, "canRetryWithDeviceToken": false,
                "recommendedNextStep": "wait_then_retry" });
            let error = RpcError::invalid(text).retry_after(ms);
            refuse.with(error, "AUTH_RATE_LIMITED", details)
        }
        Wrong::Verdict(verdict) => {
            let hold_ms =
                if verdict == Verdict::Mismatch { core.limiter.wrong(guesser, now.mono_ms) } else { 0 };
            let text = core.auth.refusal(params, verdict);
            let word = verdict.word();
            let step = if verdict == Verdict::Missing {
                "update_auth_configuration"
            } else {
                "update_auth_credentials"
            };
            let details = json!({ "authReason": format!("{}_{word}", kind.to_lowercase()), "canRetryWithDeviceToken": false,
                "recommendedNextStep": step });
            let code = format!("AUTH_{kind}_{}", word.to_uppercase());
            Refusal { hold_ms, ..refuse.with(RpcError::invalid(text), &code, details) }
        }
    }
}

/// Rows 11 to 18: the proof, the secret, the pairing.
fn check_device(
    core: &mut Core,
    accepted: &mut Accepted,
    nonce: &str,
    shared: Result<(), Wrong>,
    guesser: &Guesser,
    refuse: &Refuse,
    now: Now,
) -> Result<(), Refusal> {
    let (params, role) = (&accepted.params, accepted.role.as_str());
    let Some(proof) = params.device.as_ref() else { return Ok(()) };
    // Protocol 4 clients always wait for the challenge.
    let old = (accepted.local && accepted.protocol < 4).then_some(&mut core.old_signatures);
    device::verify(proof, params, role, nonce, old, now.unix_ms).map_err(|bad| {
        let (text, code) = bad.texts();
        refuse.invalid(text, code)
    })?;
    let device = Device { id: proof.id.0.clone(), public_key: device::stored_key(proof), token: None };
    match shared {
        Ok(()) => core.limiter.right(guesser),
        Err(wrong) => {
            // A device's own token stands in for the shared secret, but cannot ask for more than it has. It is no guess
            // at that secret: it neither waits for a lock-out nor ends one.
            let own = params.token().is_some_and(|it| {
                grants::token_allows(&core.devices, &device.id, role, &accepted.scopes, it)
            });
            if !own {
                return Err(unauthorized(core, params, refuse, guesser, wrong, now));
            }
            core.device_used(&device.id, role, now);
        }
    }
    accepted.device = Some(device);
    Ok(())
}

fn welcome(core: &mut Core, conn: ConnId, accepted: Accepted, now: Now) {
    let Some(conn_id) = core.clients.get(&conn).map(|it| it.conn_id.clone()) else { return };
    let presence_key = announce(core, &accepted, &conn_id, now);
    let node = (accepted.role == Role::Node).then(|| Box::new(node(&accepted, now)));
    // On this machine protocol 3 needs none, and its clients know the plain address.
    let scoped = accepted.protocol >= 4 || !accepted.local;
    let canvas = accepted.canvas.clone().filter(|_| scoped).map(|it| Box::new(core.new_surface(it)));
    let canvas_url = canvas.as_ref().map_or_else(|| accepted.canvas.clone(), |it| Some(it.url()));
    let ready = Ready {
        protocol: accepted.protocol,
        role: accepted.role,
        scopes: Scopes::of(&accepted.scopes),
        client_id: accepted.params.client.id,
        display_name: accepted.params.client.display_name.as_ref().map(|it| it.0.clone()),
        mode: accepted.params.client.mode,
        presence_key,
        sees_tools: accepted.params.caps.iter().flatten().any(|it| &**it == "tool-events"),
        device_id: accepted.device.as_ref().map(|it| it.id.clone()),
        by_secret: accepted.by_secret,
        node,
        canvas,
    };
    log::debug!(target: "ws", "connected: {} {} protocol {}", ready.client_id.as_str(), ready.role.as_str(), ready.protocol);
    set_phase(core, conn, Phase::Ready(Box::new(ready)));
    core.became_ready(now);
    core.effects.push(Effect::Authenticated { conn });
    let hello = hello(core, &accepted, &conn_id, canvas_url.as_deref(), now);
    core.reply(conn, &accepted.id, Ok(&hello));
    if accepted.role == Role::Node {
        let words = WakeWords { triggers: core.wake_words.clone() };
        core.tell(conn, &events::VOICEWAKE_CHANGED, &words);
        nodes::on_connected(core, conn, now);
    }
    health::refresh(core, now);
}

/// Everybody but one-shot command lines shows up in the presence list.
fn announce(core: &mut Core, accepted: &Accepted, conn_id: &str, now: Now) -> Option<String> {
    let client = &accepted.params.client;
    if client.mode == ClientMode::Cli {
        return None;
    }
    let device_id = accepted.device.as_ref().map(|it| it.id.clone());
    let instance_id = client.instance_id.as_ref().map(|it| it.0.clone());
    let key = device_id.clone().or_else(|| instance_id.clone()).unwrap_or_else(|| conn_id.to_owned());
    let text = |it: &Option<NonEmpty>| it.as_ref().map(|it| it.0.clone());
    let host = text(&client.display_name).unwrap_or_else(|| client.id.as_str().to_owned());
    core.state_version.presence += 1;
    let entry = PresenceEntry {
        text: Some(format!("Node: {host} · mode {}", client.mode.as_str())),
        host: Some(host),
        ip: accepted.client_ip.clone(),
        version: Some(client.version.0.clone()),
        platform: Some(client.platform.0.clone()),
        device_family: text(&client.device_family),
        model_identifier: text(&client.model_identifier),
        mode: Some(client.mode.as_str().into()),
        reason: Some("connect".into()),
        roles: vec![accepted.role.as_str().into()],
        scopes: accepted.scopes.clone(),
        instance_id: device_id.clone().or(instance_id),
        device_id,
        last_input_seconds: None,
        ts: now.unix_ms,
    };
    core.presence.upsert(&key, entry);
    Some(key)
}

fn node(accepted: &Accepted, now: Now) -> Node {
    let (params, client) = (&accepted.params, &accepted.params.client);
    let text = |it: &Option<NonEmpty>| it.as_ref().map(|it| nodes::text(it));
    let names = |it: &Option<Vec<NonEmpty>>| nodes::names(it.iter().flatten().map(|it| &**it));
    let permissions = params.permissions.iter().flatten().take(NODE_NAMES_MAX);
    Node {
        node_id: accepted.device.as_ref().map_or_else(|| client.id.as_str().to_owned(), |it| it.id.clone()),
        has_device: accepted.device.is_some(),
        display_name: text(&client.display_name),
        platform: nodes::text(&client.platform),
        version: nodes::text(&client.version),
        device_family: text(&client.device_family),
        model_identifier: text(&client.model_identifier),
        remote_ip: accepted.client_ip.clone(),
        declared_caps: names(&params.caps),
        declared_commands: names(&params.commands),
        path_env: params.path_env.clone(),
        permissions: permissions.map(|(name, it)| (nodes::text(name), *it)).collect(),
        connected_at_ms: now.unix_ms,
        ..Node::default()
    }
}

fn hello(
    core: &mut Core,
    accepted: &Accepted,
    conn_id: &str,
    canvas: Option<&str>,
    now: Now,
) -> Box<RawValue> {
    let presence = core.presence.list(now.unix_ms);
    let (world, config) = (&core.world, &core.world.config.config);
    let agent_id = config.agents.default_id();
    let main_key = super::sessions::main_key(agent_id, config.session.global);
    let token = accepted.device.as_ref().and_then(|it| it.token.as_ref());
    // From here on it is masked in every log.
    let _ = token.map(|it| Secret::new(it.token.clone()));
    let auth = Auth {
        device_token: token.map(|it| it.token.as_str()),
        role: accepted.role,
        scopes: &accepted.scopes,
        issued_at_ms: token.map(|it| it.rotated_at_ms.unwrap_or(it.created_at_ms)),
    };
    let hello = HelloOk {
        r#type: "hello-ok",
        protocol: accepted.protocol,
        server: Server { version: world.version(), host: &world.host, conn_id },
        features: Features { methods: core.registry.names(), events: events::EVENTS },
        snapshot: Snapshot {
            presence,
            health: &core.health.payload,
            state_version: core.state_version,
            uptime_ms: now.mono_ms,
            config_path: &world.paths.config.to_string_lossy(),
            state_dir: &world.paths.state.to_string_lossy(),
            session_defaults: SessionDefaults {
                default_agent_id: agent_id,
                main_key: "main",
                main_session_key: &main_key,
                scope: if config.session.global { "global" } else { "per-sender" },
            },
        },
        canvas_host_url: canvas.filter(|_| accepted.protocol < 4),
        plugin_surface_urls: canvas
            .filter(|_| accepted.protocol >= 4)
            .map(|it| Surfaces { canvas: it.to_owned() }),
        auth: (token.is_some() || accepted.protocol >= 4).then_some(auth),
        policy: Policy {
            max_payload: FRAME_BYTES_MAX,
            max_buffered_bytes: OUT_QUEUE_BYTES_MAX,
            tick_interval_ms: TICK_MS,
        },
    };
    raw(&hello)
}
