//! Every key that a configuration may hold, and a walk over a document that names all that is wrong with it.
//!
//! The table is text, sorted, searched where it stands: path (`[]` for any item, `*` for any name), class, types, limits. The class says
//! what a change asks for, in the words of `change::CLASSES`; a line without one does not compile. A type is a kind of value, `[kind]` for an
//! array of it, a word for itself, or `=path` for whatever stands at that path. From the schemas of the reference and of its newest
//! release; what a plugin accepts below its section is its own business.
use super::change::{CLASSES, Rule};
use super::document::{Step, dotted, names_of};
use super::edit::INCLUDE;
use super::merge::{POISON, is_secret};
use super::{Issue, Severity, below};
use crate::base::limits::ISSUES_MAX;
use serde_json::Value;
use std::cell::OnceCell;
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
    let mut walk = Walk::default();
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
            types.extend(place.has_members().then_some("object"));
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
    Place(Rc<Place>),
    /// Below a place that takes anything.
    Inside(Rc<Place>),
    /// An item of a place whose type is an array of plain values.
    Item(Rc<Place>),
}

impl Found {
    fn at(path: &[&str]) -> Option<Found> {
        let mut place = Rc::new(Place::of(String::new()));
        for (n, name) in path.iter().enumerate() {
            let is = |kind: &str| place.types.split('|').any(|it| it == kind);
            if is("any") || (is("object") && !place.has_members()) {
                return Some(Found::Inside(place));
            }
            let item = name.parse::<usize>().is_ok();
            if !place.has_items && place.types.starts_with('[') && n + 1 == path.len() && item {
                return Some(Found::Item(place));
            }
            let of_items = if item { place.item() } else { None };
            let literal = || if *name == "*" { None } else { place.member(name) };
            let next = of_items.or_else(literal).or_else(|| place.member("*"))?;
            place = next.clone();
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
    /// What the table names directly below it, sorted; `*` for any.
    names: Vec<&'static str>,
    has_items: bool,
    /// Places below that were met before: a long record asks for the same few again and again.
    below: Box<[OnceCell<Rc<Place>>]>,
    item: OnceCell<Rc<Place>>,
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
        let names = names(&pattern);
        let has_items = starts(&format!("{pattern}[]"));
        let below = names.iter().map(|_| OnceCell::new()).collect();
        Place { pattern, rule, alias, types, limits, names, has_items, below, item: OnceCell::new() }
    }
    fn has_members(&self) -> bool {
        !self.names.is_empty()
    }
    /// Where a member of this very name stands; `*` for any.
    fn member(&self, name: &str) -> Option<&Rc<Place>> {
        let n = self.names.binary_search(&name).ok()?;
        Some(self.below[n].get_or_init(|| self.next(below(&self.pattern, name))))
    }
    fn item(&self) -> Option<&Rc<Place>> {
        self.has_items.then(|| self.item.get_or_init(|| self.next(format!("{}[]", self.pattern))))
    }
    /// What stands for another place keeps the class of its own line.
    fn next(&self, pattern: String) -> Rc<Place> {
        let place = Place::of(pattern);
        let rule = if self.alias { self.rule } else { place.rule };
        Rc::new(Place { rule, alias: self.alias | place.alias, ..place })
    }
}

/// The names directly below a path, sorted, each once.
fn names(pattern: &str) -> Vec<&'static str> {
    let prefix = if pattern.is_empty() { String::new() } else { format!("{pattern}.") };
    let below = from(&prefix).lines().map_while(|it| it.strip_prefix(prefix.as_str()));
    let mut names: Vec<_> = below.filter_map(|it| it.split(['.', '[', '\t']).next()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The known name beside which `name` is most likely a slip of the hand.
fn nearest(names: &[&'static str], name: &str) -> Option<&'static str> {
    let length = name.chars().count();
    let far = (length / 3).clamp(1, 3);
    let names = names.iter().copied().filter(|it| *it != "*" && it.len().abs_diff(length) <= far);
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

#[derive(Default)]
struct Walk<'v> {
    issues: Vec<Issue>,
    path: Vec<Step<'v>>,
}

impl<'v> Walk<'v> {
    fn is_full(&self, severity: Severity) -> bool {
        self.issues.iter().filter(|it| it.severity == severity).count() == ISSUES_MAX
    }
    fn say(&mut self, severity: Severity, message: String) {
        if self.is_full(severity) {
            return;
        }
        self.issues.push(Issue { severity, ..Issue::new(&dotted(&self.path), message) });
    }
    fn visit(&mut self, value: &'v Value, place: &Place) {
        let Place { types, limits, has_items, .. } = place;
        let is = |kind: &str| types.split('|').any(|it| it == kind);
        match value {
            _ if is("any") => {}
            Value::Object(map) if place.has_members() => {
                for (name, it) in map {
                    self.path.push(Step::Name(name));
                    self.member(place, name, it);
                    self.path.pop();
                }
            }
            Value::Array(items) if *has_items => {
                let Some(place) = place.item() else { return };
                for (n, it) in items.iter().enumerate() {
                    self.path.push(Step::Item(n));
                    self.visit(it, place);
                    self.path.pop();
                }
            }
            Value::Object(_) if is("object") || (is("string") && self.is_secret_ref(value)) => {}
            Value::Array(_) if is("array") => {}
            Value::Array(items) if types.contains('[') => self.items(items, types),
            _ => {
                let mut kinds = (*types).to_owned();
                for (known, kind) in [(place.has_members(), "object"), (*has_items, "array")] {
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
    fn member(&mut self, place: &Place, name: &str, value: &'v Value) {
        if POISON.contains(&name) {
            return self.say(Severity::Error, "a key of this name is not allowed".to_owned());
        }
        if name == INCLUDE {
            return;
        }
        let literal = if name == "*" { None } else { place.member(name) };
        // An open section takes any name, also one that was meant to be another.
        let open = literal.is_none();
        let next = literal.or_else(|| place.member("*"));
        let open = open && next.as_ref().is_some_and(|it| it.types == "any");
        let doubtful = (next.is_none() || open) && !self.is_full(Severity::Warning);
        let near = if doubtful { nearest(&place.names, name) } else { None };
        match near.filter(|it| *it != name) {
            Some(near) => self.say(Severity::Warning, format!("unknown key; did you mean \"{near}\"?")),
            None if next.is_none() => self.say(Severity::Warning, "unknown key".to_owned()),
            None => {}
        }
        if let Some(next) = next {
            self.visit(value, next);
        }
    }
    fn items(&mut self, items: &'v [Value], types: &str) {
        let kinds: Vec<&str> =
            types.split('|').filter_map(|it| it.strip_prefix('[')?.strip_suffix(']')).collect();
        for (n, it) in items.iter().enumerate() {
            if let Some(message) = mismatch(it, &kinds.join("|"), "") {
                self.path.push(Step::Item(n));
                self.say(Severity::Error, message);
                self.path.pop();
            }
        }
    }
    /// `{source, provider, id}` where a secret text could stand: the newest release's way to keep secrets out of the file.
    fn is_secret_ref(&self, value: &Value) -> bool {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let reference = text("id").is_some() && matches!(text("source"), Some("env" | "file" | "exec"));
        reference && is_secret(&names_of(&self.path).iter().map(String::as_str).collect::<Vec<_>>())
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
