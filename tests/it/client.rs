//! A client of the gateway protocol, on tungstenite's client side: an implementation that is not ours reads our frames.
use crate::harness::{DEADLINE, Server, TOKEN};
use crate::socket::Socket;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    Frame(Value),
    Closed(u16, String),
}

pub struct Client {
    socket: WebSocket<Socket>,
    /// Of the challenge.
    pub nonce: String,
    /// Events that came while something else was waited for.
    pub events: Vec<Value>,
    calls: u32,
}

impl Client {
    /// Upgrades, and reads the challenge.
    pub fn open(addr: SocketAddr, headers: &[(String, String)]) -> Client {
        let mut request = format!("ws://{addr}/").into_client_request().unwrap();
        for (name, value) in headers {
            let name: tungstenite::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (socket, _) = tungstenite::client(request, Socket::connect(addr).unwrap()).unwrap();
        Client::over(socket)
    }
    /// As [`Client::open`], with a head that is sent as it stands; the status of the answer where that is not 101.
    pub fn upgrade(addr: SocketAddr, head: &str) -> Result<Client, u16> {
        use std::io::{Read, Write};
        let mut stream = Socket::connect(addr).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut came = vec![];
        while !came.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "it closed without an answer: {head:?}");
            came.push(byte[0]);
        }
        let text = String::from_utf8(came).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 101 {
            return Err(status);
        }
        let socket = WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Client, None);
        Ok(Client::over(socket))
    }
    /// Reads the challenge.
    fn over(socket: WebSocket<Socket>) -> Client {
        let mut client = Client { socket, nonce: String::new(), events: vec![], calls: 0 };
        let challenge = client.frame();
        assert_eq!(challenge["event"], "connect.challenge", "{challenge}");
        client.nonce = challenge["payload"]["nonce"].as_str().unwrap().to_owned();
        client
    }
    /// Connected with the shared token and [`params`] changed by `with`.
    pub fn connect(server: &Server, with: &Value) -> Client {
        let mut client = Client::open(server.addr(), &[]);
        let hello = client.hello(with);
        assert_eq!(hello["ok"], true, "{hello}");
        client
    }
    pub fn hello(&mut self, with: &Value) -> Value {
        let mut params = params();
        merge(&mut params, with);
        self.call("connect", &params)
    }
    /// As [`Client::hello`], as a device.
    pub fn hello_as(&mut self, device: &Device, with: &Value) -> Value {
        let mut params = params();
        merge(&mut params, with);
        device.sign(&mut params, Some(&self.nonce), now_ms());
        self.call("connect", &params)
    }
    /// Reads on until it is closed.
    pub fn until_closed(&mut self) -> (u16, String) {
        loop {
            if let Came::Closed(code, reason) = self.next() {
                return (code, reason);
            }
        }
    }
    /// As [`Client::until_closed`], when that event has come before.
    pub fn until_event(&mut self, event: &str) -> (u16, String) {
        loop {
            match self.next() {
                Came::Frame(it) if it["event"] == event => return self.until_closed(),
                Came::Frame(_) => {}
                Came::Closed(code, reason) => panic!("closed without {event}: {code} {reason}"),
            }
        }
    }
    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }
    pub fn send_message(&mut self, message: Message) {
        self.socket.send(message).unwrap();
    }
    /// The next frame or the close.
    pub fn next(&mut self) -> Came {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Came::Frame(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(None)) => return Came::Closed(1005, String::new()),
                Ok(Message::Close(Some(it))) => return Came::Closed(it.code.into(), it.reason.to_string()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(other) => panic!("a gateway sends text alone, not {other:?}"),
                Err(err) => return Came::Closed(1006, err.to_string()),
            }
        }
    }
    /// The next frame, if it comes in time.
    pub fn frame_by(&mut self, deadline: Instant) -> Option<Value> {
        // Zero would mean for ever.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        self.socket.get_ref().set_read_timeout(Some(left)).unwrap();
        let read = self.socket.read();
        self.socket.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
        match read {
            Ok(Message::Text(text)) => Some(serde_json::from_str(&text).unwrap()),
            _ => None,
        }
    }
    pub fn frame(&mut self) -> Value {
        match self.next() {
            Came::Frame(it) => it,
            other => panic!("expected a frame, came {other:?}"),
        }
    }
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let id = format!("r{}", self.calls);
        self.send(&json!({ "type": "req", "id": id, "method": method, "params": params }).to_string());
        self.response(&id)
    }
    /// The response to this id; events on the way are kept.
    pub fn response(&mut self, id: &str) -> Value {
        loop {
            let frame = self.frame();
            if frame["type"] == "event" {
                self.events.push(frame);
            } else if frame["id"] == id {
                return frame;
            }
        }
    }
    /// The next event of this name.
    pub fn event(&mut self, name: &str) -> Value {
        if let Some(at) = self.events.iter().position(|it| it["event"] == name) {
            return self.events.remove(at);
        }
        loop {
            let frame = self.frame();
            if frame["event"] == name {
                return frame;
            }
            self.events.push(frame);
        }
    }
}

/// What a plain operator client sends.
pub fn params() -> Value {
    json!({
        "minProtocol": 3, "maxProtocol": 3,
        "client": { "id": "test", "version": "1.0.0", "platform": "linux", "mode": "test" },
        "role": "operator", "scopes": ["operator.admin"], "caps": [],
        "auth": { "token": TOKEN },
    })
}

/// Sets what `with` names, at any depth; null removes.
pub fn merge(into: &mut Value, with: &Value) {
    let (Value::Object(into), Value::Object(with)) = (&mut *into, with) else { return };
    for (name, value) in with {
        match (into.get_mut(name), value) {
            (_, Value::Null) => drop(into.remove(name)),
            (Some(old @ Value::Object(_)), Value::Object(_)) => merge(old, value),
            _ => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

/// A device identity.
pub struct Device {
    pair: Ed25519KeyPair,
    pub id: String,
    public_key: String,
}

impl Device {
    pub fn new(seed: u8) -> Device {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = pair.public_key().as_ref().to_vec();
        let id = gatewayd::base::ids::sha256_hex(&key);
        Device { pair, id, public_key: gatewayd::base::ids::base64url(&key) }
    }
    /// Fills `params.device`: payload v2 with a nonce, v1 without. The payload is written out here once more, from the measured format.
    pub fn sign(&self, params: &mut Value, nonce: Option<&str>, signed_at_ms: i64) {
        let text = |path: &str| params.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let scopes: Vec<&str> =
            params["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let version = if nonce.is_some() { "v2" } else { "v1" };
        let role = if params["role"].is_string() { text("/role") } else { "operator".into() };
        let mut parts =
            vec![version.to_owned(), self.id.clone(), text("/client/id"), text("/client/mode"), role];
        parts.extend([scopes.join(","), signed_at_ms.to_string(), text("/auth/token")]);
        parts.extend(nonce.map(str::to_owned));
        let signature = gatewayd::base::ids::base64url(self.pair.sign(parts.join("|").as_bytes()).as_ref());
        let mut device = json!({ "id": self.id, "publicKey": self.public_key, "signature": signature, "signedAt": signed_at_ms });
        if let Some(nonce) = nonce {
            device["nonce"] = nonce.into();
        }
        params["device"] = device;
    }
}

pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}
