//! The table and the walk over a document.
use super::*;
use serde_json::json;

fn said(document: Value) -> Vec<String> {
    let show = |it: &Issue| format!("{}{it}", if it.severity == Severity::Warning { "? " } else { "" });
    check(&document).iter().map(show).collect()
}

#[test]
fn the_table_is_sorted_and_every_line_of_it_is_found() {
    assert!(TABLE.is_ascii() && TABLE.lines().is_sorted());
    assert!(TABLE.lines().count() > 800);
    assert_eq!(lines().count(), TABLE.lines().count());
    for text in TABLE.lines() {
        let path = text.split('\t').next().unwrap();
        let Line { types, limits, .. } = line(path).unwrap_or_else(|| panic!("{path}"));
        assert!(text.contains(&format!("\t{types}")) && text.ends_with(limits), "{path}");
        if let Some(target) = types.strip_prefix('=') {
            assert!(starts(target) && line(target).is_none_or(|it| !it.types.starts_with('=')), "{path}");
        }
        for limit in limits.split(',').filter(|it| !it.is_empty() && *it != "hex6" && *it != "e164") {
            let number = limit.trim_start_matches("len").trim_start_matches(['<', '>', '=']);
            assert!(number.parse::<f64>().is_ok(), "{path}: {limit}");
        }
    }
    assert_eq!((line("zzz"), line(""), line("gateway")), (None, None, None));
}

#[test]
fn a_line_without_a_class_does_not_compile() {
    let fine = "a\tnone\tany\nb\trestart\tstring\t>0\n";
    assert!(every_line_has_a_class(fine.as_bytes()));
    for wrong in ["a\tany\n", "a\n", "a\tnone\n", "a\t\tany\n", "a\tnonesuch\tany\n", "a\trestart"] {
        assert!(!every_line_has_a_class(format!("{fine}{wrong}").as_bytes()), "{wrong:?}");
    }
}

#[test]
fn a_path_is_described() {
    let cases = [
        ("gateway.port", Some(("integer", ">0"))),
        ("gateway", Some(("object", ""))),
        ("gateway.mode", Some(("local|remote", ""))),
        ("gateway.trustedProxies.0", Some(("string", ""))),
        ("agents.list", Some(("array", ""))),
        ("agents.list.3.id", Some(("string", ""))),
        ("env.vars.ANY", Some(("string", ""))),
        ("plugins.entries.mine.config.deep", Some(("any", ""))),
        ("gateway.prt", None),
        ("zzz", None),
        ("gateway.port.x", None),
    ];
    for (path, want) in cases {
        let names: Vec<String> = path.split('.').map(str::to_owned).collect();
        let found = describe(&names);
        assert_eq!(found.as_ref().map(|it| (it.0.as_str(), it.1)), want, "{path}");
    }
}

#[test]
fn what_may_stand_where() {
    let fine = json!({
        "gateway": { "port": 18789, "bind": "lan", "auth": { "mode": "token", "token": { "source": "env", "provider": "default", "id": "T" } } },
        "agents": { "list": [{ "id": "main", "heartbeat": { "every": "5m" } }], "entries": { "main": { "heartbeat": { "every": "5m" } } } },
        "models": { "providers": { "a.b/c": { "baseUrl": "http://x", "apiKey": "k", "models": [{ "id": "m", "name": "M", "contextWindow": 1.5 }] } } },
        "channels": { "telegram": { "accounts": { "work": { "botToken": "t", "commands": { "native": "auto" } } } }, "unheard": { "any": [1] }, "discord": {} },
        "plugins": { "entries": { "mine": { "enabled": true, "config": { "deep": { "x": 1 } } } } },
        "env": { "vars": { "A": "b" }, "C": "d", "shellEnv": { "enabled": true } },
        "ui": { "seamColor": "#aAbB09" },
        "browser": { "profiles": { "x": { "cdpPort": 65535 } } },
    });
    assert_eq!(said(fine), [""; 0]);
}

#[test]
fn what_may_not() {
    let cases = [
        (json!({ "gateway": { "port": 0 } }), "gateway.port: Too small: expected number to be >0"),
        (json!({ "gateway": { "port": 1.5 } }), "gateway.port: Invalid input: expected int, received number"),
        (json!({ "gateway": 5 }), "gateway: Invalid input: expected object, received number"),
        (
            json!({ "gateway": { "trustedProxies": "x" } }),
            "gateway.trustedProxies: Invalid input: expected array, received string",
        ),
        (
            json!({ "gateway": { "trustedProxies": ["x", 5] } }),
            "gateway.trustedProxies.1: Invalid input: expected string, received number",
        ),
        (
            json!({ "gateway": { "mode": { "source": "env", "id": "X" } } }),
            "gateway.mode: Invalid option: expected one of \"local\"|\"remote\"",
        ),
        (json!({ "agents": { "list": {} } }), "agents.list: Invalid input: expected array, received object"),
        (
            json!({ "agents": { "list": [{ "heartbeat": { "ackMaxChars": -1 } }] } }),
            "agents.list.0.heartbeat.ackMaxChars: Too small: expected number to be >=0",
        ),
        (
            json!({ "agents": { "list": [{ "heartbeat": { "evry": "5m" } }] } }),
            "? agents.list.0.heartbeat.evry: unknown key; did you mean \"every\"?",
        ),
        (
            json!({ "ui": { "seamColor": "red" } }),
            "ui.seamColor: Invalid string: expected a colour of six hexadecimal digits, as #1A2B3C",
        ),
        (
            json!({ "ui": { "assistant": { "name": "x".repeat(51) } } }),
            "ui.assistant.name: Too big: expected string to have <=50 characters",
        ),
        (
            json!({ "browser": { "profiles": { "x": { "cdpPort": 65536 } } } }),
            "browser.profiles.x.cdpPort: Too big: expected number to be <=65535",
        ),
        (
            json!({ "channels": { "telgram": {} } }),
            "? channels.telgram: unknown key; did you mean \"telegram\"?",
        ),
        (
            json!({ "channels": { "telegram": { "commands": { "native": 5 } } } }),
            "channels.telegram.commands.native: Invalid input: expected boolean|\"auto\", received number",
        ),
        (json!({ "gatway": {} }), "? gatway: unknown key; did you mean \"gateway\"?"),
        (
            json!({ "env": { "shellEnv.enabled": 5 } }),
            "env.shellEnv.enabled: Invalid input: expected string, received number",
        ),
        (json!({ "hooks": { "constructor": {} } }), "hooks.constructor: a key of this name is not allowed"),
        (
            json!({ "logging": { "level": "loud" } }),
            "logging.level: Invalid option: expected one of \"silent\"|\"fatal\"|\"error\"|\"warn\"|\"info\"|\"debug\"|\"trace\"",
        ),
    ];
    for (document, want) in cases {
        assert_eq!(said(document.clone()), [want], "{document}");
    }
}

#[test]
fn distances() {
    assert_eq!(
        (
            distance("port", "prot"),
            distance("", "abc"),
            distance("Bind", "bind"),
            distance("kitten", "sitting")
        ),
        (2, 3, 0, 3)
    );
}

#[test]
fn a_flood_of_mistakes_is_cut_and_drowns_nothing() {
    let mut flood: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("unknown{n}"), json!(1))).collect();
    flood.insert("gateway".into(), json!(5));
    let said = said(flood.into());
    assert_eq!(said.len(), ISSUES_MAX + 1);
    assert!(said[ISSUES_MAX].starts_with("gateway: "));
}

/// What the typed form reads of a document that holds every key of the table.
#[test]
fn what_the_gateway_acts_on_is_in_the_table() {
    use crate::config::{model, reader::ASKED};
    let mut all = Value::Null;
    for Line { path, types, .. } in lines().filter(|it| !it.types.starts_with('=')) {
        let text = path.replace("[]", "[0]").replace(".*", ".any");
        let word = types.split('|').next().unwrap();
        let value = match word {
            "string" | "any" | "object" | "number" | "integer" | "boolean" => Value::Null,
            it if it.starts_with('[') => json!([]),
            it => it.into(),
        };
        // `id` of an item decides whether the rest of it is read.
        let value = if path.ends_with("].id") { "x".into() } else { value };
        // Refused where a plain value already stands in the way.
        let _ = crate::config::place::Place::parse(&text).unwrap().set(&mut all, value);
    }
    ASKED.set(Some(Default::default()));
    model::read(&all, &mut vec![]);
    let asked = ASKED.take().unwrap();
    assert!(asked.len() > 50 && asked.contains("agents.list.0.identity.name"), "{asked:?}");
    for path in asked {
        assert!(rule(&path.split('.').collect::<Vec<_>>()).is_some(), "{path} has no line, and so no class");
    }
}
