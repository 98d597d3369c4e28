//! `exec` played on real commands: ends of every kind, what is left of a stopped one, what it sees, what it may.
use super::*;
use crate::base::limits::{EXEC_KILL_MS, EXEC_UPDATE_MS, TOOL_TEXT_BYTES_MAX};
use crate::base::testing::{TempDir, held};
use crate::base::{files, sys};
use std::os::fd::AsFd;

struct Bench {
    dir: TempDir,
    place: Place,
    cancel: Cancel,
}

fn bench(tools: Value) -> Bench {
    let dir = TempDir::new();
    let env = Env::from([
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/nowhere"),
        ("LANG", "C.UTF-8"),
        ("LC_TIME", "C"),
        ("OPENCLAW_GATEWAY_TOKEN", "secret"),
        ("ANTHROPIC_API_KEY", "secret"),
        ("NODE_OPTIONS", "--secret"),
        ("LD_LIBRARY_PATH", "/secret"),
        ("SSH_AUTH_SOCK", "/secret"),
    ]);
    let place = Place {
        workspace: dir.path().join("ws"),
        session_key: "agent:main:main".to_owned(),
        agent_id: "main".to_owned(),
        config: ToolsConfig::read(&json!({ "tools": tools }), "main"),
        env: Arc::new(env),
        clock: Clock::start(),
        nodes: None,
        messages: None,
    };
    Bench { dir, place, cancel: Cancel::new() }
}

impl Bench {
    fn call(&self, args: Value) -> Outcome {
        self.watch(args, &mut |_| {})
    }
    fn run(&self, command: &str) -> Outcome {
        self.call(json!({ "command": command }))
    }
    fn watch(&self, args: Value, update: &mut dyn FnMut(Value)) -> Outcome {
        let toolbox = Toolbox::of(&Policy::default());
        let call = ToolCall { id: "1".to_owned(), name: "exec".to_owned(), arguments: args.to_string() };
        toolbox.call(&call, &self.place, &self.cancel, update)
    }
}

/// Waits for the end of a process that is not our child.
fn ends(pid: &str) {
    // No descriptor: it is gone already.
    if let Ok(fd) = sys::pidfd(pid.trim().parse().unwrap()) {
        assert_eq!(sys::poll([Some(fd.as_fd())], 10_000).unwrap(), [true], "{pid} lives on");
    }
}

#[test]
fn ends_of_every_kind() {
    let bench = bench(json!({}));
    // The command, what is told, and what the details say of its end.
    for (command, text, key, value) in [
        ("echo hi", "hi", "exitCode", json!(0)),
        ("true", "(no output)", "exitCode", json!(0)),
        ("echo out; echo err >&2; echo out", "out\nerr\nout", "status", json!("completed")),
        ("echo out; exit 3", "out\n\nexit code 3", "exitCode", json!(3)),
        ("exit 3", "exit code 3", "status", json!("error")),
        ("kill -9 $$", "killed by SIGKILL", "exitSignal", json!("SIGKILL")),
        ("kill -40 $$", "killed by signal 40", "exitSignal", json!("signal 40")),
        ("cat; echo end", "end", "exitCode", json!(0)),
        ("exec >&- 2>&-; true", "(no output)", "exitCode", json!(0)),
        (
            "tty; ps -o pgid= -p $$ | grep -qx \" *$$\" && echo leads",
            "not a tty\nleads",
            "exitCode",
            json!(0),
        ),
        ("printf 'a\\000\\033[1mb\\377\\n\\n'", "a[1mb\u{fffd}", "aggregated", json!("a[1mb\u{fffd}")),
    ] {
        let outcome = bench.run(command);
        assert_eq!((outcome.text.as_str(), &outcome.details[key]), (text, &value), "{command}");
        assert_eq!(outcome.is_error, outcome.details["status"] == "error", "{command}");
        assert_eq!(outcome.details["cwd"], bench.place.workspace.display().to_string());
    }
    let argv = bench.call(json!({"command": ["printf", "%s|", "a b", "$HOME", "*"]}));
    assert_eq!(argv.text, "a b|$HOME|*|");
}

#[test]
fn what_is_no_command_is_told() {
    let bench = bench(json!({}));
    let dir = bench.dir.path().display().to_string();
    assert_eq!(bench.call(json!({"command": "pwd", "workdir": "/"})).text, "/");
    assert_eq!(bench.call(json!({"command": "pwd", "workdir": ".."})).text, dir);
    assert_eq!(bench.call(json!({"command": "echo x", "timeout": "5"})).text, "x");
    for (args, told) in [
        (json!({}), "command is missing"),
        (json!({"command": ""}), "what to run"),
        (json!({"command": " \n"}), "what to run"),
        (json!({"command": 7}), "must be a string"),
        (json!({"command": []}), "array of strings"),
        (json!({"command": ["echo", 7]}), "array of strings"),
        (json!({"command": "a\u{0}b"}), "what to run"),
        (json!({"command": ["no-such-program", "x"]}), "no-such-program cannot be run"),
        (json!({"command": "pwd", "workdir": "none"}), "workdir none is not a folder"),
        (json!({"command": "pwd", "workdir": "/etc/passwd"}), "is not a folder"),
        (json!({"command": "pwd", "timeout": 0}), "above 0"),
        (json!({"command": "pwd", "timeout": "soon"}), "must be a number"),
        (json!({"command": "pwd", "host": "node"}), "own machine here"),
        (json!({"command": "pwd", "env": ["A"]}), "must be an object"),
        (json!({"command": "pwd", "env": {"A": {}}}), "A must be a string"),
        (json!({"command": "pwd", "env": {"A=B": "1"}}), "no name"),
        (json!({"command": "pwd", "env": {"1A": "1"}}), "no name"),
        (json!({"command": "pwd", "env": {"": "1"}}), "no name"),
        (json!({"command": "pwd", "env": {"PATH": "/x"}}), "PATH may not be set"),
        (json!({"command": "pwd", "env": {"LD_PRELOAD": "/x"}}), "LD_PRELOAD may not be set"),
        (json!({"command": "pwd", "env": {"NODE_OPTIONS": "/x"}}), "NODE_OPTIONS may not be set"),
    ] {
        let outcome = bench.call(args.clone());
        assert!(outcome.is_error && outcome.text.contains(told), "{args}: {}", outcome.text);
    }
}

#[test]
fn an_environment_of_its_own() {
    let bench = bench(json!({"exec": {"pathPrepend": ["~/bin", "/opt/x"]}}));
    let outcome = bench.call(json!({"command": ["env"], "env": {"FOO": "a b", "N": 3}}));
    let mut lines: Vec<&str> = outcome.text.lines().collect();
    lines.sort_unstable();
    let path = "PATH=/nowhere/bin:/opt/x:/usr/local/bin:/usr/bin:/bin";
    assert_eq!(lines, ["FOO=a b", "HOME=/nowhere", "LANG=C.UTF-8", "LC_TIME=C", "N=3", path]);
    // Its own three, and the one that lists them.
    let file = bench.run("ls /proc/self/fd");
    assert_eq!(file.text, "0\n1\n2\n3");
}

#[test]
fn a_timeout_ends_grandchildren_too() {
    let bench = bench(json!({}));
    let grandchild = "sh -c 'trap \"\" TERM; echo $$; exec sleep 1000'";
    let outcome = bench.call(json!({"command": format!("{grandchild} & wait"), "timeout": 0.3}));
    assert!(outcome.is_error && outcome.details["timedOut"] == true, "{outcome:?}");
    assert!(outcome.text.ends_with("stopped after 0.3 s, its timeout"), "{}", outcome.text);
    ends(outcome.text.lines().next().unwrap());
}

#[test]
fn an_abort_ends_what_will_not_listen() {
    let bench = bench(json!({}));
    let command = "trap '' TERM; echo $$; while :; do sleep 1000; done";
    let outcome = bench.watch(json!({ "command": command }), &mut |partial| {
        assert_eq!(partial["details"]["status"], "running");
        assert_eq!(partial["details"]["tail"], format!("{}\n", partial["details"]["pid"]));
        bench.cancel.cancel();
    });
    assert!(outcome.is_error && outcome.details["aborted"] == true, "{outcome:?}");
    assert!(outcome.details["durationMs"].as_u64() >= Some(EXEC_KILL_MS), "{outcome:?}");
    ends(outcome.text.lines().next().unwrap());
    let late = bench.run("touch ran");
    assert!(late.is_error && late.text.contains("not run") && !bench.place.workspace.join("ran").exists());
}

#[test]
fn an_abort_is_no_wait_for_what_listens() {
    // As in the daemon, whose threads block the signals that its loop reads.
    let _signals = sys::SignalFd::open().unwrap();
    let bench = bench(json!({}));
    let outcome = bench.watch(json!({"command": "echo up; sleep 1000"}), &mut |_| bench.cancel.cancel());
    assert!(outcome.text.starts_with("up\n\nstopped"), "{outcome:?}");
    assert!(outcome.details["durationMs"].as_u64() < Some(EXEC_KILL_MS), "{outcome:?}");
}

#[test]
fn a_flood_stays_small() {
    let bench = bench(json!({}));
    let (before, mut most, mut updates) = (held(), 0, 0);
    let outcome =
        bench.watch(json!({"command": "head -c 100000000 /dev/zero | tr '\\0' x; echo end"}), &mut |it| {
            most = most.max(held() - before);
            assert!(it["details"]["tail"].as_str().unwrap().len() <= 2000);
            updates += 1;
        });
    assert!(outcome.text.ends_with("xend") && outcome.text.contains(" bytes left out]"));
    assert!(outcome.text.len() < TOOL_TEXT_BYTES_MAX + 100, "{}", outcome.text.len());
    assert!(most < 400_000, "{most} bytes");
    let took = outcome.details["durationMs"].as_u64().unwrap();
    assert!(updates <= took / EXEC_UPDATE_MS + 1, "{updates} updates in {took} ms");
    let event = outcome.event();
    assert!(event["content"][0]["text"].as_str().unwrap().chars().count() == 8002);
    assert_eq!(outcome.result()["content"][0]["text"], outcome.text.as_str());
}

#[test]
fn what_goes_on_in_the_background_holds_nobody() {
    let bench = bench(json!({}));
    let outcome = bench.run("sleep 1000 & echo $!");
    let (pid, note) = outcome.text.split_once("\n\n").unwrap();
    assert!(note.contains("still running") && !outcome.is_error, "{outcome:?}");
    sys::kill(pid.parse().unwrap(), libc::SIGKILL).unwrap();
    ends(pid);
    let quiet = bench.run("sleep 1000 >/dev/null 2>&1 & echo $!");
    sys::kill(quiet.text.parse().unwrap(), libc::SIGKILL).unwrap();
    ends(&quiet.text);
    // It writes without end after the command has ended.
    let file = bench.dir.path().join("pid");
    bench.run(&format!("yes & echo $! > {}", file.display()));
    ends(files::read_text(&file, 100).unwrap().unwrap().trim());
}

#[test]
fn who_may_run_what() {
    // tools.exec, the command, and a word of the refusal.
    for (exec, command, told) in [
        (json!({}), "echo 1", None),
        (json!({"host": "sandbox"}), "echo 1", None),
        (json!({"host": "node", "security": "full"}), "echo 1", Some("only in a conversation")),
        (json!({"host": "gateway", "security": "full"}), "echo 1", None),
        (json!({"security": "full", "ask": "off"}), "echo 1", None),
        (json!({"security": "deny"}), "echo 1", Some("turned off")),
        (json!({"security": "deny", "ask": "always"}), "echo 1", Some("turned off")),
        (json!({"security": "full", "ask": "always"}), "echo 1", Some("tools.exec.ask is \"always\"")),
        (
            json!({"host": "gateway"}),
            "echo 1",
            Some("echo is not in tools.exec.safeBins, and nobody can be asked"),
        ),
        (json!({"host": "gateway", "ask": "off"}), "ls", Some("ls is not in tools.exec.safeBins. ")),
        (json!({"host": "gateway"}), "head -n 1 | wc -l", None),
        (json!({"security": "allowlist"}), "head /etc/passwd", Some("through the pipe")),
        (json!({"security": "allowlist", "safeBins": []}), "head -n 1", Some("head is not in")),
        (json!({"security": "allowlist", "safeBins": ["echo"]}), "echo 1", None),
    ] {
        let outcome = bench(json!({ "exec": exec })).run(command);
        match told {
            None => assert!(!outcome.is_error, "{exec} {command}: {}", outcome.text),
            Some(told) => {
                assert!(outcome.is_error && outcome.text.contains(told), "{exec}: {}", outcome.text)
            }
        }
    }
    let guarded =
        bench(json!({"exec": {"security": "allowlist", "pathPrepend": ["/evil"], "safeBins": ["env"]}}));
    assert!(guarded.run("env").text.contains("PATH=/usr/bin:/bin\n"));
    assert!(guarded.call(json!({"command": "env", "env": {"A": "1"}})).text.contains("env may not be given"));
    assert!(guarded.call(json!({"command": ["env"]})).text.contains("must be a string"));
}

#[test]
fn one_line_for_people() {
    let toolbox = Toolbox::of(&Policy::default());
    for (name, args, meta) in [
        ("exec", json!({"command": "echo a\necho b"}), Some("echo a")),
        ("bash", json!({"command": ["echo", "a b"]}), Some("echo a b")),
        ("exec", json!({"command": 7}), None),
        ("exec", json!({"command": ""}), None),
        ("read", json!({"path": "a.txt"}), Some("a.txt")),
        ("read", json!({"file_path": "a.txt", "offset": 2, "limit": 2}), Some("a.txt:2-3")),
        ("read", json!({"path": "a.txt", "offset": "7"}), Some("a.txt:7")),
        (
            "read",
            json!({"path": "a.txt", "offset": 1e300, "limit": 1e300}),
            Some("a.txt:18446744073709551615-18446744073709551614"),
        ),
        ("write", json!({"path": "a.txt", "content": ""}), Some("a.txt")),
        ("edit", json!({}), None),
        ("nothing", json!({}), None),
    ] {
        let call = ToolCall { id: String::new(), name: name.to_owned(), arguments: args.to_string() };
        assert_eq!(toolbox.meta(&call).as_deref(), meta, "{name} {args}");
    }
}

#[test]
fn a_box_of_what_is_allowed() {
    let model = crate::agent::model::ModelRef { provider: "a".to_owned(), model: "b".to_owned() };
    let policy = |tools: Value| Policy::read(&json!({ "tools": tools }), "main", &model);
    let toolbox = |tools: Value| Toolbox::of(&policy(tools)).at(Host::Sandbox, false);
    let names = |tools| toolbox(tools).specs().into_iter().map(|it| it.name).collect::<Vec<_>>();
    assert_eq!(names(json!({})), ["read", "edit", "write", "exec"]);
    assert_eq!(names(json!({"deny": ["group:runtime"]})), ["read", "edit", "write"]);
    let networks = |tools: Value| Toolbox::of(&policy(tools)).at(Host::Sandbox, true);
    assert!(networks(json!({})).get("message").is_some() && toolbox(json!({})).get("message").is_none());
    assert!(networks(json!({"deny": ["group:messaging"]})).get("message").is_none());
    assert!(networks(json!({})).specs().iter().all(|it| it.parameters["type"] == "object"));
    let bench = bench(json!({}));
    let call = |tools, name: &str, arguments: &str| {
        let call = ToolCall { id: String::new(), name: name.to_owned(), arguments: arguments.to_owned() };
        toolbox(tools).call(&call, &bench.place, &bench.cancel, &mut |_| {})
    };
    assert_eq!(call(json!({}), "Bash", r#"{"command":"echo hi"}"#).text, "hi");
    let missing = call(json!({"deny": ["exec"]}), "bash", r#"{"command":"echo hi"}"#);
    assert_eq!(missing.text, "there is no tool \"bash\" here; there are: read, edit, write");
    assert!(missing.is_error && call(json!({"deny": ["*"]}), "read", "{}").text.ends_with("there are: none"));
    assert!(call(json!({}), "exec", "{broken").text.contains("not JSON"));
}
