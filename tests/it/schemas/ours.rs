//! Everything that this gateway sends fits the contract, closed: a property that it does not name is a mistake.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::Contract;
use gatewayd::agent::run::{End, Event};
use gatewayd::base::clock::{Clock, Now};
use gatewayd::base::files;
use gatewayd::base::ids::{ConnId, base64url, os_entropy, sha256_hex};
use gatewayd::base::secret::Secret;
use gatewayd::config::{Env, File, Paths};
use gatewayd::conn::head::Host;
use gatewayd::gateway::auth::{Flags, SharedAuth};
use gatewayd::gateway::peer::Peer;
use gatewayd::gateway::runs::RunRef;
use gatewayd::gateway::{Core, Effect, Signal, Start, World};
use gatewayd::protocol::connect::{ConnectParams, signature_payload};
use gatewayd::store::stores::Stores;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// A gateway without sockets in a home of its own: jobs run at once, in the same thread.
struct Gateway {
    core: Core,
    stores: Stores,
    clock: Clock,
    home: PathBuf,
    protocol: u32,
    contract: Contract,
    /// The events seen so far.
    events: BTreeSet<String>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

const ADMIN: ConnId = ConnId { slot: 1, generation: 1 };
const NODE: ConnId = ConnId { slot: 2, generation: 1 };
const STRANGER: ConnId = ConnId { slot: 3, generation: 1 };

impl Gateway {
    fn start(protocol: u32) -> Gateway {
        let home = std::env::temp_dir().join(format!("gatewayd-schemas-{protocol}-{}", std::process::id()));
        let env = Env::from([("HOME", home.to_str().unwrap())]);
        let paths = Paths::resolve(&env, None);
        let put = |path: PathBuf, value: Value| {
            files::make_dir(path.parent().unwrap()).unwrap();
            files::write_atomic(&path, value.to_string().as_bytes()).unwrap();
        };
        let model =
            json!({ "id": "m", "name": "M", "contextWindow": 8000, "reasoning": false, "input": ["text"] });
        let config = json!({
            "gateway": { "mode": "local", "auth": { "mode": "token", "token": "t" } },
            "models": { "providers": { "mock": { "baseUrl": "http://127.0.0.1:9/v1", "models": [model] } } },
        });
        put(paths.config.clone(), config);
        let session = json!({ "sessionId": "s", "updatedAt": 1, "systemSent": true, "inputTokens": 5, "totalTokens": 9 });
        put(paths.agent("main").join("sessions/sessions.json"), json!({ "agent:main:main": session }));
        let lines = [
            json!({ "type": "session", "version": 3, "id": "s", "timestamp": "2026-01-01T00:00:00.000Z", "cwd": "/" }),
            json!({ "type": "message", "id": "1", "parentId": null, "message": { "role": "user", "content": "hi" } }),
        ];
        let lines = lines.map(|it| it.to_string() + "\n").concat();
        let transcript = paths.agent("main").join("sessions/s.jsonl");
        files::write_atomic(&transcript, lines.as_bytes()).unwrap();
        put(
            paths.state.join("cron/jobs.json"),
            json!({ "version": 1, "jobs": [{ "id": "j", "name": "J", "enabled": true }] }),
        );
        let clock = Clock::start();
        let config = File::load(&paths, &env);
        assert!(config.valid(), "{:?}", config.issues);
        let flags = Flags { token: Some(Secret::new("t".into())), password: None };
        let auth = SharedAuth::resolve(&config.config, &env, &flags).unwrap();
        let world = Arc::new(World::new(config, paths, env, 0));
        let (devices, wake_words) = (Default::default(), vec!["openclaw".to_owned()]);
        let core = Core::new(Start {
            world,
            clock,
            auth,
            nodes: Default::default(),
            devices,
            wake_words,
            system_events: vec![],
            entropy: os_entropy(),
            restarted_ms: None,
            ws_log: Default::default(),
        });
        let stores = Stores::new(home.join("accepted.jsonl"), clock, os_entropy());
        Gateway {
            core,
            stores,
            clock,
            home,
            protocol,
            contract: Contract::of(protocol).closed(),
            events: BTreeSet::new(),
        }
    }
    fn now(&self) -> Now {
        self.clock.now()
    }
    /// Everything that is sent until nothing is left to do, each frame judged.
    fn sent(&mut self) -> Vec<Value> {
        let mut frames = vec![];
        loop {
            let effects = self.core.take_effects();
            if effects.is_empty() {
                return frames;
            }
            for effect in effects {
                match effect {
                    Effect::Send { text, .. } | Effect::Broadcast { text, .. } => {
                        frames.push(self.judge(&text))
                    }
                    Effect::Job(job) => {
                        let now = self.now();
                        self.core.on_done(job(), now);
                    }
                    Effect::Run(start) => self.run(start.run),
                    Effect::Store(job) => {
                        let now = self.now();
                        self.core.on_done(job(&mut self.stores), now);
                    }
                    Effect::Admit { .. }
                    | Effect::Answer { .. }
                    | Effect::Stream { .. }
                    | Effect::Piece { .. }
                    | Effect::EndStream { .. }
                    | Effect::Thread { .. }
                    | Effect::TellDrained { .. }
                    | Effect::Cut { .. }
                    | Effect::WatchTree(_)
                    | Effect::Close { .. }
                    | Effect::Authenticated { .. }
                    | Effect::Watch(_)
                    | Effect::End(_)
                    | Effect::Channel(_) => {}
                }
            }
        }
    }
    /// A run with a bit of everything.
    fn run(&mut self, run: RunRef) {
        let now = self.now();
        let (id, name) = ("c1".to_owned(), "exec".to_owned());
        for event in [
            Event::Begun { session_id: "s".into(), verbose: Some("full".into()) },
            Event::Text("Hello".into()),
            Event::ToolStart { id: id.clone(), name: name.clone(), args: json!({}) },
            Event::ToolUpdate { id: id.clone(), name: name.clone(), partial: json!({}) },
            Event::ToolEnd { id, name, meta: Some("ls".into()), is_error: false, result: json!({}) },
            Event::MessageEnd,
            Event::Compacting,
            Event::Compacted { will_retry: true },
        ] {
            self.core.on_run_event(run, event, now);
        }
        let end = End { outcome: Ok(()), texts: vec!["Hello".into()], ..End::panicked() };
        self.core.on_run_ended(run, end, now);
    }
    fn judge(&mut self, text: &str) -> Value {
        let frame: Value = serde_json::from_str(text).unwrap();
        self.contract.frame(&frame).unwrap_or_else(|err| panic!("{err} in {frame}"));
        self.events.extend(frame["event"].as_str().map(str::to_owned));
        frame
    }
    /// Opens a connection; the nonce of its challenge.
    fn open(&mut self, conn: ConnId, ip: [u8; 4]) -> String {
        let peer = Peer {
            ip: ip.into(),
            host: Host { name: "127.0.0.1".into(), port: None },
            authority: "127.0.0.1".into(),
            origin: None,
            forwarded: false,
            forwarded_https: false,
            forwarded_for: String::new(),
            claim: None,
        };
        let now = self.now();
        self.core.on_opened(conn, peer, now);
        let frames = self.sent();
        let challenge = frames.iter().find(|it| it["event"] == "connect.challenge").unwrap();
        challenge["payload"]["nonce"].as_str().unwrap().to_owned()
    }
    /// The answer, which fits whatever it is.
    fn ask(&mut self, conn: ConnId, method: &str, params: &Value) -> Value {
        let text = json!({ "type": "req", "id": "1", "method": method, "params": params }).to_string();
        let now = self.now();
        self.core.on_message(conn, text.into_bytes().into(), now);
        let answer = self.sent().into_iter().find(|it| it["id"] == "1");
        let answer = answer.unwrap_or_else(|| panic!("{method} was not answered"));
        if answer["ok"] == true {
            let verdict = self.contract.result(method, &answer["payload"]);
            verdict.unwrap_or_else(|err| panic!("{method}: {err} in {answer}"));
        }
        answer
    }
    fn connect_params(&self) -> Value {
        json!({
            "minProtocol": self.protocol, "maxProtocol": self.protocol, "auth": { "token": "t" },
            "client": { "id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend" },
        })
    }
    /// Connects with a device of its own.
    fn connect_device(&mut self, conn: ConnId, ip: [u8; 4], role: &str, seed: u8) -> Value {
        let nonce = self.open(conn, ip);
        let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = key.public_key().as_ref();
        let mut params = self.connect_params();
        params["role"] = role.into();
        params["device"] = json!({
            "id": sha256_hex(public), "publicKey": base64url(public), "signature": "unsigned",
            "signedAt": self.now().unix_ms, "nonce": nonce,
        });
        let unsigned: ConnectParams = serde_json::from_value(params.clone()).unwrap();
        let payload = signature_payload(2, &sha256_hex(public), role, &unsigned);
        params["device"]["signature"] = base64url(key.sign(payload.as_bytes()).as_ref()).into();
        self.ask(conn, "connect", &params)
    }
}

/// Calls that must succeed, because their params are right.
fn calls() -> Vec<(&'static str, Value)> {
    let file = json!({ "agentId": "main", "name": "USER.md", "content": "hello" });
    vec![
        ("agents.files.set", file),
        ("agents.files.get", json!({ "agentId": "main", "name": "USER.md" })),
        ("agents.files.list", json!({ "agentId": "main" })),
        ("sessions.list", json!({ "includeDerivedTitles": true, "limit": 5 })),
        ("sessions.preview", json!({ "keys": ["main", "nope"] })),
        ("sessions.resolve", json!({ "key": "main" })),
        ("sessions.patch", json!({ "key": "main", "label": "L", "thinkingLevel": "low" })),
        ("sessions.compact", json!({ "key": "main", "maxLines": 1 })),
        ("chat.inject", json!({ "sessionKey": "main", "message": "hi" })),
        ("chat.history", json!({ "sessionKey": "main" })),
        ("sessions.reset", json!({ "key": "other" })),
        ("sessions.delete", json!({ "key": "other" })),
        ("cron.list", json!({ "includeDisabled": true })),
        ("talk.mode", json!({ "enabled": true, "phase": "listening" })),
        ("voicewake.set", json!({ "triggers": ["hey"] })),
        ("set-heartbeats", json!({ "enabled": false })),
        ("chat.send", json!({ "sessionKey": "main", "message": "hi", "idempotencyKey": "1" })),
        ("chat.abort", json!({ "sessionKey": "main" })),
        ("agent.wait", json!({ "runId": "1" })),
        ("wake", json!({ "mode": "now", "text": "up" })),
        ("system-event", json!({ "text": "Node: phone", "host": "phone", "lastInputSeconds": 3 })),
        ("health", json!({ "probe": true })),
        ("status", json!({})),
        ("config.get", json!({})),
        ("models.list", json!({})),
        ("system-presence", json!({})),
        ("node.list", json!({})),
        ("device.pair.list", json!({})),
    ]
}

fn everything_sent_fits(protocol: u32) {
    let mut gateway = Gateway::start(protocol);
    gateway.open(ADMIN, [127, 0, 0, 1]);
    let mut admin = gateway.connect_params();
    admin["scopes"] = json!(["operator.admin"]);
    assert_eq!(gateway.ask(ADMIN, "connect", &admin)["ok"], true);
    let node = gateway.connect_device(NODE, [127, 0, 0, 1], "node", 1);
    assert!(node["payload"]["auth"]["deviceToken"].is_string(), "{node}");
    let stranger = gateway.connect_device(STRANGER, [192, 0, 2, 9], "operator", 2);
    assert_eq!(stranger["error"]["code"], "NOT_PAIRED", "{stranger}");
    for (method, params) in calls() {
        let answer = gateway.ask(ADMIN, method, &params);
        assert_eq!(answer["ok"], true, "{method}: {answer}");
    }
    // Every other method: whatever it answers to no params at all, it answers in form.
    for method in gateway.contract.methods() {
        gateway.ask(ADMIN, &method, &json!({}));
    }
    let later = Now { mono_ms: gateway.now().mono_ms + 60_000, ..gateway.now() };
    gateway.core.on_time(later);
    gateway.sent();
    gateway.core.on_signal(Signal::Stop, later);
    gateway.sent();
    let seen = |it: &&str| gateway.events.contains(*it);
    let wanted = ["presence", "tick", "talk.mode", "shutdown", "health", "voicewake.changed"];
    let wanted = wanted.iter().chain(&["device.pair.requested", "device.pair.resolved", "agent", "chat"]);
    assert_eq!(wanted.filter(|it| !seen(it)).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn everything_sent_fits_protocol_3() {
    everything_sent_fits(3);
}

#[test]
fn everything_sent_fits_protocol_4() {
    everything_sent_fits(4);
}
