//! JSON5 text to values that know where they stand.
//!
//! The grammar of <https://spec.json5.org>, with three limits of our own: `Infinity` and `NaN` are refused (no value can hold them), as
//! are documents deeper than [`DEPTH_MAX`] levels. Messages and columns (UTF-16 units, from 1) are those of the reference's parser.
use super::document::{Document, Entry, Kind, Node, position};
use serde_json::{Number, Value};
use std::ops::Range;

/// Arrays and objects inside each other. Ours: no known configuration is deeper than 12.
pub const DEPTH_MAX: usize = 64;

/// What is wrong with a text: one line for people, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("JSON5: {message} at {line}:{column}")]
pub struct SyntaxError {
    pub message: String,
    /// From 1.
    pub line: usize,
    /// From 1, in UTF-16 units.
    pub column: usize,
}

/// Parses a whole text.
///
/// # Errors
/// The first mistake in it.
pub fn parse(text: &str) -> Result<Document, SyntaxError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let root = parser.document().map_err(|(at, message)| {
        let (line, column) = position(text, at);
        SyntaxError { message, line, column }
    })?;
    Ok(Document { root })
}

/// Ends a line, and so a `//` comment.
pub fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

/// Can stand as a key without quotes.
pub fn is_identifier(key: &str) -> bool {
    let mut chars = key.chars();
    chars.next().is_some_and(starts_identifier) && chars.all(continues_identifier)
}

fn starts_identifier(c: char) -> bool {
    c.is_alphabetic() || c == '$' || c == '_'
}

fn continues_identifier(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '$' | '_' | '\u{200c}' | '\u{200d}')
}

fn is_space(c: char) -> bool {
    is_newline(c) || c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}

type Parsed<T> = Result<T, (usize, String)>;

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }
    fn bump(&mut self, c: char) {
        self.at += c.len_utf8();
    }
    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.bump(c);
        }
        found
    }
    fn wrong<T>(&self) -> Parsed<T> {
        let message = match self.peek() {
            None => "invalid end of input".to_owned(),
            Some(c) => format!("invalid character '{}'", c.escape_debug()),
        };
        Err((self.at, message))
    }
    fn document(&mut self) -> Parsed<Node> {
        self.trivia()?;
        let root = self.value()?;
        self.trivia()?;
        if self.at < self.text.len() { self.wrong() } else { Ok(root) }
    }
    /// White space and comments.
    fn trivia(&mut self) -> Parsed<()> {
        while let Some(c) = self.peek() {
            if is_space(c) {
                self.bump(c);
            } else if c == '/' {
                self.comment()?;
            } else {
                break;
            }
        }
        Ok(())
    }
    fn comment(&mut self) -> Parsed<()> {
        self.bump('/');
        let rest = &self.text[self.at..];
        if let Some(body) = rest.strip_prefix('/') {
            self.at += 1 + body.find(is_newline).unwrap_or(body.len());
            return Ok(());
        }
        let Some(body) = rest.strip_prefix('*') else { return self.wrong() };
        match body.find("*/") {
            Some(end) => {
                self.at += 1 + end + 2;
                Ok(())
            }
            None => {
                self.at = self.text.len();
                self.wrong()
            }
        }
    }
    fn value(&mut self) -> Parsed<Node> {
        let start = self.at;
        let kind = match self.peek() {
            Some('{') => self.container('}')?,
            Some('[') => self.container(']')?,
            Some(quote @ ('"' | '\'')) => Kind::Scalar(Value::String(self.string(quote)?)),
            Some('n') => self.word("null", Value::Null)?,
            Some('t') => self.word("true", Value::Bool(true))?,
            Some('f') => self.word("false", Value::Bool(false))?,
            Some('+' | '-' | '.' | '0'..='9' | 'I' | 'N') => Kind::Scalar(Value::Number(self.number()?)),
            _ => return self.wrong(),
        };
        Ok(Node { span: start..self.at, kind })
    }
    fn word(&mut self, word: &str, value: Value) -> Parsed<Kind> {
        for c in word.chars() {
            if !self.eat(c) {
                return self.wrong();
            }
        }
        self.no_identifier()?;
        Ok(Kind::Scalar(value))
    }
    /// `truex` and `1x` are mistakes, not a value followed by something.
    fn no_identifier(&self) -> Parsed<()> {
        if self.peek().is_some_and(continues_identifier) { self.wrong() } else { Ok(()) }
    }
    fn container(&mut self, close: char) -> Parsed<Kind> {
        if self.depth == DEPTH_MAX {
            return Err((self.at, format!("more than {DEPTH_MAX} levels of arrays and objects")));
        }
        self.depth += 1;
        self.at += 1;
        let mut entries: Vec<Entry> = vec![];
        loop {
            self.trivia()?;
            if self.eat(close) {
                break;
            }
            if entries.last().is_some_and(|it| it.comma.is_none()) {
                return self.wrong();
            }
            let (key, key_span) = if close == '}' { self.key()? } else { (String::new(), self.at..self.at) };
            let node = self.value()?;
            self.trivia()?;
            let comma = self.at;
            let comma = self.eat(',').then_some(comma);
            entries.push(Entry { key, key_span, node, comma });
        }
        self.depth -= 1;
        Ok(if close == '}' { Kind::Object(entries) } else { Kind::Array(entries) })
    }
    /// A key and its colon.
    fn key(&mut self) -> Parsed<(String, Range<usize>)> {
        let start = self.at;
        let key = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.string(quote)?,
            _ => self.identifier()?,
        };
        let span = start..self.at;
        self.trivia()?;
        if !self.eat(':') {
            return self.wrong();
        }
        self.trivia()?;
        Ok((key, span))
    }
    fn identifier(&mut self) -> Parsed<String> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let start = self.at;
            let real = match c {
                '\\' => {
                    self.bump(c);
                    if !self.eat('u') {
                        return self.wrong();
                    }
                    char::from_u32(self.hex_digits(4)?).unwrap_or('\0')
                }
                c => c,
            };
            let fits = if name.is_empty() { starts_identifier(real) } else { continues_identifier(real) };
            match (fits, c) {
                (true, '\\') => {}
                (true, c) => self.bump(c),
                (false, '\\') => return Err((start, "invalid identifier character".to_owned())),
                (false, _) => break,
            }
            name.push(real);
        }
        if name.is_empty() { self.wrong() } else { Ok(name) }
    }
    fn hex_digits(&mut self, count: usize) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..count {
            let Some((c, digit)) = self.peek().and_then(|c| Some((c, c.to_digit(16)?))) else {
                return self.wrong();
            };
            self.bump(c);
            code = code * 16 + digit;
        }
        Ok(code)
    }
    fn string(&mut self, quote: char) -> Parsed<String> {
        self.bump(quote);
        let mut out = String::new();
        loop {
            match self.peek() {
                None | Some('\n' | '\r') => return self.wrong(),
                Some('\\') => self.escape(&mut out)?,
                Some(c) => {
                    self.bump(c);
                    if c == quote {
                        return Ok(out);
                    }
                    out.push(c);
                }
            }
        }
    }
    fn escape(&mut self, out: &mut String) -> Parsed<()> {
        self.bump('\\');
        let Some(c) = self.peek() else { return self.wrong() };
        if c.is_ascii_digit() && c != '0' {
            return self.wrong();
        }
        self.bump(c);
        match c {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            '0' if self.peek().is_some_and(|c| c.is_ascii_digit()) => return self.wrong(),
            '0' => out.push('\0'),
            'x' => out.extend(char::from_u32(self.hex_digits(2)?)),
            'u' => out.push(self.unicode()?),
            '\r' => _ = self.eat('\n'),
            c if is_newline(c) => {}
            c => out.push(c),
        }
        Ok(())
    }
    /// After `\u`: one UTF-16 unit, or two that make a pair. Half a pair becomes U+FFFD, for no text can hold it.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hex_digits(4)?;
        let second_follows = self.text[self.at..].starts_with("\\u");
        if (0xd800..0xdc00).contains(&first) && second_follows {
            let mark = self.at;
            self.at += 2;
            let second = self.hex_digits(4)?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = mark;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
    fn number(&mut self) -> Parsed<Number> {
        let start = self.at;
        let negative = self.eat('-');
        if !negative {
            self.eat('+');
        }
        if let Some(word) = ["Infinity", "NaN"].into_iter().find(|it| self.text[self.at..].starts_with(it)) {
            return Err((start, format!("{word} is no number that a configuration can hold")));
        }
        let digits = &self.text.as_bytes()[self.at..];
        let number = if matches!(digits, [b'0', b'x' | b'X', ..]) {
            self.at += 2;
            let from = self.at;
            self.digits(16)?;
            match u64::from_str_radix(&self.text[from..self.at], 16) {
                Ok(code) => integer(code, negative),
                Err(_) => return Err((start, "a hexadecimal number of more than 64 bits".to_owned())),
            }
        } else {
            self.decimal(negative)?
        };
        self.no_identifier()?;
        number.ok_or((start, "a number too large to hold".to_owned()))
    }
    fn digits(&mut self, radix: u32) -> Parsed<()> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_digit(radix)) {
            self.at += 1;
        }
        if self.at == from { self.wrong() } else { Ok(()) }
    }
    fn decimal(&mut self, negative: bool) -> Parsed<Option<Number>> {
        let from = self.at;
        let mut whole = true;
        if !matches!(self.peek(), Some('.')) {
            let zero = self.eat('0');
            if !zero {
                self.digits(10)?;
            } else if self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return self.wrong();
            }
        }
        if self.eat('.') {
            whole = false;
            if self.at == from + 1 || self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.digits(10)?;
            }
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            whole = false;
            self.at += 1;
            if !self.eat('-') {
                self.eat('+');
            }
            self.digits(10)?;
        }
        let text = &self.text[from..self.at];
        if let Some(exact) = text.parse().ok().filter(|_| whole).and_then(|it| integer(it, negative)) {
            return Ok(Some(exact));
        }
        let magnitude: f64 = text.parse().unwrap_or(f64::INFINITY);
        Ok(Number::from_f64(if negative { -magnitude } else { magnitude }))
    }
}

/// None when it does not fit 64 bits.
fn integer(magnitude: u64, negative: bool) -> Option<Number> {
    match (negative, magnitude) {
        (false, it) => Some(it.into()),
        (true, 0) => Number::from_f64(-0.0),
        (true, it) => 0i64.checked_sub_unsigned(it).map(Number::from),
    }
}

#[cfg(test)]
#[path = "json5_tests.rs"]
mod tests;
