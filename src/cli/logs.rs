//! `logs`: the gateway's log, read through the gateway, or from its file when it does not run.
//!
//! * `--follow` outlives restarts of the gateway: it says so and goes on where it was.
use super::args::{Calls, command};
use super::call::Trouble;
use super::rpc::{As, Client};
use super::target::{self, Link, Source};
use super::text::list;
use super::{Context, fail, print};
use crate::base::clock::{self, Clock};
use crate::base::sys;
use crate::gateway::World;
use crate::gateway::methods::logs;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

command! {
    /// show the gateway's log
    #[argh(subcommand, name = "logs")]
    Logs {
        /// go on as lines are written
        #[argh(switch)]
        follow: bool,
        /// lines at first (default 200)
        #[argh(option, default = "200")]
        limit: u32,
        /// only lines of this level and graver ones: error, warn, info, debug or trace
        #[argh(option)]
        level: Option<String>,
        /// only lines with this text, in any case
        #[argh(option, arg_name = "text")]
        grep: Option<String>,
        /// bytes at most a call (default 250000)
        #[argh(option, default = "250_000")]
        max_bytes: u32,
        /// with --follow, time between calls (default 1000)
        #[argh(option, default = "1000", arg_name = "ms")]
        interval: u64,
        /// no colours
        #[argh(switch)]
        plain: bool,
        /// no colours
        #[argh(switch)]
        no_color: bool,
        /// times in this machine's zone
        #[argh(switch)]
        local_time: bool,
    }
}

/// The shortest `--interval`, milliseconds. Ours: a follower must not become a load.
const INTERVAL_MIN_MS: u64 = 50;
/// The most that one call answers, so that what is filtered out is no reason to show less. The method's own limit.
const LINES_A_CALL_MAX: u32 = 5000;
/// From grave to chatty.
const LEVELS: [&str; 6] = ["fatal", "error", "warn", "info", "debug", "trace"];

/// Where following stands.
#[derive(Default)]
struct Place {
    cursor: Option<u64>,
    file: String,
}

/// Where lines come from.
enum From {
    Gateway(Box<Client>),
    /// The gateway does not run.
    File(Box<World>),
}

impl Logs {
    pub fn run(&self, context: &Context) -> ExitCode {
        if let Some(it) = self.level.as_deref().filter(|it| !LEVELS.contains(it)) {
            return fail(&format!("--level {it}: use one of {}", LEVELS[1..].join(", ")), 2);
        }
        let mut place = Place::default();
        let mut from = match self.begin(context) {
            Ok(it) => it,
            Err(trouble) => return context.report(&trouble),
        };
        loop {
            match self.step(&mut from, &mut place) {
                Ok(true) if self.follow => {
                    if let From::File(_) = from
                        && let Some(it) = self.try_again(context)
                    {
                        self.notice("connected again");
                        from = it;
                    }
                }
                // Without --follow this was all; or nobody reads on.
                Ok(_) => return ExitCode::SUCCESS,
                Err(trouble) if !self.follow || trouble.is_refusal() => return context.report(&trouble),
                Err(trouble) => {
                    self.notice(&format!("{trouble}; waiting for the gateway"));
                    match self.reconnect(context) {
                        Ok(it) => from = it,
                        Err(trouble) => return context.report(&trouble),
                    }
                }
            }
        }
    }

    /// The gateway, or else the file of the gateway of this machine.
    fn begin(&self, context: &Context) -> Result<From, Trouble> {
        let link = self.link();
        match context.open(&link, As::Cli) {
            Ok(it) => Ok(From::Gateway(Box::new(it))),
            Err(trouble) if !trouble.is_refusal() && self.is_here(&link, context) => {
                let first = trouble.to_string();
                let first = first.lines().next().unwrap_or_default().to_owned();
                self.notice(&format!("{first}; this is what its file says"));
                Ok(From::File(Box::new(context.world())))
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn is_here(&self, link: &Link, context: &Context) -> bool {
        target::resolve(link, &context.config().config, context).is_ok_and(|it| it.source == Source::Local)
    }

    /// One call, its lines printed, and the wait before the next. False when the reader of our output has gone.
    fn step(&self, from: &mut From, place: &mut Place) -> Result<bool, Trouble> {
        let filtered = self.level.is_some() || self.grep.is_some();
        let limit = if filtered { LINES_A_CALL_MAX } else { self.limit };
        let answer = match from {
            From::Gateway(client) => {
                let mut params = json!({ "limit": limit, "maxBytes": self.max_bytes });
                if let Some(cursor) = place.cursor {
                    params["cursor"] = cursor.into();
                }
                client.renew();
                client.call("logs.tail", Some(params), false)?
            }
            From::File(world) => {
                let (now, bytes) = (Clock::start().now().unix_ms, u64::from(self.max_bytes));
                let read = logs::read(world, now, place.cursor, limit as usize, bytes);
                json!(read.map_err(Trouble::refusal)?)
            }
        };
        let open = self.show(&answer, place);
        if self.follow && open {
            match from {
                From::Gateway(client) => client.idle(self.interval.max(INTERVAL_MIN_MS))?,
                From::File(_) => self.pause(),
            }
        }
        Ok(open)
    }

    /// A channel that nobody sends on: a wait, no sleep.
    fn pause(&self) {
        let interval = Duration::from_millis(self.interval.max(INTERVAL_MIN_MS));
        let _ = crossbeam_channel::never::<()>().recv_timeout(interval);
    }

    fn try_again(&self, context: &Context) -> Option<From> {
        context.open(&self.link(), As::Cli).ok().map(|it| From::Gateway(Box::new(it)))
    }

    /// Tries every `--interval` until the gateway answers, or refuses us.
    fn reconnect(&self, context: &Context) -> Result<From, Trouble> {
        loop {
            self.pause();
            match context.open(&self.link(), As::Cli) {
                Err(trouble) if !trouble.is_refusal() => {}
                Err(trouble) => return Err(trouble),
                Ok(it) => {
                    self.notice("connected again");
                    return Ok(From::Gateway(Box::new(it)));
                }
            }
        }
    }

    fn show(&self, answer: &Value, place: &mut Place) -> bool {
        let file = answer["file"].as_str().unwrap_or_default();
        let mut open = true;
        if file != place.file {
            file.clone_into(&mut place.file);
            let meta =
                json!({ "type": "meta", "file": file, "cursor": answer["cursor"], "size": answer["size"] });
            open = print(&if self.json { meta.to_string() } else { format!("Log file: {file}") });
        }
        if place.cursor.is_some() && answer["reset"] == true {
            self.notice("the log file was rotated or cut; this is its end");
        } else if answer["truncated"] == true && list(answer, "lines").len() < self.limit as usize {
            self.notice("earlier lines are left out; raise --max-bytes to see them");
        }
        let first = place.cursor.is_none();
        place.cursor = answer["cursor"].as_u64();
        let colour = !(self.plain || self.no_color || self.json) && std::io::stdout().is_terminal();
        let lines = list(answer, "lines").iter().filter_map(Value::as_str).map(Record::of);
        let mut wanted: Vec<Record> = lines.filter(|it| self.wants(it)).collect();
        let too_many = wanted.len().saturating_sub(self.limit as usize);
        for record in wanted.drain(if first { too_many } else { 0 }..) {
            open =
                open && print(&if self.json { record.json() } else { record.text(self.local_time, colour) });
        }
        open
    }

    fn wants(&self, record: &Record) -> bool {
        let rank = |level: &str| LEVELS.iter().position(|it| *it == level);
        let level = self.level.as_deref().and_then(rank);
        // A line that is no record has no level, and may be the one that is looked for.
        let own = record.level.as_deref().and_then(rank);
        let grave = level.is_none_or(|most| own.is_none_or(|it| it <= most));
        let text = self.grep.as_ref().map(|it| it.to_lowercase());
        grave && text.is_none_or(|it| record.text(false, false).to_lowercase().contains(&it))
    }

    fn notice(&self, message: &str) {
        match self.json {
            true => drop(print(&json!({ "type": "notice", "message": message }).to_string())),
            false => drop(fail(&format!("[{message}]"), 0)),
        }
    }
}

/// One line of the log: `"0"` may hold `{"subsystem":…}`, the other numbered keys the message; `_meta` level and date.
struct Record<'a> {
    raw: &'a str,
    time: Option<String>,
    level: Option<String>,
    subsystem: Option<String>,
    message: String,
}

impl Record<'_> {
    fn of(raw: &str) -> Record<'_> {
        let bare = |message: &str| Record {
            raw,
            time: None,
            level: None,
            subsystem: None,
            message: message.to_owned(),
        };
        let Ok(Value::Object(line)) = serde_json::from_str::<Value>(raw) else { return bare(raw) };
        let text = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
        let meta = line.get("_meta").cloned().unwrap_or_default();
        let first: Option<Value> = line.get("0").and_then(|it| serde_json::from_str(it.as_str()?).ok());
        let subsystem = first.as_ref().and_then(|it| Some(it.get("subsystem")?.as_str()?.to_owned()));
        let parts: Vec<String> = (usize::from(subsystem.is_some())..)
            .map_while(|at| line.get(&at.to_string()))
            .map(text)
            .collect();
        let time = line.get("time").or(meta.get("date")).map(text);
        let level = meta["logLevelName"].as_str().map(str::to_lowercase);
        Record { raw, time, level, subsystem, message: parts.join(" ") }
    }
    fn json(&self) -> String {
        let mut out = json!({ "type": "log" });
        let fields = [("time", &self.time), ("level", &self.level), ("subsystem", &self.subsystem)];
        for (name, value) in fields {
            if let Some(value) = value {
                out[name] = value.as_str().into();
            }
        }
        out["message"] = self.message.as_str().into();
        out["raw"] = self.raw.into();
        out.to_string()
    }
    fn text(&self, local: bool, colour: bool) -> String {
        let time = self.time.as_deref().map(|it| match clock::parse_iso(it) {
            Some(unix_ms) if local => local_iso(unix_ms, sys::utc_offset_s(unix_ms / 1000)),
            _ => it.to_owned(),
        });
        let level = self.level.clone().map(|it| match (colour, &*it) {
            (true, "error" | "fatal") => format!("\x1b[31m{it}\x1b[0m"),
            (true, "warn") => format!("\x1b[33m{it}\x1b[0m"),
            _ => it,
        });
        let parts = [time, level, self.subsystem.clone(), Some(self.message.clone())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// A line of the log file as text.
pub fn plain(line: &str) -> String {
    Record::of(line).text(false, false)
}

/// `2026-11-23T10:41:30.123+02:00`.
fn local_iso(unix_ms: i64, offset_s: i64) -> String {
    let minutes = offset_s.abs() / 60;
    let sign = if offset_s < 0 { '-' } else { '+' };
    let text = clock::iso(unix_ms + offset_s * 1000);
    format!("{}{sign}{:02}:{:02}", text.trim_end_matches('Z'), minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn records() {
        let line = r#"{"0":"{\"subsystem\":\"ws\"}","1":"hello","2":{"a":1},"_meta":{"logLevelName":"WARN","date":"d"},"time":"2026-11-23T22:52:16.251Z"}"#;
        let it = Record::of(line);
        assert_eq!(it.text(false, false), "2026-11-23T22:52:16.251Z warn ws hello {\"a\":1}");
        let json: Value = serde_json::from_str(&it.json()).unwrap();
        assert_eq!((&json["subsystem"], &json["raw"]), (&json!("ws"), &json!(line)));
        let it = Record::of(r#"{"0":"plain","1":"text","_meta":{"logLevelName":"INFO","date":"d"}}"#);
        assert_eq!(it.text(true, false), "d info plain text");
        assert_eq!(Record::of("not json").text(false, true), "not json");
    }
    #[test]
    fn zones() {
        assert_eq!(local_iso(0, 7200), "1970-01-01T02:00:00.000+02:00");
        assert_eq!(local_iso(0, -16_200), "1969-12-31T19:30:00.000-04:30");
    }
}
