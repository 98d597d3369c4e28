//! Events: who gets which, in which order, and what becomes of a client that does not read.
use crate::client::{Came, Client, Device, now_ms, params};
use crate::harness::{Server, config};
use serde_json::{Value, json};

/// Events of 400 KB, more of them than the buffers of two kernels and the 1.5 MiB of a queue hold.
const LARGE: usize = 400 * 1024;
const MANY: u64 = 60;

/// `talk.mode` may be dropped; it carries whatever phase it is given.
fn shout(client: &mut Client, n: u64) {
    let phase = format!("{n} {}", "x".repeat(LARGE));
    let answer = client.call("talk.mode", &json!({ "enabled": true, "phase": phase }));
    assert_eq!(answer["ok"], true);
}

/// Which of the shouts these events are.
fn shouts(events: &[Value]) -> Vec<u64> {
    let phases = events.iter().filter(|it| it["event"] == "talk.mode").map(|it| &it["payload"]["phase"]);
    phases.map(|it| it.as_str().unwrap().split(' ').next().unwrap().parse().unwrap()).collect()
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events
        .iter()
        .map(|it| it["seq"].as_u64().unwrap_or_else(|| panic!("no number: {}", it["event"])))
        .collect()
}

fn contiguous(seqs: &[u64]) -> bool {
    seqs.windows(2).all(|it| it[0] + 1 == it[1])
}

/// The one that does not read, and the one that does; the snapshot that their coming has asked for is taken.
fn pair(server: &Server) -> (Client, Client) {
    let deaf = Client::connect(server, &json!({ "client": { "instanceId": "deaf" } }));
    let mut loud = Client::connect(server, &json!({}));
    assert_eq!(loud.call("health", &json!({ "probe": true }))["ok"], true);
    (deaf, loud)
}

#[test]
fn a_client_that_does_not_read_misses_what_may_be_missed() {
    misses_what_may_be_missed(&Server::start(&config()));
}

pub fn misses_what_may_be_missed(server: &Server) {
    let (mut deaf, mut loud) = pair(server);
    (0..MANY).for_each(|n| shout(&mut loud, n));
    assert_eq!(shouts(&loud.events), (0..MANY).collect::<Vec<_>>(), "who reads misses nothing");
    assert!(contiguous(&seqs(&loud.events)));
    // It reads again: the connection has held, the newest were dropped, and what is said from now on arrives.
    assert_eq!(deaf.call("health", &json!({}))["ok"], true);
    let heard = shouts(&deaf.events);
    assert_eq!(heard, (0..heard.len() as u64).collect::<Vec<_>>());
    assert!(heard.len() > 3 && (heard.len() as u64) < MANY, "{}", heard.len());
    deaf.events.clear();
    shout(&mut loud, MANY);
    let last = deaf.event("talk.mode");
    assert_eq!(shouts(std::slice::from_ref(&last)), [MANY]);
    assert_eq!(
        last["seq"],
        *loud.events.last().unwrap().get("seq").unwrap(),
        "the number tells what it missed"
    );
}

#[test]
fn a_client_that_does_not_read_is_closed_for_what_may_not() {
    is_closed_for_what_may_not(&Server::start(&config()));
}

pub fn is_closed_for_what_may_not(server: &Server) {
    let (mut deaf, mut loud) = pair(server);
    (0..MANY).for_each(|n| shout(&mut loud, n));
    // `health` is for everybody; there is a new one once a second.
    loud.events.clear();
    while loud.events.is_empty() {
        assert_eq!(loud.call("health", &json!({ "probe": true }))["ok"], true);
    }
    let closed = loop {
        if let Came::Closed(code, reason) = deaf.next() {
            break (code, reason);
        }
    };
    assert_eq!(closed, (1008, "slow consumer".into()));
    drop(deaf);
    // The other one is none the worse for it, and hears who left.
    let presence = loud.event("presence");
    let gone =
        presence["payload"]["presence"].as_array().unwrap().iter().find(|it| it["instanceId"] == "deaf");
    assert_eq!(gone.unwrap()["reason"], "disconnect");
    loud.events.push(presence);
    assert_eq!(
        loud.events.iter().map(|it| it["event"].as_str().unwrap()).collect::<Vec<_>>(),
        ["health", "presence"]
    );
    assert!(contiguous(&seqs(&loud.events)));
}

fn device(server: &Server, seed: u8, host: Option<&str>, with: &Value) -> Client {
    let headers: Vec<(String, String)> = host.map(|it| ("Host".into(), it.into())).into_iter().collect();
    let mut client = Client::open(server.addr(), &headers);
    let mut all = params();
    crate::client::merge(&mut all, with);
    let nonce = client.nonce.clone();
    Device::new(seed).sign(&mut all, Some(&nonce), now_ms());
    client.send(&json!({ "type": "req", "id": "c", "method": "connect", "params": all }).to_string());
    client
}

/// Any client may probe, and everybody is told of each new snapshot: so there are not many.
#[test]
fn probing_floods_nobody() {
    let server = Server::start(&config());
    let mut client = Client::connect(&server, &json!({ "scopes": [], "maxProtocol": 4 }));
    let start = std::time::Instant::now();
    for n in 0..200 {
        let probe =
            json!({ "type": "req", "id": n.to_string(), "method": "health", "params": { "probe": true } });
        client.send(&probe.to_string());
    }
    let (mut answers, mut came) = (0, 0);
    while answers < 200 {
        let frame = client.frame();
        answers += u64::from(frame["ok"] == true);
        came += u64::from(frame["event"] == "health");
    }
    assert!(came <= 3 + start.elapsed().as_secs(), "{came} in {:?}", start.elapsed());
}

/// Events have scopes as methods have. Each takes a number, whoever sees it.
#[test]
fn events_go_to_those_who_may_see_them() {
    let server = Server::start(&config());
    let scoped = |scopes: Value| Client::connect(&server, &json!({ "scopes": scopes, "maxProtocol": 4 }));
    let mut all = vec![
        ("admin", scoped(json!(["operator.admin"]))),
        ("pairing", scoped(json!(["operator.pairing"]))),
        ("read", scoped(json!(["operator.read"]))),
        ("write", scoped(json!(["operator.write", "operator.approvals"]))),
        ("nothing", scoped(json!([]))),
        ("node", device(&server, 1, None, &json!({ "role": "node", "scopes": ["operator.admin"] }))),
    ];
    assert_eq!(all[5].1.response("c")["ok"], true);
    // A new device: one on this machine is let in, one from elsewhere must ask.
    assert_eq!(device(&server, 2, None, &json!({})).response("c")["ok"], true);
    let refused = device(&server, 3, Some("example.com"), &json!({})).response("c");
    assert_eq!(refused["error"]["message"], "pairing required");
    // What everybody sees says that nothing more comes of the above.
    assert_eq!(all[0].1.call("system-event", &json!({ "text": "that is all" }))["ok"], true);
    for (who, client) in &mut all {
        let last = loop {
            let it = client.event("presence");
            if it["payload"]["presence"].as_array().unwrap().iter().any(|it| it["text"] == "that is all") {
                break it;
            }
        };
        client.events.push(last);
        let seen = |name: &str, seed: u8| {
            let id = Device::new(seed).id;
            client.events.iter().filter(|it| it["event"] == name && it["payload"]["deviceId"] == *id).count()
        };
        let may = usize::from(matches!(*who, "admin" | "pairing"));
        assert_eq!(seen("device.pair.resolved", 2), may, "{who}");
        assert_eq!(seen("device.pair.requested", 3), may, "{who}");
        // What is for one connection alone has none.
        client.events.retain(|it| it["event"] != "voicewake.changed");
        let numbers = seqs(&client.events);
        assert!(numbers.windows(2).all(|it| it[0] < it[1]), "{who}: {numbers:?}");
    }
}

#[test]
fn who_leaves_is_announced_but_a_command_line_is_not() {
    let server = Server::start(&config());
    let mut watcher = Client::connect(&server, &json!({}));
    drop(Client::connect(
        &server,
        &json!({ "client": { "id": "cli", "mode": "cli", "instanceId": "cli-1" } }),
    ));
    drop(Client::connect(&server, &json!({ "client": { "mode": "ui", "instanceId": "ui-1" } })));
    let presence = watcher.event("presence");
    let list = presence["payload"]["presence"].as_array().unwrap();
    let of = |id: &str| list.iter().find(|it| it["instanceId"] == id);
    assert_eq!(of("ui-1").unwrap()["reason"], "disconnect");
    assert_eq!(of("cli-1"), None);
    let version = presence["stateVersion"]["presence"].as_u64().unwrap();
    drop(Client::connect(&server, &json!({ "client": { "mode": "ui", "instanceId": "ui-2" } })));
    // One for its coming, which nobody is told of, and one for its going.
    assert_eq!(watcher.event("presence")["stateVersion"]["presence"], version + 2);
}

#[test]
fn shutdown_is_the_last_event_of_everybody() {
    let server = Server::start(&config());
    let mut all = vec![
        Client::connect(&server, &json!({})),
        Client::connect(&server, &json!({ "scopes": [], "maxProtocol": 4 })),
        device(&server, 1, None, &json!({ "role": "node", "scopes": [] })),
    ];
    assert_eq!(all[2].response("c")["ok"], true);
    let mut unready = Client::open(server.addr(), &[]);
    server.signal(libc::SIGTERM);
    let numbers: Vec<Value> = all.iter_mut().map(|it| it.event("shutdown")["seq"].clone()).collect();
    assert!(numbers[0].is_u64() && numbers.iter().all(|it| *it == numbers[0]), "{numbers:?}");
    for client in &mut all {
        assert_eq!(client.next(), Came::Closed(1012, "service restart".into()));
    }
    assert_eq!(unready.next(), Came::Closed(1012, "service restart".into()));
}
