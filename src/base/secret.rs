//! Secrets: never printed, compared in constant time, masked in any text that leaves the process.
use std::sync::{OnceLock, RwLock};

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// A secret string. `Debug` prints the mask; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps and registers the text, so that [`redact`] masks it everywhere from now on.
    pub fn new(text: String) -> Secret {
        remember(&text);
        Secret(text)
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// Constant-time equality, also when the lengths differ: both sides are MACed under a fresh key and the tags compared.
    pub fn is(&self, given: &str) -> bool {
        use ring::{hmac, rand::SystemRandom};
        static KEY: OnceLock<hmac::Key> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("getrandom does not fail")
        });
        let tag = hmac::sign(key, self.0.as_bytes());
        hmac::verify(key, given.as_bytes(), tag.as_ref()).is_ok()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

fn known() -> &'static RwLock<Vec<String>> {
    static KNOWN: OnceLock<RwLock<Vec<String>>> = OnceLock::new();
    KNOWN.get_or_init(RwLock::default)
}

/// How many secrets are remembered for masking; the oldest goes first. Ours: tokens of live devices come and go.
const KNOWN_MAX: usize = 256;

/// Shorter texts are not masked by value: masking every "on" would make logs unreadable.
const REMEMBER_CHARS_MIN: usize = 6;

fn remember(text: &str) {
    if text.len() < REMEMBER_CHARS_MIN {
        return;
    }
    let mut all = known().write().unwrap_or_else(|it| it.into_inner());
    if !all.iter().any(|it| it == text) {
        if all.len() == KNOWN_MAX {
            all.remove(0);
        }
        all.push(text.to_owned());
    }
}

/// Masks every registered secret, bearer credentials, `token=` style parameters and the usual API key forms.
pub fn redact(text: &str) -> String {
    let mut out = text.to_owned();
    for secret in known().read().unwrap_or_else(|it| it.into_inner()).iter() {
        if out.contains(secret.as_str()) {
            out = out.replace(secret.as_str(), MASK);
        }
    }
    for (prefix, chars_min) in [
        ("Bearer ", 6),
        ("token=", 4),
        ("password=", 1),
        ("sk-", 16),
        ("xoxb-", 8),
        ("ghp_", 16),
        ("/bot", 20),
        ("/cap/", 20),
    ] {
        out = mask_after(&out, prefix, chars_min);
    }
    out
}

fn mask_after(text: &str, prefix: &str, chars_min: usize) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(prefix) {
        let tail = &rest[at + prefix.len()..];
        let end = tail
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.:~+/=*".contains(c)))
            .unwrap_or(tail.len());
        out.push_str(&rest[..at + prefix.len()]);
        out.push_str(if end >= chars_min { MASK } else { &tail[..end] });
        rest = &tail[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_secret_is_itself_only() {
        let it = Secret::new("correct horse".into());
        assert!(it.is("correct horse"));
        assert!(!it.is("correct hors"));
        assert!(!it.is(""));
        assert_eq!(format!("{it:?}"), MASK);
    }
    #[test]
    fn redaction() {
        let _it = Secret::new("s3cret-value".into());
        assert_eq!(redact("a s3cret-value b"), "a *** b");
        assert_eq!(redact("Authorization: Bearer abcdef123, x"), "Authorization: Bearer ***, x");
        assert_eq!(redact("GET /?token=abcd&x=1"), "GET /?token=***&x=1");
        assert_eq!(redact("/bot123456:AAAAAAAAAAAAAAAAAAAA/getMe"), "/bot***");
        assert_eq!(redact("nothing here: sk-1"), "nothing here: sk-1");
    }
}
