//! The service on a real systemd, booted for the test. Slow (`GATEWAYD_SLOW=1`), and skipped with a reason where it cannot run.
use crate::client::Client;
use crate::harness::{DEADLINE, TOKEN, Temp, free_port};
use crate::runbook;
use serde_json::{Value, json};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A machine of its own, as far as systemd can tell. It ends with the test.
struct Machine {
    dir: Temp,
    child: Child,
    /// Its PID 1, as seen from here.
    pid: String,
}

/// Waits until it is so; the systemd of a test has nothing that we could listen to.
fn eventually<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let (_never, pause) = channel::<()>();
    let deadline = Instant::now() + 3 * DEADLINE;
    loop {
        if let Some(it) = seen() {
            return it;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        let _ = pause.recv_timeout(Duration::from_millis(100));
    }
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

impl Machine {
    /// Why there is none.
    fn boot() -> Result<Machine, String> {
        if std::env::var_os("GATEWAYD_SLOW").is_none() {
            return Err("it is slow: GATEWAYD_SLOW=1 runs it".into());
        }
        if !Command::new("id").arg("-u").output().is_ok_and(|it| it.stdout == b"0\n") {
            return Err("it needs root".into());
        }
        if !Path::new("/lib/systemd/systemd").exists() {
            return Err("there is no systemd".into());
        }
        let dir = Temp::new();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/systemd.sh");
        let mut child = Command::new("bash")
            .arg(script)
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|err| err.to_string())?;
        // bash became unshare, whose child is PID 1 inside.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let deadline = Instant::now() + DEADLINE;
        let (_never, pause) = channel::<()>();
        let pid = loop {
            let ended = child.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                let _ = child.kill();
                let mut said = String::new();
                let _ = child.stderr.take().unwrap().read_to_string(&mut said);
                let _ = child.wait();
                return Err(format!("systemd does not boot here: {said}"));
            }
            let pid = std::fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
            let ask = ["-t", &*pid, "-m", "-p", "-C", "-r", "-w", "systemctl", "is-system-running"];
            let says = Command::new("nsenter").args(ask).output().map(|it| it.stdout).unwrap_or_default();
            if matches!(&*says, b"running\n" | b"degraded\n") {
                break pid;
            }
            let _ = pause.recv_timeout(Duration::from_millis(100));
        };
        let machine = Machine { dir, child, pid };
        let bin = machine.dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_gatewayd"), bin.join("openclaw")).unwrap();
        // A service of the system has a /tmp of its own.
        machine.root("cp $DIR/bin/openclaw /usr/local/bin/openclaw && chmod 755 /usr/local/bin/openclaw");
        Ok(machine)
    }
    fn shell(&self, before: &[&str], line: &str) -> Output {
        let dir = format!("DIR={}", self.dir.path().display());
        Command::new("nsenter")
            .args(["-t", &self.pid, "-m", "-p", "-C", "-r", "-w"])
            .args(before)
            .args(["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", &dir])
            .args(if before.is_empty() {
                &["HOME=/root"][..]
            } else {
                &["HOME=/home/tester", "XDG_RUNTIME_DIR=/run/user/4242"]
            })
            .args(["sh", "-c", line])
            .output()
            .unwrap()
    }
    /// As root; it must succeed.
    fn root(&self, line: &str) -> String {
        let out = self.shell(&[], line);
        assert!(out.status.success(), "{line}: {}", text(&out));
        text(&out)
    }
    /// As `tester`.
    fn tester(&self, line: &str) -> Output {
        self.shell(&["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups"], line)
    }
    fn fine(&self, line: &str) -> String {
        let out = self.tester(line);
        assert!(out.status.success(), "{line}: {}", text(&out));
        text(&out)
    }
    fn status(&self, profile: &str) -> Value {
        let out = self.tester(&format!("openclaw --profile {profile} gateway status --json"));
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out)))
    }
    /// A user with a manager of their own.
    fn add_tester(&self) {
        let unit = "[Service]\nUser=tester\nType=notify\nDelegate=yes\nEnvironment=XDG_RUNTIME_DIR=/run/user/4242\nExecStart=/lib/systemd/systemd --user\n";
        self.root(&format!(
            "useradd -m -u 4242 tester && install -d -o tester -m 700 /run/user/4242 && \
             printf '{}' > /run/systemd/system/tester.service && systemctl start tester",
            unit.replace('\n', "\\n")
        ));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // unshare takes its child with it, and the namespaces theirs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(port: u16) -> Client {
    let mut it = Client::open(SocketAddr::from(([127, 0, 0, 1], port)), &[]);
    let hello = it.hello(&json!({ "auth": { "token": TOKEN } }));
    assert_eq!(hello["ok"], true, "{hello}");
    it
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
fn booted(test: &str) -> Option<Machine> {
    match Machine::boot() {
        Ok(it) => Some(it),
        Err(why) => {
            eprintln!("{test} is skipped: {why}");
            None
        }
    }
}

#[test]
fn units_of_a_person() {
    let Some(it) = booted("units_of_a_person") else { return };
    it.add_tester();
    let (main, rescue) = (free_port(), free_port());
    for (profile, port) in [("main", main), ("rescue", rescue)] {
        it.fine(&format!("openclaw --profile {profile} setup --port {port} --token {TOKEN}"));
        let said = it.fine(&format!("openclaw --profile {profile} gateway install"));
        assert!(said.contains("Installed and started"), "{said}");
        assert!(said.contains("sudo loginctl enable-linger tester"), "it would end at the log-out: {said}");
        // `install` came back when it was ready: nothing is waited for.
        let status = it.status(profile);
        assert_eq!(status["rpc"]["ok"], true, "{status:#}");
        let service = &status["service"];
        assert_eq!((&service["loaded"], &service["runtime"]["status"]), (&json!(true), &json!("running")));
        assert_eq!(service["configAudit"], json!({ "ok": true, "issues": [] }));
        let says = service["runtime"]["statusText"].as_str().unwrap();
        assert!(says.contains(&format!("listening on 127.0.0.1:{port}")), "{says}");
    }
    it.root("mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/tester");
    let again: Value =
        serde_json::from_str(&it.fine("openclaw --profile main gateway install --json")).unwrap();
    assert_eq!((&again["result"], &again["warnings"]), (&json!("already-installed"), &Value::Null));
    let unit = "/home/tester/.config/systemd/user/openclaw-gateway-main.service";
    it.fine(&format!("mkdir {unit}.d && printf '[Service]\\nEnvironment=MINE=1\\n' > {unit}.d/own.conf"));

    // Killed, and started again by its supervisor.
    let pid = it.status("main")["service"]["runtime"]["pid"].as_i64().unwrap();
    it.fine(&format!("kill -9 {pid}"));
    let status = eventually("a new process", || {
        let status = it.status("main");
        let new = status["service"]["runtime"]["pid"].as_i64().filter(|it| *it != pid).is_some();
        (new && status["rpc"]["ok"] == true).then_some(status)
    });
    assert_eq!(
        (&status["lastExit"]["how"], &status["lastExit"]["signal"]),
        (&json!("killed"), &json!("SIGKILL"))
    );
    assert_eq!(status["service"]["runtime"]["restarts"], 1);

    // A configuration that cannot be used is not tried again.
    it.fine("openclaw --profile rescue config set gateway.mode remote");
    let out = it.tester("openclaw --profile rescue gateway restart");
    assert!(out.status.code() == Some(1) && text(&out).contains("set gateway.mode=local"), "{}", text(&out));
    let runtime = &it.status("rescue")["service"]["runtime"];
    assert_eq!((&runtime["state"], &runtime["lastExitStatus"]), (&json!("failed"), &json!(78)), "{runtime}");
    assert_eq!(it.status("main")["rpc"]["ok"], true, "the other profile goes on");
    it.fine(
        "openclaw --profile rescue config set gateway.mode local && openclaw --profile rescue gateway start",
    );

    // Stopped: its clients are told, within the time that the unit gives.
    let mut seen = client(main);
    let start = Instant::now();
    it.fine("openclaw --profile main gateway stop");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let (code, reason) = seen.until_event("shutdown");
    assert_eq!((code, reason.as_str()), (1012, "service restart"));
    let status = it.status("main");
    assert_eq!(
        (&status["lastExit"]["how"], &status["lastExit"]["signal"]),
        (&json!("stopped"), &json!("SIGTERM"))
    );
    assert_eq!(it.status("rescue")["rpc"]["ok"], true, "the other profile goes on");

    let start = Instant::now();
    for _ in 0..50 {
        it.fine("openclaw --profile rescue gateway restart");
    }
    assert_eq!(it.status("rescue")["rpc"]["ok"], true, "no limit stops it after {:?}", start.elapsed());
    for profile in ["main", "rescue"] {
        it.fine(&format!("openclaw --profile {profile} gateway uninstall"));
        assert_eq!(it.status(profile)["service"]["command"], Value::Null);
    }
    it.fine(&format!("test ! -e {unit} && test -e {unit}.d/own.conf"));
    assert!(!text(&it.tester("systemctl --user list-units --all 'openclaw*'")).contains("openclaw-gateway"));
}

#[test]
fn the_runbook() {
    let Some(it) = booted("the_runbook") else { return };
    it.add_tester();
    play("6-service.txt", |line| it.tester(line));
    // Root needs no sudo, and this machine may have none.
    it.root("printf '#!/bin/sh\\nexec \"$@\"\\n' > /usr/local/bin/sudo && chmod 755 /usr/local/bin/sudo");
    play("8-system.txt", |line| it.shell(&[], line));
}

fn play(name: &str, run: impl Fn(&str) -> Output) {
    for item in runbook::read(name) {
        match item {
            runbook::Item::Config(path, text) => {
                let dir = path.rsplit_once('/').unwrap().0;
                let line = format!("mkdir -p -m 700 {dir} && umask 077 && printf '%s' '{text}' > {path}");
                assert!(run(&line).status.success(), "{line}");
            }
            runbook::Item::Run(row) => {
                let out = run(&row.line);
                let ends = out.status.code().map(|it| it.to_string());
                assert_eq!(ends.as_ref(), Some(&row.ends), "{}: {}", row.line, text(&out));
                for says in &row.says {
                    assert!(text(&out).contains(says), "{}: no {says:?} in {}", row.line, text(&out));
                }
            }
            runbook::Item::NoSystemd => unreachable!("this is a systemd"),
        }
    }
}

#[test]
fn a_wizard_over_the_protocol_installs_the_service() {
    let Some(it) = booted("a_wizard_over_the_protocol_installs_the_service") else { return };
    it.add_tester();
    let port = free_port();
    it.fine(&format!("openclaw setup --port {port} --token {TOKEN}"));
    it.fine("openclaw gateway > ~/log 2>&1 & echo $! > ~/pid");
    eventually("a gateway", || it.tester("openclaw gateway health").status.success().then_some(()));
    let mut client = client(port);
    // Answers each question with what it proposes, this one with `service`; what was asked, and what the end says.
    let play = |client: &mut Client, service: bool| {
        let begun = client.call("wizard.start", &json!({}))["payload"].clone();
        let (mut step, mut asked) = (begun["step"].clone(), vec![]);
        loop {
            let message = step["message"].as_str().unwrap().to_owned();
            let value = match &*message {
                it if it.ends_with("Go on?") => json!(true),
                it if it.contains("as a service") => json!(service),
                it if it.contains("enable-linger") => json!(false),
                _ => step["initialValue"].clone(),
            };
            asked.push(message);
            let answer = json!({ "sessionId": begun["sessionId"], "answer": { "stepId": step["id"], "value": value } });
            let next = client.call("wizard.next", &answer)["payload"].clone();
            if next["done"] == true {
                assert_eq!(next["status"], "done", "{asked:?}");
                break asked;
            }
            step = next["step"].clone();
        }
    };
    let asked = play(&mut client, false);
    assert!(asked.iter().any(|it| it.contains("as a service")), "{asked:#?}");
    let unit = "/home/tester/.config/systemd/user/openclaw-gateway.service";
    it.fine(&format!("test ! -e {unit}"));
    let said = play(&mut client, true).pop().unwrap();
    assert!(
        said.contains(&format!("Installed {unit}.")) && said.contains("openclaw gateway start"),
        "{said}"
    );
    assert!(said.contains("sudo loginctl enable-linger tester"), "it would end at the log-out: {said}");
    let is =
        |what: &str| text(&it.tester(&format!("systemctl --user {what} openclaw-gateway"))).trim().to_owned();
    assert_eq!((is("is-enabled"), is("is-active")), ("enabled".to_owned(), "inactive".to_owned()));
    // As it says: this one ends, the service begins.
    it.fine("kill -TERM $(cat ~/pid)");
    eventually("its end", || (!it.tester("openclaw gateway health").status.success()).then_some(()));
    it.fine("openclaw gateway start && openclaw gateway health");
    assert_eq!(is("is-active"), "active");
    // Now it is a service, and does not ask.
    let mut client = self::client(port);
    let asked = play(&mut client, true);
    assert!(!asked.iter().any(|it| it.contains("as a service")), "{asked:#?}");
    it.fine("openclaw gateway uninstall");
}

/// A drop-in with a shorter time than the drain takes kills no answer: systemd is told how long it takes.
#[test]
fn a_stop_waits_for_the_answer_whatever_the_unit_says() {
    let Some(it) = booted("a_stop_waits_for_the_answer_whatever_the_unit_says") else { return };
    it.add_tester();
    it.fine(&format!("openclaw setup --port {} --token {TOKEN}", free_port()));
    it.fine("openclaw config set agents.defaults.model.primary builtin/parrot");
    it.fine("openclaw gateway install");
    let dir = "~/.config/systemd/user/openclaw-gateway.service.d";
    it.fine(&format!("mkdir {dir} && printf '[Service]\\nTimeoutStopSec=1\\n' > {dir}/own.conf && systemctl --user daemon-reload"));
    let line =
        r#"openclaw agent --agent main -m 'call exec {"command":"touch ~/begun; sleep 4; echo answered"}'"#;
    it.fine(&format!("{line} > ~/out 2>&1 &"));
    eventually("the run", || it.tester("test -e ~/begun").status.success().then_some(()));
    it.fine("openclaw gateway stop");
    let status: Value = serde_json::from_str(&it.fine("openclaw gateway status --json")).unwrap();
    assert_eq!(status["lastExit"]["how"], "stopped", "{status:#}");
    eventually("its answer", || it.fine("cat ~/out").contains("answered").then_some(()));
    it.fine("openclaw gateway uninstall");
}

#[test]
fn what_the_doctor_finds_of_a_service() {
    let Some(it) = booted("what_the_doctor_finds_of_a_service") else { return };
    it.add_tester();
    let port = free_port();
    it.fine(&format!("openclaw setup --port {port} --token 0123456789abcdef0123456789abcdef"));
    let find = |code: &str, args: &str| {
        let out = it.tester(&format!("openclaw doctor --json {args}"));
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out)));
        said["findings"].as_array().unwrap().iter().find(|it| it["code"] == code).cloned()
    };
    let has = |code: &str| find(code, "").is_some();
    assert!(has("unit.missing") && !has("unit.linger"));
    let done = find("unit.missing", "--repair --force").unwrap();
    assert!(done["repaired"] == true && !has("unit.missing"), "{done}");
    assert!(has("unit.linger") && !has("unit.outdated") && !has("unit.stopped") && !has("unit.disabled"));

    // By hand: what loginctl would start here takes the manager of this test away.
    it.root("mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/tester");
    assert!(!has("unit.linger"));
    let unit = "/home/tester/.config/systemd/user/openclaw-gateway.service";
    it.fine(&format!("sed -i 's/^RestartSec=.*/RestartSec=50/' {unit} && systemctl --user daemon-reload"));
    assert!(has("unit.outdated"));
    let done = find("unit.outdated", "--repair").unwrap();
    assert!(done["repaired"].is_null(), "what a person wrote is only replaced by --force: {done}");
    let done = find("unit.outdated", "--repair --force").unwrap();
    assert_eq!(done["repaired"], true, "{done}");
    assert!(!has("unit.outdated") && it.fine(&format!("grep RestartSec {unit}")).contains("RestartSec=5\n"));
    it.fine("systemctl --user disable openclaw-gateway");
    assert!(has("unit.disabled"));

    it.fine("openclaw gateway stop");
    let done = find("unit.stopped", "--repair").unwrap();
    assert!(done["repaired"] == true && !has("unit.stopped"), "{done}");
    it.fine("openclaw config set gateway.mode remote && openclaw gateway stop");
    it.tester("openclaw gateway start");
    it.fine("openclaw config set gateway.mode local");
    let found = find("unit.failed", "").unwrap();
    assert!(found["message"].as_str().unwrap().contains("set gateway.mode=local"), "{found}");

    // A unit as the reference writes it, with a secret in it: that goes where only its owner reads it.
    it.fine("openclaw gateway uninstall");
    it.fine(&format!("printf '[Service]\\nExecStart=/usr/local/bin/openclaw gateway\\nEnvironment=OPENCLAW_GATEWAY_TOKEN=of-the-unit ANTHROPIC_API_KEY=sk-unit\\n[Install]\\nWantedBy=default.target\\n' > {unit}"));
    let said = it.fine("openclaw gateway install");
    assert!(said.contains("installed already") && said.contains("--force writes it anew"), "{said}");
    assert!(find("unit.outdated", "").unwrap()["message"].as_str().unwrap().contains("holds a secret"));
    let said = it.fine("openclaw gateway install --force");
    assert!(said.contains("ANTHROPIC_API_KEY is kept in /home/tester/.openclaw/.env"), "{said}");
    let env = it.fine("stat -c %a ~/.openclaw/.env && cat ~/.openclaw/.env");
    assert_eq!(env, "600\nOPENCLAW_GATEWAY_TOKEN='of-the-unit'\nANTHROPIC_API_KEY='sk-unit'\n");
    it.fine(&format!("! grep -q of-the-unit {unit} && grep -q of-the-unit {unit}.replaced-*"));
    assert!(!has("unit.outdated"));

    // A unit of an earlier product that runs is stopped, and goes.
    let old = "/home/tester/.config/systemd/user/moltbot-gateway.service";
    it.fine(&format!("printf '[Service]\\nExecStart=/bin/sleep 1000\\n[Install]\\nWantedBy=default.target\\n' > {old} && systemctl --user daemon-reload && systemctl --user enable --now moltbot-gateway"));
    let done = find("unit.legacy", "--repair").unwrap();
    assert!(done["repaired"] == true && !has("unit.legacy"), "{done}");
    it.fine(&format!("test ! -e {old} && ! systemctl --user is-active moltbot-gateway"));
}

#[test]
fn a_unit_of_the_system() {
    let Some(it) = booted("a_unit_of_the_system") else { return };
    let out = it.shell(&[], "openclaw gateway install");
    let said = text(&out);
    assert!(out.status.code() == Some(1) && said.contains("sudo loginctl enable-linger root"), "{said}");
    assert!(said.contains("\n  openclaw gateway install --system --user NAME"), "{said}");
    let out = it.shell(&[], "openclaw gateway install --system");
    assert!(out.status.code() == Some(1) && text(&out).contains("useradd --system"), "{}", text(&out));
    let out = it.shell(
        &[],
        "cp $DIR/bin/openclaw /tmp/gatewayd && /tmp/gatewayd gateway install --system --user root",
    );
    assert!(out.status.code() == Some(1) && text(&out).contains("/usr/local/bin"), "{}", text(&out));
    it.root("useradd --system --create-home --home-dir /var/lib/openclaw openclaw");
    let out = it.shell(&[], "openclaw gateway install --system --user openclaw");
    assert!(
        out.status.code() == Some(1) && text(&out).contains("sudo -u openclaw -H openclaw setup"),
        "{}",
        text(&out)
    );
    let port = free_port();
    let own = "setpriv --reuid openclaw --regid openclaw --clear-groups env HOME=/var/lib/openclaw";
    it.root(&format!("{own} openclaw setup --port {port} --token {TOKEN}"));
    it.root(&format!("{own} openclaw config set agents.defaults.model.primary builtin/parrot"));
    let said = it.root("openclaw gateway install --system --user openclaw");
    assert!(said.contains("Installed and started /etc/systemd/system/openclaw-gateway.service"), "{said}");
    let status: Value = serde_json::from_str(&it.root("openclaw gateway status --deep --json")).unwrap();
    assert_eq!(
        (&status["rpc"]["ok"], &status["service"]["runtime"]["state"]),
        (&json!(true), &json!("active")),
        "{status:#}"
    );
    assert_eq!(status["port"]["listeners"][0]["user"], "openclaw");
    assert!(it.root("stat -c '%U %a' /var/lib/openclaw/.openclaw").contains("openclaw 700"));
    // What its tools do works in there.
    let run = r#"agent --agent main -m 'call exec {"command":"id -un > made && cat made"}'"#;
    let said = it.root(&format!("{own} openclaw {run}"));
    assert!(said.contains("openclaw"), "{said}");
    assert!(it.root("cat /var/lib/openclaw/.openclaw/workspace/made").contains("openclaw"));
    let score = it.root("systemd-analyze security --no-pager openclaw-gateway.service | tail -1");
    let number: f32 = score.split_whitespace().find_map(|it| it.parse().ok()).unwrap();
    assert!(number <= 2.5, "{score}");
    it.root("openclaw gateway restart");
    // The same as a package brings it.
    it.root("openclaw gateway stop && mv /etc/systemd/system/openclaw-gateway.service /usr/lib/systemd/system/ && systemctl daemon-reload");
    it.root("openclaw gateway start");
    let status: Value = serde_json::from_str(&it.root("openclaw gateway status --json")).unwrap();
    assert_eq!(
        (&status["rpc"]["ok"], &status["service"]["loaded"]),
        (&json!(true), &json!(true)),
        "{status:#}"
    );
    let out = it.shell(&[], "openclaw gateway uninstall");
    assert!(out.status.code() == Some(1) && text(&out).contains("apt remove"), "{}", text(&out));
    it.root("openclaw gateway stop && mv /usr/lib/systemd/system/openclaw-gateway.service /etc/systemd/system/ && systemctl daemon-reload");
    it.root("openclaw gateway uninstall && test ! -e /etc/systemd/system/openclaw-gateway.service");
}
