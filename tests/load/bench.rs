//! Speed, as ratios against a plain echo loop on the same connection code in the same run.
use crate::peer::Peer;
use crate::server::{Server, TOKEN};
use std::time::{Duration, Instant};

const ROUND_TRIPS: u32 = 20_000;
const AUDIENCE: usize = 5_000;

pub fn run(gatewayd: &str, echo: &str) -> bool {
    gatewayd::base::sys::raise_fd_limit();
    let (gateway, echo) = (Server::gatewayd(gatewayd), Server::echo(echo));
    println!("{:24} {:>12} {:>12} {:>12} {:>8}", "", "gatewayd", "cpu/request", "echo", "ratio");
    for connections in [1, 64] {
        let request = r#"{"type":"req","id":"7","method":"health","params":{}}"#;
        let ours = open(connections, || Peer::connected(gateway.addr, TOKEN));
        let plain = open(connections, || Peer::open(echo.addr));
        let before = gateway.ticks();
        let took = round_trips(ours, request, "\"id\":\"7\"");
        let cpu = Duration::from_millis((gateway.ticks() - before) * 10) / ROUND_TRIPS;
        let base = round_trips(plain, request, "");
        row(&format!("health, {connections} connections"), took, cpu, base);
    }
    let mut plain = Peer::open(echo.addr);
    let base = time(|| {
        plain.send("x");
        plain.frame();
    });
    let mut http = Peer::http(gateway.addr);
    let before = gateway.ticks();
    let took = time(|| {
        http.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        http.http_response();
    });
    row(
        "/healthz, keep-alive",
        took,
        Duration::from_millis((gateway.ticks() - before) * 10) / ROUND_TRIPS,
        base,
    );
    broadcast(&gateway);
    true
}

fn row(name: &str, took: Duration, cpu: Duration, base: Duration) {
    println!(
        "{name:24} {took:>12.1?} {cpu:>12.1?} {base:>12.1?} {:>8.2}",
        took.as_secs_f64() / base.as_secs_f64()
    );
}

fn open(count: usize, one: impl Fn() -> Peer) -> Vec<Peer> {
    (0..count).map(|_| one()).collect()
}

/// All send, then all read: the mean time of one request with that many under way.
fn round_trips(mut peers: Vec<Peer>, request: &str, answer: &str) -> Duration {
    let rounds = ROUND_TRIPS / peers.len() as u32;
    let start = Instant::now();
    for _ in 0..rounds {
        peers.iter_mut().for_each(|it| it.send(request));
        peers.iter_mut().for_each(|it| drop(it.until(answer)));
    }
    start.elapsed() / (rounds * peers.len() as u32)
}

fn time(mut once: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..ROUND_TRIPS).for_each(|_| once());
    start.elapsed() / ROUND_TRIPS
}

/// From one client's word until the last of many has heard it.
fn broadcast(gateway: &Server) {
    let mut audience = open(AUDIENCE, || Peer::connected(gateway.addr, TOKEN));
    let mut speaker = Peer::connected(gateway.addr, TOKEN);
    let mut times: Vec<Duration> = (0..10)
        .map(|n| {
            let start = Instant::now();
            speaker.send(&format!(
                r#"{{"type":"req","id":"b","method":"talk.mode","params":{{"enabled":true,"phase":"p{n}"}}}}"#
            ));
            audience.iter_mut().for_each(|it| drop(it.until(&format!("\"p{n}\""))));
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{:24} {:>12.1?} ({:.1?} a client)",
        format!("broadcast to {AUDIENCE}"),
        times[5],
        times[5] / AUDIENCE as u32
    );
}
