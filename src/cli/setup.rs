//! `setup`: a configuration, a workspace and the folders, made where they are missing. What exists stays as it is.
use super::{Context, EXIT_CONFIG, fail, say};
use crate::agent::workspace;
use crate::base::{clock, files, ids};
use crate::config::place::Place;
use crate::config::{File, Mode, Paths};
use crate::gateway::{World, sessions};
use argh::FromArgs;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// make the configuration and the workspace; asks nothing and overwrites nothing
#[derive(FromArgs, Default)]
#[argh(subcommand, name = "setup", help_triggers("-h", "--help", "help"))]
pub struct Setup {
    /// folder of the default agent
    #[argh(option, arg_name = "dir")]
    workspace: Option<String>,
    /// local: the gateway runs here (default); remote: this machine talks to another
    #[argh(option)]
    mode: Option<String>,
    /// port of the gateway
    #[argh(option)]
    port: Option<u16>,
    /// token of the gateway (visible to others on this machine: without it, one is made)
    #[argh(option)]
    token: Option<String>,
    /// taken for scripts' sake: nothing is ever asked
    #[argh(switch)]
    #[expect(dead_code, reason = "says what is always so")]
    non_interactive: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// What was done.
pub struct Done {
    created: bool,
    /// Paths that were set.
    changed: Vec<String>,
    /// Flags that lost against what was there: sentences.
    kept: Vec<String>,
    workspace: PathBuf,
    /// Names of the files made in it.
    files: Vec<&'static str>,
    sessions: PathBuf,
    config: std::sync::Arc<File>,
}

impl Setup {
    pub fn run(&self, context: &Context) -> ExitCode {
        if let Some(mode) = self.mode.as_deref().filter(|it| !["local", "remote"].contains(it)) {
            return fail(&format!("--mode {mode}: use local or remote"), 2);
        }
        if self.port == Some(0) {
            return fail("--port 0: use 1 to 65535", 2);
        }
        match self.make(context) {
            Ok(done) if self.json => say(&format!("{:#}", done.json(context))),
            Ok(done) => say(&done.text(context)),
            Err(text) => fail(&text, EXIT_CONFIG),
        }
    }

    /// Makes what is missing.
    pub fn make(&self, context: &Context) -> Result<Done, String> {
        let path = context.paths.config.display();
        let file = File::load(&context.paths, &context.env);
        if let Some(it) = file.issues.iter().find(|it| it.path.is_empty()) {
            return Err(format!("{path}: {it}\nMend the file, or move it away, and run setup again."));
        }
        let mut new = Value::clone(&file.resolved);
        let kept = self.fill(&mut new, context)?;
        let written = context.write_config(&file, &new, "setup", false);
        let written = written.map_err(|err| format!("{path} was not changed:\n{err}"))?;
        let world = World::new(written.file, context.paths.clone(), context.env.clone(), 0);
        let agent = world.config.config.agents.default_id().to_owned();
        let folder = sessions::workspace(&world, &agent);
        let sessions = context.paths.agent(&agent).join("sessions");
        files::make_dir(&sessions).map_err(|err| format!("cannot make {}: {err}", sessions.display()))?;
        let pages =
            workspace::make(&folder).map_err(|err| format!("cannot make {}: {err}", folder.display()))?;
        let changed = written.changed;
        Ok(Done {
            created: !file.exists(),
            changed,
            kept,
            workspace: folder,
            files: pages,
            sessions,
            config: world.config,
        })
    }

    /// Sets what is absent; answers a sentence for each flag that says other than what is there.
    fn fill(&self, new: &mut Value, context: &Context) -> Result<Vec<String>, String> {
        let mut fill = Fill { new, kept: vec![], program: context.program() };
        fill.want("gateway.mode", self.mode.as_deref().map(Value::from), Some("local".into()))?;
        fill.want("gateway.port", self.port.map(Value::from), None)?;
        fill.want("agents.defaults.workspace", self.workspace()?.map(Value::from), None)?;
        let token = self.token.as_deref().map(Value::from);
        if fill.new["gateway"]["mode"] == "remote" {
            fill.want("gateway.remote.token", token, None)?;
            return Ok(fill.kept);
        }
        let given = |name: &str| context.env.openclaw(name).is_some();
        let auth = &fill.new["gateway"]["auth"];
        let secured = auth["password"].is_string()
            || auth["mode"].as_str().is_some_and(|it| it != "token")
            || given("GATEWAY_TOKEN")
            || given("GATEWAY_PASSWORD");
        let made = (!secured).then(|| ids::token(&mut ids::os_entropy()).into());
        fill.want("gateway.auth.token", token, made)?;
        if fill.new["gateway"]["auth"]["token"].is_string() {
            fill.want("gateway.auth.mode", None, Some("token".into()))?;
        }
        Ok(fill.kept)
    }

    /// `--workspace` in a form that means the same wherever the daemon is started.
    fn workspace(&self) -> Result<Option<String>, String> {
        let Some(dir) = self.workspace.as_deref() else { return Ok(None) };
        if dir.starts_with(['/', '~']) {
            return Ok(Some(dir.to_owned()));
        }
        let here = std::env::current_dir().map_err(|err| format!("--workspace {dir}: {err}"))?;
        Ok(Some(here.join(dir).display().to_string()))
    }
}

/// A document in the making.
struct Fill<'v> {
    new: &'v mut Value,
    kept: Vec<String>,
    program: String,
}

impl Fill<'_> {
    fn want(&mut self, path: &str, asked: Option<Value>, otherwise: Option<Value>) -> Result<(), String> {
        let place = Place::parse(path)?;
        match (place.get(self.new), asked) {
            (Some(old), Some(asked)) if *old != asked => {
                let change = format!("to change it: {} config set {path} VALUE", self.program);
                self.kept.push(match path.ends_with("token") {
                    true => format!("{path} stays as it is; {change}"),
                    false => format!("{path} stays {old}; {change}"),
                });
            }
            (Some(_), _) => {}
            (None, asked) => {
                if let Some(value) = asked.or(otherwise) {
                    place.set(self.new, value)?;
                }
            }
        }
        Ok(())
    }
}

impl Done {
    fn next(&self, context: &Context) -> String {
        let program = context.program();
        let gateway = &self.config.config.gateway;
        match (gateway.mode, &gateway.remote_url) {
            (Some(Mode::Remote), None) => format!("{program} config set gateway.remote.url ws://HOST:PORT"),
            (Some(Mode::Remote), Some(_)) => format!("{program} health"),
            _ => format!("{program} gateway"),
        }
    }
    fn json(&self, context: &Context) -> Value {
        json!({
            "ok": true,
            "config": { "path": context.paths.config, "created": self.created, "changed": self.changed },
            "workspace": { "path": self.workspace, "created": self.files },
            "sessions": self.sessions, "kept": self.kept, "next": self.next(context),
        })
    }
    fn text(&self, context: &Context) -> String {
        let config = match (self.created, self.changed.is_empty()) {
            (true, _) => "made".to_owned(),
            (false, true) => "complete, left as it is".to_owned(),
            (false, false) => format!("added {}", self.changed.join(", ")),
        };
        let files = if self.files.is_empty() {
            "complete, left as it is".to_owned()
        } else {
            format!("made {}", self.files.join(", "))
        };
        let mut lines = vec![
            format!("Config:     {} ({config})", context.paths.config.display()),
            format!("Workspace:  {} ({files})", self.workspace.display()),
            format!("Sessions:   {}", self.sessions.display()),
        ];
        lines.extend(self.kept.iter().map(|it| format!("Kept:       {it}")));
        if self.changed.iter().any(|it| it == "gateway.auth.token") {
            lines.push(format!(
                "Token:      to see it: {} config get gateway.auth.token --reveal",
                context.program()
            ));
        }
        lines.push(format!("Next:       {}", self.next(context)));
        lines.join("\n")
    }
}

/// The dev profile works at once: a start without a configuration makes all that it needs.
///
/// # Errors
/// A sentence that says what could not be made.
pub fn first_dev_start(context: &Context) -> Result<(), String> {
    if context.paths.is_dev() && !context.paths.config.exists() {
        Setup::default().make(context)?;
    }
    Ok(())
}

/// Moves configuration, sessions and workspace of the profile into a dated folder in its state folder; None when there is nothing.
///
/// A workspace that the configuration chose by name is somebody's own place: it stays.
///
/// # Errors
/// A sentence that names what could not be moved.
pub fn put_aside(paths: &Paths, unix_ms: i64) -> Result<Option<PathBuf>, String> {
    let aside = paths.state.join(format!("reset-{}", clock::iso(unix_ms).replace(':', "-")));
    let mut moved = false;
    for (from, name) in [
        (paths.config.clone(), "openclaw.json"),
        (paths.last_good(), "openclaw.json.last-good"),
        (paths.state.join("agents"), "agents"),
        (paths.workspace(), "workspace"),
    ] {
        if from.symlink_metadata().is_err() {
            continue;
        }
        let to = aside.join(name);
        files::make_dir(&aside).and_then(|()| std::fs::rename(&from, &to)).map_err(|err| {
            format!("cannot move {} to {}: {err}; move it yourself", from.display(), to.display())
        })?;
        moved = true;
    }
    Ok(moved.then_some(aside))
}
