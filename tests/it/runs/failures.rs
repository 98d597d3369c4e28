//! Whatever goes wrong with a model: the person is told, the session is free, and the next message works.
use super::talk::*;
use crate::harness::{Home, Server};
use crate::model_server::{Asked, ModelServer, usage};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::mpsc::channel;

type Play = fn(Asked);
type Begin = fn(&mut Asked);

/// What the model server does to the one question, and what the person hears of it.
struct Case {
    name: &'static str,
    play: Play,
    /// In the chat's error.
    says: &'static str,
}

/// Each ends at once; `agent` is told the same.
#[test]
fn a_model_that_refuses() {
    let cases = [
        Case { name: "400", play: |it| it.refuse(400, "", "mock failure"), says: "400 mock failure" },
        Case { name: "401", play: |it| it.refuse(401, "", "key refused"), says: "401 key refused" },
        Case { name: "402", play: |it| it.refuse(402, "", "no credit"), says: "402 no credit" },
        Case { name: "404", play: |it| it.refuse(404, "", "no such model"), says: "404 no such model" },
        Case {
            name: "429 for long",
            play: |it| it.refuse(429, "retry-after: 3600\r\n", "slow down"),
            says: "429 slow down",
        },
        Case { name: "a web page", play: web_page, says: "web page" },
        Case { name: "a line without end", play: endless_line, says: "not understood" },
        Case { name: "reset in the middle", play: reset, says: "cannot be reached" },
        Case { name: "ends in the middle", play: cut, says: "cannot be reached" },
        Case { name: "error in the stream", play: stream_error, says: "overloaded" },
    ];
    for Case { name, play, says } in cases {
        let (model, server) = pair(&json!({}));
        let mut talk = Talk::new(&server);
        talk.say("A", "a");
        play(model.asked());
        let event = talk.chat("A", "error");
        let text = event["errorMessage"].as_str().unwrap();
        assert!(text.contains(says), "{name}: {text}");
        talk.order("B", "b");
        play(model.asked());
        let outcome = talk.outcome("B");
        if name == "400" {
            // What a model refuses outright is its answer: reference.
            assert_eq!(outcome["payload"]["status"], "ok");
            assert!(outcome["payload"]["result"]["payloads"][0]["text"].as_str().unwrap().contains(says));
        } else {
            assert_eq!(outcome["ok"], false, "{name}: {outcome}");
            assert_eq!(outcome["error"]["code"], "UNAVAILABLE", "{name}");
            assert!(outcome["error"]["message"].as_str().unwrap().contains(says), "{name}: {outcome}");
            assert_eq!(outcome["payload"]["summary"], outcome["error"]["message"]);
        }
        let told = talk.still_works(&model, "C");
        // What was refused for itself is not told again, or the next message would be refused for it too.
        assert_eq!(told.len() == 1 && !told[0].contains(" | "), name == "400", "{name}: {told:?}");
        for run in ["A", "B", "C"] {
            let last = |it: &Value| ["final", "error", "aborted"].iter().any(|state| is_chat(it, run, state));
            assert_eq!(talk.count(last), 1, "{name} {run}");
        }
        // What was shown is kept, and why it ended.
        let lines = said(&server.home, MAIN);
        assert!(lines[0] == "user: a" && lines[1].ends_with("(error)"), "{name}: {lines:?}");
    }
}

fn web_page(mut asked: Asked) {
    let page = "<!doctype html><title>Router login</title>";
    let length = page.len();
    asked.raw(
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{page}")
            .as_bytes(),
    );
}

fn endless_line(mut asked: Asked) {
    asked.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ");
    let chunk = vec![b'x'; 64 * 1024];
    while asked.raw(&chunk) {}
}

fn reset(mut asked: Asked) {
    asked.say("Half a");
    asked.reset();
}

fn cut(mut asked: Asked) {
    asked.say("Half a");
}

fn stream_error(mut asked: Asked) {
    asked.say("Half a");
    asked.raw(b"data: {\"error\":{\"message\":\"try later\",\"type\":\"overloaded_error\"}}\n\n");
}

/// A run that takes too long ends as such, wherever it hangs.
#[test]
fn a_model_that_hangs() {
    let hangs: [(&str, Begin); 3] = [
        ("never answers", |_| {}),
        ("falls silent", |it| it.say("Half a")),
        ("one token now and then", |it| {
            it.say("Half");
            it.say(" a");
        }),
    ];
    for (name, play) in hangs {
        let (model, server) = pair(&json!({ "agents": { "defaults": { "timeoutSeconds": 1 } } }));
        let mut talk = Talk::new(&server);
        // By the configuration, by `chat.send`, and by `agent`.
        talk.say("A", "a");
        let mut asked = model.asked();
        play(&mut asked);
        assert_eq!(talk.chat("A", "aborted")["stopReason"], "timeout", "{name}");
        asked.until_closed();
        let params = json!({ "sessionKey": MAIN, "message": "b", "timeoutMs": 300, "idempotencyKey": "B" });
        assert_eq!(talk.call("chat.send", &params)["ok"], true);
        let mut asked = model.asked();
        play(&mut asked);
        assert_eq!(talk.chat("B", "aborted")["stopReason"], "timeout", "{name}");
        asked.until_closed();
        talk.ask(
            "C",
            "agent",
            &json!({ "sessionKey": MAIN, "message": "c", "timeout": 1, "idempotencyKey": "C" }),
        );
        let mut asked = model.asked();
        play(&mut asked);
        let outcome = talk.outcome("C");
        let error = &outcome["error"];
        assert_eq!((&error["code"], &error["retryable"]), (&json!("AGENT_TIMEOUT"), &json!(true)), "{name}");
        assert_eq!(talk.phase("C", "end")["data"]["aborted"], true, "{name}");
        asked.until_closed();
        let status = talk.call("agent.wait", &json!({ "runId": "C", "timeoutMs": 0 }));
        assert_eq!(status["payload"]["status"], "error", "{name}");
        talk.still_works(&model, "D");
    }
}

/// A server that cannot be reached, each in its own way; no model server is asked.
#[test]
fn a_server_out_of_reach() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!("https://{}/v1", silent.local_addr().unwrap());
    // Longer than a name may be: no resolver need be asked.
    let no_host = format!("http://{}.example/v1", "x".repeat(64));
    let cases = [
        ("http://127.0.0.1:1/v1".to_owned(), "error", "cannot be reached"),
        (no_host, "error", "cannot be reached"),
        (tls, "aborted", ""),
        ("not an address".to_owned(), "error", "baseUrl"),
    ];
    for (base_url, state, says) in cases {
        let model = ModelServer::start();
        let changes = json!({ "agents": { "defaults": { "timeoutSeconds": 4 } } });
        let mut config = with_model(&base_url, &changes);
        let good = config["models"]["providers"]["mock"].clone();
        config["models"]["providers"]["good"] = good;
        config["models"]["providers"]["good"]["baseUrl"] = model.base_url().into();
        let server = Home::new(&config).start(&[]);
        let mut talk = Talk::new(&server);
        let patience = if state == "aborted" { 300 } else { 20_000 };
        let params =
            json!({ "sessionKey": MAIN, "message": "a", "timeoutMs": patience, "idempotencyKey": "A" });
        assert_eq!(talk.call("chat.send", &params)["ok"], true);
        let event = talk.chat("A", state);
        assert!(event["errorMessage"].as_str().unwrap_or_default().contains(says), "{base_url}: {event}");
        let patch = json!({ "key": MAIN, "model": "good/mock-1" });
        assert_eq!(talk.call("sessions.patch", &patch)["ok"], true);
        talk.still_works(&model, "B");
    }
}

#[test]
fn without_a_key() {
    let model = ModelServer::start();
    let changes =
        json!({ "agents": { "defaults": { "model": { "primary": "anthropic/claude-opus-4-5" } } } });
    let server = Home::new(&with_model(&model.base_url(), &changes)).start(&[]);
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let event = talk.chat("A", "error");
    let text = event["errorMessage"].as_str().unwrap();
    assert!(
        text.contains("ANTHROPIC_API_KEY") && text.contains("models.providers.anthropic.apiKey"),
        "{text}"
    );
    talk.order("B", "b");
    assert_eq!(talk.outcome("B")["error"]["code"], "UNAVAILABLE");
    assert_eq!(talk.call("sessions.patch", &json!({ "key": MAIN, "model": "mock/mock-1" }))["ok"], true);
    talk.still_works(&model, "C");
    // A model that nobody knows.
    let patched = talk.call("sessions.patch", &json!({ "key": MAIN, "model": "mock/mock-9" }));
    assert_eq!(patched["ok"], true);
    talk.say("D", "d");
    model.asked().refuse(404, "", "no such model");
    talk.chat("D", "error");
}

fn with_fallback() -> (ModelServer, Server) {
    pair(
        &json!({ "agents": { "defaults": { "model": { "primary": "mock/mock-1", "fallbacks": ["mock/mock-2"] } } } }),
    )
}

/// The next model answers in the same run; nobody is told of the first one's trouble.
#[test]
fn another_model_steps_in() {
    let first: [(&str, Play); 4] = [
        ("401", |it| it.refuse(401, "", "key refused")),
        ("404", |it| it.refuse(404, "", "no such model")),
        ("429", |it| it.refuse(429, "retry-after: 3600\r\n", "slow down")),
        ("a web page", web_page),
    ];
    for (name, play) in first {
        let (model, server) = with_fallback();
        let mut talk = Talk::new(&server);
        talk.order("A", "a");
        let asked = model.asked();
        assert_eq!(asked.model(), "mock-1");
        play(asked);
        let asked = model.asked();
        assert_eq!((asked.model(), asked.told().len()), ("mock-2", 1), "{name}");
        asked.answer("from the second");
        assert_eq!(talk.final_text("A"), "from the second");
        let meta = talk.outcome("A")["payload"]["result"]["meta"]["agentMeta"].clone();
        assert_eq!(meta["model"], "mock-2");
        assert_eq!(
            talk.count(|it| it["payload"]["stream"] == "lifecycle"),
            2,
            "{name}: one start and one end"
        );
        assert_eq!(said(&server.home, MAIN), ["user: a", "assistant: from the second"], "{name}");
    }
    // What the model says of the question itself is no reason to ask another.
    let (model, server) = with_fallback();
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    model.asked().refuse(400, "", "mock failure");
    talk.chat("A", "error");
    talk.still_works(&model, "B");
}

/// A key that is refused rests; another provider's model answers meanwhile, and the person's words are told once.
#[test]
fn a_key_that_is_refused() {
    let model = ModelServer::start();
    let changes = json!({ "agents": { "defaults": { "model": { "primary": "mock/mock-1", "fallbacks": ["other/mock-2"] } } } });
    let mut config = with_model(&model.base_url(), &changes);
    config["models"]["providers"]["other"] = config["models"]["providers"]["mock"].clone();
    config["models"]["providers"]["other"]["apiKey"] = "key-other".into();
    let server = Home::new(&config).start(&[]);
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let asked = model.asked();
    assert!(asked.head.contains("bearer key-mock"), "{}", asked.head);
    asked.refuse(401, "", "key refused");
    let asked = model.asked();
    assert!(asked.head.contains("bearer key-other") && asked.model() == "mock-2", "{}", asked.head);
    asked.answer("1");
    assert_eq!(talk.final_text("A"), "1");
    // It rests: the next message does not try it.
    talk.say("B", "b");
    let asked = model.asked();
    assert_eq!(asked.model(), "mock-2");
    asked.answer("2");
    assert_eq!(talk.final_text("B"), "2");
}

/// A passing failure is nobody's business but the model server's.
#[test]
fn tried_again() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    model.asked().refuse(500, "", "exploded");
    talk.settle();
    assert_eq!(talk.count(|it| it["event"] == "chat"), 0, "held back until the last try");
    model.asked().answer("1");
    assert_eq!(talk.final_text("A"), "1");
    talk.say("B", "b");
    model.asked().refuse(429, "retry-after-ms: 20\r\n", "slow down");
    model.asked().refuse(429, "retry-after: 0\r\n", "slow down");
    model.asked().answer("2");
    assert_eq!(talk.final_text("B"), "2");
    assert_eq!(talk.count(|it| it["payload"]["stream"] == "lifecycle"), 4);
    assert_eq!(said(&server.home, MAIN), ["user: a", "assistant: 1", "user: b", "assistant: 2"]);
    // Stopped while it waits for its next try.
    talk.say("C", "c");
    model.asked().refuse(429, "retry-after: 9\r\n", "slow down");
    assert_eq!(talk.call("chat.abort", &json!({ "sessionKey": MAIN }))["payload"]["runIds"], json!(["C"]));
    talk.still_works(&model, "D");
}

/// Stopped in the middle of a command: that ends, and all that it has started.
#[test]
fn a_tool_that_hangs() {
    let (model, server) = pair(&json!({ "agents": { "defaults": { "verboseDefault": "on" } } }));
    let mut talk = Talk::with(&server, &json!({ "caps": ["tool-events"] }));
    talk.say("A", "a");
    let mut asked = model.asked();
    asked.call("c1", "exec", &json!({ "command": "echo $$ > pid; echo begun; sleep 1000" }));
    asked.end_with("tool_calls", &usage(1, 1));
    talk.find(|it| it["payload"]["data"]["phase"] == "update");
    assert_eq!(talk.call("chat.abort", &json!({ "sessionKey": MAIN }))["payload"]["runIds"], json!(["A"]));
    talk.say("B", "b");
    let asked = model.asked();
    let told = asked.told();
    assert!(told[1].ends_with("[calls \"exec\"]") && told[2].starts_with("tool: "), "{told:?}");
    asked.answer("2");
    assert_eq!(talk.final_text("B"), "2");
    let pid = std::fs::read_to_string(server.home.state().join("workspace/pid")).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "the command has ended");
}

/// The model calls what there is not, or not so: it is told, and goes on.
#[test]
fn a_model_that_calls_wrongly() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let mut asked = model.asked();
    asked.call("c1", "nosuchtool", &json!({}));
    asked.end_with("tool_calls", &usage(1, 1));
    let mut asked = model.asked();
    assert!(asked.told()[2].contains("nosuchtool"), "{:?}", asked.told());
    asked.call("c2", "exec", &json!({ "command": 5 }));
    asked.end_with("tool_calls", &usage(1, 1));
    let mut asked = model.asked();
    assert!(asked.told()[4].contains("command must be"), "{:?}", asked.told());
    asked.call("c3", "exec", &json!({ "command": "exit 3" }));
    asked.end_with("tool_calls", &usage(1, 1));
    let asked = model.asked();
    assert!(asked.told()[6].contains('3'), "{:?}", asked.told());
    asked.answer("done");
    assert_eq!(talk.final_text("A"), "done");
}

/// One session's trouble is not another's: all kinds at once, and a good one among them.
#[test]
fn all_at_once() {
    let (to, held) = channel();
    let model = ModelServer::playing(move |mut asked| match asked.words().as_str() {
        "hang" => to.send(asked).unwrap(),
        "page" => web_page(asked),
        "line" => endless_line(asked),
        "reset" => reset(asked),
        "refuse" => asked.refuse(400, "", "no"),
        _ => {
            asked.say("good");
            asked.end();
        }
    });
    let defaults = json!({ "agents": { "defaults": { "maxConcurrent": 16 } } });
    let server = Home::new(&with_model(&model.base_url(), &defaults)).start(&[]);
    let mut talk = Talk::new(&server);
    let kinds = ["hang", "page", "line", "reset", "refuse", "good", "hang", "page"];
    for (n, kind) in kinds.iter().enumerate() {
        talk.say_in(&format!("agent:main:s{n}"), &format!("R{n}"), kind);
    }
    for (n, kind) in kinds.iter().enumerate() {
        let (run, session) = (format!("R{n}"), format!("agent:main:s{n}"));
        match *kind {
            "hang" => held.recv_timeout(crate::harness::DEADLINE).unwrap().refuse(400, "", "too late"),
            "good" => assert_eq!(talk.final_text(&run), "good"),
            _ => {}
        }
        if *kind != "good" {
            talk.chat(&run, "error");
        }
        talk.say_in(&session, &format!("{run}-next"), "good");
        assert_eq!(talk.final_text(&format!("{run}-next")), "good");
    }
}
