//! The published contract (`vendor-schemas/`), judged by a validator that is not ours: what the reference gateway was seen
//! to send fits it, and so does everything that this gateway sends.
//!
//! `tests/data/reference-payloads.jsonl`, a line one payload: `{protocol, method, result}` or `{protocol, frame}`, lists cut to
//! two items. `differs` is the one complaint that such a payload earns, where this gateway promises more than the reference.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use gatewayd::base::clock::{Clock, Now};
use gatewayd::base::files;
use gatewayd::base::ids::ConnId;
use gatewayd::base::secret::Secret;
use gatewayd::config::{Env, File, Paths};
use gatewayd::conn::head::Host;
use gatewayd::gateway::auth::{Flags, SharedAuth};
use gatewayd::gateway::peer::Peer;
use gatewayd::gateway::{Core, Effect, Signal, Start, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The committed contract of one protocol version.
pub struct Contract(Value);

impl Contract {
    pub fn of(protocol: u32) -> Contract {
        let text = match protocol {
            3 => include_str!("../../vendor-schemas/openclaw-v3.schema.json"),
            4 => include_str!("../../vendor-schemas/openclaw-v4.schema.json"),
            other => panic!("there is no protocol {other}"),
        };
        Contract(serde_json::from_str(text).expect("the schema is JSON"))
    }
    /// Refuses what the contract does not name. For our own payloads: a property it does not know is a mistake here.
    pub fn closed(mut self) -> Contract {
        close(&mut self.0["$defs"]);
        self
    }
    /// The payload of the answer to `method`.
    pub fn result(&self, method: &str, payload: &Value) -> Result<(), String> {
        self.check(&self.row("methods", method)?["result"], payload)
    }
    /// The payload of one event.
    pub fn event(&self, name: &str, payload: &Value) -> Result<(), String> {
        self.check(&self.row("events", name)?["payload"], payload)
    }
    /// Any frame, and in an event frame its payload.
    pub fn frame(&self, frame: &Value) -> Result<(), String> {
        let name = match frame["type"].as_str() {
            Some("req") => "RequestFrame",
            Some("res") => "ResponseFrame",
            Some("event") => "EventFrame",
            _ => "GatewayFrame",
        };
        self.check(&json!({ "$ref": format!("#/$defs/{name}") }), frame)?;
        frame["event"].as_str().map_or(Ok(()), |name| self.event(name, &frame["payload"]))
    }
    fn row(&self, list: &str, name: &str) -> Result<&Value, String> {
        let rows = self.0[list].as_array().into_iter().flatten();
        rows.into_iter()
            .find(|it| it["name"] == *name)
            .ok_or_else(|| format!("{name} is not among the {list}"))
    }
    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let mut schema = schema.clone();
        schema["$defs"] = self.0["$defs"].clone();
        let validator = jsonschema::validator_for(&schema).map_err(|err| format!("bad schema: {err}"))?;
        let complaints = validator.iter_errors(value).map(|it| format!("at {}: {it}", it.instance_path()));
        let all = complaints.collect::<Vec<_>>().join("; ");
        if all.is_empty() { Ok(()) } else { Err(all) }
    }
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object)
                && !map.contains_key("additionalProperties")
            {
                map.insert("additionalProperties".into(), false.into());
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn the_schemas_are_schemas() {
    for protocol in [3, 4] {
        let document = Contract::of(protocol).0;
        jsonschema::meta::validate(&document).unwrap_or_else(|err| panic!("protocol {protocol}: {err}"));
        let names: BTreeSet<&str> =
            document["$defs"].as_object().unwrap().keys().map(String::as_str).collect();
        let text = document.to_string();
        for used in text.split(r##""#/$defs/"##).skip(1).filter_map(|it| it.split('"').next()) {
            assert!(names.contains(used), "{used} is not defined");
        }
    }
}

#[test]
fn what_the_reference_sends_fits() {
    let (three, four) = (Contract::of(3), Contract::of(4));
    for line in include_str!("../data/reference-payloads.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let contract = if row["protocol"] == 3 { &three } else { &four };
        let verdict = match row["method"].as_str() {
            Some(method) => contract.result(method, &row["result"]),
            None => contract.frame(&row["frame"]),
        };
        assert_eq!(verdict.err().as_deref(), row["differs"].as_str(), "{line}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let it = Contract::of(3).closed();
    let refused = |verdict: Result<(), String>, why: &str| {
        let text = verdict.expect_err(why);
        assert!(text.contains(why), "{text}");
    };
    refused(it.event("tick", &json!({ "ts": "1" })), "at /ts");
    refused(it.event("tick", &json!({ "ts": 1, "tss": 1 })), "tss");
    refused(it.event("tock", &json!({})), "tock is not among the events");
    refused(it.result("no.such", &json!({})), "no.such is not among the methods");
    refused(it.frame(&json!({ "type": "event", "event": "tick", "payload": {} })), "\"ts\"");
    let forbidden =
        json!({ "type": "res", "id": "1", "ok": false, "error": { "code": "FORBIDDEN", "message": "" } });
    refused(it.frame(&forbidden), "at /error/code");
    assert_eq!(Contract::of(4).closed().frame(&forbidden), Ok(()));
}

/// A gateway without sockets in a home of its own: jobs run at once, in the same thread.
struct Gateway {
    core: Core,
    clock: Clock,
    home: PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

const CONN: ConnId = ConnId { slot: 1, generation: 1 };

impl Gateway {
    fn start(name: &str) -> Gateway {
        let home = std::env::temp_dir().join(format!("gatewayd-schemas-{name}-{}", std::process::id()));
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
        let mut next = 0u8;
        let entropy = Box::new(move |buf: &mut [u8]| {
            next = next.wrapping_add(1);
            buf.fill(next);
        });
        let (devices, wake_words) = (Default::default(), vec!["openclaw".to_owned()]);
        let core = Core::new(Start { world, clock, auth, devices, wake_words, entropy });
        Gateway { core, clock, home }
    }
    fn now(&self) -> Now {
        self.clock.now()
    }
    /// Everything that is sent until nothing is left to do.
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
                        frames.push(serde_json::from_str(&text).unwrap());
                    }
                    Effect::Job { job, .. } => {
                        let now = self.now();
                        self.core.on_done(job(), now);
                    }
                    Effect::Close { .. } | Effect::Authenticated { .. } | Effect::End(_) => {}
                }
            }
        }
    }
    fn ask(&mut self, id: &str, method: &str, params: &Value) -> Vec<Value> {
        let text = json!({ "type": "req", "id": id, "method": method, "params": params }).to_string();
        let now = self.now();
        self.core.on_message(CONN, text.into_bytes().into(), now);
        self.sent()
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
        ("cron.list", json!({ "includeDisabled": true })),
        ("talk.mode", json!({ "enabled": true, "phase": "listening" })),
        ("voicewake.set", json!({ "triggers": ["hey"] })),
        ("set-heartbeats", json!({ "enabled": false })),
        ("wake", json!({ "mode": "now", "text": "up" })),
        ("system-event", json!({ "text": "Node: phone", "host": "phone", "lastInputSeconds": 3 })),
        ("health", json!({ "probe": true })),
        ("status", json!({})),
        ("config.get", json!({})),
        ("models.list", json!({})),
        ("system-presence", json!({})),
    ]
}

fn everything_sent_fits(protocol: u32) {
    let contract = Contract::of(protocol).closed();
    let mut gateway = Gateway::start(&protocol.to_string());
    let mut events = BTreeSet::new();
    let mut check = |frames: Vec<Value>, id: &str, method: &str| -> Option<bool> {
        let mut ok = None;
        for frame in frames {
            contract.frame(&frame).unwrap_or_else(|err| panic!("{method}: {err} in {frame}"));
            events.extend(frame["event"].as_str().map(str::to_owned));
            if frame["id"] == *id {
                ok = frame["ok"].as_bool();
                if ok == Some(true) {
                    contract
                        .result(method, &frame["payload"])
                        .unwrap_or_else(|err| panic!("{method}: {err} in {frame}"));
                }
            }
        }
        ok
    };
    let peer = Peer {
        ip: [127, 0, 0, 1].into(),
        host: Host { name: "127.0.0.1".into(), port: None },
        authority: "127.0.0.1".into(),
        origin: None,
        forwarded: false,
        forwarded_for: String::new(),
    };
    let now = gateway.now();
    gateway.core.on_opened(CONN, peer, now);
    check(gateway.sent(), "", "open");
    let connect = json!({
        "minProtocol": protocol, "maxProtocol": protocol, "role": "operator", "scopes": ["operator.admin"], "auth": { "token": "t" },
        "client": { "id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend" },
    });
    assert_eq!(check(gateway.ask("c", "connect", &connect), "c", "connect"), Some(true));
    for (method, params) in calls() {
        assert_eq!(check(gateway.ask("r", method, &params), "r", method), Some(true), "{method}");
    }
    // Every other method: whatever it answers to no params at all, it answers in form.
    let methods = contract.0["methods"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str());
    for method in methods.filter(|it| *it != "connect") {
        check(gateway.ask("e", method, &json!({})), "e", method);
    }
    let later = Now { mono_ms: gateway.now().mono_ms + 60_000, ..gateway.now() };
    gateway.core.on_time(later);
    check(gateway.sent(), "", "time");
    gateway.core.on_signal(Signal::Stop);
    check(gateway.sent(), "", "stop");
    for event in
        ["connect.challenge", "health", "presence", "talk.mode", "voicewake.changed", "tick", "shutdown"]
    {
        assert!(events.contains(event), "{event} was not seen");
    }
}

#[test]
fn everything_sent_fits_protocol_3() {
    everything_sent_fits(3);
}

#[test]
fn everything_sent_fits_protocol_4() {
    everything_sent_fits(4);
}
