//! Which session is meant: canonical keys, and `sessions.resolve`.
use super::index::{Index, Slot};
use serde_json::{Map, Value};

/// What decides how a key is completed.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    pub default_agent: &'a str,
    /// `session.mainKey`; the reference's default is `main`.
    pub main_key: &'a str,
    /// `session.scope: global`: one conversation for all.
    pub global: bool,
}

/// The store's key for what a client calls a session; None for a blank one.
pub fn canonical_key(text: &str, keys: Keys<'_>) -> Option<String> {
    let text = text.trim();
    let is_main = |it: &str| it == "main" || it == keys.main_key;
    let (agent, rest) = match text.strip_prefix("agent:").and_then(|it| it.split_once(':')) {
        Some(it) if !it.0.is_empty() && !it.1.is_empty() => it,
        _ => (keys.default_agent, text),
    };
    Some(match text {
        "" => return None,
        "global" | "unknown" => text.to_owned(),
        _ if is_main(rest) && keys.global => "global".to_owned(),
        _ if is_main(rest) => format!("agent:{agent}:{}", keys.main_key),
        _ => format!("agent:{agent}:{rest}"),
    })
}

/// The agent in a session key; None when it names none.
pub fn agent_of(key: &str) -> Option<&str> {
    key.strip_prefix("agent:")?.split(':').next().filter(|it| !it.is_empty())
}

/// Whether a session was started by that one; either may be named as a client or an old file does.
pub fn is_spawned_by(entry: &Map<String, Value>, by: &str, keys: Keys<'_>) -> bool {
    let own = entry.get("spawnedBy").and_then(Value::as_str);
    own.is_some_and(|own| own == by || canonical_key(own, keys) == canonical_key(by, keys))
}

/// `sessions.resolve`. What is behind `label` is not asked of a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    pub key: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub label: Option<&'a str>,
    /// Only sessions of this agent.
    pub agent_id: Option<&'a str>,
    /// Only sessions that this one started.
    pub spawned_by: Option<&'a str>,
    /// `global` is one of them.
    pub include_global: bool,
    /// `unknown` is one of them.
    pub include_unknown: bool,
}

/// The canonical key of the session. `stores` are the agents' indexes.
///
/// # Errors
/// The reference's texts.
pub fn resolve(wanted: Wanted<'_>, stores: &[&Index], keys: Keys<'_>) -> Result<String, String> {
    fn given(text: Option<&str>) -> Option<&str> {
        text.map(str::trim).filter(|it| !it.is_empty())
    }
    let (key, session_id, label) = (given(wanted.key), given(wanted.session_id), given(wanted.label));
    match [key, session_id, label].iter().flatten().count() {
        0 => return Err("Either key, sessionId, or label is required".into()),
        1 => {}
        _ => return Err("Provide either key, sessionId, or label (not multiple)".into()),
    }
    if let Some(key) = key {
        let canonical =
            canonical_key(key, keys).filter(|it| stores.iter().any(|store| store.get(it).is_some()));
        return canonical.ok_or_else(|| format!("No session found: {key}"));
    }
    let is_wanted = |key: &str, slot: &Slot| {
        let hit = match session_id {
            Some(_) => slot.session_id() == session_id,
            None => slot.label() == label,
        };
        let of_agent = |id: &str| agent_of(key).is_some_and(|it| it.eq_ignore_ascii_case(id.trim()));
        let shown = match key {
            "global" => wanted.include_global,
            "unknown" => wanted.include_unknown,
            _ => true,
        };
        hit && shown
            && wanted.agent_id.is_none_or(of_agent)
            && wanted.spawned_by.is_none_or(|by| is_spawned_by(&slot.entry(), by, keys))
    };
    let all = stores.iter().flat_map(|it| it.iter());
    let found: Vec<&str> = all.filter(|(key, slot)| is_wanted(key, slot)).map(|it| it.0).collect();
    let named = match session_id {
        Some(it) => format!(": {it}"),
        None => format!(" with label: {}", label.unwrap_or_default()),
    };
    match found[..] {
        [key] => Ok(key.to_owned()),
        [] => Err(format!("No session found{named}")),
        _ => Err(format!("Multiple sessions found{named} ({})", found.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const KEYS: Keys<'_> = Keys { default_agent: "main", main_key: "main", global: false };

    #[test]
    fn keys() {
        let of = |text: &str| canonical_key(text, KEYS);
        let table = [
            ("main", "agent:main:main"),
            (" Other ", "agent:main:Other"),
            ("agent:main:Mixed CASE", "agent:main:Mixed CASE"),
            ("agent:Main:x", "agent:Main:x"),
            ("agent:work:main", "agent:work:main"),
            ("subagent:zz", "agent:main:subagent:zz"),
            ("global", "global"),
            ("unknown", "unknown"),
        ];
        for (text, want) in table {
            assert_eq!(of(text).as_deref(), Some(want));
        }
        assert_eq!(of("   "), None);
        let home = Keys { main_key: "home", ..KEYS };
        assert_eq!(canonical_key("agent:work:main", home).as_deref(), Some("agent:work:home"));
        assert_eq!(canonical_key("main", Keys { global: true, ..KEYS }).as_deref(), Some("global"));
    }

    #[test]
    fn resolving() {
        let main = br#"{"agent:main:probe": {"sessionId": "921e", "label": "same"},
            "agent:main:subagent:zz": {"sessionId": "7deb", "spawnedBy": "a"},
            "agent:main:two": {"label": "twice"}, "agent:main:three": {"label": "twice"},
            "global": {"sessionId": "g", "label": "all"}}"#;
        let main = Index::parse(main, "main").unwrap();
        let other = Index::parse(br#"{"agent:other:dup": {"label": "both"}}"#, "other").unwrap();
        let stores = [&main, &other];
        let ask = |wanted: Wanted<'_>| resolve(wanted, &stores, KEYS);
        let none = Wanted::default();
        let required = Err("Either key, sessionId, or label is required".to_owned());
        assert_eq!(ask(none), required);
        assert_eq!(ask(Wanted { key: Some("  "), ..none }), required);
        let two = Wanted { key: Some("a"), label: Some("b"), ..none };
        assert_eq!(ask(two), Err("Provide either key, sessionId, or label (not multiple)".into()));
        let probe = Ok("agent:main:probe".to_owned());
        assert_eq!(ask(Wanted { key: Some("probe"), label: Some("  "), ..none }), probe);
        assert_eq!(ask(Wanted { key: Some("agent:main:probe"), agent_id: Some("other"), ..none }), probe);
        assert_eq!(ask(Wanted { session_id: Some("921e"), ..none }), probe);
        assert_eq!(ask(Wanted { label: Some("same"), agent_id: Some("main"), ..none }), probe);
        assert_eq!(ask(Wanted { key: Some("nosuch"), ..none }), Err("No session found: nosuch".into()));
        assert_eq!(ask(Wanted { session_id: Some("noid"), ..none }), Err("No session found: noid".into()));
        let gone = Err("No session found with label: same".to_owned());
        assert_eq!(ask(Wanted { label: Some("same"), agent_id: Some("zz"), ..none }), gone);
        assert_eq!(ask(Wanted { label: Some("same"), spawned_by: Some("x"), ..none }), gone);
        for by in ["a", "agent:main:a"] {
            let child = Wanted { session_id: Some("7deb"), spawned_by: Some(by), ..none };
            assert_eq!(ask(child), Ok("agent:main:subagent:zz".into()));
        }
        let global = Wanted { session_id: Some("g"), ..none };
        assert_eq!(ask(global), Err("No session found: g".into()));
        assert_eq!(ask(Wanted { include_global: true, ..global }), Ok("global".into()));
        assert!(ask(Wanted { include_global: true, agent_id: Some("main"), ..global }).is_err());
        assert_eq!(ask(Wanted { key: Some("global"), ..none }), Ok("global".into()));
        assert!(
            ask(Wanted { label: Some("twice"), ..none }).unwrap_err().starts_with("Multiple sessions found")
        );
    }
}
