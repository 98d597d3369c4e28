//! What a run was asked for, as it is kept until it is answered.
use crate::agent::conversation::Image;
use crate::agent::run::Brought;
use crate::gateway::commands::authority::Sender;
use crate::gateway::methods::system::WakeMode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The method that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Chat,
    #[default]
    Agent,
    /// An API of model servers, over HTTP. Nothing is promised before the answer: it ends with its connection, and with the process.
    Http,
}

impl Kind {
    /// The key of its answer: the reference's form.
    pub fn key(self, run_id: &str) -> String {
        match self {
            Kind::Chat => format!("chat:{run_id}"),
            Kind::Agent => format!("agent:{run_id}"),
            Kind::Http => format!("http:{run_id}"),
        }
    }
}

/// A place on a chat network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reply {
    pub channel: String,
    pub account: String,
    /// The network's own id of the chat.
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The message that the answer names as the one it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The message that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// It has a reaction, which goes when the answer is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acked: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub kind: Kind,
    /// The client's idempotency key.
    pub run_id: String,
    /// The session as the client calls it, repeated in events; None where it named none, and nobody hears of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// Canonical.
    pub key: String,
    pub agent_id: String,
    /// The id of a session that does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_system_prompt: Option<String>,
    /// `{allow, alsoAllow, deny}`: what the agent's tools are narrowed to where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
    pub timeout_ms: u64,
    /// Where it comes from: `webchat`, a channel, or nothing that one could answer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The channel that is to get the answer, besides those who listen; where there is told by [`Request::reply`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_to: Option<String>,
    /// To whom there; where that channel last heard from, when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_to_whom: Option<String>,
    /// Who is to get the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// It was asked for from outside: the main session is told what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Fields that the session's entry takes over.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub entry: Map<String, Value>,
    /// Fields of the entry that count for this message alone.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub once: Map<String, Value>,
    /// It begins a conversation, whose id this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_session: Option<String>,
    /// The session's own `queueMode`, once it was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_mode: Option<String>,
    /// It is a command, not a message, and who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Sender>,
    /// Only folds the conversation, with this wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_compact: Option<String>,
    /// See [`Brought`]; of HTTP alone.
    #[serde(skip)]
    pub brought: Arc<Brought>,
    /// Milliseconds since 1970.
    pub accepted_at: i64,
    /// How often earlier lives of this process have begun it.
    #[serde(skip)]
    pub lives: u32,
}

/// From where a run in a session of its own was asked for, and how the main session is woken when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// One line, such as `Hook Gmail`.
    pub name: String,
    pub wake: WakeMode,
}

impl Request {
    /// It waits for its turn whatever the session's queue mode: it is no word in the conversation under way.
    pub fn stands_alone(&self) -> bool {
        self.only_compact.is_some() || self.new_session.is_some() || !self.once.is_empty()
    }
}
