//! The text of a PDF, read by `pdftotext` of poppler-utils: a process of its own, so that a hostile file harms nothing but that.
//! A library for it would cost this program 1.4 MB.
use crate::base::cancel::Cancel;
use crate::base::child::{self, Collect, End, PATH_DEFAULT};
use crate::base::clock::Clock;
use crate::base::limits::{PDF_ERROR_BYTES_MAX, PDF_TEXT_BYTES_MAX, PDF_TIMEOUT_MS};
use crate::base::sys;
use std::process::Command;

const PROGRAM: &str = "pdftotext";

#[derive(Default)]
struct Told {
    text: Vec<u8>,
    errors: Vec<u8>,
}

impl Collect for Told {
    const APART: bool = true;
    fn push(&mut self, is_error: bool, bytes: &[u8]) {
        let (into, most) = match is_error {
            true => (&mut self.errors, PDF_ERROR_BYTES_MAX),
            false => (&mut self.text, PDF_TEXT_BYTES_MAX),
        };
        into.extend_from_slice(&bytes[..bytes.len().min(most - into.len())]);
    }
}

/// What stands on the first `pages_max` pages. Blocks, [`PDF_TIMEOUT_MS`] at most.
///
/// # Errors
/// A sentence for whoever sent it.
pub fn text(bytes: &[u8], pages_max: u32, cancel: &Cancel) -> Result<String, String> {
    read(PROGRAM, bytes, pages_max, cancel)
}

#[expect(clippy::disallowed_methods, reason = "a worker or a run's thread, which may wait")]
fn read(program: &str, bytes: &[u8], pages_max: u32, cancel: &Cancel) -> Result<String, String> {
    let file = sys::memory_file(bytes).map_err(|err| format!("the PDF could not be kept: {err}"))?;
    let mut command = Command::new(program);
    command.args(["-enc", "UTF-8", "-nopgbrk", "-l", &pages_max.to_string(), "-", "-"]);
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    command.env_clear().env("PATH", path).current_dir("/");
    let ran =
        child::run::<Told>(command, file.into(), PDF_TIMEOUT_MS, &Clock::start(), cancel, &mut |_, _| {});
    let ran = ran.map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => {
            "PDF files are read by pdftotext, which is not on this machine: install poppler-utils, or send the text as text/plain".to_owned()
        }
        _ => format!("{PROGRAM} cannot be run: {err}"),
    })?;
    let said = String::from_utf8_lossy(&ran.output.errors);
    let why = said.lines().next().unwrap_or("it says no more");
    match ran.end {
        End::Code(0) => {}
        End::TimedOut => return Err(format!("the PDF takes more than {} s to read", PDF_TIMEOUT_MS / 1000)),
        End::Aborted => return Err("the reading of the PDF was stopped".into()),
        _ => return Err(format!("the PDF cannot be read: {why}")),
    }
    let text = String::from_utf8_lossy(&ran.output.text).trim().to_owned();
    match text.is_empty() {
        true => Err("the PDF holds no text, as scans do: send its pages as images".into()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdf(words: &str) -> Vec<u8> {
        let stream = format!("BT /F1 12 Tf 20 100 Td ({words}) Tj ET");
        let objects = [
            "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R \
             /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
                .to_owned(),
            format!("<< /Length {} >>\nstream\n{stream}\nendstream", stream.len()),
        ];
        let mut out = "%PDF-1.4\n".to_owned();
        let mut places = vec![];
        for (n, object) in objects.iter().enumerate() {
            places.push(out.len());
            out += &format!("{} 0 obj\n{object}\nendobj\n", n + 1);
        }
        let table = out.len();
        out += "xref\n0 5\n0000000000 65535 f \n";
        places.iter().for_each(|it| out += &format!("{it:010} 00000 n \n"));
        out += &format!("trailer << /Size 5 /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
        out.into_bytes()
    }

    /// Where the program is not there, the sentence that names its package is what comes.
    #[test]
    fn words_of_a_page() {
        let read = |bytes: &[u8]| text(bytes, 4, &Cancel::new());
        match read(&pdf("Hello from a page")) {
            Err(why) if why.contains("poppler-utils") => return eprintln!("skipped: {why}"),
            told => assert_eq!(told.unwrap(), "Hello from a page"),
        }
        assert!(read(&pdf("")).unwrap_err().contains("holds no text"));
        assert!(read(b"%PDF-1.7").unwrap_err().contains("cannot be read"));
        assert!(read(b"").unwrap_err().contains("cannot be read"));
    }
    #[test]
    fn no_program() {
        let told = read("no-such-program-of-gatewayd", b"%PDF-1.7", 4, &Cancel::new());
        assert!(told.unwrap_err().contains("install poppler-utils"));
    }
}
