//! The canvas host: the files that an agent makes for its nodes, and the page that shows A2UI.
//!
//! ```text
//! /__openclaw__/canvas/…   a file below the roots        /__openclaw__/cap/TOKEN/__openclaw__/…   any of these, for who has TOKEN
//! /__openclaw__/a2ui/…     the A2UI page                 /__openclaw__/ws                         hears "reload"
//! ```
//!
//! * Who is not on this machine has a capability, or the gateway's secret.
//! * Files are opened and read on workers alone.
pub mod conditional;
mod fetch;
mod kind;
mod page;
pub mod place;

use super::{Asker, Exchange, a2ui, guard};
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::BODY_UNUSED_BYTES_MAX;
use crate::conn::answer::Answer;
use crate::conn::head::Head;
use crate::gateway::Core;
use crate::gateway::canvas::{A2UI, CAPABILITY, TREE};
use crate::gateway::exchange::Unauthorized;
use crate::gateway::peer::{Door, Peer};
use fetch::{Found, Pieces};
use place::Place;

/// Above all its paths.
const BASE: &str = "/__openclaw__/";
const WS: &str = "/__openclaw__/ws";

/// Whether a path is the canvas host's.
pub(super) fn has(path: &str) -> bool {
    path.starts_with(BASE)
}

pub(super) fn on(core: &Core) -> bool {
    core.canvas.enabled
}

/// Of anybody on this machine, and of who may see the tree.
pub(super) fn admit(core: &mut Core, asker: &Asker, now: Now) -> Result<u64, Answer> {
    check(core, asker.conn, asker.peer, asker.head, now)?;
    Ok(BODY_UNUSED_BYTES_MAX)
}

fn check(core: &mut Core, conn: ConnId, peer: &Peer, head: &Head, now: Now) -> Result<(), Answer> {
    if peer.is_local() {
        return Ok(());
    }
    if !scoped(&head.path).0.is_some_and(|it| core.is_capability(it)) {
        core.check_secret(peer, guard::bearer(head), now).map_err(refusal)?;
    }
    core.authenticated(conn);
    Ok(())
}

fn refusal(why: Unauthorized) -> Answer {
    match why {
        Unauthorized::Verdict(_) => {
            let text = "Unauthorized: open it by the URL that the gateway gives its nodes, or send the gateway's token as Authorization: Bearer";
            Answer::text(401, text).with("WWW-Authenticate", "Bearer")
        }
        Unauthorized::Locked(ms) => {
            let seconds = ms.div_ceil(1000).to_string();
            Answer::text(429, &format!("Too Many Requests: try again in {seconds} s"))
                .with("Retry-After", &seconds)
        }
    }
}

/// The capability in a path, and the path that it opens.
fn scoped(path: &str) -> (Option<&str>, &str) {
    let rest = path.strip_prefix(CAPABILITY);
    match rest.and_then(|it| it.find('/').map(|at| it.split_at(at))) {
        Some((capability, path)) => (Some(capability), path),
        None => (None, path),
    }
}

/// What is behind `base` in a path: nothing, or a slash and more.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    path.strip_prefix(base).filter(|it| it.is_empty() || it.starts_with('/'))
}

pub(super) fn answer(core: &mut Core, it: Exchange, _: Now) {
    let head = it.request.head.clone();
    let path = scoped(&head.path).1;
    if let Some(rest) = below(path, A2UI) {
        core.respond(it.conn, open(a2ui::answer(rest, &head)));
    } else if let Some(place) = below(path, TREE).and_then(Place::of) {
        let (roots, scripts) = (core.canvas.roots.clone(), core.canvas.live_reload);
        core.work_for(
            it.conn,
            move || fetch::fetch(&roots, &place, &head, scripts),
            move |core, found, _| match found {
                Found::Whole(answer) => core.respond(it.conn, open(answer)),
                Found::Pieces(answer, pieces) => send(core, it.conn, open(answer), pieces),
            },
        );
    } else if path == WS && core.canvas.live_reload {
        core.respond(it.conn, Answer::text(426, "upgrade required").closing());
    } else {
        core.respond(it.conn, open(not_found()));
    }
}

fn not_found() -> Answer {
    Answer::text(404, "not found")
}

/// What an agent draws may load what it likes; other sites may neither frame nor embed it.
fn open(answer: Answer) -> Answer {
    let own = answer.has("Content-Security-Policy");
    let answer =
        answer.with("X-Frame-Options", "SAMEORIGIN").with("Cross-Origin-Resource-Policy", "same-origin");
    if own { answer } else { answer.with("Content-Security-Policy", "frame-ancestors 'self'") }
}

/// A file that does not fit into one answer: the next piece is read when the last one has left.
fn send(core: &mut Core, conn: ConnId, head: Answer, pieces: Pieces) {
    if !core.begin_download() {
        let text = "Service Unavailable: many files are on their way, try again in a moment";
        return core.respond(conn, Answer::text(503, text).with("Retry-After", "5"));
    }
    core.when_gone(conn, |core, _| core.end_download());
    core.begin_stream(conn, head);
    go_on(core, conn, pieces);
}

fn go_on(core: &mut Core, conn: ConnId, mut pieces: Pieces) {
    core.job(
        move || (pieces.next(), pieces),
        move |core, (piece, pieces), _| {
            if !core.is_answering(conn) {
                return;
            }
            match piece {
                Ok(piece) if !piece.is_empty() => {
                    core.stream(conn, piece);
                    core.when_drained(conn, move |core, _| go_on(core, conn, pieces));
                }
                Ok(_) => {
                    core.end_download();
                    core.end_stream(conn);
                }
                Err(err) => {
                    log::warn!(target: "canvas", "a file was cut off on its way: {err}");
                    core.end_download();
                    core.cut(conn);
                }
            }
        },
    );
}

/// A WebSocket was opened: true when it is the canvas host's, which then has seen to it.
pub(super) fn on_opened(
    core: &mut Core,
    conn: ConnId,
    peer: &Peer,
    head: &Head,
    door: Door,
    now: Now,
) -> bool {
    let listens = on(core) && core.canvas.live_reload && scoped(&head.path).1 == WS;
    if !listens && door == Door::Gateway {
        return false;
    }
    let foreign = peer.origin.is_some()
        && !peer.origin_allowed(&core.world.config.config.gateway.allowed_origins, &core.host_names);
    let refused = match (listens, foreign) {
        (false, _) => Some("only pages of the canvas connect here; clients use the gateway's port"),
        (true, true) => Some("origin not allowed"),
        (true, false) => check(core, conn, peer, head, now).is_err().then_some("unauthorized"),
    };
    match refused {
        Some(why) => core.close_socket(conn, 1008, why),
        None => core.listen_to_canvas(conn),
    }
    true
}

/// A person who typed the port alone.
pub(super) fn show(core: &mut Core, it: Exchange, _: Now) {
    let target = format!("{TREE}/");
    core.respond(it.conn, Answer::text(302, &target).with("Location", &target));
}
