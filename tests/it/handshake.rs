//! The handshake: every failure byte for byte as measured on the reference gateway (`handshake.jsonl`), and protocol 4's differences.
//!
//! A line: `{name, headers?, send? | with?, device?, before?, expect}`. `send` is a raw first frame; `with` changes the
//! plain operator's params (null removes); `device` signs them: `{seed, nonce?: null | "other", signed_ago_ms?, id?, signature?}`.
//! `before` connects that device once with these params. `$ADDR`, `$DEVICE_TOKEN` and `$REQUEST_ID` stand for what only a run knows.
use crate::client::{Came, Client, Device, merge, now_ms, params};
use crate::harness::{Home, Server, config};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::TcpStream;
use tungstenite::Message;

const CASES: &str = include_str!("../data/handshake.jsonl");

#[test]
fn failures_byte_for_byte() {
    // The reference does not slow guesses down; here they are, from the eleventh on.
    let server = Server::start(&config());
    let mut tokens: HashMap<u64, String> = HashMap::new();
    let mut wrong = vec![];
    for case in CASES.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if let Err(why) = play(&server, &case, &mut tokens) {
            wrong.push(format!("\n  {}: {why}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

fn play(server: &Server, case: &Value, tokens: &mut HashMap<u64, String>) -> Result<(), String> {
    let seed = case["device"]["seed"].as_u64();
    if case["before"].is_object() {
        let mut client = Client::open(server.addr(), &[]);
        let hello = connect(&mut client, &case["before"], &case["device"], "");
        remember(&hello, seed, tokens);
    }
    let address = server.addr().to_string();
    let headers: Vec<(String, String)> = (case["headers"].as_object().into_iter().flatten())
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().replace("$ADDR", &address)))
        .collect();
    let mut client = Client::open(server.addr(), &headers);
    if let Some(text) = case["send"].as_str() {
        client.send(text);
    } else {
        let token = seed.and_then(|it| tokens.get(&it)).cloned().unwrap_or_default();
        send_connect(&mut client, &case["with"], &case["device"], &token);
    }
    if case["expect"]["connected"] == true {
        let hello = client.response("1");
        remember(&hello, seed, tokens);
        return if hello["payload"]["type"] == "hello-ok" { Ok(()) } else { Err(hello.to_string()) };
    }
    let mut frames = vec![];
    let (code, reason) = loop {
        match client.next() {
            Came::Frame(it) => frames.push(it),
            Came::Closed(code, reason) => break (code, reason),
        }
    };
    let request_id =
        frames.first().and_then(|it| it["error"]["details"]["requestId"].as_str()).unwrap_or("-");
    let came = json!({
        "frames": frames.iter().map(|it| it.to_string().replace(request_id, "$REQUEST_ID")).collect::<Vec<_>>(),
        "close": { "code": code, "reason": reason },
    });
    if came == case["expect"] { Ok(()) } else { Err(format!("came {came}")) }
}

fn connect(client: &mut Client, with: &Value, device: &Value, token: &str) -> Value {
    send_connect(client, with, device, token);
    client.response("1")
}

fn send_connect(client: &mut Client, with: &Value, device: &Value, token: &str) {
    let mut params = params();
    merge(&mut params, with);
    if params["auth"]["token"] == "$DEVICE_TOKEN" {
        params["auth"]["token"] = token.into();
    }
    if let Some(seed) = device["seed"].as_u64() {
        let own = client.nonce.clone();
        let nonce = match device.get("nonce") {
            Some(Value::Null) => None,
            Some(other) => other.as_str(),
            None => Some(own.as_str()),
        };
        let signed_at = now_ms() - device["signed_ago_ms"].as_i64().unwrap_or(0);
        Device::new(seed as u8).sign(&mut params, nonce, signed_at);
        for field in ["id", "signature"] {
            if device[field].is_string() {
                params["device"][field] = device[field].clone();
            }
        }
    }
    client.send(&json!({ "type": "req", "id": "1", "method": "connect", "params": params }).to_string());
}

fn remember(hello: &Value, seed: Option<u64>, tokens: &mut HashMap<u64, String>) {
    if let (Some(seed), Some(token)) = (seed, hello["payload"]["auth"]["deviceToken"].as_str()) {
        tokens.insert(seed, token.to_owned());
    }
}

fn v4() -> Value {
    json!({ "minProtocol": 3, "maxProtocol": 4 })
}

#[test]
fn protocol_4() {
    let server = Server::start(&config());
    let hello = |with: Value| {
        let mut all = v4();
        merge(&mut all, &with);
        let mut client = Client::open(server.addr(), &[]);
        (client.hello(&all), client)
    };
    let (answer, _) = hello(json!({}));
    assert_eq!(answer["payload"]["protocol"], 4);
    let auth = &answer["payload"]["auth"];
    assert_eq!((&auth["role"], &auth["scopes"]), (&json!("operator"), &json!(["operator.admin"])));
    // Asked for nothing, may do nothing, but look at the health.
    let (answer, mut client) = hello(json!({ "scopes": [] }));
    assert_eq!(answer["payload"]["auth"]["scopes"], json!([]));
    assert_eq!(client.call("health", &json!({}))["ok"], true);
    let refused = client.call("config.get", &json!({}));
    let error = json!({ "code": "FORBIDDEN", "message": "missing scope: operator.read", "details":
        { "code": "MISSING_SCOPE", "missingScope": "operator.read", "requiredScopes": ["operator.read"] } });
    assert_eq!(refused["error"], error);
    // Unknown params of reading methods are tolerated.
    let (_, mut client) = hello(json!({ "scopes": ["operator.read"] }));
    assert_eq!(client.call("cron.list", &json!({ "limit": 5, "offset": 0 }))["ok"], true);
    let (answer, _) = hello(json!({ "auth": { "token": "wrong" } }));
    let details = json!({ "code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch", "canRetryWithDeviceToken": false,
        "recommendedNextStep": "update_auth_credentials" });
    assert_eq!(answer["error"]["details"], details);
    let (answer, _) = hello(json!({ "role": "node", "scopes": [] }));
    assert_eq!(answer["error"]["details"], json!({ "code": "DEVICE_IDENTITY_REQUIRED" }));
    let (answer, _) = hello(json!({ "client": { "id": "webchat-ui", "mode": "webchat" } }));
    let details = json!({ "code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": "origin missing or invalid" });
    assert_eq!(answer["error"]["details"], details);
}

#[test]
fn hello_lists_what_works() {
    let server = Server::start(&config());
    let mut client = Client::open(server.addr(), &[]);
    let hello = client.hello(&json!({}));
    let payload = &hello["payload"];
    assert_eq!(payload["protocol"], 3);
    assert!(payload.get("auth").is_none(), "only devices and protocol 4 get one");
    assert_eq!(
        payload["policy"],
        json!({ "maxPayload": 524_288, "maxBufferedBytes": 1_572_864, "tickIntervalMs": 30_000 })
    );
    for method in payload["features"]["methods"].as_array().unwrap() {
        let answer = client.call(method.as_str().unwrap(), &json!({ "no such param": 1 }));
        let text = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(!text.starts_with("unknown method"), "{method} is listed: {answer}");
    }
}

#[test]
fn wrong_pages_are_refused_whatever_client_they_say_they_are() {
    let server = Server::start(&config());
    for origin in
        ["http://evil.example", "null", "http://127.0.0.1.evil.example", "file://x", "http://evil.example:80"]
    {
        for client in ["cli", "test", "webchat-ui", "node-host"] {
            let mut page = Client::open(server.addr(), &[("Origin".into(), origin.into())]);
            let answer = page.hello(&json!({ "client": { "id": client } }));
            let text = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(text.starts_with("origin not allowed"), "{origin} as {client}: {answer}");
        }
    }
}

#[test]
fn guessing_pages_are_locked_out_and_the_owner_is_not() {
    let server = Server::start(&config());
    let page = |token: &str| {
        let mut it = Client::open(server.addr(), &[("Origin".into(), format!("http://{}", server.addr()))]);
        it.hello(&json!({ "auth": { "token": token }, "minProtocol": 3, "maxProtocol": 4 }))
    };
    for _ in 0..10 {
        assert_eq!(page("guess")["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    let locked = page("guess");
    assert_eq!(locked["error"]["details"]["code"], "AUTH_RATE_LIMITED", "{locked}");
    assert!(locked["error"]["retryAfterMs"].as_u64().is_some_and(|it| it > 0), "{locked}");
    // Even the right secret: else the lock-out would tell a guesser when it was right.
    assert_eq!(page(crate::harness::TOKEN)["error"]["details"]["code"], "AUTH_RATE_LIMITED");
    Client::connect(&server, &json!({}));
}

/// Guesses at the shared secret are no business of a device that has a token of its own, nor the other way round.
#[test]
fn a_device_token_neither_suffers_nor_forgives_guesses() {
    let server = Server::start(&config());
    let device = json!({ "seed": 5 });
    let mut client = Client::open(server.addr(), &[]);
    let paired = connect(&mut client, &json!({}), &device, "");
    let token = paired["payload"]["auth"]["deviceToken"].as_str().unwrap();
    let page = || Client::open(server.addr(), &[("Origin".into(), format!("http://{}", server.addr()))]);
    let guess = || {
        let answer =
            page().hello(&json!({ "auth": { "token": "guess" }, "minProtocol": 3, "maxProtocol": 4 }));
        answer["error"]["details"]["code"].clone()
    };
    let by_token = || connect(&mut page(), &json!({ "auth": { "token": "$DEVICE_TOKEN" } }), &device, token);
    for _ in 0..9 {
        assert_eq!(guess(), "AUTH_TOKEN_MISMATCH");
    }
    assert_eq!(by_token()["ok"], true);
    assert_eq!(guess(), "AUTH_TOKEN_MISMATCH", "the tenth");
    assert_eq!(guess(), "AUTH_RATE_LIMITED");
    assert_eq!(by_token()["ok"], true);
}

#[test]
fn messages_over_their_limit_close_1009() {
    let server = Server::start(&config());
    let too_large = "x".repeat(600 * 1024);
    let mut client = Client::open(server.addr(), &[]);
    // The gateway may have closed before all of it was written.
    let frame = Message::text("x".repeat(65 * 1024));
    client.send_message(frame);
    assert_eq!(client.next(), Came::Closed(1009, String::new()));
    let mut client = Client::connect(&server, &json!({}));
    let padded = json!({ "type": "req", "id": "big", "method": "models.list", "params": { "x": "x".repeat(500 * 1024) } });
    client.send(&padded.to_string());
    assert_eq!(client.response("big")["error"]["code"], "INVALID_REQUEST");
    client.send(&too_large);
    assert_eq!(until_closed(&mut client), (1009, String::new()));
}

#[test]
fn after_connect_bad_frames_leave_the_connection_open() {
    let server = Server::start(&config());
    let mut client = Client::connect(&server, &json!({}));
    client.send("{nope");
    client.send(&"[".repeat(50_000));
    client.send(&format!(
        "{{\"type\":\"req\",\"id\":\"deep\",\"method\":\"health\",\"params\":{}1{}}}",
        "[".repeat(200),
        "]".repeat(200)
    ));
    client.send_message(Message::binary(
        json!({ "type": "req", "id": "b", "method": "health" }).to_string().into_bytes(),
    ));
    assert_eq!(client.response("b")["ok"], true);
    assert_eq!(
        client.call("connect", &json!({}))["error"]["message"],
        "connect is only valid as the first request"
    );
    assert_eq!(client.call("no.such", &json!({}))["error"]["message"], "unknown method: no.such");
}

/// A client whose first frames are many: what stood behind `connect` is answered behind it.
#[test]
fn requests_behind_connect_are_answered() {
    let server = Server::start(&config());
    let mut client = Client::open(server.addr(), &[]);
    let mut all = params();
    let nonce = client.nonce.clone();
    Device::new(9).sign(&mut all, Some(&nonce), now_ms());
    client.send(&json!({ "type": "req", "id": "1", "method": "connect", "params": all }).to_string());
    client.send(&json!({ "type": "req", "id": "2", "method": "health" }).to_string());
    let first = client.frame();
    assert_eq!((&first["id"], &first["payload"]["type"]), (&json!("1"), &json!("hello-ok")), "{first}");
    assert_eq!(client.response("2")["ok"], true);
    // The pairing was durable before anybody heard of it.
    let paired = std::fs::read_to_string(server.home.state().join("devices/paired.json")).unwrap();
    assert!(paired.contains(&Device::new(9).id));
}

/// What could not be written is not true either: neither the wider scopes, nor that the device was never paired.
#[test]
fn a_pairing_that_cannot_be_saved_changes_nothing() {
    let server = Server::start(&config());
    let device = json!({ "seed": 7 });
    let hello = |with: Value, token: &str| {
        let mut client = Client::open(server.addr(), &[]);
        connect(&mut client, &with, &device, token)
    };
    let read = json!({ "scopes": ["operator.read"] });
    let first = hello(read.clone(), "");
    let token = first["payload"]["auth"]["deviceToken"].as_str().unwrap();
    let mut owner = Client::connect(&server, &json!({}));
    let before = owner.call("device.pair.list", &json!({}))["payload"].clone();
    let (devices, aside) = (server.home.state().join("devices"), server.home.state().join("aside"));
    std::fs::rename(&devices, &aside).unwrap();
    std::fs::write(&devices, "no folder").unwrap();
    let refused = hello(json!({ "scopes": ["operator.admin"] }), "");
    assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
    assert_eq!(owner.call("device.pair.list", &json!({}))["payload"], before);
    std::fs::remove_file(&devices).unwrap();
    std::fs::rename(&aside, &devices).unwrap();
    let mut by_token = read;
    merge(&mut by_token, &json!({ "auth": { "token": "$DEVICE_TOKEN" } }));
    let again = hello(by_token, token);
    assert_eq!(again["payload"]["auth"]["deviceToken"], token, "{again}");
}

/// However their writes fall together, every device is on disk with the very token it was told.
#[test]
fn devices_that_pair_at_once_are_all_kept() {
    let server = Server::start(&config());
    let mut clients: Vec<Client> = (0..24).map(|_| Client::open(server.addr(), &[])).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        // Each device comes twice.
        send_connect(client, &json!({}), &json!({ "seed": n / 2 }), "");
    }
    let told: Vec<Value> =
        clients.iter_mut().map(|it| it.response("1")["payload"]["auth"]["deviceToken"].clone()).collect();
    let text = std::fs::read_to_string(server.home.state().join("devices/paired.json")).unwrap();
    let paired: Value = serde_json::from_str(&text).unwrap();
    for (n, token) in told.iter().enumerate() {
        let id = Device::new(n as u8 / 2).id;
        assert_eq!(paired[&id]["tokens"]["operator"]["token"], *token, "device {id}");
    }
}

#[test]
fn an_idle_flood_never_locks_the_owner_out() {
    let server = Home::new(&config()).start(&[]);
    let idle: Vec<TcpStream> = (0..1000).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
    Client::connect(&server, &json!({}));
    drop(idle);
}

fn until_closed(client: &mut Client) -> (u16, String) {
    loop {
        if let Came::Closed(code, reason) = client.next() {
            return (code, reason);
        }
    }
}
