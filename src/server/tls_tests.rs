//! TLS without sockets: a rustls client on the other side, every cut of what it sends.
use super::*;
use crate::config::{Env, Paths, Tls};
use crate::conn::Bytes;
use crate::server::certificate::{self, Identity};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use std::io::{Read, Write};

/// A server's identity and a client's configuration that trusts it.
fn both_sides(name: &str, version: &'static SupportedProtocolVersion) -> (Identity, Arc<ClientConfig>) {
    let home = std::env::temp_dir().join(format!("gatewayd-tls-{name}-{}", std::process::id()));
    let paths = Paths::resolve(&Env::from([("HOME", home.to_str().unwrap())]), None);
    let tls = Tls { enabled: true, auto_generate: true, ..Tls::default() };
    let identity = certificate::load(&tls, &paths, "pi", 1_795_000_000_000).unwrap();
    let mut roots = RootCertStore::empty();
    certificate::certificates(&identity.path).unwrap().into_iter().for_each(|it| roots.add(it).unwrap());
    std::fs::remove_dir_all(home).unwrap();
    let versions = ClientConfig::builder_with_provider(certificate::provider());
    let config = versions.with_protocol_versions(&[version]).unwrap();
    (identity, Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

struct Talk {
    client: ClientConnection,
    server: Session,
    /// What the server understood.
    heard: Vec<u8>,
    /// How many bytes the client has sent, and may send before the next piece begins.
    sent: usize,
}

impl Talk {
    fn new(identity: &Identity, client: &Arc<ClientConfig>) -> Talk {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(client.clone(), name).unwrap();
        client.set_buffer_limit(None);
        Talk { client, server: Session::new(&identity.config).unwrap(), heard: vec![], sent: 0 }
    }
    /// Client to server, in pieces: each ends where `cut` says, at the latest.
    fn up(&mut self, cut: &dyn Fn(usize) -> usize) -> Fed {
        let mut bytes = vec![];
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        let mut fed = Fed::Fine;
        let mut rest = &mut bytes[..];
        while !rest.is_empty() && fed == Fed::Fine {
            let n = cut(self.sent).clamp(1, rest.len());
            let (piece, behind) = rest.split_at_mut(n);
            let heard = &mut self.heard;
            fed = self.server.on_bytes(piece, &mut |plain| heard.extend_from_slice(plain));
            (rest, self.sent) = (behind, self.sent + n);
        }
        fed
    }
    /// Server to client, `step` bytes at a time; the plain bytes that count as written.
    fn down(&mut self, step: usize) -> usize {
        let mut written = 0;
        while !self.server.out().is_empty() {
            let n = self.server.out().len().min(step);
            self.client.read_tls(&mut &self.server.out()[..n]).unwrap();
            self.client.process_new_packets().unwrap();
            written += self.server.out_written(n);
        }
        written
    }
    fn shake_hands(&mut self, cut: &dyn Fn(usize) -> usize) {
        while self.client.is_handshaking() {
            assert_eq!(self.up(cut), Fed::Fine);
            self.down(usize::MAX);
        }
        assert_eq!(self.up(cut), Fed::Fine);
    }
    fn read(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 20];
        let n = self.client.reader().read(&mut buffer).unwrap_or(0);
        buffer.truncate(n);
        buffer
    }
    /// Seals all of `out` and carries it to the client.
    fn answer(&mut self, out: &mut Out, step: usize) -> Vec<u8> {
        let mut got = vec![];
        while !out.is_empty() {
            let before = out.len();
            self.server.seal(out);
            assert!(self.server.out().len() <= 2 * RECORD_BYTES_MAX + 16 * RECORD_COST);
            let written = self.down(step);
            assert!(written > 0 && written <= before);
            out.advance(written);
            got.extend(self.read());
        }
        got
    }
}

fn out(pieces: &[usize]) -> (Out, Vec<u8>) {
    let (mut out, mut all) = (Out::default(), vec![]);
    for (n, size) in pieces.iter().enumerate() {
        let piece: Vec<u8> = (0..*size).map(|it| (it * 7 + n) as u8).collect();
        all.extend_from_slice(&piece);
        out.push(Bytes::from(piece));
    }
    (out, all)
}

#[test]
fn where_it_is_cut_changes_nothing() {
    for (name, version) in [("cut12", &TLS12), ("cut13", &TLS13)] {
        let (identity, config) = both_sides(name, version);
        let play = |cut: &dyn Fn(usize) -> usize| {
            let mut talk = Talk::new(&identity, &config);
            talk.shake_hands(cut);
            talk.client.writer().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            talk.client.writer().write_all(&[b'x'; 300]).unwrap();
            assert_eq!(talk.up(cut), Fed::Fine);
            assert_eq!(talk.heard.len(), 318);
            assert!(talk.heard.starts_with(b"GET / HTTP/1.1\r\n\r\nxx"));
            assert!(talk.server.incoming.is_empty());
            let (mut out, all) = out(&[3, 500]);
            assert_eq!(talk.answer(&mut out, usize::MAX), all);
            talk.client.send_close_notify();
            assert_eq!(talk.up(cut), Fed::Closed);
            talk.sent
        };
        let total = play(&|_| 1);
        // Two pieces, wherever the first one ends.
        for at in (1..total).step_by(3) {
            play(&|sent| if sent < at { at - sent } else { usize::MAX });
        }
    }
}

#[test]
fn large_messages_both_ways() {
    let (identity, config) = both_sides("large", &TLS13);
    let mut talk = Talk::new(&identity, &config);
    talk.shake_hands(&|_| usize::MAX);
    let (mut sizes, mut all) = (vec![], vec![]);
    for size in [1, 16_383, 16_384, 16_385, 500_000] {
        let bytes: Vec<u8> = (0..size).map(|it| (it * 31 + 5) as u8).collect();
        talk.client.writer().write_all(&bytes).unwrap();
        all.extend_from_slice(&bytes);
        sizes.push(size);
    }
    assert_eq!(talk.up(&|_| 65_536), Fed::Fine);
    assert!(talk.heard == all);
    let (mut answer, all) = out(&sizes);
    assert!(talk.answer(&mut answer, 1000) == all);
}

#[test]
fn written_is_what_has_left() {
    let (identity, config) = both_sides("written", &TLS13);
    let mut talk = Talk::new(&identity, &config);
    talk.shake_hands(&|_| usize::MAX);
    let (answer, _) = out(&[100, 50]);
    talk.server.seal(&answer);
    let cipher = talk.server.out().len();
    assert!(cipher > 150);
    let mut written = 0;
    for at in 1..cipher {
        written += talk.server.out_written(1);
        assert!(written < 150 && written <= at);
    }
    assert_eq!(written + talk.server.out_written(1), 150);
    assert_eq!(talk.server.out_written(0), 0);
}

/// Its keys, and nothing else.
#[test]
fn an_idle_session_holds_no_buffer() {
    let (identity, config) = both_sides("idle", &TLS13);
    let mut talk = Talk::new(&identity, &config);
    talk.shake_hands(&|_| 7);
    talk.client.writer().write_all(&[1; 40_000]).unwrap();
    talk.up(&|_| 4096);
    let (mut answer, _) = out(&[40_000]);
    talk.answer(&mut answer, 4096);
    assert_eq!((talk.server.incoming.capacity(), talk.server.outgoing.capacity()), (0, 0));
    assert!(size_of::<Session>() < 1600, "{}", size_of::<Session>());
}

#[test]
fn goodbyes() {
    for (name, version) in [("bye12", &TLS12), ("bye13", &TLS13)] {
        let (identity, config) = both_sides(name, version);
        let mut talk = Talk::new(&identity, &config);
        // Before there are keys there is nothing to say it with.
        let mut early = Session::new(&identity.config).unwrap();
        early.close();
        assert!(early.out().is_empty());
        talk.shake_hands(&|_| usize::MAX);
        talk.server.close();
        talk.server.close();
        talk.down(usize::MAX);
        let state = talk.client.process_new_packets().unwrap();
        assert!(state.peer_has_closed());
        talk.client.writer().write_all(b"late").unwrap();
        talk.client.send_close_notify();
        assert_eq!(talk.up(&|_| usize::MAX), Fed::Closed);
        assert_eq!(talk.heard, b"late");
    }
}

#[test]
fn what_is_no_tls() {
    let (identity, _) = both_sides("none", &TLS13);
    // A hello of TLS 1.1 (RFC 4346 section 7.4.1.2): one cipher, no compression.
    let mut old = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02".to_vec();
    old.extend([7; 32]);
    old.extend(b"\x00\x00\x02\x00\x2f\x01\x00");
    for (bytes, plain, alert) in [
        (&b"GET / HTTP/1.1\r\n"[..], true, None),
        (b"\r\nPOST", true, None),
        (b"\x80\x2e\x01\x00\x02", false, Some(50)),
        (b"\x16\x03\x01\xff\xff", false, Some(50)),
        (b"\x17\x03\x03\x00\x01x", false, Some(10)),
        (&old, false, Some(40)),
    ] {
        let mut session = Session::new(&identity.config).unwrap();
        let fed = session.on_bytes(&mut bytes.to_vec(), &mut |_| panic!("nothing was said"));
        assert_eq!(fed == Fed::Plain, plain, "{bytes:?} {fed:?}");
        assert_eq!(matches!(fed, Fed::Failed(_)), !plain, "{bytes:?} {fed:?}");
        // Type 21, a version, length 2, fatal, and which.
        let said = (session.out().len() == 7 && session.out()[0] == 21).then(|| session.out()[6]);
        assert_eq!(said, alert, "{bytes:?} {:?}", session.out());
        if !plain {
            let more = session.on_bytes(&mut b"more".to_vec(), &mut |_| panic!("it is over"));
            assert_eq!(more, Fed::Fine);
        }
    }
    let mut half = Session::new(&identity.config).unwrap();
    assert_eq!(half.on_bytes(&mut [0x16], &mut |_| ()), Fed::Fine);
    // Only the first byte of all decides.
    assert!(matches!(half.on_bytes(&mut b"GET /".to_vec(), &mut |_| ()), Fed::Failed(_)));
}
