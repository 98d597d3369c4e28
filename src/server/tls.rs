//! TLS between a socket and its [`Conn`](crate::conn::Conn): sealed bytes in, plain bytes out, and the other way round. No socket, no clock.
//!
//! ```text
//! socket ──► on_bytes ──► hand(plain) ──► Conn
//!        ◄── out ◄────── seal(conn.out) ◄──┘
//! ```
//!
//! * Where the input is cut never changes what happens (the any-cut test).
//! * Plain bytes count as written once the record that carries them has left, so that the connection's own accounting holds.
//! * Nothing is kept between records: an idle session holds its keys and no buffer.
use crate::conn::Out;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};
use std::io::IoSlice;
use std::sync::Arc;

/// The plain bytes of one record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a record costs beside its content: header, explicit nonce, tag, padding; and a key update in front of it, once in a while.
const RECORD_COST: usize = 256;

pub(super) struct Session {
    tls: UnbufferedServerConnection,
    /// The beginning of a record whose end has not come.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// How much of `outgoing` has left.
    left: usize,
    /// Plain bytes that `outgoing` carries and that do not count as written yet.
    sealed: usize,
    /// No byte has come.
    fresh: bool,
    /// We have said that nothing more follows.
    closed: bool,
    failed: bool,
}

/// What the bytes did.
#[derive(Debug, PartialEq)]
pub(super) enum Fed {
    Fine,
    /// The peer has said that nothing more follows.
    Closed,
    /// These are no TLS, but the beginning of an HTTP request.
    Plain,
    /// An alert may wait in [`Session::out`]; nothing else is of use.
    Failed(Error),
}

impl Session {
    /// # Errors
    /// A configuration that rustls cannot use.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Session, Error> {
        Ok(Session {
            tls: UnbufferedServerConnection::new(config.clone())?,
            incoming: vec![],
            outgoing: vec![],
            left: 0,
            sealed: 0,
            fresh: true,
            closed: false,
            failed: false,
        })
    }

    /// Takes what the socket had (and uses it as scratch paper); `hand` gets what it says.
    pub fn on_bytes(&mut self, bytes: &mut [u8], hand: &mut dyn FnMut(&[u8])) -> Fed {
        if self.failed {
            return Fed::Fine;
        }
        if std::mem::take(&mut self.fresh) && bytes.first().is_some_and(|it| is_http(*it)) {
            return Fed::Plain;
        }
        let mut kept = std::mem::take(&mut self.incoming);
        let all = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &mut kept
        };
        let (fed, used) = self.process(all, hand);
        if used < all.len() && matches!(fed, Fed::Fine) {
            self.incoming = all[used..].to_vec();
        }
        self.failed = matches!(fed, Fed::Failed(_));
        fed
    }

    /// Goes through whole records; answers how many bytes they were.
    fn process(&mut self, bytes: &mut [u8], hand: &mut dyn FnMut(&[u8])) -> (Fed, usize) {
        let (mut at, mut fed) = (0, Fed::Fine);
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut bytes[at..]);
            let more = match state {
                Ok(ConnectionState::ReadTraffic(mut it)) => {
                    while let Some(record) = it.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                hand(record.payload);
                            }
                            Err(err) => fed = Fed::Failed(err),
                        }
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut it)) => {
                    encode(&mut self.outgoing, |room| it.encode(room));
                    true
                }
                // It leaves in order, with everything else.
                Ok(ConnectionState::TransmitTlsData(it)) => {
                    it.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    fed = Fed::Closed;
                    true
                }
                // Waits for more, or is over. Early data is never agreed to.
                Ok(_) => false,
                Err(_) if matches!(fed, Fed::Failed(_)) => false,
                // Once more without these bytes, for the alert that it may have queued.
                Err(err) => {
                    fed = Fed::Failed(err);
                    discard = bytes.len() - at;
                    true
                }
            };
            at += discard;
            if !more {
                return (fed, at);
            }
        }
    }

    /// Seals what the connection has to say, a record's worth or a little more. Only when [`Session::out`] is empty.
    pub fn seal(&mut self, plain: &Out) {
        let mut slices = [IoSlice::new(&[]); 16];
        let n = plain.slices(&mut slices);
        for slice in &slices[..n] {
            for piece in slice.chunks(RECORD_BYTES_MAX) {
                if self.outgoing.len() >= RECORD_BYTES_MAX || !self.write(piece) {
                    return;
                }
            }
        }
    }

    fn write(&mut self, plain: &[u8]) -> bool {
        let fits = self.when_open(plain.len() + RECORD_COST, |it, room| it.encrypt(plain, room));
        self.sealed += if fits { plain.len() } else { 0 };
        fits
    }

    /// Lets `fill` write into at most `room` bytes at the end. False when it would not, or while there is no key to do so.
    fn when_open(
        &mut self,
        room: usize,
        fill: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> bool {
        let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut self.incoming);
        let at = self.outgoing.len();
        let mut done = 0;
        if let Ok(ConnectionState::WriteTraffic(mut it)) = state {
            self.outgoing.resize(at + room, 0);
            done = fill(&mut it, &mut self.outgoing[at..]).unwrap_or(0);
            self.outgoing.truncate(at + done);
        }
        self.incoming.drain(..discard);
        done > 0
    }

    /// Says that nothing more follows, once.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.when_open(RECORD_COST, |it, room| it.queue_close_notify(room));
        }
    }

    /// What the socket must take.
    pub fn out(&self) -> &[u8] {
        &self.outgoing[self.left..]
    }

    /// The socket took `n` bytes. Answers how many plain bytes count as written with them: the last ones only once all has left.
    pub fn out_written(&mut self, n: usize) -> usize {
        self.left += n;
        let credit = if self.out().is_empty() { self.sealed } else { n.min(self.sealed.saturating_sub(1)) };
        self.sealed -= credit;
        if self.out().is_empty() {
            (self.outgoing, self.left) = (vec![], 0);
        }
        credit
    }
}

/// TLS begins with 0x16 (or, long ago, 0x80); every HTTP method with a letter, and some clients send an empty line first.
fn is_http(first: u8) -> bool {
    first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n')
}

/// Lets `fill` write as much as it says it needs.
fn encode(to: &mut Vec<u8>, mut fill: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let at = to.len();
    if let Err(EncodeError::InsufficientSize(it)) = fill(&mut []) {
        to.resize(at + it.required_size, 0);
        let done = fill(&mut to[at..]).unwrap_or(0);
        to.truncate(at + done);
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
