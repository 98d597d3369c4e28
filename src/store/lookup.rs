//! Which session is meant: canonical keys, and `sessions.resolve`.
use super::index::Index;

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

/// `sessions.resolve` without its switches for `global` and `unknown`, which never hide a session that is asked for by key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    pub key: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub label: Option<&'a str>,
    /// Only sessions of this agent; not asked of a key.
    pub agent_id: Option<&'a str>,
    /// Only sessions that this one started; not asked of a key.
    pub spawned_by: Option<&'a str>,
}

/// The canonical key of the session. `stores` are the agents' indexes.
///
/// # Errors
/// The reference's texts.
pub fn resolve(wanted: Wanted<'_>, stores: &[(&str, &Index)], keys: Keys<'_>) -> Result<String, String> {
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
            canonical_key(key, keys).filter(|it| stores.iter().any(|(_, store)| store.get(it).is_some()));
        return canonical.ok_or_else(|| format!("No session found: {key}"));
    }
    let mut found: Vec<&str> = vec![];
    for (agent_id, store) in stores {
        if wanted.agent_id.is_some_and(|it| it != *agent_id) {
            continue;
        }
        found.extend(store.iter().filter_map(|(key, slot)| {
            let hit = match session_id {
                Some(_) => slot.session_id() == session_id,
                None => slot.label() == label,
            };
            let started = |by: &str| slot.entry().get("spawnedBy").is_some_and(|it| *it == by);
            (hit && wanted.spawned_by.is_none_or(started)).then_some(key)
        }));
    }
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
            "agent:main:two": {"label": "twice"}, "agent:main:three": {"label": "twice"}}"#;
        let main = Index::parse(main, "main").unwrap();
        let other = Index::parse(br#"{"agent:other:dup": {"label": "both"}}"#, "other").unwrap();
        let stores = [("main", &main), ("other", &other)];
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
        let child = Wanted { session_id: Some("7deb"), spawned_by: Some("a"), ..none };
        assert_eq!(ask(child), Ok("agent:main:subagent:zz".into()));
        assert!(
            ask(Wanted { label: Some("twice"), ..none }).unwrap_err().starts_with("Multiple sessions found")
        );
    }
}
