//! `status`: this machine's state and the gateway's, in one page. Needs no gateway and asks no registry.
use super::args::{Calls, command};
use super::probe::Finding;
use super::rpc::As;
use super::service::{Service, runtime_text};
use super::target::{self, Target};
use super::text::{age, list, table, thousands, word};
use super::{Context, say};
use crate::base::clock::Clock;
use crate::base::sys::platform;
use crate::config::Mode;
use crate::gateway::methods::health::Newest;
use crate::gateway::{World, methods, sessions};
use crate::store::sessions::read;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

command! {
    /// this machine's state and its gateway's; exit 0 whether the gateway runs or not
    #[argh(subcommand, name = "status")]
    Status {
        /// more: configuration, log, health
        #[argh(switch)]
        all: bool,
        /// probe the channels too
        #[argh(switch)]
        deep: bool,
        /// what the model providers report of usage
        #[argh(switch)]
        usage: bool,
    }
}

/// What was found; `finding` is None when there is nothing to ask.
struct Found {
    world: World,
    target: Result<Target, String>,
    finding: Option<Finding>,
    /// The gateway's summary, or the same from this machine's files.
    summary: Value,
    health: Value,
    usage: Value,
    unix_ms: i64,
}

impl Status {
    pub fn run(&self, context: &Context) -> ExitCode {
        let found = self.find(context);
        if self.json {
            say(&format!("{:#}", self.json_of(&found, context)))
        } else {
            say(&self.text(&found, context))
        }
    }

    fn find(&self, context: &Context) -> Found {
        let (link, world, clock) = (self.link(), context.world(), Clock::start());
        let target = target::resolve(&link, &world.config.config, context);
        let finding = target.as_ref().ok().map(|it| Finding::of(context, it, link.timeout_ms()));
        let mut summary = finding.as_ref().map_or(Value::Null, |it| it.status.clone());
        if summary.is_null() {
            let newest = |agent_id: &str, path: &Path| Ok(Newest::of(&read(path, agent_id)?));
            let local = methods::health::status(&world, clock, vec![], vec![], newest);
            summary = serde_json::to_value(local).expect("our own types serialise");
        }
        let more = |wanted: bool, method: &str, params: Value| {
            if !wanted || !finding.as_ref().is_some_and(Finding::reachable) {
                return Value::Null;
            }
            let asked =
                context.open(&link, As::Cli).and_then(|mut it| Ok(it.call(method, Some(params), false)?));
            asked.unwrap_or_else(|err| json!({ "error": err.to_string() }))
        };
        let health = more(self.deep || self.all, "health", json!({ "probe": true }));
        let usage = more(self.usage, "usage.status", json!({}));
        Found { world, target, summary, health, usage, unix_ms: clock.now().unix_ms, finding }
    }

    fn json_of(&self, it: &Found, context: &Context) -> Value {
        let world = &it.world;
        let mut out = it.summary.clone();
        out["os"] = json!({
            "platform": platform(), "arch": world.arch,
            "release": world.platform.split_once(' ').map_or("", |it| it.1),
            "label": format!("{} ({})", world.platform, world.arch),
        });
        let why = "not checked: this program asks no registry; compare --version with the releases";
        out["update"] = json!({
            "root": null, "installKind": "binary", "packageManager": "none",
            "registry": { "latestVersion": null, "error": why },
        });
        out["updateChannel"] = "stable".into();
        out["memory"] = Value::Null;
        out["gateway"] = gateway(it);
        out["gatewayService"] = service(context, "gateway");
        out["nodeService"] = service(context, "node");
        out["agents"] = agents(it);
        for (name, value) in [("health", &it.health), ("usage", &it.usage)] {
            if !value.is_null() {
                out[name] = value.clone();
            }
        }
        out
    }

    fn text(&self, it: &Found, context: &Context) -> String {
        let mut rows = overview(it, context);
        if self.all {
            let config = &it.world.config;
            let state = if config.exists() { "" } else { " (missing)" };
            rows.push(("Version", it.world.version().to_owned()));
            rows.push(("Config", format!("{}{state}", context.paths.config.display())));
            rows.push(("State", context.paths.state.display().to_string()));
            rows.push(("Logs", context.paths.logs().display().to_string()));
        }
        if !it.usage.is_null() {
            let providers = list(&it.usage, "providers");
            let names: Vec<&str> = providers.iter().map(|it| word(it, "provider")).collect();
            rows.push((
                "Usage",
                if names.is_empty() { "no provider reports any".into() } else { names.join(", ") },
            ));
        }
        let mut parts: Vec<String> =
            rows.iter().map(|(name, value)| format!("{name:<10}  {value}")).collect();
        if !it.health.is_null() {
            let lines = super::health::channel_lines(&it.health);
            parts.push(format!(
                "{:<10}  {}",
                "Health",
                if it.health["ok"] == true { "ok" } else { "not ok" }
            ));
            parts.extend(lines.iter().map(|it| format!("{:<10}  {it}", "")));
        }
        let recent = list(&it.summary["sessions"], "recent");
        if !recent.is_empty() {
            let row = |it: &Value| {
                let tokens = it["totalTokens"].as_u64().map_or("-".into(), thousands);
                let percent = it["percentUsed"].as_u64().map(|it| format!(" ({it}%)")).unwrap_or_default();
                let age = it["age"].as_u64().map_or("-".into(), |it| format!("{} ago", age(it)));
                vec![
                    word(it, "key").to_owned(),
                    word(it, "kind").to_owned(),
                    age,
                    word(it, "model").to_owned(),
                    format!("{tokens}{percent}"),
                ]
            };
            let rows: Vec<_> = recent.iter().map(row).collect();
            parts.push(format!("\n{}", table(&["Session", "Kind", "Age", "Model", "Tokens"], &rows)));
        }
        parts.join("\n")
    }
}

fn gateway(it: &Found) -> Value {
    let remote = it.world.config.config.gateway.mode == Some(Mode::Remote);
    let (url, source, misconfigured) = match &it.target {
        Ok(it) => (Some(it.url.as_str()), it.source.as_str(), false),
        Err(_) => (None, "missing", true),
    };
    let finding = it.finding.as_ref();
    let error = match (&it.target, finding) {
        (Err(text), _) => text.as_str().into(),
        (_, Some(it)) => it.error(),
        _ => Value::Null,
    };
    json!({
        "mode": if remote { "remote" } else { "local" }, "url": url, "urlSource": source, "misconfigured": misconfigured,
        "reachable": finding.is_some_and(Finding::reachable),
        "connectLatencyMs": finding.and_then(|it| it.latency_ms),
        "self": finding.map_or(Value::Null, Finding::own),
        "error": error,
    })
}

fn service(context: &Context, kind: &str) -> Value {
    let it = Service::find(context, kind);
    json!({
        "label": "systemd", "installed": it.file.is_some(),
        "loadedText": if it.enabled() { "enabled" } else { "disabled" },
        "runtimeShort": runtime_text(&it.runtime()),
    })
}

fn agents(it: &Found) -> Value {
    let summary = &it.summary["sessions"];
    let rows: Vec<Value> = list(summary, "byAgent")
        .iter()
        .map(|row| {
            let id = word(row, "agentId");
            let workspace = sessions::workspace(&it.world, id);
            let updated_at = row["recent"][0]["updatedAt"].as_i64();
            json!({
                "id": id, "workspaceDir": workspace, "bootstrapPending": workspace.join("BOOTSTRAP.md").exists(),
                "sessionsPath": row["path"], "sessionsCount": row["count"], "lastUpdatedAt": updated_at,
                "lastActiveAgeMs": updated_at.map(|at| it.unix_ms - at),
            })
        })
        .collect();
    let pending = rows.iter().filter(|it| it["bootstrapPending"] == true).count();
    json!({
        "defaultId": it.summary["heartbeat"]["defaultAgentId"], "agents": rows, "totalSessions": summary["count"],
        "bootstrapPendingCount": pending,
    })
}

fn overview(it: &Found, context: &Context) -> Vec<(&'static str, String)> {
    let (world, summary) = (&it.world, &it.summary);
    let state = match (&it.target, &it.finding) {
        (Ok(target), Some(found)) => {
            let head = format!("{} ({})", target.url, target.source.as_str());
            match (found.latency_ms, &found.failure) {
                (Some(ms), None) => {
                    let own = found.own();
                    format!(
                        "{head} · reachable {ms}ms · {} app {}",
                        word(&own, "host"),
                        word(&own, "version")
                    )
                }
                (Some(ms), Some(err)) => format!("{head} · reachable {ms}ms · {err}"),
                (None, Some(err)) => format!("{head} · unreachable: {err}"),
                (None, None) => head,
            }
        }
        (Err(text), _) => text.replace('\n', " "),
        (Ok(it), None) => it.url.clone(),
    };
    let service = Service::find(context, "gateway");
    let service = match service.file {
        None => "systemd, not installed".to_owned(),
        Some(_) => format!("systemd, {}", runtime_text(&service.runtime())),
    };
    let beats = list(&summary["heartbeat"], "agents").iter();
    let beats: Vec<String> =
        beats.map(|it| format!("{} ({})", word(it, "every"), word(it, "agentId"))).collect();
    let sessions = &summary["sessions"];
    let context_tokens = sessions["defaults"]["contextTokens"].as_u64().map_or("-".into(), thousands);
    let joined = |name: &str, none: &str| {
        let all: Vec<&str> = list(summary, name).iter().filter_map(Value::as_str).collect();
        if all.is_empty() { none.to_owned() } else { all.join("; ") }
    };
    let mut rows = vec![
        ("OS", format!("{} ({})", world.platform, world.arch)),
        ("Gateway", state),
        ("Service", service),
        (
            "Agents",
            format!(
                "{} · default {}",
                list(sessions, "byAgent").len(),
                word(&summary["heartbeat"], "defaultAgentId")
            ),
        ),
        ("Heartbeat", beats.join(", ")),
        (
            "Sessions",
            format!(
                "{} · default {} ({context_tokens} tokens)",
                sessions["count"],
                word(&sessions["defaults"], "model")
            ),
        ),
        ("Channels", joined("channelSummary", "none")),
        ("Events", joined("queuedSystemEvents", "none")),
    ];
    rows.extend(
        list(summary, "warnings").iter().filter_map(Value::as_str).map(|it| ("Warning", it.to_owned())),
    );
    rows
}
