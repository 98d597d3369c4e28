//! What the doctor can do itself. Each repair changes one thing, and says what it did.
use crate::base::{files, ids};
use crate::cli::Context;
use crate::cli::service::{self, Service};
use crate::cli::service_actions::remove;
use crate::cli::service_install::Install;
use crate::cli::setup::Setup;
use crate::config::place::Place;
use crate::config::{File, legacy};
use crate::service::systemctl::{self, Scope};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

#[derive(Debug, Clone)]
pub enum Repair {
    Setup,
    /// Old keys of the configuration to their new places.
    Migrate,
    ModeLocal,
    Token,
    Mode(PathBuf, u32),
    Move(PathBuf, PathBuf),
    Unit,
    RemoveUnit(String, PathBuf, Scope),
    Linger(String),
    Start,
}

impl Repair {
    /// Nobody could want it otherwise, and it can be undone.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Repair::Migrate | Repair::Mode(..))
    }
    /// Replaces what a person may have written.
    pub fn is_forceful(&self) -> bool {
        matches!(self, Repair::Unit)
    }

    /// Does it; answers what was done.
    ///
    /// # Errors
    /// Why it could not be done; then nothing has changed.
    pub fn make(&self, context: &Context) -> Result<String, String> {
        match self {
            Repair::Setup => {
                Setup::default().make(context)?;
                Ok(format!("made {}", context.paths.config.display()))
            }
            Repair::Migrate => {
                let file = File::load(&context.paths, &context.env);
                let mut new = Value::clone(&file.merged);
                let said = legacy::migrate(&mut new);
                write(context, &file, &new)?;
                Ok(format!("{}; the old file is {}.bak", said.join("; "), context.paths.config.display()))
            }
            Repair::ModeLocal => set(context, "gateway.mode", "local".into()),
            Repair::Token => set(context, "gateway.auth.token", ids::token(&mut ids::os_entropy()).into())
                .map(|_| {
                    format!(
                        "made a token; to see it: {} config get gateway.auth.token --reveal",
                        context.program()
                    )
                }),
            Repair::Mode(path, mode) => {
                let changed = std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode));
                changed.map_err(|err| format!("{}: {err}", path.display()))?;
                Ok(format!("{} has mode {mode:o}", path.display()))
            }
            Repair::Move(from, to) => {
                let parent = to.parent().unwrap_or(to);
                let moved = files::make_dir(parent).and_then(|()| files::rename(from, to));
                moved.map_err(|err| format!("{}: {err}", from.display()))?;
                Ok(format!("moved to {}", to.display()))
            }
            Repair::Unit => {
                let mut install = Install::like(&Service::find(context, "gateway"), context);
                install.force = true;
                install.make(context)
            }
            Repair::RemoveUnit(name, file, scope) => {
                let text = service::read_unit(file).unwrap_or_default();
                let it = Service { unit: name.clone(), file: Some(file.clone()), scope: scope.clone(), text };
                remove(&it, file).map(|()| format!("stopped and removed {name}"))
            }
            Repair::Linger(user) => systemctl::enable_linger(user)
                .map(|()| format!("linger is on for {user}"))
                .map_err(|err| err.to_string()),
            Repair::Start => {
                let it = Service::find(context, "gateway");
                it.scope
                    .run(&["start", &it.unit])
                    .map(|_| format!("started {}", it.unit))
                    .map_err(|err| err.to_string())
            }
        }
    }
}

fn set(context: &Context, path: &str, value: Value) -> Result<String, String> {
    let file = File::load(&context.paths, &context.env);
    let mut new = Value::clone(&file.merged);
    Place::parse(path)?.set(&mut new, value.clone())?;
    write(context, &file, &new)?;
    Ok(format!("set {path} to {value}"))
}

fn write(context: &Context, file: &File, new: &Value) -> Result<(), String> {
    context.write_config(file, new, "doctor", true).map(drop).map_err(|err| err.to_string())
}
