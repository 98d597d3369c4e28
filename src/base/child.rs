//! A command that runs: its group, its output, its end. One thread, waiting in one poll for output, the end, the clock and a cancel.
//!
//! ```text
//! running ── timeout, cancel ──► SIGTERM to the group ── EXEC_KILL_MS, or all of it has ended ──► SIGKILL to what is left
//!    └── the command ends ──► drain (EXEC_DRAIN_MS at most: something may hold the pipe) ──► done
//! ```
//!
//! Nothing of a stopped command is left behind, unless it made a session of its own. What a finished one left in the background lives on.
use super::cancel::Cancel;
use super::clock::Clock;
use super::limits::{EXEC_DRAIN_MS, EXEC_KILL_MS, EXEC_UPDATE_MS};
use super::sys;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What a command sees of the daemon's environment. Everything else may be a secret, or change what programs do.
pub const INHERITED: &str = "HOME LANG LANGUAGE LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME LOGNAME SHELL \
                             TERM TMPDIR TZ USER";
/// Without one in the daemon's environment. Debian's.
pub const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a caller may not set: it would run other programs than those that the command names. Reference: PATH and the loader's; ours:
/// shells' too.
const FORBIDDEN: &str = "PATH NODE_OPTIONS BASH_ENV ENV IFS SHELLOPTS BASHOPTS PS4 PERL5OPT RUBYOPT";
const FORBIDDEN_PREFIXES: &[&str] = &["LD_", "DYLD_", "BASH_FUNC_"];

/// Whether a text is the name of a variable at all.
pub fn is_variable(name: &str) -> bool {
    let plain = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    plain && name.bytes().next().is_some_and(|it| !it.is_ascii_digit())
}

/// Whether a caller may set that variable.
pub fn may_set(name: &str) -> bool {
    !FORBIDDEN.split(' ').any(|it| it == name) && !FORBIDDEN_PREFIXES.iter().any(|it| name.starts_with(it))
}

/// What becomes of what a command writes.
pub trait Collect: Default {
    /// Its errors have a pipe of their own.
    const APART: bool;
    fn push(&mut self, is_error: bool, bytes: &[u8]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
    TimedOut,
    Aborted,
}

#[derive(Debug)]
pub struct Ran<O> {
    pub end: End,
    pub output: O,
    /// Something in the background still holds the pipe.
    pub left_open: bool,
    pub took_ms: u64,
}

/// Runs it to its end, with `stdin` to read. `update` gets the process and what there is so far, now and then.
///
/// # Errors
/// When it cannot be started, or watched; then it does not run any more.
pub fn run<O: Collect>(
    mut command: Command,
    stdin: Stdio,
    timeout_ms: u64,
    clock: &Clock,
    cancel: &Cancel,
    update: &mut dyn FnMut(u32, &O),
) -> io::Result<Ran<O>> {
    let (out, write) = io::pipe()?;
    let (bell, ring) = io::pipe()?;
    let mut pipes = [Some(out), None];
    command.stdin(stdin);
    if O::APART {
        let (errors, write_errors) = io::pipe()?;
        pipes[1] = Some(errors);
        command.stdout(write).stderr(write_errors);
    } else {
        command.stdout(write.try_clone()?).stderr(write);
    }
    sys::own_session(&mut command);
    let start = clock.now().mono_ms;
    let mut group = Group { leader: command.spawn()?, reaped: false };
    // It holds the pipe's other end too: there would be no end of file.
    drop(command);
    let exit = sys::pidfd(group.leader.id())?;
    let _hook = cancel.on_cancel(move || drop(ring));
    let (mut output, mut buffer) = (O::default(), vec![0; 64 * 1024]);
    let (mut alive, mut stopped) = (true, None);
    let mut deadline = start.saturating_add(timeout_ms);
    let (mut fresh, mut next_update) = (false, start);
    while alive || pipes.iter().any(Option::is_some) {
        let wait = if fresh { deadline.min(next_update) } else { deadline };
        let wait = wait.saturating_sub(clock.now().mono_ms);
        let on_bell = stopped.is_none().then(|| bell.as_fd());
        let fd = |pipe: usize| pipes[pipe].as_ref().map(AsFd::as_fd);
        let watched = [fd(0), fd(1), alive.then(|| exit.as_fd()), on_bell];
        let [has_text, has_errors, ended, cancelled] = sys::poll(watched, wait)?;
        let now = clock.now().mono_ms;
        for (pipe, _) in [has_text, has_errors].into_iter().enumerate().filter(|it| it.1) {
            let read = read(&mut pipes[pipe], &mut buffer)?;
            fresh |= read > 0;
            output.push(pipe == 1, &buffer[..read]);
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
    let left_open = pipes.iter().any(Option::is_some) && stopped.is_none();
    Ok(Ran { end, output, left_open, took_ms: clock.now().mono_ms - start })
}

/// The pipe goes at its end.
fn read(pipe: &mut Option<PipeReader>, buffer: &mut [u8]) -> io::Result<usize> {
    let read = pipe.as_mut().map_or(Ok(0), |it| it.read(buffer))?;
    if read == 0 {
        *pipe = None;
    }
    Ok(read)
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
