//! What a model can do besides talking: the tools, who may use which, and what they answer.
//!
//! ```text
//! let toolbox = Toolbox::of(&Policy::read(&file.resolved, agent_id, &model));
//! request.tools = toolbox.specs();                                                     // what the model is offered
//! let outcome = toolbox.call(&call, &place, &cancel, &mut |partial| update(partial));  // blocks: it has the run's thread
//! outcome.result()                                                                     // for the transcript; outcome.event() for clients
//! ```
//!
//! A tool knows its place and nothing of who asked. What it tells the model has a limit; a failure is an answer, never an error.
pub mod allowlist;
mod edit;
mod exec;
#[cfg(test)]
mod exec_tests;
#[cfg(test)]
mod file_tests;
pub mod message;
mod node;
mod output;
mod policy;
mod read;
mod settings;
mod target;
mod write;

use super::model::{ToolCall, ToolSpec};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::limits::{TOOL_EVENT_CHARS_MAX, TOOL_META_CHARS_MAX};
use crate::config::Env;
use message::Messages;
pub use node::{NodeCommand, Nodes};
pub use policy::{Policy, listed};
use serde_json::{Map, Value, json};
pub use settings::{Ask, ExecConfig, Host, MessageRules, Security, ToolsConfig};
use std::path::PathBuf;
use std::sync::Arc;

pub trait Tool: Sync {
    fn name(&self) -> &'static str;
    /// For the model.
    fn description(&self) -> &'static str;
    /// JSON Schema of the arguments.
    fn parameters(&self) -> Value;
    /// Blocks. `update` may be called with a partial result while it runs.
    fn call(&self, args: &Value, place: &Place, cancel: &Cancel, update: &mut dyn FnMut(Value)) -> Outcome;
    /// One line for people: what this call does.
    fn meta(&self, args: &Value) -> Option<String>;
}

/// What a tool may know of the run.
#[derive(Debug, Clone)]
pub struct Place {
    /// Made when it is missing.
    pub workspace: PathBuf,
    pub session_key: String,
    pub agent_id: String,
    pub config: ToolsConfig,
    pub env: Arc<Env>,
    pub clock: Clock,
    /// Who is asked for what nodes do.
    pub nodes: Option<Nodes>,
    /// Who is asked for what is done on chat networks.
    pub messages: Option<Messages>,
}

/// What a tool answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// What the model reads.
    pub text: String,
    /// What the model looks at.
    pub image: Option<Image>,
    /// For clients; null when there is nothing to say.
    pub details: Value,
    pub is_error: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub mime: &'static str,
    /// base64.
    pub data: String,
}

impl Outcome {
    pub fn text(text: impl Into<String>) -> Outcome {
        Outcome { text: text.into(), ..Outcome::default() }
    }
    /// A failure of that tool; the details are the reference's.
    pub fn error(tool: &str, text: impl Into<String>) -> Outcome {
        let text = text.into();
        Outcome {
            details: json!({"status": "error", "tool": tool, "error": text}),
            text,
            is_error: true,
            image: None,
        }
    }
    /// `{content, details?}`, for the transcript.
    pub fn result(&self) -> Value {
        let image = self.image.as_ref();
        self.with(&self.text, image.map(|it| json!({"type": "image", "data": it.data, "mimeType": it.mime})))
    }
    /// The same for an event: a long text is cut, and a picture only mentioned (reference).
    pub fn event(&self) -> Value {
        let text = match self.text.char_indices().nth(TOOL_EVENT_CHARS_MAX) {
            Some((at, _)) => format!("{}\n…", &self.text[..at]),
            None => self.text.clone(),
        };
        let image = self.image.as_ref();
        let mention = |it: &Image| json!({"type": "image", "mimeType": it.mime, "bytes": it.data.len(), "omitted": true});
        self.with(&text, image.map(mention))
    }
    fn with(&self, text: &str, image: Option<Value>) -> Value {
        let content: Vec<Value> = [json!({"type": "text", "text": text})].into_iter().chain(image).collect();
        let mut result = json!({ "content": content });
        if !self.details.is_null() {
            result["details"] = self.details.clone();
        }
        result
    }
}

/// Every tool there is, in the order that models see.
static TOOLS: [&dyn Tool; 5] = [&read::Read, &edit::Edit, &write::Write, &exec::Exec, &message::Message];

/// The tools that one run may use.
pub struct Toolbox {
    tools: Vec<&'static dyn Tool>,
}

impl Toolbox {
    pub fn of(policy: &Policy) -> Toolbox {
        Toolbox { tools: TOOLS.into_iter().filter(|it| policy.allows(it.name())).collect() }
    }
    /// With the `exec` of that place, and with `message` only where there is a chat network.
    pub fn at(mut self, host: Host, has_networks: bool) -> Toolbox {
        self.tools.retain(|it| has_networks || it.name() != message::NAME);
        let on_node: &'static dyn Tool = &node::ExecOnNode;
        let own = self.tools.iter_mut().filter(|it| host == Host::Node && it.name() == on_node.name());
        own.for_each(|it| *it = on_node);
        self
    }
    pub fn specs(&self) -> Vec<ToolSpec> {
        let spec = |it: &&dyn Tool| ToolSpec {
            name: it.name().to_owned(),
            description: it.description().to_owned(),
            parameters: it.parameters(),
        };
        self.tools.iter().map(spec).collect()
    }
    /// By name, or by another name that models use.
    pub fn get(&self, name: &str) -> Option<&'static dyn Tool> {
        let name = canonical(name);
        self.tools.iter().find(|it| it.name() == name).copied()
    }
    /// Does what the model asked for: also a tool that is not there, or arguments that are none, gets an answer.
    pub fn call(
        &self,
        call: &ToolCall,
        place: &Place,
        cancel: &Cancel,
        update: &mut dyn FnMut(Value),
    ) -> Outcome {
        let Some(tool) = self.get(&call.name) else {
            let names: Vec<_> = self.tools.iter().map(|it| it.name()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Outcome::error(
                &call.name,
                format!("there is no tool {:?} here; there are: {names}", call.name),
            );
        };
        match call.arguments() {
            Ok(args) => tool.call(&args, place, cancel, update),
            Err(text) => Outcome::error(tool.name(), text),
        }
    }
    /// See [`Tool::meta`]; for any call, also one that cannot be made.
    pub fn meta(&self, call: &ToolCall) -> Option<String> {
        self.get(&call.name)?.meta(&call.arguments().ok()?)
    }
}

/// The name a tool goes by here.
fn canonical(name: &str) -> String {
    match name.trim().to_lowercase().as_str() {
        "bash" => "exec".to_owned(),
        "apply-patch" => "apply_patch".to_owned(),
        name => name.to_owned(),
    }
}

/// An argument that must be text, by any of its names.
fn text_of<'a>(args: &'a Value, names: &[&str]) -> Result<&'a str, String> {
    let found = names.iter().map(|it| &args[*it]).find(|it| !it.is_null());
    match found {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("{} must be a string", names[0])),
        None => Err(format!("{} is missing", names[0])),
    }
}

/// An argument that may be a number; models write some of them as text.
fn number_of(args: &Value, name: &str) -> Result<Option<f64>, String> {
    match &args[name] {
        Value::Null => Ok(None),
        Value::Number(it) => Ok(it.as_f64()),
        Value::String(text) => {
            text.trim().parse().map(Some).map_err(|_| format!("{name} must be a number, not {text:?}"))
        }
        _ => Err(format!("{name} must be a number")),
    }
}

/// The first line, at most so long as fits in one.
fn one_line(text: &str) -> Option<String> {
    let line = text.trim().lines().next()?;
    Some(line.chars().take(TOOL_META_CHARS_MAX).collect())
}

/// The JSON Schema of arguments: (name, type, what it is).
fn schema(required: &[&str], properties: &[(&str, &str, &str)]) -> Value {
    let property = |it: &(&str, &str, &str)| (it.0.to_owned(), json!({"type": it.1, "description": it.2}));
    let properties: Map<String, Value> = properties.iter().map(property).collect();
    json!({"type": "object", "properties": properties, "required": required})
}
