//! Which gateway a command talks to, and with which credentials.
use super::Context;
use super::tls::{self, Trust};
use crate::base::secret::Secret;
use crate::config::{Config, Mode};
use crate::server::{certificate, listen};

/// The flags that choose a gateway.
#[derive(Debug, Clone, Default)]
pub struct Link {
    pub url: Option<String>,
    pub token: Option<String>,
    pub password: Option<String>,
    /// `--tls-fingerprint`, as written.
    pub fingerprint: Option<String>,
    /// Milliseconds for the whole command; see [`TIMEOUT_MS`].
    pub timeout: Option<u64>,
    pub expect_final: bool,
    pub port: Option<u16>,
}

/// The default of `--timeout`, milliseconds. Reference: 10 s.
pub const TIMEOUT_MS: u64 = 10_000;

impl Link {
    /// Own flags win over those written earlier on the line, in front of a subcommand.
    pub fn or(self, outer: Link) -> Link {
        Link {
            url: self.url.or(outer.url),
            token: self.token.or(outer.token),
            password: self.password.or(outer.password),
            fingerprint: self.fingerprint.or(outer.fingerprint),
            timeout: self.timeout.or(outer.timeout),
            expect_final: self.expect_final || outer.expect_final,
            port: self.port.or(outer.port),
        }
    }
    pub fn timeout_ms(&self) -> u64 {
        self.timeout.unwrap_or(TIMEOUT_MS).max(1)
    }
}

/// Where a URL comes from, in the words of `status --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Flag,
    Remote,
    Local,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Flag => "cli --url",
            Source::Remote => "config gateway.remote.url",
            Source::Local => "local loopback",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Target {
    pub url: String,
    pub source: Source,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    /// A credential was given on the command line or in the environment: a stored device token stays out of it.
    pub explicit: bool,
    /// For `wss://`.
    pub trust: Trust,
}

/// `--url` > `gateway.remote.url` (mode remote) > this machine's gateway.
/// Token: `--token` > `OPENCLAW_GATEWAY_TOKEN` > the configuration; the same for the password.
///
/// # Errors
/// A sentence that says what is missing.
pub fn resolve(link: &Link, config: &Config, context: &Context) -> Result<Target, String> {
    if let Some(url) = &link.url {
        let (token, password) = (given(link.token.as_deref()), given(link.password.as_deref()));
        if token.is_none() && password.is_none() {
            return Err("gateway url override requires explicit credentials\n\
                        Pass --token or --password together with --url: those of the configuration are not sent to another address."
                .to_owned());
        }
        let trust = trust(link, None, config, context)?;
        return Ok(Target { url: url.clone(), source: Source::Flag, token, password, explicit: true, trust });
    }
    if config.gateway.mode != Some(Mode::Remote) {
        return local(link, config, context);
    }
    let Some(url) = config.gateway.remote_url.clone() else {
        return Err("gateway.mode is remote, but gateway.remote.url is not set\n\
                    Set it in the configuration, or pass --url and --token."
            .to_owned());
    };
    let far = (&config.gateway.remote_token, &config.gateway.remote_password);
    let trust = trust(link, config.gateway.remote_fingerprint.as_deref(), config, context)?;
    Ok(with_secrets(url, Source::Remote, link, far, context, trust))
}

/// This machine's gateway, whatever `gateway.mode` says.
///
/// # Errors
/// As [`resolve`].
pub fn local(link: &Link, config: &Config, context: &Context) -> Result<Target, String> {
    let own = (&config.gateway.token, &config.gateway.password);
    let trust = trust(link, None, config, context)?;
    Ok(with_secrets(local_url(link.port, config, context), Source::Local, link, own, context, trust))
}

/// The flag over the configuration. This machine's own gateway is known by its file.
///
/// # Errors
/// A fingerprint that is none.
pub fn trust(link: &Link, pinned: Option<&str>, config: &Config, context: &Context) -> Result<Trust, String> {
    let pinned = link.fingerprint.as_deref().or(pinned).map(tls::fingerprint).transpose();
    let own = config.gateway.tls.enabled.then_some(&config.gateway.tls);
    Ok(Trust {
        pinned: pinned.map_err(|err| format!("gateway TLS: {err}"))?,
        own: own.and_then(|it| certificate::own_fingerprint(it, &context.paths)),
        ca: certificate::ca_place(&config.gateway.tls, &context.paths),
    })
}

fn given(text: Option<&str>) -> Option<Secret> {
    text.filter(|it| !it.is_empty()).map(|it| Secret::new(it.to_owned()))
}

/// Flags, else the environment, else the configuration; a flag of one kind silences the other kind's fallbacks.
fn with_secrets(
    url: String,
    source: Source,
    link: &Link,
    config: (&Option<Secret>, &Option<Secret>),
    context: &Context,
    trust: Trust,
) -> Target {
    let flags = (given(link.token.as_deref()), given(link.password.as_deref()));
    let env = (given(context.env.openclaw("GATEWAY_TOKEN")), given(context.env.openclaw("GATEWAY_PASSWORD")));
    let is_some = |it: &(Option<Secret>, Option<Secret>)| it.0.is_some() || it.1.is_some();
    let explicit = is_some(&flags) || is_some(&env);
    let (token, password) = match is_some(&flags) {
        true => flags,
        false => (env.0.or_else(|| config.0.clone()), env.1.or_else(|| config.1.clone())),
    };
    Target { url, source, token, password, explicit, trust }
}

/// `ws://127.0.0.1:<port>` (`wss` with TLS), or the one address the gateway is bound to.
pub fn local_url(port: Option<u16>, config: &Config, context: &Context) -> String {
    let port = context.paths.port(port, &context.env, config.gateway.port);
    let ip = listen::address(&config.gateway).ok().filter(|it| !it.is_unspecified());
    let ip = ip.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    let scheme = if config.gateway.tls.enabled { "wss" } else { "ws" };
    format!("{scheme}://{}", std::net::SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Paths, read_for_tests};
    use serde_json::{Value, json};

    fn target(link: Link, config: Value, env: &[(&str, &str)]) -> Result<(String, String, bool), String> {
        let mut all = Env::from([("HOME", "/h")]);
        env.iter().for_each(|(k, v)| all.set(k, v));
        let context = Context { paths: Paths::resolve(&all, None), env: all, name: "gatewayd".into() };
        resolve(&link, &read_for_tests(&config), &context).map(|it| {
            let secret = |it: Option<Secret>| it.map_or("-".to_owned(), |it| it.expose().to_owned());
            (it.url, format!("{} {}", secret(it.token), secret(it.password)), it.explicit)
        })
    }
    #[test]
    fn precedence() {
        let flag = |url: Option<&str>, token: Option<&str>| Link {
            url: url.map(str::to_owned),
            token: token.map(str::to_owned),
            ..Link::default()
        };
        let local = json!({ "gateway": { "mode": "local", "port": 5, "auth": { "token": "c" }, "remote": { "url": "ws://r:1", "token": "r" } } });
        let ok = |url: &str, secrets: &str, explicit| Ok((url.to_owned(), secrets.to_owned(), explicit));
        assert_eq!(target(flag(None, None), local.clone(), &[]), ok("ws://127.0.0.1:5", "c -", false));
        let env = [("OPENCLAW_GATEWAY_TOKEN", "e"), ("CLAWDBOT_GATEWAY_PORT", "6")];
        assert_eq!(target(flag(None, None), local.clone(), &env), ok("ws://127.0.0.1:6", "e -", true));
        assert_eq!(target(flag(None, Some("f")), local.clone(), &env), ok("ws://127.0.0.1:6", "f -", true));
        assert_eq!(
            target(flag(Some("ws://u:2"), Some("f")), local.clone(), &env),
            ok("ws://u:2", "f -", true)
        );
        assert!(
            target(flag(Some("ws://u:2"), None), local, &env).unwrap_err().contains("explicit credentials")
        );
        let remote = json!({ "gateway": { "mode": "remote", "auth": { "token": "c" }, "remote": { "url": "ws://r:1", "password": "p" } } });
        assert_eq!(target(flag(None, None), remote, &[]), ok("ws://r:1", "- p", false));
        let lost = json!({ "gateway": { "mode": "remote" } });
        assert!(target(flag(None, None), lost, &[]).unwrap_err().contains("gateway.remote.url"));
        let lan = json!({ "gateway": { "bind": "lan" } });
        assert_eq!(target(flag(None, None), lan, &[]), ok("ws://127.0.0.1:18789", "- -", false));
        let tls = json!({ "gateway": { "tls": { "enabled": true } } });
        assert_eq!(target(flag(None, None), tls, &[]), ok("wss://127.0.0.1:18789", "- -", false));
    }
}
