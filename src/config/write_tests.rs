//! Writes to real files: what survives, what is refused, what is left behind.
use super::*;
use std::os::unix::fs::PermissionsExt;

struct Home(Paths);

impl Home {
    fn new(name: &str, text: &str) -> Home {
        let dir = std::env::temp_dir().join(format!("gatewayd-write-{name}-{}", std::process::id()));
        let paths = Paths::resolve(&Env::from([("HOME", dir.to_str().unwrap())]), None);
        files::write_atomic(&paths.config, text.as_bytes()).unwrap();
        Home(paths)
    }
    fn load(&self) -> File {
        File::load(&self.0, &Env::default())
    }
    fn text(&self) -> String {
        self.load().raw.unwrap()
    }
    fn write(&self, base: &File, new: &Value, force: bool) -> Result<Written, WriteError> {
        Change { paths: &self.0, env: &Env::default(), base, who: "test", unix_ms: 0, force, authored: None }
            .write(new)
    }
    /// Sets one member of `gateway`.
    fn set(&self, key: &str, value: impl Into<Value>) -> Result<Written, WriteError> {
        let base = self.load();
        let mut new = Value::clone(&base.resolved);
        new["gateway"][key] = value.into();
        self.write(&base, &new, false)
    }
}
impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.home);
    }
}

const TEXT: &str = "{\n  // the port\n  gateway: { port: 1, mode: 'local', auth: { token: '${NOT_SET}' } },\n  mine: 1,\n}\n";

#[test]
fn the_text_survives_and_the_past_is_kept() {
    let home = Home::new("ring", TEXT);
    for port in 2..10 {
        let done = home.set("port", port).unwrap();
        assert_eq!(done.changed, ["gateway.port"]);
    }
    assert_eq!(home.text(), TEXT.replace("port: 1", "port: 9"), "the unset variable was there before");
    let backups: Vec<String> = (0..BACKUPS)
        .map(|age| files::read_text(&backup(&home.0.config, age), 1000).unwrap().unwrap())
        .collect();
    let want: Vec<String> = (4..9).rev().map(|it| TEXT.replace("port: 1", &format!("port: {it}"))).collect();
    assert_eq!(backups, want);
    for name in files::names(&home.0.state).iter().filter(|it| it.starts_with("openclaw.json")) {
        let mode = fs::metadata(home.0.state.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(files::names(&home.0.state).len(), 2 + BACKUPS, "no temp file is left");
    assert_eq!(home.set("port", 9).unwrap().changed, [""; 0]);
    assert_eq!(home.text(), files::read_text(&home.0.config, 1000).unwrap().unwrap());
}

#[test]
fn the_audit_log_names_paths_and_no_values() {
    let home = Home::new("audit", "{ gateway: { mode: 'local', port: 1 } }");
    home.set("auth", json!({ "token": "very-secret" })).unwrap();
    home.set("port", 2).unwrap();
    let log = files::read_text(&home.0.config_audit(), 10_000).unwrap().unwrap();
    let lines: Vec<Value> = log.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(
        (lines[0]["paths"].clone(), lines[1]["paths"].clone()),
        (json!(["gateway.auth.token"]), json!(["gateway.port"]))
    );
    assert_eq!((&lines[1]["previousHash"], &lines[0]["who"]), (&lines[0]["hash"], &json!("test")));
    assert_eq!(lines[1]["hash"], home.load().hash);
    assert!(!log.contains("very-secret"));
}

#[test]
fn a_long_audit_log_is_put_aside() {
    let home = Home::new("audit-long", "{}");
    let path = home.0.config_audit();
    files::write_atomic(&path, &vec![b'x'; AUDIT_BYTES_MAX as usize + 1]).unwrap();
    home.set("port", 2).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 1000);
    assert_eq!(files::names(&home.0.logs()), ["config-audit.1.jsonl", "config-audit.jsonl"]);
}

#[test]
fn what_is_refused_leaves_the_file_alone() {
    let home = Home::new("refused", TEXT);
    let base = home.load();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut new = Value::clone(&base.resolved);
        change(&mut new);
        new
    };
    let cases: Vec<(Value, &str)> = vec![
        (
            with(&|it| it["gateway"]["port"] = "x".into()),
            "gateway.port: Invalid input: expected number, received string (line 3",
        ),
        (
            with(&|it| it["gateway"]["auth"]["token"] = merge::REDACTED.into()),
            "gateway.auth.token: __OPENCLAW_REDACTED__ stands for a secret",
        ),
        (with(&|it| it["x"] = json!([{ "constructor": 1 }])), "x.0.constructor"),
        (json!({ "mine": 1 }), "more than half"),
        (with(&|it| it["gateway"]["auth"]["password"] = "${OTHER}".into()), "OTHER is not set"),
    ];
    for (new, says) in cases {
        let err = home.write(&base, &new, false).unwrap_err();
        assert!(err.to_string().contains(says), "{err}");
    }
    assert_eq!(home.text(), TEXT);
    assert_eq!(files::names(&home.0.state), ["openclaw.json"], "no backup, no log");
    home.write(&base, &json!({ "mine": 1 }), true).unwrap();
    assert_eq!(*home.load().parsed, json!({ "mine": 1 }));
}

#[test]
fn nobodys_edit_is_lost() {
    let home = Home::new("race", TEXT);
    let base = home.load();
    let theirs = TEXT.replace("mine: 1", "mine: 2");
    files::write_atomic(&home.0.config, theirs.as_bytes()).unwrap();
    let mut new = Value::clone(&base.resolved);
    new["gateway"]["port"] = 5.into();
    assert!(matches!(home.write(&base, &new, false), Err(WriteError::Changed)));
    let held = lock(&home.0.config).unwrap();
    assert!(matches!(home.set("port", 5), Err(WriteError::Busy)));
    drop(held);
    assert_eq!(home.text(), theirs);
    home.set("port", 5).unwrap();
    assert_eq!(home.text(), theirs.replace("port: 1", "port: 5"));
}

#[test]
fn a_file_that_appeared_meanwhile_is_not_replaced() {
    let home = Home::new("appeared", "");
    fs::remove_file(&home.0.config).unwrap();
    let base = home.load();
    files::write_atomic(&home.0.config, b"{}").unwrap();
    assert!(matches!(home.write(&base, &json!({ "a": 1 }), false), Err(WriteError::Changed)));
}

#[test]
fn a_link_stays_a_link() {
    let home = Home::new("link", TEXT);
    let real = home.0.home.join("dotfiles/real.json");
    fs::create_dir_all(real.parent().unwrap()).unwrap();
    fs::rename(&home.0.config, &real).unwrap();
    std::os::unix::fs::symlink(&real, &home.0.config).unwrap();
    home.set("port", 7).unwrap();
    assert!(home.0.config.is_symlink());
    assert_eq!(files::read_text(&real, 1000).unwrap().unwrap(), TEXT.replace("port: 1", "port: 7"));
    fs::remove_file(&real).unwrap();
    let base = home.load();
    let err = home.write(&base, &json!({ "a": 1 }), true).unwrap_err();
    assert!(err.to_string().contains("a link to a file that does not exist"), "{err}");
    assert!(home.0.config.is_symlink());
}

/// Means something when root runs it; for others the owner is the same anyway.
#[test]
fn what_root_changes_stays_its_owners() {
    let home = Home::new("owner", TEXT);
    let owner = match fs::metadata(&home.0.config).unwrap().uid() {
        0 => 4321,
        own => own,
    };
    lchown(&home.0.config, Some(owner), None).unwrap();
    home.set("port", 7).unwrap();
    for path in [home.0.config.clone(), backup(&home.0.config, 0), home.0.logs(), home.0.config_audit()] {
        assert_eq!(fs::metadata(&path).unwrap().uid(), owner, "{path:?}");
    }
}
