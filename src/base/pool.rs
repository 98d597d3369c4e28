//! A fixed set of worker threads for work that may block.
//!
//! * A full queue refuses the job; it never blocks the caller.
//! * A panic ends that job, never the worker.
use crate::base::limits::THREAD_STACK_BYTES;
use crossbeam_channel::{Sender, bounded};
use std::collections::VecDeque;
use std::thread::{Builder, JoinHandle};

pub type Job = Box<dyn FnOnce() + Send>;

pub struct Pool {
    tx: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
}

/// The job comes back: every worker is busy and the queue is full.
pub struct Busy(pub Job);

impl Pool {
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(name: &str, workers: usize, queue_max: usize) -> std::io::Result<Pool> {
        let (tx, rx) = bounded::<Job>(queue_max);
        let mut threads = vec![];
        for n in 0..workers {
            let rx = rx.clone();
            let name = if workers == 1 { name.to_owned() } else { format!("{name}-{n}") };
            let work = move || {
                for job in rx {
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                        log::error!(target: "gateway", "a job panicked; its caller gets an error, the worker goes on");
                    }
                }
            };
            threads.push(Builder::new().name(name).stack_size(THREAD_STACK_BYTES).spawn(work)?);
        }
        Ok(Pool { tx, threads })
    }
    /// # Errors
    /// [`Busy`] with the job when the queue is full.
    pub fn run(&self, job: Job) -> Result<(), Busy> {
        self.tx.try_send(job).map_err(|err| Busy(err.into_inner()))
    }
    /// Returns once every job that was given has run.
    pub fn finish(self) {
        drop(self.tx);
        for thread in self.threads {
            // It catches what its jobs do: there is no panic to pass on.
            let _ = thread.join();
        }
    }
}

/// A pool for who may not drop a job: what the queue has no room for waits here. How much that can be is up to those who ask.
pub struct Patient {
    pool: Pool,
    waiting: VecDeque<Job>,
}

impl Patient {
    pub fn new(pool: Pool) -> Patient {
        Patient { pool, waiting: VecDeque::new() }
    }
    pub fn give(&mut self, job: Job) {
        self.waiting.push_back(job);
        self.go_on();
    }
    /// Hands out what waits, as far as there is room: whenever a job has ended.
    pub fn go_on(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            if let Err(Busy(job)) = self.pool.run(job) {
                return self.waiting.push_front(job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_has_no_room_waits_and_keeps_its_order() {
        let mut pool = Patient::new(Pool::start("test", 1, 1).unwrap());
        let (go, wait) = bounded::<()>(0);
        let (say, done) = bounded(9);
        for n in 0..9 {
            let (wait, say) = (wait.clone(), say.clone());
            pool.give(Box::new(move || {
                let _ = wait.recv();
                say.send(n).unwrap();
            }));
        }
        drop(go);
        for n in 0..9 {
            assert_eq!(done.recv().unwrap(), n);
            pool.go_on();
        }
        assert!(pool.waiting.is_empty());
    }
    #[test]
    fn finish_waits_for_the_jobs() {
        let pool = Pool::start("test", 1, 4).unwrap();
        let (go, wait) = bounded::<()>(0);
        let (say, done) = bounded(4);
        for n in 0..3 {
            let (wait, say) = (wait.clone(), say.clone());
            assert!(
                pool.run(Box::new(move || {
                    let _ = wait.recv();
                    say.send(n).unwrap();
                }))
                .is_ok()
            );
        }
        drop(wait);
        let first = std::thread::spawn(move || (0..3).for_each(|_| go.send(()).unwrap()));
        pool.finish();
        assert_eq!(done.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        first.join().unwrap();
    }
}
