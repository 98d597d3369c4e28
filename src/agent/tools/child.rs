//! A command that runs: its group, its output, its end. One thread, waiting in one poll for output, the end, the clock and a cancel.
//!
//! ```text
//! running ── timeout, cancel ──► SIGTERM to the group ── EXEC_KILL_MS, or all of it has ended ──► SIGKILL to what is left
//!    └── the command ends ──► drain (EXEC_DRAIN_MS at most: something may hold the pipe) ──► done
//! ```
//!
//! Nothing of a stopped command is left behind, unless it made a session of its own. What a finished one left in the background lives on.
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::limits::{
    EXEC_DRAIN_MS, EXEC_HEAD_BYTES, EXEC_KILL_MS, EXEC_UPDATE_MS, TOOL_TEXT_BYTES_MAX,
};
use crate::base::sys;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Code(i32),
    Signal(i32),
    TimedOut,
    Aborted,
}

#[derive(Debug)]
pub(super) struct Ran {
    pub end: End,
    pub output: Output,
    /// Something in the background still holds the pipe.
    pub left_open: bool,
    pub took_ms: u64,
}

/// Runs it to its end. `update` gets the process and what there is so far, now and then.
///
/// # Errors
/// When it cannot be started, or watched; then it does not run any more.
pub(super) fn run(
    mut command: Command,
    timeout_ms: u64,
    clock: &Clock,
    cancel: &Cancel,
    update: &mut dyn FnMut(u32, &Output),
) -> io::Result<Ran> {
    let (out, write) = io::pipe()?;
    let (bell, ring) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
    sys::own_session(&mut command);
    let start = clock.now().mono_ms;
    let mut group = Group { leader: command.spawn()?, reaped: false };
    // It holds the pipe's other end too: there would be no end of file.
    drop(command);
    let exit = sys::pidfd(group.leader.id())?;
    let _hook = cancel.on_cancel(move || drop(ring));
    let (mut output, mut buffer) = (Output::default(), vec![0; 64 * 1024]);
    let (mut out, mut alive, mut stopped) = (Some(out), true, None);
    let mut deadline = start.saturating_add(timeout_ms);
    let (mut fresh, mut next_update) = (false, start);
    while alive || out.is_some() {
        let wait = if fresh { deadline.min(next_update) } else { deadline };
        let wait = wait.saturating_sub(clock.now().mono_ms);
        let on_bell = stopped.is_none().then(|| bell.as_fd());
        let watched = [out.as_ref().map(|it| it.as_fd()), alive.then(|| exit.as_fd()), on_bell];
        let [readable, ended, cancelled] = sys::poll(watched, wait)?;
        let now = clock.now().mono_ms;
        if let Some(pipe) = out.as_mut().filter(|_| readable) {
            match pipe.read(&mut buffer)? {
                0 => out = None,
                n => {
                    output.push(&buffer[..n]);
                    fresh = true;
                }
            }
        }
        if ended {
            alive = false;
            // Whoever else is in the group, or holds the pipe, has so long.
            deadline = deadline.min(now + if stopped.is_some() { EXEC_KILL_MS } else { EXEC_DRAIN_MS });
        }
        let late = now >= deadline;
        if late && !alive {
            break;
        } else if late && stopped.is_some() {
            group.signal(libc::SIGKILL);
            deadline = u64::MAX;
        } else if cancelled || late {
            stopped = Some(if cancelled { End::Aborted } else { End::TimedOut });
            group.signal(libc::SIGTERM);
            deadline = now + EXEC_KILL_MS;
        }
        if fresh && now >= next_update {
            update(group.leader.id(), &output);
            (fresh, next_update) = (false, now + EXEC_UPDATE_MS);
        }
    }
    if stopped.is_some() {
        group.signal(libc::SIGKILL);
    }
    let status = group.reap()?;
    let end = stopped.unwrap_or_else(|| match status.signal() {
        Some(signal) => End::Signal(signal),
        None => End::Code(status.code().unwrap_or_default()),
    });
    let left_open = out.is_some() && stopped.is_none();
    Ok(Ran { end, output, left_open, took_ms: clock.now().mono_ms - start })
}

/// A process group by its leader, which keeps its number until it is reaped. Dropped before that, it is killed.
struct Group {
    leader: Child,
    reaped: bool,
}

impl Group {
    fn signal(&self, signal: i32) {
        // ESRCH: nobody is left. EPERM: what is left became somebody else, and is theirs to stop.
        let _ = sys::kill_group(self.leader.id() as i32, signal);
    }
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.leader.wait();
        self.reaped = true;
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(libc::SIGKILL);
            // It was killed: it ends, and whatever it says then interests nobody.
            let _ = self.leader.wait();
        }
    }
}

/// The beginning and the end of what a command wrote, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Output {
    head: Vec<u8>,
    /// May hold up to twice what is shown, so that not every piece moves it.
    tail: Vec<u8>,
    total: u64,
}

const TAIL_BYTES: usize = TOOL_TEXT_BYTES_MAX - EXEC_HEAD_BYTES;

impl Output {
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = EXEC_HEAD_BYTES - self.head.len();
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(rest);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }
    /// All of it, or its two ends and how much is missing between them; without control characters, blank lines around it.
    pub fn text(&self) -> String {
        let tail = last(&self.tail, TAIL_BYTES);
        let cut = self.total - (self.head.len() + tail.len()) as u64;
        let all = if cut == 0 {
            clean(&[&self.head, tail].concat())
        } else {
            // A character that is cut in two is left out.
            let head = match std::str::from_utf8(&self.head) {
                Err(err) if err.error_len().is_none() => &self.head[..err.valid_up_to()],
                _ => &self.head,
            };
            format!("{}\n\n[{cut} bytes left out]\n\n{}", clean(head), clean(tail))
        };
        all.trim_end().trim_start_matches(['\r', '\n']).to_owned()
    }
    /// The last `chars` characters so far.
    pub fn end(&self, chars: usize) -> String {
        let tail = last(&self.tail, 4 * chars);
        let head = last(&self.head, 4 * chars - tail.len());
        let text = clean(&[head, tail].concat());
        let skip = text.chars().count().saturating_sub(chars);
        text.chars().skip(skip).collect()
    }
}

/// The last bytes, from the beginning of a character on.
fn last(bytes: &[u8], max: usize) -> &[u8] {
    let mut at = bytes.len().saturating_sub(max);
    let inside = |at: usize| at > 0 && bytes.get(at).is_some_and(|it| it & 0xc0 == 0x80);
    for _ in 0..3 {
        at += usize::from(inside(at));
    }
    &bytes[at..]
}

/// What is no text becomes U+FFFD; control characters (colours, bells, NUL) go.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|it| !it.is_control() || matches!(it, '\n' | '\r' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn both_ends_stay() {
        let mut output = Output::default();
        for n in 0..100_000 {
            output.push(format!("{n} é\n").as_bytes());
            assert!(output.tail.len() <= 2 * TAIL_BYTES && output.head.len() <= EXEC_HEAD_BYTES);
        }
        let text = output.text();
        assert!(text.starts_with("0 é\n1 é\n") && text.ends_with("\n99999 é"), "{text}");
        assert!(text.len() <= TOOL_TEXT_BYTES_MAX + 100 && !text.contains('\u{fffd}'), "{}", text.len());
        let (before, after) = text.split_once("\n\n[").unwrap();
        let (cut, after) = after.split_once(" bytes left out]\n\n").unwrap();
        let shown = before.len() + after.len() + 1;
        let cut: usize = cut.parse().unwrap();
        assert!((output.total as usize - cut).abs_diff(shown) <= 3, "{cut} {shown}");
        assert_eq!(output.end(9), "\n99999 é\n");
    }
    #[test]
    fn shown_safely() {
        for (bytes, shown) in [
            (&b"a\0b\x1b[31mred\x07\xffz\r\n"[..], "ab[31mred\u{fffd}z"),
            (b"\n\n  indented\n", "  indented"),
            (b"", ""),
            ("\u{9b}1mé\u{200b}".as_bytes(), "1mé\u{200b}"),
        ] {
            let mut output = Output::default();
            bytes.iter().for_each(|it| output.push(&[*it]));
            assert_eq!(output.text(), shown);
        }
    }
}
