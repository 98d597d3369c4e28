//! `POST /v1/chat/completions`: what is answered, at once or in chunks.
use super::{DONE, To, error_body, events, outcome};
use crate::agent::model::{ToolCall, Usage};
use crate::agent::run::End;
use crate::base::clock::Now;
use crate::conn::answer::Answer;
use crate::gateway::Core;
use crate::gateway::runs::{Heard, Listener};
use crate::protocol::error::RpcError;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Chat {
    to: To,
    /// What every chunk begins with, up to its `choices`.
    start: String,
    begun: bool,
    /// A message has ended: the next one stands apart.
    apart: bool,
}

impl Chat {
    pub fn new(to: To) -> Chat {
        let (id, model) = (json!(to.id), json!(to.model));
        let created = to.created;
        let start = format!(
            "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\"choices\":"
        );
        Chat { to, start, begun: false, apart: false }
    }
    fn choices(&self, core: &mut Core, choices: &str) {
        core.stream(self.to.conn, format!("{}{choices}}}\n\n", self.start));
    }
    fn delta(&self, core: &mut Core, delta: &Value) {
        self.choices(core, &format!("[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]"));
    }
    /// The head waits for the first word: what fails before has a status of its own.
    fn begin(&mut self, core: &mut Core) {
        if !std::mem::replace(&mut self.begun, true) {
            core.begin_stream(self.to.conn, events());
            self.choices(core, "[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]");
        }
    }
    fn end(&mut self, core: &mut Core, end: &End) {
        self.begin(core);
        for (n, call) in end.pending.iter().enumerate() {
            let mut call = tool_call(call);
            call["index"] = n.into();
            self.delta(core, &json!({ "tool_calls": [call] }));
        }
        let reason = finish_reason(end);
        self.choices(core, &format!("[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]"));
        if self.to.include_usage {
            self.choices(core, &format!("[],\"usage\":{}", usage(&end.spent)));
        }
        core.stream(self.to.conn, DONE.to_vec());
        core.end_stream(self.to.conn);
    }
    fn whole(&self, end: &End) -> Answer {
        let text = end.texts.join("\n\n");
        let mut message = json!({ "role": "assistant", "content": text });
        if !end.pending.is_empty() {
            message["tool_calls"] = end.pending.iter().map(tool_call).collect();
            if text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        let choice = json!({ "index": 0, "message": message, "finish_reason": finish_reason(end) });
        let body = json!({
            "id": self.to.id, "object": "chat.completion", "created": self.to.created, "model": self.to.model,
            "choices": [choice], "usage": usage(&end.spent),
        });
        Answer::json(200, &body)
    }
}

impl Listener for Chat {
    fn hear(&mut self, core: &mut Core, heard: &Heard) {
        match heard {
            Heard::Text(text) if self.to.stream => {
                self.begin(core);
                let gap = if std::mem::take(&mut self.apart) { "\n\n" } else { "" };
                self.delta(core, &json!({ "content": format!("{gap}{text}") }));
            }
            Heard::MessageEnd => self.apart = self.begun,
            Heard::Begun | Heard::Text(_) => {}
        }
    }
    fn ended(mut self: Box<Self>, core: &mut Core, end: Option<&End>, error: Option<&RpcError>, _: Now) {
        match outcome(end, error) {
            Ok(end) if self.to.stream => self.end(core, end),
            Ok(end) => core.respond(self.to.conn, self.whole(end)),
            Err(failed) if self.begun => {
                let body = error_body(&failed.message, failed.kind);
                core.stream(self.to.conn, format!("data: {body}\n\n"));
                core.stream(self.to.conn, DONE.to_vec());
                core.end_stream(self.to.conn);
            }
            Err(failed) => core.respond(self.to.conn, failed.answer()),
        }
    }
}

fn finish_reason(end: &End) -> &'static str {
    match end.is_cut {
        _ if !end.pending.is_empty() => "tool_calls",
        true => "length",
        false => "stop",
    }
}

fn tool_call(call: &ToolCall) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } })
}

/// Of all that the request has cost, the turns with the agent's own tools too.
fn usage(spent: &Usage) -> Value {
    let (completion, total) = (spent.output, spent.total());
    json!({ "prompt_tokens": total - completion, "completion_tokens": completion, "total_tokens": total })
}
