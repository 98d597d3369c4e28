//! Files of our own: read with a cap, written so that a crash leaves the old or the new one, never half.
//!
//! Only jobs and the start call this; the net and core threads never touch a file.
use super::fault;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The whole of a regular file of at most `bytes_max`; `Ok(None)` when there is none.
///
/// # Errors
/// A folder, FIFO or device, a file over the cap, or what the system says.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let mut options = fs::OpenOptions::new();
    let file = match options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    read_open(file, bytes_max).map(Some)
}

/// As [`read`], of a file already open.
///
/// # Errors
/// As [`read`].
pub fn read_open(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.len() > bytes_max {
        let text = format!("{} bytes, more than the {bytes_max} allowed", meta.len());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As [`read`], as UTF-8 text.
///
/// # Errors
/// As [`read`], and InvalidData for other bytes.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<Option<String>> {
    let Some(bytes) = read(path, bytes_max)? else { return Ok(None) };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err.utf8_error()))
}

/// A file of /proc, which has no size; at most 1 MiB of it.
///
/// # Errors
/// What the system says.
#[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
pub fn read_proc(path: &Path) -> io::Result<String> {
    let mut bytes = vec![];
    File::open(path)?.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names in a folder, sorted; empty when there is no such folder.
pub fn names(dir: &Path) -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|it| it.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Writes `bytes` durably: temp file (0600), fsync, rename, fsync of the folder. Missing folders are made (0700).
///
/// # Errors
/// What the system says; the old file is then still whole.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_dir(dir)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temp = dir.join(format!(".{name}.{}.tmp", std::process::id()));
    let result = (|| {
        let mut options = fs::OpenOptions::new();
        fault::step()?;
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        fault::step()?;
        file.write_all(bytes)?;
        fault::step()?;
        file.sync_all()?;
        rename(&temp, path)
    })();
    if result.is_err() {
        // Best effort: the error that matters is already in hand.
        let _ = fs::remove_file(&temp);
    }
    result
}

/// A new file (0600) to write to; one that is there already is an error.
///
/// # Errors
/// What the system says.
pub fn create_new(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Renames within a folder, durably.
///
/// # Errors
/// What the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::step()?;
    fs::rename(from, to)?;
    sync_dir(to.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Gives a file a second name in the same folder, durably.
///
/// # Errors
/// What the system says.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    fault::step()?;
    fs::hard_link(from, to)?;
    sync_dir(to.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Broken copies of one file that are kept; the oldest goes first. Reliability plan R10.
const ASIDE_MAX: usize = 5;

/// Keeps bytes that could not be used beside the file they come from, as `<name>.<why>-<ms>` (0600, durable), for a person to
/// look at. The newest five stay.
///
/// # Errors
/// What the system says.
pub fn set_aside(path: &Path, why: &str, unix_ms: i64, from: &mut impl Read) -> io::Result<PathBuf> {
    let kept = aside(path, why, unix_ms)?;
    fault::step()?;
    let mut file = create_new(&kept)?;
    fault::step()?;
    io::copy(from, &mut file)?;
    fault::step()?;
    file.sync_all()?;
    sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    forget_oldest(path, why);
    Ok(kept)
}

/// As [`set_aside`], of a whole regular file, however large. It stays where it is as well.
///
/// # Errors
/// What the system says.
pub fn keep_aside(path: &Path, why: &str, unix_ms: i64) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let kept = aside(path, why, unix_ms)?;
    fault::step()?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    link(path, &kept)?;
    forget_oldest(path, why);
    Ok(kept)
}

/// `<name>.<why>-<ms>` beside the file; nothing has that name yet.
fn aside(path: &Path, why: &str, unix_ms: i64) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let numbered = |n: u32| match n {
        0 => path.with_file_name(format!("{name}.{why}-{unix_ms:013}")),
        n => path.with_file_name(format!("{name}.{why}-{unix_ms:013}-{n}")),
    };
    let free = (0..1000).map(numbered).find(|it| !it.exists());
    free.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

fn forget_oldest(path: &Path, why: &str) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return };
    let prefix = format!("{}.{why}-", name.to_string_lossy());
    let all: Vec<String> = names(dir).into_iter().filter(|it| it.starts_with(&prefix)).collect();
    for name in &all[..all.len().saturating_sub(ASIDE_MAX)] {
        // Best effort: one copy too many harms nobody.
        let _ = fs::remove_file(dir.join(name));
    }
}

/// When a file was last written, in milliseconds since 1970; 0 when that cannot be said.
pub fn modified_ms(path: &Path) -> i64 {
    let at = fs::metadata(path).and_then(|it| it.modified()).ok();
    at.and_then(|it| it.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |it| it.as_millis() as i64)
}

/// A folder and its parents, each 0700 when new.
///
/// # Errors
/// What the system says.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// # Errors
/// What the system says.
#[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fault::step()?;
    File::open(dir)?.sync_all()
}

/// # Errors
/// As unlink(2).
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// `~` and `~/…` by the given home.
pub fn expand_home(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn writes_replace_and_keep_modes() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("gatewayd-files-{}", std::process::id()));
        let path = dir.join("a/b.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read_text(&path, 10).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&dir.join("a")), ["b.json"]);
        assert!(read(&path, 2).is_err(), "over the cap");
        assert!(read(&dir, 10).is_err(), "a folder");
        assert_eq!(read(&dir.join("none"), 10).unwrap(), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
