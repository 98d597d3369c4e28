//! A parsed text: values that know where they stand in it.
use crate::base::limits::ISSUES_MAX;
use serde_json::{Map, Value};
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
        self.root.repeated("", &mut found);
        found
    }
}

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
    fn repeated(&self, path: &str, found: &mut Vec<(String, usize)>) {
        let (Kind::Array(entries) | Kind::Object(entries)) = &self.kind else { return };
        if found.len() >= ISSUES_MAX {
            return;
        }
        let mut last = std::collections::HashMap::new();
        for (n, it) in entries.iter().enumerate() {
            let name = if it.key_span.is_empty() { n.to_string() } else { it.key.clone() };
            let path = super::below(path, &name);
            it.node.repeated(&path, found);
            if let Some(earlier) = last.insert(name, it.key_span.start) {
                found.push((path, earlier));
            }
        }
    }
}

/// Line and column, both from 1, of a byte offset.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    let line = before.matches('\n').count() + 1;
    (line, text[line_start..at].encode_utf16().count() + 1)
}
