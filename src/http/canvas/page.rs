//! What the canvas host adds to pages, and the page it shows while there is none.
use std::path::Path;

const BRIDGE: &str = include_str!("bridge.js");
const LIVE: &str = include_str!("live.js");
const STARTER: &str = include_str!("starter.html");
const END: &[u8] = b"</body>";

/// With the scripts in it: before the last end of the body, in any case, or at the end.
pub fn with_scripts(page: &[u8]) -> Vec<u8> {
    let at = page.windows(END.len()).rposition(|it| it.eq_ignore_ascii_case(END)).unwrap_or(page.len());
    let mut out = Vec::with_capacity(page.len() + BRIDGE.len() + LIVE.len() + 32);
    out.extend_from_slice(&page[..at]);
    for part in ["<script>\n", BRIDGE, LIVE, "</script>\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(&page[at..]);
    out
}

/// Tells where a page would be looked for.
pub fn starter(root: &Path) -> String {
    STARTER.replace("{{PAGE}}", &escape(&page_of(root)))
}

/// The reference's words for a folder without a page.
pub fn missing(root: &Path) -> String {
    let page = escape(&page_of(root));
    format!(
        "<!doctype html><meta charset=\"utf-8\" /><title>OpenClaw Canvas</title><pre>Missing file.\nCreate {page}</pre>"
    )
}

fn page_of(root: &Path) -> String {
    root.join("index.html").to_string_lossy().into_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn where_the_scripts_go() {
        let scripts = String::from_utf8(with_scripts(b"")).unwrap();
        for (page, head, tail) in [
            ("<p>a</p>", "<p>a</p>", ""),
            ("<body>a</body></html>", "<body>a", "</body></html>"),
            ("<body>'</body>'</BODY>", "<body>'</body>'", "</BODY>"),
        ] {
            assert_eq!(
                String::from_utf8(with_scripts(page.as_bytes())).unwrap(),
                format!("{head}{scripts}{tail}")
            );
        }
        assert!(with_scripts(b"\xff\xfe</body>").starts_with(b"\xff\xfe<script>"), "any bytes");
        let inner =
            scripts.trim_end().strip_prefix("<script>").and_then(|it| it.strip_suffix("</script>")).unwrap();
        assert!(!inner.contains("</"), "nothing in them ends the script");
    }
    #[test]
    fn paths_are_text() {
        let root = Path::new("/a<b>&c");
        assert!(starter(root).contains("<code>/a&lt;b&gt;&amp;c/index.html</code>"));
        assert!(missing(root).ends_with("Create /a&lt;b&gt;&amp;c/index.html</pre>"));
    }
}
