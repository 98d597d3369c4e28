//! Where messages go, when conversations end and who may answer: tables played against the rules.
use super::freshness::{ChatKind, chat_kind, fresh, rule, trigger};
use super::routing::{Match, Origin, Thread, place, route};
use super::send_policy::may_send;
use crate::base::clock;
use crate::base::files;
use crate::base::zone::Zone;
use crate::config::{Config, File, Paths, PeerKind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn config(value: &Value) -> Config {
    let file = File::of_text(Some(value.to_string()), &Paths::resolve(&[].into(), None), &[].into());
    assert!(file.valid(), "{:?}", file.issues);
    file.config
}

/// The lines of a table with the JSON in force, and how many there are.
fn play(name: &str, mut each: impl FnMut(&Value, &str, &str)) -> usize {
    let text = files::read_text(&data(name), 1 << 20).unwrap().unwrap();
    let (mut setting, mut seen) = (Value::Null, 0);
    for line in text.lines().filter(|it| !it.is_empty() && !it.starts_with('#')) {
        if let Some(json) = line.strip_prefix("= ") {
            setting = serde_json::from_str(json).unwrap();
            continue;
        }
        let (given, want) = line.split_once(" -> ").unwrap_or_else(|| panic!("no arrow: {line}"));
        each(&setting, given, want);
        seen += 1;
    }
    seen
}

#[test]
fn routes() {
    let seen = play("routing.txt", |setting, given, want| {
        let config = config(setting);
        let mut words = given.split(' ');
        let mut origin = Origin { channel: words.next().unwrap(), ..Origin::default() };
        for word in words {
            let (name, value) = word.split_once('=').unwrap();
            match name {
                "account" => origin.account = Some(value),
                "dm" => origin.peer = Some((PeerKind::Direct, value)),
                "group" => origin.peer = Some((PeerKind::Group, value)),
                "channel" => origin.peer = Some((PeerKind::Channel, value)),
                "parent-channel" => origin.parent = Some((PeerKind::Channel, value)),
                "guild" => origin.guild_id = Some(value),
                "team" => origin.team_id = Some(value),
                "topic" => origin.thread = Some(Thread::Topic(value)),
                "thread" => origin.thread = Some(Thread::Replies(value)),
                _ => panic!("{given}"),
            }
        }
        let got = route(&origin, &config);
        assert_eq!(format!("{} {}", got.session_key, got.matched.word()), want, "{given} with {setting}");
    });
    assert!(seen >= 60, "{seen}");
}

#[test]
fn blanks_around_what_networks_say() {
    let config = config(&json!({ "bindings": [
        { "agentId": "b", "match": { "channel": "irc", "accountId": " q " } },
        { "agentId": "c", "match": { "channel": "irc", "peer": { "kind": "dm", "id": " 1 " } } },
    ]}));
    let dm = |id| Some((PeerKind::Direct, id));
    let got =
        route(&Origin { channel: " irc", account: Some(" q "), peer: dm("1"), ..Origin::default() }, &config);
    assert_eq!((&*got.agent_id, &*got.account, got.matched), ("b", "q", Match::Account));
    let got =
        route(&Origin { channel: "irc", account: Some(" "), peer: dm("1 "), ..Origin::default() }, &config);
    assert_eq!((&*got.agent_id, &*got.account, got.matched), ("c", "default", Match::Peer));
    assert_eq!((&*got.main_key, &*got.session_key), ("agent:c:main", "agent:c:main"));
    let group = Origin { channel: "", peer: Some((PeerKind::Group, " A B ")), ..Origin::default() };
    assert_eq!(route(&group, &config).session_key, "agent:main:unknown:group:a b");
}

#[test]
fn keys_are_read_back() {
    use PeerKind::{Channel, Direct, Group};
    for (key, channel, kind, is_thread) in [
        ("agent:main:main", None, Some(Direct), false),
        ("agent:main:main:thread:5", None, Some(Direct), true),
        ("global", None, Some(Direct), false),
        ("agent:main:dm:5", None, Some(Direct), false),
        ("agent:main:telegram:dm:5", Some("telegram"), Some(Direct), false),
        ("agent:main:telegram:biz:dm:5", Some("telegram"), Some(Direct), false),
        ("agent:main:telegram:group:-1:topic:3", Some("telegram"), Some(Group), true),
        ("agent:main:slack:channel:c1:thread:9", Some("slack"), Some(Channel), true),
        ("telegram:group:5", Some("telegram"), Some(Group), false),
        ("group:5", None, Some(Group), false),
        ("agent:main:cron:7", None, None, false),
        ("agent:main:subagent:1-2", None, None, false),
        ("hook:1", None, None, false),
        ("", None, None, false),
    ] {
        let got = place(key);
        assert_eq!((got.channel, got.kind, got.is_thread), (channel, kind, is_thread), "{key}");
    }
}

/// `2026-11-24T04:00` on a wall, or in UTC with a `Z`.
fn instant(text: &str, zone: &Zone) -> i64 {
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let wall_ms = clock::parse_iso(&format!("{bare}:00.000Z")).unwrap_or_else(|| panic!("{text}"));
    if bare == text { zone.instant(wall_ms / 1000) * 1000 } else { wall_ms }
}

#[test]
fn conversations_end() {
    let seen = play("freshness.txt", |setting, given, want| {
        let session = config(&json!({ "session": setting })).session;
        let words: Vec<&str> = given.split(' ').collect();
        let zone = Zone::load_from(&data("zoneinfo"), words[0]).unwrap();
        let kind = match words[1] {
            "direct" => ChatKind::Direct,
            "group" => ChatKind::Group,
            "thread" => ChatKind::Thread,
            _ => panic!("{given}"),
        };
        let rule = rule(&session.resets, kind, Some(words[2]).filter(|it| *it != "-"));
        let got = fresh(instant(words[3], &zone), instant(words[4], &zone), &zone, &rule);
        assert_eq!(if got { "fresh" } else { "stale" }, want, "{given} with {setting}: {rule:?}");
    });
    assert!(seen >= 45, "{seen}");
}

#[test]
fn kinds_of_chat() {
    for (key, chat, in_thread, want) in [
        ("agent:main:main", None, false, ChatKind::Direct),
        ("agent:main:main", Some("direct"), true, ChatKind::Thread),
        ("agent:main:telegram:group:-1", None, false, ChatKind::Group),
        ("agent:main:x", Some("group"), false, ChatKind::Group),
        ("agent:main:x", Some("channel"), false, ChatKind::Group),
        ("agent:main:telegram:group:-1:topic:9", Some("group"), false, ChatKind::Thread),
        ("agent:main:slack:channel:c1:thread:9", None, false, ChatKind::Thread),
    ] {
        assert_eq!(chat_kind(key, chat, in_thread), want, "{key}");
    }
}

#[test]
fn words_that_begin_afresh() {
    let usual = config(&json!({})).session;
    for (text, want) in [
        ("/new", Some("")),
        ("/new  hello there", Some("hello there")),
        ("/NEW x", Some("x")),
        ("/reset what", Some("what")),
        ("/new\nhi", Some("hi")),
        ("  /new hi", Some("hi")),
        ("/newx", None),
        ("/new: hi", None),
        ("say /new", None),
        ("", None),
        ("/né", None),
    ] {
        assert_eq!(trigger(text, &usual), want, "{text:?}");
    }
    let own = config(&json!({ "session": { "resetTriggers": ["Fresh Start", "Début"] } })).session;
    assert_eq!(trigger("fresh START now", &own), Some("now"));
    assert_eq!(trigger("début", &own), Some(""));
    assert_eq!(trigger("/new", &own), None);
    let none = config(&json!({ "session": { "resetTriggers": [] } })).session;
    assert_eq!(trigger("/new", &none), Some(""));
}

#[test]
fn who_may_answer() {
    let deny = |it: Value| json!({ "rules": [{ "action": "deny", "match": it }] });
    let (group, main) = ("agent:main:telegram:group:5", "agent:main:main");
    let cron = "agent:main:cron:1";
    let x = "agent:main:x1";
    for (policy, key, entry, want) in [
        (json!({}), main, json!(null), true),
        (deny(json!({ "keyPrefix": "agent:main:cron:" })), cron, json!(null), false),
        (deny(json!({ "keyPrefix": "Cron:" })), cron, json!(null), false),
        (deny(json!({ "keyPrefix": "cron:" })), "cron:1", json!(null), false),
        (deny(json!({ "keyPrefix": "cron:" })), main, json!(null), true),
        (json!({ "default": "deny" }), x, json!(null), false),
        (
            json!({ "default": "deny", "rules": [{ "action": "allow", "match": { "keyPrefix": "agent:main:x" } }] }),
            x,
            json!(null),
            true,
        ),
        (
            json!({ "rules": [{ "action": "allow", "match": { "keyPrefix": "agent:main:x" } }, { "action": "deny", "match": { "keyPrefix": "agent:main:x1" } }] }),
            x,
            json!(null),
            false,
        ),
        (deny(json!({ "channel": "Telegram", "chatType": "group" })), group, json!(null), false),
        (deny(json!({ "channel": "telegram", "chatType": "channel" })), group, json!(null), true),
        (deny(json!({ "chatType": "direct" })), main, json!(null), false),
        (deny(json!({ "chatType": "direct" })), main, json!({ "chatType": "group" }), true),
        (deny(json!({ "chatType": "direct" })), cron, json!(null), true),
        (deny(json!({ "channel": "telegram" })), main, json!(null), true),
        (deny(json!({ "channel": "telegram" })), main, json!({ "lastChannel": "telegram" }), false),
        (
            deny(json!({ "channel": "telegram" })),
            main,
            json!({ "channel": "telegram", "lastChannel": "webchat" }),
            false,
        ),
        (
            deny(json!({ "channel": "webchat" })),
            main,
            json!({ "channel": "telegram", "lastChannel": "webchat" }),
            true,
        ),
        (json!({ "rules": [{ "action": "deny" }] }), x, json!(null), false),
        (json!({ "rules": [{ "match": { "keyPrefix": "agent:" } }] }), x, json!(null), false),
        (deny(json!({})), x, json!({ "sendPolicy": "allow" }), true),
        (json!({}), x, json!({ "sendPolicy": "deny" }), false),
    ] {
        let session = config(&json!({ "session": { "sendPolicy": policy } })).session;
        let entry = Some(&entry).filter(|it| it.is_object());
        assert_eq!(may_send(&session.send_policy, key, entry), want, "{policy} {key} {entry:?}");
    }
}
