//! The log: one line a record to stdout (simplelog), the same record as JSON to the daily file that `logs.tail` reads.
//!
//! * The caller never blocks: records go to the `log` thread through a bounded queue; what does not fit is counted.
//! * Nothing secret, no control character and no flood gets through: see `Gate`.
//! * File records have the reference's shape (keys `"0"`, `"1"`, `_meta`, `time`), so its clients read them.
use super::{clock, files, limits::*, secret, sys};
use crossbeam_channel::{Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// Where and how much to log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Level of stdout.
    pub console: LevelFilter,
    /// Level of the file.
    pub file: LevelFilter,
    /// The folder of the daily files, or None for no file.
    pub dir: Option<PathBuf>,
    /// A fixed file instead of the daily one (`logging.file`).
    pub path: Option<PathBuf>,
}

enum Line {
    Record { level: Level, target: String, text: String },
    Flush(Sender<()>),
    Settings(Settings),
}

struct Gate {
    tx: Sender<Line>,
    dropped: AtomicU64,
    sites: Mutex<HashMap<(&'static str, u32), Site>>,
    clock: clock::Clock,
}

#[derive(Default)]
struct Site {
    second: u64,
    lines: u32,
    suppressed: u64,
}

static GATE: OnceLock<Gate> = OnceLock::new();

/// Starts the log thread, or changes its settings when it runs (an in-process restart).
///
/// # Errors
/// When the system refuses the thread.
pub fn start(settings: Settings, clock: clock::Clock) -> std::io::Result<()> {
    log::set_max_level(settings.console.max(settings.file));
    if let Some(gate) = GATE.get() {
        // A full queue only delays the change; the log thread always drains.
        let _ = gate.tx.send(Line::Settings(settings));
        return Ok(());
    }
    let (tx, rx) = bounded(LOG_QUEUE_MAX);
    let mut sink = Sink::new(settings, clock);
    std::thread::Builder::new().name("log".into()).stack_size(THREAD_STACK_BYTES).spawn(move || {
        for line in rx {
            match line {
                Line::Record { level, target, text } => sink.write(level, &target, &text),
                Line::Settings(settings) => sink = Sink::new(settings, clock),
                Line::Flush(done) => {
                    sink.console.flush();
                    let _ = done.send(());
                }
            }
        }
    })?;
    let gate = Gate { tx, dropped: AtomicU64::new(0), sites: Mutex::default(), clock };
    if GATE.set(gate).is_ok() {
        log::set_logger(GATE.get().expect("set on the line above")).expect("no other logger is installed");
    }
    Ok(())
}

/// The file that records of this day go to.
pub fn daily_file(dir: &Path, unix_ms: i64) -> PathBuf {
    dir.join(format!("openclaw-{}.log", clock::date(unix_ms)))
}

impl Gate {
    /// How many lines of this site were held back before this one, or None when this one is held back too.
    fn admit(&self, record: &Record) -> Option<u64> {
        let site = (record.file_static().unwrap_or("?"), record.line().unwrap_or(0));
        let second = self.clock.now().mono_ms / 1000;
        let mut sites = self.sites.lock().unwrap_or_else(|it| it.into_inner());
        let site = sites.entry(site).or_default();
        if site.second != second {
            (site.second, site.lines) = (second, 0);
        }
        site.lines += 1;
        if site.lines > LOG_SITE_LINES_MAX && record.level() > Level::Error {
            site.suppressed += 1;
            return None;
        }
        Some(std::mem::take(&mut site.suppressed))
    }
}

impl Log for Gate {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Libraries may warn; their chatter is not ours.
        metadata.level() <= log::max_level()
            && (metadata.level() <= Level::Warn
                || !metadata.target().contains("::")
                || metadata.target().starts_with("gatewayd"))
    }
    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Some(suppressed) = self.admit(record) else { return };
        let mut text = printable(&secret::redact(&record.args().to_string()));
        if suppressed > 0 {
            text.push_str(&format!(" (suppressed {suppressed} like this)"));
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            text.push_str(&format!(" ({dropped} lines before this one were lost: too many at once)"));
        }
        let line = Line::Record { level: record.level(), target: record.target().to_owned(), text };
        if self.tx.try_send(line).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
    fn flush(&self) {
        let (tx, rx) = bounded(1);
        if self.tx.send(Line::Flush(tx)).is_ok() {
            let _ = rx.recv_timeout(std::time::Duration::from_secs(1));
        }
    }
}

/// Control characters escaped, length capped: no record can forge another or move a terminal's cursor.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if out.len() >= LOG_LINE_BYTES_MAX {
            out.push('…');
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            c if c.is_control() || super::shown::is_invisible(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

struct Sink {
    settings: Settings,
    clock: clock::Clock,
    console: Box<simplelog::WriteLogger<std::io::Stdout>>,
    host: String,
    open: Option<(PathBuf, std::fs::File, u64)>,
}

impl Sink {
    fn new(settings: Settings, clock: clock::Clock) -> Sink {
        let config = simplelog::ConfigBuilder::new()
            .set_time_level(LevelFilter::Off)
            .set_thread_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Off)
            .build();
        let console = simplelog::WriteLogger::new(settings.console, config, std::io::stdout());
        Sink { settings, clock, console, host: sys::uname().0, open: None }
    }
    fn write(&mut self, level: Level, target: &str, text: &str) {
        let unix_ms = self.clock.now().unix_ms;
        let subsystem = target.strip_prefix("gatewayd::").unwrap_or(target);
        if level <= self.settings.console {
            let time = clock::iso(unix_ms);
            self.console.log(
                &Record::builder()
                    .level(level)
                    .target(target)
                    .args(format_args!("{time} [{subsystem}] {text}"))
                    .build(),
            );
        }
        if level <= self.settings.file {
            // A full disk must not stop the daemon; stdout still has the line.
            let _ = self.append(unix_ms, level, subsystem, text);
        }
    }
    fn append(&mut self, unix_ms: i64, level: Level, subsystem: &str, text: &str) -> std::io::Result<()> {
        let path = match (&self.settings.path, &self.settings.dir) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => daily_file(dir, unix_ms),
            (None, None) => return Ok(()),
        };
        let (number, name) = match level {
            Level::Error => (5, "ERROR"),
            Level::Warn => (4, "WARN"),
            Level::Info => (3, "INFO"),
            Level::Debug => (2, "DEBUG"),
            Level::Trace => (1, "TRACE"),
        };
        let subsystem = serde_json::json!({ "subsystem": subsystem }).to_string();
        let date = clock::iso(unix_ms);
        let record = serde_json::json!({
            "0": subsystem, "1": text,
            "_meta": { "runtime": "gatewayd", "runtimeVersion": env!("CARGO_PKG_VERSION"), "hostname": self.host, "date": date,
                "logLevelId": number, "logLevelName": name, "name": subsystem, "parentNames": ["openclaw"] },
            "time": date,
        });
        let mut line = record.to_string();
        line.push('\n');
        let (_, file, size) = self.open_file(path, line.len() as u64)?;
        file.write_all(line.as_bytes())?;
        *size += line.len() as u64;
        Ok(())
    }
    fn open_file(&mut self, path: PathBuf, more: u64) -> std::io::Result<&mut (PathBuf, std::fs::File, u64)> {
        use std::os::unix::fs::OpenOptionsExt;
        let fits = |(open, _, size): &(PathBuf, std::fs::File, u64)| {
            *open == path && size + more <= LOG_FILE_BYTES_MAX
        };
        if !self.open.as_ref().is_some_and(fits) {
            if self.open.as_ref().is_some_and(|(open, ..)| *open == path) {
                rotate(&path);
            }
            let dir = path.parent().unwrap_or(Path::new("."));
            files::make_dir(dir)?;
            let mut options = std::fs::OpenOptions::new();
            let file = options.append(true).create(true).mode(0o600).open(&path)?;
            let size = file.metadata()?.len();
            if size + more > LOG_FILE_BYTES_MAX && size > 0 {
                rotate(&path);
                return self.open_fresh(path);
            }
            if self.settings.path.is_none() {
                prune(dir);
            }
            self.open = Some((path, file, size));
        }
        Ok(self.open.as_mut().expect("set above"))
    }
    fn open_fresh(&mut self, path: PathBuf) -> std::io::Result<&mut (PathBuf, std::fs::File, u64)> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        Ok(self.open.insert((path, file, 0)))
    }
}

/// `x.log` becomes `x.log.1`, and so on; the oldest goes.
fn rotate(path: &Path) {
    let numbered = |n: usize| PathBuf::from(format!("{}.{n}", path.display()));
    for n in (1..LOG_FILES_MAX - 1).rev() {
        let _ = std::fs::rename(numbered(n), numbered(n + 1));
    }
    let _ = std::fs::rename(path, numbered(1));
}

/// Keeps the newest daily files: the later day first, and within a day the lower number.
fn prune(dir: &Path) {
    let mut logs: Vec<String> = files::names(dir);
    logs.retain(|it| it.starts_with("openclaw-"));
    let day = |it: &String| it.split('.').next().map(str::to_owned);
    logs.sort_by(|a, b| day(b).cmp(&day(a)).then(a.cmp(b)));
    for name in logs.iter().skip(LOG_FILES_MAX) {
        let _ = std::fs::remove_file(dir.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn printable_escapes_what_could_deceive() {
        assert_eq!(printable("a\nb\x1b[2J\u{202e}c"), "a\\nb\\u{1b}[2J\\u{202e}c");
        assert!(printable(&"x".repeat(10_000)).len() < LOG_LINE_BYTES_MAX + 8);
    }
    #[test]
    fn what_was_lost_is_told() {
        log::set_max_level(LevelFilter::Info);
        let (tx, rx) = bounded(1);
        let clock = clock::Clock::start();
        let gate = Gate { tx, dropped: AtomicU64::new(0), sites: Mutex::default(), clock };
        let say =
            || gate.log(&Record::builder().level(Level::Info).target("t").args(format_args!("x")).build());
        let came = || match rx.try_recv().unwrap() {
            Line::Record { text, .. } => text,
            _ => panic!("a record was said"),
        };
        (0..3).for_each(|_| say());
        assert_eq!(came(), "x");
        say();
        assert_eq!(came(), "x (2 lines before this one were lost: too many at once)");
        say();
        assert_eq!(came(), "x");
    }
    #[test]
    fn the_newest_files_are_kept() {
        let dir = std::env::temp_dir().join(format!("gatewayd-prune-{}", std::process::id()));
        for name in ["22.log", "23.log", "23.log.1", "23.log.2", "23.log.3", "23.log.4", "24.log"] {
            files::write_atomic(&dir.join(format!("openclaw-2026-11-{name}")), b"").unwrap();
        }
        prune(&dir);
        let names: Vec<String> =
            files::names(&dir).iter().map(|it| it.replace("openclaw-2026-11-", "")).collect();
        assert_eq!(names, ["23.log", "23.log.1", "23.log.2", "23.log.3", "24.log"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    #[test]
    fn files_rotate_at_the_cap_and_five_are_kept() {
        let dir = std::env::temp_dir().join(format!("gatewayd-log-{}", std::process::id()));
        let settings = Settings {
            console: LevelFilter::Off,
            file: LevelFilter::Info,
            dir: Some(dir.clone()),
            path: None,
        };
        let mut sink = Sink::new(settings, clock::Clock::start());
        sink.write(Level::Info, "gateway", "first");
        let path = sink.open.as_ref().unwrap().0.clone();
        for _ in 0..7 {
            sink.open.as_mut().unwrap().2 = LOG_FILE_BYTES_MAX;
            sink.write(Level::Info, "gateway", "more");
        }
        let names = files::names(&dir);
        assert_eq!(names.len(), LOG_FILES_MAX, "{names:?}");
        let text = files::read_text(&path, 10_000).unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["1"], &line["_meta"]["logLevelName"]), (&"more".into(), &"INFO".into()));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
