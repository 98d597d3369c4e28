//! What runs in allowlist mode: pipelines and chains of programs from `tools.exec.safeBins`, on what they read from each other alone.
//!
//! The reading is narrower than a shell's: whatever it does not understand does not pass.
use std::path::Path;

/// Where those programs come from, so that no other folder can put its own in their place (security plan 1.4).
pub const PATH: &str = "/usr/bin:/bin";

/// Letters of options by which the usual ones open, write or wait for files, although no path is named.
const OPENING: &[(&str, &str)] = &[("grep", "rRfdD"), ("jq", "fL"), ("sort", "oT"), ("tail", "fF")];

/// Passes a command, or says what keeps it from passing.
pub(super) fn check(command: &str, safe_bins: &[String], cwd: &Path) -> Result<(), String> {
    segments(command)?.iter().try_for_each(|it| check_program(it, safe_bins, cwd))
}

/// Passes one program with its arguments, or says what keeps it from passing.
///
/// # Errors
/// Half a sentence.
pub fn check_program(words: &[String], safe_bins: &[String], cwd: &Path) -> Result<(), String> {
    let Some((program, args)) = words.split_first() else {
        return Err("a program is missing beside | ; && or ||".to_owned());
    };
    if program.contains('/') || !safe_bins.iter().any(|it| it == program) {
        return Err(format!("{program} is not in tools.exec.safeBins"));
    }
    if !PATH.split(':').any(|it| Path::new(it).join(program).is_file()) {
        return Err(format!("{program} is not in {PATH}"));
    }
    let opening = OPENING.iter().find(|it| it.0 == program).map_or("", |it| it.1);
    for arg in args {
        let option = arg.strip_prefix('-').filter(|it| !it.is_empty());
        let opens = option.is_some_and(|it| it.starts_with('-') || it.contains(|c| opening.contains(c)));
        let plain = || arg == "-" || arg.bytes().all(|it| it.is_ascii_digit());
        // Its second argument is a file that it writes.
        let names_output = program == "uniq" && option.is_none() && !plain();
        let names_file = arg.contains('/') || !matches!(arg.as_str(), "." | "-") && cwd.join(arg).exists();
        if opens || names_output || names_file || arg.starts_with('~') {
            return Err(format!("{program} may read what comes through the pipe alone, not {arg:?}"));
        }
    }
    Ok(())
}

/// The words of each program of the command line, as a shell would read it.
///
/// # Errors
/// What is not understood.
pub fn segments(command: &str) -> Result<Vec<Vec<String>>, String> {
    let mut all: Vec<Vec<String>> = vec![vec![]];
    let mut word: Option<String> = None;
    let mut chars = command.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => all.last_mut().expect("it begins with one").extend(word.take()),
            '|' | '&' | ';' => {
                all.last_mut().expect("it begins with one").extend(word.take());
                let double = chars.next_if_eq(&c).is_some();
                if c == '&' && !double || c == ';' && double {
                    return Err(format!("{c} is not understood in allowlist mode"));
                }
                all.push(vec![]);
            }
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some('$' | '`' | '\\' | '!') | None if c == '"' => {
                            return Err("$ ` \\ ! and an open end are not understood between \"\"".to_owned());
                        }
                        Some('\n' | '\0') | None => return Err("a quote stays open".to_owned()),
                        Some(c) => word.push(c),
                    }
                }
            }
            _ if c.is_alphanumeric() || "-_.,:=+/@%^".contains(c) => word.get_or_insert_default().push(c),
            _ => return Err(format!("{c:?} is not understood in allowlist mode")),
        }
    }
    all.last_mut().expect("it begins with one").extend(word.take());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    #[test]
    fn only_what_is_understood_passes() {
        let dir = TempDir::new();
        crate::base::files::write_atomic(&dir.path().join("secret"), b"x").unwrap();
        let bins: Vec<String> = ["grep", "head", "sort", "tail", "uniq", "cut", "wc", "tr", "nosuchbin"]
            .map(str::to_owned)
            .to_vec();
        for command in [
            "head -n 1",
            "head -n 1 | grep 'a b$(c)' | sort -rn",
            "wc -l; wc -c && head -c 3 || tail -n 2",
            "grep \"it's\"",
            "cut -d, -f1",
            "cut -d ':' -f 2",
            "tr a-z 'A-Z'",
            "uniq -c",
            "uniq -f 2 -",
            "sort",
        ] {
            assert_eq!(check(command, &bins, dir.path()), Ok(()), "{command}");
        }
        for command in [
            "",
            "ls",
            "./head",
            "/bin/head",
            "nosuchbin",
            "head /etc/passwd",
            "head secret",
            "head 'sec''ret'",
            "head ~root",
            "head *",
            "head ?ecret",
            "head {a,b}",
            "head < x",
            "head > x",
            "head $(ls)",
            "head \"$(ls)\"",
            "head `ls`",
            "head \"`ls`\"",
            "head $HOME",
            "head & ls",
            "head |& ls",
            "head | ls",
            "head || ls",
            "head; ls",
            "head ;; wc",
            "head\nls",
            "head \\\nls",
            "A=1 head",
            "A=1",
            "head |",
            "| head",
            "head && ",
            "head 'open",
            "head \"open",
            "(head)",
            "!head",
            "# head",
            "sort -o out",
            "sort -nooo",
            "sort --output=out",
            "sort --compress-program=sh",
            "grep -r x",
            "grep -fx",
            "grep -e x secret",
            "uniq - out",
            "tail -f",
            "wc --files0-from=secret",
            "head\u{a0}x",
        ] {
            assert!(check(command, &bins, dir.path()).is_err(), "{command}");
        }
    }
}
