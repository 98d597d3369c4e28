//! Requests measured on the reference gateway, with its verdicts and texts: `cases.jsonl`, one request a line
//! `{id, method, params | paramsOmitted, conn?, expect: "ok" | error code, message?, payloadKeys?}`.
use crate::client::Client;
use crate::harness::{Server, config};
use serde_json::{Value, json};
use std::collections::HashMap;

const CASES: &str = include_str!("../data/cases.jsonl");

#[test]
fn verdicts_and_texts() {
    let server = Server::start(&config());
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut wrong = vec![];
    for (n, line) in CASES.lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        let client = clients
            .entry(case["conn"].to_string())
            .or_insert_with(|| Client::connect(&server, &case["conn"]));
        let (id, method) = (format!("case-{n}"), &case["method"]);
        let mut request = json!({ "type": "req", "id": id, "method": method });
        if case["paramsOmitted"] != true {
            request["params"] = case["params"].clone();
        }
        client.send(&request.to_string());
        let got = client.response(&id);
        if let Some(why) = differs(&case, &got) {
            wrong.push(format!("\n  {}: {why}", case["id"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases differ:{}", wrong.len(), CASES.lines().count(), wrong.concat());
}

fn differs(case: &Value, got: &Value) -> Option<String> {
    if case["expect"] == "ok" {
        let lacks = |key: &&Value| got["payload"].get(key.as_str().unwrap_or_default()).is_none();
        let missing: Vec<&Value> =
            case["payloadKeys"].as_array().into_iter().flatten().filter(lacks).collect();
        return (got["ok"] != true || !missing.is_empty()).then(|| format!("lacks {missing:?}: {got}"));
    }
    let error = &got["error"];
    let text = case["message"].as_str().unwrap_or_default();
    let right =
        error["code"] == case["expect"] && error["message"].as_str().is_some_and(|it| it.starts_with(text));
    (!right).then(|| format!("expected {} {text}, got {got}", case["expect"]))
}
