//! Text for people: tables, ages, numbers.
use serde_json::Value;

/// Columns as wide as their widest cell, two spaces between; the last is never padded.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|it| it.iter().map(|it| printable(it)).collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|it| it.get(at)).map(|it| it.chars().count());
        cells.chain([head[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(it, width)| format!("{it:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(rows.iter().map(|it| line(it.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// What others say of themselves must not move the cursor, nor look like something else.
pub fn printable(text: &str) -> String {
    /// Zero-width and direction marks.
    fn hidden(it: char) -> bool {
        matches!(it, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
    }
    text.chars().map(|it| if it.is_control() || hidden(it) { '\u{fffd}' } else { it }).collect()
}

/// `42s`, `7m`, `3h`, `2d`.
pub fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago a moment was; `-` when it is not known.
pub fn ago(at_ms: &Value, unix_ms: i64) -> String {
    at_ms.as_i64().map_or("-".into(), |it| format!("{} ago", age((unix_ms - it).max(0) as u64)))
}

/// `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The string at `name`, or `-`.
pub fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().filter(|it| !it.is_empty()).unwrap_or("-")
}

/// The strings of the array at `name`, joined; `-` when there are none.
pub fn words(value: &Value, name: &str) -> String {
    let all: Vec<&str> = list(value, name).iter().filter_map(Value::as_str).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// The array at `name`; empty when there is none.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn forms() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["long".into(), "".into()]];
        assert_eq!(table(&["X", "Y"], &rows), "X     Y\na     b\nlong");
        assert_eq!(printable("a\u{1b}[2J\nb\u{202e}ü"), "a\u{fffd}[2J\u{fffd}b\u{fffd}ü");
        let numbers: Vec<String> = [0, 999, 1000, 1_234_567].map(thousands).into();
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
        let ages: Vec<String> = [999, 61_000, 7_200_000, 200_000_000].map(age).into();
        assert_eq!(ages, ["0s", "1m", "2h", "2d"]);
        assert_eq!(ago(&Value::Null, 5), "-");
    }
}
