//! What a model server means when it refuses: status, type words and text become one kind of error.
use super::error::{ErrorKind, TurnError};
use crate::protocol::json;
use serde_json::Value;

/// Of an answer whose status is not 2xx.
pub(super) fn of_answer(
    status: u16,
    retry_after_ms: Option<u64>,
    media_type: &str,
    body: &[u8],
) -> TurnError {
    let (word, text) = match json::parse(body) {
        Ok(body) => words(&body).unwrap_or_default(),
        Err(_) if is_html(media_type, body) => (String::new(), "a web page".to_owned()),
        Err(_) => (String::new(), String::from_utf8_lossy(body).into_owned()),
    };
    let kind = match kind(Some(status), &word, &text) {
        ErrorKind::RateLimit { .. } => ErrorKind::RateLimit { retry_after_ms },
        kind => kind,
    };
    TurnError { status: Some(status), ..TurnError::new(kind, text) }
}

/// Of an error in the middle of a stream; None when `body` is none.
pub(super) fn of_event(body: &Value) -> Option<TurnError> {
    let (word, text) = words(body)?;
    let text = if text.is_empty() { word.clone() } else { text };
    Some(TurnError::new(kind(None, &word, &text), text))
}

/// A page for people: a wrong address, or a proxy that wants a login.
pub(super) fn is_html(media_type: &str, body: &[u8]) -> bool {
    media_type.starts_with("text/html") || body.trim_ascii_start().first() == Some(&b'<')
}

/// The type words and the text of `{"error": {type, code, message}}`, `{"error": "text"}`, `{"message"}`, `{"detail"}`, or
/// the first of a list of these.
fn words(body: &Value) -> Option<(String, String)> {
    let body = body.get(0).unwrap_or(body);
    let error = match body.get("error") {
        Some(Value::Null) | None => body,
        Some(error) => error,
    };
    let at = |name: &str| match error.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let text = match error {
        Value::String(text) => text.clone(),
        _ => [at("message"), at("detail"), at("error")]
            .into_iter()
            .find(|it| !it.is_empty())
            .unwrap_or_default(),
    };
    let word = [at("type"), at("code"), at("status")].join(" ");
    (!text.is_empty() || body.get("error").is_some_and(|it| !it.is_null()))
        .then(|| (word.trim().to_owned(), text))
}

/// How the servers say that a conversation is too long.
const OVERFLOW: [&str; 12] = [
    "context_length_exceeded",
    "context length",
    "context window",
    "maximum context",
    "prompt is too long",
    "request_too_large",
    "input is too long",
    "input token count",
    "too many tokens in",
    "exceeds the model's maximum",
    "exceed context",
    "reduce the length of the messages",
];
const BILLING: [&str; 5] =
    ["insufficient_quota", "insufficient balance", "credit balance", "billing", "insufficient credits"];
const AUTH: [&str; 6] = [
    "authentication_error",
    "invalid_api_key",
    "invalid api key",
    "incorrect api key",
    "api key not valid",
    "permission_error",
];

fn kind(status: Option<u16>, word: &str, text: &str) -> ErrorKind {
    let all = format!("{word} {text}").to_lowercase();
    let says = |list: &[&str]| list.iter().any(|it| all.contains(it));
    match status {
        _ if says(&BILLING) => ErrorKind::Billing,
        Some(402) => ErrorKind::Billing,
        Some(429) => ErrorKind::RateLimit { retry_after_ms: None },
        _ if says(&OVERFLOW) => ErrorKind::ContextOverflow,
        Some(413) => ErrorKind::ContextOverflow,
        Some(401 | 403) => ErrorKind::Auth,
        _ if says(&AUTH) => ErrorKind::Auth,
        _ if says(&["rate_limit", "rate limit", "resource_exhausted", "too many requests"]) => {
            ErrorKind::RateLimit { retry_after_ms: None }
        }
        Some(404) => ErrorKind::NotFound,
        _ if says(&["model_not_found", "not_found_error"]) => ErrorKind::NotFound,
        Some(408 | 500..) => ErrorKind::Overloaded,
        _ if says(&["overloaded", "unavailable", "api_error", "server_error", "internal error"]) => {
            ErrorKind::Overloaded
        }
        _ => ErrorKind::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;
    #[test]
    fn what_servers_say() {
        let cases: &[(u16, &str, ErrorKind, &str)] = &[
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}"#,
                Auth,
                "Incorrect API key provided",
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota"}}"#,
                Billing,
                "You exceeded your current quota",
            ),
            (
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#,
                RateLimit { retry_after_ms: Some(7) },
                "slow down",
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Overloaded,
                "Overloaded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                ContextOverflow,
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                Billing,
                "Your credit balance is too low",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]"#,
                Auth,
                "API key not valid",
            ),
            (404, r#"{"error":"model 'nope' not found"}"#, NotFound, "model 'nope' not found"),
            (400, r#"{"error":{"message":"mock failure"}}"#, BadRequest, "mock failure"),
            (422, r#"{"detail":"bad field"}"#, BadRequest, "bad field"),
            (502, "<html><body>Bad gateway</body></html>", Overloaded, "a web page"),
            (500, "", Overloaded, ""),
        ];
        for (status, body, kind, reason) in cases {
            let err = of_answer(*status, Some(7), "", body.as_bytes());
            assert_eq!(
                (err.kind, err.reason.as_str(), err.status),
                (*kind, *reason, Some(*status)),
                "{body}"
            );
        }
    }
    #[test]
    fn an_event_that_is_no_error() {
        assert_eq!(of_event(&serde_json::json!({"choices": [], "error": null})), None);
        let it = of_event(&serde_json::json!({"error": {"type": "overloaded_error"}})).unwrap();
        assert_eq!((it.kind, it.reason.as_str()), (Overloaded, "overloaded_error"));
    }
}
