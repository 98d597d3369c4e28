//! What clients and agents write when they want something done on a network, as an [`Action`]. Pure.
use crate::channels::{Action, Target, Words};
use serde_json::Value;

/// The params of an action. Models and clients call some of them by several names.
#[derive(Clone, Copy)]
pub struct Wished<'p>(pub &'p Value);

/// Why they are no action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    Missing(&'static str),
    Wrong(String),
}

impl Wished<'_> {
    /// The first of these that is there; numbers are taken as text.
    pub fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().flat_map(|name| texts(&self.0[*name])).find(|it| !it.is_empty())
    }
    /// All of these, each a text or a list of them.
    pub fn list(&self, names: &[&str]) -> Vec<String> {
        names.iter().flat_map(|name| texts(&self.0[*name])).filter(|it| !it.is_empty()).collect()
    }
    pub fn is(&self, name: &str) -> bool {
        self.0[name] == true || self.0[name] == "true"
    }
    /// # Errors
    /// None of them is there.
    pub fn needed(&self, names: &[&'static str]) -> Result<String, Unfit> {
        self.text(names).ok_or(Unfit::Missing(names[0]))
    }
    /// # Errors
    /// What is missing or wrong.
    pub fn action(&self, name: &str, target: &Target) -> Result<Action, Unfit> {
        let target = target.clone();
        Ok(match name {
            "send" | "sticker" => self.send(name, target)?,
            "poll" => self.poll(target)?,
            "react" => {
                let emoji = self.text(&["emoji"]).filter(|_| !self.is("remove"));
                Action::React { target, message_id: self.needed(&["messageId"])?, emoji }
            }
            "edit" => {
                let text = self.needed(&["message", "text"])?;
                Action::Edit { target, message_id: self.needed(&["messageId"])?, text }
            }
            "delete" => Action::Delete { target, message_id: self.needed(&["messageId"])? },
            "read" => {
                return Err(Unfit::Wrong(
                    "this network shows a bot no history: what was said to it is in its session (sessions, chat.history)"
                        .into(),
                ));
            }
            other => return Err(Unfit::Wrong(format!("unsupported action: {other}"))),
        })
    }
    fn send(&self, name: &str, target: Target) -> Result<Action, Unfit> {
        let sticker = self.text(&["fileId", "stickerId"]).filter(|_| name == "sticker");
        let mut media = self.list(&["media", "mediaUrl", "mediaUrls", "path", "filePath"]);
        media.extend(sticker.map(|it| format!("sticker:{it}")));
        let text = self.text(&["message", "text", "content", "caption"]).unwrap_or_default();
        if text.is_empty() && media.is_empty() {
            self.needed(&[if name == "send" { "message" } else { "fileId" }])?;
        }
        Ok(Action::Send(Words {
            target,
            text,
            media,
            reply_to: self.text(&["replyTo", "replyToMessageId"]),
            buttons: self.buttons()?,
            silent: self.is("silent"),
            as_voice: self.is("asVoice"),
        }))
    }
    /// Rows of buttons, or a text that holds them.
    fn buttons(&self) -> Result<Option<Value>, Unfit> {
        let wrong = || {
            Unfit::Wrong("buttons must be rows of buttons: [[{\"text\": …, \"callback_data\": …}]]".into())
        };
        match &self.0["buttons"] {
            Value::String(text) if !text.trim().is_empty() => {
                serde_json::from_str(text).ok().filter(Value::is_array).map(Some).ok_or_else(wrong)
            }
            list @ Value::Array(_) => Ok(Some(list.clone())),
            _ => Ok(None),
        }
    }
    fn poll(&self, target: Target) -> Result<Action, Unfit> {
        let question = self.needed(&["pollQuestion", "question"])?;
        let options = self.list(&["pollOption", "pollOptions", "options"]);
        if !(2..=12).contains(&options.len()) {
            return Err(Unfit::Wrong("pollOption must be 2 to 12 answers".into()));
        }
        let hours = self.0["pollDurationHours"].as_f64();
        let max_selections = if self.is("pollMulti") { options.len() as i64 } else { 1 };
        let hours = hours.filter(|it| *it >= 1.0).map(|it| it as i64);
        Ok(Action::Poll { target, question, options, max_selections, hours, silent: self.is("silent") })
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.trim().to_owned()],
        Value::Number(it) => it.as_i64().map(|it| it.to_string()).into_iter().collect(),
        Value::Array(all) => all.iter().flat_map(texts).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(name: &str, params: Value) -> Result<Action, Unfit> {
        Wished(&params).action(name, &Target { to: "7".into(), thread: None })
    }
    #[test]
    fn what_is_missing_is_named() {
        for (name, params, missing) in [
            ("send", json!({}), "message"),
            ("sticker", json!({}), "fileId"),
            ("react", json!({ "emoji": "👍" }), "messageId"),
            ("edit", json!({ "messageId": 5 }), "message"),
            ("delete", json!({ "messageId": " " }), "messageId"),
            ("poll", json!({}), "pollQuestion"),
        ] {
            assert_eq!(of(name, params), Err(Unfit::Missing(missing)), "{name}");
        }
        for (name, params) in [
            ("poll", json!({ "pollQuestion": "?", "pollOption": ["one"] })),
            ("send", json!({ "message": "x", "buttons": "no rows" })),
            ("read", json!({})),
            ("dance", json!({})),
        ] {
            assert!(matches!(of(name, params), Err(Unfit::Wrong(_))), "{name}");
        }
    }
    #[test]
    fn by_any_name() {
        let Ok(Action::Send(it)) = of(
            "send",
            json!({ "caption": "c", "path": "a.png", "media": ["b.png", 3], "silent": "true", "buttons": "[[]]" }),
        ) else {
            unreachable!()
        };
        assert_eq!((it.text.as_str(), it.silent, it.buttons), ("c", true, Some(json!([[]]))));
        assert_eq!(it.media, ["b.png", "3", "a.png"]);
        let poll = of(
            "poll",
            json!({ "pollQuestion": "q", "pollOption": ["a", "b"], "pollMulti": true, "pollDurationHours": 2 }),
        );
        assert!(matches!(poll, Ok(Action::Poll { max_selections: 2, hours: Some(2), .. })), "{poll:?}");
        let react = of("react", json!({ "messageId": 5, "emoji": "👍", "remove": true }));
        assert!(
            matches!(react, Ok(Action::React { emoji: None, ref message_id, .. }) if message_id == "5"),
            "{react:?}"
        );
    }
}
