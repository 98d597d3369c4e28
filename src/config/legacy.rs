//! Keys of earlier products, and where their values belong now. The reference's table.
//!
//! * A value moves whole. Where its new place is taken, the value there stays and the old key goes; the backup of the file has both.
//! * What is written is checked like any other change: a document with mistakes is not.
use serde_json::{Map, Value, json};

/// From, to. In this order: what moves first may be part of what moves later.
const MOVES: [(&str, &str); 24] = [
    ("gateway.token", "gateway.auth.token"),
    ("whatsapp", "channels.whatsapp"),
    ("telegram", "channels.telegram"),
    ("discord", "channels.discord"),
    ("slack", "channels.slack"),
    ("signal", "channels.signal"),
    ("imessage", "channels.imessage"),
    ("msteams", "channels.msteams"),
    ("routing.allowFrom", "channels.whatsapp.allowFrom"),
    ("routing.groupChat.historyLimit", "messages.groupChat.historyLimit"),
    ("routing.groupChat.mentionPatterns", "messages.groupChat.mentionPatterns"),
    ("routing.queue", "messages.queue"),
    ("routing.bindings", "bindings"),
    ("routing.agentToAgent", "tools.agentToAgent"),
    ("agent.modelFallbacks", "agent.model.fallbacks"),
    ("agent.imageModelFallbacks", "agent.imageModel.fallbacks"),
    ("agent.tools.allow", "tools.allow"),
    ("agent.tools.deny", "tools.deny"),
    ("agent.tools", "tools"),
    ("agent.elevated", "tools.elevated"),
    ("agent.bash", "tools.exec"),
    ("agent.sandbox.tools", "tools.sandbox.tools"),
    ("agent.subagents.tools", "tools.subagents.tools"),
    ("agent", "agents.defaults"),
];
/// Channels with groups, for `requireMention`.
const GROUP_CHANNELS: [&str; 3] = ["whatsapp", "telegram", "imessage"];

/// Moves what stands at old places; answers a sentence for each. None when the document has nothing old.
pub fn migrate(document: &mut Value) -> Vec<String> {
    let mut said = vec![];
    models(document, &mut said);
    for (from, to) in MOVES {
        if let Some(value) = take(document, from) {
            said.push(put(document, from, to, value));
        }
    }
    mentions(document, &mut said);
    agents(document, &mut said);
    bindings(document, &mut said);
    if let Some(value) = take(document, "routing.transcribeAudio") {
        let command = value["command"].as_array().cloned().unwrap_or_default();
        let mut words = command.into_iter();
        let mut model = json!({ "type": "cli", "command": words.next(), "args": words.collect::<Vec<_>>() });
        if let Some(limit) = value.get("timeoutSeconds") {
            model["timeoutSeconds"] = limit.clone();
        }
        let audio = json!({ "enabled": true, "models": [model] });
        said.push(put(document, "routing.transcribeAudio", "tools.media.audio", audio));
    }
    for empty in ["routing.groupChat", "routing"] {
        if at(document, empty).and_then(Value::as_object).is_some_and(Map::is_empty) {
            take(document, empty);
        }
    }
    said
}

fn at<'v>(document: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(document, |at, name| at.get(name))
}

fn take(document: &mut Value, path: &str) -> Option<Value> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = if parent.is_empty() {
        document
    } else {
        parent.split('.').try_fold(document, |at, name| at.get_mut(name))?
    };
    parent.as_object_mut()?.shift_remove(name)
}

/// Sets it where nothing is; objects are filled up, key by key.
fn put(document: &mut Value, from: &str, to: &str, value: Value) -> String {
    let mut place = document;
    for name in to.split('.') {
        if !(place.is_object() || place.is_null()) {
            return format!("removed {from}: {to} is something else already");
        }
        place = &mut place[name];
    }
    if fill(place, value) {
        format!("moved {from} to {to}")
    } else {
        format!("removed {from}: {to} was set already")
    }
}

/// False when something of it had no room.
fn fill(place: &mut Value, value: Value) -> bool {
    match (place, value) {
        (place @ Value::Null, value) => {
            *place = value;
            true
        }
        (Value::Object(old), Value::Object(new)) => new
            .into_iter()
            .fold(true, |all, (name, value)| fill(old.entry(name).or_insert(Value::Null), value) && all),
        (old, value) => *old == value,
    }
}

/// `agent.model` and its kin: a text became an object, lists became its parts.
fn models(document: &mut Value, said: &mut Vec<String>) {
    for name in ["model", "imageModel"] {
        let path = format!("agent.{name}");
        if at(document, &path).is_some_and(Value::is_string)
            && let Some(text) = take(document, &path)
        {
            said.push(put(document, &path, &format!("{path}.primary"), text));
        }
    }
    if let Some(Value::Array(all)) = take(document, "agent.allowedModels") {
        let models: Map<String, Value> =
            all.iter().filter_map(Value::as_str).map(|it| (it.to_owned(), json!({}))).collect();
        said.push(put(document, "agent.allowedModels", "agent.models", models.into()));
    }
    if let Some(Value::Object(aliases)) = take(document, "agent.modelAliases") {
        let models: Map<String, Value> = (aliases.iter())
            .filter_map(|(alias, model)| Some((model.as_str()?.to_owned(), json!({ "alias": alias }))))
            .collect();
        said.push(put(document, "agent.modelAliases", "agent.models", models.into()));
    }
}

/// `requireMention` for every group is now a group named `*`.
fn mentions(document: &mut Value, said: &mut Vec<String>) {
    let from = "channels.telegram.requireMention";
    if let Some(value) = take(document, from) {
        said.push(put(document, from, "channels.telegram.groups.*.requireMention", value));
    }
    let from = "routing.groupChat.requireMention";
    let Some(value) = take(document, from) else { return };
    let used: Vec<&str> =
        GROUP_CHANNELS.into_iter().filter(|it| document["channels"].get(it).is_some()).collect();
    for channel in if used.is_empty() { vec!["whatsapp"] } else { used } {
        said.push(put(document, from, &format!("channels.{channel}.groups.*.requireMention"), value.clone()));
    }
}

/// Agents were an object by id; the default one, and its identity, stood apart.
fn agents(document: &mut Value, said: &mut Vec<String>) {
    if let Some(Value::Object(all)) = take(document, "routing.agents") {
        for (id, mut old) in all {
            if let Some(patterns) = take(&mut old, "mentionPatterns") {
                put(&mut old, "", "groupChat.mentionPatterns", patterns);
            }
            let own = entry(document, &id);
            fill(own, old);
        }
        said.push("moved routing.agents to agents.list".to_owned());
    }
    if let Some(Value::String(id)) = take(document, "routing.defaultAgentId") {
        entry(document, &id)["default"] = true.into();
        said.push(format!("moved routing.defaultAgentId to agents.list: {id} is the default"));
    }
    if let Some(identity) = take(document, "identity") {
        let list = document["agents"]["list"].as_array().cloned().unwrap_or_default();
        let default = list.iter().find(|it| it["default"] == true).or(list.first());
        let id = default.and_then(|it| it["id"].as_str()).unwrap_or("main").to_owned();
        let own = &mut entry(document, &id)["identity"];
        let room = fill(own, identity);
        let lost = if room { "" } else { "; what was set there already stays" };
        said.push(format!("moved identity to the agent {id}{lost}"));
    }
}

/// The agent of that id in `agents.list`, made where it is missing.
fn entry<'v>(document: &'v mut Value, id: &str) -> &'v mut Value {
    for path in ["agents", "list"].iter().scan(String::new(), |path, name| {
        *path = super::below(path, name);
        Some(path.clone())
    }) {
        let right = if path == "agents" { Value::is_object } else { Value::is_array };
        if !at(document, &path).is_some_and(right) {
            let empty = if path == "agents" { json!({}) } else { json!([]) };
            *path.split('.').fold(&mut *document, |at, name| &mut at[name]) = empty;
        }
    }
    let Value::Array(list) = &mut document["agents"]["list"] else { unreachable!("made above") };
    let at = list.iter().position(|it| it["id"] == id).unwrap_or_else(|| {
        list.push(json!({ "id": id }));
        list.len() - 1
    });
    &mut list[at]
}

fn bindings(document: &mut Value, said: &mut Vec<String>) {
    let mut renamed = false;
    for binding in document.get_mut("bindings").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(rule) = binding.get_mut("match") else { continue };
        if let Some(id) = take(rule, "accountID") {
            fill(&mut rule["accountId"], id);
            renamed = true;
        }
    }
    if renamed {
        said.push("renamed bindings[].match.accountID to accountId".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    fn old() -> Value {
        json!({
            "gateway": { "mode": "local", "token": "abc" },
            "identity": { "name": "Samantha" },
            "routing": {
                "allowFrom": ["+15555550123"],
                "groupChat": { "requireMention": true, "historyLimit": 20, "mentionPatterns": ["@sam"] },
                "queue": { "mode": "collect" },
                "bindings": [{ "agentId": "main", "match": { "channel": "whatsapp", "accountID": "biz" } }],
                "agents": { "main": { "workspace": "~/w" }, "work": { "mentionPatterns": ["@w"] } },
                "defaultAgentId": "work",
                "agentToAgent": { "enabled": true },
                "transcribeAudio": { "command": ["whisper", "{{MediaPath}}"], "timeoutSeconds": 30 }
            },
            "agent": {
                "model": "a/b", "allowedModels": ["a/b", "c/d"], "modelAliases": { "best": "a/b" },
                "modelFallbacks": ["c/d"], "imageModel": "c/d", "imageModelFallbacks": ["x/y"], "timeoutSeconds": 100,
                "tools": { "allow": ["exec"], "deny": ["write"] }, "elevated": { "enabled": true },
                "bash": { "timeoutSec": 10 }, "sandbox": { "mode": "off", "tools": { "allow": ["read"] } },
                "subagents": { "maxConcurrent": 2, "tools": { "deny": ["exec"] } }
            },
            "telegram": { "botToken": "x", "requireMention": true }
        })
    }

    #[test]
    fn everything_finds_its_place() {
        let mut it = old();
        let said = migrate(&mut it);
        let want = json!({
            "gateway": { "mode": "local", "auth": { "token": "abc" } },
            "channels": {
                "telegram": { "botToken": "x", "groups": { "*": { "requireMention": true } } },
                "whatsapp": { "allowFrom": ["+15555550123"], "groups": { "*": { "requireMention": true } } }
            },
            "messages": { "groupChat": { "historyLimit": 20, "mentionPatterns": ["@sam"] }, "queue": { "mode": "collect" } },
            "bindings": [{ "agentId": "main", "match": { "channel": "whatsapp", "accountId": "biz" } }],
            "tools": {
                "agentToAgent": { "enabled": true }, "allow": ["exec"], "deny": ["write"], "elevated": { "enabled": true },
                "exec": { "timeoutSec": 10 }, "sandbox": { "tools": { "allow": ["read"] } },
                "subagents": { "tools": { "deny": ["exec"] } },
                "media": { "audio": { "enabled": true, "models": [
                    { "type": "cli", "command": "whisper", "args": ["{{MediaPath}}"], "timeoutSeconds": 30 }
                ] } }
            },
            "agents": {
                "defaults": {
                    "model": { "primary": "a/b", "fallbacks": ["c/d"] },
                    "imageModel": { "primary": "c/d", "fallbacks": ["x/y"] },
                    "models": { "a/b": { "alias": "best" }, "c/d": {} },
                    "timeoutSeconds": 100, "sandbox": { "mode": "off" }, "subagents": { "maxConcurrent": 2 }
                },
                "list": [
                    { "id": "main", "workspace": "~/w" },
                    { "id": "work", "groupChat": { "mentionPatterns": ["@w"] }, "default": true, "identity": { "name": "Samantha" } }
                ]
            }
        });
        assert_eq!(it, want, "{it:#}");
        assert_eq!(keys::check(&it), [], "nothing in it is unknown");
        assert!(said.len() > 20, "{said:?}");
        assert_eq!(migrate(&mut it), [] as [String; 0], "a second time there is nothing to do");
    }
    #[test]
    fn what_is_set_already_stays() {
        let mut it = json!({ "gateway": { "token": "old", "auth": { "token": "new" } }, "agent": { "model": "a/b" },
            "agents": { "defaults": { "model": { "primary": "c/d" } } } });
        let said = migrate(&mut it);
        assert_eq!(it["gateway"], json!({ "auth": { "token": "new" } }));
        assert_eq!(it["agents"]["defaults"]["model"]["primary"], "c/d");
        assert!(
            said.iter().any(|it| it == "removed gateway.token: gateway.auth.token was set already"),
            "{said:?}"
        );
    }
    #[test]
    fn odd_documents() {
        for mut it in [
            json!({}),
            json!({ "routing": 5, "agent": "x", "agents": 3 }),
            json!({ "identity": 1, "agents": { "list": 4 } }),
        ] {
            migrate(&mut it);
            assert!(it.is_object());
        }
    }
}
