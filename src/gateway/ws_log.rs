//! What the log says of requests and events: refused and slow calls always, the others with `--verbose` or `--ws-log`.
use super::Core;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::SLOW_CALL_MS;
use crate::protocol::error::RpcError;
use log::Level;
use serde_json::Value;

/// The value of `--ws-log`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WsLog {
    /// One line a call, when it is answered. `auto` means this too.
    #[default]
    Compact,
    /// A line a frame: requests when they come as well.
    Full,
}

impl std::str::FromStr for WsLog {
    type Err = String;
    fn from_str(text: &str) -> Result<WsLog, String> {
        match text {
            "auto" | "compact" => Ok(WsLog::Compact),
            "full" => Ok(WsLog::Full),
            _ => Err(format!("{text:?} is none of auto, compact, full")),
        }
    }
}

/// A request that waits for its answer.
#[derive(Debug, Clone)]
pub struct Asked {
    pub conn: ConnId,
    pub id: Value,
    pub method: String,
    since_ms: u64,
}

impl Core {
    pub(super) fn asked(&self, conn: ConnId, id: Value, method: String, now: Now) -> Asked {
        if self.ws_log == WsLog::Full {
            log::debug!(target: "ws", "← {method} {id}");
        }
        Asked { conn, id, method, since_ms: now.mono_ms }
    }
    pub(super) fn log_answer(&self, asked: &Asked, error: Option<&RpcError>, now: Now) {
        let ms = now.mono_ms.saturating_sub(asked.since_ms);
        let level = if error.is_some() || ms >= SLOW_CALL_MS { Level::Info } else { Level::Debug };
        let said = error.map_or("ok", |it| &it.message);
        log::log!(target: "ws", level, "⇄ {} {} {ms} ms: {said}", asked.method, asked.id);
    }
}
