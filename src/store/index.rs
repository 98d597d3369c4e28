//! The index of one agent's sessions, `sessions.json`: a map from canonical key to entry, held in memory.
//!
//! A value without files: see `index_file` for those. Entries stay as their own JSON text, so that every field survives, known
//! or not; only what is looked up often is held apart. A change marks the index dirty, and it wants to be written
//! [`INDEX_WRITE_MS`] later: the tokens of a run cost one write, not one each. What must be durable before it is acknowledged
//! is written at once by whoever acknowledges; when that fails, `undo` takes the change back.
use super::sessions::updated_at;
use crate::base::limits::{INDEX_RETRY_MS, INDEX_WRITE_MS};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One entry, small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    session_id: Option<Box<str>>,
    label: Option<Box<str>>,
    updated_at: i64,
    /// The whole entry as JSON.
    text: Box<str>,
}

impl Slot {
    fn of(entry: Map<String, Value>) -> Slot {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).map(Box::from);
        Slot {
            session_id: text("sessionId"),
            label: text("label"),
            updated_at: updated_at(&entry),
            text: Value::Object(entry).to_string().into(),
        }
    }
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }
    /// Milliseconds since 1970; 0 when the entry says none.
    pub fn updated_at(&self) -> i64 {
        self.updated_at
    }
    fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("we wrote this text")
    }
    /// The entry with all its fields.
    pub fn entry(&self) -> Map<String, Value> {
        match self.value() {
            Value::Object(entry) => entry,
            _ => Map::new(),
        }
    }
}

/// How a change is taken back.
#[must_use = "a change that could not be made durable is taken back"]
#[derive(Debug)]
pub struct Undo {
    key: String,
    before: Option<Slot>,
}

#[derive(Debug, Default)]
pub struct Index {
    slots: BTreeMap<String, Slot>,
    /// Values of the file that are no entries; written back as they were.
    strange: BTreeMap<String, Value>,
    /// Counts changes.
    generation: u64,
    /// When the oldest unsaved change wants to be written, on the monotonic clock.
    due_ms: Option<u64>,
}

impl Index {
    /// Reads a store file. Keys that the reference wrote without their agent are read with it; of two entries for one key the
    /// newer one's fields win.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(bytes: &[u8], agent_id: &str) -> Result<Index, String> {
        let map: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
        let mut index = Index::default();
        for (key, raw) in map {
            let value = serde_json::from_str(raw.get()).map_err(|err| format!("{key}: {err}"))?;
            index.take_in(key, value, agent_id);
        }
        Ok(index)
    }
    /// Adds an entry that was found on disk.
    pub(super) fn take_in(&mut self, key: String, value: Value, agent_id: &str) {
        let Value::Object(mut entry) = value else {
            self.strange.insert(key, value);
            return;
        };
        let plain = key.starts_with("agent:") || matches!(key.as_str(), "global" | "unknown");
        let key = if plain { key } else { format!("agent:{agent_id}:{key}") };
        if let Some(other) = self.slots.get(&key) {
            let (mut older, newer) = match other.updated_at <= entry["updatedAt"].as_i64().unwrap_or(0) {
                true => (other.entry(), entry),
                false => (entry, other.entry()),
            };
            older.extend(newer);
            entry = older;
        }
        self.slots.insert(key, Slot::of(entry));
    }
    pub fn get(&self, key: &str) -> Option<&Slot> {
        self.slots.get(key)
    }
    /// All entries, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Slot)> {
        self.slots.iter().map(|(key, slot)| (key.as_str(), slot))
    }
    /// The `count` entries that changed last, newest first.
    pub fn newest(&self, count: usize) -> Vec<(&str, &Slot)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.updated_at));
        all.truncate(count);
        all
    }
    /// Whether a session other than `key` has the label.
    pub fn has_label(&self, label: &str, key: &str) -> bool {
        self.iter().any(|(other, slot)| other != key && slot.label() == Some(label))
    }
    pub fn len(&self) -> usize {
        self.slots.len()
    }
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
    /// Makes or replaces an entry.
    pub fn put(&mut self, key: &str, entry: Map<String, Value>, mono_ms: u64) -> Undo {
        let before = self.slots.insert(key.to_owned(), Slot::of(entry));
        self.changed(mono_ms);
        Undo { key: key.to_owned(), before }
    }
    /// None when there is no such entry.
    pub fn remove(&mut self, key: &str, mono_ms: u64) -> Option<Undo> {
        let before = self.slots.remove(key)?;
        self.changed(mono_ms);
        Some(Undo { key: key.to_owned(), before: Some(before) })
    }
    /// Takes a change back. Changes to one key are taken back in the opposite order.
    pub fn undo(&mut self, undo: Undo) {
        self.generation += 1;
        match undo.before {
            Some(slot) => self.slots.insert(undo.key, slot),
            None => self.slots.remove(&undo.key),
        };
    }
    fn changed(&mut self, mono_ms: u64) {
        self.generation += 1;
        self.due_ms.get_or_insert(mono_ms + INDEX_WRITE_MS);
    }
    /// Whether a change waits and its time has come.
    pub fn due(&self, mono_ms: u64) -> bool {
        self.due_ms.is_some_and(|it| it <= mono_ms)
    }
    /// When [`Index::due`] becomes true; None while nothing waits.
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }
    /// The file as it should be, and the change it is as of.
    pub fn snapshot(&self) -> (u64, Vec<u8>) {
        (self.generation, serde_json::to_vec_pretty(self).expect("our own types serialise"))
    }
    /// A snapshot is on disk.
    pub fn saved(&mut self, generation: u64, mono_ms: u64) {
        // What changed while it was being written waits its own time.
        self.due_ms = (generation != self.generation).then_some(mono_ms + INDEX_WRITE_MS);
    }
    /// A snapshot could not be written: try again later.
    pub fn failed(&mut self, mono_ms: u64) {
        self.due_ms = Some(mono_ms + INDEX_RETRY_MS);
    }
}

impl Serialize for Index {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let entries = self.slots.iter().map(|(key, slot)| (key, slot.value()));
        to.collect_map(entries.chain(self.strange.iter().map(|(key, it)| (key, it.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(id: &str) -> Map<String, Value> {
        let Value::Object(it) = json!({ "sessionId": id, "updatedAt": 5 }) else { unreachable!() };
        it
    }

    #[test]
    fn every_field_survives() {
        let text = include_bytes!("../../tests/data/state-reference/sessions.json");
        let index = Index::parse(text, "main").unwrap();
        let before: BTreeMap<String, Value> = serde_json::from_slice(text).unwrap();
        let after: BTreeMap<String, Value> = serde_json::from_slice(&index.snapshot().1).unwrap();
        assert_eq!(before, after);
        assert_eq!(index.get("agent:main:tree").unwrap().label(), Some("tree"));
        let strange = br#"{"agent:main:x": {"a": 1.50}, "note": 5, "other": null}"#;
        let after: Value =
            serde_json::from_slice(&Index::parse(strange, "main").unwrap().snapshot().1).unwrap();
        assert_eq!(after, json!({ "agent:main:x": { "a": 1.5 }, "note": 5, "other": null }));
        assert_eq!(Index::parse(strange, "main").unwrap().len(), 1);
    }
    #[test]
    fn old_keys_are_read_with_their_agent() {
        let text = br#"{"main": {"sessionId": "old", "updatedAt": 1, "label": "L"},
            "agent:main:main": {"sessionId": "new", "updatedAt": 2}, "global": {}, "x": {"updatedAt": 3}}"#;
        let index = Index::parse(text, "main").unwrap();
        assert_eq!(
            index.iter().map(|it| it.0).collect::<Vec<_>>(),
            ["agent:main:main", "agent:main:x", "global"]
        );
        let main = index.get("agent:main:main").unwrap();
        assert_eq!((main.session_id(), main.label(), main.updated_at()), (Some("new"), Some("L"), 2));
    }
    #[test]
    fn many_changes_make_one_write() {
        let mut index = Index::default();
        assert_eq!(index.due_ms(), None);
        for at in 100..200 {
            let _ = index.put("agent:main:main", entry("a"), at);
        }
        assert!(!index.due(100 + INDEX_WRITE_MS - 1) && index.due(100 + INDEX_WRITE_MS));
        let (generation, _) = index.snapshot();
        let _ = index.put("agent:main:main", entry("b"), 300);
        index.saved(generation, 400);
        assert_eq!(index.due_ms(), Some(400 + INDEX_WRITE_MS), "what changed meanwhile still waits");
        index.failed(500);
        assert_eq!(index.due_ms(), Some(500 + INDEX_RETRY_MS));
        index.saved(index.snapshot().0, 600);
        assert_eq!(index.due_ms(), None);
    }
    #[test]
    fn changes_can_be_taken_back() {
        let mut index = Index::default();
        let made = index.put("k", entry("a"), 0);
        let changed = index.put("k", entry("b"), 0);
        let removed = index.remove("k", 0).unwrap();
        assert!(index.remove("k", 0).is_none());
        index.undo(removed);
        assert_eq!(index.get("k").unwrap().session_id(), Some("b"));
        index.undo(changed);
        assert_eq!(index.get("k").unwrap().session_id(), Some("a"));
        index.undo(made);
        assert!(index.is_empty());
    }
    #[test]
    fn an_entry_costs_little_beside_its_text() {
        let mut index = Index::default();
        let before = crate::base::testing::held();
        for n in 0..1000 {
            let _ =
                index.put(&format!("agent:main:{n:08}"), entry("11111111-1111-4111-8111-111111111111"), 0);
        }
        let each = (crate::base::testing::held() - before) / 1000;
        assert!(each < 350, "{each} bytes for an entry of 66");
    }
}
