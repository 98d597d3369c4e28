//! Tailscale, played by a script: what the gateway asks of it, and whom it believes.
use crate::client::{Client, Device, merge, now_ms, params};
use crate::harness::{Home, Server, config};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Writes down what it is asked, and answers as `whois` says (a line of shell).
fn install(home: &Home, whois: &str) {
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> \"$HOME/asked\"\ncase \"$1\" in\n\
         status) echo 'Warning: versions differ' >&2; echo '{{\"Self\":{{\"DNSName\":\"pi.x.ts.net.\"}}}}';;\n\
         whois) {whois};;\nesac\n"
    );
    let path = home.temp.path().join("bin/tailscale");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

fn with(gateway: &Value) -> Home {
    let mut all = config();
    merge(&mut all, &json!({ "gateway": gateway }));
    Home::new(&all)
}

fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(&[&["gateway", "--port", "0"], args].concat());
    command.env("PATH", format!("{}/bin:/usr/bin:/bin", home.temp.path().display()));
    command
}

fn asked(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string(home.temp.path().join("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn it_is_told_to_show_the_port_and_to_stop_doing_so() {
    let password = json!({ "mode": "password", "token": null, "password": "pass" });
    for (gateway, flags, mode, url, reset) in [
        (json!({ "tailscale": { "mode": "serve" } }), &[][..], "serve", "", false),
        (json!({ "tailscale": { "mode": "serve", "resetOnExit": true } }), &[], "serve", "", true),
        (
            json!({ "tailscale": { "mode": "serve" }, "tls": { "enabled": true } }),
            &[],
            "serve",
            "https+insecure://127.0.0.1:",
            false,
        ),
        (
            json!({ "tailscale": { "mode": "funnel", "resetOnExit": true }, "auth": password }),
            &[],
            "funnel",
            "",
            true,
        ),
        (json!({}), &["--tailscale", "serve", "--tailscale-reset-on-exit"], "serve", "", true),
    ] {
        let home = with(&gateway);
        install(&home, "exit 1");
        let command = command(&home, flags);
        let mut server = Server::spawn(home, command);
        server.wait_line(&format!("[tailscale] {mode} is on: https://pi.x.ts.net/ and wss://pi.x.ts.net"));
        let mut want = vec![format!("{mode} --bg --yes {url}{}", server.port), "status --json".to_owned()];
        assert_eq!(asked(&server.home), want, "{gateway}");
        server.signal(libc::SIGTERM);
        assert_eq!(server.wait().0.code(), Some(0));
        want.extend(reset.then(|| format!("{mode} reset")));
        assert_eq!(asked(&server.home), want, "{gateway}");
    }
    let home = with(&json!({ "tailscale": { "mode": "off", "resetOnExit": true } }));
    install(&home, "exit 1");
    let command = command(&home, &[]);
    let mut server = Server::spawn(home, command);
    server.signal(libc::SIGTERM);
    server.wait();
    assert_eq!(asked(&server.home), Vec::<String>::new());
}

#[test]
fn a_gateway_that_nobody_is_shown_runs_on() {
    for (script, says) in [
        (None, "the program tailscale is not installed"),
        (
            Some("#!/bin/sh\necho starting\necho 'Serve is not enabled on your tailnet.' >&2\nexit 1\n"),
            "Serve is not enabled on your tailnet.",
        ),
    ] {
        let home = with(&json!({ "tailscale": { "mode": "serve", "resetOnExit": true } }));
        install(&home, "exit 1");
        let path = home.temp.path().join("bin/tailscale");
        match script {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let command = command(&home, &[]);
        let mut server = Server::spawn(home, command);
        let line = server.wait_line("[tailscale] serve failed");
        assert!(line.contains(says), "{line}");
        assert_eq!(Client::connect(&server, &json!({})).call("health", &json!({}))["ok"], true);
        server.signal(libc::SIGTERM);
        server.wait_line("[tailscale] serve is still on");
        assert_eq!(server.wait().0.code(), Some(0));
    }
}

#[test]
fn what_would_show_too_much_is_refused() {
    for (gateway, args, says) in [
        (json!({ "tailscale": { "mode": "funnel" } }), &[][..], "needs gateway.auth.mode password"),
        (json!({ "tailscale": { "mode": "serve" }, "bind": "lan" }), &[], "needs gateway.bind loopback"),
        (
            json!({ "tailscale": { "mode": "funnel" }, "auth": { "mode": "password", "password": "p" }, "bind": "lan" }),
            &[],
            "needs gateway.bind loopback",
        ),
        (
            json!({ "tailscale": { "mode": "serve" }, "bind": "custom", "customBindHost": "0.0.0.0" }),
            &[],
            "needs gateway.bind loopback",
        ),
        (json!({}), &["--tailscale", "funnel"], "needs gateway.auth.mode password"),
        (json!({}), &["--tailscale", "moon"], "use off, serve or funnel"),
    ] {
        let home = with(&gateway);
        install(&home, "exit 1");
        let out = command(&home, args).output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{gateway}: {stderr}");
        assert!(stderr.contains(says) && stderr.trim().lines().count() == 1, "{gateway}: {stderr}");
        assert_eq!(asked(&home), Vec::<String>::new());
    }
}

fn headers(login: &str, ip: &str) -> Vec<(String, String)> {
    let all = [
        ("Tailscale-User-Login", login),
        ("X-Forwarded-For", ip),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "pi.x.ts.net"),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// What becomes of a connect without any secret: the error's message.
fn refusal(addr: SocketAddr, headers: &[(String, String)], device: bool, changes: &Value) -> String {
    let mut client = Client::open(addr, headers);
    let mut all = params();
    merge(&mut all, &json!({ "auth": null }));
    merge(&mut all, changes);
    if device {
        let nonce = client.nonce.clone();
        Device::new(9).sign(&mut all, Some(&nonce), now_ms());
    }
    let hello = client.call("connect", &all);
    assert_eq!(hello["ok"], false, "{hello}");
    hello["error"]["message"].as_str().unwrap().to_owned()
}

const ANN: &str = "echo '{\"UserProfile\":{\"LoginName\":\"ann@example.com\"}}'";
const ALLOWED: &str = "pairing required";
const NOT: &str = "unauthorized: gateway token missing";

#[test]
fn who_comes_through_serve() {
    let serve = json!({ "tailscale": { "mode": "serve" } });
    let no = json!({ "tailscale": { "mode": "serve" }, "auth": { "allowTailscale": false } });
    let off = json!({ "auth": { "allowTailscale": true } });
    let password = json!({ "tailscale": { "mode": "serve" }, "auth": { "mode": "password", "token": null, "password": "p" } });
    let both = json!({ "tailscale": { "mode": "serve" }, "auth": { "mode": "password", "token": null, "password": "p", "allowTailscale": true } });
    let tagged = "echo '{\"UserProfile\":{\"LoginName\":\"tagged-devices\"}}'";
    let none = json!({});
    let node = json!({ "role": "node", "scopes": [] });
    let wrong = json!({ "auth": { "token": "wrong" } });
    for (gateway, whois, login, device, changes, want) in [
        (&serve, ANN, "ann@example.com", true, &none, ALLOWED),
        (&serve, ANN, "Ann@Example.com", true, &none, ALLOWED),
        // Whoever the tailnet knows is not asked for a secret, and so cannot have it wrong.
        (&serve, ANN, "ann@example.com", true, &wrong, ALLOWED),
        (&serve, ANN, "ann@example.com", false, &none, "device identity required"),
        (&serve, ANN, "ann@example.com", true, &node, NOT),
        (&serve, ANN, "bob@example.com", true, &none, NOT),
        (&serve, tagged, "tagged-devices", true, &none, NOT),
        (&serve, "echo 'peer not found' >&2; exit 1", "ann@example.com", true, &none, NOT),
        (&serve, "echo not JSON", "ann@example.com", true, &none, NOT),
        (&serve, "echo '{\"UserProfile\":{}}'", "ann@example.com", true, &none, NOT),
        (&no, ANN, "ann@example.com", true, &none, NOT),
        (&off, ANN, "ann@example.com", true, &none, NOT),
        (&password, ANN, "ann@example.com", true, &none, "unauthorized: gateway password missing"),
        (&both, ANN, "ann@example.com", true, &none, ALLOWED),
    ] {
        let home = with(gateway);
        install(&home, whois);
        let command = command(&home, &[]);
        let server = Server::spawn(home, command);
        let got = refusal(server.addr(), &headers(login, "100.64.0.9"), device, changes);
        assert!(got.starts_with(want), "{gateway} {whois} {login} {changes}: {got}");
        let asks = asked(&server.home).iter().filter(|it| *it == "whois --json 100.64.0.9").count();
        let should = gateway == &serve || gateway == &both;
        assert_eq!(asks, usize::from(should), "{gateway} {login}");
    }
}

#[test]
fn it_is_asked_once_a_minute_and_by_whole_claims_alone() {
    let home = with(&json!({ "tailscale": { "mode": "serve" } }));
    install(&home, ANN);
    let command = command(&home, &[]);
    let mut server = Server::spawn(home, command);
    server.wait_line("serve is on");
    let whole = headers("ann@example.com", "100.64.0.9");
    for at in 0..whole.len() {
        let mut less = whole.clone();
        less.remove(at);
        assert!(refusal(server.addr(), &less, true, &json!({})).starts_with(NOT), "without {}", whole[at].0);
    }
    let list = headers("ann@example.com", "100.64.0.9, 127.0.0.1");
    assert!(refusal(server.addr(), &list, true, &json!({})).starts_with(NOT));
    let whois = |server: &Server| asked(&server.home).iter().filter(|it| it.starts_with("whois")).count();
    assert_eq!(whois(&server), 0);
    for _ in 0..3 {
        assert!(refusal(server.addr(), &whole, true, &json!({})).starts_with(ALLOWED));
    }
    // Another's name, from that machine: what is known suffices.
    assert!(
        refusal(server.addr(), &headers("bob@example.com", "100.64.0.9"), true, &json!({})).starts_with(NOT)
    );
    assert_eq!(whois(&server), 1);
    assert!(
        refusal(server.addr(), &headers("ann@example.com", "100.64.0.10"), true, &json!({}))
            .starts_with(ALLOWED)
    );
    assert_eq!(whois(&server), 2);
    // The owner of this machine needs none of it.
    Client::connect(&server, &json!({}));
}

/// Those who wait for a daemon that hangs get an answer in time, and nobody else waits.
#[test]
fn a_daemon_that_hangs_holds_nobody_up() {
    let home = with(&json!({ "tailscale": { "mode": "serve" } }));
    install(&home, "exec sleep 60");
    let command = command(&home, &[]);
    let server = Server::spawn(home, command);
    let (start, addr) = (Instant::now(), server.addr());
    let claims = headers("ann@example.com", "100.64.0.9");
    std::thread::scope(|scope| {
        let waits: Vec<_> =
            (0..3).map(|_| scope.spawn(|| refusal(addr, &claims, true, &json!({})))).collect();
        let mut client = Client::connect(&server, &json!({}));
        assert_eq!(client.call("health", &json!({ "probe": true }))["ok"], true);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        for it in waits {
            assert!(it.join().unwrap().starts_with(NOT));
        }
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(asked(&server.home).iter().filter(|it| it.starts_with("whois")).count(), 1);
}
