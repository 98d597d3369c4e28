//! `health`: the whole state in one answer; `status`: a summary with the sessions.
use crate::base::clock::Clock;
use crate::gateway::health::{self, Snapshot};
use crate::gateway::registry::{Answer, Call, Finish, Method, Rpc};
use crate::gateway::sessions::{self, StatusRow};
use crate::gateway::{Core, World};
use crate::protocol::error::RpcResult;
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::store::index::Index;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::path::Path;
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
        Ok(Answer::Stored(Box::new(move |stores| {
            let payload: Arc<RawValue> = raw(&work(stores)).into();
            Box::new(move |core: &mut Core, now| {
                health::keep(core, now, payload.clone());
                Ok(Snapshot(payload))
            }) as Finish<Snapshot>
        })))
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
        let events = core.queued_system_events();
        let channels = crate::gateway::channels::status::snapshot(core).lines();
        Ok(Answer::store(move |stores| {
            let newest = |agent_id: &str, path: &Path| match stores.sessions(path, agent_id) {
                Ok(it) => Ok(Newest::of(it.index())),
                Err(err) => Err(err.to_string()),
            };
            Ok(status(&world, clock, channels, events, newest))
        }))
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

/// What `status` shows of one store.
pub struct Newest {
    count: usize,
    rows: Vec<(String, Map<String, Value>)>,
}

impl Newest {
    pub fn of(index: &Index) -> Newest {
        let rows = index.newest(RECENT_MAX).into_iter();
        Newest { count: index.len(), rows: rows.map(|(key, it)| (key.to_owned(), it.entry())).collect() }
    }
}

/// The `status` payload. `newest` is asked for each agent and its store. Reads the disk: jobs only.
pub fn status(
    world: &World,
    clock: Clock,
    channel_summary: Vec<String>,
    queued_system_events: Vec<String>,
    mut newest: impl FnMut(&str, &Path) -> Result<Newest, String>,
) -> StatusReply {
    let (agents, now) = (&world.config.config.agents, clock.now());
    let defaults = sessions::defaults(world, now.unix_ms);
    let (mut by_agent, mut all, mut count) = (vec![], vec![], 0);
    let mut warnings: Vec<String> = world.problem.iter().cloned().collect();
    let ids = sessions::agent_ids(world);
    for agent_id in &ids {
        let path = world.session_store(agent_id);
        let it = newest(agent_id, &path).unwrap_or_else(|err| {
            warnings.push(err);
            Newest { count: 0, rows: vec![] }
        });
        let row = |(key, entry): &(String, Map<String, Value>)| {
            sessions::status_row(agent_id, key, entry, &defaults, now.unix_ms)
        };
        let recent: Vec<StatusRow> = it.rows.iter().map(row).collect();
        all.extend(recent.iter().cloned());
        count += it.count;
        by_agent.push(AgentSessions {
            agent_id: agent_id.clone(),
            path: path.display().to_string(),
            count: it.count,
            recent,
        });
    }
    all.sort_by_key(|it: &StatusRow| std::cmp::Reverse(it.updated_at));
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
        channel_summary,
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
