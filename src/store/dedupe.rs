//! What was answered to an idempotency key: `send:<key>`, `poll:<key>`, `agent:<key>`, `chat:<key>`.
//!
//! Bounded in time and number, as the reference's is. What must not happen twice across a restart is also on disk: see `accepted`.
use crate::base::limits::{DEDUPE_MAX, DEDUPE_TTL_MS};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};

/// Answers by key.
#[derive(Debug, Default)]
pub struct Dedupe {
    answers: HashMap<String, Answer>,
    /// Keys with the number of their put; a key that was put again stands twice, and counts where it stands last.
    order: VecDeque<(u64, String)>,
    puts: u64,
}

#[derive(Debug)]
struct Answer {
    put: u64,
    at: i64,
    value: Value,
}

impl Dedupe {
    /// The answer to a key that is younger than [`DEDUPE_TTL_MS`]. One from the future (the clock went back) counts as young.
    pub fn get(&self, key: &str, unix_ms: i64) -> Option<&Value> {
        self.answers.get(key).filter(|it| unix_ms.saturating_sub(it.at) < DEDUPE_TTL_MS).map(|it| &it.value)
    }
    /// Remembers or replaces an answer; forgets what is old, and the oldest beyond [`DEDUPE_MAX`].
    pub fn put(&mut self, key: &str, value: Value, unix_ms: i64) {
        self.puts += 1;
        self.answers.insert(key.to_owned(), Answer { put: self.puts, at: unix_ms, value });
        self.order.push_back((self.puts, key.to_owned()));
        while let Some((put, key)) = self.order.front() {
            let last = self.answers.get(key).filter(|it| it.put == *put);
            let young = last.is_some_and(|it| unix_ms.saturating_sub(it.at) < DEDUPE_TTL_MS);
            if young && self.answers.len() <= DEDUPE_MAX {
                break;
            }
            if last.is_some() {
                self.answers.remove(key);
            }
            self.order.pop_front();
        }
        if self.order.len() > 2 * DEDUPE_MAX {
            let answers = &self.answers;
            self.order.retain(|(put, key)| answers.get(key).is_some_and(|it| it.put == *put));
        }
    }
    /// Forgets a key: what it stood for could not be done, and may be asked for again.
    pub fn remove(&mut self, key: &str) {
        self.answers.remove(key);
    }
    pub fn len(&self) -> usize {
        self.answers.len()
    }
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
    /// Keys with when and what was answered, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64, &Value)> {
        let mut all: Vec<_> = self.answers.iter().collect();
        all.sort_by_key(|(_, it)| it.put);
        all.into_iter().map(|(key, it)| (key.as_str(), it.at, &it.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    const NOW: i64 = 1_795_478_083_046;

    #[test]
    fn answers_age_and_are_counted() {
        let mut it = Dedupe::default();
        it.put("chat:a", json!(1), NOW);
        it.put("chat:a", json!(2), NOW + 1);
        assert_eq!(
            it.get("chat:a", NOW + DEDUPE_TTL_MS),
            Some(&json!(2)),
            "the newer answer keeps its own time"
        );
        assert_eq!(it.get("chat:a", NOW + 1 + DEDUPE_TTL_MS), None);
        assert!(it.get("chat:a", 0).is_some(), "a clock that went back forgets nothing");
        for n in 0..3 * DEDUPE_MAX {
            it.put(&format!("chat:{n}"), json!(n), NOW + 2);
        }
        assert_eq!(it.len(), DEDUPE_MAX);
        assert!(it.get("chat:a", NOW + 2).is_none() && it.get("chat:2999", NOW + 2).is_some());
        for _ in 0..10 * DEDUPE_MAX {
            it.put("chat:same", json!(0), NOW + 3);
        }
        assert!(it.order.len() <= 2 * DEDUPE_MAX, "{}", it.order.len());
        assert!(it.get("chat:same", NOW + 3).is_some() && it.get("chat:2999", NOW + 3).is_some());
        it.remove("chat:same");
        assert!(it.get("chat:same", NOW + 3).is_none());
        it.put("chat:late", json!(0), NOW + 3 + DEDUPE_TTL_MS);
        assert_eq!(it.len(), 1);
    }
}
