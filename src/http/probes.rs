//! Liveness, readiness, start-up: what supervisors and load balancers ask.
use crate::base::clock::Now;
use crate::conn::answer::Answer;
use crate::gateway::Core;
use serde_json::json;

/// The process turns around: always 200.
pub(super) fn live(_: &Core, _: Now) -> Answer {
    Answer::json(200, &json!({ "ok": true, "status": "live" }))
}

/// Takes work: 503 while it stops.
pub(super) fn ready(core: &Core, now: Now) -> Answer {
    let failing: &[&str] = if core.is_ending() { &["draining"] } else { &[] };
    let status = if failing.is_empty() { 200 } else { 503 };
    Answer::json(status, &json!({ "ready": failing.is_empty(), "failing": failing, "uptimeMs": now.mono_ms }))
}

pub(super) fn started(core: &Core, _: Now) -> Answer {
    match core.is_ending() {
        false => Answer::json(200, &json!({ "ok": true, "status": "started" })),
        true => Answer::json(503, &json!({ "ok": false, "status": "draining" })),
    }
}
