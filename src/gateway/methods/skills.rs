//! `skills.status`: the skills found on disk; `skills.bins`: the programs that they ask for.
use crate::config::normal_id;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::skills::{self, Skill};
use crate::gateway::{Core, sessions};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::types::{NoParams, NonEmpty};
use crate::shaped;
use serde::Serialize;
use std::collections::BTreeSet;

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
            let asked = skills::of_all(&world).into_iter().map(|it| it.requirements);
            let bins: BTreeSet<String> =
                asked.flat_map(|it| it.bins.into_iter().chain(it.any_bins)).collect();
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
            let mut skills = skills::found(&world, &workspace.join("skills"), "openclaw-workspace");
            skills.extend(skills::managed(&world));
            Ok(SkillsStatusReply {
                workspace_dir: workspace.display().to_string(),
                managed_skills_dir: skills::managed_dir(&world).display().to_string(),
                skills,
            })
        }))
    }
}
