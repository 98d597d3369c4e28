//! Who is here: the gateway itself, its clients, and devices that report in with `system-event`.
use crate::base::limits::{EVENT_TEXT_BYTES_MAX, PRESENCE_MAX, PRESENCE_NAMES_MAX, PRESENCE_TTL_MS};
use crate::protocol::presence::PresenceEntry;
use std::collections::BTreeMap;

/// Entries by lower-case key; at most 200, five minutes each.
#[derive(Debug)]
pub struct Presence {
    own_key: String,
    own: PresenceEntry,
    entries: BTreeMap<String, PresenceEntry>,
}

impl Presence {
    /// `own` is the gateway's entry; its host is its key.
    pub fn new(own: PresenceEntry) -> Presence {
        let own_key = own.host.clone().unwrap_or_default().to_lowercase();
        Presence { own_key, own, entries: BTreeMap::new() }
    }
    /// All entries, newest first, the gateway's own refreshed.
    pub fn list(&mut self, unix_ms: i64) -> Vec<PresenceEntry> {
        self.entries.retain(|_, it| unix_ms - it.ts <= PRESENCE_TTL_MS);
        self.own.ts = unix_ms;
        let mut all: Vec<_> = std::iter::once(&self.own).chain(self.entries.values()).cloned().collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.ts));
        all
    }
    pub fn get(&self, key: &str) -> Option<&PresenceEntry> {
        let key = cut(key.to_lowercase());
        if key == self.own_key { Some(&self.own) } else { self.entries.get(&key) }
    }
    /// Fields that are set replace, roles and scopes are merged, the rest stays.
    pub fn upsert(&mut self, key: &str, news: PresenceEntry) {
        let key = cut(key.to_lowercase());
        if key != self.own_key && !self.entries.contains_key(&key) && self.entries.len() + 1 >= PRESENCE_MAX {
            let oldest = self.entries.iter().min_by_key(|it| it.1.ts).map(|it| it.0.clone());
            oldest.map(|it| self.entries.remove(&it));
        }
        let it = if key == self.own_key { &mut self.own } else { self.entries.entry(key).or_default() };
        macro_rules! take { ($($field:ident)*) => { $(it.$field = news.$field.map(cut).or(it.$field.take());)* } }
        take!(host ip version platform device_family model_identifier mode reason device_id instance_id text);
        it.last_input_seconds = news.last_input_seconds.or(it.last_input_seconds);
        for (old, new) in [(&mut it.roles, news.roles), (&mut it.scopes, news.scopes)] {
            for name in new.into_iter().map(cut) {
                if old.len() < PRESENCE_NAMES_MAX && !old.contains(&name) {
                    old.push(name);
                }
            }
        }
        it.ts = news.ts;
    }
    /// The connection behind this entry is gone; the entry stays and says so.
    pub fn disconnected(&mut self, key: &str, unix_ms: i64) {
        if let Some(it) = self.entries.get_mut(&cut(key.to_lowercase())) {
            it.reason = Some("disconnect".into());
            it.ts = unix_ms;
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
    text
}

/// The parts of `Node: <host> (<ip>) · app <ver> · last input <n>s ago · mode <mode> · reason <reason>`; absent parts stay unset.
pub fn parse_text(text: &str) -> PresenceEntry {
    let mut out = PresenceEntry::default();
    let some = |it: &str| Some(it.trim().to_owned()).filter(|it| !it.is_empty());
    for (n, part) in text.split('·').map(str::trim).enumerate() {
        if n == 0 {
            let head = part.split_once(':').map_or(part, |it| it.1);
            let (host, ip) = head.split_once('(').unwrap_or((head, ""));
            (out.host, out.ip) = (some(host), some(ip.trim_end_matches(')')));
        } else if let Some(it) = part.strip_prefix("app ") {
            out.version = some(it);
        } else if let Some(it) = part.strip_prefix("mode ") {
            out.mode = some(it);
        } else if let Some(it) = part.strip_prefix("reason ") {
            out.reason = some(it);
        } else if let Some(it) = part.strip_prefix("last input ") {
            out.last_input_seconds = it.split('s').next().and_then(|it| it.trim().parse().ok());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    fn entry(ts: i64) -> PresenceEntry {
        PresenceEntry { ts, ..PresenceEntry::default() }
    }
    #[test]
    fn entries_age_and_are_bounded() {
        let mut it = Presence::new(PresenceEntry { host: Some("Pi".into()), ..entry(0) });
        for n in 0..PRESENCE_MAX as i64 + 20 {
            it.upsert(&n.to_string(), entry(n));
        }
        let all = it.list(1000);
        assert_eq!(all.len(), PRESENCE_MAX);
        assert_eq!(all[0].host.as_deref(), Some("Pi"));
        assert_eq!(
            it.list(PRESENCE_TTL_MS + 100).iter().filter(|it| it.host.is_none()).count(),
            PRESENCE_MAX - 80
        );
        assert_eq!(it.list(PRESENCE_TTL_MS * 2).len(), 1);
    }
    #[test]
    fn news_merges() {
        let mut it = Presence::new(entry(0));
        it.upsert("A", PresenceEntry { host: Some("h".into()), roles: vec!["operator".into()], ..entry(1) });
        it.upsert("a", PresenceEntry { mode: Some("x".into()), roles: vec!["node".into()], ..entry(2) });
        let got = it.get("a").unwrap();
        assert_eq!(
            (got.host.as_deref(), got.mode.as_deref(), got.roles.len(), got.ts),
            (Some("h"), Some("x"), 2, 2)
        );
    }
    #[test]
    fn entries_stay_small() {
        let mut it = Presence::new(entry(0));
        let long = "é".repeat(EVENT_TEXT_BYTES_MAX);
        for n in 0..PRESENCE_NAMES_MAX + 10 {
            let (host, scopes) = (Some(long.clone()), vec![format!("{n}{long}")]);
            it.upsert(&long, PresenceEntry { host, scopes, ..entry(1) });
        }
        let got = it.get(&long).unwrap();
        assert_eq!(got.scopes.len(), PRESENCE_NAMES_MAX);
        assert!(got.scopes.iter().chain(&got.host).all(|it| it.len() <= EVENT_TEXT_BYTES_MAX));
        it.disconnected(&long, 2);
        assert_eq!(it.get(&long).unwrap().reason.as_deref(), Some("disconnect"));
    }
    #[test]
    fn text_form() {
        let it =
            parse_text("Node: phone (10.0.0.9) · app 2.1 · last input 12s ago · mode ui · reason launch");
        assert_eq!(
            (it.host.as_deref(), it.ip.as_deref(), it.version.as_deref()),
            (Some("phone"), Some("10.0.0.9"), Some("2.1"))
        );
        assert_eq!(
            (it.last_input_seconds, it.mode.as_deref(), it.reason.as_deref()),
            (Some(12.0), Some("ui"), Some("launch"))
        );
    }
}
