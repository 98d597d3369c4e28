//! Store files that are cut, broken, missing or on a failing disk.
use super::index::Index;
use super::index_file::*;
use super::transcript::{self, Header, Transcript};
use crate::base::fault::{self, Trouble};
use crate::base::files;
use crate::base::testing::{Seed, TempDir};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

const NOW: i64 = 1_795_478_083_046;

fn entry(id: &str) -> Map<String, Value> {
    Map::from_iter([("sessionId".to_owned(), id.into()), ("updatedAt".to_owned(), NOW.into())])
}

/// Three sessions with transcripts, as a gateway leaves them.
fn home() -> (TempDir, PathBuf, Vec<u8>) {
    let dir = TempDir::new();
    let path = dir.path().join("sessions.json");
    let mut index = Index::default();
    for (key, session_id) in [("agent:main:main", "one"), ("agent:main:b", "two"), ("agent:main:c", "three")]
    {
        let path = transcript::path(dir.path(), session_id).unwrap();
        Transcript::open(&path, Header { session_id, session_key: key, cwd: "/", synced: true }, NOW)
            .unwrap();
        let _ = index.put(key, entry(session_id), 0);
    }
    let bytes = index.snapshot().1;
    save(&path, &bytes).unwrap();
    (dir, path, bytes)
}

fn sessions(index: &Index) -> Vec<(String, String)> {
    index.iter().map(|(key, it)| (key.to_owned(), it.session_id().unwrap_or_default().to_owned())).collect()
}

#[test]
fn every_cut_gives_every_session_back() {
    let (dir, path, whole) = home();
    let (want, none) = load(&path, "main", NOW).unwrap();
    assert_eq!(none, None);
    for cut in 0..whole.len() {
        files::write_atomic(&path, &whole[..cut]).unwrap();
        let (index, damage) = load(&path, "main", NOW + cut as i64).unwrap();
        let damage = damage.unwrap();
        assert_eq!(sessions(&index), sessions(&want), "{cut}: {damage}");
        assert_eq!(damage.entries + damage.transcripts, 3, "{damage}");
        assert_eq!(files::read(&damage.kept, 10_000).unwrap().unwrap(), &whole[..cut]);
        assert_eq!(load(&path, "main", NOW).unwrap().1, None, "it is whole again");
    }
    let kept = files::names(dir.path()).into_iter().filter(|it| it.contains(".corrupt-")).count();
    assert_eq!(kept, 5);
}

#[test]
fn flipped_bytes_never_stop_the_start() {
    let (_dir, path, whole) = home();
    let mut seed = Seed(7);
    for round in 0..100 {
        let mut bytes = whole.clone();
        for _ in 0..1 + seed.below(64) {
            let at = seed.below(bytes.len());
            bytes[at] ^= 1 << seed.below(8);
        }
        files::write_atomic(&path, &bytes).unwrap();
        let (index, damage) = load(&path, "main", NOW + round).unwrap();
        if let Some(damage) = damage {
            assert!(index.len() >= 3, "{damage}: {:?}", sessions(&index));
        }
    }
}

#[test]
fn entries_behind_damage_are_read() {
    let (dir, path, whole) = home();
    for name in files::names(dir.path()).iter().filter(|it| it.ends_with(".jsonl")) {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let text = String::from_utf8(whole).unwrap().replace("\"two\"", "\"two");
    files::write_atomic(&path, text.as_bytes()).unwrap();
    let (index, damage) = load(&path, "main", NOW).unwrap();
    assert_eq!(damage.unwrap().entries, 2);
    assert!(index.get("agent:main:c").is_some() && index.get("agent:main:main").is_some());
}

#[test]
fn a_transcript_without_key_comes_back_under_its_id() {
    let dir = TempDir::new();
    let path = dir.path().join("sessions.json");
    let header = json!({ "type": "session", "version": 3, "id": "abc" }).to_string();
    files::write_atomic(&dir.path().join("abc.jsonl"), header.as_bytes()).unwrap();
    files::write_atomic(&dir.path().join("no.jsonl"), b"what").unwrap();
    assert_eq!(load(&path, "main", NOW).unwrap().0.len(), 0, "without a file nothing is missed");
    files::write_atomic(&path, b"").unwrap();
    let (index, _) = load(&path, "main", NOW).unwrap();
    assert_eq!(sessions(&index), [("agent:main:recovered:abc".to_owned(), "abc".to_owned())]);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let dir = TempDir::new();
    let path = dir.path().join("sessions.json");
    std::fs::create_dir_all(&path).unwrap();
    let err = load(&path, "main", NOW).unwrap_err();
    assert!(err.contains("sessions.json: not a regular file"), "{err}");
    std::fs::remove_dir(&path).unwrap();
    files::write_atomic(&path, b"[1]").unwrap();
    assert!(load(&path, "main", NOW).unwrap().1.unwrap().why.contains("expected a map"));
}

#[test]
fn whatever_fails_the_index_is_the_old_or_the_new_one() {
    let (_dir, path, whole) = home();
    let (mut index, _) = load(&path, "main", NOW).unwrap();
    let _ = index.put("agent:main:new", entry("four"), 0);
    let new = index.snapshot().1;
    let (_, operations) = fault::run(None, || save(&path, &new).unwrap());
    for k in 0..operations {
        save(&path, &whole).unwrap();
        let (result, _) = fault::run(Some((k, Trouble::Forever)), || save(&path, &new));
        assert!(result.unwrap_err().contains("sessions.json"), "{k}");
        let (after, damage) = load(&path, "main", NOW).unwrap();
        assert_eq!(damage, None);
        assert!([3, 4].contains(&after.len()), "{k}");
    }
    // The same for the repair of a broken file.
    let broken = &whole[..whole.len() - 3];
    files::write_atomic(&path, broken).unwrap();
    let (_, operations) = fault::run(None, || load(&path, "main", NOW).unwrap());
    for k in 0..operations {
        files::write_atomic(&path, broken).unwrap();
        if fault::run(Some((k, Trouble::Forever)), || load(&path, "main", NOW)).0.is_err() {
            let (index, _) = load(&path, "main", NOW + 1).unwrap();
            assert_eq!(index.len(), 3, "{k}: nothing was lost");
        }
    }
}
