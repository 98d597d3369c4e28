//! The service of this instance: its unit file, whether it is enabled, whether it runs. Changes nothing.
use super::Context;
use crate::base::secret::MASK;
use crate::base::{accounts, files};
use crate::config::{Env, Paths};
use crate::service::LEGACY_UNITS;
use crate::service::systemctl::{Scope, State};
use crate::service::unit::{self, Unit};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A unit file. Ours: the largest the reference writes is 2 KB.
const UNIT_BYTES_MAX: u64 = 256 * 1024;

/// A unit, found or not.
pub struct Service {
    /// Its name.
    pub unit: String,
    /// The unit file; None when it is not installed.
    pub file: Option<PathBuf>,
    pub scope: Scope,
    pub text: Unit,
}

/// The scopes with their folders, the person's own first.
pub fn places(context: &Context) -> [(PathBuf, Scope); 2] {
    let user = unit::user_dir(&context.paths.home, context.env.get("XDG_CONFIG_HOME"));
    [
        (user, Scope::user(context.env.get("XDG_RUNTIME_DIR"))),
        (PathBuf::from(unit::SYSTEM_DIR), Scope::System),
    ]
}

/// The text of a unit file, when there is one that can be read.
pub fn read_unit(file: &Path) -> Option<Unit> {
    files::read_text(file, UNIT_BYTES_MAX).ok()?.map(|text| Unit { text })
}

impl Service {
    /// `openclaw-<kind>[-profile].service`: the user's, else the system's.
    pub fn find(context: &Context, kind: &str) -> Service {
        let unit = unit::name(kind, context.paths.profile.as_deref());
        let [user, system] = places(context);
        let at = |(dir, scope): (PathBuf, Scope)| {
            let file = dir.join(&unit);
            read_unit(&file).map(|text| (file, scope, text))
        };
        let own = user.1.clone();
        let package = (PathBuf::from(unit::PACKAGE_DIR), Scope::System);
        match at(user).or_else(|| at(system)).or_else(|| at(package)) {
            Some((file, scope, text)) => Service { unit, file: Some(file), scope, text },
            None => Service { unit, file: None, scope: own, text: Unit::default() },
        }
    }
    /// Some target wants it at start.
    pub fn enabled(&self) -> bool {
        let dir = match self.scope {
            Scope::System => Some(Path::new(unit::SYSTEM_DIR)),
            Scope::User { .. } => self.file.as_deref().and_then(Path::parent),
        };
        let wanted = |target: &str| dir.is_some_and(|it| it.join(target).join(&self.unit).is_symlink());
        wanted("default.target.wants") || wanted("multi-user.target.wants")
    }
    /// The words of `ExecStart`.
    pub fn command(&self) -> Vec<String> {
        self.text.command()
    }
    /// The environment that the unit sets, on top of the home folder: `home`, or that of the account which the unit names.
    fn env(&self, home: &Path) -> Env {
        let mut env = Env::default();
        let account = self.text.values("User").last().and_then(accounts::named);
        env.set("HOME", &account.map_or_else(|| home.to_owned(), |it| it.home).display().to_string());
        for (name, value) in self.text.environment() {
            env.set(&name, &value);
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

    /// What the supervisor says, or why it says nothing.
    pub fn state(&self) -> Result<State, String> {
        if self.file.is_none() {
            return Err(format!("{} is not installed", self.unit));
        }
        self.scope.show(&self.unit).map_err(|err| err.to_string())
    }
    /// `{status, detail | state, subState, pid}`, as the supervisor says.
    pub fn runtime(&self) -> Value {
        match self.state() {
            Ok(it) => runtime_of(&it),
            Err(detail) => json!({ "status": "unknown", "detail": detail }),
        }
    }
    /// `{programArguments, workingDirectory, sourcePath}`, or null. The environment stays out: it may hold the token.
    pub fn command_json(&self) -> Value {
        let Some(file) = &self.file else { return Value::Null };
        json!({
            "programArguments": masked(&self.command()),
            "workingDirectory": self.text.values("WorkingDirectory").last(),
            "sourcePath": file,
        })
    }
    /// `{label, loaded, loadedText, notLoadedText}`: what the reference's actions tell of a service.
    pub fn snapshot(&self) -> Value {
        json!({ "label": "systemd", "loaded": self.enabled(), "loadedText": "enabled", "notLoadedText": "disabled" })
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

fn runtime_of(it: &State) -> Value {
    let status = match &*it.active {
        "active" | "activating" | "reloading" | "deactivating" => "running",
        "" => "unknown",
        _ => "stopped",
    };
    let mut out = json!({ "status": status, "state": it.active, "subState": it.sub, "pid": it.pid });
    if it.restarts > 0 {
        out["restarts"] = it.restarts.into();
    }
    if status == "stopped" && it.result != "success" {
        out["lastExitReason"] = it.result.as_str().into();
        out["lastExitStatus"] = it.exit_status.into();
    }
    if !it.status_text.is_empty() {
        out["statusText"] = it.status_text.as_str().into();
    }
    out
}

/// `running (pid 42, active/running)`.
pub fn runtime_text(runtime: &Value) -> String {
    let status = runtime["status"].as_str().unwrap_or("unknown");
    if let Some(detail) = runtime["detail"].as_str() {
        return format!("{status} ({})", detail.replace('\n', "\n                "));
    }
    let part = |name: &str| runtime[name].as_str().unwrap_or("-");
    let pid = runtime["pid"].as_i64().map(|it| format!("pid {it}, ")).unwrap_or_default();
    let mut text = format!("{status} ({pid}{}/{})", part("state"), part("subState"));
    if let Some(reason) = runtime["lastExitReason"].as_str() {
        text.push_str(&format!(", last exit: {reason}"));
        text.extend(runtime["lastExitStatus"].as_i64().map(|it| format!(" {it}")));
    }
    if let Some(times) = runtime["restarts"].as_u64() {
        text.push_str(&format!(", started again {times} times"));
    }
    text
}

/// Another service that looks like a gateway.
pub struct Other {
    pub name: String,
    pub file: PathBuf,
    pub scope: Scope,
    /// The line that says so.
    pub detail: String,
    /// Under a name that an earlier product gave it.
    pub legacy: bool,
}

impl Other {
    pub fn json(&self) -> Value {
        let scope = if self.scope == Scope::System { "system" } else { "user" };
        json!({
            "platform": "linux", "label": self.name, "detail": self.detail, "scope": scope, "legacy": self.legacy,
        })
    }
}

/// Units that start something like a gateway under a name that no profile has; with `deep`, the system's too.
pub fn others(context: &Context, deep: bool) -> Vec<Other> {
    let mut found = vec![];
    for (dir, scope) in places(context).into_iter().take(if deep { 2 } else { 1 }) {
        for name in files::names(&dir) {
            let Some(stem) = name.strip_suffix(".service").filter(|it| !it.starts_with("openclaw-")) else {
                continue;
            };
            let file = dir.join(&name);
            let text = read_unit(&file).unwrap_or_default();
            let starts = |it: &&str| {
                it.contains("gateway")
                    && ["openclaw", "clawdbot", "moltbot", "gatewayd"].iter().any(|word| it.contains(word))
            };
            let legacy = LEGACY_UNITS
                .iter()
                .any(|it| stem.strip_prefix(it).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')));
            let line = text
                .values("ExecStart")
                .find(starts)
                .map(|it| masked(&it.split_whitespace().collect::<Vec<_>>()).join(" "));
            if legacy || line.is_some() {
                let detail = format!("ExecStart={}", line.unwrap_or_default());
                found.push(Other { name, file, scope: scope.clone(), detail, legacy });
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
        let put = |name: &str, text: &str| files::write_atomic(&dir.join(name), text.as_bytes()).unwrap();
        put("openclaw-gateway.service", unit);
        let user = format!("{unit}User=root\nEnvironment=OPENCLAW_STATE_DIR=\n");
        let it = Service { text: Unit { text: user }, ..Service::find(&context, "gateway") };
        assert_eq!(
            it.paths(&context).config,
            Path::new("/root/.openclaw/openclaw.json"),
            "as its account sees it"
        );
        put("mine.service", "[Service]\nExecStart=/opt/gatewayd gateway --token abc\n");
        put("moltbot-gateway-rescue.service", "[Service]\nExecStart=/opt/moltbot\n");
        let it = Service::find(&context, "gateway");
        assert_eq!((it.port(&context), it.enabled()), (Some(18800), false));
        assert_eq!(it.paths(&context).config, Path::new("/s/openclaw.json"));
        assert_eq!(it.command_json()["programArguments"][1], "gateway");
        let [mine, old] = &others(&context, false)[..] else { panic!("two") };
        assert!(mine.name == "mine.service" && !mine.legacy && !mine.detail.contains("abc"));
        assert!(old.name == "moltbot-gateway-rescue.service" && old.legacy);
        std::fs::remove_dir_all(&home).unwrap();
    }
    #[test]
    fn secrets_on_a_command_line() {
        let line = ["gateway", "--token", "a", "--port", "1", "--password=b", "--token"];
        assert_eq!(masked(&line).join(" "), "gateway --token *** --port 1 --password=*** --token");
    }
    #[test]
    fn runtimes() {
        let mut it =
            State { active: "active".into(), sub: "running".into(), pid: Some(42), ..State::default() };
        assert_eq!(runtime_text(&runtime_of(&it)), "running (pid 42, active/running)");
        (it.active, it.sub, it.pid) = ("failed".into(), "failed".into(), None);
        (it.result, it.exit_status) = ("exit-code".into(), Some(78));
        assert_eq!(runtime_text(&runtime_of(&it)), "stopped (failed/failed), last exit: exit-code 78");
    }
}
