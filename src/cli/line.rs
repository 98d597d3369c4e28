//! A TCP socket whose every wait ends at one deadline, however slowly the other side sends.
use super::rpc::Failure;
use crate::base::clock::Clock;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use tungstenite::http::Uri;

/// A socket with a deadline on every wait.
pub struct Line {
    stream: TcpStream,
    clock: Clock,
    /// On the clock's `mono_ms`.
    pub deadline_ms: u64,
}

impl Line {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
    fn wait<T>(
        &mut self,
        set: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        act: impl FnOnce(&mut TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let left = self.deadline_ms.saturating_sub(self.clock.now().mono_ms);
        if left == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        set(&self.stream, Some(Duration::from_millis(left)))?;
        act(&mut self.stream).map_err(|err| match err.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => err,
        })
    }
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait(TcpStream::set_read_timeout, |it| it.read(buf))
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.wait(TcpStream::set_write_timeout, |it| it.write(buf))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A TCP connection to the host of the URL: every address it has, in turn.
///
/// # Errors
/// [`Failure`].
pub fn dial(url: &str, clock: Clock, deadline_ms: u64, timeout_ms: u64) -> Result<Line, Failure> {
    let wrong = |why: &str| Failure::Other(format!("{url:?}: {why}"));
    let uri: Uri = url.trim().parse().map_err(|_| wrong("no URL; write ws://HOST:PORT"))?;
    match uri.scheme_str() {
        Some("ws") => {}
        Some("wss") => {
            return Err(wrong("TLS is not supported; use ws:// through an SSH tunnel or a VPN"));
        }
        _ => return Err(wrong("write ws://HOST:PORT")),
    }
    let host = uri.host().ok_or_else(|| wrong("no host; write ws://HOST:PORT"))?.trim_matches(['[', ']']);
    let addresses = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs();
    let addresses = addresses.map_err(|err| Failure::Other(format!("cannot find {host}: {err}")))?;
    let mut failure = wrong("the name has no address");
    for address in addresses {
        let left = deadline_ms.saturating_sub(clock.now().mono_ms).max(1);
        match TcpStream::connect_timeout(&address, Duration::from_millis(left)) {
            Ok(stream) => {
                // Requests are single small writes; a failure here only costs a little time.
                let _ = stream.set_nodelay(true);
                return Ok(Line { stream, clock, deadline_ms });
            }
            Err(err) => {
                failure = match err.kind() {
                    io::ErrorKind::ConnectionRefused => Failure::NobodyThere(url.to_owned()),
                    io::ErrorKind::TimedOut => Failure::Timeout(timeout_ms),
                    _ => Failure::Other(format!("cannot connect to {url}: {err}")),
                }
            }
        }
    }
    Err(failure)
}

/// An end without a reason says so.
pub fn closed(code: u16, reason: String) -> Failure {
    let reason = if reason.is_empty() { "no close reason".to_owned() } else { reason };
    Failure::Closed { code, reason }
}

/// What a WebSocket error means to a person.
pub fn explain(err: tungstenite::Error, timeout_ms: u64) -> Failure {
    use tungstenite::Error;
    match err {
        Error::Io(err) if err.kind() == io::ErrorKind::TimedOut => Failure::Timeout(timeout_ms),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            closed(1006, "abnormal closure (no close frame)".to_owned())
        }
        Error::Io(err) if err.kind() == io::ErrorKind::ConnectionReset => closed(1006, err.to_string()),
        Error::Http(answer) => Failure::Other(format!(
            "not a gateway: it answered the upgrade with HTTP {}",
            answer.status().as_u16()
        )),
        err => Failure::Other(err.to_string()),
    }
}
