//! The sources themselves: layers, charters, sizes, and nothing forgotten.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the bottom up. Modules of one line may not name each other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["protocol"],
    &["config", "store", "conn", "service", "wire"],
    &["agent", "channels"],
    &["gateway"],
    &["http"],
    &["server"],
    &["cli"],
];
/// What stands at the top of the repository, besides dot-files.
const TOP: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "scripts",
    "src",
    "target",
    "tests",
    "vendor-schemas",
];
const FILE_LINES_MAX: usize = 1000;
const FUNCTION_LINES_MAX: usize = 100;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &str, extension: &str) -> Vec<(String, String)> {
    let (mut todo, mut found) = (vec![root().join(dir)], vec![]);
    while let Some(dir) = todo.pop() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|it| it == extension) {
                let short = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((short, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Complains about everything at once.
fn none(what: &str, list: Vec<String>) {
    assert!(list.is_empty(), "{what}:\n  {}", list.join("\n  "));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|it| it.contains(&module))
}

/// Every module named behind `crate::`, also in `use crate::{a, b::c}`.
fn named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && c.is_alphabetic() => {
                    found.insert(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn modules_name_only_lower_layers() {
    let mut wrong = vec![];
    for (file, text) in files("src", "rs") {
        let module = file
            .trim_start_matches("src/")
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
            .to_owned();
        let Some(own) = layer(&module) else {
            if !matches!(module.as_str(), "lib" | "main") {
                wrong.push(format!("{file}: the module {module} has no layer"));
            }
            continue;
        };
        let above =
            named(&text).into_iter().filter(|it| *it != module && layer(it).is_some_and(|it| it >= own));
        wrong.extend(above.map(|it| format!("{file} names {it}")));
    }
    none("upward or sideways", wrong);
    assert!(named("use crate::{a::{b, c}, d};").into_iter().eq(["a", "d"]), "groups are read");
}

#[test]
fn files_have_a_charter_and_a_size() {
    let mut wrong = vec![];
    for (file, text) in [files("src", "rs"), files("tests", "rs")].concat() {
        if !text.starts_with("//!") {
            wrong.push(format!("{file}: no //! charter"));
        }
        if text.lines().count() > FILE_LINES_MAX {
            wrong.push(format!("{file}: over {FILE_LINES_MAX} lines"));
        }
        wrong.extend(long_functions(&text).map(|(name, lines)| format!("{file}: {name} has {lines} lines")));
    }
    none("untidy", wrong);
}

/// By indentation: rustfmt closes a function at the column where it opened it.
fn long_functions(text: &str) -> impl Iterator<Item = (String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = vec![];
    for (at, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        if !(bare.starts_with("fn ") || bare.contains(" fn ") && bare.starts_with("pub")) {
            continue;
        }
        let close = format!("{}}}", " ".repeat(line.len() - bare.len()));
        let length = lines[at..].iter().position(|it| *it == close).unwrap_or(0);
        if length > FUNCTION_LINES_MAX {
            found.push((bare.to_owned(), length));
        }
    }
    found.into_iter()
}

#[test]
fn every_method_has_a_transcript() {
    let mut names = BTreeSet::new();
    for (_, text) in files("src/gateway/methods", "rs") {
        for (at, _) in text.match_indices("const NAME: &'static str = \"") {
            names.insert(text[at..].split('"').nth(1).unwrap().to_owned());
        }
    }
    assert!(names.len() >= 27, "{names:?}");
    let have: BTreeSet<String> = (std::fs::read_dir(root().join("tests/data/transcripts")).unwrap())
        .map(|it| it.unwrap().file_name().to_string_lossy().trim_end_matches(".txt").to_owned())
        .collect();
    let lost: Vec<_> = names.symmetric_difference(&have).cloned().collect();
    none("a method without a transcript, or the other way round", lost);
}

#[test]
fn every_limit_is_used() {
    let limits = std::fs::read_to_string(root().join("src/base/limits.rs")).unwrap();
    let sources: String =
        files("src", "rs").into_iter().filter(|it| it.0 != "src/base/limits.rs").map(|it| it.1).collect();
    let names =
        limits.lines().filter_map(|it| it.strip_prefix("pub const ")).filter_map(|it| it.split(':').next());
    let used_inside = |name: &str| limits.matches(name).count() > 1;
    let unused = names.filter(|it| !sources.contains(it) && !used_inside(it)).map(str::to_owned).collect();
    none("a limit that nothing uses", unused);
}

#[test]
fn every_route_is_in_the_http_table() {
    let (http, table) =
        (files("src/http", "rs"), std::fs::read_to_string(root().join("tests/data/http1.jsonl")).unwrap());
    let text: String = http.into_iter().map(|it| it.1).collect();
    let routes: BTreeSet<&str> = text
        .split('"')
        .filter(|it| it.starts_with('/') && it.bytes().skip(1).all(|b| b.is_ascii_lowercase()))
        .collect();
    assert!(routes.len() >= 6, "{routes:?}");
    let lost =
        routes.into_iter().filter(|it| !table.contains(&format!("{it} HTTP"))).map(str::to_owned).collect();
    none("a route without a case", lost);
}

#[test]
fn the_top_level_is_fixed() {
    let extra = (std::fs::read_dir(root()).unwrap())
        .map(|it| it.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|it| !it.starts_with('.') && !TOP.contains(&it.as_str()))
        .collect();
    none("does not belong at the top", extra);
}

#[test]
fn no_async_runtime() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let banned = ["tokio", "async-std", "smol", "async-executor", "hyper", "futures-executor"];
    let found =
        banned.iter().filter(|it| lock.contains(&format!("name = \"{it}\""))).map(|it| (*it).to_owned());
    none("an async runtime", found.collect());
}
