//! Nodes and approvals over real sockets: a node of our own making, which does exactly what a test tells it.
use crate::client::{Client, Device, merge, now_ms, params};
use crate::harness::{Home, Server, config};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// A node with the key of `seed`, which declares these commands.
pub fn node(server: &Server, seed: u8, commands: &[&str], with: &Value) -> (Client, String) {
    let device = Device::new(seed);
    let mut client = Client::open(server.addr(), &[]);
    let mut all = params();
    merge(
        &mut all,
        &json!({
            "role": "node", "scopes": [], "caps": ["system"], "commands": commands, "pathEnv": "/bin",
            "client": { "id": "node-host", "mode": "node", "displayName": "Pi" },
        }),
    );
    merge(&mut all, with);
    let nonce = client.nonce.clone();
    device.sign(&mut all, Some(&nonce), now_ms());
    let hello = client.call("connect", &all);
    assert_eq!(hello["ok"], true, "{hello}");
    (client, device.id)
}

fn operator(server: &Server) -> Client {
    Client::connect(server, &json!({}))
}

/// Sends a call and does not wait.
fn ask(client: &mut Client, id: &str, method: &str, params: &Value) {
    client.send(&json!({ "type": "req", "id": id, "method": method, "params": params }).to_string());
}

pub fn invoke(client: &mut Client, id: &str, node_id: &str, command: &str, more: &Value) {
    let mut params = json!({ "nodeId": node_id, "command": command, "idempotencyKey": id });
    merge(&mut params, more);
    ask(client, id, "node.invoke", &params);
}

/// The node's answer to the next request, which it gives back.
pub fn serve(node: &mut Client, node_id: &str, answer: &Value) -> Value {
    let request = node.event("node.invoke.request");
    assert!(request.get("seq").is_none(), "{request}");
    let mut params = json!({ "id": request["payload"]["id"], "nodeId": node_id, "ok": true });
    merge(&mut params, answer);
    let told = node.call("node.invoke.result", &params);
    assert_eq!(told["payload"], json!({ "ok": true }), "{told}");
    request["payload"].clone()
}

#[test]
fn a_call_goes_there_and_back() {
    let server = Server::start(&config());
    let (mut pi, id) = node(&server, 1, &["system.which", "system.run"], &json!({}));
    let (mut other, _) =
        node(&server, 2, &["system.which"], &json!({ "client": { "displayName": "Other" } }));
    let mut op = operator(&server);
    let nodes = op.call("node.list", &json!({}))["payload"]["nodes"].clone();
    assert_eq!(nodes[1]["commands"], json!(["system.run", "system.which"]), "{nodes}");
    assert_eq!(
        (&nodes[1]["paired"], &nodes[1]["connected"], &nodes[1]["pathEnv"]),
        (&json!(true), &json!(true), &json!("/bin"))
    );
    assert_eq!(op.call("node.describe", &json!({ "nodeId": id }))["payload"]["displayName"], "Pi");

    for (answer, payload, text) in [
        (json!({ "payloadJSON": "{\"a\":1}" }), json!({ "a": 1 }), json!("{\"a\":1}")),
        (json!({ "payload": { "x": [1] } }), json!({ "x": [1] }), Value::Null),
        (json!({ "payloadJSON": "{nope" }), json!({ "payloadJSON": "{nope" }), json!("{nope")),
        (json!({ "payloadJSON": { "b": 2 } }), json!({ "b": 2 }), Value::Null),
    ] {
        invoke(
            &mut op,
            "call",
            &id,
            "system.which",
            &json!({ "params": { "bins": ["sh"] }, "timeoutMs": 9000 }),
        );
        let request = serve(&mut pi, &id, &answer);
        assert_eq!(request["paramsJSON"], "{\"bins\":[\"sh\"]}");
        assert_eq!(
            (&request["timeoutMs"], &request["idempotencyKey"], &request["nodeId"]),
            (&json!(9000), &json!("call"), &json!(id))
        );
        let got = op.response("call")["payload"].clone();
        assert_eq!((&got["payload"], &got["payloadJSON"]), (&payload, &text), "{got}");
        assert_eq!(
            (&got["ok"], &got["nodeId"], &got["command"]),
            (&json!(true), &json!(id), &json!("system.which"))
        );
    }
    invoke(&mut op, "bare", &id, "system.which", &json!({}));
    let request =
        serve(&mut pi, &id, &json!({ "ok": false, "error": { "code": "BOOM", "message": "it failed" } }));
    assert!(request["paramsJSON"].is_null() && request.get("timeoutMs").is_none(), "{request}");
    let error = op.response("bare")["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&json!("UNAVAILABLE"), &json!("it failed")));
    assert_eq!(error["details"]["nodeError"], json!({ "code": "BOOM", "message": "it failed" }));

    // Nobody else has heard of any of this.
    other.call("node.event", &json!({ "event": "x" }));
    assert!(other.events.iter().all(|it| it["event"] != "node.invoke.request"));
}

#[test]
fn results_that_nobody_waits_for() {
    let server = Server::start(&config());
    let (mut pi, id) = node(&server, 1, &["system.which"], &json!({}));
    let (mut other, other_id) = node(&server, 2, &["system.which"], &json!({}));
    let mut op = operator(&server);
    invoke(&mut op, "slow", &id, "system.which", &json!({ "timeoutMs": 1 }));
    let error = op.response("slow")["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&json!("UNAVAILABLE"), &json!("node invoke timed out")));
    assert_eq!(error["details"]["nodeError"]["code"], "TIMEOUT");
    let late = pi.event("node.invoke.request")["payload"]["id"].clone();
    let ignored = json!({ "ok": true, "ignored": true });
    assert_eq!(
        pi.call("node.invoke.result", &json!({ "id": late, "nodeId": id, "ok": true }))["payload"],
        ignored
    );

    invoke(&mut op, "once", &id, "system.which", &json!({}));
    let call = pi.event("node.invoke.request")["payload"]["id"].clone();
    // Another node cannot answer, neither as itself nor in the first one's name.
    let forged = json!({ "id": call, "nodeId": other_id, "ok": true });
    assert_eq!(other.call("node.invoke.result", &forged)["payload"], ignored);
    let forged = json!({ "id": call, "nodeId": id, "ok": true });
    assert_eq!(other.call("node.invoke.result", &forged)["error"]["message"], "nodeId mismatch");
    let right = json!({ "id": call, "nodeId": id, "ok": true, "payload": 5 });
    assert_eq!(pi.call("node.invoke.result", &right)["payload"], json!({ "ok": true }));
    assert_eq!(pi.call("node.invoke.result", &right)["payload"], ignored, "a second time");
    assert_eq!(op.response("once")["payload"]["payload"], 5);
}

#[test]
fn a_node_that_dies_in_the_middle() {
    let server = Server::start(&config());
    let (mut pi, id) = node(&server, 1, &["system.run"], &json!({}));
    let mut op = operator(&server);
    invoke(&mut op, "lost", &id, "system.run", &json!({ "params": { "command": ["x"] } }));
    pi.event("node.invoke.request");
    drop(pi);
    let error = op.response("lost")["error"].clone();
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("UNAVAILABLE"), &json!("Error: node disconnected (system.run)"))
    );
    assert_eq!(error["retryable"], true);
    invoke(&mut op, "gone", &id, "system.run", &json!({}));
    let error = op.response("gone")["error"].clone();
    assert_eq!(
        (&error["message"], &error["details"]["code"]),
        (&json!("node not connected"), &json!("NOT_CONNECTED"))
    );
    // It comes back, and of two with one identity the newer one is asked.
    let (_first, _) = node(&server, 1, &["system.run"], &json!({}));
    let (mut second, _) = node(&server, 1, &["system.run"], &json!({}));
    assert_eq!(op.call("node.list", &json!({}))["payload"]["nodes"].as_array().unwrap().len(), 1);
    invoke(&mut op, "again", &id, "system.run", &json!({}));
    serve(&mut second, &id, &json!({ "payload": 1 }));
    assert_eq!(op.response("again")["ok"], true);
}

#[test]
fn commands_that_may_not_be_called() {
    let mut all = config();
    all["gateway"]["nodes"] = json!({ "allowCommands": ["attic.light"], "denyCommands": ["system.notify"] });
    let server = Server::start(&all);
    let (_pi, id) =
        node(&server, 1, &["system.which", "attic.light", "camera.snap", "system.notify"], &json!({}));
    let (_mute, mute) = node(&server, 2, &[], &json!({}));
    let mut op = operator(&server);
    let node = op.call("node.describe", &json!({ "nodeId": id }))["payload"].clone();
    assert_eq!(node["commands"], json!(["attic.light", "system.which"]), "what may not be is not even shown");
    for (to, command, reason) in [
        (&id, "camera.snap", "command not allowlisted"),
        (&id, "system.notify", "command not allowlisted"),
        (&id, "zzz.nope", "command not allowlisted"),
        (&id, "system.run", "command not declared by node"),
        (&mute, "system.run", "node did not declare commands"),
    ] {
        invoke(&mut op, "no", to, command, &json!({}));
        let error = op.response("no")["error"].clone();
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("INVALID_REQUEST"), &json!("node command not allowed"))
        );
        assert_eq!(error["details"], json!({ "reason": reason, "command": command }));
    }
    // Whoever may call nodes may not therefore decide what runs there unasked.
    let (_files, files) = self::node(&server, 3, &["system.execApprovals.set"], &json!({}));
    let mut writer = Client::connect(&server, &json!({ "scopes": ["operator.write"] }));
    invoke(&mut writer, "no", &files, "system.execApprovals.set", &json!({}));
    assert_eq!(writer.response("no")["error"]["message"], "missing scope: operator.admin");
}

#[test]
fn a_thousand_calls_wait_and_no_more() {
    let server = Server::start(&config());
    let (mut pi, id) = node(&server, 1, &["system.which"], &json!({}));
    let mut op = operator(&server);
    for n in 0..1001 {
        invoke(
            &mut op,
            &format!("c{n}"),
            &id,
            "system.which",
            &json!({ "params": { "bins": [n.to_string()] } }),
        );
    }
    let refused = op.response("c1000")["error"].clone();
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "{refused}");
    let calls: Vec<Value> = (0..1000).map(|_| pi.event("node.invoke.request")["payload"].clone()).collect();
    for call in calls.iter().rev() {
        let answer = json!({ "id": call["id"], "nodeId": id, "ok": true, "payloadJSON": call["paramsJSON"] });
        ask(&mut pi, "r", "node.invoke.result", &answer);
    }
    for n in (0..1000).rev() {
        let got = op.response(&format!("c{n}"));
        assert_eq!(got["payload"]["payload"]["bins"][0], n.to_string());
    }
    invoke(&mut op, "after", &id, "system.which", &json!({}));
    serve(&mut pi, &id, &json!({ "payload": 1 }));
    assert_eq!(op.response("after")["ok"], true);
}

#[test]
fn what_a_node_was_paired_for_is_all_it_may_do() {
    let server = Server::start(&config());
    let mut op = operator(&server);
    let (first, id) = node(&server, 1, &["system.which"], &json!({}));
    let commands =
        |op: &mut Client| op.call("node.describe", &json!({ "nodeId": id }))["payload"]["commands"].clone();
    assert_eq!(commands(&mut op), json!(["system.which"]));
    // It is on disk before anybody can ask for more.
    let paired = op.call("node.pair.list", &json!({}))["payload"]["paired"].clone();
    assert_eq!((&paired[0]["nodeId"], &paired[0]["commands"]), (&json!(id), &json!(["system.which"])));
    drop(first);

    let (mut wider, _) = node(&server, 1, &["system.which", "system.run"], &json!({}));
    let request = op.event("node.pair.requested")["payload"].clone();
    assert_eq!((&request["nodeId"], &request["isRepair"]), (&json!(id), &json!(true)));
    assert_eq!(request["commands"], json!(["system.run", "system.which"]));
    assert_eq!(commands(&mut op), json!(["system.which"]), "it keeps what it had");
    invoke(&mut op, "no", &id, "system.run", &json!({}));
    assert_eq!(op.response("no")["error"]["details"]["reason"], "command not declared by node");

    let approved = op.call("node.pair.approve", &json!({ "requestId": request["requestId"] }));
    assert_eq!(approved["payload"]["node"]["nodeId"], json!(id));
    assert_eq!(op.event("node.pair.resolved")["payload"]["decision"], "approved");
    assert_eq!(commands(&mut op), json!(["system.run", "system.which"]), "it need not connect anew");
    invoke(&mut op, "yes", &id, "system.run", &json!({ "params": { "command": ["x"] } }));
    serve(&mut wider, &id, &json!({ "payload": 1 }));
    assert_eq!(op.response("yes")["ok"], true);
    drop(wider);

    // To be another machine is to ask for more, too.
    let phone = json!({ "client": { "platform": "ios", "deviceFamily": "iPhone" } });
    let (_phone, _) = node(&server, 1, &["system.which", "camera.snap"], &phone);
    op.event("node.pair.requested");
    assert_eq!(commands(&mut op), json!(["system.which"]));
    invoke(&mut op, "no", &id, "camera.snap", &json!({}));
    assert_eq!(op.response("no")["error"]["details"]["reason"], "command not declared by node");
    let path = server.home.state().join("nodes/paired.json");
    let stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&stored[&id]["platform"], stored[&id]["token"].as_str().unwrap().len()),
        (&json!("linux"), 32)
    );
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn names_last() {
    let server = Server::start(&config());
    let mut op = operator(&server);
    let (pi, id) = node(&server, 1, &["system.which"], &json!({}));
    op.call("node.pair.list", &json!({}));
    assert_eq!(op.call("node.rename", &json!({ "nodeId": id, "displayName": "Attic" }))["ok"], true);
    let name =
        |op: &mut Client| op.call("node.list", &json!({}))["payload"]["nodes"][0]["displayName"].clone();
    assert_eq!(name(&mut op), "Attic");
    drop(pi);
    let (_pi, _) = node(&server, 1, &["system.which"], &json!({}));
    assert_eq!(name(&mut op), "Attic");
}

#[test]
fn an_approval_is_for_one_command_once() {
    let server = Server::start(&config());
    let (mut pi, id) = node(&server, 1, &["system.run"], &json!({}));
    let mut op = operator(&server);
    let mut person = Client::connect(
        &server,
        &json!({ "scopes": ["operator.approvals"], "client": { "displayName": "Phone" } }),
    );
    let mut reader = Client::connect(&server, &json!({ "scopes": ["operator.read"] }));
    let wanted =
        json!({ "id": "ap", "command": "git status", "cwd": "/srv", "host": "node", "agentId": "main" });
    let run = json!({ "params": { "command": ["git", "status"], "cwd": "/srv", "agentId": "main", "approved": true, "approvalDecision": "allow-once" } });
    let refuse = |op: &mut Client, run: &Value| {
        invoke(op, "no", &id, "system.run", run);
        let error = op.response("no")["error"].clone();
        assert_eq!(
            (&error["code"], &error["details"]["reason"]),
            (&json!("INVALID_REQUEST"), &json!("approval required")),
            "{run}"
        );
    };
    // Nobody has approved anything.
    refuse(&mut op, &run);
    ask(&mut op, "asked", "exec.approval.request", &wanted);
    let event = person.event("exec.approval.requested");
    assert_eq!(
        (&event["payload"]["id"], &event["payload"]["request"]["command"]),
        (&json!("ap"), &json!("git status"))
    );
    assert_eq!(op.call("exec.approval.request", &wanted)["error"]["message"], "approval id already pending");
    refuse(&mut op, &run);
    let resolve = |person: &mut Client, decision: &str| {
        person.call("exec.approval.resolve", &json!({ "id": "ap", "decision": decision }))
    };
    assert_eq!(resolve(&mut person, "allow-once")["payload"], json!({ "ok": true }));
    let answer = op.response("asked")["payload"].clone();
    assert_eq!((&answer["id"], &answer["decision"]), (&json!("ap"), &json!("allow-once")));
    let told = person.event("exec.approval.resolved")["payload"].clone();
    assert_eq!((&told["decision"], &told["resolvedBy"]), (&json!("allow-once"), &json!("Phone")));
    assert_eq!(resolve(&mut person, "deny")["error"]["message"], "unknown approval id");

    for change in [
        json!({ "command": ["git", "status", "--", "x"] }),
        json!({ "cwd": "/" }),
        json!({ "env": { "GIT_DIR": "/tmp" } }),
        json!({ "agentId": "ops" }),
        json!({ "sessionKey": "main" }),
        json!({ "approvalDecision": "allow-always" }),
    ] {
        let mut other = run.clone();
        merge(&mut other["params"], &change);
        refuse(&mut op, &other);
    }
    let mut stranger = Client::connect(&server, &json!({ "client": { "id": "gateway-client" } }));
    refuse(&mut stranger, &run);
    invoke(&mut op, "yes", &id, "system.run", &run);
    let request = serve(&mut pi, &id, &json!({ "payload": { "success": true } }));
    assert!(request["paramsJSON"].as_str().unwrap().contains("\"approvalDecision\":\"allow-once\""));
    assert_eq!(op.response("yes")["ok"], true);
    refuse(&mut op, &run);
    // The node decides by its own rules where nobody says that it was approved.
    invoke(
        &mut op,
        "plain",
        &id,
        "system.run",
        &json!({ "params": { "command": ["git"], "approved": false } }),
    );
    serve(
        &mut pi,
        &id,
        &json!({ "ok": false, "error": { "message": "SYSTEM_RUN_DENIED: approval required" } }),
    );
    assert_eq!(op.response("plain")["error"]["message"], "SYSTEM_RUN_DENIED: approval required");

    // Who may not approve hears nothing of it.
    reader.call("health", &json!({}));
    assert!(reader.events.iter().all(|it| !it["event"].as_str().unwrap().starts_with("exec.")));
    // What was denied, and what nobody decided on.
    ask(&mut op, "asked", "exec.approval.request", &wanted);
    person.event("exec.approval.requested");
    resolve(&mut person, "deny");
    assert_eq!(op.response("asked")["payload"]["decision"], "deny");
    refuse(&mut op, &run);
    let quick = json!({ "command": "x", "timeoutMs": 1 });
    assert_eq!(op.call("exec.approval.request", &quick)["payload"]["decision"], Value::Null);
}

#[test]
fn an_approval_may_name_its_arguments_and_its_node() {
    let server = Server::start(&config());
    let (mut pi, id) = node(&server, 1, &["system.run"], &json!({}));
    let (_other, other) = node(&server, 2, &["system.run"], &json!({}));
    let mut op = operator(&server);
    let mut person = Client::connect(&server, &json!({ "scopes": ["operator.approvals"] }));
    let wanted = json!({ "command": "looks harmless", "commandArgv": ["rm", "-rf", "a b"], "nodeId": id, "env": { "A": "b" } });
    ask(&mut op, "asked", "exec.approval.request", &wanted);
    let event = person.event("exec.approval.requested")["payload"].clone();
    assert_eq!(event["request"]["command"], "rm -rf \"a b\"", "what runs is what is shown");
    assert_eq!(event["request"]["env"], json!({ "A": "b" }));
    person.call("exec.approval.resolve", &json!({ "id": event["id"], "decision": "allow-always" }));
    assert_eq!(op.response("asked")["payload"]["decision"], "allow-always");
    let run = |argv: &[&str]| json!({ "params": { "command": argv, "env": { "A": "b" }, "approved": true } });
    for (to, argv) in [(&other, &["rm", "-rf", "a b"][..]), (&id, &["rm", "-rf", "a", "b"])] {
        invoke(&mut op, "no", to, "system.run", &run(argv));
        assert_eq!(op.response("no")["error"]["details"]["reason"], "approval required");
    }
    invoke(&mut op, "yes", &id, "system.run", &run(&["rm", "-rf", "a b"]));
    serve(&mut pi, &id, &json!({ "payload": 1 }));
    assert_eq!(op.response("yes")["ok"], true);
}

#[test]
fn the_file_of_approvals() {
    let server = Server::start(&config());
    let mut op = operator(&server);
    let first = op.call("exec.approvals.get", &json!({}))["payload"].clone();
    let path = server.home.state().join("exec-approvals.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let token = serde_json::from_str::<Value>(&text).unwrap()["socket"]["token"].as_str().unwrap().to_owned();
    assert!(!first.to_string().contains(&token));
    let file = json!({ "version": 1, "agents": { "main": { "allowlist": [{ "pattern": "/bin/ls" }] } } });
    let second = op.call("exec.approvals.set", &json!({ "file": file, "baseHash": first["hash"] }));
    assert_eq!(second["payload"]["file"]["agents"]["main"]["allowlist"][0]["pattern"], "/bin/ls", "{second}");
    assert!(std::fs::read_to_string(&path).unwrap().contains(&token));
    let stale = op.call("exec.approvals.set", &json!({ "file": file, "baseHash": first["hash"] }));
    assert!(
        stale["error"]["message"].as_str().unwrap().starts_with("exec approvals changed since last load")
    );

    // A node's file is asked for over the node's own commands.
    let (mut pi, id) =
        node(&server, 1, &["system.execApprovals.get", "system.execApprovals.set"], &json!({}));
    ask(&mut op, "get", "exec.approvals.node.get", &json!({ "nodeId": id }));
    let request = serve(&mut pi, &id, &json!({ "payloadJSON": "{\"path\":\"p\",\"hash\":\"h\"}" }));
    assert_eq!(
        (&request["command"], &request["paramsJSON"]),
        (&json!("system.execApprovals.get"), &json!("{}"))
    );
    assert_eq!(op.response("get")["payload"], json!({ "path": "p", "hash": "h" }));
    ask(
        &mut op,
        "set",
        "exec.approvals.node.set",
        &json!({ "nodeId": id, "file": { "version": 1 }, "baseHash": "h" }),
    );
    let request = serve(
        &mut pi,
        &id,
        &json!({ "ok": false, "error": { "code": "INVALID_REQUEST", "message": "changed" } }),
    );
    assert_eq!(request["paramsJSON"], "{\"file\":{\"version\":1},\"baseHash\":\"h\"}");
    assert_eq!(op.response("set")["error"]["message"], "changed");
}

#[test]
fn what_a_node_tells_by_itself() {
    let mut all = config();
    all["agents"] = json!({ "defaults": { "model": { "primary": "builtin/parrot" } } });
    let server = Home::new(&all).start(&[]);
    let (mut pi, _) = node(&server, 1, &["system.run"], &json!({}));
    let mut op = operator(&server);
    let tell = |pi: &mut Client, event: &str, payload: Value| {
        let told = pi.call("node.event", &json!({ "event": event, "payloadJSON": payload.to_string() }));
        assert_eq!(told["payload"], json!({ "ok": true }), "{told}");
    };
    tell(
        &mut pi,
        "exec.finished",
        json!({ "sessionKey": "main", "runId": "r", "command": "ls", "exitCode": 2, "output": "no\u{202e} such file" }),
    );
    tell(&mut pi, "exec.finished", json!({ "sessionKey": "agent:main:link", "runId": "r", "exitCode": 3 }));
    // Of no session: it waits for the node's own.
    tell(&mut pi, "exec.finished", json!({ "runId": "r", "exitCode": 4 }));
    let queued = op.call("status", &json!({}))["payload"]["queuedSystemEvents"].clone();
    assert_eq!(queued.as_array().unwrap().len(), 1, "{queued}");
    let queued = queued[0].as_str().unwrap();
    assert!(queued.contains("exit code 2") && queued.contains("no\\u{202e} such file"), "{queued}");

    // It hears of no session that it does not listen to, and of that one without numbers and by its own name for it.
    tell(&mut pi, "chat.subscribe", json!({ "sessionKey": "main" }));
    tell(&mut pi, "voice.transcript", json!({ "text": "good morning", "sessionKey": "agent:main:main" }));
    let last = loop {
        let event = op.event("chat");
        if event["payload"]["state"] != "delta" {
            break event;
        }
    };
    assert_eq!(last["payload"]["state"], "final", "{last}");
    assert!(last["payload"]["runId"].as_str().unwrap().starts_with("voice-"));
    let heard = loop {
        let event = pi.event("chat");
        assert!(event.get("seq").is_none(), "{event}");
        if event["payload"]["state"] != "delta" {
            break event;
        }
    };
    assert_eq!(
        (&heard["payload"]["sessionKey"], &last["payload"]["sessionKey"]),
        (&json!("main"), &json!("agent:main:main"))
    );
    assert_eq!(heard["payload"]["message"]["content"], last["payload"]["message"]["content"]);
    tell(&mut pi, "chat.unsubscribe", json!({ "sessionKey": "agent:main:main" }));
    pi.events.clear();
    tell(&mut pi, "agent.request", json!({ "message": "hello", "sessionKey": "agent:main:link" }));
    let last = loop {
        let event = op.event("chat");
        if event["payload"]["state"] == "final" {
            break event;
        }
    };
    assert_eq!(last["payload"]["sessionKey"], "agent:main:link");
    // The parrot repeats what it was told: what waited for this session stood before the words.
    let said = last["payload"]["message"]["content"].to_string();
    assert!(said.contains("exit code 3") && !said.contains("exit code 4"), "{said}");
    pi.call("node.event", &json!({ "event": "x" }));
    assert!(pi.events.iter().all(|it| it["event"] != "chat" && it["event"] != "agent"), "{:?}", pi.events);
}
