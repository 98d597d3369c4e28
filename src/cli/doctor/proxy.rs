//! `doctor proxy`: what stands between clients and the gateway, and what the gateway sees of them.
use crate::cli::rpc::As;
use crate::cli::target::{self, Link};
use crate::cli::{Context, say};
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// show what the gateway sees through a reverse proxy
#[derive(FromArgs)]
#[argh(subcommand, name = "proxy", help_triggers("-h", "--help", "help"))]
pub struct Proxy {
    /// the address that clients use, ws:// or wss://HOST; without it only the configuration is looked at
    #[argh(option)]
    url: Option<String>,
    /// gateway token
    #[argh(option)]
    token: Option<String>,
    /// gateway password
    #[argh(option)]
    password: Option<String>,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Proxy {
    pub fn run(&self, context: &Context) -> ExitCode {
        let config = context.config();
        let gateway = &config.resolved["gateway"];
        let list = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut advice = vec![];
        let trusted = list(&gateway["trustedProxies"]);
        let program = context.program();
        if trusted.is_empty() {
            advice.push(format!(
                "No proxy is trusted: behind one, every client looks as if it were the proxy. If yours is on this machine: {program} config set gateway.trustedProxies '[\"127.0.0.1\"]'"
            ));
        }
        if gateway["bind"].as_str().is_some_and(|it| it != "loopback" && it != "auto") && !trusted.is_empty()
        {
            advice.push(format!(
                "The port can be reached around the proxy: {program} config set gateway.bind loopback"
            ));
        }
        let seen = self.url.as_ref().map(|url| self.seen(context, url));
        match &seen {
            Some(Err(why)) => advice.push(format!(
                "Nothing came through: {why}. A proxy must pass the WebSocket upgrade on (Upgrade, Connection), and Host and X-Forwarded-For"
            )),
            Some(Ok(it)) if it["ip"].as_str().is_none_or(|it| it.starts_with("127.") || it == "::1") && !trusted.is_empty() => {
                advice.push("The gateway sees this client as one of its own machine: the proxy does not send X-Forwarded-For".to_owned());
            }
            _ => {}
        }
        let tls = gateway["tls"]["enabled"] == true;
        let out = json!({
            "bind": gateway["bind"].as_str().unwrap_or("loopback"), "tls": tls, "trustedProxies": trusted,
            "allowedOrigins": list(&gateway["controlUi"]["allowedOrigins"]),
            "tailscale": gateway["tailscale"]["mode"].as_str().unwrap_or("off"),
            "through": seen.as_ref().and_then(|it| it.as_ref().ok()), "advice": advice,
        });
        if self.json {
            return say(&format!("{out:#}"));
        }
        let joined = |name: &str| {
            let all = list(&out[name]);
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        let mut lines = vec![
            format!(
                "Listens:          {} ({})",
                out["bind"].as_str().unwrap_or("?"),
                if tls { "TLS" } else { "no TLS" }
            ),
            format!("Trusted proxies:  {}", joined("trustedProxies")),
            format!("Allowed origins:  {}", joined("allowedOrigins")),
            format!("Tailscale:        {}", out["tailscale"].as_str().unwrap_or("off")),
        ];
        if let Some(Ok(it)) = &seen {
            lines.push(format!(
                "Through the URL:  connected; the gateway sees {}",
                it["ip"].as_str().unwrap_or("no address of another machine")
            ));
        }
        lines.extend(advice.iter().map(|it| format!("To do:            {it}.")));
        say(&lines.join("\n"))
    }

    /// What the gateway says of our own connection.
    fn seen(&self, context: &Context, url: &str) -> Result<Value, String> {
        let config = context.config().config;
        let link = Link {
            url: Some(url.to_owned()),
            token: self.token.clone(),
            password: self.password.clone(),
            ..Link::default()
        };
        let target = target::resolve(&link, &config, context)?;
        let mut client = context.open_at(&target, As::Cli, link.timeout_ms()).map_err(|it| it.to_string())?;
        let all = client.call("system-presence", None, false).map_err(|it| it.to_string())?;
        let newest = all
            .as_array()
            .into_iter()
            .flatten()
            .filter(|it| it["mode"] == "cli")
            .max_by_key(|it| it["ts"].as_i64());
        Ok(json!({ "ip": newest.and_then(|it| it["ip"].as_str()) }))
    }
}
