//! `logs`: the gateway's log file, read through the gateway.
//!
//! * `--follow` outlives restarts of the gateway: it says so and goes on where it was.
use super::args::{Calls, command};
use super::call::Trouble;
use super::rpc::{As, Client};
use super::text::list;
use super::{Context, fail, print};
use crate::base::clock;
use crate::base::sys;
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

/// Where following stands.
struct Place {
    cursor: Option<u64>,
    file: String,
}

impl Logs {
    pub fn run(&self, context: &Context) -> ExitCode {
        let mut place = Place { cursor: None, file: String::new() };
        let mut client = match context.open(&self.link(), As::Cli) {
            Ok(it) => it,
            Err(trouble) => return context.report(&trouble),
        };
        loop {
            match self.step(&mut client, &mut place) {
                Ok(true) if self.follow => {}
                // Without --follow this was all; or nobody reads on.
                Ok(_) => return ExitCode::SUCCESS,
                Err(trouble) if !self.follow || trouble.is_refusal() => return context.report(&trouble),
                Err(trouble) => {
                    self.notice(&format!("{trouble}; waiting for the gateway"));
                    match self.reconnect(context) {
                        Ok(it) => client = it,
                        Err(trouble) => return context.report(&trouble),
                    }
                    self.notice("connected again");
                }
            }
        }
    }

    /// One call, its lines printed, and the wait before the next. False when the reader of our output has gone.
    fn step(&self, client: &mut Client, place: &mut Place) -> Result<bool, Trouble> {
        let mut params = json!({ "limit": self.limit, "maxBytes": self.max_bytes });
        if let Some(cursor) = place.cursor {
            params["cursor"] = cursor.into();
        }
        client.renew();
        let answer = client.call("logs.tail", Some(params), false)?;
        let open = self.show(&answer, place);
        if self.follow && open {
            client.idle(self.interval.max(INTERVAL_MIN_MS))?;
        }
        Ok(open)
    }

    /// Tries every `--interval` until the gateway answers, or refuses us.
    fn reconnect(&self, context: &Context) -> Result<Client, Trouble> {
        loop {
            // A channel that nobody sends on: a wait, no sleep.
            let interval = Duration::from_millis(self.interval.max(INTERVAL_MIN_MS));
            let _ = crossbeam_channel::never::<()>().recv_timeout(interval);
            match context.open(&self.link(), As::Cli) {
                Err(trouble) if !trouble.is_refusal() => {}
                other => return other,
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
        place.cursor = answer["cursor"].as_u64();
        let colour = !(self.plain || self.no_color || self.json) && std::io::stdout().is_terminal();
        for line in list(answer, "lines").iter().filter_map(Value::as_str) {
            let record = Record::of(line);
            open =
                open && print(&if self.json { record.json() } else { record.text(self.local_time, colour) });
        }
        open
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
