//! What a connection tells its driver.
use super::Bytes;
use super::head::Head;
use super::websocket::Kind;
use std::sync::Arc;

/// A whole HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub head: Arc<Head>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnEvent {
    /// A request that has a body: take it with [`super::Conn::admit`], or answer at once. Nothing is read until then.
    Head(Arc<Head>),
    /// Answer it with [`super::Conn::answer`] or [`super::Conn::begin_stream`]; nothing else comes until then.
    Request(Request),
    /// The connection is a WebSocket from now on.
    Opened(Head),
    /// A whole message.
    Message(Kind, Bytes),
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum CloseReason {
    PeerGone,
    /// A request that was refused with this status.
    Refused(u16),
    /// The head, body or handshake did not come in time.
    TooSlow,
    /// The peer broke the WebSocket protocol, or its message was too large: this close code.
    Broken(u16),
    /// The layer below failed: TLS.
    Garbled,
    /// We closed it.
    Done,
}

impl CloseReason {
    pub fn explain(self) -> String {
        match self {
            CloseReason::PeerGone => "the peer went away".into(),
            CloseReason::Refused(status) => format!("refused with {status}"),
            CloseReason::TooSlow => "too slow".into(),
            CloseReason::Broken(code) => format!("closed with {code}"),
            CloseReason::Garbled => "its TLS failed".into(),
            CloseReason::Done => "closed by the gateway".into(),
        }
    }
}
