//! JSON from strangers as a tree of values: nested no deeper than 128, and without the one key that serde_json itself
//! takes for a command (it would read that key's text as JSON again, with a fresh depth: a stack overflow in 5 KB).
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// What the names begin with that serde_json keeps for itself.
const RESERVED: &str = "$serde_json::private::";

/// # Errors
/// No JSON, nested too deep, or a key that nobody honest sends.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Tree.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

struct Tree;

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(Tree)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, it: bool) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_i64<E: Error>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_u64<E: Error>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_f64<E: Error>(self, it: f64) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_str<E: Error>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_string<E: Error>(self, it: String) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = vec![];
        while let Some(item) = items.next_element_seed(Tree)? {
            out.push(item);
        }
        Ok(out.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key.starts_with(RESERVED) {
                return Err(A::Error::custom("a key that is reserved"));
            }
            out.insert(key, entries.next_value_seed(Tree)?);
        }
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_same_tree_as_serde_json() {
        let text = br#" {"a":[1,-1,1.5,1e300,18446744073709551615,true,false,null,"\u2603x"],"b":{},"a":{"c":[]},"":""} "#;
        assert_eq!(parse(text).unwrap(), serde_json::from_slice::<Value>(text).unwrap());
        for bad in ["", "{", "1 2", "nul", "\"\u{1}\"", "1e999", "[1,]"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(
            parse("[".repeat(127).as_bytes()).is_err()
                && parse(&[b"[".repeat(127), b"]".repeat(127)].concat()).is_ok()
        );
        assert!(parse(&[b"[".repeat(129), b"]".repeat(129)].concat()).is_err());
    }
    #[test]
    fn no_key_is_a_command() {
        for key in [
            "$serde_json::private::RawValue",
            "\\u0024serde_json::private::RawValue",
            "$serde_json::private::Number",
        ] {
            assert!(parse(format!("[{{\"{key}\":\"1\"}}]").as_bytes()).is_err(), "{key}");
            assert!(parse(format!("{{\"a\":1,\"{key}\":\"1\"}}").as_bytes()).is_err(), "{key}");
        }
        // Six levels in 2 KB would be 720 deep.
        let text = (0..6).fold("1".to_owned(), |text, _| {
            let inner = format!("{}{text}{}", "[".repeat(120), "]".repeat(120));
            format!("{{\"$serde_json::private::RawValue\":{}}}", Value::from(inner))
        });
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "serde_json follows it");
        assert!(parse(text.as_bytes()).is_err());
    }
}
