//! What the reference was heard to answer over HTTP, and what is answered here: `tests/data/http-captures.jsonl`.
//!
//! A line is one exchange: `reference` is its answer there. Where it is another one here on purpose, `ours` is that, and `why` says why;
//! `begins` is the beginning of a body whose rest is in other words. Ids are any.
use crate::harness::{Server, TOKEN};
use crate::web::{Got, ask};
use serde_json::{Value, json};

fn server() -> Server {
    let mappings = json!([
        { "match": { "path": "m1" }, "messageTemplate": "Got {{text}}", "deliver": false },
        { "match": { "path": "wk" }, "action": "wake", "textTemplate": "woke {{payload.text}}" },
    ]);
    Server::start(&json!({
        "gateway": { "mode": "local", "auth": { "mode": "token", "token": TOKEN } },
        "hooks": { "enabled": true, "token": "hooktok", "mappings": mappings },
    }))
}

fn play(server: &Server, row: &Value) -> Got {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let headers = row["headers"].as_object().into_iter().flatten();
    let headers: Vec<(&str, &str)> = headers.map(|it| (it.0.as_str(), it.1.as_str().unwrap())).collect();
    let body = text("body").to_owned() + &"a".repeat(row["pad"].as_u64().unwrap_or(0) as usize);
    ask(server.addr(), text("method"), text("path"), &headers, body.as_bytes())
}

/// Every UUID in a text is the same one.
fn masked(text: &str) -> String {
    let is_uuid = |it: &str| {
        it.len() == 36
            && it.bytes().enumerate().all(|(n, b)| match n {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_hexdigit(),
            })
    };
    text.split('"').map(|it| if is_uuid(it) { "UUID" } else { it }).collect::<Vec<_>>().join("\"")
}

#[test]
fn as_the_reference_answers_or_for_a_reason() {
    let table = include_str!("../data/http-captures.jsonl");
    let rows: Vec<Value> = table.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let mut wrong = vec![];
    for family in rows.chunk_by(|a, b| family(a) == family(b)) {
        let server = server();
        for row in family {
            let got = play(&server, row);
            let want = if row["ours"].is_object() { &row["ours"] } else { &row["reference"] };
            let begins = want["begins"].as_str().unwrap_or_default();
            let same = got.status == want["status"]
                && got.header("content-type")
                    == Some(want["type"].as_str().unwrap_or("text/plain; charset=utf-8"))
                && want["allow"].as_str().is_none_or(|it| got.header("allow") == Some(it))
                && want["body"].as_str().is_none_or(|it| masked(it) == masked(&got.body))
                && got.body.starts_with(begins);
            if !same {
                wrong.push(format!("{}\n    want {want}\n    got {got:?}", row["name"]));
            }
            let differs = row["ours"].is_object();
            assert_eq!(differs, row["why"].is_string(), "{}: a difference has a reason", row["name"]);
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n  {}", wrong.len(), rows.len(), wrong.join("\n  "));
}

/// What one server answers.
fn family(row: &Value) -> &str {
    row["name"].as_str().unwrap().split('-').next().unwrap()
}
