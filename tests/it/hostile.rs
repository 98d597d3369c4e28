//! Hostile handshakes: every line of `hostile.jsonl` is played over a raw socket, and names the rule that it comes from.
//!
//! A line: `{name, rule, server?, lines?, host?, head?, with?, device?, frame?, repeat?, expect}`. `server` names a configuration of [`servers`];
//! `lines` are headers of the upgrade, `host` its Host, `head` all of it. `with` changes the params of `connect`. `device` signs them:
//! `{seed, nonce?: null | "earlier" | "spliced" | text, signed_ago_ms?, key?, tamper?, …fields to put in its place}`; `tamper` changes the
//! params behind the signature. `frame` is sent instead. `expect`: `status` of a refused upgrade; `error`, the text and the close reason (`close`:
//! its code; 1008 unless given); or `scopes`, those of hello. `writes`: the files of devices may change, as they may not otherwise.
use crate::client::{Came, Client, Device, merge, now_ms, params};
use crate::harness::{Server, config};
use serde_json::{Value, json};
use std::collections::HashMap;

const ROWS: &str = include_str!("../data/hostile.jsonl");

fn servers(name: &str) -> Value {
    match name {
        "plain" => json!({}),
        "proxied" => json!({ "trustedProxies": ["127.0.0.1", "10.0.0.0/8", "fd00::/8"] }),
        "pages" => json!({ "controlUi": { "allowedOrigins": ["https://ui.example"] } }),
        _ => panic!("no server {name}"),
    }
}

#[test]
fn hostile_handshakes() {
    let mut running: HashMap<String, Server> = HashMap::new();
    let (mut wrong, mut rows) = (vec![], 0);
    for row in ROWS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert!(row["rule"].as_str().is_some_and(|it| !it.is_empty()), "{row} names no rule");
        let name = row["server"].as_str().unwrap_or("plain");
        let server = running.entry(name.to_owned()).or_insert_with(|| {
            let mut all = config();
            merge(&mut all["gateway"], &servers(name));
            Server::start(&all)
        });
        let before = stored(server);
        for n in 0..row["repeat"].as_u64().unwrap_or(1) {
            if let Err(why) = play(server, &row, n) {
                wrong.push(format!("\n  {} ({}): {why}", row["name"], row["rule"]));
            }
        }
        if row["writes"] != true && stored(server) != before {
            wrong.push(format!("\n  {}: it has changed the files", row["name"]));
        }
        if let Some(max) = row["pending_max"].as_u64() {
            let pending: Value = serde_json::from_str(&stored(server)[1]).unwrap();
            let count = pending.as_object().unwrap().len() as u64;
            assert_eq!(count, max, "{}", row["name"]);
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "{} of {rows} rows:{}", wrong.len(), wrong.concat());
    assert!(rows >= 60, "{rows}");
    // After all that the owner comes and goes as ever.
    for server in running.values() {
        Client::connect(server, &json!({}));
    }
}

/// `paired.json` and `pending.json`; and nothing else may be in that folder.
fn stored(server: &Server) -> [String; 2] {
    let dir = server.home.state().join("devices");
    let names = std::fs::read_dir(&dir).into_iter().flatten().map(|it| it.unwrap().file_name());
    let extra: Vec<_> = names.filter(|it| it != "paired.json" && it != "pending.json").collect();
    assert!(extra.is_empty(), "{extra:?}");
    ["paired.json", "pending.json"].map(|it| std::fs::read_to_string(dir.join(it)).unwrap_or_default())
}

fn play(server: &Server, row: &Value, n: u64) -> Result<(), String> {
    let expect = &row["expect"];
    let mut client = match Client::upgrade(server.addr(), &head(server, row)) {
        Ok(_) if !expect["status"].is_null() => return Err("it was let in".into()),
        Ok(it) => it,
        Err(status) if expect["status"] == status => return Ok(()),
        Err(status) => return Err(format!("status {status}")),
    };
    match row["frame"].as_str() {
        Some(frame) => client.send(frame),
        None => {
            let params = connect(server, row, &client.nonce, n);
            client.send(
                &json!({ "type": "req", "id": "1", "method": "connect", "params": params }).to_string(),
            );
        }
    }
    let answer = match client.next() {
        Came::Frame(it) => it,
        Came::Closed(code, reason) => {
            let right = expect["close"] == code && expect["error"].is_null();
            return if right { Ok(()) } else { Err(format!("closed {code} {reason}")) };
        }
    };
    if !expect["scopes"].is_null() {
        let got = &answer["payload"]["auth"]["scopes"];
        return if *got == expect["scopes"] { Ok(()) } else { Err(answer.to_string()) };
    }
    let text = expect["error"].as_str().unwrap_or_default();
    let came = answer["error"]["message"].as_str().unwrap_or_default();
    if text.is_empty() || !came.starts_with(text) {
        return Err(answer.to_string());
    }
    let code = expect["close"].as_u64().unwrap_or(1008);
    match client.next() {
        Came::Closed(it, reason) if u64::from(it) == code && came.starts_with(&reason) => Ok(()),
        other => Err(format!("{other:?} behind {answer}")),
    }
}

fn head(server: &Server, row: &Value) -> String {
    let address = server.addr().to_string();
    if let Some(head) = row["head"].as_str() {
        return head.replace("$ADDR", &address);
    }
    let mut head = format!("GET / HTTP/1.1\r\nHost: {}\r\n", row["host"].as_str().unwrap_or("$ADDR"));
    head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for line in row["lines"].as_array().into_iter().flatten() {
        head += &format!("{}\r\n", line.as_str().unwrap());
    }
    format!("{head}\r\n").replace("$ADDR", &address)
}

fn connect(server: &Server, row: &Value, nonce: &str, n: u64) -> Value {
    let mut all = params();
    merge(&mut all, &json!({ "maxProtocol": 4 }));
    merge(&mut all, &row["with"]);
    expand(&mut all);
    let device = &row["device"];
    let Some(seed) = device["seed"].as_u64() else { return all };
    let mut own = device.clone();
    let of = |name: &str| device.get(name).cloned().unwrap_or_default();
    let earlier = || Client::open(server.addr(), &[]).nonce;
    let (signed, sent) = match device.get("nonce") {
        None => (Some(nonce.to_owned()), None),
        Some(Value::Null) => (None, None),
        Some(it) if it == "earlier" => (Some(earlier()), None),
        Some(it) if it == "spliced" => (None, Some(nonce.to_owned())),
        Some(it) => (it.as_str().map(str::to_owned), None),
    };
    let signed_at = now_ms() - of("signed_ago_ms").as_i64().unwrap_or(0);
    Device::new((seed + n) as u8).sign(&mut all, signed.as_deref(), signed_at);
    if let Some(nonce) = sent {
        all["device"]["nonce"] = nonce.into();
    }
    // What is not an instruction takes the place of a field.
    for name in ["seed", "nonce", "signed_ago_ms", "tamper"] {
        own.as_object_mut().unwrap().remove(name);
    }
    merge(&mut all["device"], &own);
    expand(&mut all);
    merge(&mut all, &of("tamper"));
    all
}

/// `{"times": [TEXT, N]}` is a long text.
fn expand(value: &mut Value) {
    if let Some(times) = value["times"].as_array() {
        *value = times[0].as_str().unwrap().repeat(times[1].as_u64().unwrap() as usize).into();
        return;
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(expand),
        Value::Array(items) => items.iter_mut().for_each(expand),
        _ => {}
    }
}
