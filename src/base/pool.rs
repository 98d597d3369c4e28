//! A fixed set of worker threads for work that may block.
//!
//! * A full queue refuses the job; it never blocks the caller.
//! * A panic ends that job, never the worker.
use crate::base::limits::THREAD_STACK_BYTES;
use crossbeam_channel::{Sender, bounded};

pub type Job = Box<dyn FnOnce() + Send>;

pub struct Pool {
    tx: Sender<Job>,
}

/// The job comes back: every worker is busy and the queue is full.
pub struct Busy(pub Job);

impl Pool {
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(name: &str, workers: usize, queue_max: usize) -> std::io::Result<Pool> {
        let (tx, rx) = bounded::<Job>(queue_max);
        for n in 0..workers {
            let rx = rx.clone();
            let name = if workers == 1 { name.to_owned() } else { format!("{name}-{n}") };
            std::thread::Builder::new().name(name).stack_size(THREAD_STACK_BYTES).spawn(move || {
                for job in rx {
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                        log::error!(target: "gateway", "a job panicked; its caller gets an error, the worker goes on");
                    }
                }
            })?;
        }
        Ok(Pool { tx })
    }
    /// # Errors
    /// [`Busy`] with the job when the queue is full.
    pub fn run(&self, job: Job) -> Result<(), Busy> {
        self.tx.try_send(job).map_err(|err| Busy(err.into_inner()))
    }
}
