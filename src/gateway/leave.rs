//! The end: after what is being answered, or now.
use super::{Core, Effect, End, Timer, events, runs};
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::DRAIN_MS;

impl Core {
    /// Ends as soon as no run is under way, or they have had time enough; asked a second time, now.
    pub(super) fn leave(&mut self, end: End, now: Now) {
        let again = self.leaving.replace(end).is_some();
        if again || !self.runs.any_running() {
            return self.end_now(now);
        }
        log::info!(target: "gateway", "waiting up to {} s for what is being answered", DRAIN_MS / 1000);
        self.arm(now.mono_ms + DRAIN_MS, Timer::Leave);
    }
    /// A run has ended: perhaps it was the last one.
    pub(super) fn go_on_leaving(&mut self, now: Now) {
        if self.leaving.is_some() && !self.runs.any_running() {
            self.end_now(now);
        }
    }
    pub(super) fn on_leave_timer(&mut self, now: Now) {
        if self.leaving.is_some() {
            self.end_now(now);
        }
    }
    fn end_now(&mut self, now: Now) {
        runs::abort::stop_all(self, now);
        self.end(self.leaving.unwrap_or(End::Stop), now);
    }
    pub fn is_leaving(&self) -> bool {
        self.ending || self.leaving.is_some()
    }

    /// Says goodbye to everybody.
    fn end(&mut self, end: End, now: Now) {
        if self.ending {
            return;
        }
        let (reason, restart_expected_ms) = match end {
            End::Stop => ("gateway stopping", None),
            End::Restart => ("gateway restarting", Some(1500)),
        };
        self.ending = true;
        log::info!(target: "gateway", "{reason}");
        self.broadcast(&events::SHUTDOWN, &events::Shutdown { reason, restart_expected_ms });
        let conns: Vec<ConnId> = self.clients.keys().copied().collect();
        for conn in conns {
            self.close(conn, 1012, "service restart");
        }
        // Whoever waits for an answer is hung up: what works for them ends.
        for gone in std::mem::take(&mut self.exchanges).into_values() {
            gone(self, now);
        }
        self.effects.push(Effect::End(end));
    }
}
