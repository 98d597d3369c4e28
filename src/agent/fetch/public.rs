//! Which addresses of a URL that somebody else wrote may be connected to: what the public internet routes, and nothing else.
//!
//! * A host is a plain name, a dotted quad, or a bracketed IPv6 address; a spelling that two parsers read differently is none.
//! * What carries another address inside (mapped, 6to4, Teredo, ISATAP) is refused, whatever it carries. NAT64 alone is judged by
//!   what it carries: on a network with nothing else it is how every name resolves.
use super::FetchError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ureq::http::Uri;

/// # Errors
/// Not http or https, a name and password inside, or a host in a form that is not plain.
pub(super) fn check_form(uri: &Uri) -> Result<(), FetchError> {
    let refuse = |why: &str| Err(FetchError::Address(why.to_owned()));
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return refuse("it does not begin with http:// or https://");
    }
    if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return refuse("it holds a user name or a password");
    }
    let host = uri.host().unwrap_or_default();
    if let Some(inner) = host.strip_prefix('[') {
        return match inner.strip_suffix(']').and_then(|it| it.parse::<Ipv6Addr>().ok()) {
            Some(_) => Ok(()),
            None => refuse("its IPv6 address is malformed"),
        };
    }
    let label = |it: &str| {
        (1..=63).contains(&it.len())
            && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return refuse("its host is not a plain name (international ones are written xn--…)");
    }
    // Resolvers read 0x7f.1, 017700000001 and 2130706433 as addresses too.
    let last = host.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return refuse("its host is a number that is not written as four decimal parts");
    }
    Ok(())
}

/// Whether the public internet routes to it. Origin: the IANA registries of special-purpose addresses.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_public_v4(it),
        IpAddr::V6(it) => is_public_v6(it),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments (Teredo, ORCHID …), documentation, 6to4, documentation.
        [0x2001, 0..0x200, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..0x1000, ..] => false,
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_neighbours_of_what_is_refused_are_public() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.0.1",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00:1450::8",
            "3fff:1000::1",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
