//! `gatewayd node run` as a process of its own, against a gateway.
use crate::client::Client;
use crate::harness::{DEADLINE, Home, Server, TOKEN, config};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

pub struct Node {
    pub home: Home,
    child: Child,
    lines: Receiver<String>,
}

impl Node {
    pub fn start(server: &Server) -> Node {
        Node::start_with(server, &[])
    }
    fn start_with(server: &Server, more: &[&str]) -> Node {
        let home = Home::empty();
        let port = server.port.to_string();
        let args = ["node", "run", "--host", "127.0.0.1", "--port", &port, "--display-name", "Attic"];
        let mut command: Command = home.command(&[&args, more].concat());
        command.current_dir(home.temp.path()).env("OPENCLAW_GATEWAY_TOKEN", TOKEN).env("SECRET", "hidden");
        let mut child = command.spawn().unwrap();
        let (to, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|it| to.send(it)));
        let node = Node { home, child, lines };
        node.serves();
        node
    }
    /// It has connected.
    fn serves(&self) {
        let line = self.lines.recv_timeout(DEADLINE).unwrap();
        assert!(line.contains("\"Attic\" serves ws"), "{line}");
    }
    /// SIGTERM, and its end.
    fn stop(&mut self) {
        // SAFETY: kill(2) on a child that has not been waited for.
        #[expect(unsafe_code, reason = "std has no kill with a signal")]
        let done = unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        assert_eq!(done, 0);
        // What it writes to ends when it does.
        assert_eq!(self.lines.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn attic(op: &mut Client) -> Value {
    op.call("node.list", &json!({}))["payload"]["nodes"][0].clone()
}

fn run(op: &mut Client, id: &Value, key: &str, params: &Value) -> Value {
    op.call(
        "node.invoke",
        &json!({ "nodeId": id, "command": "system.run", "params": params, "idempotencyKey": key }),
    )
}

pub fn allow(op: &mut Client, id: &Value, file: &Value) {
    let now = op.call("exec.approvals.node.get", &json!({ "nodeId": id }))["payload"].clone();
    let set =
        op.call("exec.approvals.node.set", &json!({ "nodeId": id, "file": file, "baseHash": now["hash"] }));
    assert_eq!(set["payload"]["exists"], true, "{set}");
}

#[test]
fn it_finds_and_runs_programs_and_outlives_a_restart() {
    let mut all = config();
    all["commands"] = json!({ "restart": true });
    let mut server = Server::start(&all);
    let mut node = Node::start(&server);
    let mut op = Client::connect(&server, &json!({}));
    let it = attic(&mut op);
    let id = it["nodeId"].clone();
    assert_eq!(
        (&it["displayName"], &it["paired"], &it["caps"]),
        (&json!("Attic"), &json!(true), &json!(["system"]))
    );
    assert_eq!(
        it["commands"],
        json!(["system.execApprovals.get", "system.execApprovals.set", "system.run", "system.which"])
    );
    let which = |op: &mut Client, params: &Value| {
        op.call(
            "node.invoke",
            &json!({ "nodeId": id, "command": "system.which", "params": params, "idempotencyKey": "w" }),
        )
    };
    let found =
        which(&mut op, &json!({ "bins": ["sh", "nosuchprogram", "/bin/sh", " ls "] }))["payload"]["payload"]
            .clone();
    assert_eq!(found["bins"].as_object().unwrap().len(), 2, "{found}");
    assert!(found["bins"]["sh"].as_str().unwrap().ends_with("/sh"));
    assert_eq!(which(&mut op, &json!({}))["error"]["message"], "bins required");

    // Nothing runs unless somebody says so.
    let denied = run(&mut op, &id, "a", &json!({ "command": ["echo", "hi"] }));
    assert_eq!(denied["error"]["message"], "SYSTEM_RUN_DENIED: approval required");
    allow(&mut op, &id, &json!({ "version": 1, "defaults": { "security": "full", "ask": "off" } }));
    let payload =
        |op: &mut Client, key: &str, params: Value| run(op, &id, key, &params)["payload"]["payload"].clone();
    let got = payload(
        &mut op,
        "b",
        json!({ "command": ["sh", "-c", "echo \"$0 $SECRET$A$LD_PRELOAD\"; echo err >&2; exit 3", "a b"], "env": { "A": "b", "LD_PRELOAD": "x" } }),
    );
    assert_eq!(
        got,
        json!({ "exitCode": 3, "timedOut": false, "success": false, "stdout": "a b b\n", "stderr": "err\n", "error": null })
    );
    let got =
        payload(&mut op, "c", json!({ "command": ["echo", "$HOME; *"], "rawCommand": "echo $HOME; *" }));
    assert_eq!(got["stdout"], "$HOME; *\n", "no shell reads it");
    let got = payload(&mut op, "d", json!({ "command": ["nosuchprogram"] }));
    assert_eq!((&got["error"], got.get("exitCode")), (&json!("spawn nosuchprogram ENOENT"), None));
    let got = payload(&mut op, "e", json!({ "command": ["pwd"], "cwd": "/" }));
    assert_eq!(got["stdout"], "/\n");
    let got = payload(&mut op, "f", json!({ "command": ["sleep", "60"], "timeoutMs": 50 }));
    assert_eq!((&got["timedOut"], got.get("exitCode")), (&json!(true), None));
    let got = payload(&mut op, "g", json!({ "command": ["sh", "-c", "head -c 300000 /dev/zero"] }));
    let text = got["stdout"].as_str().unwrap();
    assert!(text.ends_with("\n... (truncated)") && text.len() > 40_000, "{}", text.len());

    // The same key means the same call.
    let count =
        json!({ "command": ["sh", "-c", "echo x >> count; wc -l < count"], "sessionKey": "agent:main:main" });
    for _ in 0..3 {
        assert_eq!(payload(&mut op, "same", count.clone())["stdout"], "1\n");
    }
    assert_eq!(payload(&mut op, "other", count)["stdout"], "2\n");
    let queued = op.call("status", &json!({}))["payload"]["queuedSystemEvents"].to_string();
    assert!(queued.contains("wc -l < count") && queued.contains("`Attic`"), "{queued}");

    server.signal(libc::SIGUSR1);
    node.serves();
    server.wait_line("listening on");
    let mut op = Client::connect(&server, &json!({}));
    assert_eq!(payload(&mut op, "h", json!({ "command": ["echo", "back"] }))["stdout"], "back\n");

    // It ends with what it runs.
    let pid_file = node.home.temp.path().join("pid");
    let body = json!({ "nodeId": id, "command": "system.run", "idempotencyKey": "long",
        "params": { "command": ["sh", "-c", "echo $$ > pid.new; mv pid.new pid; sleep 600"] } });
    op.send(&json!({ "type": "req", "id": "long", "method": "node.invoke", "params": body }).to_string());
    let deadline = std::time::Instant::now() + DEADLINE;
    while !pid_file.exists() {
        assert!(std::time::Instant::now() < deadline);
        which(&mut op, &json!({ "bins": [] }));
    }
    node.stop();
    let error = op.response("long")["error"].clone();
    assert_eq!(error["message"], "Error: node disconnected (system.run)");
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn over_tls_with_a_pinned_certificate() {
    let mut all = config();
    all["gateway"]["tls"] = json!({ "enabled": true });
    let mut server = Server::start(&all);
    let line = server.wait_line("SHA-256 fingerprint ");
    let pin = line.split("fingerprint ").nth(1).unwrap().trim().to_owned();
    let mut node = Node::start_with(&server, &["--tls-fingerprint", &pin]);
    let stored = std::fs::read_to_string(node.home.state().join("node.json")).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(
        (&stored["gateway"]["tls"], &stored["gateway"]["tlsFingerprint"]),
        (&json!(true), &json!(pin))
    );
    node.stop();
    // Another certificate is another gateway: its token is not told to it.
    let home = Home::empty();
    let port = server.port.to_string();
    let other = format!("{:064x}", 7);
    let args = ["node", "run", "--host", "127.0.0.1", "--port", &port, "--tls-fingerprint", &other];
    let mut child = home.command(&args).env("OPENCLAW_GATEWAY_TOKEN", TOKEN).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(errors.any(|it| it.unwrap().contains("gateway tls fingerprint mismatch")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn it_can_be_stopped_while_nobody_is_there() {
    let server = Server::start(&config());
    let mut node = Node::start(&server);
    drop(server);
    let mut errors = BufReader::new(node.child.stderr.take().unwrap()).lines();
    assert!(errors.any(|it| it.unwrap().contains("trying again")));
    node.stop();
}

#[test]
fn allowed_programs_run_and_always_means_always() {
    let server = Server::start(&config());
    let node = Node::start(&server);
    let mut op = Client::connect(&server, &json!({}));
    let id = attic(&mut op)["nodeId"].clone();
    allow(
        &mut op,
        &id,
        &json!({ "version": 1, "agents": { "main": { "allowlist": [{ "pattern": "/usr/bin/echo" }] } } }),
    );
    let stdout = |op: &mut Client, key: &str, params: &Value| {
        let answer = run(op, &id, key, params);
        answer["payload"]["payload"]["stdout"]
            .as_str()
            .or(answer["error"]["message"].as_str())
            .unwrap()
            .to_owned()
    };
    assert_eq!(stdout(&mut op, "a", &json!({ "command": ["echo", "hi"] })), "hi\n");
    assert_eq!(stdout(&mut op, "b", &json!({ "command": ["/bin/sh", "-lc", "echo a | grep a"] })), "a\n");
    // What was denied and then approved is no call that was made before.
    let mut id_of = json!({ "command": ["id", "-u"] });
    assert_eq!(stdout(&mut op, "same", &id_of), "SYSTEM_RUN_DENIED: approval required");
    let mut person = Client::connect(&server, &json!({ "scopes": ["operator.approvals"] }));
    let asked = json!({ "type": "req", "id": "asked", "method": "exec.approval.request", "params": { "id": "ap", "command": "id -u" } });
    op.send(&asked.to_string());
    person.event("exec.approval.requested");
    person.call("exec.approval.resolve", &json!({ "id": "ap", "decision": "allow-once" }));
    assert_eq!(op.response("asked")["payload"]["decision"], "allow-once");
    id_of["approved"] = true.into();
    assert!(stdout(&mut op, "same", &id_of).trim().bytes().all(|it| it.is_ascii_digit()));
    // A text that is allowed does not let something else run.
    for (command, text) in [(json!(["uname"]), "echo hi"), (json!(["/bin/sh", "-lc", "uname"]), "echo hi")] {
        let forged = stdout(&mut op, "c", &json!({ "command": command, "rawCommand": text }));
        assert!(forged.starts_with("system.run names two commands"), "{forged}");
    }

    // A pattern more, by the command line, and it runs; less, and it does not.
    let port = server.port.to_string();
    let list = |action: &str| {
        let args = ["approvals", "allowlist", action, "/usr/bin/nproc", "--node", "attic", "--json"];
        let out = server.home.command(&args).env("OPENCLAW_GATEWAY_PORT", &port).output().unwrap();
        assert!(out.status.success(), "{out:?}");
    };
    list("add");
    assert!(stdout(&mut op, "n", &json!({ "command": ["nproc"] })).trim().parse::<u32>().is_ok());
    list("remove");
    assert_eq!(
        stdout(&mut op, "o", &json!({ "command": ["nproc"] })),
        "SYSTEM_RUN_DENIED: approval required"
    );

    // The whole way, over the command line: it asks, a person says always, and from then on nobody is asked.
    let cli = |args: &[&str]| {
        let mut command = server.home.command(&[&["nodes", "run", "--node", "attic"], args].concat());
        command.env("OPENCLAW_GATEWAY_PORT", &port).spawn().unwrap()
    };
    let asking = cli(&["--", "uname", "-s"]);
    let event = person.event("exec.approval.requested")["payload"].clone();
    assert_eq!((&event["request"]["command"], &event["request"]["nodeId"]), (&json!("uname -s"), &id));
    person.call("exec.approval.resolve", &json!({ "id": event["id"], "decision": "allow-always" }));
    let output = asking.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"Linux\n");
    assert_eq!(stdout(&mut op, "d", &json!({ "command": ["uname"] })), "Linux\n");
    let output = cli(&["--ask", "off", "--", "id"]).wait_with_output().unwrap();
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("approval required")
    );
    let output = cli(&["--json", "uname"]).wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["command"], &answer["payload"]["exitCode"]), (&json!("system.run"), &json!(0)));

    let file = std::fs::read_to_string(node.home.state().join("exec-approvals.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let patterns: Vec<&Value> =
        file["agents"]["main"]["allowlist"].as_array().unwrap().iter().map(|it| &it["pattern"]).collect();
    assert_eq!(patterns, ["/usr/bin/echo", "/usr/bin/uname"]);
}
