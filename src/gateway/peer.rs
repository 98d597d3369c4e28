//! Where a connection comes from, and whether that is this machine and a page we trust.
//!
//! * "Local" is decided by the socket's peer address; a header can only take it away.
use super::tailscale::Claim;
use crate::conn::head::{Head, Host};
use std::net::{IpAddr, Ipv6Addr};

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
    /// `X-Forwarded-For`, all lines joined.
    pub forwarded_for: String,
    /// Who it says it is, through Tailscale Serve.
    pub claim: Option<Claim>,
}

/// Headers that only a proxy sends (security plan 1.1).
const PROXY_HEADERS: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-real-ip",
    "cf-connecting-ip",
    "tailscale-user-login",
    "tailscale-user-name",
];

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
            forwarded: PROXY_HEADERS.iter().any(|it| head.has_header(it)),
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
    /// This very machine, not through a proxy that we do not know.
    pub fn is_local(&self, trusted_proxies: &[String]) -> bool {
        let by_trusted_proxy = trusted_proxies.iter().any(|it| in_range(&self.ip, it));
        let host = self.host.name.as_str();
        (!self.forwarded || by_trusted_proxy)
            && self.client_ip(trusted_proxies).is_some_and(|it| it.is_loopback())
            && (is_loopback_name(host) || host.ends_with(".ts.net"))
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
        same_host || (is_loopback_name(&from.name) && is_loopback_name(&self.host.name))
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

/// An address, or `address/bits`.
fn in_range(ip: &IpAddr, range: &str) -> bool {
    let (base, bits) = range.trim().split_once('/').unwrap_or((range.trim(), "128"));
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let wide = |it: IpAddr| match it.to_canonical() {
        IpAddr::V4(it) => it.to_ipv6_mapped(),
        IpAddr::V6(it) => it,
    };
    let bits = if base.to_canonical().is_ipv4() && range.contains('/') { bits + 96 } else { bits }.min(128);
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    u128::from(wide(*ip)) & mask == u128::from(wide(base)) & mask
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
        let proxies = ["127.0.0.1".to_owned()];
        for (ip, host, header, trusted, want) in [
            ("127.0.0.1", "127.0.0.1:1", None, false, true),
            ("::1", "[::1]:1", None, false, true),
            ("127.0.0.1", "x.ts.net", None, false, true),
            ("127.0.0.1", "example.com", None, false, false),
            ("192.168.1.5", "localhost", None, false, false),
            ("127.0.0.1", "localhost", Some("127.0.0.1"), false, false),
            ("127.0.0.1", "localhost", Some("8.8.8.8"), true, false),
            ("127.0.0.1", "localhost", Some("8.8.8.8, ::1"), true, true),
            ("127.0.0.1", "localhost", Some("::1, 8.8.8.8"), true, false),
            ("127.0.0.1", "localhost", Some("garbage"), true, false),
        ] {
            let headers: Vec<_> = header.iter().map(|it| ("X-Forwarded-For", *it)).collect();
            let trusted: &[String] = if trusted { &proxies } else { &[] };
            assert_eq!(peer(ip, host, &headers).is_local(trusted), want, "{ip} {host} {header:?}");
        }
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
