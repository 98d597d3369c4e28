//! Files of somebody else (an agent's workspace): reached only beneath a root, never through a link, regular files only.
use super::{files, sys};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open folder that names are resolved beneath.
pub struct Root(File);

impl Root {
    /// `Ok(None)` when there is no such folder.
    ///
    /// # Errors
    /// When it is no folder, or what the system says.
    pub fn open(dir: &Path) -> io::Result<Option<Root>> {
        match fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC).open(dir) {
            Ok(file) => Ok(Some(Root(file))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }
    /// A folder beneath, by a path of plain names; empty is this one. With `make` the missing ones are made (0700, durably).
    ///
    /// # Errors
    /// A link or a file on the way, or what the system says; NotFound only without `make`.
    pub fn folder(&self, path: &str, make: bool) -> io::Result<Root> {
        let mut at = Root(self.0.try_clone()?);
        for name in path.split('/').filter(|it| !it.is_empty()) {
            let open =
                |at: &Root| sys::open_beneath(&at.0, name, libc::O_RDONLY | libc::O_DIRECTORY, 0).map(Root);
            at = match open(&at) {
                Err(err) if make && err.kind() == io::ErrorKind::NotFound => {
                    // Somebody else may have made it meanwhile.
                    let _ = sys::make_dir_in(&at.0, name, 0o700);
                    at.0.sync_all()?;
                    open(&at)?
                }
                opened => opened?,
            };
        }
        Ok(at)
    }
    /// Size and modification time (milliseconds since 1970) of a regular file; None when there is none.
    ///
    /// # Errors
    /// A link, a folder, a device, or what the system says.
    pub fn stat(&self, name: &str) -> io::Result<Option<(u64, i64)>> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let meta = file.metadata()?;
        let modified = meta.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Some((meta.len(), modified.as_millis() as i64)))
    }
    /// The whole file, at most `bytes_max`.
    ///
    /// # Errors
    /// As [`Root::stat`], and when it is larger.
    pub fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.open_file(name)?.map(|file| files::read_open(file, bytes_max)).transpose()
    }
    /// As [`Root::read`], of a file that has no other name: a second one may be out of the folder.
    ///
    /// # Errors
    /// As [`Root::read`]; ELOOP for a file of several names, as for a link.
    pub fn read_sole(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.open_sole(name)?.map(|file| files::read_open(file, bytes_max)).transpose()
    }
    /// As [`Root::open_file`], of a file that has no other name.
    ///
    /// # Errors
    /// As [`Root::read_sole`].
    pub fn open_sole(&self, name: &str) -> io::Result<Option<File>> {
        use std::os::unix::fs::MetadataExt;
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        match file.metadata()?.nlink() {
            0 | 1 => Ok(Some(file)),
            _ => Err(io::Error::from_raw_os_error(libc::ELOOP)),
        }
    }
    /// Replaces or makes the file durably (temp, fsync, rename, fsync of the folder). `name` is one path segment. A file keeps the
    /// permissions it had; a new one is the owner's alone.
    ///
    /// # Errors
    /// When something other than a regular file has that name, or what the system says.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if name.contains('/') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mode = self.open_file(name)?.map(|it| it.metadata()).transpose()?.map(|it| it.permissions());
        let temp = format!(".gatewayd-{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let result = (|| {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
            let mut file = sys::open_beneath(&self.0, &temp, flags, 0o600)?;
            file.write_all(bytes)?;
            if let Some(mode) = mode {
                file.set_permissions(mode)?;
            }
            file.sync_all()?;
            sys::rename_in(&self.0, &temp, name)?;
            self.0.sync_all()
        })();
        if result.is_err() {
            // Best effort: the error that matters is already in hand.
            let _ = sys::remove_in(&self.0, &temp);
        }
        result
    }
    /// The file, open for reading; None when there is none.
    ///
    /// # Errors
    /// As [`Root::stat`].
    pub fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        let file = match sys::open_beneath(&self.0, name, libc::O_RDONLY, 0) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        match file.metadata()?.is_file() {
            true => Ok(Some(file)),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    #[test]
    fn nothing_outside_is_reached() {
        let dir = std::env::temp_dir().join(format!("gatewayd-beneath-{}", std::process::id()));
        fs::create_dir_all(dir.join("ws/sub")).unwrap();
        files::write_atomic(&dir.join("secret"), b"no").unwrap();
        std::os::unix::fs::symlink(dir.join("secret"), dir.join("ws/link")).unwrap();
        let root = Root::open(&dir.join("ws")).unwrap().unwrap();
        root.write("a.md", b"hello").unwrap();
        assert_eq!(root.read("a.md", 10).unwrap().as_deref(), Some(&b"hello"[..]));
        assert_eq!(root.stat("a.md").unwrap().unwrap().0, 5);
        assert!(root.read("link", 10).is_err());
        assert!(root.write("link", b"x").is_err());
        assert!(root.read("../secret", 10).is_err());
        assert!(root.read("sub", 10).is_err());
        assert_eq!(root.read("none", 10).unwrap(), None);
        let deep = root.folder("x/y", true).unwrap();
        deep.write("run", b"1").unwrap();
        fs::set_permissions(dir.join("ws/x/y/run"), fs::Permissions::from_mode(0o750)).unwrap();
        deep.write("run", b"22").unwrap();
        assert_eq!(fs::metadata(dir.join("ws/x/y/run")).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(files::names(&dir.join("ws/x/y")), ["run"], "nothing is left behind");
        assert_eq!(root.folder("nope", false).err().map(|it| it.kind()), Some(io::ErrorKind::NotFound));
        for path in ["link", "a.md/b", "..", "x/../../ws"] {
            assert!(root.folder(path, true).is_err(), "{path}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
