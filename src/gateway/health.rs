//! The health snapshot: taken where the sessions are, cached, refreshed at most once a second.
use super::channels::status;
use super::{Core, Timer, World, events, sessions};
use crate::base::clock::{Clock, Now};
use crate::base::limits::{HEALTH_REFRESH_MIN_MS, HEALTH_REFRESH_MS};
use crate::config::{Agents, Heartbeat};
use crate::protocol::frame::raw;
use crate::store::index::{Index, Slot};
use crate::store::stores::Stores;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::sync::Arc;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HealthReply {
    pub ok: bool,
    pub ts: i64,
    pub duration_ms: u64,
    /// Channel summaries by channel id.
    pub channels: Map<String, Value>,
    pub channel_order: Vec<String>,
    pub channel_labels: Map<String, Value>,
    pub heartbeat_seconds: u64,
    pub default_agent_id: String,
    pub agents: Vec<AgentHealth>,
    /// Of the default agent.
    pub sessions: SessionSummary,
    /// What is wrong, each a sentence that says what to do; absent when nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A [`HealthReply`], serialised once and shared.
pub struct Snapshot(pub Arc<RawValue>);

impl Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        RawValue::serialize(&self.0, to)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Snapshot {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        HealthReply::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        HealthReply::json_schema(generator)
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentHealth {
    pub agent_id: String,
    pub is_default: bool,
    pub heartbeat: HeartbeatSettings,
    pub sessions: SessionSummary,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatSettings {
    pub enabled: bool,
    pub every: String,
    pub every_ms: Option<u64>,
    pub prompt: String,
    pub target: String,
    pub ack_max_chars: u64,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionSummary {
    pub path: String,
    pub count: usize,
    pub recent: Vec<RecentSession>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RecentSession {
    pub key: String,
    /// Null when the entry does not say.
    pub updated_at: Option<i64>,
    pub age: Option<i64>,
}

/// Every 30 minutes, as the reference.
const EVERY_DEFAULT: &str = "30m";
/// Used when the owner has configured none; what the agent is told at each beat.
const PROMPT_DEFAULT: &str = "Look into HEARTBEAT.md in the workspace, if there is one, and do what it asks, no more. If nothing needs doing, answer HEARTBEAT_OK.";
/// Reference: 300.
const ACK_MAX_CHARS_DEFAULT: u64 = 300;
/// Sessions shown for each agent. Reference: 5.
const RECENT_MAX: usize = 5;

/// The effective heartbeat of an agent. An interval of zero, or another agent's own heartbeat, turns it off.
pub fn heartbeat(agents: &Agents, agent_id: &str) -> HeartbeatSettings {
    let own = agents.get(agent_id).and_then(|it| it.heartbeat.as_ref());
    let somebody_has_own = agents.list.iter().any(|it| it.heartbeat.is_some());
    let in_turn = if somebody_has_own { own.is_some() } else { agent_id == agents.default_id() };
    let pick = |field: fn(&Heartbeat) -> &Option<String>| {
        own.and_then(|it| field(it).clone()).or_else(|| field(&agents.heartbeat).clone())
    };
    let every = pick(|it| &it.every).unwrap_or_else(|| EVERY_DEFAULT.into());
    let every_ms = duration_ms(&every).filter(|it| *it > 0 && in_turn);
    let ack = own.and_then(|it| it.ack_max_chars).or(agents.heartbeat.ack_max_chars);
    HeartbeatSettings {
        enabled: every_ms.is_some(),
        every: if every_ms.is_some() { every } else { "disabled".into() },
        every_ms,
        prompt: pick(|it| &it.prompt).unwrap_or_else(|| PROMPT_DEFAULT.into()),
        target: pick(|it| &it.target).unwrap_or_else(|| "last".into()),
        ack_max_chars: ack.unwrap_or(ACK_MAX_CHARS_DEFAULT),
    }
}

/// `90`, `90m` (minutes is the default unit), `30s`, `2h`, `1d`, `500ms`; None for anything else.
pub fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms = match unit.trim() {
        "ms" => 1.0,
        "s" => 1e3,
        "" | "m" => 60e3,
        "h" => 3600e3,
        "d" => 86400e3,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|it| (it * ms).round() as u64)
}

/// Runs where the sessions are.
fn take(world: &World, channels: &status::Snapshot, clock: Clock, stores: &mut Stores) -> HealthReply {
    let start = clock.now();
    let config = &world.config.config;
    let mut warnings: Vec<String> = world.problem.iter().cloned().collect();
    let mut agents: Vec<AgentHealth> = vec![];
    for agent_id in sessions::agent_ids(world) {
        let store = world.session_store(&agent_id);
        let none = Index::default();
        let index = match stores.sessions(&store, &agent_id) {
            Ok(it) => it.index(),
            Err(err) => {
                warnings.push(err.to_string());
                &none
            }
        };
        agents.push(AgentHealth {
            is_default: agent_id == config.agents.default_id(),
            heartbeat: heartbeat(&config.agents, &agent_id),
            sessions: summary(store.display().to_string(), index, start.unix_ms),
            agent_id,
        });
    }
    warnings.extend(stores.damage().iter().cloned());
    let own = agents.iter().find(|it| it.is_default).or(agents.first());
    let every_ms = own.and_then(|it| it.heartbeat.every_ms);
    HealthReply {
        ok: true,
        ts: start.unix_ms,
        duration_ms: clock.now().mono_ms - start.mono_ms,
        channels: channels.health(),
        channel_order: channels.order.iter().map(|it| (*it).to_owned()).collect(),
        channel_labels: channels.labels(),
        heartbeat_seconds: every_ms.unwrap_or(0) / 1000,
        default_agent_id: config.agents.default_id().to_owned(),
        sessions: own.map_or_else(
            || summary(String::new(), &Index::default(), start.unix_ms),
            |it| it.sessions.clone(),
        ),
        agents,
        warnings,
    }
}

fn summary(path: String, index: &Index, unix_ms: i64) -> SessionSummary {
    let row = |(key, slot): (&str, &Slot)| {
        let updated_at = Some(slot.updated_at()).filter(|it| *it > 0);
        RecentSession { key: key.to_owned(), updated_at, age: updated_at.map(|it| unix_ms - it) }
    };
    let recent = index.newest(RECENT_MAX).into_iter().map(row).collect();
    SessionSummary { path, count: index.len(), recent }
}

/// The cache in the core.
pub struct HealthCache {
    /// As it goes on the wire; `{}` before the first refresh.
    pub payload: Arc<RawValue>,
    taken_at_ms: Option<u64>,
    /// When the last refresh started, whoever asked for it.
    started_at_ms: Option<u64>,
    in_flight: bool,
    again: bool,
}

impl Default for HealthCache {
    fn default() -> HealthCache {
        HealthCache {
            payload: raw(&Map::new()).into(),
            taken_at_ms: None,
            started_at_ms: None,
            in_flight: false,
            again: false,
        }
    }
}

impl HealthCache {
    /// Whether the snapshot will do as an answer; who probes wants a new one, but not more often than is made.
    pub fn is_fresh(&self, probe: bool, now: Now) -> bool {
        let (since, ms) = if probe {
            (self.started_at_ms, HEALTH_REFRESH_MIN_MS)
        } else {
            (self.taken_at_ms, HEALTH_REFRESH_MS)
        };
        self.taken_at_ms.is_some() && since.is_some_and(|it| now.mono_ms - it < ms)
    }
}

/// The work of a refresh; [`keep`] what it makes.
pub fn refresh_work(core: &mut Core, now: Now) -> impl FnOnce(&mut Stores) -> HealthReply + Send + 'static {
    core.health.started_at_ms = Some(now.mono_ms);
    let (world, clock, shown) = (core.world.clone(), core.clock, status::snapshot(core));
    move |stores| take(&world, &shown, clock, stores)
}

/// Keeps a new snapshot and tells everybody.
pub fn keep(core: &mut Core, now: Now, payload: Arc<RawValue>) {
    core.health.payload = payload.clone();
    core.health.taken_at_ms = Some(now.mono_ms);
    core.state_version.health += 1;
    core.broadcast(&events::HEALTH, &Snapshot(payload));
}

/// Starts a refresh in the background, unless one runs or has just run.
pub fn refresh(core: &mut Core, now: Now) {
    let just_run = core.health.taken_at_ms.is_some_and(|it| now.mono_ms - it < HEALTH_REFRESH_MIN_MS);
    if core.health.in_flight || just_run {
        return;
    }
    core.health.in_flight = true;
    let work = refresh_work(core, now);
    let take = |stores: &mut Stores| {
        let work = std::panic::AssertUnwindSafe(|| work(stores));
        std::panic::catch_unwind(work).ok().map(|it| raw(&it))
    };
    core.store(take, |core, reply, now| {
        core.health.in_flight = false;
        if let Some(reply) = reply {
            keep(core, now, reply.into());
        }
        if core.health.again {
            refresh_soon(core, now);
        }
    });
}

/// There is news: a refresh now, or right behind the one that is under way.
pub fn refresh_soon(core: &mut Core, now: Now) {
    core.health.taken_at_ms = None;
    core.health.again = core.health.in_flight;
    refresh(core, now);
}

/// The 60 s timer: runs only while somebody is connected.
pub fn on_timer(core: &mut Core, now: Now) {
    refresh(core, now);
    core.arm(now.mono_ms + HEALTH_REFRESH_MS, Timer::Health);
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn durations() {
        for (text, ms) in [
            ("30m", Some(1_800_000)),
            ("90", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("0m", Some(0)),
            ("x", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }
    #[test]
    fn only_agents_with_a_heartbeat_of_their_own_beat_once_one_has_it() {
        let value = serde_json::json!({ "agents": { "list": [{ "id": "a" }, { "id": "b", "heartbeat": { "every": "5m" } }] } });
        let config = crate::config::read_for_tests(&value);
        assert_eq!(heartbeat(&config.agents, "a").every, "disabled");
        assert_eq!(heartbeat(&config.agents, "b").every_ms, Some(300_000));
    }
}
