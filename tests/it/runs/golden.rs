//! Runs frame by frame: `tests/data/runs/<name>.txt` holds all that the client was told, what only a run knows replaced.
//! `UPDATE_EXPECT=1` records them again.
use super::talk::*;
use crate::client::{Client, Device, now_ms, params};
use crate::harness::Server;
use crate::model_server::ModelServer;
use crate::schemas::Contract;
use serde_json::{Value, json};
use std::path::Path;

/// Replaces what differs from run to run, and nothing else.
fn mask(value: &mut Value, name: &str, server: &Server) {
    let varies =
        ["ts", "timestamp", "startedAt", "endedAt", "acceptedAt", "generatedAt", "durationMs", "pid"];
    match value {
        _ if name == "systemPromptReport" => *value = "<report>".into(),
        _ if name == "sessionId" => *value = "<id>".into(),
        Value::Object(map) => map.iter_mut().for_each(|(name, it)| mask(it, name, server)),
        Value::Array(items) => items.iter_mut().for_each(|it| mask(it, name, server)),
        Value::Number(_) if varies.contains(&name) => *value = 0.into(),
        Value::String(text) => *text = text.replace(&*server.home.temp.path().to_string_lossy(), "$HOME"),
        _ => {}
    }
}

/// The log as text. The numbers of the frames, which other events share, only grow.
fn golden(name: &str, protocol: u32, talk: &Talk, server: &Server) {
    let contract = Contract::of(protocol).closed();
    let mut last = 0;
    let mut got = String::new();
    for frame in &talk.log {
        contract.frame(frame).unwrap_or_else(|why| panic!("{name}: {why}: {frame}"));
        let mut frame = frame.clone();
        if let Some(seq) = frame["seq"].as_u64() {
            assert!(seq > last, "{name}: {frame}");
            last = seq;
            frame["seq"] = 0.into();
        }
        mask(&mut frame, "", server);
        got += &format!("{frame}\n");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/runs/{name}.txt"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(path, got).unwrap();
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    for (n, (want, got)) in want.lines().zip(got.lines()).enumerate() {
        assert_eq!(got, want, "{name}, frame {}", n + 1);
    }
    assert_eq!(got.lines().count(), want.lines().count(), "{name}:\n{got}");
}

/// The answer comes in three pieces; each is shown before the next is sent, so that no delta depends on the clock.
fn answer_slowly(model: &ModelServer, talk: &mut Talk, run: &str) {
    let mut asked = model.asked();
    let mut text = String::new();
    for piece in ["Hello", " from", " the mock model."] {
        asked.say(piece);
        text.push_str(piece);
        talk.find(|it| is_chat(it, run, "delta") && it["payload"]["message"]["content"][0]["text"] == *text);
    }
    asked.end();
}

#[test]
fn an_agent_run() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.ask("ag1", "agent", &json!({ "sessionKey": "main", "message": "hi", "idempotencyKey": "run-1" }));
    answer_slowly(&model, &mut talk, "run-1");
    talk.outcome("ag1");
    talk.settle();
    golden("agent", 3, &talk, &server);
    // The reference's key for what the client called `main`.
    assert_eq!(said(&server.home, MAIN), ["user: hi", "assistant: Hello from the mock model."]);
}

#[test]
fn a_chat_message() {
    for (name, protocol) in [("chat", 3), ("chat-4", 4)] {
        let (model, server) = pair(&json!({}));
        let mut talk = Talk::with(&server, &json!({ "maxProtocol": protocol }));
        talk.ask(
            "r5",
            "chat.send",
            &json!({ "sessionKey": "main", "message": "hi", "idempotencyKey": "chat-1" }),
        );
        answer_slowly(&model, &mut talk, "chat-1");
        talk.chat("chat-1", "final");
        assert_eq!(
            said(&server.home, MAIN),
            ["user: hi", "assistant: Hello from the mock model."],
            "it is on disk before anybody hears of it"
        );
        talk.settle();
        golden(name, protocol, &talk, &server);
    }
}

/// A command that waits at a gate until the test has seen its first words.
fn behind_a_gate(server: &Server) -> (Value, std::path::PathBuf) {
    let gate = server.home.temp.path().join("gate");
    let made = std::process::Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    (json!({ "command": format!("echo hi-from-tool; cat {}", gate.display()) }), gate)
}

/// One run with one tool call; the starter's log.
fn tool_run(verbose: &str, caps: &Value) -> (Talk, Talk, Server) {
    let (model, server) = pair(&json!({ "agents": { "defaults": { "verboseDefault": verbose } } }));
    let mut talk = Talk::with(&server, &json!({ "caps": caps }));
    let mut other = Talk::with(&server, &json!({ "caps": ["tool-events"] }));
    let (args, gate) = behind_a_gate(&server);
    talk.ask("ag6", "agent", &json!({ "sessionKey": MAIN, "message": "look", "idempotencyKey": "run-6" }));
    let mut asked = model.asked();
    asked.say("Let me look.");
    asked.call("call_1", "exec", &args);
    talk.chat("run-6", "delta");
    asked.end_with("tool_calls", &crate::model_server::usage(11, 7));
    if verbose != "off" && !caps.as_array().unwrap().is_empty() {
        talk.find(|it| it["payload"]["data"]["phase"] == "update");
    }
    // Opened once the command reads it.
    std::fs::write(gate, "").unwrap();
    let mut asked = model.asked();
    assert_eq!(asked.told()[2], "tool: hi-from-tool");
    asked.say("Done.");
    talk.find(|it| {
        is_chat(it, "run-6", "delta") && it["payload"]["message"]["content"][0]["text"] == "Done."
    });
    asked.end();
    talk.outcome("ag6");
    talk.settle();
    other.chat("run-6", "final");
    (talk, other, server)
}

/// Only who starts a run and asks for it sees what tools do; the numbers of what others miss are taken all the same.
#[test]
fn a_run_with_a_tool() {
    for verbose in ["full", "on"] {
        let (talk, other, server) = tool_run(verbose, &json!(["tool-events"]));
        golden(&format!("tool-{verbose}"), 3, &talk, &server);
        let tools = |it: &Value| it["payload"]["stream"] == "tool";
        assert!(talk.count(tools) == 3 && other.count(tools) == 0);
        let seqs: Vec<&Value> = other.log.iter().map(|it| &it["payload"]["seq"]).collect();
        assert_eq!(seqs, [1, 2, 2, 6, 6, 7, 7], "the same events, with a gap");
        let numbers: Vec<u64> = talk.log.iter().filter_map(|it| it["seq"].as_u64()).collect();
        assert!(talk.log.iter().filter(|it| tools(it)).all(|it| it.get("seq").is_none()));
        assert!(numbers.windows(2).all(|it| it[0] < it[1]));
    }
    for (verbose, caps) in [("off", json!(["tool-events"])), ("full", json!([]))] {
        let (talk, _, _) = tool_run(verbose, &caps);
        assert_eq!(talk.count(|it| it["payload"]["stream"] == "tool"), 0, "{verbose} {caps}");
        let end = talk.log.iter().find(|it| is_phase(it, "run-6", "end")).unwrap();
        // Whether there was time for an update nobody can see here.
        assert!(end["payload"]["seq"].as_u64() >= Some(6), "{verbose} {caps}: {end}");
    }
}

#[test]
fn an_aborted_chat_message() {
    for (name, stop) in [
        ("abort", json!(["chat.abort", { "sessionKey": MAIN, "runId": "chat-2" }])),
        ("abort", json!(["chat.abort", { "sessionKey": MAIN }])),
        (
            "abort-word",
            json!(["chat.send", { "sessionKey": MAIN, "message": " Stop ", "idempotencyKey": "x" }]),
        ),
    ] {
        let (model, server) = pair(&json!({}));
        let mut talk = Talk::new(&server);
        let send = json!({ "sessionKey": MAIN, "message": "SLOW please", "idempotencyKey": "chat-2" });
        talk.ask("r8", "chat.send", &send);
        let mut asked = model.asked();
        asked.say("Half of it");
        talk.chat("chat-2", "delta");
        talk.ask("r9", "chat.send", &send);
        talk.ask("r10", "chat.abort", &json!({ "sessionKey": "agent:main:other", "runId": "chat-2" }));
        talk.answer("r10");
        talk.ask("r11", stop[0].as_str().unwrap(), &stop[1]);
        talk.answer("r11");
        asked.until_closed();
        talk.still_works(&model, "next");
        talk.ask("r12", "chat.send", &send);
        talk.answer("r12");
        assert_eq!(
            said(&server.home, MAIN)[..2],
            ["user: SLOW please", "assistant: Half of it (aborted)"],
            "what was shown is kept"
        );
        // What follows belongs to the next message.
        let next = talk.place(1, |it| it["payload"]["runId"] == "next");
        let rest = talk.log.split_off(next);
        assert!(rest.iter().filter(|it| it["event"] == "chat").all(|it| it["payload"]["runId"] == "next"));
        talk.log.extend(rest.into_iter().filter(|it| it["id"] == "r12"));
        golden(name, 3, &talk, &server);
    }
}

#[test]
fn every_word_that_stops() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    let nothing = json!({ "ok": true, "aborted": false, "runIds": [] });
    for word in ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt", "\tEXIT\n"] {
        let params = json!({ "sessionKey": MAIN, "message": word, "idempotencyKey": word });
        assert_eq!(talk.call("chat.send", &params)["payload"], nothing, "{word}");
    }
    for (n, word) in ["Stop!", "stop.", "please stop", "cancel"].iter().enumerate() {
        talk.say(&format!("w{n}"), word);
        let asked = model.asked();
        assert_eq!(asked.words(), *word, "said to the model");
        asked.answer("ok");
        talk.final_text(&format!("w{n}"));
    }
}

#[test]
fn the_same_key_again() {
    let (model, server) = pair(&json!({ "agents": { "defaults": { "maxConcurrent": 1 } } }));
    let mut talk = Talk::new(&server);
    let chat = json!({ "sessionKey": MAIN, "message": "one", "idempotencyKey": "A" });
    let agent = json!({ "sessionKey": MAIN, "message": "two", "idempotencyKey": "B" });
    // In one go: the second before the first is on disk.
    talk.ask("a1", "chat.send", &chat);
    talk.ask("a2", "chat.send", &chat);
    assert_eq!(talk.answer("a1")["payload"]["status"], "started");
    assert_eq!(talk.answer("a2")["payload"], json!({ "runId": "A", "status": "in_flight" }));
    let asked = model.asked();
    talk.ask("b1", "agent", &agent);
    let accepted = talk.answer("b1")["payload"].clone();
    // While it waits.
    talk.ask("b2", "agent", &agent);
    assert_eq!(talk.answer("b2")["payload"], accepted);
    asked.answer("1");
    let asked = model.asked();
    // While it runs.
    talk.ask("b3", "agent", &agent);
    assert_eq!(talk.answer("b3")["payload"], accepted);
    asked.answer("2");
    let outcome = talk.outcome("b1");
    assert_eq!(outcome["payload"]["result"]["payloads"], json!([{ "text": "2", "mediaUrl": null }]));
    // Afterwards.
    talk.ask("b4", "agent", &agent);
    assert_eq!(talk.answer("b4")["payload"], outcome["payload"]);
    talk.ask("a3", "chat.send", &chat);
    assert_eq!(talk.answer("a3")["payload"], json!({ "runId": "A", "status": "ok" }));
    talk.settle();
    for id in ["a1", "a2", "a3", "b2", "b3", "b4"] {
        assert_eq!(talk.count(|it| it["id"] == id), 1, "{id} is answered once");
    }
    assert!(model.asked_already().is_none());
    assert_eq!(said(&server.home, MAIN), ["user: one", "assistant: 1", "user: two", "assistant: 2"]);
}

/// A conversation is for those who may read: neither a node nor who only pairs devices is told of it.
#[test]
fn who_hears_of_a_run() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    let scoped = |scopes: Value| Talk::with(&server, &json!({ "scopes": scopes, "maxProtocol": 4 }));
    let mut node = Client::open(server.addr(), &[]);
    let mut hello = params();
    crate::client::merge(&mut hello, &json!({ "role": "node", "scopes": ["operator.admin"] }));
    let nonce = node.nonce.clone();
    Device::new(1).sign(&mut hello, Some(&nonce), now_ms());
    assert_eq!(node.call("connect", &hello)["ok"], true);
    let mut all = [
        ("read", true, scoped(json!(["operator.read"]))),
        ("write", true, scoped(json!(["operator.write"]))),
        ("pairing", false, scoped(json!(["operator.pairing"]))),
        ("approvals", false, scoped(json!(["operator.approvals"]))),
        ("node", false, Talk::over(node)),
    ];
    talk.say("A", "hi");
    model.asked().answer("hello");
    talk.final_text("A");
    for (who, sees, other) in &mut all {
        other.settle();
        let events = ["agent", "chat"].map(|name| other.count(|it| it["event"] == name) > 0);
        assert_eq!(events, [*sees, *sees], "{who}");
    }
}

/// Protocol 4 is told what is new, and when a text begins anew; protocol 3 only ever the whole.
#[test]
fn deltas_of_both_protocols() {
    let (model, server) = pair(&json!({}));
    let mut old = Talk::new(&server);
    let mut new = Talk::with(&server, &json!({ "maxProtocol": 4 }));
    old.say("A", "look");
    let mut asked = model.asked();
    let delta = |talk: &mut Talk, text: &str| {
        let is =
            |it: &Value| is_chat(it, "A", "delta") && it["payload"]["message"]["content"][0]["text"] == *text;
        talk.find(is)["payload"].clone()
    };
    asked.say("One");
    assert_eq!(delta(&mut new, "One")["deltaText"], "One");
    asked.say(" two ");
    let second = delta(&mut new, "One two");
    assert_eq!((&second["deltaText"], second.get("replace")), (&json!(" two"), None));
    asked.call("c1", "exec", &json!({ "command": "true" }));
    asked.end_with("tool_calls", &crate::model_server::usage(1, 1));
    let mut asked = model.asked();
    asked.say("Three");
    let third = delta(&mut new, "Three");
    assert_eq!((&third["deltaText"], &third["replace"]), (&json!("Three"), &json!(true)));
    asked.end();
    old.final_text("A");
    for text in ["One", "One two", "Three"] {
        let event = delta(&mut old, text);
        assert!(event.get("deltaText").is_none() && event.get("replace").is_none(), "{event}");
    }
}
