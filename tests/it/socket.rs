//! A TCP socket of a test: no wait lasts longer than [`DEADLINE`], and none ends because the machine was asleep meanwhile, which
//! interrupts every wait that has an end (signal(7)).
use crate::harness::DEADLINE;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::time::{Duration, Instant};

pub struct Socket(TcpStream);

impl Socket {
    pub fn connect(addr: SocketAddr) -> io::Result<Socket> {
        Socket::of(TcpStream::connect_timeout(&addr, DEADLINE)?)
    }
    pub fn of(stream: TcpStream) -> io::Result<Socket> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Socket(stream))
    }
}

impl Deref for Socket {
    type Target = TcpStream;
    fn deref(&self) -> &TcpStream {
        &self.0
    }
}

/// Until it ends by itself; an interrupted wait goes on for the rest of its time.
pub fn again<T>(time: Option<Duration>, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match act() {
            Err(err)
                if err.kind() == ErrorKind::Interrupted && time.is_none_or(|it| begun.elapsed() < it) => {}
            other => return other,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        again(self.0.read_timeout()?, || self.0.read(buf))
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        again(self.0.write_timeout()?, || self.0.write(buf))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
