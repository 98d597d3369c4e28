//! Measures the built daemon from outside: its budgets, and its speed against a plain echo loop on the same connection code.
//!
//! ```text
//! load budget GATEWAYD BUDGET.toml   size, memory, threads, wake-ups; fails over a limit
//! load bench GATEWAYD ECHO           round trips and broadcast; ratios of one run
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program, not the daemon"
)]
mod bench;
mod budget;
mod peer;
mod server;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let passed = match words.as_slice() {
        ["budget", gatewayd, limits] => budget::run(gatewayd, limits),
        ["bench", gatewayd, echo] => bench::run(gatewayd, echo),
        _ => panic!("usage: load budget GATEWAYD BUDGET.toml | load bench GATEWAYD ECHO"),
    };
    std::process::exit(i32::from(!passed));
}
