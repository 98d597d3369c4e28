//! Changes a configuration text as a careful person would: only what differs is touched.
//!
//! Comments, order, layout, unknown keys, `${VAR}` references and `$include` survive. A removed entry takes along the comment on its own
//! line; comments on lines above it stay.
use super::below;
use super::document::{Entry, Kind, Node};
use super::json5::{self, SyntaxError};
use super::layout::{Slot, Slots, Style, assemble};
use super::pairing::{Step, pair};
use serde_json::{Map, Value};

/// The key that pulls in other files.
pub const INCLUDE: &str = "$include";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{0}")]
    Syntax(#[from] SyntaxError),
    /// The dotted path that another file decides.
    #[error("{0} comes from an included file; change it there")]
    Included(String),
}

/// `text` with as little change as makes it mean `new`; `resolved` is what `text` means now, with references and includes followed.
///
/// A value of `new` may be written either way: as in the text (`${VAR}`) or as resolved.
///
/// # Errors
/// When `text` is no JSON5, or the change would have to be made in an included file.
pub fn rewrite(text: &str, new: &Value, resolved: &Value) -> Result<String, EditError> {
    if text.trim().is_empty() {
        return Ok(format!("{new:#}\n"));
    }
    let document = json5::parse(text)?;
    let edit = Edit { text, style: Style::of(text, &document.root) };
    let span = document.root.span.clone();
    let root = edit.node(&document.root, Some(resolved), new, &Place::default())?;
    let out = [&text[..span.start], &root, &text[span.end..]].concat();
    json5::parse(&out)?;
    Ok(out)
}

struct Edit<'t> {
    text: &'t str,
    style: Style<'t>,
}

/// Where a value stands.
#[derive(Default)]
struct Place {
    path: String,
    indent: String,
    /// Its container is on one line, and so must it be.
    inline: bool,
}

/// What becomes of an entry, or comes new.
struct Change<'v> {
    step: Step,
    key: Option<&'v str>,
    value: Option<&'v Value>,
}

/// Nothing to do: the text says it, literally or through references. What an include adds to an object is no part of its text.
fn same(node: &Node, old: Option<&Value>, new: &Value) -> bool {
    let adds = |it: &Value| it.as_object().is_some_and(|it| it.keys().any(|key| node.get(key).is_none()));
    old == Some(new) || (!old.is_some_and(adds) && node.value() == *new)
}

impl Edit<'_> {
    fn node(
        &self,
        node: &Node,
        old: Option<&Value>,
        new: &Value,
        place: &Place,
    ) -> Result<String, EditError> {
        if same(node, old, new) {
            return Ok(self.text[node.span.clone()].to_owned());
        }
        match (&node.kind, new) {
            (Kind::Object(entries), Value::Object(new)) => self.object(node, entries, old, new, place),
            (Kind::Array(entries), Value::Array(new)) => self.array(node, entries, old, new, place),
            _ => Ok(self.style.render(new, &place.indent, place.inline)),
        }
    }
    fn object(
        &self,
        node: &Node,
        entries: &[Entry],
        old: Option<&Value>,
        new: &Map<String, Value>,
        place: &Place,
    ) -> Result<String, EditError> {
        // With `$include` in it, the new value speaks of the text alone.
        let old = old.filter(|_| !new.contains_key(INCLUDE));
        let authored = |key: &str| entries.iter().any(|it| it.key == key);
        let included = |key: &str| old.and_then(|it| it.get(key)).filter(|_| !authored(key));
        if let Some(gone) = old
            .and_then(Value::as_object)
            .and_then(|old| old.keys().find(|key| included(key).is_some() && !new.contains_key(*key)))
        {
            return Err(EditError::Included(below(&place.path, gone)));
        }
        let mut added = vec![];
        for (key, value) in new.iter().filter(|(key, _)| !authored(key)) {
            match included(key) {
                Some(theirs) => {
                    if let Some(ours) = override_of(theirs, value, &below(&place.path, key))? {
                        added.push((key, ours));
                    }
                }
                None => added.push((key, value.clone())),
            }
        }
        let includes = old.is_some_and(|it| it.get(INCLUDE).is_none());
        let mut changes: Vec<Change> = vec![];
        for (n, it) in entries.iter().enumerate() {
            let replaced = entries[n + 1..].iter().any(|later| later.key == it.key);
            let value = new.get(&it.key);
            let stays = value.is_some() || (it.key == INCLUDE && includes);
            changes.push(Change {
                step: if stays { Step::Keep(n) } else { Step::Remove(n) },
                key: None,
                value: value.filter(|_| !replaced),
            });
        }
        changes.extend(added.iter().map(|(key, value)| Change {
            step: Step::Insert,
            key: Some(key),
            value: Some(value),
        }));
        self.container(node, entries, old, changes, place)
    }
    fn array(
        &self,
        node: &Node,
        entries: &[Entry],
        old: Option<&Value>,
        new: &[Value],
        place: &Place,
    ) -> Result<String, EditError> {
        let old_items = old.and_then(Value::as_array);
        if old_items.is_some_and(|it| it.len() != entries.len()) {
            return Err(EditError::Included(place.path.clone()));
        }
        let authored: Vec<Value> = entries.iter().map(|it| it.node.value()).collect();
        let alike = |n: usize, value: &Value| {
            let old = old_items.map(|it| &it[n]);
            let id = |it: &Value| it.get("id").filter(|it| it.is_string()).cloned();
            old == Some(value)
                || authored[n] == *value
                || id(value).is_some_and(|it| id(&authored[n]) == Some(it))
        };
        let mut rest = new.iter();
        let changes = pair(entries.len(), new, alike).into_iter().map(|step| {
            let value = if matches!(step, Step::Remove(_)) { None } else { rest.next() };
            Change { step, key: None, value }
        });
        self.container(node, entries, old, changes.collect(), place)
    }
    fn container(
        &self,
        node: &Node,
        entries: &[Entry],
        old: Option<&Value>,
        changes: Vec<Change>,
        place: &Place,
    ) -> Result<String, EditError> {
        let mut from = Slots::of(self.text, node, entries);
        let layout = from.layout(&self.style, &place.indent, place.inline);
        let mut slots = vec![];
        let mut count = 0;
        for Change { step, key, value } in changes {
            match step {
                Step::Remove(n) => from.remove(n, slots.is_empty()),
                Step::Keep(n) => {
                    let mut slot = from.take(n, &layout, slots.is_empty());
                    if let Some(value) = value {
                        let entry = &entries[n];
                        let old = old.and_then(|it| match it {
                            Value::Array(items) => items.get(n),
                            other => other.get(&entry.key),
                        });
                        let name = if key_of(entry) { entry.key.clone() } else { count.to_string() };
                        let place = Place {
                            path: below(&place.path, &name),
                            indent: slot.indent().unwrap_or(&place.indent).to_owned(),
                            inline: layout.inline,
                        };
                        let head = &self.text[slot.start..entry.node.span.start];
                        slot.body = head.to_owned() + &self.node(&entry.node, old, value, &place)?;
                    }
                    slots.push(slot);
                }
                Step::Insert => {
                    let Some(value) = value else { continue };
                    let head = key.map_or(String::new(), |it| self.style.key(it));
                    let body = head + &self.style.render(value, &layout.indent, layout.inline);
                    slots.push(Slot::new(from.adopt(&layout, slots.is_empty()), body));
                }
            }
            count += 1;
        }
        Ok(assemble(node, self.text, slots, from, &layout))
    }
}

fn key_of(entry: &Entry) -> bool {
    !entry.key_span.is_empty()
}

/// What has to stand beside an include so that its value becomes `new`; None when it already is.
fn override_of(theirs: &Value, new: &Value, path: &str) -> Result<Option<Value>, EditError> {
    match (theirs, new) {
        _ if theirs == new => Ok(None),
        (Value::Object(theirs), Value::Object(new)) => {
            if let Some(gone) = theirs.keys().find(|it| !new.contains_key(*it)) {
                return Err(EditError::Included(below(path, gone)));
            }
            let mut ours = Map::new();
            for (key, value) in new {
                let change = match theirs.get(key) {
                    Some(theirs) => override_of(theirs, value, &below(path, key))?,
                    None => Some(value.clone()),
                };
                ours.extend(change.map(|it| (key.clone(), it)));
            }
            Ok(Some(Value::Object(ours)))
        }
        // Arrays are joined, not replaced, when files are merged.
        (Value::Array(_), Value::Array(_)) => Err(EditError::Included(path.to_owned())),
        _ => Ok(Some(new.clone())),
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
