//! Where Telegram calls us: a port of its own, for a proxy on this machine to pass on to.
//!
//! * One call at a time, so that updates keep their order and a flood costs one thread; each has few seconds.
//! * The secret is looked at before the body is read.
//! * A call is answered when what it brought is on disk: Telegram brings again what was not answered.
use super::Shared;
use super::poll::Poll;
use super::settings::Hook;
use super::update;
use crate::base::limits::{
    HEAD_BYTES_MAX, HEAD_LINES_MAX, TELEGRAM_CALL_MS, TELEGRAM_HOOK_BYTES_MAX, TELEGRAM_HOOK_MS,
};
use crate::channels::Vitals;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Until it is told to end.
pub fn run(poll: &mut Poll, hook: &Hook) {
    let name = poll.shared.name();
    let listener = match TcpListener::bind((hook.host.as_str(), hook.port)) {
        Ok(it) => it,
        Err(err) => {
            let text = format!("cannot listen on {}:{}: {err}: set webhookPort", hook.host, hook.port);
            log::error!(target: "channels", "{name}: {text}");
            poll.shared.around.vitals.connected.store(false, Ordering::Relaxed);
            return poll.shared.around.vitals.fail(&text);
        }
    };
    let Ok(here) = listener.local_addr() else { return };
    // Wakes the one that waits for a call.
    let _wake = poll.shared.cancel.on_cancel(move || drop(TcpStream::connect(here)));
    let params = json!({
        "url": hook.url, "secret_token": hook.secret.expose(), "allowed_updates": update::KINDS,
        // One after the other.
        "max_connections": 1,
    });
    while let Err(failure) = poll.api.call("setWebhook", &params, TELEGRAM_CALL_MS) {
        if poll.shared.cancel.is_cancelled() {
            return;
        }
        poll.wait_after(&failure);
    }
    // What waits there comes when it comes: `caught_up` stays as it is.
    poll.shared.current.cancel();
    log::info!(target: "channels", "{name}: Telegram calls {}, which {here}{} answers", hook.url, hook.path);
    while let Ok((mut socket, _)) = listener.accept() {
        if poll.shared.cancel.is_cancelled() {
            return;
        }
        let status = serve(poll, hook, &mut socket);
        let text = if status == 200 { "OK" } else { "refused" };
        // Who is gone does not hear it.
        let _ = write!(socket, "HTTP/1.1 {status} {text}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

/// Reads until `done` says so, or the time is over.
struct Reading<'s> {
    socket: &'s mut TcpStream,
    bytes: Vec<u8>,
    until_ms: u64,
}

impl Reading<'_> {
    fn more(&mut self, shared: &Shared) -> Result<(), u16> {
        let left = self.until_ms.saturating_sub(shared.around.clock.now().mono_ms);
        if left == 0 || self.socket.set_read_timeout(Some(Duration::from_millis(left))).is_err() {
            return Err(408);
        }
        let mut part = [0; 4096];
        match self.socket.read(&mut part) {
            // A machine that slept interrupts every wait that has an end (signal(7)).
            Err(err) if err.kind() == ErrorKind::Interrupted => Ok(()),
            Ok(0) | Err(_) => Err(408),
            Ok(n) => {
                self.bytes.extend_from_slice(&part[..n]);
                Ok(())
            }
        }
    }
}

/// The status of the answer.
fn serve(poll: &mut Poll, hook: &Hook, socket: &mut TcpStream) -> u16 {
    let shared = poll.shared.clone();
    let now = shared.around.clock.now();
    let _ = socket.set_write_timeout(Some(Duration::from_millis(TELEGRAM_HOOK_MS)));
    let mut reading = Reading { socket, bytes: vec![], until_ms: now.mono_ms + TELEGRAM_HOOK_MS };
    let (head, length) = loop {
        match head(&reading.bytes, hook) {
            Ok(Some(it)) => break it,
            Ok(None) if reading.bytes.len() > HEAD_BYTES_MAX => return 431,
            Ok(None) => {
                if let Err(status) = reading.more(&shared) {
                    return status;
                }
            }
            Err(status) => return status,
        }
    };
    while reading.bytes.len() < head + length {
        if let Err(status) = reading.more(&shared) {
            return status;
        }
    }
    let Ok(update) = serde_json::from_slice::<Value>(&reading.bytes[head..head + length]) else { return 400 };
    Vitals::set(&shared.around.vitals.polled_ms, now.unix_ms);
    let updates = [update];
    poll.see(&updates);
    if poll.take(&updates) { 200 } else { 503 }
}

/// Where the body begins and how long it is, once the head is there.
fn head(bytes: &[u8], hook: &Hook) -> Result<Option<(usize, usize)>, u16> {
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let parsed = request.parse(bytes).map_err(|_| 400u16)?;
    let httparse::Status::Complete(end) = parsed else { return Ok(None) };
    let value = |name: &str| {
        let found = request.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name));
        found.and_then(|it| std::str::from_utf8(it.value).ok()).map(str::trim)
    };
    if request.path.and_then(|it| it.split('?').next()) != Some(hook.path.as_str()) {
        return Err(404);
    }
    if request.method != Some("POST") {
        return Err(405);
    }
    if !value("x-telegram-bot-api-secret-token").is_some_and(|it| hook.secret.is(it)) {
        return Err(401);
    }
    let length: usize = value("content-length").and_then(|it| it.parse().ok()).ok_or(411u16)?;
    if length > TELEGRAM_HOOK_BYTES_MAX { Err(413) } else { Ok(Some((end, length))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn the_secret_comes_first() {
        let hook = Hook {
            url: String::new(),
            secret: Secret::new("s3cret-hook".into()),
            path: "/telegram-webhook".into(),
            host: String::new(),
            port: 0,
        };
        let of = |text: &str| head(text.replace('\n', "\r\n").as_bytes(), &hook);
        let good = "POST /telegram-webhook HTTP/1.1\nX-Telegram-Bot-Api-Secret-Token: s3cret-hook\nContent-Length: 2\n\n{}";
        assert!(matches!(of(good), Ok(Some((_, 2)))));
        assert_eq!(of(&good[..40]), Ok(None));
        for (from, to, status) in [
            ("s3cret-hook\n", "wrong\n", 401),
            ("X-Telegram", "Y-Telegram", 401),
            ("POST", "GET", 405),
            ("/telegram-webhook", "/other", 404),
            ("Content-Length: 2", "Content-Length: 9999999", 413),
            ("Content-Length: 2", "Transfer-Encoding: chunked", 411),
        ] {
            assert_eq!(of(&good.replace(from, to)), Err(status), "{to}");
        }
    }
}
