//! What keeps the gateway running: the unit files of systemd and launchd, the commands of systemd, what a service tells it, and how
//! the last life ended.
//!
//! ```text
//! Spec ──► unit::text, launchd::text          what is written
//! Unit ◄── a file that is there               what is compared, and never guessed at
//! systemctl ──► start, stop, enable, show     the only children started here
//! ```
//!
//! * Knows nothing of the gateway's state, nor of its configuration: names, folders and times arrive as plain values.
//! * No unit holds a secret: those are in the `.env` of the state folder, which systemd and the gateway read.
//! * Nothing but `~/.config/systemd/user/<unit>` or `/etc/systemd/system/<unit>` is written: drop-ins belong to a person.
pub mod last_exit;
pub mod launchd;
pub mod notify;
pub mod systemctl;
pub mod unit;

use std::path::{Path, PathBuf};

/// `OPENCLAW_SERVICE_MARKER`, as the runbook has it.
pub const MARKER: &str = "openclaw";
/// Names that earlier products gave their unit; a profile follows with a dash.
pub const LEGACY_UNITS: [&str; 3] = ["clawdbot-gateway", "moltbot-gateway", "clawdis-gateway"];

/// What a service file is made of. Paths are absolute and hold no line break.
#[derive(Debug, Clone)]
pub struct Spec {
    pub profile: Option<String>,
    pub program: PathBuf,
    /// On the command line only when somebody chose it there: the configuration may change it otherwise.
    pub port: Option<u16>,
    pub home: PathBuf,
    pub state: PathBuf,
    /// Chosen by the environment, so that the service must be told.
    pub state_chosen: bool,
    pub config: Option<PathBuf>,
    /// The account of a system unit; None for a unit of the person's own.
    pub user: Option<String>,
    /// What a stop may take, in seconds.
    pub stop_s: u64,
    pub version: String,
}

impl Spec {
    /// `openclaw-gateway[-profile].service`
    pub fn unit_name(&self) -> String {
        unit::name("gateway", self.profile.as_deref())
    }
    /// Program and arguments.
    pub fn command(&self) -> Vec<String> {
        let mut words = vec![self.program.display().to_string()];
        words.extend(self.profile.iter().flat_map(|it| ["--profile".to_owned(), it.clone()]));
        words.push("gateway".to_owned());
        words.extend(self.port.iter().flat_map(|it| ["--port".to_owned(), it.to_string()]));
        words
    }
    /// The environment: where things are, and the marks that tell whose service it is.
    pub fn environment(&self, label: (&str, &str)) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        let mut all = vec![("HOME", text(&self.home)), ("PATH", path(&self.home))];
        all.extend(self.profile.iter().map(|it| ("OPENCLAW_PROFILE", it.clone())));
        if self.state_chosen {
            all.push(("OPENCLAW_STATE_DIR", text(&self.state)));
        }
        all.extend(self.config.iter().map(|it| ("OPENCLAW_CONFIG_PATH", text(it))));
        all.extend([
            (label.0, label.1.to_owned()),
            ("OPENCLAW_SERVICE_MARKER", MARKER.to_owned()),
            ("OPENCLAW_SERVICE_KIND", "gateway".to_owned()),
            ("OPENCLAW_SERVICE_VERSION", self.version.clone()),
        ]);
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Where tools look for programs: the person's own first.
fn path(home: &Path) -> String {
    let home = home.display();
    format!(
        "{home}/.local/bin:{home}/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
}
