//! From a place in the tree to an answer. Runs on a worker.
//!
//! * Whatever is not a plain file below a root is not found, and nobody is told why.
//! * No more of a file is in memory than one page, or one piece.
use super::conditional::{Version, Wanted};
use super::place::Place;
use super::{kind, not_found, page};
use crate::base::beneath::Root;
use crate::base::limits::{CANVAS_PAGE_BYTES_MAX, CANVAS_PIECE_BYTES};
use crate::conn::answer::Answer;
use crate::conn::head::Head;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The answer, or its head and what comes in pieces behind it.
pub enum Found {
    Whole(Answer),
    Pieces(Answer, Pieces),
}

/// The part of a file that is still to be sent.
pub struct Pieces {
    file: File,
    left: u64,
}

impl Pieces {
    /// The next one; empty at the end.
    ///
    /// # Errors
    /// What the system says, or that the file has become shorter.
    pub fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; self.left.min(CANVAS_PIECE_BYTES) as usize];
        self.file.read_exact(&mut piece)?;
        self.left -= piece.len() as u64;
        Ok(piece)
    }
}

/// What a request for a place is answered. `scripts`: pages get them.
pub fn fetch(roots: &[PathBuf], place: &Place, head: &Head, scripts: bool) -> Found {
    let missing = || Answer::new(404, "text/html; charset=utf-8", page::missing(&first(roots)));
    match find(roots, place) {
        Ok(Some((file, path))) => {
            answer(file, kind::of(&path), head, scripts).unwrap_or_else(|err| failed(&err))
        }
        Ok(None) if place.is_root() && place.folder => {
            Found::Whole(html(page::starter(&first(roots)).into(), scripts))
        }
        Ok(None) if place.folder => Found::Whole(missing()),
        Ok(None) => Found::Whole(not_found()),
        Err(err) => failed(&err),
    }
}

fn first(roots: &[PathBuf]) -> PathBuf {
    roots.first().cloned().unwrap_or_default()
}

fn failed(err: &io::Error) -> Found {
    log::warn!(target: "canvas", "a file cannot be read: {err}");
    let text = "Service Unavailable: the file cannot be read now; the gateway's log says why";
    Found::Whole(Answer::text(503, text).with("Retry-After", "5"))
}

/// The file, and the path it was found by.
fn find(roots: &[PathBuf], place: &Place) -> io::Result<Option<(File, String)>> {
    for root in roots {
        let Some(root) = Root::open(root).or_else(absent)? else { continue };
        let mut paths = vec![place.path.clone()];
        if !place.folder {
            paths.push(place.page());
        }
        for path in paths {
            if let Some(file) = root.open_sole(&path).or_else(absent)? {
                return Ok(Some((file, path)));
            }
        }
    }
    Ok(None)
}

/// What says that this process, or the machine, cannot read now; all else says that there is no such file.
fn absent<T>(err: io::Error) -> io::Result<Option<T>> {
    match err.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EIO | libc::ENOSYS) => Err(err),
        _ => Ok(None),
    }
}

fn html(page: Vec<u8>, scripts: bool) -> Answer {
    let page = if scripts { page::with_scripts(&page) } else { page };
    Answer::new(200, "text/html; charset=utf-8", page).with("Cache-Control", "no-store")
}

fn answer(mut file: File, kind: &'static str, head: &Head, scripts: bool) -> io::Result<Found> {
    let meta = file.metadata()?;
    let length = meta.len();
    if kind::is_page(kind) && length <= CANVAS_PAGE_BYTES_MAX {
        let mut page = Vec::with_capacity(length as usize);
        file.take(CANVAS_PAGE_BYTES_MAX).read_to_end(&mut page)?;
        return Ok(Found::Whole(html(page, scripts)));
    }
    let (inode, modified) = (meta.ino(), (meta.mtime(), meta.mtime_nsec()));
    let version = Version {
        etag: format!("\"{inode:x}-{length:x}-{:x}-{:x}\"", modified.0, modified.1),
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(modified.0.max(0) as u64),
        length,
    };
    let described = |it: Answer| {
        it.with("Cache-Control", "no-cache")
            .with("ETag", &version.etag)
            .with("Last-Modified", &httpdate::fmt_http_date(version.modified))
            .with("Accept-Ranges", "bytes")
    };
    let (status, from, count, range) = match Wanted::of(head, &version) {
        Wanted::Nothing => return Ok(Found::Whole(described(Answer::empty(304)))),
        Wanted::Impossible => {
            let range = format!("bytes */{length}");
            let answer = Answer::text(416, "Range Not Satisfiable: the file is not that long");
            return Ok(Found::Whole(described(answer.with("Content-Range", &range))));
        }
        Wanted::All => (200, 0, length, None),
        Wanted::Part(from, count) => {
            (206, from, count, Some(format!("bytes {from}-{}/{length}", from + count - 1)))
        }
    };
    file.seek(SeekFrom::Start(from))?;
    let mut pieces = Pieces { file, left: count };
    let whole = count <= CANVAS_PIECE_BYTES || head.method == "HEAD";
    let body = if count <= CANVAS_PIECE_BYTES { pieces.next()? } else { vec![] };
    let answer = described(Answer::new(status, kind, body)).of_length(count);
    let answer = range.iter().fold(answer, |it, range| it.with("Content-Range", range));
    Ok(match whole {
        true => Found::Whole(answer),
        false => Found::Pieces(answer, pieces),
    })
}
