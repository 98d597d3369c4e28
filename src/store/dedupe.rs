//! What was answered to an idempotency key: `send:<key>`, `poll:<key>`, `agent:<key>`, `chat:<key>`.
//!
//! In memory [`Dedupe`] is bounded in time and number, as the reference's is. What must not happen twice across a restart (a
//! message that was accepted, then kill -9, then the client's retry) is also written to a [`Journal`]: lines
//! `{"k": key, "t": ms since 1970, "v": answer}`, rewritten whole when most of it is old.
use super::lines::{Back, Lines};
use crate::base::files;
use crate::base::limits::{DEDUPE_MAX, DEDUPE_TTL_MS};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

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
    fn lines(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<_> = self.answers.iter().collect();
        all.sort_by_key(|(_, it)| it.put);
        all.into_iter().map(|(key, it)| line(key, it.at, &it.value)).collect()
    }
}

fn line(key: &str, at: i64, answer: &Value) -> Vec<u8> {
    json!({ "k": key, "t": at, "v": answer }).to_string().into_bytes()
}

/// Answers on disk.
pub struct Journal {
    path: PathBuf,
    lines: Lines,
    count: usize,
}

/// Lines at which the journal is rewritten with what still counts.
const JOURNAL_LINES_MAX: usize = 4 * DEDUPE_MAX;

impl Journal {
    /// Opens the journal, repairs its end, and says what it remembers. Lines that are none of ours are passed over.
    ///
    /// # Errors
    /// Something there that is no regular file, or what the system says.
    pub fn open(path: &Path, unix_ms: i64) -> io::Result<(Journal, Dedupe)> {
        let (lines, _) = Lines::open(path, unix_ms)?;
        let mut newest: Vec<(String, i64, Value)> = vec![];
        let mut count = 0;
        for line in Back::open(path)?.into_iter().flatten() {
            count += 1;
            if newest.len() == DEDUPE_MAX {
                continue;
            }
            let Ok(mut value) = serde_json::from_slice::<Value>(&line?) else { continue };
            if let (Some(key), Some(at)) = (value["k"].as_str().map(str::to_owned), value["t"].as_i64()) {
                newest.push((key, at, value["v"].take()));
            }
        }
        let mut known = Dedupe::default();
        for (key, at, answer) in newest.into_iter().rev() {
            if unix_ms.saturating_sub(at) < DEDUPE_TTL_MS {
                known.put(&key, answer, at);
            }
        }
        Ok((Journal { path: path.to_owned(), lines, count }, known))
    }
    /// Writes an answer; it is durable when this returns. `known` is what counts, the new one included.
    ///
    /// # Errors
    /// What the system says; the journal is then as it was.
    pub fn write(&mut self, key: &str, answer: &Value, known: &Dedupe, unix_ms: i64) -> io::Result<()> {
        if self.count < JOURNAL_LINES_MAX {
            self.lines.append_all(&[line(key, unix_ms, answer)])?;
            self.count += 1;
            return Ok(());
        }
        let lines = known.lines();
        let mut bytes = lines.join(&b'\n');
        bytes.push(b'\n');
        files::write_atomic(&self.path, &bytes)?;
        self.lines = Lines::open(&self.path, unix_ms)?.0;
        self.count = lines.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::{self, Trouble};
    use crate::base::testing::TempDir;
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
    #[test]
    fn a_restart_remembers() {
        let dir = TempDir::new();
        let path = dir.path().join("dedupe.jsonl");
        let (mut journal, mut known) = Journal::open(&path, NOW).unwrap();
        for (n, key) in ["chat:old", "chat:a", "agent:b", "chat:a"].iter().enumerate() {
            let at = if n == 0 { NOW - DEDUPE_TTL_MS } else { NOW + n as i64 };
            known.put(key, json!(n), at);
            journal.write(key, &json!(n), &known, at).unwrap();
        }
        let whole = files::read(&path, 10_000).unwrap().unwrap();
        let (_, known) = Journal::open(&path, NOW + 9).unwrap();
        assert_eq!((known.len(), known.get("chat:a", NOW + 9)), (2, Some(&json!(3))));
        for cut in 0..whole.len() {
            files::write_atomic(&path, &whole[..cut]).unwrap();
            let lines = whole[..=cut].iter().filter(|it| **it == b'\n').count();
            let (_, known) = Journal::open(&path, NOW + 9).unwrap();
            assert_eq!(known.get("agent:b", NOW + 9).is_some(), lines >= 3, "{cut}");
        }
    }
    #[test]
    fn the_journal_stays_small_and_whole() {
        let dir = TempDir::new();
        let path = dir.path().join("dedupe.jsonl");
        let (mut journal, mut known) = Journal::open(&path, NOW).unwrap();
        // As if it had been written to for days.
        journal.count = JOURNAL_LINES_MAX - 2;
        let write = |journal: &mut Journal, known: &mut Dedupe, n: usize| {
            let key = format!("chat:{n}");
            known.put(&key, json!(n), NOW);
            journal.write(&key, &json!(n), known, NOW).is_ok()
        };
        for n in 0..4 {
            assert!(write(&mut journal, &mut known, n));
        }
        assert_eq!(journal.count, 4);
        assert_eq!(Journal::open(&path, NOW).unwrap().1.len(), 4);
        for full in [false, true] {
            for k in 0..8 {
                journal.count = if full { JOURNAL_LINES_MAX } else { 0 };
                let n = 10 + k + usize::from(full) * 8;
                let plan = Some((k, Trouble::Once));
                let (done, _) = fault::run(plan, || write(&mut journal, &mut known, n));
                let again = Journal::open(&path, NOW).unwrap().1;
                let key = format!("chat:{n}");
                assert!(!done || again.get(&key, NOW).is_some(), "acknowledged and lost: {key}");
                assert!(again.get("chat:0", NOW).is_some());
                assert!(write(&mut journal, &mut known, n), "it works again");
            }
        }
    }
}
