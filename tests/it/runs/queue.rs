//! Who waits for whom: one run at a time in a session, so many in all, and what becomes of a message to a session at work.
use super::talk::*;
use crate::harness::Server;
use crate::model_server::{ModelServer, usage};
use serde_json::{Value, json};

fn queue(queue: Value) -> (ModelServer, Server) {
    pair(&json!({ "messages": { "queue": queue } }))
}

/// Reads up to here that nothing was asked of the model meanwhile.
fn nobody_is_asked(model: &ModelServer, talk: &mut Talk) {
    talk.settle();
    assert!(model.asked_already().is_none());
}

fn answers(model: &ModelServer, words: &str, text: &str) {
    let asked = model.asked();
    assert_eq!(asked.words(), words);
    asked.answer(text);
}

/// Each message has its own run, under its own id, in the order of their coming; `agent` and `chat.send` share the lane.
#[test]
fn one_at_a_time_in_the_order_of_their_coming() {
    for mode in ["followup", "collect"] {
        let (model, server) = queue(json!({ "mode": mode }));
        let mut talk = Talk::new(&server);
        talk.say("A", "a");
        let asked = model.asked();
        talk.say("B", "b");
        talk.order("C", "c");
        talk.say("D", "d");
        nobody_is_asked(&model, &mut talk);
        assert_eq!(talk.count(|it| it["payload"]["runId"] == "B" && it["type"] == "event"), 0);
        asked.answer("1");
        answers(&model, "b", "2");
        answers(&model, "c", "3");
        let asked = model.asked();
        assert_eq!(
            asked
                .told()
                .iter()
                .map(|it| crate::model_server::without_stamp(&it[it.find(": ").unwrap() + 2..]))
                .collect::<Vec<_>>(),
            ["a", "1", "b", "2", "c", "3", "d"]
        );
        asked.answer("4");
        for (run, text) in [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")] {
            assert_eq!(talk.final_text(run), text);
        }
        // One ends before the next begins.
        let mut last = 0;
        for run in ["A", "B", "C", "D"] {
            let start = talk.place(1, |it| is_phase(it, run, "start"));
            let end = talk.place(1, |it| is_chat(it, run, "final"));
            assert!(last <= start && start < end, "{run}");
            last = end;
        }
        let outcome = talk.place(2, |it| it["id"] == "C");
        assert!(talk.place(1, |it| is_chat(it, "C", "final")) < outcome);
        assert!(outcome < talk.place(1, |it| is_phase(it, "D", "start")), "told before the next begins");
        let want = ["user: a", "assistant: 1", "user: b", "assistant: 2", "user: c", "assistant: 3"];
        assert_eq!(said(&server.home, MAIN)[..6], want);
    }
}

/// A message to a session at work is told to the model at its next turn; one answer ends both.
#[test]
fn steered_into_the_run() {
    for mode in ["steer", "queue"] {
        let (model, server) = queue(json!({ "mode": mode }));
        let mut talk = Talk::new(&server);
        talk.say("A", "a");
        let mut asked = model.asked();
        let picture = json!({ "type": "image", "content": PNG });
        let b =
            json!({ "sessionKey": MAIN, "message": "b", "attachments": [picture], "idempotencyKey": "B" });
        assert_eq!(talk.call("chat.send", &b)["payload"]["status"], "started");
        asked.call("c1", "exec", &json!({ "command": "echo out" }));
        asked.end_with("tool_calls", &usage(1, 1));
        let asked = model.asked();
        let told = asked.told();
        assert_eq!(told[2], "tool: out");
        // With the time it was said, and what was attached.
        assert!(told[3].starts_with("user: [") && told[3].ends_with("UTC] b | <image_url>"), "{told:?}");
        assert!(talk.chat("B", "final").get("message").is_none());
        // Answered, and known as such while the run goes on.
        assert_eq!(talk.call("chat.send", &b)["payload"], json!({ "runId": "B", "status": "ok" }));
        let status = talk.call("agent.wait", &json!({ "runId": "B", "timeoutMs": 0 }));
        assert_eq!(status["payload"]["status"], "ok");
        // Said while the last answer is made: that one is followed by another.
        talk.say("C", "c");
        asked.answer("both");
        answers(&model, "c", "and the third");
        assert_eq!(talk.final_text("A"), "and the third");
        talk.settle();
        for run in ["B", "C"] {
            assert_eq!(talk.count(|it| is_chat(it, run, "final")), 1);
            assert_eq!(talk.count(|it| it["event"] == "agent" && it["payload"]["runId"] == run), 0);
        }
        assert_eq!(talk.count(|it| is_phase(it, "A", "end")), 1);
        let lines = said(&server.home, MAIN);
        assert_eq!(lines[3..], ["user: b", "assistant: both", "user: c", "assistant: and the third"]);
        talk.still_works(&model, "next");
    }
}

/// The smallest picture there is.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[test]
fn the_newer_message_interrupts() {
    let (model, server) = queue(json!({ "mode": "interrupt" }));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let mut asked = model.asked();
    asked.say("half");
    talk.chat("A", "delta");
    talk.say("B", "b");
    assert_eq!(talk.chat("A", "aborted")["stopReason"], "interrupt");
    asked.until_closed();
    let asked = model.asked();
    assert!(asked.told()[0].ends_with(" a") && asked.told()[1] == "assistant: half", "{:?}", asked.told());
    asked.answer("2");
    assert_eq!(talk.final_text("B"), "2");
    assert_eq!(talk.count(|it| it["payload"]["runId"] == "A" && it["payload"]["data"]["phase"] == "end"), 0);
}

/// Nothing that was acknowledged is dropped, unless that is configured: the newest message is refused instead.
#[test]
fn a_full_queue() {
    for drop in
        [json!({ "cap": 2, "drop": "new" }), json!({ "cap": 2, "drop": "summarize" }), json!({ "cap": 2 })]
    {
        let (model, server) = queue(drop.clone());
        let mut talk = Talk::new(&server);
        talk.say("A", "a");
        let asked = model.asked();
        // In one go, before any of them is on disk.
        for run in ["B", "C", "D", "E"] {
            talk.ask(run, "chat.send", &json!({ "sessionKey": MAIN, "message": run, "idempotencyKey": run }));
        }
        for run in ["B", "C"] {
            assert_eq!(talk.answer(run)["payload"]["status"], "started", "{drop}");
        }
        for run in ["D", "E"] {
            let error = talk.answer(run)["error"].clone();
            assert_eq!(
                (&error["code"], &error["retryable"]),
                (&json!("UNAVAILABLE"), &json!(true)),
                "{drop}"
            );
        }
        // Another session has its own queue.
        talk.say_in("agent:main:other", "O", "o");
        answers(&model, "o", "other");
        asked.answer("1");
        answers(&model, "B", "2");
        answers(&model, "C", "3");
        assert_eq!(talk.final_text("C"), "3");
        talk.still_works(&model, "D");
    }
}

#[test]
fn the_oldest_makes_room_where_that_is_configured() {
    let (model, server) = queue(json!({ "cap": 2, "drop": "old" }));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let asked = model.asked();
    talk.order("X", "x");
    for run in ["B", "C", "D"] {
        talk.say(run, run);
    }
    assert_eq!(
        talk.chat("B", "aborted")["stopReason"],
        "interrupt",
        "the oldest message, not the agent's run"
    );
    asked.answer("1");
    answers(&model, "x", "2");
    answers(&model, "C", "3");
    answers(&model, "D", "4");
    assert_eq!(talk.final_text("D"), "4");
    let status = talk.call("agent.wait", &json!({ "runId": "B", "timeoutMs": 0 }));
    assert_eq!(status["payload"]["status"], "error");
    talk.settle();
    assert!(model.asked_already().is_none());
}

/// Beyond `maxConcurrent` sessions wait for each other, in the order of their coming.
#[test]
fn one_at_a_time_in_all() {
    let (model, server) = pair(&json!({ "agents": { "defaults": { "maxConcurrent": 1 } } }));
    let mut talk = Talk::new(&server);
    talk.say_in("agent:main:x1", "A", "a");
    let asked = model.asked();
    talk.say_in("agent:main:x2", "B", "b");
    talk.order("C", "c");
    talk.say_in("agent:main:x2", "D", "d");
    talk.say_in("agent:main:x3", "E", "e");
    nobody_is_asked(&model, &mut talk);
    // Who waits for a place is what its session does: it can be stopped, and is never asked for.
    let stopped = talk.call("chat.abort", &json!({ "sessionKey": "agent:main:x3" }));
    assert_eq!(stopped["payload"], json!({ "ok": true, "aborted": true, "runIds": ["E"] }));
    assert_eq!(talk.chat("E", "aborted")["stopReason"], "rpc");
    asked.answer("1");
    for (words, text) in [("b", "2"), ("c", "3"), ("d", "4")] {
        answers(&model, words, text);
    }
    assert_eq!(talk.final_text("D"), "4");
    nobody_is_asked(&model, &mut talk);
    assert_eq!(talk.count(|it| it["event"] == "agent" && it["payload"]["runId"] == "E"), 0);
}

/// The largest numbers that fit mean for ever, not never.
#[test]
fn the_largest_numbers() {
    // What a JavaScript client can say.
    const MOST: i64 = (1 << 53) - 1;
    let (model, server) = queue(json!({ "cap": u32::MAX }));
    let mut talk = Talk::new(&server);
    let with = |run: &str, name: &str| {
        let mut params = json!({ "sessionKey": MAIN, "message": run, "idempotencyKey": run });
        params[name] = MOST.into();
        params
    };
    talk.ask("A", "agent", &with("A", "timeout"));
    talk.ask("B", "chat.send", &with("B", "timeoutMs"));
    talk.ask("wait", "agent.wait", &json!({ "runId": "B", "timeoutMs": MOST }));
    answers(&model, "A", "1");
    assert_eq!(talk.outcome("A")["payload"]["status"], "ok");
    answers(&model, "B", "2");
    assert_eq!(talk.final_text("B"), "2");
    assert_eq!(talk.answer("wait")["payload"]["status"], "ok");
}

/// Sessions do not wait for each other otherwise, not even for a model that hangs.
#[test]
fn sessions_run_side_by_side() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say_in("agent:main:x1", "A", "a");
    let hangs = model.asked();
    talk.say_in("agent:main:x2", "B", "b");
    answers(&model, "b", "2");
    assert_eq!(talk.final_text("B"), "2");
    hangs.answer("1");
    assert_eq!(talk.final_text("A"), "1");
}

/// What waits is not stopped with what runs; by its own id it is, and is never asked for.
#[test]
fn stopping_what_waits() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let asked = model.asked();
    talk.say("B", "b");
    talk.say("C", "c");
    let stopped = talk.call("chat.abort", &json!({ "sessionKey": MAIN, "runId": "B" }));
    assert_eq!(stopped["payload"], json!({ "ok": true, "aborted": true, "runIds": ["B"] }));
    let event = talk.chat("B", "aborted");
    assert_eq!((&event["stopReason"], &event["seq"]), (&json!("rpc"), &json!(1)));
    let stopped = talk.call("chat.abort", &json!({ "sessionKey": MAIN }));
    assert_eq!(stopped["payload"]["runIds"], json!(["A"]));
    asked.until_closed();
    answers(&model, "c", "3");
    assert_eq!(talk.final_text("C"), "3");
    let stopped = talk.call("chat.abort", &json!({ "sessionKey": MAIN, "runId": "C" }));
    assert_eq!(stopped["payload"], json!({ "ok": true, "aborted": false, "runIds": [] }));
    assert_eq!(said(&server.home, MAIN), ["user: a", "user: c", "assistant: 3"]);
    // What `agent` has started is not the chat's to stop.
    talk.order("D", "d");
    let asked = model.asked();
    for params in [json!({ "sessionKey": MAIN }), json!({ "sessionKey": MAIN, "runId": "D" })] {
        assert_eq!(talk.call("chat.abort", &params)["payload"]["aborted"], false);
    }
    asked.answer("4");
    assert_eq!(talk.outcome("D")["ok"], true);
}

/// Aborted means that nothing more is heard of it, even when its answer was complete by then.
#[test]
fn an_abort_is_the_last_word() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    for n in 0..20 {
        let run = format!("A{n}");
        talk.say(&run, "a");
        let mut asked = model.asked();
        asked.say("all of it");
        talk.chat(&run, "delta");
        // Both at once.
        talk.ask(&format!("stop{n}"), "chat.abort", &json!({ "sessionKey": MAIN }));
        asked.end();
        talk.answer(&format!("stop{n}"));
        talk.call("agent.wait", &json!({ "runId": run }));
        talk.settle();
        let last = |it: &Value| ["final", "aborted", "error"].iter().any(|state| is_chat(it, &run, state));
        assert_eq!(talk.count(last), 1, "{:#?}", talk.log);
        if talk.count(|it| is_chat(it, &run, "aborted")) == 1 {
            assert_eq!(talk.count(|it| is_phase(it, &run, "end") || is_phase(it, &run, "error")), 0);
        }
    }
}

#[test]
fn waiting_for_a_run() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.order("A", "a");
    let asked = model.asked();
    talk.say("B", "b");
    let timeout = |run: &str| json!({ "runId": run, "status": "timeout" });
    for run in ["A", "B", "unknown"] {
        for timeout_ms in [0, 1] {
            let answer = talk.call("agent.wait", &json!({ "runId": run, "timeoutMs": timeout_ms }));
            assert_eq!(answer["payload"], timeout(run), "{timeout_ms}");
        }
        talk.ask(&format!("wait-{run}"), "agent.wait", &json!({ "runId": run, "timeoutMs": 2000 }));
    }
    asked.answer("1");
    let ended = |answer: &Value, status: &str| {
        let it = &answer["payload"];
        assert_eq!(it["status"], status, "{answer}");
        assert!(it["startedAt"].as_i64() <= it["endedAt"].as_i64() && it["startedAt"].is_i64(), "{answer}");
    };
    ended(&talk.answer("wait-A"), "ok");
    model.asked().refuse(401, "", "bad key");
    let failed = talk.answer("wait-B");
    ended(&failed, "error");
    assert!(failed["payload"]["error"].as_str().unwrap().contains("bad key"), "{failed}");
    // Again, and at once.
    ended(&talk.call("agent.wait", &json!({ "runId": "A", "timeoutMs": 0 })), "ok");
    ended(&talk.call("agent.wait", &json!({ "runId": "B" })), "error");
    assert_eq!(talk.answer("wait-unknown")["payload"], timeout("unknown"));
    // The reference's order: events, who waits, who asked.
    let wait = talk.place(1, |it| it["id"] == "wait-A");
    assert!(talk.place(1, |it| is_chat(it, "A", "final")) < wait);
}

/// A client that sends faster than the disk writes is answered, every time, and so is everybody else.
#[test]
fn a_flood_of_messages() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    talk.say("A", "a");
    let _hangs = model.asked();
    // Fewer than the errors for which a connection is closed.
    const MANY: usize = 1000;
    for n in 0..MANY {
        let (run, session) = (format!("R{n}"), format!("agent:main:s{}", n % 50));
        let send = json!({ "sessionKey": session, "message": "x", "idempotencyKey": run });
        talk.ask(&format!("send{n}"), "chat.send", &send);
        talk.ask(&format!("stop{n}"), "chat.abort", &json!({ "sessionKey": session, "runId": run }));
    }
    for n in 0..MANY {
        talk.answer(&format!("stop{n}"));
        talk.answer(&format!("send{n}"));
    }
    let mut other = Talk::new(&server);
    assert_eq!(other.call("health", &json!({}))["ok"], true);
}
