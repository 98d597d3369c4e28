//! `reset` and `uninstall`: configuration, state, workspace and service go away; the program stays.
//!
//! * Nothing goes while a gateway uses it, and nothing without a yes.
//! * `reset` puts aside rather than deletes, except with `--scope full`; what is deleted is named first.
use super::lock::StateLock;
use super::service::Service;
use super::service_actions::remove;
use super::{Context, ask, fail, print, say};
use crate::base::clock::{Clock, iso};
use crate::base::files;
use crate::config::File;
use crate::gateway::{World, sessions};
use argh::FromArgs;
use std::path::PathBuf;
use std::process::ExitCode;

/// start over: put the configuration, or more, away
#[derive(FromArgs)]
#[argh(subcommand, name = "reset", help_triggers("-h", "--help", "help"))]
pub struct Reset {
    /// config, config+creds+sessions, or full (workspace too, and nothing is kept)
    #[argh(option)]
    scope: Option<String>,
    /// do not ask
    #[argh(switch)]
    yes: bool,
    /// ask nothing; needs --scope and --yes
    #[argh(switch)]
    non_interactive: bool,
    /// say what would be done
    #[argh(switch)]
    dry_run: bool,
}

/// remove the service, the state or the workspace of this installation; the program stays
#[derive(FromArgs)]
#[argh(subcommand, name = "uninstall", help_triggers("-h", "--help", "help"))]
pub struct Uninstall {
    /// the service
    #[argh(switch)]
    service: bool,
    /// configuration and state
    #[argh(switch)]
    state: bool,
    /// the folder of the agent
    #[argh(switch)]
    workspace: bool,
    /// taken for scripts' sake: there is no app here
    #[argh(switch)]
    #[expect(dead_code, reason = "says what is always so")]
    app: bool,
    /// all of it
    #[argh(switch)]
    all: bool,
    /// do not ask
    #[argh(switch)]
    yes: bool,
    /// ask nothing; needs --yes
    #[argh(switch)]
    non_interactive: bool,
    /// say what would be done
    #[argh(switch)]
    dry_run: bool,
}

const SCOPES: [&str; 3] = ["config", "config+creds+sessions", "full"];

impl Reset {
    pub fn run(&self, context: &Context) -> ExitCode {
        let asks = !self.non_interactive && ask::interactive();
        let scope = match self.scope.as_deref() {
            Some(it) if SCOPES.contains(&it) => it.to_owned(),
            Some(it) => return fail(&format!("--scope {it}: use one of {}", SCOPES.join(", ")), 2),
            None if asks => {
                let options: Vec<(String, String)> =
                    SCOPES.iter().map(|it| ((*it).to_owned(), (*it).to_owned())).collect();
                match ask::choice("What is to go?", &options, 0) {
                    Ok(at) => SCOPES[at].to_owned(),
                    Err(ask::Gone) => return fail("\nNothing was changed.", 1),
                }
            }
            None => return fail(&format!("--scope is needed: one of {}", SCOPES.join(", ")), 2),
        };
        let (state, paths) = (&context.paths.state, &context.paths);
        let mut goes = vec![paths.config.clone(), paths.last_good()];
        if scope != "config" {
            goes.extend(
                ["credentials", "identity", "devices", "nodes", "agents", "accepted.jsonl"]
                    .map(|it| state.join(it)),
            );
        }
        if scope == "full" {
            goes = vec![paths.config.clone(), paths.last_good(), state.clone(), workspace(context)];
        }
        let keeps = scope != "full";
        carry_out(context, goes, &Wish { yes: self.yes, asks, dry_run: self.dry_run, keeps })
    }
}

impl Uninstall {
    pub fn run(&self, context: &Context) -> ExitCode {
        let asks = !self.non_interactive && ask::interactive();
        let (service, state, home) =
            (self.service || self.all, self.state || self.all, self.workspace || self.all);
        if !(service || state || home) {
            return fail("Say what is to go: --service, --state, --workspace, or --all.", 2);
        }
        let mut goes = vec![];
        if state {
            goes.extend([
                context.paths.config.clone(),
                context.paths.last_good(),
                context.paths.state.clone(),
            ]);
        }
        if home {
            goes.push(workspace(context));
        }
        let wish = Wish { yes: self.yes, asks, dry_run: self.dry_run, keeps: false };
        let installed = Service::find(context, "gateway");
        if let Some(file) = installed.file.as_ref().filter(|_| service) {
            if wish.dry_run {
                print(&format!("Would stop and remove {}", file.display()));
            } else if !wish.agreed(&format!("Stop and remove the service {}?", installed.unit)) {
                return fail(NOT_AGREED, 1);
            } else if let Err(err) = remove(&installed, file) {
                return fail(&err, 1);
            } else {
                print(&format!("Removed {}", file.display()));
            }
        }
        if goes.is_empty() { ExitCode::SUCCESS } else { carry_out(context, goes, &wish) }
    }
}

/// The default agent's folder, wherever it is.
fn workspace(context: &Context) -> PathBuf {
    let file = File::load(&context.paths, &context.env).or_last_good(&context.paths, &context.env);
    let agent = file.config.agents.default_id().to_owned();
    sessions::workspace(&World::new(file, context.paths.clone(), context.env.clone(), 0), &agent)
}

const NOT_AGREED: &str = "Nothing was changed: --yes says that you mean it.";

struct Wish {
    yes: bool,
    asks: bool,
    dry_run: bool,
    /// Put aside rather than deleted.
    keeps: bool,
}

impl Wish {
    fn agreed(&self, question: &str) -> bool {
        self.yes || self.asks && ask::confirm(question, false) == Ok(true)
    }
}

fn carry_out(context: &Context, goes: Vec<PathBuf>, wish: &Wish) -> ExitCode {
    let mut goes: Vec<PathBuf> = goes.into_iter().filter(|it| it.symlink_metadata().is_ok()).collect();
    goes.sort();
    goes.dedup();
    // What is in a folder that goes needs no word of its own.
    let all = goes.clone();
    goes.retain(|it| !all.iter().any(|other| other != it && it.starts_with(other)));
    if goes.is_empty() {
        return say("There is nothing to remove.");
    }
    let list: Vec<String> = goes.iter().map(|it| format!("  {}", it.display())).collect();
    let verb = if wish.keeps { "put aside" } else { "delete" };
    print(&format!("{} {verb}:\n{}", if wish.dry_run { "Would" } else { "To" }, list.join("\n")));
    if wish.dry_run {
        return ExitCode::SUCCESS;
    }
    if let Some(it) = goes.iter().find(|it| it.parent().is_none() || **it == context.paths.home) {
        return fail(
            &format!("{} is more than this program's own: remove what you mean yourself.", it.display()),
            1,
        );
    }
    if !wish.agreed("Go on?") {
        return fail(NOT_AGREED, 1);
    }
    let lock = match context.paths.state.exists().then(|| StateLock::take(&context.paths.state)).transpose() {
        Ok(it) => it,
        Err(err) => return fail(&format!("{err}\nOr: {} gateway stop", context.program()), 1),
    };
    let done = if wish.keeps { put_aside(context, &goes) } else { delete(&goes) };
    drop(lock);
    match done {
        Ok(text) => say(&format!("{text}\nNext: {} onboard", context.program())),
        Err(err) => fail(&err, 1),
    }
}

fn put_aside(context: &Context, goes: &[PathBuf]) -> Result<String, String> {
    let now = Clock::start().now().unix_ms;
    let aside = context.paths.state.join(format!("reset-{}", iso(now).replace(':', "-")));
    files::make_dir(&aside).map_err(|err| format!("cannot make {}: {err}", aside.display()))?;
    for path in goes {
        let Some(name) = path.file_name() else { continue };
        let moved = std::fs::rename(path, aside.join(name));
        moved.map_err(|err| {
            format!("cannot move {} to {}: {err}; move it yourself", path.display(), aside.display())
        })?;
    }
    Ok(format!("It is in {}", aside.display()))
}

fn delete(goes: &[PathBuf]) -> Result<String, String> {
    for path in goes {
        let real = path.is_dir() && !path.is_symlink();
        let gone = if real { std::fs::remove_dir_all(path) } else { files::remove(path) };
        gone.map_err(|err| format!("cannot remove {}: {err}", path.display()))?;
    }
    Ok("It is gone.".to_owned())
}
