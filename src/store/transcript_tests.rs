//! Transcripts: the reference's own file, what we write, every cut and every failing operation.
use super::lines::Repair;
use super::transcript::*;
use crate::base::fault::{self, Trouble};
use crate::base::files;
use crate::base::ids::Entropy;
use crate::base::testing::{Seed, TempDir};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const NOW: i64 = 1_795_478_083_046;
const HEADER: Header<'_> =
    Header { session_id: "5e551011", session_key: "agent:main:main", cwd: "/home/pi/ws", synced: true };

fn counting() -> Entropy {
    let mut n = 0u32;
    Box::new(move |buf| {
        n += 1;
        buf.copy_from_slice(&n.to_be_bytes()[4 - buf.len()..]);
    })
}

fn said(text: &str) -> Entry {
    Entry::Message { message: json!({ "role": "user", "content": [{ "type": "text", "text": text }] }) }
}

fn file(dir: &TempDir) -> PathBuf {
    path(dir.path(), HEADER.session_id).unwrap()
}

fn text(message: &Value) -> &str {
    message["content"][0]["text"].as_str().unwrap_or_default()
}

fn shown(path: &Path) -> Vec<String> {
    last_messages(path, 1000).unwrap().iter().map(|it| text(it).to_owned()).collect()
}

fn reference() -> PathBuf {
    let name = "tests/data/state-reference/9fd19fbe-b7cf-4384-9cd3-b1828b98f64c.jsonl";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn a_transcript_of_the_reference_is_read() {
    let roles: Vec<String> = last_messages(&reference(), 1000)
        .unwrap()
        .iter()
        .map(|it| it["role"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(roles.len(), 16, "injected, failed and abandoned messages are shown too");
    assert_eq!((roles[4].as_str(), roles[0].as_str()), ("toolResult", "user"));
    let last = last_messages(&reference(), 2).unwrap();
    assert!(text(&last[0]).ends_with("[message_id: run-d214b6]"), "{last:?}");

    let context = context(&reference()).unwrap();
    assert_eq!(context.summary.as_deref(), Some("Hello from mock."));
    let texts: Vec<&str> = context.messages().map(text).collect();
    assert_eq!(texts[0], "[L]\n\ninjected text", "the first entry that the compaction kept");
    assert!(!texts.iter().any(|it| it.contains("SLOW one")), "an aborted question is no longer on the way");
    assert!(texts.iter().any(|it| it.contains("after abort")));
    assert_eq!(context.unanswered(), None);
}

#[test]
fn the_shape_is_the_references() {
    let dir = TempDir::new();
    let (mut it, repair) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    assert_eq!((repair, it.leaf()), (None, None));
    let compaction =
        Entry::Compaction { summary: "s".into(), first_kept_entry_id: "00000001".into(), tokens_before: 18 };
    let change = Entry::ModelChange { provider: "mock".into(), model_id: "mock-1".into() };
    let ids = it.append(&[change, said("one"), compaction], NOW, &mut counting()).unwrap();
    assert_eq!(ids, ["00000001", "00000002", "00000003"]);
    let path = file(&dir);
    let lines = files::read_text(&path, 10_000).unwrap().unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"type":"session","version":3,"id":"5e551011","timestamp":"2026-11-23T23:54:43.046Z","cwd":"/home/pi/ws","sessionKey":"agent:main:main"}"#,
            r#"{"type":"model_change","id":"00000001","parentId":null,"timestamp":"2026-11-23T23:54:43.046Z","provider":"mock","modelId":"mock-1"}"#,
            r#"{"type":"message","id":"00000002","parentId":"00000001","timestamp":"2026-11-23T23:54:43.046Z","message":{"role":"user","content":[{"type":"text","text":"one"}]}}"#,
            r#"{"type":"compaction","id":"00000003","parentId":"00000002","timestamp":"2026-11-23T23:54:43.046Z","summary":"s","firstKeptEntryId":"00000001","tokensBefore":18,"details":{"readFiles":[],"modifiedFiles":[]},"fromHook":false}"#,
        ]
    );
    // The same keys in the reference's own lines.
    let keys = |line: &str| -> Vec<String> {
        let mut keys: Vec<_> =
            serde_json::from_str::<Value>(line).unwrap().as_object().unwrap().keys().cloned().collect();
        keys.retain(|it| it != "sessionKey");
        keys.sort();
        keys
    };
    let theirs = files::read_text(&reference(), 100_000).unwrap().unwrap();
    for kind in ["session", "model_change", "message", "compaction"] {
        let of = |lines: Vec<&str>| {
            let start = format!("{{\"type\":\"{kind}\"");
            keys(lines.iter().find(|it| it.starts_with(&start)).unwrap())
        };
        assert_eq!(of(lines.clone()), of(theirs.lines().collect()), "{kind}");
    }
}

#[test]
fn a_question_without_answer_gives_way_to_the_next() {
    let dir = TempDir::new();
    let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    let mut entropy = counting();
    let answer = Entry::Message { message: json!({ "role": "assistant", "content": [] }) };
    it.append(&[said("one"), answer, said("aborted")], NOW, &mut entropy).unwrap();
    let path = file(&dir);
    let before = context(&path).unwrap();
    let parent = before.unanswered().expect("the last one has no answer").map(str::to_owned);
    assert_eq!(parent.as_deref(), Some("00000002"));
    it.append_to(parent.as_deref(), &[said("again")], NOW, &mut entropy).unwrap();
    let after = context(&path).unwrap();
    assert_eq!(after.messages().map(text).collect::<Vec<_>>(), ["one", "", "again"]);
    assert_eq!(shown(&path), ["one", "", "aborted", "again"], "people still see it");
}

#[test]
fn ids_that_repeat_make_no_circle() {
    let dir = TempDir::new();
    let path = dir.path().join("s.jsonl");
    let line =
        |id: &str, parent: &str| json!({ "type": "message", "id": id, "parentId": parent, "message": {} });
    let lines = [line("a", "b"), line("b", "a"), line("a", "b"), line("b", "b")];
    files::write_atomic(&path, lines.map(|it| it.to_string()).join("\n").as_bytes()).unwrap();
    assert_eq!(context(&path).unwrap().entries.len(), 3);
}

#[test]
fn half_a_line_is_kept_aside() {
    let dir = TempDir::new();
    let path = file(&dir);
    let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    it.append(&[said("one"), said("two")], NOW, &mut counting()).unwrap();
    let whole = files::read(&path, 10_000).unwrap().unwrap();
    for cut in 0..=whole.len() {
        let _ = std::fs::remove_dir_all(dir.path());
        files::write_atomic(&path, &whole[..cut]).unwrap();
        let (mut it, repair) = Transcript::open(&file(&dir), HEADER, NOW + cut as i64).unwrap();
        let lines = whole[..cut].iter().filter(|it| **it == b'\n').count();
        let ended = cut > 0 && whole.get(cut) == Some(&b'\n');
        match &repair {
            None => assert!(cut == 0 || whole[cut - 1] == b'\n', "{cut}"),
            Some(Repair::Ended) => assert!(ended, "{cut}"),
            Some(Repair::Torn { kept, bytes }) => {
                let aside = files::read(kept, 10_000).unwrap().unwrap();
                assert_eq!(aside.len() as u64, *bytes);
                assert_eq!(aside, whole[cut - aside.len()..cut], "{cut}: not lost");
            }
        }
        let survived = (lines + usize::from(ended)).saturating_sub(1);
        it.append(&[said("next")], NOW, &mut counting()).unwrap();
        let mut want = ["one", "two"][..survived].to_vec();
        want.push("next");
        assert_eq!(shown(&path), want, "{cut}");
        assert_eq!(context(&path).unwrap().messages().map(text).collect::<Vec<_>>(), want, "{cut}");
    }
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost() {
    let dir = TempDir::new();
    let path = file(&dir);
    // Five runs, each opening anew; says which texts were acknowledged.
    let story = || {
        let (mut acknowledged, mut entropy) = (vec![], counting());
        for run in 0..3 {
            let Ok((mut it, _)) = Transcript::open(&file(&dir), HEADER, NOW) else { continue };
            for n in 0..2 {
                let texts = [format!("{run}.{n}.question"), format!("{run}.{n}.answer")];
                if it.append(&texts.each_ref().map(|it| said(it)), NOW, &mut entropy).is_ok() {
                    acknowledged.extend(texts);
                }
            }
        }
        acknowledged
    };
    let (_, operations) = fault::run(None, story);
    assert!(operations > 12, "each append writes and syncs: {operations}");
    for trouble in [Trouble::Once, Trouble::Forever] {
        for k in 0..operations {
            let _ = std::fs::remove_dir_all(dir.path());
            let (acknowledged, _) = fault::run(Some((k, trouble)), story);
            if trouble == Trouble::Once {
                assert!(acknowledged.len() >= 8, "one failure costs no more than one run: {k}");
            }
            let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
            it.append(&[said("after")], NOW, &mut counting()).unwrap();
            let mut want = acknowledged;
            want.push("after".into());
            let mut found = shown(&path);
            // A question that failed to be acknowledged may still have arrived whole, in the one case where the disk died.
            found.retain(|it| want.contains(it) || trouble == Trouble::Once);
            assert_eq!(found, want, "operation {k} failing {trouble:?}");
        }
    }
}

#[test]
fn what_is_no_transcript_is_refused() {
    let dir = TempDir::new();
    let open =
        |id: &str| Transcript::open(&path(dir.path(), id)?, HEADER, NOW).err().map(|it| it.to_string());
    for bad in ["../x", "", ".hidden", "a/b", &"x".repeat(129)] {
        assert_eq!(path(dir.path(), bad), None, "{bad}");
    }
    std::fs::create_dir_all(dir.path().join("folder.jsonl")).unwrap();
    assert!(open("folder").is_some());
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.jsonl")).unwrap();
    assert!(open("link").unwrap().contains("a link"));
    assert!(last_messages(&dir.path().join("link.jsonl"), 5).is_err());
    assert_eq!(last_messages(&dir.path().join("none.jsonl"), 5).unwrap(), Vec::<Value>::new());
    assert_eq!(open("fine"), None);
}

#[test]
fn another_writer_is_noticed() {
    let dir = TempDir::new();
    let (it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    assert!(it.is_current());
    let (mut other, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    other.append(&[said("theirs")], NOW, &mut counting()).unwrap();
    assert!(!it.is_current() && other.is_current());
    archive(&file(&dir), "deleted", NOW).unwrap();
    assert!(!other.is_current());
}

#[test]
fn long_lines_and_many_lines_are_read_from_the_end() {
    let dir = TempDir::new();
    let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    let mut entropy = counting();
    for n in 0..300 {
        let long = "x".repeat(if n % 100 == 0 { 300_000 } else { n });
        it.append(&[said(&format!("{n} {long}"))], NOW, &mut entropy).unwrap();
    }
    let path = file(&dir);
    let number = |it: &String| it.split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!(shown(&path).iter().map(number).eq(0..300));
    let base = crate::base::testing::held();
    let last = last_messages(&path, 3).unwrap();
    assert!(crate::base::testing::held() - base < 20_000, "three short messages are all that stays");
    assert_eq!(last.len(), 3);
    assert_eq!(context(&path).unwrap().messages().count(), 300);
}

#[test]
fn the_last_lines_are_kept() {
    let dir = TempDir::new();
    let path = file(&dir);
    assert_eq!(keep_last(&path, 3, NOW).unwrap(), None);
    let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    it.append(&["a", "b", "c", "d"].map(said), NOW, &mut counting()).unwrap();
    let done = keep_last(&path, 3, NOW).unwrap().unwrap();
    assert_eq!(shown(&path), ["b", "c", "d"]);
    let archived = done.archived.unwrap();
    assert_eq!(archived.file_name().unwrap(), "5e551011.jsonl.bak.2026-11-23T23-54-43.046Z");
    assert_eq!(shown(&archived), ["a", "b", "c", "d"]);
    assert!(!it.is_current());
    assert_eq!(keep_last(&path, 3, NOW).unwrap().unwrap(), Compacted { kept: 3, archived: None });
    let (it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    assert_eq!(it.leaf(), Some("00000004"));
}

#[test]
fn flipped_bytes_never_stop_a_conversation() {
    let dir = TempDir::new();
    let whole = files::read(&reference(), 100_000).unwrap().unwrap();
    let mut seed = Seed(11);
    for round in 0..100 {
        let mut bytes = whole.clone();
        for _ in 0..1 + seed.below(64) {
            let at = seed.below(bytes.len());
            bytes[at] ^= 1 << seed.below(8);
        }
        files::write_atomic(&file(&dir), &bytes).unwrap();
        let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW + round).unwrap();
        it.append(&[said("next")], NOW, &mut counting()).unwrap();
        assert_eq!(shown(&file(&dir)).last().unwrap(), "next");
        let context = context(&file(&dir)).unwrap();
        assert_eq!(context.messages().last().map(text), Some("next"));
    }
}

#[test]
fn a_broken_line_does_not_cut_the_conversation_off() {
    let dir = TempDir::new();
    let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    it.append(&["a", "b", "c", "d"].map(said), NOW, &mut counting()).unwrap();
    let whole = files::read_text(&file(&dir), 10_000).unwrap().unwrap();
    files::write_atomic(&file(&dir), whole.replace(r#""text":"b""#, "\0\0\0").as_bytes()).unwrap();
    let context = context(&file(&dir)).unwrap();
    assert_eq!(context.messages().map(text).collect::<Vec<_>>(), ["a", "c", "d"]);
}

#[test]
fn an_entry_has_a_size() {
    let dir = TempDir::new();
    let (mut it, _) = Transcript::open(&file(&dir), HEADER, NOW).unwrap();
    let huge = "x".repeat(crate::base::limits::LINE_BYTES_MAX);
    let err = it.append(&[said("fine"), said(&huge)], NOW, &mut counting()).unwrap_err();
    assert!(err.to_string().contains("more than the"), "{err}");
    assert_eq!((shown(&file(&dir)).len(), it.leaf()), (0, None), "all of a batch or nothing");
}

#[test]
fn the_answer_to_a_command_is_shown_and_told_to_no_model() {
    let dir = TempDir::new();
    let (path, mut entropy) = (file(&dir), counting());
    let mut it = Transcript::open(&path, HEADER, NOW).unwrap().0;
    let answer = |text: &str| json!({ "role": "assistant", "content": [{ "type": "text", "text": text }] });
    it.append(&[said("a")], NOW, &mut entropy).unwrap();
    assert!(!has_aside(&path, "k").unwrap());
    it.append(&aside("k", answer("status")), NOW, &mut entropy).unwrap();
    assert_eq!(context(&path).unwrap().unanswered(), Some(None), "the question before it still waits");
    it.append(&[Entry::Message { message: answer("b") }], NOW, &mut entropy).unwrap();
    it.append(&aside("l", answer("again")), NOW, &mut entropy).unwrap();
    assert_eq!(shown(&path), ["a", "status", "b", "again"]);
    assert_eq!(context(&path).unwrap().messages().map(text).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(context(&path).unwrap().entries.len(), 2, "nor are their marks");
    assert!(
        has_aside(&path, "k").unwrap() && has_aside(&path, "l").unwrap() && !has_aside(&path, "m").unwrap()
    );
    assert!(!has_aside(&dir.path().join("none.jsonl"), "k").unwrap());
}
