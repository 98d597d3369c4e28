//! Identifiers and the randomness behind them.

/// One connection. `slot` is reused, `generation` is not: a late answer never reaches the next owner of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}

/// Fills a buffer with unpredictable bytes. The daemon uses the operating system's; tests count.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// The operating system's randomness.
pub fn os_entropy() -> Entropy {
    use ring::rand::SecureRandom;
    let rng = ring::rand::SystemRandom::new();
    Box::new(move |buf| rng.fill(buf).expect("getrandom does not fail once the system is up"))
}

/// A version 4 UUID (RFC 9562), lower case with dashes.
pub fn uuid(entropy: &mut Entropy) -> String {
    let mut b = [0u8; 16];
    entropy(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = hex(&b);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// 32 lower-case hex digits: the form of the reference's device tokens (a UUID without dashes).
pub fn token(entropy: &mut Entropy) -> String {
    let mut b = [0u8; 16];
    entropy(&mut b);
    hex(&b)
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        write!(out, "{b:02x}").expect("writing to a String does not fail");
        out
    })
}

/// Lower-case hex SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// Base64 with the URL alphabet and no padding (RFC 4648 section 5).
pub fn base64url(bytes: &[u8]) -> String {
    base64_with(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}

/// Base64 with the standard alphabet and padding (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    let mut out = base64_with(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

fn base64_with(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(char::from(alphabet[(n >> (18 - 6 * i)) as usize & 63]));
        }
    }
    out
}

/// Reads either alphabet, with or without padding; None for any other character.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let (mut out, mut acc, mut bits) = (Vec::with_capacity(text.len() * 3 / 4), 0u32, 0);
    for c in text.bytes() {
        let v = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        acc = acc << 6 | u32::from(v);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((acc >> bits) as u8);
            acc &= (1 << bits) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn base64_both_ways() {
        for len in 0..40usize {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + len) as u8).collect();
            assert_eq!(from_base64(&base64url(&bytes)).as_deref(), Some(&bytes[..]));
            assert_eq!(from_base64(&base64(&bytes)).as_deref(), Some(&bytes[..]));
        }
        assert_eq!(base64url(b"\xfb\xff"), "-_8");
        assert_eq!(from_base64("a"), None);
        assert_eq!(from_base64("a b="), None);
    }
    #[test]
    fn uuid_has_its_version_bits() {
        let id = uuid(&mut os_entropy());
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
    }
}
