//! The transcript of a session, `<sessionId>.jsonl`, in the reference's own shape.
//!
//! First line `{type: "session", version: 3, id, timestamp, cwd}`; ours adds `sessionKey`, which the reference leaves alone and
//! a lost index is rebuilt from. Then entries `{type, id, parentId, timestamp, ...}`:
//!
//! | type | fields | written |
//! |---|---|---|
//! | `message` | `message: {role: user/assistant/toolResult, content, timestamp, ...}` | each turn; an aborted answer is not written |
//! | `compaction` | `summary`, `firstKeptEntryId`, `tokensBefore`, `details`, `fromHook` | when the context was folded |
//! | `model_change` | `provider`, `modelId` | first, and at a change |
//! | `thinking_level_change` | `thinkingLevel` | first, and at a change |
//! | `custom` | `customType`, `data` | for ourselves: never shown, never sent to a model |
//!
//! Entries form a tree by `parentId`; the last line is the leaf, and what a model sees is the way from it to the root. The
//! reference writes injected messages without `parentId`, which cuts its own conversation off; here a missing `parentId`
//! means the line before. An id is looked for only in earlier lines, so no tree can have a circle.
use super::lines::{Back, Lines, Repair};
use crate::base::clock::iso;
use crate::base::files;
use crate::base::ids::{Entropy, hex};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// What can be appended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    Message {
        message: Value,
    },
    #[serde(rename_all = "camelCase")]
    Compaction {
        summary: String,
        /// The oldest entry that a model still sees in full.
        first_kept_entry_id: String,
        tokens_before: u64,
    },
    #[serde(rename_all = "camelCase")]
    ModelChange {
        provider: String,
        model_id: String,
    },
    #[serde(rename_all = "camelCase")]
    ThinkingLevelChange {
        thinking_level: String,
    },
    #[serde(rename_all = "camelCase")]
    Custom {
        custom_type: String,
        data: Value,
    },
}

impl Entry {
    fn line(&self, id: &str, parent: Option<&str>, timestamp: &str) -> Vec<u8> {
        let Value::Object(fields) = json!(self) else { unreachable!("an entry is an object") };
        let mut fields = fields.into_iter();
        let mut out: Map<String, Value> = fields.next().into_iter().collect();
        out.insert("id".into(), id.into());
        out.insert("parentId".into(), parent.into());
        out.insert("timestamp".into(), timestamp.into());
        out.extend(fields);
        if let Entry::Compaction { .. } = self {
            out.insert("details".into(), json!({ "readFiles": [], "modifiedFiles": [] }));
            out.insert("fromHook".into(), false.into());
        }
        serde_json::to_vec(&out).expect("JSON values serialise")
    }
}

/// The first line.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    pub session_id: &'a str,
    /// Canonical.
    pub session_key: &'a str,
    /// The agent's workspace.
    pub cwd: &'a str,
    /// What is appended must outlive a power failure.
    pub synced: bool,
}

/// A transcript open for appending.
pub struct Transcript {
    lines: Lines,
    leaf: Option<String>,
}

/// Session ids name files: 1 to 128 letters, digits, `-`, `_` and `.`, not starting with a dot. The reference's are UUIDs.
pub fn is_session_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.')
}

/// The transcript's file; None for an id that must not name a file.
pub fn path(dir: &Path, session_id: &str) -> Option<PathBuf> {
    is_session_id(session_id).then(|| dir.join(format!("{session_id}.jsonl")))
}

impl Transcript {
    /// Opens the transcript, repairs its end, and begins it when there is none. See [`path`].
    ///
    /// # Errors
    /// Something there that is no regular file, or what the system says.
    pub fn open(path: &Path, header: Header<'_>, unix_ms: i64) -> io::Result<(Transcript, Option<Repair>)> {
        let (mut lines, repair) = Lines::open_as(path, unix_ms, header.synced)?;
        if lines.is_empty() {
            let first = json!({
                "type": "session", "version": 3, "id": header.session_id, "timestamp": iso(unix_ms),
                "cwd": header.cwd, "sessionKey": header.session_key,
            });
            lines.append_all(&[first.to_string().into_bytes()])?;
        }
        let leaf = leaf(lines.back()?)?;
        Ok((Transcript { lines, leaf }, repair))
    }
    /// Whether the file is still the one that was opened and nobody else has written to it. If not, open it again.
    pub fn is_current(&self) -> bool {
        self.lines.is_current()
    }
    /// See [`Header::synced`]; from now on.
    pub fn set_synced(&mut self, synced: bool) {
        self.lines.synced = synced;
    }
    /// The id of the newest entry; None while there is none.
    pub fn leaf(&self) -> Option<&str> {
        self.leaf.as_deref()
    }
    /// Appends entries in one write and one fsync, each the child of the one before; the first is the child of `parent`.
    /// They are durable when this returns.
    ///
    /// # Errors
    /// An entry or file that is too large, or what the system says. Nothing is then appended.
    pub fn append_to(
        &mut self,
        parent: Option<&str>,
        entries: &[Entry],
        unix_ms: i64,
        entropy: &mut Entropy,
    ) -> io::Result<Vec<String>> {
        if entries.is_empty() {
            return Ok(vec![]);
        }
        let timestamp = iso(unix_ms);
        let (mut ids, mut lines): (Vec<String>, Vec<Vec<u8>>) = Default::default();
        for entry in entries {
            let id = entry_id(entropy);
            lines.push(entry.line(&id, ids.last().map(String::as_str).or(parent), &timestamp));
            ids.push(id);
        }
        self.lines.append_all(&lines)?;
        self.leaf = ids.last().cloned();
        Ok(ids)
    }
    /// As [`Transcript::append_to`], behind the leaf.
    ///
    /// # Errors
    /// As [`Transcript::append_to`].
    pub fn append(
        &mut self,
        entries: &[Entry],
        unix_ms: i64,
        entropy: &mut Entropy,
    ) -> io::Result<Vec<String>> {
        let leaf = self.leaf.clone();
        self.append_to(leaf.as_deref(), entries, unix_ms, entropy)
    }
}

/// 8 hex digits, the reference's form.
fn entry_id(entropy: &mut Entropy) -> String {
    let mut bytes = [0; 4];
    entropy(&mut bytes);
    hex(&bytes)
}

fn is_entry(line: &Value) -> bool {
    line["type"].is_string() && line["type"] != "session"
}

/// Entries, newest first. Lines that are no entry are passed over; so is the header.
fn entries(back: Back) -> impl Iterator<Item = io::Result<Value>> {
    back.filter_map(|line| match line {
        Ok(line) => serde_json::from_slice::<Value>(&line).ok().filter(is_entry).map(Ok),
        Err(err) => Some(Err(err)),
    })
}

fn leaf(back: Back) -> io::Result<Option<String>> {
    let newest = entries(back).next().transpose()?;
    Ok(newest.and_then(|it| it["id"].as_str().map(str::to_owned)))
}

/// The messages, newest first, in the order of the file: what people are shown. None of them when there is no file. Reads no more of
/// it than is asked for.
///
/// # Errors
/// Something there that is no regular file, or what the system says.
pub fn newest_messages(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Value>>> {
    let back = Back::open(path)?;
    Ok(back.into_iter().flat_map(entries).filter_map(|entry| entry.map(message).transpose()))
}

fn message(mut entry: Value) -> Option<Value> {
    (entry["type"] == "message" && entry["message"].is_object()).then(|| entry["message"].take())
}

/// The last `limit` messages, oldest first. Empty when there is no file.
///
/// # Errors
/// As [`newest_messages`].
pub fn last_messages(path: &Path, limit: usize) -> io::Result<Vec<Value>> {
    let mut out = newest_messages(path)?.take(limit).collect::<io::Result<Vec<_>>>()?;
    out.reverse();
    Ok(out)
}

/// The messages among the first 64 KiB, oldest first. Empty when there is no file.
///
/// # Errors
/// As [`newest_messages`].
pub fn first_messages(path: &Path) -> io::Result<Vec<Value>> {
    let head = super::lines::head(path)?.unwrap_or_default();
    let lines = head.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice::<Value>(it).ok());
    Ok(lines.filter_map(message).collect())
}

/// What a model is told of the conversation so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    /// What stands for everything older than `entries`.
    pub summary: Option<String>,
    /// From the oldest to the leaf, whole: `id`, `type`, and a message's `message`.
    pub entries: Vec<Value>,
}

impl Context {
    /// The messages among the entries.
    pub fn messages(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().filter(|it| it["type"] == "message").map(|it| &it["message"])
    }
    /// The id of the parent of the messages that end in nothing but a question: a run that was cut left it without an answer,
    /// and the next question takes its place. None when the last message is no question.
    pub fn unanswered(&self) -> Option<Option<&str>> {
        let last = self.entries.iter().rfind(|it| it["type"] == "message")?;
        (last["message"]["role"] == "user").then(|| last["parentId"].as_str())
    }
}

/// Whether a message was put into the conversation from outside: no model has answered with it.
pub fn is_put_in(message: &Value) -> bool {
    message["stopReason"] == "injected" || message["model"] == super::history::MIRROR
}

/// The way from the leaf to the root, or to the first entry kept by the newest compaction on it.
///
/// # Errors
/// Something there that is no regular file, or what the system says.
pub fn context(path: &Path) -> io::Result<Context> {
    branch(path, None)
}

/// As [`context`], of the branch that ends with what that run said; of the newest one where nothing is known of it.
///
/// # Errors
/// As [`context`].
pub fn context_after(path: &Path, run_id: &str) -> io::Result<Context> {
    let Some(back) = Back::open(path)? else { return Ok(Context::default()) };
    // One run at a time: all that stands between its mark and the next one is its own.
    let mut leaf = None;
    for entry in entries(back) {
        let entry = entry?;
        leaf = leaf.or_else(|| entry["id"].as_str().map(str::to_owned));
        match entry["customType"] == RUN {
            true if entry["data"]["runId"] == run_id => return branch(path, leaf),
            true => leaf = None,
            false => {}
        }
    }
    branch(path, None)
}

/// A [`Entry::Custom`] of this type stands in front of a run's question. Its data names the run.
pub const RUN: &str = "gatewayd.run";

/// The way to the root from an entry; from the leaf when none is named.
fn branch(path: &Path, leaf: Option<String>) -> io::Result<Context> {
    let Some(back) = Back::open(path)? else { return Ok(Context::default()) };
    let mut out = Context::default();
    // The id to look for; None takes any entry.
    let (mut want, mut first_kept) = (leaf, None::<String>);
    for line in back {
        let Ok(entry) = serde_json::from_slice::<Value>(&line?) else {
            // The parent may have been on this line: better one message too many than all before it lost.
            want = None;
            continue;
        };
        if !is_entry(&entry) || want.is_some() && entry["id"].as_str() != want.as_deref() {
            continue;
        }
        if entry["type"] == "compaction" && out.summary.is_none() {
            out.summary = Some(entry["summary"].as_str().unwrap_or_default().to_owned());
            first_kept = entry["firstKeptEntryId"].as_str().map(str::to_owned);
        }
        let is_root = entry.get("parentId").is_some_and(Value::is_null);
        let is_first_kept = first_kept.is_some() && entry["id"].as_str() == first_kept.as_deref();
        want = entry["parentId"].as_str().map(str::to_owned);
        out.entries.push(entry);
        if is_root || is_first_kept {
            break;
        }
    }
    out.entries.reverse();
    leave_asides_out(&mut out.entries);
    Ok(out)
}

/// What a [`Entry::Custom`] of this type stands in front of is said to the person alone: no model is told of it. Its data
/// names the message that it answers.
const ASIDE: &str = "gatewayd.command";

/// A message beside the conversation: the answer to a command. `run_id` is the command's.
pub fn aside(run_id: &str, message: Value) -> [Entry; 2] {
    let mark = Entry::Custom { custom_type: ASIDE.into(), data: json!({ "runId": run_id }) };
    [mark, Entry::Message { message }]
}

fn leave_asides_out(entries: &mut Vec<Value>) {
    let mut behind_mark = false;
    entries.retain(|it| {
        let is_mark = it["customType"] == ASIDE;
        let is_aside = behind_mark && it["type"] == "message";
        behind_mark = is_mark;
        !is_mark && !is_aside
    });
}

/// Entries from the end in which an answer of a moment ago is looked for. Ours: a run stores a few dozen at most meanwhile.
const RECENT_ENTRIES: usize = 500;

/// Whether that command has been answered, not long ago.
///
/// # Errors
/// Something there that is no regular file, or what the system says.
pub fn has_aside(path: &Path, run_id: &str) -> io::Result<bool> {
    let Some(back) = Back::open(path)? else { return Ok(false) };
    for entry in entries(back).take(RECENT_ENTRIES) {
        let entry = entry?;
        if entry["customType"] == ASIDE && entry["data"]["runId"] == run_id {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Renames a transcript to `<name>.deleted.<time>` or `<name>.bak.<time>`, the reference's form; None when there is none.
///
/// # Errors
/// What the system says.
pub fn archive(path: &Path, why: &str, unix_ms: i64) -> io::Result<Option<PathBuf>> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{why}.{}", iso(unix_ms).replace(':', "-")));
    let to = PathBuf::from(name);
    match files::rename(path, &to) {
        Ok(()) => Ok(Some(to)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// What `sessions.compact` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// Entries in the file now.
    pub kept: usize,
    /// The whole transcript as it was; None when it was short enough.
    pub archived: Option<PathBuf>,
}

/// Keeps the last `lines_max` entries; the file as it was stays beside it. None when there is no transcript. Unlike the
/// reference the first line stays, so that the file still says whose it is; it does not count.
///
/// # Errors
/// Something there that is no regular file, or what the system says.
pub fn keep_last(path: &Path, lines_max: usize, unix_ms: i64) -> io::Result<Option<Compacted>> {
    let Some(back) = Back::open(path)? else { return Ok(None) };
    let is_header =
        |line: &[u8]| serde_json::from_slice::<Value>(line).is_ok_and(|it| it["type"] == "session");
    let (mut kept, mut header, mut dropped) = (Vec::new(), None, 0);
    for line in back {
        let line = line?;
        match kept.len() < lines_max {
            true if !is_header(&line) => kept.push(line),
            true => header = Some(line),
            false if is_header(&line) => header = Some(line),
            false => dropped += 1,
        }
    }
    if dropped == 0 {
        return Ok(Some(Compacted { kept: kept.len(), archived: None }));
    }
    let count = kept.len();
    kept.extend(header);
    kept.reverse();
    let mut bytes = kept.join(&b'\n');
    bytes.push(b'\n');
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".bak.{}", iso(unix_ms).replace(':', "-")));
    let archived = PathBuf::from(name);
    // A link, not a rename: the transcript is there at every moment.
    files::link(path, &archived)?;
    files::write_atomic(path, &bytes)?;
    Ok(Some(Compacted { kept: count, archived: Some(archived) }))
}
