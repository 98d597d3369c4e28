//! What kind of file a name says it is.

/// By the end of a name, lower case. Text is UTF-8: the pages that agents write say nothing else.
const KINDS: &[(&str, &str)] = &[
    ("html htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js mjs", "text/javascript; charset=utf-8"),
    ("json map", "application/json; charset=utf-8"),
    ("jsonl ndjson", "application/x-ndjson; charset=utf-8"),
    ("webmanifest", "application/manifest+json; charset=utf-8"),
    ("txt log", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("xml", "application/xml; charset=utf-8"),
    ("xhtml", "application/xhtml+xml; charset=utf-8"),
    ("svg", "image/svg+xml; charset=utf-8"),
    ("png", "image/png"),
    ("apng", "image/apng"),
    ("jpg jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("ico", "image/vnd.microsoft.icon"),
    ("mp4 m4v", "video/mp4"),
    ("webm", "video/webm"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg oga opus", "audio/ogg"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
];

/// The `Content-Type` of a file.
pub fn of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let end = name.rsplit_once('.').map_or(String::new(), |it| it.1.to_ascii_lowercase());
    let known = KINDS.iter().find(|it| it.0.split(' ').any(|it| it == end));
    known.map_or("application/octet-stream", |it| it.1)
}

pub fn is_page(kind: &str) -> bool {
    kind.starts_with("text/html")
}

#[cfg(test)]
mod tests {
    use super::of;
    #[test]
    fn kinds() {
        for (path, want) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a/b.HTM", "text/html; charset=utf-8"),
            ("x.tar.gz", "application/gzip"),
            ("a.b/README", "application/octet-stream"),
            ("html", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("a.woff2", "font/woff2"),
        ] {
            assert_eq!(of(path), want, "{path}");
        }
    }
}
