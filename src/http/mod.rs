//! HTTP endpoints: thin adapters over the core, one table of routes.
//!
//! * What does not exist is a 404 in plain text, never a page.
//! * Liveness needs no secret and tells none.
mod probes;

use crate::base::clock::Now;
use crate::base::limits::BODY_UNUSED_BYTES_MAX;
use crate::conn::Request;
use crate::conn::answer::Answer;
use crate::gateway::Core;

/// One path and what answers it.
pub struct Route {
    pub path: &'static str,
    /// Allowed methods, as in an `Allow` header.
    pub allow: &'static str,
    answer: fn(&Core, Now) -> Answer,
}

/// Ahead of everything else.
pub const ROUTES: &[Route] = &[
    Route { path: "/healthz", allow: "GET, HEAD", answer: probes::live },
    Route { path: "/health", allow: "GET, HEAD", answer: probes::live },
    Route { path: "/readyz", allow: "GET, HEAD", answer: probes::ready },
    Route { path: "/ready", allow: "GET, HEAD", answer: probes::ready },
    Route { path: "/startupz", allow: "GET, HEAD", answer: probes::started },
    Route { path: "/startup", allow: "GET, HEAD", answer: probes::started },
];

/// How much body a path takes.
pub fn body_max(_path: &str) -> u64 {
    BODY_UNUSED_BYTES_MAX
}

/// RFC 9110 section 9: methods that are known but do nothing here.
const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"];

/// The answer to one request.
pub fn answer(core: &Core, request: &Request, now: Now) -> Answer {
    let head = &request.head;
    // HTTP/1.0 may come without a Host.
    let host = head.host.name.as_str();
    if !host.is_empty() && !core.host_names.allow(host) {
        let text = "Misdirected Request: this gateway does not go by that name (add it to gateway.controlUi.allowedOrigins)";
        return Answer::text(421, text);
    }
    let route = ROUTES.iter().find(|it| it.path == head.path);
    match head.method.as_str() {
        "OPTIONS" => {
            Answer::empty(204).with("Allow", route.map_or("GET, HEAD, POST, OPTIONS", |it| it.allow))
        }
        "CONNECT" | "TRACE" => {
            Answer::text(405, "Method Not Allowed").with("Allow", "GET, HEAD, POST, OPTIONS").closing()
        }
        method if !KNOWN.contains(&method) => Answer::text(501, "Not Implemented"),
        method => match route {
            Some(route) if route.allow.split(", ").any(|it| it == method) => (route.answer)(core, now),
            Some(route) => Answer::text(405, "Method Not Allowed").with("Allow", route.allow),
            None => Answer::text(404, "Not Found"),
        },
    }
}
