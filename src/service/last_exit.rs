//! How the gateway ended the last time: a small record in the state folder, written at the start and at the end of the process.
//!
//! ```text
//! begin ──► {pid, startedAtMs, bootId}          the record before it becomes `previous`
//! end   ──► + {endedAtMs, how, signal | error, panic, peakKib}
//! killed: nothing. Then `record-exit` of the unit says what systemd saw, or the next start that nothing was said
//! ```
//!
//! * Only the process that holds the state folder's lock writes it; `record_exit` only where that process has gone without a word.
use crate::base::clock::Now;
use crate::base::files;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The record is some 500 bytes; a panic's message may be longer.
const RECORD_BYTES_MAX: u64 = 64 * 1024;
/// Characters of an error or a panic that are kept.
const TEXT_CHARS_MAX: usize = 2000;

/// One life of the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Life {
    pub pid: u32,
    pub version: String,
    /// Milliseconds since 1970.
    pub started_at_ms: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    boot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<i64>,
    /// `stopped`, `failed`, `killed`, `lost` (it said nothing) or `rebooted`; None while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// `SIGTERM`; what stopped or killed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last panic, with its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic: Option<String>,
    /// The most memory that it had, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_kib: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    #[serde(flatten)]
    life: Life,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Life>,
}

/// How a process ends that can still say so.
#[derive(Debug, Clone)]
pub enum Ending {
    Stopped { signal: Option<&'static str> },
    Failed { error: String, exit_code: i32 },
}

fn file(state: &Path) -> PathBuf {
    state.join("last-exit.json")
}

/// What cannot be read counts as nothing: the record informs, and nobody depends on it.
fn read(state: &Path) -> Option<Record> {
    let text = files::read_text(&file(state), RECORD_BYTES_MAX).ok()??;
    serde_json::from_str(&text).ok()
}

fn write(state: &Path, record: &Record) -> io::Result<()> {
    files::write_atomic(&file(state), serde_json::to_string_pretty(record)?.as_bytes())
}

fn boot_id() -> String {
    let text = files::read_proc(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    text.trim().to_owned()
}

/// This process begins. Answers how the one before it ended.
///
/// # Errors
/// What the system says of the write.
pub fn begin(state: &Path, version: &str, now: Now) -> io::Result<Option<Life>> {
    let boot_id = boot_id();
    let previous = read(state).map(|it| settled(it.life, &boot_id));
    let life = Life {
        pid: std::process::id(),
        version: version.to_owned(),
        started_at_ms: now.unix_ms,
        boot_id,
        ..Life::default()
    };
    write(state, &Record { life, previous: previous.clone() })?;
    Ok(previous)
}

/// A life that said nothing at its end, of which we know that it has ended.
fn settled(mut life: Life, boot_id: &str) -> Life {
    if life.how.is_none() {
        let same = life.boot_id == boot_id || life.boot_id.is_empty();
        life.how = Some(if same { "lost" } else { "rebooted" }.to_owned());
    }
    life
}

/// This process ends.
///
/// # Errors
/// What the system says of the write.
pub fn end(state: &Path, ending: Ending, now: Now) -> io::Result<()> {
    let mut record = read(state).unwrap_or_default();
    let life = &mut record.life;
    life.ended_at_ms = Some(now.unix_ms);
    life.peak_kib = peak_kib();
    life.panic = last_panic();
    match ending {
        Ending::Stopped { signal } => {
            life.how = Some("stopped".to_owned());
            life.signal = signal.map(str::to_owned);
        }
        Ending::Failed { error, exit_code } => {
            life.how = Some("failed".to_owned());
            (life.error, life.exit_code) = (Some(short(&error)), Some(exit_code));
        }
    }
    write(state, &record)
}

/// What systemd saw (`SERVICE_RESULT`, `EXIT_CODE`, `EXIT_STATUS`), of a process that ended without a word. True when that was so.
///
/// # Errors
/// What the system says of the write.
pub fn record_exit(state: &Path, result: &str, code: &str, status: &str, now: Now) -> io::Result<bool> {
    let Some(mut record) = read(state).filter(|it| it.life.how.is_none()) else { return Ok(false) };
    let life = &mut record.life;
    life.how = Some(if code == "exited" { "failed" } else { "killed" }.to_owned());
    life.ended_at_ms = Some(now.unix_ms);
    match status.parse() {
        Ok(number) => life.exit_code = Some(number),
        Err(_) if status.is_empty() => {}
        Err(_) => life.signal = Some(format!("SIG{status}")),
    }
    life.error = match result {
        "oom-kill" => Some("the kernel was out of memory and chose it".to_owned()),
        "watchdog" => Some("it did not tell systemd that it lives (watchdog)".to_owned()),
        "timeout" => Some("it took longer than systemd waits".to_owned()),
        _ => None,
    };
    life.peak_kib = cgroup_peak_kib();
    write(state, &record)?;
    Ok(true)
}

/// The last life that has ended: that of the record, unless its process runs.
pub fn last(state: &Path) -> Option<Life> {
    let record = read(state)?;
    let runs = record.life.how.is_none() && Path::new(&format!("/proc/{}", record.life.pid)).exists();
    if runs { record.previous } else { Some(settled(record.life, &boot_id())) }
}

impl Life {
    /// One line for people; `when` is how they write a time.
    pub fn text(&self, when: impl Fn(i64) -> String) -> String {
        let mut text = match (self.how.as_deref(), &self.signal) {
            (Some("stopped"), Some(signal)) => format!("stopped by {signal}"),
            (Some("stopped"), None) => "stopped".to_owned(),
            (Some("failed"), _) => match self.exit_code {
                Some(code) => format!("failed with exit code {code}"),
                None => "failed".to_owned(),
            },
            (Some("killed"), Some(signal)) => format!("killed by {signal}"),
            (Some("rebooted"), _) => "the machine went down under it".to_owned(),
            _ => "ended without a word: killed (SIGKILL, out of memory) or crashed".to_owned(),
        };
        if let Some(at) = self.ended_at_ms {
            text.push_str(&format!(" at {}", when(at)));
        }
        if let Some(peak) = self.peak_kib {
            text.push_str(&format!(", peak memory {:.1} MiB", peak as f64 / 1024.0));
        }
        for it in self.error.iter().chain(self.panic.iter()) {
            text.push_str(&format!("; {}", it.replace('\n', " ")));
        }
        text
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// `VmHWM` of this process.
fn peak_kib() -> Option<u64> {
    let text = files::read_proc(Path::new("/proc/self/status")).ok()?;
    text.lines().find_map(|it| it.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}

/// The most that the service's group had, tools included (Linux 5.19).
fn cgroup_peak_kib() -> Option<u64> {
    let own = files::read_proc(Path::new("/proc/self/cgroup")).ok()?;
    let group = own.lines().find_map(|it| it.strip_prefix("0::/"))?;
    let path = Path::new("/sys/fs/cgroup").join(group).join("memory.peak");
    files::read_proc(&path).ok()?.trim().parse::<u64>().ok().map(|it| it / 1024)
}

static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn last_panic() -> Option<String> {
    PANIC.lock().unwrap_or_else(|it| it.into_inner()).clone()
}

/// From now on a panic is in the log, and in the record; stderr has it too.
pub fn remember_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        let text = short(&format!("thread {thread}: {info}").replace('\n', " "));
        *PANIC.lock().unwrap_or_else(|it| it.into_inner()) = Some(text.clone());
        log::error!(target: "gateway", "panic in {text}");
        before(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    const NOW: Now = Now { mono_ms: 0, unix_ms: 1000 };

    fn when(at: i64) -> String {
        at.to_string()
    }

    #[test]
    fn a_life_that_says_how_it_ended() {
        let dir = TempDir::new();
        assert_eq!(begin(dir.path(), "1", NOW).unwrap(), None);
        assert_eq!(last(dir.path()), None, "it runs");
        end(dir.path(), Ending::Stopped { signal: Some("SIGTERM") }, NOW).unwrap();
        let it = last(dir.path()).unwrap();
        assert!(it.text(when).starts_with("stopped by SIGTERM at 1000, peak memory "), "{}", it.text(when));
        assert!(!record_exit(dir.path(), "success", "exited", "0", NOW).unwrap(), "it had its own word");
        assert_eq!(begin(dir.path(), "1", NOW).unwrap().unwrap().signal.as_deref(), Some("SIGTERM"));
    }
    #[test]
    fn a_life_that_does_not() {
        let dir = TempDir::new();
        begin(dir.path(), "1", NOW).unwrap();
        assert!(record_exit(dir.path(), "oom-kill", "killed", "KILL", NOW).unwrap());
        let text = last(dir.path()).unwrap().text(when);
        assert!(text.starts_with("killed by SIGKILL at 1000") && text.contains("out of memory"), "{text}");
        begin(dir.path(), "1", NOW).unwrap();
        let it = begin(dir.path(), "1", NOW).unwrap().unwrap();
        assert_eq!(it.how.as_deref(), Some("lost"));
        let other = Life { boot_id: "another".into(), ..Life::default() };
        assert_eq!(settled(other, "this").how.as_deref(), Some("rebooted"));
    }
    #[test]
    fn a_record_that_is_no_record() {
        let dir = TempDir::new();
        files::write_atomic(&file(dir.path()), b"{ half").unwrap();
        assert_eq!(last(dir.path()), None);
        assert_eq!(begin(dir.path(), "1", NOW).unwrap(), None);
        end(dir.path(), Ending::Failed { error: "x\ny".into(), exit_code: 78 }, NOW).unwrap();
        assert!(last(dir.path()).unwrap().text(when).contains("failed with exit code 78"));
    }
}
