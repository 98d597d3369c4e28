//! Files that are no configuration: each is refused in a sentence, by the command line, at start, and under a running gateway, which goes
//! on with what it has. And what must never be seen of a good one.
use crate::client::{Client, merge};
use crate::harness::{Home, Server, config};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

/// Puts it where the configuration is expected.
type Put = fn(&Path);

fn text(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap();
}

#[expect(unsafe_code, reason = "std makes no FIFO")]
fn fifo(path: &Path) {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a path that ends with a zero byte.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

/// What stands there, and what is said of it.
const BAD: &[(&str, Put, &str)] = &[
    ("1 GB", |it| fs::File::create(it).unwrap().set_len(1 << 30).unwrap(), "1073741824 bytes, more than the"),
    ("FIFO", fifo, "not a regular file"),
    ("folder", |it| fs::create_dir(it).unwrap(), "not a regular file"),
    ("device", |it| symlink("/dev/zero", it).unwrap(), "not a regular file"),
    ("link to itself", |it| symlink(it, it).unwrap(), "symbolic links"),
    ("no text", |it| text(it, b"{ a: '\xff\xfe' }"), "invalid utf-8"),
    ("empty", |it| text(it, ""), "JSON5: invalid end of input at 1:1"),
    ("zeros", |it| text(it, [0; 100]), "JSON5: invalid character"),
    ("cut", |it| text(it, "{ gateway: { mode: 'loc"), "JSON5: invalid end of input at 1:24"),
    ("array", |it| text(it, "[]"), "the file must hold an object"),
    (
        "deep arrays",
        |it| text(it, format!("{{a:{}", "[".repeat(10_000))),
        "more than 64 levels of arrays and objects",
    ),
    (
        "deep objects",
        |it| text(it, format!("{}1{}", "{a:".repeat(10_000), "}".repeat(10_000))),
        "more than 64 levels of arrays and objects",
    ),
    (
        "prototype",
        |it| text(it, "{ gateway: { __proto__: { mode: 'local' } } }"),
        "gateway.__proto__: a key of this name",
    ),
    (
        "constructor",
        |it| text(it, "{ mine: [{ a: 1, 'constructor': {} }], constructor: 1 }"),
        "constructor: a key of this name",
    ),
    ("infinity", |it| text(it, "{ gateway: { port: Infinity } }"), "Infinity is no number"),
    ("huge number", |it| text(it, "{ gateway: { port: 1e999 } }"), "a number too large to hold"),
    ("no variable", |it| text(it, "{ gateway: { auth: { token: '${NOT_SET}' } } }"), "NOT_SET is not set"),
    ("include of itself", |it| text(it, "{ $include: './openclaw.json' }"), "includes itself"),
    ("include above", |it| text(it, "{ $include: '../x.json' }"), "beneath the folder of the configuration"),
    (
        "include of a device",
        |it| text(it, "{ $include: '/dev/zero' }"),
        "beneath the folder of the configuration",
    ),
];

/// Every syntax error of JSON5 that there is a kind of, with its place.
const SYNTAX: &[(&str, &str)] = &[
    ("{a 1}", "invalid character '1' at 1:4"),
    ("{a: 1 b: 2}", "invalid character 'b' at 1:7"),
    ("{,}", "invalid character ',' at 1:2"),
    ("{a: 'x}", "invalid end of input at 1:8"),
    ("{a: 'x\n'}", "invalid character '\\n' at 1:7"),
    ("{a: '\\x0'}", "invalid character"),
    ("{a: '\\u12'}", "invalid character"),
    ("{a: '\\1'}", "invalid character"),
    ("{a: 01}", "invalid character '1' at 1:6"),
    ("{a: 0x}", "invalid character '}' at 1:7"),
    ("{a: 1e}", "invalid character '}' at 1:7"),
    ("{a: .}", "invalid character '}' at 1:6"),
    ("{a: tru}", "invalid character '}' at 1:8"),
    ("{a: /}", "invalid character '}' at 1:6"),
    ("{/* }", "invalid end of input at 1:6"),
    ("{a: 1}}", "invalid character '}' at 1:7"),
    ("{1a: 1}", "invalid character '1' at 1:2"),
];

fn clear(path: &Path) {
    let _ = fs::remove_dir(path);
    let _ = fs::remove_file(path);
}

#[test]
fn what_is_no_configuration_is_refused_at_once() {
    let home = Home::new(&config());
    let path = home.state().join("openclaw.json");
    // What can be read can be mended step by step.
    let mendable = |name: &str| name.starts_with("include") || matches!(name, "no variable");
    let check = |name: &str, says: &str| {
        for args in [&["config", "validate"][..], &["gateway", "--port", "0"], &["config", "set", "a", "1"]] {
            if args[1] == "set" && mendable(name) {
                continue;
            }
            let start = Instant::now();
            let out = home.run(args);
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(
                out.status.code() == Some(78) && err.contains(says),
                "{name}: {args:?}: {:?} {err}",
                out.status
            );
            assert!(start.elapsed() < Duration::from_secs(5), "{name}: {args:?}");
        }
    };
    for (name, put, says) in BAD {
        clear(&path);
        put(&path);
        check(name, says);
    }
    for (wrong, says) in SYNTAX {
        clear(&path);
        text(&path, wrong);
        let out = home.run(&["config", "validate"]);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(78) && err.contains(says), "{wrong}: {err}");
        assert_eq!(fs::read_to_string(&path).unwrap(), *wrong);
    }
}

/// As somebody who may not read it. Root may, so root becomes somebody else for it.
#[test]
fn a_file_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let home = Home::new(&config());
    fs::set_permissions(home.state().join("openclaw.json"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = home.command(&["config", "validate"]);
    // SAFETY: getuid(2) cannot fail.
    #[expect(unsafe_code, reason = "std does not tell who we are")]
    if unsafe { libc::getuid() } == 0 {
        command.uid(65_534);
    }
    match command.output() {
        Ok(out) => {
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.code() == Some(78) && err.contains("Permission denied"), "{err}");
        }
        // The program lies where nobody else may run it: then there is nobody to ask.
        Err(err) => assert_eq!(err.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

#[test]
fn a_running_gateway_keeps_what_it_has() {
    let mut with = config();
    with["gateway"]["reload"] = json!({ "debounceMs": 0 });
    with["ui"] = json!({ "assistant": { "name": "Before" } });
    let mut server = Server::start(&with);
    let path = server.home.state().join("openclaw.json");
    let mut client = Client::connect(&server, &json!({}));
    for (name, put, says) in BAD {
        clear(&path);
        put(&path);
        let line = server.wait_line("config reload skipped (invalid config)");
        let line = if line.contains("is gone") { server.wait_line("config reload skipped") } else { line };
        assert!(line.contains(says), "{name}: {line}");
        assert_eq!(client.call("agent.identity.get", &json!({}))["payload"]["name"], "Before", "{name}");
        // And it is looked at again when it is one.
        clear(&path);
        with["wizard"] = json!({ "lastRunCommand": name });
        text(&path, with.to_string());
        server.wait_line("config change applied: wizard");
    }
}

/// Twenty secrets where secrets stand, known keys and unknown.
fn secrets() -> (Value, Vec<String>) {
    let secret = |n: usize| format!("tw3nty-{n:02}-s3crets");
    let config = json!({
        "gateway": {
            "mode": "local", "config": { "redact": true }, "auth": { "mode": "token", "token": crate::harness::TOKEN, "password": secret(0) },
            "remote": { "url": "ws://far", "token": secret(1), "password": secret(2) },
        },
        "hooks": { "token": secret(3), "gmail": { "pushToken": secret(4) } },
        "models": { "providers": { "p": { "baseUrl": "http://127.0.0.1:9", "apiKey": secret(5), "headers": { "X-Any": secret(6), "Authorization": secret(7) }, "models": [] } } },
        "channels": {
            "telegram": { "botToken": secret(8), "webhookSecret": secret(9), "accounts": { "a": { "botToken": secret(10) } } },
            "slack": { "appToken": secret(11), "signingSecret": secret(12) },
        },
        "env": { "vars": { "ANY": secret(13) }, "OTHER": secret(14) },
        "skills": { "entries": { "s": { "apiKey": secret(15), "env": { "KEY": secret(16) } } } },
        "talk": { "apiKey": secret(17) },
        "plugins": { "entries": { "p": { "config": { "clientSecret": secret(18) } } } },
        "unheard": { "of": [{ "privateKey": secret(19) }] },
    });
    (config, (0..20).map(secret).collect())
}

#[test]
fn no_secret_leaves_the_process() {
    let (config, secrets) = secrets();
    let mut server = Home::new(&config).start(&["--verbose"]);
    let mut seen = String::new();
    for protocol in [3, 4] {
        let with = json!({ "minProtocol": protocol, "maxProtocol": protocol });
        let mut client = Client::open(server.addr(), &[]);
        let hello = client.hello(&with);
        let methods =
            hello["payload"]["features"]["methods"].as_array().unwrap_or_else(|| panic!("{hello}")).clone();
        assert!(methods.len() > 20, "{hello}");
        for method in methods {
            let answer = client.call(method.as_str().unwrap(), &json!({}));
            seen += &answer.to_string();
        }
        let hash = client.call("config.get", &json!({}))["payload"]["hash"].clone();
        let mut edit = config.clone();
        merge(&mut edit, &json!({ "messages": { "responsePrefix": protocol.to_string() } }));
        let answer = client.call("config.set", &json!({ "raw": edit.to_string(), "baseHash": hash }));
        assert_eq!(answer["ok"], true, "{answer}");
        seen += &answer.to_string();
        seen += &client.events.iter().map(Value::to_string).collect::<String>();
        assert!(seen.contains("__OPENCLAW_REDACTED__"));
    }
    for args in [
        &["config", "get", "gateway"][..],
        &["config", "explain", "env"],
        &["config", "get", "channels"],
        &["status"],
        &["gateway", "status"],
        &["config", "validate"],
    ] {
        let out = server.home.run(args);
        seen += &String::from_utf8_lossy(&out.stdout);
        seen += &String::from_utf8_lossy(&out.stderr);
    }
    server.signal(libc::SIGTERM);
    server.wait();
    seen += &server.log().join("\n");
    let mut files = 0;
    for entry in fs::read_dir(server.home.state().join("logs")).unwrap() {
        seen += &fs::read_to_string(entry.unwrap().path()).unwrap();
        files += 1;
    }
    assert!(files >= 2, "the log and the audit log");
    for secret in secrets {
        assert!(
            !seen.contains(&secret),
            "{secret}: {:?}",
            seen.find(&secret).map(|at| &seen[at.saturating_sub(200)..at + 40])
        );
    }
}

/// On protocol 3 an admin gets the text itself, which is what its clients edit; on 4 nobody does.
#[test]
fn who_sees_the_raw_text() {
    let (mut config, secrets) = secrets();
    merge(&mut config, &json!({ "gateway": { "config": null } }));
    let server = Server::start(&config);
    for (protocol, shown) in [(3, true), (4, false)] {
        let mut client =
            Client::connect(&server, &json!({ "minProtocol": protocol, "maxProtocol": protocol }));
        let answer = client.call("config.get", &json!({}))["payload"].to_string();
        for secret in &secrets {
            assert_eq!(answer.contains(secret), shown, "protocol {protocol}: {secret}");
        }
    }
}
