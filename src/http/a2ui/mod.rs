//! The page at `/__openclaw__/a2ui/`, which shows what an agent sends as A2UI messages: built by `scripts/build-a2ui`, and in this
//! program only when it was built before.
use crate::conn::answer::Answer;
use crate::conn::head::Head;

const PAGE: &str = include_str!("index.html");
/// Compressed; empty when nobody built it.
const BUNDLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/a2ui.bundle.js.gz"));

/// The page loads its own script, and what messages name: pictures, films, sounds.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src * data: blob:; media-src * data: blob:; \
     font-src * data:; frame-ancestors 'self'";

/// `rest`: what follows the page's own address.
pub fn answer(rest: &str, head: &Head) -> Answer {
    if BUNDLE.is_empty() {
        let text = "A2UI assets not found: run scripts/build-a2ui (it needs Node), and build gatewayd again";
        return Answer::text(503, text);
    }
    match rest {
        "" | "/" | "/index.html" => Answer::new(200, "text/html; charset=utf-8", page(rest))
            .with("Cache-Control", "no-store")
            .with("Content-Security-Policy", POLICY),
        "/a2ui.bundle.js" => bundle(head),
        _ => Answer::text(404, "not found"),
    }
}

/// Without its slash the page's own address is no folder, and its script is found all the same.
fn page(rest: &str) -> String {
    if rest.is_empty() { PAGE.replace("src=\"", "src=\"a2ui/") } else { PAGE.to_owned() }
}

fn bundle(head: &Head) -> Answer {
    // The checksum and the length that end a gzip file.
    let end: String = BUNDLE[BUNDLE.len().saturating_sub(8)..].iter().map(|it| format!("{it:02x}")).collect();
    let etag = format!("\"{end}\"");
    let described =
        |it: Answer| it.with("Cache-Control", "no-cache").with("ETag", &etag).with("Vary", "Accept-Encoding");
    if head.header("if-none-match").is_some_and(|it| it.split(',').any(|it| it.trim() == etag)) {
        return described(Answer::empty(304));
    }
    if !takes_gzip(head) {
        return described(Answer::text(
            406,
            "Not Acceptable: this script is sent with Content-Encoding gzip",
        ));
    }
    described(Answer::new(200, "text/javascript; charset=utf-8", BUNDLE)).with("Content-Encoding", "gzip")
}

/// RFC 9110 section 12.5.3: without the header anything goes.
fn takes_gzip(head: &Head) -> bool {
    let mut codings =
        head.headers.iter().filter(|it| it.0 == "accept-encoding").flat_map(|it| it.1.split(',')).peekable();
    codings.peek().is_none()
        || codings.any(|it| {
            let (name, quality) = it.split_once(';').unwrap_or((it, ""));
            let none = quality.trim().strip_prefix("q=").and_then(|it| it.parse::<f32>().ok()) == Some(0.0);
            matches!(name.trim().to_ascii_lowercase().as_str(), "gzip" | "x-gzip" | "*") && !none
        })
}
