//! The property list of launchd, for a machine that has it, and what is typed there. It is written as text, and validated by a test;
//! nothing here runs launchctl.
use super::Spec;

/// `bot.molt.gateway`, or `bot.molt.<profile>`.
pub fn label(profile: Option<&str>) -> String {
    format!("bot.molt.{}", profile.unwrap_or("gateway"))
}

/// Where a person's lists are.
const AGENTS: &str = "~/Library/LaunchAgents";

/// What is typed on a Mac where others say `gateway install`, `stop` …: the action, and its command line. `program` is how the
/// gateway's command lines begin.
pub fn words(profile: Option<&str>, program: &str) -> [(&'static str, String); 6] {
    let label = label(profile);
    let (file, target) = (format!("{AGENTS}/{label}.plist"), format!("gui/$UID/{label}"));
    let print = format!("{program} gateway install --print --platform launchd");
    [
        ("install", format!("mkdir -p {AGENTS} && {print} > {file} && launchctl bootstrap gui/$UID {file}")),
        ("status", format!("launchctl print {target}")),
        ("start", format!("launchctl kickstart {target}")),
        ("stop", format!("launchctl bootout {target}")),
        ("restart", format!("launchctl kickstart -k {target}")),
        ("uninstall", format!("launchctl bootout {target}; rm {file}")),
    ]
}

/// The label that earlier versions gave their list; two gateways would want one port.
pub fn legacy_label(profile: Option<&str>) -> String {
    format!("com.openclaw.{}", profile.unwrap_or("gateway"))
}

/// The whole file, for `~/Library/LaunchAgents/<label>.plist`.
pub fn text(spec: &Spec) -> String {
    let label = label(spec.profile.as_deref());
    let string = |it: &str| format!("<string>{}</string>", escaped(it));
    let command: String = spec.command().iter().map(|it| format!("\n    {}", string(it))).collect();
    let environment: String = (spec.environment(("OPENCLAW_LAUNCHD_LABEL", &label)).iter())
        .map(|(name, value)| format!("\n    <key>{}</key>\n    {}", escaped(name), string(value)))
        .collect();
    let log = |name: &str| string(&spec.state.join("logs").join(name).display().to_string());
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  \
         <key>Label</key>\n  {label}\n  \
         <key>ProgramArguments</key>\n  <array>{command}\n  </array>\n  \
         <key>WorkingDirectory</key>\n  {home}\n  \
         <key>EnvironmentVariables</key>\n  <dict>{environment}\n  </dict>\n  \
         <key>RunAtLoad</key>\n  <true/>\n  \
         <key>KeepAlive</key>\n  <true/>\n  \
         <key>ThrottleInterval</key>\n  <integer>5</integer>\n  \
         <key>ExitTimeOut</key>\n  <integer>{stop_s}</integer>\n  \
         <key>Umask</key>\n  <integer>63</integer>\n  \
         <key>StandardOutPath</key>\n  {out}\n  \
         <key>StandardErrorPath</key>\n  {err}\n\
         </dict>\n</plist>\n",
        label = string(&label),
        home = string(&spec.home.display().to_string()),
        stop_s = spec.stop_s,
        out = log("gateway.log"),
        err = log("gateway.err.log"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::unit::tests::spec;
    use super::*;
    #[test]
    fn what_is_typed() {
        let table = [
            (
                None,
                "install",
                "mkdir -p ~/Library/LaunchAgents && openclaw gateway install --print --platform launchd > ~/Library/LaunchAgents/bot.molt.gateway.plist && launchctl bootstrap gui/$UID ~/Library/LaunchAgents/bot.molt.gateway.plist",
            ),
            (None, "status", "launchctl print gui/$UID/bot.molt.gateway"),
            (None, "stop", "launchctl bootout gui/$UID/bot.molt.gateway"),
            (None, "restart", "launchctl kickstart -k gui/$UID/bot.molt.gateway"),
            (Some("rescue"), "start", "launchctl kickstart gui/$UID/bot.molt.rescue"),
            (
                Some("rescue"),
                "uninstall",
                "launchctl bootout gui/$UID/bot.molt.rescue; rm ~/Library/LaunchAgents/bot.molt.rescue.plist",
            ),
        ];
        for (profile, action, line) in table {
            let program = "openclaw";
            assert!(
                words(profile, program).contains(&(action, line.to_owned())),
                "{action}: {:#?}",
                words(profile, program)
            );
        }
        assert_eq!(
            (legacy_label(None), legacy_label(Some("a"))),
            ("com.openclaw.gateway".into(), "com.openclaw.a".into())
        );
    }
    #[test]
    fn labels_and_escapes() {
        assert_eq!(label(None), "bot.molt.gateway");
        let it = Spec { profile: Some("rescue".into()), program: "/opt/a&b/<x>/gatewayd".into(), ..spec() };
        let text = text(&it);
        assert!(text.contains("<string>bot.molt.rescue</string>"), "{text}");
        assert!(text.contains("<string>/opt/a&amp;b/&lt;x&gt;/gatewayd</string>"), "{text}");
    }
}
