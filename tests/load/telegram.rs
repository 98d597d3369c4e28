//! What a Telegram account costs: a Bot API that holds polls, and one that has much to say.
use crate::server::Server;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub const BOT: &str = "123456:measured";
/// Longer than what a gateway takes for a server that does not hold polls.
const HOLD: Duration = Duration::from_millis(1_500);
const POLLS: u64 = 10;
const UPDATES: i64 = 10_000;
/// Each has a conversation of its own.
const PEOPLE: i64 = 200;

#[derive(Default)]
struct State {
    /// Updates that are there.
    updates: i64,
    /// Those that the gateway is done with.
    taken: i64,
    polls: u64,
    sent: i64,
}

#[derive(Clone, Default)]
struct Api(Arc<(Mutex<State>, Condvar)>);

/// KiB that an account adds, times that the process is put on a processor for a poll, and KiB that many updates add at most.
pub struct Cost {
    pub account_kib: u64,
    pub wake_ups_a_poll: u64,
    pub drain_kib: u64,
    /// The same of the first thousand.
    pub first_kib: u64,
}

pub fn measure(gatewayd: &str, without_kib: u64) -> Cost {
    let (api, addr) = Api::start(0);
    let server = Server::with_telegram(gatewayd, addr);
    api.wait(|it| it.polls >= 3);
    let idle_kib = server.anonymous_kib();
    let (polls, wake_ups) = (api.polls(), server.wake_ups());
    api.wait(|it| it.polls >= polls + POLLS);
    let wake_ups_a_poll = (server.wake_ups() - wake_ups).div_ceil(POLLS);
    drop(server);
    let (api, addr) = Api::start(UPDATES);
    let server = Server::with_telegram(gatewayd, addr);
    let (mut most_kib, mut first_kib) = (0, 0);
    loop {
        let sent = api.0.0.lock().unwrap().sent;
        most_kib = server.anonymous_kib().max(most_kib);
        if sent < 1_000 {
            first_kib = most_kib;
        } else if sent >= UPDATES {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Cost {
        account_kib: idle_kib.saturating_sub(without_kib),
        wake_ups_a_poll,
        drain_kib: most_kib.saturating_sub(idle_kib),
        first_kib: first_kib.saturating_sub(idle_kib),
    }
}

impl Api {
    fn start(updates: i64) -> (Api, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let api = Api::default();
        api.0.0.lock().unwrap().updates = updates;
        let server = api.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, server) = (socket.unwrap(), server.clone());
                std::thread::spawn(move || drop(server.serve(socket)));
            }
        });
        (api, addr)
    }
    fn polls(&self) -> u64 {
        self.0.0.lock().unwrap().polls
    }
    fn wait(&self, test: impl Fn(&State) -> bool) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |it| !test(it)).unwrap());
    }
    fn serve(&self, socket: TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let (mut reader, mut socket) = (BufReader::new(socket.try_clone()?), socket);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if let Some(it) = line.to_lowercase().strip_prefix("content-length:") {
                    length = it.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let params: Value = serde_json::from_slice(&body).unwrap_or_default();
            let method = head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
            let body = json!({ "ok": true, "result": self.method(method, &params) }).to_string();
            // In one piece, as a server does.
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes())?;
        }
    }
    fn method(&self, method: &str, params: &Value) -> Value {
        let mut state = self.0.0.lock().unwrap();
        match method {
            "getMe" => json!({ "id": 123_456, "is_bot": true, "username": "measured" }),
            "getUpdates" => {
                state.taken = params["offset"].as_i64().map_or(state.taken, |it| it - 1);
                let limit = params["limit"].as_i64().unwrap().min(state.updates - state.taken);
                let first = state.taken + 1;
                if limit == 0 && params["timeout"].as_i64() > Some(0) {
                    drop(state);
                    let until = Instant::now() + HOLD;
                    std::thread::sleep(until.saturating_duration_since(Instant::now()));
                    state = self.0.0.lock().unwrap();
                }
                state.polls += 1;
                self.0.1.notify_all();
                (first..first + limit).map(update).collect()
            }
            "sendMessage" => {
                state.sent += 1;
                json!({ "message_id": UPDATES + state.sent })
            }
            _ => true.into(),
        }
    }
}

fn update(number: i64) -> Value {
    let person = number % PEOPLE + 1;
    let text = format!("message {number}: {}", "words that somebody has written. ".repeat(8));
    json!({ "update_id": number, "message": {
        "message_id": number, "date": 1_795_000_000, "text": text, "chat": { "id": person, "type": "private" },
        "from": { "id": person, "is_bot": false, "first_name": "P" },
    } })
}
