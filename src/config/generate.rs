//! Seeded values and JSON5 texts for property tests.
use super::json5::is_identifier;
use crate::base::testing::Seed;
use serde_json::{Map, Value};

const KEYS: &[&str] =
    &["a", "b", "gateway", "id", "$x", "with space", "näme", "1st", "a.b", "", "quo\"te", "it's"];
const TEXTS: &[&str] = &[
    "",
    "x",
    "hello // no comment",
    "/* nor this */",
    "\"'\\",
    "line\nbreak",
    "ünï😀",
    "\u{2028}\u{7f}",
    "${VAR}",
    "a,b",
    "}]",
];

pub fn key(seed: &mut Seed) -> String {
    (*seed.pick(KEYS)).to_owned()
}

pub fn scalar(seed: &mut Seed) -> Value {
    match seed.below(8) {
        0 => Value::Null,
        1 => true.into(),
        2 => false.into(),
        3 => (seed.number() as i64 >> seed.below(64)).into(),
        4 => ((seed.number() as i32) as f64 / 64.0).into(),
        5 => seed.below(3).into(),
        _ => (*seed.pick(TEXTS)).into(),
    }
}

pub fn value(seed: &mut Seed, depth: usize) -> Value {
    if depth == 0 || seed.one_in(3) {
        return scalar(seed);
    }
    let len = seed.below(5);
    if seed.one_in(3) {
        return (0..len).map(|_| value(seed, depth - 1)).collect();
    }
    Value::Object((0..len).map(|_| (key(seed), value(seed, depth - 1))).collect::<Map<_, _>>())
}

pub fn object(seed: &mut Seed, depth: usize) -> Value {
    let len = seed.below(6);
    Value::Object((0..len).map(|_| (key(seed), value(seed, depth))).collect())
}

/// One way of many to write a value. Each comment in it is unique: `#1#`, `#2#`, …
pub struct Writer<'s> {
    pub seed: &'s mut Seed,
    pub text: String,
    pub comments: usize,
    indent: usize,
    tidy: bool,
}

impl<'s> Writer<'s> {
    pub fn new(seed: &'s mut Seed) -> Writer<'s> {
        let tidy = seed.one_in(2);
        Writer { seed, text: String::new(), comments: 0, indent: 0, tidy }
    }
    pub fn document(mut self, value: &Value) -> String {
        self.gap();
        self.value(value);
        self.gap();
        self.text
    }
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
    fn gap(&mut self) {
        if self.tidy {
            return;
        }
        for _ in 0..self.seed.below(3) {
            self.comments += 1;
            let n = self.comments;
            match self.seed.below(7) {
                0 => self.push(&format!("//#{n}#\n")),
                1 => self.push(&format!("// }} , #{n}# \"\n  ")),
                2 => self.push(&format!("/*#{n}#*/")),
                3 => self.push(&format!(" /* ** #{n}#\n */ ")),
                4 => self.push("\n"),
                5 => self.push("\t \r\n"),
                _ => self.push(" "),
            }
        }
    }
    fn line(&mut self) {
        if self.tidy {
            self.push("\n");
            self.push(&"  ".repeat(self.indent));
            if self.seed.one_in(4) {
                self.comments += 1;
                self.push(&format!("// #{}#\n{}", self.comments, "  ".repeat(self.indent)));
            }
        }
    }
    fn value(&mut self, value: &Value) {
        match value {
            Value::Array(items) => self.container('[', ']', items.iter().map(|it| (None, it)).collect()),
            Value::Object(map) => {
                self.container('{', '}', map.iter().map(|(key, it)| (Some(key.as_str()), it)).collect())
            }
            Value::String(text) => self.string(text),
            Value::Number(number) => self.number(number),
            other => self.push(&other.to_string()),
        }
    }
    fn container(&mut self, open: char, close: char, entries: Vec<(Option<&str>, &Value)>) {
        let len = entries.len();
        self.text.push(open);
        self.indent += 1;
        for (n, (key, value)) in entries.into_iter().enumerate() {
            self.line();
            self.gap();
            if let Some(key) = key {
                match is_identifier(key) && self.seed.one_in(2) {
                    true => self.push(key),
                    false => self.string(key),
                }
                self.gap();
                self.push(":");
                self.push(if self.tidy { " " } else { "" });
                self.gap();
            }
            self.value(value);
            self.gap();
            if n + 1 < len || self.seed.one_in(2) {
                self.push(",");
            }
            if self.tidy && self.seed.one_in(5) {
                self.comments += 1;
                self.push(&format!(" // #{}#", self.comments));
                if n + 1 == len {
                    self.push("\n");
                }
            }
        }
        self.gap();
        self.indent -= 1;
        if len > 0 {
            self.line();
        }
        self.text.push(close);
    }
    fn number(&mut self, number: &serde_json::Number) {
        match number.as_u64() {
            Some(it) if self.seed.one_in(3) => self.push(&format!("0x{it:X}")),
            Some(it) if self.seed.one_in(3) => self.push(&format!("+{it}")),
            _ => self.push(&number.to_string()),
        }
    }
    fn string(&mut self, text: &str) {
        let quote = self.seed.pick(&["\"", "'"]);
        self.push(quote);
        for c in text.chars() {
            match c {
                '\n' => {
                    let escape = self.seed.pick(&["\\n", "\\x0a", "\\u000A"]);
                    self.push(escape);
                }
                '\\' => self.push("\\\\"),
                c if quote.starts_with(c) => self.push(&format!("\\{c}")),
                c if c.is_ascii() && self.seed.one_in(6) => self.push(&format!("\\x{:02x}", c as u32)),
                c if c.len_utf16() == 1 && self.seed.one_in(6) => self.push(&format!("\\u{:04x}", c as u32)),
                c => self.text.push(c),
            }
            if self.seed.one_in(20) {
                self.push("\\\n");
            }
        }
        self.push(quote);
    }
}
