//! `doctor`: what is wrong, one sentence each, and the command that puts it right; with `--repair` it is put right.
//!
//! ```text
//! look (config, state, agents, machine, service, gateway) ──► findings ──► the repairs that are wanted ──► said, as text or JSON
//! ```
//!
//! * Looking changes nothing. A repair changes what its finding names and nothing else; what a person wrote is backed up first.
//! * Exit status 1 as long as an error stays.
mod agents;
mod config;
mod machine;
mod proxy;
mod repair;
mod service;
mod state;

use super::{Context, ask, say};
use argh::FromArgs;
use repair::Repair;
use serde_json::{Value, json};
use std::process::ExitCode;

/// find what is wrong with this installation, and put it right
#[derive(FromArgs)]
#[argh(subcommand, name = "doctor", help_triggers("-h", "--help", "help"))]
pub struct Doctor {
    /// put right what can be, without asking
    #[argh(switch)]
    repair: bool,
    /// the same
    #[argh(switch)]
    fix: bool,
    /// the same
    #[argh(switch)]
    yes: bool,
    /// write the unit of the service anew too
    #[argh(switch)]
    force: bool,
    /// ask nothing; put right only what cannot hurt (old keys of the configuration, permissions)
    #[argh(switch)]
    non_interactive: bool,
    /// look at the system's services too
    #[argh(switch)]
    deep: bool,
    /// make a token where the gateway has no secret
    #[argh(switch)]
    generate_gateway_token: bool,
    /// taken for scripts' sake: there are none
    #[argh(switch)]
    #[expect(dead_code, reason = "says what is always so")]
    no_workspace_suggestions: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Proxy(proxy::Proxy),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
    Info,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One thing that is not as it should be.
struct Finding {
    code: &'static str,
    severity: Severity,
    /// One sentence.
    text: String,
    /// What to type.
    fix: String,
    repair: Option<Repair>,
    /// What the repair did, or why it could not.
    outcome: Option<Result<String, String>>,
}

impl Finding {
    fn new(
        severity: Severity,
        code: &'static str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding { code, severity, text: text.into(), fix: fix.into(), repair: None, outcome: None }
    }
    fn error(code: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::new(Severity::Error, code, text, fix)
    }
    fn warning(code: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, code, text, fix)
    }
    fn info(code: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::new(Severity::Info, code, text, fix)
    }
    fn by(mut self, repair: Repair) -> Finding {
        self.repair = Some(repair);
        self
    }
    fn json(&self) -> Value {
        let mut out = json!({ "code": self.code, "severity": self.severity.word(), "message": self.text, "fix": self.fix });
        match &self.outcome {
            None => {}
            Some(Ok(done)) => (out["repaired"], out["done"]) = (true.into(), done.as_str().into()),
            Some(Err(why)) => (out["repaired"], out["error"]) = (false.into(), why.as_str().into()),
        }
        out
    }
    fn stays(&self) -> bool {
        !matches!(self.outcome, Some(Ok(_)))
    }
    fn lines(&self) -> String {
        let head = format!("{:7} {}: {}", self.severity.word(), self.code, self.text);
        match &self.outcome {
            Some(Ok(done)) => format!("{head}\n        repaired: {done}"),
            Some(Err(why)) => format!("{head}\n        not repaired: {why}\n        fix: {}", self.fix),
            None => format!("{head}\n        fix: {}", self.fix),
        }
    }
}

impl Doctor {
    pub fn run(&self, context: &Context) -> ExitCode {
        if let Some(Command::Proxy(it)) = &self.command {
            return it.run(context);
        }
        let mut findings = self.look(context);
        for finding in &mut findings {
            let Some(repair) = finding.repair.clone() else { continue };
            match self.wants(&repair, finding) {
                Ok(true) => finding.outcome = Some(repair.make(context)),
                Ok(false) => {}
                Err(ask::Gone) => break,
            }
        }
        let ok = !findings.iter().any(|it| it.severity == Severity::Error && it.stays());
        if self.json {
            let list: Vec<Value> = findings.iter().map(Finding::json).collect();
            let _ =
                say(&format!("{:#}", json!({ "ok": ok, "config": context.paths.config, "findings": list })));
        } else {
            let _ = say(&text(&findings, context));
        }
        ExitCode::from(u8::from(!ok))
    }

    fn look(&self, context: &Context) -> Vec<Finding> {
        let mut found = config::look(context);
        found.extend(state::look(context));
        found.extend(agents::look(context));
        found.extend(machine::look(context));
        found.extend(service::look(context, self.deep));
        found
    }

    /// Whether to do it: by flag, or by asking.
    fn wants(&self, repair: &Repair, finding: &Finding) -> Result<bool, ask::Gone> {
        if matches!(repair, Repair::Token) && self.generate_gateway_token {
            return Ok(true);
        }
        if self.repair || self.fix || self.yes {
            return Ok(!repair.is_forceful() || self.force);
        }
        if self.non_interactive || self.json || !ask::interactive() {
            return Ok(self.non_interactive && repair.is_harmless());
        }
        super::print(&finding.lines());
        ask::confirm("        Do it now?", !repair.is_forceful())
    }
}

fn text(findings: &[Finding], context: &Context) -> String {
    if findings.is_empty() {
        return format!("Nothing is wrong. Configuration: {}", context.paths.config.display());
    }
    let mut lines: Vec<String> = findings.iter().map(Finding::lines).collect();
    let open = findings.iter().any(|it| it.repair.is_some() && it.outcome.is_none());
    if open {
        lines.push(format!("What has a repair is put right by: {} doctor --repair", context.program()));
    }
    lines.join("\n")
}
