//! Bounded hand-over from worker threads to an event loop that sleeps in `epoll`.
//!
//! * Never loses a wake-up: the loop silences the bell *before* it drains.
//! * Never wakes twice for one burst: N sends fold into one eventfd write.
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Wakes the loop.
#[derive(Clone)]
pub struct Bell {
    waker: Arc<mio::Waker>,
    raised: Arc<AtomicBool>,
}

impl Bell {
    pub fn new(waker: mio::Waker) -> Bell {
        Bell { waker: Arc::new(waker), raised: Arc::default() }
    }
    fn ring(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.waker.wake().expect("an eventfd write of 1 does not fail");
        }
    }
    /// The loop calls this before it drains, so that a send that races with the drain rings again.
    pub fn silence(&self) {
        self.raised.store(false, Ordering::Release);
    }
    /// The loop calls this when its budget ran out before its inbox did.
    pub fn again(&self) {
        self.ring();
    }
}

/// The sending half. `send` blocks while the inbox is full: that is the back-pressure on the producer.
pub struct Outbox<T> {
    tx: Sender<T>,
    bell: Bell,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Outbox { tx: self.tx.clone(), bell: self.bell.clone() }
    }
}

/// The loop's half.
pub struct Inbox<T> {
    rx: Receiver<T>,
}

/// The loop is gone; the producer should stop.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event loop has ended")]
pub struct LoopGone;

pub fn mailbox<T>(bell: &Bell, depth_max: usize) -> (Outbox<T>, Inbox<T>) {
    let (tx, rx) = bounded(depth_max);
    (Outbox { tx, bell: bell.clone() }, Inbox { rx })
}

impl<T> Outbox<T> {
    pub fn send(&self, msg: T) -> Result<(), LoopGone> {
        match self.tx.try_send(msg) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(LoopGone),
            Err(TrySendError::Full(msg)) => {
                self.bell.ring();
                self.tx.send(msg).map_err(|_| LoopGone)?;
            }
        }
        self.bell.ring();
        Ok(())
    }
}

impl<T> Inbox<T> {
    /// Takes at most `budget`; `true` means more may be waiting.
    pub fn drain(&self, budget: usize, mut each: impl FnMut(T)) -> bool {
        for _ in 0..budget {
            match self.rx.try_recv() {
                Ok(msg) => each(msg),
                Err(_) => return false,
            }
        }
        !self.rx.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn every_message_arrives_under_a_small_budget_and_a_small_queue() {
        let mut poll = Poll::new().unwrap();
        let bell = Bell::new(mio::Waker::new(poll.registry(), Token(0)).unwrap());
        let (outbox, inbox) = mailbox::<u32>(&bell, 4);
        let workers: Vec<_> = (0..4)
            .map(|w| {
                let outbox = outbox.clone();
                std::thread::spawn(move || (0..5000).for_each(|i| outbox.send(w * 5000 + i).unwrap()))
            })
            .collect();
        let (mut seen, mut n) = (vec![false; 20000], 0);
        let mut events = Events::with_capacity(8);
        while n < 20000 {
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(!events.is_empty(), "lost wake-up at {n}");
            bell.silence();
            let more = inbox.drain(3, |m| {
                seen[m as usize] = true;
                n += 1;
            });
            if more {
                bell.again();
            }
        }
        workers.into_iter().for_each(|w| w.join().unwrap());
        assert!(seen.iter().all(|it| *it));
    }
}
