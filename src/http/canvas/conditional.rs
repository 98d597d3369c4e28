//! What of a file a request wants: all of it, a part, or only whether it changed (RFC 9110 sections 13 and 14).
use crate::conn::head::Head;
use std::time::SystemTime;

/// A state of a file, as far as requests can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// With its quotes.
    pub etag: String,
    /// In whole seconds.
    pub modified: SystemTime,
    pub length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// Its first byte, and how many; at least one.
    Part(u64, u64),
    /// 304.
    Nothing,
    /// 416.
    Impossible,
}

impl Wanted {
    pub fn of(head: &Head, version: &Version) -> Wanted {
        if is_known(head, version) {
            return Wanted::Nothing;
        }
        let whole = || head.header("if-range").is_some_and(|it| !names(it, version));
        match head.header("range").filter(|_| head.method == "GET" && !whole()) {
            Some(range) => part(range, version.length),
            None => Wanted::All,
        }
    }
}

/// The asker has this very state. `If-None-Match` overrules a date.
fn is_known(head: &Head, version: &Version) -> bool {
    if head.has_header("if-none-match") {
        let tags = head.headers.iter().filter(|it| it.0 == "if-none-match").flat_map(|it| it.1.split(','));
        return tags.map(str::trim).any(|it| it == "*" || it.trim_start_matches("W/") == version.etag);
    }
    head.header("if-modified-since").and_then(date).is_some_and(|it| version.modified <= it)
}

/// Section 13.1.5: an entity tag that is the same, or the very date.
fn names(if_range: &str, version: &Version) -> bool {
    if_range == version.etag || date(if_range) == Some(version.modified)
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// One range of bytes; several, or what is no range, ask for all.
fn part(range: &str, length: u64) -> Wanted {
    let spec =
        range.split_once('=').filter(|it| it.0.trim().eq_ignore_ascii_case("bytes")).map(|it| it.1.trim());
    let Some((first, last)) = spec.and_then(|it| it.split_once('-')) else { return Wanted::All };
    let number = |text: &str| match text.trim() {
        text if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) => {
            // Beyond any file, and any number.
            Some(text.parse().unwrap_or(u64::MAX))
        }
        _ => None,
    };
    match (number(first), number(last)) {
        // The last so many.
        (None, Some(count)) if first.trim().is_empty() => match count.min(length) {
            0 => Wanted::Impossible,
            count => Wanted::Part(length - count, count),
        },
        (Some(first), Some(last)) if last < first => Wanted::All,
        (Some(first), last) if last.is_some() || spec.is_some_and(|it| it.ends_with('-')) => {
            match first < length {
                true => Wanted::Part(first, last.unwrap_or(u64::MAX).min(length - 1) - first + 1),
                false => Wanted::Impossible,
            }
        }
        _ => Wanted::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn wanted(lines: &str) -> Wanted {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let head =
            crate::conn::head::parse(head.replace('\n', "\r\n").replace("\r\r", "\r").as_bytes()).unwrap();
        let modified = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
        Wanted::of(&head, &Version { etag: "\"v1\"".into(), modified, length: 100 })
    }
    #[test]
    fn what_is_wanted() {
        use Wanted::*;
        for (lines, want) in [
            ("", All),
            ("If-None-Match: \"v1\"\n", Nothing),
            ("If-None-Match: W/\"v1\"\n", Nothing),
            ("If-None-Match: \"v0\", \"v1\"\n", Nothing),
            ("If-None-Match: \"v0\"\nIf-None-Match: \"v1\"\n", Nothing),
            ("If-None-Match: *\n", Nothing),
            ("If-None-Match: \"v0\"\n", All),
            ("If-None-Match: \"v0\"\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n", All),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n", Nothing),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\n", All),
            ("If-Modified-Since: yesterday\n", All),
            ("Range: bytes=0-\n", Part(0, 100)),
            ("Range: bytes=0-0\n", Part(0, 1)),
            ("Range: bytes=10-19\n", Part(10, 10)),
            ("Range: bytes=90-200\n", Part(90, 10)),
            ("Range: bytes=-10\n", Part(90, 10)),
            ("Range: bytes=-1000\n", Part(0, 100)),
            ("Range: bytes=-0\n", Impossible),
            ("Range: bytes=100-\n", Impossible),
            ("Range: bytes=99999999999999999999999-\n", Impossible),
            ("Range: bytes=0-99999999999999999999999\n", Part(0, 100)),
            ("Range: bytes=5-3\n", All),
            ("Range: bytes=-\n", All),
            ("Range: bytes=x-3\n", All),
            ("Range: bytes=1-x\n", All),
            ("Range: bytes=0-1,3-4\n", All),
            ("Range: lines=0-1\n", All),
            ("Range: bytes\n", All),
            ("Range: bytes=+1-2\n", All),
            ("Range: bytes=0-1\nIf-Range: \"v1\"\n", Part(0, 2)),
            ("Range: bytes=0-1\nIf-Range: W/\"v1\"\n", All),
            ("Range: bytes=0-1\nIf-Range: \"v0\"\n", All),
            ("Range: bytes=0-1\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\n", Part(0, 2)),
            ("Range: bytes=0-1\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT\n", All),
            ("Range: bytes=0-1\nIf-None-Match: \"v1\"\n", Nothing),
        ] {
            assert_eq!(wanted(lines), want, "{lines}");
        }
    }
    #[test]
    fn of_an_empty_file() {
        assert_eq!(part("bytes=0-", 0), Wanted::Impossible);
        assert_eq!(part("bytes=-5", 0), Wanted::Impossible);
    }
}
