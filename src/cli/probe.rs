//! `gateway probe`: every gateway this machine may mean, and what each says of itself.
use super::args::{Calls, command};
use super::rpc::{As, Failure};
use super::target::{self, Link, Source, Target};
use super::{Context, fail, say};
use crate::base::clock::Clock;
use crate::config::Mode;
use serde_json::{Value, json};
use std::process::ExitCode;

/// The default of `--timeout` here, milliseconds. Reference: 3 s.
pub const TIMEOUT_MS: u64 = 3_000;

command! {
    /// try the gateways this machine knows and show what they say
    #[argh(subcommand, name = "probe")]
    Probe {}
}

/// What one gateway said.
pub struct Finding {
    pub latency_ms: Option<u64>,
    pub failure: Option<Failure>,
    pub health: Value,
    pub status: Value,
    pub presence: Value,
    pub config: Value,
}

impl Finding {
    /// Connects as a probe and asks the four questions.
    pub fn of(context: &Context, target: &Target, timeout_ms: u64) -> Finding {
        let mut it = Finding {
            latency_ms: None,
            failure: None,
            health: Value::Null,
            status: Value::Null,
            presence: Value::Null,
            config: Value::Null,
        };
        it.failure = it.ask(context, target, timeout_ms).err();
        it
    }
    fn ask(&mut self, context: &Context, target: &Target, timeout_ms: u64) -> Result<(), Failure> {
        let clock = Clock::start();
        let mut client = context.open_at(target, As::Probe, timeout_ms)?;
        self.latency_ms = Some(clock.now().mono_ms);
        self.health = client.call("health", None, false)?;
        self.status = client.call("status", None, false)?;
        self.presence = client.call("system-presence", None, false)?;
        self.config = client.call("config.get", Some(json!({})), false)?;
        Ok(())
    }
    pub fn reachable(&self) -> bool {
        self.latency_ms.is_some()
    }
    /// The gateway's own presence entry: `{host, ip, version, platform}`, or null.
    pub fn own(&self) -> Value {
        let all = self.presence.as_array().into_iter().flatten();
        let own = all.into_iter().find(|it| it["mode"] == "gateway" && it["reason"] == "self");
        own.map_or(Value::Null, |it| {
            json!({ "host": it["host"], "ip": it["ip"], "version": it["version"], "platform": it["platform"] })
        })
    }
    pub fn error(&self) -> Value {
        self.failure.as_ref().map_or(Value::Null, |it| it.to_string().into())
    }
    fn close(&self) -> Value {
        match &self.failure {
            Some(Failure::Closed { code, reason }) => json!({ "code": code, "reason": reason }),
            _ => Value::Null,
        }
    }
}

/// `config.get`, reduced to what a person looks for; no secrets.
fn config_summary(answer: &Value) -> Value {
    if answer.is_null() {
        return Value::Null;
    }
    let gateway = &answer["config"]["gateway"];
    let is_set = |it: &Value| it.as_str().is_some_and(|it| !it.is_empty());
    let (auth, remote) = (&gateway["auth"], &gateway["remote"]);
    json!({
        "path": answer["path"], "exists": answer["exists"], "valid": answer["valid"],
        "issues": answer["issues"], "legacyIssues": answer["legacyIssues"],
        "gateway": {
            "mode": gateway["mode"], "bind": gateway["bind"], "port": gateway["port"],
            "controlUiEnabled": gateway["controlUi"]["enabled"], "controlUiBasePath": gateway["controlUi"]["basePath"],
            "authMode": auth["mode"],
            "authTokenConfigured": is_set(&auth["token"]), "authPasswordConfigured": is_set(&auth["password"]),
            "remoteUrl": remote["url"],
            "remoteTokenConfigured": is_set(&remote["token"]), "remotePasswordConfigured": is_set(&remote["password"]),
            "tailscaleMode": gateway["tailscale"]["mode"],
        },
        "discovery": { "wideAreaEnabled": answer["config"]["discovery"]["wideArea"]["enabled"] },
    })
}

impl Probe {
    /// Exit 1 when no gateway answers.
    pub fn run(&self, context: &Context, outer: Link) -> ExitCode {
        let link = self.link().or(outer);
        let timeout_ms = link.timeout.unwrap_or(TIMEOUT_MS);
        let config = context.config().config;
        let active = match target::resolve(&link, &config, context) {
            Ok(it) => it,
            Err(text) => return fail(&format!("Gateway probe failed: Error: {text}"), 1),
        };
        let mut targets = vec![active];
        if targets[0].source != Source::Local && config.gateway.mode != Some(Mode::Remote) {
            let local = target::local(&Link::default(), &config, context);
            targets.extend(local);
        }
        let clock = Clock::start();
        let ts = clock.now().unix_ms;
        let rows: Vec<(Target, Finding)> = targets
            .into_iter()
            .map(|it| {
                let found = Finding::of(context, &it, timeout_ms);
                (it, found)
            })
            .collect();
        let ok = rows.iter().any(|it| it.1.reachable());
        if self.json {
            let primary = rows.iter().find(|it| it.1.reachable()).map(|it| id(it.0.source));
            let targets: Vec<Value> =
                rows.iter().enumerate().map(|(at, it)| row(&it.0, &it.1, at == 0)).collect();
            let local = target::local_url(link.port, &config, context);
            let answer = json!({
                "ok": ok, "ts": ts, "durationMs": clock.now().mono_ms, "timeoutMs": timeout_ms,
                "primaryTargetId": primary, "warnings": [],
                "network": { "localLoopbackUrl": local, "localTailnetUrl": null, "tailnetIPv4": null },
                "discovery": { "timeoutMs": 0, "count": 0, "beacons": [] },
                "targets": targets,
            });
            say(&format!("{answer:#}"));
        } else {
            say(&text(&rows, ok, timeout_ms));
        }
        ExitCode::from(u8::from(!ok))
    }
}

fn id(source: Source) -> &'static str {
    match source {
        Source::Flag => "explicit",
        Source::Remote => "configRemote",
        Source::Local => "localLoopback",
    }
}

fn row(target: &Target, it: &Finding, active: bool) -> Value {
    let id = id(target.source);
    json!({
        "id": id, "kind": id, "url": target.url, "active": active, "tunnel": null,
        "connect": {
            "ok": it.reachable(), "latencyMs": it.latency_ms, "error": it.error(), "close": it.close(),
        },
        "self": it.own(), "config": config_summary(&it.config), "health": it.health, "summary": it.status,
        "presence": it.presence,
    })
}

fn text(rows: &[(Target, Finding)], ok: bool, timeout_ms: u64) -> String {
    let mut lines = vec![
        "Gateway Status".to_owned(),
        format!("Reachable: {}", if ok { "yes" } else { "no" }),
        format!("Probe budget: {timeout_ms}ms"),
    ];
    for (target, it) in rows {
        lines.push(format!("\n{} ({})", target.url, target.source.as_str()));
        match (it.latency_ms, &it.failure) {
            (Some(ms), None) => lines.push(format!("  Connect: ok ({ms}ms) · RPC: ok")),
            (Some(ms), Some(err)) => lines.push(format!("  Connect: ok ({ms}ms) · RPC: {err}")),
            (None, err) => {
                lines.push(format!(
                    "  Connect: failed · {}",
                    err.as_ref().map_or(String::new(), Failure::to_string)
                ));
            }
        }
        let own = it.own();
        if !own.is_null() {
            let part = |name: &str| own[name].as_str().unwrap_or("-");
            lines.push(format!(
                "  Gateway: {} ({}) · {} · app {}",
                part("host"),
                part("ip"),
                part("platform"),
                part("version")
            ));
        }
    }
    lines.join("\n")
}
