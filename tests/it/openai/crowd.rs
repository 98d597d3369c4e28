//! Many at a time.
use super::line::Line;
use super::{CHAT, on};
use crate::harness::Server;
use crate::model_server::ModelServer;
use crate::runs::talk;
use serde_json::json;
use std::sync::{Arc, Barrier};

const STREAMS: usize = 100;

fn rss_kib(pid: u32) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A hundred streams, all open at one time, in less memory than the original takes to start.
#[test]
fn a_hundred_streams() {
    let all_there = Arc::new(Barrier::new(STREAMS));
    let there = all_there.clone();
    let model = ModelServer::playing(move |mut asked| {
        asked.say("first ");
        // Nobody goes on before everybody has begun.
        there.wait();
        for n in 0..20 {
            asked.say(&format!("{n} "));
        }
        asked.end();
    });
    let many = json!({ "agents": { "defaults": { "maxConcurrent": STREAMS } } });
    let server = Server::start(&talk::with_model(&model.base_url(), &on(&many)));
    let before = rss_kib(server.pid);
    let mut lines: Vec<Line> = (0..STREAMS).map(|_| Line::open(&server)).collect();
    for line in &mut lines {
        line.post(
            CHAT,
            "",
            &json!({ "stream": true, "messages": [{ "role": "user", "content": "hi" }] }).to_string(),
        );
    }
    let want: String = "first ".to_owned() + &(0..20).map(|n| format!("{n} ")).collect::<String>();
    for line in &mut lines {
        let events = line.answer().events();
        let words = events.iter().filter_map(|it| it["choices"][0]["delta"]["content"].as_str());
        assert_eq!(words.collect::<String>(), want);
        assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }
    let grown = rss_kib(server.pid) - before;
    assert!(grown < 64 * 1024, "{grown} KiB for {STREAMS} streams");
}
