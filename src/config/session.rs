//! The typed form of `session` and `bindings`: to which agent and conversation a message belongs, and how long one lasts.
use super::model::{Agents, normal_id};
use super::reader::{Node, Reader};
use std::collections::BTreeMap;

/// `session`.
#[derive(Debug, Default, Clone)]
pub struct Session {
    /// `session.scope` is `global`.
    pub global: bool,
    pub store: Option<String>,
    pub dm_scope: DmScope,
    /// A person's name, and the ids they go by: `telegram:123`, or `123` on any channel. All lower case, in the file's order.
    pub identity_links: Vec<(String, Vec<String>)>,
    pub resets: Resets,
    /// Lower case; empty for the usual ones.
    pub reset_triggers: Vec<String>,
    pub send_policy: SendPolicy,
}

/// How direct chats are put together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum DmScope {
    /// All in one conversation.
    #[default]
    Main,
    PerPeer,
    PerChannelPeer,
    PerAccountChannelPeer,
}

/// When a conversation begins afresh by itself.
#[derive(Debug, Default, Clone)]
pub struct Resets {
    pub all: Option<Reset>,
    /// `resetByType`, when the file has it.
    pub by_type: Option<ResetByType>,
    /// By channel, lower case.
    pub by_channel: BTreeMap<String, Reset>,
    /// `session.idleMinutes`, which older files have.
    pub idle_minutes: Option<u64>,
}

#[derive(Debug, Default, Clone)]
pub struct ResetByType {
    pub dm: Option<Reset>,
    pub group: Option<Reset>,
    pub thread: Option<Reset>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    pub mode: Option<ResetMode>,
    /// 0 to 23, on the host's wall.
    pub at_hour: Option<u8>,
    pub idle_minutes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetMode {
    Daily,
    Idle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    Direct,
    Group,
    Channel,
}

/// `session.sendPolicy`.
#[derive(Debug, Default, Clone)]
pub struct SendPolicy {
    pub rules: Vec<SendRule>,
    /// What counts when no rule speaks is "no".
    pub denies: bool,
}

/// All that is set must hold. Texts are lower case.
#[derive(Debug, Default, Clone)]
pub struct SendRule {
    pub allows: bool,
    pub channel: Option<String>,
    pub chat: Option<PeerKind>,
    pub key_prefix: Option<String>,
}

/// One of `bindings`: all that is set must hold.
#[derive(Debug, Clone)]
pub struct Binding {
    pub agent_id: String,
    /// Lower case.
    pub channel: String,
    pub account: BoundAccount,
    pub peer: Option<(PeerKind, String)>,
    pub guild_id: Option<String>,
    pub team_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAccount {
    /// `*`.
    Any,
    /// `default` when the file names none.
    One(String),
}

/// The account of a channel that has only one.
pub const DEFAULT_ACCOUNT: &str = "default";
/// Minutes since 1970 fit `i64` many times over; a longer wait is never.
const MINUTES_MAX: u64 = u32::MAX as u64;

pub(super) fn session(at: &Node, r: &mut Reader) -> Session {
    let scopes = &[
        ("main", DmScope::Main),
        ("per-peer", DmScope::PerPeer),
        ("per-channel-peer", DmScope::PerChannelPeer),
        ("per-account-channel-peer", DmScope::PerAccountChannelPeer),
    ];
    let links = at.at("identityLinks").entries().into_iter();
    let links = links.map(|(name, ids)| (low(name), r.strings(ids).iter().map(|it| low(it)).collect()));
    let identity_links = links.filter(|it| !it.0.is_empty()).collect();
    let triggers = r.strings(at.at("resetTriggers"));
    Session {
        global: r.word(at.at("scope"), &[("per-sender", false), ("global", true)]).unwrap_or(false),
        store: r.string(at.at("store")),
        dm_scope: r.word(at.at("dmScope"), scopes).unwrap_or_default(),
        identity_links,
        resets: resets(at, r),
        reset_triggers: triggers.iter().map(|it| low(it)).filter(|it| !it.is_empty()).collect(),
        send_policy: send_policy(&at.at("sendPolicy"), r),
    }
}

fn resets(at: &Node, r: &mut Reader) -> Resets {
    let by_type = at.at("resetByType");
    let by_channel = at.at("resetByChannel").entries().into_iter();
    Resets {
        all: reset(&at.at("reset"), r),
        by_channel: by_channel.filter_map(|(name, it)| Some((low(name), reset(&it, r)?))).collect(),
        by_type: by_type.is_there().then(|| ResetByType {
            dm: reset(&by_type.at("dm"), r),
            group: reset(&by_type.at("group"), r),
            thread: reset(&by_type.at("thread"), r),
        }),
        idle_minutes: r.integer(at.at("idleMinutes"), 1, MINUTES_MAX),
    }
}

fn reset(at: &Node, r: &mut Reader) -> Option<Reset> {
    at.is_there().then(|| Reset {
        mode: r.word(at.at("mode"), &[("daily", ResetMode::Daily), ("idle", ResetMode::Idle)]),
        at_hour: r.integer(at.at("atHour"), 0, 23).map(|it| it as u8),
        idle_minutes: r.integer(at.at("idleMinutes"), 1, MINUTES_MAX),
    })
}

fn send_policy(at: &Node, r: &mut Reader) -> SendPolicy {
    let words = &[("allow", true), ("deny", false)];
    let chats = &[("direct", PeerKind::Direct), ("group", PeerKind::Group), ("channel", PeerKind::Channel)];
    let text = |it: Node, r: &mut Reader| r.string(it).map(|it| low(&it)).filter(|it| !it.is_empty());
    let rules = at.at("rules").items().into_iter().map(|it| SendRule {
        // A rule that does not say what it does forbids. Reference.
        allows: r.word(it.at("action"), words).unwrap_or(false),
        channel: text(it.at("match.channel"), r),
        chat: r.word(it.at("match.chatType"), chats),
        key_prefix: text(it.at("match.keyPrefix"), r),
    });
    let rules = rules.collect();
    SendPolicy { rules, denies: !r.word(at.at("default"), words).unwrap_or(true) }
}

pub(super) fn bindings(at: &Node, agents: &Agents, r: &mut Reader) -> Vec<Binding> {
    let kinds = &[
        ("dm", PeerKind::Direct),
        ("direct", PeerKind::Direct),
        ("group", PeerKind::Group),
        ("channel", PeerKind::Channel),
    ];
    let mut all = vec![];
    for it in at.items() {
        let text = |name: &str, r: &mut Reader| {
            r.string(it.at(name)).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty())
        };
        let (agent, channel) = (text("agentId", r), text("match.channel", r));
        let account = match text("match.accountId", r).as_deref() {
            Some("*") => BoundAccount::Any,
            one => BoundAccount::One(one.unwrap_or(DEFAULT_ACCOUNT).to_owned()),
        };
        let (guild_id, team_id, id) =
            (text("match.guildId", r), text("match.teamId", r), text("match.peer.id", r));
        let peer = r.word(it.at("match.peer.kind"), kinds).zip(id);
        let (Some(agent), Some(channel)) = (agent, channel) else {
            r.warn(&it, "a binding needs agentId and match.channel; this one is not used");
            continue;
        };
        if it.at("match.peer").is_there() && peer.is_none() {
            // Without its peer it would catch everybody's messages.
            r.warn(&it, "match.peer needs kind and id; this binding is not used");
            continue;
        }
        let agent_id = normal_id(&agent);
        if !agents.list.is_empty() && agents.get(&agent_id).is_none() {
            let text = format!("agents.list has no {agent_id:?}; the default agent answers instead");
            r.warn(&it.at("agentId"), &text);
        }
        all.push(Binding { agent_id, channel: low(&channel), account, peer, guild_id, team_id });
    }
    all
}

fn low(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{File, Paths};

    fn load(text: &str) -> File {
        File::of_text(Some(text.to_owned()), &Paths::resolve(&[].into(), None), &[].into())
    }

    #[test]
    fn what_is_not_said_is_the_references_default() {
        let session = load("{}").config.session;
        assert_eq!((session.global, session.dm_scope), (false, DmScope::Main));
        assert!(session.resets.all.is_none() && session.resets.by_type.is_none());
        assert!(!session.send_policy.denies && session.reset_triggers.is_empty());
    }
    #[test]
    fn a_section_is_read() {
        let file = load(
            "{ session: { dmScope: 'per-peer', identityLinks: { Alice: ['Telegram:1', ' 77 '], ' ': ['x'] }, idleMinutes: 5,
                reset: {}, resetByType: { dm: { mode: 'idle', idleMinutes: 240 } }, resetByChannel: { Discord: { atHour: 6 } },
                resetTriggers: ['/New', ' '],
                sendPolicy: { default: 'deny', rules: [{ match: { keyPrefix: 'Cron:' } }, { action: 'allow', match: { channel: 'X', chatType: 'group' } }] } } }",
        );
        assert!(file.valid() && file.warnings.is_empty(), "{:?}", (file.issues, file.warnings));
        let it = file.config.session;
        assert_eq!(it.identity_links, [("alice".into(), vec!["telegram:1".into(), "77".into()])]);
        assert_eq!(it.resets.all, Some(Reset::default()));
        let dm = it.resets.by_type.unwrap().dm.unwrap();
        assert_eq!((dm.mode, dm.idle_minutes), (Some(ResetMode::Idle), Some(240)));
        assert_eq!(it.resets.by_channel["discord"].at_hour, Some(6));
        assert_eq!((it.resets.idle_minutes, it.reset_triggers), (Some(5), vec!["/new".to_owned()]));
        let rules = it.send_policy.rules;
        assert!(it.send_policy.denies && !rules[0].allows && rules[1].allows);
        assert_eq!((rules[0].key_prefix.as_deref(), rules[1].chat), (Some("cron:"), Some(PeerKind::Group)));
    }
    #[test]
    fn a_binding_that_cannot_be_meant_is_told_and_left_out() {
        let file = load(
            "{ agents: { list: [{ id: 'a' }] }, bindings: [ { match: { channel: 'x' } }, { agentId: 'a', match: { channel: 'x', peer: { kind: 'dm' } } },
                { agentId: 'B', match: { channel: 'X', accountId: '*' } }, { agentId: 'a', match: { channel: 'x' } } ] }",
        );
        let said: Vec<String> = file.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("bindings.0: a binding needs agentId and match.channel"), "{said:?}");
        assert!(said[1].starts_with("bindings.1: match.peer needs kind and id"), "{said:?}");
        assert!(said[2].starts_with("bindings.2.agentId: agents.list has no \"b\""), "{said:?}");
        let kept: Vec<_> = file.config.bindings.iter().map(|it| (&*it.agent_id, &it.account)).collect();
        assert_eq!(kept, [("b", &BoundAccount::Any), ("a", &BoundAccount::One("default".into()))]);
    }
}
