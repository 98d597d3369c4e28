//! Commands that begin or fold a conversation, and the words behind a choice: what is left of them is a run.
use super::parse::{ROWS, Setting};
use super::settings::Level;
use super::shown::{short, usage};
use super::{Next, Scene, World};
use crate::agent::model::ModelRef;
use crate::base::ids;
use crate::gateway::runs::request::Request;
use crate::store::agent_sessions::Trouble;
use crate::store::stores::Stores;
use serde_json::{Value, json};

/// What the model is told when a person begins a conversation without a word.
const GREETING: &str = "A new conversation has begun, and the person has said nothing yet. Greet them in one or two short sentences, \
    the way you usually talk, and ask what they would like to do. Do not mention this note.";

impl Scene {
    /// `/new`, alone, with the name of a model, with a message, or with both.
    pub(super) fn begin_anew(&self, stores: &mut Stores, words: &str) -> Result<Next, Trouble> {
        let mut request = Request { message: words.to_owned(), ..self.request.clone() };
        let (word, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let unix_ms = stores.now().unix_ms;
        if !word.is_empty() && self.world.models.catalog.find(word).is_ok() {
            let (fields, _) = match self.model_named(word, unix_ms) {
                Ok(it) => it,
                Err(text) => {
                    return self.answer(stores, &format!("{text}\nThe conversation goes on as it was."));
                }
            };
            let fields = fields.into_iter().filter(|it| !it.1.is_null());
            request.entry.extend(fields.map(|(name, value)| (name.to_owned(), value)));
            request.message = rest.trim().to_owned();
        }
        if request.message.is_empty() && request.images.is_empty() {
            request.message = GREETING.to_owned();
        }
        request.new_session = Some(ids::uuid(self.open(stores)?.2));
        self.run(stores, request)
    }
    /// Waits for what is being answered, and folds.
    pub(super) fn compact(&self, stores: &mut Stores, wish: &str) -> Result<Next, Trouble> {
        self.entry(stores)?;
        self.run(stores, Request { only_compact: Some(wish.to_owned()), ..self.request.clone() })
    }
    /// A choice for one message, which goes to the model without it.
    pub(super) fn once(
        &self,
        stores: &mut Stores,
        setting: Setting,
        word: &str,
        words: &str,
    ) -> Result<Next, Trouble> {
        let unix_ms = stores.now().unix_ms;
        let fields = match Level::of(setting) {
            None => self.model_named(word, unix_ms).map(|it| it.0),
            Some(level) => self.level_named(stores, level, word)?,
        };
        let fields = match fields {
            Ok(it) => it,
            Err(text) => {
                let name = setting.name();
                let row = ROWS.iter().find(|it| it.name == name);
                let usage = row.map(usage).unwrap_or_default();
                return self.answer(stores, &format!("{text}\n{usage}\nYour message was not sent on."));
            }
        };
        let mut request = Request { message: words.to_owned(), ..self.request.clone() };
        for (name, value) in fields {
            match (name, value) {
                ("thinkingLevel", value) => request.thinking = value.as_str().map(str::to_owned),
                (name, value) => drop(request.once.insert(name.to_owned(), value)),
            }
        }
        self.run(stores, request)
    }
}

/// What `/compact` says at its end.
pub(super) fn folded(
    world: &World,
    compacted: Option<(u64, u64)>,
    model: Option<ModelRef>,
    failure: Option<String>,
) -> String {
    let (before, after) = match (failure, compacted) {
        (Some(text), _) => return format!("🧹 Nothing was folded: {text}"),
        (None, None) => return "🧹 Nothing was folded.".into(),
        (None, Some(it)) => it,
    };
    let wanted = world.config.config.agents.context_tokens;
    let window = model.map(|it| world.models.catalog.window(&it, wanted)).unwrap_or_default();
    format!("🧹 Folded: {} → {} tokens · Context {}", short(before), short(after), share(after, window))
}

/// `77/64k (0%)`.
pub(super) fn share(tokens: u64, window: u64) -> String {
    let percent = (tokens * 100).checked_div(window).unwrap_or(0);
    format!("{}/{} ({percent}%)", short(tokens), short(window))
}

impl Setting {
    pub(super) fn name(self) -> &'static str {
        match self {
            Setting::Model => "model",
            Setting::Think => "think",
            Setting::Verbose => "verbose",
            Setting::Reasoning => "reasoning",
        }
    }
}

/// What a choice means for the entry; null clears.
pub(super) type Fields = Vec<(&'static str, Value)>;

/// A model for the entry; the default one is no choice.
pub(super) fn model_fields(model: &ModelRef, default: &ModelRef) -> Fields {
    match model == default {
        true => vec![("providerOverride", Value::Null), ("modelOverride", Value::Null)],
        false => vec![("providerOverride", json!(model.provider)), ("modelOverride", json!(model.model))],
    }
}
