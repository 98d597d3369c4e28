//! The table of keys as a JSON Schema with hints for forms: what `config.schema` answers and `config schema` prints.
use super::change::Rule;
use super::keys;
use super::merge::is_secret;
use crate::base::clock;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a form needs to know to edit a configuration.
#[derive(Debug, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConfigSchema {
    pub schema: Value,
    /// By dotted path.
    pub ui_hints: Value,
    /// Of the program.
    pub version: String,
    /// ISO 8601.
    pub generated_at: String,
}

impl ConfigSchema {
    pub fn new(version: &str, unix_ms: i64) -> ConfigSchema {
        ConfigSchema {
            schema: schema(),
            ui_hints: hints(),
            version: version.to_owned(),
            generated_at: clock::iso(unix_ms),
        }
    }
}

/// The JSON Schema (draft 2020-12) of a configuration. Keys it does not name are accepted, as the daemon accepts them.
pub fn schema() -> Value {
    let mut root = Node::default();
    for keys::Line { path, types, limits, .. } in keys::lines() {
        let mut node = &mut root;
        for step in steps(path) {
            node = match step {
                "*" => node.any.get_or_insert_default(),
                "[]" => node.items.get_or_insert_default(),
                name => node.members.entry(name).or_default(),
            };
        }
        (node.types, node.limits) = (types, limits);
    }
    let mut schema = root.schema(&mut vec![]);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$defs"] = json!({
        "include": { "description": "A file, or several, beneath the folder of this one.", "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] },
        "secretRef": {
            "type": "object",
            "description": "A secret that is kept elsewhere.",
            "properties": { "source": { "enum": ["env", "file", "exec"] }, "provider": { "type": "string" }, "id": { "type": "string" } },
            "required": ["source", "id"],
        },
    });
    schema
}

/// `{label, help, sensitive?}` for every key of the table.
fn hints() -> Value {
    let hints = keys::lines().map(|keys::Line { path, rule, .. }| {
        let mut hint = json!({ "label": label(path), "help": help(rule) });
        let names: Vec<&str> = steps(path).filter(|it| *it != "[]").collect();
        if is_secret(&names) {
            hint["sensitive"] = true.into();
        }
        (path.to_owned(), hint)
    });
    Value::Object(hints.collect())
}

/// `gateway.http.maxBodyBytes`: `Max Body Bytes`.
fn label(path: &str) -> String {
    let name = steps(path).filter(|it| !matches!(*it, "*" | "[]")).last().unwrap_or_default();
    let mut out = String::new();
    for (n, c) in name.trim_start_matches('$').chars().enumerate() {
        if n > 0 && c.is_ascii_uppercase() && !out.ends_with(|c: char| c.is_ascii_uppercase()) {
            out.push(' ');
        }
        out.push(if n == 0 { c.to_ascii_uppercase() } else { c });
    }
    out
}

fn help(rule: Rule) -> &'static str {
    match rule {
        Rule::None | Rule::Live => "A change is in force at once.",
        Rule::Hot(_) => "A change is applied while the gateway runs.",
        Rule::Channel | Rule::Web => "A change starts the channel anew.",
        Rule::Restart => "A change restarts the gateway.",
    }
}

/// Names, `*` and `[]`, one by one.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').flat_map(|it| {
        let name = it.trim_end_matches("[]");
        let items = (it.len() - name.len()) / 2;
        std::iter::once(name).chain(std::iter::repeat_n("[]", items))
    })
}

/// What the table says at a path and below.
#[derive(Default)]
struct Node {
    types: &'static str,
    limits: &'static str,
    members: BTreeMap<&'static str, Node>,
    any: Option<Box<Node>>,
    items: Option<Box<Node>>,
}

impl Node {
    fn schema(&self, path: &mut Vec<&'static str>) -> Value {
        if let Some(target) = self.types.strip_prefix('=') {
            return json!({ "$ref": pointer(target) });
        }
        let kinds: Vec<&str> = self.types.split('|').filter(|it| !it.is_empty()).collect();
        if kinds.contains(&"any") {
            return json!({});
        }
        let mut forms: Vec<Value> = kinds.iter().filter_map(|it| self.simple(it)).collect();
        let words: Vec<&&str> = kinds.iter().filter(|it| !keys::is_kind(it)).collect();
        if !words.is_empty() {
            forms.push(json!({ "enum": words }));
        }
        let of: Vec<&str> = kinds.iter().filter_map(|it| it.strip_prefix('[')?.strip_suffix(']')).collect();
        if !of.is_empty() {
            forms.push(json!({ "type": "array", "items": { "type": of } }));
        }
        if !self.members.is_empty() || self.any.is_some() {
            forms.push(self.object(path));
        }
        if let Some(items) = &self.items {
            path.push("0");
            forms.push(json!({ "type": "array", "items": items.schema(path) }));
            path.pop();
        }
        if kinds.contains(&"string") && is_secret(path) {
            forms.push(json!({ "$ref": "#/$defs/secretRef" }));
        }
        match forms.len() {
            1 => forms.remove(0),
            _ => json!({ "anyOf": forms }),
        }
    }

    fn object(&self, path: &mut Vec<&'static str>) -> Value {
        let mut below = |name: &'static str, node: &Node| {
            path.push(name);
            let schema = node.schema(path);
            path.pop();
            schema
        };
        let members = self.members.iter().map(|(name, it)| ((*name).to_owned(), below(name, it)));
        let mut members: Map<String, Value> = members.collect();
        members.insert("$include".to_owned(), json!({ "$ref": "#/$defs/include" }));
        let mut out = json!({ "type": "object", "properties": members });
        if let Some(any) = &self.any {
            out["additionalProperties"] = below("*", any);
        }
        out
    }

    /// A kind of value that is no container of known things.
    fn simple(&self, kind: &str) -> Option<Value> {
        let mut out = match kind {
            "string" | "boolean" | "number" | "integer" => json!({ "type": kind }),
            "object" if self.members.is_empty() && self.any.is_none() => json!({ "type": kind }),
            "array" if self.items.is_none() => json!({ "type": kind }),
            _ => return None,
        };
        for limit in self.limits.split(',') {
            let number = |prefix: &str| {
                limit.strip_prefix(prefix).and_then(|it| it.parse::<serde_json::Number>().ok())
            };
            let found = match kind {
                "string" if limit == "hex6" => Some(("pattern", "^#?[0-9a-fA-F]{6}$".into())),
                "string" if limit == "e164" => Some(("pattern", "^\\+[1-9][0-9]{1,14}$".into())),
                "string" => number("len<=").map(|it| ("maxLength", it.into())),
                "number" | "integer" => (number(">=").map(|it| ("minimum", it.into())))
                    .or_else(|| number(">").map(|it| ("exclusiveMinimum", it.into())))
                    .or_else(|| number("<=").map(|it| ("maximum", it.into()))),
                _ => None,
            };
            if let Some((name, value)) = found {
                out[name] = value;
            }
        }
        Some(out)
    }
}

/// Where the schema of a path stands in the whole.
fn pointer(path: &str) -> String {
    let mut out = "#".to_owned();
    for step in steps(path) {
        match step {
            "*" => out.push_str("/additionalProperties"),
            "[]" => out.push_str("/items"),
            name => out.push_str(&format!("/properties/{name}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Severity;

    /// The schema says of a document what the check says: with errors or without.
    #[test]
    fn schema_and_check_agree() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let agree = |document: &Value| {
            let errors: Vec<_> =
                keys::check(document).into_iter().filter(|it| it.severity == Severity::Error).collect();
            assert_eq!(validator.is_valid(document), errors.is_empty(), "{document}: {errors:?}");
            errors.is_empty()
        };
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1),
            json!(1.5),
            json!(70000),
            json!(""),
            json!("x"),
            json!("#12ab3F"),
            json!("+491701234567"),
            json!("x".repeat(300)),
            json!([]),
            json!(["x"]),
            json!([1]),
            json!({}),
            json!({ "source": "env", "provider": "default", "id": "A" }),
            json!({ "source": "moon", "id": "A" }),
        ];
        let (mut good, mut bad) = (0, 0);
        for keys::Line { path, types, .. } in keys::lines() {
            let words =
                types.split('|').filter(|it| !keys::is_kind(it) && !it.starts_with('=')).map(Value::from);
            for value in values.iter().cloned().chain(words) {
                let all: Vec<&str> = steps(path).collect();
                let document = all.iter().rev().fold(value, |it, step| match *step {
                    "[]" => json!([it]),
                    "*" => json!({ "any": it }),
                    name => json!({ name: it }),
                });
                match agree(&document) {
                    true => good += 1,
                    false => bad += 1,
                }
            }
        }
        assert!(good > 2000 && bad > 5000, "{good} good, {bad} bad");
        assert!(agree(
            &json!({ "nobody": { "knows": 1 }, "gateway": { "$include": "./x.json", "new": true } })
        ));
    }

    #[test]
    fn hints_say_what_a_form_needs() {
        let all = serde_json::to_value(ConfigSchema::new("1.2.3", 0)).unwrap();
        assert_eq!(
            (&all["version"], &all["generatedAt"]),
            (&json!("1.2.3"), &json!("1970-01-01T00:00:00.000Z"))
        );
        let hints = &all["uiHints"];
        assert_eq!(
            hints["gateway.http.endpoints.responses.maxBodyBytes"],
            json!({ "label": "Max Body Bytes", "help": "A change restarts the gateway." })
        );
        assert_eq!(hints["gateway.auth.token"]["sensitive"], true);
        assert_eq!(
            hints["models.providers.*.apiKey"],
            json!({ "label": "Api Key", "help": "A change is in force at once.", "sensitive": true })
        );
        assert_eq!(hints["cron.enabled"]["help"], "A change is applied while the gateway runs.");
        assert_eq!(hints["channels.telegram.name"]["help"], "A change starts the channel anew.");
        assert_eq!(hints.as_object().map(Map::len), Some(keys::lines().count()));
    }
}
