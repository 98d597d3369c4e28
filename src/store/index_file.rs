//! `sessions.json` on disk: written whole and atomically; a broken one is kept aside and its sessions are found again.
//!
//! Nothing is overwritten before a second name for it is durable. What can be read of a broken file is used; sessions that it
//! no longer names come back from their transcripts, under the key that these carry, or as `agent:<id>:recovered:<sessionId>`.
use super::index::Index;
use super::lines::first_line;
use super::transcript::is_session_id;
use crate::base::files;
use crate::base::limits::{RECOVERED_MAX, STATE_BYTES_MAX};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was wrong with a store file, for the log and for `health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub why: String,
    /// The broken file.
    pub kept: PathBuf,
    /// Entries read from the broken file.
    pub entries: usize,
    /// Entries made from transcripts.
    pub transcripts: usize,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { path, why, kept, entries, transcripts } = self;
        write!(f, "{} was broken ({why}): {entries} sessions were read from it, ", path.display())?;
        write!(f, "{transcripts} found again by their transcripts; the broken file is {}", kept.display())
    }
}

/// The index of one agent; empty when there is no file. A broken file is replaced, see [`Damage`].
///
/// # Errors
/// A sentence that names the file: when it cannot be opened, is no regular file, or its replacement cannot be written. It is
/// then untouched, and nothing may be written in its place.
pub fn load(path: &Path, agent_id: &str, unix_ms: i64) -> Result<(Index, Option<Damage>), String> {
    let (why, bytes) = match files::read(path, STATE_BYTES_MAX) {
        Ok(None) => return Ok((Index::default(), None)),
        Ok(Some(bytes)) => match Index::parse(&bytes, agent_id) {
            Ok(index) => return Ok((index, None)),
            Err(why) => (why, bytes),
        },
        Err(err) if err.kind() == io::ErrorKind::FileTooLarge => (err.to_string(), vec![]),
        Err(err) => return Err(format!("cannot read {}: {err}", path.display())),
    };
    let kept = files::keep_aside(path, "corrupt", unix_ms)
        .map_err(|err| format!("{} is broken ({why}) and cannot be kept aside: {err}", path.display()))?;
    let mut index = Index::default();
    salvage(&bytes, |key, value| index.take_in(key, value, agent_id));
    let entries = index.len();
    let transcripts = from_transcripts(path, agent_id, &mut index);
    save(path, &index.snapshot().1)?;
    Ok((index, Some(Damage { path: path.to_owned(), why, kept, entries, transcripts })))
}

/// Writes a snapshot durably.
///
/// # Errors
/// A sentence that names the file; the old one is then still whole.
pub fn save(path: &Path, snapshot: &[u8]) -> Result<(), String> {
    files::write_atomic(path, snapshot).map_err(|err| format!("cannot write {}: {err}", path.display()))
}

/// Every entry of a broken file that is whole. Behind damage it goes on at the next line that looks like a key.
fn salvage(bytes: &[u8], mut each: impl FnMut(String, Value)) {
    const KEY_LINE: &[u8] = b"\n  \"";
    let mut at = bytes.iter().position(|it| *it == b'{').map_or(bytes.len(), |it| it + 1);
    while at < bytes.len() {
        if let Some((key, value, used)) = pair(&bytes[at..]).filter(|it| it.1.is_object()) {
            each(key, value);
            at += used;
        } else {
            let next = bytes[at..].windows(KEY_LINE.len()).skip(1).position(|it| it == KEY_LINE);
            at += next.map_or(bytes.len(), |it| it + 1);
        }
    }
}

/// `"key": value` at the start, and how many bytes it takes.
fn pair(bytes: &[u8]) -> Option<(String, Value, usize)> {
    fn next<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<(T, usize)> {
        let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
        let value = stream.next()?.ok()?;
        Some((value, stream.byte_offset()))
    }
    let skip = |at: usize, also: u8| {
        let blank = |it: &u8| !it.is_ascii_whitespace() && *it != also;
        bytes[at..].iter().position(blank).map(|it| at + it)
    };
    let at = skip(0, b',')?;
    let (key, used) = next(&bytes[at..])?;
    let at = skip(at + used, b':')?;
    let (value, used) = next(&bytes[at..])?;
    Some((key, value, at + used))
}

/// Adds the newest transcripts that no entry names; says how many.
fn from_transcripts(path: &Path, agent_id: &str, index: &mut Index) -> usize {
    let Some(dir) = path.parent() else { return 0 };
    let named: BTreeSet<String> =
        index.iter().filter_map(|(_, it)| it.session_id().map(str::to_owned)).collect();
    let mut found: Vec<(i64, String, String)> = vec![];
    for name in files::names(dir) {
        let Some(id) = name.strip_suffix(".jsonl").filter(|it| is_session_id(it) && !named.contains(*it))
        else {
            continue;
        };
        let Ok(Some(first)) = first_line(&dir.join(&name)) else { continue };
        let Ok(Value::Object(header)) = serde_json::from_slice(&first) else { continue };
        if header.get("type") == Some(&json!("session")) {
            found.push((files::modified_ms(&dir.join(&name)), key(&header, agent_id, id), id.to_owned()));
        }
    }
    found.sort();
    let mut newest: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for (at, key, id) in found.into_iter().rev().take(RECOVERED_MAX) {
        if index.get(&key).is_none() {
            newest.entry(key).or_insert((at, id));
        }
    }
    let count = newest.len();
    for (key, (at, id)) in newest {
        index.take_in(key, json!({ "sessionId": id, "updatedAt": at }), agent_id);
    }
    count
}

fn key(header: &Map<String, Value>, agent_id: &str, session_id: &str) -> String {
    let own = header.get("sessionKey").and_then(Value::as_str);
    let ours = own.filter(|it| it.starts_with(&format!("agent:{agent_id}:")) || *it == "global");
    ours.map_or_else(|| format!("agent:{agent_id}:recovered:{session_id}"), str::to_owned)
}
