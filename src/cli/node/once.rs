//! Calls by their idempotency keys: one that comes again gets the answer of the first, and runs nothing.
use super::run::Refused;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// Answers kept. Ours: a gateway asks again within seconds.
const KEPT: usize = 32;

type Answer = Result<Value, Refused>;

#[derive(Default)]
pub struct Once {
    /// Who waits for each call that runs, with the connection.
    running: BTreeMap<String, Vec<(u64, String)>>,
    /// Oldest first.
    ended: VecDeque<(String, Answer)>,
}

#[derive(Debug, PartialEq)]
pub enum Known {
    New,
    Running,
    Ended(Answer),
}

impl Once {
    /// Enters the call of `id`, made over connection `life`.
    pub fn enter(&mut self, key: &str, life: u64, id: &str) -> Known {
        if let Some(it) = self.ended.iter().find(|it| it.0 == key) {
            return Known::Ended(it.1.clone());
        }
        let waiting = self.running.entry(key.to_owned()).or_default();
        waiting.push((life, id.to_owned()));
        if waiting.len() == 1 { Known::New } else { Known::Running }
    }
    /// It has ended: who waits for it.
    pub fn end(&mut self, key: &str, answer: &Answer) -> Vec<(u64, String)> {
        if self.ended.len() == KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back((key.to_owned(), answer.clone()));
        self.running.remove(key).unwrap_or_default()
    }
    /// It was not run, and may be tried again: who waits for it.
    pub fn forget(&mut self, key: &str) -> Vec<(u64, String)> {
        self.running.remove(key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[test]
    fn twice_is_once() {
        let mut it = Once::default();
        assert_eq!(it.enter("k", 1, "a"), Known::New);
        assert_eq!(it.enter("k", 2, "b"), Known::Running);
        assert_eq!(it.end("k", &Ok(json!(5))), [(1, "a".to_owned()), (2, "b".to_owned())]);
        assert_eq!(it.enter("k", 2, "c"), Known::Ended(Ok(json!(5))));
        for n in 0..KEPT {
            it.enter(&n.to_string(), 1, "x");
            it.end(&n.to_string(), &Err(Refused::invalid("no")));
        }
        assert_eq!(it.enter("k", 3, "d"), Known::New);
        it.forget("k");
        assert_eq!(it.enter("k", 3, "e"), Known::New);
    }
}
