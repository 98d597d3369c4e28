//! `health`: the whole state in one answer; `status`: a summary with the sessions.
use crate::base::clock::Clock;
use crate::gateway::health::{self, Snapshot};
use crate::gateway::registry::{Answer, Call, Finish, Lane, Method, Rpc};
use crate::gateway::sessions::{self, Defaults, StatusRow};
use crate::gateway::{Core, World};
use crate::protocol::error::RpcResult;
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;

pub const METHODS: &[Method] = &[Method::of::<Health>(), Method::of::<Status>()];

/// Answers the cached snapshot when it is younger than 60 s and refreshes it behind; `probe: true` waits for a fresh one.
enum Health {}
impl Rpc for Health {
    const NAME: &'static str = "health";
    const ACCESS: Access = Access::Read;
    /// Protocol 4 shows it to any client that has connected.
    const ACCESS_V4: Access = Access::Anyone;
    type Params = Value;
    type Reply = Snapshot;
    fn call(core: &mut Core, call: Call, params: Value) -> RpcResult<Answer<Snapshot>> {
        if core.health.is_fresh(params["probe"] == true, call.now) {
            health::refresh(core, call.now);
            return Ok(Answer::Now(Snapshot(core.health.payload.clone())));
        }
        let work = health::refresh_work(core, call.now);
        Ok(Answer::Later(
            Lane::Pool,
            Box::new(move || {
                let payload: Arc<RawValue> = raw(&work()).into();
                Box::new(move |core: &mut Core, now| {
                    health::keep(core, now, payload.clone());
                    Ok(Snapshot(payload))
                }) as Finish<Snapshot>
            }),
        ))
    }
}

enum Status {}
impl Rpc for Status {
    const NAME: &'static str = "status";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = StatusReply;
    fn call(core: &mut Core, _: Call, _: Value) -> RpcResult<Answer<StatusReply>> {
        let (world, clock) = (core.world.clone(), core.clock);
        let events = core.system_events.iter().cloned().collect();
        Ok(Answer::read(move || Ok(status(&world, clock, events))))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    heartbeat: HeartbeatStatus,
    /// One line a channel and account.
    channel_summary: Vec<String>,
    queued_system_events: Vec<String>,
    sessions: SessionsStatus,
    /// What is wrong with the configuration; absent when nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct HeartbeatStatus {
    default_agent_id: String,
    agents: Vec<AgentHeartbeat>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct AgentHeartbeat {
    agent_id: String,
    enabled: bool,
    every: String,
    every_ms: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SessionsStatus {
    paths: Vec<String>,
    count: usize,
    defaults: StatusDefaults,
    recent: Vec<StatusRow>,
    by_agent: Vec<AgentSessions>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct StatusDefaults {
    model: Option<String>,
    context_tokens: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct AgentSessions {
    agent_id: String,
    path: String,
    count: usize,
    recent: Vec<StatusRow>,
}

/// Rows in a list. Reference: 10.
const RECENT_MAX: usize = 10;

/// The `status` payload, from the files alone. Reads the disk: jobs only.
pub fn status(world: &World, clock: Clock, queued_system_events: Vec<String>) -> StatusReply {
    let (agents, now) = (&world.config.config.agents, clock.now());
    let defaults: Defaults = sessions::defaults(world);
    let (mut by_agent, mut all) = (vec![], vec![]);
    let mut warnings: Vec<String> = world.problem.iter().cloned().collect();
    let ids = sessions::agent_ids(world);
    for agent_id in &ids {
        let path = world.session_store(agent_id);
        let entries = crate::store::sessions::entries(&path).unwrap_or_else(|err| {
            warnings.push(err);
            Default::default()
        });
        let row =
            |(key, it): (&String, &Value)| sessions::status_row(agent_id, key, it, &defaults, now.unix_ms);
        let mut rows: Vec<StatusRow> = entries.iter().map(row).collect();
        rows.sort_by_key(|it| std::cmp::Reverse(it.updated_at));
        let count = rows.len();
        all.extend(rows.iter().cloned());
        rows.truncate(RECENT_MAX);
        by_agent.push(AgentSessions {
            agent_id: agent_id.clone(),
            path: path.display().to_string(),
            count,
            recent: rows,
        });
    }
    all.sort_by_key(|it: &StatusRow| std::cmp::Reverse(it.updated_at));
    let count = all.len();
    all.truncate(RECENT_MAX);
    let beats = ids.iter().map(|agent_id| {
        let it = health::heartbeat(agents, agent_id);
        AgentHeartbeat {
            agent_id: agent_id.clone(),
            enabled: it.enabled,
            every: it.every,
            every_ms: it.every_ms,
        }
    });
    StatusReply {
        heartbeat: HeartbeatStatus {
            default_agent_id: agents.default_id().to_owned(),
            agents: beats.collect(),
        },
        channel_summary: vec![],
        queued_system_events,
        sessions: SessionsStatus {
            paths: by_agent.iter().map(|it| it.path.clone()).collect(),
            count,
            defaults: StatusDefaults { model: defaults.model, context_tokens: defaults.context_tokens },
            recent: all,
            by_agent,
        },
        warnings,
    }
}
