//! What is to be said on chat networks: answers that are ready and were not (wholly) sent.
//!
//! ```text
//! add(delivery) ── durable ──► begin(id, part) ── durable ──► the network ──► sent(id, part, name) … ──► end(id)
//!        kill -9 anywhere: the next start finds every delivery that has not ended, and which part may be there or not
//! ```
//!
//! A preview is a message that the answer takes the place of: half of it, shown while it is made, or a message that says nothing yet. It
//! is begun as a part is, and may be there or not as long as it has no name.
//!
//! A file of lines: `{"k": id, "t": ms since 1970, "d": delivery}`, `{"k": id, "n": part, "b": number}`, `{"k": id, "n": part, "m": name}`,
//! `{"k": id, "q": number}` (a preview is begun), `{"k": id, "p": name}` (it is there; `""`: it is not), `{"k": id, "x": ms since 1970}`,
//! `{"c": chat, "l": number}`. It is rewritten with what still counts when that is the smaller part of it.
use super::lines::{Back, Lines};
use crate::base::limits::{ACCEPTED_BYTES_MIN, DELIVERIES_ENDED_MAX, DELIVERY_TTL_MS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

/// An answer, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delivery {
    /// The key of the run's answer.
    pub id: String,
    pub channel: String,
    pub account: String,
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The message that it is shown to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The message that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// As the model wrote them.
    pub texts: Vec<String>,
    /// Paths and addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub as_voice: bool,
    /// The message that led to it has a reaction of ours, which goes when all of this is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acked: bool,
}

/// How far a delivery has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Parts that are there.
    pub sent: usize,
    /// The part behind them was begun: it may be there.
    pub begun: bool,
    /// The last message that was there for certain before that, by its number.
    pub base: i64,
    /// What the network calls the message that the answer takes the place of.
    pub preview: Option<String>,
}

/// See [`Deliveries`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preview {
    /// It may be there, behind the last message that was there for certain before, by its number.
    Begun(i64),
    /// What the network calls it.
    There(String),
}

impl Progress {
    /// A part that was begun and a preview that was begun are looked for alike.
    pub fn with(preview: Option<Preview>) -> Progress {
        match preview {
            None => Progress::default(),
            Some(Preview::Begun(base)) => Progress { begun: true, base, ..Progress::default() },
            Some(Preview::There(name)) => Progress { preview: Some(name), ..Progress::default() },
        }
    }
}

#[derive(Debug, Clone)]
struct Waiting {
    at: i64,
    delivery: Delivery,
    progress: Progress,
}

pub struct Deliveries {
    path: PathBuf,
    lines: Lines,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Ids whose delivery is over, oldest first.
    ended: VecDeque<String>,
    /// By the id of the answer, oldest first.
    previews: VecDeque<(String, Preview)>,
    /// The number of the last message in each chat, as far as it was seen.
    last: BTreeMap<String, i64>,
    rewritten: u64,
}

fn added(at: i64, it: &Delivery) -> Vec<u8> {
    json!({ "k": it.id, "t": at, "d": it }).to_string().into_bytes()
}

fn there(name: &str) -> Option<Preview> {
    (!name.is_empty()).then(|| Preview::There(name.to_owned()))
}

impl Deliveries {
    /// Opens the journal and repairs its end. Lines that are none of ours are passed over.
    ///
    /// # Errors
    /// Something there that is no regular file, or what the system says.
    pub fn open(path: &Path, unix_ms: i64) -> io::Result<Deliveries> {
        let (lines, _) = Lines::open(path, unix_ms)?;
        let rewritten = lines.len();
        let mut it = Deliveries {
            path: path.to_owned(),
            lines,
            waiting: BTreeMap::new(),
            next: 0,
            ended: VecDeque::new(),
            previews: VecDeque::new(),
            last: BTreeMap::new(),
            rewritten,
        };
        let mut newest_first: Vec<Value> = vec![];
        for line in Back::open(path)?.into_iter().flatten() {
            newest_first.extend(serde_json::from_slice(&line?).ok());
        }
        for mut line in newest_first.into_iter().rev() {
            if let (Some(chat), Some(number)) = (line["c"].as_str(), line["l"].as_i64()) {
                it.remember_last(chat, number);
            }
            let Some(id) = line["k"].as_str().map(str::to_owned) else { continue };
            let part = line["n"].as_u64().map(|it| it as usize);
            if let (Some(at), Ok(delivery)) = (line["t"].as_i64(), serde_json::from_value(line["d"].take())) {
                it.remember(at, delivery);
            } else if line["x"].is_i64() {
                it.forget(&id);
            } else if let Some(base) = line["q"].as_i64() {
                it.remember_preview(&id, Some(Preview::Begun(base)));
            } else if let Some(name) = line["p"].as_str() {
                it.remember_preview(&id, there(name));
            } else if let (Some(part), Some(waiting)) = (part, it.waiting_mut(&id)) {
                let is_sent = line["m"].is_string();
                waiting.progress.sent = part + usize::from(is_sent);
                waiting.progress.begun = !is_sent;
                waiting.progress.base = line["b"].as_i64().unwrap_or(0);
            }
        }
        Ok(it)
    }

    /// Whether a delivery waits or is over: it is not to be made again.
    pub fn knows(&self, id: &str) -> bool {
        self.ended.iter().any(|it| it == id) || self.waiting.values().any(|it| it.delivery.id == id)
    }
    /// What an account has to say, the oldest first, and how far it has come.
    pub fn waiting(&self, channel: &str, account: &str) -> Vec<(Delivery, Progress)> {
        let of = |it: &&Waiting| it.delivery.channel == channel && it.delivery.account == account;
        self.waiting.values().filter(of).map(|it| (it.delivery.clone(), it.progress.clone())).collect()
    }
    pub fn progress(&self, id: &str) -> Option<Progress> {
        self.waiting.values().find(|it| it.delivery.id == id).map(|it| it.progress.clone())
    }
    /// Promises to say it; durable when this returns. One that is known is not promised again.
    ///
    /// # Errors
    /// What the system says; nothing is then promised.
    pub fn add(&mut self, delivery: Delivery, unix_ms: i64) -> io::Result<()> {
        self.drop_old(unix_ms)?;
        if !self.knows(&delivery.id) {
            self.current(unix_ms)?.append_all(&[added(unix_ms, &delivery)])?;
            self.remember(unix_ms, delivery);
        }
        Ok(())
    }
    /// A part is about to leave. Durable when this returns: nobody sends it a second time without looking.
    ///
    /// # Errors
    /// What the system says; it must not be sent then.
    pub fn begin(&mut self, id: &str, part: usize, base: i64, unix_ms: i64) -> io::Result<()> {
        let line = json!({ "k": id, "n": part, "b": base }).to_string().into_bytes();
        self.current(unix_ms)?.append_all(&[line])?;
        if let Some(it) = self.waiting_mut(id) {
            (it.progress.sent, it.progress.begun, it.progress.base) = (part, true, base);
        }
        Ok(())
    }
    /// A part that was begun has certainly not left.
    ///
    /// # Errors
    /// What the system says.
    pub fn unsent(&mut self, id: &str, part: usize, unix_ms: i64) -> io::Result<()> {
        let Some(it) = self.waiting_mut(id) else { return Ok(()) };
        (it.progress.sent, it.progress.begun) = (part, false);
        // As if the one before had just been sent.
        let Some(before) = part.checked_sub(1) else { return self.preview(id, "", unix_ms) };
        let line = json!({ "k": id, "n": before, "m": "" }).to_string().into_bytes();
        self.current(unix_ms)?.append_unsynced(&[line])
    }
    /// A part is there, and what the network calls it.
    ///
    /// # Errors
    /// What the system says.
    pub fn sent(&mut self, id: &str, part: usize, name: &str, unix_ms: i64) -> io::Result<()> {
        let line = json!({ "k": id, "n": part, "m": name }).to_string().into_bytes();
        if let Some(it) = self.waiting_mut(id) {
            (it.progress.sent, it.progress.begun) = (part + 1, false);
        }
        self.current(unix_ms)?.append_unsynced(&[line])
    }
    /// A message is there: ours, whatever led to it, or somebody's.
    ///
    /// # Errors
    /// What the system says.
    pub fn seen(&mut self, chat: &str, number: i64, unix_ms: i64) -> io::Result<()> {
        self.remember_last(chat, number);
        self.current(unix_ms)?.append_unsynced(&[json!({ "c": chat, "l": number }).to_string().into_bytes()])
    }
    /// The highest number of a message in a chat, or in chats that count together; 0 where nothing was seen.
    pub fn last(&self, chat: &str) -> i64 {
        self.last.get(chat).copied().unwrap_or(0)
    }
    /// A preview of an answer is about to leave. Durable when this returns None; the one that an earlier life has begun is not begun again.
    ///
    /// # Errors
    /// What the system says; it must not be sent then.
    pub fn begin_preview(&mut self, id: &str, base: i64, unix_ms: i64) -> io::Result<Option<Preview>> {
        if let Some((_, it)) = self.previews.iter().find(|it| it.0 == id) {
            return Ok(Some(it.clone()));
        }
        self.current(unix_ms)?.append_all(&[json!({ "k": id, "q": base }).to_string().into_bytes()])?;
        self.remember_preview(id, Some(Preview::Begun(base)));
        Ok(None)
    }
    /// What the network calls the preview of an answer. An empty name: it is certainly not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn preview(&mut self, id: &str, name: &str, unix_ms: i64) -> io::Result<()> {
        self.remember_preview(id, there(name));
        self.current(unix_ms)?.append_unsynced(&[json!({ "k": id, "p": name }).to_string().into_bytes()])
    }
    /// The preview of an answer, where it is there.
    pub fn preview_of(&self, id: &str) -> Option<&str> {
        self.previews.iter().find(|it| it.0 == id).and_then(|it| match &it.1 {
            Preview::There(name) => Some(name.as_str()),
            Preview::Begun(_) => None,
        })
    }
    /// All of it is there, or it is given up.
    ///
    /// # Errors
    /// What the system says.
    pub fn end(&mut self, id: &str, unix_ms: i64) -> io::Result<()> {
        self.forget(id);
        self.current(unix_ms)?
            .append_unsynced(&[json!({ "k": id, "x": unix_ms }).to_string().into_bytes()])?;
        if self.lines.len() >= 2 * self.rewritten.max(ACCEPTED_BYTES_MIN)
            && let Err(err) = self.rewrite(unix_ms)
        {
            // Nothing is lost: the file is only longer than it need be.
            log::warn!("cannot shorten {}: {err}", self.path.display());
        }
        Ok(())
    }

    /// An answer that could not be given for so long is news no more.
    fn drop_old(&mut self, unix_ms: i64) -> io::Result<()> {
        let old = self.waiting.values().filter(|it| unix_ms.saturating_sub(it.at) > DELIVERY_TTL_MS);
        for id in old.map(|it| it.delivery.id.clone()).collect::<Vec<_>>() {
            log::error!(target: "channels", "{id}: an answer could not be sent for {} h, and is given up", DELIVERY_TTL_MS / 3_600_000);
            self.end(&id, unix_ms)?;
        }
        Ok(())
    }
    fn waiting_mut(&mut self, id: &str) -> Option<&mut Waiting> {
        self.waiting.values_mut().find(|it| it.delivery.id == id)
    }
    fn remember(&mut self, at: i64, delivery: Delivery) {
        let known = self.previews.iter().find(|it| it.0 == delivery.id);
        let progress = Progress::with(known.map(|it| it.1.clone()));
        match self.waiting_mut(&delivery.id) {
            Some(it) => it.progress = progress,
            None => {
                self.waiting.insert(self.next, Waiting { at, delivery, progress });
                self.next += 1;
            }
        }
    }
    fn remember_last(&mut self, chat: &str, number: i64) {
        if self.last.len() >= DELIVERIES_ENDED_MAX && !self.last.contains_key(chat) {
            self.last.pop_first();
        }
        let last = self.last.entry(chat.to_owned()).or_default();
        *last = number.max(*last);
    }
    fn remember_preview(&mut self, id: &str, preview: Option<Preview>) {
        self.previews.retain(|it| it.0 != id);
        if self.previews.len() == DELIVERIES_ENDED_MAX {
            self.previews.pop_front();
        }
        self.previews.extend(preview.clone().map(|it| (id.to_owned(), it)));
        if let Some(it) = self.waiting_mut(id).filter(|it| it.progress.sent == 0) {
            it.progress = Progress::with(preview);
        }
    }
    fn forget(&mut self, id: &str) {
        self.waiting.retain(|_, it| it.delivery.id != id);
        self.previews.retain(|it| it.0 != id);
        if self.ended.len() == DELIVERIES_ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(id.to_owned());
    }
    /// The file, opened again when somebody else has touched it.
    fn current(&mut self, unix_ms: i64) -> io::Result<&mut Lines> {
        if !self.lines.is_current() {
            self.lines = Lines::open(&self.path, unix_ms)?.0;
        }
        Ok(&mut self.lines)
    }
    fn rewrite(&mut self, unix_ms: i64) -> io::Result<()> {
        let mut all: Vec<Value> = self.ended.iter().map(|id| json!({ "k": id, "x": unix_ms })).collect();
        all.extend(self.previews.iter().map(|(id, it)| match it {
            Preview::Begun(base) => json!({ "k": id, "q": base }),
            Preview::There(name) => json!({ "k": id, "p": name }),
        }));
        all.extend(self.last.iter().map(|it| json!({ "c": it.0, "l": it.1 })));
        for Waiting { at, delivery, progress } in self.waiting.values() {
            all.push(json!({ "k": delivery.id, "t": at, "d": delivery }));
            if let Some(before) = progress.sent.checked_sub(1) {
                all.push(json!({ "k": delivery.id, "n": before, "m": "" }));
            }
            if progress.begun {
                all.push(json!({ "k": delivery.id, "n": progress.sent, "b": progress.base }));
            }
        }
        self.lines.rewrite(all.iter().map(|it| it.to_string().into_bytes()), unix_ms)?;
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

    fn opened(dir: &TempDir) -> Deliveries {
        Deliveries::open(&dir.path().join("deliveries.jsonl"), NOW).unwrap()
    }
    fn delivery(id: &str) -> Delivery {
        let texts = vec!["hi".into()];
        Delivery {
            id: id.into(),
            channel: "telegram".into(),
            account: "default".into(),
            to: "7".into(),
            texts,
            ..Delivery::default()
        }
    }
    fn of(it: &Deliveries) -> Vec<(String, Progress)> {
        it.waiting("telegram", "default").into_iter().map(|it| (it.0.id, it.1)).collect()
    }

    #[test]
    fn a_restart_knows_what_may_be_there() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        it.preview("b", "41", NOW).unwrap();
        for id in ["a", "b", "c", "d"] {
            it.add(delivery(id), NOW).unwrap();
        }
        it.begin("a", 0, 5, NOW).unwrap();
        it.sent("a", 0, "m1", NOW).unwrap();
        it.seen("telegram:default:7", 6, NOW).unwrap();
        it.begin("a", 1, 6, NOW).unwrap();
        it.begin("c", 0, 6, NOW).unwrap();
        it.unsent("c", 0, NOW).unwrap();
        it.end("d", NOW).unwrap();
        for rewrite in [false, true] {
            let mut it = opened(&dir);
            let preview = Some("41".to_owned());
            assert_eq!(
                of(&it),
                [
                    ("a".to_owned(), Progress { sent: 1, begun: true, base: 6, preview: None }),
                    ("b".to_owned(), Progress { preview, ..Progress::default() }),
                    ("c".to_owned(), Progress::default()),
                ]
            );
            assert_eq!((it.last("telegram:default:7"), it.last("telegram:default:8")), (6, 0));
            assert!(it.knows("a") && it.knows("d") && !it.knows("e"));
            it.add(delivery("d"), NOW).unwrap();
            assert_eq!(of(&it).len(), 3, "what is over is not said again");
            if !rewrite {
                it.rewrite(NOW).unwrap();
            }
        }
    }

    /// A preview is there or not as a part is, and gives way to what the parts say.
    #[test]
    fn a_restart_knows_of_previews() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        for id in ["begun", "there", "gone", "before"] {
            assert_eq!(it.begin_preview(id, 8, NOW).unwrap(), None);
        }
        assert_eq!(it.begin_preview("begun", 9, NOW).unwrap(), Some(Preview::Begun(8)));
        for (id, name) in [("there", "9"), ("gone", "9"), ("gone", ""), ("before", "9")] {
            it.preview(id, name, NOW).unwrap();
        }
        for id in ["begun", "there", "gone", "before"] {
            it.add(delivery(id), NOW).unwrap();
        }
        it.sent("before", 0, "9", NOW).unwrap();
        it.begin("before", 1, 9, NOW).unwrap();
        for rewrite in [false, true, true] {
            let mut it = opened(&dir);
            let shown =
                |id: &str| it.progress(id).map(|it| (it.sent, it.begun, it.base, it.preview)).unwrap();
            assert_eq!(shown("begun"), (0, true, 8, None));
            assert_eq!(shown("there"), (0, false, 0, Some("9".into())));
            assert_eq!(shown("gone"), (0, false, 0, None));
            assert_eq!(shown("before"), (1, true, 9, Some("9".into())));
            assert_eq!((it.preview_of("there"), it.preview_of("begun")), (Some("9"), None));
            if rewrite {
                it.rewrite(NOW).unwrap();
            }
        }
        let mut it = opened(&dir);
        it.unsent("begun", 0, NOW).unwrap();
        assert_eq!(opened(&dir).progress("begun"), Some(Progress::default()), "it is not looked for again");
    }

    /// Random work under a disk that fails now and then: what was promised is found, what may have left is known.
    #[test]
    fn nothing_is_lost_and_nothing_is_sent_unknown() {
        each_seed(40, |mut seed| {
            let dir = TempDir::new();
            let mut it = opened(&dir);
            let (mut promised, mut left) = (vec![], vec![]);
            for n in 0..60 {
                let fails = seed.one_in(5).then(|| (seed.below(6), Trouble::Once));
                let id = format!("d{n}");
                if fault::run(fails, || it.add(delivery(&id), NOW)).0.is_ok() {
                    let fails = seed.one_in(5).then(|| (seed.below(6), Trouble::Once));
                    if seed.one_in(2) && fault::run(fails, || it.begin(&id, 0, 0, NOW)).0.is_ok() {
                        left.push(id.clone());
                    }
                    promised.push(id);
                }
                if seed.one_in(7) {
                    it = opened(&dir);
                }
            }
            let found = of(&opened(&dir));
            assert!(promised.iter().all(|it| found.iter().any(|found| found.0 == *it)));
            assert!(left.iter().all(|it| found.iter().any(|found| found.0 == *it && found.1.begun)));
        });
    }

    #[test]
    fn what_is_old_is_given_up() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        it.add(delivery("a"), NOW).unwrap();
        it.add(delivery("b"), NOW + DELIVERY_TTL_MS + 1).unwrap();
        assert_eq!(of(&it).into_iter().map(|it| it.0).collect::<Vec<_>>(), ["b"]);
    }
}
