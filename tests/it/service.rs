//! The service without a supervisor: the units as systemd's own tools judge them, what is told to whoever supervises, how a life ended.
use crate::client::Client;
use crate::harness::{DEADLINE, Home, Server, config};
use crate::socket::again;
use gatewayd::service::{Spec, launchd, unit};
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

fn spec(user: Option<&str>, profile: Option<&str>) -> Spec {
    Spec {
        profile: profile.map(str::to_owned),
        program: env!("CARGO_BIN_EXE_gatewayd").into(),
        port: Some(18790),
        home: "/var/lib/open claw".into(),
        state: "/var/lib/open claw/100% $mine".into(),
        state_chosen: true,
        config: None,
        user: user.map(str::to_owned),
        stop_s: 45,
        version: "0.1.0".into(),
    }
}

#[test]
fn systemd_accepts_every_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd_accepts_every_unit is skipped: there is no systemd-analyze");
        return;
    }
    let home = Home::empty();
    for (user, profile, scope) in
        [(None, None, "--user"), (None, Some("rescue"), "--user"), (Some("daemon"), None, "--system")]
    {
        let spec = spec(user, profile);
        let file = home.temp.path().join(spec.unit_name());
        std::fs::write(&file, unit::text(&spec)).unwrap();
        let mut verify = Command::new("systemd-analyze");
        verify.args([scope, "verify"]).arg(&file).env("XDG_RUNTIME_DIR", home.temp.path());
        let out = verify.output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        // It ends with 0 whatever it says; what it says of units of this machine is not about ours.
        let about = said.lines().filter(|it| it.contains("openclaw-gateway")).collect::<Vec<_>>();
        assert!(out.status.success() && about.is_empty(), "{said}\n{}", unit::text(&spec));
        if user.is_some() {
            let mut score = Command::new("systemd-analyze");
            let out = score
                .args(["security", "--offline=true", "--threshold=25", "--no-pager"])
                .arg(&file)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success(), "a score over 2.5: {said}");
            assert!(said.contains("Overall exposure level"), "{said}");
        }
    }
}

#[test]
fn a_unit_for_an_account() {
    let home = Home::empty();
    let print = |user: &str| home.run(&["gateway", "install", "--print", "--system", "--user", user]);
    let out = print("not-made-yet");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        text.contains("\nUser=not-made-yet\n") && text.contains("\nStateDirectory=not-made-yet/.openclaw\n"),
        "{text}"
    );
    let out = print("daemon");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && said.contains("no folder of its own"), "{said}");
    for (args, says) in [
        (&["--user", "x"][..], "--system"),
        (&["--platform", "launchd"], "--print"),
        (&["--port", "0"], "65535"),
    ] {
        let out = home.run(&[&["gateway", "install"], args].concat());
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains(says));
    }
    let out = home.run(&["gateway", "install", "--print", "--platform", "launchd"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("<string>bot.molt.gateway</string>"));
    assert_eq!(std::fs::read_dir(home.temp.path()).unwrap().count(), 0, "it only prints");
}

#[test]
fn launchd_would_read_its_list() {
    let home = Home::empty();
    let file = home.temp.path().join("list.plist");
    std::fs::write(
        &file,
        launchd::text(&Spec { program: "/a & <b>/gatewayd".into(), ..spec(None, Some("rescue")) }),
    )
    .unwrap();
    let read = "import json,plistlib,sys; print(json.dumps(plistlib.load(open(sys.argv[1],'rb'))))";
    let Ok(out) = Command::new("python3").args(["-c", read]).arg(&file).output() else {
        eprintln!("launchd_would_read_its_list is skipped: there is no python3");
        return;
    };
    let list: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    assert_eq!(list["Label"], "bot.molt.rescue");
    assert_eq!(
        list["ProgramArguments"],
        json!(["/a & <b>/gatewayd", "--profile", "rescue", "gateway", "--port", "18790"])
    );
    assert_eq!(
        (&list["KeepAlive"], &list["EnvironmentVariables"]["OPENCLAW_SERVICE_MARKER"]),
        (&json!(true), &json!("openclaw"))
    );
}

/// What came to the supervisor's ear, until a line of it holds `text`.
fn told(ear: &UnixDatagram, text: &str) -> Vec<String> {
    ear.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut all = vec![];
    loop {
        let mut buffer = [0; 4096];
        let n = again(Some(DEADLINE), || ear.recv(&mut buffer))
            .unwrap_or_else(|err| panic!("no {text}: {err}; came {all:?}"));
        all.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
        if all.last().unwrap().contains(text) {
            return all;
        }
    }
}

#[test]
fn the_supervisor_is_told() {
    let mut allowed = config();
    allowed["commands"] = json!({ "restart": true });
    let home = Home::new(&allowed);
    let socket = home.temp.path().join("notify");
    let ear = UnixDatagram::bind(&socket).unwrap();
    let mut command = home.command(&["gateway", "--port", "0"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let mut server = Server::spawn(home, command);
    let ready = told(&ear, "READY=1").pop().unwrap();
    assert!(ready.contains(&format!("STATUS=listening on 127.0.0.1:{}", server.port)), "{ready}");
    told(&ear, "WATCHDOG=1");
    told(&ear, "WATCHDOG=1");
    server.signal(libc::SIGUSR1);
    told(&ear, "STATUS=restarting");
    told(&ear, "READY=1");
    told(&ear, "WATCHDOG=1");
    server.signal(libc::SIGTERM);
    let stopping = told(&ear, "STOPPING=1").pop().unwrap();
    assert!(stopping.contains("\nEXTEND_TIMEOUT_USEC=45500000\n"), "{stopping}");
    assert!(server.wait().0.success());
}

fn last_exit(home: &Home) -> Value {
    let out = home.run(&["gateway", "status", "--json", "--no-probe"]);
    serde_json::from_slice::<Value>(&out.stdout).unwrap()["lastExit"].clone()
}

#[test]
fn how_it_ended_is_known() {
    let server = Server::start(&config());
    assert_eq!(last_exit(&server.home), Value::Null, "it runs, and has no past");
    let home = server.crash();
    assert_eq!(last_exit(&home)["how"], "lost");
    // As the unit calls it, behind a process that systemd saw end.
    let mut command = home.command(&["gateway", "record-exit"]);
    command.env("SERVICE_RESULT", "oom-kill").env("EXIT_CODE", "killed").env("EXIT_STATUS", "KILL");
    assert!(command.output().unwrap().status.success());
    let it = last_exit(&home);
    assert_eq!((&it["how"], &it["signal"]), (&json!("killed"), &json!("SIGKILL")));
    let mut server = home.start(&[]);
    assert!(
        server.log().iter().any(|it| it.contains("the last time: killed by SIGKILL")),
        "{:?}",
        server.log()
    );
    server.signal(libc::SIGTERM);
    server.wait();
    let home = server.leave_home();
    let it = last_exit(&home);
    assert_eq!((&it["how"], &it["signal"]), (&json!("stopped"), &json!("SIGTERM")));
    assert!(it["peakKib"].as_u64().unwrap() > 1000, "{it}");
    home.write("openclaw.json", "{ gateway: { mode: 'remote' } }");
    assert_eq!(home.run(&["gateway", "--port", "0"]).status.code(), Some(78));
    let it = last_exit(&home);
    assert_eq!((&it["how"], &it["exitCode"]), (&json!("failed"), &json!(78)));
    assert!(it["error"].as_str().unwrap().contains("gateway.mode=local"), "{it}");
}

#[test]
fn one_that_may_not_start_says_nothing_of_the_one_that_runs() {
    let server = Server::start(&config());
    assert_eq!(server.home.run(&["gateway", "--port", "0"]).status.code(), Some(78));
    assert_eq!(last_exit(&server.home), Value::Null);
    Client::connect(&server, &json!({}));
}

#[test]
fn a_machine_without_systemd_is_told_what_to_do() {
    if std::path::Path::new("/run/systemd/system").exists() {
        eprintln!("a_machine_without_systemd_is_told_what_to_do is skipped: there is a systemd");
        return;
    }
    let home = Home::new(&config());
    let out = home.run(&["gateway", "install"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && said.contains("under any supervisor"), "{said}");
    assert!(!home.temp.path().join(".config").exists(), "nothing half-written");
    for (action, status) in [("stop", 0), ("uninstall", 0), ("start", 1), ("restart", 1)] {
        let out = home.run(&["gateway", action, "--json"]);
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((out.status.code(), &said["action"]), (Some(status), &json!(action)), "{said}");
        assert!(said["hints"][0].as_str().unwrap().contains("gateway install"), "{said}");
    }
}
