//! Findings about the service, its port, and the gateway that should answer there.
use super::Finding;
use super::repair::Repair;
use crate::base::{accounts, sys};
use crate::cli::rpc::As;
use crate::cli::service::{self, Service};
use crate::cli::target::Link;
use crate::cli::{Context, service_install};
use crate::config::{File, Mode, ports::Ports};
use crate::server::port;
use crate::service::last_exit;
use crate::service::systemctl::{self, Scope};
use serde_json::Value;

pub fn look(context: &Context, deep: bool) -> Vec<Finding> {
    let program = context.program();
    let service = Service::find(context, "gateway");
    let mut found = vec![];
    for it in service::others(context, deep).into_iter().filter(|it| it.legacy) {
        let text = format!(
            "{} is the service of an earlier product; two gateways would want one port.",
            it.file.display()
        );
        let flag = if it.scope == Scope::System { "sudo systemctl" } else { "systemctl --user" };
        let fix = format!("{flag} disable --now {} && rm {}", it.name, it.file.display());
        found.push(
            Finding::warning("unit.legacy", text, fix).by(Repair::RemoveUnit(it.name, it.file, it.scope)),
        );
    }
    found.extend(unit(context, &service));
    let config = File::load(&context.paths, &context.env).or_last_good(&context.paths, &context.env).config;
    if config.gateway.mode == Some(Mode::Remote) {
        return found;
    }
    let wanted = context.paths.port(service.port(context), &context.env, config.gateway.port);
    let ports = Ports::of(wanted, &config, &context.env);
    let listeners = port::listeners(wanted, &[]);
    for clash in port::clashes(&ports, &listeners.iter().map(|it| it.pid).collect::<Vec<_>>()) {
        let fix = format!("{program} config set gateway.port {}", wanted.saturating_add(20));
        found.push(Finding::warning("port.clash", format!("{clash}."), fix));
    }
    found.extend(gateway(context, &service, wanted, &listeners));
    found
}

fn unit(context: &Context, service: &Service) -> Vec<Finding> {
    let program = context.program();
    let mut found = vec![];
    if service.file.is_none() {
        if service.scope.check().is_ok() {
            let text = "The gateway is not installed as a service: it ends with the terminal that runs it.";
            found.push(
                Finding::info("unit.missing", text, format!("{program} gateway install")).by(Repair::Unit),
            );
        }
        return found;
    }
    for text in service_install::audit(service, context) {
        // The sentence carries its command.
        let (text, fix) = text.rsplit_once(": ").unwrap_or((&text, ""));
        found.push(Finding::warning("unit.outdated", format!("{text}."), fix).by(Repair::Unit));
    }
    if !service.enabled() {
        let text = format!("{} is not enabled: it does not start at boot.", service.unit);
        found.push(
            Finding::warning("unit.disabled", text, format!("{program} gateway install")).by(Repair::Unit),
        );
    }
    let user = accounts::name_of(sys::uid());
    if service.scope != Scope::System && !systemctl::lingers(&user) {
        let text =
            format!("Services of {user} end at the log-out, and do not start at boot (linger is off).");
        found.push(
            Finding::warning("unit.linger", text, format!("sudo loginctl enable-linger {user}"))
                .by(Repair::Linger(user)),
        );
    }
    match service.state() {
        Ok(it) if it.active == "failed" => {
            let last =
                last_exit::last(&service.paths(context).state).and_then(|it| it.error).unwrap_or(it.result);
            let text =
                format!("{} has failed: {}.", service.unit, last.replace('\n', " ").trim_end_matches('.'));
            found.push(Finding::error(
                "unit.failed",
                text,
                format!("put that right, then: {program} gateway start"),
            ));
        }
        Ok(it) if it.active == "inactive" => {
            let text = format!("{} is installed, and does not run.", service.unit);
            found.push(
                Finding::error("unit.stopped", text, format!("{program} gateway start")).by(Repair::Start),
            );
        }
        Ok(_) => {}
        Err(why) => {
            let text = format!("Nobody could say whether {} runs: {}.", service.unit, why.replace('\n', " "));
            found.push(Finding::warning("unit.unknown", text, format!("{program} gateway status")));
        }
    }
    found
}

/// Whether it answers, and what it says of its channels.
fn gateway(context: &Context, service: &Service, wanted: u16, listeners: &[port::Listener]) -> Vec<Finding> {
    let program = context.program();
    if listeners.is_empty() {
        // A service that does not run has been told of; without one, nobody promised that it would.
        return vec![];
    }
    let link = Link { port: Some(wanted), timeout: Some(3000), ..Link::default() };
    let health = context.open(&link, As::Probe).and_then(|mut it| Ok(it.call("health", None, false)?));
    match health {
        Ok(health) => channels(&health, &program),
        Err(trouble) => {
            let holder = &listeners[0];
            let own = service.state().ok().and_then(|it| it.pid) == Some(holder.pid);
            let said = trouble.to_string().replace('\n', " ");
            let who = format!("PID {} ({})", holder.pid, holder.command);
            vec![if own || holder.command.contains("gateway") || holder.command.contains("openclaw") {
                Finding::error(
                    "gateway.silent",
                    format!("The gateway on port {wanted} ({who}) does not answer as it should: {said}."),
                    format!("{program} logs --limit 50"),
                )
            } else {
                Finding::error(
                    "port.taken",
                    format!("Port {wanted} is held by {who}, which is no gateway of yours."),
                    format!(
                        "kill {}   # or: {program} config set gateway.port {}",
                        holder.pid,
                        wanted.saturating_add(20)
                    ),
                )
            }]
        }
    }
}

fn channels(health: &Value, program: &str) -> Vec<Finding> {
    let mut found = vec![];
    for (name, it) in health["channels"].as_object().into_iter().flatten() {
        if let Some(error) = it["lastError"].as_str().or(it["probe"]["error"].as_str()) {
            let text = format!("The channel {name} says: {error}.");
            found.push(Finding::warning("channel.error", text, format!("{program} channels status --probe")));
        } else if it["configured"] == true && it["linked"] == false {
            let text = format!("The channel {name} is configured, and not linked to an account.");
            found.push(Finding::warning(
                "channel.unlinked",
                text,
                format!("{program} channels status --probe"),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[test]
    fn what_channels_say() {
        let health = json!({ "channels": {
            "telegram": { "configured": true, "lastError": "401 Unauthorized" },
            "whatsapp": { "configured": true, "linked": false },
            "discord": { "configured": false, "linked": false }
        } });
        let codes: Vec<_> = channels(&health, "gatewayd").iter().map(|it| it.code).collect();
        assert_eq!(codes, ["channel.error", "channel.unlinked"]);
    }
}
