//! Where in the tree a request looks: the only reading of a path there is.
//!
//! * The path was percent-decoded once, when its head was read; what was no UTF-8 or held a control character came no further.
//! * What is not plainly below the root is nowhere: there is no error that would tell more.
use crate::base::limits::TOOL_PATH_BYTES_MAX;

/// The page of a folder.
const INDEX: &str = "index.html";

/// A file below a root, by plain names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its path, of names that are neither hidden nor special.
    pub path: String,
    /// Asked for as a folder: `path` is the page in it.
    pub folder: bool,
}

impl Place {
    /// `path`: what follows the tree's own address, with its slash. None when that is no place in a tree: empty, hidden (`.x`)
    /// or special names, a backslash, or more than a path can hold.
    pub fn of(path: &str) -> Option<Place> {
        let path = match path {
            "" => "",
            _ => path.strip_prefix('/')?,
        };
        let folder = path.is_empty() || path.ends_with('/');
        let names = path.strip_suffix('/').unwrap_or(path);
        let plain = |name: &str| !(name.is_empty() || name.starts_with('.') || name.contains(['\\', '\0']));
        if !names.is_empty() && !names.split('/').all(plain)
            || path == "/"
            || path.len() > TOOL_PATH_BYTES_MAX
        {
            return None;
        }
        Some(Place { path: if folder { format!("{path}{INDEX}") } else { path.to_owned() }, folder })
    }
    /// Of the tree itself.
    pub fn is_root(&self) -> bool {
        self.path == INDEX
    }
    /// The page of the folder that this may be.
    pub fn page(&self) -> String {
        format!("{}/{INDEX}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn places() {
        for (path, want) in [
            ("", Some("index.html")),
            ("/", Some("index.html")),
            ("/a1", Some("a1")),
            ("/a/", Some("a/index.html")),
            ("/a/b.css", Some("a/b.css")),
            ("/a b/ü", Some("a b/ü")),
            ("/%2e%2e/x", Some("%2e%2e/x")),
            ("/a..b", Some("a..b")),
            ("//", None),
            ("/a//b", None),
            ("//a", None),
            ("/.", None),
            ("/..", None),
            ("/a/../b", None),
            ("/a/./b", None),
            ("/.git/config", None),
            ("/a/.env", None),
            ("/a\\b", None),
            ("/..\\x", None),
            ("/a\0b", None),
            ("x", None),
        ] {
            assert_eq!(Place::of(path).map(|it| it.path), want.map(str::to_owned), "{path:?}");
        }
        assert_eq!(Place::of(&format!("/{}", "a/".repeat(4096))), None);
        assert!(Place::of("/").is_some_and(|it| it.is_root() && it.folder));
        assert!(Place::of("/index.html").is_some_and(|it| it.is_root() && !it.folder));
    }
}
