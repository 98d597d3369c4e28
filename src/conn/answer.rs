//! HTTP answers: built as `tiny_http::Response`, written by its `raw_print`, with the headers every answer carries.
use std::io::Cursor;
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

/// A whole answer, body in memory.
pub struct Answer {
    status: u16,
    headers: Vec<Header>,
    body: Vec<u8>,
    /// Close the connection behind it.
    pub close: bool,
}

/// On every answer (security plan 1.1): no sniffing, no framing, no referrer, nothing loaded, no device APIs.
const ALWAYS: [(&str, &str); 6] = [
    ("Server", "gatewayd"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
];

fn header(name: &str, value: &str) -> Header {
    let value: String =
        value.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' }).collect();
    Header::from_bytes(name, value).expect("header names are constants, values printable ASCII")
}

impl Answer {
    /// Any body.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            headers: vec![header("Content-Type", content_type)],
            body: body.into(),
            close: false,
        }
    }
    pub fn text(status: u16, body: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", body)
    }
    /// JSON, never cached.
    pub fn json(status: u16, body: &impl serde::Serialize) -> Answer {
        let body = serde_json::to_vec(body).expect("our own types serialise");
        Answer::new(status, "application/json; charset=utf-8", body).with("Cache-Control", "no-store")
    }
    pub fn empty(status: u16) -> Answer {
        Answer { status, headers: vec![], body: vec![], close: false }
    }
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push(header(name, value));
        self
    }
    #[must_use]
    pub fn closing(self) -> Answer {
        Answer { close: true, ..self }
    }
    pub fn status(&self) -> u16 {
        self.status
    }
    /// The bytes on the wire. `head_only`: the request was a HEAD. `close`: say that the connection ends behind this;
    /// `keep`: say that it does not, which HTTP/1.0 needs to hear.
    ///
    /// The status line says HTTP/1.1 whatever the request said (RFC 9110 section 6.2).
    pub fn into_bytes(self, head_only: bool, close: bool, keep: bool) -> Vec<u8> {
        let status = self.status;
        let mut out = self.print(head_only);
        // What tiny_http cannot say: Connection and Upgrade, and nothing at all of a length where there is no content.
        let own = match (status, close, keep) {
            (426, ..) => "Connection: close, Upgrade\r\nUpgrade: websocket\r\n",
            (_, true, _) => "Connection: close\r\n",
            (_, false, true) => "Connection: keep-alive\r\n",
            _ => "",
        };
        if status == 204 {
            replace(&mut out, NO_LENGTH, "");
        }
        replace(&mut out, "\r\n", &format!("\r\n{own}"));
        out
    }
    /// Says how long the body will be that comes in pieces.
    pub fn of_length(self, bytes: u64) -> Answer {
        self.with("Content-Length", &bytes.to_string())
    }
    pub fn has_length(&self) -> bool {
        self.has("Content-Length")
    }
    pub fn has(&self, name: &'static str) -> bool {
        self.headers.iter().any(|it| it.field.equiv(name))
    }
    /// The head alone, of an answer that comes in pieces. One without a length is chunked (RFC 9112 section 7.1), or lasts until the
    /// connection ends.
    pub fn into_stream_head(mut self, chunked: bool, close: bool) -> Vec<u8> {
        self.body.clear();
        let mut out = self.print(true);
        let framing = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
        replace(&mut out, NO_LENGTH, framing);
        let own = if close { "Connection: close\r\n" } else { "" };
        replace(&mut out, "\r\n", &format!("\r\n{own}"));
        out
    }
    fn print(self, head_only: bool) -> Vec<u8> {
        let mut headers = self.headers;
        for (name, value) in ALWAYS {
            if !headers.iter().any(|it| it.field.equiv(name)) {
                headers.push(header(name, value));
            }
        }
        let length = self.body.len();
        let response =
            Response::new(StatusCode(self.status), headers, Cursor::new(self.body), Some(length), None)
                .with_chunked_threshold(usize::MAX);
        let mut out = Vec::with_capacity(512 + length);
        response
            .raw_print(&mut out, HTTPVersion(1, 1), &[], head_only, None)
            .expect("writing to memory does not fail");
        out
    }
}

const NO_LENGTH: &str = "Content-Length: 0\r\n";

/// The first `old` becomes `new`.
fn replace(out: &mut Vec<u8>, old: &str, new: &str) {
    if let Some(at) = out.windows(old.len()).position(|it| it == old.as_bytes()) {
        out.splice(at..at + old.len(), new.bytes());
    }
}

/// An answer that refuses a request before anybody has seen it; the connection closes behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    text: String,
    with: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub fn new(status: u16, text: &str) -> Refusal {
        Refusal { status, text: text.to_owned(), with: None }
    }
    /// 400, naming what was wrong.
    pub fn bad(what: &str) -> Refusal {
        Refusal::new(400, &format!("Bad Request: {what}"))
    }
    pub fn head_too_large() -> Refusal {
        Refusal::new(431, "Request Header Fields Too Large: at most 16 KiB and 100 lines")
    }
    pub fn body_too_large(bytes_max: u64) -> Refusal {
        Refusal::new(413, &format!("Content Too Large: at most {bytes_max} bytes here"))
    }
    #[must_use]
    pub fn with(self, name: &'static str, value: &'static str) -> Refusal {
        Refusal { with: Some((name, value)), ..self }
    }
    pub fn answer(self) -> Answer {
        let answer = Answer::text(self.status, &self.text).closing();
        match self.with {
            Some((name, value)) => answer.with(name, value),
            None => answer,
        }
    }
}
