//! What a command wrote: its beginning and its end, in bounded memory, as text that can be shown.
use crate::base::child::Collect;
use crate::base::limits::{EXEC_HEAD_BYTES, TOOL_TEXT_BYTES_MAX};

/// The beginning and the end of what a command wrote, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Output {
    head: Vec<u8>,
    /// May hold up to twice what is shown, so that not every piece moves it.
    tail: Vec<u8>,
    total: u64,
}

const TAIL_BYTES: usize = TOOL_TEXT_BYTES_MAX - EXEC_HEAD_BYTES;

impl Collect for Output {
    const APART: bool = false;
    fn push(&mut self, _: bool, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = EXEC_HEAD_BYTES - self.head.len();
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(rest);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }
}

impl Output {
    /// All of it, or its two ends and how much is missing between them; without control characters, blank lines around it.
    pub fn text(&self) -> String {
        let tail = last(&self.tail, TAIL_BYTES);
        let cut = self.total - (self.head.len() + tail.len()) as u64;
        let all = if cut == 0 {
            clean(&[&self.head, tail].concat())
        } else {
            // A character that is cut in two is left out.
            let head = match std::str::from_utf8(&self.head) {
                Err(err) if err.error_len().is_none() => &self.head[..err.valid_up_to()],
                _ => &self.head,
            };
            format!("{}\n\n[{cut} bytes left out]\n\n{}", clean(head), clean(tail))
        };
        all.trim_end().trim_start_matches(['\r', '\n']).to_owned()
    }
    /// The last `chars` characters so far.
    pub fn end(&self, chars: usize) -> String {
        let tail = last(&self.tail, 4 * chars);
        let head = last(&self.head, 4 * chars - tail.len());
        let text = clean(&[head, tail].concat());
        let skip = text.chars().count().saturating_sub(chars);
        text.chars().skip(skip).collect()
    }
}

/// The last bytes, from the beginning of a character on.
fn last(bytes: &[u8], max: usize) -> &[u8] {
    let mut at = bytes.len().saturating_sub(max);
    let inside = |at: usize| at > 0 && bytes.get(at).is_some_and(|it| it & 0xc0 == 0x80);
    for _ in 0..3 {
        at += usize::from(inside(at));
    }
    &bytes[at..]
}

/// What is no text becomes U+FFFD; control characters (colours, bells, NUL) go.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|it| !it.is_control() || matches!(it, '\n' | '\r' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn both_ends_stay() {
        let mut output = Output::default();
        for n in 0..100_000 {
            output.push(false, format!("{n} é\n").as_bytes());
            assert!(output.tail.len() <= 2 * TAIL_BYTES && output.head.len() <= EXEC_HEAD_BYTES);
        }
        let text = output.text();
        assert!(text.starts_with("0 é\n1 é\n") && text.ends_with("\n99999 é"), "{text}");
        assert!(text.len() <= TOOL_TEXT_BYTES_MAX + 100 && !text.contains('\u{fffd}'), "{}", text.len());
        let (before, after) = text.split_once("\n\n[").unwrap();
        let (cut, after) = after.split_once(" bytes left out]\n\n").unwrap();
        let shown = before.len() + after.len() + 1;
        let cut: usize = cut.parse().unwrap();
        assert!((output.total as usize - cut).abs_diff(shown) <= 3, "{cut} {shown}");
        assert_eq!(output.end(9), "\n99999 é\n");
    }
    #[test]
    fn shown_safely() {
        for (bytes, shown) in [
            (&b"a\0b\x1b[31mred\x07\xffz\r\n"[..], "ab[31mred\u{fffd}z"),
            (b"\n\n  indented\n", "  indented"),
            (b"", ""),
            ("\u{9b}1mé\u{200b}".as_bytes(), "1mé\u{200b}"),
        ] {
            let mut output = Output::default();
            bytes.iter().for_each(|it| output.push(false, &[*it]));
            assert_eq!(output.text(), shown);
        }
    }
}
