//! The words of a turn: what a model is given and what it answers, the same for every provider.
use super::error::{ErrorKind, TurnError};
use crate::base::limits::MODEL_TOOL_CALLS_MAX;
use serde::Serialize;
use serde_json::Value;

/// A model by its provider: `openai/gpt-5`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelRef {
    pub provider: String,
    pub model: String,
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What people and tools say.
    User,
    Assistant,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(String),
    /// `data` is base64, as every provider wants it.
    Image {
        mime: String,
        data: String,
    },
    /// What the model thought. `signature` is the provider's own seal: only the model that made it gets it back.
    Thinking {
        text: String,
        signature: Option<String>,
    },
    ToolCall(ToolCall),
    ToolResult {
        id: String,
        name: String,
        text: String,
        is_error: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON text as the model wrote it, which may be broken: see [`ToolCall::arguments`].
    pub arguments: String,
}

impl ToolCall {
    /// # Errors
    /// What to tell the model when it wrote no JSON object.
    pub fn arguments(&self) -> Result<Value, String> {
        let text = if self.arguments.trim().is_empty() { "{}" } else { &self.arguments };
        match crate::protocol::json::parse(text.as_bytes()) {
            Ok(it) if it.is_object() => Ok(it),
            Ok(_) => Err(format!("the arguments of {} must be a JSON object", self.name)),
            Err(err) => Err(format!("the arguments of {} are not JSON: {err}", self.name)),
        }
    }
    /// For a provider that takes no broken arguments back.
    pub fn arguments_or_empty(&self) -> Value {
        self.arguments().unwrap_or_else(|_| Value::Object(serde_json::Map::new()))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    #[default]
    Auto,
    None,
    /// Some tool, whichever.
    Required,
    /// This one.
    Tool(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Thinking {
    #[default]
    Off,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
}

impl Thinking {
    /// The word of the protocol.
    pub fn word(self) -> &'static str {
        match self {
            Thinking::Off => "off",
            Thinking::Minimal => "minimal",
            Thinking::Low => "low",
            Thinking::Medium => "medium",
            Thinking::High => "high",
            Thinking::XHigh => "xhigh",
        }
    }
    pub fn of_word(word: &str) -> Option<Thinking> {
        use Thinking::{High, Low, Medium, Minimal, Off, XHigh};
        [Off, Minimal, Low, Medium, High, XHigh].into_iter().find(|it| it.word() == word)
    }
    /// What OpenAI and those who copy it call it; None for off.
    pub fn effort(self) -> Option<&'static str> {
        (self != Thinking::Off).then(|| self.word())
    }
    /// How many tokens Anthropic's models may think; None for off. Anthropic's least is 1024.
    pub fn budget_tokens(self) -> Option<u64> {
        match self {
            Thinking::Off => None,
            Thinking::Minimal => Some(1024),
            Thinking::Low => Some(2048),
            Thinking::Medium => Some(8192),
            Thinking::High => Some(16_384),
            Thinking::XHigh => Some(32_768),
        }
    }
}

/// Everything a model is asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TurnRequest {
    /// The model's id at its provider.
    pub model: String,
    pub system: String,
    pub messages: Vec<Message>,
    pub tools: Vec<ToolSpec>,
    pub tool_choice: ToolChoice,
    pub thinking: Thinking,
    /// Tokens of the answer; None leaves it to the provider.
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
}

/// A piece of the answer. Pieces of parallel tool calls may alternate; `index` tells them apart, from 0, without gaps.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Delta {
    Text(String),
    Thinking(String),
    /// The seal of the thinking so far.
    Signature(String),
    ToolStart {
        index: usize,
        id: String,
        name: String,
    },
    ToolArgs {
        index: usize,
        text: String,
    },
    ToolEnd {
        index: usize,
    },
}

/// Tokens. `input` counts those that were neither read from nor written to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

impl Usage {
    pub fn add(&mut self, other: &Usage) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
    }
    pub fn total(&self) -> u64 {
        self.input + self.output + self.cache_read + self.cache_write
    }
}

/// Why the answer ended; the transcript's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stop {
    Stop,
    /// `max_tokens` was reached, or the context is full.
    Length,
    ToolUse,
    /// The provider's filter ended it.
    Refusal,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Done {
    pub stop: Stop,
    pub usage: Usage,
}

/// Puts the pieces of an answer together.
#[derive(Debug, Default)]
pub struct Answer {
    parts: Vec<Part>,
    /// Where the tool call of each index stands in `parts`.
    calls: Vec<usize>,
}

impl Answer {
    pub fn push(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(text) => match self.parts.last_mut() {
                Some(Part::Text(all)) => all.push_str(text),
                _ => self.parts.push(Part::Text(text.clone())),
            },
            Delta::Thinking(more) => match self.parts.last_mut() {
                Some(Part::Thinking { text, signature: None }) => text.push_str(more),
                _ => self.parts.push(Part::Thinking { text: more.clone(), signature: None }),
            },
            Delta::Signature(seal) => match self.parts.last_mut() {
                Some(Part::Thinking { signature: signature @ None, .. }) => *signature = Some(seal.clone()),
                _ => {
                    let signature = Some(seal.clone());
                    self.parts.push(Part::Thinking { text: String::new(), signature });
                }
            },
            Delta::ToolStart { id, name, .. } => {
                self.calls.push(self.parts.len());
                let (id, name) = (id.clone(), name.clone());
                self.parts.push(Part::ToolCall(ToolCall { id, name, arguments: String::new() }));
            }
            Delta::ToolArgs { index, text } => {
                if let Some(Part::ToolCall(call)) = self.calls.get(*index).map(|at| &mut self.parts[*at]) {
                    call.arguments.push_str(text);
                }
            }
            Delta::ToolEnd { .. } => {}
        }
    }
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
    pub fn text(&self) -> String {
        let text = |it: &Part| if let Part::Text(text) = it { Some(text.clone()) } else { None };
        self.parts.iter().filter_map(text).collect()
    }
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.calls.iter().filter_map(|at| match &self.parts[*at] {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
    pub fn into_message(self) -> Message {
        Message { role: Role::Assistant, parts: self.parts }
    }
}

/// Hands out the indices of [`Delta`]'s tool calls, whatever a provider calls them.
#[derive(Debug, Default)]
pub(super) struct Calls<K> {
    open: Vec<(K, bool)>,
}

impl<K: PartialEq> Calls<K> {
    /// A call without an id stands with an empty one; the driver gives it one, for its result must name it.
    pub fn start(
        &mut self,
        key: K,
        id: Option<&str>,
        name: Option<&str>,
        out: &mut Vec<Delta>,
    ) -> Result<usize, TurnError> {
        let index = self.open.len();
        if index >= MODEL_TOOL_CALLS_MAX {
            let text = format!("more than {MODEL_TOOL_CALLS_MAX} tool calls in one answer");
            return Err(TurnError::new(ErrorKind::Protocol, text));
        }
        self.open.push((key, true));
        let (id, name) = (id.unwrap_or_default().to_owned(), name.unwrap_or_default().to_owned());
        out.push(Delta::ToolStart { index, id, name });
        Ok(index)
    }
    /// The latest call of that name, while it is open.
    pub fn find(&self, key: &K) -> Option<usize> {
        self.open.iter().rposition(|it| it.0 == *key && it.1)
    }
    pub fn end(&mut self, key: &K) -> Option<Delta> {
        let index = self.find(key)?;
        self.open[index].1 = false;
        Some(Delta::ToolEnd { index })
    }
    pub fn end_all(&mut self) -> Vec<Delta> {
        let open = self.open.iter_mut().enumerate().filter(|it| it.1.1);
        open.map(|(index, it)| {
            it.1 = false;
            Delta::ToolEnd { index }
        })
        .collect()
    }
    pub fn any(&self) -> bool {
        !self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn an_answer_from_pieces() {
        let mut answer = Answer::default();
        let start = |index, id: &str| Delta::ToolStart { index, id: id.to_owned(), name: "read".to_owned() };
        for it in [
            Delta::Thinking("hm".into()),
            Delta::Signature("seal".into()),
            Delta::Text("a".into()),
            Delta::Text("b".into()),
            start(0, "x"),
            start(1, "y"),
            Delta::ToolArgs { index: 1, text: "[1".into() },
            Delta::ToolArgs { index: 0, text: "{\"p\":1}".into() },
            Delta::ToolEnd { index: 0 },
            Delta::ToolArgs { index: 7, text: "nobody's".into() },
        ] {
            answer.push(&it);
        }
        let seal = Part::Thinking { text: "hm".into(), signature: Some("seal".into()) };
        assert_eq!((answer.text().as_str(), &answer.parts()[0]), ("ab", &seal));
        let calls: Vec<_> = answer.tool_calls().collect();
        assert_eq!(calls[0].arguments(), Ok(serde_json::json!({"p": 1})));
        assert!(calls[1].arguments().is_err());
        assert_eq!(calls[1].arguments_or_empty(), serde_json::json!({}));
        assert_eq!(ToolCall::default().arguments(), Ok(serde_json::json!({})));
    }
}
