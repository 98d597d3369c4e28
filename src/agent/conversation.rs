//! A conversation as it is stored, as a model is told it, and back.
//!
//! * A tool call without a result (its run was cut) gets one that says so: no server takes a call that is left open.
//! * An answer that failed without a word is no part of what a model is told.
use super::error::TurnError;
use super::model::{Done, Message, ModelRef, Part, Role, Stop, ToolCall, Usage};
use crate::store::transcript::{self, Context};
use serde_json::{Map, Value, json};

/// An image a person sent, or a tool found. `data` is base64.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    pub mime_type: String,
    pub data: String,
}

/// US dollars for a million tokens: `models.providers.*.models[].cost`.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write: f64,
}

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    pub model: ModelRef,
    /// The word of `models.providers.*.api`.
    pub api: &'static str,
    pub price: Price,
}

/// What a model is told of the conversation so far.
pub fn messages(context: &Context) -> Vec<Message> {
    let mut out = vec![];
    if let Some(summary) = &context.summary {
        let text = format!("What was said before, in short:\n\n{summary}");
        out.push(Message { role: Role::User, parts: vec![Part::Text(text)] });
    }
    let mut open: Vec<(String, String)> = vec![];
    // What was put in between a call and its result is told behind that.
    let mut later: Vec<Part> = vec![];
    for message in context.messages() {
        match message["role"].as_str() {
            Some("assistant") if transcript::is_put_in(message) && !open.is_empty() => {
                later.extend(content(&message["content"]));
            }
            Some("user") => {
                close(&mut open, &mut later, &mut out);
                push(&mut out, Role::User, content(&message["content"]));
            }
            Some("assistant") => {
                close(&mut open, &mut later, &mut out);
                let parts = content(&message["content"]);
                let calls = parts.iter().filter_map(|it| match it {
                    Part::ToolCall(call) => Some((call.id.clone(), call.name.clone())),
                    _ => None,
                });
                open.extend(calls);
                push(&mut out, Role::Assistant, parts);
            }
            Some("toolResult") => {
                let id = message["toolCallId"].as_str().unwrap_or_default();
                // A result that nobody asked for is refused by every server.
                let Some(at) = open.iter().position(|it| it.0 == id) else { continue };
                let (id, name) = open.remove(at);
                let mut parts = content(&message["content"]);
                let is_error = message["isError"] == true;
                let text = parts.iter().filter_map(text_of).collect::<Vec<_>>().join("\n");
                parts.retain(|it| matches!(it, Part::Image { .. }));
                parts.insert(0, Part::ToolResult { id, name, text, is_error });
                push(&mut out, Role::User, parts);
                if open.is_empty() {
                    close(&mut open, &mut later, &mut out);
                }
            }
            _ => {}
        }
    }
    close(&mut open, &mut later, &mut out);
    // No server takes a conversation that the assistant begins.
    if out.first().is_some_and(|it| it.role == Role::Assistant) {
        let parts = vec![Part::Text("(You have spoken first.)".into())];
        out.insert(0, Message { role: Role::User, parts });
    }
    out
}

/// Messages of one role in a row become one.
fn push(out: &mut Vec<Message>, role: Role, mut parts: Vec<Part>) {
    match out.last_mut() {
        _ if parts.is_empty() => {}
        Some(last) if last.role == role && role == Role::Assistant => {
            // Some servers are told the texts of one answer as one.
            if let (Some(Part::Text(_)), Some(Part::Text(next))) = (last.parts.last(), parts.first_mut()) {
                next.insert_str(0, "\n\n");
            }
            last.parts.extend(parts);
        }
        Some(last) if last.role == role => last.parts.extend(parts),
        _ => out.push(Message { role, parts }),
    }
}

fn close(open: &mut Vec<(String, String)>, later: &mut Vec<Part>, out: &mut Vec<Message>) {
    for (id, name) in open.drain(..) {
        let text = "This call was cut off: nobody knows what came of it.".to_owned();
        push(out, Role::User, vec![Part::ToolResult { id, name, text, is_error: true }]);
    }
    push(out, Role::Assistant, std::mem::take(later));
}

fn text_of(part: &Part) -> Option<&str> {
    if let Part::Text(text) = part { Some(text) } else { None }
}

fn content(value: &Value) -> Vec<Part> {
    if let Some(text) = value.as_str().filter(|it| !it.is_empty()) {
        return vec![Part::Text(text.to_owned())];
    }
    value.as_array().into_iter().flatten().filter_map(part).collect()
}

fn part(item: &Value) -> Option<Part> {
    let text = |name: &str| item[name].as_str().map(str::to_owned);
    Some(match item["type"].as_str()? {
        "text" => Part::Text(text("text").filter(|it| !it.is_empty())?),
        "image" => Part::Image { mime: text("mimeType")?, data: text("data")? },
        "thinking" => Part::Thinking { text: text("thinking")?, signature: text("thinkingSignature") },
        "toolCall" => {
            let arguments = item["arguments"].to_string();
            Part::ToolCall(ToolCall { id: text("id")?, name: text("name")?, arguments })
        }
        _ => return None,
    })
}

/// An answer as it is stored. `ended` says how it did: an answer that was cut keeps what was said until then.
pub fn answer(parts: &[Part], origin: &Origin, ended: Result<Done, &TurnError>, unix_ms: i64) -> Value {
    let content: Vec<Value> = parts.iter().filter_map(stored).collect();
    let usage = ended.as_ref().map(|it| it.usage).unwrap_or_default();
    let mut out = json!({
        "role": "assistant",
        "content": content,
        "api": origin.api,
        "provider": origin.model.provider,
        "model": origin.model.model,
        "usage": usage_with_cost(&usage, &origin.price),
        "stopReason": "stop",
        "timestamp": unix_ms,
    });
    match ended {
        Ok(done) => {
            out["stopReason"] = match done.stop {
                Stop::Stop => "stop",
                Stop::Length => "length",
                Stop::ToolUse => "toolUse",
                Stop::Refusal => "error",
            }
            .into();
        }
        Err(err) if err.kind == super::ErrorKind::Cancelled => out["stopReason"] = "aborted".into(),
        Err(err) => {
            out["stopReason"] = "error".into();
            out["errorMessage"] = err.explain(&origin.model.provider).into();
            if err.kind == super::ErrorKind::BadRequest {
                out["refused"] = true.into();
            }
        }
    }
    out
}

fn usage_with_cost(usage: &Usage, price: &Price) -> Value {
    let dollars = |tokens: u64, each: f64| tokens as f64 * each / 1e6;
    let (input, output) = (dollars(usage.input, price.input), dollars(usage.output, price.output));
    let read = dollars(usage.cache_read, price.cache_read);
    let write = dollars(usage.cache_write, price.cache_write);
    json!({
        "input": usage.input, "output": usage.output, "cacheRead": usage.cache_read,
        "cacheWrite": usage.cache_write, "totalTokens": usage.total(),
        "cost": { "input": input, "output": output, "cacheRead": read, "cacheWrite": write,
            "total": input + output + read + write },
    })
}

fn stored(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Image { mime, data } => json!({ "type": "image", "data": data, "mimeType": mime }),
        Part::Thinking { text, signature } => {
            let mut out = json!({ "type": "thinking", "thinking": text });
            if let Some(it) = signature {
                out["thinkingSignature"] = it.as_str().into();
            }
            out
        }
        Part::ToolCall(call) => {
            json!({ "type": "toolCall", "id": call.id, "name": call.name, "arguments": call.arguments_or_empty() })
        }
        Part::ToolResult { .. } => return None,
    })
}

/// A tool's result as it is stored.
pub fn tool_result(
    call: &ToolCall,
    text: &str,
    image: Option<&Image>,
    details: &Value,
    is_error: bool,
    unix_ms: i64,
) -> Value {
    let mut content = vec![json!({ "type": "text", "text": text })];
    content.extend(image.map(|it| json!({ "type": "image", "data": it.data, "mimeType": it.mime_type })));
    json!({
        "role": "toolResult", "toolCallId": call.id, "toolName": call.name, "content": content,
        "details": details, "isError": is_error, "timestamp": unix_ms,
    })
}

/// A person's words as they are stored.
pub fn said(text: &str, images: &[Image], unix_ms: i64) -> Value {
    let image = |it: &Image| {
        let mut out = Map::new();
        out.insert("type".into(), "image".into());
        out.insert("data".into(), it.data.clone().into());
        out.insert("mimeType".into(), it.mime_type.clone().into());
        out
    };
    crate::store::history::said(text, images.iter().map(image).collect(), unix_ms)
}

/// A person's words as a model is told them.
pub fn question(text: &str, images: &[Image]) -> Message {
    let mut parts = vec![Part::Text(text.to_owned())];
    let image = |it: &Image| Part::Image { mime: it.mime_type.clone(), data: it.data.clone() };
    parts.extend(images.iter().map(image));
    Message { role: Role::User, parts }
}

/// Tokens of an image, roughly. Ours: between what the large providers charge for a megapixel.
const IMAGE_TOKENS: usize = 1200;

/// How many tokens messages take, roughly: four bytes each, as providers tell people to reckon.
pub fn tokens(messages: &[Message]) -> u64 {
    let of = |part: &Part| match part {
        Part::Text(text) | Part::Thinking { text, .. } => text.len() / 4,
        Part::Image { .. } => IMAGE_TOKENS,
        Part::ToolCall(call) => (call.name.len() + call.arguments.len()) / 4,
        Part::ToolResult { text, .. } => text.len() / 4,
    };
    messages.iter().flat_map(|it| &it.parts).map(|it| of(it) as u64 + 2).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::ErrorKind;

    fn context(messages: &[Value]) -> Context {
        let entries = messages.iter().map(|it| json!({ "type": "message", "message": it })).collect();
        Context { entries, ..Context::default() }
    }
    fn origin() -> Origin {
        let model = ModelRef { provider: "mock".into(), model: "mock-1".into() };
        let price = Price { input: 2.0, output: 10.0, ..Price::default() };
        Origin { model, api: "openai-completions", price }
    }

    #[test]
    fn what_is_stored_is_told_again() {
        let call = ToolCall { id: "c1".into(), name: "exec".into(), arguments: r#"{"command":"ls"}"#.into() };
        let parts = vec![
            Part::Thinking { text: "hm".into(), signature: Some("seal".into()) },
            Part::Text("Looking.".into()),
            Part::ToolCall(call.clone()),
        ];
        let usage = Usage { input: 500_000, output: 100_000, ..Usage::default() };
        let done = Done { stop: Stop::ToolUse, usage };
        let stored = answer(&parts, &origin(), Ok(done), 5);
        assert_eq!(
            (&stored["stopReason"], &stored["usage"]["cost"]["total"]),
            (&json!("toolUse"), &json!(2.0))
        );
        let image = Image { mime_type: "image/png".into(), data: "AA==".into() };
        let result = tool_result(&call, "a.txt", Some(&image), &json!({ "exitCode": 0 }), false, 6);
        let told = messages(&context(&[said("hi", std::slice::from_ref(&image), 4), stored, result]));
        assert_eq!(told[0], question("hi", &[image]));
        assert_eq!(told[1].parts, parts);
        let want =
            Part::ToolResult { id: "c1".into(), name: "exec".into(), text: "a.txt".into(), is_error: false };
        assert_eq!(told[2].parts, [want, Part::Image { mime: "image/png".into(), data: "AA==".into() }]);
    }
    #[test]
    fn what_was_cut_is_closed() {
        let call = json!({ "type": "toolCall", "id": "c1", "name": "exec", "arguments": {} });
        let assistant = json!({ "role": "assistant", "content": [call] });
        let stray = json!({ "role": "toolResult", "toolCallId": "zz", "content": [] });
        let next = json!({ "role": "user", "content": "and?" });
        let injected = json!({ "role": "assistant", "content": "by the way", "stopReason": "injected" });
        let result = json!({ "role": "toolResult", "toolCallId": "c1", "content": "done" });
        let first = json!({ "role": "user", "content": "do it" });
        let told = messages(&context(&[first.clone(), assistant.clone(), injected, result, next.clone()]));
        assert!(
            matches!(&told[2].parts[..], [Part::ToolResult { is_error: false, text, .. }] if text == "done")
        );
        assert!(matches!(&told[3].parts[..], [Part::Text(it)] if it == "by the way"));
        let failed = TurnError::new(ErrorKind::BadRequest, "no");
        let failed = answer(&[], &origin(), Err(&failed), 1);
        assert_eq!((&failed["stopReason"], &failed["content"]), (&json!("error"), &json!([])));
        let told = messages(&context(&[first, assistant, stray, failed, next]));
        assert_eq!(told.len(), 3);
        assert!(
            matches!(&told[2].parts[..], [Part::ToolResult { is_error: true, .. }, Part::Text(it)] if it == "and?")
        );
        let cut = answer(&[Part::Text("half".into())], &origin(), Err(&TurnError::cancelled()), 1);
        assert_eq!((&cut["stopReason"], cut.get("errorMessage")), (&json!("aborted"), None));
    }
    #[test]
    fn the_assistant_may_have_spoken_first() {
        let mirror = crate::store::history::mirrored("look at this", 1);
        let told = messages(&context(&[mirror, json!({ "role": "user", "content": "nice" })]));
        let roles: Vec<Role> = told.iter().map(|it| it.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
    }
    #[test]
    fn a_summary_comes_first() {
        let mut context = context(&[json!({ "role": "assistant", "content": "yes" })]);
        context.summary = Some("They agreed.".into());
        let told = messages(&context);
        assert!(matches!(&told[0].parts[..], [Part::Text(it)] if it.ends_with("They agreed.")));
        assert_eq!((told[0].role, told[1].role), (Role::User, Role::Assistant));
        assert!(tokens(&told) > 5);
    }
}
