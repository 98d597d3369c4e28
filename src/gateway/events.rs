//! Events: who gets which, numbered once for all.
use super::health::Snapshot;
use super::methods::talk::TalkModeReply;
use super::runs::events::{AgentEvent, ChatEvent};
use super::{Core, Effect, Ready};
use crate::base::ids::ConnId;
use crate::protocol::frame;
use crate::protocol::presence::PresenceEntry;
use crate::protocol::scope::{Access, Role};
use crate::store::devices::{About, Pending};
use serde::Serialize;
use std::marker::PhantomData;

/// One kind of event, and the type of what it carries.
pub struct EventKind<P> {
    pub name: &'static str,
    pub access: Access,
    /// Skipped for a client that does not keep up; others close that client.
    pub drop_if_slow: bool,
    payload: PhantomData<fn(P)>,
}

#[cfg(test)]
impl EventKind<serde_json::Value> {
    pub fn of(name: &'static str, access: Access) -> EventKind<serde_json::Value> {
        EventKind { name, access, drop_if_slow: false, payload: PhantomData }
    }
}

/// Declares the events, one a row: `KIND: Payload = "name", access, drop_if_slow;`.
macro_rules! events {
    ($($kind:ident: $payload:ty = $name:literal, $access:ident, $drop_if_slow:literal;)*) => {
        $(
            pub const $kind: EventKind<$payload> = EventKind {
                name: $name,
                access: Access::$access,
                drop_if_slow: $drop_if_slow,
                payload: PhantomData,
            };
        )*
        /// What `hello-ok.features.events` lists.
        pub const EVENTS: &[&str] = &[$($name),*];
        /// Who gets each of them, and what it carries.
        #[cfg(test)]
        pub const SCHEMAS: &[(Access, fn(&mut schemars::SchemaGenerator) -> schemars::Schema)] =
            &[$((Access::$access, |generator| generator.subschema_for::<$payload>())),*];
    };
}

events! {
    CHALLENGE: Challenge = "connect.challenge", Anyone, false;
    AGENT: AgentEvent = "agent", Read, false;
    CHAT: ChatEvent = "chat", Read, false;
    PRESENCE: PresenceList = "presence", Anyone, true;
    TICK: Tick = "tick", Anyone, true;
    TALK_MODE: TalkModeReply = "talk.mode", Anyone, true;
    SHUTDOWN: Shutdown = "shutdown", Anyone, false;
    HEALTH: Snapshot = "health", Anyone, false;
    DEVICE_PAIR_REQUESTED: PairingRequest = "device.pair.requested", Pairing, true;
    DEVICE_PAIR_RESOLVED: DevicePairResolved = "device.pair.resolved", Pairing, true;
    VOICEWAKE_CHANGED: WakeWords = "voicewake.changed", Anyone, true;
}

/// The first frame of a connection. A device signs the nonce in its `connect`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Challenge {
    pub nonce: String,
    /// Milliseconds since 1970.
    pub ts: i64,
}

/// Everybody who is here, newest first.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PresenceList {
    pub presence: Vec<PresenceEntry>,
}

/// The gateway lives.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tick {
    /// Milliseconds since 1970.
    pub ts: i64,
}

/// The last frame before the gateway closes every connection.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    pub reason: &'static str,
    /// Milliseconds until it is back; null when it does not come back by itself.
    pub restart_expected_ms: Option<u64>,
}

crate::literals! { pub enum Decision { Approved = "approved", Rejected = "rejected" } }

/// A device asks to be paired.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PairingRequest {
    pub request_id: String,
    pub device_id: String,
    pub public_key: String,
    #[serde(flatten)]
    pub about: About,
    pub silent: bool,
    /// It was paired before, for less.
    pub is_repair: bool,
    /// Milliseconds since 1970.
    pub ts: i64,
}

impl From<&Pending> for PairingRequest {
    fn from(it: &Pending) -> PairingRequest {
        PairingRequest {
            request_id: it.request_id.clone(),
            device_id: it.device_id.clone(),
            public_key: it.public_key.clone(),
            about: it.about.clone(),
            silent: it.silent,
            is_repair: it.is_repair,
            ts: it.ts,
        }
    }
}

/// Somebody, or a rule, has decided on a pairing request.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DevicePairResolved {
    pub request_id: String,
    pub device_id: String,
    pub decision: Decision,
    /// Milliseconds since 1970.
    pub ts: i64,
}

/// What a listening device reacts to.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WakeWords {
    pub triggers: Vec<String>,
}

impl Core {
    /// Serialises the event once and sends it to everybody who may see it. Every broadcast takes a number, whoever sees it.
    pub fn broadcast<P: Serialize>(&mut self, kind: &EventKind<P>, payload: &P) {
        self.event_seq += 1;
        self.send_to(kind, payload, kind.drop_if_slow, |_| true);
    }
    /// As [`Core::broadcast`], skipped for a client that does not keep up, and in another form for protocol 4.
    pub fn broadcast_delta<P: Serialize>(&mut self, kind: &EventKind<P>, payload: &P, newer: &P) {
        self.event_seq += 1;
        self.send_to(kind, payload, true, |it| it.protocol < 4);
        self.send_to(kind, newer, true, |it| it.protocol >= 4);
    }
    fn send_to<P: Serialize>(
        &mut self,
        kind: &EventKind<P>,
        payload: &P,
        drop_if_slow: bool,
        of: impl Fn(&Ready) -> bool,
    ) {
        let versioned = matches!(kind.name, "presence" | "health");
        let state_version = versioned.then_some(self.state_version);
        let to: Vec<ConnId> = self
            .clients
            .iter()
            .filter(|(_, client)| !client.closing)
            .filter_map(|(conn, client)| client.ready().map(|it| (conn, it)))
            .filter(|(_, it)| match it.role {
                Role::Operator => it.scopes.allow(kind.access),
                Role::Node => kind.access == Access::Anyone,
            })
            .filter(|(_, it)| of(it))
            .map(|(conn, _)| *conn)
            .collect();
        if !to.is_empty() {
            log::debug!(target: "ws", "→ event {} {} to {}", kind.name, self.event_seq, to.len());
            let text = frame::event(kind.name, payload, Some(self.event_seq), state_version);
            self.effects.push(Effect::Broadcast { to, text, drop_if_slow });
        }
    }
    /// To one connection, without a number.
    pub fn tell<P: Serialize>(&mut self, conn: ConnId, kind: &EventKind<P>, payload: &P) {
        self.send(conn, frame::event(kind.name, payload, None, None));
    }
    /// Presence has changed: everybody gets the whole list.
    pub fn announce_presence(&mut self, unix_ms: i64) {
        self.state_version.presence += 1;
        let presence = self.presence.list(unix_ms);
        self.broadcast(&PRESENCE, &PresenceList { presence });
    }
}
