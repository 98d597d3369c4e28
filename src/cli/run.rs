//! `gateway run`: the daemon in the foreground.
use super::lock::{LockError, StateLock};
use super::{Context, EXIT_CONFIG, fail, service_install, setup};
use crate::base::clock::{Clock, iso};
use crate::base::log::start as start_log;
use crate::base::secret::Secret;
use crate::base::sys::SignalFd;
use crate::config::ports::Ports;
use crate::config::{Env, File, Gateway, Mode, Paths, Tls};
use crate::gateway::auth::{self, SharedAuth};
use crate::gateway::ws_log::WsLog;
use crate::gateway::{End, World, reload};
use crate::gateway::{canvas, tailscale};
use crate::server::certificate::{self, Identity};
use crate::server::{self, Options, listen, port};
use crate::service::last_exit;
use crate::service::notify::Notify;
use crate::store;
use std::net::{IpAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

/// The flags of the daemon.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub port: Option<u16>,
    pub bind: Option<String>,
    pub token: Option<String>,
    pub password: Option<String>,
    pub tailscale: Option<String>,
    pub tailscale_reset_on_exit: bool,
    pub force: bool,
    pub reset: bool,
    pub allow_unconfigured: bool,
    pub strict: bool,
    pub verbose: bool,
    pub ws_log: Option<WsLog>,
}

impl Flags {
    /// Own flags win over those written earlier on the line.
    pub fn or(self, outer: Flags) -> Flags {
        Flags {
            port: self.port.or(outer.port),
            bind: self.bind.or(outer.bind),
            token: self.token.or(outer.token),
            password: self.password.or(outer.password),
            tailscale: self.tailscale.or(outer.tailscale),
            tailscale_reset_on_exit: self.tailscale_reset_on_exit | outer.tailscale_reset_on_exit,
            force: self.force | outer.force,
            reset: self.reset | outer.reset,
            allow_unconfigured: self.allow_unconfigured | outer.allow_unconfigured,
            strict: self.strict | outer.strict,
            verbose: self.verbose | outer.verbose,
            ws_log: self.ws_log.or(outer.ws_log),
        }
    }
    /// The first flag given that says nothing about a gateway that already runs.
    pub fn only_for_running(&self) -> Option<&'static str> {
        let given = [
            (self.bind.is_some(), "--bind"),
            (self.tailscale.is_some(), "--tailscale"),
            (self.tailscale_reset_on_exit, "--tailscale-reset-on-exit"),
            (self.force, "--force"),
            (self.reset, "--reset"),
            (self.allow_unconfigured, "--allow-unconfigured"),
            (self.strict, "--strict"),
            (self.ws_log.is_some(), "--ws-log"),
        ];
        given.iter().find(|it| it.0).map(|it| it.1)
    }

    pub fn run(self, context: &Context) -> ExitCode {
        let signals = match SignalFd::open() {
            Ok(it) => it,
            Err(err) => return fail(&format!("cannot listen for signals: {err}"), 1),
        };
        let clock = Clock::start();
        let notify = Arc::new(Notify::of_env(|name| context.env.get(name)));
        last_exit::remember_panics();
        let mut lock = None;
        let end = self.lives(context, &signals, clock, &notify, &mut lock);
        log::logger().flush();
        match end {
            Ok(signal) => {
                note(context, last_exit::Ending::Stopped { signal: signal.map(signal_name) }, clock);
                ExitCode::SUCCESS
            }
            Err((text, status)) => {
                notify.status(&text);
                // What another process holds is that one's to write; and a start that failed makes no state folder.
                let mine = lock.is_some() || {
                    let free = context.paths.state.exists() && self.hold(context, &mut lock, 1).is_ok();
                    free && last_exit::begin(&context.paths.state, env!("CARGO_PKG_VERSION"), clock.now())
                        .is_ok()
                };
                if mine {
                    let ending = last_exit::Ending::Failed { error: text.clone(), exit_code: status.into() };
                    note(context, ending, clock);
                }
                fail(&text, status)
            }
        }
    }

    /// One life after the other; the signal that ended the last.
    fn lives(
        &self,
        context: &Context,
        signals: &SignalFd,
        clock: Clock,
        notify: &Arc<Notify>,
        lock: &mut Option<StateLock>,
    ) -> Result<Option<i32>, Failure> {
        if self.reset {
            self.start_anew(context, clock, lock)?;
        }
        let (mut before, mut restarted_ms) = (None::<Life>, None);
        loop {
            let next = self.prepare(context, clock, lock, before.as_mut());
            // What the next one does not take over ends here.
            let old = before.take();
            let life = next.or_else(|failure| match old {
                Some(it) => it.go_on(failure),
                None => Err(failure),
            })?;
            match life.live(signals, clock, restarted_ms, notify)? {
                Next::Life(it) => (before, restarted_ms) = (Some(*it), Some(clock.now().mono_ms)),
                Next::End(signal) => {
                    log::info!(target: "gateway", "stopped");
                    return Ok(signal);
                }
            }
        }
    }

    /// `--reset`: what the dev profile holds is put aside, once no daemon uses it.
    fn start_anew(
        &self,
        context: &Context,
        clock: Clock,
        lock: &mut Option<StateLock>,
    ) -> Result<(), Failure> {
        if !context.paths.is_dev() {
            return Err(("--reset is for the dev profile: add --dev".to_owned(), 2));
        }
        if self.force {
            let config = context.config().config;
            let wanted = context.paths.port(self.port, &context.env, config.gateway.port);
            port::free(wanted).map_err(|err| (err, 1))?;
        }
        self.hold(context, lock, self.tries())?;
        let aside = setup::put_aside(&context.paths, clock.now().unix_ms).map_err(|err| (err, 1))?;
        if let Some(aside) = aside {
            fail(&format!("The old configuration, sessions and workspace are in {}", aside.display()), 0);
        }
        Ok(())
    }

    /// Takes the state folder for this process, from the first life to the last.
    fn hold(&self, context: &Context, lock: &mut Option<StateLock>, mut tries: u32) -> Result<(), Failure> {
        while lock.is_none() {
            tries -= 1;
            match StateLock::take(&context.paths.state) {
                Ok(it) => *lock = Some(it),
                Err(LockError::Held(..)) if tries > 0 => pause(),
                Err(err) => return Err((err.to_string(), EXIT_CONFIG)),
            }
        }
        Ok(())
    }

    /// Reads the configuration anew and makes ready for it.
    fn prepare(
        &self,
        context: &Context,
        clock: Clock,
        lock: &mut Option<StateLock>,
        before: Option<&mut Life>,
    ) -> Result<Life, Failure> {
        setup::first_dev_start(context).map_err(|err| (err, EXIT_CONFIG))?;
        let wrong = |text: String| (text, EXIT_CONFIG);
        let (mut config, problem) = load(&context.paths, &context.env).map_err(wrong)?;
        if self.strict && !config.warnings.is_empty() {
            let list: Vec<String> = config.warnings.iter().map(|it| format!("  {it}")).collect();
            return Err(wrong(format!(
                "--strict, and {} says:\n{}",
                context.paths.config.display(),
                list.join("\n")
            )));
        }
        self.check_mode(&config, context)?;
        self.apply(&mut config.config.gateway).map_err(wrong)?;
        let flags = auth::Flags {
            token: self.token.clone().map(Secret::new),
            password: self.password.clone().map(Secret::new),
        };
        let auth = SharedAuth::resolve(&config.config, &context.env, &flags)
            .map_err(|err| wrong(err.to_string()))?;
        let wanted = context.paths.port(self.port, &context.env, config.config.gateway.port);
        let ip = listen::address(&config.config.gateway).map_err(|err| no_address(wanted, &err))?;
        let asked = (ip, wanted);
        let again = before.is_some();
        tailscale::check(&config.config, ip, auth.mode).map_err(wrong)?;
        let tls = tls(&config.config.gateway.tls, context, clock).map_err(wrong)?;
        let (listeners, stopped) = self.listen(asked, before)?;
        let first = lock.is_none();
        self.hold(context, lock, self.tries())?;
        let address = listeners.first().and_then(|it| it.local_addr().ok());
        let port = address.map_or(wanted, |it| it.port());
        let settings = reload::log_settings(&config.config.logging, &context.paths, self.loud());
        match start_log(settings, clock) {
            Ok(()) => {}
            Err(err) if again => log::warn!(target: "gateway", "the log stays where it was: {err}"),
            Err(err) => return Err((format!("cannot start the log: {err}"), 1)),
        }
        if first {
            tell_last_exit(context, clock);
        }
        for pid in stopped {
            log::info!(target: "gateway", "--force stopped process {pid} on port {wanted}");
        }
        let ports = Ports::of(port, &config.config, &context.env);
        for clash in port::clashes(&ports, &[std::process::id() as i32]) {
            log::warn!(target: "gateway", "{clash}");
        }
        config.warnings.iter().for_each(|it| log::warn!(target: "config", "{it}"));
        for it in store::sessions::of_a_later_version(&context.paths.state) {
            log::warn!(target: "gateway", "{} holds conversations of a later OpenClaw: they stay there, unread", it.display());
        }
        match &problem {
            Some(it) => log::error!(target: "config", "{it}"),
            None => config.keep_last_good(&context.paths).unwrap_or_else(|err| {
                log::warn!(target: "config", "cannot keep a copy of the configuration: {err}");
            }),
        }
        let world = World::new(config, context.paths.clone(), context.env.clone(), port);
        let ws_log = self.ws_log.unwrap_or_default();
        Ok(Life {
            world: World {
                problem,
                program: context.program(),
                flags,
                loud: self.loud(),
                strict: self.strict,
                installer: service_install::installer(context),
                ..world
            },
            auth,
            listeners,
            tls,
            asked,
            ws_log,
        })
    }

    /// The sockets of the life before where they are what is asked for, or else new ones; and who was stopped for them.
    fn listen(
        &self,
        asked: (IpAddr, u16),
        before: Option<&mut Life>,
    ) -> Result<(Vec<TcpListener>, Vec<i32>), Failure> {
        match before {
            Some(before) if before.asked == asked => {
                return Ok((std::mem::take(&mut before.listeners), vec![]));
            }
            // The same port of another address: the system does not let us have both.
            Some(before) if before.world.port == asked.1 => before.listeners.clear(),
            _ if self.force => {
                let stopped = port::free(asked.1).map_err(|err| (err, 1))?;
                return Ok((self.bind_patiently(asked)?, stopped));
            }
            _ => {}
        }
        Ok((self.bind_patiently(asked)?, vec![]))
    }

    /// Flags that stand for a key of the configuration.
    fn apply(&self, gateway: &mut Gateway) -> Result<(), String> {
        if let Some(bind) = &self.bind {
            gateway.bind = bind_mode(bind)
                .ok_or_else(|| format!("--bind {bind}: use loopback, lan, tailnet, auto or custom"))?;
        }
        if let Some(mode) = &self.tailscale {
            gateway.tailscale.mode = tailscale::mode(mode)
                .ok_or_else(|| format!("--tailscale {mode}: use off, serve or funnel"))?;
        }
        gateway.tailscale.reset_on_exit |= self.tailscale_reset_on_exit;
        Ok(())
    }

    fn check_mode(&self, config: &File, context: &Context) -> Result<(), Failure> {
        if self.allow_unconfigured || config.config.gateway.mode == Some(Mode::Local) {
            return Ok(());
        }
        let name = context.program();
        let text = match config.exists() {
            false => format!("Missing config. Run `{name} setup` or pass --allow-unconfigured."),
            true => "Gateway start blocked: set gateway.mode=local (current: unset or remote) or pass --allow-unconfigured.".to_owned(),
        };
        Err((text, EXIT_CONFIG))
    }

    fn tries(&self) -> u32 {
        if self.force { FORCE_TRIES } else { 1 }
    }

    /// After `--force` the old listener may need a moment to go.
    fn bind_patiently(&self, asked: (IpAddr, u16)) -> Result<Vec<TcpListener>, Failure> {
        let wanted = asked.1;
        let mut tries = self.tries();
        loop {
            tries -= 1;
            match listen::bind(asked) {
                Ok(it) => return Ok(it),
                Err(err) if err.kind() == std::io::ErrorKind::AddrInUse && tries > 0 => pause(),
                Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => {
                    return Err((taken(wanted), EXIT_CONFIG));
                }
                Err(err) => return Err(no_address(wanted, &err)),
            }
        }
    }

    /// Told more than the configuration asks for.
    fn loud(&self) -> bool {
        self.verbose || self.ws_log.is_some()
    }
}

/// What to say, and the exit status.
type Failure = (String, u8);

/// What comes after a life.
enum Next {
    Life(Box<Life>),
    /// Nothing; the signal that asked for it.
    End(Option<i32>),
}

/// One life of the daemon: from a configuration to the end, or to the next one.
struct Life {
    world: World,
    auth: SharedAuth,
    listeners: Vec<TcpListener>,
    tls: Option<Identity>,
    /// The address and port that the listeners were asked for.
    asked: (IpAddr, u16),
    ws_log: WsLog,
}

impl Life {
    /// Runs it.
    fn live(
        self,
        signals: &SignalFd,
        clock: Clock,
        restarted_ms: Option<u64>,
        notify: &Arc<Notify>,
    ) -> Result<Next, Failure> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        for listener in &self.listeners {
            if let Ok(address) = listener.local_addr() {
                log::info!(target: "gateway", "listening on {scheme}://{address} (PID {})", std::process::id());
            }
        }
        if let Some(it) = &self.tls {
            let made = if it.made { "made" } else { "uses" };
            let (path, fingerprint) = (it.path.display(), &it.fingerprint);
            log::info!(target: "tls", "{made} the certificate {path}, SHA-256 fingerprint {fingerprint}");
            it.warning.iter().for_each(|it| log::warn!(target: "tls", "{it}"));
        }
        let canvas = self.canvas();
        let Life { world, auth, listeners, tls, asked, ws_log } = self;
        let config = tls.as_ref().map(|it| it.config.clone());
        let (auth_now, notify) = (auth.clone(), notify.clone());
        let options = Options {
            world,
            auth: auth_now,
            listeners,
            canvas,
            tls: config,
            clock,
            restarted_ms,
            ws_log,
            notify,
        };
        let ended = server::run(options, signals).map_err(|err| (err.to_string(), 1))?;
        Ok(match ended.end {
            End::Stop => Next::End(ended.signal),
            End::Restart => Next::Life(Box::new(Life {
                world: World::clone(&ended.world),
                auth,
                listeners: ended.listeners,
                tls: tls.map(|it| Identity { made: false, ..it }),
                asked,
                ws_log,
            })),
        })
    }

    /// The canvas host's own port. It is a second way to what the gateway's port shows too, so all else goes on without it.
    fn canvas(&self) -> Vec<TcpListener> {
        let (config, env) = (&self.world.config.config, &self.world.env);
        if !canvas::enabled(config, env) {
            return vec![];
        }
        let ports = Ports::of(self.world.port, config, env);
        let Some(port) = ports.canvas_host.filter(|it| *it != self.world.port) else { return vec![] };
        match listen::bind((self.asked.0, port)) {
            Ok(listeners) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                let at = std::net::SocketAddr::new(self.asked.0, port);
                log::info!(target: "canvas", "serving {scheme}://{at}/__openclaw__/canvas/");
                listeners
            }
            Err(err) => {
                let source = ports.canvas_source;
                log::warn!(target: "canvas", "port {port} ({source}) cannot be had ({err}): the canvas is on the gateway's port alone; change canvasHost.port, or set canvasHost.enabled to false");
                vec![]
            }
        }
    }

    /// The next one cannot begin: this one goes on as it was, and says why.
    fn go_on(mut self, (why, status): Failure) -> Result<Life, Failure> {
        if self.listeners.is_empty() {
            self.listeners = listen::bind((self.asked.0, self.world.port))
                .map_err(|err| (format!("{why}\nThe old port is gone too: {err}"), status))?;
        }
        let text = format!("the gateway could not restart and goes on with the old configuration: {why}");
        log::error!(target: "gateway", "{text}");
        self.world.problem = Some(text);
        Ok(self)
    }
}

/// How the process ends, for whoever asks later.
fn note(context: &Context, ending: last_exit::Ending, clock: Clock) {
    if let Err(err) = last_exit::end(&context.paths.state, ending, clock.now()) {
        log::warn!(target: "gateway", "cannot note how this ends: {err}");
        log::logger().flush();
    }
}

/// Begins the record of this process, and says how the one before it ended if that was no stop.
fn tell_last_exit(context: &Context, clock: Clock) {
    match last_exit::begin(&context.paths.state, env!("CARGO_PKG_VERSION"), clock.now()) {
        Ok(Some(it)) if it.how.as_deref() != Some("stopped") => {
            log::warn!(target: "gateway", "the last time: {}", it.text(iso));
        }
        Ok(_) => {}
        Err(err) => log::warn!(target: "gateway", "cannot note that this begins: {err}"),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGINT => "SIGINT",
        _ => "SIGTERM",
    }
}

/// What a gateway with TLS shows to its clients.
fn tls(tls: &Tls, context: &Context, clock: Clock) -> Result<Option<Identity>, String> {
    let host = crate::base::sys::uname().0;
    tls.enabled.then(|| certificate::load(tls, &context.paths, &host, clock.now().unix_ms)).transpose()
}

/// Tries after `--force`, a twentieth of a second apart: three seconds in all.
const FORCE_TRIES: u32 = 60;

#[expect(
    clippy::disallowed_methods,
    reason = "before any thread or connection exists; waits for another process to let go of the port"
)]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(50));
}

/// The file, or the copy of the last good one and why; never a half or a default.
fn load(paths: &Paths, env: &Env) -> Result<(File, Option<String>), String> {
    let file = File::load(paths, env);
    if file.valid() {
        return Ok((file, None));
    }
    let list: Vec<String> = file.issues.iter().map(|it| format!("  {it}")).collect();
    let wrong = format!("Invalid configuration {}:\n{}", paths.config.display(), list.join("\n"));
    match File::load_last_good(paths, env) {
        Some(kept) => {
            let copy = paths.last_good();
            Ok((
                kept,
                Some(format!(
                    "{wrong}\nIt is not used: running with the last good copy, {}.",
                    copy.display()
                )),
            ))
        }
        None => Err(wrong),
    }
}

fn bind_mode(text: &str) -> Option<crate::config::Bind> {
    use crate::config::Bind;
    Some(match text {
        "loopback" => Bind::Loopback,
        "auto" => Bind::Auto,
        "lan" => Bind::Lan,
        "tailnet" => Bind::Tailnet,
        "custom" => Bind::Custom,
        _ => return None,
    })
}

/// An address that this machine does not have may come yet (Tailscale and Wi-Fi start when they like): a supervisor tries again.
fn no_address(wanted: u16, err: &std::io::Error) -> Failure {
    let status = if err.kind() == std::io::ErrorKind::AddrNotAvailable { 1 } else { EXIT_CONFIG };
    (format!("cannot listen on port {wanted}: {err}"), status)
}

/// The reference's sentence, and who it is.
fn taken(wanted: u16) -> String {
    let owner = port::listeners(wanted, &[]);
    let who = match owner.first() {
        Some(it) => format!("PID {} ({})", it.pid, it.command),
        None => "a process of another user".to_owned(),
    };
    format!(
        "another gateway instance is already listening on ws://127.0.0.1:{wanted}\n\
         The port is held by {who}. Stop it, choose another --port, or pass --force."
    )
}
