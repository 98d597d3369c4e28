//! Where a connection stands. The picture is in the parent module.
use super::body::Body;
use super::head::Head;
use super::websocket::WebSocket;

pub(super) enum Phase {
    Head {
        scanned: usize,
        blank_lines: usize,
        /// Kept alive, and no byte of the next request has come.
        idle: bool,
    },
    Body {
        head: Box<Head>,
        body: Box<Body>,
        since: u64,
    },
    Respond {
        http10: bool,
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
