//! `gatewayd agent` against a gateway that answers what the test says (both phases, every kind of end, Ctrl-C), and against ours;
//! `gatewayd sessions` with and without a gateway.
use crate::harness::{DEADLINE, Home, Server, TOKEN, free_port};
use crate::socket::Socket;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::{Child, Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use tungstenite::Message;

/// One connection: answers `connect`, and every later request with the frames that `answer` makes of it. `seen` gets the
/// requests; the thread ends with whether the client said goodbye.
fn gateway(answer: fn(&Value) -> Vec<Value>) -> (u16, Receiver<Value>, JoinHandle<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (to, seen) = channel();
    let thread = std::thread::spawn(move || {
        let stream = Socket::of(listener.accept().unwrap().0).unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        let challenge = json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": "n" } });
        socket.send(Message::text(challenge.to_string())).unwrap();
        loop {
            match socket.read() {
                Ok(Message::Close(_)) => return true,
                Ok(message) => {
                    let frame: Value = serde_json::from_slice(&message.into_data()).unwrap();
                    let hello =
                        vec![res(&frame, json!({ "payload": { "type": "hello-ok", "protocol": 3 } }))];
                    let frames = if frame["method"] == "connect" { hello } else { answer(&frame) };
                    for it in frames {
                        socket.send(Message::text(it.to_string())).unwrap();
                    }
                    to.send(frame).unwrap();
                }
                Err(_) => return false,
            }
        }
    });
    (port, seen, thread)
}

/// A response; `ok` unless it holds an error.
fn res(frame: &Value, with: Value) -> Value {
    let mut out = json!({ "type": "res", "id": frame["id"], "ok": with.get("error").is_none() });
    out.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    out
}

fn accepted(frame: &Value) -> Vec<Value> {
    let event = json!({ "type": "event", "event": "agent", "payload": { "runId": "r" }, "seq": 1 });
    vec![res(frame, json!({ "payload": { "runId": "r", "status": "accepted" } })), event]
}

fn command(home: &Home, port: u16, words: &[&str]) -> Command {
    let mut command = home.command(&[&["agent"], words].concat());
    command.env("OPENCLAW_GATEWAY_PORT", port.to_string()).env("OPENCLAW_GATEWAY_TOKEN", TOKEN);
    command
}

/// Runs to the end; what was asked for behind `connect`, and what came of it.
fn play(answer: fn(&Value) -> Vec<Value>, words: &[&str]) -> (Vec<Value>, Option<i32>, String, String) {
    let (port, seen, thread) = gateway(answer);
    let Output { status, stdout, stderr } = command(&Home::empty(), port, words).output().unwrap();
    assert!(thread.join().unwrap(), "the client said no goodbye");
    let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
    (seen.iter().skip(1).collect(), status.code(), text(stdout), text(stderr))
}

#[test]
fn the_second_answer_is_the_one() {
    fn answer(frame: &Value) -> Vec<Value> {
        let result = json!({ "payloads": [{ "text": "Hello.", "mediaUrl": null }], "meta": {} });
        let last = json!({ "runId": "r", "status": "ok", "summary": "completed", "result": result });
        [accepted(frame), vec![res(frame, json!({ "payload": last }))]].concat()
    }
    let (seen, status, out, err) = play(answer, &["-m", "hi", "--agent", "main"]);
    assert_eq!((status, &*out, &*err), (Some(0), "Hello.\n", ""));
    let params = seen[0]["params"].as_object().unwrap();
    assert_eq!((seen.len(), &seen[0]["method"], &params["message"]), (1, &json!("agent"), &json!("hi")));
    assert_eq!(params["idempotencyKey"].as_str().unwrap().len(), 36);
    let (_, status, out, _) = play(answer, &["-m", "hi", "--agent", "main", "--json"]);
    assert_eq!(status, Some(0));
    assert!(out.starts_with("{\n  \"runId\": \"r\",\n") && !out.contains("accepted"), "{out}");
}

#[test]
fn a_session_id_is_looked_up_and_a_level_set_before_the_run() {
    fn answer(frame: &Value) -> Vec<Value> {
        let payload = match frame["method"].as_str().unwrap() {
            "sessions.resolve" => json!({ "ok": true, "key": "agent:main:x" }),
            "sessions.patch" => json!({ "ok": true }),
            _ => json!({ "status": "ok", "summary": "done" }),
        };
        vec![res(frame, json!({ "payload": payload }))]
    }
    let (seen, status, out, _) = play(answer, &["-m", "hi", "--session-id", "s", "--verbose", "on"]);
    assert_eq!((status, &*out), (Some(0), "done\n"));
    let said: Vec<String> = seen.iter().map(|it| format!("{} {}", it["method"], it["params"])).collect();
    assert_eq!(said[0], r#""sessions.resolve" {"sessionId":"s"}"#);
    assert_eq!(said[1], r#""sessions.patch" {"key":"agent:main:x","verboseLevel":"on"}"#);
    assert!(said[2].contains(r#""sessionId":"s","sessionKey":"agent:main:x""#), "{}", said[2]);
}

#[test]
fn failures_are_told_apart() {
    const WORDS: [&str; 5] = ["-m", "hi", "--agent", "main", "--json"];
    let (_, status, out, err) = play(
        |it| {
            let error = json!({ "code": "UNAVAILABLE", "message": "no key" });
            let payload = json!({ "runId": "r", "status": "error", "summary": "no key" });
            [accepted(it), vec![res(it, json!({ "payload": payload, "error": error }))]].concat()
        },
        &WORDS,
    );
    assert_eq!((status, &*err), (Some(1), "The run failed: no key\n"));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["status"], "error");
    let (_, status, out, err) = play(
        |it| vec![res(it, json!({ "error": { "code": "INVALID_REQUEST", "message": "unknown agent" } }))],
        &WORDS,
    );
    assert_eq!((status, &*out, &*err), (Some(1), "", "The agent did not run: unknown agent\n"));
    let (_, status, out, err) = play(
        |it| vec![res(it, json!({ "payload": { "status": "timeout", "summary": "too long" } }))],
        &WORDS[..4],
    );
    assert_eq!((status, &*out, &*err), (Some(1), "too long\n", "The run failed: timeout.\n"));
}

#[test]
fn ctrl_c_says_goodbye_and_ends_with_130() {
    let (port, seen, thread) = gateway(accepted);
    let home = Home::empty();
    let child: Child = command(&home, port, &["-m", "hi", "--agent", "main"]).spawn().unwrap();
    let asked = |it: &Value| it["method"] == "agent";
    while !asked(&seen.recv_timeout(DEADLINE).unwrap()) {}
    gatewayd::base::sys::kill(child.id() as i32, libc::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.starts_with(b"Interrupted."), "{output:?}");
    assert!(thread.join().unwrap(), "the client said no goodbye");
}

#[test]
fn without_a_gateway_nothing_runs() {
    let free = free_port();
    let output = command(&Home::empty(), free, &["-m", "hi", "--agent", "main"]).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
    assert!(
        err.contains("The message was not sent") && err.contains("start it with: gatewayd gateway"),
        "{err}"
    );
}

#[test]
fn a_first_conversation_needs_no_key() {
    let home = Home::empty();
    let command = home.command(&["--dev", "gateway", "--port", "0"]);
    let mut server = Server::spawn(home, command);
    let run = |server: &Server, words: &[&str]| {
        let mut command = server.home.command(&[&["--dev"], words].concat());
        let output = command.env("OPENCLAW_GATEWAY_PORT", server.port.to_string()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&server, &["agent", "--message", "hello", "--agent", "main"]);
    assert!(said.ends_with("You said: hello\n"), "{said}");
    let answer = run(&server, &["agent", "--message", "again", "--to", "+15555550123", "--json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (&answer["status"], &answer["result"]["payloads"][0]["text"]),
        (&json!("ok"), &json!("You said: again"))
    );
    let sessions = |server: &Server| -> Vec<(Value, Value)> {
        let all: Value = serde_json::from_str(&run(server, &["sessions", "--json"])).unwrap();
        let rows = all["sessions"].as_array().unwrap().iter();
        rows.map(|it| (it["key"].clone(), it["sessionId"].clone())).collect()
    };
    let told = sessions(&server);
    assert_eq!(
        told,
        [(json!("agent:main:main"), answer["result"]["meta"]["agentMeta"]["sessionId"].clone())]
    );
    server.signal(libc::SIGTERM);
    assert!(server.wait().0.success());
    assert_eq!(sessions(&server), told, "the files say the same as the gateway did");
}
