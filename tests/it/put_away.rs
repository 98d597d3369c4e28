//! `reset`, `uninstall`, `dashboard`, `completion`, and `logs` without a gateway.
use crate::harness::{DEADLINE, Home, Server, TOKEN, config, free_port};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

fn said(home: &Home, args: &[&str], status: i32) -> String {
    let out = home.run(args);
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert_eq!(out.status.code(), Some(status), "{args:?}: {said}");
    said
}

#[test]
fn reset_puts_aside_what_it_names() {
    let home = Home::empty();
    said(&home, &["setup"], 0);
    assert!(said(&home, &["reset"], 2).contains("--scope is needed"));
    assert!(said(&home, &["reset", "--scope", "moon"], 2).contains("full"));
    assert!(said(&home, &["reset", "--scope", "config"], 1).contains("--yes says that you mean it"));
    let dry = said(&home, &["reset", "--scope", "config+creds+sessions", "--dry-run"], 0);
    assert!(
        dry.contains("Would put aside") && dry.contains("agents") && home.state().join("agents").exists(),
        "{dry}"
    );
    let done = said(&home, &["reset", "--scope", "config", "--yes", "--non-interactive"], 0);
    assert!(done.contains("Next: gatewayd onboard"), "{done}");
    assert!(!home.state().join("openclaw.json").exists() && home.state().join("agents").exists());
    let names: Vec<String> = std::fs::read_dir(home.state())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let aside = names.iter().find(|it| it.starts_with("reset-")).unwrap();
    assert!(home.state().join(aside).join("openclaw.json").is_file());
    said(&home, &["reset", "--scope", "full", "--yes"], 0);
    assert!(!home.state().exists());
    assert!(said(&home, &["uninstall", "--all", "--yes"], 0).contains("nothing to remove"));
}

#[test]
fn nothing_goes_under_a_running_gateway() {
    let server = Server::start(&config());
    let text = said(&server.home, &["uninstall", "--state", "--yes"], 1);
    assert!(
        text.contains(&format!("PID {}", server.pid)) && server.home.state().join("openclaw.json").exists(),
        "{text}"
    );
    assert!(said(&server.home, &["uninstall"], 2).contains("--all"));
    let home = server.crash();
    said(&home, &["uninstall", "--state", "--yes"], 0);
    assert!(!home.state().exists());
}

#[test]
fn a_workspace_of_ones_own_is_never_a_home() {
    let home = Home::new(&serde_json::json!({ "agents": { "defaults": { "workspace": "~" } } }));
    let text = said(&home, &["uninstall", "--workspace", "--yes"], 1);
    assert!(text.contains("more than this program's own") && home.state().exists(), "{text}");
}

#[test]
fn the_dashboard() {
    let home = Home::new(&config());
    let text = said(&home, &["dashboard"], 0);
    assert!(text.starts_with("http://127.0.0.1:18789/\n") && !text.contains(TOKEN), "{text}");
    let text = said(&home, &["dashboard", "--reveal"], 0);
    assert!(text.starts_with(&format!("http://127.0.0.1:18789/#token={TOKEN}\n")), "{text}");
}

#[test]
fn shells_take_their_completions() {
    let home = Home::empty();
    let bash = said(&home, &["completion", "bash"], 0);
    let ask = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let script = format!(
            "{bash}\nCOMP_WORDS=({}); COMP_CWORD={}; _gatewayd; echo \"${{COMPREPLY[@]}}\"",
            words.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1
        );
        let mut child = Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    };
    assert_eq!(ask("gatewayd gateway inst"), "install");
    assert_eq!(ask("gatewayd --dev gateway install --fo"), "--force");
    assert_eq!(ask("gatewayd models aliases re"), "remove");
    assert!(said(&home, &["completion", "fish"], 0).contains("complete -c gatewayd"));
    assert!(said(&home, &["completion"], 0).starts_with("#compdef gatewayd"));
    assert!(said(&home, &["completion", "tcsh"], 2).contains("bash, zsh or fish"));
    said(&home, &["completion", "--write-state"], 0);
    assert!(home.state().join("completions/gatewayd.bash").is_file());
}

/// The home of a gateway that has ended, and written all of its log.
fn stopped() -> Home {
    let mut server = Server::start(&config());
    server.signal(libc::SIGTERM);
    server.wait();
    server.leave_home()
}

#[test]
fn a_log_without_a_gateway() {
    let home = stopped();
    home.run(&["config", "set", "gateway.port", "1"]);
    let text = said(&home, &["logs"], 0);
    assert!(text.contains("this is what its file says") && text.contains("listening on ws://"), "{text}");
    let out = home.run(&["logs", "--json", "--grep", "LISTENING ON", "--level", "info"]);
    let lines: Vec<Value> =
        String::from_utf8_lossy(&out.stdout).lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let logs: Vec<&Value> = lines.iter().filter(|it| it["type"] == "log").collect();
    assert!(
        !logs.is_empty() && logs.iter().all(|it| it["message"].as_str().unwrap().contains("listening on")),
        "{lines:#?}"
    );
    let out = home.run(&["logs", "--level", "error", "--plain"]);
    assert!(
        !String::from_utf8_lossy(&out.stdout).contains("listening"),
        "{}",
        String::from_utf8_lossy(&out.stdout)
    );
    assert!(said(&home, &["logs", "--level", "loud"], 2).contains("warn"));
    said(&home, &["logs", "--url", "ws://127.0.0.1:1", "--token", "x"], 1);
}

#[test]
fn a_follower_goes_from_the_file_to_the_gateway() {
    let home = stopped();
    let port = free_port().to_string();
    let mut command = home.command(&["logs", "--follow", "--interval", "50"]);
    let mut child = command.env("OPENCLAW_GATEWAY_PORT", &port).spawn().unwrap();
    let (to, lines) = channel();
    let out = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|it| to.send(it)));
    let next = |text: &str| loop {
        let line = lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no {text}"));
        if line.contains(text) {
            return;
        }
    };
    next("this is what its file says");
    let server = Server::spawn(Home::empty(), home.command(&["gateway", "--port", &port]));
    next("connected again");
    drop(server);
    next("waiting for the gateway");
    let again = Server::spawn(Home::empty(), home.command(&["gateway", "--port", &port]));
    next("connected again");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(again);
}
