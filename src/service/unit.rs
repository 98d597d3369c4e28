//! Unit files of systemd: the text we write, and what stands in one that is there.
use super::Spec;
use std::path::{Path, PathBuf};

/// `openclaw-<kind>[-profile].service`
pub fn name(kind: &str, profile: Option<&str>) -> String {
    let profile = profile.map(|it| format!("-{it}")).unwrap_or_default();
    format!("openclaw-{kind}{profile}.service")
}

/// The folder of the system's units.
pub const SYSTEM_DIR: &str = "/etc/systemd/system";

/// Where packages put theirs; what is of that name in [`SYSTEM_DIR`] counts first.
pub const PACKAGE_DIR: &str = "/usr/lib/systemd/system";

/// `~/.config/systemd/user`, or `XDG_CONFIG_HOME`'s.
pub fn user_dir(home: &Path, xdg_config_home: Option<&str>) -> PathBuf {
    let xdg = xdg_config_home.filter(|it| it.starts_with('/')).map(PathBuf::from);
    xdg.unwrap_or_else(|| home.join(".config")).join("systemd/user")
}

/// The whole file.
pub fn text(spec: &Spec) -> String {
    let name = spec.unit_name();
    let (edit, target) = match spec.user {
        Some(_) => ("sudo systemctl edit", "multi-user.target"),
        None => ("systemctl --user edit", "default.target"),
    };
    let profile = spec.profile.as_deref().unwrap_or("default");
    let mut lines = vec![
        "# Written by `gateway install`, which writes it anew with --force.".to_owned(),
        format!("# What you want otherwise goes into a file of your own: {edit} {name}"),
        "[Unit]".into(),
        format!("Description=OpenClaw Gateway (profile: {profile}, v{})", spec.version),
        "After=network-online.target".into(),
        "Wants=network-online.target".into(),
        // However often it is restarted, it is started again.
        "StartLimitIntervalSec=0".into(),
        String::new(),
        "[Service]".into(),
        "Type=notify".into(),
        "NotifyAccess=main".into(),
        format!("ExecStart={}", words(&spec.command())),
        format!("ExecStopPost=-{}", words(&record_exit(spec))),
        format!("WorkingDirectory={}", percent(&spec.home.display().to_string())),
    ];
    let environment = spec.environment(("OPENCLAW_SYSTEMD_UNIT", &name));
    lines.extend(
        environment.iter().map(|(name, value)| format!("Environment={}", word(&format!("{name}={value}")))),
    );
    lines.push(format!("EnvironmentFile=-{}", percent(&spec.state.join(".env").display().to_string())));
    lines.extend([
        "Restart=always".into(),
        "RestartSec=5".into(),
        "# 78: the configuration cannot be used; trying again would not help.".into(),
        "RestartPreventExitStatus=78".into(),
        format!("TimeoutStopSec={}", spec.stop_s),
        "WatchdogSec=60".into(),
        "# A stop is told to the gateway alone: what its tools run may finish.".into(),
        "KillMode=mixed".into(),
        "OOMPolicy=continue".into(),
        "UMask=0077".into(),
    ]);
    if let Some(user) = &spec.user {
        lines.push(format!("User={user}"));
        lines.extend(places(spec));
        lines.extend(HARDENING.lines().map(str::to_owned));
    }
    lines.extend([String::new(), "[Install]".into(), format!("WantedBy={target}"), String::new()]);
    lines.join("\n")
}

/// The command that writes down how the life ended, when it could not do so itself.
fn record_exit(spec: &Spec) -> Vec<String> {
    let mut words = spec.command();
    words.truncate(words.iter().position(|it| it == "gateway").map_or(words.len(), |it| it + 1));
    words.push("record-exit".to_owned());
    words
}

/// What a system unit may write: systemd makes and owns what is below /var/lib, the rest is the account's.
fn places(spec: &Spec) -> Vec<String> {
    match spec.state.strip_prefix("/var/lib") {
        Ok(below) if !below.as_os_str().is_empty() => {
            vec![
                format!("StateDirectory={}", word(&below.display().to_string())),
                "StateDirectoryMode=0700".into(),
            ]
        }
        _ => vec![],
    }
    .into_iter()
    .chain([format!("ReadWritePaths={}", word(&format!("-{}", spec.home.display())))])
    .collect()
}

/// What a gateway and the tools of its agent do not need. `MemoryDenyWriteExecute` and `PrivateUsers` are left out on purpose: tools
/// run programs with compilers inside, and files of other accounts.
const HARDENING: &str = "NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM";

/// A word of a unit file: quoted, with nothing in it that systemd would replace.
fn word(text: &str) -> String {
    let escaped = percent(&text.replace('\\', "\\\\").replace('"', "\\\""));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.,:=%+@~".contains(c);
    if escaped.chars().all(plain) { escaped } else { format!("\"{escaped}\"") }
}

/// A command line, where `$` means a variable too.
fn words(all: &[String]) -> String {
    all.iter().map(|it| word(it).replace('$', "$$")).collect::<Vec<_>>().join(" ")
}

/// `%` begins a specifier everywhere.
fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

/// A unit file that is there.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    pub text: String,
}

impl Unit {
    /// The values of a key, in order; systemd's last one counts where only one can.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.text
            .lines()
            .filter_map(move |it| it.trim().strip_prefix(key)?.trim_start().strip_prefix('=').map(str::trim))
    }
    /// The words of `ExecStart`.
    pub fn command(&self) -> Vec<String> {
        let line = self.values("ExecStart").last().unwrap_or_default();
        split(line).into_iter().map(|it| it.replace("$$", "$").replace("%%", "%")).collect()
    }
    /// The variables that the unit sets.
    pub fn environment(&self) -> Vec<(String, String)> {
        let words = self.values("Environment").flat_map(split);
        let pairs = words.filter_map(|it| {
            let (name, value) = it.split_once('=')?;
            Some((name.to_owned(), value.replace("%%", "%")))
        });
        pairs.collect()
    }
    /// Says the same, whichever version wrote it: comments, blank lines and the version itself do not count.
    pub fn same_as(&self, other: &str) -> bool {
        essence(&self.text) == essence(other)
    }
}

fn essence(text: &str) -> Vec<&str> {
    let counts = |it: &&str| {
        !it.is_empty()
            && !it.starts_with(['#', ';'])
            && !it.starts_with("Description=")
            && !it.contains("OPENCLAW_SERVICE_VERSION=")
    };
    text.lines().map(str::trim).filter(counts).collect()
}

/// Words as systemd splits them: by blanks, with quotes and backslashes.
fn split(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (vec![], None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => all.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn spec() -> Spec {
        Spec {
            profile: None,
            program: "/usr/local/bin/openclaw".into(),
            port: None,
            home: "/home/pi".into(),
            state: "/home/pi/.openclaw".into(),
            state_chosen: false,
            config: None,
            user: None,
            stop_s: 45,
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let odd = Spec {
            profile: Some("rescue".into()),
            program: "/opt/a b/100% \"$x\"/gatewayd".into(),
            port: Some(18790),
            config: Some("/c d/x.json".into()),
            ..spec()
        };
        let unit = Unit { text: text(&odd) };
        assert_eq!(unit.command(), odd.command());
        let env = unit.environment();
        for (name, value) in odd.environment(("OPENCLAW_SYSTEMD_UNIT", "openclaw-gateway-rescue.service")) {
            assert!(env.contains(&(name.clone(), value)), "{name} in {env:?}");
        }
        assert!(unit.text.contains("--profile rescue gateway record-exit\n"), "{}", unit.text);
        assert_eq!(unit.values("WantedBy").last(), Some("default.target"));
    }
    #[test]
    fn another_version_says_the_same() {
        let unit = Unit { text: text(&spec()) };
        assert!(unit.same_as(&text(&Spec { version: "9.9.9".into(), ..spec() })));
        assert!(!unit.same_as(&text(&Spec { port: Some(1), ..spec() })));
    }
    #[test]
    fn no_unit_names_a_secret() {
        for user in [None, Some("pi".to_owned())] {
            let text = text(&Spec { user, ..spec() });
            assert!(
                !text.contains("TOKEN") && !text.contains("PASSWORD") && text.contains("EnvironmentFile=-")
            );
        }
    }
    #[test]
    fn a_state_folder_below_var_lib_is_made_by_systemd() {
        let it = Spec {
            user: Some("openclaw".into()),
            home: "/var/lib/openclaw".into(),
            state: "/var/lib/openclaw/.openclaw".into(),
            ..spec()
        };
        let unit = Unit { text: text(&it) };
        assert_eq!(unit.values("StateDirectory").last(), Some("openclaw/.openclaw"));
        assert_eq!(unit.values("User").last(), Some("openclaw"));
    }
}
