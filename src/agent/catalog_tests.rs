//! Choosing a model and reaching it, on one configuration with everything in it.
use super::catalog::{Catalog, Params};
use super::error::{ErrorKind, TurnError};
use super::model::ModelRef;
use super::providers::Api;
use crate::base::secret::Secret;
use serde_json::json;
fn catalog() -> Catalog {
    let root = json!({
        "models": {"providers": {
            "Mock": {
                "baseUrl": "http://127.0.0.1:5/v1", "apiKey": "mock-secret", "api": "openai-completions",
                "headers": {"X-A": "1", "X-B": "2"},
                "models": [
                    {"id": "mock-1", "contextWindow": 128000, "maxTokens": 4096, "input": ["text"], "compat": {"supportsStore": false}},
                    {"id": "o-mock", "api": "anthropic-messages", "reasoning": true, "headers": {"x-a": "9"}},
                ],
            },
            "anthropic": {"baseUrl": "http://proxy.lan"},
            "odd": {"baseUrl": "http://odd", "api": "bedrock-converse-stream"},
            "lost": {},
        }},
        "agents": {
            "defaults": {
                "model": {"primary": "fast", "fallbacks": ["anthropic/claude-x", "mock/mock-1"]},
                "models": {
                    "mock/mock-1": {"alias": "Fast", "params": {"temperature": 0.2, "maxTokens": 99}},
                    "openrouter/a/b": {},
                },
            },
            "list": [
                {"id": "one", "model": "openai/gpt-5"},
                {"id": "two", "model": {"primary": "o-mock", "fallbacks": []}},
            ],
        },
    });
    Catalog::read(&root, false)
}
fn names(found: Result<Vec<ModelRef>, TurnError>) -> Vec<String> {
    found.unwrap().iter().map(ToString::to_string).collect()
}
#[test]
fn choosing() {
    let it = catalog();
    assert_eq!(names(it.choose("main", None, true)), ["mock/mock-1", "anthropic/claude-x"]);
    assert_eq!(names(it.choose("one", None, true))[0], "openai/gpt-5");
    assert_eq!(names(it.choose("two", None, true)), ["mock/o-mock"]);
    assert_eq!(names(it.choose("two", Some("FAST"), true)), ["mock/mock-1"]);
    assert_eq!(names(it.choose("main", Some("openrouter/a/b"), true))[0], "openrouter/a/b");
    assert_eq!(names(it.choose("main", Some("anthropic/claude-x"), true))[0], "anthropic/claude-x");
    for bad in ["openai/gpt-4", "nobody/x", "nothing", "/", ""] {
        assert_eq!(it.choose("main", Some(bad), true).unwrap_err().kind, ErrorKind::Config, "{bad}");
    }
    assert_eq!(it.params(&it.find("fast").unwrap()), Params { temperature: Some(0.2), max_tokens: Some(99) });
}
#[test]
fn defaults_without_a_word() {
    let empty = |dev| Catalog::read(&json!({}), dev);
    assert_eq!(names(empty(true).choose("main", None, false)), ["builtin/parrot"]);
    assert_eq!(names(empty(true).choose("main", None, true)), ["anthropic/claude-opus-4-5"]);
    assert_eq!(names(empty(false).choose("main", None, false)), ["anthropic/claude-opus-4-5"]);
    let listed = json!({"models": {"providers": {"mock": {"baseUrl": "http://h", "models": [{"id": "m"}]}}}});
    assert_eq!(names(Catalog::read(&listed, true).choose("main", None, false)), ["mock/m"]);
}
#[test]
fn targets() {
    let it = catalog();
    let of = |name: &str, key: Option<&str>| {
        it.target(&it.find(name).unwrap(), key.map(|it| Secret::new(it.to_owned())))
    };
    let mock = of("mock-1", None).unwrap();
    assert_eq!(
        (mock.base_url.as_str(), mock.context_window, mock.max_tokens),
        ("http://127.0.0.1:5/v1", Some(128_000), Some(4096))
    );
    assert_eq!(
        (mock.api, mock.reasoning, &mock.compat["supportsStore"]),
        (Api::OpenaiCompletions, false, &json!(false))
    );
    let other = of("o-mock", None).unwrap();
    assert_eq!(other.api, Api::AnthropicMessages);
    assert_eq!(other.headers, [("X-B".to_owned(), "2".to_owned()), ("x-a".to_owned(), "9".to_owned())]);
    let claude = of("anthropic/claude-opus-4-5", Some("k")).unwrap();
    assert_eq!((claude.base_url.as_str(), claude.reasoning), ("http://proxy.lan", true));
    let missing = of("anthropic/claude-x", None).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::Config);
    assert!(missing.reason.contains("ANTHROPIC_API_KEY"), "{missing}");
    assert!(of("odd/x", None).unwrap_err().reason.contains("openai-completions"));
    assert!(of("lost/x", None).unwrap_err().reason.contains("baseUrl"));
    assert_eq!(of("ollama/llama3", None).unwrap().api, Api::Ollama);
    assert_eq!(of("builtin/parrot", None).unwrap().api, Api::Parrot);
}
