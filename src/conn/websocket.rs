//! The WebSocket side of a connection: tungstenite over memory.
//!
//! * No permessage-deflate: no client of the original needs it, and it is a memory hole.
//! * tungstenite answers pings and closes itself, into the same queue, so the order of frames holds.
use super::out::Out;
use crate::base::limits::CLOSE_REASON_BYTES_MAX;
use std::io::{self, Read, Write};
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext, frame::FrameHeader};
use tungstenite::{Bytes, Message};

/// The size of tungstenite's own buffer: measured, 256 bytes cost nothing and save 130 KB a connection (stack page, section 2).
const READ_BUFFER_BYTES: usize = 256;

pub struct WebSocket {
    context: WebSocketContext,
}

/// What reading one message came to.
pub enum Read1 {
    Message(Bytes),
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
}

impl Read for Pipe<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
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
        WebSocket { context: WebSocketContext::new(Role::Server, Some(config)) }
    }
    pub fn set_message_bytes_max(&mut self, bytes: usize) {
        self.context.set_config(|it| (it.max_message_size, it.max_frame_size) = (Some(bytes), Some(bytes)));
    }
    pub fn read(&mut self, input: &mut &[u8], out: &mut Out) -> Read1 {
        let mut pipe = Pipe { input, out };
        let result = self.context.read(&mut pipe);
        match result {
            Ok(Message::Text(text)) => Read1::Message(text.into()),
            Ok(Message::Binary(bytes)) => Read1::Message(bytes),
            Ok(_) => match self.context.flush(&mut pipe) {
                Ok(()) | Err(Error::ConnectionClosed) => Read1::Control,
                Err(_) => Read1::Broken(1002),
            },
            Err(Error::Io(err)) if err.kind() == io::ErrorKind::WouldBlock => Read1::Starved,
            Err(Error::ConnectionClosed) => Read1::Closed,
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Read1::Broken(1009),
            Err(Error::Utf8(_)) => Read1::Broken(1007),
            Err(_) => Read1::Broken(1002),
        }
    }
}

/// A text frame, ready for any number of queues.
pub fn text_frame(text: &str) -> Bytes {
    frame(OpCode::Data(Data::Text), text.as_bytes())
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
