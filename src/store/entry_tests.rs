//! `sessions.patch` and `sessions.reset` against what the reference answered.
use super::entry::*;
use serde_json::{Map, Value, json};

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(it) = value else { panic!("{value} is no object") };
    it
}

fn patched(key: &str, entry: Option<Value>, with: Value) -> Result<Value, String> {
    let around = Around {
        unix_ms: 1000,
        new_session_id: "new",
        default_model: ("mock", "mock-1"),
        label_taken: &|it| it == "dup",
        find_model: &|it| parse_model(it, "mock"),
    };
    patch(key, entry.map(object), &object(with), &around).map(|mut it| {
        assert_eq!(it.shift_remove("updatedAt"), Some(json!(1000)));
        assert!(it.shift_remove("sessionId").is_some());
        Value::Object(it)
    })
}

/// Each row: field, what was sent, what the entry then held (null: nothing) or the reference's text.
fn table(field: &str, rows: &[(Value, Result<Value, &str>)]) {
    for (sent, want) in rows {
        let got = patched("agent:main:patchme", None, json!({ field: sent }));
        let want = want.clone().map(|it| if it.is_null() { json!({}) } else { json!({ field: it }) });
        assert_eq!(got, want.map_err(str::to_owned), "{field}: {sent}");
    }
}

#[test]
fn levels() {
    let words = |field: &str, groups: &[(&str, &str)]| {
        for (value, words) in groups {
            for word in words.split(' ') {
                let want = if *value == "-" { Value::Null } else { json!(value) };
                table(field, &[(json!(word), Ok(want))]);
            }
        }
    };
    words(
        "thinkingLevel",
        &[
            ("-", "off"),
            ("minimal", "min minimal think"),
            ("low", "LOW on enable enabled think-hard thinkhard"),
            ("medium", "med mid medium harder think-harder thinkharder"),
            ("high", "high ultra ultrathink max highest thinkhardest"),
        ],
    );
    words(
        "verboseLevel",
        &[("off", "off false no 0"), ("on", "ON true yes 1 minimal"), ("full", "full all everything")],
    );
    words(
        "reasoningLevel",
        &[
            ("-", "off false no 0 hide hidden disable disabled"),
            ("on", "on true yes 1 show visible enable enabled"),
            ("stream", "stream streaming draft live"),
        ],
    );
    words(
        "elevatedLevel",
        &[
            ("off", "off no 0 false"),
            ("on", "on true yes 1"),
            ("ask", "ask approve approval prompt"),
            ("full", "full auto autoapprove auto-approve"),
        ],
    );
    words("responseUsage", &[("-", "off"), ("tokens", "on tokens"), ("full", "full")]);
}

#[test]
fn words_and_texts() {
    let thinking = "invalid thinkingLevel (use off|minimal|low|medium|high)";
    table(
        "thinkingLevel",
        &[(json!("zzz"), Err(thinking)), (json!(" low "), Err(thinking)), (json!(null), Ok(json!(null)))],
    );
    let xhigh = "thinkingLevel \"xhigh\" is only supported for openai/gpt-5.2, openai-codex/gpt-5.2-codex or openai-codex/gpt-5.1-codex";
    table("thinkingLevel", &[(json!("xhigh"), Err(xhigh)), (json!("x-high"), Err(xhigh))]);
    table("verboseLevel", &[(json!("zzz"), Err(r#"invalid verboseLevel (use "on"|"off")"#))]);
    table("reasoningLevel", &[(json!("zzz"), Err(r#"invalid reasoningLevel (use "on"|"off"|"stream")"#))]);
    table(
        "elevatedLevel",
        &[(json!("bypass"), Err(r#"invalid elevatedLevel (use "on"|"off"|"ask"|"full")"#))],
    );
    let host = Err(r#"invalid execHost (use "sandbox"|"gateway"|"node")"#);
    table(
        "execHost",
        &[(json!("zzz"), host), (json!(" Gateway "), Ok(json!("gateway"))), (json!(null), Ok(json!(null)))],
    );
    let security = Err(r#"invalid execSecurity (use "deny"|"allowlist"|"full")"#);
    table("execSecurity", &[(json!("zzz"), security), (json!("FULL"), Ok(json!("full")))]);
    let ask = Err(r#"invalid execAsk (use "off"|"on-miss"|"always")"#);
    table(
        "execAsk",
        &[(json!("zzz"), ask), (json!("Off"), Ok(json!("off"))), (json!("on-miss"), Ok(json!("on-miss")))],
    );
    table("execNode", &[(json!("  "), Err("invalid execNode: empty")), (json!(" n "), Ok(json!("n")))]);
    let label = [
        (json!("   "), Err("invalid label: empty")),
        (json!(" dup "), Err("label already in use: dup")),
        (json!("  trimmed "), Ok(json!("trimmed"))),
    ];
    table("label", &label);
    table("sendPolicy", &[(json!("deny"), Ok(json!("deny"))), (json!(null), Ok(json!(null)))]);
    table("groupActivation", &[(json!("always"), Ok(json!("always")))]);
    let empty = "invalid model: empty";
    table(
        "model",
        &[
            (json!("  "), Err(empty)),
            (json!("mock/"), Err("invalid model: mock/")),
            (json!("/x"), Err("invalid model: /x")),
        ],
    );
    // The first mistake is told.
    let both = json!({ "label": "  ", "thinkingLevel": "zzz", "model": null });
    assert_eq!(patched("agent:main:x", None, both).unwrap_err(), "invalid label: empty");
}

#[test]
fn who_started_a_session() {
    let (key, by) = ("agent:main:subagent:abc", |it: Value| json!({ "spawnedBy": it }));
    let only = "spawnedBy is only supported for subagent:* sessions";
    assert_eq!(patched("agent:main:patchme", None, by(json!("x"))).unwrap_err(), only);
    assert_eq!(patched("agent:main:patchme", None, by(json!(null))).unwrap(), json!({}));
    assert_eq!(patched(key, None, by(json!(" a "))).unwrap(), by(json!("a")));
    assert_eq!(patched(key, None, by(json!("  "))).unwrap_err(), "invalid spawnedBy: empty");
    let set = Some(by(json!("a")));
    assert_eq!(patched(key, set.clone(), by(json!("a"))).unwrap(), by(json!("a")));
    assert_eq!(
        patched(key, set.clone(), by(json!("zz"))).unwrap_err(),
        "spawnedBy cannot be changed once set"
    );
    assert_eq!(patched(key, set, by(json!(null))).unwrap_err(), "spawnedBy cannot be cleared once set");
}

#[test]
fn models() {
    let own = |provider: &str, model: &str| json!({ "providerOverride": provider, "modelOverride": model });
    let model =
        |entry: Value, it: Value| patched("agent:main:x", Some(entry), json!({ "model": it })).unwrap();
    assert_eq!(model(json!({}), json!("nosuch/m")), own("nosuch", "m"));
    assert_eq!(model(json!({}), json!("gpt-5")), own("mock", "gpt-5"));
    for same in [json!("mock/mock-1"), json!("mock-1"), json!(null)] {
        assert_eq!(model(own("nosuch", "m"), same), json!({}), "the default needs no words");
    }
    let both = json!({ "thinkingLevel": "xhigh", "model": "openai/gpt-5.2" });
    let entry = patched("agent:main:x", None, both).unwrap();
    assert_eq!(entry["thinkingLevel"], "xhigh");
    assert_eq!(model(entry.clone(), json!("mock/mock-1")), json!({ "thinkingLevel": "high" }));
    let err = patched("agent:main:x", Some(entry), json!({ "thinkingLevel": "zz" })).unwrap_err();
    assert!(err.ends_with("|xhigh)"), "{err}");
}

#[test]
fn a_patch_keeps_what_it_does_not_name() {
    let entry = json!({ "sessionId": "s", "updatedAt": 9000, "mine": { "kept": true }, "label": "a", "execNode": "n" });
    let around = Around {
        unix_ms: 1000,
        new_session_id: "new",
        default_model: ("mock", "mock-1"),
        label_taken: &|_| false,
        find_model: &|it| parse_model(it, "mock"),
    };
    let out =
        patch("agent:main:x", Some(object(entry)), &object(json!({ "key": "x", "label": null })), &around);
    let want = json!({ "sessionId": "s", "updatedAt": 9000, "mine": { "kept": true }, "execNode": "n" });
    assert_eq!(Value::Object(out.unwrap()), want, "a clock that went back moves nothing");
}

#[test]
fn a_new_conversation_keeps_its_settings() {
    let before = json!({
        "sessionId": "old", "updatedAt": 1, "systemSent": true, "abortedLastRun": true, "chatType": "direct",
        "deliveryContext": { "channel": "webchat" }, "lastChannel": "webchat", "lastTo": "42",
        "origin": { "provider": "webchat" }, "compactionCount": 3, "inputTokens": 11, "model": "mock-1",
        "modelProvider": "mock", "contextTokens": 128_000, "thinkingLevel": "low", "verboseLevel": "full",
        "reasoningLevel": "on", "responseUsage": "full", "elevatedLevel": "on", "execHost": "gateway",
        "sendPolicy": "allow", "groupActivation": "always", "label": "keep", "skillsSnapshot": {},
        "providerOverride": "nosuch", "modelOverride": "m",
    });
    let after = reset(Some(&object(before)), "new", 5);
    let want = json!({
        "sessionId": "new", "updatedAt": 5, "systemSent": false, "abortedLastRun": false, "thinkingLevel": "low",
        "verboseLevel": "full", "reasoningLevel": "on", "responseUsage": "full", "model": "mock-1",
        "contextTokens": 128_000, "sendPolicy": "allow", "label": "keep", "origin": { "provider": "webchat" },
        "lastChannel": "webchat", "lastTo": "42", "skillsSnapshot": {}, "inputTokens": 0, "outputTokens": 0,
        "totalTokens": 0,
    });
    assert_eq!(Value::Object(after), want);
    assert_eq!(reset(None, "new", 5).len(), 7);
}

#[test]
fn a_conversation_that_a_person_begins_is_without_choices() {
    let before = json!({
        "sessionId": "old", "sessionFile": "/x/old.jsonl", "updatedAt": 1, "systemSent": true, "abortedLastRun": true,
        "chatType": "direct", "origin": { "provider": "webchat" }, "lastTo": "42", "label": "keep", "mine": [1],
        "compactionCount": 3, "inputTokens": 11, "totalTokens": 11, "model": "mock-1", "contextTokens": 128_000,
        "thinkingLevel": "low", "verboseLevel": "full", "responseUsage": "full", "queueMode": "steer",
        "providerOverride": "mock", "modelOverride": "m", "systemPromptReport": {}, "skillsSnapshot": {},
        "elevatedLevel": "on", "execHost": "gateway", "sendPolicy": "deny", "groupActivation": "always",
    });
    let want = json!({
        "sessionId": "new", "updatedAt": 5, "systemSent": false, "abortedLastRun": false,
        "chatType": "direct", "origin": { "provider": "webchat" }, "lastTo": "42", "label": "keep", "mine": [1],
        "elevatedLevel": "on", "execHost": "gateway", "sendPolicy": "deny", "groupActivation": "always",
    });
    assert_eq!(Value::Object(anew(object(before), "new", 5)), want);
}
