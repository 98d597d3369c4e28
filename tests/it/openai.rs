//! The APIs of model servers: `/v1/chat/completions`, `/v1/responses`, `/v1/models`.
mod crowd;
mod hostile;
mod line;
mod talks;

use crate::harness::Server;
use crate::model_server::{Asked, ModelServer};
use crate::runs::talk;
use line::Line;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// A configuration with both of them switched on.
fn on(changes: &Value) -> Value {
    let on = json!({ "enabled": true });
    let mut it =
        json!({ "gateway": { "http": { "endpoints": { "chatCompletions": on, "responses": on } } } });
    crate::client::merge(&mut it, changes);
    it
}

fn pair(changes: &Value) -> (ModelServer, Server) {
    talk::pair(&on(changes))
}

/// The model that the reference was recorded with.
fn mock(mut asked: Asked) {
    let words = asked.words();
    let is_result = asked.body["messages"].as_array().unwrap().last().unwrap()["role"] == "tool";
    if words.contains("FAILNOW") {
        return asked.refuse(400, "", "mock failure");
    }
    if let Some((name, args)) =
        words.strip_prefix("USETOOL:").and_then(|it| it.split_once(':')).filter(|_| !is_result)
    {
        asked.say("Let me look.");
        asked.call("call_1", name, &serde_json::from_str(args).unwrap());
        return asked.end_with("tool_calls", &crate::model_server::usage(11, 7));
    }
    for word in ["Hello", " from", " the", " mock", " model."] {
        asked.say(word);
    }
    asked.end();
}

/// Ids and times, which differ each time.
fn masked(body: &str) -> String {
    let (mut out, mut rest) = (String::new(), body);
    while let Some((at, mark)) =
        ["chatcmpl_", "resp_", "msg_", "call_", "\"created\":", "\"created_at\":", "\"sequence_number\":"]
            .iter()
            .filter_map(|it| rest.find(it).map(|at| (at + it.len(), *it)))
            .min()
    {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = |it: char| it.is_ascii_hexdigit() || it == '-';
        let id = &rest[..rest.find(|it| !digits(it)).unwrap_or(rest.len())];
        if mark.starts_with('"') || id.len() == 36 {
            out.push_str(if mark.starts_with('"') { "0" } else { "ID" });
            rest = &rest[id.len()..];
        }
    }
    out + rest
}

/// Words that arrive together are told together: what is said in a row is put together here.
fn joined(body: &str) -> String {
    let mut out: Vec<(String, Value)> = vec![];
    for it in body.split_inclusive("\n\n") {
        let (start, data) = it.trim_end().split_once("data: ").unwrap_or(("", it));
        let Ok(mut event) = serde_json::from_str::<Value>(data) else {
            out.push((it.to_owned(), Value::Null));
            continue;
        };
        let at = if start.is_empty() { "/choices/0/delta/content" } else { "/delta" };
        let word = event.pointer(at).and_then(Value::as_str).map(str::to_owned);
        if let (Some(word), Some((_, last))) = (&word, out.last_mut())
            && let Some(before) = last.pointer(at).and_then(Value::as_str).map(str::to_owned)
        {
            *event.pointer_mut(at).unwrap() = json!(format!("{before}{word}"));
            out.pop();
        }
        out.push((start.to_owned(), event));
    }
    let told = |(start, event): (String, Value)| match event {
        Value::Null => start,
        event => format!("{start}data: {event}\n\n"),
    };
    if body.contains("data: ") { out.into_iter().map(told).collect() } else { body.to_owned() }
}

/// Every exchange that was recorded of the reference, and what is answered here: the same, or something else for a reason.
#[test]
fn recorded_exchanges() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/openai.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let model = ModelServer::playing(mock);
    let server = Server::start(&talk::with_model(&model.base_url(), &on(&json!({}))));
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    for row in &mut rows {
        let name = row["name"].as_str().unwrap().to_owned();
        let got = exchange(&server, row);
        let body = joined(&masked(&got.body));
        let want = json!({ "status": got.status, "type": got.header("content-type"), "body": body });
        let reference = json!({ "status": row["status"], "type": row["type"], "body": joined(row["reference"].as_str().unwrap()) });
        assert_eq!(got.header("allow"), row["allow"].as_str(), "{name}");
        if update && want != reference {
            row["ours"] = want.clone();
        }
        match row.get("ours") {
            None => assert_eq!(want, reference, "{name}"),
            Some(ours) => {
                assert_eq!(&want, ours, "{name}");
                assert_ne!(ours, &reference, "{name}: no difference any more");
                assert!(
                    row["why"].as_str().is_some_and(|it| !it.is_empty()),
                    "{name}: why is it another answer?"
                );
            }
        }
    }
    assert_eq!(rows.len(), 21);
    if update {
        let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
        std::fs::write(path, text).unwrap();
    }
}

fn exchange(server: &Server, row: &Value) -> line::Answer {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\n",
        row["method"].as_str().unwrap(),
        row["path"].as_str().unwrap()
    );
    if row["owner"] == true {
        head.push_str(&format!("Authorization: Bearer {}\r\n", crate::harness::TOKEN));
    }
    for (name, value) in row["headers"].as_object().into_iter().flatten() {
        head.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
    }
    let body = row["body"].as_str().unwrap_or_default();
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut line = Line::open(server);
    line.send(format!("{head}\r\n{body}").as_bytes());
    line.answer()
}
