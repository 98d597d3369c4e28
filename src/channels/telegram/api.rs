//! Calls of the Bot API: blocking, a deadline for each, and for each failure the one thing that matters: whether it can have happened.
//!
//! * The token is part of every address: no error repeats an address.
use crate::base::cancel::{Cancel, Hook};
use crate::base::limits::{
    HEAD_BYTES_MAX, TELEGRAM_ANSWER_BYTES_MAX, TELEGRAM_CONNECT_MS, TELEGRAM_KEEP_ALIVE_MS,
};
use crate::base::secret::Secret;
use crate::wire::dns::{Dns, system};
use serde_json::Value;
use std::io::{self, Read};
use std::time::Duration;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy, SendBody};

/// What came of a call that has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was looked at and not done.
    #[error("{text} ({code})")]
    Refused {
        code: u64,
        text: String,
        /// Seconds.
        retry_after: Option<u64>,
        /// The group has another id now.
        moved_to: Option<i64>,
    },
    /// Nothing of it has left this machine.
    #[error("{0}")]
    Unsent(String),
    /// It left, and nobody knows what became of it.
    #[error("{0}")]
    Unknown(String),
    /// The answer is longer than anything real; the number of the first update in it, where one can be read.
    #[error("an answer of more than {} MiB", TELEGRAM_ANSWER_BYTES_MAX >> 20)]
    TooLong { update: Option<i64> },
    #[error("stopped")]
    Cancelled,
}

impl Failure {
    pub fn code(&self) -> u64 {
        if let Failure::Refused { code, .. } = self { *code } else { 0 }
    }
    /// The server's own words hold `text`.
    pub fn says(&self, text: &str) -> bool {
        matches!(self, Failure::Refused { text: said, .. } if said.to_lowercase().contains(text))
    }
}

/// A file to be sent.
pub struct Upload<'a> {
    /// The name of its parameter.
    pub field: &'a str,
    pub name: &'a str,
    pub bytes: &'a [u8],
}

/// One bot as one thread calls it.
pub struct Api {
    agent: Agent,
    root: String,
    token: Secret,
    cancel: Cancel,
    _close: Hook,
}

impl Api {
    /// `root` without a slash at its end.
    pub fn new(root: &str, token: &Secret, proxy: Option<Proxy>, cancel: &Cancel) -> Api {
        let connect = Some(Duration::from_millis(TELEGRAM_CONNECT_MS));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy)
            .user_agent(concat!("gatewayd/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(Duration::from_millis(TELEGRAM_KEEP_ALIVE_MS))
            .input_buffer_size(HEAD_BYTES_MAX)
            .output_buffer_size(HEAD_BYTES_MAX)
            .max_response_header_size(HEAD_BYTES_MAX)
            .timeout_resolve(connect)
            .timeout_connect(connect)
            .build();
        let dns = Dns { cancel: cancel.clone(), lookup: system };
        let agent = Agent::with_parts(config, DefaultConnector::default(), dns);
        let closing = agent.clone();
        Api {
            agent,
            root: root.to_owned(),
            token: token.clone(),
            cancel: cancel.clone(),
            _close: cancel.on_cancel(move || closing.shutdown()),
        }
    }

    /// The `result` of a method. All of it must happen within `ms`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn call(&self, method: &str, params: &Value, ms: u64) -> Result<Value, Failure> {
        let body = serde_json::to_vec(params).expect("a value serialises");
        self.post(method, "application/json", &body, ms)
    }

    /// As [`Api::call`], with a file. `params` are scalars, or are written as JSON.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn upload(&self, method: &str, params: &Value, file: &Upload, ms: u64) -> Result<Value, Failure> {
        let line = boundary(file.bytes);
        let mut body = Vec::with_capacity(file.bytes.len() + 2048);
        for (name, value) in params.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            body.extend(
                format!("--{line}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
                    .bytes(),
            );
        }
        let name: String = file
            .name
            .chars()
            .map(|it| if it.is_control() || "\"\\".contains(it) { '_' } else { it })
            .collect();
        body.extend(
            format!(
                "--{line}\r\ncontent-disposition: form-data; name=\"{}\"; filename=\"{name}\"\r\ncontent-type: application/octet-stream\r\n\r\n",
                file.field
            )
            .bytes(),
        );
        body.extend(file.bytes);
        body.extend(format!("\r\n--{line}--\r\n").bytes());
        self.post(method, &format!("multipart/form-data; boundary={line}"), &body, ms)
    }

    /// A file that `getFile` has named, of at most `bytes_max`.
    ///
    /// # Errors
    /// See [`Failure`]; a longer one is refused with 413.
    pub fn download(&self, path: &str, bytes_max: u64, ms: u64) -> Result<Vec<u8>, Failure> {
        let hostile =
            path.split('/').any(|it| it == "..") || path.contains(['?', '#', '%']) || path.starts_with('/');
        if hostile || !path.bytes().all(|it| it.is_ascii_graphic()) {
            return Err(refused(400, "the file's path is not one".into()));
        }
        let url = format!("{}/file/bot{}/{path}", self.root, self.token.expose());
        let request = self.agent.get(&url).config().timeout_global(Some(Duration::from_millis(ms))).build();
        let answer = request.call().map_err(|err| self.failure(&err, true))?;
        let status = u64::from(answer.status().as_u16());
        if status != 200 {
            return Err(refused(status, format!("the file cannot be had: HTTP {status}")));
        }
        let mut bytes = vec![];
        let mut body = answer.into_body().into_reader().take(bytes_max + 1);
        body.read_to_end(&mut bytes).map_err(|err| self.failure(&err.into(), true))?;
        match bytes.len() as u64 > bytes_max {
            true => Err(refused(413, format!("the file has more than {bytes_max} bytes"))),
            false => Ok(bytes),
        }
    }

    fn post(&self, method: &str, media_type: &str, body: &[u8], ms: u64) -> Result<Value, Failure> {
        if self.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let url = format!("{}/bot{}/{method}", self.root, self.token.expose());
        // The first byte is taken when there is a connection to write it to.
        let mut source = Source { left: body, taken: false };
        let request = self
            .agent
            .post(&url)
            .header("content-type", media_type)
            .header("content-length", body.len().to_string())
            .config()
            .timeout_global(Some(Duration::from_millis(ms)))
            .build();
        let answer = request.send(SendBody::from_reader(&mut source));
        let sent = source.taken;
        let answer = answer.map_err(|err| self.failure(&err, sent))?;
        let status = answer.status().as_u16();
        let mut bytes = vec![];
        let read =
            answer.into_body().into_reader().take(TELEGRAM_ANSWER_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|err| self.failure(&err.into(), true))?;
        if bytes.len() as u64 > TELEGRAM_ANSWER_BYTES_MAX {
            return Err(Failure::TooLong { update: first_update(&bytes) });
        }
        judge(status, &bytes)
    }

    fn failure(&self, err: &ureq::Error, sent: bool) -> Failure {
        if self.cancel.is_cancelled() {
            return Failure::Cancelled;
        }
        let text = match err {
            ureq::Error::HostNotFound => "no such host".to_owned(),
            ureq::Error::Timeout(_) => "no answer in time".to_owned(),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                "apiRoot is not of the form https://host".to_owned()
            }
            other => other.to_string().replace(self.token.expose(), "***"),
        };
        if sent { Failure::Unknown(text) } else { Failure::Unsent(text) }
    }
}

fn refused(code: u64, text: String) -> Failure {
    Failure::Refused { code, text, retry_after: None, moved_to: None }
}

/// `{ok, result}` or `{ok: false, error_code, description, parameters}`. What is neither comes from something in between, and 5xx from
/// a server that may have done it before it stumbled.
fn judge(status: u16, bytes: &[u8]) -> Result<Value, Failure> {
    let mut answer: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    if answer["ok"] == true {
        return Ok(answer["result"].take());
    }
    let code = answer["error_code"].as_u64().unwrap_or(u64::from(status));
    let text = answer["description"].as_str().map_or_else(|| format!("HTTP {status}"), cut);
    if code >= 500 || !answer.is_object() && status < 400 {
        return Err(Failure::Unknown(format!("{text} ({code})")));
    }
    let more = &answer["parameters"];
    Err(Failure::Refused {
        code,
        text,
        retry_after: more["retry_after"].as_u64(),
        moved_to: more["migrate_to_chat_id"].as_i64(),
    })
}

/// From the beginning of an answer to `getUpdates`.
fn first_update(bytes: &[u8]) -> Option<i64> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let behind = head.split_once("\"update_id\"")?.1.trim_start().strip_prefix(':')?.trim_start();
    let digits = behind.find(|it: char| !it.is_ascii_digit()).unwrap_or(behind.len());
    behind[..digits].parse().ok()
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

/// A line that stands nowhere in the file.
fn boundary(bytes: &[u8]) -> String {
    let mut n = bytes.len();
    loop {
        let line = format!("gatewayd-{n:x}");
        if !bytes.windows(line.len()).any(|it| it == line.as_bytes()) {
            return line;
        }
        n += 1;
    }
}

struct Source<'a> {
    left: &'a [u8],
    taken: bool,
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.taken = true;
        self.left.read(into)
    }
}

/// The bot itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bot {
    pub id: i64,
    /// Lower case, without `@`.
    pub username: String,
}

impl Bot {
    pub fn of(me: &Value) -> Option<Bot> {
        let username = me["username"].as_str().unwrap_or_default().to_lowercase();
        Some(Bot { id: me["id"].as_i64()?, username })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_answer_means() {
        let flood = r#"{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":3}}"#;
        let Err(Failure::Refused { code: 429, retry_after: Some(3), .. }) = judge(429, flood.as_bytes())
        else {
            panic!()
        };
        assert_eq!(judge(200, br#"{"ok":true,"result":[1]}"#), Ok(json!([1])));
        for (status, body) in [(502, "<html>"), (200, "not json"), (500, "{}"), (200, "[]")] {
            assert!(matches!(judge(status, body.as_bytes()), Err(Failure::Unknown(_))), "{status} {body}");
        }
        for (status, body) in [(404, "<html>"), (400, "{}"), (401, r#"{"ok":false,"error_code":401}"#)] {
            assert!(
                matches!(judge(status, body.as_bytes()), Err(Failure::Refused { .. })),
                "{status} {body}"
            );
        }
    }
    #[test]
    fn an_update_that_is_too_long_can_be_passed_over() {
        assert_eq!(first_update(br#"{"ok":true,"result":[{"update_id": 71, "message":{"#), Some(71));
        assert_eq!(first_update(br#"{"ok":true,"result":[{"message":{"#), None);
    }
    #[test]
    fn the_boundary_is_not_in_the_file() {
        let bytes = format!("a gatewayd-{:x} b", 20);
        assert!(!bytes.contains(&boundary(bytes.as_bytes())));
    }
}
