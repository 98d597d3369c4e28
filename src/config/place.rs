//! A place in the document as people write it: `gateway.auth.token`, `agents.list[0].id`, `models.providers."my.host".baseUrl`.
use super::merge::POISON;
use serde_json::{Map, Value};

/// One step down: a member or an item.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Item(usize),
}

/// A parsed path; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Vec<Step>);

impl Place {
    /// Dots, `[n]`, and quotes (`"a.b"`, `["a.b"]`) around names that hold dots; a backslash takes the next character as it is.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Place, String> {
        let wrong = |what: &str| {
            format!("{text:?}: {what}; write a path such as gateway.auth.token or agents.list[0].id")
        };
        let (mut steps, mut rest) = (vec![], text.trim());
        loop {
            let (step, after) = match rest.strip_prefix('[') {
                Some(inside) => {
                    let (step, after) = bracket(inside)
                        .ok_or_else(|| wrong("`[` takes a number or a quoted name, and `]`"))?;
                    (step, after)
                }
                None => name(rest).ok_or_else(|| wrong("a name is missing or its quotes do not end"))?,
            };
            if let Step::Name(name) = &step
                && POISON.contains(&name.as_str())
            {
                return Err(format!("{text:?}: {name} is not allowed as a key"));
            }
            steps.push(step);
            match after.as_bytes().first() {
                None => return Ok(Place(steps)),
                Some(b'.') => rest = &after[1..],
                Some(b'[') => rest = after,
                Some(_) => return Err(wrong("a dot is missing")),
            }
        }
    }
    /// The names from the top, items by their number.
    pub fn names(&self) -> Vec<String> {
        let name = |it: &Step| match it {
            Step::Name(name) => name.clone(),
            Step::Item(n) => n.to_string(),
        };
        self.0.iter().map(name).collect()
    }
    pub fn get<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(document, |at, step| match (step, at) {
            (Step::Item(n), _) => at.get(n),
            (Step::Name(name), Value::Array(items)) => items.get(name.parse::<usize>().ok()?),
            (Step::Name(name), _) => at.get(name),
        })
    }
    /// Puts a value there; missing objects and arrays on the way are made, and `[n]` may name the item after the last.
    ///
    /// # Errors
    /// A sentence when something else is in the way.
    pub fn set(&self, document: &mut Value, value: Value) -> Result<(), String> {
        let mut at = document;
        for (n, step) in self.0.iter().enumerate() {
            let here =
                || if n == 0 { "the file".to_owned() } else { Place(self.0[..n].to_vec()).to_string() };
            if at.is_null() {
                *at = if matches!(step, Step::Item(_)) {
                    Value::Array(vec![])
                } else {
                    Value::Object(Map::new())
                };
            }
            at = match (step, at) {
                (Step::Name(name), Value::Object(map)) => map.entry(name.clone()).or_insert(Value::Null),
                (step, Value::Array(items)) => {
                    let index = step.index().ok_or_else(|| format!("{} is a list: write {0}[n]", here()))?;
                    if index > items.len() {
                        return Err(format!("{} has {} items; the next is [{1}]", here(), items.len()));
                    }
                    if index == items.len() {
                        items.push(Value::Null);
                    }
                    &mut items[index]
                }
                (Step::Item(_), Value::Object(_)) => {
                    return Err(format!("{} is an object: write a name, not [n]", here()));
                }
                (_, other) => {
                    return Err(format!(
                        "{} is a {}, so nothing can be below it",
                        here(),
                        super::reader::kind(other)
                    ));
                }
            };
        }
        *at = value;
        Ok(())
    }
    /// Takes the value away; None when there is none.
    pub fn unset(&self, document: &mut Value) -> Option<Value> {
        let (last, above) = self.0.split_last()?;
        let parent = above.iter().try_fold(document, |at, step| match (step, at) {
            (step, Value::Array(items)) => items.get_mut(step.index()?),
            (Step::Name(name), at) => at.get_mut(name),
            (Step::Item(_), _) => None,
        })?;
        match (last, parent) {
            (step, Value::Array(items)) => {
                let index = step.index().filter(|it| *it < items.len())?;
                Some(items.remove(index))
            }
            (Step::Name(name), Value::Object(map)) => map.shift_remove(name),
            _ => None,
        }
    }
}

impl Step {
    fn index(&self) -> Option<usize> {
        match self {
            Step::Item(n) => Some(*n),
            Step::Name(name) => name.parse().ok(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(n) => write!(f, "[{n}]")?,
                Step::Name(name) => {
                    f.write_str(if n == 0 { "" } else { "." })?;
                    let plain = !name.is_empty() && !name.contains(['.', '[', ']', '"', '\'', '\\']);
                    if plain { f.write_str(name)? } else { write!(f, "{}", Value::from(name.as_str()))? }
                }
            }
        }
        Ok(())
    }
}

/// A name, quoted or bare, and what follows it.
fn name(text: &str) -> Option<(Step, &str)> {
    if text.starts_with(['"', '\'']) {
        return quoted(text).map(|(name, after)| (Step::Name(name), after));
    }
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let good = !name.trim().is_empty() && !name.contains([']', '"', '\'', '\\']);
    good.then(|| (Step::Name(name.to_owned()), after))
}

/// What stands behind `[`.
fn bracket(text: &str) -> Option<(Step, &str)> {
    let (step, after) = match text.starts_with(['"', '\'']) {
        true => name(text)?,
        false => {
            let (number, _) = text.split_once(']')?;
            let digits = number.bytes().all(|it| it.is_ascii_digit());
            (Step::Item(number.parse().ok().filter(|_| digits)?), &text[number.len()..])
        }
    };
    Some((step, after.strip_prefix(']')?))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?.1),
            c if c == quote => return Some((out, &text[at + 1..])),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms() {
        let cases = [
            ("gateway.port", vec!["gateway", "port"], "gateway.port"),
            ("a[0].b", vec!["a", "0", "b"], "a[0].b"),
            ("a[0][1]", vec!["a", "0", "1"], "a[0][1]"),
            (" a.'b.c'.d ", vec!["a", "b.c", "d"], "a.\"b.c\".d"),
            ("a[\"b]\"]", vec!["a", "b]"], "a.\"b]\""),
            (r#"a."q\"\\""#, vec!["a", "q\"\\"], r#"a."q\"\\""#),
            ("\"\"", vec![""], "\"\""),
        ];
        for (text, names, shown) in cases {
            let place = Place::parse(text).unwrap();
            assert_eq!(place.names(), names, "{text}");
            assert_eq!(place.to_string(), shown, "{text}");
            assert_eq!(Place::parse(shown).unwrap(), place, "{text}");
        }
        for text in [
            "", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a[+1]", "a[1]b", "a.'b", "a]b", "a[1",
            "a['x'",
        ] {
            assert!(Place::parse(text).unwrap_err().contains("agents.list[0].id"), "{text}");
        }
        for text in ["__proto__", "a.constructor.b", "a[\"prototype\"]"] {
            assert!(Place::parse(text).unwrap_err().contains("not allowed"), "{text}");
        }
    }

    #[test]
    fn values_come_and_go() {
        let mut it = json!({ "a": { "b": 1 }, "l": [{ "x": 1 }] });
        let place = |text: &str| Place::parse(text).unwrap();
        place("a.c.d").set(&mut it, json!(2)).unwrap();
        place("l[0].x").set(&mut it, json!(3)).unwrap();
        place("l.1").set(&mut it, json!(4)).unwrap();
        place("new[0].y").set(&mut it, json!(5)).unwrap();
        assert_eq!(
            it,
            json!({ "a": { "b": 1, "c": { "d": 2 } }, "l": [{ "x": 3 }, 4], "new": [{ "y": 5 }] })
        );
        assert_eq!(place("l.0.x").get(&it), Some(&json!(3)));
        assert_eq!((place("l[9]").get(&it), place("a.b.c").get(&it)), (None, None));
        let before = it.clone();
        for (text, says) in [
            ("a.b.c", "a.b is a number"),
            ("l.x", "l is a list: write l[n]"),
            ("l[7]", "l has 2 items; the next is [2]"),
            ("a[0]", "a is an object"),
        ] {
            let message = place(text).set(&mut it, json!(0)).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
        assert_eq!(it, before);
        assert_eq!(place("l[0]").unset(&mut it), Some(json!({ "x": 3 })));
        assert_eq!(place("a.c").unset(&mut it), Some(json!({ "d": 2 })));
        assert_eq!((place("a.c").unset(&mut it), place("l[5]").unset(&mut it)), (None, None));
        assert_eq!(it, json!({ "a": { "b": 1 }, "l": [4], "new": [{ "y": 5 }] }));
    }
}
