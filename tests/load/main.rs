//! Measures the built daemon from outside: its budgets, and its speed against a plain echo loop on the same connection code.
//!
//! ```text
//! load budget GATEWAYD BUDGET.toml   size, memory, threads, wake-ups; fails over a limit
//! load telegram GATEWAYD BUDGET.toml what a Telegram account costs; part of `budget`
//! load bench GATEWAYD ECHO           round trips and broadcast; ratios of one run
//! load runs GATEWAYD [REFERENCE]     what a model says, on its way to a client; beside the reference gateway when it is named
//! load hear PORT TOKEN PARAMS        calls `agent` and prints every frame until its last answer
//! load model REQUESTS                serves a model on a free port, which it prints; what it is asked is a line of the file
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program, not the daemon"
)]
mod bench;
mod budget;
mod model;
mod peer;
mod runs;
mod server;
mod telegram;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let passed = match words.as_slice() {
        ["budget", gatewayd, limits] => budget::run(gatewayd, limits),
        ["telegram", gatewayd, limits] => budget::telegram(gatewayd, limits),
        ["bench", gatewayd, echo] => bench::run(gatewayd, echo),
        ["runs", gatewayd] => runs::run(gatewayd, None),
        ["runs", gatewayd, reference] => runs::run(gatewayd, Some(reference)),
        ["hear", port, token, params] => hear(port.parse().unwrap(), token, params),
        ["model", requests] => {
            println!("{}", model::start(Some(requests.into())).port());
            loop {
                std::thread::park();
            }
        }
        _ => panic!("usage: see the head of tests/load/main.rs"),
    };
    std::process::exit(i32::from(!passed));
}

/// Prints the frames of one `agent` call.
fn hear(port: u16, token: &str, params: &str) -> bool {
    let mut peer = peer::Peer::operator(([127, 0, 0, 1], port).into(), token);
    let mut params: serde_json::Value = serde_json::from_str(params).unwrap();
    params["idempotencyKey"] = format!("hear-{}-{}", std::process::id(), model::micros()).into();
    peer.send(
        &serde_json::json!({ "type": "req", "id": "hear", "method": "agent", "params": params }).to_string(),
    );
    loop {
        let frame = peer.frame();
        println!("{frame}");
        if frame.contains(r#""id":"hear""#) && !frame.contains(r#""status":"accepted""#) {
            return true;
        }
    }
}
