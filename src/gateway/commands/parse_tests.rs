//! What is a command, and what is said to the model.
use super::parse::{GROUPS, ROWS, parse};
use crate::config::Session;
use std::collections::BTreeSet;

/// `-` is no command: the model is told the message as it is.
const CASES: &[(&str, &str)] = &[
    ("/status", "Status"),
    ("  /status \n", "Status"),
    ("/Status", "Status"),
    ("/STATUS:", "Status"),
    ("/status :", "-"),
    ("/status please", "-"),
    ("/ status", "-"),
    ("//status", "-"),
    ("/statuses", "-"),
    ("status", "-"),
    ("hello\n/status", "-"),
    ("hey /status how are you", "-"),
    ("/help", "Help"),
    ("/help me with a letter", "-"),
    ("/commands", "Commands"),
    ("/whoami", "WhoAmI"),
    ("/id", "WhoAmI"),
    ("/id 5", "-"),
    ("/new", r#"New("")"#),
    ("/NEW", r#"New("")"#),
    ("/reset", r#"New("")"#),
    ("/new hello", r#"New("hello")"#),
    ("/reset  hi there", r#"New("hi there")"#),
    ("/new local/small hi", r#"New("local/small hi")"#),
    ("/new\nfirst\nsecond", r#"New("first\nsecond")"#),
    ("/newest", "-"),
    ("new", "-"),
    ("new hello", "-"),
    ("/stop", "-"),
    ("/stop now", "-"),
    ("/compact", r#"Compact("")"#),
    ("/compact: keep the names", r#"Compact("keep the names")"#),
    ("/model", r#"Set(Model, "")"#),
    ("/model list", r#"Set(Model, "list")"#),
    ("/model Local/Small", r#"Set(Model, "Local/Small")"#),
    ("/model: default", r#"Set(Model, "default")"#),
    ("/model fast what is up", r#"Once(Model, "fast", "what is up")"#),
    ("tell me /model fast now", "-"),
    ("/models", r#"Models("")"#),
    ("/models Local", r#"Models("local")"#),
    ("/models local small", "Misused(models)"),
    ("/think", r#"Set(Think, "")"#),
    ("/think high", r#"Set(Think, "high")"#),
    ("/t medium", r#"Set(Think, "medium")"#),
    ("/thinking: off", r#"Set(Think, "off")"#),
    ("/think banana", r#"Set(Think, "banana")"#),
    ("/think high say x", r#"Once(Think, "high", "say x")"#),
    ("/think high\nsay  x", r#"Once(Think, "high", "say  x")"#),
    ("please /think high do x", "-"),
    ("/verbose", r#"Set(Verbose, "")"#),
    ("/v on", r#"Set(Verbose, "on")"#),
    ("/verbose on do x", r#"Once(Verbose, "on", "do x")"#),
    ("/v1/chat/completions is a path", "-"),
    ("/reasoning stream", r#"Set(Reasoning, "stream")"#),
    ("x /reasoning on", "-"),
    ("/elevated", "Elevated"),
    ("/elevated on now", "Elevated"),
    ("use /elevated on now", "-"),
    ("/usage", r#"Usage("")"#),
    ("/usage Cost", r#"Usage("cost")"#),
    ("/usage of water", "Misused(usage)"),
    ("/queue", r#"Queue("")"#),
    ("/queue steer debounce:2s cap:5", r#"Queue("steer debounce:2s cap:5")"#),
    ("/send", r#"Send("")"#),
    ("/send OFF", r#"Send("off")"#),
    ("/send a letter home", "Misused(send)"),
    ("/activation always", r#"Activation("always")"#),
    ("/context", r#"Context("")"#),
    ("/context json", r#"Context("json")"#),
    ("/restart", "Restart"),
    ("/restart the server", "-"),
    ("/config show", r#"Off("config")"#),
    ("/debug show", r#"Off("debug")"#),
    ("/bash ls", r#"Off("bash")"#),
    ("!ls", "-"),
    ("/foo", "-"),
    ("/foo bar baz", "-"),
    ("/usr/bin/env", "-"),
    ("/", "-"),
    ("/:", "-"),
    ("", "-"),
    ("/ü", "-"),
];

fn told(text: &str, session: &Session) -> String {
    match parse(text, session) {
        None => "-".into(),
        Some((super::Command::Misused(row), _)) => format!("Misused({})", row.name),
        Some((command, _)) => format!("{command:?}"),
    }
}

#[test]
fn what_is_a_command() {
    let session = Session::default();
    for (text, want) in CASES {
        assert_eq!(told(text, &session), *want, "{text:?}");
    }
    assert!(CASES.len() >= 80, "{}", CASES.len());
}

#[test]
fn words_of_ones_own_begin_a_conversation() {
    let reset_triggers = vec!["/fresh".to_owned(), "neu".to_owned()];
    let session = Session { reset_triggers, ..Session::default() };
    for (text, want) in [
        ("/fresh", r#"New("")"#),
        ("Neu hallo", r#"New("hallo")"#),
        ("neues", "-"),
        ("/new", "-"),
        ("/reset hi", "-"),
        ("/status", "Status"),
    ] {
        assert_eq!(told(text, &session), want, "{text:?}");
    }
}

#[test]
fn every_row_says_what_it_is() {
    let mut names = BTreeSet::new();
    for row in ROWS {
        assert!(
            row.aliases.iter().chain([&row.name]).all(|it| names.insert(*it)),
            "{} stands twice",
            row.name
        );
        assert!(!row.says.is_empty() && GROUPS.contains(&row.group), "{}", row.name);
    }
    assert_eq!(ROWS[0].name, "new", "whom the words of session.resetTriggers stand for");
}
