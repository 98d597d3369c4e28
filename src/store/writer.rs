//! The one thread that writes state files: work is done in the order in which it was given.
//!
//! ```text
//! let writer = Writer::start(stores, clock)?;
//! let hand = writer.hand();                                   // for any thread
//! hand.give(Box::new(|stores| …));                            // and go on
//! let entry = hand.ask(|stores| stores.sessions(…)…)?;        // and wait for the answer
//! writer.finish();                                            // once all that was given is on disk
//! ```
//!
//! * A panic ends that piece of work, never the thread.
//! * Giving never waits: whoever hears of the answers may be the one that gives. How much may wait is for those who give: calls at
//!   work (`JOBS_MAX`), messages that are being promised (`RUNS_WAITING_MAX`), runs (`RUNS_MAX`).
use super::stores::Stores;
use crate::base::clock::Clock;
use crate::base::limits::THREAD_STACK_BYTES;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

pub type Work = Box<dyn FnOnce(&mut Stores) + Send>;

pub struct Writer {
    hand: Hand,
    thread: JoinHandle<()>,
}

/// Gives work to the [`Writer`].
#[derive(Clone)]
pub struct Hand(Sender<Option<Work>>);

/// The writer has ended, or this piece of work has panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway cannot reach its state files: see its log")]
pub struct NoAnswer;

impl Writer {
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(stores: Stores, clock: Clock) -> std::io::Result<Writer> {
        let (tx, rx) = unbounded();
        let builder = Builder::new().name("store".into()).stack_size(THREAD_STACK_BYTES);
        let thread = builder.spawn(move || work(stores, &rx, clock))?;
        Ok(Writer { hand: Hand(tx), thread })
    }
    pub fn hand(&self) -> Hand {
        self.hand.clone()
    }
    /// Returns once everything that was given is on disk. What is given later is not done.
    pub fn finish(self) {
        let _ = self.hand.0.send(None);
        // It catches what its work does: there is no panic to pass on.
        let _ = self.thread.join();
    }
}

impl Hand {
    /// Nothing happens when the writer has ended.
    pub fn give(&self, work: Work) {
        let _ = self.0.send(Some(work));
    }
    /// The answer comes later, or never: see [`NoAnswer`].
    pub fn begin<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Stores) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (say, hear) = bounded(1);
        self.give(Box::new(move |stores| {
            // Who does not listen any more does not want to know.
            let _ = say.send(question(stores));
        }));
        hear
    }
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Stores) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        self.begin(question).recv().map_err(|_| NoAnswer)
    }
}

fn work(mut stores: Stores, rx: &Receiver<Option<Work>>, clock: Clock) {
    loop {
        let next = match stores.due_ms() {
            None => rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => rx.recv_deadline(clock.instant(due)),
        };
        match next {
            Ok(Some(work)) => {
                if catch_unwind(AssertUnwindSafe(|| work(&mut stores))).is_err() {
                    log::error!(target: "gateway", "a write panicked; its caller gets an error, the state is read again");
                    stores.forget();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(None) | Err(RecvTimeoutError::Disconnected) => break,
        }
        stores.save(false);
    }
    stores.save(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::os_entropy;
    use crate::base::testing::TempDir;
    use serde_json::json;

    fn writer(dir: &TempDir) -> Writer {
        let clock = Clock::start();
        Writer::start(Stores::new(dir.path().join("accepted.jsonl"), clock, os_entropy()), clock).unwrap()
    }

    #[test]
    fn notes_are_written_at_the_end_and_panics_end_nothing_else() {
        let dir = TempDir::new();
        let file = dir.path().join("sessions.json");
        let writer = writer(&dir);
        let hand = writer.hand();
        let path = file.clone();
        let made = hand.ask(move |stores| {
            let (it, now, _) = stores.open(&path, "main").unwrap();
            it.reset("agent:main:main", "s", now).unwrap();
            it.note("agent:main:main", |entry| drop(entry.insert("n".into(), 1.into())), now);
        });
        assert_eq!(made, Ok(()));
        assert_eq!(hand.ask(|_| -> () { panic!("on purpose") }), Err(NoAnswer));
        let path = file.clone();
        let there = hand.ask(move |it| it.sessions(&path, "main").unwrap().index().len());
        assert_eq!(there, Ok(1), "what was durable is read again");
        let path = file.clone();
        hand.give(Box::new(move |stores| {
            let (it, now, _) = stores.open(&path, "main").unwrap();
            it.note("agent:main:main", |entry| drop(entry.insert("n".into(), 2.into())), now);
        }));
        writer.finish();
        assert_eq!(hand.ask(|_| ()), Err(NoAnswer), "nobody is there any more");
        let text = crate::base::files::read_text(&file, 1 << 20).unwrap().unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["agent:main:main"]["n"],
            json!(2)
        );
    }
}
