//! All sessions of one agent: the index in memory and on disk, and the transcripts beside it. Owned by whoever writes.
//!
//! What a method says it did is durable when it returns, except [`AgentSessions::note`], which waits to be written with
//! others. When the disk fails, memory stays as it was before the call, and the next call works once the disk does.
use super::entry;
use super::index::Index;
use super::index_file::{self, Damage};
use super::lines::Repair;
use super::transcript::{self, Compacted, Context, Entry, Header, Transcript};
use crate::base::clock::Now;
use crate::base::ids::Entropy;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What was asked for is wrong; in the client's words.
    #[error("{0}")]
    Refused(String),
    /// The disk; try again later.
    #[error("{0}")]
    Disk(String),
}

/// What to append behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind<'a> {
    /// The newest entry.
    Leaf,
    /// An older entry, or the start: what came after it is no longer told to a model.
    Entry(Option<&'a str>),
}

/// The transcript of an entry: the file that it names, when that is beside the store file, else by its session id.
pub fn transcript_file(store: &Path, entry: &Map<String, Value>) -> Option<PathBuf> {
    let dir = store.parent()?;
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let named = text("sessionFile").and_then(|it| Path::new(it).file_stem()?.to_str());
    let named = named.and_then(|it| transcript::path(dir, it)).filter(|it| it.is_file());
    named.or_else(|| transcript::path(dir, text("sessionId")?))
}

/// Transcripts held open: one for each run that is likely at a time. Ours.
const OPEN_MAX: usize = 16;

pub struct AgentSessions {
    /// The store file.
    path: PathBuf,
    index: Index,
    /// Most recently used last.
    open: VecDeque<(PathBuf, Transcript)>,
}

impl AgentSessions {
    /// Reads the index; see [`index_file::load`].
    ///
    /// # Errors
    /// A sentence that names the file. Nothing may then be written in its place.
    pub fn open(
        path: &Path,
        agent_id: &str,
        unix_ms: i64,
    ) -> Result<(AgentSessions, Option<Damage>), String> {
        let (index, damage) = index_file::load(path, agent_id, unix_ms)?;
        Ok((AgentSessions { path: path.to_owned(), index, open: VecDeque::new() }, damage))
    }
    /// The store file.
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn index(&self) -> &Index {
        &self.index
    }
    /// Where a session's transcript is; see [`transcript_file`].
    pub fn transcript(&self, key: &str) -> Option<PathBuf> {
        transcript_file(&self.path, &self.index.get(key)?.entry())
    }
    /// Makes or changes an entry, durably. `edit` gets the entry as it is; what it returns replaces it.
    ///
    /// # Errors
    /// What `edit` refuses, or the disk.
    pub fn change(
        &mut self,
        key: &str,
        edit: impl FnOnce(Option<Map<String, Value>>, &Index) -> Result<Map<String, Value>, String>,
        now: Now,
    ) -> Result<Map<String, Value>, Trouble> {
        let before = self.index.get(key).map(super::index::Slot::entry);
        let after = edit(before, &self.index).map_err(Trouble::Refused)?;
        let undo = self.index.put(key, after.clone(), now.mono_ms);
        self.save(now).map_err(|err| {
            self.index.undo(undo);
            Trouble::Disk(err)
        })?;
        Ok(after)
    }
    /// Changes an entry in memory; it is written with others when [`AgentSessions::due_ms`] comes. For what may be lost: tokens,
    /// times, the last channel.
    pub fn note(&mut self, key: &str, edit: impl FnOnce(&mut Map<String, Value>), now: Now) {
        if let Some(mut entry) = self.index.get(key).map(super::index::Slot::entry) {
            edit(&mut entry);
            // A note is never taken back.
            let _ = self.index.put(key, entry, now.mono_ms);
        }
    }
    /// Puts an entry in memory; it is written as those of [`AgentSessions::note`] are. For a session to which nobody comes back.
    pub fn put_passing(&mut self, key: &str, entry: Map<String, Value>, now: Now) {
        let _ = self.index.put(key, entry, now.mono_ms);
    }
    /// A new conversation under the same key, durably.
    ///
    /// # Errors
    /// The disk.
    pub fn reset(
        &mut self,
        key: &str,
        new_session_id: &str,
        now: Now,
    ) -> Result<Map<String, Value>, Trouble> {
        self.change(key, |it, _| Ok(entry::reset(it.as_ref(), new_session_id, now.unix_ms)), now)
    }
    /// Removes an entry, durably, and renames its transcript if that is wanted. None when there is no such entry; else where
    /// the transcript is now.
    ///
    /// # Errors
    /// The disk.
    pub fn delete(&mut self, key: &str, transcript: bool, now: Now) -> Result<Option<Vec<PathBuf>>, Trouble> {
        let file = self.transcript(key);
        let Some(undo) = self.index.remove(key, now.mono_ms) else { return Ok(None) };
        self.save(now).map_err(|err| {
            self.index.undo(undo);
            Trouble::Disk(err)
        })?;
        let Some(file) = file.filter(|_| transcript) else { return Ok(Some(vec![])) };
        self.close(&file);
        // The session is gone; a transcript that stays behind is no reason to say otherwise.
        let archived = transcript::archive(&file, "deleted", now.unix_ms).unwrap_or_else(|err| {
            log::warn!("cannot rename {}: {err}", file.display());
            None
        });
        Ok(Some(archived.into_iter().collect()))
    }
    /// Keeps the last entries of a transcript, and forgets what the dropped ones had cost. None when there is none.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_last(&mut self, key: &str, lines_max: usize, now: Now) -> Result<Option<Compacted>, Trouble> {
        let Some(file) = self.transcript(key) else { return Ok(None) };
        self.close(&file);
        let named = |err| Trouble::Disk(format!("cannot compact {}: {err}", file.display()));
        let done = transcript::keep_last(&file, lines_max, now.unix_ms).map_err(named)?;
        if done.as_ref().is_some_and(|it| it.archived.is_some()) {
            let forget = |entry: &mut Map<String, Value>| {
                for name in ["inputTokens", "outputTokens", "totalTokens"] {
                    entry.shift_remove(name);
                }
                entry.insert("updatedAt".into(), now.unix_ms.into());
            };
            self.note(key, forget, now);
        }
        Ok(done)
    }
    /// Appends to a session's transcript, durably, in one write. `cwd` is the agent's workspace. Returns the entries' ids.
    ///
    /// # Errors
    /// No such session, an entry or a transcript that is too large, or the disk.
    pub fn append(
        &mut self,
        key: &str,
        cwd: &str,
        behind: Behind<'_>,
        entries: &[Entry],
        now: Now,
        entropy: &mut Entropy,
    ) -> Result<Vec<String>, Trouble> {
        let Some(session_id) = self.index.get(key).and_then(|it| it.session_id()).map(str::to_owned) else {
            return Err(Trouble::Refused("session not found".into()));
        };
        let header = Header { session_id: &session_id, session_key: key, cwd, synced: true };
        self.append_in(header, behind, entries, now, entropy)
    }
    /// As [`AgentSessions::append`], in the conversation that had this id, whatever the key names by now.
    ///
    /// # Errors
    /// As [`AgentSessions::append`].
    pub fn append_in(
        &mut self,
        header: Header<'_>,
        behind: Behind<'_>,
        entries: &[Entry],
        now: Now,
        entropy: &mut Entropy,
    ) -> Result<Vec<String>, Trouble> {
        let Some(file) = self.transcript_of(header.session_key, header.session_id) else {
            return Err(Trouble::Refused("session not found".into()));
        };
        let named = |err| Trouble::Disk(format!("cannot write {}: {err}", file.display()));
        let transcript = self.opened(&file, header, now).map_err(named)?;
        let leaf = transcript.leaf().map(str::to_owned);
        let parent = match behind {
            Behind::Leaf => leaf.as_deref(),
            Behind::Entry(it) => it,
        };
        transcript.append_to(parent, entries, now.unix_ms, entropy).map_err(named)
    }
    fn opened(&mut self, file: &Path, header: Header<'_>, now: Now) -> std::io::Result<&mut Transcript> {
        let held = self.open.iter().position(|it| it.0 == *file).and_then(|it| self.open.remove(it));
        let transcript = match held.filter(|it| it.1.is_current()) {
            Some(it) => it.1,
            None => {
                let (transcript, repair) = Transcript::open(file, header, now.unix_ms)?;
                if let Some(Repair::Torn { kept, bytes }) = repair {
                    let kept = kept.display();
                    log::warn!("{}: {bytes} bytes of a cut line were moved to {kept}", file.display());
                }
                transcript
            }
        };
        self.open.push_back((file.to_owned(), transcript));
        if self.open.len() > OPEN_MAX {
            self.open.pop_front();
        }
        let last = &mut self.open.back_mut().expect("it was pushed above").1;
        last.set_synced(header.synced);
        Ok(last)
    }
    fn close(&mut self, file: &Path) {
        self.open.retain(|it| it.0 != *file);
    }
    /// Where the conversation is that has, or had, this id.
    fn transcript_of(&self, key: &str, session_id: &str) -> Option<PathBuf> {
        let is_current = self.index.get(key).is_some_and(|it| it.session_id() == Some(session_id));
        if is_current { self.transcript(key) } else { transcript::path(self.path.parent()?, session_id) }
    }
    /// What a model is told of a conversation so far.
    ///
    /// # Errors
    /// The disk.
    pub fn context(&self, key: &str, session_id: &str) -> Result<Context, Trouble> {
        let Some(file) = self.transcript_of(key, session_id) else { return Ok(Context::default()) };
        transcript::context(&file)
            .map_err(|err| Trouble::Disk(format!("cannot read {}: {err}", file.display())))
    }
    /// When notes want to be written, on the monotonic clock; None while none waits.
    pub fn due_ms(&self) -> Option<u64> {
        self.index.due_ms()
    }
    /// Writes the index, with all notes. A stopping gateway does so, and everybody when [`AgentSessions::due_ms`] has come.
    ///
    /// # Errors
    /// A sentence that names the file. The notes still wait.
    pub fn save(&mut self, now: Now) -> Result<(), String> {
        let (generation, bytes) = self.index.snapshot();
        match index_file::save(&self.path, &bytes) {
            Ok(()) => self.index.saved(generation, now.mono_ms),
            Err(err) => {
                self.index.failed(now.mono_ms);
                return Err(err);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault;
    use crate::base::files;
    use crate::base::ids::os_entropy;
    use crate::base::testing::{TempDir, each_seed};
    use serde_json::json;

    const NOW: Now = Now { mono_ms: 5, unix_ms: 1_795_478_083_046 };
    const KEY: &str = "agent:main:main";

    fn opened(dir: &TempDir) -> AgentSessions {
        AgentSessions::open(&dir.path().join("sessions.json"), "main", NOW.unix_ms).unwrap().0
    }
    fn said(text: &str) -> Entry {
        Entry::Message { message: json!({ "role": "user", "content": text }) }
    }
    fn texts(context: &Context) -> Vec<String> {
        context.messages().map(|it| it["content"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_conversation_from_its_first_word_to_its_end() {
        let dir = TempDir::new();
        let (mut it, mut entropy) = (opened(&dir), os_entropy());
        let none = it.append(KEY, "/ws", Behind::Leaf, &[said("early")], NOW, &mut entropy);
        assert_eq!(none, Err(Trouble::Refused("session not found".into())));
        it.reset(KEY, "first", NOW).unwrap();
        let ids = it.append(KEY, "/ws", Behind::Leaf, &[said("a"), said("b")], NOW, &mut entropy).unwrap();
        it.append(KEY, "/ws", Behind::Entry(Some(&ids[0])), &[said("c")], NOW, &mut entropy).unwrap();
        assert_eq!(texts(&it.context(KEY, "first").unwrap()), ["a", "c"]);
        it.note(KEY, |entry| drop(entry.insert("inputTokens".into(), 11.into())), NOW);
        assert!(it.due_ms().is_some());
        assert_eq!(opened(&dir).index().get(KEY).unwrap().entry()["inputTokens"], 0, "a note waits");
        it.save(NOW).unwrap();
        assert_eq!(
            (it.due_ms(), &opened(&dir).index().get(KEY).unwrap().entry()["inputTokens"]),
            (None, &json!(11))
        );
        let done = it.keep_last(KEY, 1, NOW).unwrap().unwrap();
        assert_eq!((done.kept, it.index().get(KEY).unwrap().entry().get("inputTokens")), (1, None));
        it.append(KEY, "/ws", Behind::Leaf, &[said("d")], NOW, &mut entropy).unwrap();
        assert_eq!(texts(&it.context(KEY, "first").unwrap()), ["c", "d"]);
        let stored = it.index().get(KEY).unwrap().entry();
        it.reset(KEY, "second", NOW).unwrap();
        let header = Header { session_id: "first", session_key: KEY, cwd: "/ws", synced: true };
        it.append_in(header, Behind::Leaf, &[said("late")], NOW, &mut entropy).unwrap();
        assert_eq!(
            texts(&it.context(KEY, "first").unwrap()),
            ["c", "d", "late"],
            "an answer goes where it was asked"
        );
        assert!(texts(&it.context(KEY, "second").unwrap()).is_empty());
        it.change(KEY, |_, _| Ok(stored), NOW).unwrap();
        let refused = it.change(KEY, |_, _| Err("no".into()), NOW);
        assert_eq!(refused, Err(Trouble::Refused("no".into())));
        let archived = it.delete(KEY, true, NOW).unwrap().unwrap();
        assert!(archived[0].to_str().unwrap().ends_with("first.jsonl.deleted.2026-11-23T23-54-43.046Z"));
        assert_eq!(it.delete(KEY, true, NOW), Ok(None));
        assert!(opened(&dir).index().is_empty());
    }

    #[test]
    fn the_entrys_own_file_is_used_when_it_is_beside_the_index() {
        let dir = TempDir::new();
        let mut it = opened(&dir);
        let entry = json!({ "sessionId": "s", "sessionFile": "/elsewhere/s-topic-4.jsonl" });
        let Value::Object(entry) = entry else { unreachable!() };
        it.change(KEY, |_, _| Ok(entry), NOW).unwrap();
        assert_eq!(it.transcript(KEY).unwrap(), dir.path().join("s.jsonl"));
        files::write_atomic(&dir.path().join("s-topic-4.jsonl"), b"").unwrap();
        assert_eq!(it.transcript(KEY).unwrap(), dir.path().join("s-topic-4.jsonl"));
    }

    /// What one key should hold, and what a failed call may have left on disk although nobody was told so.
    #[derive(Default)]
    struct Told {
        session: Option<String>,
        said: Vec<String>,
        perhaps: Vec<Option<String>>,
        perhaps_said: Vec<String>,
    }

    impl Told {
        /// After a start: everything acknowledged is there, and nothing that nobody asked for.
        fn check(&mut self, it: &AgentSessions, key: &str) {
            let session = it.index().get(key).and_then(|it| it.session_id()).map(str::to_owned);
            if session != self.session {
                assert!(self.perhaps.contains(&session), "{key}: {session:?} for {:?}", self.session);
                (self.session, self.said) = (session, vec![]);
            }
            let found = self.session.as_deref().map_or(vec![], |id| texts(&it.context(key, id).unwrap()));
            let acknowledged: Vec<&String> = found.iter().filter(|it| self.said.contains(it)).collect();
            assert!(acknowledged.iter().copied().eq(&self.said), "{key}: {found:?} for {:?}", self.said);
            let mut others = found.iter().filter(|it| !self.said.contains(it));
            assert!(others.all(|it| self.perhaps_said.contains(it)), "{key}: {found:?} for {:?}", self.said);
            self.said = found;
            self.perhaps.clear();
        }
    }

    #[test]
    fn acknowledged_is_durable_whatever_fails() {
        each_seed(60, |mut seed| {
            let dir = TempDir::new();
            let (mut it, mut entropy) = (opened(&dir), os_entropy());
            let keys = ["agent:main:main", "agent:main:b", "agent:main:c"];
            let mut told: [Told; 3] = Default::default();
            for step in 0..40 {
                let at = seed.below(3);
                let (key, told_here, name) = (keys[at], &mut told[at], step.to_string());
                let trouble = if seed.one_in(2) { fault::Trouble::Once } else { fault::Trouble::Forever };
                let plan = seed.one_in(3).then(|| (seed.below(6), trouble));
                match seed.below(6) {
                    0 => match fault::run(plan, || it.reset(key, &name, NOW)).0 {
                        Ok(_) => (told_here.session, told_here.said) = (Some(name), vec![]),
                        Err(_) => told_here.perhaps.push(Some(name)),
                    },
                    1 if seed.one_in(3) => match fault::run(plan, || it.delete(key, true, NOW)).0 {
                        Ok(_) => (told_here.session, told_here.said) = (None, vec![]),
                        Err(_) => told_here.perhaps.push(None),
                    },
                    2 if seed.one_in(3) => {
                        it = opened(&dir);
                        keys.iter().zip(&mut told).for_each(|(key, told)| told.check(&it, key));
                    }
                    _ => {
                        let entries = [said(&name)];
                        let append = || it.append(key, "/", Behind::Leaf, &entries, NOW, &mut entropy);
                        match fault::run(plan, append).0 {
                            Ok(_) => told_here.said.push(name),
                            Err(_) => told_here.perhaps_said.push(name),
                        }
                    }
                }
                for (key, told) in keys.iter().zip(&told) {
                    let session = it.index().get(key).and_then(|it| it.session_id());
                    assert_eq!(session, told.session.as_deref(), "memory is what was told, step {step}");
                }
            }
            let it = opened(&dir);
            keys.iter().zip(&mut told).for_each(|(key, told)| told.check(&it, key));
        });
    }
}
