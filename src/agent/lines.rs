//! Bytes in, whole lines out, whatever the cuts. A line ends at LF, CR or CR LF.
use super::error::TurnError;
use crate::base::limits::MODEL_LINE_BYTES_MAX;

#[derive(Debug, Default)]
pub struct Lines {
    part: Vec<u8>,
    /// The last byte was a CR: an LF right behind it belongs to that line's end.
    after_cr: bool,
}

impl Lines {
    /// # Errors
    /// A line over the cap, or what `on_line` says.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut on_line: impl FnMut(&[u8]) -> Result<(), TurnError>,
    ) -> Result<(), TurnError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.after_cr) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(at) = bytes.iter().position(|it| matches!(it, b'\n' | b'\r')) {
            let (line, end) = (&bytes[..at], bytes[at]);
            if self.part.is_empty() {
                on_line(line)?;
            } else {
                self.keep(line)?;
                on_line(&std::mem::take(&mut self.part))?;
            }
            bytes = &bytes[at + 1..];
            if end == b'\r' {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
        }
        self.keep(bytes)
    }
    /// What stands behind the last line's end.
    pub fn rest(self) -> Vec<u8> {
        self.part
    }
    fn keep(&mut self, bytes: &[u8]) -> Result<(), TurnError> {
        if self.part.len() + bytes.len() > MODEL_LINE_BYTES_MAX {
            let mib = MODEL_LINE_BYTES_MAX >> 20;
            return Err(TurnError::protocol(format!("a line of more than {mib} MiB")));
        }
        self.part.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn split(chunks: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
        let (mut lines, mut out) = (Lines::default(), vec![]);
        for it in chunks {
            let keep = |line: &[u8]| {
                out.push(String::from_utf8(line.to_vec()).unwrap());
                Ok(())
            };
            lines.push(it, keep).unwrap();
        }
        (out, lines.rest())
    }
    #[test]
    fn any_cut_gives_the_same_lines() {
        let text = "a\nbé\r\n\r\nc\rd\n\ne".as_bytes();
        let whole = split(&[text]);
        assert_eq!(whole.0, ["a", "bé", "", "c", "d", ""]);
        assert_eq!(whole.1, b"e");
        for i in 0..=text.len() {
            for j in i..=text.len() {
                assert_eq!(split(&[&text[..i], &text[i..j], &text[j..]]), whole, "{i} {j}");
            }
        }
    }
    #[test]
    fn an_endless_line_ends() {
        let (mut lines, chunk) = (Lines::default(), vec![b'x'; 1 << 20]);
        let fed = (0..1024).take_while(|_| lines.push(&chunk, |_| Ok(())).is_ok()).count();
        assert_eq!(fed, MODEL_LINE_BYTES_MAX >> 20);
        assert!(lines.rest().len() <= MODEL_LINE_BYTES_MAX);
    }
}
