//! Presence, system events, heartbeats and wake-ups.
use crate::base::clock::Now;
use crate::base::limits::EVENT_TEXT_BYTES_MAX;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::system_events::Keep;
use crate::gateway::{Core, presence};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::presence::PresenceEntry;
use crate::protocol::scope::Access;
use crate::protocol::types::NonEmpty;
use crate::{literals, shaped};
use serde::Serialize;
use serde_json::Value;

pub const METHODS: &[Method] = &[
    Method::of::<LastHeartbeat>(),
    Method::of::<SetHeartbeats>(),
    Method::of::<Wake>(),
    Method::of::<SystemPresence>(),
    Method::of::<SystemEvent>(),
];

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Okay {
    pub ok: bool,
}

/// The last heartbeat event, or null. No heartbeat runs before an agent does.
enum LastHeartbeat {}
impl Rpc for LastHeartbeat {
    const NAME: &'static str = "last-heartbeat";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = Option<HeartbeatEvent>;
    fn call(_: &mut Core, _: Call, _: Value) -> RpcResult<Answer<Option<HeartbeatEvent>>> {
        Ok(Answer::Now(None))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeartbeatEvent {
    ts: i64,
    status: String,
}

/// Turns heartbeats on or off for this process.
enum SetHeartbeats {}
impl Rpc for SetHeartbeats {
    const NAME: &'static str = "set-heartbeats";
    const ACCESS: Access = Access::Admin;
    type Params = Value;
    type Reply = Heartbeats;
    fn call(core: &mut Core, _: Call, params: Value) -> RpcResult<Answer<Heartbeats>> {
        let enabled = params["enabled"]
            .as_bool()
            .ok_or_else(|| RpcError::invalid("invalid set-heartbeats params: enabled (boolean) required"))?;
        core.heartbeats_enabled = enabled;
        Ok(Answer::Now(Heartbeats { ok: true, enabled }))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Heartbeats {
    ok: bool,
    enabled: bool,
}

literals! { pub enum WakeMode { Now = "now", NextHeartbeat = "next-heartbeat" } }
shaped! { struct WakeParams { mode = "mode": WakeMode, text = "text": NonEmpty } }

/// Queues a text for the main session. A blank text changes nothing and says `ok: false`.
enum Wake {}
impl Rpc for Wake {
    const NAME: &'static str = "wake";
    const ACCESS: Access = Access::Write;
    type Params = WakeParams;
    type Reply = Okay;
    fn call(core: &mut Core, call: Call, params: WakeParams) -> RpcResult<Answer<Okay>> {
        Ok(match wake(core, &params.text, params.mode, call.now) {
            Some(keep) => Answer::write(keep, |_, _| Ok(Okay { ok: true })),
            None => Answer::Now(Okay { ok: false }),
        })
    }
}

/// Queues a text for the main session; None when there is none. Without heartbeats both modes mean its next turn.
pub fn wake(core: &mut Core, text: &str, mode: WakeMode, now: Now) -> Option<Keep> {
    let text = bounded(text.trim());
    log::debug!(target: "gateway", "wake ({})", mode.as_str());
    (!text.is_empty()).then(|| core.queue_system_event(&text, now))
}

/// Everybody who is here, newest first.
enum SystemPresence {}
impl Rpc for SystemPresence {
    const NAME: &'static str = "system-presence";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = Vec<PresenceEntry>;
    fn call(core: &mut Core, call: Call, _: Value) -> RpcResult<Answer<Vec<PresenceEntry>>> {
        Ok(Answer::Now(core.presence.list(call.now.unix_ms)))
    }
}

/// A device reports in, or somebody leaves a note for the main session. Fields of a wrong type are ignored, as the reference does.
enum SystemEvent {}
impl Rpc for SystemEvent {
    const NAME: &'static str = "system-event";
    const ACCESS: Access = Access::Admin;
    type Params = Value;
    type Reply = Okay;
    fn call(core: &mut Core, call: Call, params: Value) -> RpcResult<Answer<Okay>> {
        let text = bounded(params["text"].as_str().unwrap_or_default().trim());
        if text.is_empty() {
            return Err(RpcError::invalid("text required"));
        }
        let news = PresenceEntry { ts: call.now.unix_ms, text: Some(text.clone()), ..entry(&params, &text) };
        let key = key(&news, &text);
        let old = core.presence.get(&key).cloned();
        let note = if text.starts_with("Node:") { delta(old.as_ref(), &news) } else { Some(text) };
        core.presence.upsert(&key, news);
        let keep = note.map(|it| core.queue_system_event(&bounded(&it), call.now));
        core.announce_presence(call.now.unix_ms);
        Ok(match keep {
            Some(keep) => Answer::write(keep, |_, _| Ok(Okay { ok: true })),
            None => Answer::Now(Okay { ok: true }),
        })
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(EVENT_TEXT_BYTES_MAX)].to_owned()
}

/// The structured fields, with those of the text form behind them.
fn entry(params: &Value, text: &str) -> PresenceEntry {
    let parsed =
        if text.starts_with("Node:") { presence::parse_text(text) } else { PresenceEntry::default() };
    let field =
        |name: &str| params[name].as_str().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let list = |name: &str| {
        let items = params[name].as_array().into_iter().flatten();
        items.filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    PresenceEntry {
        host: field("host").or(parsed.host),
        ip: field("ip").or(parsed.ip),
        version: field("version").or(parsed.version),
        platform: field("platform"),
        device_family: field("deviceFamily"),
        model_identifier: field("modelIdentifier"),
        mode: field("mode").or(parsed.mode),
        last_input_seconds: params["lastInputSeconds"].as_f64().or(parsed.last_input_seconds),
        reason: field("reason").or(parsed.reason),
        roles: list("roles"),
        scopes: list("scopes"),
        device_id: field("deviceId"),
        instance_id: field("instanceId"),
        text: None,
        ts: 0,
    }
}

/// Who this is about: the first of device, instance, host, address, and the beginning of the text.
fn key(news: &PresenceEntry, text: &str) -> String {
    let named = [&news.device_id, &news.instance_id, &news.host, &news.ip];
    named.into_iter().flatten().next().cloned().unwrap_or_else(|| text.chars().take(64).collect())
}

/// What is worth telling the agent of a device's report; None when nothing that matters changed.
fn delta(old: Option<&PresenceEntry>, new: &PresenceEntry) -> Option<String> {
    let reason = new.reason.as_deref().unwrap_or_default();
    let reason_counts = !reason.is_empty() && !reason.starts_with("periodic") && reason != "heartbeat";
    let mut parts = vec![];
    let mut compare = |label: &str, field: fn(&PresenceEntry) -> &Option<String>| {
        let (was, is) = (old.and_then(|it| field(it).as_deref()), field(new).as_deref());
        if let Some(is) = is.filter(|is| was != Some(is)) {
            parts.push(format!("{label} {is}"));
        }
    };
    compare("ip", |it| &it.ip);
    compare("app", |it| &it.version);
    compare("mode", |it| &it.mode);
    if reason_counts {
        compare("reason", |it| &it.reason);
    }
    let host_changed = old.is_some_and(|it| it.host != new.host && new.host.is_some());
    let host = new.host.as_deref().unwrap_or("unknown");
    (!parts.is_empty() || host_changed).then(|| format!("Node: {host} · {}", parts.join(" · ")))
}
