//! What was promised: messages that were acknowledged and whose runs have not ended, and the answers of those that have.
//!
//! ```text
//! accept(key, request) ── durable, then the client hears "accepted" ──► run ──► end(key, answer)
//!        kill -9 anywhere: the next start finds every request that has no answer, and every answer young enough to repeat
//! ```
//!
//! A file of lines: `{"k": key, "t": ms since 1970, "q": request}` and `{"k": key, "t": …, "v": answer}`; it is rewritten with
//! what still counts when that is the smaller part of it. A request never grows old; an answer does, see [`Dedupe`].
use super::dedupe::Dedupe;
use super::lines::{Back, Lines};
use crate::base::files;
use crate::base::limits::{ACCEPTED_BYTES_MIN, DEDUPE_TTL_MS};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A request without an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub key: String,
    pub request: Value,
}

pub struct Accepted {
    path: PathBuf,
    lines: Lines,
    /// By the number of its acceptance.
    pending: BTreeMap<u64, (String, i64, Value)>,
    answers: Dedupe,
    next: u64,
    /// Bytes of the file after it was last rewritten.
    rewritten: u64,
}

fn asked(key: &str, at: i64, request: &Value) -> Vec<u8> {
    json!({ "k": key, "t": at, "q": request }).to_string().into_bytes()
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
            next: 0,
            rewritten,
        };
        let mut newest_first: Vec<Value> = vec![];
        for line in Back::open(path)?.into_iter().flatten() {
            newest_first.extend(serde_json::from_slice(&line?).ok());
        }
        for mut line in newest_first.into_iter().rev() {
            let (Some(key), Some(at)) = (line["k"].as_str().map(str::to_owned), line["t"].as_i64()) else {
                continue;
            };
            if line.get("q").is_some() {
                it.remember(key, at, line["q"].take());
            } else if line.get("v").is_some() {
                it.forget(&key);
                if unix_ms.saturating_sub(at) < DEDUPE_TTL_MS {
                    it.answers.put(&key, line["v"].take(), at);
                }
            }
        }
        Ok(it)
    }
    fn remember(&mut self, key: String, at: i64, request: Value) {
        self.forget(&key);
        self.pending.insert(self.next, (key, at, request));
        self.next += 1;
    }
    fn forget(&mut self, key: &str) {
        self.pending.retain(|_, it| it.0 != key);
    }
    /// Requests without an answer, in the order in which they were accepted.
    pub fn pending(&self) -> Vec<Pending> {
        let of = |it: &(String, i64, Value)| Pending { key: it.0.clone(), request: it.2.clone() };
        self.pending.values().map(of).collect()
    }
    /// Answers that may be asked for again: key, when, what.
    pub fn answers(&self) -> impl Iterator<Item = (&str, i64, &Value)> {
        self.answers.iter()
    }
    /// Promises that the request will be answered; durable when this returns. A key that waits already gets the new request.
    ///
    /// # Errors
    /// What the system says; nothing is then promised.
    pub fn accept(&mut self, key: &str, request: Value, unix_ms: i64) -> io::Result<()> {
        self.append(asked(key, unix_ms, &request), true, unix_ms)?;
        self.remember(key.to_owned(), unix_ms, request);
        self.shrink(unix_ms);
        Ok(())
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
        self.append(answered(key, at, &value), false, unix_ms)?;
        if at > 0 {
            self.answers.put(key, value, at);
        }
        self.shrink(unix_ms);
        Ok(())
    }
    fn append(&mut self, line: Vec<u8>, sync: bool, unix_ms: i64) -> io::Result<()> {
        if !self.lines.is_current() {
            self.lines = Lines::open(&self.path, unix_ms)?.0;
        }
        if sync { self.lines.append_all(&[line]) } else { self.lines.append_unsynced(&[line]) }
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
        let pending = self.pending.values().map(|it| asked(&it.0, it.1, &it.2));
        let mut bytes = vec![];
        for line in answers.chain(pending) {
            bytes.extend(line);
            bytes.push(b'\n');
        }
        files::write_atomic(&self.path, &bytes)?;
        self.lines = Lines::open(&self.path, unix_ms)?.0;
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
        let bytes = files::read(&dir.path().join("accepted.jsonl"), 1 << 30).unwrap().unwrap().len() as u64;
        assert!(bytes <= 2 * ACCEPTED_BYTES_MIN + 1000, "{bytes}");
        assert_eq!(waiting(&opened(&dir)).len(), 1);
    }
}
