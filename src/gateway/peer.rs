//! Where a connection comes from, and whether that is this machine and a page we trust.
//!
//! * "Local" is decided by the socket's peer address; a header can only take it away.
use super::tailscale::Claim;
use crate::conn::head::{Head, Host};
use std::net::{IpAddr, Ipv6Addr};

/// The port that somebody came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Gateway,
    Canvas,
}

/// Where a connection came from, and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Canonical: no IPv4 in IPv6.
    pub ip: IpAddr,
    pub door: Door,
}

/// What the upgrade request said, as far as it matters.
#[derive(Debug, Clone)]
pub struct Peer {
    pub ip: IpAddr,
    pub host: Host,
    /// The `Host` text as compared with an Origin: `name[:port]`.
    pub authority: String,
    pub origin: Option<String>,
    /// Any header that a proxy adds.
    pub forwarded: bool,
    /// A proxy says that it was asked by https.
    pub forwarded_https: bool,
    /// `X-Forwarded-For`, all lines joined.
    pub forwarded_for: String,
    /// Who it says it is, through Tailscale Serve.
    pub claim: Option<Claim>,
}

/// Headers that only a proxy sends, or their beginnings (security plan 1.1).
const PROXY_HEADERS: [&str; 9] = [
    "forwarded",
    "x-forwarded-",
    "x-real-ip",
    "x-client-ip",
    "x-original-",
    "true-client-ip",
    "cf-",
    "tailscale-",
    "via",
];

fn is_proxy_header(name: &str) -> bool {
    PROXY_HEADERS.iter().any(|it| if it.ends_with('-') { name.starts_with(it) } else { name == *it })
}

impl Peer {
    pub fn of(ip: IpAddr, head: &Head) -> Peer {
        let all = |name: &str| {
            head.headers.iter().filter(|it| it.0 == name).map(|it| it.1.as_str()).collect::<Vec<_>>()
        };
        // Two Origin headers are never right; an empty text parses as no origin and is refused.
        let origins = all("origin");
        let origin =
            if origins.len() > 1 { Some(String::new()) } else { origins.first().map(|it| (*it).to_owned()) };
        Peer {
            ip: ip.to_canonical(),
            host: head.host.clone(),
            authority: head.header("host").unwrap_or_default().to_ascii_lowercase(),
            origin,
            forwarded: head.headers.iter().any(|it| is_proxy_header(&it.0)),
            forwarded_https: all("x-forwarded-proto").first().is_some_and(|it| it.trim() == "https"),
            forwarded_for: all("x-forwarded-for").join(","),
            claim: Claim::of(ip, head),
        }
    }
    /// The client's address: the socket's, or behind a trusted proxy the right-most address that is no trusted proxy.
    /// None when a trusted proxy says nothing usable.
    pub fn client_ip(&self, trusted_proxies: &[String]) -> Option<IpAddr> {
        if let Some(it) = self.claim.as_ref().filter(|it| it.confirmed) {
            return Some(it.ip);
        }
        let trusted = |ip: &IpAddr| trusted_proxies.iter().any(|it| in_range(ip, it));
        if !self.forwarded || !trusted(&self.ip) {
            return Some(self.ip);
        }
        for text in self.forwarded_for.rsplit(',').map(str::trim) {
            let ip = text.parse::<IpAddr>().ok()?.to_canonical();
            if !trusted(&ip) {
                return Some(ip);
            }
        }
        None
    }
    /// This very machine, and by no way around: a proxy may be on this machine, and those who come through it are not.
    pub fn is_local(&self) -> bool {
        let host = self.host.name.as_str();
        self.is_direct() && (is_loopback_name(host) || host.ends_with(".ts.net"))
    }
    fn is_direct(&self) -> bool {
        !self.forwarded && self.ip.is_loopback()
    }
    /// Whether the page that opened this connection may. Pages always send an Origin; other programs do not.
    pub fn origin_allowed(&self, allowed_origins: &[String], host_names: &HostNames) -> bool {
        let Some(origin) = self.origin.as_deref().map(str::to_lowercase) else { return false };
        if allowed_origins.contains(&origin) {
            return true;
        }
        let Some((scheme, rest)) = origin.split_once("://") else { return false };
        let Some(from) = Host::parse(rest).filter(|_| matches!(scheme, "http" | "https")) else {
            return false;
        };
        // The same host only counts when the host is really ours: else a page could rebind its own name to this address.
        let same_host = rest == self.authority && host_names.allow(&self.host.name);
        if is_loopback_name(&self.host.name) {
            // Only a browser on this machine reaches us by such a name.
            return self.is_direct() && is_loopback_name(&from.name);
        }
        same_host
    }
}

/// `localhost`, `127.*`, `::1`.
pub fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback())
}

/// The host names this gateway answers to: it refuses others, so that a page cannot reach it by rebinding a name of its own.
#[derive(Debug, Clone, Default)]
pub struct HostNames(Vec<String>);

impl HostNames {
    /// `own`: this machine's name; `allowed_origins`: pages that the owner trusts, whose hosts then are ours too.
    pub fn new(own: &str, allowed_origins: &[String], bind_host: Option<&str>) -> HostNames {
        let own = own.to_lowercase();
        let mut names = vec!["localhost".to_owned(), format!("{own}.local"), own];
        names.extend(bind_host.map(str::to_lowercase));
        let hosts =
            allowed_origins.iter().filter_map(|it| it.split_once("://")).filter_map(|it| Host::parse(it.1));
        names.extend(hosts.map(|it| it.name));
        HostNames(names)
    }
    /// Addresses cannot be rebound; `.ts.net` names are Tailscale's own.
    pub fn allow(&self, name: &str) -> bool {
        name.parse::<IpAddr>().is_ok() || name.ends_with(".ts.net") || self.0.iter().any(|it| it == name)
    }
}

/// An address, or `address/bits`: as 128 bits, and how many of them count.
fn range(text: &str) -> Option<(u128, u32)> {
    let (base, bits) = match text.trim().split_once('/') {
        Some((base, bits)) => (base, Some(bits.parse::<u32>().ok()?)),
        None => (text.trim(), None),
    };
    let base: IpAddr = base.parse().ok()?;
    let own = if base.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(own);
    (bits <= own).then(|| (wide(base), bits + 128 - own))
}

pub fn is_range(text: &str) -> bool {
    range(text).is_some()
}

/// IPv4 by its place in IPv6.
fn wide(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(it) => it.to_ipv6_mapped().into(),
        IpAddr::V6(it) => it.into(),
    }
}

fn in_range(ip: &IpAddr, text: &str) -> bool {
    let Some((base, bits)) = range(text) else { return false };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    wide(*ip) & mask == base & mask
}

/// The key under which an address's wrong guesses are counted: v4 as it is, v6 by its /64.
pub fn rate_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(it) if !it.is_loopback() => Ipv6Addr::from_bits(it.to_bits() & !0u128 << 64).into(),
        it => it,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn peer(ip: &str, host: &str, headers: &[(&str, &str)]) -> Peer {
        let mut text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n");
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        let head = crate::conn::head::parse(format!("{text}\r\n").as_bytes()).unwrap();
        Peer::of(ip.parse().unwrap(), &head)
    }
    #[test]
    fn local() {
        for (ip, host, header, want) in [
            ("127.0.0.1", "127.0.0.1:1", None, true),
            ("::1", "[::1]:1", None, true),
            ("::ffff:127.0.0.1", "localhost", None, true),
            ("127.0.0.1", "x.ts.net", None, true),
            ("127.0.0.1", "example.com", None, false),
            ("192.168.1.5", "localhost", None, false),
            ("127.0.0.1", "localhost", Some("X-Forwarded-For"), false),
            ("127.0.0.1", "localhost", Some("Forwarded"), false),
            ("127.0.0.1", "localhost", Some("CF-Ray"), false),
            ("127.0.0.1", "localhost", Some("Tailscale-User-Login"), false),
            ("127.0.0.1", "localhost", Some("Via"), false),
            ("127.0.0.1", "localhost", Some("X-Viable"), true),
        ] {
            let headers: Vec<_> = header.iter().map(|it| (*it, "127.0.0.1")).collect();
            assert_eq!(peer(ip, host, &headers).is_local(), want, "{ip} {host} {header:?}");
        }
    }
    /// From the right, past the proxies that are trusted; what a client wrote in front of them counts for nothing.
    #[test]
    fn behind_proxies() {
        let proxies =
            ["127.0.0.1", "10.0.0.0/8", "fd00::/8", "192.168.0.300", "10.0.0.0/33"].map(str::to_owned);
        for (ip, forwarded_for, want) in [
            ("127.0.0.1", Some("8.8.8.8"), Some("8.8.8.8")),
            ("127.0.0.1", Some("127.0.0.1, 8.8.8.8"), Some("8.8.8.8")),
            ("127.0.0.1", Some("1.1.1.1, 8.8.8.8, 10.1.2.3"), Some("8.8.8.8")),
            ("127.0.0.1", Some("8.8.8.8, fd00::7, 10.1.2.3"), Some("8.8.8.8")),
            ("127.0.0.1", Some("::ffff:8.8.8.8"), Some("8.8.8.8")),
            ("10.9.9.9", Some("8.8.8.8"), Some("8.8.8.8")),
            ("127.0.0.1", Some("8.8.8.8, garbage"), None),
            ("127.0.0.1", Some("garbage, 8.8.8.8"), Some("8.8.8.8")),
            ("127.0.0.1", Some(""), None),
            ("127.0.0.1", Some("10.1.2.3"), None),
            ("127.0.0.1", None, Some("127.0.0.1")),
            ("11.0.0.1", Some("8.8.8.8"), Some("11.0.0.1")),
        ] {
            let headers: Vec<_> = forwarded_for.iter().map(|it| ("X-Forwarded-For", *it)).collect();
            let got = peer(ip, "localhost", &headers).client_ip(&proxies);
            assert_eq!(got, want.map(|it| it.parse().unwrap()), "{ip} {forwarded_for:?}");
        }
        let lines = [("X-Forwarded-For", "8.8.8.8"), ("X-Forwarded-For", "10.1.1.1")];
        assert_eq!(
            peer("127.0.0.1", "localhost", &lines).client_ip(&proxies),
            Some("8.8.8.8".parse().unwrap()),
            "lines are one list"
        );
        assert!(
            is_range("10.0.0.0/8") && !is_range("10.0.0.0/33") && !is_range("x") && !is_range("1.1.1.1/")
        );
    }
    #[test]
    fn origins() {
        let names = HostNames::new("pi", &[], None);
        for (host, origin, want) in [
            ("127.0.0.1:18789", "http://127.0.0.1:18789", true),
            ("127.0.0.1:18789", "http://localhost:5173", true),
            ("pi:18789", "http://pi:18789", true),
            ("192.168.0.2:18789", "http://192.168.0.2:18789", true),
            ("evil.example:18789", "http://evil.example:18789", false),
            ("127.0.0.1:18789", "http://127.0.0.1.evil.example", false),
            ("127.0.0.1:18789", "null", false),
            ("127.0.0.1:18789", "file://localhost", false),
            ("192.168.0.2:18789", "http://192.168.0.2:1", false),
        ] {
            assert_eq!(
                peer("127.0.0.1", host, &[("Origin", origin)]).origin_allowed(&[], &names),
                want,
                "{host} {origin}"
            );
        }
        // What stands in `Host` does not make a machine this one.
        let far = peer("192.168.0.9", "localhost:1", &[("Origin", "http://localhost:5173")]);
        let through = peer("127.0.0.1", "localhost:1", &[("Origin", "http://localhost:1"), ("Via", "1.1 x")]);
        assert!(!far.origin_allowed(&[], &names) && !through.origin_allowed(&[], &names));
        let allowed = ["https://ui.example".to_owned()];
        assert!(peer("127.0.0.1", "x", &[("Origin", "https://UI.example")]).origin_allowed(&allowed, &names));
    }
    #[test]
    fn ranges() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(in_range(&ip("10.1.2.3"), "10.0.0.0/8") && !in_range(&ip("11.1.2.3"), "10.0.0.0/8"));
        assert!(in_range(&ip("::ffff:10.1.2.3"), "10.1.2.3") && in_range(&ip("fd00::1"), "fd00::/8"));
        assert!(!in_range(&ip("1.1.1.1"), "x") && in_range(&ip("1.1.1.1"), "0.0.0.0/0"));
        assert_eq!(rate_key(ip("2001:db8::1")), rate_key(ip("2001:db8::2")));
    }
}
