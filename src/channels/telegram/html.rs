//! What models write (Markdown, more or less) as the HTML that the Bot API takes.
//!
//! * Tags are always closed and never cross, whatever is written: what is no markup is text.
use std::fmt::Write;

/// How a table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tables {
    /// As it was written.
    Off,
    /// A list.
    Bullets,
    /// In a fixed width.
    #[default]
    Code,
}

/// Markup within markup within markup … Ours: nobody writes more.
const DEPTH_MAX: u8 = 6;

pub fn render(markdown: &str, tables: Tables) -> String {
    let mut out = String::with_capacity(markdown.len() + 64);
    let lines: Vec<&str> = markdown.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        if at > 0 {
            out.push('\n');
        }
        at += block(&lines[at..], tables, &mut out);
    }
    out
}

/// Writes the block at the beginning of `lines`; how many it takes.
fn block(lines: &[&str], tables: Tables, out: &mut String) -> usize {
    let line = lines[0];
    if let Some((mark, info)) = fence(line) {
        let end = lines[1..].iter().position(|it| closes(it, mark)).map_or(lines.len(), |it| it + 1);
        let word: String =
            info.chars().take_while(|it| it.is_ascii_alphanumeric() || "+-#_.".contains(*it)).collect();
        let code = escaped(&lines[1..end].join("\n"));
        match word.is_empty() {
            true => drop(write!(out, "<pre>{code}</pre>")),
            false => drop(write!(out, "<pre><code class=\"language-{word}\">{code}</code></pre>")),
        }
        return (end + 1).min(lines.len());
    }
    if line.starts_with('>') {
        let taken = lines.iter().take_while(|it| it.starts_with('>')).count();
        let inside: Vec<String> = lines[..taken].iter().map(|it| row(it[1..].trim_start())).collect();
        let _ = write!(out, "<blockquote>{}</blockquote>", inside.join("\n"));
        return taken;
    }
    if tables != Tables::Off && lines.len() > 1 && is_row(line) && is_rule(lines[1]) {
        let taken = 2 + lines[2..].iter().take_while(|it| is_row(it)).count();
        let rows: Vec<Vec<&str>> =
            std::iter::once(line).chain(lines[2..taken].iter().copied()).map(cells).collect();
        out.push_str(&table(&rows, tables));
        return taken;
    }
    out.push_str(&row(line));
    1
}

/// The mark and what follows it.
pub fn fence(line: &str) -> Option<(&str, &str)> {
    let text = line.trim_start();
    let first = text.chars().next().filter(|it| "`~".contains(*it))?;
    let mark = &text[..text.len() - text.trim_start_matches(first).len()];
    let info = text[mark.len()..].trim();
    (mark.len() >= 3 && !info.contains('`')).then_some((mark, info))
}

pub fn closes(line: &str, mark: &str) -> bool {
    let text = line.trim();
    text.starts_with(mark) && text.trim_start_matches(&mark[..1]).is_empty()
}

/// One line that is neither code nor quote.
fn row(line: &str) -> String {
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    let hashes = text.len() - text.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) && text[hashes..].starts_with(' ') {
        return format!(
            "<b>{}</b>",
            inline(text[hashes..].trim().trim_end_matches('#').trim_end(), DEPTH_MAX)
        );
    }
    if let Some(item) = ["- ", "* ", "+ "].iter().find_map(|it| text.strip_prefix(it)) {
        let item = match (item.strip_prefix("[ ] "), item.strip_prefix("[x] ")) {
            (Some(open), _) => format!("☐ {}", inline(open, DEPTH_MAX)),
            (_, Some(done)) => format!("☑ {}", inline(done, DEPTH_MAX)),
            _ => inline(item, DEPTH_MAX),
        };
        return format!("{indent}• {item}");
    }
    let rule: String = text.chars().filter(|it| !it.is_whitespace()).collect();
    if rule.len() >= 3
        && ["-", "*", "_"].iter().any(|it| rule.trim_matches(it.chars().next().unwrap_or('-')).is_empty())
    {
        return "———".into();
    }
    format!("{indent}{}", inline(text, DEPTH_MAX))
}

fn is_row(line: &str) -> bool {
    line.trim().starts_with('|') && line.trim().len() > 2
}
fn is_rule(line: &str) -> bool {
    is_row(line) && line.chars().all(|it| "|-: \t".contains(it)) && line.contains('-')
}
fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

fn table(rows: &[Vec<&str>], tables: Tables) -> String {
    if tables == Tables::Bullets {
        let (head, body) = (&rows[0], &rows[1..]);
        let item = |row: &Vec<&str>| {
            let pairs = row.iter().enumerate().skip(1).filter(|it| !it.1.is_empty());
            let rest: Vec<String> = pairs
                .map(|(n, cell)| match head.get(n).filter(|it| !it.is_empty()) {
                    Some(name) => format!("{}: {}", inline(name, DEPTH_MAX), inline(cell, DEPTH_MAX)),
                    None => inline(cell, DEPTH_MAX),
                })
                .collect();
            let first = inline(row.first().copied().unwrap_or_default(), DEPTH_MAX);
            format!("• <b>{first}</b>{}{}", if rest.is_empty() { "" } else { " — " }, rest.join("; "))
        };
        return body.iter().map(item).collect::<Vec<_>>().join("\n");
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |n: usize| rows.iter().filter_map(|it| it.get(n)).map(|it| it.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<&str>| {
        let cells: Vec<String> =
            (0..columns).map(|n| format!("{:1$}", row.get(n).unwrap_or(&""), widths[n])).collect();
        cells.join(" | ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.insert(1, widths.iter().map(|it| "-".repeat(*it)).collect::<Vec<_>>().join("-|-"));
    format!("<pre>{}</pre>", escaped(&lines.join("\n")))
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Pairs and their tags, the longer marks first.
const PAIRS: [(&str, &str); 6] =
    [("**", "b"), ("__", "b"), ("~~", "s"), ("||", "tg-spoiler"), ("*", "i"), ("_", "i")];

fn inline(text: &str, depth: u8) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c == '\\' && rest[1..].starts_with(|it: char| it.is_ascii_punctuation()) {
            out.push_str(&escaped(&rest[1..2]));
            at += 2;
        } else if let Some((html, taken)) = span(text, at, depth) {
            out.push_str(&html);
            at += taken;
        } else {
            // A mark that opens nothing is taken whole, or its second half would open something else.
            let mark = PAIRS.iter().find(|it| rest.starts_with(it.0)).map_or(c.len_utf8(), |it| it.0.len());
            out.push_str(&escaped(&rest[..mark]));
            at += mark;
        }
    }
    out
}

/// The markup that begins there, and how long it is.
fn span(text: &str, at: usize, depth: u8) -> Option<(String, usize)> {
    let rest = &text[at..];
    if rest.starts_with('`') {
        let ticks = rest.len() - rest.trim_start_matches('`').len();
        let mark = &rest[..ticks];
        let end = closing_ticks(&rest[ticks..], ticks)?;
        let code = rest[ticks..ticks + end].trim_matches(' ');
        let code = if code.is_empty() { mark } else { code };
        return Some((format!("<code>{}</code>", escaped(code)), 2 * ticks + end));
    }
    let depth = depth.checked_sub(1)?;
    if let Some(inside) = rest.strip_prefix('[') {
        let (words, behind) = inside.split_once("](")?;
        let url = &behind[..close(behind)?];
        let good = ["http://", "https://", "tg://", "mailto:", "tel:"]
            .iter()
            .any(|it| url.to_ascii_lowercase().starts_with(it));
        if words.contains('\n') || words.contains('[') || !good || url.contains(char::is_whitespace) {
            return None;
        }
        let href = escaped(url).replace('"', "&quot;");
        return Some((
            format!("<a href=\"{href}\">{}</a>", inline(words, depth)),
            words.len() + url.len() + 4,
        ));
    }
    let (mark, tag) = PAIRS.into_iter().find(|it| rest.starts_with(it.0))?;
    let word = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
    let before = text[..at].chars().next_back();
    // snake_case is no emphasis.
    if mark.starts_with('_') && word(before) || rest[mark.len()..].starts_with(char::is_whitespace) {
        return None;
    }
    let inside = &rest[mark.len()..];
    let ends = |(end, _): (usize, &str)| {
        let behind = inside[end + mark.len()..].chars().next();
        let single = mark.len() == 1 && (behind == mark.chars().next() || inside[..end].ends_with(mark));
        let spaced = inside[..end].ends_with(char::is_whitespace) || end == 0;
        let in_word = mark.starts_with('_') && word(behind);
        (!single && !spaced && !in_word).then_some(end)
    };
    let end = inside.match_indices(mark).find_map(ends)?;
    Some((format!("<{tag}>{}</{tag}>", inline(&inside[..end], depth)), end + 2 * mark.len()))
}

/// Where a run of exactly so many ticks begins.
fn closing_ticks(text: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = text[at..].find('`') {
        let run = text[at + next..].len() - text[at + next..].trim_start_matches('`').len();
        if run == ticks {
            return Some(at + next);
        }
        at += next + run;
    }
    None
}

/// Where the address ends; addresses may hold pairs of brackets.
fn close(text: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' if open == 0 => return Some(at),
            ')' => open -= 1,
            '\n' => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::each_seed;

    #[test]
    fn what_models_write() {
        for (markdown, html) in [
            ("a **b** c", "a <b>b</b> c"),
            ("*i* _j_ ***x***", "<i>i</i> <i>j</i> <b>*x</b>*"),
            ("~~s~~ ||p||", "<s>s</s> <tg-spoiler>p</tg-spoiler>"),
            ("snake_case_name", "snake_case_name"),
            ("2 * 3 * 4", "2 * 3 * 4"),
            ("**open", "**open"),
            ("**a _b** c_", "<b>a _b</b> c_"),
            ("`a<b` ``x`y``", "<code>a&lt;b</code> <code>x`y</code>"),
            (
                "[a](https://x.org/q_(z)?a=1&b=\"2\")",
                "<a href=\"https://x.org/q_(z)?a=1&amp;b=&quot;2&quot;\">a</a>",
            ),
            ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
            ("# Title #", "<b>Title</b>"),
            ("- one\n  * two\n- [x] three", "• one\n  • two\n• ☑ three"),
            ("> q\n> **r**", "<blockquote>q\n<b>r</b></blockquote>"),
            (
                "```rust\nfn a<T>() {}\n```\nend",
                "<pre><code class=\"language-rust\">fn a&lt;T&gt;() {}</code></pre>\nend",
            ),
            ("```\nopen", "<pre>open</pre>"),
            ("<b>raw</b> & co", "&lt;b&gt;raw&lt;/b&gt; &amp; co"),
            ("\\*not\\* \\<", "*not* &lt;"),
            ("---", "———"),
            ("a\n\nb", "a\n\nb"),
        ] {
            assert_eq!(render(markdown, Tables::Code), html, "{markdown}");
        }
    }
    #[test]
    fn tables() {
        let text = "| a | bb |\n|---|:-:|\n| 1 | 2 < 3 |";
        assert_eq!(render(text, Tables::Code), "<pre>a | bb\n--|------\n1 | 2 &lt; 3</pre>");
        assert_eq!(render(text, Tables::Bullets), "• <b>1</b> — bb: 2 &lt; 3");
        assert_eq!(render(text, Tables::Off), text.replace('<', "&lt;"));
    }

    /// Closed in the order in which they were opened, and no other `<` anywhere.
    fn check(html: &str) {
        let mut open: Vec<&str> = vec![];
        let mut rest = html;
        while let Some((_, behind)) = rest.split_once('<') {
            let (tag, behind) = behind.split_once('>').expect("a tag ends");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{html}"),
                None => open.push(tag.split(' ').next().unwrap()),
            }
            rest = behind;
        }
        assert!(open.is_empty(), "{html}");
    }
    #[test]
    fn whatever_is_written_the_tags_fit() {
        let words = [
            "*",
            "**",
            "_",
            "__",
            "~~",
            "||",
            "`",
            "```",
            "\n",
            " ",
            "a",
            "ä😀",
            "[x](https://y)",
            "[",
            "](",
            ")",
            "> ",
            "# ",
            "- ",
            "|",
            "|--|",
            "<",
            "&",
            "\\",
            "(",
            "```rust\n",
        ];
        each_seed(200, |mut seed| {
            let text: String = (0..seed.below(120)).map(|_| words[seed.below(words.len())]).collect();
            check(&render(&text, Tables::Code));
            check(&render(&text, Tables::Bullets));
        });
    }
}
