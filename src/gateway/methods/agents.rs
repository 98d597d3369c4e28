//! Agents: who they are, and the files of their workspaces.
use crate::agent::bootstrap::FILES;
use crate::base::beneath::Root;
use crate::base::files;
use crate::base::limits::WORKSPACE_FILE_BYTES_MAX;
use crate::config::{Identity, normal_id};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, World, sessions};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::types::{NoParams, NonEmpty};
use crate::shaped;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

pub const METHODS: &[Method] = &[
    Method::of::<AgentsList>(),
    Method::of::<AgentIdentityGet>(),
    Method::of::<FilesList>(),
    Method::of::<FilesGet>(),
    Method::of::<FilesSet>(),
];

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct AgentsListReply {
    default_id: String,
    main_key: &'static str,
    scope: &'static str,
    agents: Vec<AgentSummary>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AgentSummary {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<IdentitySummary>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct IdentitySummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    theme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emoji: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<String>,
}

enum AgentsList {}
impl Rpc for AgentsList {
    const NAME: &'static str = "agents.list";
    const ACCESS: Access = Access::Read;
    type Params = NoParams;
    type Reply = AgentsListReply;
    fn call(core: &mut Core, _: Call, _: NoParams) -> RpcResult<Answer<AgentsListReply>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let config = &world.config.config;
            let summary = |id: String| {
                let agent = config.agents.get(&id);
                let identity = agent.map(|it| it.identity.clone()).filter(|it| *it != Identity::default());
                let identity = identity.map(|it| IdentitySummary {
                    name: it.name,
                    theme: it.theme,
                    emoji: it.emoji,
                    avatar: it.avatar,
                });
                AgentSummary { name: agent.and_then(|it| it.name.clone()), identity, id }
            };
            Ok(AgentsListReply {
                default_id: config.agents.default_id().to_owned(),
                main_key: "main",
                scope: if config.session.global { "global" } else { "per-sender" },
                agents: sessions::agent_ids(&world).into_iter().map(summary).collect(),
            })
        }))
    }
}

shaped! { struct AgentIdentityGetParams { agent_id = "agentId": Option<NonEmpty>, session_key = "sessionKey": Option<String> } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct AgentIdentityReply {
    agent_id: String,
    name: String,
    avatar: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    emoji: Option<String>,
}

/// Name and avatar: `ui.assistant`, else the agent's own identity, else the workspace's IDENTITY.md, else the default.
enum AgentIdentityGet {}
impl Rpc for AgentIdentityGet {
    const NAME: &'static str = "agent.identity.get";
    const ACCESS: Access = Access::Read;
    type Params = AgentIdentityGetParams;
    type Reply = AgentIdentityReply;
    fn call(
        core: &mut Core,
        _: Call,
        params: AgentIdentityGetParams,
    ) -> RpcResult<Answer<AgentIdentityReply>> {
        let named = params.agent_id.as_deref().map(normal_id);
        let of_key = params.session_key.as_deref().and_then(sessions::agent_of).map(normal_id);
        if let (Some(named), Some(of_key)) = (&named, &of_key)
            && named != of_key
        {
            let text = format!(
                r#"invalid agent.identity.get params: agent "{named}" does not match session key agent "{of_key}""#
            );
            return Err(RpcError::invalid(text));
        }
        let world = core.world.clone();
        let agent_id = named.or(of_key).unwrap_or_else(|| world.config.config.agents.default_id().to_owned());
        Ok(Answer::read(move || Ok(identity(&world, agent_id))))
    }
}

fn identity(world: &World, agent_id: String) -> AgentIdentityReply {
    let config = &world.config.config;
    let (own, on_disk) = own_identity(world, &agent_id);
    let pick = |field: fn(&Identity) -> &Option<String>| {
        [&config.assistant, &own, &on_disk]
            .into_iter()
            .find_map(|it| field(it).clone().filter(|it| !it.trim().is_empty()))
    };
    let emoji = pick(|it| &it.emoji);
    AgentIdentityReply {
        name: pick(|it| &it.name).unwrap_or_else(|| "Assistant".into()),
        avatar: pick(|it| &it.avatar).or_else(|| emoji.clone()).unwrap_or_else(|| "A".into()),
        emoji,
        agent_id,
    }
}

/// What the configuration says of an agent, and what its workspace does.
fn own_identity(world: &World, agent_id: &str) -> (Identity, Identity) {
    let own = world.config.config.agents.get(agent_id).map(|it| it.identity.clone()).unwrap_or_default();
    let file = Root::open(&sessions::workspace(world, agent_id)).ok().flatten();
    let text = file.and_then(|it| it.read("IDENTITY.md", WORKSPACE_FILE_BYTES_MAX).ok().flatten());
    (own, text.map(|it| parse_identity(&String::from_utf8_lossy(&it))).unwrap_or_default())
}

/// The avatar that an agent has of its own: an address, or a path in its workspace. Reads the disk: jobs only.
pub fn own_avatar(world: &World, agent_id: &str) -> Option<String> {
    let (own, on_disk) = own_identity(world, agent_id);
    let set = |it: Option<String>| it.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    set(own.avatar).or_else(|| set(on_disk.avatar))
}

/// Lines like `- **Name:** Robin`. A value in brackets is a placeholder nobody filled in.
fn parse_identity(text: &str) -> Identity {
    let mut out = Identity::default();
    for line in text.lines() {
        let line = line.trim().trim_start_matches(['-', '*', ' ']);
        let Some((label, value)) = line.split_once(':') else { continue };
        let value = value.trim_matches(|c: char| c.is_whitespace() || c == '*' || c == '_').to_owned();
        if value.is_empty() || value.starts_with('(') || value.starts_with('[') {
            continue;
        }
        match label.trim_matches(['*', '_', ' ']).to_lowercase().as_str() {
            "name" => out.name = Some(value),
            "emoji" => out.emoji = Some(value),
            "theme" => out.theme = Some(value),
            "avatar" => out.avatar = Some(value),
            _ => {}
        }
    }
    out
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct FileEntry {
    name: String,
    path: String,
    missing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

shaped! { struct FilesListParams { agent_id = "agentId": NonEmpty } }
shaped! { struct FilesGetParams { agent_id = "agentId": NonEmpty, name = "name": NonEmpty } }
shaped! { struct FilesSetParams { agent_id = "agentId": NonEmpty, name = "name": NonEmpty, content = "content": String } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct FilesListReply {
    agent_id: String,
    workspace: String,
    files: Vec<FileEntry>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct FilesGetReply {
    agent_id: String,
    workspace: String,
    file: FileEntry,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct FilesSetReply {
    ok: bool,
    agent_id: String,
    workspace: String,
    file: FileEntry,
}

/// The agent must exist: configured, or the default one, or on disk.
fn known_agent(world: &World, agent_id: &str) -> RpcResult<String> {
    let id = normal_id(agent_id);
    if sessions::agent_ids(world).contains(&id) { Ok(id) } else { Err(RpcError::invalid("unknown agent id")) }
}

fn check_name(name: &str) -> RpcResult<()> {
    if FILES.contains(&name) { Ok(()) } else { Err(RpcError::invalid(format!("unsupported file {name:?}"))) }
}

fn io_error(path: &Path, err: &std::io::Error) -> RpcError {
    RpcError::unavailable(format!("{}: {err}", path.display()))
}

/// One file's entry, with its content when asked.
fn entry(root: Option<&Root>, dir: &Path, name: &str, with_content: bool) -> RpcResult<FileEntry> {
    let path = dir.join(name);
    let fail = |err: std::io::Error| io_error(&path, &err);
    let meta = root.map(|it| it.stat(name)).transpose().map_err(fail)?.flatten();
    let content = match (root, meta) {
        (Some(root), Some(_)) if with_content => root.read(name, WORKSPACE_FILE_BYTES_MAX).map_err(fail)?,
        _ => None,
    };
    Ok(FileEntry {
        name: name.to_owned(),
        path: path.display().to_string(),
        missing: meta.is_none(),
        size: meta.map(|it| it.0),
        updated_at_ms: meta.map(|it| it.1),
        content: content.map(|it| String::from_utf8_lossy(&it).into_owned()),
    })
}

enum FilesList {}
impl Rpc for FilesList {
    const NAME: &'static str = "agents.files.list";
    const ACCESS: Access = Access::Admin;
    type Params = FilesListParams;
    type Reply = FilesListReply;
    fn call(core: &mut Core, _: Call, params: FilesListParams) -> RpcResult<Answer<FilesListReply>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let agent_id = known_agent(&world, &params.agent_id)?;
            let dir = sessions::workspace(&world, &agent_id);
            let root = Root::open(&dir).map_err(|err| io_error(&dir, &err))?;
            // A file that cannot be shown (a link, say) is missing: the list still stands.
            let show = |name: &&str| {
                entry(root.as_ref(), &dir, name, false).or_else(|_| entry(None, &dir, name, false))
            };
            // MEMORY.md and memory.md: the second only where it exists.
            let files = FILES.iter().map(show).collect::<RpcResult<Vec<_>>>()?;
            let files = files.into_iter().filter(|it| it.name != "memory.md" || !it.missing).collect();
            Ok(FilesListReply { agent_id, workspace: dir.display().to_string(), files })
        }))
    }
}

enum FilesGet {}
impl Rpc for FilesGet {
    const NAME: &'static str = "agents.files.get";
    const ACCESS: Access = Access::Admin;
    type Params = FilesGetParams;
    type Reply = FilesGetReply;
    fn call(core: &mut Core, _: Call, params: FilesGetParams) -> RpcResult<Answer<FilesGetReply>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let agent_id = known_agent(&world, &params.agent_id)?;
            check_name(&params.name)?;
            let dir = sessions::workspace(&world, &agent_id);
            let root = Root::open(&dir).map_err(|err| io_error(&dir, &err))?;
            let file = entry(root.as_ref(), &dir, &params.name, true)?;
            Ok(FilesGetReply { agent_id, workspace: dir.display().to_string(), file })
        }))
    }
}

enum FilesSet {}
impl Rpc for FilesSet {
    const NAME: &'static str = "agents.files.set";
    const ACCESS: Access = Access::Admin;
    type Params = FilesSetParams;
    type Reply = FilesSetReply;
    fn call(core: &mut Core, _: Call, params: FilesSetParams) -> RpcResult<Answer<FilesSetReply>> {
        let world: Arc<World> = core.world.clone();
        Ok(Answer::store(move |_| {
            let agent_id = known_agent(&world, &params.agent_id)?;
            check_name(&params.name)?;
            let dir = sessions::workspace(&world, &agent_id);
            files::make_dir(&dir).map_err(|err| io_error(&dir, &err))?;
            let root = Root::open(&dir).map_err(|err| io_error(&dir, &err))?;
            if let Some(root) = &root {
                let path = dir.join(&*params.name);
                root.write(&params.name, params.content.as_bytes()).map_err(|err| io_error(&path, &err))?;
            }
            let file = entry(root.as_ref(), &dir, &params.name, true)?;
            Ok(FilesSetReply { ok: true, agent_id, workspace: dir.display().to_string(), file })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn identity_files() {
        let it = parse_identity(
            "# IDENTITY\n- **Name:** Robin\n- **Emoji:** 🐦\n- **Theme:** (pick one)\nAvatar: bird.png\n",
        );
        assert_eq!(
            (it.name.as_deref(), it.emoji.as_deref(), it.theme, it.avatar.as_deref()),
            (Some("Robin"), Some("🐦"), None, Some("bird.png"))
        );
    }
}
