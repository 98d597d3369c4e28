//! What a model is told: the conversation so far, wherever it began, and what is put around the person's words.
use super::talk::*;
use crate::client::now_ms;
use crate::harness::{Home, Server};
use crate::model_server::{ModelServer, usage};
use serde_json::{Value, json};
use std::path::Path;

/// A home with the sessions that the reference wrote, the newest of them used just now.
fn of_the_reference(model: &ModelServer, changes: &Value, age_ms: i64) -> Server {
    let home = Home::new(&with_model(&model.base_url(), changes));
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state-reference");
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let mut text = std::fs::read_to_string(file.path()).unwrap();
        if file.file_name() == "sessions.json" {
            let mut index: Value = serde_json::from_str(&text).unwrap();
            index[TREE]["updatedAt"] = (now_ms() - age_ms).into();
            text = index.to_string();
        }
        home.write(&format!("agents/main/sessions/{}", file.file_name().to_string_lossy()), &text);
    }
    home.start(&[])
}

const TREE: &str = "agent:main:tree";

#[test]
fn a_conversation_of_the_reference_goes_on() {
    let model = ModelServer::start();
    let server = of_the_reference(&model, &json!({}), 0);
    let before = entry(&server.home, TREE);
    let mut talk = Talk::new(&server);
    talk.say_in(TREE, "A", "and now?");
    let asked = model.asked();
    let mut told = asked.told();
    let last = told.pop().unwrap();
    assert_eq!(
        told,
        [
            "user: What was said before, in short:\n\nHello from mock.",
            "assistant: [L]\n\ninjected text",
            // A question that was answered with an error, and the one after the aborted one, which is left out.
            "user: [Mon 2026-11-23 23:54 UTC] FAIL now\n[message_id: run-b035eb] | \
             [Mon 2026-11-23 23:54 UTC] after abort\n[message_id: run-2f55fd]",
            "assistant: Hello from mock.\n\nstatus line",
            "user: System: [2026-11-23 23:54:46 UTC] done\n\n[Mon 2026-11-23 23:54 UTC] post compact\n[message_id: run-d214b6]",
            "assistant: Hello from mock.",
        ]
    );
    assert!(last.ends_with("UTC] and now?"), "{last}");
    asked.answer("on we go");
    assert_eq!(talk.final_text("A"), "on we go");
    let lines = transcript(&server.home, TREE);
    assert_eq!(lines.last().unwrap()["message"]["content"][0]["text"], "on we go");
    let after = entry(&server.home, TREE);
    for name in ["sessionId", "sessionFile", "label", "thinkingLevel", "origin", "skillsSnapshot"] {
        assert_eq!(after[name], before[name], "{name}");
    }
}

/// By `session.reset` a conversation is over after a while; one that `agent` names goes on.
#[test]
fn a_conversation_that_is_over() {
    const MINUTE: i64 = 60_000;
    let idle = |minutes: i64| json!({ "session": { "reset": { "mode": "idle", "idleMinutes": minutes } } });
    let cases = [
        (idle(1), MINUTE - 20_000, true),
        (idle(1), MINUTE + 1_000, false),
        (idle(100_000), 3 * 24 * 60 * MINUTE, true),
        // Daily at four in the morning, without any configuration.
        (json!({}), 25 * 60 * MINUTE, false),
    ];
    for (changes, age_ms, goes_on) in cases {
        let model = ModelServer::start();
        let server = of_the_reference(&model, &changes, age_ms);
        let before = entry(&server.home, TREE);
        let mut talk = Talk::new(&server);
        talk.say_in(TREE, "A", "hello");
        let asked = model.asked();
        assert_eq!(asked.told().len() > 1, goes_on, "{changes} {age_ms}");
        asked.answer("1");
        assert_eq!(talk.final_text("A"), "1");
        let after = entry(&server.home, TREE);
        assert_eq!(after["sessionId"] == before["sessionId"], goes_on, "{changes} {age_ms}");
        assert_eq!(after["label"], "tree", "what was set stays");
        let old = server.home.state().join("agents/main/sessions/9fd19fbe-b7cf-4384-9cd3-b1828b98f64c.jsonl");
        assert!(old.is_file());
    }
    let model = ModelServer::start();
    let server = of_the_reference(&model, &json!({}), 99 * 24 * 60 * MINUTE);
    let mut talk = Talk::new(&server);
    talk.ask("A", "agent", &json!({ "sessionKey": TREE, "message": "hello", "idempotencyKey": "A" }));
    let asked = model.asked();
    assert_eq!(asked.told().len(), 7);
    asked.answer("1");
    assert_eq!(talk.outcome("A")["ok"], true);
}

/// A conversation that a model cannot read any more is folded, and the question asked again.
#[test]
fn folded_when_the_model_says_so() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    for run in ["A", "B"] {
        talk.say(run, &format!("question {run}"));
        model.asked().answer(&format!("answer {run}"));
        talk.final_text(run);
    }
    talk.order("C", "question C");
    model.asked().refuse(400, "", "this model's maximum context length is 4096 tokens");
    let asked = model.asked();
    assert!(asked.body.get("tools").is_none(), "a summary needs none");
    let told = asked.told();
    assert!(told.len() == 1 && told[0].contains("question A") && told[0].contains("answer A"), "{told:?}");
    asked.answer("They spoke of A.");
    let asked = model.asked();
    let told = asked.told();
    assert!(told[0].contains("They spoke of A.") && !told.join("").contains("question A"), "{told:?}");
    assert_eq!(asked.words(), "question C");
    asked.answer("answer C");
    assert_eq!(talk.final_text("C"), "answer C");
    let phases: Vec<Value> = talk
        .log
        .iter()
        .filter(|it| it["payload"]["stream"] == "compaction")
        .map(|it| it["payload"]["data"].clone())
        .collect();
    assert_eq!(phases, [json!({ "phase": "start" }), json!({ "phase": "end", "willRetry": true })]);
    let lines = transcript(&server.home, MAIN);
    let fold = lines.iter().find(|it| it["type"] == "compaction").unwrap();
    assert_eq!(fold["summary"], "They spoke of A.");
    // It stays folded, and nothing is gone from the file.
    talk.say("D", "question D");
    let asked = model.asked();
    assert!(asked.told()[0].contains("They spoke of A."));
    asked.answer("answer D");
    talk.final_text("D");
    assert_eq!(said(&server.home, MAIN)[0], "user: question A");
    // A summary that cannot be made is no reason to lose the answer to the person.
    talk.say("E", "question E");
    model.asked().refuse(400, "", "maximum context length");
    model.asked().refuse(400, "", "no summary today");
    let event = talk.chat("E", "error");
    assert!(event["errorMessage"].as_str().unwrap().contains("/compact"), "{event}");
    talk.still_works(&model, "F");
}

/// Full by the model's own count, before it says so.
#[test]
fn folded_before_it_is_too_long() {
    let (model, server) = pair(&json!({ "agents": { "defaults": { "contextTokens": 20_000 } } }));
    let mut talk = Talk::new(&server);
    // Of 20,000 a quarter is kept free; by our reckoning these come to some 10,000.
    for (run, words, tokens) in [("A", 4_800, 7_000), ("B", 2_400, 14_000), ("C", 10, 15_500)] {
        talk.say(run, &format!("question {run}"));
        let mut asked = model.asked();
        assert!(asked.told()[0].contains("question A"), "not folded yet");
        asked.say(&format!("answer {run} {}", "word ".repeat(words)));
        asked.end_with("stop", &usage(tokens, 10));
        talk.final_text(run);
    }
    talk.say("D", "question D");
    let asked = model.asked();
    let told = asked.told();
    assert!(told[0].contains("<conversation>") && told[0].contains("answer A"), "{told:?}");
    assert!(!told[0].contains("answer B"), "the newest part stays as it is");
    asked.answer("They spoke of A.");
    let asked = model.asked();
    let told = asked.told();
    assert!(told[0].contains("They spoke of A.") && told[0].ends_with("question B"), "{told:?}");
    assert_eq!((told.len(), asked.words().as_str()), (5, "question D"));
    asked.answer("answer D");
    assert_eq!(talk.final_text("D"), "answer D");
    // What it counted before that is no reason to do it again.
    talk.still_works(&model, "E");
}

/// The smallest GIF there is.
const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

#[test]
fn pictures() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    for (run, method, attachment) in [
        // What the bytes are counts, not what they are called.
        ("A", "chat.send", json!({ "type": "image", "mimeType": "image/png", "content": GIF })),
        ("B", "agent", json!({ "content": format!("data:image/gif;base64,{GIF}") })),
    ] {
        let params = json!({ "sessionKey": MAIN, "message": "look", "attachments": [attachment], "idempotencyKey": run });
        assert_eq!(talk.call(method, &params)["ok"], true);
        let asked = model.asked();
        let last = asked.body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
        assert_eq!(last[1]["image_url"]["url"], format!("data:image/gif;base64,{GIF}"), "{method}");
        asked.answer("a dot");
        talk.final_text(run);
    }
    // Without words, too; and on every later turn.
    let params = json!({ "sessionKey": MAIN, "message": "", "attachments": [{ "content": GIF }], "idempotencyKey": "C" });
    assert_eq!(talk.call("chat.send", &params)["ok"], true);
    let asked = model.asked();
    assert_eq!(asked.told().iter().filter(|it| it.contains("<image_url>")).count(), 3, "{:?}", asked.told());
    asked.answer("another");
    talk.final_text("C");
    let blind = json!({ "models": { "providers": { "mock": { "models": [{ "id": "mock-1", "name": "m", "input": ["text"] }] } } } });
    let (model, server) = pair(&blind);
    let mut talk = Talk::new(&server);
    assert_eq!(talk.call("chat.send", &params)["ok"], true);
    let asked = model.asked();
    assert!(
        asked.told()[0].contains("[an image (image/gif) that this model cannot see]"),
        "{:?}",
        asked.told()
    );
    asked.answer("?");
    talk.final_text("C");
}

#[test]
fn what_is_put_around_the_words() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    let params = json!({ "sessionKey": MAIN, "message": "a", "extraSystemPrompt": "Speak like a pirate.", "idempotencyKey": "A" });
    talk.ask("A", "agent", &params);
    let mut asked = model.asked();
    assert!(asked.system().contains("Speak like a pirate."));
    // Words that bring their time keep it.
    asked.say("half");
    talk.chat("A", "delta");
    asked.end();
    talk.outcome("A");
    assert_eq!(talk.call("system-event", &json!({ "text": "the door is open" }))["ok"], true);
    talk.say("B", "[Mon 2026-11-23 04:44 UTC] b");
    let mut asked = model.asked();
    assert!(!asked.system().contains("pirate"), "for that run alone");
    let last = asked.told().pop().unwrap();
    assert!(
        last.starts_with("user: System: [")
            && last.contains("] the door is open\n\n[Mon 2026-11-23 04:44 UTC] b"),
        "{last}"
    );
    asked.say("half of the");
    talk.chat("B", "delta");
    talk.call("chat.abort", &json!({ "sessionKey": MAIN }));
    asked.until_closed();
    talk.say("C", "c");
    let asked = model.asked();
    let told = asked.told();
    assert_eq!(told[3], "assistant: half of the");
    assert!(
        told[4].starts_with("user: (The answer before this message was cut off.)\n\n[")
            && told[4].ends_with(" c"),
        "{told:?}"
    );
    asked.answer("3");
    talk.final_text("C");
    talk.say("D", "d");
    let asked = model.asked();
    assert!(!asked.told().pop().unwrap().contains("cut off"), "said once");
    asked.answer("4");
    talk.final_text("D");
    // People are not shown what was put around their words.
    let history = talk.call("chat.history", &json!({ "sessionKey": MAIN }))["payload"]["messages"].clone();
    let texts: Vec<&str> =
        history.as_array().unwrap().iter().map(|it| it["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 8, "{texts:?}");
    assert_eq!((texts[0], texts[6]), ("a", "d"));
}

#[test]
fn two_agents() {
    let model = ModelServer::start();
    let mut config = with_model(&model.base_url(), &json!({}));
    config["agents"]["list"] = json!([
        { "id": "main", "default": true },
        { "id": "ops", "name": "Ops", "workspace": "~/ops", "model": "mock/mock-2" },
    ]);
    let home = Home::new(&config);
    home.write("workspace/AGENTS.md", "Main speaks.");
    home.write("../ops/AGENTS.md", "Ops speaks.");
    let server = home.start(&[]);
    let mut talk = Talk::new(&server);
    for (agent, model_id, says, not) in
        [("main", "mock-1", "Main speaks.", "Ops speaks."), ("ops", "mock-2", "Ops speaks.", "Main speaks.")]
    {
        talk.ask(agent, "agent", &json!({ "agentId": agent, "message": "hi", "idempotencyKey": agent }));
        let mut asked = model.asked();
        assert_eq!(asked.model(), model_id);
        assert!(asked.system().contains(says) && !asked.system().contains(not), "{agent}");
        asked.call("c", "exec", &json!({ "command": "pwd" }));
        asked.end_with("tool_calls", &usage(1, 1));
        let asked = model.asked();
        let place = if agent == "ops" { "/ops" } else { "/.openclaw/workspace" };
        assert!(asked.told()[2].ends_with(place), "{:?}", asked.told());
        asked.answer(agent);
        assert_eq!(talk.outcome(agent)["payload"]["result"]["payloads"][0]["text"], agent);
        let key = format!("agent:{agent}:main");
        assert_eq!(talk.chat(agent, "final")["sessionKey"], key);
        let index = server.home.state().join(format!("agents/{agent}/sessions/sessions.json"));
        let index: Value = serde_json::from_str(&std::fs::read_to_string(index).unwrap()).unwrap();
        assert_eq!(index.as_object().unwrap().len(), 1);
        assert!(index[&key]["sessionId"].is_string());
    }
}

/// Which session an `agent` call means, and what it is told when it means none.
#[test]
fn which_session_is_meant() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    // (params, the session key of its events, the key in the store)
    let mut known = String::new();
    let cases = [
        (json!({ "to": "+15551234" }), json!(MAIN), MAIN),
        (json!({ "agentId": "main" }), json!(MAIN), MAIN),
        (json!({ "sessionKey": "main" }), json!("main"), MAIN),
        (json!({ "sessionKey": "foo", "label": "L" }), json!("foo"), "agent:main:foo"),
        (json!({ "sessionId": "no-such-session" }), Value::Null, "agent:main:no-such-session"),
        (json!({ "sessionId": "KNOWN" }), json!(MAIN), MAIN),
        (json!({ "sessionId": "ignored", "sessionKey": "foo" }), json!("foo"), "agent:main:foo"),
    ];
    for (n, (mut params, event_key, key)) in cases.into_iter().enumerate() {
        let run = format!("R{n}");
        params["message"] = "hi".into();
        params["idempotencyKey"] = run.as_str().into();
        if params["sessionId"] == "KNOWN" {
            params["sessionId"] = known.as_str().into();
        }
        talk.ask(&run, "agent", &params);
        model.asked().answer("ok");
        let outcome = talk.outcome(&run);
        assert_eq!(outcome["ok"], true, "{params}: {outcome}");
        assert_eq!(
            talk.phase(&run, "end").get("sessionKey").cloned().unwrap_or_default(),
            event_key,
            "{params}"
        );
        let chats = talk.count(|it| it["event"] == "chat" && it["payload"]["runId"] == *run);
        assert_eq!(chats > 0, !event_key.is_null(), "{params}");
        let id = outcome["payload"]["result"]["meta"]["agentMeta"]["sessionId"].as_str().unwrap().to_owned();
        assert_eq!(entry(&server.home, key)["sessionId"], id, "{params}");
        if event_key.is_null() {
            assert_eq!(params["sessionId"], id);
        }
        if n == 0 {
            known = id;
        }
    }
    assert_eq!(entry(&server.home, "agent:main:foo")["label"], "L");
    let refused = [
        (json!({ "sessionKey": MAIN, "message": "   " }), "Message (--message) is required"),
        (json!({ "message": "hi" }), "Pass --to <E.164>, --session-id, or --agent to choose a session"),
        (
            json!({ "sessionKey": MAIN, "message": "hi", "thinking": "a lot" }),
            "Invalid thinking level. Use one of: off, minimal, low, medium, high.",
        ),
    ];
    for (n, (mut params, text)) in refused.into_iter().enumerate() {
        let run = format!("X{n}");
        params["idempotencyKey"] = run.as_str().into();
        talk.ask(&run, "agent", &params);
        let outcome = talk.outcome(&run);
        assert_eq!(talk.answer(&run)["payload"]["status"], "accepted");
        let error = json!({ "code": "UNAVAILABLE", "message": format!("Error: {text}") });
        assert_eq!(outcome["error"], error);
        assert_eq!(
            outcome["payload"],
            json!({ "runId": run, "status": "error", "summary": error["message"] })
        );
        talk.settle();
        assert_eq!(talk.count(|it| it["payload"]["runId"] == *run && it["type"] == "event"), 0, "{params}");
        // Once more: what came of it, at once.
        talk.ask(&format!("{run}-again"), "agent", &params);
        assert_eq!(talk.answer(&format!("{run}-again"))["error"], error);
    }
    for bad in ["../up", ".hidden", "a/b"] {
        let params = json!({ "sessionId": bad, "message": "hi", "idempotencyKey": bad });
        assert_eq!(talk.call("agent", &params)["error"]["code"], "INVALID_REQUEST", "{bad}");
    }
    // A channel that does not run here: the answer is there, and that it could not be delivered.
    let params = json!({ "sessionKey": MAIN, "message": "hi", "deliver": true, "channel": "telegram", "idempotencyKey": "T" });
    talk.ask("T", "agent", &params);
    model.asked().answer("ok");
    assert_eq!(talk.outcome("T")["error"]["message"], "Error: Unknown channel: telegram");
    assert_eq!(talk.final_text("T"), "ok");
    let blocked = talk.call("sessions.patch", &json!({ "key": MAIN, "sendPolicy": "deny" }));
    assert_eq!(blocked["ok"], true);
    for method in ["agent", "chat.send"] {
        let answer =
            talk.call(method, &json!({ "sessionKey": MAIN, "message": "hi", "idempotencyKey": "Z" }));
        let error = json!({ "code": "INVALID_REQUEST", "message": "send blocked by session policy" });
        assert_eq!(answer["error"], error);
    }
    let _ = talk.call("sessions.patch", &json!({ "key": MAIN, "sendPolicy": null }));
    talk.still_works(&model, "Z");
}
