//! Events: who gets which, numbered once for all.
use super::{Core, Effect};
use crate::base::ids::ConnId;
use crate::protocol::frame;
use crate::protocol::scope::{Access, Role};
use serde::Serialize;

/// One kind of event.
pub struct EventKind {
    pub name: &'static str,
    pub access: Access,
    /// Skipped for a client that does not keep up; others close that client.
    pub drop_if_slow: bool,
}

const fn kind(name: &'static str, access: Access, drop_if_slow: bool) -> EventKind {
    EventKind { name, access, drop_if_slow }
}

pub const CHALLENGE: EventKind = kind("connect.challenge", Access::Anyone, false);
pub const PRESENCE: EventKind = kind("presence", Access::Anyone, true);
pub const TICK: EventKind = kind("tick", Access::Anyone, true);
pub const TALK_MODE: EventKind = kind("talk.mode", Access::Anyone, true);
pub const SHUTDOWN: EventKind = kind("shutdown", Access::Anyone, false);
pub const HEALTH: EventKind = kind("health", Access::Anyone, false);
pub const DEVICE_PAIR_REQUESTED: EventKind = kind("device.pair.requested", Access::Pairing, true);
pub const DEVICE_PAIR_RESOLVED: EventKind = kind("device.pair.resolved", Access::Pairing, true);
pub const VOICEWAKE_CHANGED: EventKind = kind("voicewake.changed", Access::Anyone, true);

/// What `hello-ok.features.events` lists.
pub const EVENTS: &[&str] = &[
    CHALLENGE.name,
    PRESENCE.name,
    TICK.name,
    TALK_MODE.name,
    SHUTDOWN.name,
    HEALTH.name,
    DEVICE_PAIR_REQUESTED.name,
    DEVICE_PAIR_RESOLVED.name,
    VOICEWAKE_CHANGED.name,
];

impl Core {
    /// Serialises the event once and sends it to everybody who may see it. Every broadcast takes a number, whoever sees it.
    pub fn broadcast(&mut self, kind: &EventKind, payload: &impl Serialize) {
        self.event_seq += 1;
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
            .map(|(conn, _)| *conn)
            .collect();
        if !to.is_empty() {
            let text = frame::event(kind.name, payload, Some(self.event_seq), state_version);
            self.effects.push(Effect::Broadcast { to, text, drop_if_slow: kind.drop_if_slow });
        }
    }
    /// To one connection, without a number.
    pub fn tell(&mut self, conn: ConnId, kind: &EventKind, payload: &impl Serialize) {
        self.send(conn, frame::event(kind.name, payload, None, None));
    }
    /// Presence has changed: everybody gets the whole list.
    pub fn announce_presence(&mut self, unix_ms: i64) {
        self.state_version.presence += 1;
        let presence = self.presence.list(unix_ms);
        self.broadcast(&PRESENCE, &serde_json::json!({ "presence": presence }));
    }
}
