//! What clients are told of runs: the payloads of the events `agent` and `chat`, and the result of an `agent` call.
use super::Run;
use crate::agent::run::{End, Failure};
use crate::base::clock::Now;
use serde::Serialize;
use serde_json::{Value, json};

/// One step of a run.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentEvent {
    pub run_id: String,
    /// `lifecycle`, `assistant`, `tool` or `compaction`.
    pub stream: &'static str,
    pub data: Value,
    /// As the client that started the run called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// Of this run, from 1. Not every client sees every number.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub ts: i64,
}

/// The data of the stream `lifecycle`.
#[derive(Debug, Serialize)]
#[serde(tag = "phase", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Lifecycle {
    Start {
        started_at: i64,
    },
    End {
        #[serde(skip_serializing_if = "Option::is_none")]
        started_at: Option<i64>,
        ended_at: i64,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        aborted: bool,
    },
    Error {
        started_at: i64,
        ended_at: i64,
        error: String,
    },
}

crate::literals! { pub enum ChatState { Delta = "delta", Final = "final", Aborted = "aborted", Error = "error" } }

/// What is being said in a session.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChatEvent {
    pub run_id: String,
    /// As the client that started the run called it.
    pub session_key: String,
    /// The run's number of what led to this.
    pub seq: u64,
    pub state: ChatState,
    /// Protocol 4: what is new in `message` since the last event of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta_text: Option<String>,
    /// Protocol 4: the message has begun anew; `deltaText` is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// `{role, content: [{type: "text", text}], timestamp}`; the whole text so far. Absent when nothing was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Why it was aborted: `rpc`, `stop`, `timeout`, `interrupt`, `disconnect` or `shutdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<&'static str>,
}

impl ChatEvent {
    pub fn new(run_id: &str, session_key: &str, seq: u64, state: ChatState) -> ChatEvent {
        ChatEvent {
            run_id: run_id.to_owned(),
            session_key: session_key.to_owned(),
            seq,
            state,
            delta_text: None,
            replace: None,
            message: None,
            error_message: None,
            stop_reason: None,
        }
    }
}

/// Why a run was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `chat.abort`.
    Rpc,
    /// `/stop`, or one of the words for it.
    Command,
    Timeout,
    /// A newer message takes its place.
    Interrupt,
    /// Its session is deleted.
    Deleted,
    /// Whoever asked has hung up.
    Gone,
    Shutdown,
}

impl Stop {
    /// `stopReason`.
    pub fn word(self) -> &'static str {
        match self {
            Stop::Rpc | Stop::Deleted => "rpc",
            Stop::Command => "stop",
            Stop::Timeout => "timeout",
            Stop::Interrupt => "interrupt",
            Stop::Gone => "disconnect",
            Stop::Shutdown => "shutdown",
        }
    }
}

/// How much of the tools is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbose {
    #[default]
    Off,
    /// Without what they answered.
    On,
    Full,
}

impl Verbose {
    pub fn of(word: Option<&str>) -> Verbose {
        match word {
            Some("on") => Verbose::On,
            Some("full") => Verbose::Full,
            _ => Verbose::Off,
        }
    }
}

/// A message as `chat` events carry it.
pub fn message(text: &str, unix_ms: i64) -> Value {
    json!({ "role": "assistant", "content": [{ "type": "text", "text": text }], "timestamp": unix_ms })
}

/// What an `agent` call comes to.
pub fn result(run: &Run, end: &End, now: Now) -> Value {
    let mut payloads: Vec<Value> =
        end.texts.iter().map(|it| json!({ "text": it, "mediaUrl": null })).collect();
    if let Err(Failure::Refused(text)) = &end.outcome {
        payloads.push(json!({ "text": text, "mediaUrl": null }));
    }
    let usage = &end.usage;
    let model = end.model.as_ref();
    let mut meta = json!({
        "durationMs": now.mono_ms.saturating_sub(run.mono_ms),
        "agentMeta": {
            "sessionId": end.session_id,
            "provider": model.map(|it| &it.provider),
            "model": model.map(|it| &it.model),
            "usage": {
                "input": usage.input, "output": usage.output, "cacheRead": usage.cache_read,
                "cacheWrite": usage.cache_write, "total": usage.total(),
            },
        },
        "aborted": false,
    });
    if end.report.is_object() {
        meta["systemPromptReport"] = end.report.clone();
    }
    json!({ "payloads": payloads, "meta": meta })
}
