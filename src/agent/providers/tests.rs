//! Every language on the same ground: what it sends for one rich request, and what it makes of recorded streams, however they are cut.
use super::*;
use crate::agent::model::{Answer, Message, Part, Role, Thinking, ToolCall, ToolChoice, ToolSpec};
use crate::base::testing::each_seed;
use serde_json::json;
use std::path::{Path, PathBuf};

fn folder(api: Api) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/providers").join(api.word())
}

fn languages() -> impl Iterator<Item = (Api, &'static dyn Language)> {
    Api::ALL.into_iter().filter_map(|api| Some((api, api.language()?)))
}

#[expect(clippy::disallowed_methods, reason = "tests read their data")]
fn recordings(api: Api) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder(api)).unwrap().map(|it| it.unwrap().path());
    let mut streams: Vec<_> = files.filter(|it| it.extension().is_some_and(|it| it == "txt")).collect();
    streams.sort();
    let name = |it: &PathBuf| it.file_stem().unwrap().to_str().unwrap().to_owned();
    streams.into_iter().map(|it| (name(&it), std::fs::read(&it).unwrap())).collect()
}

/// Compares with a file, or writes it under `UPDATE_EXPECT=1`.
#[expect(clippy::disallowed_methods, reason = "tests read their data")]
fn expect(path: &Path, found: &Value) {
    let found = format!("{found:#}\n");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{}: UPDATE_EXPECT=1 writes this:\n{found}", path.display());
}

/// The deltas and the end of a stream that arrives in these pieces.
fn play<'c>(language: &dyn Language, chunks: impl Iterator<Item = &'c [u8]>) -> Value {
    let (mut reader, mut out) = (Reader::new(language, "mark".to_owned()), vec![]);
    let feed = || {
        for it in chunks {
            if let Some(done) = reader.push(it, &mut out)? {
                return Ok(done);
            }
        }
        reader.end(&mut out)
    };
    let end = match feed() {
        Ok(done) => json!({"done": done}),
        Err(err) => json!({"error": format!("{:?}: {}", err.kind, err.reason)}),
    };
    indices_have_no_gaps(&out);
    json!({"deltas": out, "end": end})
}

fn indices_have_no_gaps(deltas: &[Delta]) {
    let mut started = 0;
    for it in deltas {
        match it {
            Delta::ToolStart { index, id, .. } => {
                assert_eq!(*index, started);
                assert!(!id.is_empty());
                started += 1;
            }
            Delta::ToolArgs { index, .. } | Delta::ToolEnd { index } => assert!(*index < started),
            _ => {}
        }
    }
}

#[test]
fn recorded_streams() {
    for (api, language) in languages() {
        let all = recordings(api);
        for name in ["text", "tools", "thinking", "error", "cut"] {
            assert!(all.iter().any(|it| it.0 == name), "{} has no stream {name}", api.word());
        }
        for (name, bytes) in all {
            let whole = play(language, [&bytes[..]].into_iter());
            expect(&folder(api).join(format!("{name}.json")), &whole);
            for at in 0..=bytes.len() {
                let cut = play(language, [&bytes[..at], &bytes[at..]].into_iter());
                assert_eq!(cut, whole, "{} {name} cut at {at}", api.word());
            }
            assert_eq!(play(language, bytes.chunks(1)), whole, "{} {name} byte by byte", api.word());
        }
    }
}

#[test]
fn the_same_end_everywhere() {
    for (api, language) in languages() {
        for (name, bytes) in recordings(api) {
            let end = play(language, [&bytes[..]].into_iter())["end"].take();
            let word = end["done"]["stop"].as_str().unwrap_or("error");
            let expected = match name.as_str() {
                "text" => "stop",
                "thinking" => "length",
                it if it.starts_with("tools") => "toolUse",
                _ => "error",
            };
            assert_eq!(word, expected, "{} {name}: {end}", api.word());
            assert!(name != "cut" || end["error"].as_str().unwrap().starts_with("Network"), "{end}");
        }
    }
}

#[test]
fn broken_bytes_never_panic() {
    each_seed(300, |mut seed| {
        for (api, language) in languages() {
            for (_, mut bytes) in recordings(api) {
                for _ in 0..=seed.below(4) {
                    let (at, to) = (seed.below(bytes.len()), seed.below(bytes.len()));
                    match seed.below(3) {
                        0 => bytes[at] = seed.number() as u8,
                        1 => bytes.truncate(at.max(1)),
                        _ => bytes.swap(at, to),
                    }
                }
                play(language, bytes.chunks(1 + seed.below(50)));
            }
        }
    });
}

fn target(api: Api, base_url: &str) -> Target {
    Target {
        api,
        provider: "test".to_owned(),
        base_url: base_url.to_owned(),
        key: Some(Secret::new("test-key-0123456789".to_owned())),
        bearer: false,
        headers: vec![("X-Title".to_owned(), "home".to_owned())],
        reasoning: true,
        context_window: Some(32_768),
        max_tokens: None,
        compat: json!({}),
    }
}

fn rich() -> TurnRequest {
    let call = |n: u32, arguments: &str| {
        Part::ToolCall(ToolCall {
            id: format!("call_{n}"),
            name: "read".to_owned(),
            arguments: arguments.to_owned(),
        })
    };
    let result = |n: u32, is_error| Part::ToolResult {
        id: format!("call_{n}"),
        name: "read".to_owned(),
        text: format!("result {n}"),
        is_error,
    };
    let thought = |seal: &str| Part::Thinking { text: "hm".to_owned(), signature: Some(seal.to_owned()) };
    let text = |text: &str| Part::Text(text.to_owned());
    let image = Part::Image { mime: "image/png".to_owned(), data: "iVBORw0=".to_owned() };
    let seals = [
        thought("reasoning_content"),
        thought("{\"type\":\"reasoning\",\"id\":\"rs_1\",\"encrypted_content\":\"gAAAA=\"}"),
        thought("redacted:EmwK"),
        Part::Thinking { text: "unsealed".to_owned(), signature: None },
    ];
    let mut answer = seals.to_vec();
    answer.extend([text("Looking."), call(1, "{\"path\":\"a\"}"), call(2, "broken")]);
    let messages = vec![
        Message { role: Role::User, parts: vec![text("What is this?"), image] },
        Message { role: Role::Assistant, parts: answer },
        Message { role: Role::User, parts: vec![text("and hurry"), result(1, false), result(2, true)] },
        Message { role: Role::Assistant, parts: vec![] },
        Message { role: Role::User, parts: vec![text("go on")] },
    ];
    let tool = ToolSpec {
        name: "read".to_owned(),
        description: "Reads a file".to_owned(),
        parameters: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
    };
    TurnRequest {
        model: "model-1".to_owned(),
        system: "Be brief.".to_owned(),
        messages,
        tools: vec![tool],
        tool_choice: ToolChoice::Auto,
        thinking: Thinking::Low,
        max_tokens: Some(1000),
        temperature: Some(0.5),
    }
}

#[test]
fn what_is_sent() {
    for (api, language) in languages() {
        let post = encode(language, &target(api, "http://host:1/v1/"), &rich());
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        let found = json!({"url": post.url, "headers": post.headers, "body": body});
        expect(&folder(api).join("request.json"), &found);
    }
}

#[test]
fn switches_of_chat_completions() {
    let body = |base_url: &str, compat: Value| {
        let target = Target { compat, ..target(Api::OpenaiCompletions, base_url) };
        let post = encode(&openai_completions::Completions, &target, &rich());
        serde_json::from_slice::<Value>(&post.body).unwrap()
    };
    let own = body("https://api.openai.com/v1", json!({}));
    assert_eq!((&own["messages"][0]["role"], &own["store"]), (&json!("developer"), &json!(false)));
    assert_eq!((&own["max_completion_tokens"], own.get("max_tokens")), (&json!(1000), None));
    let other = body(
        "http://host/v1",
        json!({
            "supportsUsageInStreaming": false, "supportsReasoningEffort": false, "supportsDeveloperRole": true,
            "maxTokensField": "max_completion_tokens", "requiresToolResultName": true,
        }),
    );
    assert_eq!(
        (other.get("stream_options"), other.get("reasoning_effort"), other.get("store")),
        (None, None, None)
    );
    assert_eq!(other["messages"][0]["role"], "developer");
    assert_eq!(other["max_completion_tokens"], 1000);
    assert!(
        other["messages"].as_array().unwrap().iter().any(|it| it["role"] == "tool" && it["name"] == "read")
    );
    assert_eq!(body("http://host/v1", json!({"thinkingFormat": "qwen"}))["enable_thinking"], true);
    assert_eq!(body("http://host/v1", json!({"thinkingFormat": "zai"}))["thinking"]["type"], "enabled");
}

#[test]
fn keys_travel_in_headers_of_their_language() {
    let headers = |api: Api, key: &str, bearer: bool| {
        let target = Target { key: Some(Secret::new(key.to_owned())), bearer, ..target(api, "http://h") };
        encode(api.language().unwrap(), &target, &rich()).headers
    };
    let has = |headers: &[(String, String)], name: &str, value: &str| {
        headers.iter().any(|it| it.0 == name && it.1 == value)
    };
    let plain = headers(Api::AnthropicMessages, "sk-ant-api-0", false);
    assert!(has(&plain, "x-api-key", "sk-ant-api-0") && !plain.iter().any(|it| it.0 == "authorization"));
    let subscription = headers(Api::AnthropicMessages, "sk-ant-oat-0", false);
    assert!(has(&subscription, "authorization", "Bearer sk-ant-oat-0"));
    assert!(has(&headers(Api::AnthropicMessages, "other-key", true), "authorization", "Bearer other-key"));
    assert!(has(&headers(Api::Ollama, "cloud-key", false), "authorization", "Bearer cloud-key"));
    let own = Target {
        headers: vec![("Authorization".to_owned(), "Basic x".to_owned())],
        ..target(Api::OpenaiCompletions, "http://h")
    };
    let sent = encode(&openai_completions::Completions, &own, &rich()).headers;
    assert_eq!(sent.iter().filter(|it| it.0.eq_ignore_ascii_case("authorization")).count(), 1, "{sent:?}");
}

/// What an answer was goes back in the next request without a loss that matters.
#[test]
fn an_answer_goes_back() {
    for (api, language) in languages() {
        let stream = recordings(api).into_iter().find(|it| it.0 == "tools").unwrap().1;
        let (mut reader, mut deltas, mut answer) =
            (Reader::new(language, "mark".to_owned()), vec![], Answer::default());
        reader.push(&stream, &mut deltas).unwrap();
        deltas.iter().for_each(|it| answer.push(it));
        let ids: Vec<String> = answer.tool_calls().map(|it| it.id.clone()).collect();
        assert_eq!(ids.len(), 2, "{}", api.word());
        assert!(answer.tool_calls().all(|it| it.arguments().is_ok()));
        let request = TurnRequest { messages: vec![answer.into_message()], ..TurnRequest::default() };
        let body = language.body(&target(api, "http://h"), &request).to_string();
        assert!(body.contains("\"read\"") && body.contains("exec"), "{body}");
        assert!(api == Api::Ollama || ids.iter().all(|it| body.contains(it.as_str())), "{body}");
    }
}

#[test]
fn words_that_arrive_together_are_told_together() {
    let word = |text: &str| Delta::Text(text.to_owned());
    let thought = Delta::Thinking("hm".to_owned());
    let mut out = vec![word("a"), word("b"), thought.clone(), word("c"), word("d")];
    let mut told = vec![];
    give(&mut out, &mut |it| told.push(it));
    assert_eq!((told, out), (vec![word("ab"), thought, word("cd")], vec![]));
}
