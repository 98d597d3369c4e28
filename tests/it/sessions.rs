//! Conversations through a gateway: homes that the reference has written, answers of every size, several clients at once.
use crate::client::Client;
use crate::harness::{Home, Server, config};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

const KEY: &str = "agent:main:tree";
const ID: &str = "9fd19fbe-b7cf-4384-9cd3-b1828b98f64c";

/// A home with the sessions that the reference has written.
fn reference() -> Server {
    let home = Home::new(&config());
    for name in ["sessions.json", &format!("{ID}.jsonl")] {
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/state-reference").join(name);
        home.write(&format!("agents/main/sessions/{name}"), &std::fs::read_to_string(from).unwrap());
    }
    home.start(&[])
}

fn dir(server: &Server) -> PathBuf {
    server.home.state().join("agents/main/sessions")
}
fn stored(server: &Server) -> Map<String, Value> {
    serde_json::from_str(&std::fs::read_to_string(dir(server).join("sessions.json")).unwrap()).unwrap()
}
/// The payload of a call that is answered well.
fn ask(client: &mut Client, method: &str, params: Value) -> Value {
    let mut answer = client.call(method, &params);
    assert_eq!(answer["ok"], true, "{method} {params}: {answer}");
    answer["payload"].take()
}
fn keys(list: &Value) -> Vec<&str> {
    list["sessions"].as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap()).collect()
}

#[test]
fn a_home_of_the_reference_is_read_and_changed_and_loses_nothing() {
    let server = reference();
    let mut client = Client::connect(&server, &json!({}));
    let before = stored(&server);
    let list = ask(
        &mut client,
        "sessions.list",
        json!({ "includeDerivedTitles": true, "includeLastMessage": true }),
    );
    assert_eq!(keys(&list), [KEY, "agent:main:probe", "agent:main:subagent:zz"]);
    let row = &list["sessions"][0];
    assert_eq!(row["derivedTitle"], "[Mon 2026-11-23 23:54 UTC] hello there [message_id:…");
    assert_eq!(row["lastMessagePreview"], "Hello from mock.");
    assert_eq!((&row["displayName"], &row["contextTokens"]), (&json!("tree"), &json!(128_000)));
    assert_eq!(list["sessions"][1]["derivedTitle"], "921ef6fa (2026-11-23)");
    let preview = ask(&mut client, "sessions.preview", json!({ "keys": ["tree", "probe"], "limit": 2 }));
    assert_eq!(
        preview["previews"][0]["items"][1],
        json!({ "role": "assistant", "text": "Hello from mock." })
    );
    assert_eq!(preview["previews"][1]["status"], "empty");
    let history = ask(&mut client, "chat.history", json!({ "sessionKey": KEY }));
    assert_eq!((&history["sessionId"], &history["thinkingLevel"]), (&json!(ID), &json!("low")));
    assert_eq!(history["messages"].as_array().unwrap().len(), 16);
    assert_eq!(history["messages"][0]["content"][0]["text"], "hello there");
    assert_eq!(ask(&mut client, "sessions.resolve", json!({ "sessionId": ID }))["key"], KEY);

    let patched = ask(
        &mut client,
        "sessions.patch",
        json!({ "key": KEY, "thinkingLevel": null, "sendPolicy": "deny" }),
    );
    let mut want = before[KEY].as_object().unwrap().clone();
    want.remove("thinkingLevel");
    want.insert("sendPolicy".into(), "deny".into());
    want.insert("updatedAt".into(), patched["entry"]["updatedAt"].clone());
    assert_eq!(patched["entry"], Value::Object(want), "all that was not asked for is as it was");
    let after = stored(&server);
    assert_eq!(after[KEY], patched["entry"], "what is answered is on disk");
    assert_eq!(after["agent:main:probe"], before["agent:main:probe"]);

    let transcript = dir(&server).join(format!("{ID}.jsonl"));
    let whole = std::fs::read_to_string(&transcript).unwrap();
    let done = ask(&mut client, "sessions.compact", json!({ "key": "tree", "maxLines": 4 }));
    assert_eq!((&done["compacted"], &done["kept"]), (&json!(true), &json!(4)));
    assert_eq!(std::fs::read_to_string(done["archived"].as_str().unwrap()).unwrap(), whole);
    let kept = std::fs::read_to_string(&transcript).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let want: Vec<&str> = [&lines[..1], &lines[lines.len() - 4..]].concat();
    assert_eq!(kept.lines().collect::<Vec<_>>(), want, "the header and the end");

    let reset = ask(&mut client, "sessions.reset", json!({ "key": "tree" }));
    assert_eq!((&reset["entry"]["label"], &reset["entry"]["sendPolicy"]), (&json!("tree"), &json!("deny")));
    assert_ne!(reset["entry"]["sessionId"], ID);
    assert_eq!(std::fs::read_to_string(&transcript).unwrap(), kept, "the old conversation stays");
    assert_eq!(ask(&mut client, "sessions.delete", json!({ "key": "probe" }))["deleted"], true);
    assert_eq!(stored(&server).keys().collect::<Vec<_>>(), ["agent:main:subagent:zz", KEY]);
}

#[test]
fn counts_and_lists_know_what_was_just_changed() {
    let server = reference();
    let mut client = Client::connect(&server, &json!({}));
    ask(&mut client, "sessions.patch", json!({ "key": "fresh", "reasoningLevel": "stream" }));
    let status = ask(&mut client, "status", json!({}));
    assert_eq!(status["sessions"]["count"], 4);
    let newest = &status["sessions"]["recent"][0];
    assert_eq!(
        (&newest["key"], &newest["flags"][0]),
        (&json!("agent:main:fresh"), &json!("reasoning:stream"))
    );
    assert_eq!(keys(&ask(&mut client, "sessions.list", json!({ "activeMinutes": 1 }))), ["agent:main:fresh"]);
}

/// A history of the largest size, asked for by clients that all read it to the end.
#[test]
fn a_large_history_arrives_whole() {
    let home = Home::new(&config());
    let entry = json!({ KEY: { "sessionId": "s", "updatedAt": 1 } });
    home.write("agents/main/sessions/sessions.json", &entry.to_string());
    let mut lines = json!({ "type": "session", "version": 3, "id": "s" }).to_string() + "\n";
    for n in 0..80 {
        let message = json!({ "role": "assistant", "content": format!("{n} {}", "x".repeat(100_000)) });
        lines += &(json!({ "type": "message", "id": n.to_string(), "message": message }).to_string() + "\n");
    }
    home.write("agents/main/sessions/s.jsonl", &lines);
    let server = home.start(&[]);
    for _ in 0..3 {
        let mut client = Client::connect(&server, &json!({}));
        let history = ask(&mut client, "chat.history", json!({ "sessionKey": KEY }));
        let messages = history["messages"].as_array().unwrap();
        assert!((60..=62).contains(&messages.len()), "{}", messages.len());
        assert!(messages[messages.len() - 1]["content"].as_str().unwrap().starts_with("79 "));
        assert!(history["messages"].to_string().len() <= 6 * 1024 * 1024);
    }
}

#[test]
fn an_injected_message_is_on_disk_before_anybody_hears_of_it() {
    let server = reference();
    let mut watcher = Client::connect(&server, &json!({ "scopes": ["operator.read"] }));
    let mut outsider = Client::connect(&server, &json!({ "scopes": ["operator.pairing"] }));
    let mut client = Client::connect(&server, &json!({}));
    let said =
        ask(&mut client, "chat.inject", json!({ "sessionKey": "tree", "message": "note", "label": "L" }));
    let event = watcher.event("chat");
    assert_eq!(event["payload"]["runId"], format!("inject-{}", said["messageId"].as_str().unwrap()));
    assert_eq!(event["payload"]["sessionKey"], "tree");
    let transcript = std::fs::read_to_string(dir(&server).join(format!("{ID}.jsonl"))).unwrap();
    let last: Value = serde_json::from_str(transcript.lines().last().unwrap()).unwrap();
    assert_eq!((&last["id"], &last["message"]), (&said["messageId"], &event["payload"]["message"]));
    assert_eq!(last["parentId"], "4035644c", "it is part of the conversation");
    outsider.call("connect", &json!({}));
    assert!(outsider.events.iter().all(|it| it["event"] != "chat"), "a chat is for those who may read");
}

/// The thinking and verbose level that a client sees: the session's, the configuration's, the model's.
#[test]
fn levels_and_models_come_from_the_configuration() {
    let mut config = config();
    let model = |id: &str, reasoning: bool| json!({ "id": id, "name": id, "reasoning": reasoning });
    config["models"] = json!({ "providers": { "mock": { "baseUrl": "http://127.0.0.1:9/v1", "models": [model("one", false), model("two", true)] } } });
    config["agents"] = json!({
        "defaults": { "model": { "primary": "mock/one" }, "models": { "mock/two": { "alias": "Big" } } },
        "list": [{ "id": "main" }, { "id": "ops", "model": "mock/two" }],
    });
    let level = |client: &mut Client, key: &str| {
        let it = ask(client, "chat.history", json!({ "sessionKey": key }));
        (it["thinkingLevel"].as_str().unwrap().to_owned(), it["verboseLevel"].as_str().map(str::to_owned))
    };
    let server = Server::start(&config);
    let mut client = Client::connect(&server, &json!({}));
    assert_eq!(level(&mut client, "x"), ("off".into(), None));
    assert_eq!(level(&mut client, "agent:ops:x"), ("low".into(), None), "its model thinks");
    let patched = ask(&mut client, "sessions.patch", json!({ "key": "x", "model": "big" }));
    assert_eq!(patched["resolved"], json!({ "modelProvider": "mock", "model": "two" }));
    assert_eq!(level(&mut client, "x"), ("low".into(), None));
    let listed = ask(&mut client, "sessions.list", json!({}));
    assert_eq!(listed["sessions"][0]["model"], "two");
    let refused = client.call("sessions.patch", &json!({ "key": "x", "model": "other/three" }));
    assert_eq!(refused["error"]["message"], "model not allowed: other/three");
    let own = ask(&mut client, "sessions.patch", json!({ "key": "agent:ops:x", "model": "mock/two" }));
    assert!(own["entry"].get("modelOverride").is_none(), "an agent's own model is no override: {own}");
    config["agents"]["defaults"]["thinkingDefault"] = "high".into();
    config["agents"]["defaults"]["verboseDefault"] = "on".into();
    let server = Server::start(&config);
    let mut client = Client::connect(&server, &json!({}));
    assert_eq!(level(&mut client, "x"), ("high".into(), Some("on".into())));
    ask(&mut client, "sessions.patch", json!({ "key": "x", "thinkingLevel": "low", "verboseLevel": "full" }));
    assert_eq!(level(&mut client, "x"), ("low".into(), Some("full".into())));
}

/// One store for all agents: each session is listed once, and belongs to the agent in its key.
#[test]
fn a_shared_store() {
    let mut config = config();
    config["session"] = json!({ "store": "~/one/sessions.json" });
    config["agents"] = json!({ "list": [{ "id": "main" }, { "id": "ops" }] });
    let server = Server::start(&config);
    let mut client = Client::connect(&server, &json!({}));
    for key in ["main", "agent:ops:a"] {
        let path = ask(&mut client, "sessions.patch", json!({ "key": key, "label": key }))["path"].clone();
        assert_eq!(path, server.home.temp.path().join("one/sessions.json").to_str().unwrap());
    }
    assert_eq!(ask(&mut client, "sessions.list", json!({}))["count"], 2);
    assert_eq!(keys(&ask(&mut client, "sessions.list", json!({ "agentId": "ops" }))), ["agent:ops:a"]);
    let taken = client.call("sessions.patch", &json!({ "key": "b", "label": "main" }));
    assert_eq!(taken["error"]["message"], "label already in use: main");
    let key = "k".repeat(600);
    let long = client.call("sessions.patch", &json!({ "key": key }));
    assert_eq!(long["error"]["message"], "key too long: at most 512 bytes");
}

/// A store that cannot be read is no reason to answer nothing, nor to write in its place.
#[test]
fn a_store_that_is_no_file() {
    let home = Home::new(&config());
    home.write("agents/main/sessions/sessions.json/x", "");
    let server = home.start(&[]);
    let mut client = Client::connect(&server, &json!({}));
    assert_eq!(ask(&mut client, "sessions.list", json!({}))["count"], 0);
    assert_eq!(
        ask(&mut client, "sessions.preview", json!({ "keys": ["main"] }))["previews"][0]["status"],
        "error"
    );
    let refused = client.call("sessions.patch", &json!({ "key": "main" }));
    assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("sessions.json"), "{refused}");
    assert!(dir(&server).join("sessions.json/x").is_file());
}

/// A session in which a model is being asked: deleting it ends that, and nothing of it comes back.
#[test]
fn deleting_a_session_ends_what_runs_in_it() {
    // A model server that takes the question and says nothing.
    let model = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    let url = format!("http://{}/v1", model.local_addr().unwrap());
    config["models"] =
        json!({ "providers": { "mock": { "baseUrl": url, "models": [{ "id": "m", "name": "m" }] } } });
    let server = Server::start(&config);
    let mut client = Client::connect(&server, &json!({}));
    ask(
        &mut client,
        "chat.send",
        json!({ "sessionKey": "talk", "message": "hello", "idempotencyKey": "run-1" }),
    );
    let begun = client.event("agent");
    assert_eq!(begun["payload"]["data"]["phase"], "start", "{begun}");
    let gone = ask(&mut client, "sessions.delete", json!({ "key": "talk" }));
    assert_eq!((&gone["deleted"], &gone["key"]), (&json!(true), &json!("agent:main:talk")));
    let waited = ask(&mut client, "agent.wait", json!({ "runId": "run-1", "timeoutMs": 0 }));
    assert_ne!(waited["status"], "timeout", "the run has ended: {waited}");
    assert!(stored(&server).is_empty(), "{:?}", stored(&server));
    assert_eq!(ask(&mut client, "sessions.list", json!({}))["count"], 0);
}
