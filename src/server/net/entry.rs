//! One connection of the loop: its socket, what it speaks, and how its bytes leave.
use crate::base::limits::{OUT_QUEUE_BYTES_MAX, PREAUTH_FRAME_BYTES_MAX};
use crate::conn::answer::Refusal;
use crate::conn::{Bytes, Conn};
use crate::gateway::peer::Way;
use crate::server::tls::{Fed, Session};
use mio::net::TcpStream;
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;

/// A socket and what is known of it.
pub(super) struct Entry {
    pub(super) socket: TcpStream,
    pub(super) conn: Conn,
    /// Between the two, on a port that speaks TLS.
    pub(super) tls: Option<Box<Session>>,
    pub(super) from: Way,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) shut: bool,
    /// The core has heard of it, and wants to hear of its end: a WebSocket, or a request that has no answer yet.
    pub(super) known: bool,
    /// The core wants to hear when all is written.
    pub(super) tell_drained: bool,
    /// Stands in the list of this turn.
    pub(super) touched: bool,
    /// When the timer heap will next look at it.
    pub(super) armed: Option<u64>,
    /// Its place among the sockets that have not authenticated; None once it has.
    pub(super) waiting_since: Option<u64>,
}

impl Entry {
    /// What the socket had.
    pub(super) fn take_in(&mut self, bytes: &mut [u8], now_ms: u64) {
        let conn = &mut self.conn;
        let Some(tls) = &mut self.tls else { return conn.on_bytes(bytes, now_ms) };
        match tls.on_bytes(bytes, &mut |plain| conn.on_bytes(plain, now_ms)) {
            Fed::Fine => {}
            Fed::Closed => conn.on_eof(now_ms),
            Fed::Plain => {
                self.tls = None;
                conn.refuse(Refusal::bad("this port speaks TLS: use https:// or wss://"), now_ms);
            }
            Fed::Failed(err) => {
                log::debug!(target: "net", "TLS with {}: {err}", self.from.ip);
                conn.give_up(now_ms);
            }
        }
    }

    pub(super) fn wants_read(&self) -> bool {
        let heard = self.tls.as_ref().is_none_or(|it| it.out().len() <= PREAUTH_FRAME_BYTES_MAX);
        heard && self.conn.wants_read()
    }

    pub(super) fn flush(&mut self) {
        if self.tls.is_some() {
            self.flush_sealed()
        } else {
            self.flush_plain()
        }
        let sealed = self.tls.as_ref().is_some_and(|it| !it.out().is_empty());
        if self.conn.wants_shutdown() && !sealed && !self.shut {
            self.shut = true;
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    fn flush_plain(&mut self) {
        while self.writable && !self.conn.out().is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let n = self.conn.out().slices(&mut slices);
            match self.socket.write_vectored(&slices[..n]) {
                Ok(n) => self.conn.out_written(n),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.conn.on_lost();
                    break;
                }
            }
        }
    }

    fn flush_sealed(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        while self.writable {
            if tls.out().is_empty() {
                match self.conn.wants_shutdown() {
                    true => tls.close(),
                    false => tls.seal(self.conn.out()),
                }
            }
            if tls.out().is_empty() {
                return;
            }
            match self.socket.write(tls.out()) {
                Ok(n) => match tls.out_written(n) {
                    0 => {}
                    plain => self.conn.out_written(plain),
                },
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.conn.on_lost(),
            }
        }
    }

    /// TLS tells an end from a cut.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls
            && !self.shut
        {
            tls.close();
            // Best effort: it is gone, or will be.
            let _ = self.socket.write(tls.out());
        }
    }

    pub(super) fn has_nothing_to_write(&self) -> bool {
        self.conn.out().is_empty() && self.tls.as_ref().is_none_or(|it| it.out().is_empty())
    }
}

/// Who reads slower than a run speaks is cut off: what is behind would be worth nothing.
pub(super) fn feed(conn: &mut Conn, piece: Bytes, now_ms: u64) {
    if conn.is_streaming() && conn.out().len() > OUT_QUEUE_BYTES_MAX {
        log::info!(target: "net", "a client that does not read its stream is cut off");
        return conn.on_lost();
    }
    conn.stream(piece, now_ms);
}

/// Reference 5.1: a client whose queue is over the limit misses what may be missed, and is closed for what may not.
pub(super) fn offer(conn: &mut Conn, frame: &Bytes, drop_if_slow: bool, now_ms: u64) {
    match (conn.out().len() > OUT_QUEUE_BYTES_MAX, drop_if_slow) {
        (false, _) => conn.send(frame.clone()),
        (true, true) => {}
        (true, false) => conn.close(1008, "slow consumer", now_ms),
    }
}
