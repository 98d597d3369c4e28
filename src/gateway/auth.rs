//! The shared secret of the gateway, and the brake on guessing it.
use super::peer::rate_key;
use crate::base::limits::*;
use crate::base::secret::Secret;
use crate::config::{AuthMode, Config, Env, RateLimit};
use crate::protocol::connect::{ClientId, ConnectParams};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a client must know to be the owner.
#[derive(Debug, Clone)]
pub struct SharedAuth {
    pub mode: AuthMode,
    pub secret: Secret,
}

/// Why there is no secret to go by.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSecret {
    #[error(
        "no gateway token is configured: set gateway.auth.token (or OPENCLAW_GATEWAY_TOKEN), or pass --token; `gatewayd --dev gateway` makes one for a trial"
    )]
    Token,
    #[error(
        "no gateway password is configured: set gateway.auth.password (or OPENCLAW_GATEWAY_PASSWORD), or pass --password"
    )]
    Password,
    #[error(
        "hooks.token is the gateway's own secret, so that whoever may post a webhook could do anything: set hooks.token to another one"
    )]
    OfHooks,
}

/// Secrets given on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub token: Option<Secret>,
    pub password: Option<Secret>,
}

impl SharedAuth {
    /// Flags over configuration over environment. The mode is `password` when one is configured and no mode is.
    ///
    /// # Errors
    /// [`NoSecret`]: the gateway must not start.
    pub fn resolve(config: &Config, env: &Env, flags: &Flags) -> Result<SharedAuth, NoSecret> {
        let of_env = |name: &str| env.openclaw(name).map(|it| Secret::new(it.to_owned()));
        let pick = |flag: &Option<Secret>, config: &Option<Secret>, name: &str| {
            flag.clone().or_else(|| config.clone()).or_else(|| of_env(name))
        };
        let token = pick(&flags.token, &config.gateway.token, "GATEWAY_TOKEN");
        let password = pick(&flags.password, &config.gateway.password, "GATEWAY_PASSWORD");
        let by_password = password.is_some() && flags.token.is_none();
        let mode = config.gateway.auth_mode.unwrap_or(if by_password {
            AuthMode::Password
        } else {
            AuthMode::Token
        });
        let (secret, missing) = match mode {
            AuthMode::Token => (token, NoSecret::Token),
            AuthMode::Password => (password, NoSecret::Password),
        };
        let secret = secret.ok_or(missing)?;
        match &config.hooks {
            Some(hooks) if hooks.token.is(secret.expose().trim()) => Err(NoSecret::OfHooks),
            _ => Ok(SharedAuth { mode, secret }),
        }
    }
    /// What the client sent for this mode.
    pub fn given<'a>(&self, params: &'a ConnectParams) -> Option<&'a str> {
        let given = match self.mode {
            AuthMode::Token => params.token(),
            AuthMode::Password => params.password(),
        };
        given.filter(|it| !it.is_empty())
    }
    /// The reference's text of a refusal, with a hint that fits the client.
    pub fn refusal(&self, params: &ConnectParams, verdict: Verdict) -> String {
        let (what, cli, ui, other) = match self.mode {
            AuthMode::Token => (
                "token",
                "set gateway.remote.token to match gateway.auth.token",
                "open a tokenized dashboard URL or paste token in Control UI settings",
                "provide gateway auth token",
            ),
            AuthMode::Password => (
                "password",
                "set gateway.remote.password to match gateway.auth.password",
                "enter the password in Control UI settings",
                "provide gateway auth password",
            ),
        };
        let is_ui = params.client.id == ClientId::ControlUi || params.is_webchat();
        let hint = match params.client.mode.as_str() {
            "cli" => cli,
            _ if is_ui => ui,
            _ => other,
        };
        format!("unauthorized: gateway {what} {} ({hint})", verdict.word())
    }
}

/// What came of comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Missing,
    Mismatch,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Missing => "missing",
            Verdict::Mismatch => "mismatch",
        }
    }
}

/// Whose guesses are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guesser {
    Address(IpAddr),
    /// A page on this machine: the address would count the owner's own programs with it.
    Page(String),
    /// A program on this machine: slowed, never locked out.
    Local,
}

#[derive(Debug, Default)]
struct Guesses {
    since_ms: u64,
    wrong: u32,
    locked_until_ms: u64,
}

/// Counts wrong secrets: 10 a minute, then 5 minutes of silence, unless the configuration says otherwise. A missing secret is no guess.
#[derive(Debug)]
pub struct Limiter {
    guesses: BTreeMap<Guesser, Guesses>,
    limits: RateLimit,
}

impl Limiter {
    pub fn new(limits: &RateLimit) -> Limiter {
        Limiter { guesses: BTreeMap::new(), limits: limits.clone() }
    }
    /// For the token of webhooks: 20 a minute, then a minute of silence, for everybody alike.
    pub fn of_hooks() -> Limiter {
        Limiter::new(&RateLimit {
            attempts: HOOK_ATTEMPTS_MAX,
            window_ms: AUTH_WINDOW_MS,
            lockout_ms: HOOK_LOCKOUT_MS,
            exempt_loopback: false,
        })
    }
    pub fn guesser(&self, client_ip: Option<IpAddr>, forwarded: bool, origin: Option<&str>) -> Guesser {
        match (client_ip, origin) {
            (Some(ip), None) if ip.is_loopback() && !forwarded && self.limits.exempt_loopback => {
                Guesser::Local
            }
            (Some(ip), Some(origin)) if ip.is_loopback() => Guesser::Page(origin.chars().take(128).collect()),
            (Some(ip), _) => Guesser::Address(rate_key(ip)),
            (None, _) => Guesser::Address(IpAddr::from([0, 0, 0, 0])),
        }
    }
    /// Milliseconds until this guesser may try again; None when it may now.
    pub fn locked(&self, who: &Guesser, now_ms: u64) -> Option<u64> {
        let until = self.guesses.get(who)?.locked_until_ms;
        until.checked_sub(now_ms).filter(|it| *it > 0)
    }
    /// A wrong secret. Answers how long to hold the refusal back.
    pub fn wrong(&mut self, who: &Guesser, now_ms: u64) -> u64 {
        if !self.guesses.contains_key(who) && self.guesses.len() >= AUTH_PEERS_MAX {
            let oldest = self.guesses.iter().min_by_key(|it| it.1.since_ms).map(|it| it.0.clone());
            oldest.map(|it| self.guesses.remove(&it));
        }
        let it = self.guesses.entry(who.clone()).or_default();
        if it.wrong == 0 || now_ms.saturating_sub(it.since_ms) > self.limits.window_ms {
            *it = Guesses { since_ms: now_ms, ..Guesses::default() };
        }
        it.wrong += 1;
        if *who == Guesser::Local {
            return if it.wrong > AUTH_ATTEMPTS_MAX { AUTH_SLOW_MS } else { 0 };
        }
        if self.limits.attempts != 0 && it.wrong >= self.limits.attempts {
            it.locked_until_ms = now_ms.saturating_add(self.limits.lockout_ms);
        }
        0
    }
    /// The right secret forgives.
    pub fn right(&mut self, who: &Guesser) {
        self.guesses.remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn ten_wrong_then_five_minutes() {
        let (mut limiter, who) =
            (Limiter::new(&RateLimit::default()), Guesser::Address("9.9.9.9".parse().unwrap()));
        for n in 0..10 {
            assert_eq!(limiter.locked(&who, n), None, "try {n}");
            assert_eq!(limiter.wrong(&who, n), 0);
        }
        assert_eq!(limiter.locked(&who, 10), Some(AUTH_LOCKOUT_MS - 1));
        assert_eq!(limiter.locked(&who, 9 + AUTH_LOCKOUT_MS), None);
    }
    #[test]
    fn a_local_program_is_slowed_only() {
        let mut limiter = Limiter::new(&RateLimit::default());
        let held: Vec<u64> = (0..12).map(|n| limiter.wrong(&Guesser::Local, n)).collect();
        assert_eq!(&held[9..], [0, AUTH_SLOW_MS, AUTH_SLOW_MS]);
        assert_eq!(limiter.locked(&Guesser::Local, 20), None);
        limiter.right(&Guesser::Local);
        assert_eq!(limiter.wrong(&Guesser::Local, 30), 0);
    }
    #[test]
    fn limits_of_the_configuration() {
        let limits = RateLimit { attempts: 2, window_ms: 100, lockout_ms: 50, exempt_loopback: false };
        let mut limiter = Limiter::new(&limits);
        let home = limiter.guesser(Some("127.0.0.1".parse().unwrap()), false, None);
        assert_ne!(home, Guesser::Local, "no exemption");
        limiter.wrong(&home, 0);
        limiter.wrong(&home, 101);
        assert_eq!(limiter.locked(&home, 101), None, "the first has run out");
        limiter.wrong(&home, 102);
        assert_eq!((limiter.locked(&home, 103), limiter.locked(&home, 152)), (Some(49), None));
        let mut never = Limiter::new(&RateLimit { attempts: 0, ..limits });
        assert!((0..99).all(|n| never.wrong(&home, n) == 0));
        assert_eq!(never.locked(&home, 99), None);
    }
    /// One for IPv4 in either form, one for a /64 of IPv6, and one for all that a trusted proxy cannot name.
    #[test]
    fn who_guesses_together() {
        let limiter = Limiter::new(&RateLimit::default());
        let of = |ip: &str| limiter.guesser(ip.parse().ok(), false, None);
        assert_eq!(of("8.8.8.8"), of("::ffff:8.8.8.8"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("?"), of("unknown"));
        assert_ne!(limiter.guesser("127.0.0.1".parse().ok(), true, None), Guesser::Local);
    }
    #[test]
    fn the_table_is_bounded() {
        let mut limiter = Limiter::new(&RateLimit::default());
        for n in 0..(AUTH_PEERS_MAX as u32 + 50) {
            limiter.wrong(&Guesser::Address(IpAddr::from(n.to_be_bytes())), u64::from(n));
        }
        assert_eq!(limiter.guesses.len(), AUTH_PEERS_MAX);
    }
    #[test]
    fn precedence() {
        let env = Env::from([("OPENCLAW_GATEWAY_TOKEN", "of-env")]);
        let mut config = Config::default();
        let none = Flags::default();
        assert!(SharedAuth::resolve(&config, &env, &none).unwrap().secret.is("of-env"));
        config.gateway.token = Some(Secret::new("of-config".into()));
        assert!(SharedAuth::resolve(&config, &env, &none).unwrap().secret.is("of-config"));
        let flags = Flags { token: Some(Secret::new("of-flag".into())), password: None };
        assert!(SharedAuth::resolve(&config, &env, &flags).unwrap().secret.is("of-flag"));
        config.gateway.auth_mode = Some(AuthMode::Password);
        assert_eq!(SharedAuth::resolve(&config, &env, &flags).unwrap_err(), NoSecret::Password);
        config.gateway.auth_mode = None;
        config.gateway.password = Some(Secret::new("pw".into()));
        assert_eq!(SharedAuth::resolve(&config, &env, &none).unwrap().mode, AuthMode::Password);
    }
}
