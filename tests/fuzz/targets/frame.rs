//! A request frame: accepted exactly when serde_json sees an object of the published form, with the same words.
#![no_main]
use gatewayd::protocol::frame::{BadFrame, Request};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let value: Option<Value> = serde_json::from_slice(data).ok();
    match Request::parse(data) {
        // serde_json takes one key for a command, however it is escaped: we refuse it.
        Err(BadFrame::NotJson) => {
            assert!(value.is_none() || data.contains(&b'\\') || data.windows(7).any(|it| it == b"private"));
        }
        Err(BadFrame::NotRequest { error, .. }) => {
            assert!(!fits(&value.expect("it is JSON")));
            assert!(error.message.starts_with("invalid request frame: "));
        }
        Ok(request) => {
            let value = value.expect("it is JSON");
            assert!(fits(&value));
            assert_eq!(
                (value["id"].as_str(), value["method"].as_str()),
                (Some(&*request.id), Some(&*request.method))
            );
            assert_eq!(value["params"], request.params);
        }
    }
});

fn fits(value: &Value) -> bool {
    let word = |name: &str| value[name].as_str().is_some_and(|it| !it.is_empty());
    let known = |name: &String| ["type", "id", "method", "params"].contains(&name.as_str());
    value.as_object().is_some_and(|it| it.keys().all(known))
        && value["type"] == "req"
        && word("id")
        && word("method")
}
