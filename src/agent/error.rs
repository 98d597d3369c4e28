//! Why a model call failed, in one word for the machine and one sentence for the person.
use crate::base::limits::MODEL_REASON_CHARS_MAX;
use crate::base::secret::redact;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No key, or a key that is refused.
    Auth,
    /// The account has no credit.
    Billing,
    RateLimit {
        /// What the server asked for.
        retry_after_ms: Option<u64>,
    },
    Overloaded,
    ContextOverflow,
    BadRequest,
    /// What is configured or was chosen cannot be used: the reason is the whole sentence.
    Config,
    /// No such model, or no such address at the server.
    NotFound,
    Timeout(Wait),
    /// The server cannot be reached, or the connection broke.
    Network,
    /// The server does not speak the language it is configured for.
    Protocol,
    Cancelled,
    /// Our own mistake.
    Internal,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Connect,
    FirstByte,
    Idle,
    Total,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnError {
    pub kind: ErrorKind,
    /// What the server or the system said: one line, cut, secrets masked; may be empty.
    pub reason: String,
    /// The HTTP status, when the server answered with one that is an error.
    pub status: Option<u16>,
}

impl TurnError {
    pub fn new(kind: ErrorKind, reason: impl AsRef<str>) -> TurnError {
        let line = reason.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut reason: String = redact(&line);
        if let Some((at, _)) = reason.char_indices().nth(MODEL_REASON_CHARS_MAX) {
            reason.truncate(at);
            reason.push('…');
        }
        TurnError { kind, reason, status: None }
    }
    pub fn protocol(reason: impl AsRef<str>) -> TurnError {
        TurnError::new(ErrorKind::Protocol, reason)
    }
    pub fn cancelled() -> TurnError {
        TurnError::new(ErrorKind::Cancelled, "")
    }
    /// For the person: what happened and what to do next.
    pub fn explain(&self, provider: &str) -> String {
        let mut text = match self.kind {
            ErrorKind::Config => return self.reason.clone(),
            ErrorKind::Auth => {
                format!(
                    "{provider} refuses the key: check models.providers.{provider}.apiKey or its environment variable"
                )
            }
            ErrorKind::Billing => {
                format!("The account at {provider} has no credit: add some, or choose another model")
            }
            ErrorKind::RateLimit { retry_after_ms: Some(ms) } => {
                format!("{provider} allows no more requests for now: try again in {} s", ms.div_ceil(1000))
            }
            ErrorKind::RateLimit { retry_after_ms: None } => {
                format!("{provider} allows no more requests for now: try again in a minute")
            }
            ErrorKind::Overloaded => format!("{provider} is overloaded: try again in a minute"),
            ErrorKind::ContextOverflow => {
                "The conversation is longer than the model can read: send /compact or /new".to_owned()
            }
            ErrorKind::BadRequest => format!("{provider} refuses the request"),
            ErrorKind::NotFound => {
                format!(
                    "{provider} has no such model: check its name and models.providers.{provider}.baseUrl"
                )
            }
            ErrorKind::Timeout(wait) => timeout_text(wait, provider),
            ErrorKind::Network => {
                format!(
                    "{provider} cannot be reached: check the network and models.providers.{provider}.baseUrl"
                )
            }
            ErrorKind::Protocol => format!(
                "{provider} answers in a way that is not understood: check models.providers.{provider}.api and baseUrl"
            ),
            ErrorKind::Cancelled => "Stopped".to_owned(),
            ErrorKind::Internal => "gatewayd made a mistake: see its log, and please report it".to_owned(),
        };
        if !self.reason.is_empty() {
            let status = self.status.map(|it| format!("{it} ")).unwrap_or_default();
            text.push_str(&format!(" ({status}{})", self.reason));
        } else if let Some(status) = self.status {
            text.push_str(&format!(" (HTTP {status})"));
        }
        text
    }
}

fn timeout_text(wait: Wait, provider: &str) -> String {
    match wait {
        Wait::Connect => format!("{provider} cannot be reached in time: check the network and the address"),
        Wait::FirstByte => format!("{provider} does not answer: try again, or choose another model"),
        Wait::Idle => format!("{provider} fell silent in the middle of the answer: try again"),
        Wait::Total => {
            format!("{provider} took longer than the run may last: ask for less, or raise the timeout")
        }
    }
}

impl std::fmt::Display for TurnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.explain("The model server"))
    }
}

impl std::error::Error for TurnError {}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn reasons_are_short_and_keep_no_secret() {
        let err =
            TurnError::new(ErrorKind::Auth, "Incorrect API key\n provided: sk-abcdefghijklmnopqrstuvwxyz");
        assert_eq!(err.reason, "Incorrect API key provided: sk-***");
        let long = TurnError::new(ErrorKind::BadRequest, "ä".repeat(10_000));
        assert_eq!(long.reason.chars().count(), MODEL_REASON_CHARS_MAX + 1);
        let said = TurnError { status: Some(400), ..TurnError::new(ErrorKind::BadRequest, "mock failure") };
        assert_eq!(said.explain("mock"), "mock refuses the request (400 mock failure)");
        let quiet = TurnError { status: Some(529), ..TurnError::new(ErrorKind::Overloaded, "") };
        assert_eq!(quiet.explain("x"), "x is overloaded: try again in a minute (HTTP 529)");
    }
}
