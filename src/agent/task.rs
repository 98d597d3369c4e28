//! What a run is given, what it tells on its way, and how it ends.
use super::compact;
use super::conversation::Image;
use super::error::{ErrorKind, TurnError};
use super::media::Wanted;
use super::model::{ModelRef, Thinking, ToolCall, ToolChoice, ToolSpec, Usage};
use super::models::Models;
use super::prompt::System;
use super::tools::message::SaidHere;
use super::tools::{Place, Toolbox};
use crate::base::clock::Clock;
use crate::store::agent_sessions::Trouble;
use crate::store::stores::Stores;
use crate::store::writer::Hand;
use crossbeam_channel::Receiver;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;

/// What the store knows of a session when a run begins in it.
#[derive(Debug, Clone)]
pub struct Begun {
    pub session_id: String,
    pub entry: Map<String, Value>,
    /// None before the first word.
    pub transcript: Option<PathBuf>,
    /// What the model is told of the person's words.
    pub text: String,
}

/// Runs where state files are written, first of all.
pub type Begin = Box<dyn FnOnce(&mut Stores) -> Result<Begun, Trouble> + Send>;

/// Writes the system prompt for a model, and what there is to report of it.
pub type Prompt = Box<dyn Fn(&Begun, &ModelRef, Thinking, &[ToolSpec]) -> System + Send>;

/// Picks the tools that a model may use.
pub type Tools = Box<dyn Fn(&ModelRef) -> Toolbox + Send>;

/// What somebody says while a run is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Steer {
    /// Of the message.
    pub run_id: String,
    /// See [`Task::accepted_at`].
    pub accepted_at: i64,
    pub text: String,
    pub images: Vec<Image>,
}

/// What a request over an API of model servers brings along, which no chat has.
#[derive(Debug, Clone, Default)]
pub struct Brought {
    /// The conversation so far as the client tells it, in the transcript's form: what is stored is not told then.
    pub history: Vec<Value>,
    /// Nobody comes back to its session: what is stored of it may be lost with the power.
    pub passing: bool,
    /// The run whose answer this message follows, when it is not the session's last.
    pub after: Option<String>,
    /// What came of calls that an earlier run left to the client: the call's id, and its answer.
    pub results: Vec<(String, String)>,
    /// Tools that the client has: the run ends with the first call of one. They hide tools of the same name.
    pub tools: Vec<ToolSpec>,
    pub tool_choice: ToolChoice,
    /// Tokens of one answer.
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    /// What the message shows.
    pub images: Vec<Image>,
    /// And what is still to be fetched.
    pub fetch: Vec<Wanted>,
}

/// What a run does.
pub struct Task {
    pub run_id: String,
    /// Milliseconds since 1970. A run id may be used again: only both together name a run for good.
    pub accepted_at: i64,
    /// How often it was begun and cut off by the end of the process.
    pub lives: u32,
    pub agent_id: String,
    /// Canonical.
    pub session_key: String,
    /// The store file of the session.
    pub store: PathBuf,
    pub begin: Begin,
    pub prompt: Prompt,
    pub images: Vec<Image>,
    pub brought: Arc<Brought>,
    /// What was asked for; else what the session, the agent and the defaults say.
    pub thinking: Option<Thinking>,
    pub thinking_default: Option<Thinking>,
    /// Tokens that the context may take, whatever the model says.
    pub context_tokens: Option<u64>,
    pub compaction: compact::Rule,
    pub tools: Tools,
    pub place: Place,
    /// For the whole run, in milliseconds.
    pub timeout_ms: u64,
    /// What people say while it runs; told to the model at its next turn.
    pub steering: Receiver<Steer>,
    /// Only folds what was said so far, with this wish of the person.
    pub only_compact: Option<String>,
}

/// What every run shares.
#[derive(Clone)]
pub struct Around {
    pub models: Arc<Models>,
    pub store: Hand,
    pub clock: Clock,
}

/// What happens on the way.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The session and its levels are known.
    Begun {
        session_id: String,
        verbose: Option<String>,
    },
    Text(String),
    Thinking(String),
    /// The model has said all of this message.
    MessageEnd,
    ToolStart {
        id: String,
        name: String,
        args: Value,
    },
    ToolUpdate {
        id: String,
        name: String,
        partial: Value,
    },
    ToolEnd {
        id: String,
        name: String,
        meta: Option<String>,
        is_error: bool,
        result: Value,
    },
    /// What was said so far is being folded into a summary.
    Compacting,
    Compacted {
        will_retry: bool,
    },
    /// The model is told this message too.
    Steered(String),
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct End {
    pub outcome: Result<(), Failure>,
    /// What the model said, message by message.
    pub texts: Vec<String>,
    pub said_here: SaidHere,
    pub session_id: Option<String>,
    pub model: Option<ModelRef>,
    /// Of the last call.
    pub usage: Usage,
    /// Of all calls.
    pub spent: Usage,
    /// The last answer was cut at its limit of tokens.
    pub is_cut: bool,
    /// Calls that are the client's to make.
    pub pending: Vec<ToolCall>,
    pub report: Value,
    /// Tokens before and after, when it was folded.
    pub compacted: Option<(u64, u64)>,
}

impl End {
    pub(super) fn new(outcome: Result<(), Failure>) -> End {
        End {
            outcome,
            texts: vec![],
            said_here: SaidHere::default(),
            session_id: None,
            model: None,
            usage: Usage::default(),
            spent: Usage::default(),
            is_cut: false,
            pending: vec![],
            report: Value::Null,
            compacted: None,
        }
    }
    pub fn failed(text: String) -> End {
        End::new(Err(Failure::Failed(text)))
    }
    /// Its thread has panicked: the log says where.
    pub fn panicked() -> End {
        End::failed("gatewayd made a mistake: see its log, and please report it".into())
    }
}

/// Why it did not end well.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Somebody cancelled it.
    Cancelled,
    /// The model refuses the request itself: what it says is the answer.
    Refused(String),
    /// What was asked for cannot be had: a sentence for whoever asked.
    Unfit(String),
    /// A sentence for the person.
    Failed(String),
}

impl Failure {
    pub(super) fn of(err: &TurnError, provider: &str) -> Failure {
        match err.kind {
            ErrorKind::Cancelled => Failure::Cancelled,
            ErrorKind::BadRequest => Failure::Refused(err.explain(provider)),
            _ => Failure::Failed(err.explain(provider)),
        }
    }
}
