//! Who is let in, who makes room for whom, and who is told that the house is full.
//!
//! Sockets that have not authenticated stand in two queues, this machine's and all others', so that a crowd from elsewhere never keeps the
//! owner out.
use super::entry::Entry;
use super::{CONNS, Net, Slot};
use crate::base::ids::ConnId;
use crate::base::limits::{ACCEPTS_A_TURN, PREAUTH_LOOPBACK_RESERVE, PREAUTH_SOCKETS_MAX};
use crate::base::sys;
use crate::conn::Conn;
use crate::conn::answer::Refusal;
use crate::gateway::peer::Way;
use crate::server::Input;
use crate::server::tls::Session;
use mio::net::TcpStream;
use mio::{Interest, Token};
use std::io::{self, Write};
use std::net::Shutdown;

/// The descriptor that is given up when none is left.
#[expect(clippy::disallowed_methods, reason = "/dev/null opens without blocking")]
pub(super) fn open_spare() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}

impl Net<'_> {
    pub(super) fn accept(&mut self) {
        if !self.batch.is_empty() {
            return;
        }
        for n in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_A_TURN {
                if !self.accepting[n] {
                    break;
                }
                let (listener, door) = &self.listeners[n];
                match listener.accept() {
                    Ok((socket, address)) => {
                        let from = Way { ip: address.ip().to_canonical(), door: *door };
                        self.admit(socket, from);
                    }
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.accepting[n] = false,
                    Err(err) if matches!(err.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                        self.refuse_one(n)
                    }
                    // The client left before we came, or the network said so: the next one may be fine.
                    Err(err) => log::debug!(target: "net", "accept: {err}"),
                }
            }
        }
    }

    /// No descriptor is left: give up the spare one to tell one client so.
    fn refuse_one(&mut self, listener: usize) {
        log::warn!(target: "net", "out of file descriptors: refusing connections with 503 (raise LimitNOFILE or ulimit -n)");
        self.spare = None;
        match self.listeners[listener].0.accept() {
            Ok((socket, _)) => self.say_busy(socket),
            Err(_) => self.accepting[listener] = false,
        }
        self.spare = open_spare();
    }

    fn admit(&mut self, mut socket: TcpStream, from: Way) {
        let pool = usize::from(!from.ip.is_loopback());
        let all = self.waiting[0].len() + self.waiting[1].len();
        let crowded = match pool {
            0 => all >= PREAUTH_SOCKETS_MAX,
            _ => {
                self.waiting[1].len() >= PREAUTH_SOCKETS_MAX - PREAUTH_LOOPBACK_RESERVE
                    || all >= PREAUTH_SOCKETS_MAX
            }
        };
        if (crowded || self.open >= self.open_max) && !self.evict(pool) {
            return self.say_busy(socket);
        }
        // A socket that is already dead fails at its first read.
        let _ = socket.set_nodelay(true);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            (self.slots.len() - 1) as u32
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(err) = self.poll.registry().register(&mut socket, Token(CONNS + slot as usize), interest) {
            log::warn!(target: "net", "cannot watch a connection: {err}");
            self.free.push(slot);
            return;
        }
        let tls = match self.tls.as_ref().map(Session::new).transpose() {
            Ok(it) => it.map(Box::new),
            Err(err) => {
                log::error!(target: "net", "no TLS for a connection: {err}");
                self.free.push(slot);
                return;
            }
        };
        let conn = Conn::new(self.clock.now().mono_ms);
        let id = ConnId { slot, generation: self.slots[slot as usize].generation };
        self.arrivals += 1;
        self.waiting[pool].insert(self.arrivals, id);
        self.slots[slot as usize].entry = Some(Box::new(Entry {
            socket,
            conn,
            tls,
            from,
            readable: true,
            writable: true,
            shut: false,
            known: false,
            tell_drained: false,
            touched: false,
            armed: None,
            waiting_since: Some(self.arrivals),
        }));
        self.open += 1;
        self.crowd |= self.open > PREAUTH_SOCKETS_MAX;
        self.touch(id);
    }

    fn say_busy(&self, mut socket: TcpStream) {
        let text = "Service Unavailable: too many connections, try again in a moment";
        let refusal = Refusal::new(503, text).with("Retry-After", "1");
        if self.tls.is_none() {
            // Best effort: the client is refused either way.
            let _ = socket.write(&refusal.answer().into_bytes(false, true, false));
        }
        let _ = socket.shutdown(Shutdown::Both);
    }

    /// Closes the oldest socket that has not authenticated and is not being answered: a remote one first, and only
    /// a remote one to make room for another remote one.
    fn evict(&mut self, pool: usize) -> bool {
        let pools: &[usize] = if pool == 0 { &[1, 0] } else { &[1] };
        for pool in pools {
            let oldest: Vec<ConnId> = self.waiting[*pool].values().copied().collect();
            for id in oldest {
                if self.entry(id).is_some_and(|it| !it.conn.is_busy()) {
                    log::debug!(target: "net", "the oldest connection that has not authenticated makes room");
                    self.drop_conn(id);
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn drop_conn(&mut self, id: ConnId) {
        let Some(slot) = self.slots.get_mut(id.slot as usize).filter(|it| it.generation == id.generation)
        else {
            return;
        };
        let Some(mut entry) = slot.entry.take() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.open -= 1;
        // Closing the descriptor deregisters it as well.
        let _ = self.poll.registry().deregister(&mut entry.socket);
        if let Some(arrival) = entry.waiting_since {
            self.waiting[usize::from(!entry.from.ip.is_loopback())].remove(&arrival);
        }
        if entry.known {
            self.batch.push(Input::Gone(id));
        }
        if self.open == 0 && self.crowd {
            self.crowd = false;
            sys::trim_heap();
        }
    }
}
