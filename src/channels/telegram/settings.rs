//! The section `channels.telegram`, account by account. What an account does not say, the section says.
use super::html::Tables;
use super::may::May;
use super::people::{Group, People, groups, people};
use crate::base::files;
use crate::base::limits::{
    CHANNEL_ACCOUNTS_MAX, CHANNEL_MEDIA_MB, OVERHEARD_MAX, TELEGRAM_RETRY_MS_MAX, TELEGRAM_TEXT_MAX,
};
use crate::base::secret::Secret;
use crate::channels::About;
use crate::config::{DEFAULT_ACCOUNT, Mentions, normal_id, paths::expand_home};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Telegram's own server.
const ROOT: &str = "https://api.telegram.org";
/// Reference: 200 characters.
const BLOCK_BYTES: usize = 200;
/// Reference: 4000, a little below what the Bot API takes.
const TEXT_UNITS: usize = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmPolicy {
    Pairing,
    Allowlist,
    Open,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupPolicy {
    Open,
    Allowlist,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Off,
    Partial,
    Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reactions {
    Off,
    Own,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buttons {
    Off,
    Direct,
    Group,
    All,
    /// Of those who may command.
    Allowed,
}

/// `messages.ackReactionScope`: which messages get a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckScope {
    Off,
    /// Those of groups where the bot must be named, and is.
    Mentions,
    Groups,
    Direct,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyTo {
    Off,
    First,
    All,
}

/// Where Telegram calls us, instead of being asked.
#[derive(Debug, Clone)]
pub struct Hook {
    pub url: String,
    pub secret: Secret,
    pub path: String,
    pub host: String,
    pub port: u16,
}

/// One account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: String,
    pub name: Option<String>,
    pub enabled: bool,
    pub token: Option<Secret>,
    /// `config`, `tokenFile`, `env` or `none`.
    pub token_source: &'static str,
    /// Why it cannot run as configured.
    pub problem: Option<String>,
    pub root: String,
    pub proxy: Option<String>,
    pub dm_policy: DmPolicy,
    pub allow: People,
    pub group_policy: GroupPolicy,
    pub group_allow: People,
    /// None: every group.
    pub groups: Option<BTreeMap<String, Group>>,
    /// Words that address its agents.
    pub mentions: Arc<Mentions>,
    pub history_max: usize,
    pub reply_to: ReplyTo,
    pub text_units: usize,
    pub paragraphs: bool,
    pub tables: Tables,
    pub link_preview: bool,
    pub response_prefix: String,
    pub stream: Stream,
    /// What is new before another block is shown, in bytes.
    pub block_bytes: usize,
    pub media_bytes_max: u64,
    pub retry_ms_max: u64,
    pub reactions: Reactions,
    pub buttons: Buttons,
    pub may: May,
    pub ack_scope: AckScope,
    pub takes_ack_back: bool,
    pub native_commands: bool,
    /// Entries of the menu besides ours: name and description.
    pub custom_commands: Vec<(String, String)>,
    pub hook: Option<Hook>,
    /// What an equal account would say too.
    pub fingerprint: String,
}

/// Every account; none when the configuration does not speak of Telegram and the environment holds no token. Reads token files.
pub fn read(about: &About) -> Vec<Settings> {
    let section = about.config.pointer("/channels/telegram").filter(|it| it.is_object());
    if section.is_none() && env_token(about).is_none() {
        return vec![];
    }
    let none = json!({});
    let section = section.unwrap_or(&none);
    let own = section["accounts"].as_object().filter(|it| !it.is_empty());
    let mut all: Vec<Settings> = match own {
        None => vec![account(about, section, DEFAULT_ACCOUNT, &none)],
        Some(map) => map.iter().map(|it| account(about, section, &normal_id(it.0), it.1)).collect(),
    };
    all.truncate(CHANNEL_ACCOUNTS_MAX);
    // Two that poll with one token take each other's messages.
    for at in 1..all.len() {
        let same = |it: &Settings| it.enabled && it.token.is_some() && it.token == all[at].token;
        if let Some(twin) = all[..at].iter().find(|it| same(it)).map(|it| it.account.clone()) {
            all[at].problem =
                Some(format!("has the same bot token as the account {twin:?}: give each a bot of its own"));
        }
    }
    all
}

fn env_token(about: &About) -> Option<String> {
    about.env.get("TELEGRAM_BOT_TOKEN").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned)
}

pub(super) fn text(at: &Value) -> Option<String> {
    at.as_str().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned)
}

/// The token, where it comes from, and what is wrong with it.
fn token(
    about: &About,
    section: &Value,
    id: &str,
    own: &Value,
) -> (Option<String>, &'static str, Option<String>) {
    let is_default = id == DEFAULT_ACCOUNT;
    for at in [own, section].into_iter().take(1 + usize::from(is_default)) {
        if let Some(path) = text(&at["tokenFile"]) {
            let path = expand_home(&path, &about.paths.home);
            return match files::read_text(&path, 4096) {
                Ok(Some(it)) if !it.trim().is_empty() => (Some(it.trim().to_owned()), "tokenFile", None),
                Ok(_) => (None, "none", Some(format!("tokenFile {}: there is no token", path.display()))),
                Err(err) => (None, "none", Some(format!("tokenFile {}: {err}", path.display()))),
            };
        }
        if let Some(it) = text(&at["botToken"]) {
            return (Some(it), "config", None);
        }
    }
    match env_token(about).filter(|_| is_default) {
        Some(it) => (Some(it), "env", None),
        None => (None, "none", None),
    }
}

fn account(about: &About, section: &Value, id: &str, own: &Value) -> Settings {
    let mut merged = section.as_object().cloned().unwrap_or_default();
    for name in ["accounts", "botToken", "tokenFile", "name"] {
        merged.remove(name);
    }
    merged.extend(own.as_object().cloned().unwrap_or_default());
    let at = Value::Object(merged.clone());
    let (token, token_source, mut problem) = token(about, section, id, own);
    // It is part of an address.
    let fits = |it: &String| it.bytes().all(|it| it.is_ascii_alphanumeric() || b":_-".contains(&it));
    let token = token.filter(|it| {
        let fits = fits(it);
        if !fits {
            problem = Some("the bot token is none: it looks like 123456:ABC-def".into());
        }
        fits
    });
    let root = text(&at["apiRoot"]).unwrap_or_else(|| ROOT.into()).trim_end_matches('/').to_owned();
    if !root.starts_with("https://") && !root.starts_with("http://") {
        problem = Some(format!("apiRoot {root:?} is not of the form https://host"));
    }
    let (hook, wrong) = hook(&at);
    let allow = people(&at["allowFrom"], id, "allowFrom");
    let group_allow = match at["groupAllowFrom"].is_array() {
        true => people(&at["groupAllowFrom"], id, "groupAllowFrom"),
        false => allow.clone(),
    };
    let messages = &about.config["messages"];
    let fingerprint = ids_hash(&at, token.as_deref(), messages, &about.config["agents"]["list"]);
    let whole = |name: &str, fallback: usize| at[name].as_u64().map_or(fallback, |it| it as usize);
    let history = messages["groupChat"]["historyLimit"].as_u64().map_or(OVERHEARD_MAX, |it| it as usize);
    Settings {
        account: id.to_owned(),
        name: text(&own["name"]).or(text(&section["name"])),
        enabled: section["enabled"] != false && own["enabled"] != false,
        token: token.map(Secret::new),
        token_source,
        problem: problem.or(wrong),
        root,
        proxy: text(&at["proxy"]),
        dm_policy: dm_policy(&at["dmPolicy"]),
        allow,
        group_policy: match at["groupPolicy"].as_str() {
            Some("open") => GroupPolicy::Open,
            Some("disabled") => GroupPolicy::Disabled,
            _ => GroupPolicy::Allowlist,
        },
        group_allow,
        groups: at["groups"].as_object().filter(|it| !it.is_empty()).map(|map| groups(map, id)),
        mentions: about.mentions.clone(),
        history_max: whole("historyLimit", history).min(OVERHEARD_MAX),
        reply_to: match at["replyToMode"].as_str() {
            Some("off") => ReplyTo::Off,
            Some("all") => ReplyTo::All,
            _ => ReplyTo::First,
        },
        text_units: whole("textChunkLimit", TEXT_UNITS).clamp(64, TELEGRAM_TEXT_MAX),
        paragraphs: at["chunkMode"] == "newline",
        tables: match at["markdown"]["tables"].as_str() {
            Some("off") => Tables::Off,
            Some("bullets") => Tables::Bullets,
            _ => Tables::Code,
        },
        link_preview: at["linkPreview"] != false,
        response_prefix: text(&at["responsePrefix"])
            .or(text(&messages["responsePrefix"]))
            .filter(|it| it != "auto")
            .unwrap_or_default(),
        stream: stream(&at),
        block_bytes: at["draftChunk"]["minChars"].as_u64().map_or(BLOCK_BYTES, |it| it as usize).max(1),
        media_bytes_max: at["mediaMaxMb"]
            .as_f64()
            .map_or(CHANNEL_MEDIA_MB << 20, |it| (it.clamp(0.0, 2000.0) * 1_048_576.0) as u64),
        retry_ms_max: at["retry"]["maxDelayMs"]
            .as_u64()
            .unwrap_or(TELEGRAM_RETRY_MS_MAX)
            .clamp(1, TELEGRAM_RETRY_MS_MAX),
        reactions: match at["reactionNotifications"].as_str() {
            Some("off") => Reactions::Off,
            Some("all") => Reactions::All,
            _ => Reactions::Own,
        },
        buttons: buttons(&at["capabilities"]),
        may: May::read(&at),
        ack_scope: if at["reactionLevel"] == "off" { AckScope::Off } else { ack_scope(messages) },
        takes_ack_back: messages["removeAckAfterReply"] == true,
        native_commands: at["commands"]["native"] != false && about.config["commands"]["native"] != false,
        custom_commands: custom(&at["customCommands"]),
        hook,
        fingerprint,
    }
}

/// Of everything that an account's threads go by.
fn ids_hash(at: &Value, token: Option<&str>, messages: &Value, agents: &Value) -> String {
    let all = json!([at, token, messages, agents, "telegram"]);
    crate::base::ids::sha256_hex(all.to_string().as_bytes())
}

fn dm_policy(at: &Value) -> DmPolicy {
    match at.as_str() {
        Some("open") => DmPolicy::Open,
        Some("allowlist") => DmPolicy::Allowlist,
        Some("disabled") => DmPolicy::Disabled,
        _ => DmPolicy::Pairing,
    }
}

fn ack_scope(messages: &Value) -> AckScope {
    match messages["ackReactionScope"].as_str() {
        Some("all") => AckScope::All,
        Some("direct") => AckScope::Direct,
        Some("group-all") => AckScope::Groups,
        _ => AckScope::Mentions,
    }
}

/// `streaming` is the later word for it.
fn stream(at: &Value) -> Stream {
    match at["streamMode"].as_str().or(at["streaming"].as_str()) {
        None if at["streaming"] == false => Stream::Off,
        Some("off") => Stream::Off,
        Some("block") => Stream::Block,
        _ => Stream::Partial,
    }
}

fn buttons(at: &Value) -> Buttons {
    let legacy = at.as_array().is_some_and(|it| it.iter().any(|it| it == "inlineButtons"));
    match at["inlineButtons"].as_str() {
        _ if legacy => Buttons::All,
        Some("off") => Buttons::Off,
        Some("dm") => Buttons::Direct,
        Some("group") => Buttons::Group,
        Some("all") => Buttons::All,
        _ => Buttons::Allowed,
    }
}

/// 1 to 32 of `a-z0-9_`. Bot API.
fn custom(list: &Value) -> Vec<(String, String)> {
    let one = |it: &Value| {
        let name = text(&it["command"])?.trim_start_matches('/').to_lowercase();
        let good =
            (1..=32).contains(&name.len()) && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        good.then_some((name, text(&it["description"])?))
    };
    list.as_array().into_iter().flatten().filter_map(one).collect()
}

fn hook(at: &Value) -> (Option<Hook>, Option<String>) {
    let Some(url) = text(&at["webhookUrl"]) else { return (None, None) };
    let secret = text(&at["webhookSecret"]).filter(|it| {
        it.len() <= 256 && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it))
    });
    let Some(secret) = secret else {
        let wrong = "webhookUrl needs webhookSecret: 1 to 256 letters, digits, '_' and '-'";
        return (None, Some(wrong.into()));
    };
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return (None, Some(format!("webhookUrl {url:?} is not of the form https://host/path")));
    }
    let path = text(&at["webhookPath"]).unwrap_or_else(|| "/telegram-webhook".into());
    let host = text(&at["webhookHost"]).unwrap_or_else(|| "127.0.0.1".into());
    let port = at["webhookPort"].as_u64().and_then(|it| u16::try_from(it).ok()).unwrap_or(8787);
    (Some(Hook { url, secret: Secret::new(secret), path, host, port }), None)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::config::{Env, File, Paths};
    use std::collections::BTreeSet;

    /// The accounts of a section.
    pub fn of(section: Value, token: Option<&str>) -> Vec<Settings> {
        let env = match token {
            Some(it) => Env::from([("HOME", "/nowhere"), ("TELEGRAM_BOT_TOKEN", it)]),
            None => Env::from([("HOME", "/nowhere")]),
        };
        let paths = Paths::resolve(&env, None);
        let config =
            if section.is_null() { json!({}) } else { json!({ "channels": { "telegram": section } }) };
        let file = File::of_text(Some(config.to_string()), &paths, &env);
        let (config, mentions) = (file.resolved, file.config.mentions);
        read(&About { config, mentions, env, paths, program: "gatewayd".into() })
    }

    #[test]
    fn where_tokens_come_from() {
        let env = Some(" 9:env ");
        let got = |section: Value, env: Option<&str>| {
            let all = of(section, env);
            let one = |it: &Settings| {
                format!(
                    "{} {} {}",
                    it.account,
                    it.token_source,
                    it.token.as_ref().map_or("-", |it| it.expose())
                )
            };
            all.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(got(Value::Null, None), "");
        assert_eq!(got(Value::Null, env), "default env 9:env");
        assert_eq!(got(json!({}), None), "default none -");
        assert_eq!(got(json!({ "botToken": "1:a" }), env), "default config 1:a");
        let two = json!({ "botToken": "1:a", "accounts": { "Work": { "botToken": "2:b" }, "default": {}, "other": {} } });
        assert_eq!(got(two, env), "work config 2:b, default config 1:a, other none -");
        assert!(of(json!({ "tokenFile": "/nowhere/x" }), None)[0].problem.is_some());
        assert!(of(json!({ "botToken": "a/../b" }), None)[0].token.is_none());
        let twins =
            of(json!({ "accounts": { "a": { "botToken": "1:a" }, "b": { "botToken": "1:a" } } }), None);
        assert!(
            twins[0].problem.is_none() && twins[1].problem.as_ref().is_some_and(|it| it.contains("\"a\""))
        );
    }
    #[test]
    fn accounts_inherit() {
        let all = of(
            json!({ "dmPolicy": "open", "streamMode": "off", "accounts": { "a": { "dmPolicy": "disabled" }, "b": { "enabled": false } } }),
            None,
        );
        assert_eq!(
            (all[0].dm_policy, all[0].stream, all[0].enabled),
            (DmPolicy::Disabled, Stream::Off, true)
        );
        assert_eq!((all[1].dm_policy, all[1].enabled), (DmPolicy::Open, false));
        assert_ne!(all[0].fingerprint, all[1].fingerprint);
    }
    /// Every key of the section, and whether anything is done with it: `tests/data/telegram-keys.txt`.
    #[test]
    fn every_key_does_what_the_table_says() {
        let base = json!({
            "botToken": "1:a", "webhookUrl": "https://a.example", "webhookSecret": "s", "groups": { "-5": { "topics": { "9": {} } } },
        });
        let shown = |section: &Value| {
            let mut it = of(section.clone(), None).remove(0);
            it.fingerprint.clear();
            format!("{it:?}")
        };
        let mut listed = BTreeSet::new();
        for line in
            include_str!("../../../tests/data/telegram-keys.txt").lines().filter(|it| !it.starts_with('#'))
        {
            let fields: Vec<&str> = line.split('\t').collect();
            let [key, word, more] = fields[..] else { panic!("{line}") };
            listed.insert(key);
            let mut section = base.clone();
            let names = ["groups.*", "topics.*", "toolsBySender.*", "dms.*"];
            let path = names
                .iter()
                .zip(["-5", "9", "7", "7"])
                .fold(key.to_owned(), |path, (from, id)| path.replace(from, &from.replace('*', id)));
            let value = if word == "acted" { serde_json::from_str(more).unwrap() } else { json!("x") };
            let at = path.split('.').fold(&mut section, |at, name| &mut at[name]);
            *at = value;
            assert_eq!(shown(&section) != shown(&base), word == "acted", "{line}");
            assert!(word == "acted" || word == "accepted", "{line}");
        }
        let known = include_str!("../../config/keys.txt").lines().filter_map(|it| it.split('\t').next());
        let known = known.filter_map(|it| it.strip_prefix("channels.telegram."));
        let known: BTreeSet<&str> = known.filter(|it| !it.starts_with("accounts")).collect();
        assert_eq!(listed, known);
    }
    #[test]
    fn people_are_numbers() {
        let it = &of(json!({ "allowFrom": [7, "tg:8", "telegram:9", "@ann", "x"] }), None)[0];
        assert!(
            it.allow.has(7) && it.allow.has(8) && it.allow.has(9) && !it.allow.all && it.allow.ids.len() == 3
        );
        assert_eq!(it.group_allow, it.allow);
        assert!(of(json!({ "allowFrom": ["*"] }), None)[0].allow.has(1));
    }
}
