//! One POST to a model server and its answer, byte by byte: blocking, with a deadline for every wait, closed at once when cancelled.
//!
//! Nothing is followed, retried, cached or unpacked here; a connection serves one request. `fetch` makes its connections here too.
use super::error::{ErrorKind, TurnError, Wait};
use super::refusal;
use crate::base::cancel::{Cancel, Hook};
use crate::base::limits::{
    HEAD_BYTES_MAX, MODEL_ANSWER_BYTES_MAX, MODEL_CONNECT_MS, MODEL_FIRST_BYTE_MS, MODEL_IDLE_MS,
    MODEL_REFUSAL_BYTES_MAX, MODEL_TOTAL_MS,
};
use crate::wire::dns::{Dns, Lookup, system};
use crate::wire::proxy::Proxies;
use std::io::Read;
use std::time::Duration;
use ureq::http::{HeaderMap, Uri};
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, BodyReader, Timeout};

/// How long each wait may last, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub connect_ms: u64,
    /// From the connection to the head of the answer.
    pub first_byte_ms: u64,
    pub idle_ms: u64,
    /// All of it.
    pub total_ms: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect_ms: MODEL_CONNECT_MS,
            first_byte_ms: MODEL_FIRST_BYTE_MS,
            idle_ms: MODEL_IDLE_MS,
            total_ms: MODEL_TOTAL_MS,
        }
    }
}

/// How to reach a server: the same for every call of a run.
#[derive(Debug, Clone)]
pub struct Wire {
    pub patience: Patience,
    pub proxies: Proxies,
    pub lookup: Lookup,
}

impl Wire {
    pub fn new(patience: Patience, proxies: Proxies) -> Wire {
        Wire { patience, proxies, lookup: system }
    }
}

/// What is sent. The body is JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer whose status is 2xx, while it arrives.
pub struct Arriving {
    pub media_type: String,
    body: BodyReader<'static>,
    left: u64,
    cancel: Cancel,
    _close: Hook,
}

/// Before or behind the head of the answer.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Head,
    Body,
}

/// Sends, and waits for the head of the answer.
///
/// # Errors
/// Any kind but `Internal`; a status other than 2xx is read for its reason first.
pub fn post(post: &Post, wire: &Wire, cancel: &Cancel) -> Result<Arriving, TurnError> {
    let bad = |text: String| TurnError::new(ErrorKind::BadRequest, text);
    let uri: Uri = post.url.parse().map_err(|err| bad(format!("baseUrl {:?}: {err}", post.url)))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(bad(format!("baseUrl {:?} is not of the form https://host/path", post.url)));
    }
    let dns = Dns { cancel: cancel.clone(), lookup: wire.lookup };
    let proxy =
        wire.proxies.of_uri(&uri).map_err(|err| TurnError::new(ErrorKind::Network, err.to_string()))?;
    let agent = agent(wire.patience, proxy, 0, dns);
    let closing = agent.clone();
    let close = cancel.on_cancel(move || closing.shutdown());
    if cancel.is_cancelled() {
        return Err(TurnError::cancelled());
    }
    let mut request = agent.post(uri);
    for (name, value) in &post.headers {
        request = request.header(name, value);
    }
    let told = |err| failure(err, Phase::Head, cancel);
    let answer = request.send(&post.body[..]).map_err(told)?;
    let (head, body) = answer.into_parts();
    let mut arriving = Arriving {
        media_type: header(&head.headers, "content-type").to_ascii_lowercase(),
        body: body.into_reader(),
        left: MODEL_ANSWER_BYTES_MAX,
        cancel: cancel.clone(),
        _close: close,
    };
    if head.status.is_success() {
        return Ok(arriving);
    }
    let status = head.status.as_u16();
    if head.status.is_redirection() {
        let place = header(&head.headers, "location");
        let text = format!("the server points to {place:?}: put the new address into baseUrl");
        return Err(TurnError { status: Some(status), ..bad(text) });
    }
    let bytes = arriving.whole()?;
    Err(refusal::of_answer(status, retry_after_ms(&head.headers), &arriving.media_type, &bytes))
}

/// What makes connections; none of them serves a second request.
pub(super) fn agent(
    patience: Patience,
    proxy: Option<ureq::Proxy>,
    redirects_max: u32,
    resolver: impl Resolver,
) -> Agent {
    let ms = |ms| Some(Duration::from_millis(ms));
    let Patience { connect_ms, first_byte_ms, idle_ms, total_ms } = patience;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(redirects_max)
        .proxy(proxy)
        .user_agent(concat!("gatewayd/", env!("CARGO_PKG_VERSION")))
        .max_idle_connections(0)
        // The defaults cost 512 KiB a request.
        .input_buffer_size(HEAD_BYTES_MAX)
        .output_buffer_size(HEAD_BYTES_MAX)
        .max_response_header_size(HEAD_BYTES_MAX)
        .timeout_resolve(ms(connect_ms))
        .timeout_connect(ms(connect_ms))
        .timeout_send_request(ms(first_byte_ms))
        .timeout_send_body(ms(first_byte_ms))
        .timeout_recv_response(ms(first_byte_ms))
        .timeout_per_read(ms(idle_ms))
        .timeout_global(ms(total_ms))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), resolver)
}

impl Arriving {
    /// 0 at the end.
    ///
    /// # Errors
    /// Silence, a broken connection, an answer over the cap, or cancelled.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, TurnError> {
        let read = self.body.read(into);
        // A socket that was shut down reads as ended.
        if self.cancel.is_cancelled() {
            return Err(TurnError::cancelled());
        }
        let n = read.map_err(|err| failure(err.into(), Phase::Body, &self.cancel))?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            TurnError::protocol(format!("an answer of more than {} MiB", MODEL_ANSWER_BYTES_MAX >> 20))
        })?;
        Ok(n)
    }
    /// The first bytes of an answer that is no stream. What breaks on the way ends it: the beginning says enough.
    ///
    /// # Errors
    /// Cancelled.
    pub fn whole(&mut self) -> Result<Vec<u8>, TurnError> {
        let (mut bytes, mut part) = (vec![], [0; 4096]);
        while (bytes.len() as u64) < MODEL_REFUSAL_BYTES_MAX {
            match self.read(&mut part) {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(&part[..n]),
                Err(err) if err.kind == ErrorKind::Cancelled => return Err(err),
                Err(_) => break,
            }
        }
        Ok(bytes)
    }
}

/// Empty when it is absent, or no text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

/// `retry-after-ms`, or `retry-after` in seconds. Its form as a date is not used by any model server.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let number = |name| header(headers, name).trim().parse::<f64>().ok().filter(|it| *it >= 0.0);
    number("retry-after-ms").or_else(|| Some(number("retry-after")? * 1000.0)).map(|ms| ms as u64)
}

fn failure(err: ureq::Error, phase: Phase, cancel: &Cancel) -> TurnError {
    use ureq::Error;
    if cancel.is_cancelled() {
        return TurnError::cancelled();
    }
    let kind = match &err {
        Error::Timeout(Timeout::Global | Timeout::PerCall) => ErrorKind::Timeout(Wait::Total),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => ErrorKind::Timeout(Wait::Connect),
        Error::Timeout(_) if phase == Phase::Head => ErrorKind::Timeout(Wait::FirstByte),
        Error::Timeout(_) => ErrorKind::Timeout(Wait::Idle),
        Error::BadUri(_) | Error::Http(_) => ErrorKind::BadRequest,
        Error::Protocol(_) | Error::LargeResponseHeader(..) if phase == Phase::Head => ErrorKind::Protocol,
        _ => ErrorKind::Network,
    };
    let reason = match (&err, phase) {
        (Error::Timeout(_), _) => String::new(),
        (Error::HostNotFound, _) => "no such host".to_owned(),
        (_, Phase::Body) => format!("the connection broke in the middle of the answer: {err}"),
        (_, Phase::Head) => err.to_string(),
    };
    TurnError::new(kind, reason)
}
