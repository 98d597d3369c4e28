//! The params of `connect`: what the shape lets through is what the type can hold.
#![no_main]
use gatewayd::protocol::connect::{ConnectParams, PROTOCOLS, signature_payload};
use gatewayd::protocol::shape::{Shaped, join};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let complaints = ConnectParams::SHAPE.check(&value);
    let typed = serde_json::from_value::<ConnectParams>(value);
    if complaints.is_empty() {
        let params = typed.expect("the shape lets through only what the type can hold");
        assert!(params.protocol().is_none_or(|it| PROTOCOLS.contains(&it)));
        assert!(signature_payload(3, "id", "operator", &params).starts_with("v3|id|"));
    } else {
        assert!(!join(&complaints).is_empty());
    }
});
