//! The net thread: one mio loop that owns every socket, timer and signal. It moves bytes and decides nothing.
//!
//! * Nothing here blocks, except in `epoll_wait`; with nothing due it sleeps for ever.
//! * Bytes leave in one place, [`Entry::flush`], once a turn for every connection that was touched.
//! * Edge-triggered: who stops reading early keeps `readable` set and visits the connection again.
mod admit;
mod entry;

use super::watch::Watch;
use super::{Input, Output};
use crate::base::clock::Clock;
use crate::base::ids::ConnId;
use crate::base::limits::*;
use crate::base::mailbox::{Bell, Inbox};
use crate::base::sys::{self, SignalFd};
use crate::conn::ConnEvent;
use crate::conn::websocket::text_frame;
use crate::gateway::peer::Door;
use crate::gateway::{End, Signal};
use crate::service::notify::Notify;
use admit::open_spare;
use crossbeam_channel::{Sender, TrySendError};
use entry::{Entry, feed, offer};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, Read};
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
                    let status = "stopping: what is being answered is finished first";
                    self.link.notify.stopping(status, STOP_MS);
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
