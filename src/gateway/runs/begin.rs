//! From a request to what a run's thread is given.
use super::request::{Kind, Request};
use crate::agent::bootstrap::Audience;
use crate::agent::model::Thinking;
use crate::agent::prompt::{self, Host, PromptInput};
use crate::agent::run::{Begin, Begun, Prompt, Steer, Task};
use crate::agent::tools::{Place, Policy, Toolbox, ToolsConfig};
use crate::agent::{compact, envelope};
use crate::base::clock::{Clock, Now};
use crate::base::ids;
use crate::base::limits::RUN_TIMEOUT_MS_MAX;
use crate::config::PeerKind;
use crate::gateway::send_policy::may_send;
use crate::gateway::{World, freshness, routing, sessions};
use crate::store::agent_sessions::Trouble;
use crate::store::entry;
use crate::store::index::Slot;
use crate::store::sessions::updated_at;
use crate::store::stores::Stores;
use crossbeam_channel::Receiver;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) fn task(
    world: &Arc<World>,
    clock: Clock,
    request: &Request,
    notes: Vec<String>,
    steering: Receiver<Steer>,
    has_networks: bool,
) -> Task {
    let agents = &world.config.config.agents;
    let agent_id = request.agent_id.clone();
    let images = request.images.clone();
    let place = place(world, clock, &request.key, &agent_id);
    let (file, id) = (world.config.clone(), agent_id.clone());
    let exec_host = place.config.exec.host;
    let narrowed = request.tools.clone();
    let tools = move |model: &crate::agent::model::ModelRef| {
        let policy = Policy::read(&file.resolved, &id, model).narrowed(narrowed.as_ref());
        Toolbox::of(&policy).at(exec_host, has_networks)
    };
    Task {
        run_id: request.run_id.clone(),
        accepted_at: request.accepted_at,
        lives: request.lives,
        session_key: request.key.clone(),
        store: world.session_store(&agent_id),
        begin: begin(world, request.clone(), notes),
        prompt: prompt(world, request),
        tools: Box::new(tools),
        images,
        brought: request.brought.clone(),
        thinking: request.thinking.as_deref().and_then(Thinking::of_word),
        thinking_default: agents.thinking_default.as_deref().and_then(Thinking::of_word),
        context_tokens: agents.context_tokens,
        compaction: match agents.reserve_tokens {
            Some(reserve) => compact::Rule { reserve, ..Default::default() },
            None => compact::Rule::default(),
        },
        place,
        timeout_ms: request.timeout_ms.min(RUN_TIMEOUT_MS_MAX),
        steering,
        only_compact: request.only_compact.clone(),
        agent_id,
    }
}

/// Where the tools of a session work.
pub fn place(world: &World, clock: Clock, key: &str, agent_id: &str) -> Place {
    Place {
        workspace: sessions::workspace(world, agent_id),
        session_key: key.to_owned(),
        agent_id: agent_id.to_owned(),
        config: ToolsConfig::read(&world.config.resolved, agent_id),
        env: Arc::new(world.env.clone()),
        clock,
        // Whoever starts the run knows the way to the core.
        nodes: None,
        messages: None,
    }
}

/// Finds or makes the session, and puts the person's words as the model is told them.
fn begin(world: &Arc<World>, request: Request, notes: Vec<String>) -> Begin {
    let world = world.clone();
    Box::new(move |stores: &mut Stores| {
        let path = world.session_store(&request.agent_id);
        let unix_ms = stores.now().unix_ms;
        if request.kind != Kind::Http {
            let tried = stores.accepted()?.begun(&request.kind.key(&request.run_id), unix_ms);
            tried.unwrap_or_else(|err| log::error!(target: "agent", "{}: {err}", request.run_id));
        }
        let (sessions, now, entropy) = stores.open(&path, &request.agent_id)?;
        let before = sessions.index().get(&request.key).map(Slot::entry);
        if request.kind == Kind::Http {
            check(&world, &request, before.as_ref())?;
        }
        let new_id = request.session_id.clone().or(request.new_session.clone());
        let new_id = new_id.unwrap_or_else(|| ids::uuid(entropy));
        let is_over = request.new_session.is_some()
            && before.as_ref().is_some_and(|it| it.get("sessionId").and_then(Value::as_str) != Some(&new_id));
        let was_aborted =
            !is_over && before.as_ref().is_some_and(|it| it.get("abortedLastRun") == Some(&true.into()));
        let kept = match before.clone() {
            Some(entry) if is_over => entry::anew(entry, &new_id, now.unix_ms),
            // A run that an earlier life began goes on where it was; `agent` names its session on purpose (reference).
            Some(entry)
                if request.kind == Kind::Chat
                    && request.lives == 0
                    && !is_fresh(&world, &request, &entry, now) =>
            {
                overnight(&entry, &new_id, now)
            }
            Some(entry) => entry,
            None => Map::new(),
        };
        let after = opened(kept, &request.entry, &new_id, now);
        if before.as_ref() != Some(&after) {
            match request.brought.passing {
                true => sessions.put_passing(&request.key, after.clone(), now),
                false => drop(sessions.change(&request.key, |_, _| Ok(after.clone()), now)?),
            }
        }
        let session_id = after.get("sessionId").and_then(Value::as_str).unwrap_or(&new_id).to_owned();
        let transcript = sessions.transcript(&request.key).filter(|it| it.is_file());
        let text = said(&world, &request, &notes, was_aborted);
        let mut entry = after;
        entry.extend(request.once.clone());
        Ok(Begun { session_id, entry, transcript, text })
    })
}

/// What nobody has promised is judged when it begins.
fn check(world: &World, request: &Request, entry: Option<&Map<String, Value>>) -> Result<(), Trouble> {
    if let Some(id) = request.brought.after.as_ref().filter(|_| entry.is_none()) {
        return Err(Trouble::Refused(format!("Previous response with id '{id}' not found.")));
    }
    let entry = entry.map(|it| Value::Object(it.clone()));
    match may_send(&world.config.config.session.send_policy, &request.key, entry.as_ref()) {
        true => Ok(()),
        false => Err(Trouble::Refused("send blocked by session policy".into())),
    }
}

/// A conversation that is over by the clock: what a person chose for it stays, the model too.
fn overnight(entry: &Map<String, Value>, new_id: &str, now: Now) -> Map<String, Value> {
    let mut new = entry::reset(Some(entry), new_id, now.unix_ms);
    for name in ["providerOverride", "modelOverride"] {
        new.extend(entry.get(name).map(|it| (name.to_owned(), it.clone())));
    }
    new
}

/// Whether the conversation goes on, or is over by `session.reset`.
pub(in crate::gateway) fn is_fresh(
    world: &World,
    request: &Request,
    entry: &Map<String, Value>,
    now: Now,
) -> bool {
    let updated = updated_at(entry);
    let chat = entry.get("chatType").and_then(Value::as_str);
    let resets = &world.config.config.session.resets;
    let rule =
        freshness::rule(resets, freshness::chat_kind(&request.key, chat, false), request.channel.as_deref());
    updated == 0 || freshness::fresh(updated, now.unix_ms, &world.zones.host, &rule)
}

/// The entry of a session in which a run begins.
fn opened(
    mut entry: Map<String, Value>,
    more: &Map<String, Value>,
    new_id: &str,
    now: Now,
) -> Map<String, Value> {
    if !entry.get("sessionId").is_some_and(Value::is_string) {
        entry.insert("sessionId".into(), new_id.into());
        entry.insert("updatedAt".into(), now.unix_ms.into());
    }
    entry.insert("abortedLastRun".into(), false.into());
    for (name, value) in more {
        entry.insert(name.clone(), value.clone());
    }
    entry
}

/// What the model is told: what happened meanwhile, and the words with the time they were said.
fn said(world: &World, request: &Request, notes: &[String], was_aborted: bool) -> String {
    let mut text: String = notes.iter().map(|it| format!("System: {it}\n\n")).collect();
    if was_aborted {
        text.push_str("(The answer before this message was cut off.)\n\n");
    }
    text + &stamped(world, request)
}

/// The words with the time they were said. A program's words stand alone: it has an API for what it wants said.
pub(super) fn stamped(world: &World, request: &Request) -> String {
    if request.kind == Kind::Http {
        return request.message.clone();
    }
    envelope::stamped(&request.message, request.accepted_at, &world.zones.user).into_owned()
}

fn prompt(world: &Arc<World>, request: &Request) -> Prompt {
    let (world, request) = (world.clone(), request.clone());
    Box::new(move |begun, model, thinking, tools| {
        let agents = &world.config.config.agents;
        let agent = agents.get(&request.agent_id);
        let name = agent.and_then(|it| it.identity.name.as_deref().or(it.name.as_deref()));
        let reasoning = begun.entry.get("reasoningLevel").and_then(Value::as_str);
        let place = routing::place(&request.key);
        let audience = match place.kind {
            _ if routing::bare(&request.key).starts_with("subagent:") => Audience::Agent,
            Some(PeerKind::Group | PeerKind::Channel) => Audience::Group,
            _ => Audience::Private,
        };
        let system = prompt::system(&PromptInput {
            agent_id: &request.agent_id,
            agent_name: name,
            session_id: &begun.session_id,
            session_key: request.session_key.as_deref(),
            workspace: &sessions::workspace(&world, &request.agent_id),
            audience,
            model,
            tools,
            channel: request.channel.as_deref(),
            extra: request.extra_system_prompt.as_deref(),
            thinking,
            reasoning: reasoning.unwrap_or("off"),
            timezone: world.zones.user.name(),
            host: Host { name: &world.host, os: &world.platform, arch: &world.arch },
            bootstrap_max_chars: agents.bootstrap_max_chars,
            now_ms: request.accepted_at,
        });
        system.problems.iter().for_each(|it| log::warn!(target: "agent", "{it}"));
        system
    })
}
