//! Where a path that a model wrote leads: a name in a folder beneath the workspace, or anywhere when `tools.fs.workspaceOnly` is false.
//!
//! No link is followed inside the workspace, so that `..` can be resolved by its words alone.
use super::Place;
use crate::base::beneath::Root;
use crate::base::files;
use crate::base::limits::TOOL_PATH_BYTES_MAX;
use crate::config::paths::expand_home;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

pub(super) struct Target<'a> {
    /// As it was written.
    path: &'a str,
    root: Root,
    /// Of the folder, beneath the root.
    folder: String,
    name: String,
}

/// # Errors
/// What to tell the model.
pub(super) fn target<'a>(path: &'a str, place: &Place) -> Result<Target<'a>, String> {
    if path.trim().is_empty() || path.contains('\0') {
        return Err("path must name a file".to_owned());
    }
    if path.len() > TOOL_PATH_BYTES_MAX {
        return Err(format!("path is longer than {TOOL_PATH_BYTES_MAX} bytes"));
    }
    let workspace = &place.workspace;
    files::make_dir(workspace).map_err(|err| format!("the workspace {}: {err}", workspace.display()))?;
    let written = expand_home(path, &place.env.home());
    let (root, names) = if place.config.workspace_only {
        let outside = || format!("{path} is outside the workspace {}", workspace.display());
        let beneath = match written.is_absolute() {
            true => written.strip_prefix(workspace).map_err(|_| outside())?,
            false => &written,
        };
        (workspace.as_path(), plain(beneath).ok_or_else(outside)?)
    } else {
        let real = real(&workspace.join(&written)).map_err(|err| why(path, &err))?;
        let names = plain(real.strip_prefix("/").unwrap_or(&real)).ok_or("path must name a file")?;
        (Path::new("/"), names)
    };
    let Some((name, folder)) = names.split_last() else { return Err(not_a_file(path)) };
    let opened = Root::open(root).and_then(|it| it.ok_or_else(|| ErrorKind::NotFound.into()));
    let root = opened.map_err(|err| format!("the workspace {}: {err}", workspace.display()))?;
    Ok(Target { path, root, folder: folder.join("/"), name: name.clone() })
}

impl Target<'_> {
    /// # Errors
    /// What to tell the model: also that there is no such file.
    pub fn open(&self) -> Result<File, String> {
        let file = self.root.folder(&self.folder, false).and_then(|it| it.open_file(&self.name));
        file.and_then(|it| it.ok_or_else(|| ErrorKind::NotFound.into())).map_err(|err| why(self.path, &err))
    }
    /// # Errors
    /// What to tell the model, also that the file is larger than `bytes_max`.
    pub fn read(&self, bytes_max: u64) -> Result<Vec<u8>, String> {
        files::read_open(self.open()?, bytes_max).map_err(|err| why(self.path, &err))
    }
    /// Makes the folders on the way.
    ///
    /// # Errors
    /// What to tell the model; the old file is then still whole.
    pub fn write(&self, bytes: &[u8]) -> Result<(), String> {
        let folder = self.root.folder(&self.folder, true);
        folder.and_then(|it| it.write(&self.name, bytes)).map_err(|err| why(self.path, &err))
    }
}

/// The names of a relative path, `.` and `..` resolved; None when it leaves where it began.
fn plain(path: &Path) -> Option<Vec<String>> {
    let mut names = vec![];
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.to_str()?.to_owned()),
            Component::CurDir => {}
            Component::ParentDir => drop(names.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(names)
}

/// Without links, as far as the path exists.
fn real(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Err(err) };
            Ok(real(above)?.join(name))
        }
        found => found,
    }
}

fn not_a_file(path: &str) -> String {
    format!("{path} is not a regular file but a folder, a device, a socket or a pipe")
}

/// What the system's refusal means for somebody who wrote that path.
fn why(path: &str, err: &io::Error) -> String {
    match err.raw_os_error() {
        Some(libc::ELOOP) => format!("{path} is a link or leads through one: name the file it stands for"),
        Some(libc::EXDEV) => format!("{path} is outside the workspace"),
        Some(libc::ENXIO) => not_a_file(path),
        _ => match err.kind() {
            ErrorKind::NotFound => format!("there is no file {path}"),
            ErrorKind::NotADirectory => {
                format!("{path} leads through something that is no folder, or through a link")
            }
            ErrorKind::InvalidInput => not_a_file(path),
            _ => format!("{path}: {err}"),
        },
    }
}
