//! Credentials of devices: what closes when one ends, who may end it, and the command line without a gateway.
use crate::client::{Came, Client, Device, merge, now_ms, params};
use crate::harness::{Home, Server, TOKEN, config};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn device(server: &Server, seed: u8, with: &Value) -> (Value, Client) {
    let mut client = Client::open(server.addr(), &[]);
    let hello = client.hello_as(&Device::new(seed), with);
    assert_eq!(hello["ok"], true, "{hello}");
    (hello["payload"]["auth"]["deviceToken"].clone(), client)
}

/// As from another machine.
fn stranger(server: &Server, seed: u8, with: &Value) -> (Value, Client) {
    let mut client = Client::open(server.addr(), &[("Host".into(), "gateway.example".into())]);
    (client.hello_as(&Device::new(seed), with), client)
}

fn node() -> Value {
    json!({ "client": { "id": "node-host", "mode": "node" }, "role": "node", "scopes": [] })
}

/// What ends, and which of a device's sockets (operator, node) end with it.
#[test]
fn sockets_end_with_their_credential() {
    let server = Server::start(&config());
    let mut admin = Client::connect(&server, &json!({}));
    let id = Device::new(1).id;
    for (method, params, reason, ends) in [
        (
            "device.token.rotate",
            json!({ "deviceId": id, "role": "operator" }),
            "device token rotated",
            [true, false],
        ),
        (
            "device.token.rotate",
            json!({ "deviceId": id, "role": "node" }),
            "device token rotated",
            [false, true],
        ),
        (
            "device.token.revoke",
            json!({ "deviceId": id, "role": "operator" }),
            "device token revoked",
            [true, false],
        ),
        (
            "device.token.revoke",
            json!({ "deviceId": id, "role": "node" }),
            "device token revoked",
            [false, true],
        ),
        ("device.pair.remove", json!({ "deviceId": id }), "device removed", [true, true]),
    ] {
        let mut mine = [device(&server, 1, &json!({})).1, device(&server, 1, &node()).1];
        let mut other = device(&server, 2, &json!({})).1;
        let done = admin.call(method, &params);
        let since = Instant::now();
        assert_eq!(done["ok"], true, "{done}");
        assert_eq!(done["payload"].get("token"), None, "a token is its device's alone: {done}");
        for (client, ends) in mine.iter_mut().zip(ends) {
            if ends {
                assert_eq!(client.until_closed(), (1008, reason.into()), "{method} {params}");
            } else {
                // Role node may call nothing, and is told so.
                client.send(&json!({ "type": "req", "id": "alive", "method": "health" }).to_string());
                assert_eq!(client.response("alive")["id"], "alive");
            }
        }
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        assert_eq!(other.call("health", &json!({}))["ok"], true);
    }
}

/// A device with `operator.pairing` looks after its own token, and after nothing else.
#[test]
fn a_device_rotates_its_own_token() {
    let server = Server::start(&config());
    let scopes = json!({ "scopes": ["operator.pairing", "operator.read"] });
    let (old, mut client) = device(&server, 1, &scopes);
    device(&server, 2, &json!({}));
    let mut unknown = |params: Value| {
        for method in ["device.token.rotate", "device.token.revoke"] {
            let got = client.call(method, &params);
            assert_eq!(got["error"]["message"], "unknown deviceId/role", "{method} {params}: {got}");
        }
    };
    unknown(json!({ "deviceId": Device::new(2).id, "role": "operator" }));
    unknown(json!({ "deviceId": Device::new(1).id, "role": "node" }));
    let id = Device::new(1).id;
    let wide = json!({ "deviceId": id, "role": "operator", "scopes": ["operator.admin"] });
    assert_eq!(client.call("device.token.rotate", &wide)["error"]["message"], "unknown deviceId/role");
    assert_eq!(
        client.call("device.pair.remove", &json!({ "deviceId": Device::new(2).id }))["error"]["message"],
        "unknown deviceId"
    );
    let got = client.call("device.token.rotate", &json!({ "deviceId": id, "role": "operator" }));
    let new = got["payload"]["token"].clone();
    assert!(new.is_string() && new != old, "{got}");
    assert_eq!(client.until_closed(), (1008, "device token rotated".into()));
    // Durable before it was told.
    let stored = std::fs::read_to_string(server.home.state().join("devices/paired.json")).unwrap();
    assert!(stored.contains(new.as_str().unwrap()) && !stored.contains(old.as_str().unwrap()));
    let with = |token: &Value| {
        let mut all = scopes.clone();
        merge(&mut all, &json!({ "auth": { "token": token } }));
        Client::open(server.addr(), &[]).hello_as(&Device::new(1), &all)
    };
    assert_eq!(with(&old)["ok"], false);
    assert_eq!(with(&new)["ok"], true);
}

/// A rotation that cannot be written is none.
#[test]
fn a_rotation_that_cannot_be_saved_changes_nothing() {
    let server = Server::start(&config());
    let mut admin = Client::connect(&server, &json!({}));
    let (token, mut client) = device(&server, 1, &json!({}));
    let (devices, aside) = (server.home.state().join("devices"), server.home.state().join("aside"));
    std::fs::rename(&devices, &aside).unwrap();
    std::fs::write(&devices, "no folder").unwrap();
    let which = json!({ "deviceId": Device::new(1).id, "role": "operator" });
    for method in ["device.token.rotate", "device.token.revoke"] {
        assert_eq!(admin.call(method, &which)["error"]["code"], "UNAVAILABLE", "{method}");
    }
    assert_eq!(client.call("health", &json!({}))["ok"], true, "it is still connected");
    let by_token = json!({ "auth": { "token": token } });
    assert_eq!(Client::open(server.addr(), &[]).hello_as(&Device::new(1), &by_token)["ok"], true);
}

/// The shared secret changes in the file: who came in by the old one goes at once, whoever has a token of its own stays.
#[test]
fn a_changed_secret_ends_what_the_old_one_opened() {
    let mut before = config();
    before["gateway"]["reload"] = json!({ "debounceMs": 0 });
    let mut server = Server::start(&before);
    let mut shared = Client::connect(&server, &json!({}));
    let (token, mut paired) = device(&server, 1, &json!({}));
    let (_, mut own) = device(&server, 1, &json!({ "auth": { "token": token } }));
    let mut after = before.clone();
    after["gateway"]["auth"]["token"] = "another".into();
    server.home.write("openclaw.json", &after.to_string());
    server.wait_line("the secret of the gateway has changed");
    let since = Instant::now();
    for client in [&mut shared, &mut paired] {
        assert_eq!(client.until_closed(), (1008, "gateway secret changed".into()));
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(own.call("health", &json!({}))["ok"], true);
    let hello = |token: &str| {
        Client::open(server.addr(), &[]).hello(&json!({ "auth": { "token": token } }))["ok"].clone()
    };
    assert_eq!((hello(TOKEN), hello("another")), (json!(false), json!(true)));
}

/// A request for more than was approved waits anew, and what was approved goes on meanwhile.
#[test]
fn upgrades_are_asked_for() {
    let server = Server::start(&config());
    let mut admin = Client::connect(&server, &json!({}));
    let read = json!({ "scopes": ["operator.read"] });
    let asked = |with: &Value| {
        let mut all = json!({ "maxProtocol": 4 });
        merge(&mut all, with);
        let (refused, _) = stranger(&server, 1, &all);
        assert_eq!(refused["error"]["message"], "pairing required", "{refused}");
        refused["error"]["details"].clone()
    };
    let mut approve = |details: &Value| {
        let done = admin.call("device.pair.approve", &json!({ "requestId": details["requestId"] }));
        assert_eq!(done["ok"], true, "{done}");
    };
    let new = asked(&read);
    assert_eq!((&new["reason"], &new["code"]), (&json!("not-paired"), &json!("PAIRING_REQUIRED")));
    approve(&new);
    let (_, mut client) = stranger(&server, 1, &read);
    let wider = asked(&json!({ "scopes": ["operator.read", "operator.admin"] }));
    assert_eq!(wider["reason"], "scope-upgrade");
    let role = asked(&node());
    assert_eq!(role["reason"], "role-upgrade");
    assert_ne!(role["requestId"], wider["requestId"], "one request a device: the newest");
    assert_eq!(client.call("health", &json!({}))["ok"], true);
    approve(&role);
    let (hello, _) = stranger(&server, 1, &node());
    assert_eq!(hello["ok"], true, "{hello}");
    let mut moved = node();
    merge(&mut moved, &json!({ "client": { "platform": "ios" } }));
    assert_eq!(asked(&moved)["reason"], "metadata-upgrade");
    // With its own token alone it cannot even ask.
    let token = hello["payload"]["auth"]["deviceToken"].clone();
    let (refused, _) = stranger(&server, 1, &json!({ "auth": { "token": token } }));
    assert!(refused["error"]["message"].as_str().unwrap().contains("token mismatch"), "{refused}");
}

/// A machine that nobody sits at: the gateway is stopped, the first device let in on the state folder, the gateway started.
#[test]
fn a_first_device_is_let_in_without_a_gateway() {
    let server = Server::start(&config());
    let ask = json!({ "scopes": ["operator.read"] });
    let (refused, _) = stranger(&server, 1, &ask);
    let id = refused["error"]["details"]["requestId"].as_str().unwrap().to_owned();
    // It runs, but is not where the command looks: nobody writes behind its back.
    let out = server.home.command(&["devices", "approve", &id]).env("OPENCLAW_GATEWAY_PORT", "1").output();
    assert_eq!(out.unwrap().status.code(), Some(1));
    let home = server.crash();
    let run = |args: &[&str]| {
        let out = home.command(args).env("OPENCLAW_GATEWAY_PORT", "1").output().unwrap();
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        (out.status.code(), text)
    };
    let (status, text) = run(&["devices", "list"]);
    assert!(status == Some(0) && text.contains(&id), "{text}");
    let (status, text) = run(&["devices", "approve", "--latest"]);
    assert!(
        status == Some(0) && text.contains(&Device::new(1).id) && text.contains("No gateway runs"),
        "{text}"
    );
    let (status, text) = run(&["devices", "approve", "--latest"]);
    assert!(status == Some(1) && text.contains("no device asks"), "{text}");
    let (status, text) = run(&["devices", "revoke", "--device", "../x", "--role", "operator"]);
    assert!(status == Some(1) && text.contains("unknown deviceId/role"), "{text}");
    let server = home.start(&[]);
    let (hello, _) = stranger(&server, 1, &ask);
    assert_eq!(hello["ok"], true, "{hello}");
}

/// The same signature a second time is a replay, also where none had to carry a nonce.
#[test]
fn an_old_frame_is_good_once() {
    let server = Server::start(&config());
    for nonce in [false, true] {
        let mut client = Client::open(server.addr(), &[]);
        let mut all = params();
        let own = client.nonce.clone();
        Device::new(1).sign(&mut all, nonce.then_some(own.as_str()), now_ms());
        let frame = json!({ "type": "req", "id": "1", "method": "connect", "params": all }).to_string();
        client.send(&frame);
        assert_eq!(client.response("1")["ok"], true);
        let mut thief = Client::open(server.addr(), &[]);
        thief.send(&frame);
        let refused = thief.response("1");
        let text = if nonce { "device nonce mismatch" } else { "device nonce required" };
        assert_eq!(refused["error"]["message"], text, "{refused}");
        assert_eq!(thief.next(), Came::Closed(1008, text.into()));
    }
}

/// Files that another program has written keep what this one does not know.
#[test]
fn unknown_fields_stay_in_the_files() {
    let home = Home::new(&config());
    let id = "84bb2c5bf812128f53877d9c6d9e3fa124bd7a97e4513b57dcd154664243943c";
    let paired = json!({ id: { "deviceId": id, "publicKey": "SgTZjhjCWYj507FDFaOIUrrBM9Qw-2-z1iDsQidZAgQ", "colour": "red", "roles": ["node"],
        "role": "node", "tokens": { "node": { "token": "t", "role": "node", "scopes": [], "createdAtMs": 1, "note": 5 } },
        "createdAtMs": 1, "approvedAtMs": 1 } });
    home.write("devices/paired.json", &paired.to_string());
    let server = home.start(&[]);
    let mut admin = Client::connect(&server, &json!({}));
    let done = admin.call("device.token.rotate", &json!({ "deviceId": id, "role": "node" }));
    assert_eq!(done["ok"], true, "{done}");
    let text = std::fs::read_to_string(server.home.state().join("devices/paired.json")).unwrap();
    let now: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&now[id]["colour"], &now[id]["tokens"]["node"]["note"]), (&json!("red"), &json!(5)));
    assert_ne!(now[id]["tokens"]["node"]["token"], "t");
}
