//! The WebSocket side of a connection: tungstenite over memory.
//!
//! * No permessage-deflate: no client of the original needs it, and it is a memory hole.
//! * tungstenite answers pings and closes itself, into the same queue, so the order of frames holds.
//! * An idle connection holds no more than a small buffer: tungstenite would keep the room of its largest message for ever.
use super::out::Out;
use crate::base::limits::CLOSE_REASON_BYTES_MAX;
use std::io::{self, Read, Write};
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext, frame::FrameHeader};
use tungstenite::{Bytes, Message};

/// The size of tungstenite's own buffer: measured, 256 bytes cost nothing and save 130 KB a connection (stack page, section 2).
const READ_BUFFER_BYTES: usize = 256;

/// A frame longer than this makes tungstenite's buffer grow so far that it is thrown away afterwards. Ours.
const FRAME_BYTES_KEPT: u64 = 1024;
/// The longest head of a frame (RFC 6455 section 5.2).
const FRAME_HEAD_BYTES_MAX: usize = 14;

pub struct WebSocket {
    context: WebSocketContext,
    border: Border,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

/// Follows the frames that go by, to know when tungstenite holds nothing of them.
#[derive(Default)]
struct Border {
    head: [u8; FRAME_HEAD_BYTES_MAX],
    head_bytes: usize,
    payload_left: u64,
    in_message: bool,
    /// A frame over [`FRAME_BYTES_KEPT`] has gone by.
    grown: bool,
}

impl Border {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.payload_left > 0 {
                let n = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            self.head[self.head_bytes % FRAME_HEAD_BYTES_MAX] = *first;
            self.head_bytes += 1;
            bytes = rest;
            let head = &self.head[..self.head_bytes.min(FRAME_HEAD_BYTES_MAX)];
            if let Ok(Some((header, length))) = FrameHeader::parse(&mut io::Cursor::new(head)) {
                (self.head_bytes, self.payload_left) = (0, length);
                self.grown |= length > FRAME_BYTES_KEPT;
                if let OpCode::Data(_) = header.opcode {
                    self.in_message = !header.is_final;
                }
            }
        }
    }
    fn is_between_messages(&self) -> bool {
        self.head_bytes == 0 && self.payload_left == 0 && !self.in_message
    }
}

/// What reading one message came to.
pub enum Read1 {
    Message(Kind, Bytes),
    /// Ping, pong: answered already.
    Control,
    /// All input is used up.
    Starved,
    /// The peer's close was answered.
    Closed,
    /// Broken: close with this code.
    Broken(u16),
}

/// Plain memory as a stream.
struct Pipe<'a, 'b> {
    input: &'a mut &'b [u8],
    out: &'a mut Out,
    border: &'a mut Border,
}

impl Read for Pipe<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = self.input.read(buf)?;
        self.border.pass(&buf[..n]);
        Ok(n)
    }
}

impl Write for Pipe<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.push(Bytes::copy_from_slice(buf));
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocket {
    pub fn new(message_bytes_max: usize) -> WebSocket {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        WebSocket { context: WebSocketContext::new(Role::Server, Some(config)), border: Border::default() }
    }
    pub fn set_message_bytes_max(&mut self, bytes: usize) {
        self.context.set_config(|it| (it.max_message_size, it.max_frame_size) = (Some(bytes), Some(bytes)));
    }
    pub fn read(&mut self, input: &mut &[u8], out: &mut Out) -> Read1 {
        let mut pipe = Pipe { input, out, border: &mut self.border };
        let result = self.context.read(&mut pipe);
        match result {
            Ok(Message::Text(text)) => Read1::Message(Kind::Text, text.into()),
            Ok(Message::Binary(bytes)) => Read1::Message(Kind::Binary, bytes),
            Ok(_) => match self.context.flush(&mut pipe) {
                Ok(()) => Read1::Control,
                Err(Error::ConnectionClosed) => Read1::Closed,
                Err(_) => Read1::Broken(1002),
            },
            Err(Error::Io(err)) if err.kind() == io::ErrorKind::WouldBlock => {
                self.shrink();
                Read1::Starved
            }
            Err(Error::ConnectionClosed) => Read1::Closed,
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Read1::Broken(1009),
            Err(Error::Utf8(_)) => Read1::Broken(1007),
            Err(_) => Read1::Broken(1002),
        }
    }

    fn shrink(&mut self) {
        if self.border.grown && self.border.is_between_messages() {
            self.border.grown = false;
            self.context = WebSocketContext::new(Role::Server, Some(*self.context.get_config()));
        }
    }
}

/// The answer to an upgrade with this key (RFC 6455 section 4.2.2).
pub fn accept(key: &str) -> Bytes {
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into()
}

/// A whole message in one frame.
pub fn message_frame(kind: Kind, payload: &[u8]) -> Bytes {
    let data = match kind {
        Kind::Text => Data::Text,
        Kind::Binary => Data::Binary,
    };
    frame(OpCode::Data(data), payload)
}

/// A text frame, ready for any number of queues.
pub fn text_frame(text: &str) -> Bytes {
    message_frame(Kind::Text, text.as_bytes())
}

/// A close frame; the reason is cut to 120 bytes at a character border.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let cut = reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX);
    let payload = [&code.to_be_bytes(), &reason.as_bytes()[..cut]].concat();
    frame(OpCode::Control(tungstenite::protocol::frame::coding::Control::Close), &payload)
}

fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let mut out = Vec::with_capacity(payload.len() + 10);
    header.format(payload.len() as u64, &mut out).expect("writing to memory does not fail");
    out.extend_from_slice(payload);
    out.into()
}
