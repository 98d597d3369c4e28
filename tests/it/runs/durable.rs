//! What was acknowledged is answered, exactly once, whatever becomes of the process.
use super::talk::*;
use crate::harness::{Home, Server};
use crate::model_server::{ModelServer, usage};
use gatewayd::base::limits::RUN_LIVES_MAX;
use serde_json::{Value, json};
use std::time::Duration;

/// The params of both methods that begin runs.
fn request() -> Value {
    json!({ "sessionKey": MAIN, "message": "question", "idempotencyKey": "A" })
}

/// The next life on the same home; the model server is the same.
fn next_life(server: Server) -> (Server, Talk) {
    let server = server.crash().start(&[]);
    let talk = Talk::new(&server);
    (server, talk)
}

/// The same key again gets what came of it, and nobody is asked twice.
fn answered_once(model: &ModelServer, talk: &mut Talk, method: &str, answer: &str) {
    talk.call("agent.wait", &json!({ "runId": "A" }));
    let again = talk.call(method, &request());
    match method {
        "chat.send" => assert_eq!(again["payload"], json!({ "runId": "A", "status": "ok" })),
        _ => assert_eq!(again["payload"]["result"]["payloads"][0]["text"], answer, "{again}"),
    }
    talk.settle();
    assert!(model.asked_already().is_none());
}

#[test]
fn killed_before_its_turn() {
    for method in ["chat.send", "agent"] {
        let (model, server) = pair(&json!({ "agents": { "defaults": { "maxConcurrent": 1 } } }));
        let mut talk = Talk::new(&server);
        talk.say_in("agent:main:other", "first", "first");
        let _hangs = model.asked();
        assert_eq!(talk.call(method, &request())["ok"], true);
        // What only waits is not worn out by restarts.
        let mut server = server;
        for _ in 0..RUN_LIVES_MAX {
            (server, talk) = next_life(server);
            let asked = model.asked();
            assert_eq!(
                (asked.words().as_str(), talk.call(method, &request())["ok"].clone()),
                ("first", json!(true))
            );
        }
        drop(talk);
        let (server, mut talk) = next_life(server);
        // It was begun often enough: its end is known, and stored.
        let end = talk.call("agent.wait", &json!({ "runId": "first" }))["payload"].clone();
        assert!(end["error"].as_str().unwrap().contains("given up"), "{end}");
        model.asked().answer("answer");
        answered_once(&model, &mut talk, method, "answer");
        assert_eq!(said(&server.home, MAIN), ["user: question", "assistant: answer"]);
        assert_eq!(said(&server.home, "agent:main:other"), ["user: first", "assistant:  (error)"]);
    }
}

#[test]
fn killed_while_the_model_answers() {
    for method in ["chat.send", "agent"] {
        for begun in [false, true] {
            let (model, server) = pair(&json!({}));
            let mut talk = Talk::new(&server);
            assert_eq!(talk.call(method, &request())["ok"], true);
            let mut asked = model.asked();
            if begun {
                asked.say("half of the");
                talk.chat("A", "delta");
            }
            // Those who wait behind it come after it.
            talk.say("B", "next");
            let (server, mut talk) = next_life(server);
            asked.until_closed();
            let asked = model.asked();
            assert!(asked.told().len() == 1 && asked.words() == "question", "{:?}", asked.told());
            asked.answer("answer");
            let asked = model.asked();
            assert_eq!((asked.told().len(), asked.words().as_str()), (3, "next"));
            asked.answer("another");
            assert_eq!(talk.final_text("B"), "another");
            answered_once(&model, &mut talk, method, "answer");
            let want = ["user: question", "assistant: answer", "user: next", "assistant: another"];
            assert_eq!(said(&server.home, MAIN), want, "{method} {begun}");
        }
    }
}

/// A tool that has run is not run again; one that was cut off is told as such.
#[test]
fn killed_around_a_tool() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say("A", "question");
    let mut asked = model.asked();
    asked.call("c1", "exec", &json!({ "command": "echo ran >> ran.txt" }));
    asked.end_with("tool_calls", &usage(1, 1));
    let asked = model.asked();
    let (server, talk) = next_life(server);
    asked.until_closed();
    let mut asked = model.asked();
    assert_eq!(
        asked.told()[1..],
        ["assistant:  [calls \"exec\"]", "tool: (no output)"],
        "{:?}",
        asked.told()
    );
    let gate = server.home.temp.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    asked.call("c2", "exec", &json!({ "command": format!("cat {}", gate.display()) }));
    asked.end_with("tool_calls", &usage(1, 1));
    // Open for writing once the command reads; what is left of it ends with this.
    let gate = std::fs::OpenOptions::new().write(true).open(gate).unwrap();
    drop(talk);
    let (server, mut talk) = next_life(server);
    drop(gate);
    let asked = model.asked();
    let told = asked.told();
    assert!(told[4].starts_with("tool: ") && told[4].contains("cut off"), "{told:?}");
    asked.answer("answer");
    assert_eq!(talk.final_text("A"), "answer");
    let ran = std::fs::read_to_string(server.home.state().join("workspace/ran.txt")).unwrap();
    assert_eq!(ran, "ran\n");
}

#[test]
fn killed_after_the_answer() {
    for method in ["chat.send", "agent"] {
        let (model, server) = pair(&json!({}));
        let mut talk = Talk::new(&server);
        assert_eq!(talk.call(method, &request())["ok"], true);
        model.asked().answer("answer");
        talk.final_text("A");
        let (server, mut talk) = next_life(server);
        answered_once(&model, &mut talk, method, "answer");
        assert_eq!(said(&server.home, MAIN), ["user: question", "assistant: answer"]);
        // The key may be used again one day: a new question then, not the old one that was cut off.
        drop(talk);
        let home = server.crash();
        std::fs::remove_file(home.state().join("accepted.jsonl")).unwrap();
        let server = home.start(&[]);
        let mut talk = Talk::new(&server);
        assert_eq!(talk.call(method, &request())["ok"], true);
        model.asked().answer("another");
        assert_eq!(talk.final_text("A"), "another");
        assert_eq!(said(&server.home, MAIN)[2..], ["user: question", "assistant: another"]);
    }
}

/// Words that somebody else put in behind a question are no answer to it.
#[test]
fn killed_behind_an_injected_message() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say("A", "question");
    let asked = model.asked();
    let injected = talk.call("chat.inject", &json!({ "sessionKey": MAIN, "message": "by the way" }));
    assert_eq!(injected["ok"], true, "{injected}");
    let (server, mut talk) = next_life(server);
    asked.until_closed();
    model.asked().answer("answer");
    assert_eq!(talk.final_text("A"), "answer");
    let lines = said(&server.home, MAIN);
    assert_eq!(lines, ["user: question", "assistant: by the way (injected)", "assistant: answer"]);
}

/// A line that somebody left for the next turn was acknowledged, so it is told: also after a crash before that turn, or in it.
#[test]
fn killed_with_a_system_event() {
    let (model, server) = pair(&json!({}));
    let wake = json!({ "mode": "next-heartbeat", "text": "the oven is hot" });
    assert_eq!(Talk::new(&server).call("wake", &wake)["payload"], json!({ "ok": true }));
    let (server, mut talk) = next_life(server);
    assert_eq!(talk.call("status", &json!({}))["payload"]["queuedSystemEvents"], json!(["the oven is hot"]));
    talk.say("A", "question");
    assert!(model.asked().told().join(" ").contains("the oven is hot"));
    let (server, mut talk) = next_life(server);
    let asked = model.asked();
    assert!(asked.told().join(" ").contains("the oven is hot"), "{:?}", asked.told());
    asked.answer("take it out");
    assert_eq!(talk.final_text("A"), "take it out");
    // The run has ended, and what the store thread was asked before this patch is done.
    assert_eq!(talk.call("agent.wait", &json!({ "runId": "A" }))["payload"]["status"], "ok");
    assert_eq!(talk.call("sessions.patch", &json!({ "key": MAIN, "label": "kitchen" }))["ok"], true);
    let (_server, mut talk) = next_life(server);
    assert_eq!(talk.call("status", &json!({}))["payload"]["queuedSystemEvents"], json!([]));
}

fn refused(answer: &Value) {
    let error = &answer["error"];
    assert_eq!((&error["code"], &error["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "{answer}");
}

#[test]
fn a_stopping_gateway_waits_for_what_is_being_answered() {
    let (model, mut server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say_in("agent:main:x1", "A", "a");
    talk.say_in("agent:main:x2", "B", "b");
    talk.order("C", "c");
    let asked: Vec<_> = (0..3).map(|_| model.asked()).collect();
    talk.say_in("agent:main:x1", "D", "waits");
    server.signal(libc::SIGTERM);
    server.wait_line("waiting up to 30 s for what is being answered");
    refused(&talk.call("chat.send", &json!({ "sessionKey": MAIN, "message": "e", "idempotencyKey": "E" })));
    refused(&talk.call("agent", &json!({ "sessionKey": MAIN, "message": "e", "idempotencyKey": "E" })));
    assert_eq!(talk.call("health", &json!({}))["ok"], true);
    for it in asked {
        let text = format!("to {}", it.words());
        it.answer(&text);
    }
    assert_eq!((talk.final_text("A"), talk.final_text("B")), ("to a".into(), "to b".into()));
    assert_eq!(talk.outcome("C")["payload"]["result"]["payloads"][0]["text"], "to c");
    talk.find(|it| it["event"] == "shutdown");
    assert_eq!(server.wait().0.code(), Some(0));
    // What waited goes on in the next life, once.
    let server = server.leave_home().start(&[]);
    let mut talk = Talk::new(&server);
    let asked = model.asked();
    assert_eq!(asked.words(), "waits");
    asked.answer("4");
    assert_eq!(talk.final_text("D"), "4");
    talk.settle();
    assert!(model.asked_already().is_none());
    let want = ["user: a", "assistant: to a", "user: waits", "assistant: 4"];
    assert_eq!(said(&server.home, "agent:main:x1"), want);
}

/// Asked a second time it leaves at once, and keeps its promises in the next life.
#[test]
fn a_second_sigterm_is_meant() {
    let (model, mut server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let mut asked = model.asked();
    asked.say("half");
    talk.chat("A", "delta");
    talk.order("B", "b");
    server.signal(libc::SIGTERM);
    server.wait_line("waiting up to 30 s for what is being answered");
    server.signal(libc::SIGTERM);
    assert_eq!(talk.chat("A", "aborted")["stopReason"], "shutdown");
    asked.until_closed();
    let (status, took) = server.wait();
    assert!(status.code() == Some(0) && took < Duration::from_secs(5), "{status} {took:?}");
    let server = server.leave_home().start(&[]);
    let mut talk = Talk::new(&server);
    let asked = model.asked();
    assert_eq!(asked.told().len(), 1, "the half answer is not told again: {:?}", asked.told());
    asked.answer("1");
    assert_eq!(talk.final_text("A"), "1");
    model.asked().answer("2");
    assert_eq!(talk.final_text("B"), "2");
    let again = talk.call("agent", &json!({ "sessionKey": MAIN, "message": "b", "idempotencyKey": "B" }));
    assert_eq!(again["payload"]["result"]["payloads"][0]["text"], "2");
    let mut lines = said(&server.home, MAIN);
    // What was shown until then may be on disk: as cut off, and never told to a model.
    lines.retain(|it| it != "assistant: half (aborted)");
    assert_eq!(lines, ["user: a", "assistant: 1", "user: b", "assistant: 2"]);
}

/// A restart in the same process waits as well, and what waited goes on behind it.
#[test]
fn a_restart_in_place() {
    let (model, mut server) = pair(&json!({ "commands": { "restart": true } }));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let asked = model.asked();
    talk.say("B", "b");
    server.signal(libc::SIGUSR1);
    server.wait_line("waiting up to 30 s for what is being answered");
    asked.answer("1");
    assert_eq!(talk.final_text("A"), "1");
    let line = server.wait_line("listening on ws://127.0.0.1:");
    server.port = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut talk = Talk::new(&server);
    model.asked().answer("2");
    assert_eq!(talk.call("agent.wait", &json!({ "runId": "B" }))["payload"]["status"], "ok");
    assert_eq!(said(&server.home, MAIN), ["user: a", "assistant: 1", "user: b", "assistant: 2"]);
}

/// Where the promise cannot be kept it is not given; nothing is lost, and it works again when the disk does.
#[test]
fn a_journal_that_cannot_be_written() {
    let model = ModelServer::start();
    let home = Home::new(&with_model(&model.base_url(), &json!({})));
    let journal = home.state().join("accepted.jsonl");
    std::fs::create_dir_all(&journal).unwrap();
    let server = home.start(&[]);
    let mut talk = Talk::new(&server);
    for method in ["chat.send", "agent"] {
        let answer = talk.call(method, &request());
        assert_eq!(answer["error"]["code"], "UNAVAILABLE", "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("accepted.jsonl"), "{answer}");
    }
    std::fs::remove_dir(&journal).unwrap();
    talk.still_works(&model, "A");
    // And away again in the middle.
    std::fs::remove_file(&journal).unwrap();
    std::fs::create_dir(&journal).unwrap();
    assert_eq!(talk.call("chat.send", &request())["ok"], true, "it has its answer already");
    let b = json!({ "sessionKey": MAIN, "message": "b", "idempotencyKey": "B" });
    assert_eq!(talk.call("chat.send", &b)["error"]["code"], "UNAVAILABLE");
    std::fs::remove_dir(&journal).unwrap();
    talk.still_works(&model, "B");
    assert_eq!(talk.count(|it| it["event"] == "chat" && it["payload"]["state"] == "error"), 0);
}

/// A run that cannot be stored ends with an error, and the session is free.
#[test]
fn a_transcript_that_cannot_be_written() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.still_works(&model, "A");
    let id = entry(&server.home, MAIN)["sessionId"].as_str().unwrap().to_owned();
    let file = server.home.state().join(format!("agents/main/sessions/{id}.jsonl"));
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    talk.say("B", "b");
    // It is asked while its words are being stored; what was said is not told as an answer when they were not.
    model.asked().answer("lost");
    let event = talk.chat("B", "error");
    assert!(event["errorMessage"].as_str().unwrap().contains(&id), "{event}");
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    talk.still_works(&model, "C");
}
