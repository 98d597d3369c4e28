//! `message`: says something on a chat network, or does to a message what the network can.
//!
//! The tool puts the question to whoever knows the networks, and waits for the answer or for the run's end. Which conversation the run
//! belongs to, and what may be sent elsewhere, is decided there; see [`super::settings::MessageRules`].
use super::settings::MessageRules;
use super::{Outcome, Place, Tool, one_line, text_of};
use crate::base::cancel::Cancel;
use crossbeam_channel::{Sender, bounded, select};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub const NAME: &str = "message";

/// What a model wants done on a chat network.
#[derive(Debug)]
pub struct Post {
    /// As it wrote them, `action` among them.
    pub args: Map<String, Value>,
    pub rules: MessageRules,
    pub agent_id: String,
    pub session_key: String,
    /// What the network answers, or a sentence that says why it was not done.
    pub answer: Sender<Result<Value, String>>,
}

/// Puts the question. Does not block.
#[derive(Clone)]
pub struct Messages(pub Arc<dyn Fn(Post) + Send + Sync>);

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Messages")
    }
}

/// The field of an answer that holds what was said in the conversation which the run answers. Not shown to the model.
pub const SAID_HERE: &str = "saidHere";
const NOTE: &str = "It stands in the conversation that you are answering, as your answer: end with NO_REPLY, or send what is missing with this tool too.";

pub(super) struct Message;

impl Tool for Message {
    fn name(&self) -> &'static str {
        NAME
    }
    fn description(&self) -> &'static str {
        "Sends to somebody on a chat network, or polls, reacts, edits, deletes there. Your answer reaches the conversation you are in by itself: \
         use this for other chats, for files, buttons and polls, and for reactions. Without a target it is about the conversation you are in. If you \
         have said your whole answer with it, end with NO_REPLY."
    }
    fn parameters(&self) -> Value {
        let text = |what: &str| json!({"type": "string", "description": what});
        let flag = |what: &str| json!({"type": "boolean", "description": what});
        let list = |what: &str| json!({"type": "array", "items": {"type": "string"}, "description": what});
        json!({"type": "object", "required": ["action"], "properties": {
            "action": {"type": "string", "enum": ["send", "poll", "react", "edit", "delete", "sticker", "broadcast"]},
            "channel": text("The network, where there are several"),
            "target": text("Chat id or @name; a topic as id:topic:number"),
            "targets": list("For broadcast: everybody who is sent the message"),
            "accountId": text("Which of our accounts there"),
            "threadId": text("Topic of the chat"),
            "message": text("What to say; for edit, what it says then"),
            "media": text("File of the workspace, or address, to send along"),
            "replyTo": text("Id of the message that it answers"),
            "buttons": {"type": "array", "description": "Rows of buttons; callback_data comes back as a message", "items": {"type": "array", "items": {
                "type": "object", "required": ["text", "callback_data"],
                "properties": {"text": {"type": "string"}, "callback_data": {"type": "string"}},
            }}},
            "silent": flag("Without a sound"),
            "asVoice": flag("The sound file is a voice message"),
            "messageId": text("For react, edit, delete. react without it: the message that you are answering"),
            "emoji": text("For react"),
            "remove": flag("For react: take it away"),
            "pollQuestion": text("For poll"),
            "pollOption": list("For poll: 2 to 12 answers"),
            "pollMulti": flag("For poll: several answers may be chosen"),
            "pollDurationHours": {"type": "number", "description": "For poll: how long it is open"},
            "stickerId": list("For sticker: its file id"),
            "dryRun": flag("Only say what would be done"),
        }})
    }
    fn call(&self, args: &Value, place: &Place, cancel: &Cancel, _: &mut dyn FnMut(Value)) -> Outcome {
        outcome(call(args, place, cancel))
    }
    fn meta(&self, args: &Value) -> Option<String> {
        let action = text_of(args, &["action"]).ok()?;
        let target = text_of(args, &["target", "to"]).unwrap_or_default();
        one_line(&format!("{action} {target}"))
    }
}

fn call(args: &Value, place: &Place, cancel: &Cancel) -> Result<Value, String> {
    let (sender, answer) = bounded(1);
    let messages = place.messages.as_ref().ok_or("there is no chat network here")?;
    let args = args.as_object().ok_or("the arguments must be an object")?.clone();
    let post = Post {
        args,
        rules: place.config.message.clone(),
        agent_id: place.agent_id.clone(),
        session_key: place.session_key.clone(),
        answer: sender,
    };
    if !cancel.is_cancelled() {
        (messages.0)(post);
    }
    let stopped = "stopped: the run was aborted. What the network was told already may be there";
    select! {
        recv(answer) -> it => it.map_err(|_| stopped.to_owned())?,
        recv(cancel.done()) -> _ => Err(stopped.to_owned()),
    }
}

/// What the tool says of an answer.
pub fn outcome(answer: Result<Value, String>) -> Outcome {
    let details = match answer {
        Ok(it) => it,
        Err(text) => return Outcome::error(NAME, text),
    };
    let mut shown = details.clone();
    if let Some(map) = shown.as_object_mut().filter(|it| it.contains_key(SAID_HERE)) {
        map.shift_remove(SAID_HERE);
        map.insert("note".into(), NOTE.into());
    }
    Outcome { text: format!("{shown:#}"), details, ..Outcome::default() }
}

/// What a run has said with its tools in the conversation that it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaidHere {
    pub texts: Vec<String>,
    /// It was the run's last word: no other tool was called since, and nobody has said anything. So many messages of the run's own went
    /// before it.
    pub last: Option<usize>,
}

impl SaidHere {
    /// Hears the run's messages one after the other, as they are stored; of its own, `before` had words.
    pub fn hear(&mut self, message: &Value, before: usize) {
        match message["role"].as_str() {
            Some("toolResult") => {
                if let Some(text) = message["details"][SAID_HERE].as_str() {
                    self.texts.push(text.to_owned());
                    self.last = Some(before);
                }
            }
            Some("user") => self.last = None,
            Some("assistant") => {
                let content = message["content"].as_array();
                if content.into_iter().flatten().any(|it| it["type"] == "toolCall") {
                    self.last = None;
                }
            }
            _ => {}
        }
    }
    /// Whether a text says again what was said; the reference's rule, which counts letters and digits from 10 on. Ours: what has
    /// much more to say is no repetition.
    pub fn has(&self, text: &str) -> bool {
        let text = letters(text);
        let count = text.chars().count();
        let repeats = |said: &String| {
            let said = letters(said);
            let length = said.chars().count();
            length >= REPEATED_CHARS_MIN
                && (said.contains(&text) || text.contains(&said) && count <= length + length / 2)
        };
        count >= REPEATED_CHARS_MIN && self.texts.iter().any(repeats)
    }
}

const REPEATED_CHARS_MIN: usize = 10;

/// Without what two ways of writing the same differ in: case, markup, emoji, white space.
fn letters(text: &str) -> String {
    text.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&str]) -> SaidHere {
        SaidHere { texts: texts.iter().map(|it| (*it).to_owned()).collect(), last: None }
    }
    #[test]
    fn repetitions() {
        let it = said(&["The meeting is at **10:30** tomorrow 🎉", "short"]);
        for (text, again) in [
            ("the meeting is at 10:30 tomorrow", true),
            ("The meeting is at 10:30", true),
            ("Done. The meeting is at 10:30 tomorrow", true),
            ("The meeting is at 10:30 tomorrow. Bring your laptop, the second draft and a pen.", false),
            ("short", false),
            ("Sent.", false),
            ("", false),
        ] {
            assert_eq!(it.has(text), again, "{text}");
        }
        assert!(!SaidHere::default().has("anything that is long enough"));
    }
    #[test]
    fn what_came_last() {
        let calls =
            json!({"role": "assistant", "content": [{"type": "toolCall", "id": "1", "name": "message"}]});
        let result = json!({"role": "toolResult", "details": {"ok": true, SAID_HERE: "hello"}});
        let other = json!({"role": "toolResult", "details": {"status": "completed"}});
        let words = json!({"role": "assistant", "content": [{"type": "text", "text": "done"}]});
        let person = json!({"role": "user", "content": "and now?"});
        for (heard, is_last) in [
            (vec![&calls, &result], true),
            (vec![&calls, &result, &other], true),
            (vec![&calls, &result, &words], true),
            (vec![&calls, &result, &calls, &other], false),
            (vec![&calls, &result, &person], false),
            (vec![&calls, &other], false),
        ] {
            let mut it = SaidHere::default();
            heard.iter().for_each(|message| it.hear(message, 2));
            assert_eq!(it.last, is_last.then_some(2), "{heard:?}");
        }
    }
    #[test]
    fn the_model_is_told_that_it_has_answered() {
        let it = outcome(Ok(json!({"ok": true, SAID_HERE: "hello"})));
        assert!(it.text.contains("NO_REPLY") && !it.text.contains("hello"), "{}", it.text);
        assert_eq!(it.details[SAID_HERE], "hello");
        assert!(outcome(Err("no".into())).is_error);
    }
}
