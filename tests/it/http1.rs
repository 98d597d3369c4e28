//! Plays `http1.jsonl` against a running server: raw bytes out, strictly parsed responses in.
//!
//! A line of the table is one connection. Its `send` is a list of writes: a string (a character a byte, latin-1),
//! `{"repeat":{"text":T,"times":N}}`, `{"await":N}` (go on once N responses, interim ones counted, are in) or
//! `{"fin":true}` (end our half). Its `expect` lists every response: `status` is a number or an array of choices;
//! under `headers` null means absent, true present, a string the value, an array one of these; `body` is exact.
//! `close` true wants the end of the stream next, false another request answered, and without it either is right.
//! A HEAD has to begin a line of what is sent: that is how a response without a body is foreseen.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{iter, thread};

use crate::socket::Socket;
use serde_json::{Value, json};

const THREADS: usize = 8;
const MAX_LINE: usize = 64 * 1024;
const PROOF: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// Plays every line of `table` and panics once, with the list of all that failed.
pub fn run(addr: SocketAddr, table: &str) {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("http1.jsonl: {e} in {line}"));
    let cases: Vec<Value> = table.lines().map(parse).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mine = iter::from_fn(|| cases.get(next.fetch_add(1, Ordering::Relaxed)));
        let told = |case: &Value, why| format!("\n  {} (RFC {}): {why}", case["id"], case["rfc"]);
        mine.filter_map(|case| play(addr, case).err().map(|why| told(case, why))).collect::<Vec<_>>()
    };
    let mut failed: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("only a malformed table panics a worker")).collect()
    });
    failed.sort();
    assert!(failed.is_empty(), "{} of {} HTTP cases failed:{}", failed.len(), cases.len(), failed.concat());
}

fn play(addr: SocketAddr, case: &Value) -> Result<(), String> {
    let (send, expect) = (items(&case["send"]), items(&case["expect"]));
    let (heads, close) = (heads(send), case["close"].as_bool());
    let mut wire = Wire::open(addr).map_err(|e| format!("expected a connection, came {e}"))?;
    // Responses seen, and how many of them were final: that is the index of the request whose turn it is.
    let (mut seen, mut answered) = (0, 0);
    let rest = json!({"await": expect.len()});
    for step in send.iter().chain([&rest]) {
        if let Some(count) = step["await"].as_u64() {
            while (seen as u64) < count {
                let want = expect.get(seen).expect("a case awaits no more than it expects");
                seen += 1;
                let may_close = seen == expect.len() && close != Some(false);
                wire.response(heads.get(answered) == Some(&true))
                    .and_then(|got| got.check(want, may_close))
                    .map(|status| answered += usize::from(status >= 200))
                    .map_err(|e| format!("response {seen}: expected {want}, came {e}"))?;
            }
        } else if step["fin"] == true {
            let _ = wire.stream.shutdown(Shutdown::Write);
        } else {
            // A server may refuse and close before it has read everything: only what it answers counts.
            let _ = wire.stream.write_all(&bytes(step));
        }
    }
    match close {
        None => Ok(()),
        Some(true) => wire.ended().map_err(|e| format!("expected a close, came {e}")),
        Some(false) => {
            let _ = wire.stream.write_all(PROOF);
            let fresh = wire.response(false).and_then(|got| got.check(&json!({"status": 200}), false));
            fresh.map(drop).map_err(|e| format!("expected an open connection, came {e}"))
        }
    }
}

#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Response {
    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// Compares with an entry of `expect` and gives the status; the error tells what came.
    fn check(&self, want: &Value, may_close: bool) -> Result<u16, String> {
        let one_of = |want: &Value, got| *want == got || want.as_array().is_some_and(|a| a.contains(&got));
        let differs = |(name, want): &(&String, &Value)| match (want, &self.all(name)[..]) {
            (Value::Null, []) | (Value::Bool(true), [_, ..]) => false,
            (Value::String(_) | Value::Array(_), [got]) => !one_of(want, json!(got)),
            _ => true,
        };
        let wrong = if !one_of(&want["status"], json!(self.status)) {
            "status"
        } else if let Some((name, _)) = want["headers"].as_object().into_iter().flatten().find(differs) {
            name
        } else if want["body"].as_str().is_some_and(|body| body != self.body) {
            "body"
        } else if !may_close && self.all("connection").contains(&"close") {
            "it announces a close"
        } else {
            return Ok(self.status);
        };
        Err(self.wrong(wrong))
    }

    fn wrong(&self, what: &str) -> String {
        format!("{self:?} (wrong: {what})")
    }
}

/// The client's end of one connection, with the bytes read and not yet parsed.
struct Wire {
    stream: Socket,
    unread: Vec<u8>,
}

impl Wire {
    fn open(addr: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { stream: Socket::connect(addr)?, unread: Vec::new() })
    }

    /// Reads once, and wants something.
    fn fill(&mut self) -> Result<(), String> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk).map_err(|e| self.stopped(&e.to_string()))?;
        self.unread.extend_from_slice(&chunk[..count]);
        if count > 0 { Ok(()) } else { Err(self.stopped("the end")) }
    }

    fn stopped(&self, why: &str) -> String {
        format!("{why} behind \"{}\"", self.unread.escape_ascii())
    }

    fn take(&mut self, count: usize) -> Result<String, String> {
        while self.unread.len() < count {
            self.fill()?;
        }
        Ok(self.unread.drain(..count).map(char::from).collect())
    }

    /// Takes a line that ends in CRLF and holds no control character but HTAB.
    fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(end)?;
                self.take(2)?;
                let dirty = line.contains(|c: char| c.is_ascii_control() && c != '\t');
                return if dirty { Err(format!("control characters in {line:?}")) } else { Ok(line) };
            }
            if self.unread.len() > MAX_LINE {
                return Err("a line without end".to_owned());
            }
            self.fill()?;
        }
    }

    /// Takes field lines and the blank line behind them; names come out in lower case.
    fn fields(&mut self) -> Result<Vec<(String, String)>, String> {
        let tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                None if line.is_empty() => return Ok(fields),
                Some((name, value)) if !name.is_empty() && name.chars().all(tchar) => {
                    fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
                }
                _ => return Err(format!("the field line {line:?}")),
            }
        }
    }

    /// Takes one response, interim or final; `head` tells that it answers a HEAD.
    fn response(&mut self, head: bool) -> Result<Response, String> {
        let line = self.line()?;
        let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_once(' ')).map(|(code, _)| code);
        let status = code.filter(|code| code.len() == 3).and_then(|code| number(code, 10));
        let status = status.ok_or_else(|| format!("the status line {line:?}"))? as u16;
        let got = Response { status, headers: self.fields()?, body: String::new() };
        let unframed = status < 200 || status == 204;
        let empty = unframed || head || status == 304;
        let body = match (&got.all("content-length")[..], &got.all("transfer-encoding")[..]) {
            ([], []) if empty => String::new(),
            ([_], []) | ([], ["chunked"]) if empty && !unframed => String::new(),
            ([length], []) if !empty => self.take(number(length, 10).ok_or_else(|| got.wrong("length"))?)?,
            ([], ["chunked"]) if !empty => self.chunked()?,
            _ => return Err(got.wrong("framing")),
        };
        let dated = matches!(got.all("date")[..], [date] if date.len() == 29 && date.ends_with(" GMT"));
        if dated || status < 200 { Ok(Response { body, ..got }) } else { Err(got.wrong("date")) }
    }

    fn chunked(&mut self) -> Result<String, String> {
        let mut body = String::new();
        loop {
            let line = self.line()?;
            let size = number(&line, 16).ok_or_else(|| format!("the chunk size {line:?}"))?;
            if size == 0 {
                return self.fields().map(|_| body);
            }
            body.push_str(&self.take(size)?);
            if !self.line()?.is_empty() {
                return Err("chunk data without its CRLF".to_owned());
            }
        }
    }

    /// Wants the end and nothing before it. A reset is one, too: what the server sent before it has been read.
    fn ended(&mut self) -> Result<(), String> {
        match self.stream.read_to_end(&mut self.unread) {
            Err(e) if e.kind() != ErrorKind::ConnectionReset => Err(self.stopped(&e.to_string())),
            _ if self.unread.is_empty() => Ok(()),
            _ => Err(self.stopped("the end")),
        }
    }
}

fn number(digits: &str, radix: u32) -> Option<usize> {
    usize::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
}

/// Of each request in what a case sends, whether it is a HEAD.
fn heads(send: &[Value]) -> Vec<bool> {
    let sent: String = send.iter().flat_map(bytes).map(char::from).collect();
    let version = |line: &&str| line.rsplit(' ').next().is_some_and(|last| last.starts_with("HTTP/"));
    sent.split("\r\n").filter(version).map(|line| line.starts_with("HEAD ")).collect()
}

/// The bytes of one step of `send`: none of a step that is no write.
fn bytes(step: &Value) -> Vec<u8> {
    let (text, times) = (&step["repeat"]["text"], &step["repeat"]["times"]);
    let text = step.as_str().or(text.as_str()).unwrap_or_default();
    let byte = |c| u8::try_from(c).expect("a character of the table stands for a byte");
    text.chars().map(byte).collect::<Vec<u8>>().repeat(times.as_u64().unwrap_or(1) as usize)
}

fn items(list: &Value) -> &[Value] {
    list.as_array().expect("send and expect are arrays")
}
