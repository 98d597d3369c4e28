//! What the largest file that people have costs: told in milliseconds, held to bytes, which are the same on any machine.
#![expect(clippy::disallowed_methods, reason = "a measurement of time")]
use super::change::Plan;
use super::{Env, File, Paths, include, json5, keys, model, substitute};
use crate::base::{ids, testing};
use serde_json::Value;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

/// 250 KB of the sections that grow: agents, bindings, models, groups, hooks, skills; with comments, and layout of a person's.
fn large() -> String {
    let mut text = "{\n  gateway: { mode: 'local', auth: { token: '${TOKEN}' } },\n".to_owned();
    let mut section = |open: &str, close: &str, count: usize, line: &dyn Fn(usize) -> String| {
        writeln!(text, "  {open}").unwrap();
        for n in 0..count {
            writeln!(text, "    // number {n}\n    {},", line(n)).unwrap();
        }
        writeln!(text, "  {close},").unwrap();
    };
    section("agents: { defaults: { model: { primary: 'p0/m0' } }, list: [", "] }", 170, &|n| {
        format!(
            "{{ id: 'agent{n}', name: \"Agent {n}\", workspace: '~/work/{n}', identity: {{ name: 'A{n}', emoji: '🛠' }},\n      heartbeat: {{ every: '{}m', target: 'last' }}, tools: {{ allow: ['read', 'exec'], deny: ['write'] }} }}",
            n + 1
        )
    });
    section("bindings: [", "]", 300, &|n| {
        format!(
            "{{ agentId: 'agent{}', match: {{ channel: 'telegram', peer: {{ kind: 'group', id: '-100{n}' }} }} }}",
            n % 150
        )
    });
    section("models: { providers: {", "} }", 45, &|n| {
        let models = (0..12).map(|m| format!("        {{ id: 'm{m}', name: 'Model {m}', contextWindow: 200000, maxTokens: 8192, reasoning: false, input: ['text', 'image'] }},\n"));
        format!(
            "'p{n}': {{ baseUrl: 'http://127.0.0.1:{}/v1', apiKey: '${{TOKEN}}', models: [\n{}      ] }}",
            9000 + n,
            models.collect::<String>()
        )
    });
    section("channels: { telegram: { botToken: '${TOKEN}', groups: {", "} } }", 600, &|n| {
        format!(
            "\"-100{n}\": {{ requireMention: {}, allowFrom: [{n}, {}], systemPrompt: 'Be brief in room {n}.' }}",
            n % 2 == 0,
            n + 1
        )
    });
    section("hooks: { enabled: true, token: 'hook-token', mappings: [", "] }", 170, &|n| {
        format!(
            "{{ id: 'hook{n}', match: {{ path: 'path{n}' }}, action: 'agent', name: 'Hook {n}', messageTemplate: 'New: {{{{title}}}}' }}"
        )
    });
    section("skills: { entries: {", "} }", 150, &|n| {
        format!("skill{n}: {{ enabled: true, env: {{ KEY: 'value{n}' }} }}")
    });
    text + "}\n"
}

fn instance() -> (Paths, Env) {
    let env = Env::from([("HOME", "/nonexistent"), ("TOKEN", "secret")]);
    (Paths::resolve(&env, None), env)
}

/// The best of a few, in milliseconds.
fn ms<T>(mut work: impl FnMut() -> T) -> f64 {
    (0..10)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64() * 1000.0
        })
        .fold(f64::INFINITY, f64::min)
}

#[test]
fn a_large_file() {
    let text = large();
    let (paths, env) = instance();
    let load = |text: &str| File::of_text(Some(text.to_owned()), &paths, &env);
    let before = testing::held();
    let old = load(&text);
    let held = testing::held() - before;
    assert_eq!((&old.issues, &old.warnings), (&vec![], &vec![]));
    let changed =
        text.replace("Be brief in room 599.", "Be kind in room 599.").replace("'hook149'", "'other'");
    let new = load(&changed);
    let wrong = load(&text.replace("requireMention", "requirMention").replace("every: '", "evry: '"));
    assert_eq!(wrong.warnings.len(), crate::base::limits::ISSUES_MAX);
    let plan = Plan::between(&old.resolved, &new.resolved, &[]);
    assert_eq!(plan.changed.len(), 2, "{:?}", plan.changed);
    let document = json5::parse(&text).unwrap();
    let value = document.value();
    println!("{} KB, {} KiB held", text.len() / 1000, held / 1024);
    println!("parse       {:6.2} ms", ms(|| json5::parse(&text)));
    println!("  to value  {:6.2} ms", ms(|| document.value()));
    println!("  repeated  {:6.2} ms", ms(|| document.repeated()));
    println!("include     {:6.2} ms", ms(|| include::any(&value)));
    println!("clone       {:6.2} ms", ms(|| value.clone()));
    println!("substitute  {:6.2} ms", ms(|| substitute::substitute(&mut value.clone(), &env, &mut vec![])));
    println!("check       {:6.2} ms", ms(|| keys::check(&old.resolved)));
    println!("model       {:6.2} ms", ms(|| model::read(&old.resolved, &mut vec![])));
    println!("hash        {:6.2} ms", ms(|| ids::sha256_hex(text.as_bytes())));
    println!("diff        {:6.2} ms", ms(|| Plan::between(&old.resolved, &new.resolved, &[])));
    println!("load        {:6.2} ms", ms(|| load(&text)));
    println!("load, wrong {:6.2} ms", ms(|| load(&text.replace("requireMention", "requirMention"))));
    println!("load + diff {:6.2} ms", ms(|| Plan::between(&old.resolved, &load(&changed).resolved, &[])));
}

#[test]
fn an_empty_configuration_costs_little() {
    let (paths, env) = instance();
    let before = testing::held();
    let file = File::of_text(Some("{}".to_owned()), &paths, &env);
    let held = testing::held() - before + size_of_val(&file) as isize;
    println!("an empty configuration: {held} bytes");
    assert!(held < 64 * 1024, "{held}");
    assert_eq!(*file.resolved, Value::Object(serde_json::Map::new()));
}
