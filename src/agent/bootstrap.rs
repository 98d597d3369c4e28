//! The workspace files that go into every prompt: who the agent is, whom it serves, and what it has noted.
//!
//! Read beneath the workspace, regular files only, a link is none. What cannot be read is told and never ends a run.
use crate::base::beneath::Root;
use crate::base::limits::WORKSPACE_FILE_BYTES_MAX;
use std::path::Path;

/// The files that people, clients and agents edit, in the order of the prompt. The last two are one: the first that is there.
pub const FILES: [&str; 9] = [
    "AGENTS.md",
    "SOUL.md",
    "TOOLS.md",
    "IDENTITY.md",
    "USER.md",
    "HEARTBEAT.md",
    "BOOTSTRAP.md",
    "MEMORY.md",
    "memory.md",
];
/// For agents that another one started. Reference.
const MINIMAL: [&str; 2] = ["AGENTS.md", "TOOLS.md"];
/// Nobody misses these: one is deleted after the first talk, the others are made when there is something to remember.
const OPTIONAL: [&str; 3] = ["BOOTSTRAP.md", "MEMORY.md", "memory.md"];
/// Not for other people's eyes. Reference's documentation: only in the main, private session.
const PRIVATE: [&str; 2] = ["MEMORY.md", "memory.md"];

/// Which files a run may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The person alone.
    Private,
    /// A group: without the memory.
    Group,
    /// Another agent: instructions and hints on tools.
    Agent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Missing,
    /// Why, for the log and the model.
    Unreadable(String),
    /// As far as it fits.
    Text {
        text: String,
        raw_chars: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub name: &'static str,
    pub content: Content,
}

impl Loaded {
    /// The text in the prompt, trimmed.
    pub fn text(&self) -> &str {
        if let Content::Text { text, .. } = &self.content { text } else { "" }
    }
    pub fn is_cut(&self) -> bool {
        matches!(&self.content, Content::Text { text, raw_chars } if text.chars().count() < *raw_chars)
    }
}

/// Reads what the audience may see, each file cut to `chars_max`. Files that are optional and not there are left out.
pub fn load(workspace: &Path, audience: Audience, chars_max: usize) -> Vec<Loaded> {
    let root = Root::open(workspace);
    let mut all: Vec<Loaded> = vec![];
    for name in FILES {
        let seen = match audience {
            Audience::Private => true,
            Audience::Group => !PRIVATE.contains(&name),
            Audience::Agent => MINIMAL.contains(&name),
        };
        if !seen || (name == "memory.md" && all.iter().any(|it| it.name == "MEMORY.md")) {
            continue;
        }
        let content = match &root {
            Ok(Some(root)) => read(root, name, chars_max),
            Ok(None) => Content::Missing,
            Err(err) => Content::Unreadable(err.to_string()),
        };
        if content != Content::Missing || !OPTIONAL.contains(&name) {
            all.push(Loaded { name, content });
        }
    }
    all
}

fn read(root: &Root, name: &str, chars_max: usize) -> Content {
    match root.read(name, WORKSPACE_FILE_BYTES_MAX) {
        Ok(None) => Content::Missing,
        Ok(Some(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_start_matches('\u{feff}').trim();
            Content::Text { text: cut(text, name, chars_max), raw_chars: text.chars().count() }
        }
        Err(err) if err.raw_os_error() == Some(libc::ELOOP) => {
            Content::Unreadable("it is a link; put the file itself there".to_owned())
        }
        Err(err) => Content::Unreadable(err.to_string()),
    }
}

/// Head and tail with a note between, together at most `chars_max` characters. People put what matters first, and what is new last.
fn cut(text: &str, name: &str, chars_max: usize) -> String {
    let all = text.chars().count();
    if all <= chars_max {
        return text.to_owned();
    }
    let note = |left_out: usize| {
        format!("\n[{left_out} characters of {name} left out here; read the file for them]\n")
    };
    // The note of the largest number is the longest one.
    let room = chars_max.saturating_sub(note(all).chars().count());
    let head = room / 3 * 2;
    if head == 0 {
        return text.chars().take(chars_max).collect();
    }
    let tail = room - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(all - tail).collect();
    format!("{start}{}{end}", note(all - head - tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files;
    use crate::base::testing::{TempDir, each_seed};

    fn put(dir: &Path, name: &str, text: impl AsRef<[u8]>) {
        files::write_atomic(&dir.join(name), text.as_ref()).unwrap();
    }

    fn names(all: &[Loaded]) -> Vec<&str> {
        all.iter().map(|it| it.name).collect()
    }

    #[test]
    fn who_sees_what() {
        let dir = TempDir::new();
        for name in FILES {
            put(dir.path(), name, name);
        }
        let of = |audience| load(dir.path(), audience, 100);
        assert_eq!(names(&of(Audience::Private)), FILES[..8], "one memory is enough");
        assert_eq!(names(&of(Audience::Group)), FILES[..7]);
        assert_eq!(names(&of(Audience::Agent)), ["AGENTS.md", "TOOLS.md"]);
        std::fs::remove_file(dir.path().join("MEMORY.md")).unwrap();
        assert_eq!(names(&of(Audience::Private))[7], "memory.md");
    }
    #[test]
    fn what_is_not_there() {
        let dir = TempDir::new();
        for path in [dir.path().to_owned(), dir.path().join("none")] {
            let all = load(&path, Audience::Private, 100);
            assert_eq!(names(&all), FILES[..6]);
            assert!(all.iter().all(|it| it.content == Content::Missing));
        }
    }
    #[test]
    fn what_cannot_be_read_is_told() {
        let dir = TempDir::new();
        let secret = dir.path().join("secret");
        put(dir.path(), "secret", "s3cret");
        let ws = dir.path().join("ws");
        std::fs::create_dir_all(ws.join("SOUL.md")).unwrap();
        std::os::unix::fs::symlink(&secret, ws.join("AGENTS.md")).unwrap();
        put(&ws, "TOOLS.md", vec![b'x'; WORKSPACE_FILE_BYTES_MAX as usize + 1]);
        put(&ws, "USER.md", b"\xef\xbb\xbf caf\xe9 \n");
        let all = load(&ws, Audience::Private, 100);
        let why = |n: usize| match &all[n].content {
            Content::Unreadable(why) => why.as_str(),
            other => panic!("{other:?}"),
        };
        assert_eq!((why(0), why(1)), ("it is a link; put the file itself there", "not a regular file"));
        assert!(why(2).contains("more than the"), "{}", why(2));
        assert_eq!(all[4].text(), "caf\u{fffd}");
        let file = load(&secret, Audience::Private, 100);
        assert!(file.iter().all(|it| matches!(it.content, Content::Unreadable(_))), "no folder");
    }
    #[test]
    fn long_files_keep_head_and_tail() {
        let text = format!("first {}last", "é".repeat(5000));
        let got = cut(&text, "SOUL.md", 400);
        assert!(got.starts_with("first éé") && got.ends_with("ééélast"), "{got}");
        assert!(got.contains(" characters of SOUL.md left out here"), "{got}");
        each_seed(200, |mut seed| {
            let text: String = (0..seed.below(300)).map(|_| *seed.pick(&['a', 'é', '\n', '漢'])).collect();
            let max = 1 + seed.below(200);
            let got = cut(&text, "A.md", max);
            assert!(got.chars().count() <= max);
            assert_eq!(got == text, text.chars().count() <= max, "cut only when it must be");
            if let Some((head, rest)) = got.split_once("\n[") {
                let (left_out, rest) = rest.split_once(" characters").unwrap();
                let tail = rest.split_once("]\n").unwrap().1;
                let whole = head.chars().count() + tail.chars().count() + left_out.parse::<usize>().unwrap();
                assert_eq!(whole, text.chars().count(), "the note is true");
            }
        });
    }
}
