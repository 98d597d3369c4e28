//! HTTP endpoints: thin adapters over the core, one table of routes.
//!
//! * What does not exist is a 404 in plain text, never a page.
//! * Liveness needs no secret and tells none.
//! * Who asks is known before a body is read.
mod a2ui;
mod avatar;
pub mod body;
pub mod canvas;
pub mod guard;
mod hooks;
mod openai;
mod probes;
mod tools;

use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::BODY_UNUSED_BYTES_MAX;
use crate::conn::Request;
use crate::conn::answer::Answer;
use crate::conn::head::Head;
use crate::gateway::Core;
use crate::gateway::peer::{Door, Peer, Way};

/// One path and what answers it.
pub struct Route {
    /// One that ends in `/` stands for all beneath it.
    pub path: &'static str,
    /// Allowed methods, as in an `Allow` header.
    pub allow: &'static str,
    /// Whether it is there at all: what is switched off is a 404.
    pub on: fn(&Core) -> bool,
    /// Who may ask, and how many bytes of body they may send.
    pub admit: fn(&mut Core, &Asker, Now) -> Result<u64, Answer>,
    /// Answers, now or later.
    pub answer: fn(&mut Core, Exchange, Now),
}

/// Who asks for what.
pub struct Asker<'a> {
    pub conn: ConnId,
    pub head: &'a Head,
    pub peer: &'a Peer,
}

/// A whole request, from somebody who may make it.
pub struct Exchange {
    pub conn: ConnId,
    pub peer: Peer,
    pub request: Request,
}

fn always(_: &Core) -> bool {
    true
}

/// A probe takes no body worth reading, from anybody.
const fn probe(path: &'static str, answer: fn(&mut Core, Exchange, Now)) -> Route {
    Route { path, allow: "GET, HEAD", on: always, admit: |_, _, _| Ok(BODY_UNUSED_BYTES_MAX), answer }
}

/// Ahead of everything else.
pub const ROUTES: &[Route] = &[
    probe("/healthz", probes::live),
    probe("/health", probes::live),
    probe("/readyz", probes::ready),
    probe("/ready", probes::ready),
    probe("/startupz", probes::started),
    probe("/startup", probes::started),
    Route { path: "/avatar/", allow: "GET, HEAD", on: always, admit: avatar::admit, answer: avatar::answer },
    Route { path: "/tools/invoke", allow: "POST", on: always, admit: tools::admit, answer: tools::invoke },
    openai::CHAT,
    openai::RESPONSES,
    openai::MODELS,
    openai::MODEL,
];

/// Everything below the canvas host's own path; on its own port there is nothing else.
const CANVAS: Route = Route {
    path: "/__openclaw__/*",
    allow: "GET, HEAD",
    on: canvas::on,
    admit: canvas::admit,
    answer: canvas::answer,
};
const CANVAS_DOOR: Route = Route { path: "/", answer: canvas::show, ..CANVAS };

/// RFC 9110 section 9: methods that are known but do nothing here.
const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"];

/// A request with a body begins: it is refused, or its body is read.
pub fn on_head(core: &mut Core, conn: ConnId, from: Way, head: &Head, now: Now) {
    match admit(core, conn, from.door, &Peer::of(from.ip, head), head, now) {
        Ok(bytes_max) => core.admit(conn, bytes_max),
        Err(refusal) => core.respond(conn, refusal),
    }
}

/// A request is whole.
pub fn on_request(core: &mut Core, conn: ConnId, from: Way, request: Request, now: Now) {
    let head = &*request.head;
    let peer = Peer::of(from.ip, head);
    // One with a body was admitted by its head.
    let admitted = if head.content.is_empty() {
        admit(core, conn, from.door, &peer, head, now).map(drop)
    } else {
        Ok(())
    };
    let route = admitted.and_then(|()| route(core, from.door, head));
    match route {
        Ok(route) => (route.answer)(core, Exchange { conn, peer, request }, now),
        Err(answer) => core.respond(conn, answer),
    }
}

/// A connection is a WebSocket from now on.
pub fn on_opened(core: &mut Core, conn: ConnId, from: Way, head: &Head, now: Now) {
    let peer = Peer::of(from.ip, head);
    if !canvas::on_opened(core, conn, &peer, head, from.door, now) {
        core.on_opened(conn, peer, now);
    }
}

fn admit(
    core: &mut Core,
    conn: ConnId,
    door: Door,
    peer: &Peer,
    head: &Head,
    now: Now,
) -> Result<u64, Answer> {
    // HTTP/1.0 may come without a Host.
    let host = head.host.name.as_str();
    if !host.is_empty() && !core.host_names.allow(host) {
        let text = "Misdirected Request: this gateway does not go by that name (add it to gateway.controlUi.allowedOrigins)";
        return Err(Answer::text(421, text));
    }
    match find(core, door, head).filter(|_| KNOWN.contains(&head.method.as_str())) {
        Some(route) => (route.admit)(core, &Asker { conn, head, peer }, now),
        // It is refused when all of it has come, so that the connection can stay.
        None => Ok(BODY_UNUSED_BYTES_MAX),
    }
}

fn find(core: &Core, door: Door, head: &Head) -> Option<&'static Route> {
    let path = head.path.as_str();
    let is_for = |it: &&Route| it.path == path || it.path.ends_with('/') && path.starts_with(it.path);
    let route = match door {
        _ if canvas::has(path) => Some(&CANVAS),
        Door::Gateway => hooks::route(core, path).or_else(|| ROUTES.iter().find(is_for)),
        Door::Canvas => Some(&CANVAS_DOOR).filter(|it| it.path == path),
    };
    route.filter(|it| (it.on)(core))
}

/// What answers a request; or the answer, when nothing does.
fn route(core: &Core, door: Door, head: &Head) -> Result<&'static Route, Answer> {
    let route = find(core, door, head);
    match head.method.as_str() {
        "OPTIONS" => {
            Err(Answer::empty(204).with("Allow", route.map_or("GET, HEAD, POST, OPTIONS", |it| it.allow)))
        }
        "CONNECT" | "TRACE" => {
            Err(Answer::text(405, "Method Not Allowed").with("Allow", "GET, HEAD, POST, OPTIONS").closing())
        }
        method if !KNOWN.contains(&method) => Err(Answer::text(501, "Not Implemented")),
        method => match route {
            Some(route) if route.allow.split(", ").any(|it| it == method) => Ok(route),
            Some(route) => Err(Answer::text(405, "Method Not Allowed").with("Allow", route.allow)),
            None => Err(Answer::text(404, "Not Found")),
        },
    }
}
