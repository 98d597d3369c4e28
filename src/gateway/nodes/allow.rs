//! Which commands a node may have at all: by its platform, and by `gateway.nodes.allowCommands` and `denyCommands`.
use crate::config::NodeCommands;

/// Reference: families of commands.
const CANVAS: &[&str] = &[
    "canvas.present",
    "canvas.hide",
    "canvas.navigate",
    "canvas.eval",
    "canvas.snapshot",
    "canvas.a2ui.push",
    "canvas.a2ui.pushJSONL",
    "canvas.a2ui.reset",
];
const CAMERA: &[&str] = &["camera.list", "camera.snap", "camera.clip"];
const SCREEN: &[&str] = &["screen.record"];
const LOCATION: &[&str] = &["location.get"];
const SMS: &[&str] = &["sms.send"];
const SYSTEM: &[&str] = &[
    "system.run",
    "system.which",
    "system.notify",
    "system.execApprovals.get",
    "system.execApprovals.set",
    "browser.proxy",
];

/// By the first letters of a platform; who names none that is known may have all, as in the reference.
const PLATFORMS: &[(&str, &[&[&str]])] = &[
    ("ios", &[CANVAS, CAMERA, SCREEN, LOCATION]),
    ("android", &[CANVAS, CAMERA, SCREEN, LOCATION, SMS]),
    ("mac", &[CANVAS, CAMERA, SCREEN, LOCATION, SYSTEM]),
    ("darwin", &[CANVAS, CAMERA, SCREEN, LOCATION, SYSTEM]),
    ("win", &[SYSTEM]),
    ("linux", &[SYSTEM]),
];
const UNKNOWN: &[&[&str]] = &[CANVAS, CAMERA, SCREEN, LOCATION, SMS, SYSTEM];

fn families(platform: &str, family: Option<&str>) -> &'static [&'static [&'static str]] {
    let of = |text: &str| {
        let text = text.trim().to_lowercase();
        let words = [("ipad", "ios"), ("iphone", "ios")];
        let text = words.iter().find(|it| text.starts_with(it.0)).map_or(&*text, |it| it.1);
        PLATFORMS.iter().find(|it| text.starts_with(it.0)).map(|it| it.1)
    };
    of(platform).or_else(|| of(family?)).unwrap_or(UNKNOWN)
}

/// Whether a node of that platform may have the command.
pub fn allows(rules: &NodeCommands, platform: &str, family: Option<&str>, command: &str) -> bool {
    let named = |list: &[String]| list.iter().any(|it| it.trim() == command);
    let usual = || families(platform, family).iter().any(|it| it.contains(&command));
    !command.is_empty() && !named(&rules.deny) && (usual() || named(&rules.allow))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn by_platform_and_by_rule() {
        let rules =
            NodeCommands { allow: vec!["x.y".into(), "sms.send".into()], deny: vec!["sms.send".into()] };
        for (platform, family, command, may) in [
            ("linux", None, "system.run", true),
            ("linux", Some("iPhone"), "camera.snap", false),
            ("Linux 6.1", None, "canvas.present", false),
            ("win32", None, "browser.proxy", true),
            ("macos", None, "camera.snap", true),
            ("darwin", None, "system.notify", true),
            ("iOS 26", None, "system.run", false),
            ("iOS 26", None, "canvas.eval", true),
            ("android", None, "sms.send", false),
            ("amiga", Some("iPhone"), "system.run", false),
            ("amiga", None, "system.run", true),
            ("amiga", None, "nope", false),
            ("linux", None, "x.y", true),
            ("linux", None, "", false),
        ] {
            assert_eq!(allows(&rules, platform, family, command), may, "{platform} {family:?} {command}");
        }
        assert!(allows(&NodeCommands::default(), "android", None, "sms.send"));
    }
}
