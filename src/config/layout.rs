//! How entries lie in the text of an array or object: what stands around each, and what a new one has to look like.
use super::document::{Entry, Kind, Node};
use super::json5::{is_identifier, is_newline};
use serde::Serialize;
use serde_json::Value;

/// The habits of a document.
pub struct Style<'t> {
    pub newline: &'t str,
    /// One level of indentation.
    unit: String,
    /// Between key and value.
    colon: String,
    bare_keys: bool,
    /// Everything on one line.
    flat: bool,
}

/// How entries of one container are laid out.
pub struct Layout {
    pub inline: bool,
    /// Of its entries.
    pub indent: String,
    first: String,
    next: String,
    /// Before the closing bracket of one that was empty.
    close: String,
}

/// An entry with all that belongs to it. In order: `lead`, `body`, `mid`, the comma, `tail`.
#[derive(Default)]
pub struct Slot {
    /// Offset of the body in the old text.
    pub start: usize,
    lead: String,
    pub body: String,
    mid: String,
    /// The rest of the line.
    tail: String,
}

/// The entries of a container as they were.
pub struct Slots {
    slots: Vec<Slot>,
    /// Before the closing bracket.
    end: String,
    /// Comments of removed entries, for whatever comes next.
    carried: String,
    /// The lead of a removed first entry.
    first: Option<String>,
}

impl<'t> Style<'t> {
    pub fn of(text: &'t str, root: &Node) -> Style<'t> {
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let Kind::Object(entries) = &root.kind else {
            let unit = "  ".to_owned();
            return Style { newline, unit, colon: ": ".into(), bare_keys: false, flat: false };
        };
        let slots = Slots::of(text, root, entries);
        let unit =
            slots.slots.iter().find_map(Slot::indent).filter(|it| !it.is_empty()).unwrap_or("  ").to_owned();
        let colon = entries.first().map_or(": ", |it| &text[it.key_span.end..it.node.span.start]);
        let plain = colon.chars().all(|c| matches!(c, ' ' | ':'));
        Style {
            newline,
            unit,
            colon: if plain { colon } else { ": " }.to_owned(),
            bare_keys: entries.first().is_some_and(|it| !text[it.key_span.start..].starts_with(['"', '\''])),
            flat: !entries.is_empty() && !text[root.span.clone()].contains(is_newline),
        }
    }
    pub fn key(&self, key: &str) -> String {
        let bare = self.bare_keys && is_identifier(key);
        (if bare { key.to_owned() } else { Value::from(key).to_string() }) + &self.colon
    }
    pub fn render(&self, value: &Value, indent: &str, inline: bool) -> String {
        if inline || self.flat {
            return value.to_string();
        }
        let mut out = vec![];
        let format = serde_json::ser::PrettyFormatter::with_indent(self.unit.as_bytes());
        match value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, format)) {
            Ok(()) => String::from_utf8_lossy(&out).replace('\n', &format!("{}{indent}", self.newline)),
            Err(_) => value.to_string(),
        }
    }
}

impl Slot {
    pub fn new(lead: String, body: String) -> Slot {
        Slot { lead, body, ..Slot::default() }
    }
    /// None when it does not begin a line.
    pub fn indent(&self) -> Option<&str> {
        let line = &self.lead[self.lead.rfind(is_newline)?..];
        let line = line.trim_start_matches(is_newline);
        Some(&line[..line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len())])
    }
}

impl Slots {
    pub fn of(text: &str, node: &Node, entries: &[Entry]) -> Slots {
        let start_of = |it: &Entry| it.key_span.start;
        let close = node.span.end - 1;
        let (mut slots, mut before) = (vec![], node.span.start + 1);
        for (n, it) in entries.iter().enumerate() {
            let (start, after) = (start_of(it), it.node.span.end);
            let token_end = it.comma.map_or(after, |comma| comma + 1);
            let tail = rest_of_line(&text[token_end..entries.get(n + 1).map_or(close, start_of)]);
            slots.push(Slot {
                start,
                lead: text[before..start].to_owned(),
                body: text[start..after].to_owned(),
                mid: text[after..it.comma.unwrap_or(after)].to_owned(),
                tail: tail.to_owned(),
            });
            before = token_end + tail.len();
        }
        Slots { slots, end: text[before..close].to_owned(), carried: String::new(), first: None }
    }
    pub fn layout(&self, style: &Style, indent: &str, inline: bool) -> Layout {
        let blank = |it: &&Slot| it.lead.chars().all(char::is_whitespace);
        if let Some(own) = self.slots.iter().find_map(Slot::indent) {
            let lead = format!("{}{own}", style.newline);
            let close = String::new();
            return Layout { inline: false, indent: own.to_owned(), first: lead.clone(), next: lead, close };
        }
        if self.slots.is_empty() && !style.flat && !inline {
            let own = format!("{indent}{}", style.unit);
            let lead = format!("{}{own}", style.newline);
            let close = format!("{}{indent}", style.newline);
            return Layout { inline: false, indent: own, first: lead.clone(), next: lead, close };
        }
        let gap = if style.colon == ":" { "" } else { " " };
        let lead_of = |n: usize| self.slots.get(n).filter(blank).map(|it| it.lead.clone());
        Layout {
            inline: true,
            indent: indent.to_owned(),
            first: lead_of(0).unwrap_or_default(),
            next: lead_of(1).unwrap_or_else(|| gap.to_owned()),
            close: String::new(),
        }
    }
    /// The lead of a new entry.
    pub fn adopt(&mut self, layout: &Layout, first: bool) -> String {
        if self.slots.is_empty() && has_comment(&self.end) {
            let end = std::mem::take(&mut self.end);
            self.carried.push_str(end.trim_end());
        }
        self.join_carried(if first { &layout.first } else { &layout.next })
    }
    /// An entry that stays; `first` when no other stands before it now.
    pub fn take(&mut self, n: usize, layout: &Layout, first: bool) -> Slot {
        let mut slot = std::mem::take(&mut self.slots[n]);
        let on_line = |it: &str| !it.contains(is_newline) && !has_comment(it);
        if let Some(first) = self.first.take().filter(|it| on_line(it) && on_line(&slot.lead)) {
            slot.lead = first;
        } else if n == 0 && !first && slot.lead.is_empty() {
            slot.lead.clone_from(&layout.next);
        }
        slot.lead = self.join_carried(&slot.lead);
        slot
    }
    pub fn remove(&mut self, n: usize, first: bool) {
        let slot = std::mem::take(&mut self.slots[n]);
        if has_comment(&slot.lead) {
            let lead = self.join_carried(slot.lead.trim_end());
            self.carried = lead;
        } else if first && self.carried.is_empty() && self.first.is_none() {
            self.first = Some(slot.lead);
        }
    }
    fn join_carried(&mut self, lead: &str) -> String {
        let carried = std::mem::take(&mut self.carried);
        let open = ends_in_line_comment(&carried) && !lead.starts_with(is_newline);
        [carried.as_str(), if open { "\n" } else { "" }, lead].concat()
    }
}

/// The text of the container with these entries in it.
pub fn assemble(node: &Node, text: &str, slots: Vec<Slot>, mut from: Slots, layout: &Layout) -> String {
    let (Kind::Array(entries) | Kind::Object(entries)) = &node.kind else { return String::new() };
    let ends_with_comma = entries.last().is_some_and(|it| it.comma.is_some());
    let count = slots.len();
    let mut out = text[node.span.start..=node.span.start].to_owned();
    let mut open = false;
    for (n, slot) in slots.into_iter().enumerate() {
        break_line(&mut out, open, &slot.lead);
        out.extend([slot.lead, slot.body, slot.mid]);
        if n + 1 < count || ends_with_comma {
            out.push(',');
        }
        out.push_str(&slot.tail);
        open = ends_in_line_comment(&slot.tail);
    }
    let mut end = std::mem::take(&mut from.end);
    if entries.is_empty() && count > 0 {
        end.clone_from(&layout.close);
    }
    let end = from.join_carried(&end);
    break_line(&mut out, open, &end);
    out + &end + &text[node.span.end - 1..node.span.end]
}

fn break_line(out: &mut String, open: bool, next: &str) {
    if open && !next.starts_with(is_newline) {
        out.push('\n');
    }
}

/// What stands between a token and the end of its line; nothing when the line goes on with another token.
fn rest_of_line(trivia: &str) -> &str {
    let mut at = 0;
    while let Some(c) = trivia[at..].chars().next() {
        let rest = &trivia[at..];
        at += match c {
            c if is_newline(c) => return &trivia[..at],
            '/' if rest.starts_with("//") => rest.find(is_newline).unwrap_or(rest.len()),
            '/' => {
                let comment = &rest[..rest.find("*/").map_or(rest.len(), |it| it + 2)];
                if comment.contains(is_newline) {
                    return "";
                }
                comment.len()
            }
            c => c.len_utf8(),
        };
    }
    ""
}

fn has_comment(trivia: &str) -> bool {
    trivia.contains('/')
}

fn ends_in_line_comment(trivia: &str) -> bool {
    let mut rest = trivia;
    while let Some(at) = rest.find('/') {
        rest = &rest[at..];
        let end = match rest.starts_with("//") {
            true => rest.find(is_newline),
            false => rest[2..].find("*/").map(|it| it + 4),
        };
        match end {
            Some(end) => rest = &rest[end..],
            None => return true,
        }
    }
    false
}
