//! `POST /tools/invoke` through the whole gateway.
use crate::harness::{DEADLINE, Home, Server, TOKEN, config};
use crate::runs::talk::{MAIN, Talk, pair};
use crate::web::{Got, ask, send};
use serde_json::{Value, json};
use std::time::Instant;

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

fn invoke(server: &Server, body: &Value) -> Got {
    ask(server.addr(), "POST", "/tools/invoke", &[("Authorization", &bearer())], body.to_string().as_bytes())
}

fn with(tools: &Value, changes: &Value) -> Value {
    let mut it = config();
    it["gateway"]["tools"] = tools.clone();
    crate::client::merge(&mut it, changes);
    it
}

fn workspace(server: &Server) -> std::path::PathBuf {
    server.home.state().join("workspace")
}

/// The text of a result.
fn text(got: &Got) -> String {
    assert_eq!(got.status, 200, "{got:?}");
    got.json()["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn what_may_be_called() {
    let open = Server::start(&with(&json!({ "allow": ["exec", "group:fs", "cron"] }), &json!({})));
    let plain = Server::start(&with(&json!({}), &json!({})));
    for tool in [
        "exec",
        "bash",
        "write",
        "edit",
        "apply_patch",
        "sessions_spawn",
        "sessions_send",
        "gateway",
        "whatsapp_login",
        "cron",
        "nodes",
        "zz",
    ] {
        let got = invoke(
            &plain,
            &json!({ "tool": tool, "args": { "command": "touch x", "path": "x", "content": "" } }),
        );
        let error = &got.json()["error"];
        assert_eq!((got.status, &error["type"]), (404, &json!("not_found")), "{got:?}");
        assert_eq!(error["message"], format!("Tool not available: {tool}"));
        assert_eq!(error["hint"].is_string(), tool != "zz", "{got:?}");
    }
    assert!(!workspace(&plain).join("x").exists());
    let write = json!({ "tool": "write", "args": { "path": "a.txt", "content": "hello" } });
    assert_eq!(invoke(&open, &write).status, 200);
    assert_eq!(std::fs::read_to_string(workspace(&open).join("a.txt")).unwrap(), "hello");
    assert!(text(&invoke(&open, &json!({ "tool": "read", "args": { "path": "a.txt" } }))).contains("hello"));
    assert_eq!(
        text(&invoke(&open, &json!({ "tool": "bash", "args": { "command": "cat a.txt" } }))).trim(),
        "hello"
    );
    // Allowed, and not there.
    assert_eq!(invoke(&open, &json!({ "tool": "cron", "args": {} })).status, 404);
    let dry = invoke(&open, &json!({ "tool": "exec", "args": { "command": "rm a.txt" }, "dryRun": true }));
    assert_eq!(dry.json()["result"]["details"]["args"], json!({ "command": "rm a.txt" }));
    assert!(workspace(&open).join("a.txt").exists());
    for (tool, args, says) in [
        ("read", json!({ "path": "../openclaw.json" }), "workspace"),
        ("read", json!({ "path": "none.txt" }), "none.txt"),
        ("read", json!({}), "path is missing"),
        ("exec", json!({ "command": "exit 3" }), "3"),
    ] {
        let got = invoke(&open, &json!({ "tool": tool, "args": args }));
        let error = &got.json()["error"];
        assert_eq!((got.status, &error["type"]), (400, &json!("tool_error")), "{got:?}");
        assert!(error["message"].as_str().unwrap().contains(says), "{got:?}");
    }
    for (body, says) in [
        (&b"{x"[..], "SyntaxError: "),
        (b"[]", "tools.invoke requires body.tool"),
        (b"", "tools.invoke requires body.tool"),
        (b"{\"tool\": 7}", "tools.invoke requires body.tool"),
        (b"{\"tool\": \"  \"}", "tools.invoke requires body.tool"),
    ] {
        let got = ask(open.addr(), "POST", "/tools/invoke", &[("Authorization", &bearer())], body);
        assert_eq!((got.status, &got.json()["error"]["type"]), (400, &json!("invalid_request_error")));
        assert!(got.json()["error"]["message"].as_str().unwrap().starts_with(says), "{got:?}");
    }
    let long = json!({ "tool": "read", "sessionKey": "k".repeat(1000) });
    assert_eq!(invoke(&open, &long).status, 400);
    let huge = [("Authorization", bearer()), ("Content-Length", "1073741824".to_owned())];
    let huge: Vec<(&str, &str)> = huge.iter().map(|it| (it.0, it.1.as_str())).collect();
    assert_eq!(ask(open.addr(), "POST", "/tools/invoke", &huge, b"").status, 413);
    let packed = [("Authorization", bearer()), ("Content-Encoding", "gzip".to_owned())];
    let packed: Vec<(&str, &str)> = packed.iter().map(|it| (it.0, it.1.as_str())).collect();
    assert_eq!(ask(open.addr(), "POST", "/tools/invoke", &packed, b"x").status, 415);
}

#[test]
fn the_policy_of_the_agent_and_that_of_this_door() {
    let list =
        json!([{ "id": "main", "default": true }, { "id": "strict", "tools": { "deny": ["group:fs"] } }]);
    let server = Server::start(&with(
        &json!({ "allow": ["exec", "write"], "deny": ["sessions_*"] }),
        &json!({ "tools": { "deny": ["exec"] }, "agents": { "list": list } }),
    ));
    let status = |tool: &str, key: &str| {
        invoke(&server, &json!({ "tool": tool, "sessionKey": key, "args": { "path": "." } })).status
    };
    assert_eq!(status("exec", "main"), 404, "what the agent may not, nobody may");
    assert_eq!(status("sessions_list", "main"), 404, "deny wins");
    assert_eq!(status("agents_list", "main"), 200);
    assert_eq!(status("read", "agent:strict:main"), 404);
    assert_eq!(status("read", "main"), 400, "a folder is no file");
}

#[test]
fn a_tool_is_stopped_when_whoever_waits_hangs_up() {
    let server = Server::start(&with(&json!({ "allow": ["exec"] }), &json!({})));
    let slow = |mark: &str| {
        let command =
            format!("trap 'touch {mark}.ended; exit' TERM; touch {mark}.begun; while :; do sleep 0.05; done");
        let body = json!({ "tool": "exec", "args": { "command": command } }).to_string();
        send(server.addr(), "POST", "/tools/invoke", &[("Authorization", &bearer())], body.as_bytes())
    };
    let until = |name: &str| {
        let (path, end) = (workspace(&server).join(name), Instant::now() + DEADLINE);
        while !path.exists() {
            assert!(Instant::now() < end, "{name} does not come");
            std::thread::yield_now();
        }
    };
    let waiting: Vec<_> = (0..8).map(|n| slow(&n.to_string())).collect();
    (0..8).for_each(|n| until(&format!("{n}.begun")));
    let got = invoke(&server, &json!({ "tool": "exec", "args": { "command": "true" } }));
    assert_eq!((got.status, got.header("retry-after")), (503, Some("1")));
    // What needs no thread is answered.
    assert_eq!(invoke(&server, &json!({ "tool": "agents_list" })).status, 200);
    drop(waiting);
    (0..8).for_each(|n| until(&format!("{n}.ended")));
    let end = Instant::now() + DEADLINE;
    while invoke(&server, &json!({ "tool": "exec", "args": { "command": "true" } })).status != 200 {
        assert!(Instant::now() < end, "there is room again");
    }
}

#[test]
fn a_stopping_gateway_leaves_no_command_behind() {
    let mut server = Server::start(&with(&json!({ "allow": ["exec"] }), &json!({})));
    let body =
        json!({ "tool": "exec", "args": { "command": "echo $$ > pid; while :; do sleep 0.05; done" } })
            .to_string();
    let _waiting =
        send(server.addr(), "POST", "/tools/invoke", &[("Authorization", &bearer())], body.as_bytes());
    let path = workspace(&server).join("pid");
    let end = Instant::now() + DEADLINE;
    let pid = loop {
        assert!(Instant::now() < end);
        if let Ok(pid) = std::fs::read_to_string(&path).unwrap_or_default().trim().parse::<u32>() {
            break pid;
        }
    };
    server.signal(libc::SIGTERM);
    assert!(server.wait().0.success());
    let proc = std::path::PathBuf::from(format!("/proc/{pid}"));
    while proc.exists() {
        assert!(Instant::now() < end, "{pid} still runs");
    }
}

#[test]
fn sessions_as_the_tools_show_them() {
    let list = json!([{ "id": "main", "default": true, "name": "M", "subagents": { "allowAgents": ["Other"] } }, { "id": "other" }]);
    let (model, server) = pair(&json!({ "agents": { "list": list } }));
    let mut talk = Talk::new(&server);
    talk.say("A", "hello");
    model.asked().answer("hi");
    talk.final_text("A");
    talk.say_in("agent:other:hook:7", "B", "there");
    model.asked().answer("yes");
    talk.final_text("B");
    let details = |body: Value| invoke(&server, &body).json()["result"]["details"].clone();
    let agents = details(json!({ "tool": "agents_list" }));
    let rows =
        json!([{ "id": "main", "configured": true, "name": "M" }, { "id": "other", "configured": true }]);
    assert_eq!(agents, json!({ "requester": "main", "allowAny": false, "agents": rows }));
    let got = details(json!({ "tool": "sessions_list" }));
    assert_eq!(got["count"], 1, "its own: {got}");
    let row = &got["sessions"][0];
    assert_eq!(
        (&row["key"], &row["kind"], &row["channel"]),
        (&json!(MAIN), &json!("main"), &json!("webchat"))
    );
    assert!(row["transcriptPath"].as_str().unwrap().ends_with(".jsonl") && row["model"] == "mock-1", "{row}");
    let other = details(
        json!({ "tool": "sessions_list", "sessionKey": "agent:other:main", "args": { "kinds": ["Hook"], "limit": 5 } }),
    );
    assert_eq!((&other["count"], &other["sessions"][0]["kind"]), (&json!(1), &json!("hook")), "{other}");
    let told = details(json!({ "tool": "sessions_history", "args": { "sessionKey": "main", "limit": 1 } }));
    assert_eq!(
        (&told["sessionKey"], told["messages"].as_array().unwrap().len()),
        (&json!(MAIN), 1),
        "{told}"
    );
    let foreign =
        details(json!({ "tool": "sessions_history", "args": { "sessionKey": "agent:other:hook:7" } }));
    assert_eq!(foreign["status"], "forbidden", "{foreign}");
    assert_eq!(invoke(&server, &json!({ "tool": "sessions_history" })).status, 400);
    assert_eq!(
        invoke(&server, &json!({ "tool": "sessions_list", "args": { "messageLimit": 3 } })).status,
        400
    );
}

#[test]
fn only_the_owner() {
    let server = Home::new(&with(&json!({}), &json!({}))).start(&[]);
    let body = json!({ "tool": "agents_list" }).to_string();
    for header in [("Authorization", "Bearer tokB"), ("X-OpenClaw-Token", TOKEN), ("Authorization", TOKEN)] {
        let got = ask(server.addr(), "POST", "/tools/invoke", &[header], body.as_bytes());
        assert_eq!((got.status, got.header("www-authenticate")), (401, Some("Bearer")), "{header:?}");
    }
    let got = ask(server.addr(), "POST", &format!("/tools/invoke?token={TOKEN}"), &[], body.as_bytes());
    assert_eq!(got.status, 401);
    let got = ask(server.addr(), "GET", "/tools/invoke", &[("Authorization", &bearer())], b"");
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
}
