//! `chat.subscribe`: nodes that listen to a session. They get its `agent` and `chat` events as copies without a number.
use crate::base::ids::ConnId;
use crate::base::limits::{NODE_SUBSCRIPTIONS_MAX, SESSION_KEY_BYTES_MAX};
use crate::gateway::{Core, Effect, sessions};
use crate::protocol::frame;
use serde_json::Value;
use std::collections::BTreeMap;

/// By connection: the session's canonical key, and its key as the node says it.
#[derive(Default)]
pub struct Subscriptions(BTreeMap<ConnId, BTreeMap<String, String>>);

impl Subscriptions {
    pub fn forget(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }
}

pub fn subscribe(core: &mut Core, conn: ConnId, session_key: &str) {
    let Some(key) = canonical(core, session_key) else { return };
    let all = core.nodes.subscriptions.0.entry(conn).or_default();
    if all.len() < NODE_SUBSCRIPTIONS_MAX || all.contains_key(&key) {
        all.insert(key, session_key.to_owned());
    }
}

pub fn unsubscribe(core: &mut Core, conn: ConnId, session_key: &str) {
    let Some(key) = canonical(core, session_key) else { return };
    if let Some(all) = core.nodes.subscriptions.0.get_mut(&conn) {
        all.remove(&key);
        if all.is_empty() {
            core.nodes.subscriptions.forget(conn);
        }
    }
}

fn canonical(core: &Core, session_key: &str) -> Option<String> {
    if session_key.len() > SESSION_KEY_BYTES_MAX {
        None
    } else {
        sessions::canonical(&core.world, session_key)
    }
}

/// A copy of an event for every node that listens to its session, with the key by which that node knows it.
pub fn copy(
    core: &mut Core,
    name: &str,
    session_key: &str,
    drop_if_slow: bool,
    payload: impl FnOnce() -> Value,
) {
    if core.nodes.subscriptions.0.is_empty() {
        return;
    }
    let Some(key) = canonical(core, session_key) else { return };
    let mut listeners: BTreeMap<&str, Vec<ConnId>> = BTreeMap::new();
    for (conn, all) in &core.nodes.subscriptions.0 {
        if let Some(said) = all.get(&key).filter(|_| core.clients.get(conn).is_some_and(|it| !it.closing)) {
            listeners.entry(said).or_default().push(*conn);
        }
    }
    if listeners.is_empty() {
        return;
    }
    let mut payload = payload();
    for (said, to) in listeners {
        payload["sessionKey"] = said.into();
        let text = frame::event(name, &payload, None, None);
        core.effects.push(Effect::Broadcast { to, text, drop_if_slow });
    }
}
