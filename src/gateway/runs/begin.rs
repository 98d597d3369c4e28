//! From a request to what a run's thread is given.
use super::request::Request;
use crate::agent::compact;
use crate::agent::conversation::Image;
use crate::agent::model::Thinking;
use crate::agent::run::{Begin, Begun, Prompt, Steer, System, Task};
use crate::agent::tools::{Place, Policy, Toolbox, ToolsConfig};
use crate::base::clock::{Clock, Now};
use crate::base::ids;
use crate::gateway::{World, sessions};
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
) -> Task {
    let agents = &world.config.config.agents;
    let agent_id = request.agent_id.clone();
    let images: Vec<Image> = request.images.clone();
    let place = Place {
        workspace: sessions::workspace(world, &agent_id),
        session_key: request.key.clone(),
        agent_id: agent_id.clone(),
        config: ToolsConfig::read(&world.config.resolved, &agent_id),
        env: Arc::new(world.env.clone()),
        clock,
    };
    let (file, id) = (world.config.clone(), agent_id.clone());
    let tools =
        move |model: &crate::agent::model::ModelRef| Toolbox::of(&Policy::read(&file.resolved, &id, model));
    Task {
        run_id: request.run_id.clone(),
        session_key: request.key.clone(),
        store: world.session_store(&agent_id),
        begin: begin(world, request.clone(), notes),
        prompt: prompt(world, request),
        tools: Box::new(tools),
        images,
        thinking: request.thinking.as_deref().and_then(Thinking::of_word),
        thinking_default: agents.thinking_default.as_deref().and_then(Thinking::of_word),
        context_tokens: agents.context_tokens,
        compaction: match agents.reserve_tokens {
            Some(reserve) => compact::Rule { reserve, ..Default::default() },
            None => compact::Rule::default(),
        },
        place,
        timeout_ms: request.timeout_ms,
        steering,
        only_compact: request.only_compact.clone(),
        agent_id,
    }
}

/// Finds or makes the session, and puts the person's words as the model is told them.
fn begin(world: &Arc<World>, request: Request, notes: Vec<String>) -> Begin {
    let world = world.clone();
    Box::new(move |stores: &mut Stores| {
        let path = world.session_store(&request.agent_id);
        let (sessions, now, entropy) = stores.open(&path, &request.agent_id)?;
        let before = sessions.index().get(&request.key).map(crate::store::index::Slot::entry);
        let new_id = request.session_id.clone().unwrap_or_else(|| ids::uuid(entropy));
        let was_aborted = before.as_ref().is_some_and(|it| it.get("abortedLastRun") == Some(&true.into()));
        let after = opened(before.clone(), &request.entry, &new_id, now);
        if before.as_ref() != Some(&after) {
            sessions.change(&request.key, |_, _| Ok(after.clone()), now)?;
        }
        let session_id = after.get("sessionId").and_then(Value::as_str).unwrap_or(&new_id).to_owned();
        let transcript = sessions.transcript(&request.key).filter(|it| it.is_file());
        let text = said(&request, &notes, was_aborted, now);
        Ok(Begun { session_id, entry: after, transcript, text })
    })
}

/// The entry of a session in which a run begins.
fn opened(
    before: Option<Map<String, Value>>,
    more: &Map<String, Value>,
    new_id: &str,
    now: Now,
) -> Map<String, Value> {
    let is_new = before.is_none();
    let mut entry = before.unwrap_or_default();
    if !entry.get("sessionId").is_some_and(Value::is_string) {
        entry.insert("sessionId".into(), new_id.into());
    }
    if is_new {
        entry.insert("updatedAt".into(), now.unix_ms.into());
    }
    entry.insert("abortedLastRun".into(), false.into());
    for (name, value) in more {
        entry.insert(name.clone(), value.clone());
    }
    entry
}

fn said(request: &Request, notes: &[String], was_aborted: bool, _now: Now) -> String {
    let mut text = String::new();
    for note in notes {
        text.push_str(&format!("System: {note}\n\n"));
    }
    if was_aborted {
        text.push_str("(The run before this message was cut off by the person.)\n\n");
    }
    text + &request.message
}

fn prompt(_world: &Arc<World>, request: &Request) -> Prompt {
    let extra = request.extra_system_prompt.clone().unwrap_or_default();
    Box::new(move |_, _, _, _| System { text: extra.clone(), report: Value::Null })
}
