//! A seeded simulation of [`Core`]: several clients, good and bad, jobs that end in any order, time, signals. What every
//! client was told is checked frame by frame.
use super::*;
use crate::agent::run::{Event, Failure};
use crate::base::cancel::Cancel;
use crate::base::testing::{Seed, each_seed};
use crate::config::{Env, File, Paths};
use crate::conn::head;
use crate::protocol::connect::{ConnectParams, signature_payload};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;

/// One client as it sees itself.
#[derive(Default)]
struct SimClient {
    nonce: String,
    connect_id: Option<String>,
    /// Requests that must be answered, exactly once.
    pending: BTreeSet<String>,
    /// Requests that may be answered once more.
    accepted: BTreeSet<String>,
    seq: Option<u64>,
    local: bool,
    sees_all: bool,
    hello: bool,
    authenticated: bool,
    refused: bool,
    closed: bool,
}

struct Sim {
    seed: Seed,
    core: Core,
    now: Now,
    clients: HashMap<ConnId, SimClient>,
    stores: Stores,
    jobs: Vec<Job>,
    /// Runs under way, with their sessions.
    runs: Vec<(RunRef, String, Cancel)>,
    store_jobs: VecDeque<StoreJob>,
    done: Vec<Done>,
    opened: u32,
    asked: u64,
    ended: Option<End>,
    home: PathBuf,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

pub(super) fn core(seed: &mut Seed, home: &std::path::Path, clock: Clock, now: Now) -> Core {
    let env = Env::from([("HOME", home.to_str().unwrap()), ("OPENCLAW_GATEWAY_TOKEN", "right")]);
    let paths = Paths::resolve(&env, None);
    std::fs::create_dir_all(&paths.state).unwrap();
    let mut file = File::load(&paths, &env);
    file.config.restart_allowed = seed.one_in(2);
    let auth = SharedAuth::resolve(&file.config, &env, &auth::Flags::default()).unwrap();
    let mut random = Seed(seed.number());
    let entropy: Entropy = Box::new(move |buf| buf.fill_with(|| random.number() as u8));
    let world = Arc::new(World::new(file, paths, env, 1));
    let _ = now;
    Core::new(Start {
        world,
        clock,
        auth,
        devices: Devices::default(),
        nodes: Default::default(),
        wake_words: vec![],
        system_events: vec![],
        entropy,
        restarted_ms: None,
        ws_log: WsLog::default(),
    })
}

/// A value that fits a JSON Schema, more or less.
fn value_of(schema: &Value, defs: &Value, seed: &mut Seed, depth: usize) -> Value {
    const TEXTS: [&str; 13] = [
        "",
        "a",
        "main",
        "AGENTS.md",
        "../x",
        "agent:main:main",
        "☃",
        "now",
        "/status",
        "/new hi",
        "/usage cost",
        "cli",
        "system.which",
    ];
    if let Some(name) = schema["$ref"].as_str() {
        return value_of(&defs[name.rsplit('/').next().unwrap()], defs, seed, depth);
    }
    for choice in ["enum", "anyOf", "oneOf"] {
        if let Some(all) = schema[choice].as_array() {
            let one = seed.pick(all);
            return if choice == "enum" { one.clone() } else { value_of(one, defs, seed, depth) };
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => seed.pick(kinds).as_str(),
        kind => kind.as_str(),
    };
    match kind {
        _ if !schema["const"].is_null() => schema["const"].clone(),
        Some("object") if schema["properties"].is_object() => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let fields = schema["properties"].as_object().unwrap().iter();
            let mut out = serde_json::Map::new();
            for (name, field) in fields {
                if required.iter().any(|it| it == name.as_str()) || seed.one_in(3) {
                    out.insert(name.clone(), value_of(field, defs, seed, depth + 1));
                }
            }
            Value::Object(out)
        }
        Some("string") => (*seed.pick(&TEXTS)).into(),
        Some("integer" | "number") => seed.below(2000).into(),
        Some("boolean") => seed.one_in(2).into(),
        Some("null") => Value::Null,
        Some("array") if depth < 4 => {
            (0..seed.below(3)).map(|_| value_of(&schema["items"], defs, seed, depth + 1)).collect()
        }
        // Hand-checked params: no schema says what is in them.
        _ => seed
            .pick(&[
                json!({}),
                json!({ "triggers": ["hey", 5, ""] }),
                json!({ "text": "something", "mode": "now" }),
                json!({ "enabled": false }),
                json!({ "text": "Node: x", "deviceId": "d", "reason": "periodic", "tags": ["t"] }),
                json!([1]),
                json!("text"),
            ])
            .clone(),
    }
}

/// Every method with the schema of its params, and the definitions they share.
fn schemas() -> &'static (Vec<(&'static str, Value)>, Value) {
    static ALL: std::sync::OnceLock<(Vec<(&'static str, Value)>, Value)> = std::sync::OnceLock::new();
    ALL.get_or_init(|| {
        let mut generator = schemars::SchemaGenerator::default();
        let rows: Vec<(&'static str, Value)> = methods::FAMILIES
            .iter()
            .copied()
            .flatten()
            .map(|it| (it.name, (it.schema)(&mut generator).0.to_value()))
            .collect();
        (rows, Value::Object(generator.take_definitions(true)))
    })
}

impl Sim {
    fn new(mut seed: Seed) -> Sim {
        let home = std::env::temp_dir().join(format!("gatewayd-core-{}-{}", std::process::id(), seed.0));
        let now = Now { mono_ms: 1000, unix_ms: 1_795_000_000_000 };
        let clock = Clock::start();
        let core = core(&mut seed, &home, clock, now);
        let stores = Stores::new(home.join("accepted.jsonl"), clock, ids::os_entropy());
        let clients = HashMap::new();
        let (jobs, store_jobs, done) = (vec![], VecDeque::new(), vec![]);
        Sim {
            seed,
            core,
            now,
            clients,
            stores,
            jobs,
            runs: vec![],
            store_jobs,
            done,
            opened: 0,
            asked: 0,
            ended: None,
            home,
        }
    }

    fn step(&mut self) {
        match self.seed.below(40) {
            0..3 if self.clients.len() < 6 => self.open(),
            3..10 => self.shake_hands(),
            10..24 => self.ask(),
            24 => self.say_nonsense(),
            25 if self.seed.one_in(20) => self.flood(),
            26 => self.leave(),
            27..32 => self.run_job(),
            32..37 => self.finish_job(),
            37..39 => {
                let ms = self.seed.number() % [10, 1_000, 31_000, 400_000][self.seed.below(4)];
                self.pass(ms);
            }
            39 if self.seed.one_in(60) => {
                let signal = *self.seed.pick(&[Signal::Stop, Signal::Restart]);
                self.core.on_signal(signal, self.now);
            }
            _ => self.go_on_running(),
        }
        self.take();
    }

    /// Something happens in a run, or it ends.
    fn go_on_running(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let at = self.seed.below(self.runs.len());
        let (run, _, cancel) = self.runs[at].clone();
        let id = || "c1".to_owned();
        let event = match self.seed.below(8) {
            0 => Event::Begun { session_id: "s".into(), verbose: Some("full".into()) },
            1 | 2 => Event::Text("word ".into()),
            3 => Event::MessageEnd,
            4 => Event::ToolStart { id: id(), name: "exec".into(), args: json!({}) },
            5 => Event::Steered(self.seed.pick(&["a", "main", "now"]).to_string()),
            _ => return self.end_run(at, &cancel),
        };
        self.core.on_run_event(run, event, self.now);
    }

    fn end_run(&mut self, at: usize, cancel: &Cancel) {
        let (run, ..) = self.runs.remove(at);
        let outcome = match cancel.is_cancelled() {
            true => Err(Failure::Cancelled),
            false if self.seed.one_in(3) => agent::run::End::panicked().outcome,
            false => Ok(()),
        };
        let end = agent::run::End { outcome, texts: vec!["words".into()], ..agent::run::End::panicked() };
        self.core.on_run_ended(run, end, self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, unix_ms: self.now.unix_ms + ms as i64 };
        self.core.on_time(self.now);
        assert!(self.core.next_due().is_none_or(|it| it > self.now.mono_ms), "what is due has been done");
    }

    fn open(&mut self) {
        let conn = ConnId { slot: self.opened % 8, generation: self.opened };
        self.opened += 1;
        let ip = *self.seed.pick(&["127.0.0.1", "127.0.0.1", "192.168.1.5"]);
        let origin = *self.seed.pick(&["", "", "Origin: http://evil.example\r\n"]);
        let text = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{origin}\r\n");
        let peer = Peer::of(ip.parse().unwrap(), &head::parse(text.as_bytes()).unwrap());
        self.clients.insert(conn, SimClient { local: ip == "127.0.0.1", ..SimClient::default() });
        self.core.on_opened(conn, peer, self.now);
    }

    fn any(&mut self, fits: impl Fn(&SimClient) -> bool) -> Option<ConnId> {
        let mut all: Vec<ConnId> = self.clients.iter().filter(|it| fits(it.1)).map(|it| *it.0).collect();
        all.sort();
        (!all.is_empty()).then(|| *self.seed.pick(&all))
    }

    fn message(&mut self, conn: ConnId, text: &str) {
        self.core.on_message(conn, Bytes::copy_from_slice(text.as_bytes()), self.now);
    }

    fn new_id(&mut self) -> String {
        self.asked += 1;
        format!("r{}", self.asked)
    }

    fn shake_hands(&mut self) {
        let Some(conn) = self.any(|it| it.connect_id.is_none() && !it.closed) else { return };
        let nonce = self.clients[&conn].nonce.clone();
        let params = self.connect_params(&nonce);
        let id = self.new_id();
        let method = if self.seed.one_in(20) { "health" } else { "connect" };
        let asked: Vec<&str> =
            params["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let client = self.clients.get_mut(&conn).unwrap();
        client.connect_id = Some(id.clone());
        // Without a device only who is on this machine keeps the scopes it asks for.
        let keeps = client.local || params["device"].is_object();
        client.sees_all = keeps && params["role"] != "node" && asked.contains(&"operator.admin");
        let text = match self.seed.below(25) {
            0 => "{".into(),
            1 => json!({ "type": "req", "id": id, "method": "" }).to_string(),
            _ => json!({ "type": "req", "id": id, "method": method, "params": params }).to_string(),
        };
        self.message(conn, &text);
    }

    fn connect_params(&mut self, nonce: &str) -> Value {
        let seed = &mut self.seed;
        let [low, high] = *seed.pick(&[[3, 3], [3, 4], [4, 4], [3, 3], [9, 9]]);
        let token = *seed.pick(&["right", "right", "right", "wrong"]);
        let (id, mode) =
            *seed.pick(&[("cli", "cli"), ("gateway-client", "backend"), ("webchat-ui", "webchat")]);
        let role = *seed.pick(&["operator", "operator", "operator", "node", "king"]);
        let scopes = seed.pick(&[json!(["operator.admin"]), json!(["operator.read"]), json!([])]).clone();
        let mut params = json!({
            "minProtocol": low, "maxProtocol": high, "role": role, "scopes": scopes, "auth": { "token": token },
            "client": { "id": id, "mode": mode, "version": "1", "platform": "linux" },
        });
        if seed.one_in(2) {
            params["commands"] = json!(["system.which", "system.run", "a"]);
        }
        if seed.one_in(12) {
            params["extra"] = json!(1);
        }
        if seed.one_in(2) {
            let key = Ed25519KeyPair::from_seed_unchecked(&[seed.below(3) as u8; 32]).unwrap();
            let public = key.public_key().as_ref();
            let nonce = if seed.one_in(10) { "stale" } else { nonce };
            params["device"] = json!({ "id": ids::sha256_hex(public), "publicKey": ids::base64url(public),
                "signature": "x", "signedAt": self.now.unix_ms, "nonce": nonce });
            if let Ok(typed) = serde_json::from_value::<ConnectParams>(params.clone()) {
                let device_id = typed.device.as_ref().unwrap().id.0.clone();
                let payload = signature_payload(2, &device_id, role, &typed);
                params["device"]["signature"] = ids::base64url(key.sign(payload.as_bytes()).as_ref()).into();
            }
        }
        params
    }

    fn ask(&mut self) {
        let Some(conn) = self.any(|it| it.connect_id.is_some() && !it.closed && !it.refused) else { return };
        let (rows, defs) = schemas();
        let (name, schema) = self.seed.pick(rows);
        let params = value_of(schema, defs, &mut self.seed, 0);
        let id = self.new_id();
        let method = if self.seed.one_in(15) { "no.such.method" } else { name };
        let mut request = json!({ "type": "req", "id": id, "method": method, "params": params });
        match self.seed.below(12) {
            0 => request["params"] = json!({ "unknown": [] }),
            1 => request["type"] = "res".into(),
            2 => request["more"] = 1.into(),
            3 if self.seed.one_in(4) => request["params"] = "x".repeat(PREAUTH_FRAME_BYTES_MAX).into(),
            _ => {}
        }
        // What a client sends behind its `connect` counts once that is accepted.
        self.clients.get_mut(&conn).unwrap().pending.insert(id);
        self.message(conn, &request.to_string());
    }

    fn say_nonsense(&mut self) {
        if let Some(conn) = self.any(|it| it.hello && !it.closed) {
            self.message(conn, "not JSON");
        }
    }

    fn flood(&mut self) {
        let Some(conn) = self.any(|it| it.hello && !it.closed) else { return };
        for _ in 0..=ERRORS_MAX {
            self.message(conn, "not JSON");
        }
        self.take();
        assert!(self.clients[&conn].closed, "a flood of errors is cut");
    }

    fn leave(&mut self) {
        let Some(conn) = self.any(|_| true) else { return };
        self.clients.remove(&conn);
        self.core.on_gone(conn, self.now);
    }

    /// Jobs of the pool run in any order, those of the store in theirs.
    fn run_job(&mut self) {
        let stored = self.seed.below(self.jobs.len() + self.store_jobs.len()) >= self.jobs.len();
        if let Some(job) = self.store_jobs.pop_front_if(|_| stored) {
            self.done.push(job(&mut self.stores));
        } else if !self.jobs.is_empty() {
            let at = self.seed.below(self.jobs.len());
            self.done.push(self.jobs.remove(at)());
        }
    }

    fn finish_job(&mut self) {
        if !self.done.is_empty() {
            let at = self.seed.below(self.done.len());
            let done = self.done.remove(at);
            self.core.on_done(done, self.now);
        }
    }

    fn take(&mut self) {
        for effect in self.core.take_effects() {
            assert_eq!(self.ended, None, "nothing behind the end");
            match effect {
                Effect::Send { conn, text } => self.told(conn, &serde_json::from_str(&text).unwrap()),
                Effect::Broadcast { to, text, .. } => {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    let seq = event["seq"].as_u64().expect("a broadcast has its number");
                    for conn in to {
                        let it = self.clients.get_mut(&conn).expect("nothing for who is gone");
                        assert!(it.hello && !it.closed);
                        let before = it.seq.replace(seq);
                        assert!(before.is_none_or(|it| it < seq), "numbers grow");
                        assert!(!it.sees_all || before.is_none_or(|it| it + 1 == seq), "by one");
                    }
                }
                Effect::Close { conn, .. } => {
                    let it = self.clients.get_mut(&conn).expect("nothing for who is gone");
                    assert!(!std::mem::replace(&mut it.closed, true), "closed once");
                }
                Effect::Authenticated { conn } => {
                    let it = self.clients.get_mut(&conn).expect("nothing for who is gone");
                    assert!(!it.authenticated && !it.closed && !it.refused);
                    it.authenticated = true;
                }
                Effect::Channel(_) => panic!("no channel is configured"),
                Effect::Run(start) => {
                    let key = start.task.session_key.clone();
                    assert!(self.runs.iter().all(|it| it.1 != key), "two runs in {key}");
                    self.runs.push((start.run, key, start.cancel));
                    assert!(self.runs.len() <= self.core.world.config.config.agents.max_concurrent);
                }
                Effect::Job(job) | Effect::Thread(job) => self.jobs.push(job),
                Effect::Store(job) => self.store_jobs.push_back(job),
                Effect::Admit { .. } | Effect::Answer { .. } | Effect::Stream { .. } => {
                    panic!("no HTTP request was made")
                }
                Effect::Piece { .. } | Effect::EndStream { .. } => panic!("no HTTP request was made"),
                Effect::TellDrained { .. } | Effect::Cut { .. } => panic!("no HTTP request was made"),
                Effect::WatchTree(_) => panic!("no page waits"),
                Effect::Watch(_) => {}
                Effect::End(end) => self.ended = Some(end),
            }
        }
        let hello = self.clients.values().filter(|it| it.hello).count();
        assert_eq!(self.core.ready, hello, "who is ready has heard so");
        assert!(self.core.clients.keys().all(|it| self.clients.contains_key(it)));
        assert!(self.core.calls_at_work <= self.jobs.len() + self.store_jobs.len() + self.done.len());
    }

    fn told(&mut self, conn: ConnId, frame: &Value) {
        let it = self.clients.get_mut(&conn).expect("nothing for who is gone");
        assert!(!it.closed && !it.refused, "nothing behind a close or a refusal: {frame}");
        if frame["type"] == "event" {
            assert!(frame.get("seq").is_none());
            match frame["event"].as_str() {
                Some("connect.challenge") if it.nonce.is_empty() => {
                    it.nonce = frame["payload"]["nonce"].as_str().unwrap().into();
                }
                name => assert!(it.hello, "{name:?} before hello-ok"),
            }
            return;
        }
        let id = frame["id"].as_str().unwrap();
        assert!(!it.nonce.is_empty());
        if it.hello {
            // A run is answered twice.
            let again = it.accepted.remove(id);
            assert!(again || it.pending.remove(id), "an answer to nobody's question: {frame}");
            if frame["payload"]["status"] == "accepted" {
                it.accepted.insert(id.to_owned());
            }
        } else {
            assert_eq!(Some(id), it.connect_id.as_deref());
            it.hello = frame["ok"] == true;
            it.refused = !it.hello;
            assert_eq!(it.hello, it.authenticated, "{frame}");
            assert!(!it.hello || frame["payload"]["type"] == "hello-ok");
            // Protocol 3 without scopes is the owner.
            it.sees_all |= it.hello && frame["payload"]["auth"]["scopes"] == json!(["operator.admin"]);
        }
    }

    /// All work ends, all clients go, and the core falls asleep.
    fn end(mut self) {
        let idle = |it: &Sim| {
            it.jobs.is_empty() && it.store_jobs.is_empty() && it.done.is_empty() && it.runs.is_empty()
        };
        while !idle(&self) && self.ended.is_none() {
            self.run_job();
            self.finish_job();
            if let Some((_, _, cancel)) = self.runs.first().cloned() {
                self.end_run(0, &cancel);
            }
            self.take();
        }
        if self.ended.is_some() {
            assert!(self.core.is_ending() && self.clients.values().all(|it| it.closed || !it.hello));
            return;
        }
        assert!(self.core.runs.is_empty(), "a run is left over");
        // Whoever waits for a run that never comes, for a node, or for an approval.
        self.pass(APPROVAL_MS);
        self.take();
        for it in self.clients.values().filter(|it| it.hello && !it.closed) {
            assert!(it.pending.is_empty(), "unanswered: {:?}", it.pending);
        }
        assert_eq!(self.core.calls_at_work, 0);
        while self.any(|_| true).is_some() {
            self.leave();
            self.take();
        }
        assert!(self.core.ready == 0 && self.core.clients.is_empty());
        for _ in 0..3 {
            self.pass(HEALTH_REFRESH_MS + TICK_MS);
            self.take();
        }
        assert_eq!(self.core.next_due(), None, "nobody is here, so nothing wakes");
    }
}

#[test]
fn many_days() {
    each_seed(150, |seed| {
        let mut sim = Sim::new(seed);
        for _ in 0..60 + sim.seed.below(200) {
            sim.step();
            if sim.ended.is_some() {
                break;
            }
        }
        sim.end();
    });
}

/// A client that asks to wait, goes, and comes again leaves nothing behind, whoever else waits meanwhile.
#[test]
fn waits_leave_no_timers_behind() {
    let home = crate::base::testing::TempDir::new();
    let now = Now { mono_ms: 1000, unix_ms: 1_795_000_000_000 };
    let mut core = core(&mut Seed(1), home.path(), Clock::start(), now);
    let before = core.timers.len();
    let wait = |core: &mut Core, slot: u32, ms: u64| {
        let asked = core.asked(ConnId { slot, generation: 0 }, json!("w"), "agent.wait".into(), now);
        assert_eq!(runs::wait::wait(core, "run", ms, &asked, now), Ok(None));
    };
    wait(&mut core, 0, 50_000);
    for _ in 0..1000 {
        wait(&mut core, 1, 86_400_000);
        runs::wait::on_gone(&mut core, ConnId { slot: 1, generation: 0 });
    }
    wait(&mut core, 2, 70_000);
    assert!(core.timers.len() <= before + 2, "{}", core.timers.len());
    // Those who are still there are answered in their time.
    for ms in [50_000, 70_000] {
        let due = core.timers.iter().find(|it| it.0.1 == Timer::RunWait).unwrap().0.0;
        assert_eq!(due, now.mono_ms + ms);
        core.on_time(Now { mono_ms: due, ..now });
    }
    assert!(core.timers.iter().all(|it| it.0.1 != Timer::RunWait));
}

/// Whoever asks to delete a session that does not come to rest, again and again, is told to come later.
#[test]
fn who_waits_for_a_session_to_rest_is_counted() {
    let home = crate::base::testing::TempDir::new();
    let now = Now { mono_ms: 1000, unix_ms: 1_795_000_000_000 };
    let mut core = core(&mut Seed(1), home.path(), Clock::start(), now);
    let request = runs::request::Request { key: "k".into(), run_id: "r".into(), ..Default::default() };
    let run = runs::reserve(&mut core, request.clone(), vec![]).unwrap();
    runs::accept::accept(&mut core, run, request, |_, _, _| {});
    let mut stores = Stores::new(home.path().join("accepted.jsonl"), Clock::start(), ids::os_entropy());
    for effect in core.take_effects() {
        if let Effect::Store(job) = effect {
            let done = job(&mut stores);
            core.on_done(done, now);
        }
    }
    let busy = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..RUN_WAITS_MAX + 5 {
        let busy = busy.clone();
        let then = move |_: &mut Core, done: Result<(), crate::protocol::error::RpcError>, _| {
            busy.fetch_add(usize::from(done.is_err()), std::sync::atomic::Ordering::Relaxed);
        };
        runs::abort::when_idle(&mut core, "k", runs::events::Stop::Deleted, now, Box::new(then));
    }
    assert_eq!(busy.load(std::sync::atomic::Ordering::Relaxed), 5);
    assert_eq!(core.timers.iter().filter(|it| it.0.1 == Timer::SessionIdle).count(), 1);
    core.on_time(Now { mono_ms: now.mono_ms + SESSION_IDLE_WAIT_MS, ..now });
    assert_eq!(busy.load(std::sync::atomic::Ordering::Relaxed), RUN_WAITS_MAX + 5);
}
