//! Stubs on 127.0.0.2 play the public internet, 127.0.0.1 plays what must never be reached.
use super::*;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const PUBLIC: &str = "127.0.0.2";
const PRIVATE: &str = "127.0.0.1";

fn plays_public(address: IpAddr) -> bool {
    address.to_string() == PUBLIC
}

/// A server on a thread of its own for every connection; counts them.
struct Stub {
    port: u16,
    reached: Arc<AtomicUsize>,
}

impl Stub {
    fn new(host: &str, port: u16, play: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind((host, port)).unwrap();
        let (port, reached) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let (count, play) = (reached.clone(), Arc::new(play));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let (mut socket, play) = (socket.unwrap(), play.clone());
                std::thread::spawn(move || {
                    let head = read_head(&mut socket);
                    play(&head, &mut socket);
                });
            }
        });
        Stub { port, reached }
    }
    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
    fn url(&self, path: &str) -> String {
        format!("http://{PUBLIC}:{}{path}", self.port)
    }
}

fn read_head(socket: &mut TcpStream) -> String {
    let (mut bytes, mut byte) = (vec![], [0]);
    while !bytes.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap_or(0) == 1 {
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

fn say(socket: &mut TcpStream, text: &str) {
    // The client may have closed on purpose.
    let _ = socket.write_all(text.as_bytes());
}

fn ask(url: &str) -> Ask<'_> {
    Ask { url, bytes_max: 1000, total_ms: 60_000, redirects_max: 3 }
}

fn get(fetcher: Fetcher, url: &str) -> Result<Fetched, FetchError> {
    fetcher.get(&ask(url), &Cancel::new())
}

const STUBBED: Fetcher = Fetcher { lookup: no_lookup, is_public: plays_public };

fn no_lookup(name: &str) -> io::Result<Vec<SocketAddr>> {
    Err(io::Error::other(format!("{name} was looked up")))
}

#[test]
fn no_literal_reaches_this_machine_or_its_network() {
    let table = include_str!("../../../tests/data/ssrf.txt");
    let rows: Vec<&str> = table.lines().filter(|it| !it.is_empty() && !it.starts_with('#')).collect();
    assert!(rows.len() >= 60, "{}", rows.len());
    // A listener on every address of this machine: whoever gets through is counted.
    let stub =
        Stub::new("0.0.0.0", 0, |_, socket| say(socket, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    // Names go to the system, as always.
    for row in rows {
        let url = row.replace("PORT", &stub.port.to_string());
        let end = get(Fetcher::default(), &url);
        assert!(matches!(end, Err(FetchError::Address(_) | FetchError::NotPublic(_))), "{url}: {end:?}");
    }
    assert_eq!(stub.reached(), 0);
}

#[test]
fn a_name_is_looked_up_once_and_every_address_is_judged() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    // Rebinds: the public address first, then the private one.
    fn rebinds(name: &str) -> io::Result<Vec<SocketAddr>> {
        let host = if SEEN.fetch_add(1, Ordering::SeqCst) == 0 { PUBLIC } else { PRIVATE };
        Ok(vec![name.replace("rebinds.example", host).parse().unwrap()])
    }
    fn mixed(name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok([PUBLIC, PRIVATE].map(|it| name.replace("mixed.example", it).parse().unwrap()).to_vec())
    }
    fn none(_: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![])
    }
    let hello = |_: &str, socket: &mut TcpStream| {
        say(
            socket,
            "HTTP/1.1 200 OK\r\ncontent-type: Text/Plain; charset=x\r\ncontent-length: 5\r\n\r\nhello",
        );
    };
    let stub = Stub::new(PUBLIC, 0, hello);
    let private = Stub::new(PRIVATE, stub.port, hello);
    let url = format!("http://rebinds.example:{}/", stub.port);
    let fetcher = Fetcher { lookup: rebinds, is_public: plays_public };
    let got = get(fetcher, &url).unwrap();
    assert_eq!((got.content_type.as_str(), &got.bytes[..]), ("Text/Plain; charset=x", &b"hello"[..]));
    assert_eq!((SEEN.load(Ordering::SeqCst), stub.reached()), (1, 1));
    assert_eq!(get(fetcher, &url), Err(FetchError::NotPublic("rebinds.example".to_owned())));
    let mixed = get(Fetcher { lookup: mixed, ..fetcher }, &format!("http://mixed.example:{}/", stub.port));
    assert_eq!(mixed, Err(FetchError::NotPublic("mixed.example".to_owned())));
    let none = get(Fetcher { lookup: none, ..fetcher }, "http://none.example/");
    assert_eq!(none, Err(FetchError::NoHost("none.example".to_owned())));
    assert_eq!((stub.reached(), private.reached()), (1, 0));
}

#[test]
fn a_redirect_is_judged_as_the_first_address_was() {
    let heads = Arc::new(Mutex::new(vec![]));
    let seen = heads.clone();
    let stub = Stub::new(PUBLIC, 0, move |head, socket| {
        seen.lock().unwrap().push(head.to_lowercase());
        let path = head.split(' ').nth(1).unwrap();
        // /to/<place> points there; /n counts down.
        let place = match path.strip_prefix("/to/") {
            Some(place) => place.to_owned(),
            None => match path[1..].parse::<u32>() {
                Ok(0) => return say(socket, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nend"),
                Ok(n) => format!("/{}", n - 1),
                Err(_) => return say(socket, "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"),
            },
        };
        say(socket, &format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n"));
    });
    let private = Stub::new(PRIVATE, stub.port, |_, _| {});
    assert_eq!(get(STUBBED, &stub.url("/3")).unwrap().bytes, b"end");
    assert_eq!(get(STUBBED, &stub.url("/4")), Err(FetchError::Redirects(3)));
    assert_eq!(get(STUBBED, &stub.url("/no")), Err(FetchError::Status(404)));
    for place in [
        format!("http://{PRIVATE}:{}/", stub.port),
        format!("//{PRIVATE}:{}/", stub.port),
        format!("http://0x7f000001:{}/", stub.port),
        format!("http://a@{PUBLIC}:{}/0", stub.port),
        format!("http://[::ffff:127.0.0.1]:{}/", stub.port),
        format!("http://localhost:{}/", stub.port),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "gopher://x/".to_owned(),
    ] {
        let end = get(Fetcher { lookup: system, ..STUBBED }, &stub.url(&format!("/to/{place}")));
        assert!(matches!(end, Err(FetchError::Address(_) | FetchError::NotPublic(_))), "{place}: {end:?}");
    }
    assert!(get(STUBBED, &stub.url("/to/file:///etc/passwd")).is_err());
    assert_eq!(private.reached(), 0);
    for secret in ["cookie:", "authorization:", "referer:"] {
        assert!(heads.lock().unwrap().iter().all(|it| !it.contains(secret)), "{secret}");
    }
}

#[test]
fn what_is_too_large_or_packed_is_not_kept() {
    let (tx, closed) = crossbeam_channel::bounded(1);
    let stub = Stub::new(PUBLIC, 0, move |head, socket| match head.split(' ').nth(1).unwrap() {
        "/said" => say(socket, "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"),
        "/packed" => say(socket, "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"),
        "/exact" => say(socket, &format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{:1000}", "")),
        _ => {
            say(socket, "HTTP/1.1 200 OK\r\n\r\n");
            while socket.write_all(&[b'x'; 1000]).is_ok() {}
            tx.send(()).unwrap();
        }
    });
    assert_eq!(get(STUBBED, &stub.url("/said")), Err(FetchError::TooLarge(1000)));
    assert_eq!(get(STUBBED, &stub.url("/packed")), Err(FetchError::Encoded("gzip".to_owned())));
    assert_eq!(get(STUBBED, &stub.url("/exact")).unwrap().bytes.len(), 1000);
    assert_eq!(get(STUBBED, &stub.url("/endless")), Err(FetchError::TooLarge(1000)));
    closed.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
}

#[test]
fn every_wait_ends() {
    let (tx, rx) = crossbeam_channel::unbounded::<TcpStream>();
    let stub = Stub::new(PUBLIC, 0, move |head, socket| {
        if head.contains("/slow") {
            say(socket, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        }
        tx.send(socket.try_clone().unwrap()).unwrap();
    });
    let kept = RefCell::new(vec![]);
    for path in ["/silent", "/slow"] {
        let url = stub.url(path);
        let end = STUBBED.get(&Ask { total_ms: 80, ..ask(&url) }, &Cancel::new());
        assert_eq!(end, Err(FetchError::Timeout(80)), "{path}");
        kept.borrow_mut().push(rx.recv().unwrap());
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let rx = rx.clone();
        let stopper = std::thread::spawn(move || {
            let socket = rx.recv().unwrap();
            stop.cancel();
            socket
        });
        assert_eq!(STUBBED.get(&ask(&url), &cancel), Err(FetchError::Cancelled), "{path}");
        kept.borrow_mut().push(stopper.join().unwrap());
        assert_eq!(STUBBED.get(&ask(&url), &cancel), Err(FetchError::Cancelled), "{path}");
    }
}
