//! Every line of `tests/data/cli.jsonl`, played against a running gateway: exit status, streams, keys of the JSON.
use crate::harness::{Home, Server, config};
use serde_json::Value;
use std::path::Path;

#[test]
fn command_lines() {
    let server = Server::start(&config());
    let port = server.addr().port().to_string();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli.jsonl");
    let mut wrong = vec![];
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let argv: Vec<&str> = case["argv"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut command = server.home.command(&argv);
        let output = command.env("OPENCLAW_GATEWAY_PORT", &port).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let exit = output.status.code().map(i64::from);
        if exit != case["exit"].as_i64() {
            wrong.push(format!("{line}: exit {exit:?}\n{out}{err}"));
        } else if exit != Some(0) && (err.is_empty() || !out.is_empty()) {
            wrong.push(format!("{line}: an error goes to stderr alone"));
        }
        if let Some(keys) = case["json_keys"].as_array() {
            let answer: Value = serde_json::from_str(&out).unwrap_or_default();
            let missing: Vec<&Value> =
                keys.iter().filter(|it| answer.get(it.as_str().unwrap()).is_none()).collect();
            if !missing.is_empty() {
                wrong.push(format!("{line}: no {missing:?} in\n{out}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_name_of_the_program_is_the_one_it_was_called_by() {
    let home = Home::new(&config());
    let link = home.temp.path().join("openclaw");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gatewayd"), &link).unwrap();
    let run = |args: &[&str]| {
        let output = std::process::Command::new(&link)
            .args(args)
            .env_clear()
            .env("HOME", home.temp.path())
            .env("OPENCLAW_GATEWAY_PORT", "1")
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert!(run(&["gateway", "call", "--help"]).starts_with("Usage: openclaw gateway call"));
    let text = run(&["--profile", "rescue", "health"]);
    assert!(text.contains("openclaw --profile rescue gateway"), "{text}");
}
