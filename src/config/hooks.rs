//! The typed form of `hooks`: what may wake the agent from outside, and what it is told then.
use super::model::normal_id;
use super::reader::{Node, Reader};
use crate::base::limits::{HOOK_BODY_BYTES_CAP, HOOK_BODY_BYTES_MAX, RUN_TIMEOUT_MS_MAX};
use crate::base::secret::Secret;

/// `hooks`, when it is enabled.
#[derive(Debug, Clone)]
pub struct Hooks {
    pub token: Secret,
    /// Begins with a slash, ends with none.
    pub path: String,
    pub body_bytes_max: u64,
    /// Those of the file, then those of its presets.
    pub mappings: Vec<Mapping>,
    /// The session of requests that name none; a new one for each when it is not set.
    pub default_session_key: Option<String>,
    /// Whether whoever asks may name any session. Not set: those whose key begins with `hook:`.
    pub any_session_key: Option<bool>,
    /// Beginnings of the session keys that may be named; lower case. Empty: not set.
    pub session_key_prefixes: Vec<String>,
    /// The agents that may be woken; None for all.
    pub agent_ids: Option<Vec<String>>,
}

/// What becomes of a request to a path of its own. Texts may hold `{{…}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Without slashes around it; None for any.
    pub path: Option<String>,
    /// What the payload must have as `source`.
    pub source: Option<String>,
    /// It only queues a text for the main session.
    pub wakes: bool,
    pub text: String,
    /// Wake at once, not at the next heartbeat.
    pub now: bool,
    pub name: Option<String>,
    pub agent_id: Option<String>,
    pub session_key: Option<String>,
    pub deliver: bool,
    /// What came is told to the model as it is.
    pub is_trusted: bool,
    pub channel: Option<String>,
    pub to: Option<String>,
    pub model: Option<String>,
    pub thinking: Option<String>,
    pub timeout_s: Option<u64>,
    /// It wants a JavaScript module, which nothing here can run.
    pub transforms: bool,
}

const PATH: &str = "/hooks";
/// Of the sessions that mail is read in; `hooks.gmail` says how.
const GMAIL: &str = "hook:gmail:";

pub(super) fn hooks(at: &Node, r: &mut Reader) -> Option<Hooks> {
    r.boolean(at.at("enabled")).filter(|it| *it)?;
    let token = text(at, "token", r);
    if token.is_none() {
        r.refuse(&at.at("enabled"), "hooks.enabled requires hooks.token: set it to a secret of its own");
    }
    let path = text(at, "path", r).unwrap_or_else(|| PATH.to_owned());
    let path = format!("/{}", path.trim_matches('/'));
    if path == "/" {
        r.refuse(&at.at("path"), "hooks.path may not be '/': every other path would be below it");
    }
    let default_session_key = text(at, "defaultSessionKey", r);
    let prefixes = r.strings(at.at("allowedSessionKeyPrefixes")).into_iter();
    let prefixes = prefixes.map(|it| it.trim().to_lowercase()).filter(|it| !it.is_empty()).collect();
    let agents = at.at("allowedAgentIds").is_there().then(|| r.strings(at.at("allowedAgentIds")));
    let agents = agents.filter(|all| !all.iter().any(|it| it.trim() == "*"));
    let body = r.integer(at.at("maxBodyBytes"), 1, u64::MAX);
    Some(Hooks {
        token: Secret::new(token?),
        path,
        body_bytes_max: body.unwrap_or(HOOK_BODY_BYTES_MAX).min(HOOK_BODY_BYTES_CAP),
        mappings: mappings(at, r),
        default_session_key,
        any_session_key: r.boolean(at.at("allowRequestSessionKey")),
        session_key_prefixes: prefixes,
        agent_ids: agents.map(|all| all.iter().map(|it| normal_id(it)).collect()),
    })
}

fn text(at: &Node, name: &str, r: &mut Reader) -> Option<String> {
    r.string(at.at(name)).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty())
}

fn mappings(at: &Node, r: &mut Reader) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = at.at("mappings").items().iter().map(|it| mapping(it, r)).collect();
    let gmail = at.at("gmail");
    for preset in at.at("presets").items() {
        match r.string(preset.clone()).as_deref() {
            Some("gmail") => {
                all.push(Mapping {
                    is_trusted: r.boolean(gmail.at("allowUnsafeExternalContent")).unwrap_or(false),
                    ..of_gmail()
                });
            }
            Some(_) => r.warn(&preset, "there is no such preset: only \"gmail\""),
            None => {}
        }
    }
    let (model, thinking) = (text(&gmail, "model", r), text(&gmail, "thinking", r));
    for it in all.iter_mut().filter(|it| it.session_key.as_ref().is_some_and(|it| it.starts_with(GMAIL))) {
        it.model = it.model.take().or(model.clone());
        it.thinking = it.thinking.take().or(thinking.clone());
    }
    all
}

fn mapping(at: &Node, r: &mut Reader) -> Mapping {
    let wakes = r.word(at.at("action"), &[("agent", false), ("wake", true)]).unwrap_or(false);
    let template = if wakes { "textTemplate" } else { "messageTemplate" };
    let transforms = at.at("transform").is_there();
    if transforms {
        let message = "JavaScript modules cannot be run here: requests to this mapping are refused until `transform` is gone";
        r.warn(&at.at("transform"), message);
    }
    Mapping {
        path: text(at, "match.path", r).map(|it| it.trim_matches('/').to_owned()).filter(|it| !it.is_empty()),
        source: text(at, "match.source", r),
        wakes,
        text: r.string(at.at(template)).unwrap_or_default(),
        now: r.word(at.at("wakeMode"), &[("now", true), ("next-heartbeat", false)]).unwrap_or(true),
        name: text(at, "name", r),
        agent_id: text(at, "agentId", r),
        session_key: text(at, "sessionKey", r),
        deliver: r.boolean(at.at("deliver")).unwrap_or(true),
        is_trusted: r.boolean(at.at("allowUnsafeExternalContent")).unwrap_or(false),
        channel: text(at, "channel", r),
        to: text(at, "to", r),
        model: text(at, "model", r),
        thinking: text(at, "thinking", r),
        timeout_s: r
            .integer(at.at("timeoutSeconds"), 1, u64::MAX)
            .map(|it| it.min(RUN_TIMEOUT_MS_MAX / 1000)),
        transforms,
    }
}

/// What the watcher of a mailbox posts.
fn of_gmail() -> Mapping {
    let mail = |field: &str| format!("{{{{messages[0].{field}}}}}");
    let text = format!(
        "A mail has come.\nFrom: {}\nSubject: {}\n{}\n{}",
        mail("from"),
        mail("subject"),
        mail("snippet"),
        mail("body")
    );
    Mapping {
        path: Some("gmail".to_owned()),
        text,
        now: true,
        name: Some("Gmail".to_owned()),
        session_key: Some(format!("{GMAIL}{}", mail("id"))),
        deliver: true,
        ..Mapping::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Issue;
    use serde_json::{Value, json};

    fn read(value: &Value) -> (Option<Hooks>, Vec<String>) {
        let mut issues: Vec<Issue> = vec![];
        let hooks = hooks(&Node::root(value), &mut Reader { issues: &mut issues });
        (hooks, issues.iter().map(|it| it.message.clone()).collect())
    }

    #[test]
    fn off_unless_it_is_on_and_has_a_token() {
        assert!(read(&json!({})).0.is_none() && read(&json!({"token": "t"})).1.is_empty());
        let (hooks, issues) = read(&json!({"enabled": true, "token": " "}));
        assert!(hooks.is_none() && issues[0].starts_with("hooks.enabled requires hooks.token"), "{issues:?}");
        for path in ["/", "//", " / "] {
            let (_, issues) = read(&json!({"enabled": true, "token": "t", "path": path}));
            assert!(issues[0].starts_with("hooks.path may not be '/'"), "{issues:?}");
        }
        let path = |it: &str| read(&json!({"enabled": true, "token": "t", "path": it})).0.unwrap().path;
        assert_eq!([path(""), path("in/"), path("/a/b//")], ["/hooks", "/in", "/a/b"]);
    }
    #[test]
    fn presets_come_behind_and_gmail_says_how_mail_is_read() {
        let (hooks, issues) = read(&json!({
            "enabled": true, "token": "t", "presets": ["gmail", "x"], "allowedAgentIds": ["Main"], "maxBodyBytes": 999_999_999_999u64,
            "gmail": {"model": "a/b", "thinking": "low", "allowUnsafeExternalContent": true},
            "mappings": [{"match": {"path": "/m1/"}, "transform": {"module": "x.js"}}, {"action": "wake", "wakeMode": "next-heartbeat"}],
        }));
        let hooks = hooks.unwrap();
        assert_eq!(issues.len(), 2, "{issues:?}");
        let [own, wake, gmail] = &hooks.mappings[..] else { panic!("{hooks:?}") };
        assert_eq!((own.path.as_deref(), own.transforms, own.model.as_deref()), (Some("m1"), true, None));
        assert!(wake.wakes && !wake.now && gmail.now && gmail.is_trusted);
        assert_eq!((gmail.model.as_deref(), gmail.thinking.as_deref()), (Some("a/b"), Some("low")));
        assert_eq!(hooks.agent_ids, Some(vec!["main".to_owned()]));
        assert_eq!(hooks.body_bytes_max, HOOK_BODY_BYTES_CAP);
    }
}
