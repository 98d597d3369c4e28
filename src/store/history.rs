//! Messages as people see them: `chat.history`, `sessions.preview`, titles.
//!
//! What a model was told in front of and behind a user's words (when they were said, which message it was) is taken away again.
use crate::base::limits::HISTORY_BYTES_MAX;
use serde_json::{Map, Value, json};
use std::io;

/// The text in front of which a user's words were sent: `[Mon 2026-11-23 04:44 UTC] `, also with a channel and a sender in it.
fn without_envelope(text: &str) -> &str {
    let inside = text.strip_prefix('[').and_then(|it| it.split_once(']'));
    match inside {
        Some((head, rest)) if has_time(head) => rest.trim_start(),
        _ => text,
    }
}

/// Whether a text holds `2026-11-23 04:44` or `2026-11-23T04:44`.
fn has_time(text: &str) -> bool {
    let digits = |it: &[u8], form: &[u8]| {
        it.iter().zip(form).all(|(it, form)| match form {
            b'0' => it.is_ascii_digit(),
            b' ' => matches!(it, b' ' | b'T'),
            form => it == form,
        })
    };
    const FORM: &[u8] = b"0000-00-00 00:00";
    text.as_bytes().windows(FORM.len()).any(|it| digits(it, FORM))
}

/// A line of its own that names the message, behind the words.
fn without_message_id(text: &str) -> String {
    let kept = |line: &&str| !(line.trim().starts_with("[message_id: ") && line.trim().ends_with(']'));
    match text.contains("[message_id: ") {
        true => text.split('\n').filter(kept).collect::<Vec<_>>().join("\n"),
        false => text.to_owned(),
    }
}

fn each_text(message: &mut Value, change: impl Fn(&str) -> String) {
    match &mut message["content"] {
        Value::String(text) => *text = change(text),
        Value::Array(parts) => {
            for part in parts.iter_mut().filter(|it| it["type"] == "text") {
                if let Value::String(text) = &mut part["text"] {
                    *text = change(text);
                }
            }
        }
        _ => {}
    }
}

/// The `messages` of `chat.history`: as stored, users' words bare, the oldest left out until all fit [`HISTORY_BYTES_MAX`].
pub fn history(mut messages: Vec<Value>) -> Vec<Value> {
    for message in messages.iter_mut().filter(|it| it["role"] == "user") {
        each_text(message, |it| without_message_id(without_envelope(it)));
    }
    let (mut bytes, mut from) = (2, messages.len());
    while from > 0 {
        bytes += messages[from - 1].to_string().len() + 1;
        if bytes > HISTORY_BYTES_MAX {
            break;
        }
        from -= 1;
    }
    messages.split_off(from)
}

/// The first text of a message; None when there is none.
pub fn first_text(message: &Value) -> Option<&str> {
    let parts = message["content"].as_array().into_iter().flatten().filter_map(|it| it["text"].as_str());
    parts.chain(message["content"].as_str()).map(str::trim).find(|it| !it.is_empty())
}

/// What a message says, or in words what else it is; None for nothing at all.
fn text(message: &Value) -> Option<String> {
    let parts = || message["content"].as_array().into_iter().flatten();
    let texts = parts().filter_map(|it| it["text"].as_str()).chain(message["content"].as_str());
    let said = texts.map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>().join("\n");
    if !said.is_empty() {
        return Some(said);
    }
    let tools: Vec<&str> = tools(message).collect();
    let kind = parts().filter_map(|it| it["type"].as_str()).find(|it| *it != "text");
    match tools.is_empty() {
        false => Some(format!("call {}", tools.join(", "))),
        true => kind.map(|it| format!("[{it}]")),
    }
}

/// The tools that a message calls, or whose answer it is.
fn tools(message: &Value) -> impl Iterator<Item = &str> {
    let calls = message["content"].as_array().into_iter().flatten().filter(|it| it["type"] == "toolCall");
    message["toolName"].as_str().into_iter().chain(calls.filter_map(|it| it["name"].as_str()))
}

fn cut(text: &str, chars_max: usize, mark: &str) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(mark.chars().count())).collect();
    kept.trim_end().to_owned() + mark
}

/// An item of `sessions.preview`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PreviewItem {
    /// `user`, `assistant`, `tool`, `system` or `other`. A message that calls a tool is the tool's.
    pub role: &'static str,
    pub text: String,
}

fn preview_role(message: &Value) -> &'static str {
    match message["role"].as_str().unwrap_or_default() {
        "user" => "user",
        "tool" | "toolResult" => "tool",
        _ if tools(message).next().is_some() => "tool",
        "assistant" => "assistant",
        "system" => "system",
        _ => "other",
    }
}

/// The last `limit` messages that say something, oldest first, each cut to `chars_max` with `...`. They come newest first.
///
/// # Errors
/// Those of the messages.
pub fn preview(
    messages: impl Iterator<Item = io::Result<Value>>,
    limit: usize,
    chars_max: usize,
) -> io::Result<Vec<PreviewItem>> {
    let item = |it: Value| {
        let text = text(&it)?;
        let said = if it["role"] == "user" { without_envelope(&text) } else { &text };
        Some(PreviewItem { role: preview_role(&it), text: cut(said, chars_max, "...") })
    };
    let items = messages.filter_map(|it| it.map(item).transpose());
    let mut items = items.take(limit).collect::<io::Result<Vec<_>>>()?;
    items.reverse();
    Ok(items)
}

/// Characters of a derived title. Reference.
const TITLE_CHARS_MAX: usize = 60;

/// A title from a session's first question, on one line, cut between words with an ellipsis.
pub fn title(first: &str) -> String {
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TITLE_CHARS_MAX {
        return line;
    }
    let kept: String = line.chars().take(TITLE_CHARS_MAX - 1).collect();
    // Half a line of one long word is better than nothing of it.
    let end = kept.rfind(' ').filter(|it| *it > kept.len() / 2).unwrap_or(kept.len());
    kept[..end].to_owned() + "…"
}

/// The message of `chat.inject` and of a command's answer, in the reference's shape.
pub fn injected(text: &str, label: Option<&str>, unix_ms: i64) -> Value {
    let text = label.map_or_else(|| text.to_owned(), |it| format!("[{it}]\n\n{text}"));
    json!({
        "role": "assistant",
        "content": [{ "type": "text", "text": text }],
        "timestamp": unix_ms,
        "stopReason": "injected",
        "usage": { "input": 0, "output": 0, "totalTokens": 0 },
    })
}

/// The model of [`mirrored`] messages.
pub const MIRROR: &str = "delivery-mirror";

/// What was sent to a session's chat beside its runs, in the reference's shape.
pub fn mirrored(text: &str, unix_ms: i64) -> Value {
    let none = json!({ "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0 });
    json!({
        "role": "assistant",
        "content": [{ "type": "text", "text": text }],
        "api": "openai-responses",
        "provider": "openclaw",
        "model": MIRROR,
        "usage": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0, "cost": none },
        "stopReason": "stop",
        "timestamp": unix_ms,
    })
}

/// The message of a user, in the reference's shape. `text` as the model is told it.
pub fn said(text: &str, images: Vec<Map<String, Value>>, unix_ms: i64) -> Value {
    let mut content = vec![json!({ "type": "text", "text": text })];
    content.extend(images.into_iter().map(Value::Object));
    json!({ "role": "user", "content": content, "timestamp": unix_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::transcript::last_messages;
    use std::path::Path;

    fn reference() -> Vec<Value> {
        let name = "tests/data/state-reference/9fd19fbe-b7cf-4384-9cd3-b1828b98f64c.jsonl";
        last_messages(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name), 1000).unwrap()
    }

    #[test]
    fn history_shows_bare_words() {
        let shown = history(reference());
        let users: Vec<&str> = shown
            .iter()
            .filter(|it| it["role"] == "user")
            .map(|it| it["content"][0]["text"].as_str().unwrap())
            .collect();
        assert_eq!(users[..5], ["hello there", "TOOL please", "FAIL now", "SLOW one", "after abort"]);
        assert!(
            users[5].starts_with("System: [2026") && users[5].ends_with("] post compact"),
            "{}",
            users[5]
        );
        let answer = shown.iter().find(|it| it["role"] == "toolResult").unwrap();
        assert_eq!(answer["details"]["exitCode"], 0, "everything else is as stored");
        let failed = shown.iter().find(|it| it["stopReason"] == "error").unwrap();
        assert_eq!((&failed["content"], &failed["errorMessage"]), (&json!([]), &json!("400 mock failure")));
    }
    #[test]
    fn envelopes() {
        for (text, bare) in [
            ("[Mon 2026-11-23 04:44 UTC] hi", "hi"),
            ("[Telegram Ann id:42 2026-11-23T04:44Z] hi", "hi"),
            ("[a list] of 2026-11-23 04:44", "[a list] of 2026-11-23 04:44"),
            ("[unfinished 2026-11-23 04:44", "[unfinished 2026-11-23 04:44"),
            ("plain", "plain"),
        ] {
            let message = json!({ "role": "user", "content": text });
            assert_eq!(history(vec![message])[0]["content"], bare);
        }
        let theirs = json!({ "role": "assistant", "content": "[Mon 2026-11-23 04:44 UTC] hi" });
        assert_eq!(history(vec![theirs.clone()]), [theirs], "an answer is left alone");
    }
    #[test]
    fn history_has_a_size() {
        let big = |n: usize| json!({ "role": "assistant", "content": format!("{n}{}", "x".repeat(1 << 20)) });
        let shown = history((0..9).map(big).collect());
        assert_eq!(shown.len(), 5, "six of a mebibyte and a little do not fit");
        assert!(shown[4]["content"].as_str().unwrap().starts_with('8'), "the newest stay");
        assert!(json!(shown).to_string().len() <= HISTORY_BYTES_MAX);
    }
    #[test]
    fn previews_are_the_references() {
        let shown = |limit, chars| preview(reference().into_iter().rev().map(Ok), limit, chars).unwrap();
        let items = shown(50, 60);
        let rows: Vec<(&str, &str)> = items.iter().map(|it| (it.role, it.text.as_str())).collect();
        assert_eq!(rows[0], ("user", "hello there\n[message_id: run-37ed8c]"));
        assert_eq!(rows[3], ("tool", "Looking."));
        assert_eq!(rows[4], ("tool", "hi-from-tool"));
        assert_eq!(rows[7], ("assistant", "[L]\n\ninjected text"));
        assert_eq!(rows[8], ("user", "FAIL now\n[message_id: run-b035eb]"));
        assert_eq!(rows[9].0, "user", "an answer without words is no item");
        assert_eq!(rows.len(), 15);
        assert_eq!(shown(2, 20).len(), 2);
        let after = json!({ "role": "user", "content": "after inject\n[message_id: run-54070e]" });
        let one = |it: Value| preview([Ok(it)].into_iter(), 1, 20).unwrap().pop();
        assert_eq!(one(after).unwrap().text, "after inject\n[mes...");
        for (role, content, shown) in [
            (
                "user",
                json!([{ "type": "text", "text": " " }, { "type": "image" }]),
                Some(("user", "[image]")),
            ),
            ("user", json!([{ "type": "text", "text": "a" }, { "text": "b" }]), Some(("user", "a\nb"))),
            ("assistant", json!([{ "type": "thinking" }]), Some(("assistant", "[thinking]"))),
            (
                "assistant",
                json!([{ "type": "thinking" }, { "type": "toolCall", "name": "exec" }, { "type": "toolCall", "name": "read" }]),
                Some(("tool", "call exec, read")),
            ),
            ("assistant", json!([]), None),
            ("weird", json!("w"), Some(("other", "w"))),
        ] {
            let got = one(json!({ "role": role, "content": content }));
            assert_eq!(got.as_ref().map(|it| (it.role, it.text.as_str())), shown);
        }
        let answer = json!({ "role": "toolResult", "toolName": "read", "content": [] });
        assert_eq!(one(answer).unwrap(), PreviewItem { role: "tool", text: "call read".into() });
    }
    #[test]
    fn titles() {
        let first = "[Mon 2026-11-23 23:53 UTC] after inject\n[message_id: run-54070e]";
        assert_eq!(title(first), "[Mon 2026-11-23 23:53 UTC] after inject [message_id:…");
        assert_eq!(title(" short\n one "), "short one");
        assert_eq!(title(&"é".repeat(80)).chars().count(), TITLE_CHARS_MAX);
    }
    #[test]
    fn injected_messages_have_the_references_shape() {
        let theirs =
            reference().into_iter().find(|it| it["content"][0]["text"] == "[L]\n\ninjected text").unwrap();
        assert_eq!(injected("injected text", Some("L"), theirs["timestamp"].as_i64().unwrap()), theirs);
        let user = reference().remove(0);
        let text = user["content"][0]["text"].as_str().unwrap();
        assert_eq!(said(text, vec![], user["timestamp"].as_i64().unwrap()), user);
    }
}
