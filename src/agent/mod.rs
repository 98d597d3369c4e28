//! Runs a turn on a model: the words of a turn, the providers that speak to model servers, and which of them to ask.
//!
//! ```text
//! let catalog = Catalog::read(&file.resolved, &env, dev);         // what is configured
//! let keys = Keys::load(&paths, agent_id, &catalog, &env);        // which keys there are, and which of them rest
//! providers::run(&target, &request, &limits, &cancel, &mut sink)  // one call; blocks, so it has a thread of its own
//! ```
//!
//! Nothing here knows who listens: no connection ids, no channel names.
#[cfg(test)]
mod broken_servers;
mod dns;
pub mod error;
pub mod http;
pub mod lines;
pub mod model;
pub mod providers;
pub mod proxy;
mod refusal;
pub mod sse;

pub use error::{ErrorKind, TurnError};
