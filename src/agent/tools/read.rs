//! `read`: a page of a text file, or a picture.
use super::target::target;
use super::{Image, Outcome, Place, Tool, number_of, one_line, schema, text_of};
use crate::base::cancel::Cancel;
use crate::base::ids::base64;
use crate::base::limits::{READ_FILE_BYTES_MAX, READ_IMAGE_BYTES_MAX, READ_LINES_MAX, TOOL_TEXT_BYTES_MAX};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek};

pub(super) struct Read;

impl Tool for Read {
    fn name(&self) -> &'static str {
        "read"
    }
    fn description(&self) -> &'static str {
        "Shows a text file of the workspace, at most 2000 lines or 50 KiB at a time; pictures (PNG, JPEG, GIF, WebP) are shown as such."
    }
    fn parameters(&self) -> Value {
        let properties = [
            ("path", "string", "File, relative to the workspace"),
            ("offset", "number", "First line to show, from 1"),
            ("limit", "number", "Number of lines to show"),
        ];
        schema(&["path"], &properties)
    }
    fn call(&self, args: &Value, place: &Place, _: &Cancel, _: &mut dyn FnMut(Value)) -> Outcome {
        read(args, place).unwrap_or_else(|text| Outcome::error("read", text))
    }
    fn meta(&self, args: &Value) -> Option<String> {
        let path = text_of(args, &["path", "file_path"]).ok()?;
        let number = |name| number_of(args, name).ok().flatten().map(|it| it as u64);
        let lines = match (number("offset"), number("limit")) {
            (Some(first), Some(limit)) => {
                format!(":{first}-{}", first.saturating_add(limit).saturating_sub(1))
            }
            (Some(first), None) => format!(":{first}"),
            _ => String::new(),
        };
        one_line(&format!("{path}{lines}"))
    }
}

fn read(args: &Value, place: &Place) -> Result<Outcome, String> {
    let path = text_of(args, &["path", "file_path"])?;
    let first = number_of(args, "offset")?.map_or(1, |it| it as usize).max(1);
    let limit = number_of(args, "limit")?.map_or(READ_LINES_MAX, |it| it as usize).clamp(1, READ_LINES_MAX);
    let mut file = target(path, place)?.open()?;
    let told = |err: io::Error| format!("{path}: {err}");
    let bytes = file.metadata().map_err(told)?.len();
    let mut head = vec![];
    (&mut file).take(8192).read_to_end(&mut head).map_err(told)?;
    file.rewind().map_err(told)?;
    if let Some(mime) = image(&head) {
        return picture(path, mime, bytes, file);
    }
    if head.contains(&0) {
        return Err(format!("{path} is not text ({bytes} bytes)"));
    }
    if bytes > READ_FILE_BYTES_MAX {
        return Err(format!(
            "{path} has {bytes} bytes, more than the {READ_FILE_BYTES_MAX} that are read: look into it with exec (grep, tail)"
        ));
    }
    let page = page(BufReader::new(file), first, limit, TOOL_TEXT_BYTES_MAX).map_err(told)?;
    if page.total == 0 {
        return Ok(Outcome::text("(empty file)"));
    }
    if first > page.total {
        return Err(format!("{path} has {} lines; offset {first} is behind its end", page.total));
    }
    let mut outcome = Outcome::text(String::from_utf8_lossy(&page.text));
    let last = first + page.shown - 1;
    if page.partial {
        outcome.text += &format!("\n[line {first} is longer than what is shown of it]");
    }
    if last < page.total {
        let next = last + 1;
        let gap = if outcome.text.ends_with('\n') { "\n" } else { "\n\n" };
        outcome.text +=
            &format!("{gap}[lines {first} to {last} of {}; go on with offset={next}]", page.total);
        outcome.details = json!({"truncation": {
            "truncated": true,
            "truncatedBy": if page.full { "bytes" } else { "lines" },
            "totalLines": page.total,
            "totalBytes": bytes,
            "outputLines": page.shown,
            "outputBytes": page.text.len(),
            "firstLineExceedsLimit": page.partial,
            "maxLines": READ_LINES_MAX,
            "maxBytes": TOOL_TEXT_BYTES_MAX,
        }});
    }
    Ok(outcome)
}

struct Page {
    text: Vec<u8>,
    /// Lines in the text, a part of one too.
    shown: usize,
    /// Lines in the file.
    total: usize,
    /// The text could not hold more.
    full: bool,
    /// Not even the first line fitted.
    partial: bool,
}

/// Goes through the whole file, to count its lines, and keeps no more than the page.
fn page(mut file: impl BufRead, first: usize, limit: usize, bytes_max: usize) -> io::Result<Page> {
    let mut page = Page { text: vec![], shown: 0, total: 0, full: false, partial: false };
    // Where the line that is being read began in the text, and its number.
    let (mut start, mut line, mut ended) = (0, 1, true);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        for piece in bytes.split_inclusive(|it| *it == b'\n') {
            ended = piece.ends_with(b"\n");
            if (first..first.saturating_add(limit)).contains(&line) && !page.full {
                let room = bytes_max - page.text.len();
                page.text.extend_from_slice(&piece[..piece.len().min(room)]);
                page.full = piece.len() > room;
                page.partial |= page.full && start == 0;
                if page.full && start > 0 {
                    page.text.truncate(start);
                } else if ended || page.partial {
                    page.shown = line + 1 - first;
                    start = page.text.len();
                }
            }
            line += usize::from(ended);
        }
        let n = bytes.len();
        file.consume(n);
    }
    page.total = if ended { line - 1 } else { line };
    if !ended && !page.full && page.text.len() > start {
        page.shown += 1;
    }
    Ok(page)
}

fn picture(path: &str, mime: &'static str, bytes: u64, file: File) -> Result<Outcome, String> {
    if bytes > READ_IMAGE_BYTES_MAX {
        return Err(format!(
            "{path} is a picture of {bytes} bytes; at most {READ_IMAGE_BYTES_MAX} can be looked at"
        ));
    }
    let data =
        crate::base::files::read_open(file, READ_IMAGE_BYTES_MAX).map_err(|err| format!("{path}: {err}"))?;
    let image = Image { mime, data: base64(&data) };
    Ok(Outcome { image: Some(image), ..Outcome::text(format!("[{mime}, {bytes} bytes]")) })
}

/// By the first bytes.
fn image(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn pages_at_any_cut() {
        // text, first, limit, bytes_max; what is shown, lines of it, lines in all, full, partial
        let table = [
            ("a\nb\nc\n", 1, 9, 99, "a\nb\nc\n", 3, 3, false, false),
            ("a\nb\nc", 1, 9, 99, "a\nb\nc", 3, 3, false, false),
            ("a\nb\nc", 2, 1, 99, "b\n", 1, 3, false, false),
            ("a\nb\nc", 3, 5, 99, "c", 1, 3, false, false),
            ("a\nb\nc", 4, 5, 99, "", 0, 3, false, false),
            ("aa\nbb\ncc\n", 1, 9, 7, "aa\nbb\n", 2, 3, true, false),
            ("aa\nbb\ncc\n", 1, 9, 6, "aa\nbb\n", 2, 3, true, false),
            ("aaaaaaaaaa\nb\n", 1, 9, 4, "aaaa", 1, 2, true, true),
            ("aaaaaaaaaa", 1, 9, 4, "aaaa", 1, 1, true, true),
            ("\n\n\n", 2, 9, 99, "\n\n", 2, 3, false, false),
            ("", 1, 9, 99, "", 0, 0, false, false),
        ];
        for (text, first, limit, max, shown, lines, total, full, partial) in table {
            for cut in 1..12 {
                let file = BufReader::with_capacity(cut, text.as_bytes());
                let page = page(file, first, limit, max).unwrap();
                let found =
                    (String::from_utf8(page.text).unwrap(), page.shown, page.total, page.full, page.partial);
                assert_eq!(
                    found,
                    (shown.to_owned(), lines, total, full, partial),
                    "{text:?} {first} {limit} {max} {cut}"
                );
            }
        }
    }
}
