//! Files that only grow, one JSON value a line: what `append` acknowledged is on disk, whatever happens next.
//!
//! A crash may leave half a line at the end. Opening moves it aside (`<name>.torn-<ms>`), never away; a value that only
//! lacks its line break gets it. A failed append leaves the file as it was, and the next one works once the disk does.
//! Reading goes from the end and holds one line at a time.
use crate::base::limits::{LINE_BYTES_MAX, TRANSCRIPT_BYTES_MAX};
use crate::base::{fault, files};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What opening found wrong and put right; worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// The last value had no line break behind it.
    Ended,
    /// Half a line was moved to a file of its own.
    Torn { kept: PathBuf, bytes: u64 },
}

/// An open file of lines.
pub struct Lines {
    path: PathBuf,
    file: File,
    /// Bytes acknowledged.
    len: u64,
    /// Whether a failed append may have left bytes behind `len`.
    spoiled: bool,
    /// What is appended must outlive a power failure.
    pub synced: bool,
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Option<File>> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let file = match options.read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) if err.raw_os_error() == Some(libc::ELOOP) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a link; remove it or put the file itself there",
            ));
        }
        Err(err) => return Err(err),
    };
    match file.metadata()?.is_file() {
        true => Ok(Some(file)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

impl Lines {
    /// Opens for appending and repairs the end; makes the file (0600) and its folder (0700) when there is none.
    ///
    /// # Errors
    /// A folder, link or device, or what the system says.
    pub fn open(path: &Path, unix_ms: i64) -> io::Result<(Lines, Option<Repair>)> {
        Lines::open_as(path, unix_ms, true)
    }
    /// As [`Lines::open`]; `synced` says whether what is appended must outlive a power failure.
    ///
    /// # Errors
    /// As [`Lines::open`].
    pub fn open_as(path: &Path, unix_ms: i64, synced: bool) -> io::Result<(Lines, Option<Repair>)> {
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let file = match open(path, OpenOptions::new().append(true))? {
            Some(file) => file,
            None => {
                files::make_dir(dir)?;
                fault::step()?;
                let made = open(path, OpenOptions::new().append(true).create(true).mode(0o600))?;
                if synced {
                    files::sync_dir(dir)?;
                }
                made.ok_or(io::ErrorKind::NotFound)?
            }
        };
        let len = file.metadata()?.len();
        let mut lines = Lines { path: path.to_owned(), file, len, spoiled: false, synced };
        let repair = lines.mend(unix_ms)?;
        Ok((lines, repair))
    }
    fn mend(&mut self, unix_ms: i64) -> io::Result<Option<Repair>> {
        let mut last = [0];
        if self.len == 0 || self.file.read_at(&mut last, self.len - 1)? == 1 && last == *b"\n" {
            return Ok(None);
        }
        let (start, tail) = last_line(&self.file, self.len)?;
        if tail
            .as_deref()
            .is_some_and(|it| serde_json::from_slice::<Value>(it).is_ok_and(|it| it.is_object()))
        {
            self.append(b"", true)?;
            return Ok(Some(Repair::Ended));
        }
        let kept =
            files::set_aside(&self.path, "torn", unix_ms, &mut FileTail { file: &self.file, at: start })?;
        let bytes = self.len - start;
        self.len = start;
        self.cut()?;
        Ok(Some(Repair::Torn { kept, bytes }))
    }
    /// Drops everything behind what is acknowledged, durably.
    fn cut(&mut self) -> io::Result<()> {
        fault::step()?;
        self.file.set_len(self.len)?;
        fault::step()?;
        self.file.sync_data()?;
        self.spoiled = false;
        Ok(())
    }
    /// Bytes in the file. Somebody else may have written behind them: see [`Lines::is_current`].
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Whether the path still names this file and nobody else has written to it.
    pub fn is_current(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (Ok(open), Ok(named)) = (self.file.metadata(), std::fs::symlink_metadata(&self.path)) else {
            return false;
        };
        (open.dev(), open.ino()) == (named.dev(), named.ino()) && (self.spoiled || open.len() == self.len)
    }
    /// These in place of all that is there, in one step.
    ///
    /// # Errors
    /// As [`files::write_atomic`]; the old lines are there still.
    pub fn rewrite(&mut self, lines: impl Iterator<Item = Vec<u8>>, unix_ms: i64) -> io::Result<()> {
        let mut bytes = vec![];
        for line in lines {
            bytes.extend(line);
            bytes.push(b'\n');
        }
        files::write_atomic(&self.path, &bytes)?;
        *self = Lines::open_as(&self.path.clone(), unix_ms, self.synced)?.0;
        Ok(())
    }
    /// Appends whole lines, each without its line break, in one write and one fsync. They are durable when this returns, unless
    /// it was opened for less.
    ///
    /// # Errors
    /// A line over [`LINE_BYTES_MAX`], a file over [`TRANSCRIPT_BYTES_MAX`], or what the system says; nothing is then appended.
    pub fn append_all(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        self.append_checked(lines, self.synced)
    }
    /// As [`Lines::append_all`], but a power failure may take them away again: for what can be found out once more.
    ///
    /// # Errors
    /// As [`Lines::append_all`].
    pub fn append_unsynced(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        self.append_checked(lines, false)
    }
    fn append_checked(&mut self, lines: &[Vec<u8>], sync: bool) -> io::Result<()> {
        if let Some(it) = lines.iter().find(|it| it.len() > LINE_BYTES_MAX) {
            let text = format!("an entry of {} bytes, more than the {LINE_BYTES_MAX} allowed", it.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.append(&lines.join(&b'\n'), sync)
    }
    fn append(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        let bytes = [bytes, b"\n"].concat();
        if self.len + bytes.len() as u64 > TRANSCRIPT_BYTES_MAX {
            let text = format!(
                "{} would pass {TRANSCRIPT_BYTES_MAX} bytes: reset or compact the session",
                self.path.display()
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        if self.spoiled {
            self.cut()?;
        }
        let written = self.write(&bytes, sync);
        match written {
            Ok(()) => self.len += bytes.len() as u64,
            Err(_) => {
                self.spoiled = true;
                // Best effort: the error that matters is already in hand, and the next append cuts again.
                let _ = self.cut();
            }
        }
        written
    }
    fn write(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        if let Err(err) = fault::step() {
            // What a full disk does: part of it arrives.
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(err);
        }
        self.file.write_all(bytes)?;
        if !sync {
            return Ok(());
        }
        fault::step()?;
        self.file.sync_data()
    }
    /// The lines, newest first.
    ///
    /// # Errors
    /// What the system says.
    pub fn back(&self) -> io::Result<Back> {
        Ok(Back::new(self.file.try_clone()?, self.len))
    }
}

/// The bytes of a file from a place to its end.
struct FileTail<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for FileTail<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Where the bytes behind the last line break start, and those bytes unless they are too many to be one of our lines.
fn last_line(file: &File, len: u64) -> io::Result<(u64, Option<Vec<u8>>)> {
    let (mut at, mut chunk) = (len, vec![0; STEP_BYTES]);
    let start = loop {
        let bytes = (STEP_BYTES as u64).min(at) as usize;
        at -= bytes as u64;
        file.read_exact_at(&mut chunk[..bytes], at)?;
        match chunk[..bytes].iter().rposition(|it| *it == b'\n') {
            Some(found) => break at + found as u64 + 1,
            None if at == 0 => break 0,
            None => {}
        }
    };
    if len - start > LINE_BYTES_MAX as u64 {
        return Ok((start, None));
    }
    let mut line = vec![0; (len - start) as usize];
    file.read_exact_at(&mut line, start)?;
    Ok((start, Some(line)))
}

/// The first line of a file, at most 64 KiB of it; None when there is no file.
///
/// # Errors
/// A folder, link or device, or what the system says.
pub fn first_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(mut bytes) = head(path)? else { return Ok(None) };
    bytes.truncate(bytes.iter().position(|it| *it == b'\n').unwrap_or(bytes.len()));
    Ok(Some(bytes))
}

/// The first 64 KiB of a file; None when there is none.
///
/// # Errors
/// A folder, link or device, or what the system says.
pub fn head(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path, &mut OpenOptions::new())? else { return Ok(None) };
    let mut bytes = vec![];
    io::Read::read_to_end(&mut io::Read::take(file, STEP_BYTES as u64), &mut bytes)?;
    Ok(Some(bytes))
}

/// The lines of a file from the end to the start, without their line breaks. Empty lines and lines over
/// [`LINE_BYTES_MAX`] are passed over.
pub struct Back {
    file: File,
    /// Where `held` starts in the file.
    at: u64,
    /// Bytes read and not given out yet.
    held: Vec<u8>,
}

/// Bytes of the first step back; a long line doubles it.
const STEP_BYTES: usize = 64 * 1024;

impl Back {
    fn new(file: File, len: u64) -> Back {
        Back { file, at: len, held: vec![] }
    }
    /// The lines of a file that is only read; None when there is none.
    ///
    /// # Errors
    /// A folder, link or device, or what the system says.
    pub fn open(path: &Path) -> io::Result<Option<Back>> {
        let Some(file) = open(path, &mut OpenOptions::new())? else { return Ok(None) };
        let len = file.metadata()?.len();
        Ok(Some(Back::new(file, len)))
    }
    fn step(&mut self) -> io::Result<()> {
        let bytes = (self.held.len().max(STEP_BYTES) as u64).min(self.at) as usize;
        let mut chunk = vec![0; bytes];
        self.file.read_exact_at(&mut chunk, self.at - bytes as u64)?;
        self.at -= bytes as u64;
        chunk.append(&mut self.held);
        self.held = chunk;
        Ok(())
    }
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut too_long = false;
        loop {
            let found = self.held.iter().rposition(|it| *it == b'\n');
            if found.is_none() && self.at > 0 {
                if self.held.len() > LINE_BYTES_MAX {
                    too_long = true;
                    self.held.clear();
                }
                self.step()?;
                continue;
            }
            if found.is_none() && self.held.is_empty() && !too_long {
                return Ok(None);
            }
            let start = found.map_or(0, |it| it + 1);
            let line = self.held.split_off(start);
            self.held.pop();
            if !too_long && !line.is_empty() && line.len() <= LINE_BYTES_MAX {
                return Ok(Some(line));
            }
            too_long = false;
            if self.at == 0 && found.is_none() {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Back {
    type Item = io::Result<Vec<u8>>;
    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}
