//! Name look-up with a deadline: the system's call cannot be interrupted, so it has a thread that may be left behind.
use crate::base::cancel::Cancel;
use crate::base::limits::{LOOKUPS_MAX, THREAD_STACK_BYTES};
use crossbeam_channel::{after, bounded, select};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How a `host:port` becomes addresses; a test may give its own.
pub type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// The system's own.
pub fn system(host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(host_and_port.to_socket_addrs()?.collect())
}

#[derive(Debug)]
pub struct Dns {
    pub cancel: Cancel,
    pub lookup: Lookup,
}

/// Threads that wait for an answer at this moment.
static WAITING: AtomicUsize = AtomicUsize::new(0);

struct Place;

impl Place {
    fn take() -> Option<Place> {
        let more = |n| (n < LOOKUPS_MAX).then_some(n + 1);
        WAITING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Resolver for Dns {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let bad = || ureq::Error::BadUri(uri.to_string());
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or_else(bad)?;
        let name = DefaultResolver::host_and_port(scheme, authority).ok_or_else(bad)?;
        let found = match name.parse() {
            Ok(address) => vec![address],
            Err(_) => self.ask(name, timeout)?,
        };
        let mut out = self.empty();
        // The array holds 16.
        found.into_iter().take(16).for_each(|it| out.push(it));
        if out.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(out) }
    }
}

impl Dns {
    fn ask(&self, name: String, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
        let place = Place::take()
            .ok_or_else(|| io::Error::other("too many name look-ups hang: check the DNS server"))?;
        let ((tx, rx), lookup) = (bounded(1), self.lookup);
        std::thread::Builder::new().name("dns".to_owned()).stack_size(THREAD_STACK_BYTES).spawn(
            move || {
                let found = lookup(&name);
                drop(place);
                // Nobody waits any more when the deadline has passed.
                let _ = tx.send(found);
            },
        )?;
        let late =
            if timeout.after.is_not_happening() { crossbeam_channel::never() } else { after(*timeout.after) };
        select! {
            recv(rx) -> found => match found {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(err)) => Err(io::Error::other(format!("name look-up: {err}")).into()),
                Err(_) => Err(io::Error::other("the name look-up failed").into()),
            },
            recv(late) -> _ => Err(ureq::Error::Timeout(timeout.reason)),
            recv(self.cancel.done()) -> _ => Err(io::Error::from(io::ErrorKind::Interrupted).into()),
        }
    }
}
