//! What was promised: messages that were acknowledged and whose runs have not ended, and the answers of those that have.
//!
//! ```text
//! accept(key, request) ── durable, then the client hears "accepted" ──► begun(key), run ──► end(key, answer)
//!        kill -9 anywhere: the next start finds every request that has no answer, and every answer young enough to repeat
//! ```
//!
//! A file of lines: `{"k": key, "t": ms since 1970, "q": request, "b": how often begun}`, `{"k": key, "b": 1}`, and
//! `{"k": key, "t": …, "v": answer}`; a request from a source that counts what it gives has `"s": source, "o": number` beside it. It is
//! rewritten with what still counts when that is the smaller part of it. A request never grows old; an answer does, see [`Dedupe`].
use super::dedupe::Dedupe;
use super::lines::{Back, Lines};
use crate::base::limits::{ACCEPTED_BYTES_MIN, DEDUPE_TTL_MS, MARK_TTL_MS};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A request without an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub key: String,
    /// When it was accepted, in milliseconds since 1970.
    pub at: i64,
    pub request: Value,
    /// How often its run has begun.
    pub begun: u32,
}

pub struct Accepted {
    path: PathBuf,
    lines: Lines,
    /// By the number of its acceptance.
    pending: BTreeMap<u64, Pending>,
    answers: Dedupe,
    /// The highest number that came from each source that counts what it gives, and when, in milliseconds since 1970.
    marks: BTreeMap<String, (i64, i64)>,
    next: u64,
    /// Bytes of the file after it was last rewritten.
    rewritten: u64,
}

fn asked(it: &Pending) -> Vec<u8> {
    json!({ "k": it.key, "t": it.at, "q": it.request, "b": it.begun }).to_string().into_bytes()
}

fn answered(key: &str, at: i64, answer: &Value) -> Vec<u8> {
    json!({ "k": key, "t": at, "v": answer }).to_string().into_bytes()
}

impl Accepted {
    /// Opens the journal and repairs its end. Lines that are none of ours are passed over.
    ///
    /// # Errors
    /// Something there that is no regular file, or what the system says.
    pub fn open(path: &Path, unix_ms: i64) -> io::Result<Accepted> {
        let (lines, _) = Lines::open(path, unix_ms)?;
        let rewritten = lines.len();
        let mut it = Accepted {
            path: path.to_owned(),
            lines,
            pending: BTreeMap::new(),
            answers: Dedupe::default(),
            marks: BTreeMap::new(),
            next: 0,
            rewritten,
        };
        let mut newest_first: Vec<Value> = vec![];
        for line in Back::open(path)?.into_iter().flatten() {
            newest_first.extend(serde_json::from_slice(&line?).ok());
        }
        for mut line in newest_first.into_iter().rev() {
            if let (Some(source), Some(number)) = (line["s"].as_str(), line["o"].as_i64()) {
                it.mark_seen(source, number, line["t"].as_i64().unwrap_or(0));
            }
            let Some(key) = line["k"].as_str().map(str::to_owned) else { continue };
            let begun = line["b"].as_u64().unwrap_or(0) as u32;
            match line["t"].as_i64() {
                Some(at) if line.get("q").is_some() => {
                    it.remember(Pending { key, at, request: line["q"].take(), begun });
                }
                Some(at) if line.get("v").is_some() => {
                    it.forget(&key);
                    if unix_ms.saturating_sub(at) < DEDUPE_TTL_MS {
                        it.answers.put(&key, line["v"].take(), at);
                    }
                }
                _ => it.count(&key, begun),
            }
        }
        Ok(it)
    }
    fn remember(&mut self, it: Pending) {
        self.forget(&it.key);
        self.pending.insert(self.next, it);
        self.next += 1;
    }
    fn forget(&mut self, key: &str) {
        self.pending.retain(|_, it| it.key != key);
    }
    fn count(&mut self, key: &str, begun: u32) {
        if let Some(it) = self.pending.values_mut().find(|it| it.key == key) {
            it.begun += begun;
        }
    }
    /// Requests without an answer, in the order in which they were accepted.
    pub fn pending(&self) -> Vec<Pending> {
        self.pending.values().cloned().collect()
    }
    /// Whether a key waits for its answer, or has one that may be asked for again.
    pub fn knows(&self, key: &str, unix_ms: i64) -> bool {
        self.pending.values().any(|it| it.key == key) || self.answers.get(key, unix_ms).is_some()
    }
    /// Answers that may be asked for again: key, when, what.
    pub fn answers(&self) -> impl Iterator<Item = (&str, i64, &Value)> {
        self.answers.iter()
    }
    fn mark_seen(&mut self, source: &str, number: i64, unix_ms: i64) {
        let last = self.mark(source, unix_ms).unwrap_or(number);
        self.marks.insert(source.to_owned(), (number.max(last), unix_ms));
    }
    /// The highest number of a source of which something was accepted, as long as it counts: see [`MARK_TTL_MS`].
    pub fn mark(&self, source: &str, unix_ms: i64) -> Option<i64> {
        let (number, at) = self.marks.get(source)?;
        (unix_ms.saturating_sub(*at) < MARK_TTL_MS).then_some(*number)
    }
    /// As [`Accepted::accept`], of something that its source may give again: the same write remembers its number.
    ///
    /// # Errors
    /// As [`Accepted::accept`].
    pub fn accept_from(
        &mut self,
        source: &str,
        number: i64,
        key: &str,
        request: Value,
        unix_ms: i64,
    ) -> io::Result<()> {
        let pending = Pending { key: key.to_owned(), at: unix_ms, request, begun: 0 };
        let mut line = json!({ "s": source, "o": number, "k": key, "t": unix_ms, "b": 0 });
        line["q"] = pending.request.clone();
        self.current(unix_ms)?.append_all(&[line.to_string().into_bytes()])?;
        self.mark_seen(source, number, unix_ms);
        self.remember(pending);
        self.shrink(unix_ms);
        Ok(())
    }
    /// Promises that the request will be answered; durable when this returns. A key that waits already gets the new request.
    ///
    /// # Errors
    /// What the system says; nothing is then promised.
    pub fn accept(&mut self, key: &str, request: Value, unix_ms: i64) -> io::Result<()> {
        let pending = Pending { key: key.to_owned(), at: unix_ms, request, begun: 0 };
        self.current(unix_ms)?.append_all(&[asked(&pending)])?;
        self.remember(pending);
        self.shrink(unix_ms);
        Ok(())
    }
    /// The run of a request begins: whoever finds it without an answer knows that it was tried.
    ///
    /// # Errors
    /// What the system says.
    pub fn begun(&mut self, key: &str, unix_ms: i64) -> io::Result<()> {
        self.count(key, 1);
        self.current(unix_ms)?.append_unsynced(&[json!({ "k": key, "b": 1 }).to_string().into_bytes()])
    }
    /// The answer was given; None for one that nobody may ask for again. Not synced: the transcript, which is, holds the answer
    /// too, and a life that does not find this line finds that.
    ///
    /// # Errors
    /// What the system says; the request then counts as unanswered after a restart, and is looked at again.
    pub fn end(&mut self, key: &str, answer: Option<Value>, unix_ms: i64) -> io::Result<()> {
        let at = if answer.is_some() { unix_ms } else { 0 };
        let value = answer.unwrap_or(Value::Null);
        self.forget(key);
        self.current(unix_ms)?.append_unsynced(&[answered(key, at, &value)])?;
        if at > 0 {
            self.answers.put(key, value, at);
        }
        self.shrink(unix_ms);
        Ok(())
    }
    /// The file, opened again when somebody else has touched it.
    fn current(&mut self, unix_ms: i64) -> io::Result<&mut Lines> {
        if !self.lines.is_current() {
            self.lines = Lines::open(&self.path, unix_ms)?.0;
        }
        Ok(&mut self.lines)
    }
    fn shrink(&mut self, unix_ms: i64) {
        if self.lines.len() >= 2 * self.rewritten.max(ACCEPTED_BYTES_MIN)
            && let Err(err) = self.rewrite(unix_ms)
        {
            // Nothing is lost: the file is only longer than it need be.
            log::warn!("cannot shorten {}: {err}", self.path.display());
        }
    }
    fn rewrite(&mut self, unix_ms: i64) -> io::Result<()> {
        let young = |it: &(&str, i64, &Value)| unix_ms.saturating_sub(it.1) < DEDUPE_TTL_MS;
        let answers = self.answers.iter().filter(young).map(|it| answered(it.0, it.1, it.2));
        let pending = self.pending.values().map(asked);
        let marks = self
            .marks
            .iter()
            .map(|it| json!({ "s": it.0, "o": it.1.0, "t": it.1.1 }).to_string().into_bytes());
        self.lines.rewrite(answers.chain(pending).chain(marks), unix_ms)?;
        self.rewritten = self.lines.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::{self, Trouble};
    use crate::base::testing::{TempDir, each_seed};
    const NOW: i64 = 1_795_478_083_046;

    fn opened(dir: &TempDir) -> Accepted {
        Accepted::open(&dir.path().join("accepted.jsonl"), NOW).unwrap()
    }
    fn waiting(it: &Accepted) -> Vec<(String, Value)> {
        it.pending().into_iter().map(|it| (it.key, it.request)).collect()
    }

    #[test]
    fn a_restart_finds_what_has_no_answer() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        for key in ["chat:a", "agent:b", "chat:c"] {
            it.accept(key, json!({ "message": key }), NOW - 10 * DEDUPE_TTL_MS).unwrap();
        }
        it.end("agent:b", Some(json!({ "status": "ok" })), NOW).unwrap();
        it.end("chat:gone", Some(json!(1)), NOW - DEDUPE_TTL_MS).unwrap();
        let want = [("chat:a", json!({ "message": "chat:a" })), ("chat:c", json!({ "message": "chat:c" }))];
        let it = opened(&dir);
        assert_eq!(waiting(&it), want.map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(it.answers().map(|it| it.0).collect::<Vec<_>>(), ["agent:b"], "old ones are forgotten");
    }

    /// Random promises and answers under a disk that fails now and then: a restart knows all that was promised.
    #[test]
    fn no_promise_is_lost() {
        each_seed(40, |mut seed| {
            let dir = TempDir::new();
            let mut it = opened(&dir);
            let mut promised: Vec<String> = vec![];
            let mut doubtful: Vec<String> = vec![];
            for n in 0..60 {
                let fails = seed.one_in(5).then(|| (seed.below(6), Trouble::Once));
                let key = format!("chat:{n}");
                let body = json!("x".repeat(seed.below(8000)));
                if seed.one_in(3) && !promised.is_empty() {
                    let key = promised.remove(seed.below(promised.len()));
                    if fault::run(fails, || it.end(&key, Some(body), NOW)).0.is_err() {
                        doubtful.push(key);
                    }
                } else if fault::run(fails, || it.accept(&key, body, NOW)).0.is_ok() {
                    promised.push(key);
                } else {
                    doubtful.push(key);
                }
                if seed.one_in(7) {
                    it = opened(&dir);
                }
            }
            let found: Vec<String> = waiting(&opened(&dir)).into_iter().map(|it| it.0).collect();
            assert!(promised.iter().all(|it| found.contains(it)), "{promised:?} {found:?}");
            assert!(found.iter().all(|it| promised.contains(it) || doubtful.contains(it)));
        });
    }

    /// A request that was tried is told from one that only waited, after any number of starts.
    #[test]
    fn what_was_begun_is_counted() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        for key in ["chat:a", "chat:b"] {
            it.accept(key, json!(key), NOW).unwrap();
        }
        for life in 1..4 {
            it.begun("chat:a", NOW).unwrap();
            if life == 2 {
                it.rewrite(NOW).unwrap();
            }
            it = opened(&dir);
            let begun = it.pending().into_iter().map(|it| it.begun).collect::<Vec<_>>();
            assert_eq!(begun, [life, 0]);
        }
        it.end("chat:a", Some(json!(1)), NOW).unwrap();
        it.begun("chat:a", NOW).unwrap();
        let it = opened(&dir);
        assert!(it.knows("chat:a", NOW) && it.knows("chat:b", NOW) && !it.knows("chat:c", NOW));
        assert!(!it.knows("chat:a", NOW + DEDUPE_TTL_MS) && it.pending().len() == 1);
    }

    /// A source that gives something again much later: its number says that it was accepted.
    #[test]
    fn numbers_of_sources_are_kept() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        for number in [7, 9, 8] {
            it.accept_from("telegram:a", number, &format!("chat:{number}"), json!(1), NOW).unwrap();
            it.end(&format!("chat:{number}"), None, NOW).unwrap();
        }
        it.accept("chat:x", json!(1), NOW).unwrap();
        for _ in 0..2 {
            let mut it = opened(&dir);
            assert_eq!((it.mark("telegram:a", NOW), it.mark("telegram:b", NOW)), (Some(9), None));
            assert_eq!(it.mark("telegram:a", NOW + MARK_TTL_MS), None, "it may count anew");
            assert_eq!(waiting(&it).len(), 1);
            it.rewrite(NOW).unwrap();
        }
    }

    #[test]
    fn the_file_stays_small() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        it.accept("chat:waits", json!("here"), NOW).unwrap();
        for n in 0..2000 {
            let key = format!("chat:{n}");
            it.accept(&key, json!("y".repeat(500)), NOW + n).unwrap();
            it.end(&key, None, NOW + n).unwrap();
        }
        let bytes = std::fs::metadata(dir.path().join("accepted.jsonl")).unwrap().len();
        assert!(bytes <= 2 * ACCEPTED_BYTES_MIN + 1000, "{bytes}");
        assert_eq!(waiting(&opened(&dir)).len(), 1);
    }
}
