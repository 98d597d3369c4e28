//! Which addresses a gateway answers on: each bind mode, in a network namespace of its own.
use crate::harness::{Home, Server, TOKEN};
use serde_json::{Value, json};
use std::process::Command;

/// Loopback, one address as Tailscale gives them, and one as a router does.
const PREPARE: &str = "ip link set lo up; ip addr add 100.64.7.7/32 dev lo; ip addr add 10.77.0.1/24 dev lo; exec \"$0\" \"$@\"";
const ADDRESSES: [&str; 4] = ["127.0.0.1", "[::1]", "100.64.7.7", "10.77.0.1"];

/// Why this machine does not let us make networks; None when it does.
fn why_no_networks() -> Option<String> {
    let made = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    let why = match &made {
        Ok(it) if it.status.success() => return None,
        Ok(it) => String::from_utf8_lossy(&it.stderr).into_owned(),
        Err(err) => err.to_string(),
    };
    Some(format!("no network namespace here (it needs root, unshare and ip): {}", why.trim()))
}

fn in_a_network(home: &Home, args: &[&str]) -> Command {
    let gatewayd = home.command(args);
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", PREPARE]).arg(gatewayd.get_program()).args(gatewayd.get_args());
    command.env_clear().envs(gatewayd.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    command
}

fn config(gateway: &Value) -> Value {
    let mut all = crate::harness::config();
    crate::client::merge(&mut all, &json!({ "gateway": gateway }));
    all
}

/// Whether a command in the server's network finds somebody at that address.
fn answers(server: &Server, address: &str) -> bool {
    let url = format!("ws://{address}:{}", server.port);
    let asked = server.home.command(&["gateway", "call", "health", "--url", &url, "--token", TOKEN]);
    let mut command = Command::new("nsenter");
    command
        .args(["--net", "--target", &server.pid.to_string()])
        .arg(asked.get_program())
        .args(asked.get_args());
    command.env_clear().envs(asked.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let out = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    // Who is not on this machine's loopback is no stranger only once paired: an answer all the same.
    assert!(
        out.status.success() || stderr.contains("pairing required") || stderr.contains("connection refused"),
        "{address}: {stderr}"
    );
    !stderr.contains("connection refused")
}

#[test]
fn each_mode_answers_where_it_says() {
    if let Some(why) = why_no_networks() {
        println!("skipped: {why}");
        return;
    }
    for (gateway, first, want) in [
        (json!({}), "127.0.0.1", [true, true, false, false]),
        (json!({ "bind": "loopback" }), "127.0.0.1", [true, true, false, false]),
        (json!({ "bind": "auto" }), "127.0.0.1", [true, true, false, false]),
        (json!({ "bind": "lan" }), "0.0.0.0", [true, false, true, true]),
        (json!({ "bind": "tailnet" }), "100.64.7.7", [false, false, true, false]),
        (
            json!({ "bind": "custom", "customBindHost": "10.77.0.1" }),
            "10.77.0.1",
            [false, false, false, true],
        ),
    ] {
        let home = Home::new(&config(&gateway));
        let command = in_a_network(&home, &["gateway", "--port", "0"]);
        let server = Server::spawn(home, command);
        assert!(
            server.log().iter().any(|it| it.contains(&format!("listening on ws://{first}:"))),
            "{gateway}"
        );
        let got = ADDRESSES.map(|it| answers(&server, it));
        assert_eq!(got, want, "{gateway} {:?}", server.log());
    }
}

/// `(gateway, status, what stderr says)`.
#[test]
fn what_it_refuses_to_listen_on() {
    let mut cases = vec![
        (json!({ "bind": "custom" }), 78, "gateway.customBindHost"),
        (json!({ "bind": "custom", "customBindHost": "pi.local" }), 78, "\"pi.local\""),
        // It may come yet.
        (json!({ "bind": "custom", "customBindHost": "192.0.2.77" }), 1, "cannot listen on port"),
    ];
    for bind in ["lan", "loopback", "auto", "custom"] {
        let open = json!({ "bind": bind, "customBindHost": "127.0.0.1", "auth": null });
        cases.push((open, 78, "no gateway token is configured"));
        let no_password =
            json!({ "bind": bind, "customBindHost": "127.0.0.1", "auth": { "mode": "password" } });
        cases.push((no_password, 78, "no gateway password is configured"));
    }
    for (gateway, status, says) in cases {
        let out = Home::new(&config(&gateway)).run(&["gateway", "--port", "0"]);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(status), "{gateway}: {stderr}");
        assert!(stderr.contains(says) && stderr.trim().lines().count() == 1, "{gateway}: {stderr}");
    }
    if let Some(why) = why_no_networks() {
        println!("tailnet is skipped: {why}");
    } else {
        let home = Home::new(&config(&json!({ "bind": "tailnet" })));
        let mut command = Command::new("unshare");
        command.args(["--net", env!("CARGO_BIN_EXE_gatewayd"), "gateway"]);
        let out = command.env_clear().env("HOME", home.temp.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("no Tailscale address"), "{stderr}");
    }
}
