//! What does not change while one configuration is in force, and what follows from it once for all.
use super::auth::Flags;
use crate::agent::envelope::Zones;
use crate::agent::models::Models;
use crate::base::sys;
use crate::config::{Env, File, Paths};
use crate::protocol::presence::PresenceEntry;
use std::sync::Arc;

/// How this gateway is made a service of the person's who runs it, where it could be and is none yet. The command line knows how.
#[derive(Debug, Clone, Copy)]
pub struct Installer {
    /// The person's services start at boot already.
    pub lingers: bool,
    /// Blocks. The argument: they are to start at boot from now on. Answers what was done, or why not.
    pub install: fn(&World, bool) -> Result<String, String>,
}

/// Jobs read it; the core never waits for it.
#[derive(Debug, Clone)]
pub struct World {
    pub config: Arc<File>,
    pub models: Arc<Models>,
    pub zones: Arc<Zones>,
    pub paths: Paths,
    pub env: Env,
    pub port: u16,
    /// This machine's name, release and architecture.
    pub host: String,
    pub platform: String,
    pub arch: String,
    /// Its first address that is not loopback.
    pub ip: Option<String>,
    /// Why the configuration in force is not the file's.
    pub problem: Option<String>,
    /// The start of a command line for this instance, for texts that tell what to type.
    pub program: String,
    /// Secrets of the command line.
    pub flags: Flags,
    /// The log says more than the configuration asks for: a flag.
    pub loud: bool,
    /// What is only a warning elsewhere is a mistake: a flag.
    pub strict: bool,
    pub installer: Option<Installer>,
}

impl World {
    pub fn new(config: File, paths: Paths, env: Env, port: u16) -> World {
        let (host, release, machine) = sys::uname();
        let arch = match machine.as_str() {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            it if it.starts_with("arm") => "arm",
            it => it,
        };
        let ip = sys::addresses().first().map(|it| it.1.to_string());
        let platform = format!("{} {release}", std::env::consts::OS);
        let config = Arc::new(config);
        let models = Arc::new(Models::new(config.clone(), paths.clone(), env.clone()));
        let zones = Arc::new(zones(&config, &env));
        World {
            config,
            models,
            zones,
            paths,
            env,
            port,
            host,
            platform,
            arch: arch.to_owned(),
            ip,
            problem: None,
            program: "gatewayd".into(),
            flags: Flags::default(),
            loud: false,
            strict: false,
            installer: None,
        }
    }
    /// What clients are told is running.
    pub fn version(&self) -> &str {
        self.env.openclaw("VERSION").unwrap_or(env!("CARGO_PKG_VERSION"))
    }
    pub fn session_store(&self, agent_id: &str) -> std::path::PathBuf {
        let template = self.config.config.session.store.as_deref();
        crate::store::sessions::store_path(&self.paths.state, &self.paths.home, template, agent_id)
    }
    pub(super) fn presence(&self) -> PresenceEntry {
        let (host, version) = (self.host.clone(), self.version());
        let at = self.ip.as_ref().map_or(String::new(), |it| format!(" ({it})"));
        PresenceEntry {
            text: Some(format!("Gateway: {host}{at} · app {version} · mode gateway · reason self")),
            host: Some(host),
            ip: self.ip.clone(),
            version: Some(version.to_owned()),
            platform: Some(self.platform.clone()),
            device_family: Some(if cfg!(target_os = "macos") { "Mac" } else { "Linux" }.into()),
            model_identifier: Some(self.arch.clone()),
            mode: Some("gateway".into()),
            reason: Some("self".into()),
            ..PresenceEntry::default()
        }
    }
}

/// The time zones that a configuration names. Reads them from disk: not on the core thread.
pub fn zones(config: &File, env: &Env) -> Zones {
    let (zones, complaints) = Zones::load(&config.config.agents.times, env.get("TZ"));
    complaints.iter().for_each(|it| log::warn!(target: "config", "{it}"));
    zones
}
