//! `read`, `write` and `edit` on a real workspace: nothing outside is reached, nothing but a regular file, nothing too large.
use super::*;
use crate::base::files;
use crate::base::limits::{EDIT_FILE_BYTES_MAX, READ_FILE_BYTES_MAX, READ_IMAGE_BYTES_MAX};
use crate::base::testing::TempDir;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

struct Bench {
    dir: TempDir,
    place: Place,
}

fn bench(workspace_only: bool) -> Bench {
    let dir = TempDir::new();
    let config = json!({"tools": {"fs": {"workspaceOnly": workspace_only}}});
    let home = dir.path().join("home").display().to_string();
    let place = Place {
        workspace: dir.path().join("ws"),
        session_key: "agent:main:main".to_owned(),
        agent_id: "main".to_owned(),
        config: ToolsConfig::read(&config, "main"),
        env: Arc::new(Env::from([("HOME", home.as_str()), ("PATH", "/usr/bin:/bin")])),
        clock: Clock::start(),
        nodes: None,
        messages: None,
    };
    let bench = Bench { dir, place };
    for (path, text) in [
        ("ws/a.txt", "one\ntwo\nthree\n"),
        ("ws/sub/b.txt", "b"),
        ("secret", "secret"),
        ("home/h", "h"),
        ("ws-2/c", "c"),
    ] {
        bench.put(path, text);
    }
    bench
}

impl Bench {
    fn put(&self, path: &str, text: &str) {
        files::write_atomic(&self.dir.path().join(path), text.as_bytes()).unwrap();
    }
    fn get(&self, path: &str) -> Option<String> {
        files::read_text(&self.dir.path().join(path), u64::MAX).unwrap()
    }
    fn call(&self, tool: &str, args: Value) -> Outcome {
        let call = ToolCall { id: String::new(), name: tool.to_owned(), arguments: args.to_string() };
        Toolbox::of(&Policy::default()).call(&call, &self.place, &Cancel::new(), &mut |_| {})
    }
    fn traps(&self) -> UnixListener {
        let ws = self.dir.path().join("ws");
        symlink("../secret", ws.join("link")).unwrap();
        symlink(self.dir.path().join("secret"), ws.join("absolute")).unwrap();
        symlink("..", ws.join("up")).unwrap();
        symlink("a.txt", ws.join("inner")).unwrap();
        symlink("sub", ws.join("innerdir")).unwrap();
        symlink("loop", ws.join("loop")).unwrap();
        symlink("/proc/self/cwd", ws.join("magic")).unwrap();
        symlink("/dev/zero", ws.join("zero")).unwrap();
        assert!(!self.call("exec", json!({"command": "mkfifo fifo"})).is_error);
        UnixListener::bind(ws.join("socket")).unwrap()
    }
}

/// Every file below a folder, with its text.
fn everything(dir: &Path) -> Vec<(String, Option<String>)> {
    let mut all = vec![];
    for name in files::names(dir) {
        let path = dir.join(&name);
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            all.extend(everything(&path));
        } else {
            let text = meta.is_file().then(|| files::read_text(&path, u64::MAX).unwrap().unwrap());
            all.push((path.display().to_string(), text));
        }
    }
    all
}

#[test]
fn nothing_outside_the_workspace() {
    let bench = bench(true);
    let _socket = bench.traps();
    let dir = bench.dir.path().display().to_string();
    let before = everything(bench.dir.path());
    let in_dir = |path: &str| format!("{dir}/{path}");
    let paths = [
        "../secret".to_owned(),
        "sub/../../secret".to_owned(),
        "./../ws-2/c".to_owned(),
        "..".to_owned(),
        "../..//..//../etc/passwd".to_owned(),
        "../ws/../secret".to_owned(),
        "/etc/passwd".to_owned(),
        "//etc/passwd".to_owned(),
        "/dev/zero".to_owned(),
        "/proc/self/environ".to_owned(),
        "~/h".to_owned(),
        "~".to_owned(),
        in_dir("secret"),
        in_dir("ws/../secret"),
        in_dir("ws-2/c"),
        in_dir("ws"),
        "link".to_owned(),
        "absolute".to_owned(),
        "up/secret".to_owned(),
        "up/ws/a.txt".to_owned(),
        "inner".to_owned(),
        "innerdir/b.txt".to_owned(),
        "loop".to_owned(),
        "magic/x".to_owned(),
        "zero".to_owned(),
        "fifo".to_owned(),
        "socket".to_owned(),
        ".".to_owned(),
        "sub".to_owned(),
        "sub/".to_owned(),
        "a.txt/b".to_owned(),
        "".to_owned(),
        " ".to_owned(),
        "a\0b".to_owned(),
        "x".repeat(300),
        "y/".repeat(3000),
    ];
    for path in paths {
        for (tool, more) in [
            ("read", json!({})),
            ("write", json!({"content": "evil"})),
            ("edit", json!({"oldText": "secret", "newText": "evil"})),
        ] {
            let mut args = more;
            args["path"] = path.as_str().into();
            let outcome = bench.call(tool, args);
            assert!(outcome.is_error && outcome.image.is_none(), "{tool} {path:.80}: {outcome:?}");
            assert!(!outcome.text.contains("secret\n") && outcome.text.len() < 7000, "{}", outcome.text);
            assert_eq!(outcome.details["tool"], tool);
        }
    }
    assert_eq!(everything(bench.dir.path()), before);
}

#[test]
fn everywhere_when_that_is_configured() {
    let bench = bench(false);
    let _socket = bench.traps();
    let dir = bench.dir.path().display().to_string();
    for path in ["../secret", "link", "absolute", "up/secret", "magic/../secret", &format!("{dir}/secret")] {
        if path.starts_with("magic") {
            continue;
        }
        assert_eq!(bench.call("read", json!({ "path": path })).text, "secret", "{path}");
    }
    assert_eq!(bench.call("read", json!({"path": "~/h"})).text, "h");
    assert_eq!(
        bench.call("read", json!({"path": "a.txt", "limit": 1})).text,
        "one\n\n[lines 1 to 1 of 3; go on with offset=2]"
    );
    assert!(!bench.call("write", json!({"path": "~/new/x", "content": "1"})).is_error);
    assert_eq!(bench.get("home/new/x").as_deref(), Some("1"));
    assert!(!bench.call("edit", json!({"path": "link", "oldText": "secret", "newText": "told"})).is_error);
    assert_eq!(bench.get("secret").as_deref(), Some("told"));
    assert!(bench.dir.path().join("ws/link").is_symlink(), "what it stands for was changed");
    for path in ["/dev/zero", "zero", "fifo", "socket", "loop", "/", ".", "/proc/self/mem/x"] {
        assert!(bench.call("read", json!({ "path": path })).is_error, "{path}");
        assert!(bench.call("write", json!({"path": path, "content": ""})).is_error, "{path}");
    }
}

#[test]
fn what_is_read() {
    let bench = bench(true);
    bench.put("ws/empty", "");
    bench.put("ws/binary", "a\0b");
    bench.put("ws/wide", &"x".repeat(60_000));
    bench.put("ws/long", &(1..=5000).map(|it| format!("{it}\n")).collect::<String>());
    files::write_atomic(&bench.dir.path().join("ws/latin"), b"caf\xe9\n").unwrap();
    let absolute = bench.place.workspace.join("a.txt").display().to_string();
    for (args, text) in [
        (json!({"path": "a.txt"}), "one\ntwo\nthree\n"),
        (json!({"file_path": "./sub/../a.txt"}), "one\ntwo\nthree\n"),
        (json!({"path": absolute}), "one\ntwo\nthree\n"),
        (
            json!({"path": "a.txt", "offset": 2, "limit": 1}),
            "two\n\n[lines 2 to 2 of 3; go on with offset=3]",
        ),
        (json!({"path": "a.txt", "offset": "3"}), "three\n"),
        (json!({"path": "a.txt", "offset": 0, "limit": 99}), "one\ntwo\nthree\n"),
        (json!({"path": "empty"}), "(empty file)"),
        (json!({"path": "latin"}), "caf\u{fffd}\n"),
    ] {
        let outcome = bench.call("read", args.clone());
        assert_eq!((outcome.text.as_str(), outcome.is_error), (text, false), "{args}");
        assert_eq!(outcome.details.is_null(), !text.contains("go on"), "{args}");
    }
    let long = bench.call("read", json!({"path": "long"}));
    assert!(
        long.text.ends_with("\n2000\n\n[lines 1 to 2000 of 5000; go on with offset=2001]"),
        "{}",
        long.text
    );
    assert_eq!(long.details["truncation"]["truncatedBy"], "lines");
    let wide = bench.call("read", json!({"path": "wide"}));
    assert!(wide.text.ends_with("x\n[line 1 is longer than what is shown of it]"));
    assert!(wide.text.len() < 52_000);
    let huge = std::fs::File::create(bench.place.workspace.join("huge")).unwrap();
    std::io::Write::write_all(&mut &huge, &[b'x'; 8192]).unwrap();
    huge.set_len(READ_FILE_BYTES_MAX + 1).unwrap();
    for (path, told) in [
        ("none", "there is no file none"),
        ("sub/none/x", "there is no file"),
        ("binary", "binary is not text (3 bytes)"),
        ("huge", "more than the 67108864"),
    ] {
        let outcome = bench.call("read", json!({ "path": path }));
        assert!(outcome.is_error && outcome.text.contains(told), "{path}: {}", outcome.text);
    }
    let after = bench.call("read", json!({"path": "a.txt", "offset": 9}));
    assert_eq!(after.text, "a.txt has 3 lines; offset 9 is behind its end");
}

#[test]
fn pictures_are_looked_at() {
    let bench = bench(true);
    let png = b"\x89PNG\r\n\x1a\n\0\0";
    files::write_atomic(&bench.place.workspace.join("p.png"), png).unwrap();
    let outcome = bench.call("read", json!({"path": "p.png"}));
    let data = "iVBORw0KGgoAAA==";
    assert_eq!(outcome.image, Some(Image { mime: "image/png", data: data.to_owned() }));
    let text = json!({"type": "text", "text": "[image/png, 10 bytes]"});
    assert_eq!(
        outcome.result(),
        json!({"content": [text, {"type": "image", "data": data, "mimeType": "image/png"}]})
    );
    let omitted = json!({"type": "image", "mimeType": "image/png", "bytes": 16, "omitted": true});
    assert_eq!(outcome.event(), json!({"content": [text, omitted]}));
    let large = std::fs::File::options().write(true).open(bench.place.workspace.join("p.png")).unwrap();
    large.set_len(READ_IMAGE_BYTES_MAX + 1).unwrap();
    assert!(bench.call("read", json!({"path": "p.png"})).text.contains("at most 5000000"));
}

#[test]
fn what_is_written() {
    let bench = bench(true);
    let run = bench.place.workspace.join("run.sh");
    bench.put("ws/run.sh", "echo 1\n");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        bench.call("write", json!({"path": "d/e/f.txt", "content": "héllo"})).text,
        "d/e/f.txt written, 6 bytes"
    );
    assert_eq!(bench.get("ws/d/e/f.txt").as_deref(), Some("héllo"));
    assert!(!bench.call("write", json!({"file_path": "d/e/f.txt", "content": ""})).is_error);
    assert_eq!(bench.get("ws/d/e/f.txt").as_deref(), Some(""));
    let edited = bench.call("edit", json!({"file_path": "run.sh", "old_string": "1", "new_string": "2"}));
    assert_eq!((edited.text.as_str(), edited.is_error), ("run.sh changed at line 1", false));
    assert_eq!(edited.details, json!({"diff": "-1 echo 1\n+1 echo 2", "firstChangedLine": 1}));
    assert_eq!(bench.get("ws/run.sh").as_deref(), Some("echo 2\n"));
    assert_eq!(run.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    let before = everything(bench.dir.path());
    std::fs::File::create(bench.place.workspace.join("big"))
        .unwrap()
        .set_len(EDIT_FILE_BYTES_MAX + 1)
        .unwrap();
    files::write_atomic(&bench.place.workspace.join("latin"), b"caf\xe9").unwrap();
    for (tool, args, told) in [
        ("write", json!({"path": "x"}), "content is missing"),
        ("write", json!({"content": "x"}), "path is missing"),
        ("write", json!({"path": "x", "content": 7}), "content must be a string"),
        (
            "write",
            json!({"path": "x", "content": "x".repeat(EDIT_FILE_BYTES_MAX as usize + 1)}),
            "more than the 8388608",
        ),
        ("edit", json!({"path": "a.txt"}), "oldText is missing"),
        ("edit", json!({"path": "a.txt", "oldText": "one"}), "newText is missing"),
        (
            "edit",
            json!({"path": "a.txt", "oldText": "e", "newText": "x"}),
            "a.txt: oldText stands there 3 times",
        ),
        ("edit", json!({"path": "a.txt", "oldText": "four", "newText": "x"}), "does not stand there"),
        ("edit", json!({"path": "none", "oldText": "four", "newText": "x"}), "there is no file none"),
        ("edit", json!({"path": "latin", "oldText": "caf", "newText": "x"}), "not UTF-8"),
        ("edit", json!({"path": "big", "oldText": "a", "newText": "x"}), "more than the 8388608"),
    ] {
        let outcome = bench.call(tool, args);
        assert!(outcome.is_error && outcome.text.contains(told), "{tool} {told}: {:.200}", outcome.text);
    }
    std::fs::remove_file(bench.place.workspace.join("big")).unwrap();
    std::fs::remove_file(bench.place.workspace.join("latin")).unwrap();
    assert_eq!(everything(bench.dir.path()), before);
}
