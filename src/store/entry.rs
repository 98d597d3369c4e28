//! One session's entry in the index: `sessions.patch` and `sessions.reset` as functions from entry to entry.
//!
//! Fields of a patch: absent leaves, null clears, a value sets. The spellings, the order of the checks and the texts are measured.
use serde_json::{Map, Value};

type Entry = Map<String, Value>;
/// Provider and model.
pub type Model = (String, String);

/// What a patch needs to know beside the entry.
pub struct Around<'a> {
    pub unix_ms: i64,
    /// For an entry that does not exist yet.
    pub new_session_id: &'a str,
    /// Provider and model of a session that says nothing.
    pub default_model: (&'a str, &'a str),
    /// Whether another session of this store has the label.
    pub label_taken: &'a dyn Fn(&str) -> bool,
    /// Provider and model that a name stands for, or why it may not be used; see [`parse_model`].
    pub find_model: &'a dyn Fn(&str) -> Result<Model, String>,
}

/// `provider/model`, or a model of the default provider.
///
/// # Errors
/// What is wrong, for the client.
pub fn parse_model(text: &str, default_provider: &str) -> Result<Model, String> {
    let text = text.trim();
    let (provider, model) = text.split_once('/').unwrap_or((default_provider, text));
    match provider.is_empty() || model.is_empty() {
        true => Err(format!("invalid model: {text}")),
        false => Ok((provider.to_owned(), model.to_owned())),
    }
}

/// Models that know the thinking level `xhigh`. Reference.
const XHIGH_MODELS: [&str; 3] =
    ["openai/gpt-5.2", "openai-codex/gpt-5.2-codex", "openai-codex/gpt-5.1-codex"];

/// Whether a model, by provider and name, knows the level `xhigh`.
pub fn knows_xhigh((provider, model): (&str, &str)) -> bool {
    XHIGH_MODELS.contains(&format!("{provider}/{model}").as_str())
}

/// The thinking level that a word stands for.
pub fn thinking_level(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "off" => "off",
        "minimal" | "min" | "think" => "minimal",
        "low" | "on" | "enable" | "enabled" | "thinkhard" | "think-hard" => "low",
        "medium" | "mid" | "med" | "harder" | "thinkharder" | "think-harder" => "medium",
        "high" | "highest" | "max" | "ultra" | "ultrathink" | "thinkhardest" => "high",
        "xhigh" | "x-high" => "xhigh",
        _ => return None,
    })
}

/// The verbose level that a word stands for.
pub fn verbose_level(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "off" | "false" | "no" | "0" => "off",
        "on" | "true" | "yes" | "1" | "minimal" => "on",
        "full" | "all" | "everything" => "full",
        _ => return None,
    })
}

/// The reasoning level that a word stands for.
pub fn reasoning_level(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "off" | "false" | "no" | "0" | "hide" | "hidden" | "disable" | "disabled" => "off",
        "on" | "true" | "yes" | "1" | "show" | "visible" | "enable" | "enabled" => "on",
        "stream" | "streaming" | "draft" | "live" => "stream",
        _ => return None,
    })
}

/// The elevated level that a word stands for.
pub fn elevated_level(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "off" | "false" | "no" | "0" => "off",
        "on" | "true" | "yes" | "1" => "on",
        "ask" | "approve" | "approval" | "prompt" => "ask",
        "full" | "auto" | "autoapprove" | "auto-approve" => "full",
        _ => return None,
    })
}

fn one_of(word: &str, words: &'static [&'static str]) -> Option<&'static str> {
    let word = word.trim().to_lowercase();
    words.iter().copied().find(|it| *it == word)
}

/// A field that takes a word from a list.
struct Field {
    name: &'static str,
    read: fn(&str) -> Option<&'static str>,
    /// Behind `invalid <name> (use `.
    words: &'static str,
    /// Whether `off` is the same as nothing.
    off_clears: bool,
}

/// In the order in which they are checked. `thinkingLevel` comes before them: it depends on the model.
const FIELDS: [Field; 7] = [
    Field { name: "verboseLevel", read: verbose_level, words: r#""on"|"off""#, off_clears: false },
    Field {
        name: "reasoningLevel",
        read: reasoning_level,
        words: r#""on"|"off"|"stream""#,
        off_clears: true,
    },
    Field {
        name: "responseUsage",
        read: |it| {
            one_of(it, &["off", "tokens", "full", "on"]).map(|it| if it == "on" { "tokens" } else { it })
        },
        words: r#""off"|"tokens"|"full""#,
        off_clears: true,
    },
    Field {
        name: "elevatedLevel",
        read: elevated_level,
        words: r#""on"|"off"|"ask"|"full""#,
        off_clears: false,
    },
    Field {
        name: "execHost",
        read: |it| one_of(it, &["sandbox", "gateway", "node"]),
        words: r#""sandbox"|"gateway"|"node""#,
        off_clears: false,
    },
    Field {
        name: "execSecurity",
        read: |it| one_of(it, &["deny", "allowlist", "full"]),
        words: r#""deny"|"allowlist"|"full""#,
        off_clears: false,
    },
    Field {
        name: "execAsk",
        read: |it| one_of(it, &["off", "on-miss", "always"]),
        words: r#""off"|"on-miss"|"always""#,
        off_clears: false,
    },
];

/// Fields behind the model, in the order in which they are checked.
const LATE_FIELDS: [Field; 2] = [
    Field {
        name: "sendPolicy",
        read: |it| one_of(it, &["allow", "deny"]),
        words: r#""allow"|"deny""#,
        off_clears: false,
    },
    Field {
        name: "groupActivation",
        read: |it| one_of(it, &["mention", "always"]),
        words: r#""mention"|"always""#,
        off_clears: false,
    },
];

/// What a patch says of a field: nothing, clear it, or a text.
fn asked<'a>(patch: &'a Entry, name: &str) -> Option<Option<&'a str>> {
    patch.get(name).map(Value::as_str)
}

fn set(entry: &mut Entry, name: &str, value: Option<&str>) {
    match value {
        Some(it) => {
            entry.insert(name.to_owned(), it.into());
        }
        None => {
            entry.shift_remove(name);
        }
    }
}

/// Whether a key is of a session that another one started.
fn is_subagent(key: &str) -> bool {
    let rest = key.strip_prefix("agent:").and_then(|it| it.split_once(':')).map_or(key, |it| it.1);
    rest.starts_with("subagent:")
}

/// Provider and model of an entry.
pub fn model_of<'a>(entry: &'a Entry, default: (&'a str, &'a str)) -> (&'a str, &'a str) {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    match text("modelOverride") {
        Some(model) => (text("providerOverride").unwrap_or(default.0), model),
        None => default,
    }
}

/// The entry after a patch; made when there is none. `key` is canonical, `patch` has the shape of `sessions.patch`.
///
/// # Errors
/// What is wrong, for the client; nothing has then changed.
pub fn patch(key: &str, entry: Option<Entry>, patch: &Entry, around: &Around<'_>) -> Result<Entry, String> {
    let mut entry = entry.unwrap_or_default();
    if !entry.get("sessionId").is_some_and(Value::is_string) {
        set(&mut entry, "sessionId", Some(around.new_session_id));
    }
    let newest = super::sessions::updated_at(&entry).max(around.unix_ms);
    entry.insert("updatedAt".into(), newest.into());
    spawned_by(key, &mut entry, patch)?;
    label(&mut entry, patch, around)?;
    let thinking = asked(patch, "thinkingLevel");
    thinking_word(&mut entry, thinking, patch, around)?;
    for field in &FIELDS {
        apply(&mut entry, patch, field)?;
    }
    if let Some(node) = asked(patch, "execNode") {
        let node = node.map(str::trim);
        if node == Some("") {
            return Err("invalid execNode: empty".into());
        }
        set(&mut entry, "execNode", node);
    }
    model(&mut entry, patch, around)?;
    let level = entry.get("thinkingLevel").and_then(Value::as_str);
    if level == Some("xhigh") && !knows_xhigh(model_of(&entry, around.default_model)) {
        if thinking.is_some() {
            let (last, rest) = XHIGH_MODELS.split_last().expect("it has three");
            return Err(format!(
                "thinkingLevel \"xhigh\" is only supported for {} or {last}",
                rest.join(", ")
            ));
        }
        set(&mut entry, "thinkingLevel", Some("high"));
    }
    for field in &LATE_FIELDS {
        apply(&mut entry, patch, field)?;
    }
    Ok(entry)
}

fn apply(entry: &mut Entry, patch: &Entry, field: &Field) -> Result<(), String> {
    let Some(asked) = asked(patch, field.name) else { return Ok(()) };
    let bad = || format!("invalid {} (use {})", field.name, field.words);
    let value = asked.map(|it| (field.read)(it).ok_or_else(bad)).transpose()?;
    set(entry, field.name, value.filter(|it| !(field.off_clears && *it == "off")));
    Ok(())
}

fn spawned_by(key: &str, entry: &mut Entry, patch: &Entry) -> Result<(), String> {
    let Some(asked) = asked(patch, "spawnedBy") else { return Ok(()) };
    let before = entry.get("spawnedBy").and_then(Value::as_str);
    let problem = match asked.map(str::trim) {
        None if before.is_some() => "spawnedBy cannot be cleared once set",
        None => return Ok(()),
        Some("") => "invalid spawnedBy: empty",
        Some(_) if !is_subagent(key) => "spawnedBy is only supported for subagent:* sessions",
        Some(it) if before.is_some_and(|before| before != it) => "spawnedBy cannot be changed once set",
        Some(it) => {
            set(entry, "spawnedBy", Some(it));
            return Ok(());
        }
    };
    Err(problem.into())
}

fn label(entry: &mut Entry, patch: &Entry, around: &Around<'_>) -> Result<(), String> {
    let Some(asked) = asked(patch, "label") else { return Ok(()) };
    let label = asked.map(str::trim);
    match label {
        Some("") => return Err("invalid label: empty".into()),
        Some(it) if (around.label_taken)(it) => return Err(format!("label already in use: {it}")),
        _ => {}
    }
    set(entry, "label", label);
    Ok(())
}

fn thinking_word(
    entry: &mut Entry,
    asked: Option<Option<&str>>,
    patch: &Entry,
    around: &Around<'_>,
) -> Result<(), String> {
    let Some(asked) = asked else { return Ok(()) };
    let level = match asked {
        None => None,
        Some(word) => Some(thinking_level(word).ok_or_else(|| {
            let named = self::asked(patch, "model").flatten().and_then(|it| (around.find_model)(it).ok());
            let model = named.as_ref().map(|it| (it.0.as_str(), it.1.as_str()));
            let xhigh = knows_xhigh(model.unwrap_or_else(|| model_of(entry, around.default_model)));
            let more = if xhigh { "|xhigh" } else { "" };
            format!("invalid thinkingLevel (use off|minimal|low|medium|high{more})")
        })?),
    };
    set(entry, "thinkingLevel", level.filter(|it| *it != "off"));
    Ok(())
}

fn model(entry: &mut Entry, patch: &Entry, around: &Around<'_>) -> Result<(), String> {
    let Some(asked) = asked(patch, "model") else { return Ok(()) };
    let named = match asked {
        Some(text) if text.trim().is_empty() => return Err("invalid model: empty".into()),
        Some(text) => Some((around.find_model)(text)?),
        None => None,
    };
    let own =
        named.as_ref().map(|it| (it.0.as_str(), it.1.as_str())).filter(|it| *it != around.default_model);
    set(entry, "providerOverride", own.map(|it| it.0));
    set(entry, "modelOverride", own.map(|it| it.1));
    Ok(())
}

/// What a new conversation under the same key keeps. Reference.
const KEPT: [&str; 12] = [
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "responseUsage",
    "model",
    "contextTokens",
    "sendPolicy",
    "label",
    "origin",
    "lastChannel",
    "lastTo",
    "skillsSnapshot",
];

/// The entry of a new conversation under the same key. The old transcript stays where it is.
pub fn reset(entry: Option<&Entry>, new_session_id: &str, unix_ms: i64) -> Entry {
    let mut out = Entry::new();
    out.insert("sessionId".into(), new_session_id.into());
    out.insert("updatedAt".into(), unix_ms.into());
    out.insert("systemSent".into(), false.into());
    out.insert("abortedLastRun".into(), false.into());
    for name in KEPT {
        if let Some(value) = entry.and_then(|it| it.get(name)) {
            out.insert(name.into(), value.clone());
        }
    }
    for name in ["inputTokens", "outputTokens", "totalTokens"] {
        out.insert(name.into(), 0.into());
    }
    out
}

/// What belongs to one conversation alone, so that `/new` leaves it behind. All other fields stay, known or not.
const OF_ONE_CONVERSATION: [&str; 27] = [
    "sessionFile",
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "responseUsage",
    "providerOverride",
    "modelOverride",
    "authProfileOverride",
    "authProfileOverrideSource",
    "authProfileOverrideCompactionCount",
    "queueMode",
    "queueDebounceMs",
    "queueCap",
    "queueDrop",
    "modelProvider",
    "model",
    "contextTokens",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "compactionCount",
    "memoryFlushAt",
    "memoryFlushCompactionCount",
    "systemPromptReport",
    "skillsSnapshot",
    "cliSessionIds",
    "claudeCliSessionId",
];

/// The entry of a conversation that a person begins: as nobody had chosen anything in it. Unlike the reference it keeps
/// `sendPolicy`: who has silenced a session did not mean until the next `/new`.
pub fn anew(mut entry: Entry, new_session_id: &str, unix_ms: i64) -> Entry {
    for name in OF_ONE_CONVERSATION {
        entry.shift_remove(name);
    }
    entry.insert("sessionId".into(), new_session_id.into());
    entry.insert("updatedAt".into(), unix_ms.into());
    entry.insert("systemSent".into(), false.into());
    entry.insert("abortedLastRun".into(), false.into());
    entry
}
