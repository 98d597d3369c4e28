//! Where a connection stands. The picture is in the parent module.
use super::body::Body;
use super::head::Head;
use super::websocket::WebSocket;
use std::sync::Arc;

pub(super) enum Phase {
    Head {
        scanned: usize,
        blank_lines: usize,
        /// Kept alive, and no byte of the next request has come.
        idle: bool,
    },
    /// Somebody decides whether the body is read.
    Admit {
        head: Arc<Head>,
    },
    Body {
        head: Arc<Head>,
        body: Box<Body>,
        since: u64,
    },
    Respond {
        http10: bool,
        keep_alive: bool,
    },
    /// An answer that is made piece by piece. A HTTP/1.0 client knows its end by the end of the connection.
    Stream {
        chunked: bool,
        keep_alive: bool,
    },
    Ws {
        socket: Box<WebSocket>,
        authenticated: bool,
    },
    /// Output drains, input is dropped, until the peer closes or the deadline comes.
    Closing,
    Closed,
}

impl Phase {
    /// Nothing is left to do when the peer has sent its last byte.
    pub fn is_over_at_eof(&self) -> bool {
        matches!(self, Phase::Head { .. } | Phase::Body { .. } | Phase::Stream { .. } | Phase::Ws { .. })
    }
}
