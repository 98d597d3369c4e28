//! To which agent and conversation a message from a chat network belongs. Pure.
//!
//! The most specific of the `bindings` that fit wins, of two the first: peer, the peer's parent, guild, team, account, any account. Forms of
//! a session key:
//!
//! ```text
//! agent:<agent>:main                                    direct chats, all in one
//! agent:<agent>:dm:<peer>                               dmScope per-peer; per-channel-peer puts <channel>: before dm,
//!                                                       per-account-channel-peer <channel>:<account>:
//! agent:<agent>:<channel>:group:<id>[:topic:<topic>]    groups, and forum topics within
//! agent:<agent>:<channel>:channel:<id>                  rooms
//! <any of these>:thread:<id>                            a thread of replies
//! ```
use crate::config::{Binding, BoundAccount, Config, DEFAULT_ACCOUNT, DmScope, PeerKind, Session, normal_id};
use crate::store::lookup::{Keys, canonical_key};

/// Where a message comes from, in the network's own words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    pub channel: &'a str,
    /// None for a channel with one account.
    pub account: Option<&'a str>,
    pub peer: Option<(PeerKind, &'a str)>,
    /// What a thread that is a room of its own hangs on: its bindings count for the thread too.
    pub parent: Option<(PeerKind, &'a str)>,
    pub guild_id: Option<&'a str>,
    pub team_id: Option<&'a str>,
    pub thread: Option<Thread<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread<'a> {
    /// Of a forum: a conversation of its own within its group. A direct chat has none.
    Topic(&'a str),
    /// Replies to one message: a conversation of its own anywhere.
    Replies(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub agent_id: String,
    /// As the network writes it; `default` when it named none.
    pub account: String,
    /// Canonical: see [`canonical_key`].
    pub session_key: String,
    /// The agent's own conversation.
    pub main_key: String,
    pub matched: Match,
}

/// Which rule chose the agent, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    Peer,
    Parent,
    Guild,
    Team,
    Account,
    Channel,
    Default,
}

impl Match {
    /// The reference's word.
    pub fn word(self) -> &'static str {
        match self {
            Match::Peer => "binding.peer",
            Match::Parent => "binding.peer.parent",
            Match::Guild => "binding.guild",
            Match::Team => "binding.team",
            Match::Account => "binding.account",
            Match::Channel => "binding.channel",
            Match::Default => "default",
        }
    }
}

pub fn route(origin: &Origin<'_>, config: &Config) -> Route {
    let agents = &config.agents;
    let fits = config.bindings.iter().filter_map(|it| Some((matches(it, origin)?, it)));
    // `min_by_key` keeps the first of equals.
    let best = fits.min_by_key(|it| it.0);
    let (matched, wanted) = best.map_or((Match::Default, agents.default_id()), |it| (it.0, &it.1.agent_id));
    // An agent that is not in the list (any more) has no workspace to answer from.
    let known = agents.list.is_empty() || agents.get(wanted).is_some();
    let agent_id = if known { wanted } else { agents.default_id() };
    let account = origin.account.map(str::trim).filter(|it| !it.is_empty());
    Route {
        agent_id: agent_id.to_owned(),
        account: account.unwrap_or(DEFAULT_ACCOUNT).to_owned(),
        session_key: conversation(agent_id, origin, config),
        main_key: super::sessions::main_key(agent_id, config.session.global),
        matched,
    }
}

/// The canonical key of an agent's conversation with somebody, whatever the bindings say.
pub fn conversation(agent_id: &str, origin: &Origin<'_>, config: &Config) -> String {
    let (default_agent, global) = (config.agents.default_id(), config.session.global);
    let key = session_key(agent_id, origin, &config.session);
    canonical_key(&key, Keys { default_agent, main_key: "main", global }).unwrap_or(key)
}

/// How strongly a binding speaks for a message; None when anything it says does not hold.
fn matches(binding: &Binding, origin: &Origin<'_>) -> Option<Match> {
    let account = origin.account.map(str::trim).filter(|it| !it.is_empty()).unwrap_or(DEFAULT_ACCOUNT);
    let is = |bound: &Option<String>, got: Option<&str>| {
        bound.as_deref().is_none_or(|it| got.is_some_and(|got| got.trim() == it))
    };
    let ours = binding.channel == origin.channel.trim().to_lowercase()
        && match &binding.account {
            BoundAccount::Any => true,
            BoundAccount::One(it) => it == account,
        }
        && is(&binding.guild_id, origin.guild_id)
        && is(&binding.team_id, origin.team_id);
    if !ours {
        return None;
    }
    if let Some((kind, id)) = &binding.peer {
        let same = |it: Option<(PeerKind, &str)>| it.is_some_and(|it| it.0 == *kind && it.1.trim() == id);
        let topic = origin.peer.zip(origin.thread).and_then(|((_, id), thread)| match thread {
            Thread::Topic(topic) => Some(format!("{}:topic:{}", id.trim(), topic.trim())),
            Thread::Replies(_) => None,
        });
        return match topic {
            Some(it) if *kind == PeerKind::Group && it == *id => Some(Match::Peer),
            Some(_) if same(origin.peer) => Some(Match::Parent),
            None if same(origin.peer) => Some(Match::Peer),
            _ => same(origin.parent).then_some(Match::Parent),
        };
    }
    Some(match (&binding.guild_id, &binding.team_id, &binding.account) {
        (Some(_), _, _) => Match::Guild,
        (None, Some(_), _) => Match::Team,
        (None, None, BoundAccount::One(_)) => Match::Account,
        (None, None, BoundAccount::Any) => Match::Channel,
    })
}

/// The part of a key that somebody else wrote: lower case, never empty.
fn part(text: &str) -> String {
    let text = text.trim().to_lowercase();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

fn session_key(agent_id: &str, origin: &Origin<'_>, session: &Session) -> String {
    let channel = part(origin.channel);
    let own = |kind: &str, id: &str| format!("agent:{agent_id}:{channel}:{kind}:{}", part(id));
    let mut key = match origin.peer {
        Some((PeerKind::Group, id)) => own("group", id),
        Some((PeerKind::Channel, id)) => own("channel", id),
        Some((PeerKind::Direct, id)) => direct_key(agent_id, &channel, origin.account, id, session),
        None => format!("agent:{agent_id}:main"),
    };
    let is_group = matches!(origin.peer, Some((PeerKind::Group, _)));
    match origin.thread {
        Some(Thread::Topic(id)) if is_group => key += &format!(":topic:{}", part(id)),
        Some(Thread::Replies(id)) => key += &format!(":thread:{}", part(id)),
        _ => {}
    }
    key
}

fn direct_key(agent_id: &str, channel: &str, account: Option<&str>, peer: &str, session: &Session) -> String {
    let peer = part(peer);
    let here = format!("{channel}:{peer}");
    let links = &session.identity_links;
    let person = links.iter().find(|(_, ids)| ids.iter().any(|it| *it == peer || *it == here));
    let peer = person.map_or(&peer, |it| &it.0);
    match session.dm_scope {
        DmScope::Main => format!("agent:{agent_id}:main"),
        DmScope::PerPeer => format!("agent:{agent_id}:dm:{peer}"),
        DmScope::PerChannelPeer => format!("agent:{agent_id}:{channel}:dm:{peer}"),
        DmScope::PerAccountChannelPeer => {
            let account = account.map(str::trim).filter(|it| !it.is_empty());
            let account = account.map_or(DEFAULT_ACCOUNT.to_owned(), normal_id);
            format!("agent:{agent_id}:{channel}:{account}:dm:{peer}")
        }
    }
}

/// What a session key says of its chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'k> {
    pub channel: Option<&'k str>,
    /// None for what is no chat: cron jobs, hooks, sub-agents.
    pub kind: Option<PeerKind>,
    pub is_thread: bool,
}

/// Reads a key of the forms above.
pub fn place(key: &str) -> Place<'_> {
    let rest = bare(key);
    let parts: Vec<&str> = rest.split(':').collect();
    let kind_of = |it: &str| match it {
        "group" => Some(PeerKind::Group),
        "channel" => Some(PeerKind::Channel),
        "dm" => Some(PeerKind::Direct),
        _ => None,
    };
    let (channel, kind) = match parts[..] {
        ["main" | "global"] | ["main", "thread", ..] => (None, Some(PeerKind::Direct)),
        [kind, _, ..] if kind_of(kind).is_some() => (None, kind_of(kind)),
        [channel, kind, _, ..] if kind_of(kind).is_some() => (Some(channel), kind_of(kind)),
        [channel, _, "dm", _, ..] => (Some(channel), Some(PeerKind::Direct)),
        _ => (None, None),
    };
    let is_thread = rest.contains(":thread:") || rest.contains(":topic:");
    Place { channel, kind, is_thread }
}

/// A key without its `agent:<id>:`.
pub fn bare(key: &str) -> &str {
    key.strip_prefix("agent:").and_then(|it| it.split_once(':')).map_or(key, |it| it.1)
}
