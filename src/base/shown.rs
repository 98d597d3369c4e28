//! Text as a person can judge it: nothing in it hides, or makes it read differently from what it is.

/// Zero-width, bidirectional and filling characters, tags, and spaces that are not the plain one.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}'
        | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Control and invisible characters as `\u{…}`, line ends too.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || is_invisible(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// An argument list as one line: words with anything but plain characters are quoted, so that no two lists look the same.
pub fn shown_words<S: AsRef<str>>(words: &[S]) -> String {
    let plain = |it: &str| {
        !it.is_empty()
            && it.chars().all(|c| c.is_alphanumeric() || "-_./:=@%+,^~".contains(c))
            && !it.starts_with('~')
    };
    let one = |it: &S| match it.as_ref() {
        it if plain(it) => shown(it),
        it => shown(&format!("\"{}\"", it.replace('\\', "\\\\").replace('"', "\\\""))),
    };
    words.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn nothing_hides() {
        assert_eq!(
            shown("rm \u{202e}txt.exe\n\u{200b}\u{3164}é 漢"),
            "rm \\u{202e}txt.exe\\u{a}\\u{200b}\\u{3164}é 漢"
        );
        assert_eq!(shown_words(&["ls", "-l", "a b", "", "q\"\\", "$x"]), r#"ls -l "a b" "" "q\"\\" "$x""#);
    }
}
