//! The configuration file while the gateway runs: edits by hand, by program and by half, and writes through the gateway.
use crate::client::{Came, Client, merge};
use crate::harness::{DEADLINE, Home, Server, config};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn config_with(changes: &Value) -> Value {
    let mut all = config();
    all["gateway"]["reload"] = json!({ "debounceMs": 0 });
    merge(&mut all, changes);
    all
}

fn save(server: &Server, config: &Value) {
    server.home.write("openclaw.json", &config.to_string());
}

/// On a port that stays the same over restarts.
fn on_a_fixed_port(config: &Value) -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::new(config);
    let command = home.command(&["gateway", "--port", &port.to_string()]);
    Server::spawn(home, command)
}

#[test]
fn a_change_that_needs_no_restart_is_in_force_at_once() {
    let mut server = Server::start(&config_with(&json!({})));
    let mut client = Client::connect(&server, &json!({}));
    save(&server, &config_with(&json!({ "ui": { "assistant": { "name": "Pi" } } })));
    server.wait_line("config change applied: ui");
    assert_eq!(client.call("agent.identity.get", &json!({}))["payload"]["name"], "Pi");
}

#[test]
fn a_change_that_needs_a_restart_makes_one_in_this_process() {
    let mut server = on_a_fixed_port(&config_with(&json!({})));
    let mut client = Client::connect(&server, &json!({}));
    save(
        &server,
        &config_with(&json!({ "gateway": { "controlUi": { "allowedOrigins": ["https://ui.example"] } } })),
    );
    assert_eq!(client.event("shutdown")["payload"]["reason"], "gateway restarting");
    assert_eq!(client.next(), Came::Closed(1012, "service restart".into()));
    let line = server.wait_line("listening on ws://127.0.0.1:");
    assert!(line.contains(&format!("(PID {})", server.pid)), "{line}");
    let mut page = Client::open(server.addr(), &[("Origin".into(), "https://ui.example".into())]);
    assert_eq!(page.hello(&json!({}))["ok"], true);
}

#[test]
fn mode_hot_holds_back_what_needs_a_restart() {
    let mut server = Server::start(&config_with(&json!({ "gateway": { "reload": { "mode": "hot" } } })));
    let changes = json!({ "gateway": { "reload": { "mode": "hot" }, "customBindHost": "x" }, "ui": { "assistant": { "name": "Pi" } } });
    save(&server, &config_with(&changes));
    server.wait_line("waits for a restart: gateway.customBindHost");
    server.wait_line("config change applied: ui");
}

#[test]
fn a_broken_edit_changes_nothing_and_is_said_once() {
    let mut server = Server::start(&config_with(&json!({})));
    let mut client = Client::connect(&server, &json!({}));
    server.home.write("openclaw.json", "{ gateway: { port: 'x' } }");
    let line = server.wait_line("config reload skipped (invalid config)");
    assert!(line.contains("gateway.port") && line.contains("line 1"), "{line}");
    let warned = |event: &Value| event["payload"]["warnings"].to_string().contains("gateway.port");
    let mut event = client.event("health");
    while !warned(&event) {
        event = client.event("health");
    }
    save(&server, &config_with(&json!({})));
    while warned(&event) {
        event = client.event("health");
    }
    assert!(!server.log().iter().any(|it| it.contains("restarting")), "{:?}", server.log());
}

#[test]
fn the_last_good_copy_is_what_a_broken_file_starts_with() {
    let mut server = Server::start(&config_with(&json!({})));
    server.signal(libc::SIGTERM);
    server.wait();
    server.home.write("openclaw.json", "{ gateway: ");
    let command = server.home.command(&["gateway", "--port", "0"]);
    let home = std::mem::replace(&mut server.home, Home::empty());
    let mut server = Server::spawn(home, command);
    let mut client = Client::connect(&server, &json!({}));
    let health = client.call("health", &json!({ "probe": true }));
    assert!(health["payload"]["warnings"].to_string().contains("last good copy"), "{health}");
    server.signal(libc::SIGTERM);
    server.wait();
    assert!(server.log().iter().any(|it| it.contains("ERROR") && it.contains("last good copy")));
}

/// Waits by the clock: what is tested is that nothing happens meanwhile.
fn pause(ms: u64) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(Duration::from_millis(ms));
}

#[test]
fn a_file_that_is_written_slowly_or_often_is_read_once_when_it_lies_still() {
    let mut server = Server::start(&config_with(&json!({})));
    let slow = config_with(&json!({ "ui": { "assistant": { "name": "Slow" } } })).to_string();
    let path = server.home.state().join("openclaw.json");
    let mut file = std::fs::File::create(&path).unwrap();
    for byte in slow.as_bytes() {
        std::io::Write::write_all(&mut file, &[*byte]).unwrap();
        pause(5);
    }
    server.wait_line("config change applied: ui");
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < Duration::from_secs(1) {
        save(&server, &config_with(&json!({ "ui": { "assistant": { "name": format!("Often {n}") } } })));
        n += 1;
        pause(5);
    }
    // An editor's way: a new file moved over the old one, with a moment of nothing.
    std::fs::write(&path, "").unwrap();
    let last = config_with(&json!({ "ui": { "assistant": { "name": "Last" } } }));
    server.home.write("new.json", &last.to_string());
    std::fs::rename(server.home.state().join("new.json"), &path).unwrap();
    server.wait_line("config change applied: ui.assistant.name");
    assert_eq!(
        Client::connect(&server, &json!({})).call("agent.identity.get", &json!({}))["payload"]["name"],
        "Last"
    );
    let said = |text: &str| server.log().iter().filter(|it| it.contains(text)).count();
    assert_eq!((said("config change applied"), said("skipped")), (2, 0), "{:#?}", server.log());
}

#[test]
fn a_link_is_followed_and_stays_a_link() {
    let home = Home::empty();
    home.write("real/openclaw.json", &config_with(&json!({})).to_string());
    std::os::unix::fs::symlink("real/openclaw.json", home.state().join("openclaw.json")).unwrap();
    let mut server = home.start(&[]);
    server
        .home
        .write("real/openclaw.json", &config_with(&json!({ "ui": { "seamColor": "#112233" } })).to_string());
    server.wait_line("config change applied: ui");
    let mut client = Client::connect(&server, &json!({}));
    let hash = client.call("config.get", &json!({}))["payload"]["hash"].clone();
    let raw = config_with(&json!({ "ui": { "seamColor": "#445566" } })).to_string();
    assert_eq!(client.call("config.set", &json!({ "raw": raw, "baseHash": hash }))["ok"], true);
    assert!(std::fs::symlink_metadata(server.home.state().join("openclaw.json")).unwrap().is_symlink());
    server.wait_line("config change applied: ui.seamColor");
}

#[test]
fn writes_keep_comments_are_audited_and_limited() {
    let text = "{\n  // who may come in\n  gateway: { mode: 'local', auth: { mode: 'token', token: '${TOKEN}' }, reload: { debounceMs: 0 } },\n  messages: {}, // empty\n}\n";
    let home = Home::empty();
    home.write("openclaw.json", text);
    home.write(".env", "TOKEN=tokA\n");
    let mut server = home.start(&[]);
    let mut client = Client::connect(&server, &json!({}));
    let set = |client: &mut Client, value: &str| {
        let mut now = client.call("config.get", &json!({}))["payload"].take();
        now["parsed"]["messages"]["responsePrefix"] = value.into();
        client.call("config.set", &json!({ "raw": now["parsed"].to_string(), "baseHash": now["hash"] }))
    };
    assert_eq!(set(&mut client, "a")["ok"], true);
    server.wait_line("config change applied: messages.responsePrefix");
    let written = std::fs::read_to_string(server.home.state().join("openclaw.json")).unwrap();
    assert_eq!(written, text.replace("messages: {}", "messages: {\n    responsePrefix: \"a\"\n  }"));
    assert_eq!(set(&mut client, "b")["ok"], true);
    assert_eq!(set(&mut client, "c")["ok"], true);
    let fourth = set(&mut client, "d");
    assert_eq!(
        (&fourth["error"]["code"], &fourth["error"]["retryable"]),
        (&json!("UNAVAILABLE"), &json!(true)),
        "{fourth}"
    );
    let audit = std::fs::read_to_string(server.home.state().join("logs/config-audit.jsonl")).unwrap();
    assert!(
        audit.lines().count() == 3 && audit.contains("config.set by test") && !audit.contains("tokA"),
        "{audit}"
    );
}

#[test]
fn a_patch_restarts_and_the_session_hears_of_it() {
    let mut server = on_a_fixed_port(&config_with(&json!({})));
    let mut client = Client::connect(&server, &json!({}));
    let hash = client.call("config.get", &json!({}))["payload"]["hash"].clone();
    let patch = json!({ "raw": "{messages:{ackReactionScope:'all'}}", "baseHash": hash, "note": "patched", "restartDelayMs": 0 });
    let answer = client.call("config.patch", &patch);
    assert_eq!(answer["payload"]["restart"]["delayMs"], 0, "{answer}");
    assert_eq!(client.event("shutdown")["payload"]["restartExpectedMs"], 1500);
    server.wait_line("back after config.patch: patched");
    assert!(!server.home.state().join("restart-sentinel.json").exists(), "told once");
    let start = Instant::now();
    Client::connect(&server, &json!({}));
    assert!(start.elapsed() < DEADLINE);
}
