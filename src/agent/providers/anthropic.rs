//! The Messages language of Anthropic. The prompt is marked for its cache: system text and the latest message.
use super::{Decode, Framing, Language, Target, bearer, count, text};
use crate::agent::error::TurnError;
use crate::agent::model::{Calls, Delta, Done, Message, Part, Role, Stop, ToolChoice, TurnRequest, Usage};
use crate::agent::refusal;
use serde_json::{Value, json};

pub(super) struct Messages;

/// The language demands a limit. Ours: what all models of the last years allow.
const MAX_TOKENS_DEFAULT: u64 = 8192;
/// Tokens left for the answer behind the thinking. Ours.
const ANSWER_TOKENS_MIN: u64 = 4096;
/// Seals thoughts that only the server can read.
const REDACTED: &str = "redacted:";

impl Language for Messages {
    fn path(&self) -> &'static str {
        "/v1/messages"
    }
    fn framing(&self) -> Framing {
        Framing::Sse
    }
    fn headers(&self, target: &Target) -> Vec<(&'static str, String)> {
        let mut out = vec![("anthropic-version", "2023-06-01".to_owned())];
        out.push(("accept", "text/event-stream".to_owned()));
        let key = target.key.as_ref().map(|it| it.expose());
        match key {
            // Tokens of a subscription begin like this and are refused as keys.
            Some(key) if key.starts_with("sk-ant-oat") => {
                out.push(("anthropic-beta", "oauth-2025-04-20".to_owned()));
                out.extend(bearer(target));
            }
            Some(_) if target.bearer => out.extend(bearer(target)),
            Some(key) => out.push(("x-api-key", key.to_owned())),
            None => {}
        }
        out
    }
    fn body(&self, target: &Target, request: &TurnRequest) -> Value {
        let mut max_tokens = request.max_tokens.or(target.max_tokens).unwrap_or(MAX_TOKENS_DEFAULT);
        let mut body = json!({"model": request.model, "stream": true});
        // A model that must call a tool may not think first.
        let free = matches!(request.tool_choice, ToolChoice::Auto | ToolChoice::None);
        match request.thinking.budget_tokens().filter(|_| target.reasoning && free) {
            Some(budget) => {
                max_tokens = max_tokens.max(budget + ANSWER_TOKENS_MIN);
                body["thinking"] = json!({"type": "enabled", "budget_tokens": budget});
            }
            // With thinking the temperature is fixed.
            None => {
                if let Some(temperature) = request.temperature {
                    body["temperature"] = temperature.into();
                }
            }
        }
        body["max_tokens"] = max_tokens.into();
        if !request.system.is_empty() {
            body["system"] = json!([cached(json!({"type": "text", "text": request.system}))]);
        }
        let mut messages: Vec<Value> = request.messages.iter().filter_map(message).collect();
        let last = messages.last_mut().and_then(|it| it["content"].as_array_mut()?.last_mut());
        if let Some(part) = last.filter(|it| it["type"] != "thinking" && it["type"] != "redacted_thinking") {
            *part = cached(part.take());
        }
        body["messages"] = messages.into();
        if !request.tools.is_empty() {
            let tool = |it: &crate::agent::model::ToolSpec| json!({"name": it.name, "description": it.description, "input_schema": it.parameters});
            body["tools"] = request.tools.iter().map(tool).collect();
            body["tool_choice"] = match &request.tool_choice {
                ToolChoice::Auto => json!({"type": "auto"}),
                ToolChoice::None => json!({"type": "none"}),
                ToolChoice::Required => json!({"type": "any"}),
                ToolChoice::Tool(name) => json!({"type": "tool", "name": name}),
            };
        }
        body
    }
    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }
}

fn cached(mut part: Value) -> Value {
    part["cache_control"] = json!({"type": "ephemeral"});
    part
}

/// None when nothing of it can be sent: empty texts are refused.
fn message(it: &Message) -> Option<Value> {
    let role = if it.role == Role::User { "user" } else { "assistant" };
    let mut content: Vec<Value> = it.parts.iter().filter_map(part).collect();
    // Results stand first, or they are refused.
    content.sort_by_key(|it| it["type"] != "tool_result" && role == "user");
    (!content.is_empty()).then(|| json!({"role": role, "content": content}))
}

fn part(it: &Part) -> Option<Value> {
    Some(match it {
        Part::Text(text) if text.trim().is_empty() => return None,
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { mime, data } => {
            json!({"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}})
        }
        Part::Thinking { signature: None, .. } => return None,
        Part::Thinking { text, signature: Some(seal) } => match seal.strip_prefix(REDACTED) {
            Some(data) => json!({"type": "redacted_thinking", "data": data}),
            None => json!({"type": "thinking", "thinking": text, "signature": seal}),
        },
        Part::ToolCall(it) => {
            json!({"type": "tool_use", "id": it.id, "name": it.name, "input": it.arguments_or_empty()})
        }
        Part::ToolResult { id, text, is_error, .. } => {
            json!({"type": "tool_result", "tool_use_id": id, "content": text, "is_error": is_error})
        }
    })
}

#[derive(Default)]
struct Decoder {
    calls: Calls<u64>,
    /// The seal of the thinking block that is open.
    seal: String,
    stop: Option<Stop>,
    usage: Usage,
    ended: bool,
}

impl Decode for Decoder {
    fn event(&mut self, event: Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        let place = count(&event, "/index");
        match text(&event, "type").unwrap_or_default() {
            "message_start" => self.count(&event["message"]["usage"]),
            "content_block_start" => {
                let block = &event["content_block"];
                match text(block, "type") {
                    Some("tool_use") => {
                        self.calls.start(place, text(block, "id"), text(block, "name"), out)?;
                    }
                    Some("redacted_thinking") => {
                        self.seal = format!("{REDACTED}{}", text(block, "data").unwrap_or_default());
                    }
                    _ => out.extend(text(block, "text").map(|it| Delta::Text(it.to_owned()))),
                }
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let of = |name| text(delta, name).map(str::to_owned);
                out.extend(of("text").map(Delta::Text));
                out.extend(of("thinking").map(Delta::Thinking));
                self.seal.push_str(text(delta, "signature").unwrap_or_default());
                if let Some((index, text)) = self.calls.find(&place).zip(of("partial_json")) {
                    out.push(Delta::ToolArgs { index, text });
                }
            }
            "content_block_stop" => {
                if !self.seal.is_empty() {
                    out.push(Delta::Signature(std::mem::take(&mut self.seal)));
                }
                out.extend(self.calls.end(&place));
            }
            "message_delta" => {
                self.count(&event["usage"]);
                self.stop = match event.pointer("/delta/stop_reason").and_then(Value::as_str) {
                    Some("max_tokens" | "model_context_window_exceeded") => Some(Stop::Length),
                    Some("tool_use") => Some(Stop::ToolUse),
                    Some("refusal") => Some(Stop::Refusal),
                    Some(_) => Some(Stop::Stop),
                    None => self.stop,
                };
            }
            "message_stop" => {
                out.extend(self.calls.end_all());
                self.ended = true;
            }
            "error" => {
                let error = refusal::of_event(&event);
                return Err(error.unwrap_or_else(|| TurnError::protocol("an error without a reason")));
            }
            _ => {}
        }
        Ok(())
    }
    fn done(&self) -> Option<Done> {
        self.ended.then(|| Done { stop: self.stop.unwrap_or(Stop::Stop), usage: self.usage })
    }
}

impl Decoder {
    /// The later counts are cumulative and may leave some out.
    fn count(&mut self, usage: &Value) {
        let Usage { input, output, cache_read, cache_write } = &mut self.usage;
        for (to, path) in [
            (input, "/input_tokens"),
            (output, "/output_tokens"),
            (cache_read, "/cache_read_input_tokens"),
            (cache_write, "/cache_creation_input_tokens"),
        ] {
            *to = usage.pointer(path).and_then(Value::as_u64).unwrap_or(*to);
        }
    }
}
