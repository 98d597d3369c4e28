//! TLS: what holds without it holds with it; who speaks something else is told; certificates, good and bad; the command line as a client.
use crate::client::{Came, Client};
use crate::harness::{Home, Server, TOKEN, config};
use crate::socket::Socket;
use crate::tunnel::{self, trusting};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn with_tls(tls: &Value) -> Value {
    let mut all = config();
    all["gateway"]["tls"] = json!({ "enabled": true });
    crate::client::merge(&mut all["gateway"]["tls"], tls);
    all
}

/// A gateway with TLS. Its `port` is the real one.
fn start(home: Home) -> Server {
    home.start(&[])
}

/// One whose `port` leads through a tunnel, for tests that know nothing of TLS.
fn through_tunnel(cut: usize) -> Server {
    let mut server = start(Home::new(&with_tls(&json!({}))));
    server.port = tunnel::open(server.addr(), &cert(&server.home), cut);
    server
}

fn cert(home: &Home) -> PathBuf {
    home.state().join("gateway/tls/gateway-cert.pem")
}

fn connect(addr: SocketAddr) -> Socket {
    Socket::connect(addr).unwrap()
}

fn secure(server: &Server) -> StreamOwned<ClientConnection, Socket> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(
        ClientConnection::new(trusting(&cert(&server.home)), name).unwrap(),
        connect(server.addr()),
    )
}

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn the_http_table_holds() {
    let server = through_tunnel(usize::MAX);
    crate::http1::run(server.addr(), include_str!("../data/http1.jsonl"));
}

/// Every byte of the client's a packet of its own, from the first one of the handshake.
#[test]
fn a_websocket_in_single_bytes() {
    let server = through_tunnel(1);
    let mut client = Client::connect(&server, &json!({}));
    assert_eq!(client.call("health", &json!({}))["ok"], true);
    let big = client.call("no.such", &json!({ "text": "x".repeat(40_000) }));
    assert_eq!(big["ok"], false);
}

#[test]
fn large_frames_both_ways() {
    let mut server = through_tunnel(usize::MAX);
    let mut client = Client::connect(&server, &json!({}));
    let phase = "x".repeat(500 * 1024);
    let answer = client.call("talk.mode", &json!({ "enabled": true, "phase": phase }));
    assert_eq!(answer["ok"], true);
    assert_eq!(client.event("talk.mode")["payload"]["phase"], phase);
    // One more byte than a frame may have is refused as without TLS.
    client.send(&"x".repeat(512 * 1024 + 1));
    assert!(matches!(client.next(), Came::Closed(1009, _)));
    let mut client = Client::connect(&server, &json!({}));
    server.signal(libc::SIGTERM);
    client.event("shutdown");
    assert_eq!(client.next(), Came::Closed(1012, "service restart".into()));
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_misses_what_may_be_missed() {
    crate::events::misses_what_may_be_missed(&through_tunnel(usize::MAX));
}

#[test]
fn a_client_that_does_not_read_is_closed_for_what_may_not() {
    crate::events::is_closed_for_what_may_not(&through_tunnel(usize::MAX));
}

/// Whoever stops in the middle of a handshake makes room for those who do not.
#[test]
fn a_thousand_half_open_handshakes() {
    gatewayd::base::sys::raise_fd_limit();
    let server = start(Home::new(&with_tls(&json!({}))));
    // The beginning of a hello: its record is 512 bytes long, and some of them come.
    let crowd: Vec<TcpStream> = (0..1000)
        .filter_map(|n| {
            let mut socket = TcpStream::connect(server.addr()).ok()?;
            socket.write_all(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..1 + n % 11]).ok()?;
            Some(socket)
        })
        .collect();
    assert!(crowd.len() >= 900, "{}", crowd.len());
    let at = Instant::now();
    let mut stream = secure(&server);
    stream.write_all(GET).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
}

#[test]
fn who_speaks_something_else_is_told() {
    let server = start(Home::new(&with_tls(&json!({}))));
    let say = |bytes: &[u8]| {
        let mut stream = connect(server.addr());
        stream.write_all(bytes).unwrap();
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    for request in [GET, b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n", b"\r\n", b"hello"] {
        let answer = String::from_utf8(say(request)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(
            answer.contains("Content-Type: text/plain") && answer.contains("\r\nConnection: close\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with("this port speaks TLS: use https:// or wss://"), "{answer}");
    }
    // An alert, fatal: TLS 1.1 has nothing that we take.
    let mut old = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02".to_vec();
    old.extend([7; 32]);
    old.extend(b"\x00\x00\x02\x00\x2f\x01\x00");
    let answer = say(&old);
    assert_eq!((answer.len(), answer[0], &answer[5..]), (7, 21, &[2, 40][..]), "{answer:?}");
    assert_eq!(say(&[0x80; 64])[0], 21);
    // And TLS on a port without it.
    let plain = Server::start(&config());
    let mut stream = connect(plain.addr());
    stream.write_all(&old).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

/// An end is told from a cut, on either side.
#[test]
fn goodbyes() {
    let server = start(Home::new(&with_tls(&json!({}))));
    let mut stream = secure(&server);
    stream.write_all(GET).unwrap();
    // rustls makes an error of an end without close_notify.
    stream.read_to_end(&mut vec![]).unwrap();
    let mut stream = secure(&server);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "what was asked before the goodbye is answered: {answer}");
}

#[test]
fn openssl_agrees() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: there is no openssl here");
        return;
    }
    let server = start(Home::new(&with_tls(&json!({}))));
    let addr = server.addr().to_string();
    for (args, says, good) in [
        (&["-tls1_3"][..], "TLSv1.3", true),
        (&["-tls1_2"], "TLSv1.2", true),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "CHACHA20", true),
        (&["-tls1_1", "-cipher", "ALL@SECLEVEL=0"], "alert", false),
        (&["-tls1_2", "-cipher", "AES128-SHA"], "alert", false),
    ] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &addr, "-servername", "localhost", "-verify_return_error"]);
        command.arg("-CAfile").arg(cert(&server.home)).args(args).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have given up already.
        let _ = child.stdin.take().unwrap().write_all(GET);
        let out = child.wait_with_output().unwrap();
        let all = [out.stdout, out.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        assert!(all.contains(says), "{args:?}: {all}");
        let agreed = all.contains("Verify return code: 0 (ok)") && !all.contains("Cipher is (NONE)");
        assert_eq!(agreed, good, "{args:?}: {all}");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start() {
    let made = start(Home::new(&with_tls(&json!({}))));
    let (good, key) = (cert(&made.home), made.home.state().join("gateway/tls/gateway-key.pem"));
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let (good, key) = (text(&good), text(&key));
    for (tls, cert_text, key_text, mode, says) in [
        (json!({ "autoGenerate": false }), None, None, 0o600, "there is no certificate"),
        (json!({}), Some(&*good), None, 0o600, "gateway-key.pem is missing"),
        (json!({}), None, Some(&*key), 0o600, "gateway-cert.pem is missing"),
        (json!({}), Some("no PEM"), Some(&*key), 0o600, "gateway-cert.pem holds no certificate"),
        (json!({}), Some(&*good), Some("no PEM"), 0o600, "gateway-key.pem holds no private key"),
        (json!({}), Some(&*good), Some(&*key), 0o604, "chmod 600"),
        (json!({ "caPath": "~/none.pem" }), Some(&*good), Some(&*key), 0o600, "none.pem does not exist"),
        (json!({ "certPath": "~/own.pem" }), None, Some(&*key), 0o600, "own.pem is missing"),
    ] {
        let home = Home::new(&with_tls(&tls));
        for (name, text) in [("gateway-cert.pem", cert_text), ("gateway-key.pem", key_text)] {
            let Some(text) = text else { continue };
            home.write(&format!("gateway/tls/{name}"), text);
            let path = home.state().join("gateway/tls").join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let out = home.run(&["gateway", "--port", "0"]);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{tls} {stderr}");
        assert!(stderr.contains(says) && stderr.trim().lines().count() == 1, "{tls} {says}: {stderr}");
    }
}

/// The fingerprint that the log tells of the certificate in force.
fn fingerprint(server: &mut Server) -> String {
    let line = server.wait_line("SHA-256 fingerprint ");
    line.split("fingerprint ").nth(1).unwrap().trim().to_owned()
}

/// One that may be restarted, its first certificate's fingerprint, and the folder of that.
fn restartable() -> (Server, String, PathBuf) {
    let mut config = with_tls(&json!({}));
    config["commands"] = json!({ "restart": true });
    let mut server = start(Home::new(&config));
    let first = fingerprint(&mut server);
    let folder = server.home.state().join("gateway/tls");
    (server, first, folder)
}

#[test]
fn other_files_count_from_the_next_restart_on() {
    let (mut server, first, folder) = restartable();
    std::fs::remove_dir_all(folder).unwrap();
    server.signal(libc::SIGUSR1);
    let line = server.wait_line("listening on wss://127.0.0.1:");
    server.port = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_ne!(fingerprint(&mut server), first);
    let mut stream = secure(&server);
    stream.write_all(GET).unwrap();
    stream.read_to_end(&mut vec![]).unwrap();
}

#[test]
fn broken_files_do_not_end_a_gateway_that_runs() {
    let (mut server, first, folder) = restartable();
    let good = std::fs::read(folder.join("gateway-cert.pem")).unwrap();
    std::fs::write(folder.join("gateway-cert.pem"), "broken").unwrap();
    server.signal(libc::SIGUSR1);
    server.wait_line("holds no certificate in PEM form");
    assert_eq!(fingerprint(&mut server), first);
    std::fs::write(folder.join("gateway-cert.pem"), good).unwrap();
    let mut stream = secure(&server);
    stream.write_all(GET).unwrap();
    stream.read_to_end(&mut vec![]).unwrap();
}

fn said(out: &Output) -> String {
    [&out.stdout[..], &out.stderr].concat().iter().map(|it| char::from(*it)).collect()
}

#[test]
fn the_command_line_checks_whom_it_talks_to() {
    let mut server = start(Home::new(&with_tls(&json!({}))));
    let pin = fingerprint(&mut server);
    let other = format!("{:064x}", 7);
    let url = format!("wss://127.0.0.1:{}", server.port);
    // On the gateway's own machine: its certificate's file is enough.
    let port = server.port.to_string();
    for args in [
        &["health", "--json"][..],
        &["gateway", "health"],
        &["gateway", "probe"],
        &["gateway", "call", "status"],
    ] {
        let mut command = server.home.command(args);
        let out = command.env("OPENCLAW_GATEWAY_PORT", &port).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", said(&out));
    }
    let mut status = server.home.command(&["gateway", "status"]);
    let text = said(&status.env("OPENCLAW_GATEWAY_PORT", &port).output().unwrap());
    assert!(
        text.contains(&format!("Fingerprint:    {pin} (SHA-256)")) && text.contains("RPC probe:      ok"),
        "{text}"
    );
    assert!(text.contains(&url), "{text}");
    // Elsewhere.
    let remote = |fingerprint: Option<&str>, url: &str| {
        let remote = json!({ "url": url, "token": TOKEN, "tlsFingerprint": fingerprint });
        Home::new(&json!({ "gateway": { "mode": "remote", "remote": remote } }))
    };
    let colons: Vec<String> =
        pin.to_uppercase().as_bytes().chunks(2).map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    let plain = url.replace("wss", "ws");
    for (configured, flag, url, want) in [
        (Some(&*pin), None, &url, None),
        (Some(&*format!("SHA256:{}", colons.join(":"))), None, &url, None),
        (Some(&*other), Some(&*pin), &url, None),
        (None, Some(&*pin), &url, None),
        (Some(""), Some(&*pin), &url, None),
        (Some(&*other), None, &url, Some("gateway tls fingerprint mismatch")),
        (Some(&*pin), Some(&*other), &url, Some("gateway tls fingerprint mismatch")),
        (Some("beef"), None, &url, Some("64 hex digits")),
        (None, None, &url, Some("not to be trusted")),
        (Some(""), None, &url, Some("--tls-fingerprint")),
        (Some(&*pin), None, &plain, Some("write wss://")),
        (None, None, &plain, Some("wants wss://")),
    ] {
        let home = remote(configured, url);
        let mut args = vec!["gateway", "call", "health"];
        args.extend(flag.iter().flat_map(|it| ["--tls-fingerprint", it]));
        let out = home.run(&args);
        let text = said(&out);
        assert_eq!(out.status.success(), want.is_none(), "{configured:?} {flag:?} {url}: {text}");
        assert!(want.is_none_or(|it| text.contains(it)), "{configured:?} {flag:?} {url}: {text}");
    }
    // By an authority of one's own: the certificate vouches for itself here, by its name.
    let authority = json!({ "gateway": { "mode": "remote", "tls": { "caPath": cert(&server.home) },
        "remote": { "url": url.replace("127.0.0.1", "localhost"), "token": TOKEN } } });
    let out = Home::new(&authority).run(&["gateway", "call", "health"]);
    assert!(out.status.success(), "{}", said(&out));
    // TLS to a gateway without it.
    let plain = Server::start(&config());
    let out = remote(None, &format!("wss://127.0.0.1:{}", plain.port)).run(&["gateway", "call", "health"]);
    assert!(said(&out).contains("write ws:// instead"), "{}", said(&out));
}
