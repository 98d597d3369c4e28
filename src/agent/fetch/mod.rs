//! The one way to fetch what a URL names that somebody else wrote: a picture or a file in a request, a page in a message.
//!
//! ```text
//! let ask = Ask { url: &url, bytes_max: 5 << 20, total_ms: 10_000, redirects_max: 3 };
//! let got = Fetcher::default().get(&ask, &cancel)?;     // blocks: it has a thread of its own
//! ```
//!
//! * A host is looked up once for each hop, every address found is judged, and the connection goes to one of these addresses:
//!   a name that resolves otherwise a moment later changes nothing.
//! * A redirect is judged as the first address was. Nothing of the caller's (keys, cookies) is ever sent.
//! * No proxy is used: it would look the name up again, where nobody judges the answer.
//! * Nothing is unpacked.
mod public;
#[cfg(test)]
mod tests;

use super::http::{Patience, agent, header};
use crate::base::cancel::Cancel;
use crate::base::limits::{MODEL_CONNECT_MS, MODEL_FIRST_BYTE_MS};
use crate::wire::dns::{Dns, Lookup, system};
use std::net::IpAddr;
use thiserror::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// What is asked for, and what it may cost.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub url: &'a str,
    pub bytes_max: u64,
    /// From the look-up of the name to the last byte, redirects included.
    pub total_ms: u64,
    pub redirects_max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The `Content-Type` as the server wrote it; may be empty.
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// Each text goes on from "cannot fetch the URL: ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    #[error("{0}")]
    Address(String),
    #[error("{0:?} is not on the public internet; only what everybody can reach is fetched")]
    NotPublic(String),
    #[error("there is no host {0:?}")]
    NoHost(String),
    #[error("the server answers with status {0}")]
    Status(u16),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the server sends it compressed ({0}), which was not asked for")]
    Encoded(String),
    #[error("it redirects more than {0} times")]
    Redirects(u32),
    #[error("it took longer than {0} ms")]
    Timeout(u64),
    #[error("{0}")]
    Network(String),
    #[error("stopped")]
    Cancelled,
}

/// How names are looked up and judged: the system's own and the real rule, unless a test stands in.
#[derive(Debug, Clone, Copy)]
pub struct Fetcher {
    pub lookup: Lookup,
    pub is_public: fn(IpAddr) -> bool,
}

impl Default for Fetcher {
    fn default() -> Fetcher {
        Fetcher { lookup: system, is_public: public::is_public }
    }
}

impl Fetcher {
    /// # Errors
    /// A URL that may not be fetched, a server that does not serve it, or a limit.
    pub fn get(&self, ask: &Ask, cancel: &Cancel) -> Result<Fetched, FetchError> {
        let uri: Uri = ask.url.parse().map_err(|err| FetchError::Address(format!("{err}")))?;
        let within = |ms: u64| ms.min(ask.total_ms);
        let patience = Patience {
            connect_ms: within(MODEL_CONNECT_MS),
            first_byte_ms: within(MODEL_FIRST_BYTE_MS),
            idle_ms: ask.total_ms,
            total_ms: ask.total_ms,
        };
        let dns = Dns { cancel: cancel.clone(), lookup: self.lookup };
        let agent = agent(patience, None, ask.redirects_max, Judged { dns, is_public: self.is_public });
        let closing = agent.clone();
        let _close = cancel.on_cancel(move || closing.shutdown());
        // A socket that was shut down reads as ended.
        let stopped = || if cancel.is_cancelled() { Err(FetchError::Cancelled) } else { Ok(()) };
        stopped()?;
        let told = |err| failure(err, ask, cancel);
        let (head, mut body) = agent.get(uri).call().map_err(told)?.into_parts();
        if !head.status.is_success() {
            return Err(FetchError::Status(head.status.as_u16()));
        }
        match header(&head.headers, "content-encoding") {
            "" | "identity" => {}
            other => return Err(FetchError::Encoded(other.to_owned())),
        }
        if body.content_length().is_some_and(|it| it > ask.bytes_max) {
            return Err(FetchError::TooLarge(ask.bytes_max));
        }
        let content_type = header(&head.headers, "content-type").to_owned();
        let bytes = body.with_config().limit(ask.bytes_max).read_to_vec();
        stopped()?;
        Ok(Fetched { content_type, bytes: bytes.map_err(told)? })
    }
}

/// Looks up and judges; it is asked before every connection, a redirect's too.
#[derive(Debug)]
struct Judged {
    dns: Dns,
    is_public: fn(IpAddr) -> bool,
}

impl Resolver for Judged {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let refuse = |err: FetchError| ureq::Error::Other(Box::new(err));
        let host = || uri.host().unwrap_or_default().to_owned();
        public::check_form(uri).map_err(refuse)?;
        let found = self.dns.resolve(uri, config, timeout).map_err(|err| match err {
            ureq::Error::HostNotFound => refuse(FetchError::NoHost(host())),
            other => other,
        })?;
        // One that is not: whoever answers for this name cannot be believed in the others either.
        match found.iter().all(|it| (self.is_public)(it.ip())) {
            true => Ok(found),
            false => Err(refuse(FetchError::NotPublic(host()))),
        }
    }
}

fn failure(err: ureq::Error, ask: &Ask, cancel: &Cancel) -> FetchError {
    use ureq::Error;
    if cancel.is_cancelled() {
        return FetchError::Cancelled;
    }
    match err {
        Error::Other(it) => match it.downcast::<FetchError>() {
            Ok(it) => *it,
            Err(it) => FetchError::Network(it.to_string()),
        },
        Error::Timeout(_) => FetchError::Timeout(ask.total_ms),
        Error::TooManyRedirects => FetchError::Redirects(ask.redirects_max),
        Error::BodyExceedsLimit(_) => FetchError::TooLarge(ask.bytes_max),
        Error::BadUri(_) => FetchError::Address("it is not of the form https://host/path".to_owned()),
        Error::Io(it) => FetchError::Network(it.to_string()),
        other => FetchError::Network(other.to_string()),
    }
}
