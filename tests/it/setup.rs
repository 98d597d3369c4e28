//! A first start, `--reset`, profiles side by side, and the lock on the state folder.
use crate::client::Client;
use crate::harness::{Home, Server, TOKEN, config, free_port};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn json_of(home: &Home, args: &[&str]) -> Value {
    let out = home.run(args);
    let text = String::from_utf8_lossy(&out.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{args:?}: {text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// Every file below a folder, with its bytes; all are the owner's alone.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut todo, mut found) = (vec![dir.to_owned()], BTreeMap::new());
    while let Some(at) = todo.pop() {
        for path in std::fs::read_dir(at).unwrap().map(|it| it.unwrap().path()) {
            let mode = path.metadata().unwrap().permissions().mode() & 0o077;
            assert_eq!(mode, 0, "{path:?} is {mode:o}");
            match path.is_dir() {
                true => todo.push(path),
                false => {
                    let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                    found.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
    }
    found
}

fn token(home: &Home, words: &[&str]) -> String {
    let out = home.run(&[words, &["config", "get", "gateway.auth.token", "--reveal"]].concat());
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

#[test]
fn setup_makes_what_is_missing_and_nothing_else() {
    let home = Home::empty();
    let done = json_of(&home, &["setup", "--non-interactive", "--json"]);
    assert_eq!((&done["config"]["created"], &done["next"]), (&json!(true), &json!("gatewayd gateway")));
    assert_eq!(done["workspace"]["created"].as_array().map(Vec::len), Some(7));
    assert_eq!(home.run(&["config", "validate", "--strict"]).status.code(), Some(0));
    let token = token(&home, &[]);
    assert!(token.len() >= 32 && !done.to_string().contains(&token), "{token}");

    let before = tree(&home.state());
    assert!(home.state().join("agents/main/sessions").is_dir());
    let again = json_of(&home, &["setup", "--json", "--port", "5", "--token", "other"]);
    assert_eq!(
        (&again["config"]["changed"], &again["workspace"]["created"]),
        (&json!(["gateway.port"]), &json!([]))
    );
    let kept = again["kept"][0].as_str().unwrap();
    assert!(kept.contains("gateway.auth.token stays") && !kept.contains(&token), "{kept}");
    let again = json_of(&home, &["setup", "--json", "--port", "6"]);
    assert!(again["kept"][0].as_str().unwrap().contains("gateway.port stays 5"), "{again}");
    home.run(&["config", "unset", "gateway.port"]);
    let after = tree(&home.state());
    for (name, bytes) in &before {
        assert!(name.starts_with("logs/") || after.get(name) == Some(bytes), "{name} changed");
    }
    std::fs::remove_file(home.state().join("workspace/SOUL.md")).unwrap();
    std::fs::remove_file(home.state().join("workspace/BOOTSTRAP.md")).unwrap();
    let again = json_of(&home, &["setup", "--json"]);
    assert_eq!(again["workspace"]["created"], json!(["SOUL.md"]), "the first conversation is over");

    let server = home.start(&[]);
    let mut client = Client::open(server.addr(), &[]);
    assert_eq!(client.hello(&json!({ "auth": { "token": token } }))["ok"], true);
}

#[test]
fn setup_by_flags() {
    let home = Home::empty();
    let workspace = home.temp.path().join("ws");
    let args = [
        "setup",
        "--workspace",
        workspace.to_str().unwrap(),
        "--port",
        "7",
        "--token",
        "given-token",
        "--json",
    ];
    let done = json_of(&home, &args);
    assert_eq!(done["workspace"]["path"], json!(workspace));
    assert!(workspace.join("AGENTS.md").is_file());
    assert_eq!(token(&home, &[]), "given-token");
    assert_eq!(json_of(&home, &["config", "get", "gateway", "--json"])["port"], 7);

    let remote = Home::empty();
    let done = json_of(&remote, &["setup", "--mode", "remote", "--token", "far", "--json"]);
    assert_eq!(done["next"], "gatewayd config set gateway.remote.url ws://HOST:PORT");
    let gateway = json_of(&remote, &["config", "get", "gateway", "--json", "--reveal"]);
    assert_eq!(gateway, json!({ "mode": "remote", "remote": { "token": "far" } }));

    let by_env = Home::empty();
    by_env.write(".env", "OPENCLAW_GATEWAY_TOKEN=of-the-environment\n");
    assert_eq!(json_of(&by_env, &["setup", "--json"])["config"]["changed"], json!(["gateway.mode"]));

    for (args, status, says) in [
        (&["setup", "--mode", "moon"] as &[&str], 2, "local or remote"),
        (&["setup", "--port", "0"], 2, "1 to 65535"),
    ] {
        let out = Home::empty().run(args);
        assert_eq!(out.status.code(), Some(status));
        assert!(String::from_utf8_lossy(&out.stderr).contains(says));
    }
    let broken = Home::empty();
    broken.write("openclaw.json", "{ mine: ");
    let out = broken.run(&["setup"]);
    assert_eq!(out.status.code(), Some(78));
    assert_eq!(std::fs::read_to_string(broken.state().join("openclaw.json")).unwrap(), "{ mine: ");
}

#[test]
fn what_people_wrote_survives_setup() {
    let home = Home::empty();
    let text = "{\n  // mine\n  logging: { level: 'debug' }, // loud\n}\n";
    home.write("openclaw.json", text);
    home.write("workspace/AGENTS.md", "my own rules\n");
    let out = home.run(&["setup"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let now = std::fs::read_to_string(home.state().join("openclaw.json")).unwrap();
    assert!(
        now.starts_with("{\n  // mine\n  logging: { level: 'debug' }, // loud\n") && now.contains("local"),
        "{now}"
    );
    assert_eq!(std::fs::read_to_string(home.state().join("workspace/AGENTS.md")).unwrap(), "my own rules\n");
    assert!(!home.state().join("workspace/BOOTSTRAP.md").exists(), "this folder is in use");
}

#[test]
fn the_dev_profile_is_apart_and_starts_anew() {
    let home = Home::empty();
    let done = json_of(&home, &["--dev", "setup", "--json"]);
    let root = home.temp.path().to_owned();
    assert_eq!(done["config"]["path"], json!(root.join(".openclaw-dev/openclaw.json")));
    assert_eq!(done["workspace"]["path"], json!(root.join(".openclaw/workspace-dev")));
    assert_eq!(done["next"], "gatewayd --dev gateway");
    let status = json_of(&home, &["--dev", "gateway", "status", "--json", "--no-probe"]);
    let ports =
        json!({ "gateway": 19001, "browserControl": 19003, "canvasHost": 19005, "cdp": [19012, 19111] });
    assert_eq!(status["port"]["derived"], ports);

    let first = token(&home, &["--dev"]);
    std::fs::write(root.join(".openclaw/workspace-dev/SOUL.md"), "old soul").unwrap();
    let out = home.run(&["gateway", "--reset", "--port", "0"]);
    assert!(out.status.code() == Some(2) && String::from_utf8_lossy(&out.stderr).contains("add --dev"));

    let command = home.command(&["--dev", "gateway", "--reset", "--port", "0"]);
    let server = Server::spawn(home, command);
    let home = &server.home;
    let second = token(home, &["--dev"]);
    assert!(second.len() >= 32 && second != first);
    assert_ne!(std::fs::read_to_string(root.join(".openclaw/workspace-dev/SOUL.md")).unwrap(), "old soul");
    let aside = std::fs::read_dir(root.join(".openclaw-dev")).unwrap().map(|it| it.unwrap().path());
    let aside = aside.into_iter().find(|it| it.to_string_lossy().contains("reset-20")).unwrap();
    assert_eq!(std::fs::read_to_string(aside.join("workspace/SOUL.md")).unwrap(), "old soul");
    assert!(std::fs::read_to_string(aside.join("openclaw.json")).unwrap().contains(&first));
    assert!(aside.join("agents/main/sessions").is_dir());

    let out = home.run(&["--dev", "gateway", "--reset", "--port", "0"]);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(78) && err.contains(&format!("PID {}", server.pid)), "{err}");
    assert_eq!(token(home, &["--dev"]), second, "nothing is taken from under a running gateway");
}

#[test]
fn one_daemon_for_a_state_folder_also_after_a_restart() {
    let mut allowed = config();
    allowed["commands"] = json!({ "restart": true });
    let mut server = Server::start(&allowed);
    let refused = |server: &Server| {
        let out = server.home.run(&["gateway", "--port", "0"]);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(78), "{err}");
        assert!(
            err.contains("another gateway instance") && err.contains(&format!("PID {}", server.pid)),
            "{err}"
        );
    };
    refused(&server);
    server.signal(libc::SIGUSR1);
    server.wait_line("listening on ws://127.0.0.1:");
    refused(&server);
    server.signal(libc::SIGKILL);
    server.wait();
    let Server { home, .. } = &server;
    let again = Server::spawn(Home::empty(), home.command(&["gateway", "--port", "0"]));
    Client::connect(&again, &json!({}));
}

/// Two bases so far apart that nothing derived from them can meet.
#[test]
fn two_profiles_share_nothing() {
    let home = Home::empty();
    let (first, second) = (free_port(), free_port());
    let mut servers = vec![];
    for (profile, port) in [("main", first), ("rescue", second)] {
        let port = port.to_string();
        json_of(&home, &["--profile", profile, "setup", "--port", &port, "--json"]);
        let command = home.command(&["--profile", profile, "gateway"]);
        servers.push((profile, port, Server::spawn(Home::empty(), command)));
    }
    let mut ports = vec![];
    for (profile, _, server) in &servers {
        let status = json_of(&home, &["--profile", profile, "gateway", "status", "--json"]);
        assert_eq!(status["rpc"]["ok"], true, "{status}");
        assert_eq!(
            (&status["port"]["clashes"], &status["port"]["listeners"][0]["pid"]),
            (&json!([]), &json!(server.pid))
        );
        let derived = &status["port"]["derived"];
        ports.extend(["gateway", "browserControl", "canvasHost"].map(|it| derived[it].as_u64().unwrap()));
        let cdp = [0, 1].map(|it| derived["cdp"][it].as_u64().unwrap());
        ports.extend(cdp[0]..=cdp[1]);
    }
    let count = ports.len();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((count, ports.len()), (206, 206), "each port belongs to one");

    let token = token(&home, &["--profile", "main"]);
    let refused = Client::open(servers[1].2.addr(), &[]).hello(&json!({ "auth": { "token": token } }));
    assert_eq!(refused["ok"], false, "one's token opens nothing of the other");
    let set = ["gateway", "call", "voicewake.set", "--params", r#"{"triggers":["hey main"]}"#];
    json_of(&home, &[&["--profile", "main"], &set[..], &["--json"]].concat());
    let wake =
        |profile: &str| json_of(&home, &["--profile", profile, "gateway", "call", "voicewake.get", "--json"]);
    assert_eq!(wake("main")["triggers"], json!(["hey main"]));
    assert_ne!(wake("rescue")["triggers"], wake("main")["triggers"]);
    let root = home.temp.path();
    let mut names: Vec<_> = std::fs::read_dir(root).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".openclaw-main", ".openclaw-rescue"]);
    for (profile, _, server) in &servers {
        for fd in std::fs::read_dir(format!("/proc/{}/fd", server.pid)).unwrap() {
            let Ok(open) = std::fs::read_link(fd.unwrap().path()) else { continue };
            let own = root.join(format!(".openclaw-{profile}"));
            assert!(!open.starts_with(root) || open.starts_with(own), "{profile} has {open:?}");
        }
    }
}

/// As the runbook writes them.
const PAIR: [&str; 2] = [
    "OPENCLAW_CONFIG_PATH=~/.openclaw/a.json OPENCLAW_STATE_DIR=~/.openclaw-a openclaw gateway --port 19001",
    "OPENCLAW_CONFIG_PATH=~/.openclaw/b.json OPENCLAW_STATE_DIR=~/.openclaw-b openclaw gateway --port 19002",
];

/// The two lines of the runbook word for word, but for ports of this test's own and an `exec`, so that the shell's number is the daemon's.
#[test]
fn a_pair_by_environment() {
    let home = Home::empty();
    let (first, second) = (free_port(), free_port());
    let bin = home.temp.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gatewayd"), bin.join("openclaw")).unwrap();
    let mut servers = vec![];
    for (line, (name, port)) in PAIR.iter().zip([("a", first), ("b", second)]) {
        home.write(&format!("{name}.json"), &config().to_string());
        let (line, _) = line.rsplit_once(' ').unwrap();
        let line = format!("{} {port}", line.replace(" openclaw ", " exec openclaw "));
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &line]).env_clear().env("HOME", home.temp.path());
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        servers.push(Server::spawn(Home::empty(), command));
    }
    for (server, (name, port)) in servers.iter().zip([("a", first), ("b", second)]) {
        assert_eq!(server.port, port);
        Client::connect(server, &json!({ "auth": { "token": TOKEN } }));
        assert!(home.temp.path().join(format!(".openclaw-{name}/gateway.lock")).is_file());
    }
    assert!(!home.state().join("gateway.lock").exists());
}

#[test]
fn a_clash_of_ports_is_named() {
    let mut wrong = config();
    let base = free_port();
    wrong["canvasHost"] = json!({ "port": base + 2 });
    let home = Home::new(&wrong);
    let port = base.to_string();
    let status = json_of(&home, &["gateway", "--port", &port, "status", "--json", "--no-probe"]);
    let says = status["port"]["clashes"][0].as_str().unwrap();
    assert!(says.contains("browser control and the canvas host (canvasHost.port)"), "{says}");
    let holder = TcpListener::bind(("127.0.0.1", base + 2)).unwrap();
    let out = home.run(&["gateway", "--port", &port, "status", "--no-probe"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains(&format!("held by PID {}", std::process::id())), "{text}");
    let server = Server::spawn(Home::empty(), home.command(&["gateway", "--port", &port]));
    for says in ["the canvas host (canvasHost.port)", &format!("held by PID {}", std::process::id())] {
        assert!(server.log().iter().any(|it| it.contains("WARN") && it.contains(says)), "{:?}", server.log());
    }
    drop(holder);
}
