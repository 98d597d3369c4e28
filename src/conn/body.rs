//! A request body: sized or chunked, with a cap. Bytes in, bytes out, no socket.
use super::answer::Refusal;
use super::head::Content;
use crate::base::limits::{CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX};

/// What is still to come.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// This many bytes of a sized body.
    Sized(u64),
    /// A chunk-size line.
    Size,
    /// This many bytes of a chunk.
    Chunk(u64),
    /// The CRLF behind a chunk.
    ChunkEnd,
    /// Trailer lines, of which so many bytes have passed.
    Trailer(usize),
    Done,
}

#[derive(Debug)]
pub struct Body {
    state: State,
    bytes_max: u64,
    bytes: Vec<u8>,
    /// Everything taken from the wire, for the minimum rate.
    pub taken: u64,
}

impl Body {
    /// # Errors
    /// 413 when the announced length is over the cap.
    pub fn new(content: Content, bytes_max: u64) -> Result<Body, Refusal> {
        let state = match content {
            Content::None | Content::Sized(0) => State::Done,
            Content::Sized(n) if n > bytes_max => return Err(Refusal::body_too_large(bytes_max)),
            Content::Sized(n) => State::Sized(n),
            Content::Chunked => State::Size,
        };
        Ok(Body { state, bytes_max, bytes: vec![], taken: 0 })
    }
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
    /// Takes what it can from the front of `input`; answers how many bytes.
    ///
    /// # Errors
    /// 400 for a broken chunk, 413 over the cap, 431 for endless trailers.
    pub fn feed(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let mut used = 0;
        while self.state != State::Done {
            let n = self.step(&input[used..])?;
            if n == 0 {
                break;
            }
            used += n;
        }
        self.taken += used as u64;
        Ok(used)
    }

    fn step(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        match self.state {
            State::Sized(left) => {
                let n = self.take(left, input);
                self.state = if n == left { State::Done } else { State::Sized(left - n) };
                Ok(n as usize)
            }
            State::Chunk(left) => {
                let n = self.take(left, input);
                self.state = if n == left { State::ChunkEnd } else { State::Chunk(left - n) };
                Ok(n as usize)
            }
            State::Size => {
                let Some(line) = line(input, CHUNK_LINE_BYTES_MAX)? else { return Ok(0) };
                let size = chunk_size(line)?;
                if size > self.bytes_max - (self.bytes.len() as u64).min(self.bytes_max) {
                    return Err(Refusal::body_too_large(self.bytes_max));
                }
                self.state = if size == 0 { State::Trailer(0) } else { State::Chunk(size) };
                Ok(line.len() + 2)
            }
            State::ChunkEnd => match input {
                [] | [b'\r'] => Ok(0),
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(2)
                }
                _ => Err(Refusal::bad("a chunk that does not end where it said")),
            },
            State::Trailer(passed) => {
                let Some(line) = line(input, HEAD_BYTES_MAX)? else { return Ok(0) };
                let passed = passed + line.len() + 2;
                if passed > HEAD_BYTES_MAX {
                    return Err(Refusal::head_too_large());
                }
                self.state = if line.is_empty() { State::Done } else { State::Trailer(passed) };
                Ok(line.len() + 2)
            }
            State::Done => Ok(0),
        }
    }

    fn take(&mut self, left: u64, input: &[u8]) -> u64 {
        let n = left.min(input.len() as u64);
        self.bytes.extend_from_slice(&input[..n as usize]);
        n
    }
}

/// A line without its CRLF, or None when it is not whole yet.
fn line(input: &[u8], bytes_max: usize) -> Result<Option<&[u8]>, Refusal> {
    let at = input.iter().position(|it| *it == b'\n');
    match at {
        Some(0) => Err(Refusal::bad("a bare line feed")),
        Some(at) if input[at - 1] != b'\r' => Err(Refusal::bad("a bare line feed")),
        Some(at) if at - 1 > bytes_max => Err(Refusal::bad("a chunk or trailer line that is too long")),
        Some(at) if input[..at - 1].iter().any(|it| it.is_ascii_control() && *it != b'\t') => {
            Err(Refusal::bad("a control character"))
        }
        Some(at) => Ok(Some(&input[..at - 1])),
        None if input.len() > bytes_max + 1 => Err(Refusal::bad("a chunk or trailer line that is too long")),
        None => Ok(None),
    }
}

/// RFC 9112 section 7.1: hex digits, then perhaps extensions, which are ignored.
fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let bad = || Refusal::bad("a chunk size");
    let digits = line.iter().take_while(|it| it.is_ascii_hexdigit()).count();
    let rest = &line[digits..];
    // White space may stand in front of an extension, never at the end of the line.
    if digits == 0 || !(rest.is_empty() || rest.trim_ascii_start().starts_with(b";")) {
        return Err(bad());
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| bad())?.trim_start_matches('0');
    if text.is_empty() { Ok(0) } else { u64::from_str_radix(text, 16).map_err(|_| bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn decode(input: &[u8], cut: usize) -> Result<(Vec<u8>, usize), u16> {
        let mut body = Body::new(Content::Chunked, 100).map_err(|it| it.status)?;
        let mut used = body.feed(&input[..cut]).map_err(|it| it.status)?;
        used += body.feed(&input[used..]).map_err(|it| it.status)?;
        assert!(body.is_done());
        Ok((body.into_bytes(), used))
    }
    #[test]
    fn any_cut_decodes_the_same() {
        let input = b"5;x=y\r\nhello\r\n0A ;y\r\n0123456789\r\n0\r\nX: y\r\n\r\nNEXT";
        for cut in 0..input.len() {
            assert_eq!(
                decode(input, cut).unwrap(),
                (b"hello0123456789".to_vec(), input.len() - 4),
                "cut at {cut}"
            );
        }
    }
    #[test]
    fn refusals() {
        for (input, status) in [
            (&b"g\r\n"[..], 400),
            (b"-1\r\n", 400),
            (b"0x5\r\n", 400),
            (b"\r\n", 400),
            (b"5\nhello", 400),
            (b"1\r\nab\r\n", 400),
            (b"ffffffffffffffffff\r\n", 400),
            (b"65\r\n", 413),
        ] {
            assert_eq!(decode(input, 0), Err(status), "{}", String::from_utf8_lossy(input));
        }
    }
}
