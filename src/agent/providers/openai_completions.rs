//! Chat Completions: the language of OpenAI that nearly every other server speaks too, each a little differently (`compat`).
use super::{Decode, Framing, Language, Target, bearer, count, text};
use crate::agent::error::TurnError;
use crate::agent::model::{
    Calls, Delta, Done, Message, Part, Role, Stop, ToolChoice, ToolSpec, TurnRequest, Usage,
};
use crate::agent::refusal;
use serde_json::{Value, json};

pub(super) struct Completions;

/// Where the servers put what a model thinks. The name is the seal of such a part, so that it goes back where it came from.
const THOUGHTS: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_text"];

impl Language for Completions {
    fn path(&self) -> &'static str {
        "/chat/completions"
    }
    fn framing(&self) -> Framing {
        Framing::Sse
    }
    fn headers(&self, target: &Target) -> Vec<(&'static str, String)> {
        let accept = ("accept", "text/event-stream".to_owned());
        [accept].into_iter().chain(bearer(target)).collect()
    }
    fn body(&self, target: &Target, request: &TurnRequest) -> Value {
        // What OpenAI itself has and the servers that copy it often lack.
        let own = target.base_url.contains("://api.openai.com");
        let can = |name: &str, otherwise: bool| {
            target.compat.get(name).and_then(Value::as_bool).unwrap_or(otherwise)
        };
        let mut body = json!({"model": request.model, "stream": true});
        if can("supportsUsageInStreaming", true) {
            body["stream_options"] = json!({"include_usage": true});
        }
        if can("supportsStore", own) {
            body["store"] = false.into();
        }
        let developer = target.reasoning && can("supportsDeveloperRole", own);
        let named = can("requiresToolResultName", false);
        body["messages"] = messages(request, if developer { "developer" } else { "system" }, named);
        if let Some(tokens) = request.max_tokens.or(target.max_tokens) {
            let field = text(&target.compat, "maxTokensField");
            let field = field.unwrap_or(if own { "max_completion_tokens" } else { "max_tokens" });
            body[field] = tokens.into();
        }
        if let Some(temperature) = request.temperature {
            body["temperature"] = temperature.into();
        }
        if target.reasoning {
            match text(&target.compat, "thinkingFormat") {
                Some("zai") => {
                    let word = if request.thinking.effort().is_some() { "enabled" } else { "disabled" };
                    body["thinking"] = json!({"type": word});
                }
                Some("qwen") => body["enable_thinking"] = request.thinking.effort().is_some().into(),
                _ if can("supportsReasoningEffort", true) => {
                    if let Some(effort) = request.thinking.effort() {
                        body["reasoning_effort"] = effort.into();
                    }
                }
                _ => {}
            }
        }
        if !request.tools.is_empty() {
            body["tools"] = request.tools.iter().map(tool).collect();
            body["tool_choice"] = match &request.tool_choice {
                ToolChoice::Auto => "auto".into(),
                ToolChoice::None => "none".into(),
                ToolChoice::Required => "required".into(),
                ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
            };
        }
        body
    }
    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }
}

/// Ollama takes tools in the same form.
pub(super) fn tool(it: &ToolSpec) -> Value {
    let function = json!({"name": it.name, "description": it.description, "parameters": it.parameters});
    json!({"type": "function", "function": function})
}

fn messages(request: &TurnRequest, system: &str, named: bool) -> Value {
    let mut out = vec![];
    if !request.system.is_empty() {
        out.push(json!({"role": system, "content": request.system}));
    }
    for message in &request.messages {
        match message.role {
            Role::User => user(message, named, &mut out),
            Role::Assistant => out.extend(assistant(message)),
        }
    }
    out.into()
}

/// Results first, each a message of its own, then what the person says.
fn user(message: &Message, named: bool, out: &mut Vec<Value>) {
    let mut content = vec![];
    for part in &message.parts {
        match part {
            Part::Text(text) => content.push(json!({"type": "text", "text": text})),
            Part::Image { mime, data } => {
                let url = format!("data:{mime};base64,{data}");
                content.push(json!({"type": "image_url", "image_url": {"url": url}}));
            }
            Part::ToolResult { id, name, text, .. } => {
                let mut result = json!({"role": "tool", "tool_call_id": id, "content": text});
                if named {
                    result["name"] = name.as_str().into();
                }
                out.push(result);
            }
            Part::Thinking { .. } | Part::ToolCall(_) => {}
        }
    }
    // One text stays a string: the oldest servers know nothing else.
    match (content.len(), message.parts.iter().find(|it| matches!(it, Part::Text(_)))) {
        (0, _) => {}
        (1, Some(Part::Text(text))) => out.push(json!({"role": "user", "content": text})),
        _ => out.push(json!({"role": "user", "content": content})),
    }
}

fn assistant(message: &Message) -> Option<Value> {
    let (mut said, mut calls, mut out) = (String::new(), vec![], json!({"role": "assistant"}));
    for part in &message.parts {
        match part {
            Part::Text(text) => said.push_str(text),
            Part::Thinking { text, signature: Some(field) } if THOUGHTS.contains(&field.as_str()) => {
                out[field] = text.as_str().into();
            }
            Part::ToolCall(it) => {
                let function = json!({"name": it.name, "arguments": it.arguments_or_empty().to_string()});
                calls.push(json!({"id": it.id, "type": "function", "function": function}));
            }
            _ => {}
        }
    }
    if said.is_empty() && calls.is_empty() {
        return None;
    }
    out["content"] = if said.is_empty() { Value::Null } else { said.into() };
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    Some(out)
}

#[derive(Default)]
struct Decoder {
    calls: Calls<u64>,
    /// The ids of the calls, in their order.
    ids: Vec<String>,
    /// Where thoughts are arriving.
    thinking: Option<&'static str>,
    stop: Option<Stop>,
    usage: Usage,
    /// `[DONE]` was said.
    ended: bool,
}

impl Decode for Decoder {
    fn event(&mut self, event: Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        if event == "[DONE]" {
            self.ended = true;
            self.close(out);
            return Ok(());
        }
        if let Some(usage) = event.get("usage").filter(|it| it.is_object()) {
            let cached = count(usage, "/prompt_tokens_details/cached_tokens");
            self.usage = Usage {
                input: count(usage, "/prompt_tokens").saturating_sub(cached),
                output: count(usage, "/completion_tokens"),
                cache_read: cached,
                cache_write: 0,
            };
        }
        let Some(choice) = event.pointer("/choices/0") else {
            return refusal::of_event(&event).map_or(Ok(()), Err);
        };
        if let Some(delta) = choice.get("delta") {
            self.delta(delta, out)?;
        }
        if let Some(reason) = text(choice, "finish_reason") {
            self.stop = Some(match reason {
                "length" => Stop::Length,
                "content_filter" => Stop::Refusal,
                _ if self.calls.any() => Stop::ToolUse,
                _ => Stop::Stop,
            });
            self.close(out);
        }
        Ok(())
    }
    fn done(&self) -> Option<Done> {
        // The usage arrives behind the reason.
        self.ended.then(|| self.outcome())
    }
    fn end(&mut self, out: &mut Vec<Delta>) -> Option<Done> {
        self.close(out);
        // Some servers close without a word once they have given the reason.
        (self.ended || self.stop.is_some()).then(|| self.outcome())
    }
}

impl Decoder {
    fn outcome(&self) -> Done {
        let otherwise = if self.calls.any() { Stop::ToolUse } else { Stop::Stop };
        Done { stop: self.stop.unwrap_or(otherwise), usage: self.usage }
    }
    fn delta(&mut self, delta: &Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        if let Some((field, more)) = THOUGHTS.iter().find_map(|it| Some((*it, text(delta, it)?))) {
            self.thinking = Some(field);
            out.push(Delta::Thinking(more.to_owned()));
        }
        if let Some(more) = text(delta, "content") {
            self.seal(out);
            out.push(Delta::Text(more.to_owned()));
        }
        for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.seal(out);
            self.call(call, out)?;
        }
        Ok(())
    }
    fn call(&mut self, call: &Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        let id = text(call, "id");
        // Without a number: a new id begins a call, anything else goes on with the latest.
        let number = call.get("index").and_then(Value::as_u64);
        let number = number.unwrap_or(self.ids.len().saturating_sub(usize::from(id.is_none())) as u64);
        let known = self.calls.find(&number).filter(|at| id.is_none_or(|it| self.ids[*at] == it));
        let index = match known {
            Some(index) => index,
            None => {
                let name = call.get("function").and_then(|it| text(it, "name"));
                let index = self.calls.start(number, id, name, out)?;
                self.ids.push(id.unwrap_or_default().to_owned());
                index
            }
        };
        match call.pointer("/function/arguments") {
            Some(Value::String(text)) if !text.is_empty() => {
                out.push(Delta::ToolArgs { index, text: text.clone() });
            }
            Some(whole @ Value::Object(_)) => out.push(Delta::ToolArgs { index, text: whole.to_string() }),
            _ => {}
        }
        Ok(())
    }
    fn seal(&mut self, out: &mut Vec<Delta>) {
        out.extend(self.thinking.take().map(|field| Delta::Signature(field.to_owned())));
    }
    fn close(&mut self, out: &mut Vec<Delta>) {
        self.seal(out);
        out.extend(self.calls.end_all());
    }
}
