//! `models`: which models are configured and which keys they have; needs no gateway.
use super::config::Trouble;
use super::models_edit::{Aliases, Fallbacks, ImageFallbacks, Set, SetImage};
use super::models_status::Status;
use super::text::{list, table, thousands, word};
use super::{Context, fail, say};
use crate::agent::TurnError;
use crate::agent::catalog::{Catalog, Choice};
use crate::agent::keys::{Key, Keys, Pick, profiles_path};
use crate::agent::model::ModelRef;
use crate::base::clock::Clock;
use crate::gateway::{World, sessions};
use crate::store;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// models, their keys, and which of them is asked
#[derive(FromArgs)]
#[argh(subcommand, name = "models", help_triggers("-h", "--help", "help"))]
pub struct Models {
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
    Status(Status),
    Set(Set),
    SetImage(SetImage),
    Aliases(Aliases),
    Fallbacks(Fallbacks),
    ImageFallbacks(ImageFallbacks),
}

/// the models that are used, the default one first
#[derive(FromArgs)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// all models that the configuration describes
    #[argh(switch)]
    all: bool,
    /// only those on this machine or network
    #[argh(switch)]
    local: bool,
    /// only those of this provider
    #[argh(option, arg_name = "name")]
    provider: Option<String>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// print names alone
    #[argh(switch)]
    plain: bool,
}

impl Models {
    pub fn run(&self, context: &Context) -> ExitCode {
        let done = match &self.command {
            None => Status::default().run(context),
            Some(Command::List(it)) => it.run(context),
            Some(Command::Status(it)) => it.run(context),
            Some(Command::Set(it)) => it.run(context),
            Some(Command::SetImage(it)) => it.run(context),
            Some(Command::Aliases(it)) => it.run(context),
            Some(Command::Fallbacks(it)) => it.run(context),
            Some(Command::ImageFallbacks(it)) => it.run(context),
        };
        done.unwrap_or_else(|(text, status)| fail(&text, status))
    }
}

/// Prints as JSON, as names alone, or for people.
///
/// # Errors
/// Both flags.
pub fn show(
    answer: &Value,
    (json, plain): (bool, bool),
    names: impl FnOnce(&Value) -> String,
    text: impl FnOnce(&Value) -> String,
) -> Result<ExitCode, Trouble> {
    match (json, plain) {
        (true, true) => Err(("--json and --plain exclude each other".to_owned(), 2)),
        (true, false) => Ok(say(&format!("{answer:#}"))),
        (false, true) => Ok(say(&names(answer))),
        (false, false) => Ok(say(&text(answer))),
    }
}

/// The models of one agent, and the keys to them, as a run would find them.
pub struct Known {
    pub world: World,
    pub keys: Keys,
    /// The content of the agent's profiles file; null when there is none.
    pub profiles: Value,
    pub agent_id: String,
    pub unix_ms: i64,
}

/// A name in the configuration, and what it means.
pub struct Named {
    pub name: String,
    pub model: Result<ModelRef, TurnError>,
}

impl Named {
    /// `provider/model`; the name itself when it means nothing.
    pub fn key(&self) -> String {
        self.model.as_ref().map_or_else(|_| self.name.clone(), ModelRef::to_string)
    }
}

impl Known {
    /// For the default agent, unless another is named.
    ///
    /// # Errors
    /// No such agent.
    pub fn load(context: &Context, agent: Option<&str>) -> Result<Known, Trouble> {
        let world = context.world();
        let ids = sessions::agent_ids(&world);
        let agent_id =
            agent.map_or(world.config.config.agents.default_id().to_owned(), crate::config::normal_id);
        if !ids.contains(&agent_id) {
            return Err((format!("There is no agent {agent_id:?}; there are: {}", ids.join(", ")), 1));
        }
        let profiles = store::read_json(&profiles_path(&context.paths, &agent_id)).unwrap_or_else(|err| {
            fail(&format!("Warning: {err}"), 0);
            None
        });
        let profiles = profiles.unwrap_or_default();
        let unix_ms = Clock::start().now().unix_ms;
        let keys =
            Keys::collect(&world.models.catalog, &world.config.resolved, &profiles, &context.env, unix_ms);
        Ok(Known { world, keys, profiles, agent_id, unix_ms })
    }
    pub fn catalog(&self) -> &Catalog {
        &self.world.models.catalog
    }
    pub fn named(&self, name: &str) -> Named {
        Named { name: name.to_owned(), model: self.catalog().find(name) }
    }
    pub fn default(&self) -> Named {
        match self.catalog().chosen(&self.agent_id).0 {
            Some(name) => self.named(name),
            None => self.named(&self.catalog().unnamed(self.keys.any()).to_string()),
        }
    }
    pub fn fallbacks(&self) -> Vec<Named> {
        self.catalog().chosen(&self.agent_id).1.iter().map(|it| self.named(it)).collect()
    }
    pub fn image(&self) -> (Option<Named>, Vec<Named>) {
        let choice = Choice::of(self.at("/agents/defaults/imageModel"));
        let fallbacks = choice.fallbacks.unwrap_or_default();
        let primary = choice.primary.map(|it| self.named(&it));
        (primary, fallbacks.iter().map(|it| self.named(it)).collect())
    }
    /// `agents.defaults.models`: each name, and its alias if it has one.
    pub fn listed(&self) -> impl Iterator<Item = (&String, Option<&str>)> {
        let all = self.at("/agents/defaults/models").as_object().into_iter().flatten();
        all.map(|(name, it)| (name, it["alias"].as_str().map(str::trim).filter(|it| !it.is_empty())))
    }
    fn at(&self, path: &str) -> &Value {
        self.world.config.resolved.pointer(path).unwrap_or(&Value::Null)
    }
    /// The key that the next call would use; one that rests when all do.
    pub fn key(&self, provider: &str) -> Option<&Key> {
        match self.keys.pick(provider, self.unix_ms) {
            Pick::Use(key) => Some(key),
            Pick::Rest { .. } => self.keys.of(provider).iter().min_by_key(|it| it.rests_until_ms()),
            Pick::None => None,
        }
    }
    /// Why a model cannot be asked; None when it can.
    pub fn problem(&self, it: &Named) -> Option<String> {
        let target = match &it.model {
            Ok(model) => {
                let key = self.key(&model.provider).map(|it| it.secret.clone());
                self.catalog().target(model, key).map(drop)
            }
            Err(err) => Err(err.clone()),
        };
        target.err().map(|it| it.reason)
    }
}

/// A row of `models list`.
struct Row {
    named: Named,
    tags: Vec<String>,
}

/// What is used, in the reference's order and with its tags.
fn used(known: &Known) -> Vec<Row> {
    let (image, image_fallbacks) = known.image();
    let numbered = |all: Vec<Named>, tag: &'static str| {
        all.into_iter().enumerate().map(move |(n, it)| (it, format!("{tag}#{}", n + 1)))
    };
    let all = std::iter::once((known.default(), "default".to_owned()))
        .chain(numbered(known.fallbacks(), "fallback"))
        .chain(image.map(|it| (it, "image".to_owned())))
        .chain(numbered(image_fallbacks, "img-fallback"))
        .chain(known.listed().map(|(name, _)| (known.named(name), "configured".to_owned())));
    let mut rows: Vec<Row> = vec![];
    for (named, tag) in all {
        match rows.iter_mut().find(|it| it.named.key() == named.key()) {
            Some(row) => row.tags.push(tag),
            None => rows.push(Row { named, tags: vec![tag] }),
        }
    }
    for (name, alias) in known.listed().filter_map(|(name, alias)| Some((name, alias?))) {
        let key = known.named(name).key();
        let row = rows.iter_mut().find(|it| it.named.key() == key);
        row.expect("every listed name got a row above").tags.push(format!("alias:{alias}"));
    }
    rows
}

/// What the configuration describes, and what is used and can be asked.
fn all(known: &Known) -> Vec<Row> {
    let mut rows: Vec<Row> = used(known).into_iter().filter(|it| it.named.model.is_ok()).collect();
    for it in &known.world.config.config.models {
        let named = known.named(&format!("{}/{}", it.provider, it.id));
        if !rows.iter().any(|it| it.named.key() == named.key()) {
            rows.push(Row { named, tags: vec![] });
        }
    }
    rows.sort_by_key(|it| it.named.key());
    rows
}

/// Whether an address is of this machine or network: a name in `.local`, or an address that never leaves it.
fn is_local(base_url: &str) -> bool {
    let rest = base_url.split_once("://").map_or(base_url, |it| it.1);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(it) => it.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.to_lowercase();
    let inside = |it: std::net::IpAddr| match it {
        std::net::IpAddr::V4(it) => it.is_loopback() || it.is_unspecified() || it.is_private(),
        std::net::IpAddr::V6(it) => it.is_loopback() || it.is_unspecified() || it.is_unique_local(),
    };
    host == "localhost" || host.ends_with(".local") || host.parse().is_ok_and(inside)
}

impl Row {
    fn json(&self, known: &Known) -> Value {
        let key = self.named.key();
        let Ok(model) = &self.named.model else {
            let tags: Vec<&str> = self.tags.iter().map(String::as_str).chain(["missing"]).collect();
            return json!({
                "key": key, "name": key, "input": "-", "contextWindow": null, "local": null,
                "available": null, "tags": tags, "missing": true,
            });
        };
        let mut described = known.world.config.config.models.iter();
        let is = |id: &str, provider: &str| id == model.model && provider.to_lowercase() == model.provider;
        let described = described.find(|it| is(&it.id, &it.provider));
        let input = described.map(|it| it.input.join("+")).filter(|it| !it.is_empty());
        let base_url = known.catalog().base_url(&model.provider);
        json!({
            "key": key,
            "name": described.map_or(&key, |it| &it.name),
            "input": input.unwrap_or_else(|| "-".to_owned()),
            "contextWindow": described.and_then(|it| it.context_window),
            "local": base_url.is_empty() || is_local(base_url),
            "available": known.problem(&self.named).is_none(),
            "tags": self.tags, "missing": false,
        })
    }
}

impl List {
    fn run(&self, context: &Context) -> Result<ExitCode, Trouble> {
        let known = Known::load(context, None)?;
        let names = |it: &Value| {
            let keys: Vec<&str> = list(it, "models").iter().map(|it| word(it, "key")).collect();
            keys.join("\n")
        };
        show(&self.answer(&known), (self.json, self.plain), names, text)
    }
    fn answer(&self, known: &Known) -> Value {
        let rows = if self.all { all(known) } else { used(known) };
        let provider = self.provider.as_deref().map(|it| it.trim().to_lowercase());
        let of = |it: &Row| it.named.key().split('/').next().map(str::to_lowercase);
        let rows = rows.iter().filter(|it| provider.is_none() || of(it) == provider);
        let rows = rows.map(|it| it.json(known)).filter(|it| !self.local || it["local"] == true);
        let rows: Vec<Value> = rows.collect();
        json!({ "count": rows.len(), "models": rows })
    }
}

fn text(answer: &Value) -> String {
    let yes = |it: &Value| it.as_bool().map_or("-", |it| if it { "yes" } else { "no" }).to_owned();
    let row = |it: &Value| {
        let tags: Vec<&str> = list(it, "tags").iter().filter_map(Value::as_str).collect();
        let context = it["contextWindow"].as_u64().map_or("-".into(), thousands);
        vec![
            word(it, "key").to_owned(),
            word(it, "input").to_owned(),
            context,
            yes(&it["local"]),
            yes(&it["available"]),
            tags.join(", "),
        ]
    };
    let rows: Vec<_> = list(answer, "models").iter().map(row).collect();
    if rows.is_empty() {
        return "No such model is configured.".to_owned();
    }
    table(&["Model", "Input", "Context", "Local", "Ready", "Tags"], &rows)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::base::files;
    use crate::base::testing::TempDir;
    use crate::cli::tests::context;
    use std::path::Path;

    /// A context whose configuration is `text`.
    pub fn configured(home: &Path, text: &str) -> Context {
        let context = context(home);
        files::write_atomic(&context.paths.config, text.as_bytes()).unwrap();
        context
    }
    pub const CONFIG: &str = r#"{
  // mine
  models: { providers: {
    mock: { baseUrl: "http://127.0.0.1:5/v1", apiKey: "key-mock-1", models: [
      { id: "mock-1", name: "Mock One", input: ["text", "image"], contextWindow: 128000 },
      { id: "mock-2", name: "Mock Two", input: ["text"] },
    ] },
  } },
  agents: { defaults: {
    model: { primary: "mock/mock-1", fallbacks: ["mock/mock-2", "openai/gpt-5", "nosuch/x"] },
    models: { "mock/mock-1": { alias: "m1" }, "openai/gpt-5": {} }, // two
    imageModel: { primary: "m1", fallbacks: ["openai/gpt-5"] },
  } },
}
"#;

    fn keys(answer: &Value) -> Vec<String> {
        list(answer, "models").iter().map(|it| format!("{} {}", word(it, "key"), it["tags"])).collect()
    }
    #[test]
    fn rows_are_the_references() {
        let home = TempDir::new();
        let known = Known::load(&configured(home.path(), CONFIG), None).unwrap();
        let answer = |words: &[&str]| List::from_args(&["list"], words).ok().unwrap().answer(&known);
        let used = answer(&[]);
        assert_eq!(
            used["models"][0].to_string(),
            r#"{"key":"mock/mock-1","name":"Mock One","input":"text+image","contextWindow":128000,"local":true,"available":true,"tags":["default","image","configured","alias:m1"],"missing":false}"#
        );
        assert_eq!(
            used["models"][3].to_string(),
            r#"{"key":"nosuch/x","name":"nosuch/x","input":"-","contextWindow":null,"local":null,"available":null,"tags":["fallback#3","missing"],"missing":true}"#
        );
        assert_eq!(
            keys(&used)[1..3],
            [r#"mock/mock-2 ["fallback#1"]"#, r#"openai/gpt-5 ["fallback#2","img-fallback#1","configured"]"#]
        );
        assert_eq!(
            (&used["models"][2]["available"], &used["models"][2]["local"]),
            (&false.into(), &false.into())
        );
        assert_eq!(answer(&["--all"])["count"], 3);
        assert_eq!(answer(&["--all", "--provider", "MOCK"])["count"], 2);
        assert_eq!(answer(&["--local"])["count"], 2);
        let none = answer(&["--provider", "none"]);
        assert_eq!((&none["count"], &*text(&none)), (&0.into(), "No such model is configured."));
        assert!(text(&used).contains("128,000  yes    yes    default, image, configured, alias:m1"));
        assert!(Known::load(&configured(home.path(), CONFIG), Some("ops")).is_err());
    }
    #[test]
    fn addresses_that_stay_here() {
        for url in [
            "http://localhost:1/v1",
            "http://127.9.9.9",
            "http://[::1]:5/v1",
            "http://Box.local",
            "http://10.0.0.1:5",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in ["https://example.org/localhost", "http://8.8.8.8:5", "http://[2001:db8::1]/", ""] {
            assert!(!is_local(url), "{url}");
        }
    }
}
