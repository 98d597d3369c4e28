//! Runs a turn on a model: what it is told, the words of a turn, the providers that speak to model servers, and which of them to ask.
//!
//! ```text
//! let told = prompt::system(&input);                                            // before the conversation; reads the workspace
//! let catalog = Catalog::read(&file.resolved, dev);                             // what is configured
//! let keys = Keys::collect(&catalog, &file.resolved, &profiles, &env, now_ms);  // which keys there are, and which of them rest
//! let mut way = Attempts::new(catalog.choose(agent_id, wanted, keys.any())?);   // which models to try
//! let target = catalog.target(way.model(), key)?;
//! providers::run(&target, &request, &wire, &cancel, &mut sink)                  // one call; blocks: it has a thread of its own
//! way.next(&error, given, key, &mut keys, now_ms)                               // again, another model, or the error
//! ```
//!
//! Nothing here knows who listens: no connection ids, no channel names.
mod asking;
pub mod bootstrap;
#[cfg(test)]
mod broken_servers;
pub mod catalog;
#[cfg(test)]
mod catalog_tests;
pub mod compact;
pub mod conversation;
pub mod envelope;
pub mod error;
pub mod fetch;
pub mod http;
pub mod keys;
mod known;
pub mod lines;
pub mod media;
pub mod model;
pub mod models;
pub mod pdf;
pub mod prompt;
pub mod providers;
mod refusal;
pub mod retry;
pub mod run;
pub mod speech;
pub mod sse;
mod task;
pub mod tools;
pub mod untrusted;
pub mod workspace;

pub use error::{ErrorKind, TurnError};
