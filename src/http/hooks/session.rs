//! In which session of which agent a webhook's run takes place, and whether whoever asks may choose that. Pure.
use super::action::Named;
use crate::config::{Config, Hooks, normal_id};
use crate::gateway::routing::bare;
use crate::gateway::sessions::agent_of;

/// What sessions of webhooks are called. Whoever asks may name one of these, unless the configuration says otherwise.
const OWN: &str = "hook:";

/// `agent:<id>:<rest>`, and that id. `new` is a key that nobody has used.
///
/// # Errors
/// What is wrong, in the words of the latest release where it has some.
pub fn choose(
    hooks: &Hooks,
    config: &Config,
    agent_id: Option<&str>,
    named: Option<(&str, Named)>,
    new: &str,
) -> Result<(String, String), String> {
    let default = hooks.default_session_key.as_deref().map(|it| (it, Named::Config));
    let key = match named.or(default) {
        Some((key, by)) => {
            let key = key.trim().to_lowercase();
            check(hooks, &key, by)?;
            key
        }
        None => new.to_owned(),
    };
    let known = |id: &str| config.agents.get(id).is_some() || id == config.agents.default_id();
    let of_key = agent_of(&key).map(normal_id);
    let asked = agent_id.map(normal_id);
    if let (Some(asked), Some(of_key)) = (&asked, &of_key)
        && asked != of_key
    {
        return Err(format!("agentId {asked:?} does not match the agent of sessionKey, {of_key:?}"));
    }
    let agent = match of_key.or(asked) {
        Some(id) if known(&id) => id,
        // Latest: whoever is not known is the default agent.
        _ => config.agents.default_id().to_owned(),
    };
    if hooks.agent_ids.as_ref().is_some_and(|all| !all.contains(&agent)) {
        return Err("agentId is not allowed by hooks.allowedAgentIds".to_owned());
    }
    Ok((format!("agent:{agent}:{}", bare(&key)), agent))
}

fn check(hooks: &Hooks, key: &str, by: Named) -> Result<(), String> {
    // Letters that only look like those of a prefix are no way around it.
    if !key.bytes().all(|it| it.is_ascii_graphic()) || bare(key).is_empty() {
        return Err("sessionKey may hold printable ASCII without spaces only".to_owned());
    }
    if by == Named::Request && hooks.any_session_key == Some(false) {
        return Err(
            "sessionKey is disabled for external /hooks/agent payloads; set hooks.allowRequestSessionKey=true to enable"
                .to_owned(),
        );
    }
    let begins = |it: &str| key.starts_with(it) || bare(key).starts_with(it);
    let free = by == Named::Config || hooks.any_session_key == Some(true);
    match &hooks.session_key_prefixes[..] {
        [] if free || begins(OWN) => Ok(()),
        [] => Err(format!("sessionKey must start with one of: {OWN}")),
        all if all.iter().any(|it| begins(it)) => Ok(()),
        all => Err(format!("sessionKey must start with one of: {}", all.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_for_tests;
    use serde_json::{Value, json};

    /// `hooks`, the agent asked for, the key and who named it; what comes of it.
    fn play(more: Value, agent: Option<&str>, key: Option<(&str, Named)>) -> String {
        let mut root = json!({
            "hooks": {"enabled": true, "token": "t"}, "agents": {"list": [{"id": "main", "default": true}, {"id": "other"}]},
        });
        for (name, value) in more.as_object().unwrap() {
            root["hooks"][name] = value.clone();
        }
        let config = read_for_tests(&root);
        let chosen = choose(config.hooks.as_ref().unwrap(), &config, agent, key, "hook:new");
        chosen.map_or_else(|err| format!("! {err}"), |it| it.0)
    }

    #[test]
    fn who_may_choose_what() {
        use Named::{Config, Request, Template};
        let ask = |key| Some((key, Request));
        assert_eq!(play(json!({}), None, None), "agent:main:hook:new");
        assert_eq!(play(json!({"defaultSessionKey": "hook:in"}), Some("other"), None), "agent:other:hook:in");
        assert_eq!(play(json!({}), Some("nobody"), None), "agent:main:hook:new");
        assert_eq!(play(json!({}), None, ask("Hook:Email:1")), "agent:main:hook:email:1");
        assert_eq!(play(json!({}), None, ask("agent:other:hook:1")), "agent:other:hook:1");
        assert!(play(json!({}), Some("main"), ask("agent:other:hook:1")).starts_with("! agentId"));
        for key in ["main", "agent:main:main", "agent:main:telegram:1", "xhook:1"] {
            assert_eq!(
                play(json!({}), None, ask(key)),
                "! sessionKey must start with one of: hook:",
                "{key}"
            );
            assert_eq!(
                play(json!({}), None, Some((key, Template))),
                "! sessionKey must start with one of: hook:",
                "{key}"
            );
        }
        for key in ["ｈｏｏｋ:1", "hook: 1", "hook:\u{0}", "hook:ä", "agent:main:"] {
            assert!(
                play(json!({"allowRequestSessionKey": true}), None, ask(key))
                    .starts_with("! sessionKey may hold"),
                "{key}"
            );
        }
        assert_eq!(play(json!({}), None, Some(("mail", Config))), "agent:main:mail");
        assert_eq!(play(json!({"allowRequestSessionKey": true}), None, ask("main")), "agent:main:main");
        let never = json!({"allowRequestSessionKey": false});
        assert!(play(never.clone(), None, ask("hook:1")).starts_with("! sessionKey is disabled"));
        assert_eq!(play(never, None, Some(("hook:1", Template))), "agent:main:hook:1");
        let listed =
            json!({"allowedSessionKeyPrefixes": ["In:", "hook:gmail:"], "allowRequestSessionKey": true});
        assert_eq!(play(listed.clone(), None, ask("in:1")), "agent:main:in:1");
        for by in [Request, Template, Config] {
            assert_eq!(
                play(listed.clone(), None, Some(("hook:1", by))),
                "! sessionKey must start with one of: in:, hook:gmail:"
            );
        }
        let one = json!({"allowedAgentIds": ["Other"]});
        assert_eq!(play(one.clone(), Some("other"), None), "agent:other:hook:new");
        for (agent, key) in
            [(Some("main"), None), (None, None), (Some("nobody"), None), (None, ask("agent:main:hook:1"))]
        {
            assert!(play(one.clone(), agent, key).starts_with("! agentId is not allowed"), "{agent:?}");
        }
        assert!(play(json!({"allowedAgentIds": []}), None, None).starts_with("! agentId is not allowed"));
        assert_eq!(play(json!({"allowedAgentIds": ["x", "*"]}), None, None), "agent:main:hook:new");
    }
}
