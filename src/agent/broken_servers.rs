//! Model servers that misbehave, each in its own way (reliability plan R15): every call ends, with its own error, and soon.
use super::error::{ErrorKind, TurnError, Wait};
use super::http::{Patience, Wire};
use super::model::{Delta, Done, TurnRequest};
use super::providers::{Api, Target, run};
use crate::base::cancel::Cancel;
use crate::base::limits::MODEL_LINE_BYTES_MAX;
use crate::wire::dns::Lookup;
use crate::wire::proxy::Proxies;
use crossbeam_channel::{Receiver, bounded};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// Long enough for a loaded machine, short enough to wait for.
const SHORT_MS: u64 = 80;
/// Must not pass in a test.
const LONG_MS: u64 = 60_000;

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const HELLO: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const END: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// Serves one connection on a thread; its head and body have been read. What `play` returns tells how it went.
fn serve<T: Send + 'static>(play: impl FnOnce(TcpStream) -> T + Send + 'static) -> (String, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tx, rx) = bounded(1);
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        read_request(&mut socket);
        tx.send(play(socket)).unwrap();
    });
    (url, rx)
}

fn read_request(socket: &mut TcpStream) -> String {
    let (mut bytes, mut part) = (vec![], [0; 4096]);
    loop {
        let n = socket.read(&mut part).unwrap();
        assert!(n > 0, "the request ends early");
        bytes.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|it| it.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.trim().parse().unwrap() {
            return text;
        }
    }
}

/// Waits until the other side has closed.
fn until_closed(mut socket: TcpStream) -> bool {
    let mut part = [0; 64];
    loop {
        match socket.read(&mut part) {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
    }
}

fn patient() -> Patience {
    Patience { connect_ms: LONG_MS, first_byte_ms: LONG_MS, idle_ms: LONG_MS, total_ms: LONG_MS }
}

fn target(base_url: &str) -> Target {
    Target {
        api: Api::OpenaiCompletions,
        provider: "mock".to_owned(),
        base_url: base_url.to_owned(),
        key: None,
        bearer: false,
        headers: vec![],
        reasoning: false,
        context_window: None,
        max_tokens: None,
        compat: json!({}),
    }
}

fn call_with(base_url: &str, wire: &Wire, cancel: &Cancel) -> (String, Result<Done, TurnError>) {
    let mut said = String::new();
    let request = TurnRequest { model: "m".to_owned(), ..TurnRequest::default() };
    let end = run(&target(base_url), &request, wire, cancel, &mut |it| {
        if let Delta::Text(text) = it {
            said.push_str(&text);
        }
    });
    (said, end)
}

fn call(base_url: &str, patience: Patience) -> (String, Result<Done, TurnError>) {
    call_with(base_url, &Wire::new(patience, Proxies::default()), &Cancel::new())
}

fn kind(end: Result<Done, TurnError>) -> ErrorKind {
    end.unwrap_err().kind
}

#[test]
fn a_good_server_and_its_next_message() {
    for _ in 0..2 {
        let (url, _) = serve(|mut socket| write!(socket, "{STREAM}{HELLO}{END}").is_ok());
        let (said, end) = call(&url, patient());
        assert_eq!(said, "Hello");
        end.unwrap();
    }
}

#[test]
fn the_end_does_not_wait_for_the_socket() {
    let (url, closed) = serve(|mut socket| {
        write!(socket, "{STREAM}{HELLO}{END}").unwrap();
        until_closed(socket)
    });
    call(&url, patient()).1.unwrap();
    assert!(closed.recv().unwrap());
}

#[test]
fn never_answers() {
    let (url, closed) = serve(until_closed);
    let (_, end) = call(&url, Patience { first_byte_ms: SHORT_MS, ..patient() });
    assert_eq!(kind(end), ErrorKind::Timeout(Wait::FirstByte));
    assert!(closed.recv().unwrap(), "its socket is closed");
}

#[test]
fn falls_silent() {
    let (url, closed) = serve(|mut socket| {
        write!(socket, "{STREAM}{HELLO}").unwrap();
        until_closed(socket)
    });
    let (said, end) = call(&url, Patience { idle_ms: SHORT_MS, ..patient() });
    assert_eq!((said.as_str(), kind(end)), ("Hello", ErrorKind::Timeout(Wait::Idle)));
    assert!(closed.recv().unwrap());
}

#[test]
fn one_token_at_a_time_for_ever() {
    // As fast as they are taken: only the total can end it.
    let (url, ended) = serve(|mut socket| {
        socket.write_all(STREAM.as_bytes()).unwrap();
        while socket.write_all(b": still here\n\n").is_ok() {
            std::thread::yield_now();
        }
        true
    });
    let (_, end) = call(&url, Patience { total_ms: SHORT_MS, idle_ms: SHORT_MS, ..patient() });
    let kind = kind(end);
    // A fast machine reaches the cap on bytes first.
    assert!(matches!(kind, ErrorKind::Timeout(Wait::Total) | ErrorKind::Protocol), "{kind:?}");
    assert!(ended.recv().unwrap());
}

#[test]
fn resets_in_the_middle() {
    let (url, reset) = serve(|mut socket| {
        write!(socket, "{STREAM}{HELLO}").unwrap();
        reset_on_close(&socket);
    });
    let (_, end) = call(&url, patient());
    reset.recv().unwrap();
    assert_eq!(kind(end), ErrorKind::Network);
}

/// SO_LINGER of zero: closing sends RST.
#[expect(unsafe_code, reason = "std has no stable way to set SO_LINGER")]
fn reset_on_close(socket: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the pointer and its size are those of a live value of the type that SO_LINGER takes.
    let ok = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            std::ptr::from_ref(&linger).cast(),
            size,
        )
    };
    assert_eq!(ok, 0);
}

#[test]
fn ends_in_the_middle() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for text in [format!("{STREAM}{HELLO}"), format!("{chunked}32\r\n{HELLO}"), STREAM.to_owned()] {
        let (url, _) = serve(move |mut socket| socket.write_all(text.as_bytes()).is_ok());
        let (_, end) = call(&url, patient());
        assert_eq!(kind(end), ErrorKind::Network);
    }
}

#[test]
fn a_web_page() {
    let page = "<!doctype html><title>Router login</title>";
    for head in ["content-type: text/html", "content-type: text/event-stream", "x-none: 1"] {
        let (url, _) = serve(move |mut socket| {
            let length = page.len();
            write!(socket, "HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: {length}\r\n\r\n{page}").is_ok()
        });
        let err = call(&url, patient()).1.unwrap_err();
        assert_eq!(err.kind, ErrorKind::Protocol, "{head}");
        assert!(err.explain("mock").contains("a web page"), "{err}");
    }
}

#[test]
fn a_line_without_end() {
    let (url, sent) = serve(|mut socket| {
        write!(socket, "{STREAM}data: ").unwrap();
        let (chunk, mut sent) = (vec![b'x'; 64 * 1024], 0);
        while sent < 1 << 30 && socket.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let (_, end) = call(&url, patient());
    assert_eq!(kind(end), ErrorKind::Protocol);
    let sent = sent.recv().unwrap();
    assert!(sent < 8 * MODEL_LINE_BYTES_MAX, "the server could send {sent} bytes");
}

#[test]
fn stalls_in_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let (tx, closed) = bounded(1);
    std::thread::spawn(move || tx.send(until_closed(listener.accept().unwrap().0)).unwrap());
    let (_, end) = call(&url, Patience { connect_ms: SHORT_MS, ..patient() });
    assert_eq!(kind(end), ErrorKind::Timeout(Wait::Connect));
    assert!(closed.recv().unwrap());
}

#[test]
fn its_name_is_never_found() {
    let hangs: Lookup = |_| {
        loop {
            std::thread::park();
        }
    };
    let wire = Wire {
        lookup: hangs,
        ..Wire::new(Patience { connect_ms: SHORT_MS, ..patient() }, Proxies::default())
    };
    let (_, end) = call_with("http://model.test/v1", &wire, &Cancel::new());
    assert_eq!(kind(end), ErrorKind::Timeout(Wait::Connect));
    let wire = Wire { lookup: |_| Ok(vec![]), ..wire };
    assert_eq!(kind(call_with("http://model.test/v1", &wire, &Cancel::new()).1), ErrorKind::Network);
}

#[test]
fn nobody_listens() {
    let err = call("http://127.0.0.1:1/v1", patient()).1.unwrap_err();
    assert_eq!(err.kind, ErrorKind::Network);
    assert!(err.reason.contains("refused"), "{err}");
    for bad in ["", "127.0.0.1:1", "ftp://host/", "http://", "http://a b/"] {
        assert_eq!(kind(call(bad, patient()).1), ErrorKind::BadRequest, "{bad:?}");
    }
}

#[test]
fn speaks_something_else() {
    for text in ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "\r\n\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"] {
        let (url, _) = serve(move |mut socket| socket.write_all(text.as_bytes()).is_ok());
        let kind = kind(call(&url, patient()).1);
        assert!(matches!(kind, ErrorKind::Protocol | ErrorKind::Network), "{text:?}: {kind:?}");
    }
}

#[test]
fn a_head_without_end() {
    let (url, _) = serve(|mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while socket.write_all(&[b'a'; 4096]).is_ok() {}
    });
    let kind = kind(call(&url, patient()).1);
    assert!(matches!(kind, ErrorKind::Protocol | ErrorKind::Network), "{kind:?}");
}

#[test]
fn refuses() {
    let (url, _) = serve(|mut socket| {
        let body = "{\"error\":{\"message\":\"mock failure\"}}";
        let length = body.len();
        write!(
            socket,
            "HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .is_ok()
    });
    let err = call(&url, patient()).1.unwrap_err();
    assert_eq!(err.kind, ErrorKind::RateLimit { retry_after_ms: Some(7000) });
    assert_eq!((err.status, err.reason.as_str()), (Some(429), "mock failure"));
}

#[test]
fn redirects_are_not_followed() {
    let (url, _) = serve(|mut socket| {
        write!(socket, "HTTP/1.1 307 Go\r\nlocation: http://elsewhere/v1\r\ncontent-length: 0\r\n\r\n")
            .is_ok()
    });
    let err = call(&url, patient()).1.unwrap_err();
    assert_eq!((err.kind, err.status), (ErrorKind::BadRequest, Some(307)));
    assert!(err.reason.contains("http://elsewhere/v1"), "{err}");
}

#[test]
fn a_whole_answer_where_a_stream_was_asked_for() {
    for (body, expected) in [
        ("{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}", ErrorKind::Protocol),
        ("{\"error\":{\"message\":\"no\",\"type\":\"overloaded_error\"}}", ErrorKind::Overloaded),
    ] {
        let (url, _) = serve(move |mut socket| {
            let length = body.len();
            write!(
                socket,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .is_ok()
        });
        assert_eq!(kind(call(&url, patient()).1), expected);
    }
}

#[test]
fn stopping_closes_the_socket_at_every_stage() {
    let hangs: Lookup = |_| {
        loop {
            std::thread::park();
        }
    };
    // (what the server sends before it falls silent, through a name that is never found)
    for (sent, name) in [("", false), (STREAM, false), ("", true)] {
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let (url, closed) = serve(move |mut socket| {
            socket.write_all(sent.as_bytes()).unwrap();
            stop.cancel();
            until_closed(socket)
        });
        if name {
            let wire = Wire { lookup: hangs, ..Wire::new(patient(), Proxies::default()) };
            let stop = cancel.clone();
            let stopper = std::thread::spawn(move || stop.cancel());
            assert_eq!(kind(call_with("http://model.test/v1", &wire, &cancel).1), ErrorKind::Cancelled);
            stopper.join().unwrap();
            continue;
        }
        let wire = Wire::new(patient(), Proxies::default());
        assert_eq!(kind(call_with(&url, &wire, &cancel).1), ErrorKind::Cancelled);
        assert!(closed.recv().unwrap());
        assert_eq!(kind(call_with(&url, &wire, &cancel).1), ErrorKind::Cancelled, "before it begins");
    }
}

#[test]
fn a_proxy_is_asked_for_a_way_through() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tx, asked) = bounded(1);
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut head, mut part) = (String::new(), [0; 1024]);
        while !head.contains("\r\n\r\n") {
            let n = socket.read(&mut part).unwrap();
            head.push_str(std::str::from_utf8(&part[..n]).unwrap());
        }
        socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap();
        tx.send(head).unwrap();
    });
    let proxy = format!("http://127.0.0.1:{port}");
    let env = crate::config::Env::from([("http_proxy", proxy.as_str())]);
    let wire = Wire { lookup: |_| Ok(vec![]), ..Wire::new(patient(), Proxies::of(|name| env.get(name))) };
    let (_, end) = call_with("http://model.test:8080/v1", &wire, &Cancel::new());
    assert!(end.is_err());
    assert!(asked.recv().unwrap().starts_with("CONNECT model.test:8080 "));
}
