//! System events: lines that wait for a session's next turn, and are told to the model in front of it.
//!
//! They are kept in memory, as in the reference: what must not be lost is a message.
use super::{Core, sessions};
use crate::agent::envelope;
use crate::base::clock::Now;
use crate::base::limits::{SYSTEM_EVENTS_ALL_MAX, SYSTEM_EVENTS_MAX};
use std::collections::VecDeque;

struct Event {
    /// Canonical.
    key: String,
    text: String,
    /// Milliseconds since 1970.
    at_ms: i64,
}

/// Of all sessions, oldest first.
#[derive(Default)]
pub struct SystemEvents(VecDeque<Event>);

impl SystemEvents {
    /// The oldest one goes when its session has too many, or all together have.
    fn push(&mut self, event: Event) {
        let mut own = self.0.iter().enumerate().filter(|it| it.1.key == event.key).map(|it| it.0);
        let surplus = match own.next() {
            Some(oldest) if own.count() + 1 >= SYSTEM_EVENTS_MAX => Some(oldest),
            _ => (self.0.len() >= SYSTEM_EVENTS_ALL_MAX).then_some(0),
        };
        surplus.map(|at| self.0.remove(at));
        self.0.push_back(event);
    }
    fn take(&mut self, key: &str) -> Vec<Event> {
        let (own, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|it| it.key == key);
        self.0 = others.into();
        own
    }
}

impl Core {
    fn main_session(&self) -> String {
        let config = &self.world.config.config;
        sessions::main_key(config.agents.default_id(), config.session.global)
    }
    /// Queues a line for the main session's next turn.
    pub fn queue_system_event(&mut self, text: &str, now: Now) {
        self.queue_system_event_in(self.main_session(), text, now);
    }
    /// Queues a line for the next turn of the session with this canonical key.
    pub fn queue_system_event_in(&mut self, key: String, text: &str, now: Now) {
        self.system_events.push(Event { key, text: text.to_owned(), at_ms: now.unix_ms });
    }
    /// The lines that wait for the main session.
    pub fn queued_system_events(&self) -> Vec<String> {
        let main = self.main_session();
        self.system_events.0.iter().filter(|it| it.key == main).map(|it| it.text.clone()).collect()
    }
    /// The lines that wait for a session's next turn, each with its time.
    pub(super) fn take_system_events(&mut self, key: &str) -> Vec<String> {
        let events = self.system_events.take(key);
        let zone = &self.world.zones.user;
        events.iter().map(|it| format!("[{}] {}", envelope::told(it.at_ms, zone), it.text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn each_session_has_its_own_and_none_has_too_many() {
        let mut all = SystemEvents::default();
        let event = |key: &str, n: usize| Event { key: key.to_owned(), text: n.to_string(), at_ms: 0 };
        all.push(event("a", 0));
        (0..SYSTEM_EVENTS_MAX + 2).for_each(|n| all.push(event("b", n)));
        assert_eq!(all.0.len(), SYSTEM_EVENTS_MAX + 1);
        let own = all.take("b");
        assert_eq!((own.len(), own[0].text.as_str()), (SYSTEM_EVENTS_MAX, "2"));
        assert_eq!((all.take("b").len(), all.0.len()), (0, 1));
        (0..2 * SYSTEM_EVENTS_ALL_MAX).for_each(|n| all.push(event(&n.to_string(), n)));
        assert_eq!(all.0.len(), SYSTEM_EVENTS_ALL_MAX);
        assert!(all.take("a").is_empty(), "the oldest went");
    }
}
