//! `POST /v1/responses`: what is answered, at once or event by event.
//!
//! ```text
//! created ─► in_progress ─► (item added ─► part added ─► delta … ─► text done ─► part done ─► item done)
//!        ─► (item added ─► arguments delta ─► arguments done ─► item done) for each call of the client's
//!        ─► completed | incomplete | failed ─► [DONE]
//! ```
use super::{DONE, Failed, To, events, outcome};
use crate::agent::model::{ToolCall, Usage};
use crate::agent::run::End;
use crate::base::clock::Now;
use crate::base::ids;
use crate::conn::answer::Answer;
use crate::gateway::Core;
use crate::gateway::runs::{Heard, Listener};
use crate::protocol::error::RpcError;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Responses {
    to: To,
    /// The head has left.
    begun: bool,
    /// Of the next event.
    sequence_number: u64,
    /// What the message says so far; None before it begins.
    text: Option<String>,
    /// A message of the model has ended: the next one stands apart.
    apart: bool,
}

impl Responses {
    pub fn new(to: To) -> Responses {
        Responses { to, begun: false, sequence_number: 0, text: None, apart: false }
    }
    fn tell(&mut self, core: &mut Core, kind: &str, data: Value) {
        let mut event = json!({ "type": kind, "sequence_number": self.sequence_number });
        self.sequence_number += 1;
        if let (Value::Object(event), Value::Object(data)) = (&mut event, data) {
            event.extend(data);
        }
        core.stream(self.to.conn, format!("event: {kind}\ndata: {event}\n\n"));
    }
    /// The response as a whole.
    fn response(&self, status: &str, output: Vec<Value>, spent: &Usage) -> Value {
        json!({
            "id": self.to.id, "object": "response", "created_at": self.to.created, "status": status,
            "model": self.to.model, "output": output, "usage": usage(spent),
        })
    }
    fn begin(&mut self, core: &mut Core) {
        if !std::mem::replace(&mut self.begun, true) {
            core.begin_stream(self.to.conn, events());
            let response = self.response("in_progress", vec![], &Usage::default());
            self.tell(core, "response.created", json!({ "response": response }));
            self.tell(core, "response.in_progress", json!({ "response": response }));
        }
    }
    fn message(&self, text: &str, status: &str) -> Value {
        let content = json!([{ "type": "output_text", "text": text }]);
        json!({ "type": "message", "id": self.to.message_id, "role": "assistant", "content": content, "status": status })
    }
    /// A place in the message: its first part, as there is no other.
    fn place(&self) -> Value {
        json!({ "item_id": self.to.message_id, "output_index": 0, "content_index": 0 })
    }
    fn begin_message(&mut self, core: &mut Core) {
        if self.text.is_none() {
            self.text = Some(String::new());
            let item = self.message("", "in_progress");
            self.tell(core, "response.output_item.added", json!({ "output_index": 0, "item": item }));
            let part = with(self.place(), "part", json!({ "type": "output_text", "text": "" }));
            self.tell(core, "response.content_part.added", part);
        }
    }
    fn end_message(&mut self, core: &mut Core) -> Value {
        let text = self.text.clone().unwrap_or_default();
        self.tell(core, "response.output_text.done", with(self.place(), "text", json!(text)));
        let part = with(self.place(), "part", json!({ "type": "output_text", "text": text }));
        self.tell(core, "response.content_part.done", part);
        let item = self.message(&text, "completed");
        self.tell(core, "response.output_item.done", json!({ "output_index": 0, "item": item }));
        item
    }
    fn call(&mut self, core: &mut Core, index: usize, call: &ToolCall) -> Value {
        let item = item(core, call);
        let begun = with(with(item.clone(), "arguments", json!("")), "status", json!("in_progress"));
        self.tell(core, "response.output_item.added", json!({ "output_index": index, "item": begun }));
        let place = json!({ "item_id": item["id"], "output_index": index });
        let delta = with(place.clone(), "delta", json!(call.arguments));
        self.tell(core, "response.function_call_arguments.delta", delta);
        let done = with(with(place, "name", json!(call.name)), "arguments", json!(call.arguments));
        self.tell(core, "response.function_call_arguments.done", done);
        self.tell(core, "response.output_item.done", json!({ "output_index": index, "item": item }));
        item
    }
    fn end(&mut self, core: &mut Core, end: &End) {
        self.begin(core);
        let mut output = vec![];
        if self.text.is_some() || end.pending.is_empty() {
            self.begin_message(core);
            output.push(self.end_message(core));
        }
        for it in &end.pending {
            let item = self.call(core, output.len(), it);
            output.push(item);
        }
        let response = self.whole(end, output);
        // One that waits for the client's answers is told as complete, and called incomplete (reference).
        let kind = if response.get("incomplete_details").is_some() {
            "response.incomplete"
        } else {
            "response.completed"
        };
        self.tell(core, kind, json!({ "response": response }));
        self.close(core);
    }
    fn whole(&self, end: &End, output: Vec<Value>) -> Value {
        let status = if end.is_cut || !end.pending.is_empty() { "incomplete" } else { "completed" };
        let mut response = self.response(status, output, &end.spent);
        if end.is_cut && end.pending.is_empty() {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        response
    }
    fn failure(&self, failed: &Failed) -> Value {
        let code = if failed.status == 400 { "invalid_request_error" } else { "api_error" };
        let response = self.response("failed", vec![], &Usage::default());
        with(response, "error", json!({ "code": code, "message": failed.message }))
    }
    fn close(&self, core: &mut Core) {
        core.stream(self.to.conn, DONE.to_vec());
        core.end_stream(self.to.conn);
    }
}

impl Listener for Responses {
    fn hear(&mut self, core: &mut Core, heard: &Heard) {
        match heard {
            _ if !self.to.stream => {}
            Heard::Begun => self.begin(core),
            Heard::Text(text) => {
                self.begin(core);
                self.begin_message(core);
                let gap = if std::mem::take(&mut self.apart) { "\n\n" } else { "" };
                let delta = format!("{gap}{text}");
                self.text.get_or_insert_default().push_str(&delta);
                self.tell(core, "response.output_text.delta", with(self.place(), "delta", json!(delta)));
            }
            Heard::MessageEnd => self.apart = self.text.is_some(),
        }
    }
    fn ended(mut self: Box<Self>, core: &mut Core, end: Option<&End>, error: Option<&RpcError>, _: Now) {
        match outcome(end, error) {
            Ok(end) if self.to.stream => self.end(core, end),
            Ok(end) => {
                let text = end.texts.join("\n\n");
                let said =
                    (!text.is_empty() || end.pending.is_empty()).then(|| self.message(&text, "completed"));
                let calls: Vec<Value> = end.pending.iter().map(|it| item(core, it)).collect();
                let output = said.into_iter().chain(calls).collect();
                core.respond(self.to.conn, Answer::json(200, &self.whole(end, output)));
            }
            Err(failed) if self.begun => {
                let response = self.failure(&failed);
                self.tell(core, "response.failed", json!({ "response": response }));
                self.close(core);
            }
            Err(failed) if failed.status == 500 => {
                let answer = failed.marked(Answer::json(500, &self.failure(&failed)));
                core.respond(self.to.conn, answer);
            }
            Err(failed) => core.respond(self.to.conn, failed.answer()),
        }
    }
}

fn with(mut value: Value, name: &str, it: Value) -> Value {
    value[name] = it;
    value
}

/// A call that is the client's to make.
fn item(core: &mut Core, call: &ToolCall) -> Value {
    let id = format!("call_{}", ids::uuid(core.entropy()));
    json!({
        "type": "function_call", "id": id, "call_id": call.id, "name": call.name, "arguments": call.arguments,
        "status": "completed",
    })
}

/// Of all that the request has cost, the turns with the agent's own tools too.
fn usage(spent: &Usage) -> Value {
    let (output, total) = (spent.output, spent.total());
    json!({ "input_tokens": total - output, "output_tokens": output, "total_tokens": total })
}
