//! The client's end of a WebSocket, as cheap as can be: thousands of these fit into the measuring program.
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

pub struct Peer {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// With or without TLS.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Peer {
    /// Connects and upgrades.
    pub fn open(addr: SocketAddr) -> Peer {
        Peer::http(addr).upgraded(addr)
    }
    fn upgraded(self, addr: SocketAddr) -> Peer {
        let mut peer = self;
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        peer.write(head.as_bytes());
        assert!(peer.head().starts_with("HTTP/1.1 101"));
        peer
    }
    /// Connected, nothing said.
    pub fn http(addr: SocketAddr) -> Peer {
        Peer { stream: Box::new(Peer::tcp(addr)), unread: vec![] }
    }
    fn tcp(addr: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }
    /// Upgraded and past the handshake; the hello's frame is read.
    pub fn connected(addr: SocketAddr, token: &str) -> Peer {
        Peer::open(addr).past_handshake(token, "")
    }
    /// As [`Peer::connected`], over TLS.
    pub fn secure(addr: SocketAddr, token: &str, tls: &Arc<ClientConfig>) -> Peer {
        let session = ClientConnection::new(tls.clone(), "localhost".try_into().unwrap()).unwrap();
        let stream = Box::new(StreamOwned::new(session, Peer::tcp(addr)));
        Peer { stream, unread: vec![] }.upgraded(addr).past_handshake(token, "")
    }
    /// As [`Peer::connected`], and it may do everything.
    pub fn operator(addr: SocketAddr, token: &str) -> Peer {
        let more = r#""role":"operator","scopes":["operator.admin"],"caps":["tool-events"],"#;
        Peer::open(addr).past_handshake(token, more)
    }
    fn past_handshake(self, token: &str, more: &str) -> Peer {
        let mut peer = self;
        peer.frame();
        peer.send(&format!(
            r#"{{"type":"req","id":"1","method":"connect","params":{{"minProtocol":3,"maxProtocol":3,{more}"client":{{"id":"test","version":"1","platform":"linux","mode":"cli"}},"auth":{{"token":"{token}"}}}}}}"#
        ));
        peer.response("1");
        peer
    }
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
    /// One masked text frame.
    pub fn send(&mut self, text: &str) {
        let mut bytes = vec![0x81];
        match text.len() {
            n @ 0..126 => bytes.push(0x80 | n as u8),
            n => {
                bytes.push(0xfe);
                bytes.extend((n as u16).to_be_bytes());
            }
        }
        // A mask of zeros is a mask.
        bytes.extend([0; 4]);
        bytes.extend(text.as_bytes());
        self.write(&bytes);
    }
    fn fill(&mut self, count: usize) {
        let mut chunk = [0; 16 * 1024];
        while self.unread.len() < count {
            let n = self.stream.read(&mut chunk).unwrap();
            assert!(n > 0, "the connection ended");
            self.unread.extend_from_slice(&chunk[..n]);
        }
    }
    /// The next frame's text.
    pub fn frame(&mut self) -> String {
        self.fill(2);
        let (start, length) = match self.unread[1] {
            126 => {
                self.fill(4);
                (4, usize::from(u16::from_be_bytes([self.unread[2], self.unread[3]])))
            }
            127 => {
                self.fill(10);
                (10, u64::from_be_bytes(self.unread[2..10].try_into().unwrap()) as usize)
            }
            n => (2, usize::from(n)),
        };
        self.fill(start + length);
        let text = String::from_utf8(self.unread[start..start + length].to_vec()).unwrap();
        self.unread.drain(..start + length);
        // An idle connection keeps nothing.
        if self.unread.is_empty() {
            self.unread = vec![];
        }
        text
    }
    /// Skips events until the response to `id`.
    pub fn response(&mut self, id: &str) -> String {
        self.until(&format!("\"id\":\"{id}\""))
    }
    /// Skips frames until one that holds `text`.
    pub fn until(&mut self, text: &str) -> String {
        loop {
            let frame = self.frame();
            if frame.contains(text) {
                return frame;
            }
        }
    }
    /// The head of an HTTP response.
    pub fn head(&mut self) -> String {
        let mut scanned = 0;
        loop {
            if let Some(at) = self.unread[scanned..].windows(4).position(|it| it == b"\r\n\r\n") {
                let end = scanned + at + 4;
                return self.unread.drain(..end).map(char::from).collect();
            }
            scanned = self.unread.len().saturating_sub(3);
            self.fill(self.unread.len() + 1);
        }
    }
    /// A whole HTTP response with a Content-Length.
    pub fn http_response(&mut self) {
        let head = self.head();
        let length = head.split("Content-Length: ").nth(1).and_then(|it| it.split("\r\n").next());
        let length: usize = length.unwrap().parse().unwrap();
        self.fill(length);
        self.unread.drain(..length);
    }
}
