//! The event-stream format (WHATWG HTML 9.2), for one answer: no ids, no reconnecting.
use super::error::TurnError;
use super::lines::Lines;
use crate::base::limits::MODEL_LINE_BYTES_MAX;

#[derive(Debug, Default)]
pub struct Sse {
    lines: Lines,
    event: Event,
    started: bool,
}

#[derive(Debug, Default)]
struct Event {
    name: String,
    data: Vec<u8>,
    any: bool,
}

impl Sse {
    /// Calls `on_event` with the name (empty when there is none) and the data of each whole event.
    ///
    /// # Errors
    /// A line or an event over the cap, or what `on_event` says.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut on_event: impl FnMut(&str, &[u8]) -> Result<(), TurnError>,
    ) -> Result<(), TurnError> {
        let (event, started) = (&mut self.event, &mut self.started);
        self.lines.push(bytes, |line| {
            let line = match line.strip_prefix(b"\xef\xbb\xbf") {
                Some(rest) if !*started => rest,
                _ => line,
            };
            *started = true;
            event.line(line, &mut on_event)
        })
    }
    /// The last event of a server that closes without the empty line behind it.
    ///
    /// # Errors
    /// What `on_event` says.
    pub fn end(
        mut self,
        mut on_event: impl FnMut(&str, &[u8]) -> Result<(), TurnError>,
    ) -> Result<(), TurnError> {
        self.event.line(&self.lines.rest(), &mut on_event)?;
        self.event.line(b"", &mut on_event)
    }
}

impl Event {
    fn line(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(&str, &[u8]) -> Result<(), TurnError>,
    ) -> Result<(), TurnError> {
        if line.is_empty() {
            let Event { name, data, any } = std::mem::take(self);
            return if any { on_event(&name, &data) } else { Ok(()) };
        }
        let (field, value) = match line.iter().position(|it| *it == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => {
                if self.any {
                    self.data.push(b'\n');
                }
                if self.data.len() + value.len() > MODEL_LINE_BYTES_MAX {
                    return Err(TurnError::protocol("an event without end"));
                }
                self.any = true;
                self.data.extend_from_slice(value);
            }
            // Comments (an empty field) keep the connection alive; ids and retry times are for those who reconnect.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn events(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let (mut sse, mut out) = (Sse::default(), vec![]);
        let mut keep = |name: &str, data: &[u8]| {
            out.push((name.to_owned(), String::from_utf8(data.to_vec()).unwrap()));
            Ok(())
        };
        for it in chunks {
            sse.push(it, &mut keep).unwrap();
        }
        sse.end(&mut keep).unwrap();
        out
    }
    #[test]
    fn any_cut_gives_the_same_events() {
        let text = "\u{feff}: hello\r\nevent: x\r\ndata: {\"a\":1}\r\n\r\ndata:one\ndata: two é\nid: 7\n\nevent: empty\n\n\ndata\n\ndata: last"
            .as_bytes();
        let whole = events(&[text]);
        let expected = [("x", "{\"a\":1}"), ("", "one\ntwo é"), ("", ""), ("", "last")];
        assert_eq!(whole, expected.map(|it| (it.0.to_owned(), it.1.to_owned())));
        for i in 0..=text.len() {
            for j in i..=text.len() {
                assert_eq!(events(&[&text[..i], &text[i..j], &text[j..]]), whole, "{i} {j}");
            }
        }
    }
    #[test]
    fn an_event_of_many_lines_ends_too() {
        let (mut sse, line) =
            (Sse::default(), [b"data: ".to_vec(), vec![b'x'; 1 << 20], b"\n".to_vec()].concat());
        let fed = (0..1024).take_while(|_| sse.push(&line, |_, _| Ok(())).is_ok()).count();
        assert!(fed <= MODEL_LINE_BYTES_MAX >> 20);
    }
}
