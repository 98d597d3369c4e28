//! From a message to a command, and the table of all commands. Pure.
//!
//! * A command stands at the beginning of a message. A slash anywhere else is a path, or a manner of speaking.
//! * What is no command is said to the model, unchanged: an unknown word behind the slash, and words behind one that takes none.
//! * `/think high why is that so?` counts for this message alone; so do `/verbose`, `/reasoning` and `/model`.
use super::authority::Who;
use crate::config::Session;
use crate::gateway::freshness;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Help,
    Commands,
    Status,
    WhoAmI,
    /// `list`, `detail`, `json`, or nothing.
    Context(String),
    /// A new conversation that begins with these words, perhaps with the name of a model in front of them.
    New(String),
    /// What is to be remembered above all.
    Compact(String),
    /// Shown, or set for the session.
    Set(Setting, String),
    /// Set for the message behind it.
    Once(Setting, String, String),
    /// The provider whose models are listed.
    Models(String),
    Usage(String),
    Queue(String),
    Send(String),
    Activation(String),
    Elevated,
    Restart,
    /// One that is not offered here, by its name.
    Off(&'static str),
    /// Not as this command is used.
    Misused(&'static Row),
}

/// What a person chooses for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Model,
    Think,
    Verbose,
    Reasoning,
}

/// One command.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// Behind the name.
    pub args: &'static str,
    pub says: &'static str,
    pub who: Who,
    pub group: &'static str,
    takes: Takes,
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.name == other.name
    }
}
impl Eq for Row {}

/// What may stand behind a command.
#[derive(Debug)]
enum Takes {
    /// Nothing.
    Nothing(Command),
    /// One word at most.
    Word(fn(String) -> Command),
    /// One word; what is behind it is a message.
    Setting(Setting),
    /// Any words.
    Words(fn(String) -> Command),
    /// It is looked for elsewhere, and stands here to be told of.
    Elsewhere,
}

const SESSION: &str = "Conversation";
const CHOICES: &str = "Choices";
const ANSWERS: &str = "Answers";
const OWNER: &str = "Owner";
pub const GROUPS: [&str; 4] = [SESSION, CHOICES, ANSWERS, OWNER];

const fn row(
    group: &'static str,
    name: &'static str,
    aliases: &'static [&'static str],
    args: &'static str,
    says: &'static str,
    who: Who,
    takes: Takes,
) -> Row {
    Row { name, aliases, args, says, who, group, takes }
}

pub static ROWS: &[Row] = &[
    row(
        SESSION,
        "new",
        &["reset"],
        "[model] [message]",
        "begin a new conversation",
        Who::Allowed,
        Takes::Elsewhere,
    ),
    row(SESSION, "stop", &[], "", "end what is being answered", Who::Allowed, Takes::Elsewhere),
    row(
        SESSION,
        "compact",
        &[],
        "[what matters]",
        "fold what was said into a summary",
        Who::Allowed,
        Takes::Words(Command::Compact),
    ),
    row(
        CHOICES,
        "model",
        &[],
        "[name|list|default]",
        "show or choose the model",
        Who::Allowed,
        Takes::Setting(Setting::Model),
    ),
    row(CHOICES, "models", &[], "[provider]", "list the models", Who::Allowed, Takes::Word(Command::Models)),
    row(
        CHOICES,
        "think",
        &["t", "thinking"],
        "[level]",
        "how hard the model thinks",
        Who::Allowed,
        Takes::Setting(Setting::Think),
    ),
    row(
        CHOICES,
        "verbose",
        &["v"],
        "[on|full|off]",
        "how much of the tools is shown",
        Who::Allowed,
        Takes::Setting(Setting::Verbose),
    ),
    row(
        CHOICES,
        "reasoning",
        &["reason"],
        "[on|stream|off]",
        "whether thoughts are shown",
        Who::Allowed,
        Takes::Setting(Setting::Reasoning),
    ),
    row(
        CHOICES,
        "elevated",
        &["elev"],
        "",
        "whether commands run unasked",
        Who::Allowed,
        Takes::Words(|_| Command::Elevated),
    ),
    row(
        CHOICES,
        "usage",
        &[],
        "[off|tokens|full|cost]",
        "tokens behind each answer, or what it all cost",
        Who::Allowed,
        Takes::Word(Command::Usage),
    ),
    row(
        CHOICES,
        "queue",
        &[],
        "[followup|steer|interrupt|default]",
        "what becomes of messages while one is answered",
        Who::Allowed,
        Takes::Words(Command::Queue),
    ),
    row(
        CHOICES,
        "send",
        &[],
        "[on|off|inherit]",
        "whether this session answers at all",
        Who::Allowed,
        Takes::Word(Command::Send),
    ),
    row(
        CHOICES,
        "activation",
        &[],
        "[mention|always]",
        "when a group is answered",
        Who::Allowed,
        Takes::Word(Command::Activation),
    ),
    row(
        ANSWERS,
        "status",
        &[],
        "",
        "model, tokens and choices of this session",
        Who::Allowed,
        Takes::Nothing(Command::Status),
    ),
    row(
        ANSWERS,
        "context",
        &[],
        "[list|detail|json]",
        "what the model is told before the conversation",
        Who::Allowed,
        Takes::Word(Command::Context),
    ),
    row(
        ANSWERS,
        "whoami",
        &["id"],
        "",
        "who you are to the gateway",
        Who::Anyone,
        Takes::Nothing(Command::WhoAmI),
    ),
    row(ANSWERS, "help", &[], "", "the commands, in short", Who::Anyone, Takes::Nothing(Command::Help)),
    row(ANSWERS, "commands", &[], "", "every command", Who::Anyone, Takes::Nothing(Command::Commands)),
    row(OWNER, "restart", &[], "", "start the gateway over", Who::Owner, Takes::Nothing(Command::Restart)),
    row(
        OWNER,
        "config",
        &[],
        "",
        "not offered in chat",
        Who::Owner,
        Takes::Words(|_| Command::Off("config")),
    ),
    row(OWNER, "debug", &[], "", "not offered in chat", Who::Owner, Takes::Words(|_| Command::Off("debug"))),
    row(OWNER, "bash", &[], "", "not offered in chat", Who::Owner, Takes::Words(|_| Command::Off("bash"))),
];

/// The command that a message is, with its row; None for what is said to the model.
pub fn parse(text: &str, session: &Session) -> Option<(Command, &'static Row)> {
    let text = text.trim();
    if let Some(words) = freshness::trigger(text, session) {
        return Some((Command::New(words.to_owned()), &ROWS[0]));
    }
    let (name, rest) = named(text)?;
    let row = ROWS.iter().find(|it| it.name == name || it.aliases.contains(&name.as_str()))?;
    Some((row.read(rest)?, row))
}

/// `/name rest` or `/name: rest`; the name in lower case.
fn named(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('/')?;
    let end = text.find(|c: char| c.is_whitespace() || c == ':').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    Some((name.to_lowercase(), rest.strip_prefix(':').unwrap_or(rest).trim()))
}

fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

impl Row {
    fn read(&'static self, rest: &str) -> Option<Command> {
        let (word, words) = first_word(rest);
        match &self.takes {
            Takes::Nothing(command) => rest.is_empty().then(|| command.clone()),
            Takes::Word(_) if !words.is_empty() => Some(Command::Misused(self)),
            Takes::Word(of) => Some(of(word.to_lowercase())),
            Takes::Words(of) => Some(of(rest.to_owned())),
            Takes::Setting(setting) if words.is_empty() => Some(Command::Set(*setting, word.to_owned())),
            Takes::Setting(setting) => Some(Command::Once(*setting, word.to_owned(), words.to_owned())),
            Takes::Elsewhere => None,
        }
    }
    /// `/think [level]`.
    pub fn usage(&self) -> String {
        format!("/{} {}", self.name, self.args).trim_end().to_owned()
    }
}
