//! What a body must look like, told in the words that clients of the reference see: `tools.0.type: Invalid input: expected "function"`.
use serde_json::{Map, Value};

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wrong {
    pub path: String,
    pub text: String,
    /// The form is right, and only what it says is not: among several forms this one was meant.
    pub is_meant: bool,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

pub(super) type Checked<T> = Result<T, Wrong>;

/// A value and its place in the body.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Field<'a> {
    pub fn root(value: &'a Value) -> Field<'a> {
        Field { path: String::new(), value: Some(value) }
    }
    pub fn at(&self, name: &str) -> Field<'a> {
        Field { path: self.below(name), value: self.value.and_then(|it| it.get(name)) }
    }
    fn below(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
    pub fn is_there(&self) -> bool {
        self.value.is_some()
    }
    /// As [`Field::is_there`], where null says the same as nothing.
    pub fn is_given(&self) -> bool {
        self.value.is_some_and(|it| !it.is_null())
    }
    pub fn value(&self) -> &'a Value {
        self.value.unwrap_or(&Value::Null)
    }
    fn kind(&self) -> &'static str {
        match self.value {
            None => "undefined",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "boolean",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        }
    }
    pub fn wrong(&self, text: impl Into<String>) -> Wrong {
        Wrong { path: self.path.clone(), text: text.into(), is_meant: false }
    }
    pub fn meant(&self, text: impl Into<String>) -> Wrong {
        Wrong { is_meant: true, ..self.wrong(text) }
    }
    fn expected(&self, what: &str) -> Wrong {
        self.wrong(format!("Invalid input: expected {what}, received {}", self.kind()))
    }

    pub fn string(&self) -> Checked<&'a str> {
        self.value.and_then(Value::as_str).ok_or_else(|| self.expected("string"))
    }
    pub fn boolean(&self) -> Checked<bool> {
        self.value.and_then(Value::as_bool).ok_or_else(|| self.expected("boolean"))
    }
    pub fn number(&self) -> Checked<f64> {
        self.value.and_then(Value::as_f64).ok_or_else(|| self.expected("number"))
    }
    /// From 1.
    pub fn count(&self) -> Checked<u64> {
        let number = self.number()?;
        match self.value().as_u64() {
            _ if number.fract() != 0.0 => Err(self.expected("int")),
            _ if number > MOST => Err(self.wrong(format!("Too big: expected int to be <={MOST}"))),
            _ if number <= 0.0 => Err(self.wrong("Too small: expected number to be >0")),
            Some(it) => Ok(it),
            None => Ok(number as u64),
        }
    }
    pub fn object(&self) -> Checked<&'a Map<String, Value>> {
        self.value.and_then(Value::as_object).ok_or_else(|| self.expected("object"))
    }
    pub fn record(&self) -> Checked<&'a Map<String, Value>> {
        self.value.and_then(Value::as_object).ok_or_else(|| self.expected("record"))
    }
    pub fn items(&self) -> Checked<Vec<Field<'a>>> {
        let items = self.value.and_then(Value::as_array).ok_or_else(|| self.expected("array"))?;
        let item = |(n, it)| Field { path: self.below(&format!("{n}")), value: Some(it) };
        Ok(items.iter().enumerate().map(item).collect())
    }
    /// Always this text.
    pub fn literal(&self, text: &str) -> Checked<()> {
        match self.value.and_then(Value::as_str) == Some(text) {
            true => Ok(()),
            false => Err(self.wrong(format!("Invalid input: expected \"{text}\""))),
        }
    }
    pub fn one_of(&self, words: &[&str]) -> Checked<&'a str> {
        let found = self.value.and_then(Value::as_str).filter(|it| words.contains(it));
        found.ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|it| format!("\"{it}\"")).collect();
            self.wrong(format!("Invalid option: expected one of {}", words.join("|")))
        })
    }
    /// Nothing beside these.
    pub fn only(&self, names: &[&str]) -> Checked<()> {
        let more: Vec<String> = self
            .object()?
            .keys()
            .filter(|it| !names.contains(&it.as_str()))
            .map(|it| format!("\"{it}\""))
            .collect();
        match more.len() {
            0 => Ok(()),
            1 => Err(self.wrong(format!("Unrecognized key: {}", more[0]))),
            _ => Err(self.wrong(format!("Unrecognized keys: {}", more.join(", ")))),
        }
    }
    /// None where it is absent.
    pub fn maybe<T>(&self, read: impl FnOnce(&Field<'a>) -> Checked<T>) -> Checked<Option<T>> {
        if self.is_there() { read(self).map(Some) } else { Ok(None) }
    }
    /// None where it is absent or null.
    pub fn given<T>(&self, read: impl FnOnce(&Field<'a>) -> Checked<T>) -> Checked<Option<T>> {
        if self.is_given() { read(self).map(Some) } else { Ok(None) }
    }
}

/// What JavaScript counts exactly.
const MOST: f64 = 9_007_199_254_740_991.0;
