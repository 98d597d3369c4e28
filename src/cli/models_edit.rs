//! `models set`, `set-image`, `aliases`, `fallbacks` and `image-fallbacks`: the model choices in the configuration file, changed in place.
use super::config::{Trouble, effect, load, refused};
use super::models::{Known, show};
use super::text::{list, words};
use super::{Context, fail, say};
use crate::agent::catalog::{Catalog, Choice};
use crate::agent::model::ModelRef;
use crate::config::File;
use crate::config::place::Place;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Where the choice of a model stands: `{primary, fallbacks}`.
const MODEL: &str = "agents.defaults.model";
const IMAGE_MODEL: &str = "agents.defaults.imageModel";
/// Which models sessions may choose, and their aliases.
const LISTED: &str = "agents.defaults.models";

/// choose the default model
#[derive(FromArgs)]
#[argh(subcommand, name = "set", help_triggers("-h", "--help", "help"))]
pub struct Set {
    /// provider/model, or an alias
    #[argh(positional)]
    model: String,
}

/// choose the model for images
#[derive(FromArgs)]
#[argh(subcommand, name = "set-image", help_triggers("-h", "--help", "help"))]
pub struct SetImage {
    /// provider/model, or an alias
    #[argh(positional)]
    model: String,
}

/// short names of models
#[derive(FromArgs)]
#[argh(subcommand, name = "aliases", help_triggers("-h", "--help", "help"))]
pub struct Aliases {
    #[argh(subcommand)]
    command: AliasCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum AliasCommand {
    List(List),
    Add(AddAlias),
    Remove(RemoveAlias),
}

/// give a model a short name
#[derive(FromArgs)]
#[argh(subcommand, name = "add", help_triggers("-h", "--help", "help"))]
struct AddAlias {
    /// letters, digits, `.`, `_`, `:` and `-`
    #[argh(positional)]
    alias: String,
    /// provider/model
    #[argh(positional)]
    model: String,
}

/// take a short name away
#[derive(FromArgs)]
#[argh(subcommand, name = "remove", help_triggers("-h", "--help", "help"))]
struct RemoveAlias {
    /// the short name
    #[argh(positional)]
    alias: String,
}

/// models to ask when the default one fails
#[derive(FromArgs)]
#[argh(subcommand, name = "fallbacks", help_triggers("-h", "--help", "help"))]
pub struct Fallbacks {
    #[argh(subcommand)]
    command: FallbackCommand,
}

/// models to ask when the one for images fails
#[derive(FromArgs)]
#[argh(subcommand, name = "image-fallbacks", help_triggers("-h", "--help", "help"))]
pub struct ImageFallbacks {
    #[argh(subcommand)]
    command: FallbackCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum FallbackCommand {
    List(List),
    Add(AddFallback),
    Remove(RemoveFallback),
    Clear(Clear),
}

/// print them
#[derive(FromArgs)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// print names alone
    #[argh(switch)]
    plain: bool,
}

/// add one behind the others
#[derive(FromArgs)]
#[argh(subcommand, name = "add", help_triggers("-h", "--help", "help"))]
struct AddFallback {
    /// provider/model, or an alias
    #[argh(positional)]
    model: String,
}

/// take one away
#[derive(FromArgs)]
#[argh(subcommand, name = "remove", help_triggers("-h", "--help", "help"))]
struct RemoveFallback {
    /// provider/model, or an alias
    #[argh(positional)]
    model: String,
}

/// take all away
#[derive(FromArgs)]
#[argh(subcommand, name = "clear", help_triggers("-h", "--help", "help"))]
struct Clear {}

/// What a command came to: said when it is written.
type Done = Result<ExitCode, Trouble>;

impl Set {
    pub fn run(&self, context: &Context) -> Done {
        let mut edit = Edit::start(context)?;
        let model = edit.choose(MODEL, &self.model)?;
        let agents = &edit.file.config.agents;
        let own = agents.list.iter().filter(|it| edit.catalog.has_own_model(&it.id));
        let own: Vec<String> = own.map(|it| it.id.clone()).collect();
        let done = edit.write(MODEL, &format!("The default model is {model}."))?;
        warn_about(context, &model);
        if !own.is_empty() {
            fail(&format!("Note: with models of their own in agents.list: {}.", own.join(", ")), 0);
        }
        Ok(done)
    }
}

impl SetImage {
    pub fn run(&self, context: &Context) -> Done {
        let mut edit = Edit::start(context)?;
        let model = edit.choose(IMAGE_MODEL, &self.model)?;
        let done = edit.write(IMAGE_MODEL, &format!("The model for images is {model}."))?;
        warn_about(context, &model);
        Ok(done)
    }
}

impl Aliases {
    pub fn run(&self, context: &Context) -> Done {
        match &self.command {
            AliasCommand::List(it) => it.aliases(context),
            AliasCommand::Add(it) => it.run(context),
            AliasCommand::Remove(it) => it.run(context),
        }
    }
}

impl Fallbacks {
    pub fn run(&self, context: &Context) -> Done {
        self.command.run(context, MODEL)
    }
}

impl ImageFallbacks {
    pub fn run(&self, context: &Context) -> Done {
        self.command.run(context, IMAGE_MODEL)
    }
}

impl List {
    fn aliases(&self, context: &Context) -> Done {
        let known = Known::load(context, None)?;
        let all = known.listed().filter_map(|(name, alias)| Some((alias?, known.named(name).key())));
        let answer: Value = json!({ "aliases": all.collect::<std::collections::BTreeMap<_, _>>() });
        let lines = |it: &Value, between: &str| {
            let all = it["aliases"].as_object().into_iter().flatten();
            let lines: Vec<String> =
                all.map(|(alias, key)| format!("{alias}{between}{}", key.as_str().unwrap_or("-"))).collect();
            lines.join("\n")
        };
        let text = |it: &Value| match lines(it, " = ") {
            none if none.is_empty() => "No model has a short name.".to_owned(),
            all => all,
        };
        show(&answer, (self.json, self.plain), |it| lines(it, " "), text)
    }
    fn fallbacks(&self, context: &Context, section: &str) -> Done {
        let edit = Edit::start(context)?;
        let answer = json!({ "fallbacks": edit.fallbacks(section) });
        let lines = |it: &Value| {
            let all: Vec<&str> = list(it, "fallbacks").iter().filter_map(Value::as_str).collect();
            all.join("\n")
        };
        let text = |it: &Value| match lines(it) {
            none if none.is_empty() => "There are no fallbacks.".to_owned(),
            all => all,
        };
        show(&answer, (self.json, self.plain), lines, text)
    }
}

impl AddAlias {
    fn run(&self, context: &Context) -> Done {
        let alias = self.alias.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        if alias.is_empty() || !alias.chars().all(plain) {
            return Err((format!("{alias:?} is no alias: use letters, digits, `.`, `_`, `:` and `-`"), 2));
        }
        let mut edit = Edit::start(context)?;
        let model = edit.model(&self.model)?;
        let taken = edit.aliased(alias).filter(|name| edit.catalog.find(name).ok().as_ref() != Some(&model));
        if let Some(name) = taken {
            let remove = format!("{} models aliases remove {alias}", context.program());
            return Err((format!("{alias} is {name} already; to change it: {remove}"), 1));
        }
        let first = edit.listed().is_empty();
        let name = edit.listed_as(&model).unwrap_or_else(|| model.to_string());
        edit.set(&format!("{}.alias", listed(&name)), alias.into())?;
        let done = edit.write(LISTED, &format!("{alias} is {model}."))?;
        warn_about(context, &model);
        if first {
            let text = "sessions may now choose only what agents.defaults.models names (and the default model with its fallbacks)";
            fail(&format!("Warning: {text}; add others there, or remove {LISTED} to allow all."), 0);
        }
        Ok(done)
    }
}

impl RemoveAlias {
    fn run(&self, context: &Context) -> Done {
        let mut edit = Edit::start(context)?;
        let alias = self.alias.trim();
        let Some(name) = edit.aliased(alias) else {
            let see = format!("{} models aliases list", context.program());
            return Err((format!("No model is called {alias}; `{see}` tells which there are."), 1));
        };
        Place::parse(&format!("{}.alias", listed(&name))).map_err(|text| (text, 1))?.unset(&mut edit.new);
        edit.write(LISTED, &format!("{alias} is no short name any more; {name} stays."))
    }
}

impl FallbackCommand {
    fn run(&self, context: &Context, section: &str) -> Done {
        if let FallbackCommand::List(it) = self {
            return it.fallbacks(context, section);
        }
        let mut edit = Edit::start(context)?;
        let mut all = edit.fallbacks(section);
        let is = |edit: &Edit<'_>, name: &String, model: &ModelRef| {
            edit.catalog.find(name).is_ok_and(|it| it == *model)
        };
        match self {
            FallbackCommand::Add(it) => {
                let model = edit.model(&it.model)?;
                if !all.iter().any(|name| is(&edit, name, &model)) {
                    all.push(model.to_string());
                    edit.allow(&model)?;
                }
                let done = edit.set_fallbacks(section, all)?;
                warn_about(context, &model);
                return Ok(done);
            }
            FallbackCommand::Remove(it) => {
                let (before, name) = (all.len(), it.model.trim());
                let model = edit.catalog.find(name).ok();
                all.retain(|it| it != name && !model.as_ref().is_some_and(|model| is(&edit, it, model)));
                if all.len() == before {
                    return Err((
                        format!("{name} is no fallback; there are: {}", words(&json!({ "a": all }), "a")),
                        1,
                    ));
                }
            }
            FallbackCommand::Clear(_) => all.clear(),
            FallbackCommand::List(_) => {}
        }
        edit.set_fallbacks(section, all)
    }
}

/// A change of the file in the making.
struct Edit<'c> {
    context: &'c Context,
    file: File,
    catalog: Catalog,
    new: Value,
}

/// The place of a model in the list; names hold dots.
fn listed(name: &str) -> String {
    format!("{LISTED}.{}", Value::from(name))
}

impl Edit<'_> {
    fn start(context: &Context) -> Result<Edit<'_>, Trouble> {
        let file = load(context)?;
        let catalog = Catalog::read(&file.resolved, context.paths.is_dev());
        Ok(Edit { context, new: Value::clone(&file.resolved), file, catalog })
    }
    fn model(&self, name: &str) -> Result<ModelRef, Trouble> {
        self.catalog.find(name).map_err(|err| (err.reason, 1))
    }
    fn section(&self, path: &str) -> &Value {
        Place::parse(path).ok().and_then(|it| it.get(&self.new)).unwrap_or(&Value::Null)
    }
    fn set(&mut self, path: &str, value: Value) -> Result<(), Trouble> {
        Place::parse(path).and_then(|it| it.set(&mut self.new, value)).map_err(|text| (text, 1))
    }
    /// Makes `{primary}` of a choice that is a name alone.
    fn open(&mut self, section: &str) -> Result<(), Trouble> {
        match self.section(section).as_str().map(str::to_owned) {
            Some(name) => self.set(section, json!({ "primary": name })),
            None => Ok(()),
        }
    }
    fn choose(&mut self, section: &str, name: &str) -> Result<ModelRef, Trouble> {
        let model = self.model(name)?;
        self.open(section)?;
        self.set(&format!("{section}.primary"), model.to_string().into())?;
        self.allow(&model)?;
        Ok(model)
    }
    fn fallbacks(&self, section: &str) -> Vec<String> {
        Choice::of(self.section(section)).fallbacks.unwrap_or_default()
    }
    fn set_fallbacks(mut self, section: &str, all: Vec<String>) -> Done {
        let said = match all.is_empty() {
            true => "There are no fallbacks now.".to_owned(),
            false => format!("Fallbacks: {}.", all.join(", ")),
        };
        if all != self.fallbacks(section) {
            self.open(section)?;
            self.set(&format!("{section}.fallbacks"), all.into())?;
        }
        self.write(section, &said)
    }
    /// The names in [`LISTED`].
    fn listed(&self) -> Vec<String> {
        self.section(LISTED).as_object().into_iter().flatten().map(|it| it.0.clone()).collect()
    }
    /// How a model is written there.
    fn listed_as(&self, model: &ModelRef) -> Option<String> {
        self.listed().into_iter().find(|it| self.catalog.find(it).is_ok_and(|it| it == *model))
    }
    /// The name there that has an alias.
    fn aliased(&self, alias: &str) -> Option<String> {
        let is = |it: &Value| it["alias"].as_str().is_some_and(|it| it.trim().eq_ignore_ascii_case(alias));
        self.section(LISTED).as_object()?.iter().find(|it| is(it.1)).map(|it| it.0.clone())
    }
    /// Adds a model to the list, unless there is none: every model is allowed then, and stays so.
    fn allow(&mut self, model: &ModelRef) -> Result<(), Trouble> {
        if self.listed().is_empty() || self.listed_as(model).is_some() {
            return Ok(());
        }
        self.set(&listed(&model.to_string()), json!({}))
    }
    fn write(self, place: &str, said: &str) -> Done {
        let written = self.context.write_config(&self.file, &self.new, "models", false);
        let written = written.map_err(|err| refused(&err, self.context))?;
        if written.changed.is_empty() {
            return Ok(say(&format!("{said} It was so already; nothing was written.")));
        }
        let place = Place::parse(place).expect("one of the places above");
        Ok(say(&format!("{said} {}", effect(&place, &written.file))))
    }
}

/// A model that was chosen and cannot be asked yet.
fn warn_about(context: &Context, model: &ModelRef) {
    let Ok(known) = Known::load(context, None) else { return };
    if let Some(why) = known.problem(&known.named(&model.to_string())) {
        fail(&format!("Warning: {model} cannot be asked yet: {why}"), 0);
    }
    let described = &known.world.config.config.models;
    let mut of_provider =
        described.iter().filter(|it| it.provider.to_lowercase() == model.provider).peekable();
    if of_provider.peek().is_some() && of_provider.all(|it| it.id != model.model) {
        let list = format!("models.providers.{}.models", model.provider);
        fail(&format!("Note: {list} does not describe {}; it is asked for by that name.", model.model), 0);
    }
}
