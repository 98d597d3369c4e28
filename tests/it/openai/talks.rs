//! What a model is told, what a client hears of it, and what ends when the client does.
use super::line::{Line, ask};
use super::{CHAT, RESPONSES, pair};
use crate::model_server::usage;
use crate::runs::talk::Talk;
use serde_json::{Value, json};

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn tool() -> Value {
    json!({ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } })
}

/// A connection on which this was asked, and is not answered yet.
fn asking(server: &crate::harness::Server, path: &str, body: &Value) -> Line {
    let mut line = Line::open(server);
    line.post(path, "", &body.to_string());
    line
}

#[test]
fn history_stands_in_place_of_the_sessions_memory() {
    let (model, server) = pair(&json!({}));
    let told = |messages: Value| {
        let mut line = asking(&server, CHAT, &json!({ "user": "Ada", "messages": messages }));
        let asked = model.asked();
        let told = asked.told();
        asked.answer("yes");
        assert_eq!(line.answer().status, 200);
        told
    };
    assert_eq!(told(json!([user("one")])), ["user: one"]);
    // The session remembers.
    assert_eq!(told(json!([user("two")])), ["user: one", "assistant: yes", "user: two"]);
    let mine = json!([user("a"), { "role": "assistant", "content": "b" }, { "role": "system", "content": "Be short." }, user("c")]);
    assert_eq!(told(mine), ["user: a", "assistant: b", "user: c"]);
    let sessions = Talk::new(&server).call("sessions.list", &json!({}));
    let keys: Vec<&str> = sessions["payload"]["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["key"].as_str())
        .collect();
    assert_eq!(keys, ["agent:main:openai-user:ada"]);
}

#[test]
fn what_a_request_asks_of_the_model() {
    let (model, server) =
        pair(&json!({ "agents": { "list": [{ "id": "main" }, { "id": "beta", "name": "Beta" }] } }));
    let mut line = asking(
        &server,
        CHAT,
        &json!({
            "model": "openclaw/beta", "max_tokens": 5, "temperature": 0.25, "tools": [tool()],
            "tool_choice": { "type": "function", "function": { "name": "look" } },
            "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "title": "Answer" } } },
            "messages": [{ "role": "system", "content": "Be short." }, user("hi")],
        }),
    );
    let asked = model.asked();
    assert!(
        ["You are Beta", "Be short.", "{\"title\":\"Answer\"}"].iter().all(|it| asked.system().contains(it)),
        "{}",
        asked.system()
    );
    let names: Vec<&Value> =
        asked.body["tools"].as_array().unwrap().iter().map(|it| &it["function"]["name"]).collect();
    assert_eq!(
        (names, &asked.body["tool_choice"]["function"]["name"]),
        (vec![&json!("look")], &json!("look"))
    );
    assert_eq!((&asked.body["max_tokens"], &asked.body["temperature"]), (&json!(5), &json!(0.25)));
    asked.end_with("length", &usage(3, 5));
    let it = line.answer().json();
    assert_eq!(
        (&it["choices"][0]["finish_reason"], &it["usage"]["completion_tokens"]),
        (&json!("length"), &json!(5))
    );
}

/// The agent's own tool is used here; the client's ends the run, and its answer goes on with it.
#[test]
fn tools_of_the_agent_and_of_the_client() {
    let (model, server) = pair(&json!({}));
    let body = json!({ "input": "look", "model": "openclaw", "tools": [tool()], "stream": true });
    let mut line = asking(&server, RESPONSES, &body);
    let mut asked = model.asked();
    asked.say("First ls.");
    asked.call("c1", "exec", &json!({ "command": "echo from-here" }));
    asked.end_with("tool_calls", &usage(10, 1));
    let mut asked = model.asked();
    assert!(asked.told().last().unwrap().contains("from-here"), "{:?}", asked.told());
    asked.say("Now you.");
    asked.call("c2", "look", &json!({ "at": "sky" }));
    asked.end_with("tool_calls", &usage(20, 2));
    let events = line.answer().events();
    let whole = &events.last().unwrap()["response"];
    assert_eq!(whole["output"][0]["content"][0]["text"], "First ls.\n\nNow you.");
    assert_eq!((&whole["output"][1]["call_id"], &whole["output"][1]["name"]), (&json!("c2"), &json!("look")));
    assert_eq!(
        (&whole["status"], &whole["usage"]),
        (&json!("incomplete"), &json!({ "input_tokens": 30, "output_tokens": 3, "total_tokens": 33 }))
    );
    let kinds: Vec<&str> = events.iter().filter_map(|it| it["type"].as_str()).collect();
    assert_eq!(
        &kinds[kinds.len() - 5..],
        [
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    assert!(events.iter().enumerate().all(|(n, it)| it["sequence_number"] == n));

    // By the id alone: the session knows what was called.
    let answer = json!([{ "type": "function_call_output", "call_id": "c2", "output": "it is blue" }]);
    let next =
        |input: &Value| json!({ "model": "openclaw", "previous_response_id": whole["id"], "input": input });
    let mut line = asking(&server, RESPONSES, &next(&answer));
    let asked = model.asked();
    assert_eq!(asked.told().last().unwrap(), "tool: it is blue", "{:?}", asked.told());
    assert_eq!(asked.told().len(), 5, "{:?}", asked.told());
    asked.answer("Blue.");
    let second = line.answer().json();
    assert_eq!(second["output"][0]["content"][0]["text"], "Blue.");
    // Another branch of the same conversation: what came of the first one is not told.
    let mut line = asking(&server, RESPONSES, &next(&json!("never mind")));
    let asked = model.asked();
    let told = asked.told().join("\n");
    assert!(
        told.ends_with("user: never mind") && told.contains("cut off") && !told.contains("blue"),
        "{told}"
    );
    asked.answer("Well.");
    assert_eq!(line.answer().status, 200);
    // And on from the first one.
    let mut line = asking(
        &server,
        RESPONSES,
        &json!({ "model": "openclaw", "previous_response_id": second["id"], "input": "why?" }),
    );
    let asked = model.asked();
    let told = asked.told().join("\n");
    assert!(
        told.ends_with("tool: it is blue\nassistant: Blue.\nuser: why?") && !told.contains("never mind"),
        "{told}"
    );
    asked.answer("Air.");
    assert_eq!(line.answer().status, 200);
}

/// The same without any memory here: Chat Completions tell it all again.
#[test]
fn tool_results_told_by_the_client() {
    let (model, server) = pair(&json!({}));
    let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "look", "arguments": "{\"at\":\"sky\"}" } });
    let messages = json!([
        user("look"), { "role": "assistant", "content": null, "tool_calls": [call("a"), call("b")] },
        { "role": "tool", "tool_call_id": "a", "content": "blue" }, { "role": "tool", "tool_call_id": "b", "content": "green" },
    ]);
    let mut line = asking(&server, CHAT, &json!({ "messages": messages, "tools": [tool()] }));
    let asked = model.asked();
    let sent = asked.body["messages"].as_array().unwrap();
    assert_eq!(sent[2]["tool_calls"].as_array().unwrap().len(), 2, "{sent:?}");
    assert_eq!(asked.told()[2..], ["tool: blue", "tool: green"]);
    asked.answer("Both.");
    assert_eq!(line.answer().json()["choices"][0]["message"]["content"], "Both.");
}

#[test]
fn pictures_reach_the_model() {
    let (model, server) = pair(&json!({}));
    let png =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let url = format!("data:image/png;base64,{png}");
    let content = json!([{ "type": "text", "text": "what is it" }, { "type": "image_url", "image_url": { "url": url } }]);
    let mut line = asking(&server, CHAT, &json!({ "messages": [{ "role": "user", "content": content }] }));
    let asked = model.asked();
    assert_eq!(asked.told(), ["user: what is it | <image_url>"]);
    asked.answer("A dot.");
    assert_eq!(line.answer().status, 200);
    let source = json!({ "type": "base64", "media_type": "image/png", "data": png });
    let file = json!({ "type": "base64", "media_type": "text/csv", "filename": "a.csv", "data": "YSxi" });
    let parts =
        json!([{ "type": "input_image", "source": source }, { "type": "input_file", "source": file }]);
    let input = json!([{ "type": "message", "role": "user", "content": parts }]);
    let mut line = asking(&server, RESPONSES, &json!({ "model": "openclaw", "input": input }));
    let asked = model.asked();
    assert!(asked.system().contains("<file name=\"a.csv\">\na,b\n</file>"));
    assert_eq!(asked.told().len(), 1);
    assert!(asked.told()[0].ends_with("<image_url>"), "{:?}", asked.told());
    asked.answer("A dot.");
    assert_eq!(line.answer().status, 200);
}

/// What a URL names is fetched only where everybody could; the request is refused before anything of it is kept.
#[test]
fn urls_into_the_house_are_refused() {
    let (model, server) = pair(&json!({}));
    for url in [
        "http://127.0.0.1/a.png",
        "http://localhost:1/a.png",
        "http://[::1]/a.png",
        "http://169.254.169.254/x",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
    ] {
        for stream in [false, true] {
            let content = json!([{ "type": "image_url", "image_url": { "url": url } }]);
            let it = ask(
                &server,
                CHAT,
                "",
                &json!({ "stream": stream, "messages": [{ "role": "user", "content": content }] }),
            );
            assert_eq!(it.status, 400, "{url}: {it:?}");
            assert!(it.told().starts_with("cannot fetch the URL: "), "{url}: {it:?}");
            let part = json!({ "type": "input_file", "source": { "type": "url", "url": url } });
            let input = json!([{ "type": "message", "role": "user", "content": [part] }]);
            let it = ask(&server, RESPONSES, "", &json!({ "model": "m", "stream": stream, "input": input }));
            assert_eq!(
                (it.status, it.json()["error"]["type"].as_str()),
                (400, Some("invalid_request_error")),
                "{url}: {it:?}"
            );
        }
    }
    assert!(model.asked_already().is_none());
    let sessions = Talk::new(&server).call("sessions.list", &json!({}));
    assert_eq!(sessions["payload"]["sessions"], json!([]));
}

/// What fails before the first word has a status of its own; behind it, an event says so.
#[test]
fn failures_before_and_behind_the_first_word() {
    let (model, server) = pair(&json!({}));
    for stream in [false, true] {
        let mut line = asking(&server, CHAT, &json!({ "stream": stream, "messages": [user("hi")] }));
        model.asked().refuse(400, "", "no such thing");
        let it = line.answer();
        assert_eq!(
            (it.status, it.json()["error"]["type"].as_str()),
            (400, Some("invalid_request_error")),
            "{it:?}"
        );
        assert!(it.told().contains("no such thing"));
        let mut line = asking(&server, CHAT, &json!({ "stream": stream, "messages": [user("hi")] }));
        model.asked().refuse(401, "", "who are you");
        let it = line.answer();
        assert_eq!((it.status, it.header("x-should-retry")), (500, Some("false")), "{it:?}");
        assert_eq!(it.json()["error"]["type"], "api_error");
    }
    let mut line = asking(&server, CHAT, &json!({ "stream": true, "messages": [user("hi")] }));
    let mut asked = model.asked();
    asked.say("Well, ");
    let begun = line.head();
    assert_eq!((begun.status, begun.header("cache-control")), (200, Some("no-cache")));
    drop(asked);
    let mut rest = String::new();
    while let Some(it) = line.chunk() {
        rest.push_str(&it);
    }
    assert!(rest.contains("\"type\":\"api_error\"") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert!(!rest.contains("finish_reason\":\"stop"));

    let mut line = asking(&server, RESPONSES, &json!({ "model": "m", "stream": true, "input": "hi" }));
    model.asked().refuse(401, "", "who are you");
    let events = line.answer().events();
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["status"], &last["response"]["error"]["code"]),
        (&json!("response.failed"), &json!("failed"), &json!("api_error"))
    );
    let mut line = asking(&server, RESPONSES, &json!({ "model": "m", "input": "hi" }));
    model.asked().refuse(401, "", "who are you");
    let it = line.answer();
    assert_eq!((it.status, &it.json()["status"]), (500, &json!("failed")), "{it:?}");
}

/// A client that hangs up stops its run, in a stream and before a whole answer.
#[test]
fn who_hangs_up_wants_no_more() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    for (n, stream) in [false, true].into_iter().enumerate() {
        let line =
            asking(&server, CHAT, &json!({ "user": "bob", "stream": stream, "messages": [user("hi")] }));
        let mut asked = model.asked();
        asked.say("Well, ");
        line.hang_up();
        asked.until_closed();
        let aborted = talk.place(n + 1, |it| it["event"] == "chat" && it["payload"]["state"] == "aborted");
        assert_eq!(talk.log[aborted]["payload"]["stopReason"], "disconnect");
    }
    // And one that waits for its turn is not even begun.
    let mut line = asking(&server, CHAT, &json!({ "user": "bob", "messages": [user("first")] }));
    let asked = model.asked();
    asking(&server, CHAT, &json!({ "user": "bob", "messages": [user("second")] })).hang_up();
    talk.place(3, |it| it["event"] == "chat" && it["payload"]["state"] == "aborted");
    asked.answer("yes");
    assert_eq!(line.answer().status, 200);
    let last = ask_and_answer(&server, &model, "third");
    assert!(last.iter().all(|it| !it.contains("second")), "{last:?}");
}

fn ask_and_answer(
    server: &crate::harness::Server,
    model: &crate::model_server::ModelServer,
    text: &str,
) -> Vec<String> {
    let mut line = asking(server, CHAT, &json!({ "user": "bob", "messages": [user(text)] }));
    let asked = model.asked();
    let told = asked.told();
    asked.answer("yes");
    assert_eq!(line.answer().status, 200);
    told
}

/// The session that a header names, which other clients see at work.
#[test]
fn a_session_by_its_key() {
    let (model, server) = pair(&json!({}));
    let mut talk = Talk::new(&server);
    let mut line = Line::open(&server);
    line.post(CHAT, "X-OpenClaw-Session-Key: main\r\n", &json!({ "messages": [user("hi")] }).to_string());
    model.asked().answer("Hello");
    let id = line.answer().json()["id"].as_str().unwrap().to_owned();
    assert_eq!(talk.final_text(&id), "Hello");
    let history = talk.call("chat.history", &json!({ "sessionKey": "main" }));
    assert_eq!(history["payload"]["messages"][0]["content"][0]["text"], "hi", "{history}");
    assert_eq!(talk.call("agent.wait", &json!({ "runId": id }))["payload"]["status"], "ok");
}
