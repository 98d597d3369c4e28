//! The head of an HTTP/1.1 request: found, parsed, and refused for anything RFC 9110/9112 does not allow.
//!
//! * Two parsers can never disagree about where this request ends: every ambiguous framing is a 400.
use super::answer::Refusal;
use crate::base::limits::{HEAD_BYTES_MAX, HEAD_LINES_MAX};

/// A request head that may be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Percent-decoded, begins with `/`; or `*` (OPTIONS alone) or empty (CONNECT).
    pub path: String,
    /// After the `?`, as sent; empty when absent.
    pub query: String,
    pub host: Host,
    /// Names in lower case, values as sent (bytes that are not UTF-8 replaced), in order.
    pub headers: Vec<(String, String)>,
    pub http10: bool,
    pub keep_alive: bool,
    pub content: Content,
    pub expects_continue: bool,
    /// The key of a WebSocket upgrade.
    pub websocket_key: Option<String>,
}

/// How the body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    None,
    Sized(u64),
    Chunked,
}

impl Content {
    /// Nothing is behind the head.
    pub fn is_empty(self) -> bool {
        matches!(self, Content::None | Content::Sized(0))
    }
}

/// The `Host` of a request, or the authority of an absolute-form target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Lower case; IPv6 without brackets.
    pub name: String,
    pub port: Option<u16>,
}

impl Head {
    /// The only value of a header; None when absent or repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(it, _)| it == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(it, _)| it == name)
    }
    /// What the query says, decoded as a form is: in order, bytes that are not UTF-8 replaced.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        let plain = |text: &str| form_decoded(&text.replace('+', " "));
        let pairs = self.query.split('&').filter(|it| !it.is_empty());
        pairs.map(|it| it.split_once('=').unwrap_or((it, ""))).map(|it| (plain(it.0), plain(it.1))).collect()
    }
    /// A comma-separated header holds this token, in any case.
    fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name).any(|it| it.split(',').any(|it| it.trim().eq_ignore_ascii_case(token)))
    }
    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

impl Host {
    /// `name`, `name:port`, `[v6]` or `[v6]:port`.
    pub fn parse(text: &str) -> Option<Host> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, rest) = rest.split_once(']')?;
                name.parse::<std::net::Ipv6Addr>().ok()?;
                (name, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
        if name.is_empty() || !(text.starts_with('[') || name.chars().all(is_name)) {
            return None;
        }
        let port = match port {
            None | Some("") => None,
            Some(port) if port.bytes().all(|it| it.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
        };
        Some(Host { name: name.to_ascii_lowercase(), port })
    }
}

/// Where a head ends in `bytes`, looking only at what came since `scanned`.
///
/// # Errors
/// 400 at the first byte that no head may hold, 431 past the limits.
pub fn end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Refusal> {
    for at in scanned..bytes.len() {
        let after_cr = at > 0 && bytes[at - 1] == b'\r';
        match bytes[at] {
            b'\n' if !after_cr => return Err(Refusal::bad("a bare line feed")),
            b'\n' if at >= HEAD_BYTES_MAX => return Err(Refusal::head_too_large()),
            b'\n' if bytes[..=at].ends_with(b"\r\n\r\n") => return Ok(Some(at + 1)),
            b'\n' => {}
            _ if after_cr => return Err(Refusal::bad("a bare carriage return")),
            b'\r' | b'\t' | 0x20..=0x7e | 0x80.. => {}
            _ => return Err(Refusal::bad("a control character")),
        }
    }
    if bytes.len() >= HEAD_BYTES_MAX { Err(Refusal::head_too_large()) } else { Ok(None) }
}

/// Parses a whole head, as [`end`] found it.
///
/// # Errors
/// The answer that refuses it.
pub fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::bad("an incomplete head")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::head_too_large()),
        Err(httparse::Error::Version) => return Err(version_refusal(bytes)),
        Err(err) => return Err(Refusal::bad(&err.to_string())),
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|it| (it.name.to_ascii_lowercase(), String::from_utf8_lossy(it.value).trim().to_owned()))
        .collect();
    let http10 = request.version == Some(0);
    let mut head = Head {
        method: method.to_owned(),
        path: String::new(),
        query: String::new(),
        host: Host::default(),
        headers,
        http10,
        keep_alive: false,
        content: Content::None,
        expects_continue: false,
        websocket_key: None,
    };
    let authority = read_target(&mut head, target)?;
    head.host = host(&head, authority)?;
    head.keep_alive =
        !head.lists("connection", "close") && (!http10 || head.lists("connection", "keep-alive"));
    head.content = content(&head)?;
    match head.header("expect") {
        None if head.has_header("expect") => return Err(Refusal::new(417, "more than one Expect header")),
        Some(it) if !it.eq_ignore_ascii_case("100-continue") => {
            return Err(Refusal::new(417, "only 100-continue can be expected"));
        }
        it => head.expects_continue = it.is_some() && !http10,
    }
    head.websocket_key = websocket_key(&head)?;
    Ok(head)
}

/// `HTTP/2.0` and the like are another version; anything else is no HTTP at all.
fn version_refusal(bytes: &[u8]) -> Refusal {
    let line = bytes.split(|it| *it == b'\r').next().unwrap_or_default();
    let word = line.rsplit(|it| *it == b' ').next().unwrap_or_default();
    match word {
        [b'H', b'T', b'T', b'P', b'/', a, b'.', b]
            if a.is_ascii_digit()
                && b.is_ascii_digit()
                && line.iter().filter(|it| **it == b' ').count() == 2 =>
        {
            Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        }
        _ => Refusal::bad("the HTTP version"),
    }
}

/// Fills path and query; answers the authority of an absolute-form target.
fn read_target<'a>(head: &mut Head, target: &'a str) -> Result<Option<&'a str>, Refusal> {
    if head.method == "CONNECT" {
        return Ok(None);
    }
    if target == "*" && head.method == "OPTIONS" {
        head.path = "*".into();
        return Ok(None);
    }
    let mut authority = None;
    let mut origin = target;
    for scheme in ["http://", "https://"] {
        if target.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme)) {
            let rest = &target[scheme.len()..];
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            (authority, origin) = (Some(&rest[..at]), &rest[at..]);
        }
    }
    if authority.is_none() && !origin.starts_with('/') {
        return Err(Refusal::bad("the request target must begin with '/'"));
    }
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    let fits = |text: &str, more: &str| {
        text.bytes().all(|c| c.is_ascii_alphanumeric() || more.as_bytes().contains(&c))
    };
    if !fits(path, "-._~%!$&'()*+,;=:@/") || !fits(query, "-._~%!$&'()*+,;=:@/?[]{}|^`\"<>\\") {
        return Err(Refusal::bad("a character that no request target may hold"));
    }
    head.path = if path.is_empty() {
        "/".into()
    } else {
        decode(path).ok_or_else(|| Refusal::bad("the percent-encoding"))?
    };
    head.query = query.to_owned();
    Ok(authority)
}

/// Percent-decoded once; None for a bad escape, a control character or bytes that are not UTF-8.
fn decode(path: &str) -> Option<String> {
    let (mut out, mut bytes) = (Vec::with_capacity(path.len()), path.bytes());
    while let Some(c) = bytes.next() {
        out.push(match c {
            b'%' => {
                let (a, b) =
                    (char::from(bytes.next()?).to_digit(16)?, char::from(bytes.next()?).to_digit(16)?);
                (a * 16 + b) as u8
            }
            c => c,
        });
    }
    String::from_utf8(out).ok().filter(|it| !it.chars().any(char::is_control))
}

/// WHATWG URL: a bad escape stands for itself.
fn form_decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let digit = |n: usize| bytes.get(at + n).and_then(|it| char::from(*it).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(a), Some(b)) => {
                out.push((a * 16 + b) as u8);
                at += 3;
            }
            (c, ..) => {
                out.push(c);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// RFC 9112 section 3.2: exactly one valid Host on HTTP/1.1; an absolute-form target overrules it.
fn host(head: &Head, authority: Option<&str>) -> Result<Host, Refusal> {
    let mut values = head.values("host");
    let own = match (values.next(), values.next()) {
        (Some(_), Some(_)) => return Err(Refusal::bad("more than one Host header")),
        (None, _) if head.http10 => Some(Host::default()),
        (None, _) => return Err(Refusal::bad("no Host header")),
        (Some(text), None) => Host::parse(text),
    };
    let own = own.ok_or_else(|| Refusal::bad("a Host header that is no host"))?;
    match authority {
        Some(text) => Host::parse(text).ok_or_else(|| Refusal::bad("an authority that is no host")),
        None => Ok(own),
    }
}

/// RFC 9112 section 6: one framing or a 400.
fn content(head: &Head) -> Result<Content, Refusal> {
    let mut lengths = head.values("content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Refusal::bad("more than one Content-Length"));
    }
    let mut codings = head.values("transfer-encoding");
    match (codings.next(), codings.next(), length) {
        (None, _, None) => Ok(Content::None),
        (None, _, Some(text)) if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) => {
            text.parse().map(Content::Sized).map_err(|_| Refusal::bad("the Content-Length"))
        }
        (None, _, Some(_)) => Err(Refusal::bad("the Content-Length")),
        (Some(_), _, Some(_)) => Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
        (Some(_), _, None) if head.http10 => Err(Refusal::bad("Transfer-Encoding on HTTP/1.0")),
        (Some(coding), None, None) if coding.eq_ignore_ascii_case("chunked") => Ok(Content::Chunked),
        (Some(_), ..) => Err(Refusal::bad("a Transfer-Encoding other than chunked")),
    }
}

/// RFC 6455 section 4.2.1. An upgrade to anything else is ignored, as RFC 9110 section 7.8 allows.
fn websocket_key(head: &Head) -> Result<Option<String>, Refusal> {
    if head.http10 || !head.lists("connection", "upgrade") || !head.lists("upgrade", "websocket") {
        return Ok(None);
    }
    if head.method != "GET" {
        return Err(Refusal::bad("a WebSocket upgrade must be a GET"));
    }
    if !matches!(head.content, Content::None | Content::Sized(0)) {
        return Err(Refusal::bad("a WebSocket upgrade has no body"));
    }
    match head.header("sec-websocket-version") {
        Some("13") => {}
        Some(_) => {
            return Err(
                Refusal::new(426, "WebSocket version 13 is spoken here").with("Sec-WebSocket-Version", "13")
            );
        }
        None => return Err(Refusal::bad("no single Sec-WebSocket-Version")),
    }
    let key = head.header("sec-websocket-key").unwrap_or_default();
    match crate::base::ids::from_base64(key) {
        Some(bytes) if bytes.len() == 16 && key.len() == 24 => Ok(Some(key.to_owned())),
        _ => Err(Refusal::bad("no single Sec-WebSocket-Key of 16 bytes")),
    }
}
