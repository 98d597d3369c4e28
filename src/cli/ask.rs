//! Questions to a person at a terminal. Each has an answer for the one who only presses Enter.
//!
//! * Only [`interactive`] says whether anybody is there; without a terminal nothing is ever asked.
//! * The end of the input (Ctrl-D) is [`Gone`]: whoever asked stops, and has changed nothing since the last answer.
use crate::base::sys;
use std::io::{BufRead, IsTerminal, Write};

/// Nobody answers any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// Whether a person can be asked.
pub fn interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

fn read(question: &str) -> Result<String, Gone> {
    let mut out = std::io::stdout().lock();
    write!(out, "{question} ").and_then(|()| out.flush()).map_err(|_| Gone)?;
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => Err(Gone),
        Ok(_) => Ok(line.trim().to_owned()),
    }
}

/// Yes or no.
///
/// # Errors
/// [`Gone`].
pub fn confirm(question: &str, default: bool) -> Result<bool, Gone> {
    let hint = if default { "[Y/n]" } else { "[y/N]" };
    loop {
        match &*read(&format!("{question} {hint}"))?.to_lowercase() {
            "" => return Ok(default),
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => super::print("Please answer y or n."),
        };
    }
}

/// A line of text.
///
/// # Errors
/// [`Gone`].
pub fn text(question: &str, default: &str) -> Result<String, Gone> {
    let hint = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    let answer = read(&format!("{question}{hint}:"))?;
    Ok(if answer.is_empty() { default.to_owned() } else { answer })
}

/// A line that is not shown while it is typed.
///
/// # Errors
/// [`Gone`].
pub fn secret(question: &str) -> Result<String, Gone> {
    let quiet = sys::NoEcho::of_stdin();
    let answer = read(&format!("{question} (not shown):"));
    drop(quiet);
    super::print("");
    answer
}

/// One of a list, by its number or its value; the first is the default.
///
/// # Errors
/// [`Gone`].
pub fn choice(question: &str, options: &[(String, String)], default: usize) -> Result<usize, Gone> {
    let lines = options.iter().enumerate().map(|(at, (_, label))| format!("  {}) {label}", at + 1));
    super::print(&std::iter::once(question.to_owned()).chain(lines).collect::<Vec<_>>().join("\n"));
    loop {
        let answer = text("Number", &(default + 1).to_string())?;
        let by_number =
            answer.parse::<usize>().ok().and_then(|it| it.checked_sub(1)).filter(|it| *it < options.len());
        match by_number.or_else(|| options.iter().position(|it| it.0 == answer)) {
            Some(it) => return Ok(it),
            None => super::print(&format!("Please answer 1 to {}.", options.len())),
        };
    }
}
