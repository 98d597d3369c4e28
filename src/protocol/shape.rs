//! The shape of a params object: one constant made from the Rust type, from which come the verdict on a value (with the
//! reference's texts, which are Ajv's) and the published JSON Schema.
//!
//! ```
//! use gatewayd::protocol::{shape::{Int, Shape, Shaped}, types::NonEmpty};
//! gatewayd::shaped! { pub struct Params { pub limit = "limit": Option<Int<1, 5000>>, pub id = "id": NonEmpty } }
//! let value = serde_json::json!({ "limit": 0, "zzz": 1 });
//! let text = Params::SHAPE.check(&value).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
//! assert_eq!(text, "must have required property 'id'; at root: unexpected property 'zzz'; at /limit: must be >= 1");
//! ```
//!
//! * A value is checked whole: every complaint is in the answer, in Ajv's order (`allErrors`).
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What a value must look like.
#[derive(Debug)]
pub enum Shape {
    Any,
    Null,
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Number,
    /// Lengths in characters (code points), as Ajv counts them.
    String {
        chars_min: usize,
        chars_max: usize,
    },
    Literal(&'static str),
    Constant(i64),
    AnyOf(&'static [Shape]),
    Array {
        item: &'static Shape,
        items_min: usize,
        items_max: usize,
    },
    Map {
        value: &'static Shape,
    },
    Object {
        fields: &'static [Field],
    },
    /// A shape that the published schema defines once and refers to by name.
    Named {
        name: &'static str,
        shape: &'static Shape,
    },
}

/// One property of an object.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: &'static Shape,
    pub required: bool,
}

/// A Rust type that has a [`Shape`].
pub trait Shaped {
    const SHAPE: Shape;
    /// The property may be absent.
    const OPTIONAL: bool = false;
}

/// One thing wrong with a value. `Display` gives the reference's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// JSON pointer; empty at the root.
    pub at: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Unexpected(String),
    Other(String),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kind, self.at.as_str()) {
            (Kind::Unexpected(name), "") => write!(f, "at root: unexpected property '{name}'"),
            (Kind::Unexpected(name), at) => write!(f, "at {at}: unexpected property '{name}'"),
            (Kind::Other(text), "") => f.write_str(text),
            (Kind::Other(text), at) => write!(f, "at {at}: {text}"),
        }
    }
}

/// The complaints joined as the reference joins them: `; `, duplicates removed.
pub fn join(complaints: &[Complaint]) -> String {
    let mut parts: Vec<String> = vec![];
    for text in complaints.iter().map(Complaint::to_string) {
        if !parts.contains(&text) {
            parts.push(text);
        }
    }
    parts.join("; ")
}

impl Shape {
    /// Everything wrong with `value`; empty when it fits.
    pub fn check(&self, value: &Value) -> Vec<Complaint> {
        let mut out = vec![];
        self.check_at("", value, &mut out);
        out
    }

    fn check_at(&self, at: &str, value: &Value, out: &mut Vec<Complaint>) {
        let mut say = |text: String| out.push(Complaint { at: at.to_owned(), kind: Kind::Other(text) });
        match self {
            Shape::Any => {}
            Shape::Null if !value.is_null() => say("must be null".into()),
            Shape::Boolean if !value.is_boolean() => say("must be boolean".into()),
            Shape::Number if !value.is_number() => say("must be number".into()),
            Shape::Null | Shape::Boolean | Shape::Number => {}
            Shape::Integer { min, max } => {
                if !is_integer(value) {
                    say("must be integer".into());
                }
                if let Some(n) = value.as_f64() {
                    if n > *max as f64 {
                        say(format!("must be <= {max}"));
                    }
                    if n < *min as f64 {
                        say(format!("must be >= {min}"));
                    }
                }
            }
            Shape::String { chars_min, chars_max } => match value.as_str().map(|it| it.chars().count()) {
                None => say("must be string".into()),
                Some(n) if n > *chars_max => say(format!("must NOT have more than {chars_max} characters")),
                Some(n) if n < *chars_min => say(format!("must NOT have fewer than {chars_min} characters")),
                Some(_) => {}
            },
            Shape::Literal(text) => {
                if !value.is_string() {
                    say("must be string".into());
                }
                if value.as_str() != Some(text) {
                    say("must be equal to constant".into());
                }
            }
            Shape::Constant(n) => {
                if !value.is_number() {
                    say("must be number".into());
                }
                if value.as_f64() != Some(*n as f64) {
                    say("must be equal to constant".into());
                }
            }
            Shape::AnyOf(branches) => {
                let mut all = vec![];
                for branch in *branches {
                    let before = all.len();
                    branch.check_at(at, value, &mut all);
                    if all.len() == before {
                        return;
                    }
                }
                out.append(&mut all);
                out.push(Complaint {
                    at: at.to_owned(),
                    kind: Kind::Other("must match a schema in anyOf".into()),
                });
            }
            Shape::Array { item, items_min, items_max } => {
                let Some(items) = value.as_array() else { return say("must be array".into()) };
                if items.len() > *items_max {
                    say(format!("must NOT have more than {items_max} items"));
                }
                if items.len() < *items_min {
                    say(format!("must NOT have fewer than {items_min} items"));
                }
                for (n, it) in items.iter().enumerate() {
                    item.check_at(&format!("{at}/{n}"), it, out);
                }
            }
            Shape::Map { value: shape } => {
                let Some(map) = value.as_object() else { return say("must be object".into()) };
                for (name, it) in map {
                    shape.check_at(&format!("{at}/{}", pointer(name)), it, out);
                }
            }
            Shape::Object { fields } => check_object(fields, at, value, out),
            Shape::Named { shape, .. } => shape.check_at(at, value, out),
        }
    }
}

fn check_object(fields: &[Field], at: &str, value: &Value, out: &mut Vec<Complaint>) {
    let Some(map) = value.as_object() else {
        return out.push(Complaint { at: at.to_owned(), kind: Kind::Other("must be object".into()) });
    };
    for field in fields.iter().filter(|it| it.required && !map.contains_key(it.name)) {
        let text = format!("must have required property '{}'", field.name);
        out.push(Complaint { at: at.to_owned(), kind: Kind::Other(text) });
    }
    for name in map.keys().filter(|name| !fields.iter().any(|it| it.name == *name)) {
        out.push(Complaint { at: at.to_owned(), kind: Kind::Unexpected(name.clone()) });
    }
    for field in fields {
        if let Some(it) = map.get(field.name) {
            field.shape.check_at(&format!("{at}/{}", field.name), it, out);
        }
    }
}

/// JavaScript's notion: `1.0` is an integer.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.is_finite() && it.fract() == 0.0)
}

/// A JSON pointer segment (RFC 6901).
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The largest integer JavaScript keeps exactly; "no maximum" on the wire.
pub const MAX_SAFE: i64 = (1 << 53) - 1;

/// An integer between `MIN` and `MAX`. `1.0` is one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int<const MIN: i64, const MAX: i64 = MAX_SAFE>(pub i64);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Number::deserialize(from)?;
        let n = value.as_i64().or_else(|| value.as_f64().map(|it| it as i64));
        n.map(Int).ok_or_else(|| serde::de::Error::custom("not an integer"))
    }
}
impl<const MIN: i64, const MAX: i64> Shaped for Int<MIN, MAX> {
    const SHAPE: Shape = Shape::Integer { min: MIN, max: MAX };
}
impl Shaped for Value {
    const SHAPE: Shape = Shape::Any;
}
impl Shaped for bool {
    const SHAPE: Shape = Shape::Boolean;
}
impl Shaped for f64 {
    const SHAPE: Shape = Shape::Number;
}
impl Shaped for String {
    const SHAPE: Shape = Shape::String { chars_min: 0, chars_max: usize::MAX };
}
impl<T: Shaped + 'static> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::Array { item: &T::SHAPE, items_min: 0, items_max: usize::MAX };
}
impl<T: Shaped + 'static> Shaped for BTreeMap<String, T> {
    const SHAPE: Shape = Shape::Map { value: &T::SHAPE };
}
impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const OPTIONAL: bool = true;
}

/// Declares a params struct together with its [`Shape`]: `field = "wireName": Type`, in the reference's schema order.
#[macro_export]
macro_rules! shaped {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $fvis:vis $field:ident = $wire:literal : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        $vis struct $name { $($(#[$fmeta])* #[serde(rename = $wire)] $fvis $field: $ty),* }
        impl $crate::protocol::shape::Shaped for $name {
            const SHAPE: $crate::protocol::shape::Shape = $crate::protocol::shape::Shape::Named {
                name: stringify!($name),
                shape: &$crate::protocol::shape::Shape::Object { fields: &[
                    $($crate::protocol::shape::Field {
                        name: $wire,
                        shape: &<$ty as $crate::protocol::shape::Shaped>::SHAPE,
                        required: !<$ty as $crate::protocol::shape::Shaped>::OPTIONAL,
                    }),*
                ] },
            };
        }
        $crate::described_by_shape!($name);
    };
}

/// Declares an enum of string literals: `Variant = "wire"`.
#[macro_export]
macro_rules! literals {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($variant:ident = $wire:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
        $vis enum $name { $(#[serde(rename = $wire)] $variant),* }
        impl $crate::protocol::shape::Shaped for $name {
            const SHAPE: $crate::protocol::shape::Shape = $crate::protocol::shape::Shape::Named {
                name: stringify!($name),
                shape: &$crate::protocol::shape::Shape::AnyOf(&[$($crate::protocol::shape::Shape::Literal($wire)),*]),
            };
        }
        $crate::described_by_shape!($name);
        impl $name {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $wire),* } }
        }
    };
}

#[cfg(test)]
#[expect(dead_code, reason = "the types are here for their shapes")]
mod tests {
    use super::*;
    use crate::protocol::types::{NonEmpty, Text};
    use serde_json::json;
    literals! { enum Mode { Now = "now", Later = "later" } }
    shaped! { struct Inner { n = "n": Int<0> } }
    shaped! {
        struct All {
            id = "id": NonEmpty, mode = "mode": Option<Mode>, tags = "tags": Option<Vec<NonEmpty>>, flags = "flags": Option<BTreeMap<String, bool>>,
            inner = "inner": Option<Inner>, label = "label": Option<Text<1, 4>>,
        }
    }
    fn check(value: Value, want: &str) {
        assert_eq!(join(&All::SHAPE.check(&value)), want, "{value}");
        assert_eq!(serde_json::from_value::<All>(value).is_ok(), want.is_empty());
    }
    #[test]
    fn verdicts_and_texts() {
        check(
            json!({ "id": "x", "mode": "now", "tags": ["a"], "flags": {"a": true}, "inner": {"n": 1.0}, "label": "abcd" }),
            "",
        );
        check(json!([]), "must be object");
        check(json!({}), "must have required property 'id'");
        let mode = "at /mode: must be string; at /mode: must be equal to constant; at /mode: must match a schema in anyOf";
        check(json!({ "id": "x", "mode": 1 }), mode);
        assert_eq!(
            join(&All::SHAPE.check(&json!({ "id": "", "x": 1, "tags": [1, ""], "flags": {"a/b": 1}, "inner": {"n": -1.5, "y": 0}, "label": "abcde" }))),
            "at root: unexpected property 'x'; at /id: must NOT have fewer than 1 characters; at /tags/0: must be string; \
             at /tags/1: must NOT have fewer than 1 characters; at /flags/a~1b: must be boolean; at /inner: unexpected property 'y'; \
             at /inner/n: must be integer; at /inner/n: must be >= 0; at /label: must NOT have more than 4 characters"
        );
    }
}
