//! A HTTP client that reads an answer as it comes.
use crate::harness::{DEADLINE, Server, TOKEN};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

pub struct Line {
    socket: BufReader<TcpStream>,
}

/// The head of an answer, and what has come of its body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }
    /// The message of an error.
    pub fn told(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
    /// The data of a stream's events, without its end, which must be there.
    pub fn events(&self) -> Vec<Value> {
        let mut data: Vec<&str> = self.body.split("\n\n").filter(|it| !it.is_empty()).collect();
        assert_eq!(data.pop(), Some("data: [DONE]"), "{}", self.body);
        data.iter().map(|it| serde_json::from_str(it.split_once("data: ").unwrap().1).unwrap()).collect()
    }
}

impl Line {
    pub fn open(server: &Server) -> Line {
        let socket = TcpStream::connect(server.addr()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Line { socket: BufReader::new(socket) }
    }
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }
    /// What may be refused before all of it has left.
    pub fn send_gladly(&mut self, bytes: &[u8]) {
        let _ = self.socket.get_mut().write_all(bytes);
    }
    /// As the owner.
    pub fn post(&mut self, path: &str, headers: &str, body: &str) {
        self.send(post(path, headers, body).as_bytes());
    }
    /// Up to the body.
    pub fn head(&mut self) -> Answer {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = vec![];
        loop {
            line.clear();
            self.socket.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        Answer { status, headers, body: String::new() }
    }
    /// The next chunk of a stream; None at its end.
    pub fn chunk(&mut self) -> Option<String> {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("{line:?}"));
        let mut bytes = vec![0; size + 2];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes.truncate(size);
        (size > 0).then(|| String::from_utf8(bytes).unwrap())
    }
    /// The whole answer.
    pub fn answer(&mut self) -> Answer {
        let mut it = self.head();
        if it.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                it.body.push_str(&chunk);
            }
        } else if let Some(length) = it.header("content-length").map(|it| it.parse().unwrap()) {
            let mut bytes = vec![0; length];
            self.socket.read_exact(&mut bytes).unwrap();
            it.body = String::from_utf8(bytes).unwrap();
        }
        it
    }
    pub fn hang_up(&self) {
        self.socket.get_ref().shutdown(Shutdown::Both).unwrap();
    }
}

/// A request of the owner.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// One request on a connection of its own.
pub fn ask(server: &Server, path: &str, headers: &str, body: &Value) -> Answer {
    let mut line = Line::open(server);
    line.post(path, headers, &body.to_string());
    line.answer()
}
