//! `config`: the file is read, explained and changed in place, by the real program.
use crate::harness::{Home, TOKEN, config};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// Standard output, standard error and the exit status.
fn run(home: &Home, args: &[&str]) -> (String, String, i32) {
    let out = home.run(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (text(&out.stdout), text(&out.stderr), out.status.code().unwrap())
}

fn file(home: &Home) -> String {
    std::fs::read_to_string(home.state().join("openclaw.json")).unwrap()
}

const TEXT: &str = "{\n  // mine\n  gateway: {\n    mode: 'local', // here\n    auth: { token: '${MY_TOKEN}' },\n  },\n  unheard: 1,\n}\n";

fn home(text: &str) -> Home {
    let home = Home::empty();
    home.write("openclaw.json", text);
    home.write(".env", "MY_TOKEN=from-dotenv\n");
    home
}

#[test]
fn values_are_set_where_they_belong() {
    let home = home(TEXT);
    let cases: &[(&[&str], &str, Value)] = &[
        (&["gateway.port", "19000"], "gateway.port", json!(19000)),
        (&["gateway.bind", "lan"], "gateway.bind", json!("lan")),
        (&["agents.list[0].id", "5", "--string"], "agents.list[0].id", json!("5")),
        (&["agents.list[0].name", "'it''s' no JSON5"], "agents.list.0.name", json!("'it''s' no JSON5")),
        (
            &["gateway.trustedProxies", "['10.0.0.1']", "--json"],
            "gateway.trustedProxies[0]",
            json!("10.0.0.1"),
        ),
        (
            &["models.providers.\"a.b\".baseUrl", "http://x"],
            "models.providers['a.b'].baseUrl",
            json!("http://x"),
        ),
    ];
    for (args, path, want) in cases {
        let (_, err, status) = run(&home, &[&["config", "set"], *args].concat());
        assert_eq!((err.as_str(), status), ("", 0), "{path}");
        let (out, ..) = run(&home, &["config", "get", path, "--json"]);
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), *want, "{path}");
    }
    let text = file(&home);
    for kept in ["// mine", "// here", "'${MY_TOKEN}'", "unheard: 1"] {
        assert!(text.contains(kept), "{kept} is gone: {text}");
    }
    assert_eq!(run(&home, &["config", "get", "gateway.bind"]).0, "lan");
    let (out, ..) = run(&home, &["config", "set", "gateway.bind", "lan"]);
    assert!(out.contains("nothing was written"), "{out}");
    assert_eq!(file(&home), text);
    for path in ["agents", "gateway.port", "gateway.bind", "gateway.trustedProxies", "models"] {
        let (_, err, status) = run(&home, &["config", "unset", path]);
        assert_eq!(status, 0, "{path}: {err}");
    }
    assert_eq!(file(&home), TEXT, "what came is gone, and nothing else");
    let mode = std::fs::metadata(home.state().join("openclaw.json.bak.4")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let audit = std::fs::read_to_string(home.state().join("logs/config-audit.jsonl")).unwrap();
    assert_eq!(audit.lines().count(), 11);
    assert!(audit.contains("\"paths\":[\"gateway.bind\"]") && !audit.contains("lan\""), "{audit}");
}

#[test]
fn what_is_refused_changes_nothing() {
    let home = home(TEXT);
    for (args, says, want) in [
        (&["set", "gateway.port", "no"] as &[&str], "gateway.port: Invalid input: expected number", 78),
        (&["set", "gateway.port", "70000"], "gateway.port", 78),
        (&["set", "gateway.auth.token", "__OPENCLAW_REDACTED__"], "send the secret itself", 78),
        (&["set", "gateway.auth.password", "${NOBODY_SET_IT}"], "NOBODY_SET_IT is not set", 78),
        (&["unset", "gateway"], "more than half", 78),
        (&["set", "__proto__.x", "1"], "not allowed", 2),
        (&["set", "gateway..x", "1"], "agents.list[0].id", 2),
        (&["set", "gateway.mode.x", "1"], "gateway.mode is a string", 2),
        (&["set", "gateway.port", "{", "--json"], "no JSON5", 2),
        (&["set", "gateway.port", "1", "--json", "--string"], "exclude", 2),
        (&["get", "gateway.port"], "config explain gateway.port", 1),
    ] {
        let (out, err, status) = run(&home, &[&["config"], args].concat());
        assert!(status == want && err.contains(says) && out.is_empty(), "{args:?}: {status} {out} {err}");
    }
    assert_eq!(file(&home), TEXT);
    let (_, err, status) = run(&home, &["config", "unset", "gateway", "--force"]);
    assert_eq!(status, 0, "{err}");
    assert!(!file(&home).contains("gateway"));
}

#[test]
fn a_broken_file_is_named_and_not_touched() {
    let home = home("{\n  gateway: {\n");
    for args in [&["set", "a", "1"] as &[&str], &["get", "a"], &["explain", "a"], &["validate"]] {
        let (_, err, status) = run(&home, &[&["config"], args].concat());
        assert!(status == 78 && err.contains("line 3, column 1"), "{args:?}: {status} {err}");
    }
    assert_eq!(file(&home), "{\n  gateway: {\n");
}

#[test]
fn secrets_are_masked_until_asked_for() {
    let home = home(TEXT);
    for args in
        [&["get", "gateway"] as &[&str], &["get", "gateway.auth.token"], &["explain", "gateway.auth.token"]]
    {
        let (out, err, status) = run(&home, &[&["config"], args].concat());
        assert_eq!(status, 0, "{err}");
        assert!(out.contains("__OPENCLAW_REDACTED__") && !out.contains("from-dotenv"), "{out}");
    }
    assert_eq!(run(&home, &["config", "get", "gateway.auth.token", "--reveal"]).0, "from-dotenv");
    let direct = Home::new(&config());
    let (out, ..) = run(&direct, &["config", "get", "gateway.auth.token", "--json"]);
    assert!(!out.contains(TOKEN), "{out}");
}

#[test]
fn validation_and_its_status() {
    let strict = |home: &Home| run(home, &["config", "validate", "--strict"]).2;
    let home = home(TEXT);
    let (out, err, status) = run(&home, &["config", "validate"]);
    assert!(
        status == 0 && out.contains("is valid") && err.contains("unheard: unknown key (line 7"),
        "{out} {err}"
    );
    assert_eq!((strict(&home), strict(&Home::new(&config()))), (78, 0));
    home.write("openclaw.json", "{ gateway: { port: 'x', mode: 1 } }");
    let (out, err, status) = run(&home, &["config", "validate", "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, err.as_str(), &answer["valid"]), (78, "", &json!(false)));
    let at: Vec<&Value> = answer["issues"].as_array().unwrap().iter().map(|it| &it["path"]).collect();
    assert_eq!(at, ["gateway.port", "gateway.mode"]);
    assert_eq!((&answer["issues"][0]["line"], &answer["issues"][0]["column"]), (&json!(1), &json!(20)));
    let (out, _, status) = run(&Home::empty(), &["config", "validate"]);
    assert!(status == 0 && out.contains("gatewayd setup"), "{out}");
}

#[test]
fn a_key_is_explained() {
    let home = home(TEXT);
    let explain = |path: &str| -> Value {
        let (out, err, status) = run(&home, &["config", "explain", path, "--json"]);
        assert_eq!(status, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let it = explain("gateway.auth.token");
    assert_eq!((&it["origin"]["kind"], &it["origin"]["line"]), (&json!("file"), &json!(5)));
    assert_eq!((&it["origin"]["variables"], &it["change"]), (&json!(["MY_TOKEN"]), &json!("hot")));
    let it = explain("gateway.port");
    assert_eq!(
        (&it["value"], &it["origin"], &it["type"]),
        (&json!(18789), &json!({ "kind": "default" }), &json!("integer"))
    );
    let classes = ["cron.enabled", "logging.level", "channels.telegram.enabled"]
        .map(|it| explain(it)["change"].clone());
    assert_eq!(
        classes,
        ["hot", "none", "channel"],
        "what a gateway of this build does: its bots begin again by themselves"
    );
    assert_eq!(
        [explain("unheard")["change"].clone(), explain("gateway")["change"].clone()],
        ["none", "restart"]
    );
    assert_eq!(explain("gateway.prt")["known"], false);
    run(&home, &["config", "set", "gateway.reload.mode", "off"]);
    assert!(explain("gateway.port")["effect"].as_str().unwrap().contains("started anew"));
}

#[test]
fn the_schema_is_one() {
    let home = Home::empty();
    let (out, ..) = run(&home, &["config", "schema"]);
    let schema = serde_json::from_str(&out).unwrap();
    let it = jsonschema::validator_for(&schema).unwrap();
    assert!(it.is_valid(&config()) && !it.is_valid(&json!({ "gateway": { "port": "x" } })));
    let (out, ..) = run(&home, &["config", "schema", "--hints"]);
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all["schema"], schema);
    assert_eq!(all["uiHints"]["gateway.auth.token"]["sensitive"], true);
}
