//! Stopping work that blocks: one side asks, the other side's waits end.
//!
//! ```text
//! let stop = Cancel::new();
//! let _close = stop.on_cancel(move || socket.shutdown());   // runs at once when it was cancelled already
//! stop.cancel();                                            // from any thread, as often as one likes
//! ```
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

/// A request to stop; clones are the same request.
#[derive(Clone)]
pub struct Cancel(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Disconnects when cancelled.
    done: Receiver<Infallible>,
}

struct State {
    /// None once cancelled.
    open: Option<Sender<Infallible>>,
    next: u64,
    hooks: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
}

/// Forgets its hook when dropped.
#[must_use]
pub struct Hook {
    of: Cancel,
    id: u64,
}

impl Cancel {
    #[expect(clippy::new_without_default, reason = "a token is made on purpose")]
    pub fn new() -> Cancel {
        let (open, done) = bounded(0);
        let state = State { open: Some(open), next: 0, hooks: BTreeMap::new() };
        Cancel(Arc::new(Shared { state: Mutex::new(state), done }))
    }
    pub fn is_cancelled(&self) -> bool {
        self.state().open.is_none()
    }
    /// Runs the hooks on the calling thread; they must not block.
    pub fn cancel(&self) {
        let mut state = self.state();
        state.open = None;
        let hooks = std::mem::take(&mut state.hooks);
        drop(state);
        hooks.into_values().for_each(|hook| hook());
    }
    /// Calls `hook` when cancelled, as long as the answer lives; now, if that has happened.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> Hook {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        if state.open.is_some() {
            state.hooks.insert(id, Box::new(hook));
        } else {
            drop(state);
            hook();
        }
        Hook { of: self.clone(), id }
    }
    /// Becomes ready (disconnected) when cancelled, for a `select!`.
    pub fn done(&self) -> &Receiver<Infallible> {
        &self.0.done
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|it| it.into_inner())
    }
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        let hook = self.of.state().hooks.remove(&self.id);
        drop(hook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    #[test]
    fn hooks_run_once_or_are_forgotten() {
        let (stop, calls) = (Cancel::new(), Arc::new(AtomicU32::new(0)));
        let count = |n: u32| {
            let calls = calls.clone();
            move || {
                calls.fetch_add(n, Ordering::SeqCst);
            }
        };
        let _kept = stop.on_cancel(count(1));
        drop(stop.on_cancel(count(10)));
        assert!(!stop.is_cancelled());
        stop.clone().cancel();
        stop.cancel();
        let _late = stop.on_cancel(count(100));
        assert!(stop.is_cancelled() && stop.done().recv().is_err());
        assert_eq!(calls.load(Ordering::SeqCst), 101);
    }
}
