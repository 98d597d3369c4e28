//! The blocking RPC client: one connection, one deadline.
//!
//! * Never waits past the deadline, whatever the other side does or does not send.
//! * A stored device token that is refused is dropped, and the shared secret tried once.
use super::identity::Identity;
use super::line::{Line, closed, dial, explain};
use super::target::Target;
use crate::base::clock::Clock;
use crate::base::ids;
use crate::base::secret::Secret;
use crate::base::sys::{SignalFd, platform};
use crate::protocol::connect::{ConnectParams, signature_payload};
use serde_json::{Value, json};
use std::os::fd::BorrowedFd;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket};

/// How long `connect.challenge` is waited for, milliseconds. Reference.
const CHALLENGE_MS: u64 = 750;
/// The largest message taken from a gateway. Reference: 25 MiB.
const MESSAGE_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Spoken by every release since early 2026; newer ones still accept it.
const PROTOCOL: u32 = 3;

/// Who connects: a command, a probe, which asks for less, or a node.
#[derive(Debug, Clone, Copy)]
pub enum As<'a> {
    Cli,
    Probe,
    Node(&'a Declared),
}

/// What a node says of itself.
#[derive(Debug)]
pub struct Declared {
    pub display_name: String,
    pub instance_id: String,
    pub caps: &'static [&'static str],
    pub commands: &'static [&'static str],
    pub path: String,
}

impl As<'_> {
    fn client(self) -> (&'static str, &'static str) {
        match self {
            As::Cli => ("cli", "cli"),
            As::Probe => ("cli", "probe"),
            As::Node(_) => ("node-host", "node"),
        }
    }
    fn role(self) -> &'static str {
        if let As::Node(_) = self { "node" } else { "operator" }
    }
    fn scopes(self) -> &'static [&'static str] {
        match self {
            As::Cli => &["operator.admin", "operator.approvals", "operator.pairing"],
            As::Probe => &["operator.admin"],
            As::Node(_) => &[],
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The gateway's own words (`ok:false`).
    #[error("{message}")]
    Refused {
        message: String,
        /// What came beside the error: how an accepted run ended, else null.
        payload: Value,
        details: Value,
    },
    #[error("gateway closed ({code}): {reason}")]
    Closed { code: u16, reason: String },
    #[error("gateway timeout after {0}ms")]
    Timeout(u64),
    /// See [`Client::watch_signals`].
    #[error("signal {0}")]
    Signal(i32),
    /// Nobody listens there.
    #[error("cannot connect to {0}: connection refused")]
    NobodyThere(String),
    #[error("{0}")]
    Other(String),
}

/// A connection that has said `connect`.
pub struct Client {
    socket: WebSocket<Line>,
    clock: Clock,
    timeout_ms: u64,
    last_id: u32,
    /// Of the hello.
    pub policy: Value,
}

impl Client {
    /// Connects and shakes hands, all within `timeout_ms`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn open(
        target: &Target,
        identity: &Identity,
        who: As,
        timeout_ms: u64,
        clock: Clock,
    ) -> Result<Client, Failure> {
        let shared = target.token.is_some() || target.password.is_some();
        // One that is too narrow would be refused, and count as a guess.
        let fits = !target.explicit && (!shared || identity.covers(who.role(), who.scopes()));
        let stored = identity.token(who.role()).filter(|_| fits);
        let token = stored.as_ref().or(target.token.as_ref());
        match Client::attempt(target, token, identity, who, timeout_ms, clock) {
            Err(Failure::Refused { message, .. })
                if stored.is_some() && shared && is_about_secrets(&message) =>
            {
                identity.drop_token(who.role()).map_err(Failure::Other)?;
                Client::attempt(target, target.token.as_ref(), identity, who, timeout_ms, clock)
            }
            other => other,
        }
    }

    fn attempt(
        target: &Target,
        token: Option<&Secret>,
        identity: &Identity,
        who: As,
        timeout_ms: u64,
        clock: Clock,
    ) -> Result<Client, Failure> {
        let deadline_ms = clock.now().mono_ms + timeout_ms;
        let line = dial(&target.url, &target.trust, clock, deadline_ms, timeout_ms)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = match tungstenite::client::client_with_config(&*target.url, line, Some(config)) {
            Ok((socket, _)) => socket,
            Err(HandshakeError::Failure(err)) => return Err(explain(err, timeout_ms)),
            Err(HandshakeError::Interrupted(_)) => return Err(Failure::Timeout(timeout_ms)),
        };
        let mut client = Client { socket, clock, timeout_ms, last_id: 0, policy: Value::Null };
        let nonce = client.challenge(deadline_ms)?;
        let params = connect_params(target, token, identity, who, nonce, clock.now().unix_ms);
        let hello = client.call("connect", Some(params), false)?;
        client.policy = hello["policy"].clone();
        let auth = &hello["auth"];
        if let Some(token) = auth["deviceToken"].as_str() {
            let role = auth["role"].as_str().unwrap_or(who.role());
            let kept = identity.keep_token(role, token, &auth["scopes"], clock.now().unix_ms);
            kept.map_err(Failure::Other)?;
        }
        Ok(client)
    }

    /// The nonce to sign; None when the gateway sends no challenge in time.
    fn challenge(&mut self, deadline_ms: u64) -> Result<Option<String>, Failure> {
        self.socket.get_mut().tcp.deadline_ms = deadline_ms.min(self.clock.now().mono_ms + CHALLENGE_MS);
        let nonce = loop {
            match self.read() {
                Ok(it) if it["event"] == "connect.challenge" => {
                    break it["payload"]["nonce"].as_str().map(str::to_owned);
                }
                Ok(_) => {}
                Err(Failure::Timeout(_)) => break None,
                Err(err) => return Err(err),
            }
        };
        self.socket.get_mut().tcp.deadline_ms = deadline_ms;
        Ok(nonce)
    }

    /// Asks and waits for the answer; with `expect_final`, for the one after `accepted`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn call(
        &mut self,
        method: &str,
        params: Option<Value>,
        expect_final: bool,
    ) -> Result<Value, Failure> {
        let id = self.post(method, params)?;
        loop {
            let mut frame = self.read()?;
            if frame["type"] != "res" || frame["id"] != *id {
                continue;
            }
            if frame["ok"] != true {
                let message = frame["error"]["message"].as_str().unwrap_or("the gateway gave no reason");
                let message = message.to_owned();
                let (payload, details) = (frame["payload"].take(), frame["error"]["details"].take());
                return Err(Failure::Refused { message, payload, details });
            }
            if !(expect_final && frame["payload"]["status"] == "accepted") {
                return Ok(frame["payload"].take());
            }
        }
    }

    /// Asks and does not wait: the id under which the answer comes.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn post(&mut self, method: &str, params: Option<Value>) -> Result<String, Failure> {
        self.last_id += 1;
        let id = self.last_id.to_string();
        let mut frame = json!({ "type": "req", "id": id, "method": method });
        if let Some(params) = params {
            frame["params"] = params;
        }
        let sent = self.socket.send(Message::text(frame.to_string()));
        sent.map_err(|err| explain(err, self.timeout_ms))?;
        Ok(id)
    }

    /// The next frame, of what is here already.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn here(&mut self) -> Result<Option<Value>, Failure> {
        self.socket.get_mut().tcp.deadline_ms = self.clock.now().mono_ms + 1;
        match self.read() {
            Ok(it) => Ok(Some(it)),
            Err(Failure::Timeout(_)) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Becomes readable when more has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().fd()
    }

    /// The whole timeout once more, for the next call.
    pub fn renew(&mut self) {
        self.socket.get_mut().tcp.deadline_ms = self.clock.now().mono_ms + self.timeout_ms;
    }

    /// Another timeout, from now on.
    pub fn set_timeout(&mut self, ms: u64) {
        self.timeout_ms = ms;
        self.renew();
    }

    /// From now on Ctrl-C ends a call, and not the process ([`Failure::Signal`]): for calls that take long.
    ///
    /// # Errors
    /// As [`SignalFd::of`].
    pub fn watch_signals(&mut self) -> std::io::Result<()> {
        self.socket.get_mut().tcp.signals = Some(SignalFd::of(&[libc::SIGINT, libc::SIGTERM])?);
        Ok(())
    }

    /// Tells the gateway that we go.
    pub fn close(mut self) {
        // It learns of it from the connection too.
        let _ = self.socket.close(None).and_then(|()| self.socket.flush());
    }

    /// So much longer than usual for the next call: somebody else takes his time.
    pub fn extend(&mut self, ms: u64) {
        self.renew();
        self.socket.get_mut().tcp.deadline_ms += ms;
    }

    /// Waits, answering pings and dropping events, unless the gateway closes first.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn idle(&mut self, ms: u64) -> Result<(), Failure> {
        self.socket.get_mut().tcp.deadline_ms = self.clock.now().mono_ms + ms;
        loop {
            match self.read() {
                Ok(_) => {}
                Err(Failure::Timeout(_)) => return Ok(()),
                Err(err) => return Err(err),
            }
        }
    }

    /// The next frame that is JSON.
    fn read(&mut self) -> Result<Value, Failure> {
        loop {
            let message = self.socket.read().map_err(|err| explain(err, self.timeout_ms))?;
            match message {
                Message::Text(_) | Message::Binary(_) => {
                    if let Ok(value) = serde_json::from_slice(&message.into_data()) {
                        return Ok(value);
                    }
                }
                Message::Close(frame) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |it| (it.code.into(), it.reason.to_string()));
                    return Err(closed(code, reason));
                }
                _ => {}
            }
        }
    }
}

fn is_about_secrets(message: &str) -> bool {
    message.starts_with("unauthorized") || message.starts_with("pairing required")
}

/// The params of `connect`, signed.
fn connect_params(
    target: &Target,
    token: Option<&Secret>,
    identity: &Identity,
    who: As,
    nonce: Option<String>,
    unix_ms: i64,
) -> Value {
    let (id, mode) = who.client();
    let mut params = json!({
        "minProtocol": PROTOCOL, "maxProtocol": PROTOCOL,
        "client": {
            "id": id, "version": env!("CARGO_PKG_VERSION"), "platform": platform(),
            "mode": mode, "instanceId": ids::uuid(&mut ids::os_entropy()),
        },
        "caps": [], "role": who.role(), "scopes": who.scopes(),
        "device": {
            "id": identity.device_id, "publicKey": identity.public_key(), "signature": "unsigned", "signedAt": unix_ms,
        },
    });
    if let As::Node(it) = who {
        params["client"]["displayName"] = (*it.display_name).into();
        params["client"]["instanceId"] = (*it.instance_id).into();
        params["caps"] = json!(it.caps);
        params["commands"] = json!(it.commands);
        params["pathEnv"] = (*it.path).into();
    }
    let secrets = [("token", token), ("password", target.password.as_ref())];
    for (name, secret) in secrets {
        if let Some(secret) = secret {
            params["auth"][name] = secret.expose().into();
        }
    }
    let version = if nonce.is_some() { 2 } else { 1 };
    if let Some(nonce) = nonce {
        params["device"]["nonce"] = nonce.into();
    }
    let unsigned: ConnectParams =
        serde_json::from_value(params.clone()).expect("built above in the protocol's own shape");
    let payload = signature_payload(version, &identity.device_id, who.role(), &unsigned);
    params["device"]["signature"] = identity.sign(&payload).into();
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::target::Source;
    use crate::cli::tls::Trust;
    use crate::gateway::device::verify;
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::thread::JoinHandle;

    /// A gateway that answers each frame with what `answer` says, for `connections` connections; gives back what it was sent.
    fn fake(connections: usize, answer: fn(&Value) -> Vec<Value>) -> (String, JoinHandle<Vec<Value>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut seen = vec![];
            for _ in 0..connections {
                let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
                let challenge =
                    json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": "n" } });
                socket.send(Message::text(challenge.to_string())).unwrap();
                while let Ok(message) = socket.read() {
                    let Ok(frame) = serde_json::from_slice::<Value>(&message.into_data()) else { break };
                    for it in answer(&frame) {
                        socket.send(Message::text(it.to_string())).unwrap();
                    }
                    seen.push(frame);
                }
            }
            seen
        });
        (url, thread)
    }
    fn ok(frame: &Value, payload: Value) -> Value {
        json!({ "type": "res", "id": frame["id"], "ok": true, "payload": payload })
    }
    /// Takes the token `shared` alone, and gives out `fresh`.
    fn gateway(frame: &Value) -> Vec<Value> {
        if frame["method"] != "connect" {
            let other = json!({ "type": "event", "event": "tick", "payload": {} });
            return vec![
                other,
                ok(frame, json!({ "status": "accepted" })),
                ok(frame, json!({ "status": "ok" })),
            ];
        }
        if frame["params"]["auth"]["token"] != "shared" {
            let error =
                json!({ "code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch (x)" });
            return vec![json!({ "type": "res", "id": frame["id"], "ok": false, "error": error })];
        }
        let auth = json!({ "deviceToken": "fresh", "role": "operator", "scopes": ["operator.admin"] });
        vec![ok(frame, json!({ "type": "hello-ok", "auth": auth }))]
    }
    fn target(url: String, explicit: bool) -> Target {
        Target {
            url,
            source: Source::Local,
            token: Some(Secret::new("shared".into())),
            password: None,
            explicit,
            trust: Trust::default(),
        }
    }
    fn identity(name: &str) -> (Identity, PathBuf) {
        let state = std::env::temp_dir().join(format!("gatewayd-rpc-{name}-{}", std::process::id()));
        (Identity::load_or_make(&state, 5).unwrap(), state)
    }

    #[test]
    fn a_refused_device_token_gives_way_to_the_shared_one() {
        let (identity, state) = identity("retry");
        identity.keep_token("operator", "stale", &json!(As::Cli.scopes()), 1).unwrap();
        let (url, thread) = fake(2, gateway);
        let clock = Clock::start();
        let mut client = Client::open(&target(url, false), &identity, As::Cli, 10_000, clock).unwrap();
        assert_eq!(client.call("agent", None, false).unwrap()["status"], "accepted");
        assert_eq!(client.call("agent", None, true).unwrap()["status"], "ok");
        assert_eq!(identity.token("operator").unwrap().expose(), "fresh");
        drop(client);
        let seen = thread.join().unwrap();
        let tokens: Vec<&Value> = seen.iter().take(2).map(|it| &it["params"]["auth"]["token"]).collect();
        assert_eq!(tokens, ["stale", "shared"]);
        let params: ConnectParams = serde_json::from_value(seen[1]["params"].clone()).unwrap();
        let proof = params.device.as_ref().unwrap();
        assert_eq!(verify(proof, &params, "operator", "n", None, clock.now().unix_ms), Ok(()));
        std::fs::remove_dir_all(state).unwrap();
    }
    #[test]
    fn an_explicit_token_keeps_the_stored_one_out() {
        let (identity, state) = identity("explicit");
        identity.keep_token("operator", "stored", &json!(As::Cli.scopes()), 1).unwrap();
        let (url, thread) = fake(1, gateway);
        drop(Client::open(&target(url, true), &identity, As::Probe, 10_000, Clock::start()).unwrap());
        assert_eq!(thread.join().unwrap()[0]["params"]["auth"]["token"], "shared");
        std::fs::remove_dir_all(state).unwrap();
    }
    #[test]
    fn a_token_that_is_too_narrow_stays_out() {
        let (identity, state) = identity("narrow");
        identity.keep_token("operator", "narrow", &json!(As::Probe.scopes()), 1).unwrap();
        let (url, thread) = fake(1, gateway);
        drop(Client::open(&target(url, false), &identity, As::Cli, 10_000, Clock::start()).unwrap());
        assert_eq!(thread.join().unwrap()[0]["params"]["auth"]["token"], "shared");
        std::fs::remove_dir_all(state).unwrap();
    }
    #[test]
    fn silence_ends_at_the_deadline() {
        let (identity, state) = identity("silence");
        let (url, thread) = fake(1, |_| vec![]);
        let opened = Client::open(&target(url, true), &identity, As::Cli, 100, Clock::start());
        assert!(matches!(opened, Err(Failure::Timeout(100))));
        drop(opened);
        assert_eq!(thread.join().unwrap()[0]["method"], "connect");
        std::fs::remove_dir_all(state).unwrap();
    }
    #[test]
    fn addresses_that_lead_nowhere() {
        let (identity, state) = identity("nowhere");
        let fail = |url: &str| {
            let target = target(url.to_owned(), true);
            Client::open(&target, &identity, As::Cli, 1_000, Clock::start()).err().unwrap().to_string()
        };
        assert!(fail("ws://127.0.0.1:1").ends_with("connection refused"));
        assert!(fail("wss://127.0.0.1:1").ends_with("connection refused"));
        assert!(fail("127.0.0.1:1").contains("ws://HOST:PORT"));
        std::fs::remove_dir_all(state).unwrap();
    }
}
