//! Golden transcripts: `tests/data/transcripts/<method>.txt`, one connection each, over the state folder of `tests/data/state`.
//!
//! `> {method, params}` is sent; `< {frame}` lines are all that came until the next request, what only a run knows replaced:
//! times by 0, addresses, ids and paths by names; a run that the request begins is waited for, and fails: there is no model. `$HASH` is
//! the base hash that `config.get` tells, `$REQUEST` the last request id that came. `+ {…}` changes the connect params.
//! `UPDATE_EXPECT=1` rewrites the answers.
use crate::client::{Client, now_ms};
use crate::harness::{Home, Server, config};
use crate::schemas::Contract;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The ids in here are not made by a run.
const SESSIONS: &str = include_str!("../data/state/agents/main/sessions/sessions.json");

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn golden_transcripts() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data("transcripts")).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let mut wrong = vec![];
    for file in files {
        let want = std::fs::read_to_string(&file).unwrap();
        let got = play(&want);
        if got == want {
            continue;
        }
        if update {
            std::fs::write(&file, got).unwrap();
        } else {
            wrong.push(format!("{}:\n{}", file.display(), first_difference(&want, &got)));
        }
    }
    assert!(wrong.is_empty(), "rerun with UPDATE_EXPECT=1 if these are right:\n{}", wrong.join("\n"));
}

fn first_difference(want: &str, got: &str) -> String {
    let (mut want, mut got) = (want.lines(), got.lines());
    loop {
        match (want.next(), got.next()) {
            (Some(a), Some(b)) if a == b => {}
            (a, b) => {
                return format!(
                    "  expected {}\n  came     {}",
                    a.unwrap_or("the end"),
                    b.unwrap_or("the end")
                );
            }
        }
    }
}

fn play(script: &str) -> String {
    let server = server();
    let mut with = json!({});
    let mut contract = Contract::of(3).closed();
    let mut client = None;
    let mut out = String::new();
    let mut asked = String::new();
    for line in script.lines().filter(|it| !it.starts_with('<')) {
        out += &format!("{line}\n");
        if let Some(text) = line.strip_prefix("+ ") {
            with = serde_json::from_str(text).unwrap();
            contract = Contract::of(if with["maxProtocol"] == 4 { 4 } else { 3 }).closed();
            client = None;
        }
        let Some(text) = line.strip_prefix("> ") else { continue };
        let client = client.get_or_insert_with(|| Client::connect(&server, &with));
        let hash = match text.contains("$HASH") {
            true => client.call("config.get", &json!({}))["payload"]["hash"].as_str().unwrap().to_owned(),
            false => String::new(),
        };
        let request: Value =
            serde_json::from_str(&text.replace("$HASH", &hash).replace("$REQUEST", &asked)).unwrap();
        let answer = client.call(request["method"].as_str().unwrap(), &request["params"]);
        let outcome = end_of_run(client, &answer);
        // Refused at once and in order: whatever the request before set off has come by then.
        client.call("connect", &json!({}));
        for mut frame in std::iter::once(answer).chain(client.events.drain(..)).chain(outcome) {
            // These come when they come.
            if frame["event"] == "health" || frame["event"] == "tick" {
                continue;
            }
            judge(&contract, request["method"].as_str().unwrap(), &frame);
            if let Some(id) = [&frame["payload"], &frame["payload"]["request"]]
                .iter()
                .find_map(|it| it["requestId"].as_str())
            {
                id.clone_into(&mut asked);
            }
            if let Some(seq) = frame.get_mut("seq") {
                // How many snapshots of health were told before is a matter of time.
                *seq = 0.into();
            }
            mask(&mut frame, "", &server);
            out += &format!("< {frame}\n");
        }
    }
    out
}

/// Waits for the end of the run that a request has begun; the second answer, where it has one.
fn end_of_run(client: &mut Client, answer: &Value) -> Option<Value> {
    match answer["payload"]["status"].as_str() {
        Some("accepted") => Some(client.response(answer["id"].as_str().unwrap())),
        Some("started") => {
            let run = &answer["payload"]["runId"];
            let last = |it: &Value| it["payload"]["runId"] == *run && it["payload"]["state"] == "error";
            while !client.events.iter().any(last) {
                let next = client.frame();
                client.events.push(next);
            }
            None
        }
        _ => None,
    }
}

/// What is sent fits the published contract.
fn judge(contract: &Contract, method: &str, frame: &Value) {
    let verdict = contract.frame(frame).and_then(|()| match frame["ok"] == true {
        true => contract.result(method, &frame["payload"]),
        false => Ok(()),
    });
    verdict.unwrap_or_else(|why| panic!("{method}: {why}: {frame}"));
}

fn server() -> Server {
    let mut config = config();
    config["agents"] = json!({ "list": [{ "id": "main" }, { "id": "ops", "name": "Ops", "identity": { "name": "Opsy", "emoji": "🛠" } }] });
    config["models"] = json!({ "providers": { "local": { "baseUrl": "http://127.0.0.1:9", "api": "openai-completions",
        "models": [{ "id": "small", "name": "Small", "contextWindow": 8192, "input": ["text"] }] } } });
    let home = Home::new(&config);
    copy(&data("state"), &home.state());
    // A request to be paired waits for five minutes.
    let pending = std::fs::read_to_string(data("state/devices/pending.json")).unwrap();
    home.write("devices/pending.json", &pending.replace("\"$NOW\"", &now_ms().to_string()));
    home.start(&[])
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Replaces what differs from run to run, and nothing else: names, types and order stay.
fn mask(value: &mut Value, name: &str, server: &Server) {
    let varies = matches!(
        name,
        "presence" | "health" | "uptimeMs" | "durationMs" | "age" | "percentUsed" | "cursor" | "size"
    );
    let is_now = |it: &serde_json::Number| it.as_i64().is_some_and(|it| (it - now_ms()).abs() < 86_400_000);
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(name, it)| mask(it, name, server)),
        Value::Array(items) => {
            items.iter_mut().for_each(|it| mask(it, name, server));
            if name == "presence" {
                // Newest first, and these may be of the same millisecond.
                items.sort_by_key(|it| it["text"].to_string());
            }
        }
        Value::Number(it) if varies || name == "pid" || is_now(it) => *value = 0.into(),
        Value::String(text) => {
            let home = server.home.temp.path().to_string_lossy();
            let new = text
                .replace(&*home, "$HOME")
                .replace(&format!("127.0.0.1:{}", server.port), "127.0.0.1:$PORT");
            // The time in the name of a file that was put aside.
            let new = match new.split_once(".jsonl.").map(|it| (it.0, it.1.split_once('.'))) {
                Some((file, Some((why, _)))) => format!("{file}.jsonl.{why}.<time>"),
                _ => new,
            };
            let uuid = new.len() == 36 && new.bytes().filter(|it| *it == b'-').count() == 4;
            let random = name == "requestId" || name == "token" && new.len() == 32 || name == "id" && uuid;
            let machine = random
                || matches!(name, "host" | "ip" | "platform" | "modelIdentifier" | "version" | "hash")
                || matches!(name, "sessionId" | "messageId" | "runId") && !SESSIONS.contains(&*new);
            *text = if machine || new.starts_with("Gateway: ") { format!("<{name}>") } else { new };
        }
        _ => {}
    }
}
