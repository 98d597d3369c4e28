//! Whole files: what is read, what is said about mistakes, and the copy to fall back on.
use super::*;
use std::os::unix::fs::PermissionsExt;

/// An instance in its own folder, gone with the test.
struct Home(Paths);

impl Home {
    fn new(name: &str) -> Home {
        let dir = std::env::temp_dir().join(format!("gatewayd-config-{name}-{}", std::process::id()));
        let env = Env::from([("HOME", dir.to_str().unwrap())]);
        files::make_dir(&dir.join(".openclaw")).unwrap();
        Home(Paths::resolve(&env, None))
    }
    fn load(&self, text: &str) -> File {
        files::write_atomic(&self.0.config, text.as_bytes()).unwrap();
        File::load(&self.0, &Env::from([("TOKEN", "s3cret")]))
    }
}
impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0.home);
    }
}

fn said(issues: &[Issue]) -> Vec<String> {
    issues.iter().map(Issue::to_string).collect()
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let home = Home::new("wrong");
    let file = home.load(
        "{\n  gateway: {\n    port: 'x', bnd: 'lan',\n    auth: { token: '${NONE}' },\n    reload: { mode: 'soon' },\n  },\n  cron: { enabled: true, enabled: 5 },\n  zzz: 1,\n}",
    );
    assert!(!file.valid());
    assert_eq!(
        said(&file.issues),
        [
            "gateway.auth.token: the environment variable NONE is not set (line 4, column 20)",
            "gateway.port: Invalid input: expected number, received string (line 3, column 11)",
            "gateway.reload.mode: Invalid option: expected one of \"off\"|\"restart\"|\"hot\"|\"hybrid\" (line 5, column 21)",
            "cron.enabled: Invalid input: expected boolean, received number (line 7, column 35)",
        ]
    );
    assert_eq!(
        said(&file.warnings),
        [
            "gateway.bnd: unknown key; did you mean \"bind\"? (line 3, column 21)",
            "zzz: unknown key (line 8, column 8)",
            "cron.enabled: written twice; the later one counts (line 7, column 11)",
        ]
    );
}

#[test]
fn references_and_includes_are_followed() {
    let home = Home::new("good");
    files::write_atomic(&home.0.state.join("base.json5"), b"{ mode: 'local', auth: { token: '${TOKEN}' } }")
        .unwrap();
    let file = home.load("{ gateway: { $include: './base.json5', port: 5 } }");
    assert_eq!((said(&file.issues), said(&file.warnings)), (vec![], vec![]));
    assert_eq!((file.config.gateway.port, file.config.gateway.mode), (Some(5), Some(Mode::Local)));
    assert_eq!(file.resolved["gateway"]["auth"]["token"], "s3cret");
    assert_eq!(file.source.included, [home.0.state.join("base.json5")]);

    file.keep_last_good(&home.0).unwrap();
    assert_eq!(std::fs::metadata(home.0.last_good()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!files::read_text(&home.0.last_good(), 1000).unwrap().unwrap().contains("s3cret"));
    std::fs::remove_file(home.0.state.join("base.json5")).unwrap();
    let env = Env::from([("TOKEN", "s3cret")]);
    let broken = File::load(&home.0, &env);
    assert_eq!(broken.issues.len(), 1, "{:?}", broken.issues);
    assert_eq!(File::load_last_good(&home.0, &env).unwrap().resolved, file.resolved);
    assert!(File::load_last_good(&home.0, &Env::default()).is_none(), "its variable is gone");
}

#[test]
fn files_that_cannot_be_read() {
    let home = Home::new("unreadable");
    let env = Env::default();
    let none = File::load(&home.0, &env);
    assert!(none.valid() && !none.exists());
    for (text, want) in [
        ("", "JSON5: invalid end of input at 1:1"),
        ("[]", "the file must hold an object"),
        ("{ a: ", "JSON5: invalid end of input at 1:6"),
        ("{ \"__proto__\": {} }", "__proto__: a key of this name is not allowed"),
    ] {
        let file = home.load(text);
        assert!(
            file.issues.first().is_some_and(|it| it.to_string().starts_with(want)),
            "{text}: {:?}",
            file.issues
        );
    }
    std::fs::remove_file(&home.0.config).unwrap();
    files::make_dir(&home.0.config).unwrap();
    assert!(File::load(&home.0, &env).issues[0].message.contains("not a regular file"));
}

#[test]
fn who_may_command() {
    let home = Home::new("commands");
    let commands = |text: &str| home.load(text).config.commands;
    let none = commands("{}");
    assert_eq!((none.for_all, none.owners.len()), (false, 0));
    let all = commands("{ commands: { useAccessGroups: false, ownerAllowFrom: [' Telegram:7 ', 42, '*'] } }");
    assert!(all.for_all);
    assert_eq!(all.owners, ["telegram:7", "42", "*"]);
}

#[test]
fn an_unchanged_save_is_known_by_its_hash() {
    let home = Home::new("unchanged");
    let base = home.0.state.join("base.json5");
    let text = "{ gateway: { $include: './base.json5' }, ui: { $include: './later.json5' } }";
    files::write_atomic(&base, b"{ port: 5 }").unwrap();
    let broken = home.load(text);
    assert_eq!(broken.issues.len(), 1, "{:?}", broken.issues);
    assert_eq!(broken.sources(&home.0).len(), 3, "what is missing is waited for");
    assert!(broken.source.is_current(&home.0));
    files::write_atomic(&home.0.state.join("later.json5"), b"{}").unwrap();
    assert!(!broken.source.is_current(&home.0), "what was missing is there");
    let whole = home.load(text);
    assert_eq!(said(&whole.issues), [""; 0]);
    // Saved again, word for word.
    home.load(text);
    assert!(whole.source.is_current(&home.0));
    for (path, new) in [(&base, "{ port: 6 }"), (&home.0.config, "{}")] {
        let old = files::read(path, 1000).unwrap().unwrap();
        files::write_atomic(path, new.as_bytes()).unwrap();
        assert!(!whole.source.is_current(&home.0), "{path:?}");
        files::write_atomic(path, &old).unwrap();
        assert!(whole.source.is_current(&home.0));
    }
    std::fs::remove_file(&base).unwrap();
    assert!(!whole.source.is_current(&home.0));
}
