//! Skills on disk: folders with a `SKILL.md`, what each asks of this machine, and what of that is missing. Reads files: jobs only.
//!
//! * Nothing of a skill is run, and none is told to a model: clients show them, and nodes ask for their programs.
use super::{World, sessions};
use crate::base::child::PATH_DEFAULT;
use crate::base::{files, limits::WORKSPACE_FILE_BYTES_MAX, sys};
use crate::config::document::Document;
use crate::config::json5;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A skill, and whether it could be used. Those of the reference itself are not looked for, so none is blocked by their allowlist.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Skill {
    pub name: String,
    description: String,
    source: &'static str,
    bundled: bool,
    file_path: String,
    pub base_dir: String,
    /// Its name in `skills.entries`.
    pub skill_key: String,
    always: bool,
    /// By `skills.entries.*.enabled`.
    pub disabled: bool,
    blocked_by_allowlist: bool,
    /// It is not disabled, and nothing is missing.
    eligible: bool,
    pub requirements: Requirements,
    pub missing: Requirements,
    config_checks: Vec<String>,
    install: Vec<String>,
}

#[derive(Default, Serialize, Deserialize, PartialEq, Eq, Debug, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Requirements {
    /// Programs, all of them.
    pub bins: Vec<String>,
    /// Programs, one of them.
    pub any_bins: Vec<String>,
    /// Variables.
    pub env: Vec<String>,
    /// Keys of the configuration.
    pub config: Vec<String>,
    /// `linux`, `darwin`, `win32`: one of them.
    pub os: Vec<String>,
}

/// What its head says under `metadata`, in the reference's shape: `{"openclaw": {"requires": {…}, "os": […], "primaryEnv": "…"}}`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    requires: Requirements,
    os: Vec<String>,
    always: bool,
    primary_env: String,
}

impl Metadata {
    fn of(text: &str) -> Metadata {
        let all =
            front_matter(text, "metadata").and_then(|it| json5::parse(&it).ok()).map(Document::into_value);
        let own = all.map(|mut it| it["openclaw"].take()).unwrap_or_default();
        serde_json::from_value(own).unwrap_or_default()
    }
    fn requirements(&self) -> Requirements {
        Requirements { os: self.os.clone(), ..self.requires.clone() }
    }
    /// What is not there; `entry` is the skill's part of the configuration.
    fn missing(&self, world: &World, entry: &Value) -> Requirements {
        if self.always {
            return Requirements::default();
        }
        let path = world.env.get("PATH").filter(|it| !it.is_empty()).unwrap_or(PATH_DEFAULT);
        let lacks_bin = |it: &&String| !has_program(path, it);
        let some = |it: &Value| it.as_str().is_some_and(|it| !it.is_empty());
        let lacks_env = |it: &&String| {
            let own =
                some(&entry["env"][it.as_str()]) || (some(&entry["apiKey"]) && **it == self.primary_env);
            !own && world.env.get(it).is_none_or(str::is_empty)
        };
        let lacks_key = |it: &&String| !is_set(&world.config.resolved, it);
        let all_or_none = |all: &[String], one: bool| if one { vec![] } else { all.to_vec() };
        let asked = &self.requires;
        Requirements {
            bins: asked.bins.iter().filter(lacks_bin).cloned().collect(),
            any_bins: all_or_none(
                &asked.any_bins,
                asked.any_bins.is_empty() || !asked.any_bins.iter().all(|it| lacks_bin(&it)),
            ),
            env: asked.env.iter().filter(lacks_env).cloned().collect(),
            config: asked.config.iter().filter(lacks_key).cloned().collect(),
            os: all_or_none(&self.os, self.os.is_empty() || self.os.iter().any(|it| it == sys::platform())),
        }
    }
}

fn has_program(path: &str, name: &str) -> bool {
    let is_program = |dir: PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        let meta = std::fs::metadata(dir.join(name));
        meta.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    !name.is_empty() && !name.contains('/') && std::env::split_paths(path).any(is_program)
}

/// Whether a key of the configuration says something other than no. Two say yes where nothing is said (the reference's defaults).
fn is_set(root: &Value, path: &str) -> bool {
    match root.pointer(&format!("/{}", path.replace('.', "/"))) {
        None => ["browser.enabled", "browser.evaluateEnabled"].contains(&path),
        Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(it)) => it.as_f64() != Some(0.0),
        Some(Value::String(it)) => !it.trim().is_empty(),
        Some(_) => true,
    }
}

/// Where skills are that every agent has.
pub fn managed_dir(world: &World) -> PathBuf {
    world.paths.state.join("skills")
}

pub fn managed(world: &World) -> Vec<Skill> {
    found(world, &managed_dir(world), "openclaw-managed")
}

/// Those of every agent, and those that all have.
pub fn of_all(world: &World) -> Vec<Skill> {
    let dirs =
        sessions::agent_ids(world).into_iter().map(|it| sessions::workspace(world, &it).join("skills"));
    let mut all: Vec<Skill> = dirs.flat_map(|it| found(world, &it, "openclaw-workspace")).collect();
    all.extend(managed(world));
    all
}

/// The skills of a folder.
pub fn found(world: &World, dir: &Path, source: &'static str) -> Vec<Skill> {
    let skill = |folder: String| {
        let base = dir.join(&folder);
        let file = base.join("SKILL.md");
        let text = files::read_text(&file, WORKSPACE_FILE_BYTES_MAX).ok().flatten()?;
        let field = |name: &str| front_matter(&text, name);
        let (metadata, entry) = (Metadata::of(&text), &world.config.resolved["skills"]["entries"][&folder]);
        let (missing, disabled) = (metadata.missing(world, entry), entry["enabled"] == false);
        Some(Skill {
            name: field("name").unwrap_or_else(|| folder.clone()),
            description: field("description").unwrap_or_default(),
            source,
            bundled: false,
            file_path: file.display().to_string(),
            base_dir: base.display().to_string(),
            skill_key: folder,
            always: metadata.always,
            disabled,
            blocked_by_allowlist: false,
            eligible: !disabled && missing == Requirements::default(),
            requirements: metadata.requirements(),
            missing,
            config_checks: vec![],
            install: vec![],
        })
    };
    files::names(dir).into_iter().filter_map(skill).collect()
}

/// `name: value` between the two `---` lines at the top, with the indented lines that follow it.
fn front_matter(text: &str, name: &str) -> Option<String> {
    let (head, _) = text.strip_prefix("---")?.split_once("\n---")?;
    let mut lines =
        head.lines().skip_while(|it| !it.strip_prefix(name).is_some_and(|it| it.starts_with(':')));
    let first = lines.next()?.get(name.len() + 1..)?.trim();
    let more = lines.take_while(|it| it.starts_with([' ', '\t'])).map(str::trim);
    let value = std::iter::once(first).chain(more).collect::<Vec<_>>().join(" ");
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    use crate::config::{Env, File, Paths};
    use serde_json::json;

    #[test]
    fn heads() {
        let text = "---\nname: weather\ndescription: \"Tells it\"\nmetadata:\n  {\n    \"a\": 1,\n  }\nx: y\n---\nname: no\n";
        assert_eq!(front_matter(text, "name").as_deref(), Some("weather"));
        assert_eq!(front_matter(text, "description").as_deref(), Some("Tells it"));
        assert_eq!(front_matter(text, "metadata").as_deref(), Some("{ \"a\": 1, }"));
        assert_eq!(front_matter("name: x", "name"), None);
    }

    /// What a skill with this `metadata` misses, by a configuration.
    fn missing(metadata: &Value, config: &Value) -> (Requirements, bool) {
        let home = TempDir::new();
        let env = Env::from([
            ("HOME", &*home.path().to_string_lossy()),
            ("PATH", "/nowhere:/usr/bin:/bin"),
            ("SET", "1"),
            ("EMPTY", ""),
        ]);
        let paths = Paths::resolve(&env, None);
        let page = format!("---\nname: it\nmetadata: {}\n---\n", json!({ "openclaw": metadata }));
        files::write_atomic(&paths.state.join("skills/it/SKILL.md"), page.as_bytes()).unwrap();
        files::write_atomic(&paths.config, config.to_string().as_bytes()).unwrap();
        let file = File::load(&paths, &env);
        let mut all = of_all(&World::new(file, paths, env, 1));
        let it = all.pop().unwrap();
        (it.missing, it.eligible)
    }

    #[test]
    fn what_is_missing() {
        let only = |name: &str, what: Value| serde_json::from_value(json!({ name: what })).unwrap();
        let none = Requirements::default;
        let set = json!({ "skills": { "entries": { "it": { "env": { "A": "1" }, "apiKey": "k" } } }, "x": { "y": "z", "no": false } });
        for (metadata, config, lacks) in [
            (json!({}), json!({}), none()),
            (
                json!({ "requires": { "bins": ["sh", "no-such", "../bin/sh", "/bin/sh"] } }),
                json!({}),
                only("bins", json!(["no-such", "../bin/sh", "/bin/sh"])),
            ),
            (json!({ "requires": { "anyBins": ["no-such", "sh"] } }), json!({}), none()),
            (
                json!({ "requires": { "anyBins": ["no", "such"] } }),
                json!({}),
                only("anyBins", json!(["no", "such"])),
            ),
            (
                json!({ "requires": { "env": ["SET", "EMPTY", "A"] } }),
                json!({}),
                only("env", json!(["EMPTY", "A"])),
            ),
            (json!({ "requires": { "env": ["SET", "A", "B"] }, "primaryEnv": "B" }), set.clone(), none()),
            (
                json!({ "requires": { "config": ["x.y", "x.no", "x.gone", "browser.enabled"] } }),
                set,
                only("config", json!(["x.no", "x.gone"])),
            ),
            (json!({ "os": ["darwin", "linux"] }), json!({}), none()),
            (json!({ "os": ["darwin"] }), json!({}), only("os", json!(["darwin"]))),
            (json!({ "always": true, "requires": { "bins": ["no-such"] } }), json!({}), none()),
            (json!({ "requires": "what?" }), json!({}), none()),
        ] {
            let (found, eligible) = missing(&metadata, &config);
            assert_eq!((&found, eligible), (&lacks, lacks == none()), "{metadata} {config}");
        }
        let off = json!({ "skills": { "entries": { "it": { "enabled": false } } } });
        assert_eq!(missing(&json!({}), &off), (none(), false));
    }
}
