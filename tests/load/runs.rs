//! Runs: from the write of a model server to the frame of a client, beside the reference gateway in the same run.
use crate::model;
use crate::peer::Peer;
use crate::server::{Server, TOKEN};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DELTAS: u64 = 1_000;
/// Between two deltas: 400 a second, faster than any model that people pay for.
const PAUSE_MICROS: u64 = 2_500;
const ROUNDS: u64 = 5;
const PARALLEL: u64 = 16;
const COMPLETIONS: usize = 100;

/// What one gateway was measured at.
#[derive(Default)]
struct Measured {
    /// From the write of a delta to the `agent` frame that shows it, in microseconds.
    agent: Vec<u64>,
    /// The same for `chat` frames, of which there is one in 150 ms.
    chat: Vec<u64>,
    /// A completion over HTTP, not streamed, and the same of the model's server alone, in microseconds.
    whole: Vec<u64>,
    alone: Vec<u64>,
    frames: u64,
    cpu_ms: u64,
    rss: [u64; 3],
    text: u64,
}

pub fn run(gatewayd: &str, reference: Option<&str>) -> bool {
    let stub = model::start(None);
    let mut servers = vec![("gatewayd", Server::with_model(gatewayd, stub, true), Measured::default())];
    match reference {
        Some(it) => servers.push(("reference", Server::with_model(it, stub, false), Measured::default())),
        None => println!("the reference: skipped, it is not named"),
    }
    for (_, server, _) in &servers {
        ask(&mut Peer::operator(server.addr, TOKEN), "warm", 100, 0);
    }
    for round in 0..ROUNDS {
        for (_, server, it) in &mut servers {
            let before = server.ticks();
            let heard =
                ask(&mut Peer::operator(server.addr, TOKEN), &format!("one-{round}"), DELTAS, PAUSE_MICROS);
            it.cpu_ms += (server.ticks() - before) * 10;
            it.frames += heard.frames;
            it.agent.extend(heard.agent);
            it.chat.extend(heard.chat);
        }
    }
    for (_, server, it) in &mut servers {
        parallel(server, it);
    }
    for _ in 0..COMPLETIONS {
        for (_, server, it) in &mut servers {
            it.alone.push(completion(stub, ""));
            it.whole.push(completion(server.addr, TOKEN));
        }
    }
    let (ours, theirs) = (&servers[0].2, servers.get(1).map(|it| &it.2));
    println!("{:44} {:>12} {:>12} {:>8}", "", "gatewayd", "reference", "ratio");
    let row = |name: &str, of: &dyn Fn(&Measured) -> f64| {
        let other = theirs.map(of);
        let told = other.map_or(String::new(), |it| format!("{it:>12.1} {:>8.3}", of(ours) / it));
        println!("{name:44} {:>12.1} {told}", of(ours));
    };
    row("delta to agent frame, median us", &|it| percentile(&it.agent, 50));
    row("delta to agent frame, p99 us", &|it| percentile(&it.agent, 99));
    row("delta to chat frame, median us", &|it| percentile(&it.chat, 50));
    row("delta to chat frame, p99 us", &|it| percentile(&it.chat, 99));
    row("a whole completion over HTTP, median us", &|it| percentile(&it.whole, 50));
    row("of that the gateway, median us", &|it| percentile(&it.whole, 50) - percentile(&it.alone, 50));
    row("agent frames for 1000 deltas", &|it| (it.frames / ROUNDS) as f64);
    row("CPU ms for 1000 deltas", &|it| it.cpu_ms as f64 / ROUNDS as f64);
    row("RSS before, KiB", &|it| it.rss[0] as f64);
    row(&format!("RSS at most, {PARALLEL} streams, KiB"), &|it| it.rss[1] as f64);
    row("RSS after, KiB", &|it| it.rss[2] as f64);
    row("RSS a stream, KiB", &|it| it.rss[1].saturating_sub(it.rss[0]) as f64 / PARALLEL as f64);
    row("text of a stream, KiB", &|it| it.text as f64 / 1024.0);
    true
}

fn percentile(values: &[u64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).map_or(f64::NAN, |it| *it as f64)
}

/// What a client heard of a run.
#[derive(Default)]
struct Heard {
    agent: Vec<u64>,
    chat: Vec<u64>,
    frames: u64,
    text: u64,
}

fn request(name: &str, count: u64, pause: u64) -> String {
    format!(
        r#"{{"type":"req","id":"{name}","method":"agent","params":{{"message":"ticks {count} {pause}","sessionKey":"agent:main:{name}","idempotencyKey":"{name}-{}","deliver":false}}}}"#,
        model::micros()
    )
}

fn ask(peer: &mut Peer, name: &str, count: u64, pause: u64) -> Heard {
    peer.send(&request(name, count, pause));
    let heard = listen(peer, 1);
    assert_eq!(heard.agent.len() as u64, count, "deltas were lost");
    heard
}

/// Until that many runs have been answered.
fn listen(peer: &mut Peer, runs: u64) -> Heard {
    let (mut heard, mut ended, mut seen) = (Heard::default(), 0, 0);
    while ended < runs {
        let frame = peer.frame();
        let now = model::micros();
        let value = |name: &str| frame.rsplit_once(&format!("\"{name}\":\""))?.1.split('"').next();
        let since = |it: &str| Some(now - it.parse::<u64>().ok()?);
        if frame.contains("\"event\":\"agent\"") {
            if let Some(delta) = value("delta") {
                heard.frames += 1;
                heard.text = heard.text.max(value("text").map_or(0, str::len) as u64);
                heard.agent.extend(delta.split(' ').filter_map(since));
            }
        } else if frame.contains("\"event\":\"chat\"") && frame.contains("\"state\":\"delta\"") {
            // What is new in it; one that begins anew belongs to another run.
            let ticks: Vec<u64> =
                value("text").unwrap_or_default().split(' ').filter_map(|it| it.parse().ok()).collect();
            heard.chat.extend(ticks.iter().filter(|it| **it > seen).map(|it| now - it));
            seen = ticks.last().copied().unwrap_or(seen);
        } else if frame.contains("\"type\":\"res\"") && !frame.contains("\"status\":\"accepted\"") {
            assert!(frame.contains("\"ok\":true"), "{frame}");
            ended += 1;
        }
    }
    heard
}

/// From the connection to its end, in microseconds. The model's server gives no other answer than a streamed one.
fn completion(addr: SocketAddr, token: &str) -> u64 {
    let body = r#"{"model":"openclaw","tools":[{"type":"function","function":{"name":"look"}}],"messages":[{"role":"user","content":"ticks 1 0"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let begun = Instant::now();
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("stop"), "{answer}");
    begun.elapsed().as_micros() as u64
}

fn parallel(server: &Server, it: &mut Measured) {
    let mut peer = Peer::operator(server.addr, TOKEN);
    let over = AtomicBool::new(false);
    it.rss[0] = server.rss_kib();
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Acquire) {
                most = most.max(server.rss_kib());
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        for n in 0..PARALLEL {
            peer.send(&request(&format!("parallel-{n}"), DELTAS, 4 * PAUSE_MICROS));
        }
        it.text = listen(&mut peer, PARALLEL).text;
        over.store(true, Ordering::Release);
        it.rss[1] = watching.join().unwrap();
    });
    drop(peer);
    std::thread::sleep(Duration::from_secs(2));
    it.rss[2] = server.rss_kib();
}
