//! A client on another machine: two network namespaces and a cable between them. Needs root and `ip`; says so where that is not there.
use crate::client::{Client, Device, merge};
use crate::harness::{Home, Server, config};
use crate::telegram::{ANN, with_telegram};
use crate::telegram_server::Telegram;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The machine of the gateway, and that of the client.
struct Lan {
    gateway: String,
    client: String,
}

const GATEWAY_IP: [u8; 4] = [10, 213, 77, 1];

fn ip(line: &str) -> Result<(), String> {
    let output = Command::new("ip").args(line.split(' ')).output().map_err(|err| format!("ip: {err}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Lan {
    fn new() -> Result<Lan, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |what: &str| format!("gwd-{what}{number}-{}", std::process::id());
        let lan = Lan { gateway: name("g"), client: name("c") };
        let (g, c) = (&lan.gateway, &lan.client);
        for line in [
            format!("netns add {g}"),
            format!("netns add {c}"),
            format!("link add eth0 netns {g} type veth peer name eth0 netns {c}"),
            format!("-n {g} addr add 10.213.77.1/24 dev eth0"),
            format!("-n {c} addr add 10.213.77.2/24 dev eth0"),
            format!("-n {g} link set eth0 up"),
            format!("-n {c} link set eth0 up"),
            format!("-n {g} link set lo up"),
        ] {
            ip(&line)?;
        }
        Ok(lan)
    }
    /// Runs on the client's machine.
    fn on_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let netns = std::fs::File::open(format!("/run/netns/{}", self.client)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                use std::os::fd::AsRawFd;
                // SAFETY: an open descriptor; it changes this thread alone, which ends with the work.
                #[expect(unsafe_code, reason = "std knows no namespaces")]
                let done = unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
                work()
            });
            thread.join().unwrap_or_else(|it| std::panic::resume_unwind(it))
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in [&self.gateway, &self.client] {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// `gatewayd` as a person on the gateway's machine runs it.
fn person(lan: &Lan, server: &Server, args: &[&str]) -> Value {
    let mut command = server.home.command_in(&lan.gateway, args);
    command.env("OPENCLAW_GATEWAY_PORT", server.port.to_string());
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out}{err}"))
}

/// Both ends of a credential's life, from another machine than the gateway's.
#[test]
fn a_client_on_the_lan() {
    let lan = match Lan::new() {
        Ok(it) => it,
        Err(why) => return println!("skipped: no network namespaces here ({why})"),
    };
    let mut config = config();
    config["gateway"]["bind"] = "lan".into();
    let home = Home::new(&config);
    let command = home.command_in(&lan.gateway, &["gateway", "--port", "0"]);
    let mut server = Server::spawn(home, command);
    let addr = SocketAddr::from((GATEWAY_IP, server.port));
    let device = Device::new(21);
    let scopes = json!({ "scopes": ["operator.read", "operator.write"] });
    let open = |headers: &[(&str, &str)]| {
        let headers: Vec<(String, String)> =
            headers.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
        lan.on_client(|| Client::open(addr, &headers))
    };
    let connect = |with: &Value| {
        let mut all = scopes.clone();
        merge(&mut all, with);
        let mut client = open(&[]);
        (client.hello_as(&device, &all), client)
    };

    // The secret alone lets it look at the health, whatever it asks for.
    let mut bare = open(&[]);
    assert_eq!(bare.hello(&json!({}))["ok"], true);
    assert_eq!(bare.call("config.get", &json!({}))["error"]["message"], "missing scope: operator.admin");
    // What it says in its headers does not make it this machine.
    for host in ["localhost", "127.0.0.1", "x.ts.net"] {
        let refused = open(&[("Host", host)]).hello_as(&Device::new(22), &scopes);
        assert_eq!(refused["error"]["message"], "pairing required", "{host}: {refused}");
    }
    let page = [("Host", "localhost"), ("Origin", "http://localhost:5173")];
    let refused = open(&page).hello(&json!({}));
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("origin not allowed"), "{refused}");

    // Refused, and told what to type; listed; approved by that; connected.
    let (refused, _) = connect(&json!({}));
    let details = &refused["error"]["details"];
    assert_eq!(refused["error"]["code"], "NOT_PAIRED", "{refused}");
    let line = details["command"].as_str().unwrap();
    server.wait_line(line);
    let listed = person(&lan, &server, &["devices", "list", "--json"]);
    let pending = listed["pending"].as_array().unwrap();
    let mine = pending.iter().find(|it| it["requestId"] == details["requestId"]).unwrap();
    assert_eq!((&mine["deviceId"], &mine["remoteIp"]), (&json!(device.id), &json!("10.213.77.2")));
    let mut words: Vec<&str> = line.split(' ').skip(1).collect();
    words.push("--json");
    let approved = person(&lan, &server, &words);
    assert_eq!(approved["device"]["scopes"], scopes["scopes"]);
    let (hello, mut client) = connect(&json!({}));
    let first = hello["payload"]["auth"]["deviceToken"].clone();
    assert_eq!(client.call("sessions.list", &json!({}))["ok"], true, "{hello}");
    assert_eq!(client.call("config.get", &json!({}))["ok"], false);

    // Rotated: its socket closes, the old token is worth nothing, the secret still gets it the new one.
    let which = ["--device", &device.id, "--role", "operator"];
    person(&lan, &server, &[&["devices", "rotate"], &which[..]].concat());
    let since = Instant::now();
    assert_eq!(client.until_closed(), (1008, "device token rotated".into()));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let (refused, _) = connect(&json!({ "auth": { "token": first } }));
    assert!(refused["error"]["message"].as_str().unwrap().contains("token mismatch"), "{refused}");
    let (hello, _) = connect(&json!({}));
    let second = hello["payload"]["auth"]["deviceToken"].clone();
    assert!(second.is_string() && second != first, "{hello}");
    let (hello, mut client) = connect(&json!({ "auth": { "token": second } }));
    assert_eq!(hello["ok"], true, "{hello}");

    // Revoked: closed, and even with the secret it has to ask anew.
    person(&lan, &server, &[&["devices", "revoke"], &which[..]].concat());
    let since = Instant::now();
    assert_eq!(client.until_closed(), (1008, "device token revoked".into()));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let (refused, _) = connect(&json!({ "auth": { "token": second } }));
    assert!(refused["error"]["message"].as_str().unwrap().contains("token mismatch"), "{refused}");
    let (refused, _) = connect(&json!({}));
    assert_eq!(refused["error"]["code"], "NOT_PAIRED", "{refused}");
}

/// R18: without a network it starts, and answers on this machine; the channel comes when the network does.
#[test]
fn a_network_that_comes_late() {
    let lan = match Lan::new() {
        Ok(it) => it,
        Err(why) => return println!("skipped: no network namespaces here ({why})"),
    };
    ip(&format!("-n {} link set eth0 down", lan.gateway)).unwrap();
    let telegram = lan.on_client(|| Telegram::start_on("10.213.77.2"));
    let mut config = with_telegram(&telegram, json!({ "retry": { "maxDelayMs": 100 } }));
    config["gateway"]["bind"] = "lan".into();
    let home = Home::new(&config);
    let command = home.command_in(&lan.gateway, &["gateway", "--port", "0"]);
    let server = Server::spawn(home, command);
    assert_eq!(person(&lan, &server, &["health", "--json"])["ok"], true);
    telegram.say(ANN, "are you there");
    telegram.wait("it cannot be reached", |_| {
        let said = person(&lan, &server, &["channels", "status", "--json"]);
        let error = said["channelAccounts"]["telegram"][0]["lastError"].as_str().map(str::to_owned);
        error.filter(|it| it.contains("reach"))
    });
    ip(&format!("-n {} link set eth0 up", lan.gateway)).unwrap();
    telegram.wait_for_text(ANN, "are you there");
    assert_eq!(telegram.own(ANN).len(), 1);
}
