//! What a person chooses for a session: the model, the levels, and what becomes of messages.
use super::conversation::{Fields, model_fields};
use super::parse::{ROWS, Setting};
use super::shown::usage;
use super::{Next, Scene};
use crate::agent::model::ModelRef;
use crate::config::QueueMode;
use crate::gateway::freshness::{ChatKind, chat_kind};
use crate::gateway::sessions;
use crate::store::agent_sessions::Trouble;
use crate::store::entry::{knows_xhigh, reasoning_level, thinking_level, verbose_level};
use crate::store::stores::Stores;
use serde_json::{Map, Value, json};

/// A choice among words.
pub(super) struct Level {
    pub field: &'static str,
    /// In an answer.
    pub title: &'static str,
    read: fn(&str) -> Option<&'static str>,
    words: &'static str,
    /// Whether `off` is the same as nothing.
    off_clears: bool,
}

const THINK: Level = Level {
    field: "thinkingLevel",
    title: "🧠 Thinking",
    read: thinking_level,
    words: "off, minimal, low, medium, high",
    // Without a level a model that thinks does so a little.
    off_clears: false,
};
const VERBOSE: Level = Level {
    field: "verboseLevel",
    title: "🔎 Verbose",
    read: verbose_level,
    words: "on, full, off",
    off_clears: false,
};
const REASONING: Level = Level {
    field: "reasoningLevel",
    title: "💭 Reasoning",
    read: reasoning_level,
    words: "on, stream, off",
    off_clears: true,
};

impl Level {
    pub(super) fn of(setting: Setting) -> Option<&'static Level> {
        match setting {
            Setting::Model => None,
            Setting::Think => Some(&THINK),
            Setting::Verbose => Some(&VERBOSE),
            Setting::Reasoning => Some(&REASONING),
        }
    }
}

/// Words that take a choice back.
const DEFAULT: [&str; 4] = ["default", "reset", "inherit", "clear"];

fn text<'e>(entry: &'e Map<String, Value>, name: &str) -> Option<&'e str> {
    entry.get(name).and_then(Value::as_str)
}

impl Scene {
    pub(super) fn set(&self, stores: &mut Stores, setting: Setting, word: &str) -> Result<String, Trouble> {
        let Some(level) = Level::of(setting) else { return self.model(stores, word) };
        if word.is_empty() {
            return self.level(stores, level);
        }
        let fields = match self.level_named(stores, level, word)? {
            Ok(it) => it,
            Err(text) => return Ok(text),
        };
        self.change(stores, &fields)?;
        match DEFAULT.contains(&word.to_lowercase().as_str()) {
            true => self.level(stores, level),
            false => {
                let word = (level.read)(word).unwrap_or(word);
                let vain = if level.field == THINK.field && word != "off" {
                    self.cannot_think(stores)?
                } else {
                    None
                };
                let vain = vain.map(|it| format!(" {it} does not think, though.")).unwrap_or_default();
                Ok(format!("{}: {word}, from the next message on.{vain}", level.title))
            }
        }
    }
    /// The session's model, when it is one that does not think.
    fn cannot_think(&self, stores: &mut Stores) -> Result<Option<ModelRef>, Trouble> {
        let entry = self.entry(stores)?;
        let model = self.chosen(&entry, stores.now().unix_ms).ok();
        Ok(model.filter(|it| !self.world.models.catalog.thinks(it)))
    }
    /// The level in force.
    fn level(&self, stores: &mut Stores, level: &Level) -> Result<String, Trouble> {
        let entry = self.entry(stores)?;
        let now = self.level_in_force(level.field, &entry, stores.now().unix_ms);
        Ok(format!("{}: {now}. Choose one of {}, or default.", level.title, level.words))
    }
    pub(super) fn level_in_force(&self, field: &str, entry: &Map<String, Value>, unix_ms: i64) -> String {
        match field {
            "thinkingLevel" => {
                let default = || sessions::model(&self.world.models, &self.request.agent_id, unix_ms);
                let model = self.chosen(entry, unix_ms).unwrap_or_else(|_| default());
                sessions::thinking_level(&self.world, entry, &model)
            }
            "verboseLevel" => sessions::verbose_level(&self.world, entry).unwrap_or_else(|| "off".into()),
            _ => text(entry, field).unwrap_or("off").to_owned(),
        }
    }
    /// A level as the entry has it, or why there is no such level.
    pub(super) fn level_named(
        &self,
        stores: &mut Stores,
        level: &Level,
        word: &str,
    ) -> Result<Result<Fields, String>, Trouble> {
        if DEFAULT.contains(&word.to_lowercase().as_str()) {
            return Ok(Ok(vec![(level.field, Value::Null)]));
        }
        let named = match (level.read)(word) {
            None => Err(format!(
                "{}: {word:?} is no level. Choose one of {}, or default.",
                level.title, level.words
            )),
            Some("xhigh") => {
                let entry = self.entry(stores)?;
                let model = self.chosen(&entry, stores.now().unix_ms);
                match model {
                    Ok(it) if knows_xhigh((&it.provider, &it.model)) => Ok("xhigh"),
                    Ok(it) => Err(format!(
                        "{}: {it} does not think as hard as xhigh; high is its most.",
                        level.title
                    )),
                    Err(text) => Err(text),
                }
            }
            Some(it) => Ok(it),
        };
        let value = |it: &str| if level.off_clears && it == "off" { Value::Null } else { it.into() };
        Ok(named.map(|it| vec![(level.field, value(it))]))
    }

    // The model.

    /// The model of an agent's sessions that choose none.
    pub(super) fn default_model(&self, unix_ms: i64) -> Result<ModelRef, String> {
        self.find_model(None, unix_ms)
    }
    /// The model of a session.
    pub(super) fn chosen(&self, entry: &Map<String, Value>, unix_ms: i64) -> Result<ModelRef, String> {
        let own = text(entry, "modelOverride").map(|model| match text(entry, "providerOverride") {
            Some(provider) => format!("{provider}/{model}"),
            None => model.to_owned(),
        });
        self.find_model(own.as_deref(), unix_ms)
    }
    fn find_model(&self, name: Option<&str>, unix_ms: i64) -> Result<ModelRef, String> {
        let (models, agent_id) = (&self.world.models, &self.request.agent_id);
        let any_key = models.with_keys(agent_id, unix_ms, |keys| keys.any());
        let found = models.catalog.choose(agent_id, name, any_key);
        let first = found.map_err(|err| format!("⚠️ Refused: {}", err.reason))?.into_iter().next();
        first.ok_or_else(|| "⚠️ No model is configured: set agents.defaults.model.primary.".to_owned())
    }
    /// What choosing it means for the entry, and the model.
    pub(super) fn model_named(&self, name: &str, unix_ms: i64) -> Result<(Fields, ModelRef), String> {
        let default = self.default_model(unix_ms);
        let model = match DEFAULT.contains(&name.to_lowercase().as_str()) {
            true => default.clone()?,
            false => self.find_model(Some(name), unix_ms)?,
        };
        let fields = model_fields(&model, default.as_ref().unwrap_or(&model));
        Ok((fields, model))
    }
    fn model(&self, stores: &mut Stores, word: &str) -> Result<String, Trouble> {
        let unix_ms = stores.now().unix_ms;
        match word.to_lowercase().as_str() {
            "" | "status" => return self.model_in_force(stores),
            "list" => return Ok(self.models("")),
            _ => {}
        }
        let (fields, model) = match self.model_named(word, unix_ms) {
            Ok(it) => it,
            Err(text) => return Ok(format!("{text}\nNothing has changed. /models shows what there is.")),
        };
        self.change(stores, &fields)?;
        let is_default = fields.iter().all(|it| it.1.is_null());
        let how = if is_default { " (the default)" } else { "" };
        let mut out = format!("🤖 Model: {model}{how}, from the next message on.");
        if let Err(err) = self.key(&model, unix_ms) {
            out.push_str(&format!("\n⚠️ {err}"));
        }
        Ok(out)
    }
    fn model_in_force(&self, stores: &mut Stores) -> Result<String, Trouble> {
        let (entry, unix_ms) = (self.entry(stores)?, stores.now().unix_ms);
        let name = |it: Result<ModelRef, String>| it.map_or_else(|text| text, |it| it.to_string());
        let chosen = self.chosen(&entry, unix_ms);
        let key = match &chosen {
            Ok(model) => self.key(model, unix_ms).unwrap_or_else(|err| err),
            Err(_) => String::new(),
        };
        let gap = if key.is_empty() { "" } else { " · 🔑 " };
        Ok(format!(
            "🤖 Model: {}{gap}{key}\nDefault: {}\n/model <name> chooses another, /model default the default, /models lists them.",
            name(chosen),
            name(self.default_model(unix_ms)),
        ))
    }
    /// `/models`, and those of one provider.
    pub(super) fn models(&self, provider: &str) -> String {
        let offers = self.world.models.catalog.offers(&self.request.agent_id);
        let wanted = offers.iter().filter(|it| provider.is_empty() || it.0.provider == provider);
        let line = |(model, alias): &(ModelRef, Option<&str>)| match alias {
            Some(alias) => format!("{model} ({alias})"),
            None => model.to_string(),
        };
        let lines: Vec<String> = wanted.map(line).collect();
        match (lines.is_empty(), provider) {
            (false, _) => format!("🤖 Models:\n{}\n/model <name> chooses one.", lines.join("\n")),
            (true, "") => {
                "🤖 No model is listed in the configuration; /model <provider>/<model> names one all the same.".into()
            }
            (true, it) => format!("🤖 No model of {it} is listed. /models shows all."),
        }
    }

    // What becomes of messages and answers.

    /// Off, tokens, full, and off again.
    pub(super) fn usage(&self, stores: &mut Stores, word: &str) -> Result<String, Trouble> {
        let entry = self.entry(stores)?;
        let next = match text(&entry, "responseUsage") {
            None | Some("off") => "tokens",
            Some("tokens" | "on") => "full",
            Some(_) => "off",
        };
        let mode = match word {
            "" => next,
            "on" => "tokens",
            "off" | "tokens" | "full" => word,
            _ => return Ok(self.misused("usage")),
        };
        let value = if mode == "off" { Value::Null } else { mode.into() };
        self.change(stores, &[("responseUsage", value)])?;
        Ok(format!("📊 Usage behind each answer: {mode}. /usage cost sums it up."))
    }
    pub(super) fn queue(&self, stores: &mut Stores, words: &str) -> Result<String, Trouble> {
        let queue = &self.world.config.config.queue;
        let configured = queue.mode_of(self.request.channel.as_deref());
        let word = words.to_lowercase();
        if word.is_empty() {
            let entry = self.entry(stores)?;
            let own = text(&entry, "queueMode").and_then(QueueMode::of_word);
            let drop = if queue.drop_old { "the oldest goes" } else { "new ones are refused" };
            return Ok(format!(
                "🪢 Queue: {} · at most {} wait, then {drop} (messages.queue) · {} here now",
                own.unwrap_or(configured).word(),
                queue.cap,
                self.depth,
            ));
        }
        if DEFAULT.contains(&word.as_str()) {
            self.change(stores, &[("queueMode", Value::Null)])?;
            return Ok(format!("🪢 Queue: {} (the default).", configured.word()));
        }
        let Some(mode) = QueueMode::of_word(&word) else {
            let more = "How many wait, and which go then, is set for all sessions in messages.queue.";
            return Ok(format!("{}\n{more}", self.misused("queue")));
        };
        self.change(stores, &[("queueMode", json!(word))])?;
        let what = match mode {
            QueueMode::Followup => "each message is answered behind the one before",
            QueueMode::Steer => "a message is told to the model that is at work",
            QueueMode::Interrupt => "a message ends what is being answered",
        };
        Ok(format!("🪢 Queue: {word}: {what}."))
    }
    pub(super) fn send(&self, stores: &mut Stores, word: &str) -> Result<String, Trouble> {
        let (policy, what) = match word {
            "on" | "allow" => (json!("allow"), "on: messages are answered"),
            "off" | "deny" => (json!("deny"), "off: messages are refused until /send on"),
            it if DEFAULT.contains(&it) => (Value::Null, "as session.sendPolicy says"),
            _ => {
                let entry = self.entry(stores)?;
                let now = text(&entry, "sendPolicy").unwrap_or("as session.sendPolicy says");
                return Ok(format!("📮 Send: {now}.\n{}", self.misused("send")));
            }
        };
        self.change(stores, &[("sendPolicy", policy)])?;
        Ok(format!("📮 Send: {what}."))
    }
    pub(super) fn activation(&self, stores: &mut Stores, word: &str) -> Result<String, Trouble> {
        let entry = self.entry(stores)?;
        if chat_kind(&self.request.key, text(&entry, "chatType"), false) != ChatKind::Group {
            return Ok("👥 /activation is for groups: here every message is answered.".into());
        }
        if !matches!(word, "mention" | "always") {
            let now = text(&entry, "groupActivation").unwrap_or("as the channel's configuration says");
            return Ok(format!("👥 Activation: {now}.\n{}", self.misused("activation")));
        }
        self.change(stores, &[("groupActivation", word.into())])?;
        let what =
            if word == "always" { "every message is answered" } else { "only what names me is answered" };
        Ok(format!("👥 Activation: {word}: {what}."))
    }
    fn misused(&self, name: &str) -> String {
        ROWS.iter().find(|it| it.name == name).map(usage).unwrap_or_default()
    }
    /// `/usage cost`.
    pub(super) fn cost(&self, stores: &mut Stores) -> Result<Next, Trouble> {
        self.entry(stores)?;
        let transcript = self.open(stores)?.0.transcript(&self.request.key);
        let (world, unix_ms) = (self.world.clone(), stores.now().unix_ms);
        Ok(Next::Read(Box::new(move || super::shown::cost(&world, transcript.as_deref(), unix_ms))))
    }
}
