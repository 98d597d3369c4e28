//! Where things are: state folder, configuration file, workspaces; and the environment, captured once.
pub use crate::base::files::expand_home;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The environment as a value, so that nothing deep inside reads the process's.
#[derive(Debug, Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    pub fn of_process() -> Env {
        Env(std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect())
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
    /// `OPENCLAW_<name>`, or the older `CLAWDBOT_<name>`; blank counts as absent.
    pub fn openclaw(&self, name: &str) -> Option<&str> {
        let set =
            |prefix: &str| self.get(&format!("{prefix}_{name}")).map(str::trim).filter(|it| !it.is_empty());
        set("OPENCLAW").or_else(|| set("CLAWDBOT"))
    }
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }
    pub fn home(&self) -> PathBuf {
        PathBuf::from(self.get("HOME").filter(|it| !it.is_empty()).unwrap_or("/"))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(pairs: [(&str, &str); N]) -> Env {
        Env(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }
}

/// The folders and files of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    pub home: PathBuf,
    pub state: PathBuf,
    pub config: PathBuf,
    /// The profile's name; None for the main installation.
    pub profile: Option<String>,
}

/// The port of the main installation.
pub const PORT_DEFAULT: u16 = 18789;
/// The port of `--dev`.
pub const PORT_DEV: u16 = 19001;

impl Paths {
    /// `OPENCLAW_STATE_DIR`, else `~/.openclaw[-profile]`; `OPENCLAW_CONFIG_PATH`, else `openclaw.json` in it.
    pub fn resolve(env: &Env, profile: Option<&str>) -> Paths {
        let home = env.home();
        let profile = profile.or_else(|| env.openclaw("PROFILE")).filter(|it| *it != "default");
        let dir = profile.map_or(".openclaw".to_owned(), |it| format!(".openclaw-{it}"));
        let state = env.openclaw("STATE_DIR").map_or_else(|| home.join(dir), |it| expand_home(it, &home));
        let config = env
            .openclaw("CONFIG_PATH")
            .map_or_else(|| state.join("openclaw.json"), |it| expand_home(it, &home));
        Paths { home, state, config, profile: profile.map(str::to_owned) }
    }
    pub fn is_dev(&self) -> bool {
        self.profile.as_deref() == Some("dev")
    }
    /// `--port` > `OPENCLAW_GATEWAY_PORT` > `gateway.port` > the profile's default.
    pub fn port(&self, flag: Option<u16>, env: &Env, config: Option<u16>) -> u16 {
        let from_env = || env.openclaw("GATEWAY_PORT").and_then(|it| it.parse().ok()).filter(|it| *it > 0);
        flag.or_else(from_env).or(config).unwrap_or(if self.is_dev() { PORT_DEV } else { PORT_DEFAULT })
    }
    /// The last configuration that a start succeeded with.
    pub fn last_good(&self) -> PathBuf {
        let mut path = self.config.clone().into_os_string();
        path.push(".last-good");
        path.into()
    }
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
    /// A line for each change of the configuration file.
    pub fn config_audit(&self) -> PathBuf {
        self.logs().join("config-audit.jsonl")
    }
    pub fn agent(&self, agent_id: &str) -> PathBuf {
        self.state.join("agents").join(agent_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn precedence() {
        let env = Env::from([("HOME", "/h"), ("CLAWDBOT_STATE_DIR", "~/s"), ("OPENCLAW_GATEWAY_PORT", "7")]);
        let paths = Paths::resolve(&env, Some("x"));
        assert_eq!((paths.state.to_str(), paths.config.to_str()), (Some("/h/s"), Some("/h/s/openclaw.json")));
        assert_eq!(paths.port(Some(5), &env, Some(6)), 5);
        assert_eq!(paths.port(None, &env, Some(6)), 7);
        let env = Env::from([("HOME", "/h")]);
        assert_eq!(Paths::resolve(&env, Some("dev")).state.to_str(), Some("/h/.openclaw-dev"));
        assert_eq!(Paths::resolve(&env, Some("dev")).port(None, &env, None), PORT_DEV);
        assert_eq!(Paths::resolve(&env, None).port(None, &env, Some(6)), 6);
    }
}
