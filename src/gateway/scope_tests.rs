//! The scope matrix, `tests/data/scopes.txt`: six kinds of connection call every method, and wait for every event.
use super::events::{EVENTS, EventKind, SCHEMAS};
use super::*;
use crate::base::testing::Seed;
use serde_json::json;
use std::collections::BTreeSet;

const TABLE: &str = include_str!("../../tests/data/scopes.txt");
const KINDS: [(&str, Role, &[&str]); 6] = [
    ("admin", Role::Operator, &["operator.admin"]),
    ("read", Role::Operator, &["operator.read"]),
    ("write", Role::Operator, &["operator.write"]),
    ("approvals", Role::Operator, &["operator.approvals"]),
    ("pairing", Role::Operator, &["operator.pairing"]),
    // What a node says of its scopes counts for nothing.
    ("node", Role::Node, &["operator.admin"]),
];

/// A connection of each kind.
fn core(protocol: u32, home: &std::path::Path) -> Core {
    let now = Now { mono_ms: 1000, unix_ms: 1_795_000_000_000 };
    let mut core = super::tests::core(&mut Seed(1), home, Clock::start(), now);
    for (slot, (_, role, scopes)) in (0..).zip(KINDS) {
        let ready = Ready {
            display_name: None,
            protocol,
            role,
            scopes: Scopes::of(scopes),
            client_id: ClientId::Test,
            mode: ClientMode::Test,
            presence_key: None,
            sees_tools: false,
            device_id: None,
            by_secret: true,
            node: None,
            canvas: None,
        };
        let phase = Phase::Ready(Box::new(ready));
        let client = Client { conn_id: slot.to_string(), errors: (0, 0), phase, closing: false };
        core.clients.insert(ConnId { slot, generation: 1 }, client);
        core.ready += 1;
    }
    core.take_effects();
    core
}

/// What became of a call whose params fit no method: only who may call it learns that.
fn call(core: &mut Core, slot: u32, method: &str) -> String {
    let request = json!({ "type": "req", "id": "1", "method": method, "params": "no object" }).to_string();
    let now = Now { mono_ms: 1000, unix_ms: 1_795_000_000_000 };
    core.on_message(ConnId { slot, generation: 1 }, Bytes::from(request), now);
    let mut answers = core.take_effects().into_iter();
    // Who is let in may be answered later, or even get what he asks for: some check their params themselves.
    let Some(Effect::Send { text, .. }) = answers.find(|it| matches!(it, Effect::Send { .. })) else {
        return "yes".to_owned();
    };
    let answer: Value = serde_json::from_str(&text).unwrap();
    let text = answer["error"]["message"].as_str().unwrap_or("invalid ");
    match text.strip_prefix("missing scope: operator.") {
        Some(scope) => scope.to_owned(),
        None if text.starts_with("unauthorized role: ") => "role".to_owned(),
        None => "yes".to_owned(),
    }
}

/// Which slots an event of this kind reaches.
fn hearers(core: &mut Core, name: &'static str, access: crate::protocol::scope::Access) -> BTreeSet<u32> {
    core.broadcast(&EventKind::of(name, access), &json!({}));
    let effects = core.take_effects().into_iter();
    effects
        .filter_map(|it| if let Effect::Broadcast { to, .. } = it { Some(to) } else { None })
        .flatten()
        .map(|it| it.slot)
        .collect()
}

#[test]
fn everybody_gets_what_the_matrix_says_and_nothing_is_left_out() {
    let rows: Vec<(&str, Vec<&str>)> = (TABLE.lines())
        .filter(|it| !it.starts_with('#') && !it.is_empty())
        .map(|it| {
            let mut words = it.split_whitespace();
            (words.next().unwrap(), words.collect())
        })
        .collect();
    let names: BTreeSet<&str> = rows.iter().map(|it| it.0).collect();
    assert_eq!(names.len(), rows.len(), "a row stands there twice");
    let methods: BTreeSet<&str> = methods::FAMILIES.iter().copied().flatten().map(|it| it.name).collect();
    let events: Vec<String> = EVENTS.iter().map(|it| format!("event:{it}")).collect();
    let lost: Vec<&str> = methods
        .iter()
        .copied()
        .chain(events.iter().map(String::as_str))
        .filter(|it| !names.contains(it))
        .collect();
    assert!(lost.is_empty(), "without a row in tests/data/scopes.txt: {lost:?}");

    let home = std::env::temp_dir().join(format!("gatewayd-scopes-{}", std::process::id()));
    let mut cores = [core(3, &home), core(4, &home)];
    let mut wrong = vec![];
    for (name, want) in &rows {
        assert_eq!(want.len(), KINDS.len(), "{name}");
        if let Some(event) = name.strip_prefix("event:") {
            let Some(at) = EVENTS.iter().position(|it| *it == event) else { continue };
            for core in &mut cores {
                let heard = hearers(core, EVENTS[at], SCHEMAS[at].0);
                for (slot, want) in (0..).zip(want) {
                    let got = if heard.contains(&slot) { "yes" } else { "no" };
                    if got != *want {
                        wrong.push(format!("{name} for {}: {got}, not {want}", KINDS[slot as usize].0));
                    }
                }
            }
            continue;
        }
        let (method, versions) = match name.split_once('@') {
            Some((method, _)) => (method, 1..2),
            None if names.contains(format!("{name}@4").as_str()) => (*name, 0..1),
            None => (*name, 0..2),
        };
        // Not there yet, and not one of those that never are.
        if !methods.contains(method) && !matches!(method, "connect" | "no.such.method") {
            continue;
        }
        for core in &mut cores[versions] {
            for (slot, want) in (0..).zip(want) {
                let got = call(core, slot, method);
                if got != *want {
                    wrong.push(format!("{name} by {}: {got}, not {want}", KINDS[slot as usize].0));
                }
            }
        }
    }
    let _ = std::fs::remove_dir_all(&home);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
