//! The configuration in force, and what becomes of it when the file changes.
//!
//! ```text
//! touched ── quiet for 200 ms + debounce ──► read and judge (a job) ─┬─ broken: the old one stays, one warning
//!                                                                    ├─ hot: in force at once
//!                                                                    └─ restart: in this process, after a cooldown
//! ```
//!
//! * Nothing is half in force: a document is used whole, or not at all.
//! * However often the file is saved, one look follows the last save, and restarts stand a cooldown apart.
use super::auth::SharedAuth;
use super::{Core, Effect, Timer, World, channels, health};
use crate::agent::envelope::Zones;
use crate::base::clock::Now;
use crate::base::limits::{CONFIG_STABLE_MS, RESTART_COOLDOWN_MS};
use crate::base::log::{Settings, start as start_log};
use crate::config::change::{Plan, hold};
use crate::config::paths::expand_home;
use crate::config::{File, Issue, Logging, Paths, ReloadMode, Source};
use log::LevelFilter;
use std::path::PathBuf;
use std::sync::Arc;

/// Channels that run here, whose sections then ask for no restart.
pub const CHANNELS: &[&str] = &["telegram"];

#[derive(Debug, Default)]
pub struct Reload {
    /// When to look, on the monotonic clock.
    due_ms: Option<u64>,
    /// A job looks; whether it must look again behind it.
    looking: Option<bool>,
    /// What was last judged.
    judged: Option<Source>,
    /// The files whose changes are told of; empty for those of the start.
    watched: Vec<PathBuf>,
    /// When to restart, and why.
    restart: Option<(u64, String)>,
    /// When this process last started over.
    restarted_ms: Option<u64>,
    /// A write through this gateway allows one SIGUSR1.
    pub(super) signal_allowed: bool,
}

/// What a look found.
enum Found {
    Same,
    Broken { source: Source, text: String, sources: Vec<PathBuf> },
    Good { file: Box<File>, plan: Plan, sources: Vec<PathBuf>, zones: Box<Zones> },
}

impl Reload {
    pub(super) fn new(restarted_ms: Option<u64>) -> Reload {
        Reload { restarted_ms, ..Reload::default() }
    }
}

/// The file, or one that it includes, may have changed.
pub fn touched(core: &mut Core, now: Now) {
    let reload = &core.world.config.config.gateway.reload;
    if reload.mode == ReloadMode::Off || core.is_ending() {
        return;
    }
    let due = now.mono_ms + CONFIG_STABLE_MS + reload.debounce_ms;
    let armed = core.reload.due_ms.replace(due).is_some();
    if !armed {
        core.arm(due, Timer::Reload);
    }
}

/// The timer: it was armed for the first touch, and moves on to the last.
pub(super) fn on_timer(core: &mut Core, now: Now) {
    let Some(due) = core.reload.due_ms else { return };
    if due > now.mono_ms {
        return core.arm(due, Timer::Reload);
    }
    core.reload.due_ms = None;
    if let Some(again) = &mut core.reload.looking {
        *again = true;
        return;
    }
    core.reload.looking = Some(false);
    let (world, judged) = (core.world.clone(), core.reload.judged.clone());
    let work = move || look(&world, judged.as_ref().unwrap_or(&world.config.source));
    core.job(work, |core, found, now| {
        let again = core.reload.looking.take() == Some(true);
        judge(core, found, now);
        if again {
            touched(core, now);
        }
    });
}

fn look(world: &World, judged: &Source) -> Found {
    let (paths, old) = (&world.paths, &world.config);
    if judged.is_current(paths) {
        return Found::Same;
    }
    let file = File::load(paths, &world.env);
    let strictly = file.warnings.iter().filter(|_| world.strict);
    let wrong: Vec<String> = file.issues.iter().chain(strictly).map(Issue::to_string).collect();
    let no_secret = SharedAuth::resolve(&file.config, &world.env, &world.flags).err();
    if !file.exists() || !wrong.is_empty() || no_secret.is_some() {
        let gone = || format!("{} is gone", paths.config.display());
        let text = match no_secret {
            _ if !wrong.is_empty() => wrong.join("; "),
            Some(it) if file.exists() => it.to_string(),
            _ => gone(),
        };
        let sources = file.sources(paths);
        return if file.source == *judged {
            Found::Same
        } else {
            Found::Broken { source: file.source, text, sources }
        };
    }
    let plan = Plan::between(&old.resolved, &file.resolved, CHANNELS);
    // What needs a restart has yet to show that a gateway starts with it.
    if decide(file.config.gateway.reload.mode, &plan) == Action::Apply
        && let Err(err) = file.keep_last_good(paths)
    {
        log::warn!(target: "config", "cannot keep {}: {err}", paths.last_good().display());
    }
    let zones = Box::new(super::zones(&file, &world.env));
    Found::Good { sources: file.sources(paths), file: Box::new(file), plan, zones }
}

fn judge(core: &mut Core, found: Found, now: Now) {
    match found {
        Found::Same => {}
        Found::Broken { source, text, sources } => {
            log::warn!(target: "config", "config reload skipped (invalid config): {text}");
            core.reload.judged = Some(source);
            // What is missing may come.
            watch(core, sources, now);
            let text = format!("the configuration file cannot be used, the old configuration stays: {text}");
            core.world = Arc::new(World { problem: Some(text), ..World::clone(&core.world) });
            health::refresh_soon(core, now);
        }
        Found::Good { file, plan, sources, zones } => {
            for it in &file.warnings {
                log::warn!(target: "config", "{it}");
            }
            core.reload.judged = Some(file.source.clone());
            watch(core, sources, now);
            apply(core, *file, *zones, &plan, now);
        }
    }
}

/// Others than before are looked at once more: they may have changed between the look and the watch.
fn watch(core: &mut Core, sources: Vec<PathBuf>, now: Now) {
    if core.reload.watched != sources {
        core.reload.watched.clone_from(&sources);
        core.effects.push(Effect::Watch(sources));
        touched(core, now);
    }
}

fn apply(core: &mut Core, file: File, zones: Zones, plan: &Plan, now: Now) {
    let action = decide(file.config.gateway.reload.mode, plan);
    let file = match action {
        Action::Ignore => return,
        Action::Restart => {
            let why = if plan.restart.is_empty() { &plan.changed } else { &plan.restart };
            return restart_at(core, now.mono_ms, format!("configuration: {}", why.join(", ")), now);
        }
        Action::Apply => file,
        Action::Hold => {
            log::warn!(target: "config", "waits for a restart: {}", plan.restart.join(", "));
            let held = hold(&core.world.config.resolved, &file.resolved, CHANNELS);
            file.meaning(held)
        }
    };
    let applied: Vec<&str> =
        plan.changed.iter().filter(|it| !plan.restart.contains(it)).map(String::as_str).collect();
    if !applied.is_empty() {
        log::info!(target: "config", "config change applied: {}", applied.join(", "));
    }
    let news = !applied.is_empty() || core.world.problem.is_some();
    let config = Arc::new(file);
    let models = Arc::new(core.world.models.renewed(config.clone()));
    let zones = Arc::new(zones);
    core.world = Arc::new(World { config, models, zones, problem: None, ..World::clone(&core.world) });
    take_secret(core);
    channels::load(core);
    if applied.iter().any(|it| it.starts_with("logging")) {
        let (world, clock) = (core.world.clone(), core.clock);
        let work = move || {
            let settings = log_settings(&world.config.config.logging, &world.paths, world.loud);
            if let Err(err) = start_log(settings, clock) {
                log::warn!(target: "config", "the log stays as it was: {err}");
            }
        };
        core.job(work, |_, (), _| {});
    }
    if news {
        health::refresh_soon(core, now);
    }
}

/// Whoever came in by another secret than that of the configuration now in force, goes.
fn take_secret(core: &mut Core) {
    let world = core.world.clone();
    // Looked at before it was judged: there is one.
    let Ok(auth) = SharedAuth::resolve(&world.config.config, &world.env, &world.flags) else { return };
    let same = core.auth.mode == auth.mode && core.auth.secret.is(auth.secret.expose());
    core.auth = auth;
    if !same {
        log::info!(target: "config", "the secret of the gateway has changed");
        core.close_shared();
    }
}

/// What `logging` asks for; `loud` by a flag: the console says everything.
pub fn log_settings(logging: &Logging, paths: &Paths, loud: bool) -> Settings {
    let file = logging.level.unwrap_or(LevelFilter::Info);
    let console = if loud { LevelFilter::Debug } else { logging.console_level.unwrap_or(LevelFilter::Info) };
    Settings {
        console,
        file: if loud { file.max(LevelFilter::Debug) } else { file },
        dir: Some(paths.logs()),
        path: logging.file.as_deref().map(|it| expand_home(it, &paths.home)),
    }
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Nothing at all.
    Ignore,
    /// It is in force.
    Apply,
    /// It is in force but for what needs a restart.
    Hold,
    Restart,
}

fn decide(mode: ReloadMode, plan: &Plan) -> Action {
    match mode {
        ReloadMode::Off => Action::Ignore,
        ReloadMode::Restart if !plan.changed.is_empty() => Action::Restart,
        ReloadMode::Hybrid if !plan.restart.is_empty() => Action::Restart,
        ReloadMode::Hot if !plan.restart.is_empty() => Action::Hold,
        _ => Action::Apply,
    }
}

/// Starts over, not before `at_ms` nor sooner than a cooldown after the last time. Whoever asks in between is content with the same one.
pub fn restart_at(core: &mut Core, at_ms: u64, why: String, now: Now) {
    let cool = core.reload.restarted_ms.map_or(0, |it| it + RESTART_COOLDOWN_MS);
    let due = at_ms.max(cool);
    if core.reload.restart.as_ref().is_some_and(|it| it.0 <= due) || core.is_ending() {
        return;
    }
    if due > now.mono_ms {
        log::info!(target: "gateway", "restart in {} ms ({why})", due - now.mono_ms);
    }
    core.reload.restart = Some((due, why));
    core.arm(due, Timer::Restart);
}

pub(super) fn on_restart_timer(core: &mut Core, now: Now) {
    if core.reload.restart.as_ref().is_some_and(|it| it.0 <= now.mono_ms) {
        let (_, why) = core.reload.restart.take().unwrap_or_default();
        log::info!(target: "gateway", "restarting: {why}");
        core.leave(super::End::Restart, now);
    }
}

/// This gateway has written the file itself.
pub fn written(core: &mut Core, now: Now) {
    core.reload.signal_allowed = true;
    touched(core, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// `tests/data/reload.txt`: a path, and what a change of it does in the modes off, hot, hybrid and restart.
    #[test]
    fn every_key_in_every_mode() {
        let modes = [ReloadMode::Off, ReloadMode::Hot, ReloadMode::Hybrid, ReloadMode::Restart];
        let mut cases = 0;
        for line in include_str!("../../tests/data/reload.txt").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [path, want @ ..] = words.as_slice() else { continue };
            let new = path.rsplit('.').fold(json!(1), |it: Value, name| json!({ name: it }));
            let plan = Plan::between(&json!({}), &new, CHANNELS);
            for (mode, want) in modes.into_iter().zip(want) {
                assert_eq!(format!("{:?}", decide(mode, &plan)).to_lowercase(), **want, "{path} {mode:?}");
                cases += 1;
            }
            assert_eq!(
                decide(ReloadMode::Restart, &Plan::default()),
                Action::Apply,
                "no change is no reason"
            );
        }
        assert!(cases >= 120, "{cases}");
    }
}
