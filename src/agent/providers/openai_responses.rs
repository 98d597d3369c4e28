//! The Responses language of OpenAI. Nothing is stored there: what the model thought comes sealed and goes back with the next call.
use super::{Decode, Framing, Language, Target, bearer, count, text};
use crate::agent::error::TurnError;
use crate::agent::model::{Calls, Delta, Done, Message, Part, Role, Stop, ToolChoice, TurnRequest, Usage};
use crate::agent::refusal;
use serde_json::{Value, json};

pub(super) struct Responses;

impl Language for Responses {
    fn path(&self) -> &'static str {
        "/responses"
    }
    fn framing(&self) -> Framing {
        Framing::Sse
    }
    fn headers(&self, target: &Target) -> Vec<(&'static str, String)> {
        let accept = ("accept", "text/event-stream".to_owned());
        [accept].into_iter().chain(bearer(target)).collect()
    }
    fn body(&self, target: &Target, request: &TurnRequest) -> Value {
        let mut body = json!({"model": request.model, "stream": true, "store": false});
        if !request.system.is_empty() {
            body["instructions"] = request.system.as_str().into();
        }
        body["input"] = request.messages.iter().flat_map(items).collect();
        if let Some(tokens) = request.max_tokens.or(target.max_tokens) {
            body["max_output_tokens"] = tokens.into();
        }
        if let Some(temperature) = request.temperature {
            body["temperature"] = temperature.into();
        }
        if target.reasoning {
            body["include"] = json!(["reasoning.encrypted_content"]);
            if let Some(effort) = request.thinking.effort() {
                body["reasoning"] = json!({"effort": effort, "summary": "auto"});
            }
        }
        if !request.tools.is_empty() {
            let tool = |it: &crate::agent::model::ToolSpec| {
                json!({
                    "type": "function", "name": it.name, "description": it.description,
                    "parameters": it.parameters, "strict": false,
                })
            };
            body["tools"] = request.tools.iter().map(tool).collect();
            body["tool_choice"] = match &request.tool_choice {
                ToolChoice::Auto => "auto".into(),
                ToolChoice::None => "none".into(),
                ToolChoice::Required => "required".into(),
                ToolChoice::Tool(name) => json!({"type": "function", "name": name}),
            };
        }
        body
    }
    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }
}

/// What is said becomes messages; calls, results and thoughts are items of their own.
fn items(message: &Message) -> Vec<Value> {
    let (mut out, mut said) = (vec![], vec![]);
    let flush = |said: &mut Vec<Value>, out: &mut Vec<Value>| {
        if !said.is_empty() {
            let role = if message.role == Role::User { "user" } else { "assistant" };
            out.push(json!({"type": "message", "role": role, "content": std::mem::take(said)}));
        }
    };
    for part in &message.parts {
        match part {
            Part::Text(text) if message.role == Role::User => {
                said.push(json!({"type": "input_text", "text": text}));
            }
            Part::Text(text) => said.push(json!({"type": "output_text", "text": text, "annotations": []})),
            Part::Image { mime, data } => {
                let url = format!("data:{mime};base64,{data}");
                said.push(json!({"type": "input_image", "image_url": url, "detail": "auto"}));
            }
            Part::ToolCall(it) => {
                flush(&mut said, &mut out);
                let arguments = it.arguments_or_empty().to_string();
                out.push(json!({"type": "function_call", "call_id": it.id, "name": it.name, "arguments": arguments}));
            }
            Part::ToolResult { id, text, .. } => {
                flush(&mut said, &mut out);
                out.push(json!({"type": "function_call_output", "call_id": id, "output": text}));
            }
            Part::Thinking { signature, .. } => {
                flush(&mut said, &mut out);
                let seal = signature.as_ref().and_then(|it| crate::protocol::json::parse(it.as_bytes()).ok());
                out.extend(seal.filter(|it| it["type"] == "reasoning"));
            }
        }
    }
    flush(&mut said, &mut out);
    out
}

#[derive(Default)]
struct Decoder {
    calls: Calls<u64>,
    /// Arguments of the call of that index have arrived in pieces.
    pieces: Vec<bool>,
    refused: bool,
    done: Option<Done>,
}

impl Decode for Decoder {
    fn event(&mut self, event: Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        let place = count(&event, "/output_index");
        let delta = text(&event, "delta").map(str::to_owned);
        match text(&event, "type").unwrap_or_default() {
            "response.output_text.delta" => out.extend(delta.map(Delta::Text)),
            "response.refusal.delta" => {
                self.refused = true;
                out.extend(delta.map(Delta::Text));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                out.extend(delta.map(Delta::Thinking));
            }
            "response.reasoning_summary_part.added" if count(&event, "/summary_index") > 0 => {
                out.push(Delta::Thinking("\n\n".to_owned()));
            }
            "response.output_item.added" => self.begin(place, &event["item"], out)?,
            "response.function_call_arguments.delta" => {
                if let Some((index, text)) = self.calls.find(&place).zip(delta) {
                    self.pieces[index] = true;
                    out.push(Delta::ToolArgs { index, text });
                }
            }
            "response.output_item.done" => self.finish(place, &event["item"], out)?,
            "response.completed" | "response.incomplete" => {
                out.extend(self.calls.end_all());
                self.done = Some(self.outcome(&event["response"]));
            }
            "response.failed" => {
                let error = refusal::of_event(&event["response"]);
                return Err(error.unwrap_or_else(|| TurnError::protocol("the response failed")));
            }
            "error" => {
                let error = refusal::of_event(&event);
                return Err(error.unwrap_or_else(|| TurnError::protocol("an error without a reason")));
            }
            _ if event.get("error").is_some_and(|it| !it.is_null()) => {
                return refusal::of_event(&event).map_or(Ok(()), Err);
            }
            _ => {}
        }
        Ok(())
    }
    fn done(&self) -> Option<Done> {
        self.done
    }
}

impl Decoder {
    fn begin(&mut self, place: u64, item: &Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        if item["type"] == "function_call" {
            self.calls.start(place, text(item, "call_id"), text(item, "name"), out)?;
            self.pieces.push(false);
        }
        Ok(())
    }
    fn finish(&mut self, place: u64, item: &Value, out: &mut Vec<Delta>) -> Result<(), TurnError> {
        match text(item, "type") {
            Some("function_call") => {
                if self.calls.find(&place).is_none() {
                    self.begin(place, item, out)?;
                }
                if let Some(index) = self.calls.find(&place).filter(|at| !self.pieces[*at]) {
                    let whole = text(item, "arguments").map(str::to_owned);
                    out.extend(whole.map(|text| Delta::ToolArgs { index, text }));
                }
                out.extend(self.calls.end(&place));
            }
            // Only a sealed thought can go back; without the seal it would have to be stored there.
            Some("reasoning") if text(item, "encrypted_content").is_some() => {
                out.push(Delta::Signature(item.to_string()));
            }
            _ => {}
        }
        Ok(())
    }
    fn outcome(&self, response: &Value) -> Done {
        let cached = count(response, "/usage/input_tokens_details/cached_tokens");
        let stop = match response.pointer("/incomplete_details/reason").and_then(Value::as_str) {
            Some("content_filter") => Stop::Refusal,
            Some(_) => Stop::Length,
            None if self.calls.any() => Stop::ToolUse,
            None if self.refused => Stop::Refusal,
            None => Stop::Stop,
        };
        let usage = Usage {
            input: count(response, "/usage/input_tokens").saturating_sub(cached),
            output: count(response, "/usage/output_tokens"),
            cache_read: cached,
            cache_write: 0,
        };
        Done { stop, usage }
    }
}
