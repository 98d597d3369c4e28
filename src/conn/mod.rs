//! One client connection as a pure state machine: bytes in, events out, bytes out. No socket, no clock, no JSON.
//!
//! ```text
//!            whole head       admit         whole body
//!  ┌─► Head ───────────► Admit ─────► Body ──────────► Respond ───► Stream ──┐ answer or end of the stream, keep-alive
//!  │     │ upgrade         │ answer                       │            │     │
//!  │     ▼                 ▼                              │ close      │     │
//!  │    Ws ─ close, error ► Closing ◄─────────────────────┴────────────┘     │
//!  └──────────────────────────────────┬──────────────────────────────────────┘
//!                        eof, deadline▼
//!                                   Closed
//! ```
//!
//! * Where the input is cut never changes what happens (the any-cut test).
//! * Nothing is read past the request that is being answered, beyond a small pipeline buffer.
//! * No body is read before somebody has said how much of it may come.
//! * `Closed` is said exactly once, whatever happens first.
//!
//! The driver: feed `on_bytes`, drain `poll_event`, write `out`, tell `out_written`, call `on_deadline` when `deadline` is due,
//! drop the socket when `is_finished`.
pub mod answer;
pub mod body;
mod event;
pub mod head;
mod input;
mod out;
mod phase;
pub mod websocket;

use crate::base::limits::*;
use answer::{Answer, Refusal};
use body::Body;
pub use event::{CloseReason, ConnEvent, Request};
use head::Head;
use input::Input;
pub use out::Out;
use phase::Phase;
use std::collections::VecDeque;
use std::sync::Arc;
pub use tungstenite::Bytes;
use websocket::{Read1, WebSocket};

pub struct Conn {
    phase: Phase,
    input: Input,
    out: Out,
    /// Bytes have left since the deadline was set.
    moved: bool,
    events: VecDeque<ConnEvent>,
    deadline: Option<u64>,
    /// The request that is being read or answered is a HEAD: its answer has no content.
    head_only: bool,
    eof: bool,
}

impl Conn {
    /// A fresh connection, accepted at `now_ms`.
    pub fn new(now_ms: u64) -> Conn {
        Conn {
            phase: Phase::Head { scanned: 0, blank_lines: 0, idle: false },
            input: Input::default(),
            out: Out::default(),
            moved: false,
            events: VecDeque::new(),
            deadline: Some(now_ms + HEAD_DEADLINE_MS),
            head_only: false,
            eof: false,
        }
    }

    // Input.

    pub fn on_bytes(&mut self, bytes: &[u8], now_ms: u64) {
        match &mut self.phase {
            Phase::Closing | Phase::Closed => {}
            Phase::Ws { .. } => self.on_ws_bytes(bytes, now_ms),
            phase => {
                // The first byte of a request starts its clock; the accept has started the first one.
                if let Phase::Head { idle, .. } = phase
                    && std::mem::take(idle)
                {
                    self.deadline = Some(now_ms + HEAD_DEADLINE_MS);
                }
                self.input.push(bytes);
                self.run(now_ms);
            }
        }
        self.check();
    }

    /// The peer has sent its last byte. It may still be reading: `printf … | nc` does this.
    pub fn on_eof(&mut self, now_ms: u64) {
        self.eof = true;
        self.settle_eof(now_ms);
        self.check();
    }

    /// The socket failed: nothing can be read or written any more.
    pub fn on_lost(&mut self) {
        if !matches!(self.phase, Phase::Closing | Phase::Closed) {
            self.say_closed(CloseReason::PeerGone);
        }
        self.finish();
        self.check();
    }

    pub fn on_deadline(&mut self, now_ms: u64) {
        if self.deadline.is_none_or(|it| it > now_ms) {
            return;
        }
        let drains = std::mem::take(&mut self.moved) && !self.out.is_empty();
        match &self.phase {
            // A large answer over a thin line: as long as some of it leaves, it may go on.
            Phase::Head { idle: true, .. } if drains => self.deadline = Some(now_ms + KEEP_ALIVE_IDLE_MS),
            Phase::Closing if drains => self.deadline = Some(now_ms + LINGER_MS),
            Phase::Head { .. } if self.input.is_empty() => {
                self.say_closed(CloseReason::TooSlow);
                self.finish();
            }
            Phase::Head { .. } | Phase::Body { .. } => {
                self.refuse(Refusal::new(408, "Request Timeout: the request did not arrive in time"), now_ms);
            }
            // It has sent its last byte. One that still listens drops this (RFC 9110 section 15.2); one that has gone resets the connection.
            Phase::Respond { http10: false, .. } if self.eof => {
                self.out.push(Bytes::from_static(b"HTTP/1.1 102 Processing\r\n\r\n"));
                self.deadline = Some(now_ms + EOF_PROBE_MS);
            }
            // As the reference: 1000 without a reason.
            Phase::Ws { .. } => self.close_ws(1000, "", CloseReason::TooSlow, now_ms),
            Phase::Closing => self.finish(),
            Phase::Stream { .. } if drains => self.deadline = Some(now_ms + STREAM_STALL_MS),
            Phase::Stream { .. } if !self.out.is_empty() => {
                self.say_closed(CloseReason::TooSlow);
                self.finish();
            }
            Phase::Admit { .. } | Phase::Respond { .. } | Phase::Stream { .. } | Phase::Closed => {
                self.deadline = None;
            }
        }
        self.check();
    }

    // What the program asks.

    /// Queues one frame made by [`websocket::text_frame`]; ignored when the connection is no open WebSocket.
    pub fn send(&mut self, frame: Bytes) {
        if matches!(self.phase, Phase::Ws { .. }) {
            self.out.push(frame);
        }
    }

    /// `connect` was accepted: larger messages, no handshake deadline.
    pub fn set_authenticated(&mut self) {
        if let Phase::Ws { authenticated, .. } = &mut self.phase {
            *authenticated = true;
            self.deadline = None;
            self.set_message_bytes_max(FRAME_BYTES_MAX);
        }
    }

    /// The largest WebSocket message taken from now on.
    pub fn set_message_bytes_max(&mut self, bytes: usize) {
        if let Phase::Ws { socket, .. } = &mut self.phase {
            socket.set_message_bytes_max(bytes);
        }
    }

    /// Closes a WebSocket with a code and a reason (cut to 120 bytes).
    pub fn close(&mut self, code: u16, reason: &str, now_ms: u64) {
        if matches!(self.phase, Phase::Ws { .. }) {
            self.close_ws(code, reason, CloseReason::Done, now_ms);
        }
        self.check();
    }

    /// The bytes that came are no request that this port takes: says so, and closes.
    pub fn refuse(&mut self, refusal: Refusal, now_ms: u64) {
        let status = refusal.status;
        self.out.push(refusal.answer().into_bytes(self.head_only, true, false).into());
        self.say_closed(CloseReason::Refused(status));
        self.start_closing(now_ms);
    }

    /// What comes and goes cannot be understood any more: closes without a word.
    pub fn give_up(&mut self, now_ms: u64) {
        if !matches!(self.phase, Phase::Closing | Phase::Closed) {
            self.say_closed(CloseReason::Garbled);
            self.out.clear();
            self.start_closing(now_ms);
        }
        self.check();
    }

    /// Reads the body of the request whose head was last given out, up to `bytes_max`: one byte more is a 413.
    pub fn admit(&mut self, bytes_max: u64, now_ms: u64) {
        let Phase::Admit { head } = &self.phase else { return };
        match Body::new(head.content, bytes_max) {
            Err(refusal) => self.refuse(refusal, now_ms),
            Ok(body) => {
                if head.expects_continue {
                    self.out.push(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
                }
                self.deadline = Some(now_ms + BODY_GRACE_MS);
                self.phase = Phase::Body { head: head.clone(), body: Box::new(body), since: now_ms };
                self.run(now_ms);
                if self.eof {
                    self.settle_eof(now_ms);
                }
            }
        }
        self.check();
    }

    /// Answers the request, or the head, last given out. A body that was not admitted is not read: the connection closes.
    pub fn answer(&mut self, answer: Answer, now_ms: u64) {
        let (http10, keep_alive) = match self.phase {
            Phase::Admit { .. } => (false, false),
            Phase::Respond { http10, keep_alive } => (http10, keep_alive),
            _ => return,
        };
        let close = answer.close || !keep_alive;
        self.out.push(answer.into_bytes(self.head_only, close, http10).into());
        self.answered(close, now_ms);
    }

    /// Begins the answer to the request last given out: the head of `answer`, whose body comes in pieces.
    pub fn begin_stream(&mut self, answer: Answer, now_ms: u64) {
        let Phase::Respond { http10, keep_alive } = self.phase else { return };
        let (measured, keep_alive) = (answer.has_length(), keep_alive && !http10 && !answer.close);
        let chunked = !http10 && !measured;
        self.out.push(answer.into_stream_head(chunked, !keep_alive).into());
        if self.head_only {
            return self.answered(!keep_alive, now_ms);
        }
        self.phase = Phase::Stream { chunked, keep_alive };
        // The client may have hung up while this was being made.
        if self.eof {
            self.settle_eof(now_ms);
        }
        self.check();
    }

    /// The next piece of a streamed answer. Somebody who takes none of it for long is cut off.
    pub fn stream(&mut self, piece: Bytes, now_ms: u64) {
        let Phase::Stream { chunked, .. } = self.phase else { return };
        if self.deadline.is_none() {
            self.moved = false;
            self.deadline = Some(now_ms + STREAM_STALL_MS);
        }
        match chunked {
            // A chunk of nothing would be the end.
            true if piece.is_empty() => {}
            true => {
                self.out.push(format!("{:x}\r\n", piece.len()).into_bytes().into());
                self.out.push(piece);
                self.out.push(Bytes::from_static(b"\r\n"));
            }
            false => self.out.push(piece),
        }
    }

    /// A streamed answer is whole.
    pub fn end_stream(&mut self, now_ms: u64) {
        let Phase::Stream { chunked, keep_alive } = self.phase else { return };
        if chunked {
            self.out.push(Bytes::from_static(b"0\r\n\r\n"));
        }
        self.answered(!keep_alive, now_ms);
    }

    fn answered(&mut self, close: bool, now_ms: u64) {
        if close {
            self.say_closed(CloseReason::Done);
            self.start_closing(now_ms);
            return;
        }
        let idle = self.input.is_empty();
        self.phase = Phase::Head { scanned: 0, blank_lines: 0, idle };
        self.deadline = Some(now_ms + if idle { KEEP_ALIVE_IDLE_MS } else { HEAD_DEADLINE_MS });
        self.run(now_ms);
        if self.eof {
            self.settle_eof(now_ms);
        }
        self.check();
    }

    // Output.

    pub fn poll_event(&mut self) -> Option<ConnEvent> {
        let event = self.events.pop_front();
        // What a burst of small messages needed is not kept.
        if self.events.is_empty() && self.events.capacity() > 4 {
            self.events = VecDeque::new();
        }
        event
    }
    pub fn out(&self) -> &Out {
        &self.out
    }
    pub fn out_written(&mut self, n: usize) {
        self.out.advance(n);
        self.moved |= n > 0;
        if self.eof && self.wants_shutdown() {
            self.finish();
        }
    }
    /// When [`Conn::on_deadline`] is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }
    /// Whether the driver should read: not while a request is answered, nor from a peer that does not read.
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Admit { .. } | Phase::Respond { .. } | Phase::Stream { .. } => {
                self.input.len() < PIPELINE_BYTES_MAX
            }
            Phase::Ws { authenticated: true, .. } => self.out.cost() <= OUT_QUEUE_BYTES_MAX,
            Phase::Ws { .. } => self.out.cost() <= PREAUTH_FRAME_BYTES_MAX,
            Phase::Closed => false,
            _ => true,
        }
    }
    /// A request of this connection is being worked on.
    pub fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Admit { .. } | Phase::Respond { .. } | Phase::Stream { .. })
    }
    /// An answer is being made piece by piece.
    pub fn is_streaming(&self) -> bool {
        matches!(self.phase, Phase::Stream { .. })
    }
    pub fn is_authenticated(&self) -> bool {
        matches!(self.phase, Phase::Ws { authenticated: true, .. })
    }
    /// All is written and said: the driver shuts down its writing side.
    pub fn wants_shutdown(&self) -> bool {
        matches!(self.phase, Phase::Closing) && self.out.is_empty()
    }
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    // Inside.

    fn run(&mut self, now_ms: u64) {
        loop {
            let more = match &self.phase {
                Phase::Head { .. } => self.step_head(now_ms),
                Phase::Body { .. } => self.step_body(),
                _ => Ok(false),
            };
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(refusal) => return self.refuse(refusal, now_ms),
            }
        }
    }

    fn step_head(&mut self, now_ms: u64) -> Result<bool, Refusal> {
        let Phase::Head { scanned, blank_lines, .. } = &mut self.phase else { return Ok(false) };
        // RFC 9112 section 2.2: an empty line before a request line is skipped; a flood of them is no request.
        while *scanned == 0 && self.input.rest().starts_with(b"\r\n") {
            *blank_lines += 1;
            if *blank_lines > BLANK_LINES_MAX {
                return Err(Refusal::bad("too many empty lines before the request"));
            }
            self.input.advance(2);
        }
        let rest = self.input.rest();
        self.head_only = rest.starts_with(b"HEAD ");
        if *scanned == 0 && rest == b"\r" {
            return Ok(false);
        }
        let Some(end) = head::end(rest, *scanned)? else {
            *scanned = rest.len();
            return Ok(false);
        };
        let head = head::parse(&rest[..end])?;
        self.input.advance(end);
        if let Some(key) = head.websocket_key.clone() {
            self.upgrade(head, &key, now_ms);
            return Ok(false);
        }
        self.deadline = None;
        let head = Arc::new(head);
        if head.content.is_empty() {
            self.phase = Phase::Respond { http10: head.http10, keep_alive: head.keep_alive };
            self.events.push_back(ConnEvent::Request(Request { head, body: vec![] }));
        } else {
            self.events.push_back(ConnEvent::Head(head.clone()));
            self.phase = Phase::Admit { head };
        }
        Ok(false)
    }

    fn step_body(&mut self) -> Result<bool, Refusal> {
        let Phase::Body { head, body, since } = &mut self.phase else { return Ok(false) };
        let used = body.feed(self.input.rest())?;
        self.input.advance(used);
        if !body.is_done() {
            self.deadline = Some(*since + BODY_GRACE_MS + body.taken * 1000 / BODY_RATE_MIN);
            return Ok(false);
        }
        let respond = Phase::Respond { http10: head.http10, keep_alive: head.keep_alive };
        let Phase::Body { head, body, .. } = std::mem::replace(&mut self.phase, respond) else {
            return Ok(false);
        };
        self.deadline = None;
        self.events.push_back(ConnEvent::Request(Request { head, body: body.into_bytes() }));
        Ok(false)
    }

    fn upgrade(&mut self, head: Head, key: &str, now_ms: u64) {
        self.out.push(websocket::accept(key));
        let socket = Box::new(WebSocket::new(PREAUTH_FRAME_BYTES_MAX));
        self.phase = Phase::Ws { socket, authenticated: false };
        self.deadline = Some(now_ms + HANDSHAKE_DEADLINE_MS);
        self.events.push_back(ConnEvent::Opened(head));
        let rest = std::mem::take(&mut self.input);
        self.on_ws_bytes(rest.rest(), now_ms);
    }

    fn on_ws_bytes(&mut self, mut bytes: &[u8], now_ms: u64) {
        while let Phase::Ws { socket, .. } = &mut self.phase {
            match socket.read(&mut bytes, &mut self.out) {
                Read1::Message(kind, message) => self.events.push_back(ConnEvent::Message(kind, message)),
                Read1::Control => {}
                Read1::Starved => return,
                Read1::Closed => {
                    self.say_closed(CloseReason::PeerGone);
                    self.start_closing(now_ms);
                }
                Read1::Broken(code) => self.close_ws(code, "", CloseReason::Broken(code), now_ms),
            }
        }
    }

    fn close_ws(&mut self, code: u16, reason: &str, why: CloseReason, now_ms: u64) {
        self.out.push(websocket::close_frame(code, reason));
        self.say_closed(why);
        self.start_closing(now_ms);
    }

    /// Nothing more comes: what is being answered is answered, what is queued leaves, all else is over.
    fn settle_eof(&mut self, now_ms: u64) {
        // Who hangs up in the middle of a stream does not want the rest; a whole answer may still be awaited.
        if self.phase.is_over_at_eof() {
            self.say_closed(CloseReason::PeerGone);
            self.start_closing(now_ms);
        }
        if let Phase::Respond { http10: false, .. } = self.phase {
            self.deadline = Some(now_ms + EOF_PROBE_MS);
        }
        if self.wants_shutdown() {
            self.finish();
        }
    }

    fn start_closing(&mut self, now_ms: u64) {
        self.phase = Phase::Closing;
        self.input = Input::default();
        self.deadline = Some(now_ms + LINGER_MS);
        self.moved = false;
    }

    fn finish(&mut self) {
        self.phase = Phase::Closed;
        self.input = Input::default();
        self.out.clear();
        self.deadline = None;
    }

    fn say_closed(&mut self, reason: CloseReason) {
        debug_assert!(!matches!(self.phase, Phase::Closing | Phase::Closed), "closed is said once");
        self.events.push_back(ConnEvent::Closed(reason));
    }

    /// What holds after every call.
    fn check(&self) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            debug_assert!(self.input.is_empty());
        }
        debug_assert!(!self.is_finished() || (self.out.is_empty() && self.deadline.is_none()));
        if matches!(self.phase, Phase::Head { .. }) {
            debug_assert!(self.input.len() < HEAD_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
