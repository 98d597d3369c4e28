//! Pictures and files that somebody sends: what they are by their bytes, whether they may be shown to a model, and as what.
//!
//! ```text
//! let picture = media::picture(base64, &limits)?;                    // an image as models take it
//! let text = media::text(&bytes, "text/csv; charset=latin1", &limits, &cancel)?;
//! let got = wanted.fetch(&Fetcher::default(), &cancel)?;             // blocks: it has the run's thread
//! ```
//!
//! * Nothing is decoded further than a picture's head: its size in pixels is read there.
//! * How large base64 is decoded is known, and judged, before it is.
use super::conversation::Image;
use super::fetch::{Ask, Fetcher};
use super::pdf;
use crate::base::cancel::Cancel;
use crate::base::ids::{base64, from_base64};
use crate::base::limits::IMAGE_PIXELS_MAX;
use crate::config::MediaLimits as Limits;

/// Something that a URL names.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub url: String,
    /// A picture for the model to see; else a text for it to read.
    pub is_image: bool,
    pub limits: Limits,
}

/// What was got.
#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    Picture(Image),
    /// As [`file()`] writes it.
    Text(String),
}

impl Wanted {
    /// # Errors
    /// A sentence for whoever named it.
    pub fn fetch(&self, fetcher: &Fetcher, cancel: &Cancel) -> Result<Got, String> {
        let ask = Ask {
            url: &self.url,
            bytes_max: self.limits.bytes_max as u64,
            total_ms: self.limits.timeout_ms,
            redirects_max: self.limits.redirects_max,
        };
        let got = fetcher.get(&ask, cancel).map_err(|err| format!("cannot fetch the URL: {err}"))?;
        if self.is_image {
            return Ok(Got::Picture(of_bytes(&got.bytes, &self.limits)?));
        }
        let name = self.url.split(['?', '#']).next().and_then(|it| it.rsplit('/').next());
        let name = name.filter(|it| !it.is_empty()).unwrap_or("file");
        Ok(Got::Text(file(name, &text(&got.bytes, &got.content_type, &self.limits, cancel)?)))
    }
}

/// A picture in base64. What the bytes are counts, whatever they are called.
///
/// # Errors
/// A sentence for whoever sent it.
pub fn picture(data: &str, limits: &Limits) -> Result<Image, String> {
    too_large("Image", decoded_len(data), limits)?;
    let bytes = from_base64(data).ok_or("the image is not base64")?;
    of_bytes(&bytes, limits)
}

fn of_bytes(bytes: &[u8], limits: &Limits) -> Result<Image, String> {
    let mime = sniff(bytes).ok_or("the image is none: its bytes are neither PNG, JPEG, GIF nor WebP")?;
    if !allows(limits, mime) {
        return Err(format!("Unsupported image MIME type: {mime}"));
    }
    let (width, height) = size(bytes).ok_or("the image has no readable size")?;
    if u64::from(width) * u64::from(height) > IMAGE_PIXELS_MAX {
        return Err(format!("Image too large: {width} x {height} pixels (limit: {IMAGE_PIXELS_MAX} pixels)"));
    }
    Ok(Image { mime_type: mime.to_owned(), data: base64(bytes) })
}

/// A file in base64, as text. `content_type` may name a charset.
///
/// # Errors
/// A sentence for whoever sent it.
pub fn text_of_base64(data: &str, content_type: &str, limits: &Limits) -> Result<String, String> {
    too_large("File", decoded_len(data), limits)?;
    let bytes = from_base64(data).ok_or("the file is not base64")?;
    text(&bytes, content_type, limits, &Cancel::new())
}

/// Blocks where it is a PDF.
///
/// # Errors
/// A sentence for whoever sent it.
pub fn text(bytes: &[u8], content_type: &str, limits: &Limits, cancel: &Cancel) -> Result<String, String> {
    too_large("File", bytes.len(), limits)?;
    let mut words = content_type.split(';').map(|it| it.trim().to_lowercase());
    let mime = words.next().unwrap_or_default();
    if mime.is_empty() {
        return Err("input_file missing media type".into());
    }
    if !allows(limits, &mime) {
        return Err(format!("Unsupported file MIME type: {mime}"));
    }
    if mime == "application/pdf" || bytes.starts_with(b"%PDF-") {
        return Ok(cut(pdf::text(bytes, limits.pages_max, cancel)?, limits.chars_max));
    }
    if bytes.contains(&0) {
        return Err(format!("the file is no text, though it is called {mime}"));
    }
    let charset = words.find_map(|it| it.strip_prefix("charset=").map(|it| it.trim_matches('"').to_owned()));
    let whole = match charset.as_deref() {
        Some("iso-8859-1" | "latin1" | "windows-1252") => bytes.iter().map(|it| char::from(*it)).collect(),
        _ => String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned(),
    };
    Ok(cut(whole, limits.chars_max))
}

fn cut(mut text: String, chars_max: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(chars_max) {
        text.truncate(at);
    }
    text
}

/// A file's text as a model is told it: what is in it cannot end it.
pub fn file(name: &str, text: &str) -> String {
    let name: String =
        name.chars().map(|it| if it.is_control() || "<>\"&".contains(it) { '_' } else { it }).collect();
    format!("<file name=\"{name}\">\n{}\n</file>", text.replace("</file", "<\\/file"))
}

fn allows(limits: &Limits, mime: &str) -> bool {
    limits.mimes.iter().any(|it| it == mime)
}

fn too_large(what: &str, bytes: usize, limits: &Limits) -> Result<(), String> {
    match bytes > limits.bytes_max {
        true => Err(format!("{what} too large: {bytes} bytes (limit: {} bytes)", limits.bytes_max)),
        false => Ok(()),
    }
}

/// How many bytes base64 stands for.
pub fn decoded_len(data: &str) -> usize {
    data.trim_end_matches('=').len() * 3 / 4
}

/// The type that the first bytes of a picture say.
pub fn sniff(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => return None,
    })
}

/// Width and height, in pixels, as the head of a picture says.
fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let le = |at: usize, n: usize| -> Option<u32> {
        Some(bytes.get(at..at + n)?.iter().rev().fold(0, |sum, it| sum << 8 | u32::from(*it)))
    };
    let be = |at: usize, n: usize| -> Option<u32> {
        Some(bytes.get(at..at + n)?.iter().fold(0, |sum, it| sum << 8 | u32::from(*it)))
    };
    match sniff(bytes)? {
        "image/png" => Some((be(16, 4)?, be(20, 4)?)),
        "image/gif" => Some((le(6, 2)?, le(8, 2)?)),
        "image/webp" => match bytes.get(12..16)? {
            b"VP8 " => Some((le(26, 2)? & 0x3fff, le(28, 2)? & 0x3fff)),
            b"VP8L" => {
                let bits = le(21, 4)?;
                Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
            }
            b"VP8X" => Some((le(24, 3)? + 1, le(27, 3)? + 1)),
            _ => None,
        },
        // Segments up to the one that begins a frame.
        _ => {
            let mut at = 2;
            loop {
                let marker = be(at, 2)?;
                match marker {
                    0xffff => at += 1,
                    0xffc0..=0xffcf if !matches!(marker, 0xffc4 | 0xffc8 | 0xffcc) => {
                        return Some((be(at + 7, 2)?, be(at + 5, 2)?));
                    }
                    0xff01..=0xfffe => at += 2 + be(at + 2, 2)?.max(2) as usize,
                    _ => return None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let mimes = ["image/png", "image/jpeg", "image/gif", "image/webp", "text/csv", "application/pdf"];
        let mimes = mimes.map(str::to_owned).to_vec();
        Limits {
            allow_url: true,
            mimes,
            bytes_max: 100,
            chars_max: 8,
            pages_max: 4,
            redirects_max: 3,
            timeout_ms: 1000,
        }
    }
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut out = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        out.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
        out
    }

    #[test]
    fn sizes_stand_in_the_head() {
        assert_eq!(size(&png(3, 5)), Some((3, 5)));
        assert_eq!(size(b"GIF89a\x03\0\x05\0"), Some((3, 5)));
        assert_eq!(size(b"\xff\xd8\xff\xe0\0\x04\0\0\xff\xff\xc0\0\x11\x08\0\x05\0\x03"), Some((3, 5)));
        assert_eq!(size(b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x02\0\0\x04\0\0"), Some((3, 5)));
        assert_eq!(size(b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x02\0\x01\0"), Some((3, 5)));
        assert_eq!(size(b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x03\0\x05\0"), Some((3, 5)));
        for cut in 0..24 {
            assert_eq!(size(&png(3, 5)[..cut]), None, "{cut}");
        }
        assert_eq!(size(b"\xff\xd8\xff\xe0\0\0\0\0\0\0"), None);
    }
    #[test]
    fn pictures_are_judged_before_they_are_taken() {
        let told = |data: &str| picture(data, &limits()).unwrap_err();
        assert_eq!(picture(&base64(&png(3, 5)), &limits()).unwrap().mime_type, "image/png");
        assert_eq!(
            told(&base64(&png(30_000, 30_000))),
            "Image too large: 30000 x 30000 pixels (limit: 64000000 pixels)"
        );
        assert_eq!(told(&"A".repeat(400)), "Image too large: 300 bytes (limit: 100 bytes)");
        assert_eq!(told("***"), "the image is not base64");
        assert!(told(&base64(b"BM not a picture")).contains("neither PNG"));
        let none = Limits { mimes: vec![], ..limits() };
        assert_eq!(
            picture(&base64(&png(3, 5)), &none).unwrap_err(),
            "Unsupported image MIME type: image/png"
        );
    }
    #[test]
    fn files_become_text() {
        let read = |bytes: &[u8], kind: &str| text(bytes, kind, &limits(), &Cancel::new());
        assert_eq!(read(b"\xef\xbb\xbfa,b", "Text/CSV").unwrap(), "a,b");
        assert_eq!(read(b"caf\xe9", "text/csv; charset=ISO-8859-1").unwrap(), "caf\u{e9}");
        assert_eq!(read("\u{e9}".repeat(9).as_bytes(), "text/csv").unwrap(), "\u{e9}".repeat(8));
        for (bytes, kind, part) in [
            (&b"x"[..], "", "missing media type"),
            (b"x", "application/zip", "Unsupported file MIME type: application/zip"),
            (b"%PDF-1.7", "application/pdf", "PDF"),
            (b"%PDF-1.7", "text/csv", "PDF"),
            (b"a\0b", "text/csv", "is no text"),
        ] {
            assert!(read(bytes, kind).unwrap_err().contains(part), "{kind}");
        }
        assert_eq!(file("a\"b", "x</file>y"), "<file name=\"a_b\">\nx<\\/file>y\n</file>");
    }
}
