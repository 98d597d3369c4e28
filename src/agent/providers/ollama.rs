//! Ollama's own language: a JSON text a line, tool calls whole.
use super::openai_completions::tool;
use super::{Decode, Framing, Language, Target, bearer, count, text};
use crate::agent::error::TurnError;
use crate::agent::model::{Calls, Delta, Done, Message, Part, Role, Stop, ToolChoice, TurnRequest, Usage};
use crate::agent::refusal;
use serde_json::{Value, json};

pub(super) struct Ollama;

impl Language for Ollama {
    fn path(&self) -> &'static str {
        "/api/chat"
    }
    fn framing(&self) -> Framing {
        Framing::Lines
    }
    fn headers(&self, target: &Target) -> Vec<(&'static str, String)> {
        bearer(target).into_iter().collect()
    }
    fn body(&self, target: &Target, request: &TurnRequest) -> Value {
        let mut messages = vec![];
        if !request.system.is_empty() {
            messages.push(json!({"role": "system", "content": request.system}));
        }
        messages.extend(request.messages.iter().flat_map(message));
        let mut options = json!({});
        // Without it a long conversation is cut at 4096 tokens, silently.
        if let Some(tokens) = target.context_window {
            options["num_ctx"] = tokens.into();
        }
        if let Some(tokens) = request.max_tokens.or(target.max_tokens) {
            options["num_predict"] = tokens.into();
        }
        if let Some(temperature) = request.temperature {
            options["temperature"] = temperature.into();
        }
        let mut body =
            json!({"model": request.model, "stream": true, "messages": messages, "options": options});
        // A model that cannot think refuses to be asked.
        if target.reasoning {
            body["think"] = request.thinking.effort().is_some().into();
        }
        // It knows no way to ask for a tool, only to offer none.
        if !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
            body["tools"] = request.tools.iter().map(tool).collect();
        }
        body
    }
    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }
}

fn message(it: &Message) -> Vec<Value> {
    let (mut out, mut said, mut images, mut calls) = (vec![], String::new(), vec![], vec![]);
    for part in &it.parts {
        match part {
            Part::Text(text) => said.push_str(text),
            Part::Image { data, .. } => images.push(data.as_str()),
            Part::ToolCall(it) => {
                calls.push(json!({"function": {"name": it.name, "arguments": it.arguments_or_empty()}}));
            }
            Part::ToolResult { name, text, .. } => {
                out.push(json!({"role": "tool", "tool_name": name, "content": text}));
            }
            Part::Thinking { .. } => {}
        }
    }
    if !said.is_empty() || !images.is_empty() || !calls.is_empty() {
        let role = if it.role == Role::User { "user" } else { "assistant" };
        let mut message = json!({"role": role, "content": said});
        if !images.is_empty() {
            message["images"] = images.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        out.push(message);
    }
    out
}

#[derive(Default)]
struct Decoder {
    calls: Calls<usize>,
    done: Option<Done>,
}

impl Decode for Decoder {
    fn event(&mut self, event: Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        if event.get("error").is_some() {
            return refusal::of_event(&event).map_or(Ok(()), Err);
        }
        let message = &event["message"];
        out.extend(text(message, "thinking").map(|it| Delta::Thinking(it.to_owned())));
        out.extend(text(message, "content").map(|it| Delta::Text(it.to_owned())));
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let index = self.calls.start(0, text(call, "id"), text(function, "name"), out)?;
            let arguments = &function["arguments"];
            let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
            out.push(Delta::ToolArgs { index, text: arguments });
            out.extend(self.calls.end(&0));
        }
        if event["done"] == true {
            let stop = match text(&event, "done_reason") {
                Some("length") => Stop::Length,
                _ if self.calls.any() => Stop::ToolUse,
                _ => Stop::Stop,
            };
            let usage = Usage {
                input: count(&event, "/prompt_eval_count"),
                output: count(&event, "/eval_count"),
                ..Usage::default()
            };
            self.done = Some(Done { stop, usage });
        }
        Ok(())
    }
    fn done(&self) -> Option<Done> {
        self.done
    }
}
