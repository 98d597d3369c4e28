//! `gatewayd models`: what its commands make of a configuration file, byte by byte, and what they say.
use crate::harness::Home;
use serde_json::{Value, json};

const CONFIG: &str = r#"{
  // mine
  models: { providers: {
    mock: { baseUrl: "http://127.0.0.1:5/v1", apiKey: "key-mock-1", models: [
      { id: "mock-1", name: "Mock One", input: ["text", "image"], contextWindow: 128000 },
      { id: "mock-2", name: "Mock Two", input: ["text"] },
    ] },
  } },
  agents: { defaults: {
    model: { primary: "mock/mock-1", fallbacks: ["mock/mock-2", "openai/gpt-5", "nosuch/x"] },
    models: { "mock/mock-1": { alias: "m1" }, "openai/gpt-5": {} }, // two
    imageModel: { primary: "m1", fallbacks: ["openai/gpt-5"] },
  } },
}
"#;

struct Ran {
    /// The file behind it.
    file: String,
    status: Option<i32>,
    out: String,
    err: String,
}

fn run(config: &str, line: &str) -> Ran {
    let home = Home::empty();
    home.write("openclaw.json", config);
    let words: Vec<&str> = std::iter::once("models").chain(line.split(' ')).collect();
    let output = home.run(&words);
    let text = |it: &[u8]| String::from_utf8(it.to_owned()).unwrap();
    let file = std::fs::read_to_string(home.state().join("openclaw.json")).unwrap();
    Ran { file, status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// What a command makes of the configuration: (old, new) once each.
#[test]
fn edits_keep_the_rest() {
    for (line, old, new) in [
        (
            "set mock/mock-2",
            r#"models: { "mock/mock-1": { alias: "m1" }, "openai/gpt-5": {} }, // two"#,
            r#"models: { "mock/mock-1": { alias: "m1" }, "openai/gpt-5": {}, "mock/mock-2": {} }, // two"#,
        ),
        ("set mock/mock-2", r#"primary: "mock/mock-1""#, r#"primary: "mock/mock-2""#),
        ("set openai/gpt-5", r#"primary: "mock/mock-1""#, r#"primary: "openai/gpt-5""#),
        ("set-image mock/mock-1", r#"primary: "m1""#, r#"primary: "mock/mock-1""#),
        ("aliases add fast openai/gpt-5", r#""openai/gpt-5": {} }"#, r#""openai/gpt-5": {alias: "fast"} }"#),
        (
            "aliases add fast mock-2",
            r#""openai/gpt-5": {} }"#,
            r#""openai/gpt-5": {}, "mock/mock-2": {"alias":"fast"} }"#,
        ),
        ("aliases remove M1", r#""mock/mock-1": { alias: "m1" }"#, r#""mock/mock-1": { }"#),
        ("fallbacks remove nosuch/x", r#", "nosuch/x"]"#, "]"),
        ("fallbacks remove mock-2", r#"["mock/mock-2", "#, "["),
        ("fallbacks add m1", r#""nosuch/x"]"#, r#""nosuch/x", "mock/mock-1"]"#),
        ("fallbacks clear", r#"["mock/mock-2", "openai/gpt-5", "nosuch/x"]"#, "[]"),
        ("image-fallbacks remove openai/gpt-5", r#"fallbacks: ["openai/gpt-5"]"#, "fallbacks: []"),
    ] {
        let Ran { file: text, status, err, .. } = run(CONFIG, line);
        assert_eq!(status, Some(0), "{line}: {err}");
        assert!(CONFIG.contains(old) && text.contains(new) && text.contains("// mine"), "{line}: {text}");
        if !line.starts_with("set ") {
            assert_eq!(text, CONFIG.replace(old, new), "{line}");
        }
    }
}
#[test]
fn what_is_so_already_or_wrong_writes_nothing() {
    for (line, status, about) in [
        ("set m1", 0, "nothing was written"),
        ("fallbacks add openai/gpt-5", 0, "nothing was written"),
        ("aliases add m1 mock/mock-1", 0, "nothing was written"),
        ("aliases list --plain", 0, "m1 mock/mock-1\n"),
        (
            "fallbacks list --json",
            0,
            r#"{
  "fallbacks": [
    "mock/mock-2","#,
        ),
        ("set nosuch/x", 1, "add it to models.providers"),
        ("set gpt-9", 1, "write provider/model"),
        ("set-image nosuch/x", 1, "add it to models.providers"),
        ("aliases add m1 openai/gpt-5", 1, "gatewayd models aliases remove m1"),
        ("aliases add a/b openai/gpt-5", 2, "use letters"),
        ("aliases remove nope", 1, "gatewayd models aliases list"),
        ("fallbacks add nosuch/y", 1, "add it to models.providers"),
        ("fallbacks remove m1", 1, "there are: mock/mock-2, openai/gpt-5, nosuch/x"),
        ("fallbacks list --json --plain", 2, "exclude each other"),
    ] {
        let ran = run(CONFIG, line);
        assert_eq!((ran.status, &*ran.file), (Some(status), CONFIG), "{line}: {}", ran.err);
        let said = if status == 0 { &ran.out } else { &ran.err };
        assert!(said.contains(about) && ran.out.is_empty() == (status != 0), "{line}: {said}");
    }
}

#[test]
fn what_is_missing_is_said_when_it_is_chosen() {
    for (config, line, about) in [
        (CONFIG, "set openai/gpt-5", "set OPENAI_API_KEY or models.providers.openai.apiKey"),
        (CONFIG, "set mock/mock-3", "models.providers.mock.models does not describe mock-3"),
        ("{}", "aliases add l ollama/l3.1", "sessions may now choose only"),
        (r#"{"agents": {"list": [{"id": "ops", "model": "ollama/x"}]}}"#, "set ollama/y", "agents.list: ops"),
    ] {
        let ran = run(config, line);
        assert!(ran.status == Some(0) && ran.err.contains(about), "{line}: {}", ran.err);
    }
    assert_eq!(run(CONFIG, "set mock/mock-2").err, "");
}

#[test]
fn a_check_says_by_its_status_whether_all_can_be_asked() {
    assert_eq!(run(CONFIG, "status --check").status, Some(1));
    let good = run(r#"{"agents": {"defaults": {"model": {"primary": "ollama/x"}}}}"#, "status --check");
    assert_eq!((good.status, &*good.err), (Some(0), ""));
}

#[test]
fn where_nothing_is_chosen_yet() {
    let parsed = |line: &str| -> Value {
        let ran = run("{}", line);
        assert_eq!(ran.status, Some(0), "{line}: {}", ran.err);
        serde_json::from_str(&ran.file).unwrap()
    };
    let defaults = |it: Value| json!({ "agents": { "defaults": it } });
    assert_eq!(parsed("set openai/gpt-5"), defaults(json!({ "model": { "primary": "openai/gpt-5" } })));
    assert_eq!(
        parsed("fallbacks add ollama/l3.1"),
        defaults(json!({ "model": { "fallbacks": ["ollama/l3.1"] } }))
    );
    let alias = json!({ "models": { "ollama/l3.1": { "alias": "l" } } });
    assert_eq!(parsed("aliases add l ollama/l3.1"), defaults(alias));
}
