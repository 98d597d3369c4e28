//! Whom the section of Telegram names, and what it says of groups.
use super::settings::text;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// People by their numbers. Names can be given up and taken by others, so they let nobody in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    pub all: bool,
    pub ids: BTreeSet<i64>,
}

impl People {
    pub fn has(&self, id: i64) -> bool {
        self.all || self.ids.contains(&id)
    }
}

/// A group, or a topic in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub disabled: bool,
    pub must_be_addressed: Option<bool>,
    pub allow: Option<People>,
    pub system_prompt: Option<String>,
    /// `{allow, alsoAllow, deny}`; of the whole group.
    pub tools: Option<Value>,
    /// The same for single people.
    pub tools_by_sender: BTreeMap<i64, Value>,
    pub tools_of_others: Option<Value>,
    pub topics: BTreeMap<String, Group>,
}

impl Group {
    /// What a person's tools are narrowed to. Reference: the person's, everybody's, the group's.
    pub fn tools_for(&self, person: i64) -> Option<&Value> {
        self.tools_by_sender.get(&person).or(self.tools_of_others.as_ref()).or(self.tools.as_ref())
    }
}

/// Without the name of the channel.
fn bare(word: &str) -> String {
    let word = word.trim().to_lowercase();
    ["telegram:", "tg:"].iter().find_map(|it| word.strip_prefix(it)).unwrap_or(&word).trim().to_owned()
}

pub(super) fn people(list: &Value, account: &str, key: &str) -> People {
    let mut out = People::default();
    for it in list.as_array().into_iter().flatten() {
        let word = it.as_i64().map(|it| it.to_string()).or_else(|| text(it)).unwrap_or_default();
        let bare = bare(&word);
        match bare.parse() {
            Ok(id) => drop(out.ids.insert(id)),
            Err(_) if bare == "*" => out.all = true,
            Err(_) => {
                log::warn!(target: "channels", "telegram {account}: {key}: {bare:?} lets nobody in: write the number, which /whoami and the pairing message tell");
            }
        }
    }
    out
}

pub(super) fn groups(map: &Map<String, Value>, account: &str) -> BTreeMap<String, Group> {
    let group = |it: &Value| Group {
        disabled: it["enabled"] == false,
        must_be_addressed: it["requireMention"].as_bool(),
        allow: it["allowFrom"].is_array().then(|| people(&it["allowFrom"], account, "groups.allowFrom")),
        system_prompt: text(&it["systemPrompt"]),
        tools: it["tools"].is_object().then(|| it["tools"].clone()),
        tools_by_sender: by_sender(&it["toolsBySender"], account),
        tools_of_others: Some(&it["toolsBySender"]["*"]).filter(|it| it.is_object()).cloned(),
        topics: BTreeMap::new(),
    };
    map.iter()
        .map(|(id, it)| {
            let topics = it["topics"].as_object().into_iter().flatten();
            let topics = topics.map(|(id, it)| (id.clone(), group(it))).collect();
            (id.trim().to_owned(), Group { topics, ..group(it) })
        })
        .collect()
}

fn by_sender(map: &Value, account: &str) -> BTreeMap<i64, Value> {
    let mut out = BTreeMap::new();
    for (name, tools) in map.as_object().into_iter().flatten().filter(|it| it.0.trim() != "*") {
        match bare(name).parse() {
            Ok(id) => drop(out.insert(id, tools.clone())),
            Err(_) => {
                log::warn!(target: "channels", "telegram {account}: groups.toolsBySender: {name:?} is nobody: write the number, which /whoami tells");
            }
        }
    }
    out
}
