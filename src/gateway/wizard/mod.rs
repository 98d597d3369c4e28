//! The first minute: what a new owner is asked, in order, and what comes of the answers. The terminal and `wizard.*` ask the same. Pure.
//!
//! ```text
//! Wizard::now_comes ──► Ask(question) ── answer ──► the next step that applies
//!                   ──► Work(work)    ── done, or why not ──► the next step …
//!                   ──► End(text)
//! ```
//!
//! * Nothing is written before the last question is answered; then only what was answered otherwise than it is.
//! * A step whose answer was given beforehand (a flag) is not asked.
pub mod trial;
pub mod write;

use crate::config::Env;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is known before anything is asked.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The start of a command line, for texts that tell what to type.
    pub program: String,
    /// The configuration as it is, with its references followed.
    pub document: Value,
    /// The port without one in the configuration.
    pub port: u16,
    /// The workspace without one in the configuration.
    pub workspace: String,
    /// Providers whose key is in the environment already.
    pub keys_known: Vec<&'static str>,
    /// There is a systemd to install to, and the gateway that asks is no service yet.
    pub can_install: bool,
    /// The person's services start at boot already.
    pub lingers: bool,
}

macro_rules! steps {
    ($($step:ident),* $(,)?) => {
        /// One step. Those that apply come in this order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step {
            $($step),*
        }
        const ORDER: &[Step] = &[$($step),*];
    };
}

steps! {
    Welcome, Risk, Mode, RemoteUrl, RemoteToken, Port, Bind, Token, Provider, BaseUrl, Key, Model, TryModel,
    KeepModel, Workspace, Telegram, TryTelegram, KeepTelegram, Service, Linger, Write, Install, End,
}

use Step::*;

/// The parts of `configure`: name, and its steps.
pub const SECTIONS: [(&str, &[Step]); 5] = [
    ("gateway", &[Mode, RemoteUrl, RemoteToken, Port, Bind, Token]),
    ("model", &[Provider, BaseUrl, Key, Model, TryModel, KeepModel]),
    ("workspace", &[Workspace]),
    ("channels", &[Telegram, TryTelegram, KeepTelegram]),
    ("daemon", &[Service, Linger, Install]),
];

/// Providers that are offered: id, name, its usual model, whether it needs a key, whether its address is asked for.
const PROVIDERS: [(&str, &str, &str, bool, bool); 9] = [
    ("skip", "None for now", "", false, false),
    ("anthropic", "Anthropic", "claude-opus-4-5", true, false),
    ("openai", "OpenAI", "gpt-5.2", true, false),
    ("openrouter", "OpenRouter", "anthropic/claude-opus-4.5", true, false),
    ("google", "Google Gemini", "gemini-3-pro-preview", true, false),
    ("groq", "Groq", "openai/gpt-oss-120b", true, false),
    ("mistral", "Mistral", "mistral-large-latest", true, false),
    ("ollama", "Ollama on this network, without a key", "qwen3", false, true),
    ("custom", "Another server that speaks OpenAI's language", "", false, true),
];

/// What a client shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub step: Step,
    pub kind: Kind,
    pub title: String,
    pub message: String,
    pub initial: Value,
    pub sensitive: bool,
}

impl Question {
    fn of(step: Step, kind: Kind, title: &str, message: impl Into<String>) -> Question {
        Question {
            step,
            kind,
            title: title.to_owned(),
            message: message.into(),
            initial: Value::Null,
            sensitive: false,
        }
    }
    /// The answer of who only presses Enter.
    fn or(self, initial: Value) -> Question {
        Question { initial, ..self }
    }
    /// What is typed is not shown.
    fn secret(self) -> Question {
        Question { sensitive: true, initial: "".into(), ..self }
    }
}

fn select(all: &[(&str, &str)]) -> Kind {
    Kind::Select(all.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect())
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Note,
    Text,
    Confirm,
    /// Values and labels.
    Select(Vec<(String, String)>),
}

/// What must be done now, by whoever drives the wizard; then [`Wizard::worked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    TryModel,
    TryTelegram,
    Write,
    Install { linger: bool },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Ask(Box<Question>),
    Work(Work),
    End(String),
}

/// The answers so far. None: not asked, or left as it is.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pub remote: bool,
    /// Whether that was asked.
    pub mode_asked: bool,
    pub remote_url: Option<String>,
    pub remote_token: Option<String>,
    pub port: Option<u16>,
    pub bind: Option<String>,
    pub token: Option<String>,
    /// `skip`, or the id of one that is offered.
    pub provider: String,
    pub base_url: Option<String>,
    pub key: Option<String>,
    pub model: Option<String>,
    pub workspace: Option<String>,
    pub telegram: Option<String>,
    pub service: bool,
    pub linger: bool,
}

pub struct Wizard {
    pub facts: Facts,
    pub answers: Answers,
    at: usize,
    /// Of the steps that are to be asked; all without a section.
    only: Option<&'static [Step]>,
    given: BTreeMap<Step, Value>,
    /// Why the last trial failed.
    failure: Option<String>,
    /// What the work has said.
    said: Vec<String>,
    /// Without it no model and no bot is tried.
    pub tries: bool,
}

impl Wizard {
    /// `given` holds answers that need no question.
    pub fn new(facts: Facts, given: BTreeMap<Step, Value>, only: Option<&'static [Step]>) -> Wizard {
        let remote = facts.document.pointer("/gateway/mode").is_some_and(|it| it == "remote");
        let answers = Answers { provider: "skip".into(), remote, ..Answers::default() };
        Wizard { facts, answers, at: 0, only, given, failure: None, said: vec![], tries: true }
    }

    /// What comes now. The same until it is answered, or done.
    ///
    /// # Errors
    /// An answer that was given beforehand and is none.
    pub fn now_comes(&mut self) -> Result<Next, String> {
        loop {
            let step = ORDER[self.at];
            if !self.applies(step) {
                self.at += 1;
                continue;
            }
            if let Some(value) = self.given.remove(&step) {
                self.answer(&value)?;
                continue;
            }
            return Ok(match step {
                TryModel => Next::Work(Work::TryModel),
                TryTelegram => Next::Work(Work::TryTelegram),
                Write => Next::Work(Work::Write),
                Install => Next::Work(Work::Install { linger: self.answers.linger }),
                End => Next::End(self.end()),
                step => Next::Ask(Box::new(self.question(step))),
            });
        }
    }

    fn applies(&self, step: Step) -> bool {
        let (local, answers) = (!self.answers.remote, &self.answers);
        let provider = provider(&answers.provider);
        let wanted = self.only.is_none_or(|it| it.contains(&step));
        match step {
            Write | End => true,
            Welcome | Risk => self.only.is_none(),
            _ if !wanted => false,
            Mode => true,
            RemoteUrl | RemoteToken => !local,
            Port | Bind | Token | Provider | Workspace | Telegram => local,
            BaseUrl => provider.is_some_and(|it| it.4),
            Key => provider.is_some_and(|it| it.3 || it.0 == "custom"),
            Model => provider.is_some_and(|it| it.0 != "skip"),
            TryModel => self.tries && answers.model.is_some(),
            TryTelegram => self.tries && answers.telegram.is_some(),
            KeepModel | KeepTelegram => self.failure.is_some(),
            Service => local && self.facts.can_install,
            Linger => answers.service && !self.facts.lingers,
            Install => answers.service,
        }
    }

    /// Whether the steps that are asked are about the gateway's secret.
    fn makes_token(&self) -> bool {
        !self.answers.remote && self.only.is_none_or(|it| it.contains(&Token))
    }

    fn now(&self, path: &str) -> Option<&Value> {
        self.facts.document.pointer(path)
    }

    fn question(&self, step: Step) -> Question {
        match step {
            Mode | RemoteUrl | RemoteToken | Port | Bind | Token => self.about_the_gateway(step),
            Provider | BaseUrl | Key | Model | KeepModel => self.about_the_model(step),
            Risk => Question::of(step, Kind::Confirm, "Security", RISK).or(json!(false)),
            Workspace => Question::of(step, Kind::Text, "Agent", "Folder that the agent works in")
                .or(json!(self.workspace())),
            Telegram => Question::of(
                step,
                Kind::Text,
                "Telegram",
                "Token of your bot, from @BotFather; empty for none",
            )
            .secret(),
            KeepTelegram => {
                let text = format!("It does not work: {}. Keep it all the same?", self.failure());
                Question::of(step, Kind::Confirm, "Telegram", text).or(json!(false))
            }
            Service => Question::of(
                step,
                Kind::Confirm,
                "Service",
                "Install the gateway as a service, and start it?",
            )
            .or(json!(true)),
            Linger => {
                let text = "Start it at boot, also when nobody logs in (loginctl enable-linger)?";
                Question::of(step, Kind::Confirm, "Service", text).or(json!(true))
            }
            // The rest asks nothing.
            Welcome | TryModel | TryTelegram | Write | Install | End => {
                Question::of(step, Kind::Note, "OpenClaw onboarding", "")
            }
        }
    }

    fn about_the_gateway(&self, step: Step) -> Question {
        let word = |path: &str| self.now(path).and_then(Value::as_str).unwrap_or_default();
        let ask = |kind, text: &str| Question::of(step, kind, "Gateway", text);
        match step {
            Mode => {
                let all = select(&[("local", "On this machine"), ("remote", "On another machine")]);
                let initial = if self.answers.remote { "remote" } else { "local" };
                ask(all, "Where does the gateway run?").or(json!(initial))
            }
            RemoteUrl => ask(Kind::Text, "Its address, ws:// or wss://HOST:PORT")
                .or(json!(word("/gateway/remote/url"))),
            RemoteToken => ask(Kind::Text, "Its token; empty leaves what is set").secret(),
            Port => ask(Kind::Text, "Port").or(json!(self.port())),
            Bind => {
                let all = [
                    ("loopback", "Programs on this machine"),
                    ("lan", "Your network too"),
                    ("tailnet", "Your tailnet (Tailscale)"),
                ];
                let old = Some(word("/gateway/bind")).filter(|old| all.iter().any(|it| it.0 == *old));
                ask(select(&all), "Who can reach the port?").or(json!(old.unwrap_or("loopback")))
            }
            _ if self.has_secret() => ask(Kind::Text, "Token; empty leaves what is set").secret(),
            _ => ask(Kind::Text, "Token; empty makes one").secret(),
        }
    }

    fn about_the_model(&self, step: Step) -> Question {
        let ask = |kind, text: &str| Question::of(step, kind, "Model", text);
        let name = &*self.answers.provider;
        match step {
            Provider => {
                let all: Vec<(&str, &str)> = PROVIDERS.iter().map(|it| (it.0, it.1)).collect();
                let known = self.facts.keys_known.iter().find(|it| provider(it).is_some());
                ask(select(&all), "Whose model answers?").or(json!(known.copied().unwrap_or("skip")))
            }
            BaseUrl if name == "ollama" => {
                ask(Kind::Text, "Address of the server").or(json!("http://127.0.0.1:11434"))
            }
            BaseUrl => ask(Kind::Text, "Address of the server").or(json!("http://127.0.0.1:8080/v1")),
            Key if self.facts.keys_known.contains(&name) => {
                ask(Kind::Text, "API key; empty uses the one of the environment").secret()
            }
            Key => ask(Kind::Text, "API key").secret(),
            Model => ask(Kind::Text, "Model").or(json!(provider(name).map_or("", |it| it.2))),
            _ => {
                let text = format!("It did not answer: {}. Keep it all the same?", self.failure());
                ask(Kind::Confirm, &text).or(json!(false))
            }
        }
    }

    fn failure(&self) -> &str {
        self.failure.as_deref().unwrap_or_default()
    }

    fn port(&self) -> u64 {
        self.now("/gateway/port").and_then(Value::as_u64).unwrap_or(self.facts.port.into())
    }
    fn workspace(&self) -> String {
        let own = self.now("/agents/defaults/workspace").and_then(Value::as_str);
        own.unwrap_or(&self.facts.workspace).to_owned()
    }
    fn has_secret(&self) -> bool {
        ["/gateway/auth/token", "/gateway/auth/password"]
            .iter()
            .any(|it| self.now(it).is_some_and(Value::is_string))
    }

    /// Takes the answer to the step that is asked, and goes on.
    ///
    /// # Errors
    /// A sentence; the step stays.
    pub fn answer(&mut self, value: &Value) -> Result<(), String> {
        let step = ORDER[self.at];
        let text = || match value {
            Value::String(it) => Ok(it.trim().to_owned()),
            Value::Number(it) => Ok(it.to_string()),
            Value::Null => Ok(String::new()),
            _ => Err("expected text".to_owned()),
        };
        let some = || text().map(|it| Some(it).filter(|it| !it.is_empty()));
        let yes = || value.as_bool().ok_or_else(|| "expected true or false".to_owned());
        match step {
            Welcome => {}
            Risk if !yes()? => {
                return Err("Nothing is set up without that: an agent acts on this machine.".to_owned());
            }
            Risk => {}
            Mode => {
                self.answers.remote = one_of(&text()?, &["local", "remote"])? == "remote";
                self.answers.mode_asked = true;
            }
            RemoteUrl => {
                let url = text()?;
                if !["ws://", "wss://"].iter().any(|it| url.len() > it.len() && url.starts_with(it)) {
                    return Err(format!("{url:?} is not of the form ws://HOST:PORT"));
                }
                self.answers.remote_url = Some(url);
            }
            RemoteToken => self.answers.remote_token = some()?,
            Port => {
                let port: u16 =
                    text()?.parse().ok().filter(|it| *it > 0).ok_or("expected a port, 1 to 65535")?;
                self.answers.port = Some(port).filter(|it| u64::from(*it) != self.port());
            }
            Bind => {
                let bind = text()?;
                let bind = one_of(&bind, &["loopback", "lan", "tailnet", "auto", "custom"])?;
                let old = self.now("/gateway/bind").and_then(Value::as_str).unwrap_or("loopback");
                self.answers.bind = Some(bind.to_owned()).filter(|it| it != old);
            }
            Token => self.answers.token = some()?,
            Provider => {
                let name = text()?;
                provider(&name).ok_or_else(|| format!("{name:?} is none of them"))?;
                self.answers.provider = name;
            }
            BaseUrl => {
                let url = text()?;
                if !["http://", "https://"].iter().any(|it| url.len() > it.len() && url.starts_with(it)) {
                    return Err(format!("{url:?} is not of the form https://host/path"));
                }
                self.answers.base_url = Some(url);
            }
            Key => {
                self.answers.key = some()?;
                let needed = provider(&self.answers.provider).is_some_and(|it| it.3);
                if needed
                    && self.answers.key.is_none()
                    && !self.facts.keys_known.contains(&&*self.answers.provider)
                {
                    return Err("a key is needed".to_owned());
                }
            }
            Model => self.answers.model = Some(some()?.ok_or("a model is needed")?),
            KeepModel => {
                if !yes()? {
                    self.at = ORDER.iter().position(|it| *it == Provider).unwrap_or(0);
                    self.failure = None;
                    self.answers.model = None;
                    return Ok(());
                }
                self.failure = None;
            }
            Workspace => self.answers.workspace = some()?.filter(|it| *it != self.workspace()),
            Telegram => self.answers.telegram = some()?,
            KeepTelegram => {
                if !yes()? {
                    self.answers.telegram = None;
                }
                self.failure = None;
            }
            Service => self.answers.service = yes()?,
            Linger => self.answers.linger = yes()?,
            TryModel | TryTelegram | Write | Install | End => return Err("nothing is asked".to_owned()),
        }
        self.at += 1;
        Ok(())
    }

    /// The work of this step is done, with words for the person, or was in vain.
    ///
    /// # Errors
    /// Why the wizard cannot go on: what could not be written.
    pub fn worked(&mut self, outcome: Result<String, String>) -> Result<(), String> {
        let step = ORDER[self.at];
        match (outcome, step) {
            (Ok(said), _) => {
                self.failure = None;
                self.said.extend(Some(said).filter(|it| !it.is_empty()));
            }
            (Err(why), Write) => return Err(why),
            (Err(why), Install) => self.said.push(format!("The service: {why}")),
            (Err(why), _) => self.failure = Some(why.trim_end_matches('.').to_owned()),
        }
        self.at += 1;
        Ok(())
    }

    fn end(&self) -> String {
        let program = &self.facts.program;
        let next = match (self.answers.remote, self.answers.service) {
            (true, _) => format!("{program} health"),
            (false, true) => format!("{program} dashboard"),
            (false, false) => format!("{program} gateway"),
        };
        let mut lines = self.said.clone();
        lines.push(format!("Next: {next}"));
        lines.join("\n")
    }
}

const RISK: &str = "An agent reads files and runs commands on this machine as you. Whoever can write to it can try to talk it into something: \
                    let in only people whom you trust, and keep secrets out of its folder. Go on?";

fn provider(name: &str) -> Option<&'static (&'static str, &'static str, &'static str, bool, bool)> {
    PROVIDERS.iter().find(|it| it.0 == name)
}

fn one_of<'t>(text: &'t str, all: &[&str]) -> Result<&'t str, String> {
    all.contains(&text).then_some(text).ok_or_else(|| format!("expected one of {}", all.join(", ")))
}

/// Providers whose usual variable is set.
pub fn keys_known(env: &Env) -> Vec<&'static str> {
    let set = |name: &str| env.get(name).is_some_and(|it| !it.trim().is_empty());
    let variable = |provider: &str| match provider {
        "google" => set("GEMINI_API_KEY") || set("GOOGLE_API_KEY"),
        other => set(&format!("{}_API_KEY", other.to_uppercase())),
    };
    PROVIDERS.iter().map(|it| it.0).filter(|it| variable(it)).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
