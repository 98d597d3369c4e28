//! A WebSocket echo server on the daemon's own connection code, for `scripts/autobahn`, and with `--whole` for `scripts/bench`.
//! A thread a connection; the port it got is the one line it prints.
use gatewayd::base::clock::Clock;
use gatewayd::conn::{Conn, ConnEvent, answer::Answer, websocket::message_frame};
use std::io::{IoSlice, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

/// The largest message of the Autobahn suite, case 9.1.6 and its kin, is 16 MiB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Reads up to this long are fed byte by byte, without `--whole`.
const BYTEWISE_MAX: usize = 4096;

fn main() -> Result<()> {
    let bytewise_max = if std::env::args().any(|it| it == "--whole") { 0 } else { BYTEWISE_MAX };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    for socket in listener.incoming() {
        let socket = socket?;
        // A connection that breaks ends its own thread alone.
        std::thread::spawn(move || echo(socket, bytewise_max));
    }
    Ok(())
}

fn echo(mut socket: TcpStream, bytewise_max: usize) -> Result<()> {
    socket.set_nodelay(true)?;
    let clock = Clock::start();
    let mut conn = Conn::new(clock.now().mono_ms);
    let mut buffer = vec![0; 64 * 1024];
    while !conn.is_finished() {
        let n = socket.read(&mut buffer)?;
        let now_ms = clock.now().mono_ms;
        if n == 0 {
            conn.on_eof(now_ms);
        }
        // Short reads byte by byte: the suite wants a message echoed although what is behind it breaks the protocol.
        for piece in buffer[..n].chunks(if n <= bytewise_max { 1 } else { n.max(1) }) {
            conn.on_bytes(piece, now_ms);
            answer(&mut conn, now_ms);
        }
        while !conn.out().is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let n = conn.out().slices(&mut slices);
            let n = socket.write_vectored(&slices[..n])?;
            conn.out_written(n);
        }
        if conn.wants_shutdown() {
            socket.shutdown(std::net::Shutdown::Write)?;
        }
    }
    Ok(())
}

fn answer(conn: &mut Conn, now_ms: u64) {
    while let Some(event) = conn.poll_event() {
        match event {
            ConnEvent::Opened(_) => {
                conn.set_authenticated();
                conn.set_message_bytes_max(MESSAGE_BYTES_MAX);
            }
            ConnEvent::Message(kind, bytes) => conn.send(message_frame(kind, &bytes)),
            ConnEvent::Head(_) | ConnEvent::Request(_) => {
                conn.answer(Answer::text(426, "This server speaks WebSocket alone").closing(), now_ms);
            }
            ConnEvent::Closed(_) => {}
        }
    }
}
