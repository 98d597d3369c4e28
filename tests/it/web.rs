//! One HTTP request on a connection of its own, and the whole answer.
use crate::harness::DEADLINE;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }
}

/// Sends it, and leaves the answer to come.
pub fn send(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let sized = headers.iter().any(|it| it.0.eq_ignore_ascii_case("content-length"));
    if !sized && (!body.is_empty() || method == "POST") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    socket.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // A server may refuse by the head alone.
    let _ = socket.write_all(body);
    socket
}

pub fn receive(mut socket: TcpStream) -> Got {
    let mut bytes = vec![];
    // A reset behind a refusal loses nothing that has been read.
    if let Err(err) = socket.read_to_end(&mut bytes) {
        assert!(!bytes.is_empty(), "no answer: {err}");
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |it: &str| it.split_once(": ").map(|it| (it.0.to_lowercase(), it.1.to_owned())).unwrap();
    Got { status, headers: lines.map(header).collect(), body: body.to_owned() }
}

pub fn ask(addr: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
    receive(send(addr, method, target, headers, body))
}
