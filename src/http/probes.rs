//! Liveness, readiness, start-up: what supervisors and load balancers ask.
use super::Exchange;
use crate::base::clock::Now;
use crate::conn::answer::Answer;
use crate::gateway::Core;
use serde_json::json;

/// The process turns around: always 200.
pub(super) fn live(core: &mut Core, it: Exchange, _: Now) {
    core.respond(it.conn, Answer::json(200, &json!({ "ok": true, "status": "live" })));
}

/// Takes work: 503 while it stops.
pub(super) fn ready(core: &mut Core, it: Exchange, now: Now) {
    let failing: &[&str] = if core.is_ending() { &["draining"] } else { &[] };
    let status = if failing.is_empty() { 200 } else { 503 };
    let told = json!({ "ready": failing.is_empty(), "failing": failing, "uptimeMs": now.mono_ms });
    core.respond(it.conn, Answer::json(status, &told));
}

pub(super) fn started(core: &mut Core, it: Exchange, _: Now) {
    let answer = match core.is_ending() {
        false => Answer::json(200, &json!({ "ok": true, "status": "started" })),
        true => Answer::json(503, &json!({ "ok": false, "status": "draining" })),
    };
    core.respond(it.conn, answer);
}
