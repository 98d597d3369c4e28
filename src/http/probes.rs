//! Liveness, readiness, start-up: what supervisors and load balancers ask.
use super::Exchange;
use crate::base::clock::Now;
use crate::base::limits::DISK_FREE_BYTES_READY;
use crate::base::sys;
use crate::conn::answer::Answer;
use crate::gateway::Core;
use serde_json::json;

/// The process turns around: always 200.
pub(super) fn live(core: &mut Core, it: Exchange, _: Now) {
    core.respond(it.conn, Answer::json(200, &json!({ "ok": true, "status": "live" })));
}

/// Takes work: 503 while it stops, and while nothing could be stored.
pub(super) fn ready(core: &mut Core, it: Exchange, now: Now) {
    if core.is_ending() {
        return core.respond(it.conn, readiness(&["draining"], now));
    }
    let state = core.world.paths.state.clone();
    let fits = move || sys::disk_space(&state).is_ok_and(|it| it.free_bytes >= DISK_FREE_BYTES_READY);
    core.work_for(it.conn, fits, move |core, fits, now| {
        core.respond(it.conn, readiness(if fits { &[] } else { &["disk"] }, now));
    });
}

fn readiness(failing: &[&str], now: Now) -> Answer {
    let told = json!({ "ready": failing.is_empty(), "failing": failing, "uptimeMs": now.mono_ms });
    Answer::json(if failing.is_empty() { 200 } else { 503 }, &told)
}

pub(super) fn started(core: &mut Core, it: Exchange, _: Now) {
    let answer = match core.is_ending() {
        false => Answer::json(200, &json!({ "ok": true, "status": "started" })),
        true => Answer::json(503, &json!({ "ok": false, "status": "draining" })),
    };
    core.respond(it.conn, answer);
}
