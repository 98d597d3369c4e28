//! The words on the wire: frames, shapes, errors, scopes, the handshake, presence. No I/O, no clock, no state.
pub mod connect;
pub mod error;
pub mod frame;
pub mod hello;
pub mod json;
pub mod presence;
pub mod schema;
pub mod scope;
pub mod shape;
pub mod types;
