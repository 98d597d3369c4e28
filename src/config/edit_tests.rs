//! Edits: what a person expects of each, and what must hold for all.
use super::*;
use crate::base::testing::Seed;
use crate::config::generate::{Writer, key, object, scalar, value};
use serde_json::json;

fn edit(text: &str, new: Value) -> String {
    let now = json5::parse(text).unwrap().value();
    rewrite(text, &new, &now).unwrap()
}

/// A value close to the given one.
fn mutated(seed: &mut Seed, it: &Value) -> Value {
    let mut new = it.clone();
    match &mut new {
        Value::Object(map) => {
            for (_, it) in map.iter_mut() {
                if seed.one_in(3) {
                    *it = mutated(seed, it);
                }
            }
            if seed.one_in(3) && !map.is_empty() {
                let gone = map.keys().nth(seed.below(map.len())).unwrap().clone();
                map.shift_remove(&gone);
            }
            if seed.one_in(3) {
                map.insert(key(seed), value(seed, 2));
            }
        }
        Value::Array(items) => {
            for it in items.iter_mut() {
                if seed.one_in(4) {
                    *it = mutated(seed, it);
                }
            }
            for _ in 0..seed.below(3) {
                match seed.below(items.len() + 1) {
                    at if at < items.len() && seed.one_in(2) => _ = items.remove(at),
                    at => items.insert(at, value(seed, 1)),
                }
            }
        }
        other => *other = if seed.one_in(4) { value(seed, 2) } else { scalar(seed) },
    }
    new
}

#[test]
fn any_edit_reads_back_and_no_edit_changes_nothing() {
    for n in 0..6000 {
        let seed = &mut Seed(n);
        let old = object(seed, 3);
        let text = Writer::new(seed).document(&old);
        assert_eq!(rewrite(&text, &old, &old).unwrap(), text, "seed {n}");
        let new = mutated(seed, &old);
        let out = rewrite(&text, &new, &old).unwrap_or_else(|err| panic!("seed {n}: {err}\n{text}\n{new}"));
        assert_eq!(json5::parse(&out).unwrap().value(), new, "seed {n}:\n{text}\n{out}");
    }
}

/// Changing the value of one key leaves every byte outside of that value alone.
#[test]
fn a_changed_leaf_touches_nothing_else() {
    for n in 0..3000 {
        let seed = &mut Seed(n);
        let mut old = object(seed, 3);
        old["port"] = json!(1);
        let text = Writer::new(seed).document(&old);
        let mut new = old.clone();
        new["port"] = json!(18789);
        let span = json5::parse(&text).unwrap().locate(["port"]).span.clone();
        let want = [&text[..span.start], "18789", &text[span.end..]].concat();
        assert_eq!(edit(&text, new), want, "seed {n}");
    }
}

#[test]
fn comments_stay_where_their_neighbours_do() {
    let mut kept = 0;
    for n in 0..3000 {
        let seed = &mut Seed(n);
        let mut old = object(seed, 2);
        let (mine, other) = (object(seed, 3), seed.below(3));
        old["mine"] = mine;
        let text = Writer::new(seed).document(&old);
        let mut new = old.clone();
        match other {
            0 => _ = new.as_object_mut().unwrap().insert("brand new".into(), value(seed, 2)),
            1 => new["gateway"] = value(seed, 2),
            _ => _ = new.as_object_mut().unwrap().shift_remove("gateway"),
        }
        let out = edit(&text, new);
        let inside = |text: &str| text[json5::parse(text).unwrap().locate(["mine"]).span.clone()].to_owned();
        assert_eq!(inside(&out), inside(&text), "seed {n}");
        // An entry that comes costs no comment; one that goes takes along only what follows it.
        let document = json5::parse(&text).unwrap();
        let Kind::Object(entries) = &document.root.kind else { panic!("an object") };
        let gone = entries.iter().find(|it| it.key == "gateway").map_or(text.len(), |it| it.key_span.start);
        let safe = if other == 0 { text.as_str() } else { &text[..gone] };
        for comment in safe.split('#').skip(1).step_by(2).map(|it| format!("#{it}#")) {
            assert!(out.contains(&comment), "seed {n}: {comment} is lost\n{text}\n{out}");
            kept += 1;
        }
    }
    assert!(kept > 3000, "there are comments to keep: {kept}");
}

const FILE: &str = r#"// my gateway
{
  // who may come in
  "gateway": {
    "port": 18789, // do not change
    "auth": { "token": "${TOKEN}" },
  },
  agents: {
    list: [
      { id: "main", name: 'Main' }, // first
      // the second one
      { id: "work", name: 'Work' } // last
    ]
  }
  /* the end */
}
"#;

fn file() -> Value {
    json5::parse(FILE).unwrap().value()
}

#[test]
fn references_stay_when_the_value_is_what_they_mean() {
    let mut resolved = file();
    resolved["gateway"]["auth"]["token"] = json!("s3cret");
    assert_eq!(rewrite(FILE, &resolved, &resolved).unwrap(), FILE);
    let mut new = resolved.clone();
    new["gateway"]["port"] = json!(1);
    assert_eq!(rewrite(FILE, &new, &resolved).unwrap(), FILE.replace("18789", "1"));
    new["gateway"]["auth"]["token"] = json!("other");
    let want = FILE.replace("18789", "1").replace("${TOKEN}", "other");
    assert_eq!(rewrite(FILE, &new, &resolved).unwrap(), want);
}

#[test]
fn entries_come_and_go_in_the_layout_of_their_neighbours() {
    let mut new = file();
    new["gateway"]["bind"] = json!("lan");
    new["cron"] = json!({ "enabled": false });
    new["agents"]["list"].as_array_mut().unwrap().insert(1, json!({ "id": "x" }));
    let want = FILE
        .replace("\"${TOKEN}\" },\n", "\"${TOKEN}\" },\n    \"bind\": \"lan\",\n")
        .replace("// first\n", "// first\n      {\n        \"id\": \"x\"\n      },\n")
        .replace("    ]\n  }\n", "    ]\n  },\n  \"cron\": {\n    \"enabled\": false\n  }\n");
    let out = edit(FILE, new);
    assert_eq!(out, want);
    assert_eq!(edit(&out, file()).replace(",\n  }\n}", "\n  }\n}"), FILE, "and back");

    let mut new = file();
    new["agents"]["list"].as_array_mut().unwrap().remove(1);
    let want = FILE
        .replace("'Main' }, // first", "'Main' } // first")
        .replace("      { id: \"work\", name: 'Work' } // last\n", "");
    assert_eq!(edit(FILE, new), want);
}

#[test]
fn small_texts() {
    let cases = [
        ("{}", json!({ "a": 1 }), "{\n  \"a\": 1\n}"),
        ("{}\n", json!({}), "{}\n"),
        ("{ // none\n}", json!({ "a": 1 }), "{ // none\n  \"a\": 1\n}"),
        ("{a: 1, b: 2}", json!({ "a": 1 }), "{a: 1}"),
        ("{a: 1, b: 2}", json!({ "b": 2 }), "{b: 2}"),
        ("{ a: 1, b: 2, }", json!({ "a": 1, "b": 2, "c": 3 }), "{ a: 1, b: 2, c: 3, }"),
        (r#"{"a":1}"#, json!({ "a": 1, "b": [1] }), r#"{"a":1,"b":[1]}"#),
        ("{l: [1, 2, 3]}", json!({ "l": [0, 1, 3] }), "{l: [0, 1, 3]}"),
        ("{l: [1, 2]}", json!({ "l": [1, 2, 3] }), "{l: [1, 2, 3]}"),
        ("{a: 1, a: 2}", json!({ "a": 3 }), "{a: 1, a: 3}"),
        ("{a: 1, a: 2}", json!({}), "{}"),
        ("{\r\n\ta: 1\r\n}", json!({ "a": 1, "b": {} }), "{\r\n\ta: 1,\r\n\tb: {}\r\n}"),
        ("", json!({ "a": 1 }), "{\n  \"a\": 1\n}\n"),
    ];
    for (text, new, want) in cases {
        let now = if text.is_empty() { json!({}) } else { json5::parse(text).unwrap().value() };
        assert_eq!(rewrite(text, &new, &now).unwrap(), want, "{text:?} to {new}");
    }
    assert!(rewrite("{", &json!({}), &json!({})).is_err());
}

#[test]
fn what_another_file_says_is_not_copied() {
    let text = "{ $include: './base.json5', cron: { enabled: true } }";
    let resolved = json!({ "gateway": { "port": 1, "bind": "lan" }, "hooks": [1], "cron": { "enabled": true, "store": "s" } });
    assert_eq!(rewrite(text, &resolved, &resolved).unwrap(), text);
    let mut new = resolved.clone();
    new["gateway"]["port"] = json!(2);
    new["cron"]["enabled"] = json!(false);
    let want = "{ $include: './base.json5', cron: { enabled: false }, gateway: {\"port\":2} }";
    assert_eq!(rewrite(text, &new, &resolved).unwrap(), want);
    let mut authored = json5::parse(text).unwrap().value();
    authored["cron"]["enabled"] = json!(false);
    assert_eq!(rewrite(text, &authored, &resolved).unwrap(), text.replace("true", "false"));
    for (path, value) in [("cron.store", json!({ "enabled": true })), ("hooks", json!([2]))] {
        let mut new = resolved.clone();
        new[path.split('.').next().unwrap()] = value;
        assert_eq!(rewrite(text, &new, &resolved), Err(EditError::Included(path.into())));
    }
}
