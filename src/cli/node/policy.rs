//! Whether a command may run on this node: `exec-approvals.json`, with `tools.exec` of the configuration behind it.
//!
//! What is judged is the argument list, and in a script for a shell every program of it. The text that a client shows for it is not looked at.
use crate::agent::tools::{Ask, Security, allowlist};
use crate::base::ids::Entropy;
use crate::store::exec_approvals;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Reference: `main`.
const AGENT: &str = "main";
/// Shells, by their last name, that take a script behind one of [`SCRIPT_FLAGS`].
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];
const SCRIPT_FLAGS: [&str; 2] = ["-c", "-lc"];
/// Programs that run what their arguments say: to allow one for ever would allow all.
const LAUNCHERS: &str = "sh bash dash zsh ksh ash fish csh tcsh busybox toybox env sudo doas su runuser setpriv chroot nsenter unshare \
                         nohup nice ionice time timeout stdbuf setsid xargs find parallel ssh script expect watch strace gdb awk gawk \
                         mawk perl python python2 python3 ruby node nodejs deno bun lua php tclsh make vi vim nano less more man git";

/// The rules for one agent.
#[derive(Debug)]
pub struct Policy {
    pub security: Security,
    pub ask: Ask,
    pub skills: bool,
    /// The agent that each is of, and the pattern.
    patterns: Vec<(String, String)>,
}

impl Policy {
    /// An agent's own word, else that of all agents, else the default of the file, else the configuration's, else the reference's.
    pub fn of(file: &Value, config: &Value, agent_id: Option<&str>) -> Policy {
        let agent = agent_id.map(str::trim).filter(|it| !it.is_empty()).unwrap_or(AGENT);
        let sections =
            [&file["agents"][agent], &file["agents"]["*"], &file["defaults"], &config["tools"]["exec"]];
        let word = |name: &str| sections.iter().find_map(|it| it[name].as_str()).unwrap_or_default();
        let security = Security::of_word(word("security")).unwrap_or(Security::Allowlist);
        let ask = Ask::of_word(word("ask")).unwrap_or(Ask::OnMiss);
        let patterns = [agent, "*"].into_iter().flat_map(|id| {
            let list = file["agents"][id]["allowlist"].as_array().into_iter().flatten();
            list.filter_map(move |it| Some((id.to_owned(), it["pattern"].as_str()?.trim().to_owned())))
        });
        let skills = sections[..3].iter().find_map(|it| it["autoAllowSkills"].as_bool()).unwrap_or(false);
        Policy { security, ask, skills, patterns: patterns.collect() }
    }
}

/// One program that would run.
#[derive(Debug, PartialEq)]
pub struct Program {
    pub words: Vec<String>,
    pub path: Option<PathBuf>,
}

/// What an argument list runs: itself, or the programs of its script. None: nobody can tell.
pub fn programs(argv: &[String], cwd: &Path, path: &str) -> Option<Vec<Program>> {
    let lines = match script(argv) {
        Some(text) => allowlist::segments(text).ok()?,
        None => vec![argv.to_vec()],
    };
    let program = |words: Vec<String>| {
        let path = words.first().and_then(|it| resolve(it, cwd, path));
        Program { words, path }
    };
    Some(lines.into_iter().map(program).collect())
}

/// The script that a shell is given.
pub fn script(argv: &[String]) -> Option<&str> {
    match argv {
        [shell, flag, text] if SHELLS.contains(&name(shell)) && SCRIPT_FLAGS.contains(&flag.as_str()) => {
            Some(text)
        }
        _ => None,
    }
}

fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// The file that a name stands for: `..` is taken out first, so that what is judged is what runs.
pub fn resolve(program: &str, cwd: &Path, path: &str) -> Option<PathBuf> {
    let runs = |it: &Path| {
        std::fs::metadata(it).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(plain(&cwd.join(program))).filter(|it| runs(it));
    }
    let folders = path.split(':').map(Path::new).filter(|it| it.is_absolute());
    folders.map(|it| plain(&it.join(program))).find(|it| !program.is_empty() && runs(it))
}

fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// What else lets a program pass.
pub struct Around<'a> {
    pub cwd: &'a Path,
    pub home: &'a Path,
    pub safe_bins: &'a [String],
    /// What the gateway's skills ask for; looked at when the policy says so.
    pub skill_bins: &'a [String],
}

/// The patterns that let these programs run unasked, by agent; None when one of them may not.
pub fn allowed(policy: &Policy, programs: &[Program], around: &Around) -> Option<Vec<(String, String)>> {
    let mut used = vec![];
    for it in programs {
        let path = it.path.as_ref()?.to_str()?;
        let named = it.words.first().map_or("", String::as_str);
        match policy.patterns.iter().find(|(_, pattern)| matches(pattern, path, around.home)) {
            Some(pattern) => used.push(pattern.clone()),
            None if policy.skills && around.skill_bins.iter().any(|it| it == named) => {}
            None => allowlist::check_program(&it.words, around.safe_bins, around.cwd).ok()?,
        }
    }
    (!programs.is_empty()).then_some(used)
}

/// `*` and `?` stay inside a folder, `**` does not. A pattern without a folder names nothing: anybody could put a file of that name
/// somewhere. Upper and lower case differ, as they do on the disk.
fn matches(pattern: &str, path: &str, home: &Path) -> bool {
    let pattern = match pattern.strip_prefix("~/") {
        Some(rest) => format!("{}/{rest}", home.display()),
        None => pattern.to_owned(),
    };
    fn glob(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            ['*', '*', rest @ ..] => {
                let rest = if let ['/', after @ ..] = rest { after } else { rest };
                (0..=text.len()).any(|at| glob(rest, &text[at..]))
            }
            ['*', rest @ ..] => {
                let end = text.iter().position(|it| *it == '/').unwrap_or(text.len());
                (0..=end).any(|at| glob(rest, &text[at..]))
            }
            [c, rest @ ..] => text
                .split_first()
                .is_some_and(|(first, text)| (first == c || *c == '?' && *first != '/') && glob(rest, text)),
            [] => text.is_empty(),
        }
    }
    let simple = pattern.matches('*').count() <= 8;
    pattern.contains('/')
        && simple
        && glob(&pattern.chars().collect::<Vec<_>>(), &path.chars().collect::<Vec<_>>())
}

/// What a client says a person has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    None,
    Once,
    Always,
    Denied,
}

/// Why a command does not run: a word for the event, and a sentence for the caller.
pub type Denied = (&'static str, &'static str);

/// # Errors
/// [`Denied`]; the reference's words.
pub fn judge(policy: &Policy, is_allowed: bool, decision: Decision) -> Result<(), Denied> {
    let approved = matches!(decision, Decision::Once | Decision::Always);
    let must_ask = match policy.ask {
        Ask::Always => true,
        Ask::OnMiss => policy.security == Security::Allowlist && !is_allowed,
        Ask::Off => false,
    };
    match policy.security {
        Security::Deny => Err(("security=deny", "SYSTEM_RUN_DISABLED: security=deny")),
        _ if decision == Decision::Denied => Err(("user-denied", "SYSTEM_RUN_DENIED: user denied")),
        _ if must_ask && !approved => Err(("approval-required", "SYSTEM_RUN_DENIED: approval required")),
        Security::Allowlist if !is_allowed && !approved => {
            Err(("allowlist-miss", "SYSTEM_RUN_DENIED: allowlist miss"))
        }
        _ => Ok(()),
    }
}

/// A person said "always": the programs themselves are allowed from now on, unless they run what they are told to.
///
/// # Errors
/// A sentence that names the file.
pub fn keep(
    state: &Path,
    agent_id: Option<&str>,
    programs: &[Program],
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Result<(), String> {
    let agent = agent_id.map(str::trim).filter(|it| !it.is_empty()).unwrap_or(AGENT);
    let launches = |it: &&Program| {
        LAUNCHERS.split_whitespace().any(|name| it.words.first().is_some_and(|word| self::name(word) == name))
    };
    if programs.iter().any(|it| launches(&it)) {
        return Ok(());
    }
    let paths: Vec<&str> = programs.iter().filter_map(|it| it.path.as_ref()?.to_str()).collect();
    exec_approvals::change(state, entropy, |file, entropy| {
        for path in paths {
            let list = &mut file["agents"][agent]["allowlist"];
            if !list.is_array() {
                *list = json!([]);
            }
            let Some(list) = list.as_array_mut() else { continue };
            if !list.iter().any(|it| it["pattern"] == *path) {
                let id = crate::base::ids::uuid(entropy);
                list.push(json!({ "id": id, "pattern": path, "lastUsedAt": unix_ms }));
            }
        }
    })
}

/// How old the note of an entry's last use may be before it is written anew: not every command is worth a write.
const USED_MS: i64 = 60_000;

/// Notes which entries have let a command run.
///
/// # Errors
/// A sentence that names the file.
pub fn note(
    state: &Path,
    used: &[(String, String)],
    command: &str,
    unix_ms: i64,
    entropy: &mut Entropy,
) -> Result<(), String> {
    exec_approvals::change(state, entropy, |file, _| {
        for (agent, pattern) in used {
            let list = file["agents"][agent]["allowlist"].as_array_mut().into_iter().flatten();
            for it in list.filter(|it| it["pattern"].as_str().map(str::trim) == Some(pattern)) {
                if it["lastUsedAt"].as_i64().is_none_or(|at| unix_ms - at >= USED_MS) {
                    it["lastUsedAt"] = unix_ms.into();
                    it["lastUsedCommand"] = command.into();
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids;
    use crate::base::testing::TempDir;

    const PATH: &str = "/usr/bin:/bin";

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|it| (*it).to_owned()).collect()
    }
    fn allows(file: &Value, argv: &[&str]) -> bool {
        let policy = Policy::of(file, &json!({}), None);
        let (cwd, home) = (Path::new("/usr/bin"), Path::new("/home/me"));
        let around =
            Around { cwd, home, safe_bins: &words(&["grep", "head"]), skill_bins: &words(&["uname"]) };
        programs(&words(argv), cwd, PATH).and_then(|it| allowed(&policy, &it, &around)).is_some()
    }
    fn list(patterns: &[&str]) -> Value {
        json!({"agents": {"main": {"allowlist": patterns.iter().map(|it| json!({"pattern": it})).collect::<Vec<_>>()}}})
    }

    #[test]
    fn patterns_name_files() {
        let ls = resolve("ls", Path::new("/"), PATH).unwrap().display().to_string();
        assert_eq!(ls, "/usr/bin/ls");
        for (pattern, does) in [
            ("/usr/bin/ls", true),
            (" /usr/bin/ls ", true),
            ("**/ls", true),
            ("/usr/*/ls", true),
            ("/usr/**", true),
            ("/usr/bin/l?", true),
            ("/*", false),
            ("/usr/bin", false),
            ("ls", false),
            ("*", false),
            ("**", false),
            ("/USR/bin/ls", false),
            ("~/ls", false),
            ("", false),
        ] {
            assert_eq!(allows(&list(&[pattern]), &["ls", "/"]), does, "{pattern}");
        }
        assert!(matches("~/bin/*", "/home/me/bin/x", Path::new("/home/me")));
        assert!(!matches(
            &format!("/{}x", "*a".repeat(30)),
            &format!("/{}", "a".repeat(200)),
            Path::new("/")
        ));
    }
    #[test]
    fn what_runs_is_what_is_judged() {
        let file = list(&["/usr/bin/ls", "/usr/bin/cat"]);
        for (argv, does) in [
            (&["ls", "/"][..], true),
            (&["./ls"], true),
            (&["../bin/ls"], true),
            (&["/usr/lib/../bin/ls"], true),
            (&["nosuchprogram"], false),
            (&["/tmp/ls"], false),
            (&["uname"], false),
            (&["sh", "-c", "ls"], true),
            (&["/bin/sh", "-lc", "ls / | grep x && cat y"], true),
            (&["/bin/sh", "-lc", "ls; uname"], false),
            (&["/bin/sh", "-lc", "ls $(uname)"], false),
            (&["/bin/sh", "-lc", "ls > /etc/passwd"], false),
            (&["/bin/sh", "-lc", "ls\nuname"], false),
            (&["/bin/sh", "-lc", ""], false),
            (&["/bin/sh", "-c", "ls", "more"], false),
            (&["/bin/sh", "script"], false),
            (&["env", "ls"], false),
            (&["grep", "-c", "x"], true),
            (&["grep", "-r", "x"], false),
        ] {
            assert_eq!(allows(&file, argv), does, "{argv:?}");
        }
        let mut skills = list(&[]);
        skills["defaults"] = json!({"autoAllowSkills": true});
        assert!(
            allows(&skills, &["uname"]) && !allows(&skills, &["/usr/bin/uname"]) && !allows(&skills, &["ls"])
        );
    }
    #[test]
    fn verdicts_of_the_reference() {
        let policy = |security: &str, ask: &str| {
            Policy::of(&json!({"defaults": {"security": security, "ask": ask}}), &json!({}), Some(" "))
        };
        for (security, ask, is_allowed, decision, why) in [
            ("deny", "off", true, Decision::Always, "security=deny"),
            ("allowlist", "off", true, Decision::None, ""),
            ("allowlist", "off", false, Decision::None, "allowlist-miss"),
            ("allowlist", "off", false, Decision::Once, ""),
            ("allowlist", "on-miss", true, Decision::None, ""),
            ("allowlist", "on-miss", false, Decision::None, "approval-required"),
            ("allowlist", "on-miss", false, Decision::Always, ""),
            ("allowlist", "always", true, Decision::None, "approval-required"),
            ("full", "off", false, Decision::None, ""),
            ("full", "on-miss", false, Decision::None, ""),
            ("full", "always", false, Decision::None, "approval-required"),
            ("full", "off", false, Decision::Denied, "user-denied"),
        ] {
            let got = judge(&policy(security, ask), is_allowed, decision).err().map_or("", |it| it.0);
            assert_eq!(got, why, "{security} {ask} {is_allowed} {decision:?}");
        }
    }
    #[test]
    fn the_nearest_word_counts() {
        let file = json!({"defaults": {"security": "full", "ask": "off"}, "agents": {"a": {"security": "deny"}, "*": {"ask": "always"}}});
        let of = |agent: Option<&str>| {
            let it = Policy::of(&file, &json!({"tools": {"exec": {"security": "allowlist"}}}), agent);
            (it.security, it.ask)
        };
        assert_eq!(of(Some("a")), (Security::Deny, Ask::Always));
        assert_eq!(of(None), (Security::Full, Ask::Always));
        let none = Policy::of(&json!({}), &json!({"tools": {"exec": {"security": "deny"}}}), None);
        assert_eq!((none.security, none.ask), (Security::Deny, Ask::OnMiss));
        assert_eq!(Policy::of(&json!({}), &json!({}), None).security, Security::Allowlist);
    }
    #[test]
    fn always_means_the_program_itself() {
        let (home, mut entropy) = (TempDir::new(), ids::os_entropy());
        let mut kept = |argv: &[&str]| {
            let it = programs(&words(argv), Path::new("/"), PATH).unwrap();
            keep(home.path(), None, &it, 5, &mut entropy).unwrap();
            let file = exec_approvals::stored(home.path()).unwrap();
            file["agents"]["main"]["allowlist"].as_array().map_or(0, Vec::len)
        };
        assert_eq!(kept(&["env", "ls"]), 0);
        assert_eq!(kept(&["ls", "/"]), 1);
        assert_eq!(kept(&["ls", "/tmp"]), 1);
        assert_eq!(kept(&["sh", "-c", "ls | cat"]), 2);
        assert_eq!(kept(&["sh", "-c", "ls | xargs rm"]), 2);
        let used = [("main".to_owned(), "/usr/bin/cat".to_owned())];
        note(home.path(), &used, "cat x", 100_000, &mut entropy).unwrap();
        note(home.path(), &used, "cat y", 100_001, &mut entropy).unwrap();
        let file = exec_approvals::stored(home.path()).unwrap();
        assert_eq!(file["agents"]["main"]["allowlist"][1]["lastUsedCommand"], "cat x");
    }
}
