//! `usage.status` and `usage.cost`: what the models cost, summed from the transcripts.
use crate::base::clock;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, World, sessions};
use crate::protocol::error::RpcResult;
use crate::protocol::scope::Access;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub const METHODS: &[Method] = &[Method::of::<UsageStatus>(), Method::of::<UsageCost>()];

/// Quotas of hosted providers; none is asked before an agent uses one.
enum UsageStatus {}
impl Rpc for UsageStatus {
    const NAME: &'static str = "usage.status";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = UsageStatusReply;
    fn call(_: &mut Core, call: Call, _: Value) -> RpcResult<Answer<UsageStatusReply>> {
        Ok(Answer::Now(UsageStatusReply { updated_at: call.now.unix_ms, providers: vec![] }))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct UsageStatusReply {
    updated_at: i64,
    providers: Vec<Value>,
}

/// Reference default.
const DAYS_DEFAULT: u32 = 30;
/// Ten years: nobody asks for more, and a date must stay a date.
const DAYS_MAX: u32 = 3660;

enum UsageCost {}
impl Rpc for UsageCost {
    const NAME: &'static str = "usage.cost";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = UsageCostReply;
    fn call(core: &mut Core, call: Call, params: Value) -> RpcResult<Answer<UsageCostReply>> {
        let world = core.world.clone();
        let days = days(&params["days"]);
        Ok(Answer::read(move || Ok(cost(&world, days, call.now.unix_ms))))
    }
}

/// A number or a text that is one; anything else is the default.
fn days(value: &Value) -> u32 {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|it| it.is_finite()).map_or(DAYS_DEFAULT, |it| (it.floor().max(1.0) as u32).min(DAYS_MAX))
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct UsageCostReply {
    updated_at: i64,
    days: u32,
    pub daily: Vec<Daily>,
    pub totals: Totals,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::gateway) struct Daily {
    /// `2026-11-23` (UTC).
    pub date: String,
    #[serde(flatten)]
    pub totals: Totals,
}

/// Tokens, and US dollars where the transcript knows the price.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct Totals {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    pub total_tokens: u64,
    pub total_cost: f64,
    pub missing_cost_entries: u64,
}

impl Totals {
    /// Of one conversation.
    pub fn of<'m>(messages: impl Iterator<Item = &'m Value>) -> Totals {
        let mut out = Totals::default();
        messages
            .filter(|it| it["role"] == "assistant" && it["usage"].is_object())
            .for_each(|it| out.add(&it["usage"]));
        out
    }
    fn add(&mut self, usage: &Value) {
        let number = |name: &str| usage[name].as_u64().unwrap_or(0);
        let parts = [number("input"), number("output"), number("cacheRead"), number("cacheWrite")];
        let total = number("totalTokens").max(number("total"));
        self.input += parts[0];
        self.output += parts[1];
        self.cache_read += parts[2];
        self.cache_write += parts[3];
        self.total_tokens += if total > 0 { total } else { parts.iter().sum() };
        match usage["cost"]["total"].as_f64() {
            Some(cost) => self.total_cost += cost,
            // What nobody was asked for has no price to miss.
            None if total == 0 && parts == [0; 4] => {}
            None => self.missing_cost_entries += 1,
        }
    }
}

/// Reads every transcript: jobs only.
pub(in crate::gateway) fn cost(world: &World, days: u32, unix_ms: i64) -> UsageCostReply {
    let first = clock::date(unix_ms - i64::from(days - 1) * 86_400_000);
    let (mut daily, mut totals) = (BTreeMap::<String, Totals>::new(), Totals::default());
    for agent_id in sessions::agent_ids(world) {
        let store = world.session_store(&agent_id);
        let Some(dir) = store.parent() else { continue };
        crate::store::sessions::transcripts(dir, |line| {
            let message = &line["message"];
            if message["role"] != "assistant" || !message["usage"].is_object() {
                return;
            }
            let at = message["timestamp"].as_i64().or_else(|| clock::parse_iso(line["timestamp"].as_str()?));
            let Some(date) = at.map(clock::date).filter(|it| *it >= first) else { return };
            daily.entry(date).or_default().add(&message["usage"]);
            totals.add(&message["usage"]);
        });
    }
    let daily = daily.into_iter().map(|(date, totals)| Daily { date, totals }).collect();
    UsageCostReply { updated_at: unix_ms, days, daily, totals }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn days_are_forgiving() {
        for (value, want) in
            [("1", 1), ("\"2\"", 2), ("\"x\"", 30), ("0", 1), ("null", 30), ("1e99", DAYS_MAX)]
        {
            assert_eq!(days(&serde_json::from_str(value).unwrap()), want, "{value}");
        }
    }
    #[test]
    fn sums() {
        let mut it = Totals::default();
        it.add(&serde_json::json!({ "input": 11, "output": 7, "cost": { "total": 0.5 } }));
        it.add(&serde_json::json!({ "input": 1, "totalTokens": 9 }));
        assert_eq!((it.input, it.total_tokens, it.total_cost, it.missing_cost_entries), (12, 27, 0.5, 1));
    }
}
