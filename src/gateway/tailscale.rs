//! Tailscale: shows our port to the tailnet (Serve) or to everybody (Funnel), and asks who comes through Serve.
//!
//! ```text
//! upgrade with Serve's headers ──► Claim ── connect ──► whois (a job; cached) ──► confirmed: stands in for the secret
//!                                                                       └───────► anything else: as if it had not been said
//! ```
//!
//! * A claim counts only from this machine's tailscaled: from loopback, with all of Serve's headers, in mode serve.
//! * It is believed only once the daemon itself says the same of that address. It never pairs a device, nor makes a client local.
//! * The program is run by jobs and at the end; never on the net or core thread.
use super::{Core, Phase};
use crate::base::clock::{Clock, Now};
use crate::base::ids::ConnId;
use crate::base::limits::*;
use crate::base::sys;
use crate::config::{AuthMode, Config, Env, Gateway, TailscaleMode};
use crate::conn::Bytes;
use crate::conn::head::Head;
use crate::gateway::peer::Peer;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// Who somebody says he is, by the headers that Serve adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub login: String,
    /// Of the machine that came to Serve.
    pub ip: IpAddr,
    /// tailscaled has said the same.
    pub confirmed: bool,
}

impl Claim {
    /// Serve sets each of these once, and drops what a client sent of them.
    pub fn of(peer: IpAddr, head: &Head) -> Option<Claim> {
        let one = |name: &str| {
            let mut all = head.headers.iter().filter(|it| it.0 == name).map(|it| it.1.trim());
            all.next().filter(|it| !it.is_empty()).filter(|_| all.next().is_none())
        };
        let login = one("tailscale-user-login")?;
        let ip = one("x-forwarded-for")?.parse::<IpAddr>().ok()?.to_canonical();
        one("x-forwarded-proto")?;
        one("x-forwarded-host")?;
        let through_serve = peer.to_canonical().is_loopback() && !ip.is_loopback();
        through_serve.then(|| Claim { login: login.to_owned(), ip, confirmed: false })
    }
}

/// Reference 2.3: on by default when Serve is the way in and no password is asked for; nowhere else.
fn accepts(gateway: &Gateway, auth: AuthMode) -> bool {
    let allowed = gateway.allow_tailscale.unwrap_or(auth != AuthMode::Password);
    gateway.tailscale.mode == TailscaleMode::Serve && allowed
}

/// Whether a gateway may be shown that way.
///
/// # Errors
/// The sentence to refuse the start with.
pub fn check(config: &Config, ip: IpAddr, auth: AuthMode) -> Result<(), String> {
    let mode = config.gateway.tailscale.mode;
    if mode == TailscaleMode::Off {
        return Ok(());
    }
    if !ip.is_loopback() {
        return Err(format!(
            "gateway.tailscale.mode {} needs gateway.bind loopback: what tailscaled forwards comes from this machine, and {ip} would be open beside it",
            word(mode)
        ));
    }
    if mode == TailscaleMode::Funnel && auth != AuthMode::Password {
        return Err("gateway.tailscale.mode funnel shows this gateway to the whole internet and needs gateway.auth.mode password (set gateway.auth.password or OPENCLAW_GATEWAY_PASSWORD)".to_owned());
    }
    Ok(())
}

/// A mode by its name.
pub fn mode(name: &str) -> Option<TailscaleMode> {
    [TailscaleMode::Off, TailscaleMode::Serve, TailscaleMode::Funnel].into_iter().find(|it| word(*it) == name)
}

fn word(mode: TailscaleMode) -> &'static str {
    match mode {
        TailscaleMode::Off => "off",
        TailscaleMode::Serve => "serve",
        TailscaleMode::Funnel => "funnel",
    }
}

// Who comes.

/// What tailscaled has said of addresses, and who waits for its word.
pub(super) struct Whois {
    /// Claims count: as it was when this life began, which is when Serve was turned on.
    accepts: bool,
    /// The login, or None where it knows nobody; until when that holds.
    known: BTreeMap<IpAddr, (Option<String>, u64)>,
    /// One question at a time: a daemon that hangs must not take the workers.
    asking: bool,
    waiting: VecDeque<(ConnId, IpAddr, Box<Peer>, String)>,
}

impl Whois {
    pub fn new(gateway: &Gateway, auth: AuthMode) -> Whois {
        let (known, waiting) = (BTreeMap::new(), VecDeque::new());
        Whois { accepts: accepts(gateway, auth), known, asking: false, waiting }
    }
}

/// The peer with its claim confirmed or dropped. None: tailscaled is asked first, and what the client sends waits in its phase.
pub(super) fn settle(
    core: &mut Core,
    conn: ConnId,
    mut peer: Box<Peer>,
    nonce: &str,
    text: &[u8],
    now: Now,
) -> Option<Box<Peer>> {
    let Some(claim) = peer.claim.as_mut().filter(|it| !it.confirmed) else { return Some(peer) };
    let ip = claim.ip;
    if !core.whois.accepts {
        peer.claim = None;
        return Some(peer);
    }
    if let Some((login, _)) = core.whois.known.get(&ip).filter(|it| it.1 > now.mono_ms) {
        claim.confirmed = login.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(&claim.login));
        if !claim.confirmed {
            log::warn!(target: "tailscale", "{ip} says it is {:?}, and tailscaled does not: ignored", claim.login);
            peer.claim = None;
        }
        return Some(peer);
    }
    let client = core.clients.get_mut(&conn)?;
    if core.whois.waiting.len() >= WHOIS_WAITING_MAX {
        peer.claim = None;
        return Some(peer);
    }
    client.phase = Phase::Pairing { waiting: vec![Bytes::copy_from_slice(text)] };
    core.whois.waiting.push_back((conn, ip, peer, nonce.to_owned()));
    ask(core);
    None
}

/// Asks about the first who waits.
fn ask(core: &mut Core) {
    let Some(ip) = core.whois.waiting.front().map(|it| it.1).filter(|_| !core.whois.asking) else { return };
    core.whois.asking = true;
    let (env, clock) = (core.world.env.clone(), core.clock);
    core.job(move || whois(&env, clock, ip), move |core, login, now| told(core, ip, login, now));
}

fn told(core: &mut Core, ip: IpAddr, login: Result<Option<String>, String>, now: Now) {
    core.whois.asking = false;
    let login = login.unwrap_or_else(|err| {
        log::warn!(target: "tailscale", "whois {ip}: {err}");
        None
    });
    core.whois.known.retain(|_, it| it.1 > now.mono_ms);
    if core.whois.known.len() >= WHOIS_KEPT_MAX {
        core.whois.known.clear();
    }
    let keep_ms = if login.is_some() { WHOIS_TTL_MS } else { WHOIS_MISS_TTL_MS };
    core.whois.known.insert(ip, (login, now.mono_ms + keep_ms));
    let all = std::mem::take(&mut core.whois.waiting);
    let (answered, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.1 == ip);
    core.whois.waiting = others.into();
    for (conn, _, peer, nonce) in answered {
        // It may be gone by now, or told to close.
        let Some(client) = core.clients.get_mut(&conn).filter(|it| !it.closing) else { continue };
        let phase = std::mem::replace(&mut client.phase, Phase::Challenged { peer, nonce });
        if let Phase::Pairing { waiting } = phase {
            waiting.into_iter().for_each(|it| core.on_message(conn, it, now));
        }
    }
    ask(core);
}

/// Whose machine has that address; None for nobody's, or one that is tagged and so belongs to no person.
fn whois(env: &Env, clock: Clock, ip: IpAddr) -> Result<Option<String>, String> {
    let said = run(env, clock, &["whois", "--json", &ip.to_string()], WHOIS_MS)?;
    let login = said_json(&said).and_then(|it| it["UserProfile"]["LoginName"].as_str().map(str::to_owned));
    Ok(login.filter(|it| !it.is_empty() && it != "tagged-devices"))
}

// The way in.

/// Shows the port, as configured. Serve and Funnel go on in the background, in tailscaled.
pub(super) fn expose(core: &mut Core) {
    let gateway = &core.world.config.config.gateway;
    let (mode, tls, port) = (gateway.tailscale.mode, gateway.tls.enabled, core.world.port);
    if mode == TailscaleMode::Off {
        return;
    }
    let (env, clock) = (core.world.env.clone(), core.clock);
    let show = move || {
        let target = if tls { format!("https+insecure://127.0.0.1:{port}") } else { port.to_string() };
        run(&env, clock, &[word(mode), "--bg", "--yes", &target], TAILSCALE_MS)?;
        let status = run(&env, clock, &["status", "--json"], TAILSCALE_MS);
        let name = status.ok().and_then(|it| said_json(&it)?["Self"]["DNSName"].as_str().map(str::to_owned));
        Ok(name.map(|it| it.trim_end_matches('.').to_owned()).filter(|it| !it.is_empty()))
    };
    core.apart(Box::new(move || {
        let shown: Result<Option<String>, String> = show();
        let word = word(mode);
        match shown {
            Ok(Some(name)) => {
                log::info!(target: "tailscale", "{word} is on: https://{name}/ and wss://{name}");
            }
            Ok(None) => log::info!(target: "tailscale", "{word} is on"),
            Err(err) => {
                let lost = "failed, so that nobody reaches this gateway that way";
                log::error!(target: "tailscale", "{word} {lost}: {err}");
            }
        }
        Box::new(|_, _| {})
    }));
}

/// Undoes `expose` where that is asked for. Blocks: only when nobody is served any more.
pub fn hide(config: &Config, env: &Env, clock: Clock) {
    let tailscale = config.gateway.tailscale;
    if tailscale.mode == TailscaleMode::Off || !tailscale.reset_on_exit {
        return;
    }
    if let Err(err) = run(env, clock, &[word(tailscale.mode), "reset"], TAILSCALE_RESET_MS) {
        log::error!(target: "tailscale", "{} is still on: {err}", word(tailscale.mode));
    }
}

/// What the program said, once it has ended well.
fn run(env: &Env, clock: Clock, args: &[&str], deadline_ms: u64) -> Result<String, String> {
    let failed = |err: io::Error| match err.kind() {
        io::ErrorKind::NotFound => "the program tailscale is not installed, or not in PATH".to_owned(),
        _ => format!("tailscale {}: {err}", args[0]),
    };
    let (ended, said) = run_to_end(env, clock, args, deadline_ms).map_err(failed)?;
    match ended {
        Some(true) => Ok(said),
        Some(false) => Err(format!("tailscale {}: {}", args.join(" "), last_line(&said))),
        None => Err(format!("tailscale {} had no answer after {deadline_ms} ms", args[0])),
    }
}

/// How it ended (None: it did not, and was killed), and at most a pipe's worth of what it said.
fn run_to_end(
    env: &Env,
    clock: Clock,
    args: &[&str],
    deadline_ms: u64,
) -> io::Result<(Option<bool>, String)> {
    let (mut out, write) = io::pipe()?;
    #[expect(clippy::disallowed_methods, reason = "called by jobs and at the end alone")]
    let mut command = Command::new("tailscale");
    let kept = ["PATH", "HOME"].into_iter().filter_map(|it| Some((it, env.get(it)?)));
    command.args(args).env_clear().envs(kept);
    command.stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
    sys::own_session(&mut command);
    let mut child = command.spawn()?;
    // It holds the pipe's other end too.
    drop(command);
    let exit = sys::pidfd(child.id())?;
    let deadline = clock.now().mono_ms + deadline_ms;
    let ended = loop {
        let left = deadline.saturating_sub(clock.now().mono_ms);
        if sys::poll([Some(exit.as_fd())], left)?[0] {
            break true;
        }
        if left == 0 {
            // ESRCH: it ended this very moment.
            let _ = sys::kill_group(child.id() as i32, libc::SIGKILL);
            break false;
        }
    };
    let status = child.wait()?;
    let mut said = vec![0; 64 * 1024];
    let n = if sys::poll([Some(out.as_fd())], 0)?[0] { out.read(&mut said)? } else { 0 };
    Ok((ended.then(|| status.success()), String::from_utf8_lossy(&said[..n]).into_owned()))
}

/// The JSON among what it said: warnings may stand in front of it.
fn said_json(said: &str) -> Option<Value> {
    let json = &said[said.find('{')?..];
    serde_json::Deserializer::from_str(json).into_iter::<Value>().next()?.ok()
}

fn last_line(said: &str) -> String {
    let line = said.lines().map(str::trim).rfind(|it| !it.is_empty()).unwrap_or("it gave no reason");
    line.chars().filter(|it| !it.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_for_tests;
    use serde_json::json;

    fn claim(peer: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut text = "GET / HTTP/1.1\r\nHost: x\r\n".to_owned();
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        let head = crate::conn::head::parse(format!("{text}\r\n").as_bytes()).unwrap();
        Claim::of(peer.parse().unwrap(), &head).map(|it| format!("{} {}", it.login, it.ip))
    }
    #[test]
    fn claims() {
        let serve = [
            ("Tailscale-User-Login", "ann@example.com"),
            ("X-Forwarded-For", "100.64.0.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "pi.x.ts.net"),
        ];
        let want = Some("ann@example.com 100.64.0.9".to_owned());
        assert_eq!(claim("127.0.0.1", &serve), want);
        assert_eq!(claim("::ffff:127.0.0.1", &serve), want);
        assert_eq!(claim("100.64.0.9", &serve), None, "not through the daemon of this machine");
        for at in 0..serve.len() {
            let mut less = serve.to_vec();
            less.remove(at);
            assert_eq!(claim("127.0.0.1", &less), None, "without {}", serve[at].0);
            let mut twice = serve.to_vec();
            twice.push(serve[at]);
            assert_eq!(claim("127.0.0.1", &twice), None, "{} twice", serve[at].0);
            let mut blank = serve;
            blank[at].1 = "";
            assert_eq!(claim("127.0.0.1", &blank), None, "blank {}", serve[at].0);
        }
        let mut list = serve;
        for text in ["100.64.0.9, 100.64.0.8", "x", "127.0.0.1", "::1"] {
            list[1].1 = text;
            assert_eq!(claim("127.0.0.1", &list), None, "{text}");
        }
    }
    #[test]
    fn when_it_may_be() {
        use AuthMode::{Password, Token};
        let (here, lan) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0]));
        for (mode, allow, auth, ip, accepted, refused) in [
            ("off", None, Token, lan, false, None),
            ("off", Some(true), Token, here, false, None),
            ("serve", None, Token, here, true, None),
            ("serve", Some(false), Token, here, false, None),
            ("serve", None, Password, here, false, None),
            ("serve", Some(true), Password, here, true, None),
            ("serve", None, Token, lan, true, Some("needs gateway.bind loopback")),
            ("funnel", Some(true), Password, here, false, None),
            ("funnel", None, Token, here, false, Some("needs gateway.auth.mode password")),
            ("funnel", None, Password, lan, false, Some("needs gateway.bind loopback")),
        ] {
            let mut text = json!({ "gateway": { "tailscale": { "mode": mode } } });
            if let Some(allow) = allow {
                text["gateway"]["auth"]["allowTailscale"] = allow.into();
            }
            let config = read_for_tests(&text);
            assert_eq!(accepts(&config.gateway, auth), accepted, "{text} {auth:?}");
            let said = check(&config, ip, auth).err();
            assert_eq!(said.is_some(), refused.is_some(), "{text} {auth:?} {ip} {said:?}");
            assert!(said.zip(refused).is_none_or(|(said, want)| said.contains(want)));
        }
    }
    #[test]
    fn what_the_program_says() {
        let json =
            said_json("Warning: client version \"1\" is not the daemon's\n{\"a\":{\"b\":1}}\nbye").unwrap();
        assert_eq!(json["a"]["b"], 1);
        assert_eq!((said_json("nothing"), said_json("{ half")), (None, None));
        assert_eq!(last_line("a\n\x1b[1mServe is not enabled\n\n"), "[1mServe is not enabled");
        assert_eq!(last_line(" \n"), "it gave no reason");
    }
}
