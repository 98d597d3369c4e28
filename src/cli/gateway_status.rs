//! `gateway status`: the service, the configuration, the port and the RPC, each on its own. Needs no gateway.
use super::args::{Calls, command};
use super::call::Trouble;
use super::rpc::As;
use super::service::{Other, Service, masked, others, runtime_text};
use super::target::{self, Link};
use super::{Context, lock, say};
use crate::base::clock::{self, Clock};
use crate::base::limits::LOG_FILE_BYTES_MAX;
use crate::base::{accounts, files, log::daily_file};
use crate::config::{Bind, File, dotenv, paths, ports::Ports};
use crate::server::{certificate, listen, port};
use crate::service::last_exit::{self, Life};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

command! {
    /// service, configuration, port and RPC of the gateway; exit 0 whether it runs or not
    #[argh(subcommand, name = "status")]
    Status {
        /// look at the system's units too
        #[argh(switch)]
        deep: bool,
        /// do not connect to the gateway
        #[argh(switch)]
        no_probe: bool,
    }
}

/// Everything that is shown.
struct Found {
    service: Service,
    runtime: Value,
    config: File,
    daemon: File,
    daemon_path: PathBuf,
    port: u16,
    from_service: bool,
    url: String,
    /// None when it was not asked for.
    rpc: Option<Result<(), Trouble>>,
    listeners: Vec<Value>,
    ports: Ports,
    /// Sentences about ports that two want.
    clashes: Vec<String>,
    /// What is wrong with the unit: sentences.
    audit: Vec<String>,
    others: Vec<Other>,
    last_exit: Option<Life>,
    log: PathBuf,
    /// The certificate of the gateway with TLS, and its SHA-256 fingerprint once it is there.
    tls: Option<(PathBuf, Option<String>)>,
}

impl Status {
    pub fn run(&self, context: &Context, outer: Link) -> ExitCode {
        let found = self.find(context, self.link().or(outer));
        if self.json { say(&format!("{:#}", json(&found, context))) } else { say(&text(&found, context)) }
    }

    fn find(&self, context: &Context, mut link: Link) -> Found {
        let service = Service::find(context, "gateway");
        let daemon_paths =
            if service.file.is_some() { service.paths(context) } else { context.paths.clone() };
        let config = context.config();
        // The service's own configuration and secrets count, whoever asks; who asks keeps an identity of their own.
        let mut asker = Context { paths: daemon_paths.clone(), ..context.clone() };
        let _ = dotenv::load(&daemon_paths, &mut asker.env);
        let daemon = File::load(&daemon_paths, &asker.env).or_last_good(&daemon_paths, &asker.env);
        let service_port = link.port.or(service.port(context));
        let port = daemon_paths.port(service_port, &context.env, daemon.config.gateway.port);
        link.port = Some(port);
        let target = target::resolve(&link, &daemon.config, &asker);
        let url = target.as_ref().map_or_else(|_| link.url.clone().unwrap_or_default(), |it| it.url.clone());
        let rpc = (!self.no_probe).then(|| {
            let target = target.clone().map_err(Trouble::refusal)?;
            let client = context.open_at(&target, As::Probe, link.timeout_ms());
            let mut client = client.map_err(|it| asker.explain(it, &target))?;
            client.call("status", None, false)?;
            Ok(())
        });
        let runtime = service.runtime();
        let likely = runtime["pid"].as_i64().map(|it| it as i32).or(lock::holder(&daemon_paths.state));
        let listeners = port::listeners(port, likely.as_slice());
        let ports = Ports::of(port, &daemon.config, &context.env);
        let tls = &daemon.config.gateway.tls;
        let tls = tls.enabled.then(|| {
            let path = certificate::places(tls, &daemon_paths).0;
            (path, certificate::own_fingerprint(tls, &daemon_paths))
        });
        Found {
            tls,
            runtime,
            from_service: service_port.is_some(),
            log: log_file(&daemon, &daemon_paths),
            clashes: port::clashes(&ports, &listeners.iter().map(|it| it.pid).collect::<Vec<_>>()),
            ports,
            listeners: listeners.iter().map(listener).collect(),
            others: others(context, self.deep),
            audit: super::service_install::audit(&service, context),
            last_exit: last_exit::last(&daemon_paths.state),
            daemon_path: daemon_paths.config,
            service,
            config,
            daemon,
            port,
            url,
            rpc,
        }
    }
}

fn log_file(config: &File, of: &paths::Paths) -> PathBuf {
    match config.config.logging.file.as_deref() {
        Some(it) => paths::expand_home(it, &of.home),
        None => daily_file(&of.logs(), Clock::start().now().unix_ms),
    }
}

fn listener(it: &port::Listener) -> Value {
    let words: Vec<&str> = it.command_line.split(' ').collect();
    json!({
        "pid": it.pid, "command": it.command, "address": it.address, "commandLine": masked(&words).join(" "),
        "user": user_of(it.pid),
    })
}

/// The name of the user a process runs as; null when it cannot be known.
fn user_of(pid: i32) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    Some(accounts::name_of(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid()))
}

fn bind_word(bind: Bind) -> &'static str {
    match bind {
        Bind::Loopback => "loopback",
        Bind::Auto => "auto",
        Bind::Lan => "lan",
        Bind::Tailnet => "tailnet",
        Bind::Custom => "custom",
    }
}

impl Found {
    fn bind_host(&self) -> String {
        listen::address(&self.daemon.config.gateway).map_or_else(|_| "?".into(), |it| it.to_string())
    }
    fn note(&self) -> &'static str {
        match self.daemon.config.gateway.bind {
            Bind::Loopback | Bind::Auto => "Loopback-only gateway; only local clients can connect.",
            _ => "The gateway listens beyond this machine; the probe uses its address here.",
        }
    }
    fn port_source(&self) -> &'static str {
        if self.from_service { "service args" } else { "env/config" }
    }
    fn hints(&self, context: &Context) -> Vec<String> {
        match &self.rpc {
            _ if self.listeners.is_empty() => vec![],
            None => vec![],
            Some(Ok(())) => vec!["The gateway runs here; another one needs another port.".to_owned()],
            Some(Err(_)) => vec![format!(
                "Another program holds the port, or the gateway does not answer: stop it, or start with `{} gateway --force`.",
                context.program()
            )],
        }
    }
    /// The last error in the log, when the service seems to run and nothing answers.
    fn last_error(&self) -> Option<String> {
        let failed = matches!(self.rpc, Some(Err(_)));
        if !failed || (self.runtime["status"] != "running" && self.listeners.is_empty()) {
            return None;
        }
        let text = files::read_text(&self.log, 2 * LOG_FILE_BYTES_MAX).ok().flatten()?;
        let line = text.lines().rev().find(|it| it.contains("\"logLevelName\":\"ERROR\""))?;
        Some(super::logs::plain(line))
    }
}

fn json(it: &Found, context: &Context) -> Value {
    let file =
        |path: &Path, file: &File| json!({ "path": path, "exists": file.exists(), "valid": file.valid() });
    let mut out = json!({
        "service": {
            "label": "systemd", "loaded": it.service.enabled(), "loadedText": "enabled", "notLoadedText": "disabled",
            "command": it.service.command_json(), "runtime": it.runtime,
            "configAudit": { "ok": it.audit.is_empty(), "issues": it.audit },
        },
        "config": { "cli": file(&context.paths.config, &it.config), "daemon": file(&it.daemon_path, &it.daemon) },
        "gateway": {
            "bindMode": bind_word(it.daemon.config.gateway.bind), "bindHost": it.bind_host(), "port": it.port,
            "portSource": it.port_source(), "probeUrl": it.url, "probeNote": it.note(),
        },
        "port": {
            "port": it.port, "status": if it.listeners.is_empty() { "free" } else { "busy" },
            "listeners": it.listeners, "hints": it.hints(context),
        },
    });
    if let Some((path, fingerprint)) = &it.tls {
        out["gateway"]["tls"] = json!({ "certPath": path, "fingerprintSha256": fingerprint });
    }
    out["port"]["derived"] = json!(it.ports);
    out["port"]["clashes"] = json!(it.clashes);
    if let Some(error) = it.last_error() {
        out["lastError"] = error.into();
    }
    match &it.rpc {
        None => {}
        Some(Ok(())) => out["rpc"] = json!({ "ok": true, "url": it.url }),
        Some(Err(err)) => out["rpc"] = json!({ "ok": false, "error": err.to_string(), "url": it.url }),
    }
    if let Some(life) = &it.last_exit {
        out["lastExit"] = json!(life);
    }
    out["extraServices"] = it.others.iter().map(Other::json).collect();
    out
}

fn text(it: &Found, context: &Context) -> String {
    let state = |file: &File| match (file.exists(), file.valid()) {
        (false, _) => " (missing)",
        (true, false) => " (invalid)",
        (true, true) => "",
    };
    let enabled = match (&it.service.file, it.service.enabled()) {
        (None, _) => "not installed",
        (_, true) => "enabled",
        (_, false) => "disabled",
    };
    let mut lines = vec![
        format!("Service:        systemd {} ({enabled})", it.service.unit),
        format!("Runtime:        {}", runtime_text(&it.runtime)),
        format!("Config:         {}{}", context.paths.config.display(), state(&it.config)),
    ];
    if it.daemon_path != context.paths.config {
        lines.push(format!("Service config: {}{}", it.daemon_path.display(), state(&it.daemon)));
        lines.push("                The service uses another configuration than this command.".to_owned());
    }
    lines.push(format!("Log file:       {}", it.log.display()));
    lines.push(format!(
        "Gateway:        bind={} ({}), port={} ({})",
        bind_word(it.daemon.config.gateway.bind),
        it.bind_host(),
        it.port,
        it.port_source()
    ));
    if let Some((path, fingerprint)) = &it.tls {
        let fingerprint = fingerprint.as_deref().unwrap_or("made when the gateway starts");
        lines.push(format!("Certificate:    {}", path.display()));
        lines.push(format!("Fingerprint:    {fingerprint} (SHA-256)"));
    }
    let [_, (_, browser), (_, canvas)] = it.ports.named();
    let shown = |port: Option<u16>| port.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let cdp = it.ports.cdp.map_or_else(|| "-".to_owned(), |(first, last)| format!("{first}-{last}"));
    lines.push(format!(
        "Derived ports:  browser control {}, canvas host {}, CDP {cdp}",
        shown(browser),
        shown(canvas)
    ));
    lines.extend(it.clashes.iter().map(|it| format!("Port clash:     {it}")));
    lines.push(format!("Probe target:   {}", it.url));
    lines.push(format!("Probe note:     {}", it.note()));
    lines.push(match &it.rpc {
        None => "RPC probe:      skipped (--no-probe)".to_owned(),
        Some(Ok(())) => "RPC probe:      ok".to_owned(),
        Some(Err(err)) => format!("RPC probe:      failed\n  {}", err.to_string().replace('\n', "\n  ")),
    });
    for row in &it.listeners {
        let part = |name: &str| row[name].as_str().unwrap_or("-");
        lines.push(format!("Listening:      {} ({}, pid {})", part("address"), part("command"), row["pid"]));
    }
    lines.extend(it.hints(context).iter().map(|it| format!("Note:           {it}")));
    lines.extend(it.last_error().map(|it| format!("Last error:     {it}")));
    lines.extend(it.last_exit.iter().map(|it| format!("Last exit:      {}", it.text(clock::iso))));
    lines.extend(it.audit.iter().map(|it| format!("Unit:           {it}")));
    for other in &it.others {
        let kind = if other.legacy { "Old service:   " } else { "Other service: " };
        lines.push(format!("{kind} {} ({})", other.name, other.detail));
    }
    if !it.others.is_empty() {
        lines.push(
            "                One gateway a machine is enough for most; profiles keep several apart."
                .to_owned(),
        );
    }
    lines.join("\n")
}
