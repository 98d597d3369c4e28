//! `$include`: a configuration in several files, all beneath the folder of the first.
//!
//! A text or a list of texts names files, relative to the file that includes them. Objects merge deeply, arrays are joined, the later wins,
//! and what stands beside `$include` wins over all. No links, no way out of the folder, caps on size, depth and number.
use super::edit::INCLUDE;
use super::{Issue, below, json5};
use crate::base::beneath::Root;
use crate::base::ids;
use crate::base::limits::{CONFIG_BYTES_MAX, INCLUDE_DEPTH_MAX, INCLUDES_MAX};
use serde_json::{Map, Value};
use std::path::{Component, Path, PathBuf};

/// A document with its includes in place.
#[derive(Debug)]
pub struct Merged {
    pub value: Value,
    /// Every file that was named, in order, and the hash of its text; None where that could not be read.
    pub files: Vec<(PathBuf, Option<String>)>,
    pub issues: Vec<Issue>,
}

/// Whether there is anything to follow.
pub fn any(document: &Value) -> bool {
    match document {
        Value::Object(map) => map.iter().any(|(key, it)| key == INCLUDE || any(it)),
        Value::Array(items) => items.iter().any(any),
        _ => false,
    }
}

/// Follows every `$include` of a document whose file is in `dir`.
pub fn follow(document: &Value, dir: &Path) -> Merged {
    let mut work = Work { dir, root: None, files: vec![], bytes: 0, stack: vec![], issues: vec![] };
    let value = work.value(document, Path::new(""), "");
    Merged { value, files: work.files, issues: work.issues }
}

struct Work<'d> {
    dir: &'d Path,
    root: Option<Root>,
    files: Vec<(PathBuf, Option<String>)>,
    bytes: u64,
    /// The files that are being read, relative to `dir`.
    stack: Vec<PathBuf>,
    issues: Vec<Issue>,
}

impl Work<'_> {
    fn value(&mut self, value: &Value, folder: &Path, path: &str) -> Value {
        match value {
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(n, it)| self.value(it, folder, &below(path, &n.to_string()))).collect()
            }
            Value::Object(map) => {
                let mut own = Map::new();
                for (key, it) in map.iter().filter(|(key, _)| *key != INCLUDE) {
                    own.insert(key.clone(), self.value(it, folder, &below(path, key)));
                }
                match map.get(INCLUDE) {
                    None => Value::Object(own),
                    Some(names) => self.included(names, own, folder, path),
                }
            }
            other => other.clone(),
        }
    }
    fn included(&mut self, names: &Value, own: Map<String, Value>, folder: &Path, path: &str) -> Value {
        let names = match names {
            Value::Array(names) => names.as_slice(),
            name => std::slice::from_ref(name),
        };
        let mut merged = None;
        for name in names {
            let read = match name.as_str() {
                Some(name) => {
                    self.file(name, folder, path).map_err(|err| format!("$include {name:?}: {err}"))
                }
                None => Err("$include takes the name of a file, or a list of names".to_owned()),
            };
            match read {
                Ok(value) => merged = Some(merged.map_or(value.clone(), |it| merge(it, value))),
                Err(message) => self.issues.push(Issue::new(&below(path, INCLUDE), message)),
            }
        }
        match merged {
            Some(other) if !other.is_object() && own.is_empty() => other,
            Some(other) if !other.is_object() => {
                let message = "only an object can be included beside other keys".to_owned();
                self.issues.push(Issue::new(&below(path, INCLUDE), message));
                Value::Object(own)
            }
            Some(other) => merge(other, Value::Object(own)),
            None => Value::Object(own),
        }
    }
    fn file(&mut self, name: &str, folder: &Path, path: &str) -> Result<Value, String> {
        let file = self.inside(name, folder).ok_or_else(|| {
            format!("included files are beneath the folder of the configuration, {}", self.dir.display())
        })?;
        if self.stack.contains(&file) {
            return Err("this file includes itself, directly or through others".to_owned());
        }
        if self.stack.len() == INCLUDE_DEPTH_MAX {
            return Err(format!("more than {INCLUDE_DEPTH_MAX} files include each other in a row"));
        }
        if self.files.len() == INCLUDES_MAX {
            return Err(format!("more than {INCLUDES_MAX} inclusions"));
        }
        let text = self.read(&file);
        let hash = text.as_ref().ok().map(|it| ids::sha256_hex(it.as_bytes()));
        self.files.push((self.dir.join(&file), hash));
        let text = text?;
        let document = json5::parse(&text).map_err(|err| err.to_string())?;
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        self.stack.push(file);
        let value = self.value(&document.into_value(), &folder, path);
        self.stack.pop();
        Ok(value)
    }
    /// Relative to the root, without dots; None when it leads out.
    fn inside(&self, name: &str, folder: &Path) -> Option<PathBuf> {
        let name = Path::new(name);
        let name =
            if name.is_absolute() { name.strip_prefix(self.dir).ok()?.to_owned() } else { folder.join(name) };
        let mut clean = PathBuf::new();
        for part in name.components() {
            match part {
                Component::Normal(part) => clean.push(part),
                Component::CurDir => {}
                Component::ParentDir if clean.pop() => {}
                _ => return None,
            }
        }
        Some(clean).filter(|it| it.file_name().is_some())
    }
    fn read(&mut self, file: &Path) -> Result<String, String> {
        if self.root.is_none() {
            self.root = Root::open(self.dir).map_err(|err| err.to_string())?;
        }
        let name = file.to_str().unwrap_or_default();
        let root = self.root.as_ref().ok_or("there is no such folder")?;
        let bytes =
            root.read_sole(name, CONFIG_BYTES_MAX - self.bytes).map_err(|err| match err.raw_os_error() {
                Some(libc::ELOOP | libc::EXDEV) => {
                    "a link, symbolic or hard; included files and their folders must be real ones".to_owned()
                }
                _ => err.to_string(),
            })?;
        let bytes = bytes.ok_or("there is no such file")?;
        self.bytes += bytes.len() as u64;
        String::from_utf8(bytes).map_err(|err| err.to_string())
    }
}

fn merge(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, it) in over {
                let new = match under.get_mut(&key).map(Value::take) {
                    Some(old) => merge(old, it),
                    None => it,
                };
                under.insert(key, new);
            }
            Value::Object(under)
        }
        (Value::Array(mut under), Value::Array(over)) => {
            under.extend(over);
            Value::Array(under)
        }
        (_, over) => over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::write_atomic;
    use serde_json::json;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gatewayd-include-{name}-{}", std::process::id()));
        for (name, text) in files {
            write_atomic(&dir.join(name), text.as_bytes()).unwrap();
        }
        dir
    }
    fn messages(merged: &Merged) -> String {
        merged.issues.iter().map(|it| it.message.as_str()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn files_merge() {
        let files = [
            ("base.json5", "{ gateway: { port: 1, bind: 'lan' }, l: [1], $include: 'sub/more.json5' }"),
            ("sub/more.json5", "{ gateway: { $include: ['./port.json', '../mode.json'] } }"),
            ("sub/port.json", r#"{"port": 3, "auth": {}}"#),
            ("mode.json", r#"{"mode": "local"}"#),
            ("list.json", "[1, 2]"),
        ];
        let dir = folder("merge", &files);
        let document = json!({ "$include": "./base.json5", "l": [2], "gateway": { "bind": "auto" }, "agents": { "$include": dir.join("list.json") } });
        let merged = follow(&document, &dir);
        assert_eq!(messages(&merged), "");
        let gateway = json!({ "port": 1, "auth": {}, "mode": "local", "bind": "auto" });
        assert_eq!(merged.value, json!({ "gateway": gateway, "l": [1, 2], "agents": [1, 2] }));
        assert_eq!(merged.files.len(), 5);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_refused() {
        let files = [
            ("conf/loop.json", r#"{"$include": "loop2.json"}"#),
            ("conf/loop2.json", r#"{"$include": "./loop.json"}"#),
            ("conf/twice.json", r#"{"a": {"$include": "twice1.json"}, "b": {"$include": "twice1.json"}}"#),
            ("conf/bad.json", "{\n x"),
            ("conf/list.json", "[]"),
            ("secret.json", "{}"),
        ];
        let root = folder("refused", &files);
        let dir = root.join("conf");
        for n in 1..9 {
            let text = format!(
                r#"{{"a": {{"$include": "twice{}.json"}}, "b": {{"$include": "twice{0}.json"}}}}"#,
                n + 1
            );
            write_atomic(&dir.join(format!("twice{n}.json")), text.as_bytes()).unwrap();
        }
        write_atomic(&dir.join("twice9.json"), b"{}").unwrap();
        std::os::unix::fs::symlink(root.join("secret.json"), dir.join("link.json")).unwrap();
        std::fs::hard_link(root.join("secret.json"), dir.join("hard.json")).unwrap();
        let cases = [
            (json!({ "$include": "hard.json" }), "a link"),
            (json!({ "$include": "loop.json" }), "includes itself"),
            (json!({ "$include": "../secret.json" }), "beneath the folder"),
            (json!({ "$include": "/etc/hostname" }), "beneath the folder"),
            (json!({ "$include": "link.json" }), "a link"),
            (json!({ "$include": "none.json" }), "no such file"),
            (json!({ "$include": "bad.json" }), "JSON5: invalid end of input at 2:3"),
            (json!({ "$include": 5 }), "the name of a file"),
            (json!({ "$include": "list.json", "a": 1 }), "only an object"),
            (json!({ "$include": "twice.json" }), "more than 100 inclusions"),
            (json!({ "$include": "." }), "beneath the folder"),
        ];
        for (document, want) in cases {
            let merged = follow(&document, &dir);
            assert!(messages(&merged).contains(want), "{document}: {}", messages(&merged));
            assert_eq!(merged.issues[0].path.rsplit('.').next(), Some("$include"));
        }
        std::fs::remove_dir_all(root).unwrap();
    }
}
