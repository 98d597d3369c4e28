//! What the tests of runs share: a gateway with a model server, and a client that remembers every frame in its order.
use crate::client::Client;
use crate::harness::{Home, Server, config};
use crate::model_server::ModelServer;
use serde_json::{Value, json};
use std::path::PathBuf;

pub const MAIN: &str = "agent:main:main";

/// A configuration whose first model is `mock/mock-1`, and whose second `mock/mock-2`.
pub fn with_model(base_url: &str, changes: &Value) -> Value {
    let mut it = config();
    let model = |id: &str| json!({ "id": id, "name": id, "contextWindow": 128000, "maxTokens": 4096, "input": ["text", "image"] });
    let provider = json!({ "baseUrl": base_url, "api": "openai-completions", "apiKey": "key-mock",
        "models": [model("mock-1"), model("mock-2")] });
    it["models"] = json!({ "providers": { "mock": provider } });
    it["agents"] = json!({ "defaults": { "model": { "primary": "mock/mock-1" }, "userTimezone": "UTC", "skipBootstrap": true } });
    crate::client::merge(&mut it, changes);
    it
}

/// A gateway and the model server that it asks.
pub fn pair(changes: &Value) -> (ModelServer, Server) {
    let model = ModelServer::start();
    let server = Home::new(&with_model(&model.base_url(), changes)).start(&[]);
    (model, server)
}

/// A client and all that it was told, in order.
pub struct Talk {
    client: Client,
    pub log: Vec<Value>,
}

impl Talk {
    pub fn new(server: &Server) -> Talk {
        Talk::with(server, &json!({}))
    }
    pub fn with(server: &Server, params: &Value) -> Talk {
        Talk::over(Client::connect(server, params))
    }
    pub fn over(client: Client) -> Talk {
        Talk { client, log: vec![] }
    }
    /// Sends, and waits for nothing.
    pub fn ask(&mut self, id: &str, method: &str, params: &Value) {
        self.client.send(&json!({ "type": "req", "id": id, "method": method, "params": params }).to_string());
    }
    fn read(&mut self) {
        let frame = self.client.frame();
        // These come when they come.
        if !matches!(frame["event"].as_str(), Some("health" | "tick" | "presence")) {
            self.log.push(frame);
        }
    }
    /// The place in the log of the `nth` frame that fits, from 1; waits for it.
    pub fn place(&mut self, nth: usize, fits: impl Fn(&Value) -> bool) -> usize {
        let mut from = 0;
        let mut found = 0;
        loop {
            while let Some(frame) = self.log.get(from) {
                found += usize::from(fits(frame));
                if found == nth && fits(frame) {
                    return from;
                }
                from += 1;
            }
            self.read();
        }
    }
    pub fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let at = self.place(1, fits);
        self.log[at].clone()
    }
    /// The first answer to a request.
    pub fn answer(&mut self, id: &str) -> Value {
        self.find(|it| it["id"] == id)
    }
    /// The second answer to a request.
    pub fn outcome(&mut self, id: &str) -> Value {
        let at = self.place(2, |it| it["id"] == id);
        self.log[at].clone()
    }
    /// Asks, and waits for the answer.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = format!("call-{}", self.log.len());
        self.ask(&id, method, params);
        self.answer(&id)
    }
    /// `chat.send` into the main session, answered `started`.
    pub fn say(&mut self, run: &str, message: &str) {
        self.say_in(MAIN, run, message);
    }
    pub fn say_in(&mut self, session: &str, run: &str, message: &str) {
        let params = json!({ "sessionKey": session, "message": message, "idempotencyKey": run });
        let answer = self.call("chat.send", &params);
        assert_eq!(answer["payload"], json!({ "runId": run, "status": "started" }), "{answer}");
    }
    /// `agent` in the main session, answered `accepted`; the id of the request is the run's.
    pub fn order(&mut self, run: &str, message: &str) {
        self.ask(run, "agent", &json!({ "sessionKey": MAIN, "message": message, "idempotencyKey": run }));
        let answer = self.answer(run);
        assert_eq!(answer["payload"]["status"], "accepted", "{answer}");
    }
    /// The payload of the first `chat` event of a run in a state.
    pub fn chat(&mut self, run: &str, state: &str) -> Value {
        self.find(|it| is_chat(it, run, state))["payload"].clone()
    }
    /// The text that a run's `chat` final shows.
    pub fn final_text(&mut self, run: &str) -> String {
        let ended = |it: &Value| ["final", "error", "aborted"].iter().any(|state| is_chat(it, run, state));
        let event = self.find(ended)["payload"].clone();
        assert_eq!(event["state"], "final", "{event}");
        event["message"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    }
    /// The payload of the first `agent` event of a run's lifecycle in a phase.
    pub fn phase(&mut self, run: &str, phase: &str) -> Value {
        self.find(|it| is_phase(it, run, phase))["payload"].clone()
    }
    /// All that was sent before now has come.
    pub fn settle(&mut self) {
        self.call("connect", &json!({}));
        self.log.pop();
    }
    /// How many frames of the log fit.
    pub fn count(&self, fits: impl Fn(&Value) -> bool) -> usize {
        self.log.iter().filter(|it| fits(it)).count()
    }
    /// Says something and has it answered: the session is free. What the model was told.
    pub fn still_works(&mut self, model: &ModelServer, run: &str) -> Vec<String> {
        self.say(run, &format!("{run}?"));
        let asked = model.asked();
        assert_eq!(asked.words(), format!("{run}?"));
        let told = asked.told();
        asked.answer("still here");
        assert_eq!(self.final_text(run), "still here");
        told
    }
}

pub fn is_chat(frame: &Value, run: &str, state: &str) -> bool {
    frame["event"] == "chat" && frame["payload"]["runId"] == run && frame["payload"]["state"] == state
}

pub fn is_phase(frame: &Value, run: &str, phase: &str) -> bool {
    let it = &frame["payload"];
    frame["event"] == "agent"
        && it["stream"] == "lifecycle"
        && it["runId"] == run
        && it["data"]["phase"] == phase
}

fn sessions(home: &Home) -> PathBuf {
    home.state().join("agents/main/sessions")
}

/// An entry of the store, as it is on disk now.
pub fn entry(home: &Home, key: &str) -> Value {
    let text = std::fs::read_to_string(sessions(home).join("sessions.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[key].clone()
}

/// The lines of a session's transcript, as they are on disk now; none when there is no session.
pub fn transcript(home: &Home, key: &str) -> Vec<Value> {
    let Some(id) = entry(home, key)["sessionId"].as_str().map(str::to_owned) else { return vec![] };
    let text = std::fs::read_to_string(sessions(home).join(format!("{id}.jsonl"))).unwrap_or_default();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// The messages of a session on disk, `role: text`, without the time of the person's words; an answer that did not end well says so.
pub fn said(home: &Home, key: &str) -> Vec<String> {
    let lines = transcript(home, key);
    let messages = lines.iter().filter(|it| it["type"] == "message").map(|it| &it["message"]);
    let text = |it: &Value| {
        let parts = it["content"].as_array().into_iter().flatten();
        let texts: Vec<&str> = parts.filter_map(|it| it["text"].as_str()).collect();
        crate::model_server::without_stamp(&texts.join(" "))
    };
    let line = |it: &Value| match it["stopReason"].as_str() {
        None | Some("stop") => format!("{}: {}", it["role"].as_str().unwrap(), text(it)),
        Some(why) => format!("{}: {} ({why})", it["role"].as_str().unwrap(), text(it)),
    };
    messages.map(line).collect()
}
