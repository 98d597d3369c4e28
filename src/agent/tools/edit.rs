//! `edit`: one place of a file, named by the text that stands there.
use super::target::target;
use super::write::fits;
use super::{Outcome, Place, Tool, one_line, schema, text_of};
use crate::base::cancel::Cancel;
use crate::base::limits::{EDIT_FILE_BYTES_MAX, TOOL_TEXT_BYTES_MAX};
use serde_json::{Value, json};

pub(super) struct Edit;

impl Tool for Edit {
    fn name(&self) -> &'static str {
        "edit"
    }
    fn description(&self) -> &'static str {
        "Replaces a text that stands exactly once in a file of the workspace; give enough of its surroundings to be unique."
    }
    fn parameters(&self) -> Value {
        let properties = [
            ("path", "string", "File, relative to the workspace"),
            ("oldText", "string", "What stands there now, to the letter"),
            ("newText", "string", "What shall stand there instead"),
        ];
        schema(&["path", "oldText", "newText"], &properties)
    }
    fn call(&self, args: &Value, place: &Place, _: &Cancel, _: &mut dyn FnMut(Value)) -> Outcome {
        edit(args, place).unwrap_or_else(|text| Outcome::error("edit", text))
    }
    fn meta(&self, args: &Value) -> Option<String> {
        one_line(text_of(args, &["path", "file_path"]).ok()?)
    }
}

fn edit(args: &Value, place: &Place) -> Result<Outcome, String> {
    let path = text_of(args, &["path", "file_path"])?;
    let old = text_of(args, &["oldText", "old_string"])?;
    let new = text_of(args, &["newText", "new_string"])?;
    let target = target(path, place)?;
    let bytes = target.read(EDIT_FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("{path} is not UTF-8 text, which alone can be edited"))?;
    let changed = replace(&text, old, new).map_err(|it| format!("{path}: {it}"))?;
    fits(path, changed.len())?;
    target.write(changed.as_bytes())?;
    let (diff, first) = diff(&text, &changed);
    Ok(Outcome {
        details: json!({"diff": diff, "firstChangedLine": first}),
        ..Outcome::text(format!("{path} changed at line {first}"))
    })
}

/// # Errors
/// Why nothing was replaced, and what to do.
fn replace(text: &str, old: &str, new: &str) -> Result<String, String> {
    if old.is_empty() {
        return Err("oldText is empty: say what to replace, or use write for the whole file".to_owned());
    }
    // A file of another system, whose line ends models do not see.
    let (mut old, mut new) = (old.to_owned(), new.to_owned());
    if !text.contains(&old) && text.contains("\r\n") && !old.contains('\r') {
        old = old.replace('\n', "\r\n");
        new = new.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if old == new {
        return Err("oldText and newText are the same: nothing to do".to_owned());
    }
    let step = old.chars().next().map_or(1, char::len_utf8);
    let mut found: Vec<usize> = vec![];
    while let Some(at) = text[found.last().map_or(0, |it| it + step)..].find(&old) {
        found.push(found.last().map_or(0, |it| it + step) + at);
    }
    match found[..] {
        [at] => Ok([&text[..at], &new, &text[at + old.len()..]].concat()),
        [] => {
            Err("oldText does not stand there: read the file and copy it to the letter, blanks too"
                .to_owned())
        }
        _ => {
            Err(format!("oldText stands there {} times: add lines around it until it is unique", found.len()))
        }
    }
}

/// Lines around a change that are shown. Reference.
const AROUND: usize = 4;

/// The lines that differ, numbered, with some around them, in the form of the reference; and the number of the first.
fn diff(old: &str, new: &str) -> (String, usize) {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|it| it.0 == it.1).count();
    let before = same(&mut old.iter().zip(&new));
    let after = same(&mut old[before..].iter().rev().zip(new[before..].iter().rev()));
    let (gone, come) = (before..old.len() - after, before..new.len() - after);
    let width = old.len().max(new.len()).to_string().len();
    let (from, to) = (before.saturating_sub(AROUND), (gone.end + AROUND).min(old.len()));
    let gap = || format!(" {:width$} ...", "");
    let line = |sign: char, lines: &[&str], at: usize| format!("{sign}{:width$} {}", at + 1, lines[at]);
    let mut out: Vec<String> = vec![];
    out.extend((from > 0).then(gap));
    out.extend((from..before).map(|it| line(' ', &old, it)));
    out.extend(gone.clone().map(|it| line('-', &old, it)));
    out.extend(come.map(|it| line('+', &new, it)));
    out.extend((gone.end..to).map(|it| line(' ', &old, it)));
    out.extend((to < old.len()).then(gap));
    let mut text = out.join("\n");
    if text.len() > TOOL_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TOOL_TEXT_BYTES_MAX));
        text += "\n...";
    }
    (text, before + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn exactly_one_place() {
        // The file, what is replaced by what; the file then, or a word of the refusal.
        for (text, old, new, wanted) in [
            ("one two", "two", "2", Ok("one 2")),
            ("one two", "one two", "", Ok("")),
            ("x\nx\n", "x", "y", Err("2 times")),
            ("aaa", "aa", "b", Err("2 times")),
            ("ééé", "é", "b", Err("3 times")),
            ("one", "two", "2", Err("does not stand")),
            ("one", "", "2", Err("empty")),
            ("one", "one", "one", Err("same")),
            ("a\r\nb\r\nc", "a\nb", "x\ny", Ok("x\r\ny\r\nc")),
            ("a\r\nb\r\nc", "b", "x\r\ny", Ok("a\r\nx\r\ny\r\nc")),
            ("a\r\nb", "a\r\nb", "x\ny", Ok("x\ny")),
            ("a $1 \\1 &", "$1", "$0&", Ok("a $0& \\1 &")),
        ] {
            match (replace(text, old, new), wanted) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{text:?} {old:?}"),
                (Err(found), Err(wanted)) => assert!(found.contains(wanted), "{text:?} {old:?}: {found}"),
                (found, wanted) => panic!("{text:?} {old:?}: {found:?}, not {wanted:?}"),
            }
        }
    }
    #[test]
    fn the_lines_that_differ() {
        let letters: String = ('a'..='p').map(|it| format!("{it}\n")).collect();
        let changed = letters.replace("h\ni", "H\nI\nJ");
        let wanted = "    ...\n  4 d\n  5 e\n  6 f\n  7 g\n- 8 h\n- 9 i\n+ 8 H\n+ 9 I\n+10 J\n 10 j\n 11 k\n 12 l\n 13 m\n    ...";
        assert_eq!(diff(&letters, &changed), (wanted.to_owned(), 8));
        assert_eq!(
            diff("one\ntwo\nthree", "one\nTWO\nthree"),
            (" 1 one\n-2 two\n+2 TWO\n 3 three".to_owned(), 2)
        );
        assert_eq!(diff("a", ""), ("-1 a".to_owned(), 1));
        assert_eq!(diff("", "a"), ("+1 a".to_owned(), 1));
        assert_eq!(diff("a\na\n", "a\n"), (" 1 a\n-2 a".to_owned(), 2));
    }
}
