//! What a changed configuration asks of a running gateway.
//!
//! The rule table of the reference (protocol facts 8.1): the first rule whose prefix matches decides; a path that none matches restarts.
use super::below;
use serde_json::Value;
use std::collections::BTreeSet;

/// What one changed path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class<'p> {
    /// Nothing: it is read when it is needed.
    None,
    /// The part of the gateway to set up anew, in place.
    Hot(Part),
    /// The channel to start anew.
    Channel(&'p str),
    /// The whole gateway.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    GmailWatcher,
    Hooks,
    Heartbeat,
    Cron,
    Browser,
}

/// What a set of changes asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub hot: BTreeSet<Part>,
    pub channels: BTreeSet<String>,
    /// The paths that ask for a restart.
    pub restart: Vec<String>,
    /// Every changed path.
    pub changed: Vec<String>,
}

const BEFORE_CHANNELS: &[(&str, Class)] = &[
    ("gateway.remote", Class::None),
    ("gateway.reload", Class::None),
    // The original stamps these at every write, and so restarts at every write: its users asked it not to.
    ("meta.lastTouchedAt", Class::None),
    ("meta.lastTouchedVersion", Class::None),
    ("hooks.gmail", Class::Hot(Part::GmailWatcher)),
    ("hooks", Class::Hot(Part::Hooks)),
    ("agents.defaults.heartbeat", Class::Hot(Part::Heartbeat)),
    ("agent.heartbeat", Class::Hot(Part::Heartbeat)),
    ("cron", Class::Hot(Part::Cron)),
    ("browser", Class::Hot(Part::Browser)),
];
/// While the WhatsApp channel is loaded.
const WHATSAPP: &[(&str, Class)] = &[("web", Class::Channel("whatsapp")), ("channels.whatsapp", Class::None)];
/// Read whenever they are needed.
const DYNAMIC: &[&str] = &[
    "identity", "wizard", "logging", "models", "agents", "tools", "bindings", "audio", "agent", "routing",
    "messages", "session", "talk", "skills", "ui",
];

/// The class of one path; `loaded` names the running channels.
pub fn explain<'p>(path: &'p str, loaded: &[&str]) -> Class<'p> {
    let within =
        |prefix: &str| path.strip_prefix(prefix).is_some_and(|it| it.is_empty() || it.starts_with('.'));
    let whatsapp = if loaded.contains(&"whatsapp") { WHATSAPP } else { &[] };
    let rules = BEFORE_CHANNELS.iter().chain(whatsapp);
    if let Some((_, class)) = rules.copied().find(|(prefix, _)| within(prefix)) {
        return class;
    }
    let channel = path.strip_prefix("channels.").and_then(|it| it.split('.').next());
    match channel.filter(|it| loaded.contains(it)) {
        Some(channel) => Class::Channel(channel),
        None if DYNAMIC.iter().any(|it| within(it)) => Class::None,
        None => Class::Restart,
    }
}

/// Paths at which two values differ: leaves, whole arrays, and whole objects that come or go.
pub fn changed(old: &Value, new: &Value) -> Vec<String> {
    let mut paths = vec![];
    compare(Some(old), Some(new), "", &mut paths);
    paths
}

fn compare(old: Option<&Value>, new: Option<&Value>, path: &str, out: &mut Vec<String>) {
    if old == new {
        return;
    }
    let object = |it: Option<&Value>| it.is_none_or(Value::is_object);
    let mut names: Vec<&String> = keys(old).collect();
    names.extend(keys(new).filter(|it| old.and_then(|old| old.get(*it)).is_none()));
    if names.is_empty() || !object(old) || !object(new) {
        return out.push(path.to_owned());
    }
    for name in names {
        let (old, new) = (old.and_then(|it| it.get(name)), new.and_then(|it| it.get(name)));
        compare(old, new, &below(path, name), out);
    }
}

/// `new`, but with `old` wherever only a restart could bring the change in.
pub fn hold(old: &Value, new: &Value, loaded: &[&str]) -> Value {
    held(Some(old), Some(new), "", loaded).unwrap_or_default()
}

fn held(old: Option<&Value>, new: Option<&Value>, path: &str, loaded: &[&str]) -> Option<Value> {
    if old == new {
        return new.cloned();
    }
    let members = |it: Option<&Value>| it.is_none_or(Value::is_object);
    if !members(old) || !members(new) || (keys(old).next().is_none() && keys(new).next().is_none()) {
        let kept = if explain(path, loaded) == Class::Restart { old } else { new };
        return kept.cloned();
    }
    let mut out = serde_json::Map::new();
    for name in keys(new).chain(keys(old).filter(|it| new.and_then(|new| new.get(*it)).is_none())) {
        let (old, new) = (old.and_then(|it| it.get(name)), new.and_then(|it| it.get(name)));
        out.extend(held(old, new, &below(path, name), loaded).map(|it| (name.clone(), it)));
    }
    let was_empty = new.is_some() && keys(new).next().is_none();
    (was_empty || !out.is_empty()).then_some(Value::Object(out))
}

fn keys(value: Option<&Value>) -> impl Iterator<Item = &String> {
    value.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys)
}

impl Plan {
    /// What it takes to get from one resolved document to another.
    pub fn between(old: &Value, new: &Value, loaded: &[&str]) -> Plan {
        let mut plan = Plan { changed: changed(old, new), ..Plan::default() };
        for path in &plan.changed {
            match explain(path, loaded) {
                Class::None => {}
                // The hooks themselves may name the watcher.
                Class::Hot(Part::GmailWatcher) => plan.hot.extend([Part::GmailWatcher, Part::Hooks]),
                Class::Hot(part) => _ = plan.hot.insert(part),
                Class::Channel(name) => _ = plan.channels.insert(name.to_owned()),
                Class::Restart => plan.restart.push(path.clone()),
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_needs_a_restart_is_held_back() {
        let old = json!({ "gateway": { "port": 1, "reload": { "mode": "hot" } }, "messages": { "a": 1 }, "update": { "x": 1 } });
        let new = json!({ "gateway": { "port": 2, "auth": { "token": "t" }, "reload": {} }, "messages": { "b": 2 }, "ui": {} });
        let want = json!({ "gateway": { "port": 1, "reload": {} }, "messages": { "b": 2 }, "ui": {}, "update": { "x": 1 } });
        assert_eq!(hold(&old, &new, &[]), want);
        assert_eq!(Plan::between(&old, &hold(&old, &new, &[]), &[]).restart, [""; 0]);
    }

    #[test]
    fn every_rule_of_the_table() {
        use Class::{Channel, Hot, None, Restart};
        let cases = [
            ("gateway.remote.url", None),
            ("gateway.reload", None),
            ("gateway.reload.mode", None),
            ("gateway.reloaded", Restart),
            ("hooks.gmail.account", Hot(Part::GmailWatcher)),
            ("hooks.token", Hot(Part::Hooks)),
            ("hooks", Hot(Part::Hooks)),
            ("hooks.mappings", Hot(Part::Hooks)),
            ("agents.defaults.heartbeat.every", Hot(Part::Heartbeat)),
            ("agent.heartbeat", Hot(Part::Heartbeat)),
            ("agents.defaults.heartbeats", None),
            ("cron.enabled", Hot(Part::Cron)),
            ("cronies", Restart),
            ("browser.color", Hot(Part::Browser)),
            ("channels.telegram.botToken", Channel("telegram")),
            ("channels.telegram", Channel("telegram")),
            ("channels.discord.token", Restart),
            ("channels.telegrams.x", Restart),
            ("channels.whatsapp.allowFrom", None),
            ("web.enabled", Channel("whatsapp")),
            ("channels", Restart),
            ("identity.name", None),
            ("wizard.lastRunAt", None),
            ("logging.level", None),
            ("models.providers.mock.models", None),
            ("agents.list", None),
            ("tools.exec.host", None),
            ("bindings", None),
            ("audio.x", None),
            ("agent.x", None),
            ("routing.x", None),
            ("messages.queue.mode", None),
            ("session.scope", None),
            ("talk.apiKey", None),
            ("skills.entries.x", None),
            ("ui.seamColor", None),
            ("plugins.allow", Restart),
            ("gateway.port", Restart),
            ("gateway", Restart),
            ("gateway.auth.token", Restart),
            ("discovery.mdns.mode", Restart),
            ("canvasHost.port", Restart),
            ("meta.lastTouchedAt", None),
            ("meta.other", Restart),
            ("update.channel", Restart),
            ("commands.restart", Restart),
            ("approvals.exec.mode", Restart),
            ("env.vars.X", Restart),
            ("auth.order.x", Restart),
            ("memory.backend", Restart),
            ("diagnostics.enabled", Restart),
            ("broadcast.strategy", Restart),
            ("media.preserveFilenames", Restart),
            ("nodeHost.browserProxy.enabled", Restart),
            ("", Restart),
            ("unheard.of", Restart),
        ];
        for (path, want) in cases {
            assert_eq!(explain(path, &["telegram", "whatsapp"]), want, "{path}");
        }
        for path in ["channels.telegram.botToken", "channels.whatsapp.allowFrom", "web.enabled"] {
            assert_eq!(explain(path, &[]), Restart, "{path}, not loaded");
        }
    }

    #[test]
    fn differences_are_leaves_and_arrays_by_value() {
        let old = json!({ "a": { "b": 1, "c": [{ "x": 1 }] }, "gone": { "k": 1, "e": {} }, "same": [{ "y": [] }], "t": {} });
        let new = json!({ "a": { "b": 2, "c": [{ "x": 2 }] }, "new": { "k": { "d": 1 } }, "same": [{ "y": [] }], "t": 5 });
        assert_eq!(changed(&old, &new), ["a.b", "a.c", "gone.k", "gone.e", "t", "new.k.d"]);
        assert_eq!(changed(&old, &old), [""; 0]);
        assert_eq!(changed(&json!({}), &json!({ "cron": {} })), ["cron"]);
    }

    #[test]
    fn a_plan_gathers_what_is_asked_for() {
        let old = json!({ "cron": { "enabled": true }, "logging": { "level": "info" }, "channels": { "telegram": { "enabled": true } } });
        let new = json!({ "cron": { "enabled": false }, "logging": { "level": "debug" }, "channels": { "telegram": { "enabled": false } }, "hooks": { "gmail": { "account": "x" } } });
        let plan = Plan::between(&old, &new, &["telegram"]);
        assert_eq!(plan.hot, BTreeSet::from([Part::GmailWatcher, Part::Hooks, Part::Cron]));
        assert_eq!((plan.channels, plan.restart), (BTreeSet::from(["telegram".to_owned()]), vec![]));
        assert_eq!(plan.changed.len(), 4);
        let plan = Plan::between(&old, &json!({ "gateway": { "port": 1 } }), &["telegram"]);
        assert_eq!(plan.restart, ["gateway.port"]);
    }
}
