//! System events: lines that wait for a session's next turn, and are told to the model in front of it.
//!
//! * Each is on disk before whoever left it hears so, and until the turn that was told it has ended: after a crash a line may be told
//!   twice, and is never lost.
use super::runs::RunRef;
use super::{Core, sessions};
use crate::agent::envelope;
use crate::base::clock::Now;
use crate::base::limits::{SYSTEM_EVENTS_ALL_MAX, SYSTEM_EVENTS_MAX};
use crate::store::system_events::{self, SystemEvent};
use std::collections::{BTreeMap, VecDeque};

/// Of all sessions.
#[derive(Default)]
pub struct SystemEvents {
    /// Oldest first.
    waiting: VecDeque<SystemEvent>,
    /// Told to runs that have not ended.
    told: BTreeMap<RunRef, Vec<SystemEvent>>,
}

impl SystemEvents {
    pub fn new(kept: Vec<SystemEvent>) -> SystemEvents {
        let mut all = SystemEvents::default();
        kept.into_iter().for_each(|it| all.push(it));
        all
    }
    /// The oldest one goes when its session has too many, or all together have.
    fn push(&mut self, event: SystemEvent) {
        let own = |it: &(usize, &SystemEvent)| it.1.session_key == event.session_key;
        let mut own = self.waiting.iter().enumerate().filter(own).map(|it| it.0);
        let surplus = match own.next() {
            Some(oldest) if own.count() + 1 >= SYSTEM_EVENTS_MAX => Some(oldest),
            _ => (self.waiting.len() >= SYSTEM_EVENTS_ALL_MAX).then_some(0),
        };
        surplus.map(|at| self.waiting.remove(at));
        self.waiting.push_back(event);
    }
    fn take(&mut self, key: &str) -> Vec<SystemEvent> {
        let (own, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|it| it.session_key == key);
        self.waiting = others.into();
        own
    }
    fn all(&self) -> Vec<SystemEvent> {
        self.told.values().flatten().chain(&self.waiting).cloned().collect()
    }
}

/// Makes the lines durable, on the thread that writes state files.
pub type Keep = Box<dyn FnOnce() -> Result<(), String> + Send>;

impl Core {
    fn main_session(&self) -> String {
        let config = &self.world.config.config;
        sessions::main_key(config.agents.default_id(), config.session.global)
    }
    /// Queues a line for the main session's next turn. It is kept when what comes back has been done.
    #[must_use]
    pub fn queue_system_event(&mut self, text: &str, now: Now) -> Keep {
        self.queue_system_event_in(self.main_session(), text, now)
    }
    /// As [`Core::queue_system_event`], for the session with this canonical key.
    #[must_use]
    pub fn queue_system_event_in(&mut self, session_key: String, text: &str, now: Now) -> Keep {
        self.system_events.push(SystemEvent { session_key, text: text.to_owned(), at_ms: now.unix_ms });
        self.keep_system_events()
    }
    fn keep_system_events(&self) -> Keep {
        let (state, all) = (self.world.paths.state.clone(), self.system_events.all());
        Box::new(move || system_events::save(&state, &all))
    }
    /// For lines that nobody waits for.
    pub(super) fn keep_in_the_background(&mut self, keep: Keep) {
        self.store(
            move |_| keep(),
            |_, kept, _| {
                if let Err(err) = kept {
                    log::warn!(target: "gateway", "a system event is kept in memory alone: {err}");
                }
            },
        );
    }
    /// The lines that wait for the main session.
    pub fn queued_system_events(&self) -> Vec<String> {
        let main = self.main_session();
        let own = self.system_events.waiting.iter().filter(|it| it.session_key == main);
        own.map(|it| it.text.clone()).collect()
    }
    /// The lines that wait for a session's next turn, each with its time, for the run that is this turn.
    pub(super) fn take_system_events(&mut self, key: &str, run: RunRef) -> Vec<String> {
        let events = self.system_events.take(key);
        let zone = &self.world.zones.user;
        let lines =
            events.iter().map(|it| format!("[{}] {}", envelope::told(it.at_ms, zone), it.text)).collect();
        if !events.is_empty() {
            self.system_events.told.insert(run, events);
        }
        lines
    }
    /// A run has ended: what it was told need not be told again.
    pub(super) fn forget_system_events(&mut self, run: RunRef) {
        if self.system_events.told.remove(&run).is_some() {
            let keep = self.keep_system_events();
            self.keep_in_the_background(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn each_session_has_its_own_and_none_has_too_many() {
        let mut all = SystemEvents::default();
        let event =
            |key: &str, n: usize| SystemEvent { session_key: key.to_owned(), text: n.to_string(), at_ms: 0 };
        all.push(event("a", 0));
        (0..SYSTEM_EVENTS_MAX + 2).for_each(|n| all.push(event("b", n)));
        assert_eq!(all.waiting.len(), SYSTEM_EVENTS_MAX + 1);
        let own = all.take("b");
        assert_eq!((own.len(), own[0].text.as_str()), (SYSTEM_EVENTS_MAX, "2"));
        assert_eq!((all.take("b").len(), all.waiting.len()), (0, 1));
        (0..2 * SYSTEM_EVENTS_ALL_MAX).for_each(|n| all.push(event(&n.to_string(), n)));
        assert_eq!(all.waiting.len(), SYSTEM_EVENTS_ALL_MAX);
        assert!(all.take("a").is_empty(), "the oldest went");
    }
}
