//! A parsed text: values that know where they stand in it.
use crate::base::limits::ISSUES_MAX;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::ops::Range;

/// A parsed text; offsets are bytes into it.
#[derive(Debug)]
pub struct Document {
    pub root: Node,
}

/// One value and the bytes it covers.
#[derive(Debug)]
pub struct Node {
    pub span: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Scalar(Value),
    /// In both, an entry is followed by its comma, if it has one.
    Array(Vec<Entry>),
    Object(Vec<Entry>),
}

/// An item of an array or a member of an object.
#[derive(Debug)]
pub struct Entry {
    /// Empty for an item.
    pub key: String,
    /// Where the key begins and ends; for an item, an empty range at the value.
    pub key_span: Range<usize>,
    pub node: Node,
    /// Offset of the comma after it.
    pub comma: Option<usize>,
}

impl Document {
    pub fn value(&self) -> Value {
        self.root.value()
    }
    pub fn into_value(self) -> Value {
        self.root.into_value()
    }
    /// The deepest value that exists on the way to `path`; array items go by their number.
    pub fn locate<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> &Node {
        let mut node = &self.root;
        for name in path {
            match node.get(name) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
    /// Keys that a later one of the same name replaces (some, when there are very many): dotted path and offset.
    pub fn repeated(&self) -> Vec<(String, usize)> {
        let mut found = vec![];
        self.root.repeated(&mut vec![], &mut found);
        found
    }
}

/// So many keys are compared with each other sooner than hashed.
const FEW: usize = 16;

impl Node {
    pub fn value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Array(items) => items.iter().map(|it| it.node.value()).collect(),
            Kind::Object(members) => {
                let members = members.iter().map(|it| (it.key.clone(), it.node.value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
    /// A member by name (the last of that name) or an item by number.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::Array(items) => items.get(name.parse::<usize>().ok()?).map(|it| &it.node),
            Kind::Object(members) => members.iter().rfind(|it| it.key == name).map(|it| &it.node),
        }
    }
    fn repeated<'n>(&'n self, path: &mut Vec<Step<'n>>, found: &mut Vec<(String, usize)>) {
        let (entries, members) = match &self.kind {
            Kind::Scalar(_) => return,
            Kind::Array(entries) => (entries, false),
            Kind::Object(entries) => (entries, true),
        };
        if found.len() >= ISSUES_MAX {
            return;
        }
        let few = entries.len() <= FEW;
        let mut last = HashMap::new();
        for (n, it) in entries.iter().enumerate() {
            path.push(if members { Step::Name(&it.key) } else { Step::Item(n) });
            it.node.repeated(path, found);
            let earlier = match members {
                false => None,
                true if few => {
                    entries[..n].iter().rfind(|other| other.key == it.key).map(|it| it.key_span.start)
                }
                true => last.insert(&it.key, it.key_span.start),
            };
            found.extend(earlier.map(|at| (dotted(path), at)));
            path.pop();
        }
    }
    fn into_value(self) -> Value {
        match self.kind {
            Kind::Scalar(value) => value,
            Kind::Array(items) => items.into_iter().map(|it| it.node.into_value()).collect(),
            Kind::Object(members) => {
                let members = members.into_iter().map(|it| (it.key, it.node.into_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

/// One step down a document.
#[derive(Debug, Clone, Copy)]
pub enum Step<'n> {
    Name(&'n str),
    Item(usize),
}

/// The path as it is shown: names with dots between them, items by number.
pub fn dotted(path: &[Step]) -> String {
    let mut out = String::new();
    for (n, step) in path.iter().enumerate() {
        if n > 0 {
            out.push('.');
        }
        match step {
            Step::Name(name) => out.push_str(name),
            Step::Item(item) => out.push_str(&item.to_string()),
        }
    }
    out
}

/// The steps as names, items by number.
pub fn names_of(path: &[Step]) -> Vec<String> {
    path.iter().map(|it| dotted(&[*it])).collect()
}

/// Where the lines of a text begin.
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub fn of(text: &'t str) -> Lines<'t> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|it| it.0 + 1)).collect();
        Lines { text, starts }
    }
    /// Line and column, both from 1, of a byte offset.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|it| *it <= at);
        (line, self.text[self.starts[line - 1]..at].encode_utf16().count() + 1)
    }
}

/// As [`Lines::position`], for a single question.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    Lines::of(text).position(at)
}
