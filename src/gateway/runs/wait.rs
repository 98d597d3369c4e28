//! `agent.wait`: how runs have ended, for those who ask later or wait.
use super::{Answer, Core};
use crate::base::clock::Now;
use crate::base::limits::{DEDUPE_MAX, RUN_WAIT_TTL_MS, RUN_WAITS_MAX};
use crate::gateway::Timer;
use crate::gateway::ws_log::Asked;
use crate::protocol::error::RpcError;
use crate::protocol::frame::raw;
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;

/// How a run has ended, or that it has not.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `ok`, `error` or `timeout`.
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Status {
    pub fn of(answer: &Answer, started_ms: i64, ended_ms: i64) -> Status {
        let error = answer.error.as_ref().map(|it| it.message.clone());
        let status = if error.is_some() { "error" } else { "ok" };
        let started_at = Some(started_ms).filter(|it| *it > 0);
        Status { status, started_at, ended_at: Some(ended_ms), error }
    }
    /// From what the journal keeps.
    pub fn kept(value: &Value) -> Option<Status> {
        let status = ["ok", "error"].into_iter().find(|it| value["status"] == *it)?;
        let at = |name: &str| value[name].as_i64();
        let error = value["error"].as_str().map(str::to_owned);
        Some(Status { status, started_at: at("startedAt"), ended_at: at("endedAt"), error })
    }
    /// It has not ended in time.
    pub const TIMEOUT: Status = Status { status: "timeout", started_at: None, ended_at: None, error: None };
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WaitReply {
    pub run_id: String,
    #[serde(flatten)]
    pub status: Status,
}

/// Runs that have ended, oldest first, and those who wait for others.
#[derive(Default)]
pub struct Ended {
    known: VecDeque<(u64, String, Status)>,
    waits: Vec<Wait>,
}

struct Wait {
    run_id: String,
    due_ms: u64,
    asked: Asked,
}

impl Ended {
    fn forget_old(&mut self, mono_ms: u64) {
        let old = |it: &(u64, String, Status)| mono_ms.saturating_sub(it.0) > RUN_WAIT_TTL_MS;
        while self.known.front().is_some_and(old) || self.known.len() > DEDUPE_MAX {
            self.known.pop_front();
        }
    }
}

/// The answer, when there is one already or nobody wants to wait for it; else it comes later.
///
/// # Errors
/// Too many wait.
pub fn wait(
    core: &mut Core,
    run_id: &str,
    timeout_ms: u64,
    asked: &Asked,
    now: Now,
) -> Result<Option<Status>, RpcError> {
    let ended = &mut core.runs.ended;
    ended.forget_old(now.mono_ms);
    if let Some(it) = ended.known.iter().rfind(|it| it.1 == run_id) {
        return Ok(Some(it.2.clone()));
    }
    if timeout_ms == 0 {
        return Ok(Some(Status::TIMEOUT));
    }
    if ended.waits.len() >= RUN_WAITS_MAX {
        return Err(RpcError::busy(1000));
    }
    let due_ms = now.mono_ms.saturating_add(timeout_ms);
    ended.waits.push(Wait { run_id: run_id.to_owned(), due_ms, asked: asked.clone() });
    core.arm_by(due_ms, Timer::RunWait);
    Ok(None)
}

/// A run has ended: who waited for it hears so.
pub fn ended(core: &mut Core, run_id: &str, status: Status, now: Now) {
    let ended = &mut core.runs.ended;
    ended.known.push_back((now.mono_ms, run_id.to_owned(), status.clone()));
    ended.forget_old(now.mono_ms);
    answer(core, |it| it.run_id == run_id, &status, now);
}

/// Some have waited long enough.
pub fn on_timer(core: &mut Core, now: Now) {
    answer(core, |it| it.due_ms <= now.mono_ms, &Status::TIMEOUT, now);
    if let Some(next) = core.runs.ended.waits.iter().map(|it| it.due_ms).min() {
        core.arm_by(next, Timer::RunWait);
    }
}

/// A connection is gone, and what it waited for with it.
pub fn on_gone(core: &mut Core, conn: crate::base::ids::ConnId) {
    core.runs.ended.waits.retain(|it| it.asked.conn != conn);
    if core.runs.ended.waits.is_empty() {
        core.disarm(|it| *it == Timer::RunWait);
    }
}

fn answer(core: &mut Core, whose: impl Fn(&Wait) -> bool, status: &Status, now: Now) {
    let (hear, wait) = std::mem::take(&mut core.runs.ended.waits).into_iter().partition(whose);
    core.runs.ended.waits = wait;
    if core.runs.ended.waits.is_empty() {
        core.disarm(|it| *it == Timer::RunWait);
    }
    let hear: Vec<Wait> = hear;
    for it in hear {
        let reply = WaitReply { run_id: it.run_id, status: status.clone() };
        core.answer(&it.asked, Ok(&raw(&reply)), now);
    }
}
