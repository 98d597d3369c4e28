//! Commands in a chat, on the model inside the binary.
//!
//! `tests/data/commands.txt`: `> message` is sent; `< line` is what the command said, `~ line` what the model said, `! text` a refusal;
//! `= {…}` are the choices in the session's entry, where they have changed, and `= new session`. `@ key` names the session of
//! what follows. `UPDATE_EXPECT=1` rewrites all but what is sent.
use crate::client::Client;
use crate::harness::{Home, Server, TOKEN};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The dev profile, so that the parrot answers; its models but for one are only there to be chosen.
fn home(commands: &Value) -> Home {
    let models = json!([
        { "id": "small", "name": "Small", "contextWindow": 8192, "input": ["text"] },
        { "id": "big", "name": "Big", "contextWindow": 64000, "reasoning": true, "input": ["text"] },
    ]);
    let config = json!({
        "gateway": { "mode": "local", "auth": { "mode": "token", "token": TOKEN } },
        "models": { "providers": { "local": {
            "baseUrl": "http://127.0.0.1:9", "api": "openai-completions", "apiKey": "key-0123456789abcdef-tail", "models": models,
        } } },
        "agents": { "defaults": {
            "model": { "primary": "builtin/parrot" },
            "models": { "builtin/parrot": {}, "local/small": {}, "local/big": { "alias": "Fast" }, "groq/big": {} },
        } },
        "commands": commands,
    });
    let home = Home::empty();
    std::fs::create_dir_all(state(&home)).unwrap();
    std::fs::write(state(&home).join("openclaw.json"), config.to_string()).unwrap();
    home
}

fn state(home: &Home) -> PathBuf {
    home.temp.path().join(".openclaw-dev")
}

fn start(commands: &Value) -> Server {
    let home = home(commands);
    again(home)
}

fn again(home: Home) -> Server {
    let mut command = home.command(&["--dev", "gateway", "--port", "0"]);
    command.env("TZ", "UTC");
    Server::spawn(home, command)
}

fn sessions(server: &Server) -> Value {
    let path = state(&server.home).join("agents/main/sessions/sessions.json");
    std::fs::read(path).map_or(json!({}), |it| serde_json::from_slice(&it).unwrap())
}

/// Role and text of each message of a session's transcript.
fn transcript(server: &Server, key: &str) -> Vec<String> {
    let sessions = sessions(server);
    let id = sessions[key]["sessionId"].as_str().unwrap();
    let path = state(&server.home).join(format!("agents/main/sessions/{id}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    lines
        .filter(|it| it["type"] == "message")
        .map(|it| {
            let message = &it["message"];
            let text = message["content"][0]["text"].as_str().unwrap_or("(a call)");
            let text = text.split_once("] ").map_or(text, |it| it.1);
            let how = if message["stopReason"] == "injected" {
                "command"
            } else {
                message["role"].as_str().unwrap()
            };
            format!("{how}: {}", text.lines().next().unwrap_or_default())
        })
        .collect()
}

/// Sends a message; its id.
fn send(client: &mut Client, key: &str, message: &str, id: &str) -> Value {
    client.call("chat.send", &json!({ "sessionKey": key, "message": message, "idempotencyKey": id }))
}

/// The event that ends what was said under this id. Those of others stay.
fn ended(client: &mut Client, id: &str) -> Value {
    let is_it = |it: &Value| {
        it["event"] == "chat" && it["payload"]["runId"] == id && it["payload"]["state"] != "delta"
    };
    loop {
        if let Some(at) = client.events.iter().position(is_it) {
            return client.events.remove(at)["payload"].clone();
        }
        let frame = client.frame();
        client.events.push(frame);
    }
}

fn said(payload: &Value) -> &str {
    payload["message"]["content"][0]["text"].as_str().unwrap_or_default()
}

/// Sends a command and waits for its answer.
fn command(client: &mut Client, key: &str, message: &str, id: &str) -> String {
    let answer = send(client, key, message, id);
    assert_eq!(answer["payload"], json!({ "runId": id, "status": "started" }), "{message}");
    let end = ended(client, id);
    assert_eq!(end["message"]["stopReason"], "injected", "{message}: {end}");
    said(&end).to_owned()
}

const CHOICES: [&str; 9] = [
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "responseUsage",
    "providerOverride",
    "modelOverride",
    "queueMode",
    "sendPolicy",
    "groupActivation",
];

fn play(script: &str) -> String {
    let server = start(&json!({}));
    let mut client = Client::connect(&server, &json!({}));
    let mut key = "agent:main:main".to_owned();
    let (mut session, mut choices) = (Value::Null, json!({}));
    let mut out = String::new();
    let sent = script.lines().filter(|it| !it.starts_with(['<', '~', '!', '=']));
    for (n, line) in sent.enumerate() {
        out += &format!("{line}\n");
        if let Some(name) = line.strip_prefix("@ ") {
            key = name.to_owned();
            (session, choices) = (Value::Null, json!({}));
        }
        let Some(message) = line.strip_prefix("> ") else { continue };
        let id = format!("key-{n}");
        let answer = send(&mut client, &key, message, &id);
        if answer["ok"] == false {
            out += &format!("! {}\n", answer["error"]["message"].as_str().unwrap());
            continue;
        }
        let end = ended(&mut client, &id);
        let is_command = end["message"]["stopReason"] == "injected";
        if is_command {
            let usage = json!({ "input": 0, "output": 0, "totalTokens": 0 });
            assert_eq!((&end["state"], &end["message"]["usage"]), (&json!("final"), &usage));
            // Folding is told of on the way.
            assert!(end["seq"] == 1 || message.starts_with("/compact"), "{end}");
        }
        let mut text = said(&end).to_owned();
        if end["state"] == "error" {
            text = format!("(error) {}", end["errorMessage"].as_str().unwrap());
        }
        if message.starts_with("/context") {
            // Sizes depend on the machine's name.
            text = digits_masked(&text);
        }
        let text = text.replace(env!("CARGO_PKG_VERSION"), "$VERSION");
        let mark = if is_command { '<' } else { '~' };
        text.split('\n').for_each(|it| out += &format!("{mark} {it}\n"));
        let entry = sessions(&server)[&key].clone();
        let old = std::mem::replace(&mut session, entry["sessionId"].clone());
        if !old.is_null() && old != session {
            out += "= new session\n";
        }
        let chosen: Value = CHOICES
            .iter()
            .filter(|it| !entry[**it].is_null())
            .map(|it| ((*it).to_owned(), entry[*it].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        if chosen != choices {
            out += &format!("= {chosen}\n");
            choices = chosen;
        }
    }
    out
}

fn digits_masked(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            c => out.push(c),
        }
    }
    // One more digit may make it thousands.
    out.replace("N.Nk", "N").replace("Nk", "N")
}

#[test]
fn every_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/commands.txt");
    let want = std::fs::read_to_string(&path).unwrap();
    let got = play(&want);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &got).unwrap();
    }
    let (want, got): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    let differs = (0..want.len().max(got.len())).find(|it| want.get(*it) != got.get(*it));
    if let Some(at) = differs.filter(|_| std::env::var_os("UPDATE_EXPECT").is_none()) {
        panic!("line {}: expected {:?}, came {:?}", at + 1, want.get(at), got.get(at));
    }
}

const KEY: &str = "agent:main:main";

#[test]
fn a_key_is_answered_once() {
    let server = start(&json!({}));
    let mut client = Client::connect(&server, &json!({}));
    let text = command(&mut client, KEY, "/think high", "one");
    assert!(text.contains("high"), "{text}");
    command(&mut client, KEY, "/think low", "two");
    for _ in 0..2 {
        let again = send(&mut client, KEY, "/think high", "one");
        assert_eq!(again["payload"], json!({ "runId": "one", "status": "ok" }));
    }
    assert_eq!(sessions(&server)[KEY]["thinkingLevel"], "low", "it was not carried out again");
    let wait = client.call("agent.wait", &json!({ "runId": "one", "timeoutMs": 0 }));
    assert_eq!(wait["payload"]["status"], "ok", "{wait}");
    assert_eq!(transcript(&server, KEY).len(), 2);
}

#[test]
fn answers_are_remembered_by_the_next_life_and_told_to_no_model() {
    let server = start(&json!({}));
    let mut client = Client::connect(&server, &json!({}));
    send(&mut client, KEY, "first", "a");
    ended(&mut client, "a");
    command(&mut client, KEY, "/usage full", "b");
    // Promised behind the end of the one before.
    command(&mut client, KEY, "/whoami", "w");
    let server = again(server.crash());
    let mut client = Client::connect(&server, &json!({}));
    client.call("agent.wait", &json!({ "runId": "w", "timeoutMs": 5000 }));
    assert_eq!(send(&mut client, KEY, "/usage full", "b")["payload"]["status"], "ok");
    send(&mut client, KEY, "second", "c");
    assert_eq!(said(&ended(&mut client, "c")), "You said: second");
    assert_eq!(sessions(&server)[KEY]["responseUsage"], "full");
    let lines = transcript(&server, KEY);
    let how: Vec<&str> = lines.iter().map(|it| it.split(':').next().unwrap()).collect();
    assert_eq!(how, ["user", "assistant", "command", "command", "user", "assistant"], "{lines:?}");
    // The parrot counts the words that it is told: five of each question, the time among them, and its own.
    let heard = command(&mut client, KEY, "/status", "d");
    let told = 5 + lines[1].split_whitespace().count() - 1 + 5;
    assert!(heard.contains(&format!("Tokens: {told} in / 3 out")), "{heard}");
}

/// As the process leaves it when it ends between the promise and the answer, and between the answer and its note of that.
#[test]
fn a_promised_command_is_carried_out_by_the_next_life_and_once() {
    let server = start(&json!({}));
    let mut client = Client::connect(&server, &json!({}));
    command(&mut client, KEY, "/think low", "made");
    let mut home = server.crash();
    let journal = state(&home).join("accepted.jsonl");
    let promise = std::fs::read_to_string(&journal).unwrap().lines().next().unwrap().to_owned();
    let promise = promise.replace("made", "lost").replace("/think low", "/think high") + "\n";
    for _ in 0..2 {
        std::fs::write(&journal, &promise).unwrap();
        let server = again(home);
        let mut client = Client::connect(&server, &json!({}));
        let end = client.call("agent.wait", &json!({ "runId": "lost", "timeoutMs": 10_000 }));
        assert_eq!(end["payload"]["status"], "ok", "{end}");
        assert_eq!(sessions(&server)[KEY]["thinkingLevel"], "high");
        let lines = transcript(&server, KEY);
        assert_eq!(lines.len(), 2, "{lines:?}");
        home = server.crash();
    }
}

/// A session in which a run waits until it is let go.
struct Held {
    server: Server,
    client: Client,
    /// What its tool reads from.
    pipe: std::fs::File,
}

impl Held {
    fn new(commands: &Value) -> Held {
        let server = start(commands);
        let mut client = Client::connect(&server, &json!({}));
        let pipe = server.home.temp.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        send(&mut client, KEY, "hello", "zero");
        ended(&mut client, "zero");
        let call = json!({ "command": format!("read line < {}; echo $line", pipe.display()) });
        send(&mut client, KEY, &format!("call exec {call}"), "held");
        // Until the other side reads.
        let pipe = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        Held { server, client, pipe }
    }
    fn let_go(&mut self) -> Value {
        self.pipe.write_all(b"released\n").unwrap();
        ended(&mut self.client, "held")
    }
}

#[test]
fn commands_while_a_session_is_being_answered() {
    let mut it = Held::new(&json!({}));
    let status = command(&mut it.client, KEY, "/status", "s");
    assert!(status.contains("(depth 1)"), "{status}");
    command(&mut it.client, KEY, "/think high", "t");
    assert_eq!(sessions(&it.server)[KEY]["thinkingLevel"], "high");
    assert_eq!(send(&mut it.client, KEY, "/compact", "fold")["payload"]["status"], "started");
    assert_eq!(send(&mut it.client, KEY, "/new good morning", "fresh")["payload"]["status"], "started");
    assert_eq!(send(&mut it.client, KEY, "/new good morning", "fresh")["payload"]["status"], "in_flight");
    let session = sessions(&it.server)[KEY]["sessionId"].clone();
    let end = it.let_go();
    assert_eq!((&end["state"], said(&end)), (&json!("final"), "The tool exec says: released"));
    let fold = ended(&mut it.client, "fold");
    assert!(said(&fold).starts_with("🧹 Folded: "), "{fold}");
    assert_eq!(fold["message"]["stopReason"], "injected");
    let fresh = ended(&mut it.client, "fresh");
    assert!(said(&fresh).ends_with("You said: good morning"), "{fresh}");
    let after = sessions(&it.server)[KEY].clone();
    assert_ne!(after["sessionId"], session);
    assert_eq!(after["thinkingLevel"], Value::Null, "a new conversation begins without choices");
    assert_eq!(transcript(&it.server, KEY).len(), 2, "nothing of the old one is in the new one");
    let old =
        state(&it.server.home).join(format!("agents/main/sessions/{}.jsonl", session.as_str().unwrap()));
    let old = std::fs::read_to_string(old).unwrap();
    let kinds: Vec<String> = old
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap())
        .filter(|it| matches!(it["type"].as_str(), Some("message" | "compaction")))
        .map(|it| {
            let message = &it["message"];
            let how =
                if message["stopReason"] == "injected" { &message["stopReason"] } else { &message["role"] };
            how.as_str().unwrap_or("compaction").to_owned()
        })
        .collect();
    let want = [
        "user",
        "assistant",
        "user",
        "assistant",
        "injected",
        "injected",
        "toolResult",
        "assistant",
        "compaction",
        "injected",
    ];
    assert_eq!(kinds, want, "the result of the tool is told, whatever was said in between");
}

#[test]
fn a_session_may_have_a_queue_mode_of_its_own() {
    let mut it = Held::new(&json!({}));
    command(&mut it.client, KEY, "/queue interrupt", "q");
    send(&mut it.client, KEY, "something else", "next");
    let held = ended(&mut it.client, "held");
    assert_eq!((&held["state"], &held["stopReason"]), (&json!("aborted"), &json!("interrupt")));
    assert_eq!(ended(&mut it.client, "next")["state"], "final");
    assert_eq!(transcript(&it.server, KEY).iter().filter(|it| *it == "user: something else").count(), 1);
}

#[test]
fn what_folds_or_begins_a_conversation_waits_in_every_queue_mode() {
    for mode in ["steer", "interrupt", "followup"] {
        let mut it = Held::new(&json!({}));
        command(&mut it.client, KEY, &format!("/queue {mode}"), "q");
        send(&mut it.client, KEY, "/compact", "fold");
        send(&mut it.client, KEY, "/new then", "then");
        let end = it.let_go();
        assert_eq!((&end["state"], said(&end)), (&json!("final"), "The tool exec says: released"), "{mode}");
        assert!(said(&ended(&mut it.client, "fold")).starts_with("🧹 "), "{mode}");
        assert!(said(&ended(&mut it.client, "then")).ends_with("You said: then"), "{mode}");
    }
}

/// The levels at which questions were asked, as they changed.
fn levels(server: &Server) -> Vec<String> {
    let id = sessions(server)[KEY]["sessionId"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(state(&server.home).join(format!("agents/main/sessions/{id}.jsonl")));
    let lines = text.unwrap();
    let lines = lines.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    lines.filter_map(|it| it["thinkingLevel"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_level_counts_for_the_session_or_for_one_message() {
    let home = home(&json!({}));
    let path = state(&home).join("openclaw.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let thinker = json!({ "id": "parrot", "name": "Parrot", "reasoning": true });
    config["models"]["providers"]["builtin"] =
        json!({ "baseUrl": "http://127.0.0.1:9", "models": [thinker] });
    std::fs::write(&path, config.to_string()).unwrap();
    let server = again(home);
    let mut client = Client::connect(&server, &json!({}));
    let mut ask = |message: &str, id: &str| {
        send(&mut client, KEY, message, id);
        assert_eq!(ended(&mut client, id)["state"], "final", "{message}");
    };
    ask("one", "1");
    ask("/think high two", "2");
    ask("three", "3");
    ask("/think off", "4");
    ask("four", "5");
    ask("/t minimal", "6");
    ask("five", "7");
    ask("/think off six", "8");
    assert_eq!(levels(&server), ["low", "high", "low", "off", "minimal", "off"]);
}

#[test]
fn a_choice_in_a_conversation_that_is_over_counts_for_the_next_one() {
    let server = start(&json!({}));
    let mut client = Client::connect(&server, &json!({}));
    command(&mut client, KEY, "/status", "a");
    let home = server.crash();
    let index = state(&home).join("agents/main/sessions/sessions.json");
    let mut all: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let old = all[KEY]["sessionId"].clone();
    all[KEY]["updatedAt"] = (crate::client::now_ms() - 3 * 86_400_000).into();
    std::fs::write(&index, all.to_string()).unwrap();
    let server = again(home);
    let mut client = Client::connect(&server, &json!({}));
    command(&mut client, KEY, "/verbose full", "b");
    let new = sessions(&server)[KEY].clone();
    assert_ne!(new["sessionId"], old);
    send(&mut client, KEY, "hello", "c");
    ended(&mut client, "c");
    let entry = sessions(&server)[KEY].clone();
    assert_eq!((&entry["sessionId"], &entry["verboseLevel"]), (&new["sessionId"], &json!("full")));
}

#[test]
fn only_the_owner_restarts_and_only_when_allowed() {
    let mut server = start(&json!({ "restart": true }));
    let mut other = Client::connect(&server, &json!({ "scopes": ["operator.read", "operator.write"] }));
    let refused = command(&mut other, KEY, "/restart", "r1");
    assert!(refused.starts_with("🚫 /restart is for the owner"), "{refused}");
    let mut client = Client::connect(&server, &json!({}));
    let said = command(&mut client, KEY, "/restart", "r2");
    assert!(said.starts_with("♻️ "), "{said}");
    let line = server.wait_line("listening on ws://127.0.0.1:");
    server.port = line.split("ws://127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut client = Client::connect(&server, &json!({}));
    let again = send(&mut client, KEY, "/restart", "r2");
    assert_eq!(again["payload"], json!({ "runId": "r2", "status": "ok" }), "it is over, and not begun again");
    command(&mut client, KEY, "/status", "s");
}

#[test]
fn commands_text_is_for_channels_with_commands_of_their_own() {
    let server = start(&json!({ "text": false }));
    let mut client = Client::connect(&server, &json!({}));
    assert!(command(&mut client, KEY, "/whoami", "w").contains("webchat"));
}
