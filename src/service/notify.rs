//! What a service tells systemd (sd_notify): ready, what it does, that it stops, that it still turns.
//!
//! * Without `NOTIFY_SOCKET` nothing is sent, and nobody wakes up for it.
//! * A datagram that does not arrive is no error of the gateway's: systemd decides what silence means.
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The line to the supervisor.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    /// How often to say that we live; None when nobody asked.
    pub pulse_ms: Option<u64>,
}

impl Notify {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn of_env<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Notify {
        let Some(socket) = get("NOTIFY_SOCKET").and_then(connect) else { return Notify::default() };
        let mine = get("WATCHDOG_PID").is_none_or(|it| it.parse() == Ok(std::process::id()));
        let usec: Option<u64> =
            get("WATCHDOG_USEC").and_then(|it| it.parse().ok()).filter(|it| mine && *it > 0);
        // Half of it, as sd_watchdog_enabled(3) advises.
        Notify { socket: Some(socket), pulse_ms: usec.map(|it| (it / 2000).max(1)) }
    }
    fn say(&self, text: &str) {
        if let Some(it) = &self.socket {
            // The charter says why a failure is nothing.
            let _ = it.send(text.as_bytes());
        }
    }
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", status.replace('\n', " ")));
    }
    /// It stops, within `within_ms`: systemd waits that long, also where its own limit is shorter.
    pub fn stopping(&self, status: &str, within_ms: u64) {
        let status = status.replace('\n', " ");
        self.say(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS={status}", within_ms * 1000));
    }
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }
}

/// A path, or with `@` a name of the abstract kind.
fn connect(name: &str) -> Option<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(rest) => SocketAddr::from_abstract_name(rest),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    // The net thread speaks here, and never waits.
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn tells_a_socket_of_either_kind() {
        let path = std::env::temp_dir().join(format!("gatewayd-notify-{}", std::process::id()));
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("gatewayd-notify-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (ear, address) in [(by_path, path.to_str().unwrap().to_owned()), (by_name, format!("@{name}"))] {
            let env = [("NOTIFY_SOCKET", &*address), ("WATCHDOG_USEC", "60000000")];
            let get = |name: &str| env.iter().find(|it| it.0 == name).map(|it| it.1);
            let it = Notify::of_env(get);
            assert_eq!(it.pulse_ms, Some(30_000));
            it.ready("listening\nhere");
            let mut buffer = [0; 100];
            let n = ear.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], b"READY=1\nSTATUS=listening here");
        }
        std::fs::remove_file(path).unwrap();
    }
    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let name = format!("gatewayd-notify2-{}", std::process::id());
        let _ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let address = format!("@{name}");
        let get = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(&*address),
            "WATCHDOG_USEC" => Some("60000000"),
            "WATCHDOG_PID" => Some("1"),
            _ => None,
        };
        assert_eq!(Notify::of_env(get).pulse_ms, None);
        assert!(Notify::of_env(|_| None).socket.is_none());
    }
}
