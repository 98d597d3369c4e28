//! `gateway start`, `stop`, `restart`, `uninstall`: what the supervisor is told; and `record-exit`, which it calls itself.
use super::service::Service;
use super::{Context, fail, say};
use crate::base::clock::Clock;
use crate::service::{last_exit, unit};
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// start the service
#[derive(FromArgs)]
#[argh(subcommand, name = "start", help_triggers("-h", "--help", "help"))]
pub struct Start {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// stop the service, after what is being answered (30 s at most)
#[derive(FromArgs)]
#[argh(subcommand, name = "stop", help_triggers("-h", "--help", "help"))]
pub struct Stop {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// stop the service as `stop` does, and start it again
#[derive(FromArgs)]
#[argh(subcommand, name = "restart", help_triggers("-h", "--help", "help"))]
pub struct Restart {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// stop the service and remove its unit; configuration, sessions and drop-ins stay
#[derive(FromArgs)]
#[argh(subcommand, name = "uninstall", help_triggers("-h", "--help", "help"))]
pub struct Uninstall {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// note how the service ended (its unit calls this; nobody else needs to)
#[derive(FromArgs)]
#[argh(subcommand, name = "record-exit", help_triggers("-h", "--help", "help"))]
pub struct RecordExit {}

/// What became of an action, in the reference's shape.
pub struct Report {
    pub action: &'static str,
    pub json: bool,
    pub hints: Vec<String>,
    pub warnings: Vec<String>,
}

impl Report {
    pub fn of(action: &'static str, json: bool) -> Report {
        Report { action, json, hints: vec![], warnings: vec![] }
    }
    fn with_lists(&self, mut out: Value) -> Value {
        for (name, list) in [("hints", &self.hints), ("warnings", &self.warnings)] {
            if !list.is_empty() {
                out[name] = list.clone().into();
            }
        }
        out
    }
    pub fn done(&self, result: &str, message: &str, service: &Service) -> ExitCode {
        let out = json!({
            "action": self.action, "ok": true, "result": result, "message": message, "service": service.snapshot(),
        });
        if self.json {
            return say(&format!("{:#}", self.with_lists(out)));
        }
        let warnings = self.warnings.iter().map(|it| format!("Warning: {it}"));
        let lines: Vec<String> =
            std::iter::once(message.to_owned()).chain(warnings).chain(self.hints.iter().cloned()).collect();
        say(&lines.join("\n"))
    }
    /// Says so, on stderr for people; exit status 1.
    pub fn failed(&self, error: &str) -> ExitCode {
        if self.json {
            let out = json!({ "action": self.action, "ok": false, "error": error });
            let _ = say(&format!("{:#}", self.with_lists(out)));
            return ExitCode::from(1);
        }
        let lines: Vec<&str> = std::iter::once(error).chain(self.hints.iter().map(String::as_str)).collect();
        fail(&lines.join("\n"), 1)
    }
}

/// Not installed: nothing to start, and nothing to stop.
fn missing(mut report: Report, service: &Service, context: &Context) -> ExitCode {
    let program = context.program();
    report.hints.push(format!("Install it with: {program} gateway install"));
    let text = format!("The service is not installed ({}).", service.unit);
    match report.action {
        "stop" | "uninstall" => report.done("not-loaded", &text, service),
        _ => report.failed(&text),
    }
}

fn act(context: &Context, action: &'static str, json: bool, done: (&str, &str)) -> ExitCode {
    let report = Report::of(action, json);
    let service = Service::find(context, "gateway");
    if service.file.is_none() {
        return missing(report, &service, context);
    }
    // A unit that was edited since counts as it is now.
    if service.scope.show(&service.unit).is_ok_and(|it| it.needs_reload)
        && let Err(err) = service.scope.run(&["daemon-reload"])
    {
        return report.failed(&err.to_string());
    }
    match service.scope.run(&[action, &service.unit]) {
        Ok(_) => report.done(done.0, &format!("{} {}.", done.1, service.unit), &service),
        Err(err) => report.failed(&refused(&service, &err.to_string(), context)),
    }
}

/// Why it did not: the supervisor's words, and the gateway's own last ones.
pub fn refused(service: &Service, said: &str, context: &Context) -> String {
    let mut text = said.to_owned();
    if let Some(last) =
        last_exit::last(&service.paths(context).state).filter(|it| it.how.as_deref() == Some("failed"))
    {
        text.push_str(&format!("\nThe gateway said: {}", last.error.unwrap_or_default()));
    }
    let journal = if service.scope.flag().is_empty() { "sudo journalctl -u" } else { "journalctl --user -u" };
    format!("{text}\nWhat happened is in: {journal} {} -n 20", service.unit)
}

impl Start {
    pub fn run(&self, context: &Context) -> ExitCode {
        act(context, "start", self.json, ("started", "Started"))
    }
}

impl Stop {
    pub fn run(&self, context: &Context) -> ExitCode {
        act(context, "stop", self.json, ("stopped", "Stopped"))
    }
}

impl Restart {
    pub fn run(&self, context: &Context) -> ExitCode {
        act(context, "restart", self.json, ("restarted", "Restarted"))
    }
}

impl Uninstall {
    pub fn run(&self, context: &Context) -> ExitCode {
        let report = Report::of("uninstall", self.json);
        let service = Service::find(context, "gateway");
        let Some(file) = &service.file else { return missing(report, &service, context) };
        if file.starts_with(unit::PACKAGE_DIR) {
            let text = format!(
                "{} belongs to a package: sudo apt remove gatewayd, or: sudo systemctl disable --now {}",
                file.display(),
                service.unit
            );
            return report.failed(&text);
        }
        match remove(&service, file) {
            Ok(()) => {
                let text = format!(
                    "Removed {}. Configuration and state stay in {}.",
                    file.display(),
                    context.paths.state.display()
                );
                report.done("uninstalled", &text, &Service::find(context, "gateway"))
            }
            Err(err) => report.failed(&err),
        }
    }
}

/// Stops and disables a unit, and removes its file. Without a manager there is nothing to stop: the file goes all the same.
///
/// # Errors
/// A sentence.
pub fn remove(service: &Service, file: &std::path::Path) -> Result<(), String> {
    let reachable = service.scope.check().is_ok();
    if reachable {
        service.scope.run(&["disable", "--now", &service.unit]).map_err(|err| err.to_string())?;
    }
    let gone = |path: &std::path::Path| {
        crate::base::files::remove(path).map_err(|err| {
            format!("cannot remove {}: {err}{}", path.display(), super::service_install::hint(&err))
        })
    };
    gone(file)?;
    if reachable {
        service.scope.run(&["daemon-reload"]).map_err(|err| err.to_string())?;
        // A unit that failed is remembered until somebody says that it is known.
        let _ = service.scope.run(&["reset-failed", &service.unit]);
    } else if service.enabled() {
        for target in ["default.target.wants", "multi-user.target.wants"] {
            let link = file.with_file_name(target).join(&service.unit);
            if link.is_symlink() {
                gone(&link)?;
            }
        }
    }
    Ok(())
}

impl RecordExit {
    pub fn run(&self, context: &Context) -> ExitCode {
        let get = |name: &str| context.env.get(name).unwrap_or_default();
        let (result, code, status) = (get("SERVICE_RESULT"), get("EXIT_CODE"), get("EXIT_STATUS"));
        match last_exit::record_exit(&context.paths.state, result, code, status, Clock::start().now()) {
            Ok(_) => ExitCode::SUCCESS,
            Err(err) => fail(&format!("cannot note how the gateway ended: {err}"), 1),
        }
    }
}
