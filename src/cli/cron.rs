//! `cron`: the gateway's timetable.
use super::Context;
use super::args::{Calls, command};
use super::text::{list, table, word};
use crate::base::clock;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// scheduled jobs
#[derive(FromArgs)]
#[argh(subcommand, name = "cron", help_triggers("-h", "--help", "help"))]
pub struct Cron {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
    Status(Status),
}

command! {
    /// the jobs
    #[argh(subcommand, name = "list")]
    List {
        /// disabled ones too
        #[argh(switch)]
        all: bool,
    }
}
command! {
    /// whether the timetable runs, and its next moment
    #[argh(subcommand, name = "status")]
    Status {}
}

impl Cron {
    pub fn run(&self, context: &Context) -> ExitCode {
        match &self.command {
            Command::List(it) => {
                let params = json!({ "includeDisabled": it.all });
                context.show(context.call(it.link(), "cron.list", Some(params)), it.json, jobs)
            }
            Command::Status(it) => {
                context.show(context.call(it.link(), "cron.status", Some(json!({}))), true, Value::to_string)
            }
        }
    }
}

fn jobs(answer: &Value) -> String {
    let jobs = list(answer, "jobs");
    if jobs.is_empty() {
        return "No cron jobs.".into();
    }
    let when = |at: &Value| at.as_i64().map_or("-".to_owned(), clock::iso);
    let rows: Vec<_> = jobs
        .iter()
        .map(|it| {
            let status = if it["enabled"] == false { "disabled" } else { word(&it["state"], "lastStatus") };
            vec![
                word(it, "id").to_owned(),
                word(it, "name").to_owned(),
                schedule(&it["schedule"]),
                when(&it["state"]["nextRunAtMs"]),
                when(&it["state"]["lastRunAtMs"]),
                status.to_owned(),
            ]
        })
        .collect();
    table(&["Id", "Name", "Schedule", "Next", "Last", "Status"], &rows)
}

fn schedule(it: &Value) -> String {
    match it["kind"].as_str() {
        Some("every") => format!("every {}", super::text::age(it["everyMs"].as_u64().unwrap_or(0))),
        Some("cron") => {
            let zone = it["tz"].as_str().map(|it| format!(" ({it})")).unwrap_or_default();
            format!("{}{zone}", word(it, "expr"))
        }
        Some("at") => {
            format!("at {}", it["at"].as_str().map_or_else(|| it["atMs"].to_string(), str::to_owned))
        }
        _ => "-".into(),
    }
}
