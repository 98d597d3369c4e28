//! The first minute: at a terminal, by flags, and over `wizard.*`.
use crate::client::Client;
use crate::harness::{DEADLINE, Home, Server, config};
use crate::model_server::ModelServer;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::{Child, Stdio};
use std::time::Instant;

/// A program at a terminal of its own.
struct Terminal {
    master: File,
    child: Child,
    shown: String,
    /// What was shown before the last answer.
    seen: usize,
}

impl Terminal {
    fn start(home: &Home, args: &[&str]) -> Terminal {
        let (mut master, mut slave) = (0, 0);
        // SAFETY: openpty fills two descriptors; what it may be told beyond that is null. Each is owned once.
        #[expect(unsafe_code, reason = "std has no terminals")]
        let (master, slave) = unsafe {
            assert_eq!(
                libc::openpty(
                    &mut master,
                    &mut slave,
                    std::ptr::null_mut(),
                    std::ptr::null(),
                    std::ptr::null()
                ),
                0
            );
            (File::from_raw_fd(master), File::from_raw_fd(slave))
        };
        let end = |it: &File| Stdio::from(it.try_clone().unwrap());
        let mut command = home.command(args);
        command.stdin(end(&slave)).stdout(end(&slave)).stderr(end(&slave));
        let child = command.spawn().unwrap();
        // SAFETY: fcntl on an open descriptor.
        #[expect(unsafe_code, reason = "std has no poll with a deadline for a terminal")]
        let set = unsafe { libc::fcntl(master.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        assert_eq!(set, 0);
        Terminal { master, child, shown: String::new(), seen: 0 }
    }
    /// Reads until that is the end of what is shown; everything when it is None.
    fn until(&mut self, prompt: Option<&str>) {
        let deadline = Instant::now() + DEADLINE;
        let mut buffer = [0; 4096];
        loop {
            if prompt.is_some_and(|it| self.shown[self.seen..].ends_with(it)) {
                return;
            }
            match self.master.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => self.shown.push_str(&String::from_utf8_lossy(&buffer[..n]).replace('\r', "")),
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    assert!(Instant::now() < deadline, "{prompt:?} did not come: {}", self.shown);
                    let mut waits =
                        libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    // SAFETY: one live pollfd.
                    #[expect(unsafe_code, reason = "as above")]
                    unsafe {
                        libc::poll(&mut waits, 1, 1000)
                    };
                }
                // The other end is closed.
                Err(_) => {
                    assert!(prompt.is_none(), "{prompt:?} did not come: {}", self.shown);
                    return;
                }
            }
        }
    }
    fn answer(&mut self, prompt: &str, line: &str) {
        self.until(Some(prompt));
        self.seen = self.shown.len();
        self.master.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// What was shown, without what differs from run to run.
fn masked(shown: &str, home: &Home, url: &str) -> String {
    shown.replace(&*home.temp.path().to_string_lossy(), "$HOME").replace(url, "$URL").replace(" \n", "\n")
}

fn expect(name: &str, got: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(path).unwrap());
}

/// A model that knows the key, and a Bot API that knows the bot, on one port.
fn servers() -> ModelServer {
    ModelServer::playing(|mut asked| {
        if asked.head.contains("/bot1:good/getme") {
            let body = r#"{"ok":true,"result":{"id":1,"is_bot":true,"username":"my_bot"}}"#;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            asked.raw(format!("{head}{body}").as_bytes());
        } else if asked.head.contains("/bot") {
            asked.refuse(401, "", "Unauthorized");
        } else if asked.head.contains("bearer sk-right") {
            asked.answer("OK");
        } else {
            asked.refuse(401, "", "that key is none");
        }
    })
}

#[test]
fn at_a_terminal() {
    let servers = servers();
    let home = Home::empty();
    let root = format!("http://{}", servers.addr);
    home.write(
        "openclaw.json",
        &format!("{{\n  // mine\n  channels: {{ telegram: {{ apiRoot: '{root}' }} }},\n}}\n"),
    );
    let mut it = Terminal::start(&home, &["onboard"]);
    it.answer("Go on? [y/N] ", "y");
    it.answer("Number [1]: ", "1");
    it.answer("Port [18789]: ", "70000");
    it.answer("Port [18789]: ", "18800");
    it.answer("Number [1]: ", "");
    it.answer("(not shown): ", "");
    it.answer("Number [1]: ", "custom");
    it.answer("Address of the server [http://127.0.0.1:8080/v1]: ", &servers.base_url());
    it.answer("API key (not shown): ", "sk-wrong");
    it.answer("Model: ", "qwen3");
    it.answer("Keep it all the same? [y/N] ", "n");
    it.answer("Number [1]: ", "9");
    it.answer("Address of the server [http://127.0.0.1:8080/v1]: ", &servers.base_url());
    it.answer("API key (not shown): ", "sk-right");
    it.answer("Model: ", "qwen3");
    it.answer("workspace]: ", "");
    it.answer("(not shown): ", "1:good");
    it.until(None);
    assert!(it.child.wait().unwrap().success(), "{}", it.shown);
    assert!(
        !it.shown.contains("sk-") && !it.shown.contains("1:good"),
        "what is secret is not shown: {}",
        it.shown
    );
    expect("onboard.txt", &masked(&it.shown, &home, &root));
    let now = std::fs::read_to_string(home.state().join("openclaw.json")).unwrap();
    assert!(now.starts_with("{\n  // mine\n"), "{now}");
    let get = |path: &str| {
        let out = home.run(&["config", "get", path, "--reveal"]);
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    assert_eq!((get("gateway.port"), get("channels.telegram.botToken")), ("18800".into(), "1:good".into()));
    assert_eq!(get("agents.defaults.model.primary"), "custom/qwen3");
    assert!(get("gateway.auth.token").len() >= 32);
    assert!(!now.contains("bind"), "only what was answered is written: {now}");

    // A part of it again; and Ctrl-D, which changes nothing.
    let mut it = Terminal::start(&home, &["configure", "--section", "workspace"]);
    it.answer("workspace]: ", "~/elsewhere");
    it.until(None);
    assert!(it.child.wait().unwrap().success(), "{}", it.shown);
    assert_eq!(get("agents.defaults.workspace"), "~/elsewhere");
    let before = std::fs::read_to_string(home.state().join("openclaw.json")).unwrap();
    let mut it = Terminal::start(&home, &["configure"]);
    it.answer("Number [1]: ", "gateway");
    it.until(Some("Number [1]: "));
    it.master.write_all(b"\x04").unwrap();
    it.until(None);
    assert_eq!(it.child.wait().unwrap().code(), Some(1));
    assert!(it.shown.contains("Nothing was changed."), "{}", it.shown);
    assert_eq!(std::fs::read_to_string(home.state().join("openclaw.json")).unwrap(), before);
}

#[test]
fn a_no_to_the_risk_ends_it() {
    let home = Home::empty();
    let mut it = Terminal::start(&home, &["onboard"]);
    it.answer("Go on? [y/N] ", "");
    it.until(None);
    assert_eq!(it.child.wait().unwrap().code(), Some(1));
    assert!(it.shown.contains("Nothing was changed.") && !home.state().exists(), "{}", it.shown);
}

#[test]
fn by_flags() {
    let servers = servers();
    let url = servers.base_url();
    let home = Home::empty();
    let line = |rest: &[&str]| {
        let base =
            ["onboard", "--non-interactive", "--accept-risk", "--provider", "custom", "--base-url", &url];
        home.run(&[&base, rest].concat())
    };
    let out = home.run(&["onboard", "--non-interactive"]);
    assert!(out.status.code() == Some(1) && String::from_utf8_lossy(&out.stderr).contains("--accept-risk"));
    let out = line(&["--model", "qwen3", "--api-key", "sk-wrong"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.code() == Some(1)
            && said.contains("that key is none")
            && said.contains("Nothing was changed"),
        "{said}"
    );
    let out = line(&["--api-key", "sk-right"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && said.contains("--model"), "{said}");
    assert!(!home.state().join("openclaw.json").exists(), "nothing half-written");

    let out = line(&[
        "--model",
        "qwen3",
        "--api-key",
        "sk-right",
        "--gateway-port",
        "18801",
        "--gateway-token",
        "of-mine",
        "--json",
    ]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&said["ok"], &said["mode"]), (&json!(true), &json!("local")));
    let written: Value =
        serde_json::from_slice(&std::fs::read(home.state().join("openclaw.json")).unwrap()).unwrap();
    assert_eq!(
        written["gateway"],
        json!({ "mode": "local", "auth": { "token": "of-mine", "mode": "token" }, "port": 18801 })
    );
    let keys = std::fs::read_to_string(home.state().join("agents/main/agent/auth-profiles.json")).unwrap();
    assert!(keys.contains("sk-right") && !written.to_string().contains("sk-right"));
    assert!(home.state().join("workspace/AGENTS.md").is_file());

    let server = home.start(&[]);
    let port = server.port.to_string();
    let mut agent = server.home.command(&["agent", "--agent", "main", "-m", "hi"]);
    let out = agent.env("OPENCLAW_GATEWAY_PORT", &port).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "OK", "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn flags_that_cannot_be() {
    let home = Home::empty();
    for (rest, status, says) in [
        (&["--mode", "moon"][..], 1, "local, remote"),
        (&["--mode", "remote"], 1, "--remote-url"),
        (&["--gateway-bind", "moon"], 1, "loopback"),
        (&["--install-daemon", "--skip-daemon"], 2, "one of the two"),
        (&["--provider", "anthropic"], 1, "--api-key"),
        (&["--openai-api-key", "a", "--anthropic-api-key", "b"], 2, "two providers"),
    ] {
        let out = home.run(&[&["onboard", "--non-interactive", "--accept-risk"], rest].concat());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(status) && said.contains(says), "{rest:?}: {said}");
    }
    let out = home.run(&["configure"]);
    assert!(out.status.code() == Some(1) && String::from_utf8_lossy(&out.stderr).contains("config set"));
    assert!(!home.state().exists());
}

#[test]
fn over_the_protocol() {
    let servers = servers();
    let mut with = config();
    with["channels"] = json!({ "telegram": { "apiRoot": format!("http://{}", servers.addr) } });
    let server = Server::start(&with);
    let mut client = Client::connect(&server, &json!({}));
    let begun =
        client.call("wizard.start", &json!({ "mode": "local", "workspace": "~/elsewhere" }))["payload"]
            .clone();
    let session = begun["sessionId"].as_str().unwrap().to_owned();
    assert_eq!(
        client.call("wizard.status", &json!({ "sessionId": session }))["payload"],
        json!({ "status": "running" })
    );
    let wrong = json!({ "sessionId": session, "answer": { "stepId": "other" } });
    assert_eq!(client.call("wizard.next", &wrong)["error"]["message"], "Error: wizard: no pending step");
    let same = client.call("wizard.next", &json!({ "sessionId": session }));
    assert_eq!(same["payload"]["step"], begun["step"], "without an answer it is asked again");

    let mut step = begun["step"].clone();
    let (mut titles, mut tries) = (vec![], 0);
    let last = loop {
        let message = step["message"].as_str().unwrap();
        let value = match message {
            it if it.ends_with("Go on?") => json!(true),
            "Whose model answers?" => json!("custom"),
            "Address of the server" => json!(servers.base_url()),
            "API key" => json!(if tries == 0 { "sk-wrong" } else { "sk-right" }),
            "Model" => json!("qwen3"),
            it if it.ends_with("Keep it all the same?") => {
                assert!(it.contains("that key is none"), "{it}");
                tries += 1;
                json!(false)
            }
            it if it.contains("@BotFather") => json!("1:good"),
            _ => step["initialValue"].clone(),
        };
        assert!(step["sensitive"].is_null() || step["initialValue"].is_null());
        titles.push(format!("{}: {message}", step["type"].as_str().unwrap()));
        let answer = json!({ "sessionId": session, "answer": { "stepId": step["id"], "value": value } });
        let next = client.call("wizard.next", &answer);
        let next = &next["payload"];
        if next["done"] == true {
            break next.clone();
        }
        step = next["step"].clone();
    };
    assert_eq!(last, json!({ "done": true, "status": "done" }), "{titles:#?}");
    let end = titles.last().unwrap();
    assert!(
        end.contains("The model custom/qwen3 answers.")
            && end.contains("The bot is @my_bot.")
            && end.contains("Wrote "),
        "{end}"
    );
    let written: Value =
        serde_json::from_slice(&std::fs::read(server.home.state().join("openclaw.json")).unwrap()).unwrap();
    assert_eq!(written["agents"]["defaults"]["workspace"], "~/elsewhere");
    assert_eq!(written["gateway"], with["gateway"], "what was not answered otherwise stays");
    assert_eq!(
        client.call("wizard.status", &json!({ "sessionId": session }))["error"]["message"],
        "wizard not found"
    );

    let again = client.call("wizard.start", &json!({}));
    let session = json!({ "sessionId": again["payload"]["sessionId"] });
    assert_eq!(
        client.call("wizard.cancel", &session)["payload"],
        json!({ "status": "cancelled", "error": "cancelled" })
    );
    assert_eq!(client.call("wizard.next", &session)["error"]["message"], "wizard not found");
}
