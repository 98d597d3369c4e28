//! What systemd knows of the gateway: the unit file, whether it is enabled, whether it runs. Changes nothing.
use super::Context;
use crate::base::files;
use crate::base::secret::MASK;
use crate::config::{Env, Paths};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A unit file. Ours: the largest the reference writes is 2 KB.
const UNIT_BYTES_MAX: u64 = 256 * 1024;

/// A unit, found or not.
pub struct Service {
    pub unit: String,
    /// The unit file; None when it is not installed.
    pub file: Option<PathBuf>,
    user: bool,
    text: String,
}

/// `~/.config/systemd/user`, or `XDG_CONFIG_HOME`'s.
fn user_dir(context: &Context) -> PathBuf {
    let xdg = context.env.get("XDG_CONFIG_HOME").filter(|it| it.starts_with('/')).map(PathBuf::from);
    xdg.unwrap_or_else(|| context.paths.home.join(".config")).join("systemd/user")
}

const SYSTEM_DIR: &str = "/etc/systemd/system";

impl Service {
    /// `openclaw-<kind>[-profile].service`: the user's, else the system's.
    pub fn find(context: &Context, kind: &str) -> Service {
        let profile = context.paths.profile.as_ref().map(|it| format!("-{it}")).unwrap_or_default();
        let unit = format!("openclaw-{kind}{profile}.service");
        for (dir, user) in [(user_dir(context), true), (PathBuf::from(SYSTEM_DIR), false)] {
            let file = dir.join(&unit);
            if let Ok(Some(text)) = files::read_text(&file, UNIT_BYTES_MAX) {
                return Service { unit, file: Some(file), user, text };
            }
        }
        Service { unit, file: None, user: true, text: String::new() }
    }
    /// Some target wants it at start.
    pub fn enabled(&self) -> bool {
        let dir = self.file.as_deref().and_then(Path::parent);
        let wanted = |target: &str| dir.is_some_and(|it| it.join(target).join(&self.unit).is_symlink());
        wanted("default.target.wants") || wanted("multi-user.target.wants")
    }
    fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |it| it.trim().strip_prefix(key)?.trim_start().strip_prefix('='))
    }
    /// The words of `ExecStart`.
    pub fn command(&self) -> Vec<String> {
        let line = self.values("ExecStart").last().unwrap_or_default();
        line.split_whitespace().map(|it| it.trim_matches('"').to_owned()).collect()
    }
    /// The environment that the unit sets, on top of the home folder.
    fn env(&self, home: &Path) -> Env {
        let mut env = Env::default();
        env.set("HOME", &home.display().to_string());
        for line in self.values("Environment") {
            if let Some((name, value)) = line.trim().trim_matches('"').split_once('=') {
                env.set(name, value);
            }
        }
        env
    }
    /// Where the service looks for its configuration.
    pub fn paths(&self, context: &Context) -> Paths {
        let command = self.command();
        let after = |flag: &str| command.iter().skip_while(|it| *it != flag).nth(1).map(String::as_str);
        let profile = if command.iter().any(|it| it == "--dev") { Some("dev") } else { after("--profile") };
        Paths::resolve(&self.env(&context.paths.home), profile)
    }
    /// The port in `ExecStart` or the unit's environment.
    pub fn port(&self, context: &Context) -> Option<u16> {
        let command = self.command();
        let flag = command.iter().enumerate().find_map(|(at, it)| match it.strip_prefix("--port") {
            Some("") => command.get(at + 1)?.parse().ok(),
            Some(rest) => rest.strip_prefix('=')?.parse().ok(),
            None => None,
        });
        flag.or_else(|| self.env(&context.paths.home).openclaw("GATEWAY_PORT")?.parse().ok())
    }

    /// `{status, detail | state, subState, pid}`, as the supervisor says.
    pub fn runtime(&self) -> Value {
        if self.file.is_none() {
            return json!({ "status": "unknown", "detail": format!("{} is not installed", self.unit) });
        }
        let scope: &[&str] = if self.user { &["--user"] } else { &[] };
        #[expect(
            clippy::disallowed_methods,
            reason = "a command of its own process; only systemd knows this"
        )]
        let output = Command::new("systemctl")
            .args(scope)
            .args(["show", &self.unit, "--property=ActiveState,SubState,MainPID"])
            .output();
        let unknown = |detail: String| json!({ "status": "unknown", "detail": detail });
        match output {
            Err(err) => unknown(format!("cannot run systemctl: {err}")),
            Ok(it) if !it.status.success() => {
                unknown(format!("systemctl: {}", String::from_utf8_lossy(&it.stderr).trim()))
            }
            Ok(it) => runtime_of(&String::from_utf8_lossy(&it.stdout)),
        }
    }
    /// `{programArguments, workingDirectory, sourcePath}`, or null. The environment stays out: it may hold the token.
    pub fn command_json(&self) -> Value {
        let Some(file) = &self.file else { return Value::Null };
        json!({
            "programArguments": masked(&self.command()),
            "workingDirectory": self.values("WorkingDirectory").last(),
            "sourcePath": file,
        })
    }
}

/// A command line without the secrets that stand in it.
pub fn masked<S: AsRef<str>>(words: &[S]) -> Vec<String> {
    let mut secret_next = false;
    let mask = |word: &S| {
        let word = word.as_ref();
        let secret = std::mem::replace(&mut secret_next, ["--token", "--password"].contains(&word));
        match word.split_once('=') {
            _ if secret => MASK.to_owned(),
            Some((flag @ ("--token" | "--password"), _)) => format!("{flag}={MASK}"),
            _ => word.to_owned(),
        }
    };
    words.iter().map(mask).collect()
}

fn runtime_of(text: &str) -> Value {
    let get = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
    let (state, pid) =
        (get("ActiveState").unwrap_or("unknown"), get("MainPID").and_then(|it| it.parse::<i32>().ok()));
    let status = match state {
        "active" | "activating" | "reloading" => "running",
        "unknown" => "unknown",
        _ => "stopped",
    };
    json!({ "status": status, "state": state, "subState": get("SubState"), "pid": pid.filter(|it| *it > 0) })
}

/// `running (pid 42, active/running)`.
pub fn runtime_text(runtime: &Value) -> String {
    let status = runtime["status"].as_str().unwrap_or("unknown");
    if let Some(detail) = runtime["detail"].as_str() {
        return format!("{status} ({detail})");
    }
    let part = |name: &str| runtime[name].as_str().unwrap_or("-");
    let pid = runtime["pid"].as_i64().map(|it| format!("pid {it}, ")).unwrap_or_default();
    format!("{status} ({pid}{}/{})", part("state"), part("subState"))
}

/// Units that start something like a gateway under a name that no profile has; with `deep`, the system's too.
pub fn others(context: &Context, deep: bool) -> Vec<Value> {
    let mut dirs = vec![(user_dir(context), "user")];
    if deep {
        dirs.push((SYSTEM_DIR.into(), "system"));
    }
    let mut found = vec![];
    for (dir, scope) in dirs {
        for name in files::names(&dir) {
            if !name.ends_with(".service") || name.starts_with("openclaw-") {
                continue;
            }
            let text = files::read_text(&dir.join(&name), UNIT_BYTES_MAX).ok().flatten().unwrap_or_default();
            let starts = |it: &str| {
                it.starts_with("ExecStart=")
                    && it.contains("gateway")
                    && ["openclaw", "clawdbot", "moltbot", "gatewayd"].iter().any(|word| it.contains(word))
            };
            if let Some(line) = text.lines().map(str::trim).find(|it| starts(it)) {
                found.push(json!({ "platform": "linux", "label": name, "detail": line, "scope": scope }));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::context;
    #[test]
    fn reads_a_unit() {
        let home = std::env::temp_dir().join(format!("gatewayd-service-{}", std::process::id()));
        let context = context(&home);
        assert!(Service::find(&context, "gateway").file.is_none());
        let dir = home.join(".config/systemd/user");
        let unit = "[Service]\nExecStart=/usr/local/bin/openclaw gateway --port 18800\nEnvironment=OPENCLAW_STATE_DIR=/s\nWorkingDirectory=/w\n";
        files::write_atomic(&dir.join("openclaw-gateway.service"), unit.as_bytes()).unwrap();
        files::write_atomic(&dir.join("mine.service"), b"[Service]\nExecStart=/opt/gatewayd gateway\n")
            .unwrap();
        let it = Service::find(&context, "gateway");
        assert_eq!((it.port(&context), it.enabled()), (Some(18800), false));
        assert_eq!(it.paths(&context).config, Path::new("/s/openclaw.json"));
        assert_eq!(it.command_json()["programArguments"][1], "gateway");
        assert_eq!(others(&context, false)[0]["label"], "mine.service");
        std::fs::remove_dir_all(&home).unwrap();
    }
    #[test]
    fn secrets_on_a_command_line() {
        let line = ["gateway", "--token", "a", "--port", "1", "--password=b", "--token"];
        assert_eq!(masked(&line).join(" "), "gateway --token *** --port 1 --password=*** --token");
    }
    #[test]
    fn runtimes() {
        let it = runtime_of("ActiveState=active\nSubState=running\nMainPID=42\n");
        assert_eq!(runtime_text(&it), "running (pid 42, active/running)");
        assert_eq!(runtime_of("ActiveState=failed\nSubState=failed\nMainPID=0\n")["status"], "stopped");
    }
}
