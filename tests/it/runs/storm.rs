//! Reliability plan R6: killed at random, over and over, while people talk. `GATEWAYD_SLOW=1` plays 300 lives, `GATEWAYD_SEED` others.
use super::talk::{said, with_model};
use crate::client::{Came, Client};
use crate::harness::{DEADLINE, Home, Server};
use crate::model_server::ModelServer;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[test]
fn killed_again_and_again() {
    let slow = std::env::var_os("GATEWAYD_SLOW").is_some();
    let seed = std::env::var("GATEWAYD_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    Storm::new(seed).play(if slow { 300 } else { 8 });
}

struct Storm {
    seed: u64,
    server: Option<Server>,
    home: Option<Home>,
    slowest: Duration,
    /// What was said, by run id; whether that was acknowledged.
    said: HashMap<String, (String, bool)>,
    next: usize,
}

const SESSIONS: [&str; 3] = ["agent:main:s0", "agent:main:s1", "agent:main:s2"];

impl Storm {
    fn new(seed: u64) -> Storm {
        let model = ModelServer::playing(|mut asked| {
            let words = asked.words();
            asked.say("to ");
            asked.say(&words);
            asked.end();
        });
        let home = Home::new(&with_model(&model.base_url(), &json!({})));
        Storm { seed, server: None, home: Some(home), slowest: Duration::ZERO, said: HashMap::new(), next: 0 }
    }
    fn below(&mut self, n: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % n
    }
    fn start(&mut self) -> Client {
        let begin = Instant::now();
        let server = self.home.take().unwrap().start(&[]);
        self.slowest = self.slowest.max(begin.elapsed());
        let client = Client::connect(&server, &json!({}));
        self.server = Some(server);
        client
    }
    /// Something new, or something that may be known already.
    fn ask(&mut self, client: &mut Client) {
        let again = self.below(4) == 0 && self.next > 0;
        let n = if again { self.below(self.next as u64) as usize } else { self.next };
        self.next = self.next.max(n + 1);
        let run = format!("run-{n}");
        let session = SESSIONS[n % 3];
        let text = format!("message {n} in {session}");
        let method = if n % 4 == 0 { "agent" } else { "chat.send" };
        let params = json!({ "sessionKey": session, "message": text, "idempotencyKey": run });
        client.send(&json!({ "type": "req", "id": run, "method": method, "params": params }).to_string());
        self.said.entry(run).or_insert((text, false));
    }
    fn heard(&mut self, frame: &Value) {
        let acknowledged = frame["ok"] == true && frame["payload"]["runId"].is_string();
        if let Some(it) = frame["id"].as_str().and_then(|it| self.said.get_mut(it)) {
            it.1 |= acknowledged;
        }
    }
    fn life(&mut self) {
        let mut client = self.start();
        let end = Instant::now() + Duration::from_millis(self.below(500));
        while Instant::now() < end {
            if self.below(12) == 0 {
                self.ask(&mut client);
            }
            let soon = Instant::now() + Duration::from_micros(self.below(8_000));
            if let Some(frame) = client.frame_by(soon.min(end)) {
                self.heard(&frame);
            }
        }
        let server = self.server.take().unwrap();
        server.signal(libc::SIGKILL);
        // What was on its way counts as heard.
        while let Came::Frame(frame) = client.next() {
            self.heard(&frame);
        }
        self.home = Some(server.crash());
    }
    #[expect(clippy::print_stdout, reason = "the figures are what it is for")]
    fn play(mut self, lives: usize) {
        (0..lives).for_each(|_| self.life());
        let mut client = self.start();
        let acknowledged: Vec<String> = self.said.iter().filter(|it| it.1.1).map(|it| it.0.clone()).collect();
        // The last one of a session comes last.
        for session in SESSIONS {
            let params = json!({ "sessionKey": session, "message": "last", "idempotencyKey": session });
            // As many wait as may: until one of them is done.
            while client.call("agent", &params)["ok"] != true {
                client.event("chat");
            }
        }
        for session in SESSIONS {
            let wait = json!({ "runId": session, "timeoutMs": DEADLINE.as_millis() as u64 / 2 });
            while client.call("agent.wait", &wait)["payload"]["status"] == "timeout" {
                assert!(client.events.iter().any(|it| it["event"] == "chat"), "nothing goes on");
                client.events.clear();
            }
        }
        let server = self.server.take().unwrap();
        let mut given_up = 0;
        for (n, session) in SESSIONS.iter().enumerate() {
            // Every line can be read.
            let lines = said(&server.home, session);
            let times = |line: String| lines.iter().filter(|it| **it == line).count();
            let here = self.said.iter().filter(|it| it.0[4..].parse::<usize>().unwrap() % 3 == n);
            for (run, (text, acknowledged)) in here {
                let (asked, answered) =
                    (times(format!("user: {text}")), times(format!("assistant: to {text}")));
                let at = lines.iter().position(|it| *it == format!("user: {text}"));
                let refused = at.and_then(|it| lines.get(it + 1)).is_some_and(|it| it.ends_with("(error)"));
                given_up += usize::from(refused);
                let right = match acknowledged {
                    true => asked == 1 && answered + usize::from(refused) == 1,
                    false => asked <= 1 && answered <= 1,
                };
                assert!(right, "{run}: asked {asked}, answered {answered}\n{lines:#?}");
            }
        }
        let (known, slowest) = (acknowledged.len(), self.slowest);
        println!(
            "{lives} lives, {known} of {} messages acknowledged, {given_up} given up, slowest start {slowest:?}",
            self.said.len()
        );
        assert!(known > lives / 2, "{known} of {}", self.said.len());
    }
}
