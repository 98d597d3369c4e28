//! A model server that does what the test says, word by word: Chat Completions, streamed, over plain sockets.
//!
//! ```text
//! let model = ModelServer::start();
//! let mut asked = model.asked();           // the next request, whole; the gateway waits
//! asked.say("Hello");                      // a piece of the answer
//! asked.end();                             // or refuse(), reset(), drop it: the connection ends in the middle
//! ```
use crate::harness::DEADLINE;
use crate::socket::Socket;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

pub struct ModelServer {
    pub addr: SocketAddr,
    asked: Receiver<Asked>,
}

/// One request; its answer is up to who holds it.
pub struct Asked {
    pub head: String,
    pub body: Value,
    socket: TcpStream,
    begun: bool,
}

/// What an answer costs when the test does not say.
pub fn usage(prompt: u64, completion: u64) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}

impl ModelServer {
    /// The test answers: see [`ModelServer::asked`].
    pub fn start() -> ModelServer {
        let (to, asked) = channel();
        let addr = serve(move |it| drop(to.send(it)));
        ModelServer { addr, asked }
    }
    /// Answers by itself, each request on a thread.
    pub fn playing(play: impl Fn(Asked) + Send + Sync + 'static) -> ModelServer {
        let addr = serve(play);
        ModelServer { addr, asked: channel().1 }
    }
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }
    /// The next request.
    pub fn asked(&self) -> Asked {
        self.asked.recv_timeout(DEADLINE).expect("the model is asked")
    }
    /// A request that has arrived by now.
    pub fn asked_already(&self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }
}

fn serve(play: impl Fn(Asked) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let play = Arc::new(play);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, play) = (socket.unwrap(), play.clone());
            // A gateway that is killed in the middle of its request asks nothing.
            std::thread::spawn(move || {
                if let Some(it) = read(socket) {
                    play(it);
                }
            });
        }
    });
    addr
}

fn read(mut socket: TcpStream) -> Option<Asked> {
    socket.set_nodelay(true).ok()?;
    let (mut bytes, mut part) = (vec![], [0; 65536]);
    loop {
        let n = socket.read(&mut part).ok().filter(|it| *it > 0)?;
        bytes.extend_from_slice(&part[..n]);
        let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length: usize =
            head.lines().find_map(|it| it.strip_prefix("content-length: "))?.trim().parse().ok()?;
        if let Some(body) = bytes.get(end + 4..end + 4 + length) {
            let body = serde_json::from_slice(body).unwrap();
            return Some(Asked { head, body, socket, begun: false });
        }
    }
}

impl Asked {
    /// `role: text` of every message but the system's, as the model is told them.
    pub fn told(&self) -> Vec<String> {
        let all = self.body["messages"].as_array().unwrap().iter();
        let line = |it: &Value| {
            let calls = it["tool_calls"].as_array().into_iter().flatten();
            let calls: String = calls.map(|it| format!(" [calls {}]", it["function"]["name"])).collect();
            format!("{}: {}{calls}", it["role"].as_str().unwrap(), text(&it["content"]))
        };
        all.filter(|it| it["role"] != "system").map(line).collect()
    }
    pub fn system(&self) -> String {
        let first = &self.body["messages"][0];
        assert_eq!(first["role"], "system");
        text(&first["content"])
    }
    /// The person's newest words, without the time they were said. Questions that were left without an answer stand before them.
    pub fn words(&self) -> String {
        let all = self.body["messages"].as_array().unwrap();
        let last = all.iter().rfind(|it| it["role"] == "user").map(|it| text(&it["content"]));
        without_stamp(last.unwrap_or_default().rsplit(" | ").next().unwrap_or_default())
    }
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap()
    }
    /// Bytes as they are. Whether they were taken: a gateway that has hung up takes no more.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }
    fn event(&mut self, event: &Value) {
        if !std::mem::replace(&mut self.begun, true) {
            self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
        }
        self.raw(format!("data: {event}\n\n").as_bytes());
    }
    pub fn say(&mut self, text: &str) {
        self.event(&json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }));
    }
    pub fn call(&mut self, id: &str, name: &str, arguments: &Value) {
        let function = json!({ "name": name, "arguments": arguments.to_string() });
        let call = json!({ "index": 0, "id": id, "type": "function", "function": function });
        self.event(&json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] }));
    }
    pub fn end(self) {
        self.end_with("stop", &usage(11, 7));
    }
    pub fn end_with(mut self, finish_reason: &str, usage: &Value) {
        self.event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": finish_reason }] }));
        self.event(&json!({ "choices": [], "usage": usage }));
        self.raw(b"data: [DONE]\n\n");
    }
    /// All of it in one go.
    pub fn answer(mut self, text: &str) {
        self.say(text);
        self.end();
    }
    pub fn refuse(mut self, status: u16, headers: &str, message: &str) {
        let body = json!({ "error": { "message": message } }).to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} No\r\n{headers}content-type: application/json\r\n");
        self.raw(format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}").as_bytes());
    }
    /// Closes with RST.
    #[expect(unsafe_code, reason = "std has no stable way to set SO_LINGER")]
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let (at, size) = (std::ptr::from_ref(&linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
        // SAFETY: the pointer and its size are those of a live value of the type that SO_LINGER takes.
        let ok =
            unsafe { libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, size) };
        assert_eq!(ok, 0);
    }
    /// Waits until the gateway has hung up.
    pub fn until_closed(self) {
        let mut socket = Socket::of(self.socket).unwrap();
        let mut part = [0; 64];
        loop {
            match socket.read(&mut part) {
                Ok(0) => return,
                Ok(_) => {}
                Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(err) => panic!("the gateway does not hang up: {err}"),
            }
        }
    }
}

fn text(content: &Value) -> String {
    match content {
        Value::String(it) => it.clone(),
        Value::Array(parts) => {
            let part = |it: &Value| match it["type"].as_str() {
                Some("text") => it["text"].as_str().unwrap().to_owned(),
                other => format!("<{}>", other.unwrap_or("?")),
            };
            parts.iter().map(part).collect::<Vec<_>>().join(" | ")
        }
        _ => String::new(),
    }
}

/// `[Tue 2026-11-24 07:06 UTC] hello` is `hello`, and what was put in front of that is gone too.
pub fn without_stamp(text: &str) -> String {
    let text = text.rsplit_once("\n\n[").map_or(text, |it| &text[it.0.len() + 2..]);
    let rest = text.strip_prefix('[').and_then(|it| it.split_once("] ")).filter(|it| it.0.contains(':'));
    rest.map_or(text, |it| it.1).to_owned()
}
