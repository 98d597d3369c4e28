//! The seam of every durable file operation: a test makes the k-th one fail. Outside tests it is nothing.
//!
//! Used as `fault::step()?` in front of an operation. The count is per thread, so that tests do not meet.
#[cfg(not(test))]
#[inline]
pub fn step() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub use injected::{Trouble, run, step};

#[cfg(test)]
mod injected {
    use std::cell::Cell;
    use std::io;

    /// How the operation fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Trouble {
        /// Once; the next one works.
        Once,
        /// From there on every one fails: a full or dead disk.
        Forever,
    }

    thread_local! {
        static PLAN: Cell<Option<(usize, Trouble)>> = const { Cell::new(None) };
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// Whether the operation that follows may go on.
    pub fn step() -> io::Result<()> {
        let at = STEPS.replace(STEPS.get() + 1);
        match PLAN.get() {
            Some((k, trouble)) if at == k || at > k && trouble == Trouble::Forever => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` with the given operation failing (None: all work) and says how many operations it came to.
    pub fn run<T>(plan: Option<(usize, Trouble)>, work: impl FnOnce() -> T) -> (T, usize) {
        PLAN.set(plan);
        STEPS.set(0);
        let out = work();
        PLAN.set(None);
        (out, STEPS.get())
    }
}
