//! Long texts in pieces: at paragraphs where that can be, and code stays code in each of them.
use super::html::{closes, fence};

/// As the Bot API counts.
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The first so many units.
pub fn cut(text: &str, most: usize) -> &str {
    let mut left = most;
    for (at, c) in text.char_indices() {
        match left.checked_sub(c.len_utf16()) {
            Some(it) => left = it,
            None => return &text[..at],
        }
    }
    text
}

/// Pieces of at most `most` units (at least 64), none of them blank. `paragraphs`: each paragraph is a piece of its own.
pub fn chunks(text: &str, most: usize, paragraphs: bool) -> Vec<String> {
    let mut maker =
        Maker { most: most.max(64), paragraphs, done: vec![], piece: String::new(), fence: None, used: 0 };
    for line in text.trim_end().lines() {
        maker.line(line);
    }
    maker.flush(false);
    maker.done
}

struct Maker {
    most: usize,
    paragraphs: bool,
    done: Vec<String>,
    piece: String,
    /// The line that opened the code we are in, and its mark.
    fence: Option<(String, String)>,
    /// Units of the piece.
    used: usize,
}

impl Maker {
    fn line(&mut self, line: &str) {
        if self.paragraphs && self.fence.is_none() && line.trim().is_empty() {
            return self.flush(false);
        }
        // Room for the line that closes the code in this piece; the line may open it.
        let opens = if self.fence.is_none() { fence(line).map(|it| it.0.len()) } else { None };
        let spare = self.fence.as_ref().map(|it| it.1.len()).or(opens).map_or(0, |it| it + 1);
        let room = self.most.saturating_sub(spare);
        let mut rest = line;
        while self.used + units(rest) + 1 > room {
            let fresh = self.fence.as_ref().map_or(0, |it| units(&it.0) + 1);
            if self.used > fresh {
                // A line that fits into a piece of its own is not torn.
                self.flush(true);
                continue;
            }
            let head = best_cut(rest, room.saturating_sub(self.used + 1).max(16));
            self.push(head);
            self.flush(true);
            rest = rest[head.len()..].trim_start_matches(' ');
        }
        self.push(rest);
        match &self.fence {
            Some((_, mark)) if closes(line, mark) => self.fence = None,
            None => self.fence = fence(line).map(|it| (cut(line, self.most / 4).to_owned(), it.0.to_owned())),
            _ => {}
        }
    }
    fn push(&mut self, line: &str) {
        if !self.piece.is_empty() || self.used > 0 {
            self.piece.push('\n');
        }
        self.piece.push_str(line);
        self.used += units(line) + 1;
    }
    /// Ends a piece. `early`: something follows that belongs to it; it then ends at the last paragraph, if that is not too early.
    fn flush(&mut self, early: bool) {
        let mut piece = std::mem::take(&mut self.piece);
        let mut next = String::new();
        match &self.fence {
            Some((opening, mark)) => {
                piece = format!("{piece}\n{mark}");
                next.clone_from(opening);
            }
            // The last line is blank: a paragraph ends here.
            None if early && !piece.ends_with('\n') => {
                if let Some(at) =
                    piece.rfind("\n\n").filter(|it| *it > piece.len() / 2 && is_outside(&piece[..*it]))
                {
                    next = piece[at..].trim_start_matches('\n').to_owned();
                    piece.truncate(at);
                }
            }
            None => {}
        }
        if !piece.trim().is_empty() {
            self.done.push(piece.trim_matches('\n').to_owned());
        }
        self.used = if next.is_empty() { 0 } else { units(&next) + 1 };
        self.piece = next;
    }
}

/// No code is open at the end.
fn is_outside(text: &str) -> bool {
    let mut open: Option<&str> = None;
    for line in text.lines() {
        match open {
            Some(mark) if closes(line, mark) => open = None,
            None => open = fence(line).map(|it| it.0),
            _ => {}
        }
    }
    open.is_none()
}

/// The longest beginning that ends behind a sentence, else a word, else anywhere.
fn best_cut(text: &str, most: usize) -> &str {
    let head = cut(text, most);
    if head.len() == text.len() {
        return head;
    }
    let half = head.len() / 2;
    let sentence = [". ", "! ", "? ", "。"]
        .iter()
        .filter_map(|it| head.rfind(it).map(|at| at + it.trim_end().len()))
        .max();
    let word = head.rfind(' ');
    let at = sentence.filter(|it| *it > half).or(word.filter(|it| *it > half)).unwrap_or(head.len());
    &head[..at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::each_seed;

    #[test]
    fn at_paragraphs() {
        let text = format!("{}\n\n{}\n\n{}", "a".repeat(50), "b".repeat(30), "c".repeat(50));
        let got = chunks(&text, 100, false);
        assert_eq!(got, [format!("{}\n\n{}", "a".repeat(50), "b".repeat(30)), "c".repeat(50)]);
        assert_eq!(chunks("a\n\nb\n\n\n```\nx\n\ny\n```", 100, true), ["a", "b", "```\nx\n\ny\n```"]);
        assert!(chunks(" \n\n ", 100, false).is_empty());
    }
    #[test]
    fn code_stays_code() {
        let code: Vec<String> = (0..20).map(|it| format!("line {it} of the program")).collect();
        let text = format!("Here:\n```rust\n{}\n```\nDone.", code.join("\n"));
        let got = chunks(&text, 120, false);
        assert!(got.len() > 3);
        for piece in &got {
            assert!(units(piece) <= 120, "{piece}");
            assert_eq!(piece.lines().filter(|it| it.starts_with("```")).count() % 2, 0, "{piece}");
        }
        let all = got.join("\n");
        assert!(code.iter().all(|it| all.contains(it.as_str())));
    }
    #[test]
    fn long_lines_end_at_words() {
        let got = chunks(&"word and another one. ".repeat(30), 100, false);
        assert!(got.iter().all(|it| it.ends_with('.') && units(it) <= 100), "{got:?}");
        assert_eq!(chunks(&"😀".repeat(200), 64, false).concat(), "😀".repeat(200));
    }
    #[test]
    fn nothing_is_lost_and_all_fit() {
        let words =
            ["a", "longer-word", "\n", "\n\n", " ", "```\n", "\n```\n", "😀", "```rust\n", "x. ", "~~~\n"];
        each_seed(200, |mut seed| {
            let text: String = (0..seed.below(400)).map(|_| words[seed.below(words.len())]).collect();
            let most = 64 + seed.below(100);
            let got = chunks(&text, most, seed.one_in(2));
            assert!(got.iter().all(|it| units(it) <= most), "{most} {got:?}");
            let bare = |text: &str| {
                text.chars().filter(|it| it.is_alphanumeric() || *it == '😀').collect::<String>()
            };
            let (want, have) = (bare(&text).replace("rust", ""), bare(&got.concat()).replace("rust", ""));
            assert_eq!(have, want);
        });
    }
}
