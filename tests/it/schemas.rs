//! The published contract (`vendor-schemas/`), judged by a validator that is not ours: what the reference gateway was seen
//! to send fits it, and so does everything that this gateway sends.
//!
//! `tests/data/reference-payloads.jsonl`, a line one payload: `{protocol, method, result}` or `{protocol, frame}`, lists cut to
//! two items. `differs` is the one complaint that such a payload earns, where this gateway promises more than the reference.

use serde_json::{Value, json};
use std::collections::BTreeSet;

mod ours;

/// The committed contract of one protocol version.
pub struct Contract(Value);

impl Contract {
    pub fn of(protocol: u32) -> Contract {
        let text = match protocol {
            3 => include_str!("../../vendor-schemas/openclaw-v3.schema.json"),
            4 => include_str!("../../vendor-schemas/openclaw-v4.schema.json"),
            other => panic!("there is no protocol {other}"),
        };
        Contract(serde_json::from_str(text).expect("the schema is JSON"))
    }
    /// Refuses what the contract does not name. For our own payloads: a property it does not know is a mistake here.
    pub fn closed(mut self) -> Contract {
        close(&mut self.0["$defs"]);
        self
    }
    /// The payload of the answer to `method`.
    pub fn result(&self, method: &str, payload: &Value) -> Result<(), String> {
        self.check(&self.row("methods", method)?["result"], payload)
    }
    /// The payload of one event.
    pub fn event(&self, name: &str, payload: &Value) -> Result<(), String> {
        self.check(&self.row("events", name)?["payload"], payload)
    }
    /// Any frame, and in an event frame its payload.
    pub fn frame(&self, frame: &Value) -> Result<(), String> {
        let name = match frame["type"].as_str() {
            Some("req") => "RequestFrame",
            Some("res") => "ResponseFrame",
            Some("event") => "EventFrame",
            _ => "GatewayFrame",
        };
        self.check(&json!({ "$ref": format!("#/$defs/{name}") }), frame)?;
        frame["event"].as_str().map_or(Ok(()), |name| self.event(name, &frame["payload"]))
    }
    /// The methods it lists.
    pub fn methods(&self) -> Vec<String> {
        let rows = self.0["methods"].as_array().into_iter().flatten();
        rows.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
    }
    fn row(&self, list: &str, name: &str) -> Result<&Value, String> {
        let rows = self.0[list].as_array().into_iter().flatten();
        rows.into_iter()
            .find(|it| it["name"] == *name)
            .ok_or_else(|| format!("{name} is not among the {list}"))
    }
    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let mut schema = schema.clone();
        schema["$defs"] = self.0["$defs"].clone();
        let validator = jsonschema::validator_for(&schema).map_err(|err| format!("bad schema: {err}"))?;
        let complaints = validator.iter_errors(value).map(|it| format!("at {}: {it}", it.instance_path()));
        let all = complaints.collect::<Vec<_>>().join("; ");
        if all.is_empty() { Ok(()) } else { Err(all) }
    }
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object)
                && !map.contains_key("additionalProperties")
            {
                map.insert("additionalProperties".into(), false.into());
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn the_schemas_are_schemas() {
    for protocol in [3, 4] {
        let document = Contract::of(protocol).0;
        jsonschema::meta::validate(&document).unwrap_or_else(|err| panic!("protocol {protocol}: {err}"));
        let names: BTreeSet<&str> =
            document["$defs"].as_object().unwrap().keys().map(String::as_str).collect();
        let text = document.to_string();
        for used in text.split(r##""#/$defs/"##).skip(1).filter_map(|it| it.split('"').next()) {
            assert!(names.contains(used), "{used} is not defined");
        }
    }
}

#[test]
fn what_the_reference_sends_fits() {
    let (three, four) = (Contract::of(3), Contract::of(4));
    for line in include_str!("../data/reference-payloads.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let contract = if row["protocol"] == 3 { &three } else { &four };
        let verdict = match row["method"].as_str() {
            Some(method) => contract.result(method, &row["result"]),
            None => contract.frame(&row["frame"]),
        };
        assert_eq!(verdict.err().as_deref(), row["differs"].as_str(), "{line}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let it = Contract::of(3).closed();
    let refused = |verdict: Result<(), String>, why: &str| {
        let text = verdict.expect_err(why);
        assert!(text.contains(why), "{text}");
    };
    refused(it.event("tick", &json!({ "ts": "1" })), "at /ts");
    refused(it.event("tick", &json!({ "ts": 1, "tss": 1 })), "tss");
    refused(it.event("tock", &json!({})), "tock is not among the events");
    refused(it.result("no.such", &json!({})), "no.such is not among the methods");
    refused(it.frame(&json!({ "type": "event", "event": "tick", "payload": {} })), "\"ts\"");
    let forbidden =
        json!({ "type": "res", "id": "1", "ok": false, "error": { "code": "FORBIDDEN", "message": "" } });
    refused(it.frame(&forbidden), "at /error/code");
    assert_eq!(Contract::of(4).closed().frame(&forbidden), Ok(()));
}
