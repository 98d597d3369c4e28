//! A TCP socket, with or without TLS, whose every wait ends at one deadline, however slowly the other side sends.
use super::rpc::Failure;
use super::tls::{self, Trust};
use crate::base::clock::Clock;
use crate::base::sys::{self, SignalFd};
use rustls::{ClientConnection, Stream};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use tungstenite::http::Uri;

/// What the other side is spoken to through.
pub struct Line {
    pub tcp: Tcp,
    tls: Option<Box<ClientConnection>>,
}

/// A socket with a deadline on every wait.
pub struct Tcp {
    stream: TcpStream,
    clock: Clock,
    /// On the clock's `mono_ms`.
    pub deadline_ms: u64,
    /// Signals that end a wait for the other side.
    pub signals: Option<SignalFd>,
}

/// A signal came while we waited.
#[derive(Debug, thiserror::Error)]
#[error("signal {0}")]
struct Signal(i32);

impl Tcp {
    fn left(&self) -> io::Result<u64> {
        match self.deadline_ms.saturating_sub(self.clock.now().mono_ms) {
            0 => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
    /// Until there is something to read; at once when no signals are watched.
    fn wait_for_bytes(&self) -> io::Result<()> {
        let Some(signals) = &self.signals else { return Ok(()) };
        loop {
            let both = [Some(signals.as_fd()), Some(self.stream.as_fd())];
            let [signal, bytes] = sys::poll(both, self.left()?)?;
            if let Some(signal) = signals.next().filter(|_| signal) {
                return Err(io::Error::other(Signal(signal)));
            }
            if bytes {
                return Ok(());
            }
        }
    }
    fn wait<T>(
        &mut self,
        set: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut act: impl FnMut(&mut TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            set(&self.stream, Some(Duration::from_millis(self.left()?)))?;
            match act(&mut self.stream) {
                // A machine that slept interrupts every wait that has an end (signal(7)).
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                other => return other,
            }
        }
    }
}

impl Line {
    /// Becomes readable when more has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.tcp.stream.as_fd()
    }
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.read(buf) };
        match Stream::new(&mut **tls, &mut self.tcp).read(buf) {
            // Cut off without a goodbye: what came was whole records, and the WebSocket above knows whether it was all.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.write(buf),
            Some(tls) => Stream::new(&mut **tls, &mut self.tcp).write(buf),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => Stream::new(&mut **tls, &mut self.tcp).flush(),
        }
    }
}

impl Read for Tcp {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait_for_bytes()?;
        self.wait(TcpStream::set_read_timeout, |it| it.read(buf))
    }
}

impl Write for Tcp {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.wait(TcpStream::set_write_timeout, |it| it.write(buf))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection to the host of the URL: every address it has, in turn; with TLS when it says so.
///
/// # Errors
/// [`Failure`].
pub fn dial(
    url: &str,
    trust: &Trust,
    clock: Clock,
    deadline_ms: u64,
    timeout_ms: u64,
) -> Result<Line, Failure> {
    let wrong = |why: &str| Failure::Other(format!("{url:?}: {why}"));
    let uri: Uri = url.trim().parse().map_err(|_| wrong("no URL; write ws://HOST:PORT"))?;
    let secure = match uri.scheme_str() {
        Some("ws") if trust.pinned.is_none() => false,
        // Better no connection than one that is less than what was asked for.
        Some("ws") => return Err(wrong("a fingerprint is pinned, so write wss://HOST:PORT")),
        Some("wss") => true,
        _ => return Err(wrong("write ws://HOST:PORT or wss://HOST:PORT")),
    };
    let host = uri.host().ok_or_else(|| wrong("no host; write ws://HOST:PORT"))?.trim_matches(['[', ']']);
    let addresses = (host, uri.port_u16().unwrap_or(if secure { 443 } else { 80 })).to_socket_addrs();
    let addresses = addresses.map_err(|err| Failure::Other(format!("cannot find {host}: {err}")))?;
    let mut failure = wrong("the name has no address");
    for address in addresses {
        let left = deadline_ms.saturating_sub(clock.now().mono_ms).max(1);
        match TcpStream::connect_timeout(&address, Duration::from_millis(left)) {
            Ok(stream) => {
                // Requests are single small writes; a failure here only costs a little time.
                let _ = stream.set_nodelay(true);
                let tcp = Tcp { stream, clock, deadline_ms, signals: None };
                return if secure {
                    shake_hands(url, host, trust, tcp, timeout_ms)
                } else {
                    Ok(Line { tcp, tls: None })
                };
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

fn shake_hands(url: &str, host: &str, trust: &Trust, mut tcp: Tcp, timeout_ms: u64) -> Result<Line, Failure> {
    let wrong = |why: &str| Failure::Other(format!("{url}: {why}"));
    let mut tls = trust.clone().session(host).map_err(|err| wrong(&err))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(|err| match err.get_ref().and_then(|it| it.downcast_ref()) {
            Some(it) => wrong(&tls::explain(it)),
            None if err.kind() == io::ErrorKind::UnexpectedEof => {
                wrong("it hung up during the TLS handshake")
            }
            None => explain(tungstenite::Error::Io(err), timeout_ms),
        })?;
    }
    Ok(Line { tcp, tls: Some(Box::new(tls)) })
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
        Error::Io(err) if err.get_ref().is_some_and(|it| it.is::<Signal>()) => {
            let signal = err.get_ref().and_then(|it| it.downcast_ref::<Signal>());
            Failure::Signal(signal.expect("it was asked above").0)
        }
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            closed(1006, "abnormal closure (no close frame)".to_owned())
        }
        Error::Io(err) if err.kind() == io::ErrorKind::ConnectionReset => closed(1006, err.to_string()),
        Error::Http(answer) => {
            let hint = if answer.status() == 400 { " (a gateway with TLS wants wss://)" } else { "" };
            let status = answer.status().as_u16();
            Failure::Other(format!("not a gateway: it answered the upgrade with HTTP {status}{hint}"))
        }
        err => Failure::Other(err.to_string()),
    }
}
