//! Which models there are and how each is reached: `models.providers` over the entries that everybody needs, `agents.defaults.model(s)`,
//! `agents.list[].model`.
//!
//! Names are `provider/model`, an alias, or a model alone when one provider lists it.
use super::conversation::Price;
use super::error::{ErrorKind, TurnError};
use super::known::{KNOWN, Known, thinks};
use super::model::ModelRef;
use super::providers::{Api, Target};
use crate::base::secret::Secret;
use crate::config::normal_id;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked when nothing is configured. Reference.
const DEFAULT: (&str, &str) = ("anthropic", "claude-opus-4-5");
/// The context window of a model that nobody describes. Reference.
pub const CONTEXT_TOKENS_DEFAULT: u64 = 200_000;
/// What is asked in the dev profile while there is no key at all.
const PARROT: (&str, &str) = ("builtin", "parrot");

#[derive(Debug)]
pub struct Catalog {
    providers: BTreeMap<String, Provider>,
    /// Lower case.
    aliases: BTreeMap<String, ModelRef>,
    /// `agents.defaults.models`; empty allows all.
    allowed: BTreeSet<ModelRef>,
    params: BTreeMap<ModelRef, Params>,
    defaults: Choice,
    agents: BTreeMap<String, Choice>,
    dev: bool,
}

#[derive(Debug)]
struct Provider {
    /// Or the word that is not known.
    api: Result<Api, String>,
    base_url: String,
    key: Option<Secret>,
    env: &'static [&'static str],
    bearer: bool,
    headers: Vec<(String, String)>,
    models: Vec<Entry>,
}

/// A model that the configuration describes.
#[derive(Debug)]
struct Entry {
    id: String,
    api: Option<Result<Api, String>>,
    reasoning: bool,
    context_window: Option<u64>,
    max_tokens: Option<u64>,
    headers: Vec<(String, String)>,
    compat: Value,
    price: Price,
    images: bool,
}

#[derive(Debug, Default, Clone)]
pub struct Choice {
    pub primary: Option<String>,
    /// None: those of the defaults.
    pub fallbacks: Option<Vec<String>>,
}

/// `agents.defaults.models.*.params` that a request knows.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Params {
    pub temperature: Option<f64>,
    pub max_tokens: Option<u64>,
}

impl Catalog {
    /// Reads the resolved configuration (references replaced, already validated: what does not fit is skipped).
    pub fn read(root: &Value, dev: bool) -> Catalog {
        let at = |path: &str| root.pointer(path).unwrap_or(&Value::Null);
        let mut providers: BTreeMap<String, Provider> =
            KNOWN.iter().map(|it| (it.0.to_owned(), Provider::known(it))).collect();
        for (name, section) in entries(at("/models/providers")) {
            let name = name.trim().to_lowercase();
            let provider = providers.entry(name).or_insert_with(Provider::unknown);
            provider.overlay(section);
        }
        let mut catalog = Catalog {
            providers,
            aliases: BTreeMap::new(),
            allowed: BTreeSet::new(),
            params: BTreeMap::new(),
            defaults: Choice::of(at("/agents/defaults/model")),
            agents: BTreeMap::new(),
            dev,
        };
        for agent in at("/agents/list").as_array().into_iter().flatten() {
            let id = agent.get("id").and_then(Value::as_str).map(normal_id);
            catalog.agents.extend(id.map(|id| (id, Choice::of(&agent["model"]))));
        }
        for (name, section) in entries(at("/agents/defaults/models")) {
            let Some(model) = parse(name) else { continue };
            let alias = section.get("alias").and_then(Value::as_str).map(|it| it.trim().to_lowercase());
            catalog.aliases.extend(alias.filter(|it| !it.is_empty()).map(|it| (it, model.clone())));
            let params = Params {
                temperature: section.pointer("/params/temperature").and_then(Value::as_f64),
                max_tokens: section.pointer("/params/maxTokens").and_then(Value::as_u64),
            };
            catalog.params.insert(model.clone(), params);
            catalog.allowed.insert(model);
        }
        catalog
    }
    /// The models a run of that agent tries, the first one first. `wanted` is what the person or the session asked for.
    ///
    /// # Errors
    /// A name that means nothing, or a model that is not allowed.
    pub fn choose(
        &self,
        agent_id: &str,
        wanted: Option<&str>,
        any_key: bool,
    ) -> Result<Vec<ModelRef>, TurnError> {
        let (primary, fallbacks) = self.chosen(agent_id);
        let first = match (wanted, primary) {
            (Some(name), _) => {
                let model = self.find(name)?;
                if !self.allows(agent_id, &model) {
                    return Err(unknown(format!(
                        "the model {model} is not allowed: add it to agents.defaults.models"
                    )));
                }
                model
            }
            (None, Some(name)) => self.find(name)?,
            (None, None) => self.unnamed(any_key),
        };
        let mut out = vec![first];
        for name in fallbacks {
            let model = self.find(name)?;
            if !out.contains(&model) {
                out.push(model);
            }
        }
        Ok(out)
    }
    /// Models that a person can pick from, in order, each with its alias: those that are described or allowed, and the agent's own.
    pub fn offers(&self, agent_id: &str) -> Vec<(ModelRef, Option<&str>)> {
        let described = self.providers.iter().flat_map(|(provider, it)| {
            let model = |it: &Entry| ModelRef { provider: provider.clone(), model: it.id.clone() };
            it.models.iter().map(model)
        });
        let own = self.agents.get(agent_id).into_iter().chain([&self.defaults]);
        let own = own.flat_map(|it| it.primary.iter().chain(it.fallbacks.iter().flatten()));
        let own: Vec<ModelRef> = own.filter_map(|it| self.find(it).ok()).collect();
        let is_free = |it: &ModelRef| self.allowed.is_empty() || self.allowed.contains(it);
        let mut all: BTreeSet<ModelRef> =
            described.filter(is_free).chain(self.allowed.iter().cloned()).collect();
        all.extend(own);
        let alias = |model: &ModelRef| self.aliases.iter().find(|it| it.1 == model).map(|it| it.0.as_str());
        all.into_iter().map(|it| (it.clone(), alias(&it))).collect()
    }
    /// Tokens that the conversation with a model may take; `wanted` is `agents.defaults.contextTokens`.
    pub fn window(&self, model: &ModelRef, wanted: Option<u64>) -> u64 {
        let says = self.context_window(model);
        wanted.or(says).unwrap_or(CONTEXT_TOKENS_DEFAULT).min(says.unwrap_or(u64::MAX))
    }
    /// Whether an agent has chosen a model of its own.
    pub fn has_own_model(&self, agent_id: &str) -> bool {
        self.agents.get(agent_id).is_some_and(|it| it.primary.is_some())
    }
    /// # Errors
    /// A name that means nothing.
    pub fn find(&self, name: &str) -> Result<ModelRef, TurnError> {
        let name = name.trim();
        if let Some(model) = self.aliases.get(&name.to_lowercase()) {
            return Ok(model.clone());
        }
        if let Some(model) = parse(name).filter(|it| self.providers.contains_key(&it.provider)) {
            return Ok(model);
        }
        let lists = |it: &&Entry| it.id == name;
        let having = self.providers.iter().filter(|it| it.1.models.iter().find(lists).is_some());
        let having: Vec<&String> = having.map(|it| it.0).collect();
        match having[..] {
            [provider] => Ok(ModelRef { provider: provider.clone(), model: name.to_owned() }),
            [] if parse(name).is_some() => Err(unknown(format!(
                "the model {name:?} names no known provider: add it to models.providers"
            ))),
            [] => Err(unknown(format!(
                "no model is called {name:?}: write provider/model, such as openai/{name}"
            ))),
            _ => Err(unknown(format!("several providers have {name:?}: write {}/{name}", having[0]))),
        }
    }
    /// The names of an agent's first choice, and of what is tried behind it.
    pub fn chosen(&self, agent_id: &str) -> (Option<&String>, &[String]) {
        let own = self.agents.get(agent_id);
        let fallbacks = own.and_then(|it| it.fallbacks.as_ref()).or(self.defaults.fallbacks.as_ref());
        let primary = own.and_then(|it| it.primary.as_ref()).or(self.defaults.primary.as_ref());
        (primary, fallbacks.map_or(&[], Vec::as_slice))
    }
    /// Whether a person may ask that agent for the model. What is configured as an agent's own choice is always allowed.
    pub fn allows(&self, agent_id: &str, model: &ModelRef) -> bool {
        let (primary, fallbacks) = self.chosen(agent_id);
        let mut chosen = primary.into_iter().chain(fallbacks);
        self.allowed.is_empty()
            || self.allowed.contains(model)
            || chosen.any(|it| self.find(it).is_ok_and(|it| it == *model))
    }
    /// The model when none is named: the first that is configured anywhere; without one the parrot (dev, no key) or the reference's.
    pub fn unnamed(&self, any_key: bool) -> ModelRef {
        let listed = self
            .providers
            .iter()
            .find_map(|(name, it)| Some((name.as_str(), it.models.first()?.id.as_str())));
        let otherwise = if self.dev && !any_key { PARROT } else { DEFAULT };
        let (provider, model) = listed.unwrap_or(otherwise);
        ModelRef { provider: provider.to_owned(), model: model.to_owned() }
    }
    pub fn params(&self, model: &ModelRef) -> Params {
        self.params.get(model).copied().unwrap_or_default()
    }
    /// What a million tokens cost; nothing where nobody says.
    pub fn price(&self, model: &ModelRef) -> Price {
        self.entry(model).map(|it| it.price).unwrap_or_default()
    }
    /// The word of the language that a model's server speaks; empty when that is not known.
    pub fn api_word(&self, model: &ModelRef) -> &'static str {
        let own = self.entry(model).and_then(|it| it.api.as_ref());
        let api = own.or_else(|| self.providers.get(&model.provider).map(|it| &it.api));
        api.and_then(|it| it.as_ref().ok()).map_or("", |it| it.word())
    }
    /// Whether a model can think.
    pub fn thinks(&self, model: &ModelRef) -> bool {
        self.entry(model).map_or_else(|| thinks(&model.model), |it| it.reasoning)
    }
    /// Tokens that a model can read, where the configuration says so.
    pub fn context_window(&self, model: &ModelRef) -> Option<u64> {
        self.entry(model)?.context_window
    }
    /// Whether a model takes images: one that is not described is asked.
    pub fn takes_images(&self, model: &ModelRef) -> bool {
        self.entry(model).is_none_or(|it| it.images)
    }
    fn entry(&self, model: &ModelRef) -> Option<&Entry> {
        self.providers.get(&model.provider)?.models.iter().find(|it| it.id == model.model)
    }
    /// Where a provider is; empty for what is inside this program, or not configured.
    pub fn base_url(&self, provider: &str) -> &str {
        self.providers.get(provider).map_or("", |it| &it.base_url)
    }
    /// The names of all providers.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }
    /// The key that the configuration holds, and the variables that may hold one.
    pub(super) fn key_places(&self, provider: &str) -> (Option<&Secret>, &'static [&'static str]) {
        self.providers.get(provider).map_or((None, &[]), |it| (it.key.as_ref(), it.env))
    }
    /// The variables that may hold a provider's key.
    pub fn variables(&self, provider: &str) -> &'static [&'static str] {
        self.key_places(provider).1
    }
    /// Everything a call needs but the request.
    ///
    /// # Errors
    /// A provider that is not known, lacks its base URL, or speaks a language that is not.
    pub fn target(&self, model: &ModelRef, key: Option<Secret>) -> Result<Target, TurnError> {
        let name = &model.provider;
        let provider = self.providers.get(name);
        let provider =
            provider.ok_or_else(|| unknown(format!("there is no provider {name:?} in models.providers")))?;
        let entry = self.entry(model);
        let api = entry.and_then(|it| it.api.as_ref()).unwrap_or(&provider.api);
        let api = *api.as_ref().map_err(|word| {
            let all: Vec<_> = Api::ALL.into_iter().filter(|it| *it != Api::Parrot).map(Api::word).collect();
            unknown(format!(
                "models.providers.{name}.api {word:?} is not supported: use one of {}",
                all.join(", ")
            ))
        })?;
        if provider.base_url.is_empty() && api != Api::Parrot {
            return Err(unknown(format!(
                "models.providers.{name}.baseUrl is missing: put the server's address there"
            )));
        }
        if key.is_none() && !provider.env.is_empty() {
            let text = format!(
                "No API key found for provider {name:?}: set {} or models.providers.{name}.apiKey",
                provider.env[provider.env.len() - 1]
            );
            return Err(TurnError::new(ErrorKind::Config, text));
        }
        let mut headers = provider.headers.clone();
        for (name, value) in entry.into_iter().flat_map(|it| &it.headers) {
            headers.retain(|it| !it.0.eq_ignore_ascii_case(name));
            headers.push((name.clone(), value.clone()));
        }
        Ok(Target {
            api,
            provider: name.clone(),
            base_url: provider.base_url.clone(),
            key,
            bearer: provider.bearer,
            headers,
            reasoning: self.thinks(model),
            context_window: entry.and_then(|it| it.context_window),
            max_tokens: entry.and_then(|it| it.max_tokens),
            compat: entry.map_or(Value::Null, |it| it.compat.clone()),
        })
    }
}

impl Provider {
    fn known((_, api, base_url, env): &Known) -> Provider {
        Provider { api: Ok(*api), base_url: (*base_url).to_owned(), env, ..Provider::unknown() }
    }
    fn unknown() -> Provider {
        Provider {
            api: Ok(Api::OpenaiCompletions),
            base_url: String::new(),
            key: None,
            env: &[],
            bearer: false,
            headers: vec![],
            models: vec![],
        }
    }
    fn overlay(&mut self, section: &Value) {
        let of =
            |name: &str| section.get(name).and_then(Value::as_str).map(str::trim).filter(|it| !it.is_empty());
        if let Some(base_url) = of("baseUrl") {
            base_url.clone_into(&mut self.base_url);
        }
        if let Some(word) = of("api") {
            self.api = api(word);
        }
        self.key = of("apiKey").map(|it| Secret::new(it.to_owned()));
        self.bearer = section.get("authHeader").and_then(Value::as_bool).unwrap_or(false)
            || matches!(of("auth"), Some("token" | "oauth"));
        self.headers = headers(&section["headers"]);
        self.models = section["models"].as_array().into_iter().flatten().filter_map(Entry::of).collect();
    }
}

impl Entry {
    fn of(section: &Value) -> Option<Entry> {
        let id = section.get("id").and_then(Value::as_str)?.to_owned();
        // Written as a number, whole or not.
        let tokens =
            |name: &str| section.get(name).and_then(Value::as_f64).map(|it| it as u64).filter(|it| *it > 0);
        Some(Entry {
            api: section.get("api").and_then(Value::as_str).map(api),
            reasoning: section.get("reasoning").and_then(Value::as_bool).unwrap_or_else(|| thinks(&id)),
            context_window: tokens("contextWindow"),
            max_tokens: tokens("maxTokens"),
            headers: headers(&section["headers"]),
            compat: section["compat"].clone(),
            price: serde_json::from_value(section["cost"].clone()).unwrap_or_default(),
            images: section["input"].as_array().is_none_or(|it| it.iter().any(|it| it == "image")),
            id,
        })
    }
}

impl Choice {
    /// `"provider/model"` or `{primary, fallbacks}`.
    pub fn of(section: &Value) -> Choice {
        let word = |it: &Value| it.as_str().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
        let fallbacks = section.get("fallbacks").and_then(Value::as_array);
        Choice {
            primary: word(section).or_else(|| word(&section["primary"])),
            fallbacks: fallbacks.map(|all| all.iter().filter_map(word).collect()),
        }
    }
}

fn entries(section: &Value) -> impl Iterator<Item = (&String, &Value)> {
    section.as_object().into_iter().flatten()
}

fn api(word: &str) -> Result<Api, String> {
    Api::of_word(word).filter(|it| *it != Api::Parrot).ok_or_else(|| word.to_owned())
}

fn headers(section: &Value) -> Vec<(String, String)> {
    entries(section).filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// `provider/model`; the model may hold further slashes.
fn parse(name: &str) -> Option<ModelRef> {
    let (provider, model) = name.split_once('/')?;
    let (provider, model) = (provider.trim().to_lowercase(), model.trim().to_owned());
    (!provider.is_empty() && !model.is_empty()).then_some(ModelRef { provider, model })
}

fn unknown(text: String) -> TurnError {
    TurnError::new(ErrorKind::Config, text)
}
