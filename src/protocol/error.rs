//! Errors on the wire: `{code, message, details?, retryable?, retryAfterMs?}`. Built by the constructors here only.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The error codes that exist. `Forbidden` is protocol 4's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    NotLinked,
    NotPaired,
    AgentTimeout,
    InvalidRequest,
    Unavailable,
    Forbidden,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RpcError {
    pub code: Code,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

pub type RpcResult<T> = Result<T, RpcError>;

impl RpcError {
    fn new(code: Code, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into(), details: None, retryable: None, retry_after_ms: None }
    }
    /// The caller's mistake: asking again the same way fails again.
    pub fn invalid(message: impl Into<String>) -> RpcError {
        RpcError::new(Code::InvalidRequest, message)
    }
    /// The channel's account is not signed in.
    pub fn not_linked(message: impl Into<String>) -> RpcError {
        RpcError::new(Code::NotLinked, message)
    }
    pub fn not_paired(message: impl Into<String>) -> RpcError {
        RpcError::new(Code::NotPaired, message)
    }
    /// Something of ours failed; the text says what, in the reference's form `Error: …`.
    pub fn unavailable(message: impl std::fmt::Display) -> RpcError {
        RpcError::new(Code::Unavailable, format!("Error: {message}"))
    }
    /// As [`RpcError::unavailable`], in words that clients match.
    pub fn unavailable_text(message: impl Into<String>) -> RpcError {
        RpcError::new(Code::Unavailable, message)
    }
    /// A run that did not end in its time.
    pub fn agent_timeout(seconds: u64) -> RpcError {
        let text = format!(
            "the agent did not answer within {seconds} s: ask again, ask for less, or raise the timeout"
        );
        RpcError { retryable: Some(true), ..RpcError::new(Code::AgentTimeout, text) }
    }
    /// Too much at once: worth asking again after `ms`.
    pub fn busy(ms: u64) -> RpcError {
        let error = RpcError::new(Code::Unavailable, "Error: the gateway is busy; try again in a moment");
        RpcError { retryable: Some(true), retry_after_ms: Some(ms), ..error }
    }
    /// Protocol 3 and 4 word a missing scope differently (demand page, 4.1 rule 2).
    pub fn missing_scope(scope: &str, protocol: u32) -> RpcError {
        let message = format!("missing scope: {scope}");
        if protocol < 4 {
            return RpcError::invalid(message);
        }
        RpcError::new(Code::Forbidden, message)
            .details(json!({ "code": "MISSING_SCOPE", "missingScope": scope, "requiredScopes": [scope] }))
    }
    pub fn details(self, details: Value) -> RpcError {
        RpcError { details: Some(details), ..self }
    }
    pub fn retry_after(self, ms: u64) -> RpcError {
        RpcError { retryable: Some(true), retry_after_ms: Some(ms), ..self }
    }
}
