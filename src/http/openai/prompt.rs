//! From a conversation as a client tells it to what a run is asked: the last turn is the question, what was said before it stands in
//! place of the session's own memory.
use crate::agent::conversation::{self, Image};
use crate::agent::media::{self, Wanted};
use crate::agent::model::ToolCall;
use crate::agent::run::Brought;
use crate::base::limits::HTTP_URLS_MAX;
use crate::config::MediaLimits;
use serde_json::{Value, json};

/// A request in either API, understood.
#[derive(Debug, Default)]
pub(super) struct Ask {
    /// As the client wrote it, repeated in the answer.
    pub model: String,
    pub stream: bool,
    /// A stream ends with what it cost.
    pub include_usage: bool,
    pub user: Option<String>,
    /// What the prompt gets besides the agent's own.
    pub system: Vec<String>,
    pub message: String,
    pub brought: Brought,
    /// The response that this one follows.
    pub previous: Option<String>,
}

/// One thing that was said.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    User {
        text: String,
        images: Vec<Image>,
    },
    Assistant {
        text: String,
        calls: Vec<ToolCall>,
    },
    /// What came of a call.
    Result {
        id: String,
        name: String,
        text: String,
    },
}

impl Ask {
    /// Takes the conversation. False when there is nothing to answer.
    pub fn hear(&mut self, turns: Vec<Turn>) -> bool {
        let mut turns = joined(turns);
        let question = |it: &Turn| !matches!(it, Turn::Assistant { .. });
        // What the assistant is said to have begun to say is left out.
        if let Some(last) = turns.iter().rposition(question) {
            turns.truncate(last + 1);
        }
        let mut results = vec![];
        while let Some(Turn::Result { id, text, .. }) = turns.pop_if(|it| matches!(it, Turn::Result { .. })) {
            results.insert(0, (id, text));
        }
        if results.is_empty() {
            match turns.pop() {
                Some(Turn::User { text, images }) => (self.message, self.brought.images) = (text, images),
                Some(Turn::Assistant { text, .. }) => self.message = text,
                Some(Turn::Result { .. }) | None => {}
            }
        }
        self.brought.results = results;
        self.brought.history = history(turns);
        let shown = !self.brought.images.is_empty() || !self.brought.fetch.is_empty();
        !self.message.trim().is_empty() || !self.brought.results.is_empty() || shown
    }
    /// Something that a URL names, for the model to see or to read.
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn fetch(&mut self, url: &str, is_image: bool, limits: &MediaLimits) -> Result<(), String> {
        let what = if is_image { "input_image" } else { "input_file" };
        if !limits.allow_url {
            return Err(format!("{what} URL sources are disabled by config"));
        }
        if self.brought.fetch.len() == HTTP_URLS_MAX {
            return Err(format!("more than {HTTP_URLS_MAX} URLs in one request"));
        }
        self.brought.fetch.push(Wanted { url: url.to_owned(), is_image, limits: limits.clone() });
        Ok(())
    }
    /// A picture by a URL that holds it, or one that names it.
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn picture(&mut self, url: &str, limits: &MediaLimits) -> Result<Option<Image>, String> {
        match data_url(url) {
            Some((_, data)) => media::picture(data, limits).map(Some),
            None => self.fetch(url, true, limits).map(|()| None),
        }
    }
}

/// The media type and the base64 of a `data:` URL.
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}

/// What an assistant says in a row is one answer.
fn joined(turns: Vec<Turn>) -> Vec<Turn> {
    let mut out: Vec<Turn> = vec![];
    for turn in turns {
        match (out.last_mut(), turn) {
            (Some(Turn::Assistant { text, calls }), Turn::Assistant { text: more, calls: others }) => {
                if !text.is_empty() && !more.is_empty() {
                    text.push_str("\n\n");
                }
                text.push_str(&more);
                calls.extend(others);
            }
            (_, turn) => out.push(turn),
        }
    }
    out
}

/// As a transcript keeps it.
fn history(turns: Vec<Turn>) -> Vec<Value> {
    let mut known: Vec<String> = vec![];
    let mut out = vec![];
    for turn in turns {
        out.push(match turn {
            Turn::User { text, images } => conversation::said(&text, &images, 0),
            Turn::Assistant { text, calls } => {
                known.extend(calls.iter().map(|it| it.id.clone()));
                let words = (!text.is_empty()).then(|| json!({ "type": "text", "text": text }));
                let call = |it: ToolCall| json!({ "type": "toolCall", "id": it.id, "name": it.name, "arguments": it.arguments_or_empty() });
                let content: Vec<Value> = words.into_iter().chain(calls.into_iter().map(call)).collect();
                json!({ "role": "assistant", "content": content })
            }
            Turn::Result { id, name, text } if known.contains(&id) => {
                let call = ToolCall { id, name, arguments: String::new() };
                conversation::tool_result(&call, &text, None, &Value::Null, false, 0)
            }
            Turn::Result { id, name, text } => {
                let who = if name.is_empty() { id } else { name };
                conversation::said(&format!("The tool {who} answered: {text}"), &[], 0)
            }
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Turn {
        Turn::User { text: text.into(), images: vec![] }
    }
    fn assistant(text: &str, calls: &[&str]) -> Turn {
        let call =
            |id: &&str| ToolCall { id: (*id).into(), name: "look".into(), arguments: "{\"a\":1}".into() };
        Turn::Assistant { text: text.into(), calls: calls.iter().map(call).collect() }
    }
    fn result(id: &str, text: &str) -> Turn {
        Turn::Result { id: id.into(), name: String::new(), text: text.into() }
    }
    fn heard(turns: Vec<Turn>) -> Option<(String, usize, usize)> {
        let mut ask = Ask::default();
        ask.hear(turns).then_some((ask.message, ask.brought.history.len(), ask.brought.results.len()))
    }

    #[test]
    fn the_last_turn_is_the_question() {
        let of = |text: &str, history, results| Some((text.to_owned(), history, results));
        assert_eq!(heard(vec![]), None);
        assert_eq!(heard(vec![user("")]), None);
        assert_eq!(heard(vec![user("a")]), of("a", 0, 0));
        assert_eq!(heard(vec![user("a"), assistant("b", &[]), user("c")]), of("c", 2, 0));
        assert_eq!(heard(vec![user("a"), assistant("I beg", &[])]), of("a", 0, 0));
        assert_eq!(heard(vec![assistant("alone", &[])]), of("alone", 0, 0));
        let calls =
            vec![user("a"), assistant("", &["1"]), assistant("", &["2"]), result("1", "x"), result("2", "y")];
        assert_eq!(heard(calls), of("", 2, 2));
        assert_eq!(heard(vec![result("1", "x")]), of("", 0, 1));
    }
    #[test]
    fn what_was_said_before_is_kept_as_transcripts_keep_it() {
        let mut ask = Ask::default();
        let turns = vec![
            user("a"),
            assistant("b", &["1"]),
            result("1", "x"),
            result("9", "y"),
            assistant("c", &[]),
            user("d"),
        ];
        assert!(ask.hear(turns));
        let roles: Vec<&str> = ask.brought.history.iter().filter_map(|it| it["role"].as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "toolResult", "user", "assistant"]);
        assert_eq!(ask.brought.history[1]["content"][1]["arguments"], json!({ "a": 1 }));
        assert!(ask.brought.history[3].to_string().contains("The tool 9 answered: y"));
    }
    #[test]
    fn urls_are_counted_and_may_be_off() {
        let limits = crate::config::Endpoints::default().images;
        let mut ask = Ask::default();
        for _ in 0..HTTP_URLS_MAX {
            assert_eq!(ask.picture("https://example.com/a.png", &limits), Ok(None));
        }
        assert!(ask.picture("https://example.com/a.png", &limits).unwrap_err().contains("more than"));
        assert!(ask.hear(vec![user("")]), "a picture alone is a question");
        let off = MediaLimits { allow_url: false, ..limits };
        assert!(
            Ask::default()
                .picture("https://example.com/a.png", &off)
                .unwrap_err()
                .contains("disabled by config")
        );
        assert!(
            Ask::default().picture("data:image/png;base64,AAAA", &off).unwrap_err().contains("neither PNG")
        );
    }
}
