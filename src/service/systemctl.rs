//! The commands of systemd. Every child of this module is one of `systemctl` and `loginctl`, and ends by itself.
use crate::base::{accounts, sys};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why systemd was of no use. Its text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Absent(String),
    #[error(
        "systemd runs no manager for the user {user}: log in as {user}, or have it started at boot:\n  sudo loginctl enable-linger {user}\n  export XDG_RUNTIME_DIR=/run/user/{uid}"
    )]
    NoManager { user: String, uid: u32 },
    #[error("systemctl {asked}: {said}")]
    Refused { asked: String, said: String },
    #[error("cannot run {0}: {1}")]
    System(&'static str, std::io::Error),
}

/// Whose manager is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    User { runtime_dir: PathBuf },
    System,
}

/// What a manager says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// `active`, `activating`, `failed` …; empty when unknown.
    pub active: String,
    pub sub: String,
    pub pid: Option<i32>,
    /// Times that it was started again by itself.
    pub restarts: u32,
    /// `success`, `exit-code`, `signal`, `watchdog`, `oom-kill` …
    pub result: String,
    /// Of the main process, when it has ended.
    pub exit_status: Option<i32>,
    /// What the service says that it does.
    pub status_text: String,
    /// The manager has not read the file as it is now.
    pub needs_reload: bool,
}

impl Scope {
    /// The manager of the person who runs this; `XDG_RUNTIME_DIR` where it is known.
    pub fn user(xdg_runtime_dir: Option<&str>) -> Scope {
        let known = xdg_runtime_dir.filter(|it| it.starts_with('/')).map(PathBuf::from);
        Scope::User { runtime_dir: known.unwrap_or_else(|| format!("/run/user/{}", sys::uid()).into()) }
    }
    /// The words that choose it on a command line of systemctl.
    pub fn flag(&self) -> &'static [&'static str] {
        match self {
            Scope::User { .. } => &["--user"],
            Scope::System => &[],
        }
    }
    /// # Errors
    /// When nobody could answer: no systemd, or no manager of this person's.
    pub fn check(&self) -> Result<(), Problem> {
        if !Path::new("/run/systemd/system").exists() {
            return Err(Problem::Absent(absent()));
        }
        match self {
            Scope::User { runtime_dir } if !runtime_dir.join("systemd/private").exists() => {
                Err(Problem::NoManager { user: accounts::name_of(sys::uid()), uid: sys::uid() })
            }
            _ => Ok(()),
        }
    }
    /// Runs `systemctl` with these words.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn run(&self, words: &[&str]) -> Result<String, Problem> {
        self.check()?;
        let mut command = child("systemctl");
        if let Scope::User { runtime_dir } = self {
            command.env("XDG_RUNTIME_DIR", runtime_dir);
        }
        command.args(self.flag()).args(["--no-pager", "--no-ask-password"]).args(words);
        output(command, "systemctl", &words.join(" "))
    }
    /// What the manager knows of a unit, also of one that is not there.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn show(&self, unit: &str) -> Result<State, Problem> {
        let properties = "--property=ActiveState,SubState,MainPID,NRestarts,Result,ExecMainStatus,ExecMainCode,StatusText,NeedDaemonReload";
        Ok(state(&self.run(&["show", unit, properties])?))
    }
}

fn state(text: &str) -> State {
    let get = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    let number = |name: &str| get(name).parse::<i32>().ok();
    State {
        active: get("ActiveState").to_owned(),
        sub: get("SubState").to_owned(),
        pid: number("MainPID").filter(|it| *it > 0),
        restarts: get("NRestarts").parse().unwrap_or(0),
        result: get("Result").to_owned(),
        exit_status: number("ExecMainStatus").filter(|_| number("ExecMainCode").is_some_and(|it| it > 0)),
        status_text: get("StatusText").to_owned(),
        needs_reload: get("NeedDaemonReload") == "yes",
    }
}

#[expect(clippy::disallowed_methods, reason = "the module's charter; only the command line comes here")]
fn child(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(std::process::Stdio::null());
    command
}

fn output(mut command: Command, program: &'static str, asked: &str) -> Result<String, Problem> {
    let out = command.output().map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => Problem::Absent(absent()),
        _ => Problem::System(program, err),
    })?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    Err(Problem::Refused { asked: asked.to_owned(), said })
}

/// What to do on a machine without systemd.
pub fn absent() -> String {
    let foreground = "The gateway runs in the foreground under any supervisor: start `gateway run` from it; it exits by itself only when it cannot go on";
    let exists = |path: &str| Path::new(path).exists();
    if sys::uname().1.to_lowercase().contains("microsoft") {
        "systemd does not run in this WSL2. Put `[boot]` and `systemd=true` into /etc/wsl.conf, run `wsl --shutdown` in Windows, and try again"
            .to_owned()
    } else if exists("/.dockerenv") || exists("/run/.containerenv") {
        format!("this is a container without systemd. {foreground} (let the container restart it)")
    } else {
        format!("systemd does not run on this machine. {foreground}")
    }
}

/// Whether a user's manager is started at boot, and outlives the last log-out.
pub fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}

/// Has it started at boot. Root may for everybody, others for themselves where the system lets them.
///
/// # Errors
/// [`Problem`].
pub fn enable_linger(user: &str) -> Result<(), Problem> {
    let mut command = child("loginctl");
    command.args(["--no-ask-password", "enable-linger", user]);
    output(command, "loginctl", &format!("enable-linger {user}")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_show_says() {
        let it = state(
            "ActiveState=failed\nSubState=failed\nMainPID=0\nNRestarts=3\nResult=exit-code\nExecMainStatus=78\nExecMainCode=1\nStatusText=\nNeedDaemonReload=no\n",
        );
        assert_eq!((&*it.active, it.pid, it.restarts, it.exit_status), ("failed", None, 3, Some(78)));
        assert_eq!(state("").active, "");
    }
    #[test]
    fn who_has_no_manager_is_told_what_to_type() {
        let text = Problem::NoManager { user: "pi".into(), uid: 1000 }.to_string();
        assert!(text.contains("sudo loginctl enable-linger pi") && text.contains("/run/user/1000"), "{text}");
    }
}
