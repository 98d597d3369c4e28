//! gatewayd: the OpenClaw Gateway for small machines.
//!
//! One process, no async runtime. Modules form layers; a module may name only modules of lower layers (`tests/it/tidy.rs`):
//!
//! ```text
//! 8 cli │ 7 server │ 6 http │ 5 gateway │ 4 agent channels │ 3 config store conn service wire │ 2 protocol │ 1 base
//! ```
pub mod agent;
pub mod base;
pub mod channels;
pub mod cli;
pub mod config;
pub mod conn;
pub mod gateway;
pub mod http;
pub mod protocol;
pub mod server;
pub mod service;
pub mod store;
pub mod wire;
