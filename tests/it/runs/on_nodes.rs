//! Commands of a run on a node: what it is told, who is asked before, and what comes of it.
use super::talk::{MAIN, Talk, pair};
use crate::client::Client;
use crate::harness::Server;
use crate::model_server::{ModelServer, usage};
use crate::node_host::{Node, allow, attic};
use crate::nodes::{node, serve};
use serde_json::{Value, json};

const COMMANDS: &[&str] = &["system.run", "system.execApprovals.get"];

fn on_nodes(exec: Value) -> (ModelServer, Server) {
    let mut exec = exec;
    exec["host"] = "node".into();
    pair(&json!({ "tools": { "exec": exec } }))
}

/// Has the model call `exec`.
fn exec(model: &ModelServer, talk: &mut Talk, id: &str, args: &Value) {
    talk.say(id, id);
    let mut asked = model.asked();
    asked.call(id, "exec", args);
    asked.end_with("tool_calls", &usage(1, 1));
}

/// What the model is told of it.
fn told(model: &ModelServer) -> String {
    let asked = model.asked();
    let told = asked.told().pop().unwrap();
    asked.answer("done");
    told
}

fn params(request: &Value) -> Value {
    serde_json::from_str(request["paramsJSON"].as_str().unwrap()).unwrap()
}

fn file(file: &Value) -> Value {
    json!({ "payloadJSON": json!({ "path": "p", "exists": true, "hash": "h", "file": file }).to_string() })
}

fn denied() -> Value {
    json!({ "ok": false, "error": { "code": "UNAVAILABLE", "message": "SYSTEM_RUN_DENIED: approval required" } })
}

#[test]
fn a_command_goes_to_the_node_and_its_result_to_the_model() {
    let (model, server) = on_nodes(json!({ "security": "full" }));
    let (mut pi, pi_id) = node(&server, 1, COMMANDS, &json!({}));
    let mut talk = Talk::new(&server);
    let args = json!({ "command": "uptime | cat", "workdir": "/srv", "env": { "A": "b" }, "timeout": 7 });
    exec(&model, &mut talk, "A", &args);
    let request = pi.event("node.invoke.request")["payload"].clone();
    let got = params(&request);
    assert_eq!(
        (&request["command"], &request["timeoutMs"]),
        (&json!("system.run"), &json!(12_000)),
        "{request}"
    );
    let want = json!({
        "command": ["/bin/sh", "-lc", "uptime | cat"], "rawCommand": "uptime | cat", "cwd": "/srv", "env": { "A": "b" },
        "agentId": "main", "sessionKey": MAIN, "timeoutMs": 7000, "runId": request["idempotencyKey"],
    });
    assert_eq!(got, want);
    // What the node tells by itself of a command that is waited for is told once: by its result.
    let tell = |pi: &mut Client, run_id: &Value| {
        let payload = json!({ "sessionKey": MAIN, "runId": run_id, "exitCode": 3 });
        pi.call("node.event", &json!({ "event": "exec.finished", "payload": payload }));
    };
    tell(&mut pi, &request["idempotencyKey"]);
    tell(&mut pi, &json!("another"));
    let ran =
        json!({ "exitCode": 3, "timedOut": false, "success": false, "stdout": "up\n", "stderr": "err" });
    let result = json!({ "id": request["id"], "nodeId": pi_id, "ok": true, "payloadJSON": ran.to_string() });
    pi.call("node.invoke.result", &result);
    assert_eq!(told(&model), "tool: up\nerr\n\nexit code 3");
    let queued = talk.call("status", &json!({}))["payload"]["queuedSystemEvents"].clone();
    assert!(
        queued.as_array().unwrap().len() == 1 && queued[0].as_str().unwrap().contains("`another`"),
        "{queued}"
    );

    // Several nodes: the one that is named.
    let (mut attic, attic_id) = node(&server, 2, COMMANDS, &json!({ "client": { "displayName": "Attic" } }));
    exec(&model, &mut talk, "B", &json!({ "command": ["ls", "-l"] }));
    let text = told(&model);
    assert!(
        text.contains("several nodes are connected") && text.contains("Attic") && text.contains("Pi"),
        "{text}"
    );
    exec(&model, &mut talk, "C", &json!({ "command": ["ls", "-l"], "node": "attic" }));
    let request =
        serve(&mut attic, &attic_id, &json!({ "payload": { "exitCode": 0, "stdout": "", "stderr": "" } }));
    assert_eq!(params(&request)["command"], json!(["ls", "-l"]));
    assert_eq!(told(&model), "tool: (no output)");
    exec(&model, &mut talk, "D", &json!({ "command": "ls", "node": "cellar" }));
    assert!(told(&model).contains("no node \"cellar\" is connected that may run commands: there is "));
    exec(&model, &mut talk, "E", &json!({ "command": "ls", "host": "gateway" }));
    assert!(told(&model).contains("tools.exec.host is \"node\""));
    exec(&model, &mut talk, "F", &json!({ "command": "ls", "node": "attic" }));
    attic.event("node.invoke.request");
    drop(attic);
    assert!(told(&model).contains("node disconnected (system.run)"));
}

#[test]
fn a_person_is_asked_where_that_is_needed() {
    // security, ask, what the node's own file says, what it answers to the bare command; and whether a person is asked.
    for (security, ask, kept, answer, is_asked) in [
        ("full", "on-miss", None, denied(), true),
        ("full", "always", None, Value::Null, true),
        ("allowlist", "on-miss", Some(json!({})), denied(), true),
        ("allowlist", "on-miss", Some(json!({ "defaults": { "security": "full" } })), Value::Null, true),
        (
            "allowlist",
            "on-miss",
            Some(
                json!({ "defaults": { "security": "full" }, "agents": { "main": { "security": "allowlist" } } }),
            ),
            denied(),
            true,
        ),
        ("allowlist", "off", Some(json!({ "defaults": { "security": "full" } })), Value::Null, false),
        ("full", "off", None, denied(), false),
        ("deny", "off", None, Value::Null, false),
    ] {
        let case = format!("{security} {ask} {kept:?}");
        let (model, server) = on_nodes(json!({ "security": security, "ask": ask }));
        let (mut pi, id) = node(&server, 1, COMMANDS, &json!({}));
        let mut person = Client::connect(&server, &json!({ "scopes": ["operator.approvals"] }));
        let mut talk = Talk::new(&server);
        exec(&model, &mut talk, "A", &json!({ "command": "reboot\u{202e}" }));
        if let Some(kept) = &kept {
            let request = serve(&mut pi, &id, &file(kept));
            assert_eq!(request["command"], "system.execApprovals.get", "{case}");
        }
        if !answer.is_null() {
            let request = serve(&mut pi, &id, &answer);
            assert!(params(&request).get("approved").is_none(), "{case}");
        }
        if !is_asked {
            let text = told(&model);
            assert!(
                text.contains("not allowed") || text.contains("DENIED") || text.contains("turned off"),
                "{case}: {text}"
            );
            assert!(person.events.iter().all(|it| it["event"] != "exec.approval.requested"), "{case}");
            continue;
        }
        let event = person.event("exec.approval.requested")["payload"].clone();
        let request = &event["request"];
        assert_eq!(
            (&request["command"], &request["nodeId"], &request["sessionKey"], &request["host"]),
            (&json!("/bin/sh -lc \"reboot\\u{202e}\""), &json!(id), &json!(MAIN), &json!("node")),
            "{case}"
        );
        person.call("exec.approval.resolve", &json!({ "id": event["id"], "decision": "allow-once" }));
        let request = serve(&mut pi, &id, &json!({ "payload": { "exitCode": 0, "stdout": "bye" } }));
        let got = params(&request);
        assert_eq!(
            (&got["approved"], &got["approvalDecision"]),
            (&json!(true), &json!("allow-once")),
            "{case}"
        );
        assert_eq!(got["command"], json!(["/bin/sh", "-lc", "reboot\u{202e}"]), "{case}");
        assert_eq!(told(&model), "tool: bye", "{case}");
        // An approval for a run is nobody else's.
        let run = json!({ "nodeId": id, "command": "system.run", "idempotencyKey": "x", "params": got });
        let refused = talk.call("node.invoke", &run);
        assert_eq!(refused["error"]["details"]["reason"], "approval required", "{case}: {refused}");
    }
}

#[test]
fn what_is_refused_or_over_does_not_run() {
    let (model, server) = on_nodes(json!({ "security": "full", "ask": "always" }));
    let (mut pi, _) = node(&server, 1, COMMANDS, &json!({}));
    let mut person = Client::connect(&server, &json!({ "scopes": ["operator.approvals"] }));
    let mut talk = Talk::new(&server);
    exec(&model, &mut talk, "A", &json!({ "command": "ls" }));
    let id = person.event("exec.approval.requested")["payload"]["id"].clone();
    person.call("exec.approval.resolve", &json!({ "id": id, "decision": "deny" }));
    assert!(told(&model).contains("a person has refused"));

    // The run is stopped while a person thinks: the question goes, and a late yes starts nothing.
    exec(&model, &mut talk, "B", &json!({ "command": "ls" }));
    person.event("exec.approval.resolved");
    let id = person.event("exec.approval.requested")["payload"]["id"].clone();
    talk.call("chat.abort", &json!({ "sessionKey": MAIN }));
    let gone = person.event("exec.approval.resolved")["payload"].clone();
    assert_eq!((&gone["id"], &gone["decision"]), (&id, &json!("deny")), "{gone}");
    let late = person.call("exec.approval.resolve", &json!({ "id": id, "decision": "allow-once" }));
    assert_eq!(late["error"]["message"], "unknown approval id");
    pi.call("node.event", &json!({ "event": "x" }));
    assert!(pi.events.iter().all(|it| it["event"] != "node.invoke.request"), "{:?}", pi.events);
}

#[test]
fn on_a_node_of_ours() {
    let (model, server) = on_nodes(json!({ "node": "Attic" }));
    let node = Node::start(&server);
    let mut op = Client::connect(&server, &json!({}));
    let id = attic(&mut op)["nodeId"].clone();
    let list = json!({ "main": { "allowlist": [{ "pattern": "/usr/bin/echo" }] } });
    allow(&mut op, &id, &json!({ "version": 1, "agents": list }));
    let mut talk = Talk::new(&server);
    exec(&model, &mut talk, "A", &json!({ "command": "echo on; echo node" }));
    let text = told(&model);
    assert!(text.contains("on\nnode"), "{text}");
    // Always: the node keeps it, and nobody is asked again.
    let mut person = Client::connect(&server, &json!({ "scopes": ["operator.approvals"] }));
    exec(&model, &mut talk, "B", &json!({ "command": "uname -s" }));
    let event = person.event("exec.approval.requested")["payload"].clone();
    person.call("exec.approval.resolve", &json!({ "id": event["id"], "decision": "allow-always" }));
    assert_eq!(told(&model), "tool: Linux");
    exec(&model, &mut talk, "C", &json!({ "command": "uname -s" }));
    assert_eq!(told(&model), "tool: Linux");
    drop(node);
    exec(&model, &mut talk, "D", &json!({ "command": "uname -s" }));
    assert!(told(&model).contains("no node \"Attic\" is connected that may run commands: none is"));
}
