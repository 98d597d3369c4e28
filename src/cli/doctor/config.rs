//! Findings about the configuration file.
use super::Finding;
use super::repair::Repair;
use crate::base::limits::TOKEN_CHARS_MIN;
use crate::cli::Context;
use crate::config::{Bind, Config, File, Mode, legacy};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

pub fn look(context: &Context) -> Vec<Finding> {
    let program = context.program();
    let path = &context.paths.config;
    let file = File::load(&context.paths, &context.env);
    let mut found = vec![];
    if !file.exists() && file.valid() {
        let text = format!("There is no configuration ({}).", path.display());
        return vec![Finding::error("config.missing", text, format!("{program} setup")).by(Repair::Setup)];
    }
    let mut new = Value::clone(&file.merged);
    let moved = legacy::migrate(&mut new);
    if !moved.is_empty() {
        let text = format!("{} has keys of an earlier product: {}.", path.display(), moved.join("; "));
        found.push(
            Finding::warning("config.legacy", text, format!("{program} doctor --repair")).by(Repair::Migrate),
        );
    }
    let old = |it: &str| {
        moved.iter().any(|said| {
            said.split([' ', ':']).any(|word| !word.is_empty() && it.starts_with(word) && word != "to")
        })
    };
    for it in &file.issues {
        let text = format!("{} cannot be used: {it}.", path.display());
        found.push(Finding::error("config.invalid", text, format!("{program} config validate")));
    }
    for it in file.warnings.iter().filter(|it| !old(&it.path)) {
        found.push(Finding::warning(
            "config.unknown",
            format!("{}: {it}.", path.display()),
            format!("{program} config validate --strict"),
        ));
    }
    let mode = std::fs::metadata(path).map_or(0, |it| it.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let text =
            format!("{} may be read or written by others (mode {mode:o}); it holds secrets.", path.display());
        found.push(
            Finding::warning("config.permissions", text, format!("chmod 600 {}", path.display()))
                .by(Repair::Mode(path.clone(), 0o600)),
        );
    }
    if file.valid() {
        found.extend(meaning(context, &file.config, &new));
    }
    found
}

/// About what a file says that can be read. `document` has its old keys at their new places.
fn meaning(context: &Context, config: &Config, document: &Value) -> Vec<Finding> {
    let program = context.program();
    let mut found = vec![];
    let gateway = &config.gateway;
    match gateway.mode {
        Some(Mode::Local) => {}
        Some(Mode::Remote) => {
            let text = "gateway.mode is remote: the gateway runs on another machine, and most of what is checked here is there.";
            found.push(Finding::info("config.remote", text, format!("{program} doctor   # on that machine")));
            return found;
        }
        None => {
            let text = "gateway.mode is not set, and the gateway does not start without it.";
            found.push(
                Finding::error("config.mode", text, format!("{program} config set gateway.mode local"))
                    .by(Repair::ModeLocal),
            );
        }
    }
    let given = |name: &str| context.env.openclaw(name).is_some();
    let word = |path: &str| document.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let token = word("/gateway/auth/token").or(context.env.openclaw("GATEWAY_TOKEN").map(str::to_owned));
    let password = word("/gateway/auth/password").is_some() || given("GATEWAY_PASSWORD");
    let token_given = token.is_some();
    let make = format!("{program} doctor --generate-gateway-token");
    if token.is_none() && !password {
        found.push(
            Finding::error(
                "auth.missing",
                "The gateway has no token and no password, and does not start without.",
                make,
            )
            .by(Repair::Token),
        );
    } else if !password
        && gateway.bind != Bind::Loopback
        && gateway.bind != Bind::Auto
        && token.is_some_and(|it| it.chars().count() < TOKEN_CHARS_MIN)
    {
        let text = format!(
            "The token has fewer than {TOKEN_CHARS_MIN} characters, and other machines can reach the port (gateway.bind)."
        );
        found.push(Finding::warning(
            "auth.weak",
            text,
            format!("{program} config set gateway.auth.token \"$(openssl rand -hex 24)\""),
        ));
    }
    if gateway.auth_mode.is_none() && token_given && password {
        let text = "The gateway has a token and a password, and gateway.auth.mode does not say which is asked for: it is the password.";
        let fix = format!("{program} config set gateway.auth.mode token   # or: password");
        found.push(Finding::warning("auth.both", text, fix));
    }
    if !matches!(gateway.bind, Bind::Loopback | Bind::Auto) && !gateway.tls.enabled {
        let text = "Other machines reach the port (gateway.bind), and what they say and hear is not sealed (gateway.tls.enabled).";
        found.push(Finding::warning(
            "config.plain",
            text,
            format!("{program} config set gateway.tls.enabled true"),
        ));
    }
    for (channel, settings) in document["channels"].as_object().into_iter().flatten() {
        let everybody = settings["allowFrom"].as_array().is_some_and(|it| it.iter().any(|it| it == "*"));
        if settings["dmPolicy"] == "open" && everybody {
            let text =
                format!("channels.{channel}: everybody may talk to your agent (dmPolicy open, allowFrom *).");
            found.push(Finding::warning(
                "channel.open",
                text,
                format!("{program} config set channels.{channel}.dmPolicy pairing"),
            ));
        }
    }
    found
}
