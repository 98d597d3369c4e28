//! `logs.tail`: the log file by byte offset.
use crate::base::{files, log::daily_file};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, World};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::shaped;
use serde::Serialize;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

pub const METHODS: &[Method] = &[Method::of::<LogsTail>()];

/// Reference defaults.
const LIMIT_DEFAULT: i64 = 500;
const MAX_BYTES_DEFAULT: i64 = 250_000;

shaped! {
    struct LogsTailParams {
        cursor = "cursor": Option<Int<0>>,
        limit = "limit": Option<Int<1, 5000>>,
        max_bytes = "maxBytes": Option<Int<1, 1_000_000>>,
    }
}

/// Lines are JSON records; `cursor` is the byte offset to ask from next time.
#[derive(Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogsTailReply {
    file: String,
    cursor: u64,
    size: u64,
    lines: Vec<String>,
    /// Lines in the asked range were left out.
    truncated: bool,
    /// The asked cursor was of no use: what comes is the end of the file.
    reset: bool,
}

enum LogsTail {}
impl Rpc for LogsTail {
    const NAME: &'static str = "logs.tail";
    const ACCESS: Access = Access::Read;
    type Params = LogsTailParams;
    type Reply = LogsTailReply;
    fn call(core: &mut Core, call: Call, params: LogsTailParams) -> RpcResult<Answer<LogsTailReply>> {
        let (world, unix_ms) = (core.world.clone(), call.now.unix_ms);
        let cursor = params.cursor.map(|it| it.0 as u64);
        let limit = params.limit.map_or(LIMIT_DEFAULT, |it| it.0) as usize;
        let bytes_max = params.max_bytes.map_or(MAX_BYTES_DEFAULT, |it| it.0) as u64;
        Ok(Answer::read(move || {
            log::logger().flush();
            read(&world, unix_ms, cursor, limit, bytes_max).map_err(RpcError::unavailable)
        }))
    }
}

/// The log as the method answers it. Blocks: also for whoever finds no gateway to ask.
///
/// # Errors
/// A sentence.
pub fn read(
    world: &World,
    unix_ms: i64,
    cursor: Option<u64>,
    limit: usize,
    bytes_max: u64,
) -> Result<LogsTailReply, String> {
    let file = newest(log_file(world, unix_ms));
    let name = file.display().to_string();
    tail(file, cursor, limit, bytes_max).map_err(|err| format!("cannot read the log {name}: {err}"))
}

/// The fixed file, or today's.
fn log_file(world: &World, unix_ms: i64) -> PathBuf {
    match world.config.config.logging.file.as_deref() {
        Some(it) => crate::config::paths::expand_home(it, &world.paths.home),
        None => daily_file(&world.paths.logs(), unix_ms),
    }
}

/// When nothing was logged today, the newest daily file.
fn newest(file: PathBuf) -> PathBuf {
    let Some(dir) = file.parent().filter(|_| !file.exists()) else { return file };
    let names = files::names(dir);
    let daily = |it: &&String| it.starts_with("openclaw-") && it.ends_with(".log");
    names.iter().rev().find(daily).map_or(file.clone(), |it| dir.join(it))
}

fn tail(path: PathBuf, cursor: Option<u64>, limit: usize, bytes_max: u64) -> std::io::Result<LogsTailReply> {
    let mut reply = LogsTailReply { file: path.display().to_string(), ..LogsTailReply::default() };
    #[expect(clippy::disallowed_methods, reason = "a job; a log file is read from an offset, not whole")]
    let mut file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(reply),
        Err(err) => return Err(err),
    };
    let size = file.metadata()?.len();
    let mut start = size.saturating_sub(bytes_max);
    match cursor {
        Some(it) if it > size => reply.reset = true,
        Some(it) if size - it > bytes_max => (reply.reset, reply.truncated) = (true, true),
        Some(it) => start = it,
        None => reply.truncated = start > 0,
    }
    // One byte before the start tells whether it is the start of a line.
    let from = start.saturating_sub(1);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(size - from).read_to_end(&mut bytes)?;
    let whole_from = if start == 0 {
        0
    } else {
        bytes.iter().position(|it| *it == b'\n').map_or(bytes.len(), |it| it + 1)
    };
    let text = String::from_utf8_lossy(&bytes[whole_from..]);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.len() > limit {
        lines.drain(..lines.len() - limit);
        reply.truncated |= cursor.is_none();
    }
    Ok(LogsTailReply { cursor: size, size, lines, ..reply })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn windows() {
        let path = std::env::temp_dir().join(format!("gatewayd-tail-{}.log", std::process::id()));
        files::write_atomic(&path, b"one\ntwo\nthree\n").unwrap();
        let ask = |cursor, limit, bytes_max| {
            let it = tail(path.clone(), cursor, limit, bytes_max).unwrap();
            (it.lines.join(","), it.cursor, it.truncated, it.reset)
        };
        assert_eq!(ask(None, 10, 100), ("one,two,three".into(), 14, false, false));
        assert_eq!(ask(Some(4), 10, 100), ("two,three".into(), 14, false, false));
        assert_eq!(ask(Some(5), 10, 100), ("three".into(), 14, false, false));
        assert_eq!(ask(Some(14), 10, 100), (String::new(), 14, false, false));
        assert_eq!(ask(Some(99), 10, 100), ("one,two,three".into(), 14, false, true));
        assert_eq!(ask(Some(0), 10, 7), ("three".into(), 14, true, true));
        assert_eq!(ask(None, 1, 100), ("three".into(), 14, true, false));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ask(None, 1, 100), (String::new(), 0, false, false));
    }
}
