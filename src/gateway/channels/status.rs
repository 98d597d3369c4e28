//! What a channel is shown as: in `channels.status`, `health` and `status`.
use super::Entry;
use crate::channels::{CHANNELS, Probed, Vitals};
use crate::gateway::Core;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What has been measured of every account, and what the configuration says.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub order: Vec<&'static str>,
    /// Of the default account of each channel.
    pub channels: Map<String, Value>,
    pub accounts: Map<String, Value>,
    pub defaults: Map<String, Value>,
}

/// Asks an account's network who it is; blocks at most so many milliseconds.
pub struct Probe {
    pub channel: &'static str,
    pub account: String,
    pub ask: Arc<dyn Fn(u64) -> Probed + Send + Sync>,
}

fn account(entry: &Entry) -> Value {
    let (account, vitals) = (&entry.account, &entry.vitals);
    let mut it =
        json!({ "accountId": account.id, "enabled": account.enabled, "configured": account.configured });
    let fields = it.as_object_mut().expect("it is an object");
    fields.extend(account.facts.clone());
    fields.extend(measured(vitals));
    it
}

fn measured(vitals: &Vitals) -> Map<String, Value> {
    let at = |it| Vitals::at(it);
    let it = json!({
        "running": Vitals::is(&vitals.running),
        "connected": Vitals::is(&vitals.connected),
        "linked": !Vitals::is(&vitals.refused) && Vitals::is(&vitals.connected),
        "lastStartAt": at(&vitals.started_ms),
        "lastStopAt": at(&vitals.stopped_ms),
        "lastError": vitals.last_error(),
        "lastPollAt": at(&vitals.polled_ms),
        "lastInboundAt": at(&vitals.inbound_ms),
        "lastOutboundAt": at(&vitals.outbound_ms),
    });
    it.as_object().cloned().unwrap_or_default()
}

fn summary(entry: &Entry) -> Value {
    let (account, vitals) = (&entry.account, &entry.vitals);
    json!({
        "configured": account.configured, "tokenSource": account.facts.get("tokenSource"),
        "running": Vitals::is(&vitals.running), "mode": account.facts.get("mode"),
        "lastStartAt": Vitals::at(&vitals.started_ms), "lastStopAt": Vitals::at(&vitals.stopped_ms),
        "lastError": vitals.last_error(), "lastProbeAt": null,
    })
}

pub fn snapshot(core: &Core) -> Snapshot {
    let mut out = Snapshot::default();
    for channel in core.channels_in_use() {
        let of: Vec<&Entry> =
            core.channels.accounts.iter().filter(|it| it.0.0 == channel).map(|it| it.1).collect();
        let default = core.channels.default_of(channel).unwrap_or_default();
        out.order.push(channel);
        if let Some(entry) = of.iter().find(|it| it.account.id == default) {
            out.channels.insert(channel.into(), summary(entry));
        }
        out.accounts.insert(channel.into(), of.iter().map(|it| account(it)).collect::<Vec<_>>().into());
        out.defaults.insert(channel.into(), default.into());
    }
    out
}

/// One for each account that can be asked.
pub fn probes(core: &Core) -> Vec<Probe> {
    let of = core.channels.accounts.iter().filter(|it| it.1.account.enabled && it.1.account.configured);
    of.map(|(key, it)| Probe { channel: key.0, account: key.1.clone(), ask: it.account.probe.clone() })
        .collect()
}

impl Snapshot {
    /// Puts down what the networks have said; on a worker.
    pub fn probe(&mut self, probes: &[Probe], ms: u64, unix_ms: impl Fn() -> i64) {
        for it in probes {
            let begun = unix_ms();
            let Probed { probe: mut said, audit } = (it.ask)(ms);
            let at = unix_ms();
            said["elapsedMs"] = (at - begun).into();
            let default = self.defaults.get(it.channel).is_some_and(|id| *id == it.account.as_str());
            if let Some(channel) = self.channels.get_mut(it.channel).filter(|_| default) {
                (channel["probe"], channel["lastProbeAt"]) = (said.clone(), at.into());
            }
            let accounts = self.accounts.get_mut(it.channel).and_then(Value::as_array_mut);
            let of = accounts.into_iter().flatten().find(|one| one["accountId"] == it.account.as_str());
            if let Some(account) = of {
                (account["probe"], account["lastProbeAt"]) = (said, at.into());
                if let Some(audit) = audit {
                    account["audit"] = audit;
                }
            }
        }
    }

    pub fn labels(&self) -> Map<String, Value> {
        let of = CHANNELS.iter().map(|it| it.meta()).filter(|it| self.order.contains(&it.id));
        of.map(|it| (it.id.to_owned(), it.label.into())).collect()
    }

    /// As `health` shows it: channel by channel, with all accounts.
    pub fn health(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for (channel, summary) in &self.channels {
            let mut it = summary.clone();
            let accounts = self.accounts[channel].as_array().into_iter().flatten();
            let by_id = accounts.filter_map(|it| Some((it["accountId"].as_str()?.to_owned(), it.clone())));
            it["accountId"] = self.defaults[channel].clone();
            it["accounts"] = Value::Object(by_id.collect());
            out.insert(channel.clone(), it);
        }
        out
    }

    /// A line for each channel, and one for each of its accounts.
    pub fn lines(&self) -> Vec<String> {
        let mut out = vec![];
        for meta in CHANNELS.iter().map(|it| it.meta()).filter(|it| self.order.contains(&it.id)) {
            let accounts = self.accounts[meta.id].as_array().cloned().unwrap_or_default();
            let configured = accounts.iter().any(|it| it["configured"] == true);
            out.push(format!("{}: {}", meta.label, if configured { "configured" } else { "not configured" }));
            for it in accounts.iter().filter(|it| it["configured"] == true) {
                let source = it["tokenSource"].as_str().unwrap_or("none");
                out.push(format!("  - {} (token:{source})", it["accountId"].as_str().unwrap_or_default()));
            }
        }
        out
    }
}
