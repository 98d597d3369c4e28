//! Primitives with no opinion: limits, ids, time and its zones, mailboxes, worker pool, cancellation, children, files, secrets, log sink, system calls.
//!
//! Nothing here knows a word of the protocol.
pub mod accounts;
pub mod beneath;
pub mod cancel;
pub mod child;
pub mod clock;
pub mod fault;
pub mod files;
pub mod ids;
pub mod limits;
pub mod log;
pub mod mailbox;
pub mod pool;
mod posix_zone;
pub mod secret;
pub mod shown;
pub mod sys;
#[cfg(test)]
pub mod testing;
pub mod zone;
#[cfg(test)]
mod zone_tests;
