//! What a changed configuration asks of a running gateway.
//!
//! Every key that is known has its class in the table of keys, after the rules of the reference (protocol facts 8.1) with three exceptions:
//! `meta`, which the original stamps at every write, and so restarts at every write (its users asked it not to);
//! `gateway.config.redact`, which only gatewayd knows; and the secret of the gateway: whoever changes that wants the old one to be worth
//! nothing now, not after the restart's cooldown. The first two are read when they are needed.
use super::keys;
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
    Secret,
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

/// The class of a key of the table. The strongest comes last: a section asks for the most that anything in it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Read whenever it is needed.
    None,
    /// Below `channels.<name>`: read whenever that channel needs it; a restart while there is no such channel.
    Live,
    Hot(Part),
    /// Below `channels.<name>`: that channel anew; a restart while there is no such channel.
    Channel,
    /// As [`Rule::Channel`], of the one that the reference runs over the web: WhatsApp.
    Web,
    Restart,
}

/// The words of the table.
pub(super) const CLASSES: &[(&str, Rule)] = &[
    ("none", Rule::None),
    ("live", Rule::Live),
    ("gmail", Rule::Hot(Part::GmailWatcher)),
    ("hooks", Rule::Hot(Part::Hooks)),
    ("heartbeat", Rule::Hot(Part::Heartbeat)),
    ("cron", Rule::Hot(Part::Cron)),
    ("browser", Rule::Hot(Part::Browser)),
    ("secret", Rule::Hot(Part::Secret)),
    ("channel", Rule::Channel),
    ("web", Rule::Web),
    ("restart", Rule::Restart),
];

/// The class of one path of names; `loaded` names the running channels. A key that nobody knows means nothing, so a change of it asks
/// for nothing.
pub fn explain<'p>(path: &[&'p str], loaded: &[&str]) -> Class<'p> {
    let channel = |name: &'p str, class| if loaded.contains(&name) { class } else { Class::Restart };
    match (keys::rule(path).unwrap_or(Rule::None), path) {
        (Rule::None, _) => Class::None,
        (Rule::Hot(part), _) => Class::Hot(part),
        (Rule::Live, ["channels", name, ..]) => channel(name, Class::None),
        (Rule::Channel, ["channels", name, ..]) => channel(name, Class::Channel(name)),
        (Rule::Web, _) => channel("whatsapp", Class::Channel("whatsapp")),
        (Rule::Live | Rule::Channel | Rule::Restart, _) => Class::Restart,
    }
}

/// Paths at which two values differ, dotted: leaves, whole arrays, and whole objects that come or go.
pub fn changed(old: &Value, new: &Value) -> Vec<String> {
    let mut paths = vec![];
    compare(Some(old), Some(new), &mut vec![], &mut |path| paths.push(path.join(".")));
    paths
}

fn compare<'v>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    path: &mut Vec<&'v str>,
    found: &mut dyn FnMut(&[&'v str]),
) {
    let none = members(old).next().is_none() && members(new).next().is_none();
    if none || !is_object(old) || !is_object(new) {
        if old != new {
            found(path);
        }
        return;
    }
    let of = |it: Option<&'v Value>, name: &str| it.and_then(|it| it.get(name));
    for name in members(old).chain(members(new).filter(|it| of(old, it).is_none())) {
        path.push(name);
        compare(of(old, name), of(new, name), path, found);
        path.pop();
    }
}

/// `new`, but with `old` wherever only a restart could bring the change in.
pub fn hold(old: &Value, new: &Value, loaded: &[&str]) -> Value {
    held(Some(old), Some(new), &mut vec![], loaded).unwrap_or_default()
}

fn held<'v>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    path: &mut Vec<&'v str>,
    loaded: &[&str],
) -> Option<Value> {
    if old == new {
        return new.cloned();
    }
    let empty = |it: Option<&Value>| members(it).next().is_none();
    if !is_object(old) || !is_object(new) || (empty(old) && empty(new)) {
        let kept = if explain(path, loaded) == Class::Restart { old } else { new };
        return kept.cloned();
    }
    let mut out = serde_json::Map::new();
    for name in members(new).chain(members(old).filter(|it| new.and_then(|new| new.get(*it)).is_none())) {
        let (old, new) = (old.and_then(|it| it.get(name)), new.and_then(|it| it.get(name)));
        path.push(name);
        out.extend(held(old, new, path, loaded).map(|it| (name.clone(), it)));
        path.pop();
    }
    let was_empty = new.is_some() && empty(new);
    (was_empty || !out.is_empty()).then_some(Value::Object(out))
}

/// What is not there reads as an empty object.
fn is_object(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_object)
}

fn members<'v>(value: Option<&'v Value>) -> impl Iterator<Item = &'v String> + use<'v> {
    value.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys)
}

impl Plan {
    /// What it takes to get from one resolved document to another.
    pub fn between(old: &Value, new: &Value, loaded: &[&str]) -> Plan {
        let mut plan = Plan::default();
        compare(Some(old), Some(new), &mut vec![], &mut |path| {
            let dotted = path.join(".");
            match explain(path, loaded) {
                Class::None => {}
                // The hooks themselves may name the watcher.
                Class::Hot(Part::GmailWatcher) => plan.hot.extend([Part::GmailWatcher, Part::Hooks]),
                Class::Hot(part) => _ = plan.hot.insert(part),
                Class::Channel(name) => _ = plan.channels.insert(name.to_owned()),
                Class::Restart => plan.restart.push(dotted.clone()),
            }
            plan.changed.push(dotted);
        });
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_needs_a_restart_is_held_back() {
        let old = json!({ "gateway": { "port": 1, "reload": { "mode": "hot" } }, "messages": { "a": 1 }, "update": { "channel": 1 } });
        let new = json!({ "gateway": { "port": 2, "auth": { "token": "t", "allowTailscale": true }, "reload": {} }, "messages": { "b": 2 }, "ui": {} });
        let want = json!({ "gateway": { "port": 1, "auth": { "token": "t" }, "reload": {} }, "messages": { "b": 2 }, "ui": {}, "update": { "channel": 1 } });
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
            ("gateway.config.redact", None),
            ("hooks.gmail.account", Hot(Part::GmailWatcher)),
            ("hooks.token", Hot(Part::Hooks)),
            ("hooks", Hot(Part::Hooks)),
            ("hooks.mappings", Hot(Part::Hooks)),
            ("hooks.mappings.0.name", Hot(Part::Hooks)),
            ("agents.defaults.heartbeat.every", Hot(Part::Heartbeat)),
            ("agents.defaults.heartbeat", Hot(Part::Heartbeat)),
            ("cron.enabled", Hot(Part::Cron)),
            ("browser.color", Hot(Part::Browser)),
            ("channels.telegram.botToken", Channel("telegram")),
            ("channels.telegram", Channel("telegram")),
            ("channels.telegram.accounts.work.botToken", Channel("telegram")),
            ("channels.discord.token", Restart),
            ("channels.telegrams.x", Restart),
            ("channels.whatsapp.allowFrom", None),
            ("channels.whatsapp.accounts.work.dmPolicy", None),
            ("channels.defaults.groupPolicy", Restart),
            ("web.enabled", Channel("whatsapp")),
            ("channels", Restart),
            ("wizard.lastRunAt", None),
            ("logging.level", None),
            ("models.providers.mock.models", None),
            ("models.providers.a.b/c.apiKey", None),
            ("agents.list", None),
            ("agents.list.0.heartbeat.every", None),
            ("agents.entries.main.heartbeat.every", None),
            ("tools.exec.host", None),
            ("tools.media.image.models", None),
            ("bindings", None),
            ("audio.transcription.command", None),
            ("messages.queue.mode", None),
            ("session.scope", None),
            ("talk.apiKey", None),
            ("skills.entries.x.enabled", None),
            ("ui.seamColor", None),
            ("plugins.allow", Restart),
            ("plugins.entries.mine.config.deep.er", Restart),
            ("gateway.port", Restart),
            ("gateway.trustedProxies.3", Restart),
            ("gateway", Restart),
            ("gateway.auth", Restart),
            ("gateway.auth.token", Hot(Part::Secret)),
            ("gateway.auth.rateLimit.maxAttempts", Restart),
            ("discovery.mdns.mode", Restart),
            ("canvasHost.port", Restart),
            ("meta.lastTouchedAt", None),
            ("update.channel", Restart),
            ("commands.restart", Restart),
            ("approvals.exec.mode", Restart),
            ("env.vars.X", Restart),
            ("env.X", Restart),
            ("auth.order.x", Restart),
            ("memory.backend", Restart),
            ("diagnostics.enabled", Restart),
            ("broadcast.strategy", Restart),
            ("media.preserveFilenames", Restart),
            ("nodeHost.browserProxy.enabled", Restart),
            // Nobody knows these: nothing depends on them.
            ("identity.name", None),
            ("routing.x", None),
            ("agent.model", None),
            ("gateway.reloaded", None),
            ("cronies", None),
            ("unheard.of", None),
        ];
        let names = |path: &'static str| path.split('.').collect::<Vec<_>>();
        for (path, want) in cases {
            assert_eq!(explain(&names(path), &["telegram", "whatsapp"]), want, "{path}");
        }
        for path in ["channels.telegram.botToken", "channels.whatsapp.allowFrom", "web.enabled"] {
            assert_eq!(explain(&names(path), &[]), Restart, "{path}, not loaded");
        }
        assert_eq!(explain(&["plugins", "entries", "a.b", "enabled"], &[]), Restart, "a name may hold dots");
        assert_eq!(explain(&[], &[]), Restart, "the whole file");
    }

    /// Whatever differs is found once, at a path that the table has a class for or that nobody knows.
    #[test]
    fn every_line_of_the_table_is_seen_to_change() {
        let mut seen = 0;
        for keys::Line { path, rule, types, .. } in keys::lines() {
            if types.starts_with('=') {
                continue;
            }
            let document = |value: i64| {
                path.rsplit('.').fold(json!(value), |it, step| {
                    let name = step.trim_end_matches("[]");
                    let it = (0..(step.len() - name.len()) / 2).fold(it, |it, _| json!([it]));
                    json!({ (if name == "*" { "any" } else { name }): it })
                })
            };
            let channel = path.split('.').nth(1).unwrap_or_default();
            let plan = Plan::between(&document(1), &document(2), &["any", channel, "whatsapp"]);
            assert_eq!(plan.changed.len(), 1, "{path}");
            assert_eq!(rule == Rule::Restart, !plan.restart.is_empty(), "{path}");
            assert_eq!(matches!(rule, Rule::Hot(_)), !plan.hot.is_empty(), "{path}");
            assert_eq!(matches!(rule, Rule::Channel | Rule::Web), !plan.channels.is_empty(), "{path}");
            seen += 1;
        }
        assert!(seen > 800, "{seen}");
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
