//! The configuration file while the gateway runs: edits by hand, by program and by half, and writes through the gateway.
use crate::client::{Came, Client, merge};
use crate::harness::{DEADLINE, Home, Server, config, free_port};
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
    let port = free_port();
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

/// The broken file says nothing of the port and the token any more; the copy does, to the command line too.
#[test]
fn on_the_last_good_copy_the_command_line_finds_its_gateway() {
    let mut good = config_with(&json!({}));
    good["gateway"]["port"] = free_port().into();
    let home = Home::new(&good);
    home.write("openclaw.json.last-good", &good.to_string());
    home.write("openclaw.json", "{ gateway: ");
    let command = home.command(&["gateway"]);
    let server = Server::spawn(home, command);
    for args in [&["health"][..], &["status"], &["gateway", "status"], &["gateway", "probe"]] {
        let out = server.home.run(args);
        let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
        let (said, warned) = (text(&out.stdout), text(&out.stderr));
        assert_eq!(out.status.code(), Some(0), "{args:?}: {said} {warned}");
        assert!(warned.contains("JSON5: invalid end of input"), "{args:?}: {warned}");
        assert!(
            !said.contains("unreachable") && !said.contains("RPC probe:      failed"),
            "{args:?}: {said}"
        );
        if args.len() == 1 {
            assert!(said.contains("last good copy"), "{args:?}: {said}");
        }
    }
}

#[test]
fn strictness_holds_while_it_runs() {
    let mut server = Home::new(&config_with(&json!({}))).start(&["--strict"]);
    save(&server, &config_with(&json!({ "unheard": 1, "ui": { "assistant": { "name": "Pi" } } })));
    let line = server.wait_line("config reload skipped (invalid config)");
    assert!(line.contains("unheard: unknown key"), "{line}");
    save(&server, &config_with(&json!({ "ui": { "assistant": { "name": "Pi" } } })));
    server.wait_line("config change applied: ui");
}

/// Waits by the clock: what is tested is that nothing happens meanwhile.
fn pause(ms: u64) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(Duration::from_millis(ms));
}

#[test]
fn a_file_that_is_written_slowly_or_often_is_read_once_when_it_lies_still() {
    let with = |name: &str| {
        config_with(
            &json!({ "gateway": { "reload": { "debounceMs": QUIET_MS } }, "ui": { "assistant": { "name": name } } }),
        )
    };
    let mut server = Server::start(&with("First"));
    let slow = with("Slow").to_string();
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
        save(&server, &with(&format!("Often {n}")));
        n += 1;
        pause(5);
    }
    // An editor's way: a new file moved over the old one, with a moment of nothing.
    std::fs::write(&path, "").unwrap();
    let last = with("Last");
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

/// `got` says at least what `want` says; `...` stands for anything, as do numbers that only a run knows.
fn covers(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (_, Value::String(any)) if any == "..." => true,
        (Value::Object(got), Value::Object(want)) => want.iter().all(|(name, want)| {
            let varies = name == "pid" || name == "ts";
            got.get(name).is_some_and(|it| if varies { it.is_number() } else { covers(it, want) })
        }),
        (Value::String(got), Value::String(want)) => {
            want.strip_prefix("$HOME").map_or(got == want, |rest| got.ends_with(rest))
        }
        _ => got == want,
    }
}

/// `reload-captures.jsonl`: what the reference answered to a write (`answer`), and what it did then. Where the class of the change is
/// none or hot, the reference restarted all the same, for the stamp that it puts into the file at every write: the gateway `stays`.
#[test]
fn what_the_reference_does_after_a_write() {
    for line in include_str!("../data/reload-captures.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        let mut server = on_a_fixed_port(&config_with(&json!({})));
        let mut client = Client::connect(&server, &json!({}));
        let now = client.call("config.get", &json!({}))["payload"].take();
        let mut whole = now["parsed"].clone();
        merge(&mut whole, &case["change"]);
        let raw = case["raw"].as_str().map_or_else(|| whole.to_string(), str::to_owned);
        let mut params = json!({ "raw": raw, "baseHash": now["hash"] });
        merge(&mut params, &case["params"]);
        let answer = client.call(case["method"].as_str().unwrap(), &params);
        assert!(covers(&answer, &case["answer"]), "{name}: {answer}");
        if case["answer"]["ok"] == false {
            let issues = |it: &Value| it["error"]["details"]["issues"].as_array().map(Vec::len);
            assert_eq!(issues(&answer), issues(&case["answer"]), "{name}: {answer}");
        }
        match case["then"].as_str() {
            Some("restart") => {
                assert!(covers(&client.event("shutdown"), &case["restart"][0]), "{name}");
                let (code, reason) = (&case["restart"][1]["code"], &case["restart"][1]["reason"]);
                let closed = Came::Closed(code.as_u64().unwrap() as u16, reason.as_str().unwrap().into());
                assert_eq!(client.next(), closed, "{name}");
                // At once, and at the first try.
                Client::connect(&server, &json!({}));
                assert!(server.wait_line("listening on").contains(&format!("PID {}", server.pid)));
            }
            Some(_) => {
                server.wait_line(case["log"].as_str().unwrap());
                assert_eq!(client.call("health", &json!({}))["ok"], true, "{name}");
                assert!(client.events.iter().all(|it| it["event"] != "shutdown"), "{name}");
            }
            None => {
                assert_eq!(client.call("config.get", &json!({}))["payload"]["hash"], now["hash"], "{name}")
            }
        }
    }
}

/// Calls that end with their own connection each, as fast as they can, for as long as a restart takes and longer.
#[test]
fn nobody_is_refused_while_it_restarts() {
    let mut server = on_a_fixed_port(&config_with(&json!({})));
    let addr = server.addr();
    save(&server, &config_with(&json!({ "gateway": { "customBindHost": "x" } })));
    let restarted = std::sync::atomic::AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            let mut after = 0;
            while after < 20 {
                let start = Instant::now();
                std::net::TcpStream::connect(addr).expect("a socket listens all the time");
                longest = longest.max(start.elapsed());
                after += u32::from(restarted.load(std::sync::atomic::Ordering::Relaxed));
                pause(1);
            }
            longest
        });
        server.wait_line("restarting: configuration: gateway.customBindHost");
        server.wait_line("listening on ws://127.0.0.1:");
        restarted.store(true, std::sync::atomic::Ordering::Relaxed);
        knocking.join().unwrap()
    });
    println!("longest connect: {longest:?}");
    Client::connect(&server, &json!({}));
}

/// No gateway could start with any of these edits: the old one goes on, says why, and keeps what it knows to be good. Without a secret
/// it does not even try.
#[test]
fn a_restart_that_cannot_begin_leaves_the_gateway_as_it_was() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    for (change, says) in [
        (json!({ "gateway": { "port": taken } }), format!("already listening on ws://127.0.0.1:{taken}")),
        (json!({ "gateway": { "mode": "remote" } }), "set gateway.mode=local".to_owned()),
        (json!({ "gateway": { "auth": null } }), "no gateway token is configured".to_owned()),
        (json!({ "gateway": { "bind": "custom", "customBindHost": "moon" } }), "is no address".to_owned()),
    ] {
        let port = free_port();
        let mut before = config_with(&json!({}));
        before["gateway"]["port"] = port.into();
        let home = Home::new(&before);
        let command = home.command(&["gateway"]);
        let mut server = Server::spawn(home, command);
        let good = std::fs::read(server.home.state().join("openclaw.json.last-good")).unwrap();
        let mut wrong = before.clone();
        merge(&mut wrong, &change);
        save(&server, &wrong);
        let line = server.wait_line(&says);
        let (level, text) = match change["gateway"].get("auth") {
            Some(_) => ("WARN", "config reload skipped"),
            None => ("ERROR", "could not restart and goes on with the old configuration"),
        };
        assert!(line.contains(level) && line.contains(text), "{line}");
        let mut client = Client::connect(&server, &json!({}));
        for method in ["health", "status"] {
            let told = client.call(method, &json!({ "probe": true }))["payload"]["warnings"].to_string();
            assert!(told.contains(&says), "{method}: {told}");
        }
        let kept = std::fs::read(server.home.state().join("openclaw.json.last-good")).unwrap();
        assert_eq!(kept, good, "what nobody started with is not known to be good");
        save(&server, &before);
        let mut told = client.event("health");
        while told["payload"]["warnings"].to_string().contains(&says) {
            told = client.event("health");
        }
    }
}

#[test]
fn the_listener_moves_to_another_address_or_port() {
    let (old, new) = (free_port(), free_port());
    for (change, says) in [
        (json!({ "gateway": { "bind": "lan" } }), format!("ws://0.0.0.0:{old} ")),
        (json!({ "gateway": { "port": new } }), format!("ws://127.0.0.1:{new} ")),
    ] {
        let mut before = config_with(&json!({}));
        before["gateway"]["port"] = old.into();
        let home = Home::new(&before);
        let command = home.command(&["gateway"]);
        let mut server = Server::spawn(home, command);
        merge(&mut before, &change);
        save(&server, &before);
        let line = server.wait_line("listening on ws://");
        let line = if line.contains("[::1]") { server.wait_line("listening on ws://") } else { line };
        assert!(line.contains(&says), "{line}");
        server.port = line.rsplit(':').next().unwrap().split(' ').next().unwrap().parse().unwrap();
        Client::connect(&server, &json!({}));
        assert_eq!(std::net::TcpStream::connect(("127.0.0.1", old)).is_ok(), server.port == old);
    }
}

/// Far longer than a writer stands still on a busy machine.
const QUIET_MS: u64 = 800;

/// R11: however often it is saved, what needs a restart makes one; what is broken is said once; the last save counts.
#[test]
fn a_storm_of_saves_makes_one_restart() {
    let with = |host: &str| {
        config_with(&json!({ "gateway": { "customBindHost": host, "reload": { "debounceMs": QUIET_MS } } }))
    };
    let mut server = on_a_fixed_port(&with("first"));
    let file = server.home.state().join("openclaw.json");
    let storm = |text: &dyn Fn(usize) -> String| {
        let (start, mut saves) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(1) {
            std::fs::write(&file, text(saves)).unwrap();
            saves += 1;
            pause(5);
        }
    };
    storm(&|n| format!("{{ gateway: {{ port: 'wrong {n}' }} }}"));
    server.wait_line("config reload skipped (invalid config): gateway.port");
    storm(&|n| with(&format!("host{n}")).to_string());
    save(&server, &with("last"));
    server.wait_line("restarting: configuration: gateway.customBindHost");
    server.wait_line("listening on ws://127.0.0.1:");
    let mut client = Client::connect(&server, &json!({}));
    assert_eq!(
        client.call("config.get", &json!({}))["payload"]["parsed"]["gateway"]["customBindHost"],
        "last"
    );
    // So soon after a restart, the next one has to wait; what is asked for meanwhile is the same one.
    for name in ["again", "and again"] {
        save(&server, &with(name));
        pause(QUIET_MS + 400);
    }
    let wait = server.wait_line("restart in ");
    assert!(wait.contains("gateway.customBindHost"), "{wait}");
    assert_eq!(client.call("health", &json!({}))["ok"], true);
    server.signal(libc::SIGTERM);
    server.wait();
    let said = |text: &str| server.log().iter().filter(|it| it.contains(text)).count();
    assert_eq!((said("restarting:"), said("restart in "), said("skipped")), (1, 1, 1), "{:#?}", server.log());
}

#[test]
fn an_include_that_comes_later_is_seen() {
    let mut server = Server::start(&config_with(&json!({})));
    let mut with = config_with(&json!({}));
    with["ui"] = json!({ "$include": "./ui.json5" });
    save(&server, &with);
    let line = server.wait_line("config reload skipped (invalid config)");
    assert!(line.contains("ui.$include") && line.contains("no such file"), "{line}");
    server.home.write("ui.json5", "{ assistant: { name: 'Pi' } }");
    server.wait_line("config change applied: ui");
    server.home.write("ui.json5", "{ assistant: { name: 'Po' } }");
    server.wait_line("config change applied: ui.assistant.name");
    let mut client = Client::connect(&server, &json!({}));
    assert_eq!(client.call("agent.identity.get", &json!({}))["payload"]["name"], "Po");
}

#[test]
fn the_log_follows_its_settings() {
    let mut server = Server::start(&config_with(&json!({})));
    let mut client = Client::connect(&server, &json!({}));
    save(&server, &config_with(&json!({ "logging": { "consoleLevel": "debug", "level": "warn" } })));
    server.wait_line("config change applied: logging");
    while !server.log().iter().any(|it| it.contains("⇄ health")) {
        client.call("health", &json!({}));
        // A refused call is logged at every level: by its line the one before had its chance.
        client.call("no.such", &json!({}));
        server.wait_line("⇄ no.such");
    }
}

/// A write through the gateway allows one SIGUSR1.
#[test]
fn a_write_allows_one_restart_by_signal() {
    let mut server = on_a_fixed_port(&config_with(&json!({})));
    let mut client = Client::connect(&server, &json!({}));
    let now = client.call("config.get", &json!({}))["payload"].take();
    let raw = config_with(&json!({ "messages": { "responsePrefix": "x" } })).to_string();
    assert_eq!(client.call("config.set", &json!({ "raw": raw, "baseHash": now["hash"] }))["ok"], true);
    server.wait_line("config change applied");
    server.signal(libc::SIGUSR1);
    assert_eq!(client.event("shutdown")["payload"]["reason"], "gateway restarting");
    server.wait_line("listening on ws://127.0.0.1:");
    server.signal(libc::SIGUSR1);
    server.wait_line("SIGUSR1 ignored");
    Client::connect(&server, &json!({}));
}
