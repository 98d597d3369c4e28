//! The process: how it starts, refuses to start, stops, and starts over.
use crate::client::{Came, Client};
use crate::harness::{Home, Server, TOKEN, config, free_port};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// `{args, config?, env?}` and what stderr must say; the status is 78.
#[test]
fn what_it_refuses_to_start_with() {
    let with = |changes: Value| {
        let mut it = config();
        crate::client::merge(&mut it, &changes);
        Some(it.to_string())
    };
    let cases: Vec<(&str, Option<String>, &[&str], &str)> = vec![
        ("no file", None, &[], "Missing config. Run `gatewayd setup` or pass --allow-unconfigured."),
        ("no mode", with(json!({ "gateway": { "mode": null } })), &[], "set gateway.mode=local"),
        ("no secret", with(json!({ "gateway": { "auth": null } })), &[], "gateway.auth.token"),
        (
            "no secret, for others to reach",
            with(json!({ "gateway": { "auth": null, "bind": "lan" } })),
            &[],
            "gateway.auth.token",
        ),
        (
            "no secret, for others to reach by a flag",
            with(json!({ "gateway": { "auth": null } })),
            &["--bind", "lan"],
            "gateway.auth.token",
        ),
        (
            "mode none",
            with(json!({ "gateway": { "auth": { "mode": "none" }, "bind": "lan" } })),
            &[],
            "auth.mode",
        ),
        ("broken", Some("{ gateway: ".into()), &[], "JSON5"),
        ("wrong type", with(json!({ "gateway": { "port": "x" } })), &[], "gateway.port"),
        ("wrong bind", with(json!({})), &["--bind", "moon"], "--bind moon: use loopback"),
        ("unset variable", with(json!({ "gateway": { "auth": { "token": "${NOPE}" } } })), &[], "NOPE"),
    ];
    for (name, config, args, says) in cases {
        let home = Home::empty();
        if let Some(text) = config {
            home.write("openclaw.json", &text);
        }
        let out = home.run(&[&["gateway", "--port", "0"], args].concat());
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{name}: {stderr}");
        assert!(stderr.contains(says), "{name}: {stderr}");
    }
}

#[test]
fn a_taken_port_names_its_owner() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let out = Home::new(&config()).run(&["gateway", "--port", &port.to_string()]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{stderr}");
    let says = format!("another gateway instance is already listening on ws://127.0.0.1:{port}");
    assert!(stderr.contains(&says) && stderr.contains(&format!("PID {}", std::process::id())), "{stderr}");
}

/// An `lsof` that knows one process.
fn fake_lsof(home: &Home, pid: u32) -> String {
    let path = home.temp.path().join("bin/lsof");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\necho {pid}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path.parent().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn force_stops_who_holds_the_port_and_says_so() {
    let mut old = Server::start(&config());
    let home = Home::new(&config());
    let bin = fake_lsof(&home, old.pid);
    let mut command = home.command(&["gateway", "--port", &old.port.to_string(), "--force"]);
    command.env("PATH", bin);
    let port = old.port;
    // The new one gets the port once the old one has let go of it, which it does without being waited for.
    let mut new = Server::spawn(home, command);
    assert_eq!(new.port, port);
    assert_eq!(old.wait().0.code(), Some(0), "{:?}", old.log());
    Client::connect(&new, &json!({}));
    new.signal(libc::SIGTERM);
    new.wait();
    let said = format!("--force stopped process {} on port {port}", old.pid);
    assert!(new.log().iter().any(|it| it.contains(&said)), "{:?}", new.log());
}

#[test]
fn force_without_lsof_fails_at_once() {
    let home = Home::new(&config());
    let out = home.command(&["gateway", "--port", "1", "--force"]).env("PATH", "/nowhere").output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--force needs lsof, which is not installed"), "{stderr}");
}

#[test]
fn sigterm_says_goodbye_and_exits_0_within_a_second() {
    let mut server = Server::start(&config());
    let mut client = Client::connect(&server, &json!({}));
    server.signal(libc::SIGTERM);
    let shutdown = client.event("shutdown");
    assert_eq!(shutdown["payload"], json!({ "reason": "gateway stopping", "restartExpectedMs": null }));
    assert_eq!(client.next(), Came::Closed(1012, "service restart".into()));
    let (status, took) = server.wait();
    assert_eq!(status.code(), Some(0), "{:?}", server.log());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn sigusr1_restarts_in_the_same_process_when_allowed() {
    let mut allowed = config();
    allowed["commands"] = json!({ "restart": true });
    let mut server = Server::start(&allowed);
    let mut client = Client::connect(&server, &json!({}));
    server.signal(libc::SIGUSR1);
    assert_eq!(client.event("shutdown")["payload"]["restartExpectedMs"], 1500);
    assert_eq!(client.next(), Came::Closed(1012, "service restart".into()));
    // `--port 0` chooses anew.
    let line = server.wait_line("listening on ws://127.0.0.1:");
    assert!(line.contains(&format!("(PID {})", server.pid)), "{line}");
    server.port = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    Client::connect(&server, &json!({}));
}

/// A file system of one's own, which can be full.
struct Disk(std::path::PathBuf);

impl Disk {
    fn new(at: &Path) -> Option<Disk> {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        let done = command.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at).output();
        done.is_ok_and(|it| it.status.success()).then(|| Disk(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// R8: alive, but not ready, for as long as nothing could be stored.
#[test]
fn a_full_disk_is_not_ready() {
    let home = Home::empty();
    let Some(_disk) = Disk::new(&home.state()) else {
        return println!("skipped: nothing can be mounted here");
    };
    home.write("openclaw.json", &config().to_string());
    let server = home.start(&[]);
    let ask = |path: &str| {
        let mut socket = TcpStream::connect(server.addr()).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        let body: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        (said[9..12].to_owned(), body["failing"].clone())
    };
    assert_eq!(ask("/readyz"), ("200".to_owned(), json!([])));
    let ballast = server.home.state().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 65536]).is_ok() {}
    assert_eq!(ask("/readyz"), ("503".to_owned(), json!(["disk"])));
    assert_eq!(ask("/healthz").0, "200");
    drop(file);
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(ask("/readyz"), ("200".to_owned(), json!([])));
}

/// What it cannot read it names, and leaves alone.
#[test]
fn conversations_of_a_later_version() {
    let home = Home::new(&config());
    let name = "agents/main/agent/openclaw-agent.sqlite";
    home.write(name, "SQLite format 3");
    let mut server = home.start(&[]);
    let said = server.log().iter().any(|it| it.contains("holds conversations of a later OpenClaw"));
    assert!(said, "{:?}", server.log());
    server.signal(libc::SIGTERM);
    server.wait();
    assert_eq!(std::fs::read(server.home.state().join(name)).unwrap(), b"SQLite format 3");
}

/// R13: a storm of them is one restart, and what comes soon after it waits; what tools are given stays the same.
#[test]
fn a_storm_of_sigusr1_is_one_restart() {
    let mut storming = config();
    storming["commands"] = json!({ "restart": true });
    storming["gateway"]["port"] = free_port().into();
    storming["agents"] = json!({ "defaults": { "model": { "primary": "builtin/parrot" } } });
    let home = Home::new(&storming);
    let command = home.command(&["gateway"]);
    let mut server = Server::spawn(home, command);
    let environment = |server: &Server| {
        let line = r#"call exec {"command":"env | sort"}"#;
        let mut command = server.home.command(&["agent", "--agent", "main", "-m", line]);
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let before = environment(&server);
    assert!(before.contains("HOME="), "{before}");
    for _ in 0..100 {
        server.signal(libc::SIGUSR1);
    }
    server.wait_line("restarting: SIGUSR1");
    server.wait_line("listening on ws://127.0.0.1:");
    assert_eq!(environment(&server), before);
    for _ in 0..100 {
        server.signal(libc::SIGUSR1);
    }
    server.wait_line("restart in ");
    assert_eq!(Client::connect(&server, &json!({})).call("health", &json!({}))["ok"], true);
    server.signal(libc::SIGTERM);
    assert!(server.wait().0.success());
    let said = |text: &str| server.log().iter().filter(|it| it.contains(text)).count();
    assert_eq!((said("restarting:"), said("restart in ")), (1, 1), "{:#?}", server.log());
}

#[test]
fn sigusr1_is_refused_otherwise() {
    let mut server = Server::start(&config());
    let mut client = Client::connect(&server, &json!({}));
    server.signal(libc::SIGUSR1);
    server.wait_line("SIGUSR1 ignored");
    assert_eq!(client.call("health", &json!({}))["ok"], true);
}

#[test]
fn nothing_it_creates_is_readable_by_others() {
    let mut server = Server::start(&config());
    let mut client = Client::connect(&server, &json!({}));
    assert_eq!(client.call("voicewake.set", &json!({ "triggers": ["hey"] }))["ok"], true);
    server.signal(libc::SIGTERM);
    server.wait();
    let mut todo = vec![server.home.state()];
    let mut seen = 0;
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            // The test itself made these two.
            if entry.file_name() == "openclaw.json" {
                continue;
            }
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{:?} is {mode:o}", entry.path());
            seen += 1;
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
        }
    }
    assert!(seen >= 3, "a log and the settings were written");
}

/// `--ws-log`: a line a call, or a line a frame; without it only what was refused.
#[test]
fn frames_are_logged_as_asked() {
    for (args, request, answer) in [
        (&[][..], false, false),
        (&["--verbose"][..], false, true),
        (&["--ws-log", "compact"], false, true),
        (&["--ws-log", "full"], true, true),
    ] {
        let mut server = Home::new(&config()).start(args);
        let mut client = Client::connect(&server, &json!({}));
        client.call("voicewake.get", &json!({}));
        client.call("no.such", &json!({}));
        server.signal(libc::SIGTERM);
        server.wait();
        let has = |text: &str| server.log().iter().any(|it| it.contains(text));
        assert_eq!(has("← voicewake.get"), request, "{args:?} {:?}", server.log());
        assert_eq!(has("⇄ voicewake.get"), answer, "{args:?} {:?}", server.log());
        assert_eq!(has("→ event shutdown"), answer, "{args:?} {:?}", server.log());
        assert!(has("⇄ no.such"), "{args:?} {:?}", server.log());
    }
    let out = Home::new(&config()).run(&["gateway", "--ws-log", "moon"]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && stderr.contains("none of auto, compact, full"), "{stderr}");
}

#[test]
fn secrets_never_reach_the_log() {
    let mut server = Home::new(&config()).start(&["--verbose"]);
    let mut client = Client::open(server.addr(), &[]);
    client.hello(&json!({ "auth": { "token": "guess-the-secret" } }));
    Client::connect(&server, &json!({})).call("system-event", &json!({ "text": "line\nbreak \u{1b}[31m" }));
    server.signal(libc::SIGTERM);
    server.wait();
    let log = server.log().join("\n");
    assert!(!log.contains(TOKEN) && !log.contains("guess-the-secret") && !log.contains('\u{1b}'), "{log}");
}

/// A gateway that may have 48 descriptors: 16 connections, and what it needs itself.
fn cramped() -> Server {
    let home = Home::new(&config());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 48; exec \"$0\" gateway --port 0", env!("CARGO_BIN_EXE_gatewayd")]);
    command.env_clear().env("HOME", home.temp.path()).env("PATH", std::env::var_os("PATH").unwrap());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    Server::spawn(home, command)
}

#[test]
fn a_full_house_turns_the_next_one_away_politely() {
    let server = cramped();
    let house: Vec<Client> = (0..16).map(|_| Client::connect(&server, &json!({}))).collect();
    let mut answer = String::new();
    TcpStream::connect(server.addr()).unwrap().read_to_string(&mut answer).unwrap();
    let answer = answer.to_lowercase();
    assert!(answer.starts_with("http/1.1 503 "), "{answer}");
    for header in
        ["retry-after: 1", "connection: close", "x-content-type-options: nosniff", "x-frame-options: deny"]
    {
        assert!(answer.contains(&format!("{header}\r\n")), "{header}: {answer}");
    }
    drop(house);
}

/// It answers 503 or drops the oldest, and serves again when some descriptors are free.
#[test]
fn out_of_descriptors_it_says_so_and_recovers() {
    let server = cramped();
    let mut crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
    let mut answer = String::new();
    let last = crowd.last_mut().unwrap();
    last.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    // Either the oldest idle ones gave way, or it is told to come again.
    let _ = last.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(crowd);
    Client::connect(&server, &json!({}));
}

#[test]
fn the_http_table() {
    let server = Server::start(&config());
    crate::http1::run(server.addr(), include_str!("../data/http1.jsonl"));
}

#[test]
fn the_dev_profile_starts_on_an_empty_home() {
    let home = Home::empty();
    let command = home.command(&["--dev", "gateway", "--port", "0"]);
    let server = Server::spawn(home, command);
    let dev = server.home.temp.path().join(".openclaw-dev/openclaw.json");
    let made: Value = serde_json::from_str(&std::fs::read_to_string(dev).unwrap()).unwrap();
    let mut client = Client::open(server.addr(), &[]);
    assert_eq!(
        client.hello(
            &json!({ "auth": made["gateway"]["auth"]["token"].as_str().map(|it| json!({ "token": it })) })
        )["ok"],
        true
    );
}
