//! `{{…}}` in a mapping: what it stands for is looked up in the request. One pass: what was put in is not looked at again.
//!
//! `path`, `now`, `headers.x`, `query.x`, `payload.x`, or a path into the payload: `messages[0].from`. What is not there is nothing;
//! what is no text is JSON.
use crate::base::clock::iso;
use serde_json::Value;

/// What a template may ask for.
pub struct Source<'a> {
    pub payload: &'a Value,
    /// Names in lower case, none that holds a secret.
    pub headers: &'a [(String, String)],
    pub query: &'a [(String, String)],
    /// Below that of the webhooks.
    pub path: &'a str,
    pub unix_ms: i64,
}

/// None when it would be longer than `bytes_max`.
pub fn render(template: &str, source: &Source, bytes_max: usize) -> Option<String> {
    let (mut out, mut rest) = (String::new(), template);
    while let Some(at) = rest.find("{{") {
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = inner.find('}').filter(|it| *it > 0 && inner[*it..].starts_with("}}"));
        match end {
            Some(end) => {
                out.push_str(&source.get(inner[..end].trim()));
                rest = &inner[end + 2..];
            }
            None => {
                out.push('{');
                rest = &rest[at + 1..];
            }
        }
        if out.len() > bytes_max {
            return None;
        }
    }
    out.push_str(rest);
    (out.len() <= bytes_max).then_some(out)
}

impl Source<'_> {
    fn get(&self, name: &str) -> String {
        let named = |all: &[(String, String)], name: &str| {
            all.iter().rfind(|it| it.0 == name).map_or_else(String::new, |it| it.1.clone())
        };
        match name.split_once('.') {
            None if name == "path" => self.path.to_owned(),
            None if name == "now" => iso(self.unix_ms),
            Some(("headers", name)) => named(self.headers, &name.to_ascii_lowercase()),
            Some(("query", name)) => named(self.query, name),
            Some(("payload", path)) => shown(at(self.payload, path)),
            _ => shown(at(self.payload, name)),
        }
    }
}

/// Follows `a.b[0].c`.
fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let mut steps = path.split(['.', '[', ']']).filter(|it| !it.is_empty()).peekable();
    steps.peek()?;
    steps.try_fold(value, |it, step| match it {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        // As JavaScript writes it: 7, not 7.0.
        Some(Value::Number(it)) if it.is_f64() => it.as_f64().unwrap_or_default().to_string(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[test]
    fn what_stands_for_what() {
        let payload = json!({
            "a": {"b": [{"c": "deep"}, 2.5, true, null]}, "text": "{{path}}", "n": 7.0, "path": "own", "é": "x", "dash-ed": 1, "sp ace": "s",
        });
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (headers, query) =
            ([pair("x-kind", "push")], [pair("q", "first"), pair("q", "last"), pair("a.b", "dotted")]);
        let source = Source {
            payload: &payload,
            headers: &headers,
            query: &query,
            path: "m1",
            unix_ms: 1_795_408_906_299,
        };
        for (template, told) in [
            ("plain", "plain"),
            ("", ""),
            ("{{path}} {{ now }}", "m1 2026-11-23T04:41:46.299Z"),
            ("{{payload.path}}|{{a.b[0].c}}|{{payload.a.b[0].c}}|{{ a.b.0.c }}", "own|deep|deep|deep"),
            ("{{a.b[1]}} {{a.b[2]}} <{{a.b[3]}}> <{{a.b[9]}}> {{n}}", "2.5 true <> <> 7"),
            ("{{a.b[0]}} {{a}}", r#"{"c":"deep"} {"b":[{"c":"deep"},2.5,true,null]}"#),
            ("{{headers.X-Kind}}{{headers.none}} {{query.q}} {{query.a.b}}", "push last dotted"),
            ("{{text}}", "{{path}}"),
            ("{{é}}{{dash-ed}}{{sp ace}}", "x1s"),
            ("{{none}}{{a.x.y}}{{n.x}}{{__proto__}}{{constructor.name}}{{text.length}}", ""),
            ("{{}} {{ }} {path} {{path} {{path", "{{}}  {path} {{path} {{path"),
            ("{{{path}}}", "}"),
        ] {
            assert_eq!(render(template, &source, 1000).as_deref(), Some(told), "{template}");
        }
        assert_eq!(render("{{text}}{{text}}", &source, 16).unwrap().len(), 16);
        assert_eq!(render("{{text}}{{text}}", &source, 15), None);
        assert_eq!(render("0123456789", &source, 9), None);
    }
}
