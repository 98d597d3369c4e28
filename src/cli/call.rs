//! From a command to its answer: resolve, connect, ask, print.
use super::identity::Identity;
use super::rpc::{As, Client, Failure};
use super::target::{self, Link, Source, Target};
use super::{Context, fail, say};
use crate::base::clock::Clock;
use crate::config::File;
use crate::gateway::World;
use serde_json::Value;
use std::process::ExitCode;

/// A failed call, with what to do about it where that is known.
#[derive(Debug)]
pub struct Trouble {
    text: String,
    hint: Option<String>,
    refused: bool,
}

impl Trouble {
    /// Asking again is of no use.
    pub fn refusal(text: String) -> Trouble {
        Trouble { text, hint: None, refused: true }
    }
    /// The gateway said no: asking again is of no use.
    pub fn is_refusal(&self) -> bool {
        self.refused
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        let refused = matches!(failure, Failure::Refused { .. });
        Trouble { text: failure.to_string(), hint: None, refused }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        self.hint.iter().try_for_each(|it| write!(f, "\n{it}"))
    }
}

impl Context {
    /// The configuration; what is wrong with it is told on stderr, and the last good copy used, or what is left of it.
    pub fn config(&self) -> File {
        let file = File::load(&self.paths, &self.env);
        for it in &file.issues {
            let at = if it.path.is_empty() { String::new() } else { format!("{}: ", it.path) };
            fail(&format!("Warning: {}: {at}{}", self.paths.config.display(), it.message), 0);
        }
        file.or_last_good(&self.paths, &self.env)
    }

    /// The gateway's view of this machine: configuration, folders, port.
    pub fn world(&self) -> World {
        let config = self.config();
        let port = self.paths.port(None, &self.env, config.config.gateway.port);
        World::new(config, self.paths.clone(), self.env.clone(), port)
    }

    /// A connection for several calls.
    ///
    /// # Errors
    /// `Trouble`.
    pub fn open(&self, link: &Link, who: As) -> Result<Client, Trouble> {
        let target = target::resolve(link, &self.config().config, self);
        let target = target.map_err(Trouble::refusal)?;
        self.open_at(&target, who, link.timeout_ms()).map_err(|it| self.explain(it, &target))
    }

    /// # Errors
    /// `Failure`.
    pub fn open_at(&self, target: &Target, who: As, timeout_ms: u64) -> Result<Client, Failure> {
        let clock = Clock::start();
        let identity = Identity::load_or_make(&self.paths.state, clock.now().unix_ms);
        Client::open(target, &identity.map_err(Failure::Other)?, who, timeout_ms, clock)
    }

    /// One call on a connection of its own.
    ///
    /// # Errors
    /// `Trouble`.
    pub fn call(&self, link: Link, method: &str, params: Option<Value>) -> Result<Value, Trouble> {
        let mut client = self.open(&link, As::Cli)?;
        Ok(client.call(method, params, link.expect_final)?)
    }

    /// Prints an answer, as JSON or as text.
    pub fn show(
        &self,
        answer: Result<Value, Trouble>,
        json: bool,
        text: impl FnOnce(&Value) -> String,
    ) -> ExitCode {
        match answer {
            Ok(payload) if json => say(&format!("{payload:#}")),
            Ok(payload) => say(&text(&payload)),
            Err(trouble) => self.report(&trouble),
        }
    }

    pub fn report(&self, trouble: &Trouble) -> ExitCode {
        fail(&format!("Gateway call failed: Error: {trouble}"), 1)
    }

    /// What a person can do about a connection that failed.
    pub fn explain(&self, failure: Failure, target: &Target) -> Trouble {
        let hint = match &failure {
            Failure::NobodyThere(_) if target.source == Source::Local => {
                Some(format!("No gateway runs there: start it with: {} gateway", self.program()))
            }
            Failure::NobodyThere(_) => Some(format!("The address is from: {}", target.source.as_str())),
            Failure::Refused { message, .. } if message.starts_with("unauthorized") => Some(format!(
                "Pass --token (or --password), set OPENCLAW_GATEWAY_TOKEN, or set gateway.auth.token in {}.",
                self.paths.config.display()
            )),
            Failure::Refused { message, details, .. } if message == "pairing required" => {
                // Our own words: a gateway that is not to be trusted must not tell what to type.
                let plain =
                    |it: &&str| it.len() <= 64 && it.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                let what = match details["requestId"].as_str().filter(plain) {
                    Some(id) => format!("gatewayd devices approve {id}"),
                    None => "`gatewayd devices list` shows the request".to_owned(),
                };
                Some(format!("Approve this device on the gateway's machine: {what}"))
            }
            _ => None,
        };
        Trouble { hint, ..failure.into() }
    }
}
