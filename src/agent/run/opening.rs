//! How a run takes up its conversation: what was said before, what an earlier life of it has stored, and its question behind that.
use super::Run;
use crate::agent::conversation;
use crate::agent::model::ToolCall;
use crate::store::transcript::{self, Context, Entry};
use serde_json::{Value, json};

impl Run<'_> {
    /// Puts the question behind what was said before. One that this very run has stored already (the process was killed on
    /// the way) is not stored twice; one that was left without an answer gives way.
    pub(super) fn open(&mut self, context: &Context, unix_ms: i64) {
        let task = self.asking.task;
        let begun = context.entries.iter().position(|it| is_mark(it, &task.run_id, task.accepted_at));
        let mut context = context.clone();
        self.told_before = told_before(&context);
        if let Some(begun) = begun {
            let later = context.entries.split_off(begun);
            later.iter().for_each(|it| self.said_here.hear(&it["message"], 0));
            // What was put in meanwhile by others is no answer.
            context.entries.extend(later.into_iter().filter(|it| !transcript::is_put_in(&it["message"])));
            // An answer that was cut off is begun again.
            let cut = |it: &Value| matches!(it["message"]["stopReason"].as_str(), Some("aborted" | "error"));
            if let Some(last) = context.entries.pop_if(|it| cut(it)) {
                self.behind = Some(last["parentId"].as_str().unwrap_or_default().to_owned());
            }
        }
        if begun.is_some() || task.only_compact.is_some() {
            self.messages = conversation::messages(&context);
            return;
        }
        if task.brought.after.is_some() {
            self.behind = context.entries.last().and_then(|it| it["id"].as_str()).map(str::to_owned);
        }
        if let Some(parent) = refused(&mut context) {
            self.behind = Some(parent);
        } else if let Some(parent) = context.unanswered().map(|it| it.map(str::to_owned)) {
            context
                .entries
                .retain(|it| !(it["type"] == "message" && it["parentId"].as_str() == parent.as_deref()));
            self.behind = Some(parent.unwrap_or_default());
        }
        let last = |kind: &str| context.entries.iter().rfind(|it| it["type"] == kind);
        let model = &self.origin.model;
        if last("model_change")
            .is_none_or(|it| it["provider"] != model.provider || it["modelId"] != model.model)
        {
            let (provider, model_id) = (model.provider.clone(), model.model.clone());
            self.unsaid.push(Entry::ModelChange { provider, model_id });
        }
        let thinking = self.asking.thinking.word();
        if last("thinking_level_change").is_none_or(|it| it["thinkingLevel"] != thinking) {
            self.unsaid.push(Entry::ThinkingLevelChange { thinking_level: thinking.into() });
        }
        self.unsaid.push(mark(&task.run_id, task.accepted_at));
        if !task.brought.history.is_empty() {
            let entry = |it: &Value| json!({ "type": "message", "message": it });
            context = Context { summary: None, entries: task.brought.history.iter().map(entry).collect() };
        }
        let text = self.hear_results(&mut context, unix_ms);
        self.messages = conversation::messages(&context);
        if !text.is_empty() || !task.images.is_empty() {
            self.say(&text, &task.images, unix_ms);
        }
    }
    /// Puts what came of the client's calls behind them. What the person says, with the answers to calls that nobody knows of.
    fn hear_results(&mut self, context: &mut Context, unix_ms: i64) -> String {
        let mut text = self.begun.text.clone();
        for (id, said) in &self.asking.task.brought.results {
            let calls = context.messages().flat_map(|it| it["content"].as_array().into_iter().flatten());
            let call = calls.filter(|it| it["type"] == "toolCall").find(|it| it["id"] == *id);
            let Some(call) = call else {
                let gap = if text.is_empty() { "" } else { "\n\n" };
                text.push_str(&format!("{gap}The tool call {id} answered: {said}"));
                continue;
            };
            let name = call["name"].as_str().unwrap_or_default().to_owned();
            let call = ToolCall { id: id.clone(), name, arguments: String::new() };
            let message = conversation::tool_result(&call, said, None, &Value::Null, false, unix_ms);
            context.entries.push(json!({ "type": "message", "message": message }));
            self.unsaid.push(Entry::Message { message });
        }
        text
    }
}

/// Stands in front of a run's question, so that a restart knows whether it was stored.
pub(super) fn mark(run_id: &str, accepted_at: i64) -> Entry {
    let data = json!({ "runId": run_id, "acceptedAt": accepted_at });
    Entry::Custom { custom_type: transcript::RUN.into(), data }
}

fn is_mark(entry: &Value, run_id: &str, accepted_at: i64) -> bool {
    let data = &entry["data"];
    entry["customType"] == transcript::RUN && data["runId"] == run_id && data["acceptedAt"] == accepted_at
}

/// Takes away a question that the model's server would not take, with all that followed it, so that the next one is not refused for
/// it too. The id of its parent, empty for none; None when there is no such question.
fn refused(context: &mut Context) -> Option<String> {
    let is_message = |it: &Value| it["type"] == "message";
    let last = context.entries.iter().rfind(|it| is_message(it) && !transcript::is_put_in(&it["message"]))?;
    if last["message"]["refused"] != true {
        return None;
    }
    let question =
        context.entries.iter().rposition(|it| is_message(it) && it["message"]["role"] == "user")?;
    let taken = context.entries.split_off(question);
    Some(taken[0]["parentId"].as_str().unwrap_or_default().to_owned())
}

/// What the model of the newest answer counted, unless the conversation was folded since.
fn told_before(context: &Context) -> u64 {
    let total = |it: &Value| it["message"]["usage"]["totalTokens"].as_u64().unwrap_or(0);
    let newest = context.entries.iter().rfind(|it| it["type"] == "compaction" || total(it) > 0);
    newest.map_or(0, total)
}
