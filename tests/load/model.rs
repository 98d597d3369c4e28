//! A model server for measurements and for foreign clients: Chat Completions, streamed, and it does what the last message tells it.
//!
//! ```text
//! ticks N MICROS     N deltas, so far apart, each the microseconds of this process when it was written
//! slowly             a word each 100 ms, for a minute
//! call NAME {json}   asks for a tool; says what it answered
//! ```
//!
//! Anything else it repeats. Asked without tools, it gives a summary.
use serde_json::{Value, json};
use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What `ticks` are counted in.
pub fn micros() -> u64 {
    EPOCH.elapsed().as_micros() as u64
}

/// Serves on a free port as long as the process lives. Every request is a line of the file, before it is answered.
pub fn start(requests: Option<PathBuf>) -> SocketAddr {
    micros();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let open = |it| std::fs::OpenOptions::new().create(true).append(true).open(it).unwrap();
    let requests = Arc::new(Mutex::new(requests.map(open)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let requests = requests.clone();
            // Whoever hangs up in the middle has heard enough.
            std::thread::spawn(move || serve(stream, &requests).ok());
        }
    });
    addr
}

fn serve(mut stream: TcpStream, requests: &Mutex<Option<std::fs::File>>) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let (mut bytes, mut part) = (vec![], [0; 64 * 1024]);
    let body = loop {
        let n = stream.read(&mut part)?;
        if n == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&part[..n]);
        let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
        let length = head.split("content-length:").nth(1).and_then(|it| it.lines().next());
        let length: usize = length.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
        if bytes.len() >= at + 4 + length {
            break bytes.split_off(at + 4);
        }
    };
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    };
    if let Some(file) = &mut *requests.lock().unwrap() {
        writeln!(file, "{request}")?;
    }
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n",
    )?;
    let mut out = Out { stream, words: 0 };
    let stop = answer(&request, &mut out)?;
    out.end(&request, stop)
}

struct Out {
    stream: TcpStream,
    words: u64,
}

impl Out {
    fn event(&mut self, delta: &Value, finish: Option<&str>) -> Result<(), Error> {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let chunk = json!({ "id": "stub", "object": "chat.completion.chunk", "created": 0, "model": "stub-1", "choices": [choice] });
        self.stream.write_all(format!("data: {chunk}\n\n").as_bytes())
    }
    fn say(&mut self, text: &str) -> Result<(), Error> {
        self.words += 1;
        self.event(&json!({ "content": text }), None)
    }
    fn end(&mut self, request: &Value, stop: &str) -> Result<(), Error> {
        self.event(&json!({}), Some(stop))?;
        let told = request["messages"].to_string().len() as u64 / 4;
        let usage = json!({ "prompt_tokens": told, "completion_tokens": self.words, "total_tokens": told + self.words });
        let chunk = json!({ "id": "stub", "object": "chat.completion.chunk", "created": 0, "model": "stub-1", "choices": [], "usage": usage });
        self.stream.write_all(format!("data: {chunk}\n\ndata: [DONE]\n\n").as_bytes())
    }
}

/// Why it stopped.
fn answer(request: &Value, out: &mut Out) -> Result<&'static str, Error> {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let last = messages.last().unwrap_or(&Value::Null);
    let said = text(&last["content"]);
    if last["role"] == "tool" {
        out.say(&format!("The tool said: {}", said.trim()))?;
        return Ok("stop");
    }
    if request["tools"].as_array().is_none_or(Vec::is_empty) {
        out.say("Summary: they spoke with a stub.")?;
        return Ok("stop");
    }
    let words: Vec<&str> = said.split_whitespace().collect();
    let after = |word: &str| words.iter().position(|it| *it == word).map(|at| &words[at + 1..]);
    if let Some([count, pause, ..]) = after("ticks") {
        let (count, pause) = (count.parse().unwrap_or(1), Duration::from_micros(pause.parse().unwrap_or(0)));
        let begun = Instant::now();
        for n in 0..count {
            // Not a pause after each: what a write costs would add up.
            std::thread::sleep((pause * n).saturating_sub(begun.elapsed()));
            out.say(&format!("{} ", micros()))?;
        }
    } else if after("slowly").is_some() {
        for n in 0..600 {
            out.say(&format!("slow{n} "))?;
            std::thread::sleep(Duration::from_millis(100));
        }
    } else if let Some((_, call)) = said.split_once("call ") {
        let (name, rest) = call.split_once(' ').unwrap_or((call, "{}"));
        let arguments = serde_json::Deserializer::from_str(rest).into_iter::<Value>().next();
        let arguments = arguments.and_then(Result::ok).unwrap_or_else(|| json!({}));
        let function = json!({ "name": name, "arguments": arguments.to_string() });
        let call = json!({ "index": 0, "id": format!("call_{}", micros()), "type": "function", "function": function });
        out.event(&json!({ "role": "assistant", "tool_calls": [call] }), None)?;
        return Ok("tool_calls");
    } else {
        let nth = messages.iter().filter(|it| it["role"] == "user").count();
        // Behind the time that gateways put in front, and what they say before that.
        let stamped = said.lines().find_map(|it| Some(it.strip_prefix('[')?.split_once("] ")?.1));
        let said = stamped.or_else(|| said.lines().find(|it| !it.trim().is_empty())).unwrap_or_default();
        for word in format!("Answer {nth} to: {said}").split_inclusive(' ') {
            out.say(word)?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok("stop")
}

/// A content, written as a text or as parts.
fn text(content: &Value) -> String {
    let parts = content.as_array().into_iter().flatten().filter_map(|it| it["text"].as_str());
    content.as_str().map_or_else(|| parts.collect::<Vec<_>>().join("\n"), str::to_owned)
}
