//! A [`Shape`] as JSON Schema, for `vendor-schemas/`.
use super::shape::{MAX_SAFE, Shape};
use serde_json::{Map, Value, json};

impl Shape {
    /// As JSON Schema (draft 2020-12). Named shapes go into `defs`.
    pub fn json_schema(&self, defs: &mut Map<String, Value>) -> Value {
        match self {
            Shape::Any => json!({}),
            Shape::Null => json!({ "type": "null" }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Number => json!({ "type": "number" }),
            Shape::Integer { min, max } => {
                let mut it = json!({ "type": "integer", "minimum": min });
                if *max < MAX_SAFE {
                    it["maximum"] = json!(max);
                }
                it
            }
            Shape::String { chars_min, chars_max } => {
                let mut it = json!({ "type": "string" });
                if *chars_min > 0 {
                    it["minLength"] = json!(chars_min);
                }
                if *chars_max < usize::MAX {
                    it["maxLength"] = json!(chars_max);
                }
                it
            }
            Shape::Literal(text) => json!({ "type": "string", "const": text }),
            Shape::Constant(n) => json!({ "type": "number", "const": n }),
            Shape::AnyOf(branches) => {
                json!({ "anyOf": branches.iter().map(|it| it.json_schema(defs)).collect::<Vec<_>>() })
            }
            Shape::Array { item, items_min, items_max } => {
                let mut it = json!({ "type": "array", "items": item.json_schema(defs) });
                if *items_min > 0 {
                    it["minItems"] = json!(items_min);
                }
                if *items_max < usize::MAX {
                    it["maxItems"] = json!(items_max);
                }
                it
            }
            Shape::Map { value } => {
                json!({ "type": "object", "additionalProperties": value.json_schema(defs) })
            }
            Shape::Object { fields } => {
                let properties: Map<_, _> =
                    fields.iter().map(|it| (it.name.to_owned(), it.shape.json_schema(defs))).collect();
                let required: Vec<_> = fields.iter().filter(|it| it.required).map(|it| it.name).collect();
                json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
            }
            Shape::Named { name, shape } => {
                let it = shape.json_schema(defs);
                let old = defs.insert((*name).to_owned(), it.clone());
                assert!(old.is_none_or(|old| old == it), "two shapes are called {name}");
                json!({ "$ref": format!("#/$defs/{name}") })
            }
        }
    }
}

/// The published schema of a type is that of its [`Shape`].
#[macro_export]
macro_rules! described_by_shape {
    ($name:ident) => {
        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            /// The shape defines its own name.
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let shape = <$name as $crate::protocol::shape::Shaped>::SHAPE
                    .json_schema(generator.definitions_mut());
                shape.try_into().expect("a shape renders as an object")
            }
        }
    };
}
