//! Runs through the whole gateway, on a model server that the test plays.
mod durable;
mod failures;
mod golden;
mod on_nodes;
mod queue;
mod storm;
pub mod talk;
mod told;
