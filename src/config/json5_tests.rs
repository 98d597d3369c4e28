//! The parser against another one, and by itself where that other one says nothing.
use super::*;
use crate::base::testing::Seed;
use crate::config::generate::{Writer, value};
use serde_json::json;

fn read(text: &str) -> Value {
    parse(text).unwrap().value()
}
fn mistake(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}
/// Numbers by what they are worth, for two parsers may choose different types.
fn worth(value: Value) -> Value {
    match value {
        Value::Number(it) => json!(it.as_f64()),
        Value::Array(items) => items.into_iter().map(worth).collect(),
        Value::Object(map) => {
            map.into_iter().map(|(key, it)| (key, worth(it))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other,
    }
}

#[test]
fn generated_documents_read_as_written_and_as_by_another_parser() {
    for n in 0..4000 {
        let seed = &mut Seed(n);
        let value = value(seed, 4);
        let text = Writer::new(seed).document(&value);
        let ours = parse(&text).unwrap_or_else(|err| panic!("seed {n}: {err}\n{text}")).value();
        assert_eq!(ours, value, "seed {n}:\n{text}");
        let theirs: Value = ::json5::from_str(&text).unwrap_or_else(|err| panic!("seed {n}: {err}\n{text}"));
        assert_eq!(worth(ours), worth(theirs), "seed {n}:\n{text}");
    }
}

#[test]
fn broken_documents_are_refused_by_both_or_by_neither() {
    let mut refused = 0;
    for n in 0..20_000 {
        let seed = &mut Seed(n);
        let value = value(seed, 3);
        let mut text: Vec<char> = Writer::new(seed).document(&value).chars().collect();
        for _ in 0..=seed.below(2) {
            let at = seed.below(text.len());
            match seed.below(3) {
                0 => _ = text.remove(at),
                1 => text.insert(
                    at,
                    seed.pick(&["{", "}", "[", "]", ",", ":", "\"", "\\", "/", "-", "0", ".", "e"])
                        .chars()
                        .next()
                        .unwrap(),
                ),
                _ => text.truncate(at + 1),
            }
            if text.is_empty() {
                text.push(' ');
            }
        }
        let text: String = text.into_iter().collect();
        let (ours, theirs) = (parse(&text), ::json5::from_str::<Value>(&text));
        refused += usize::from(ours.is_err());
        if ours.as_ref().is_err_and(|it| it.message.starts_with("a number too large")) {
            continue; // theirs makes it infinite, which a value cannot hold
        }
        assert_eq!(ours.is_ok(), theirs.is_ok(), "seed {n}: ours {ours:?}, theirs {theirs:?}\n{text}");
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            assert_eq!(worth(ours.value()), worth(theirs), "seed {n}:\n{text}");
        }
    }
    assert!(refused > 5000, "the mutations break something: {refused}");
}

#[test]
fn what_the_grammar_allows() {
    assert_eq!(
        read("{a: .5, b: 5., c: +1, d: -0x1F, e: 1e3, 'f': \"\\x41\\u0042\\\r\nC\\0\",}"),
        json!({ "a": 0.5, "b": 5.0, "c": 1, "d": -31, "e": 1000.0, "f": "ABC\0" })
    );
    assert_eq!(read("// one\n/* two */ [1, [2,], {}, // three\n]"), json!([1, [2], {}]));
    assert_eq!(read(r#"["\ud83d\ude00", "\ud83d", "\q"]"#), json!(["😀", "\u{fffd}", "q"]));
    assert_eq!(
        read(r"{\u0061b: 18446744073709551615, n: -9223372036854775808}"),
        json!({ "ab": u64::MAX, "n": i64::MIN })
    );
    assert_eq!(read("{a: 1, b: 2, a: 3}"), json!({ "a": 3, "b": 2 }));
    assert_eq!(parse("{x: [{a: 1, a: 2}]}").unwrap().repeated(), [("x.0.a".to_owned(), 6)]);
}

#[test]
fn mistakes_say_what_and_where() {
    assert_eq!(mistake("{bad "), "JSON5: invalid end of input at 1:6");
    assert_eq!(mistake("{\n  a: 1\n  b: 2 }"), "JSON5: invalid character 'b' at 3:3");
    assert_eq!(mistake("{\"😀\": x}"), "JSON5: invalid character 'x' at 1:8");
    assert_eq!(mistake("[1e999]"), "JSON5: a number too large to hold at 1:2");
    assert_eq!(mistake("[-Infinity]"), "JSON5: Infinity is no number that a configuration can hold at 1:2");
    assert_eq!(mistake("'a\nb'"), "JSON5: invalid character '\\n' at 1:3");
    for text in [
        "", " ", "// x", "/* x", "01", "0x", "1_000", "truex", "{a}", "{,}", "[,]", "[1,,2]", "{} {}",
        "{1: 2}", "\"\\1\"", "{a: 1]",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn depth_is_capped() {
    assert!(parse(&("[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX))).is_ok());
    let deep = "[".repeat(10_000);
    assert_eq!(mistake(&deep), "JSON5: more than 64 levels of arrays and objects at 1:65");
}

#[test]
fn values_know_where_they_stand() {
    let text = "{\n  gateway: { port: 'x' },\n  list: [1, {a: 2}] }";
    let document = parse(text).unwrap();
    let at = |path: &str| &text[document.locate(path.split('.')).span.clone()];
    assert_eq!((at("gateway.port"), at("list.1.a"), at("list.1.none.x")), ("'x'", "2", "{a: 2}"));
    assert_eq!(
        crate::config::document::position(text, document.locate(["gateway", "port"]).span.start),
        (2, 20)
    );
}
