//! `doctor`: a broken home in; the finding, and where there is one the repair, out.
use crate::harness::{Home, Server, config};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn doctor(home: &Home, args: &[&str]) -> (Value, Option<i32>) {
    let out = home.run(&[&["doctor", "--json"], args].concat());
    let said = serde_json::from_slice(&out.stdout);
    (said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr))), out.status.code())
}

fn codes(said: &Value) -> Vec<&str> {
    said["findings"].as_array().unwrap().iter().filter_map(|it| it["code"].as_str()).collect()
}

fn with(changes: &Value) -> Value {
    let mut it = config();
    crate::client::merge(&mut it, changes);
    it
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A home in order, which then is broken: what is found, and whether `--repair` ends it.
struct Case {
    code: &'static str,
    repairs: bool,
    breaks: Box<dyn Fn(&Home)>,
}

fn case(code: &'static str, repairs: bool, breaks: impl Fn(&Home) + 'static) -> Case {
    Case { code, repairs, breaks: Box::new(breaks) }
}

fn write_config(value: Value) -> impl Fn(&Home) {
    move |home| {
        home.write("openclaw.json", &value.to_string());
        mode(&home.state().join("openclaw.json"), 0o600);
    }
}

const UNIT: &str = ".config/systemd/user/openclaw-gateway.service";

fn unit(home: &Home, name: &str, text: &str) {
    let path = home.temp.path().join(".config/systemd/user").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn cases() -> Vec<Case> {
    let mut all = about_files();
    all.extend(about_units());
    all.extend(about_agents());
    all
}

fn about_files() -> Vec<Case> {
    vec![
        case("config.missing", true, |home| {
            std::fs::remove_file(home.state().join("openclaw.json")).unwrap()
        }),
        case("config.invalid", false, |home| home.write("openclaw.json", "{ gateway: ")),
        case("config.unknown", false, write_config(with(&json!({ "moonshine": true })))),
        case(
            "config.legacy",
            true,
            write_config(with(&json!({ "agent": { "model": "a/b" }, "identity": { "name": "Sam" } }))),
        ),
        case("config.permissions", true, |home| mode(&home.state().join("openclaw.json"), 0o644)),
        case(
            "config.mode",
            true,
            write_config(json!({ "gateway": { "auth": { "token": "0123456789abcdef" } } })),
        ),
        case(
            "config.remote",
            false,
            write_config(with(&json!({ "gateway": { "mode": "remote", "remote": { "url": "ws://h:1" } } }))),
        ),
        case(
            "config.plain",
            false,
            write_config(with(
                &json!({ "gateway": { "bind": "lan", "auth": { "token": "0123456789abcdef" } } }),
            )),
        ),
        case(
            "auth.both",
            false,
            write_config(with(&json!({ "gateway": { "auth": { "mode": null, "password": "p" } } }))),
        ),
        case("sessions.newer", false, |home| {
            home.write("agents/main/agent/openclaw-agent.sqlite", "SQLite format 3")
        }),
        case("auth.missing", true, write_config(json!({ "gateway": { "mode": "local" } }))),
        case(
            "auth.weak",
            false,
            write_config(with(&json!({ "gateway": { "bind": "lan", "tls": { "enabled": true } } }))),
        ),
        case(
            "channel.open",
            false,
            write_config(with(
                &json!({ "channels": { "telegram": { "botToken": "1:a", "dmPolicy": "open", "allowFrom": ["*"] } } }),
            )),
        ),
        case("state.permissions", true, |home| mode(&home.state(), 0o755)),
        case("state.secrets", true, |home| {
            home.write(".env", "A=1\n");
            mode(&home.state().join(".env"), 0o644);
        }),
        case("state.owner", false, |home| std::os::unix::fs::chown(home.state(), Some(4242), None).unwrap()),
        case("state.layout", true, |home| home.write("sessions/old.jsonl", "{}\n")),
        case("state.aside", false, |home| home.write("devices.json.corrupt-0000000000001", "x")),
        case("state.elsewhere", false, |home| {
            std::fs::remove_dir_all(home.state()).unwrap();
            std::fs::create_dir(home.temp.path().join(".clawdbot")).unwrap();
        }),
        case("sessions.broken", false, |home| home.write("agents/main/sessions/sessions.json", "[]")),
        case("sessions.unreadable", false, |home| {
            std::fs::create_dir_all(home.state().join("agents/main/sessions/sessions.json")).unwrap()
        }),
        case("sessions.lost", false, |home| {
            let store =
                json!({ "agent:main:main": { "sessionId": "gone", "updatedAt": 5, "outputTokens": 7 } });
            home.write("agents/main/sessions/sessions.json", &store.to_string());
        }),
        case(
            "port.clash",
            false,
            write_config(with(&json!({ "gateway": { "port": 20_100 }, "canvasHost": { "port": 20_102 } }))),
        ),
    ]
}

fn about_units() -> Vec<Case> {
    let ours = "[Service]\nExecStart=/bin/true gateway\n[Install]\nWantedBy=default.target\n";
    vec![
        case("unit.outdated", false, move |home| unit(home, "openclaw-gateway.service", ours)),
        case("unit.disabled", false, move |home| unit(home, "openclaw-gateway.service", ours)),
        case("unit.unknown", false, move |home| unit(home, "openclaw-gateway.service", ours)),
        case("unit.legacy", true, |home| {
            unit(home, "moltbot-gateway.service", "[Service]\nExecStart=/opt/moltbot gateway\n")
        }),
    ]
}

fn about_agents() -> Vec<Case> {
    let profile = |expires: i64| {
        let it = json!({ "version": 1, "profiles": {
            "anthropic:me": { "type": "oauth", "provider": "anthropic", "access": "a", "refresh": "r", "expires": expires },
            "anthropic:key": { "type": "api_key", "provider": "anthropic", "key": "k" },
        } });
        move |home: &Home| home.write("agents/main/agent/auth-profiles.json", &it.to_string())
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let skill = |name: &'static str, metadata: &'static str| {
        move |home: &Home| {
            home.write(&format!("{name}/SKILL.md"), &format!("---\nname: x\nmetadata: {metadata}\n---\n"))
        }
    };
    vec![
        case("auth.expired", false, profile(1_000)),
        case("auth.expiring", false, profile(now + 3_600_000)),
        case("auth.unreadable", false, |home| home.write("agents/main/agent/auth-profiles.json", "{ half")),
        case(
            "skills.missing",
            false,
            skill("skills/weather", r#"{"openclaw": {"requires": {"bins": ["no-such-program"]}}}"#),
        ),
        case(
            "skills.missing",
            false,
            skill("workspace/skills/mail", r#"{"openclaw": {"requires": {"env": ["NO_SUCH_KEY"]}}}"#),
        ),
    ]
}

/// Findings that no broken home alone makes: the file whose tests have them.
const ELSEWHERE: [(&str, &str); 15] = [
    ("port.taken", "tests/it/doctor.rs"),
    ("gateway.silent", "tests/it/doctor.rs"),
    ("state.unwritable", "tests/it/doctor.rs"),
    ("unit.missing", "tests/it/systemd.rs"),
    ("unit.linger", "tests/it/systemd.rs"),
    ("unit.failed", "tests/it/systemd.rs"),
    ("unit.stopped", "tests/it/systemd.rs"),
    ("channel.error", "src/cli/doctor/service.rs"),
    ("channel.unlinked", "src/cli/doctor/service.rs"),
    ("disk.full", "src/cli/doctor/machine.rs"),
    ("disk.low", "src/cli/doctor/machine.rs"),
    ("disk.worn", "src/cli/doctor/machine.rs"),
    ("disk.atime", "src/cli/doctor/machine.rs"),
    ("disk.log", "src/cli/doctor/machine.rs"),
    ("clock.unset", "src/cli/doctor/machine.rs"),
];

#[test]
fn every_finding_has_a_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let mut rows: Vec<&str> = cases().iter().map(|it| it.code).collect();
    for (code, file) in ELSEWHERE {
        let text = text(file);
        // Without the table that is meant to prove it, and without what makes the finding.
        let tests = match text.split_once("mod tests {") {
            Some(it) if file.starts_with("src/") => it.1.to_owned(),
            _ => {
                text.split("const ELSEWHERE").next().unwrap().to_owned()
                    + text.split("fn every_finding_has_a_row").last().unwrap()
            }
        };
        assert!(tests.contains(&format!("\"{code}\"")), "the tests of {file} have no {code}");
        rows.push(code);
    }
    let mut made = vec![];
    for file in std::fs::read_dir(root.join("src/cli/doctor")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for kind in ["Finding::error(", "Finding::warning(", "Finding::info("] {
            let after = text.split(kind).skip(1).map(|it| it.trim_start());
            made.extend(after.filter_map(|it| Some(it.strip_prefix('"')?.split('"').next()?.to_owned())));
        }
    }
    assert!(made.len() > 35, "{made:?}");
    for code in &made {
        assert!(rows.contains(&&**code), "{code} has no row");
    }
    for code in rows {
        assert!(made.iter().any(|it| it == code), "nothing makes {code} any more");
    }
}

fn in_order() -> Home {
    let home = Home::new(&with(&json!({ "gateway": { "port": 20_100 } })));
    mode(&home.state(), 0o700);
    mode(&home.state().join("openclaw.json"), 0o600);
    home
}

/// What this machine has to say of itself: its disk may be full, its clock wrong.
fn of_the_machine(code: &str) -> bool {
    ["disk.", "clock.", "unit.missing"].iter().any(|it| code.starts_with(it))
}

#[test]
fn every_finding_and_its_repair() {
    let home = in_order();
    let (said, status) = doctor(&home, &[]);
    let found: Vec<&str> = codes(&said).into_iter().filter(|it| !of_the_machine(it)).collect();
    assert_eq!((found, status), (vec![], Some(0)), "{said:#}");
    for Case { code, repairs, breaks } in cases() {
        if code == "unit.unknown" && Path::new("/run/systemd/system").exists() {
            continue;
        }
        let home = in_order();
        breaks(&home);
        let (said, status) = doctor(&home, &[]);
        let finding = said["findings"].as_array().unwrap().iter().find(|it| it["code"] == code);
        let finding = finding.unwrap_or_else(|| panic!("no {code} in {said:#}"));
        let text = finding["message"].as_str().unwrap();
        assert!(text.ends_with('.') && !finding["fix"].as_str().unwrap().is_empty(), "{finding}");
        let is_error = said["findings"].as_array().unwrap().iter().any(|it| it["severity"] == "error");
        assert_eq!((status, &said["ok"]), (Some(i32::from(is_error)), &json!(!is_error)), "{code}");
        if repairs {
            let (said, _) = doctor(&home, &["--repair"]);
            let finding = said["findings"].as_array().unwrap().iter().find(|it| it["code"] == code).unwrap();
            assert_eq!(finding["repaired"], true, "{finding}");
            let (after, _) = doctor(&home, &[]);
            assert!(!codes(&after).contains(&code), "{code} is still there: {after:#}");
        }
    }
}

#[test]
fn old_keys_are_moved_with_a_backup() {
    let home = in_order();
    let old = "{\n  // mine\n  gateway: { mode: 'local', token: 'abcdefghijklmnopq' },\n  routing: { queue: { mode: 'collect' } },\n}\n";
    home.write("openclaw.json", old);
    let (said, status) = doctor(&home, &["--non-interactive"]);
    assert_eq!(status, Some(0), "{said:#}");
    let now = std::fs::read_to_string(home.state().join("openclaw.json")).unwrap();
    assert!(now.starts_with("{\n  // mine\n") && !now.contains("routing"), "{now}");
    assert_eq!(std::fs::read_to_string(home.state().join("openclaw.json.bak")).unwrap(), old);
    let get = |path: &str| {
        let out = home.run(&["config", "get", path, "--reveal"]);
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(
        (get("gateway.auth.token"), get("messages.queue.mode")),
        ("abcdefghijklmnopq".into(), "collect".into())
    );
    home.start(&[]);
}

#[test]
fn a_token_only_when_asked_for() {
    let home = in_order();
    home.write("openclaw.json", r#"{ "gateway": { "mode": "local" } }"#);
    let (said, status) = doctor(&home, &["--non-interactive"]);
    assert!(status == Some(1) && codes(&said).contains(&"auth.missing"));
    let (said, status) = doctor(&home, &["--generate-gateway-token"]);
    assert_eq!(status, Some(0), "{said:#}");
    let token =
        String::from_utf8(home.run(&["config", "get", "gateway.auth.token", "--reveal"]).stdout).unwrap();
    assert!(token.trim().len() >= 32 && !said.to_string().contains(token.trim()));
}

#[test]
fn nothing_can_be_written() {
    let home = Home::empty();
    let mut command = home.command(&["doctor", "--json"]);
    let out = command.env("OPENCLAW_STATE_DIR", "/proc/sys").output().unwrap();
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(out.status.code() == Some(1) && codes(&said).contains(&"state.unwritable"), "{said:#}");
}

#[test]
fn who_holds_the_port() {
    let home = in_order();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    home.run(&["config", "set", "gateway.port", &port.to_string()]);
    let (said, status) = doctor(&home, &[]);
    let finding = said["findings"].as_array().unwrap().iter().find(|it| it["code"] == "port.taken");
    let text = finding.unwrap_or_else(|| panic!("{said:#}"))["message"].as_str().unwrap();
    assert!(status == Some(1) && text.contains(&format!("PID {}", std::process::id())), "{text}");
}

#[test]
fn a_gateway_that_does_not_answer() {
    let server = Server::start(&config());
    let port = server.port.to_string();
    server.home.run(&["config", "set", "gateway.port", &port]);
    let (said, _) = doctor(&server.home, &[]);
    assert!(!codes(&said).contains(&"gateway.silent"), "{said:#}");
    server.signal(libc::SIGSTOP);
    let (said, status) = doctor(&server.home, &[]);
    server.signal(libc::SIGCONT);
    assert!(status == Some(1) && codes(&said).contains(&"gateway.silent"), "{said:#}");
}

#[test]
fn the_doctor_of_proxies() {
    let server = Server::start(&config());
    let run = |args: &[&str]| -> Value {
        let out = server.home.run(&[&["doctor", "proxy", "--json"], args].concat());
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
    };
    let said = run(&[]);
    assert!(said["advice"][0].as_str().unwrap().contains("gateway.trustedProxies"), "{said:#}");
    let url = format!("ws://127.0.0.1:{}", server.port);
    let said = run(&["--url", &url, "--token", crate::harness::TOKEN]);
    assert!(said["through"].is_object(), "{said:#}");
    let said = run(&["--url", "ws://127.0.0.1:1", "--token", "x"]);
    assert!(said["through"].is_null() && said["advice"].to_string().contains("Upgrade"), "{said:#}");
}

#[test]
fn people_read_sentences() {
    let home = in_order();
    std::fs::remove_file(home.state().join("openclaw.json")).unwrap();
    let out = home.run(&["doctor"]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("error   config.missing: There is no configuration"), "{text}");
    assert!(text.contains("fix: gatewayd setup") && text.contains("gatewayd doctor --repair"), "{text}");
    assert!(!home.temp.path().join(UNIT).exists());
}
