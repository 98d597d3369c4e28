//! Whether answers may leave a conversation: `session.sendPolicy`, and what the session itself says. Pure.
use super::routing::{bare, place};
use crate::config::{PeerKind, SendPolicy};
use serde_json::Value;

/// A rule that forbids beats one that allows; the session's own `sendPolicy` beats both. `key` is canonical; `entry` what the index holds.
pub fn may_send(policy: &SendPolicy, key: &str, entry: Option<&Value>) -> bool {
    let text = |name: &str| entry.and_then(|it| it.get(name)).and_then(Value::as_str);
    match text("sendPolicy") {
        Some("allow") => return true,
        Some("deny") => return false,
        _ => {}
    }
    let place = place(key);
    let channel = text("channel").or(text("lastChannel")).or(place.channel);
    let channel = channel.map(|it| it.trim().to_lowercase());
    let chat = match text("chatType") {
        Some("direct") => Some(PeerKind::Direct),
        Some("group") => Some(PeerKind::Group),
        Some("channel" | "room") => Some(PeerKind::Channel),
        _ => place.kind,
    };
    let key = key.to_lowercase();
    let fits = policy.rules.iter().filter(|it| {
        it.channel.as_ref().is_none_or(|it| channel.as_ref() == Some(it))
            && it.chat.is_none_or(|it| chat == Some(it))
            // People write `cron:`, for the key `agent:main:cron:7`.
            && it.key_prefix.as_ref().is_none_or(|it| key.starts_with(it) || bare(&key).starts_with(it))
    });
    fits.map(|it| it.allows).min().unwrap_or(!policy.denies)
}
