//! `skills.status`: the skills found on disk; `skills.bins`: the programs that they ask for.
use crate::base::{files, limits::WORKSPACE_FILE_BYTES_MAX};
use crate::config::document::Document;
use crate::config::{json5, normal_id};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, sessions};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::types::{NoParams, NonEmpty};
use crate::shaped;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

pub const METHODS: &[Method] = &[Method::of::<SkillsStatus>(), Method::of::<SkillsBins>()];

shaped! { struct SkillsStatusParams { agent_id = "agentId": Option<NonEmpty> } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SkillsStatusReply {
    workspace_dir: String,
    managed_skills_dir: String,
    skills: Vec<Skill>,
}

/// A folder with a SKILL.md. What it requires is not judged here, so nothing is called eligible.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Skill {
    name: String,
    description: String,
    source: &'static str,
    bundled: bool,
    file_path: String,
    base_dir: String,
    skill_key: String,
    always: bool,
    disabled: bool,
    blocked_by_allowlist: bool,
    eligible: bool,
    requirements: Requirements,
    missing: Requirements,
    config_checks: Vec<String>,
    install: Vec<String>,
}

/// What its head says under `metadata`, in the reference's shape: `{"openclaw": {"requires": {"bins": [], ...}}}`.
#[derive(Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
struct Requirements {
    bins: Vec<String>,
    any_bins: Vec<String>,
    env: Vec<String>,
    config: Vec<String>,
    os: Vec<String>,
}

fn requirements(text: &str) -> Requirements {
    let metadata =
        front_matter(text, "metadata").and_then(|it| json5::parse(&it).ok()).map(Document::into_value);
    let asked = metadata.map(|it| it["openclaw"]["requires"].clone()).unwrap_or_default();
    serde_json::from_value(asked).unwrap_or_default()
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SkillsBinsReply {
    /// Sorted, each once.
    bins: Vec<String>,
}

/// What a node may run unasked when its owner says so (`autoAllowSkills`).
enum SkillsBins {}
impl Rpc for SkillsBins {
    const NAME: &'static str = "skills.bins";
    const ACCESS: Access = Access::NodeOnly;
    type Params = NoParams;
    type Reply = SkillsBinsReply;
    fn call(core: &mut Core, _: Call, _: NoParams) -> RpcResult<Answer<SkillsBinsReply>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let agents = sessions::agent_ids(&world);
            let folders = agents.iter().map(|it| sessions::workspace(&world, it).join("skills"));
            let mut bins = BTreeSet::new();
            for folder in folders.chain([world.paths.state.join("skills")]) {
                let asked = found(&folder, "").into_iter().map(|it| it.requirements);
                bins.extend(asked.flat_map(|it| it.bins.into_iter().chain(it.any_bins)));
            }
            let named = |it: &String| !it.trim().is_empty();
            Ok(SkillsBinsReply { bins: bins.into_iter().filter(named).collect() })
        }))
    }
}

enum SkillsStatus {}
impl Rpc for SkillsStatus {
    const NAME: &'static str = "skills.status";
    const ACCESS: Access = Access::Read;
    type Params = SkillsStatusParams;
    type Reply = SkillsStatusReply;
    fn call(core: &mut Core, _: Call, params: SkillsStatusParams) -> RpcResult<Answer<SkillsStatusReply>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let asked = params.agent_id.as_deref();
            let agent_id =
                asked.map_or_else(|| world.config.config.agents.default_id().to_owned(), normal_id);
            if !sessions::agent_ids(&world).contains(&agent_id) {
                return Err(RpcError::invalid(format!("unknown agent id {:?}", asked.unwrap_or_default())));
            }
            let workspace = sessions::workspace(&world, &agent_id);
            let managed = world.paths.state.join("skills");
            let mut skills = found(&workspace.join("skills"), "openclaw-workspace");
            skills.extend(found(&managed, "openclaw-managed"));
            Ok(SkillsStatusReply {
                workspace_dir: workspace.display().to_string(),
                managed_skills_dir: managed.display().to_string(),
                skills,
            })
        }))
    }
}

fn found(dir: &Path, source: &'static str) -> Vec<Skill> {
    let skill = |folder: String| {
        let base = dir.join(&folder);
        let file = base.join("SKILL.md");
        let text = files::read_text(&file, WORKSPACE_FILE_BYTES_MAX).ok().flatten()?;
        let field = |name: &str| front_matter(&text, name);
        Some(Skill {
            name: field("name").unwrap_or_else(|| folder.clone()),
            description: field("description").unwrap_or_default(),
            source,
            bundled: false,
            file_path: file.display().to_string(),
            base_dir: base.display().to_string(),
            skill_key: folder,
            always: false,
            disabled: false,
            blocked_by_allowlist: false,
            eligible: false,
            requirements: requirements(&text),
            missing: Requirements::default(),
            config_checks: vec![],
            install: vec![],
        })
    };
    files::names(dir).into_iter().filter_map(skill).collect()
}

/// A plain `name: value` between the two `---` lines at the top.
fn front_matter(text: &str, name: &str) -> Option<String> {
    let (head, _) = text.strip_prefix("---")?.split_once("\n---")?;
    let line = head.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn front_matter() {
        let text = "---\nname: weather\ndescription: \"Tells it\"\n---\nname: no\n";
        assert_eq!(super::front_matter(text, "name").as_deref(), Some("weather"));
        assert_eq!(super::front_matter(text, "description").as_deref(), Some("Tells it"));
        assert_eq!(super::front_matter("name: x", "name"), None);
    }
}
