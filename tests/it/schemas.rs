//! placeholder
pub fn check(_: &serde_json::Value, _: &serde_json::Value) {}
