//! Every key that a configuration may hold, and a walk over a document that names all that is wrong with it.
//!
//! The table is text, sorted, searched where it stands: path (`[]` for any item, `*` for any name), class, types, limits. The class says
//! what a change asks for, in the words of [`CLASSES`]; a line without one does not compile. A type is a kind of value, `[kind]` for an
//! array of it, a word for itself, or `=path` for whatever stands at that path. From the schemas of the reference and of its newest
//! release; what a plugin accepts below its section is its own business.
use super::change::{CLASSES, Rule};
use super::edit::INCLUDE;
use super::merge::{POISON, is_secret};
use super::{Issue, Severity, below};
use crate::base::limits::ISSUES_MAX;
use serde_json::Value;
use std::collections::HashMap;
use std::rc::Rc;

static TABLE: &str = include_str!("keys.txt");

const _: () = assert!(
    every_line_has_a_class(include_bytes!("keys.txt")),
    "a line of keys.txt has no class: path, TAB, class (a word of change::CLASSES), TAB, types"
);

const fn every_line_has_a_class(table: &[u8]) -> bool {
    let mut at = 0;
    while at < table.len() {
        while at < table.len() && table[at] != b'\t' {
            if table[at] == b'\n' {
                return false;
            }
            at += 1;
        }
        at += 1;
        let mut n = 0;
        while n < CLASSES.len() && !stands_at(table, at, CLASSES[n].0.as_bytes()) {
            n += 1;
        }
        if n == CLASSES.len() {
            return false;
        }
        while at < table.len() && table[at] != b'\n' {
            at += 1;
        }
        at += 1;
    }
    true
}

/// The word, and a tab behind it.
const fn stands_at(text: &[u8], at: usize, word: &[u8]) -> bool {
    let mut n = 0;
    while n < word.len() && at + n < text.len() && text[at + n] == word[n] {
        n += 1;
    }
    n == word.len() && at + n < text.len() && text[at + n] == b'\t'
}

/// What is wrong with a resolved document, in its order: at most [`ISSUES_MAX`] of each severity, places in the text not known here.
pub fn check(document: &Value) -> Vec<Issue> {
    let mut walk = Walk { issues: vec![], path: vec![], seen: HashMap::new() };
    walk.visit(document, &Place::of(String::new()));
    walk.issues
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub path: &'static str,
    pub rule: Rule,
    pub types: &'static str,
    pub limits: &'static str,
}

impl Line {
    fn parse(text: &'static str) -> Option<Line> {
        let (path, rest) = text.split_once('\t')?;
        let (class, rest) = rest.split_once('\t')?;
        let (types, limits) = rest.split_once('\t').unwrap_or((rest, ""));
        let rule = CLASSES.iter().find(|it| it.0 == class)?.1;
        Some(Line { path, rule, types, limits })
    }
}

pub(super) fn lines() -> impl Iterator<Item = Line> {
    TABLE.lines().filter_map(Line::parse)
}

/// What may stand at a path of names, items by number: types and limits in the words of the table; None for a key that nobody knows.
pub fn describe(path: &[String]) -> Option<(String, &'static str)> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match Found::at(&path)? {
        Found::Inside(_) => Some(("any".to_owned(), "")),
        Found::Item(place) => Some((place.types.replace(['[', ']'], ""), "")),
        Found::Place(place) => {
            let mut types = vec![place.types];
            types.extend(place.has_members.then_some("object"));
            types.extend(place.has_items.then_some("array"));
            types.retain(|it| !it.is_empty());
            types.dedup();
            Some((types.join("|"), place.limits))
        }
    }
}

/// What a change at a path of names asks for; None for a key that nobody knows. A section asks for the most that anything in it does.
pub(super) fn rule(path: &[&str]) -> Option<Rule> {
    let (Found::Inside(place) | Found::Item(place) | Found::Place(place)) = Found::at(path)?;
    place.rule.or_else(|| {
        let section = if path.is_empty() { String::new() } else { format!("{}.", place.pattern) };
        let below = |prefix: String| {
            from(&prefix).lines().take_while(move |it| it.starts_with(&prefix)).filter_map(Line::parse)
        };
        below(section).chain(below(format!("{}[]", place.pattern))).map(|it| it.rule).max()
    })
}

/// Where a path of names leads in the table.
enum Found {
    Place(Place),
    /// Below a place that takes anything.
    Inside(Place),
    /// An item of a place whose type is an array of plain values.
    Item(Place),
}

impl Found {
    fn at(path: &[&str]) -> Option<Found> {
        let mut place = Place::of(String::new());
        for (n, name) in path.iter().enumerate() {
            let is = |kind: &str| place.types.split('|').any(|it| it == kind);
            if is("any") || (is("object") && !place.has_members) {
                return Some(Found::Inside(place));
            }
            let item = name.parse::<usize>().is_ok();
            if !place.has_items && place.types.starts_with('[') && n + 1 == path.len() && item {
                return Some(Found::Item(place));
            }
            let plain = !name.is_empty() && !name.contains(['.', '[', '*', '\t', '\n']);
            let candidates = [
                (item && place.has_items).then(|| format!("{}[]", place.pattern)),
                plain.then(|| below(&place.pattern, name)),
                Some(below(&place.pattern, "*")),
            ];
            let next = candidates.into_iter().flatten().map(Place::of).find(Place::is_known)?;
            // What stands for another place keeps the class of its own line.
            let rule = if place.alias { place.rule } else { next.rule };
            place = Place { rule, alias: place.alias | next.alias, ..next };
        }
        Some(Found::Place(place))
    }
}

/// The lines from the first that is not below `text`.
fn from(text: &str) -> &'static str {
    let (mut low, mut high) = (0, TABLE.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = TABLE[..middle].rfind('\n').map_or(0, |it| it + 1);
        let end = TABLE[middle..].find('\n').map_or(TABLE.len(), |it| middle + it);
        if TABLE[start..end] < *text {
            low = end + 1;
        } else {
            high = start;
        }
    }
    &TABLE[low.min(TABLE.len())..]
}

fn starts(prefix: &str) -> bool {
    from(prefix).starts_with(prefix)
}

/// The line of a path.
fn line(pattern: &str) -> Option<Line> {
    let path = format!("{pattern}\t");
    let text = from(&path);
    if text.starts_with(path.as_str()) { Line::parse(text.lines().next()?) } else { None }
}

/// What the table says of a path.
struct Place {
    /// Of the lines that speak for it.
    pattern: String,
    /// None for a section, which has no line of its own.
    rule: Option<Rule>,
    /// It stands for another place.
    alias: bool,
    types: &'static str,
    limits: &'static str,
    has_members: bool,
    has_items: bool,
}

impl Place {
    fn of(mut pattern: String) -> Place {
        let mut found = line(&pattern);
        let rule = found.map(|it| it.rule);
        let mut alias = false;
        while let Some(target) = found.and_then(|it| it.types.strip_prefix('=')) {
            pattern = target.to_owned();
            found = line(&pattern);
            alias = true;
        }
        let (types, limits) = found.map_or(("", ""), |it| (it.types, it.limits));
        let has_members = pattern.is_empty() || starts(&format!("{pattern}."));
        let has_items = starts(&format!("{pattern}[]"));
        Place { pattern, rule, alias, types, limits, has_members, has_items }
    }
    fn is_known(&self) -> bool {
        !self.types.is_empty() || self.has_members || self.has_items
    }
}

/// The known name beside which `name` is most likely a slip of the hand.
fn nearest(pattern: &str, name: &str) -> Option<&'static str> {
    let prefix = below(pattern, "");
    let prefix = if pattern.is_empty() { "" } else { prefix.as_str() };
    let siblings = from(prefix).lines().map_while(|it| it.strip_prefix(prefix));
    let names = siblings.filter_map(|it| it.split(['.', '[', '\t']).next()).filter(|it| *it != "*");
    let mut last = "";
    // The table is sorted: equal names follow each other.
    let names = names.filter(|it| *it != std::mem::replace(&mut last, it));
    let far = (name.chars().count() / 3).clamp(1, 3);
    names.map(|it| (distance(it, name), it)).filter(|it| it.0 <= far).min().map(|it| it.1)
}

/// Levenshtein's, blind to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for j in 0..b.len() {
            let replace = diagonal + usize::from(c != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

struct Walk {
    issues: Vec<Issue>,
    path: Vec<String>,
    /// Places met before: a long record asks for the same few again and again.
    seen: HashMap<String, Rc<Place>>,
}

impl Walk {
    fn is_full(&self, severity: Severity) -> bool {
        self.issues.iter().filter(|it| it.severity == severity).count() == ISSUES_MAX
    }
    fn say(&mut self, severity: Severity, message: String) {
        if self.is_full(severity) {
            return;
        }
        self.issues.push(Issue { severity, ..Issue::new(&self.path.join("."), message) });
    }
    fn place(&mut self, pattern: String) -> Option<Rc<Place>> {
        if let Some(place) = self.seen.get(&pattern) {
            return Some(place.clone());
        }
        let place =
            starts(&pattern).then(|| Rc::new(Place::of(pattern.clone()))).filter(|it| it.is_known())?;
        self.seen.insert(pattern, place.clone());
        Some(place)
    }
    fn visit(&mut self, value: &Value, place: &Place) {
        let Place { pattern, types, limits, has_members, has_items, .. } = place;
        let is = |kind: &str| types.split('|').any(|it| it == kind);
        match value {
            _ if is("any") => {}
            Value::Object(map) if *has_members => {
                for (name, it) in map {
                    self.member(pattern, name, it);
                }
            }
            Value::Array(items) if *has_items => {
                let Some(place) = self.place(format!("{pattern}[]")) else { return };
                for (n, it) in items.iter().enumerate() {
                    self.path.push(n.to_string());
                    self.visit(it, &place);
                    self.path.pop();
                }
            }
            Value::Object(_) if is("object") || (is("string") && self.is_secret_ref(value)) => {}
            Value::Array(_) if is("array") => {}
            Value::Array(items) if types.contains('[') => self.items(items, types),
            _ => {
                let mut kinds = (*types).to_owned();
                for (known, kind) in [(*has_members, "object"), (*has_items, "array")] {
                    if known && !is(kind) {
                        kinds = if kinds.is_empty() { kind.to_owned() } else { format!("{kinds}|{kind}") };
                    }
                }
                if let Some(message) = mismatch(value, &kinds, limits) {
                    self.say(Severity::Error, message);
                }
            }
        }
    }
    fn member(&mut self, pattern: &str, name: &str, value: &Value) {
        self.path.push(name.to_owned());
        if POISON.contains(&name) {
            self.say(Severity::Error, "a key of this name is not allowed".to_owned());
        } else if name != INCLUDE {
            let plain = !name.is_empty() && !name.contains(['.', '[', '*', '\t', '\n']);
            let literal = if plain { self.place(below(pattern, name)) } else { None };
            // An open section takes any name, also one that was meant to be another.
            let open = literal.is_none();
            let next = literal.or_else(|| self.place(below(pattern, "*")));
            let open = open && next.as_ref().is_some_and(|it| it.types == "any");
            let doubtful = (next.is_none() || open) && !self.is_full(Severity::Warning);
            let near = if doubtful { nearest(pattern, name) } else { None };
            match near.filter(|it| *it != name) {
                Some(near) => self.say(Severity::Warning, format!("unknown key; did you mean \"{near}\"?")),
                None if next.is_none() => self.say(Severity::Warning, "unknown key".to_owned()),
                None => {}
            }
            if let Some(next) = next {
                self.visit(value, &next);
            }
        }
        self.path.pop();
    }
    fn items(&mut self, items: &[Value], types: &str) {
        let kinds: Vec<&str> =
            types.split('|').filter_map(|it| it.strip_prefix('[')?.strip_suffix(']')).collect();
        for (n, it) in items.iter().enumerate() {
            if let Some(message) = mismatch(it, &kinds.join("|"), "") {
                self.path.push(n.to_string());
                self.say(Severity::Error, message);
                self.path.pop();
            }
        }
    }
    /// `{source, provider, id}` where a secret text could stand: the newest release's way to keep secrets out of the file.
    fn is_secret_ref(&self, value: &Value) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        is_secret(&path) && text("id").is_some() && matches!(text("source"), Some("env" | "file" | "exec"))
    }
}

/// What is wrong with a value; the words are the reference's.
fn mismatch(value: &Value, types: &str, limits: &str) -> Option<String> {
    let is = |it: &&str| match (*it, value) {
        ("any", _)
        | ("string", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("number" | "integer", Value::Number(_)) => true,
        ("object", Value::Object(_)) | ("array", Value::Array(_)) => true,
        (word, Value::String(text)) => word == text && !is_kind(word),
        _ => false,
    };
    match types.split('|').find(is) {
        Some("integer") if value.as_f64().is_some_and(|it| it.fract() != 0.0) => {
            Some("Invalid input: expected int, received number".to_owned())
        }
        Some(_) => limits.split(',').find_map(|limit| beyond(value, limit)),
        None => {
            let got = super::reader::kind(value);
            let words = types.split('|').all(|it| !is_kind(it));
            let show = |it: &str| match it {
                "integer" => "number".to_owned(),
                it if is_kind(it) => it.trim_matches(['[', ']']).to_owned(),
                word => format!("\"{word}\""),
            };
            let all: Vec<String> = types.split('|').map(show).collect();
            Some(match words {
                true => format!("Invalid option: expected one of {}", all.join("|")),
                false if types.starts_with('[') => format!("Invalid input: expected array, received {got}"),
                false => format!("Invalid input: expected {}, received {got}", all.join("|")),
            })
        }
    }
}

pub(super) fn is_kind(it: &str) -> bool {
    matches!(it, "any" | "string" | "boolean" | "number" | "integer" | "object" | "array")
        || it.starts_with('[')
}

/// What is wrong with a value of the right type.
fn beyond(value: &Value, limit: &str) -> Option<String> {
    let number = value.as_f64();
    let text = value.as_str();
    let bound = |prefix: &str| limit.strip_prefix(prefix).and_then(|it| it.parse::<f64>().ok());
    if let (Some(max), Some(text)) = (bound("len<="), text) {
        (text.encode_utf16().count() as f64 > max)
            .then(|| format!("Too big: expected string to have <={max} characters"))
    } else if let (Some(min), Some(number)) = (bound(">="), number) {
        (number < min).then(|| format!("Too small: expected number to be >={min}"))
    } else if let (Some(min), Some(number)) = (bound(">"), number) {
        (number <= min).then(|| format!("Too small: expected number to be >{min}"))
    } else if let (Some(max), Some(number)) = (bound("<="), number) {
        (number > max).then(|| format!("Too big: expected number to be <={max}"))
    } else if let ("hex6", Some(text)) = (limit, text) {
        let digits = text.strip_prefix('#').unwrap_or(text);
        let fits = digits.len() == 6 && digits.bytes().all(|it| it.is_ascii_hexdigit());
        (!fits).then(|| "Invalid string: expected a colour of six hexadecimal digits, as #1A2B3C".to_owned())
    } else if let ("e164", Some(text)) = (limit, text) {
        let digits = text.strip_prefix('+').unwrap_or_default();
        let fits = (2..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|it| it.is_ascii_digit());
        (!fits).then(|| "Invalid string: expected a telephone number, as +491701234567".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
