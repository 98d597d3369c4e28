//! When a conversation begins afresh: `session.reset*`, and the words that ask for it. Pure.
use super::routing::place;
use crate::base::zone::Zone;
use crate::config::{PeerKind, Reset, ResetMode, Resets, Session};

/// The hour of the daily reset. Reference.
const AT_HOUR: u8 = 4;
/// The wait of an idle reset that names none. Reference.
const IDLE_MINUTES: u64 = 60;
/// Reference.
const TRIGGERS: [&str; 2] = ["/new", "/reset"];
const MINUTE_MS: i64 = 60_000;
const DAY_S: i64 = 86_400;

/// What `resetByType` tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatKind {
    Direct,
    Group,
    Thread,
}

/// When a conversation is over. Of two limits the earlier counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// At this hour on the host's wall.
    pub at_hour: Option<u8>,
    pub idle_minutes: Option<u64>,
}

/// `chat` is what the entry or the message says it is: `direct`, `group` or `channel`. The key decides where neither says.
pub fn chat_kind(key: &str, chat: Option<&str>, in_thread: bool) -> ChatKind {
    let place = place(key);
    match chat {
        _ if in_thread || place.is_thread => ChatKind::Thread,
        Some("group" | "channel") => ChatKind::Group,
        _ if matches!(place.kind, Some(PeerKind::Group | PeerKind::Channel)) => ChatKind::Group,
        _ => ChatKind::Direct,
    }
}

/// The rule for a conversation. One of the channel stands alone; one of the kind fills its gaps from `session.reset`.
pub fn rule(resets: &Resets, kind: ChatKind, channel: Option<&str>) -> Rule {
    let of_channel = channel.and_then(|it| resets.by_channel.get(&it.trim().to_lowercase()));
    if let Some(it) = of_channel {
        return limits(*it, ResetMode::Daily);
    }
    let of_kind = resets.by_type.as_ref().and_then(|it| match kind {
        ChatKind::Direct => it.dm,
        ChatKind::Group => it.group,
        ChatKind::Thread => it.thread,
    });
    let (own, all) = (of_kind.unwrap_or_default(), resets.all.unwrap_or_default());
    let merged = Reset {
        mode: own.mode.or(all.mode),
        at_hour: own.at_hour.or(all.at_hour),
        idle_minutes: own.idle_minutes.or(all.idle_minutes).or(resets.idle_minutes),
    };
    // A file from before `session.reset` knew idle resets only.
    let is_old = resets.all.is_none() && resets.by_type.is_none() && resets.idle_minutes.is_some();
    limits(merged, if is_old { ResetMode::Idle } else { ResetMode::Daily })
}

fn limits(reset: Reset, otherwise: ResetMode) -> Rule {
    match reset.mode.unwrap_or(otherwise) {
        ResetMode::Daily => {
            Rule { at_hour: Some(reset.at_hour.unwrap_or(AT_HOUR)), idle_minutes: reset.idle_minutes }
        }
        ResetMode::Idle => {
            Rule { at_hour: None, idle_minutes: Some(reset.idle_minutes.unwrap_or(IDLE_MINUTES)) }
        }
    }
}

/// Whether a conversation last used at `updated_ms` goes on at `now_ms` (milliseconds since 1970).
pub fn fresh(updated_ms: i64, now_ms: i64, zone: &Zone, rule: &Rule) -> bool {
    let new_day = rule.at_hour.is_some_and(|hour| updated_ms < last_reset_ms(now_ms, zone, hour));
    let idle = rule.idle_minutes.is_some_and(|it| {
        now_ms > updated_ms.saturating_add(i64::try_from(it).unwrap_or(i64::MAX).saturating_mul(MINUTE_MS))
    });
    !new_day && !idle
}

/// The latest instant, not after now, at which the wall showed that hour. An hour that the wall skips is the moment it was turned forward.
fn last_reset_ms(now_ms: i64, zone: &Zone, hour: u8) -> i64 {
    let now_s = now_ms.div_euclid(1000);
    let today = zone.local(now_s).wall_s.div_euclid(DAY_S) * DAY_S;
    let at = |day: i64| zone.instant(day + i64::from(hour) * 3600).saturating_mul(1000);
    let reset = at(today);
    if now_ms < reset { at(today - DAY_S) } else { reset }
}

/// The words behind a trigger, when a message begins with one: empty when that is all it says.
pub fn trigger<'t>(text: &'t str, session: &Session) -> Option<&'t str> {
    let text = text.trim();
    let rest = |word: &str| {
        let (said, rest) = text.split_at_checked(word.len())?;
        let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
        (ends && said.to_lowercase() == word).then(|| rest.trim_start())
    };
    match session.reset_triggers.is_empty() {
        true => TRIGGERS.iter().find_map(|it| rest(it)),
        false => session.reset_triggers.iter().find_map(|it| rest(it)),
    }
}
