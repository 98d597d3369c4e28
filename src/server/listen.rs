//! Which addresses to listen on.
use crate::base::sys;
use crate::config::{Bind, Gateway};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Binds a port of an address: on loopback also `::1` where the system has it. The first listener's address is the one to show.
///
/// # Errors
/// As bind(2): AddrInUse when the port is taken.
pub fn bind((ip, port): (IpAddr, u16)) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind(SocketAddr::new(ip, port))?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        // No IPv6 here, or taken there: the IPv4 address alone is what clients are told.
        listeners.extend(TcpListener::bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)));
    }
    Ok(listeners)
}

/// The address of `gateway.bind`. `auto` means loopback: an address that others reach is only ever chosen by name.
pub fn address(gateway: &Gateway) -> io::Result<IpAddr> {
    match gateway.bind {
        Bind::Loopback | Bind::Auto => Ok(Ipv4Addr::LOCALHOST.into()),
        Bind::Lan => Ok(Ipv4Addr::UNSPECIFIED.into()),
        Bind::Tailnet => sys::addresses().into_iter().map(|it| it.1).find(is_tailnet).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "gateway.bind is tailnet, but this machine has no Tailscale address (100.64.0.0/10): is Tailscale up?",
            )
        }),
        Bind::Custom => {
            let host = gateway.custom_bind_host.as_deref().unwrap_or_default();
            host.parse().map_err(|_| {
                let text =
                    format!("gateway.bind is custom, but gateway.customBindHost ({host:?}) is no address");
                io::Error::new(io::ErrorKind::InvalidInput, text)
            })
        }
    }
}

/// Tailscale's range, 100.64.0.0/10.
fn is_tailnet(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V4(it) if it.octets()[0] == 100 && it.octets()[1] & 0xc0 == 64)
}
