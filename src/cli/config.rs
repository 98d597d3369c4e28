//! `config`: the configuration file, read, explained and changed in place; needs no gateway.
use super::{Context, EXIT_CONFIG, fail, say};
use crate::base::clock::Clock;
use crate::config::change::{self, Class};
use crate::config::merge::{self, REDACTED};
use crate::config::origin::{self, Origin};
use crate::config::place::Place;
use crate::config::write::{Change, WriteError, Written};
use crate::config::{File, Issue, json5, keys, schema};
use crate::gateway::reload::CHANNELS;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// the configuration file
#[derive(FromArgs)]
#[argh(subcommand, name = "config", help_triggers("-h", "--help", "help"))]
pub struct Config {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    File(FilePath),
    Get(Get),
    Set(Set),
    Unset(Unset),
    Validate(Validate),
    Schema(Schema),
    Explain(Explain),
}

/// print the path of the file
#[derive(FromArgs)]
#[argh(subcommand, name = "file", help_triggers("-h", "--help", "help"))]
struct FilePath {}

/// print a value; secrets are masked
#[derive(FromArgs)]
#[argh(subcommand, name = "get", help_triggers("-h", "--help", "help"))]
struct Get {
    /// such as gateway.port or `agents.list[0].id`
    #[argh(positional)]
    path: String,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// print secrets too
    #[argh(switch)]
    reveal: bool,
}

/// set a value; comments and everything else stay as they are
#[derive(FromArgs)]
#[argh(subcommand, name = "set", help_triggers("-h", "--help", "help"))]
struct Set {
    /// such as gateway.port or `agents.list[0].id`
    #[argh(positional)]
    path: String,
    /// JSON5, else taken as text; behind `--` when it begins with a dash
    #[argh(positional)]
    value: String,
    /// the value must be JSON5
    #[argh(switch)]
    json: bool,
    /// the value is text, whatever it looks like
    #[argh(switch)]
    string: bool,
    /// even when more than half of the file goes
    #[argh(switch)]
    force: bool,
}

/// remove a value
#[derive(FromArgs)]
#[argh(subcommand, name = "unset", help_triggers("-h", "--help", "help"))]
struct Unset {
    /// such as gateway.port or `agents.list[0]`
    #[argh(positional)]
    path: String,
    /// even when more than half of the file goes
    #[argh(switch)]
    force: bool,
}

/// check the file; exit 78 when it cannot be used
#[derive(FromArgs)]
#[argh(subcommand, name = "validate", help_triggers("-h", "--help", "help"))]
struct Validate {
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// unknown keys are mistakes too
    #[argh(switch)]
    strict: bool,
}

/// print the JSON Schema of the file
#[derive(FromArgs)]
#[argh(subcommand, name = "schema", help_triggers("-h", "--help", "help"))]
struct Schema {
    /// with labels and hints, as the gateway's config.schema answers
    #[argh(switch)]
    hints: bool,
}

/// what a key is, where its value comes from, and what a change would do
#[derive(FromArgs)]
#[argh(subcommand, name = "explain", help_triggers("-h", "--help", "help"))]
struct Explain {
    /// such as gateway.port or `agents.list[0].id`
    #[argh(positional)]
    path: String,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Config {
    pub fn run(&self, context: &Context) -> ExitCode {
        let done = match &self.command {
            Command::File(_) => Ok(say(&context.paths.config.display().to_string())),
            Command::Get(it) => it.run(context),
            Command::Set(it) => it.run(context),
            Command::Unset(it) => it.run(context),
            Command::Validate(it) => Ok(it.run(context)),
            Command::Schema(it) => Ok(it.run()),
            Command::Explain(it) => it.run(context),
        };
        done.unwrap_or_else(|(text, status)| fail(&text, status))
    }
}

/// What to say on stderr, and the exit status.
pub type Trouble = (String, u8);

fn place(text: &str) -> Result<Place, Trouble> {
    Place::parse(text).map_err(|text| (text, 2))
}

/// The file, for reading: what is wrong with it is no obstacle, unless it cannot be read at all.
///
/// # Errors
/// A file that cannot be read or parsed.
pub fn load(context: &Context) -> Result<File, Trouble> {
    let file = File::load(&context.paths, &context.env);
    let unreadable = file.issues.iter().find(|it| it.path.is_empty());
    match unreadable {
        Some(it) => Err((format!("{}: {it}", context.paths.config.display()), EXIT_CONFIG)),
        None => Ok(file),
    }
}

impl Context {
    /// Makes the file mean `new`; `what` is the command, for the audit log.
    ///
    /// # Errors
    /// As [`Change::write`].
    pub fn write_config(
        &self,
        base: &File,
        new: &Value,
        what: &str,
        force: bool,
    ) -> Result<Written, WriteError> {
        let user = self.env.get("SUDO_USER").or_else(|| self.env.get("USER")).unwrap_or("unknown");
        let who = format!("cli {what}, user {user}");
        let unix_ms = Clock::start().now().unix_ms;
        Change { paths: &self.paths, env: &self.env, base, who: &who, unix_ms, force, authored: None }
            .write(new)
    }
}

pub fn refused(err: &WriteError, context: &Context) -> Trouble {
    let status = if matches!(err, WriteError::File(_) | WriteError::Busy | WriteError::Changed) {
        1
    } else {
        EXIT_CONFIG
    };
    (format!("{} was not changed:\n{err}", context.paths.config.display()), status)
}

impl Get {
    fn run(&self, context: &Context) -> Result<ExitCode, Trouble> {
        let (place, file) = (place(&self.path)?, load(context)?);
        let value = place.get(&file.resolved).ok_or_else(|| {
            let hint = format!("`{} config explain {place}` tells what is used then", context.program());
            (format!("{place} is not set in {}; {hint}", context.paths.config.display()), 1)
        })?;
        let shown = if self.reveal { value.clone() } else { masked(&place, value, &file) };
        if shown == REDACTED && !self.json {
            say(REDACTED);
            return Ok(fail("It is a secret: add --reveal to see it.", 0));
        }
        Ok(say(&if self.json { format!("{shown:#}") } else { plain(&shown) }))
    }
}

/// The value as anybody may see it. A reference in the file says no secret, but what it stands for may.
fn masked(place: &Place, value: &Value, file: &File) -> Value {
    let mut document = Value::clone(&file.resolved);
    // A value that comes from elsewhere than the file is hidden by the same rule.
    if place.set(&mut document, value.clone()).is_err() {
        return REDACTED.into();
    }
    let document = merge::mask(&document);
    place.get(&document).cloned().unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("{value:#}"), str::to_owned)
}

impl Set {
    fn run(&self, context: &Context) -> Result<ExitCode, Trouble> {
        let (place, file) = (place(&self.path)?, load(context)?);
        let value = self.value()?;
        let mut new = Value::clone(&file.resolved);
        place.set(&mut new, value).map_err(|text| (text, 2))?;
        let written = context.write_config(&file, &new, "config set", self.force);
        let written = written.map_err(|err| refused(&err, context))?;
        if written.changed.is_empty() {
            return Ok(say(&format!("{place} is so already; nothing was written.")));
        }
        warn_about(&written.file, &place);
        Ok(say(&format!("Set {place}. {}", effect(&place, &written.file))))
    }
    fn value(&self) -> Result<Value, Trouble> {
        if self.string && self.json {
            return Err(("--json and --string exclude each other".to_owned(), 2));
        }
        let text = || Value::from(self.value.as_str());
        match json5::parse(&self.value) {
            _ if self.string => Ok(text()),
            Ok(document) => Ok(document.value()),
            Err(err) if self.json => Err((format!("the value is no JSON5: {err}"), 2)),
            Err(_) => Ok(text()),
        }
    }
}

/// A key that nobody knows is written, with a word about it.
fn warn_about(file: &File, place: &Place) {
    let path = place.names().join(".");
    for it in file.warnings.iter().filter(|it| it.path.starts_with(&path) || path.starts_with(&it.path)) {
        fail(&format!("Warning: {it}"), 0);
    }
}

impl Unset {
    fn run(&self, context: &Context) -> Result<ExitCode, Trouble> {
        let (place, file) = (place(&self.path)?, load(context)?);
        let mut new = Value::clone(&file.resolved);
        if place.unset(&mut new).is_none() {
            return Ok(say(&format!("{place} is not set; nothing was written.")));
        }
        let written = context.write_config(&file, &new, "config unset", self.force);
        let written = written.map_err(|err| refused(&err, context))?;
        Ok(say(&format!("Removed {place}. {}", effect(&place, &written.file))))
    }
}

/// The class of a change, in a word and in a sentence.
fn class(place: &Place) -> (&'static str, String) {
    let names = place.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match change::explain(&names, CHANNELS) {
        _ if keys::describe(&place.names()).is_none() => {
            ("none", "The gateway does not know this key, so nothing comes of it.".to_owned())
        }
        Class::None => ("none", "It is read when it is needed: nothing has to start anew.".to_owned()),
        Class::Hot(part) => ("hot", format!("A running gateway applies it in place ({part:?}).")),
        Class::Channel(name) => ("channel", format!("A running gateway starts the channel {name} anew.")),
        Class::Restart => ("restart", "A running gateway has to restart for it.".to_owned()),
    }
}

/// What a running gateway makes of it, also by `gateway.reload.mode`.
pub fn effect(place: &Place, file: &File) -> String {
    let mode = file.resolved["gateway"]["reload"]["mode"].as_str().unwrap_or("hybrid");
    match (class(place), mode) {
        (_, "off") => {
            "gateway.reload.mode is off: a running gateway sees it when it is started anew.".to_owned()
        }
        (("restart", _), "hot") => {
            "gateway.reload.mode is hot: a running gateway ignores it until it is started anew.".to_owned()
        }
        ((_, sentence), _) => sentence,
    }
}

impl Validate {
    fn run(&self, context: &Context) -> ExitCode {
        let file = File::load(&context.paths, &context.env);
        let path = context.paths.config.display();
        let good = file.valid() && (!self.strict || file.warnings.is_empty());
        let status = if good { 0 } else { EXIT_CONFIG };
        if self.json {
            let list = |it: &[Issue]| it.iter().map(issue).collect::<Vec<_>>();
            let answer = json!({
                "path": context.paths.config, "exists": file.exists(), "valid": good,
                "issues": list(&file.issues), "warnings": list(&file.warnings),
            });
            say(&format!("{answer:#}"));
            return ExitCode::from(status);
        }
        for it in &file.warnings {
            fail(&format!("Warning: {path}: {it}"), 0);
        }
        for it in &file.issues {
            fail(&format!("Error: {path}: {it}"), 0);
        }
        match good {
            true if file.exists() => say(&format!("{path} is valid.")),
            true => say(&format!("{path} does not exist; `{} setup` makes it.", context.program())),
            false => ExitCode::from(status),
        }
    }
}

fn issue(it: &Issue) -> Value {
    json!({ "path": it.path, "message": it.message, "line": it.line, "column": it.column })
}

impl Schema {
    fn run(&self) -> ExitCode {
        let all = if self.hints {
            json!(schema::ConfigSchema::new(env!("CARGO_PKG_VERSION"), Clock::start().now().unix_ms))
        } else {
            schema::schema()
        };
        say(&format!("{all:#}"))
    }
}

impl Explain {
    fn run(&self, context: &Context) -> Result<ExitCode, Trouble> {
        let (place, file) = (place(&self.path)?, load(context)?);
        let (value, origin) = origin::of(&place, &file, &context.paths, &context.env);
        let value = value.map(|it| masked(&place, &it, &file));
        let known = keys::describe(&place.names());
        let (class, sentence) = class(&place);
        if self.json {
            let answer = json!({
                "path": place.to_string(), "known": known.is_some(), "value": value, "origin": origin, "change": class,
                "effect": effect(&place, &file), "type": known.as_ref().map(|it| &it.0), "limits": known.as_ref().map(|it| it.1),
            });
            return Ok(say(&format!("{answer:#}")));
        }
        let kind = match known {
            None => "unknown key: it is kept and means nothing to the gateway".to_owned(),
            Some((types, "")) => types,
            Some((types, limits)) => format!("{types} ({limits})"),
        };
        let value = value.map_or_else(|| "-".to_owned(), |it| it.to_string());
        Ok(say(&format!(
            "Key:     {place}\nType:    {kind}\nValue:   {value}\nOrigin:  {}\nChange:  {class}. {sentence}",
            origin_text(&origin)
        )))
    }
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::File { file, line, column, variables } => {
            let refers = if variables.is_empty() {
                String::new()
            } else {
                format!(", by way of ${{{}}}", variables.join("}, ${"))
            };
            format!("{}, line {line}, column {column}{refers}", file.display())
        }
        Origin::Included { files } => {
            let files: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
            format!("included: {}", files.join(", "))
        }
        Origin::Env { variable } => format!("environment variable {variable}"),
        Origin::Default => "default".to_owned(),
        Origin::Unset => "not set, no default".to_owned(),
    }
}
