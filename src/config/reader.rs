//! Reads typed values out of a JSON tree and remembers everything that was wrong on the way.
use super::{Issue, Severity, below};
use serde_json::Value;

#[cfg(test)]
thread_local! {
    /// Every path that is asked for, while somebody wants to know.
    pub(super) static ASKED: std::cell::RefCell<Option<std::collections::BTreeSet<String>>> = const { std::cell::RefCell::new(None) };
}

/// A place in the tree.
#[derive(Clone)]
pub(super) struct Node<'a> {
    value: Option<&'a Value>,
    path: String,
}

/// Where complaints go.
pub(super) struct Reader<'i> {
    pub issues: &'i mut Vec<Issue>,
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value) -> Node<'a> {
        Node { value: Some(value), path: String::new() }
    }
    /// Follows a dotted path; a place that is not there reads as absent.
    pub fn at(&self, path: &str) -> Node<'a> {
        let value = self.value.and_then(|it| path.split('.').try_fold(it, |it, name| it.get(name)));
        #[cfg(test)]
        ASKED.with_borrow_mut(|it| it.as_mut().map(|it| it.insert(below(&self.path, path))));
        // Nobody complains about what is not there.
        Node { value, path: if value.is_some() { below(&self.path, path) } else { String::new() } }
    }
    /// The text at a dotted path; what is none is another's complaint.
    pub fn text(&self, path: &str) -> Option<&'a str> {
        self.at(path).as_text()
    }
    pub fn as_text(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }
    pub fn is_there(&self) -> bool {
        self.value.is_some()
    }
    pub fn items(&self) -> Vec<Node<'a>> {
        let items = self.value.and_then(Value::as_array).into_iter().flatten();
        items
            .enumerate()
            .map(|(n, it)| Node { value: Some(it), path: format!("{}.{n}", self.path) })
            .collect()
    }
    pub fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        let entries = self.value.and_then(Value::as_object).into_iter().flatten();
        entries
            .map(|(name, it)| {
                (name.as_str(), Node { value: Some(it), path: format!("{}.{name}", self.path) })
            })
            .collect()
    }
}

/// The name of a kind of value in messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Reader<'_> {
    fn wrong(&mut self, node: &Node, expected: &str) {
        let got = node.value.map_or("null", kind);
        let message = format!("Invalid input: expected {expected}, received {got}");
        self.issues.push(Issue::new(&node.path, message));
    }
    /// Something that cannot be used as it is.
    pub fn refuse(&mut self, node: &Node, message: &str) {
        self.issues.push(Issue::new(&node.path, message));
    }
    /// Something that will not do what its writer meant.
    pub fn warn(&mut self, node: &Node, message: &str) {
        self.issues.push(Issue { severity: Severity::Warning, ..Issue::new(&node.path, message) });
    }
    fn read<'a, T>(
        &mut self,
        node: &Node<'a>,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let found = read(node.value?);
        if found.is_none() {
            self.wrong(node, expected);
        }
        found
    }
    pub fn string(&mut self, node: Node) -> Option<String> {
        self.read(&node, "string", |it| it.as_str().map(str::to_owned))
    }
    pub fn boolean(&mut self, node: Node) -> Option<bool> {
        self.read(&node, "boolean", Value::as_bool)
    }
    /// A whole number from `min` to `max`.
    pub fn integer(&mut self, node: Node, min: u64, max: u64) -> Option<u64> {
        let fits = |it: &Value| it.as_u64().filter(|n| (min..=max).contains(n));
        if node.value.is_some_and(Value::is_number) && node.value.and_then(fits).is_none() {
            let message = format!("Invalid input: expected a whole number from {min} to {max}");
            self.issues.push(Issue::new(&node.path, message));
            return None;
        }
        self.read(&node, "number", fits)
    }
    pub fn number(&mut self, node: Node) -> Option<f64> {
        self.read(&node, "number", Value::as_f64)
    }
    pub fn port(&mut self, node: Node) -> Option<u16> {
        self.integer(node, 1, 65535).and_then(|it| it.try_into().ok())
    }
    pub fn strings(&mut self, node: Node) -> Vec<String> {
        if node.value.is_some_and(|it| !it.is_array()) {
            self.wrong(&node, "array");
        }
        node.items().into_iter().filter_map(|it| self.string(it)).collect()
    }
    /// Texts, some of which are written as numbers: ids of people.
    pub fn names(&mut self, node: Node) -> Vec<String> {
        let name = |it: &Value| it.as_str().map(str::to_owned).or_else(|| Some(it.as_number()?.to_string()));
        node.items().iter().filter_map(|it| self.read(it, "string", name)).collect()
    }
    /// One of the given words.
    pub fn word<T: Copy>(&mut self, node: Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(node.clone())?;
        let found = words.iter().find(|it| it.0 == text).map(|it| it.1);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|it| format!("{:?}", it.0)).collect();
            let message = format!("Invalid option: expected one of {}", all.join("|"));
            self.issues.push(Issue::new(&node.path, message));
        }
        found
    }
}
