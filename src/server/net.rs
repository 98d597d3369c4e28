//! The net thread: one mio loop that owns every socket, timer and signal. It moves bytes and decides nothing.
//!
//! * Nothing here blocks, except in `epoll_wait`; with nothing due it sleeps for ever.
//! * Bytes leave in one place, [`Entry::flush`], once a turn for every connection that was touched.
//! * Edge-triggered: who stops reading early keeps `readable` set and visits the connection again.
use super::tls::{Fed, Session};
use super::watch::Watch;
use super::{Input, Output};
use crate::base::clock::Clock;
use crate::base::ids::ConnId;
use crate::base::limits::*;
use crate::base::mailbox::{Bell, Inbox};
use crate::base::sys::{self, SignalFd};
use crate::conn::answer::Refusal;
use crate::conn::websocket::text_frame;
use crate::conn::{Bytes, Conn, ConnEvent};
use crate::gateway::peer::{Door, Way};
use crate::gateway::{End, Signal};
use crate::service::notify::Notify;
use crossbeam_channel::{Sender, TrySendError};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const WATCH: Token = Token(2);
const LISTENERS: usize = 3;
/// Tokens of connections are their slot plus this.
const CONNS: usize = 16;

/// The ways to and from the core.
pub(super) struct Link {
    pub to_core: Sender<Vec<Input>>,
    pub from_core: Inbox<Vec<Output>>,
    pub bell: Bell,
    pub starved: Arc<AtomicBool>,
    pub notify: Arc<Notify>,
}

struct Entry {
    socket: TcpStream,
    conn: Conn,
    /// Between the two, on a port that speaks TLS.
    tls: Option<Box<Session>>,
    from: Way,
    readable: bool,
    writable: bool,
    shut: bool,
    /// The core has heard of it, and wants to hear of its end: a WebSocket, or a request that has no answer yet.
    known: bool,
    /// The core wants to hear when all is written.
    tell_drained: bool,
    /// Stands in the list of this turn.
    touched: bool,
    /// When the timer heap will next look at it.
    armed: Option<u64>,
    /// Its place among the sockets that have not authenticated; None once it has.
    waiting_since: Option<u64>,
}

impl Entry {
    /// What the socket had.
    fn take_in(&mut self, bytes: &mut [u8], now_ms: u64) {
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

    fn wants_read(&self) -> bool {
        let heard = self.tls.as_ref().is_none_or(|it| it.out().len() <= PREAUTH_FRAME_BYTES_MAX);
        heard && self.conn.wants_read()
    }

    fn flush(&mut self) {
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
    fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls
            && !self.shut
        {
            tls.close();
            // Best effort: it is gone, or will be.
            let _ = self.socket.write(tls.out());
        }
    }

    fn has_nothing_to_write(&self) -> bool {
        self.conn.out().is_empty() && self.tls.as_ref().is_none_or(|it| it.out().is_empty())
    }
}

struct Slot {
    generation: u32,
    entry: Option<Box<Entry>>,
}

pub(super) struct Net<'a> {
    poll: Poll,
    listeners: Vec<(TcpListener, Door)>,
    tls: Option<Arc<ServerConfig>>,
    /// For the next life.
    kept: Vec<std::net::TcpListener>,
    signals: &'a SignalFd,
    watch: Watch,
    link: Link,
    clock: Clock,
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
    open_max: usize,
    /// Sockets that have not authenticated, by arrival: from this machine, and from elsewhere.
    waiting: [BTreeMap<u64, ConnId>; 2],
    arrivals: u64,
    timers: BinaryHeap<Reverse<(u64, ConnId)>>,
    touched: Vec<ConnId>,
    accepting: Vec<bool>,
    batch: Vec<Input>,
    buffer: Box<[u8]>,
    /// Given up for a moment to answer a client when no descriptor is left.
    spare: Option<std::fs::File>,
    ending: Option<(End, u64)>,
    /// The signal that asked for the end.
    stopped_by: Option<i32>,
    /// When the supervisor is told again that we live.
    pulse_due: Option<u64>,
    /// Heap pages go back to the system once after a crowd has left.
    crowd: bool,
}

#[expect(clippy::disallowed_methods, reason = "/dev/null opens without blocking")]
fn open_spare() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}

impl<'a> Net<'a> {
    pub fn new(
        poll: Poll,
        listeners: Vec<(std::net::TcpListener, Door)>,
        tls: Option<Arc<ServerConfig>>,
        signals: &'a SignalFd,
        watch: Watch,
        link: Link,
        clock: Clock,
    ) -> io::Result<Net<'a>> {
        let mut own = vec![];
        for (n, (listener, door)) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(listener);
            poll.registry().register(&mut listener, Token(LISTENERS + n), Interest::READABLE)?;
            own.push((listener, door));
        }
        let fd = signals.as_raw_fd();
        poll.registry().register(&mut mio::unix::SourceFd(&fd), SIGNALS, Interest::READABLE)?;
        let fd = watch.as_raw_fd();
        poll.registry().register(&mut mio::unix::SourceFd(&fd), WATCH, Interest::READABLE)?;
        let open_max = sys::raise_fd_limit().saturating_sub(FD_RESERVE).max(16) as usize;
        Ok(Net {
            poll,
            accepting: vec![true; own.len()],
            listeners: own,
            tls,
            kept: vec![],
            signals,
            watch,
            link,
            clock,
            slots: vec![],
            free: vec![],
            open: 0,
            open_max,
            waiting: Default::default(),
            arrivals: 0,
            timers: BinaryHeap::new(),
            touched: vec![],
            batch: vec![],
            buffer: vec![0; 64 * 1024].into(),
            spare: open_spare(),
            ending: None,
            stopped_by: None,
            pulse_due: None,
            crowd: false,
        })
    }

    /// The sockets that listen go on to the next life: nobody is refused in between.
    pub fn run(mut self) -> io::Result<(End, Option<i32>, Vec<std::net::TcpListener>)> {
        let mut events = Events::with_capacity(256);
        self.say_ready();
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(err) if err.kind() != io::ErrorKind::Interrupted => return Err(err),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    SIGNALS => self.take_signals(),
                    WATCH => {
                        if self.watch.drain() {
                            self.batch.push(Input::ConfigTouched);
                        }
                    }
                    Token(n) if n < CONNS => self.accepting[n - LISTENERS] = true,
                    Token(n) => self.mark(
                        (n - CONNS) as u32,
                        event.is_readable() || event.is_read_closed(),
                        event.is_writable(),
                    ),
                }
            }
            self.link.bell.silence();
            self.take_outputs();
            self.expire();
            self.pulse();
            self.accept();
            self.visit();
            self.hand_over();
            if let Some(end) = self.ended() {
                return Ok((end, self.stopped_by, self.kept));
            }
        }
    }

    /// None: sleep until something happens.
    fn timeout(&mut self) -> Option<Duration> {
        let now = self.clock.now().mono_ms;
        let blocked = !self.batch.is_empty();
        if !blocked && (!self.touched.is_empty() || self.accepting.contains(&true)) {
            return Some(Duration::ZERO);
        }
        let due =
            self.next_deadline().into_iter().chain(self.ending.map(|it| it.1)).chain(self.pulse_due).min()?;
        // One more, so that what is due in less than a millisecond is due when we wake.
        Some(Duration::from_millis(due.saturating_sub(now) + 1))
    }

    /// The first deadline that still holds: nobody wakes up for a connection that is gone or was given more time.
    fn next_deadline(&mut self) -> Option<u64> {
        loop {
            let Reverse((due, id)) = *self.timers.peek()?;
            let later = match self.entry(id) {
                Some(it) if it.armed == Some(due) && it.conn.deadline() == Some(due) => return Some(due),
                Some(it) if it.armed == Some(due) => {
                    it.armed = it.conn.deadline();
                    it.armed
                }
                _ => None,
            };
            self.timers.pop();
            self.timers.extend(later.map(|it| Reverse((it, id))));
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                libc::SIGUSR1 => self.batch.push(Input::Signal(Signal::Restart)),
                // The terminal went away: a daemon goes on.
                libc::SIGHUP => {}
                _ if self.ending.is_some() => {
                    self.kept.clear();
                    self.ending = Some((End::Stop, 0));
                }
                _ => {
                    self.stopped_by = Some(signal);
                    self.link.notify.stopping("stopping: what is being answered is finished first");
                    self.batch.push(Input::Signal(Signal::Stop));
                }
            }
        }
    }

    // The supervisor.

    fn say_ready(&mut self) {
        let addresses: Vec<String> = self
            .listeners
            .iter()
            .filter(|it| it.1 == Door::Gateway)
            .filter_map(|it| it.0.local_addr().ok())
            .map(|it| it.to_string())
            .collect();
        self.link.notify.ready(&format!("listening on {}", addresses.join(", ")));
        self.pulse_due = self.link.notify.pulse_ms.map(|it| self.clock.now().mono_ms + it);
    }

    /// Asks the core, whose answer is what the supervisor is told: both threads turn, or neither counts.
    fn pulse(&mut self) {
        let now_ms = self.clock.now().mono_ms;
        if let (Some(due), Some(every)) = (self.pulse_due, self.link.notify.pulse_ms)
            && due <= now_ms
        {
            self.pulse_due = Some(now_ms + every);
            self.batch.push(Input::Pulse);
        }
    }

    // Connections.

    fn entry(&mut self, id: ConnId) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.entry.as_deref_mut() } else { None }
    }

    fn mark(&mut self, slot: u32, readable: bool, writable: bool) {
        let Some(it) = self.slots.get_mut(slot as usize) else { return };
        let id = ConnId { slot, generation: it.generation };
        if let Some(entry) = it.entry.as_deref_mut() {
            entry.readable |= readable;
            entry.writable |= writable;
            self.touch(id);
        }
    }

    /// This connection is visited before the turn ends.
    fn touch(&mut self, id: ConnId) {
        if let Some(entry) = self.entry(id)
            && !entry.touched
        {
            entry.touched = true;
            self.touched.push(id);
        }
    }

    fn accept(&mut self) {
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

    fn drop_conn(&mut self, id: ConnId) {
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

    // One turn.

    fn take_outputs(&mut self) {
        let mut batches = vec![];
        if self.link.from_core.drain(MAILBOX_BATCHES_MAX, |it| batches.push(it)) {
            self.link.bell.again();
        }
        for output in batches.into_iter().flatten() {
            self.on_output(output);
        }
    }

    fn on_output(&mut self, output: Output) {
        let now_ms = self.clock.now().mono_ms;
        match output {
            Output::Send(id, text) => self.with(id, |it| it.conn.send(text_frame(&text))),
            Output::Broadcast { to, text, drop_if_slow } => {
                let frame = text_frame(&text);
                for id in to {
                    self.with(id, |it| offer(&mut it.conn, &frame, drop_if_slow, now_ms));
                }
            }
            Output::Close(id, code, reason) => self.with(id, |it| it.conn.close(code, &reason, now_ms)),
            Output::Watch(files) => self.watch.set(&files),
            Output::Admit(id, bytes_max) => self.with(id, |it| it.conn.admit(bytes_max, now_ms)),
            Output::Answer(id, answer) => self.with(id, |it| {
                it.known = false;
                it.conn.answer(answer, now_ms);
            }),
            Output::Stream(id, head) => self.with(id, |it| it.conn.begin_stream(head, now_ms)),
            Output::Piece(id, piece) => self.with(id, |it| feed(&mut it.conn, piece, now_ms)),
            Output::TellDrained(id) => self.with(id, |it| it.tell_drained = true),
            Output::Cut(id) => self.with(id, |it| it.conn.on_lost()),
            Output::EndStream(id) => self.with(id, |it| {
                it.known = false;
                it.conn.end_stream(now_ms);
            }),
            Output::Pulse => self.link.notify.alive(),
            Output::Authenticated(id) => {
                self.with(id, |it| it.conn.set_authenticated());
                let Some(entry) = self.entry(id) else { return };
                if let Some(arrival) = entry.waiting_since.take() {
                    let pool = usize::from(!entry.from.ip.is_loopback());
                    self.waiting[pool].remove(&arrival);
                }
            }
            Output::End(end) => {
                if end == End::Restart {
                    self.link.notify.status("restarting");
                }
                self.ending = Some((end, now_ms + STOP_FLUSH_MS));
                // The canvas host is bound anew: its port may be another one.
                let goes_on = |it: &(TcpListener, Door)| end == End::Restart && it.1 == Door::Gateway;
                for (mut it, _) in self.listeners.drain(..).filter(goes_on) {
                    // Closed with the poll that it was registered with, were it not taken out.
                    let _ = self.poll.registry().deregister(&mut it);
                    self.kept.push(it.into());
                }
                self.accepting.clear();
            }
        }
    }

    fn with(&mut self, id: ConnId, act: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entry(id) {
            act(entry);
            self.touch(id);
        }
    }

    fn expire(&mut self) {
        let now_ms = self.clock.now().mono_ms;
        while self.timers.peek().is_some_and(|it| it.0.0 <= now_ms) {
            let Some(Reverse((_, id))) = self.timers.pop() else { break };
            self.with(id, |it| {
                it.armed = None;
                it.conn.on_deadline(now_ms);
            });
        }
    }

    /// Reads, hands events on, writes: every touched connection once.
    fn visit(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            if let Some(entry) = self.entry(id) {
                entry.touched = false;
            }
            self.read(id);
            self.collect(id);
            let Some(entry) = self.entry(id) else { continue };
            entry.flush();
            if entry.conn.is_finished() && entry.conn.out().is_empty() {
                entry.say_goodbye();
                self.drop_conn(id);
                continue;
            }
            let drained = entry.has_nothing_to_write() && std::mem::take(&mut entry.tell_drained);
            let again = entry.readable && entry.wants_read();
            let due = entry.conn.deadline().filter(|due| entry.armed.is_none_or(|it| it > *due));
            if let Some(due) = due {
                entry.armed = Some(due);
                self.timers.push(Reverse((due, id)));
            }
            if again {
                self.touch(id);
            }
            if drained {
                self.batch.push(Input::Drained(id));
            }
        }
    }

    fn read(&mut self, id: ConnId) {
        // The core is behind: what the kernel holds is the back-pressure.
        if !self.batch.is_empty() && self.batch.len() >= BATCH_INPUTS_MAX {
            return;
        }
        let now_ms = self.clock.now().mono_ms;
        let mut left = READ_BYTES_A_TURN;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(entry) = self.entry(id).filter(|it| it.readable && it.wants_read()) {
            match entry.socket.read(&mut buffer) {
                Ok(0) => {
                    entry.readable = false;
                    entry.conn.on_eof(now_ms);
                }
                Ok(n) => {
                    entry.take_in(&mut buffer[..n], now_ms);
                    left = left.saturating_sub(n);
                    if left == 0 {
                        break;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => entry.readable = false,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    entry.readable = false;
                    entry.conn.on_lost();
                }
            }
        }
        self.buffer = buffer;
    }

    fn collect(&mut self, id: ConnId) {
        while let Some(event) = self.entry(id).and_then(|it| it.conn.poll_event()) {
            match event {
                ConnEvent::Head(head) => {
                    let Some(entry) = self.entry(id) else { return };
                    entry.known = true;
                    let from = entry.from;
                    self.batch.push(Input::Head(id, from, head));
                }
                ConnEvent::Request(request) => {
                    let Some(entry) = self.entry(id) else { return };
                    entry.known = true;
                    let from = entry.from;
                    self.batch.push(Input::Request(id, from, request));
                }
                ConnEvent::Message(_, bytes) => self.batch.push(Input::Message(id, bytes)),
                ConnEvent::Opened(head) => {
                    let Some(entry) = self.entry(id) else { return };
                    entry.known = true;
                    let from = entry.from;
                    self.batch.push(Input::Opened(id, from, Box::new(head)));
                }
                ConnEvent::Closed(reason) => {
                    log::debug!(target: "net", "connection {}: {}", id.slot, reason.explain())
                }
            }
        }
    }

    /// Everything of this turn goes to the core at once. When it cannot take it, nothing is read until it can.
    fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.link.to_core.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(batch)) => {
                self.batch = batch;
                self.link.starved.store(true, Ordering::Release);
                // It may have drained between the two: then nobody would ring.
                if !self.link.to_core.is_full() {
                    self.link.bell.again();
                }
            }
            // The core is gone, so this is the end of the run.
            Err(TrySendError::Disconnected(_)) => {
                self.ending.get_or_insert((End::Stop, 0));
            }
        }
    }

    fn ended(&mut self) -> Option<End> {
        let (end, due) = self.ending?;
        let all_left =
            self.slots.iter().filter_map(|it| it.entry.as_ref()).all(|it| it.has_nothing_to_write());
        (all_left || self.clock.now().mono_ms >= due).then_some(end)
    }
}

/// Who reads slower than a run speaks is cut off: what is behind would be worth nothing.
fn feed(conn: &mut Conn, piece: Bytes, now_ms: u64) {
    if conn.is_streaming() && conn.out().len() > OUT_QUEUE_BYTES_MAX {
        log::info!(target: "net", "a client that does not read its stream is cut off");
        return conn.on_lost();
    }
    conn.stream(piece, now_ms);
}

/// Reference 5.1: a client whose queue is over the limit misses what may be missed, and is closed for what may not.
fn offer(conn: &mut Conn, frame: &Bytes, drop_if_slow: bool, now_ms: u64) {
    match (conn.out().len() > OUT_QUEUE_BYTES_MAX, drop_if_slow) {
        (false, _) => conn.send(frame.clone()),
        (true, true) => {}
        (true, false) => conn.close(1008, "slow consumer", now_ms),
    }
}
