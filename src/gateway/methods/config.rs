//! `config.*`: the configuration as it is on disk, and changes to it.
//!
//! Everything that touches the file is a job; what a change does to the running gateway is `gateway/reload.rs`'s business.
use crate::base::clock::Now;
use crate::base::limits::*;
use crate::config::schema::ConfigSchema;
use crate::config::write::{Change, WriteError, Written};
use crate::config::{File, Issue, json5, merge};
use crate::gateway::registry::{Answer, Call, Finish, Method, Rpc};
use crate::gateway::{Core, World, reload};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::{NoParams, NonEmpty, Text};
use crate::shaped;
use crate::store::sentinel::{self, Sentinel, Stats};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

pub const METHODS: &[Method] = &[
    Method::of::<ConfigGet>(),
    Method::of::<ConfigSchemaGet>(),
    Method::of::<ConfigSet>(),
    Method::of::<ConfigPatch>(),
    Method::of::<ConfigApply>(),
];

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ConfigGetReply {
    path: String,
    exists: bool,
    /// The text; null when there is no file.
    raw: Option<String>,
    parsed: Value,
    valid: bool,
    config: Value,
    /// Lower-case hex SHA-256 of the text.
    hash: String,
    issues: Vec<Issue>,
    warnings: Vec<Issue>,
    legacy_issues: Vec<Issue>,
}

/// Protocol 3: the admin's, in full. Protocol 4: any reader's, with secrets masked.
enum ConfigGet {}
impl Rpc for ConfigGet {
    const NAME: &'static str = "config.get";
    const ACCESS: Access = Access::Admin;
    const ACCESS_V4: Access = Access::Read;
    type Params = NoParams;
    type Reply = ConfigGetReply;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<ConfigGetReply>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let file = File::load(&world.paths, &world.env);
            let show = Show::to(call.protocol, &world, &file);
            Ok(ConfigGetReply {
                path: world.paths.config.display().to_string(),
                exists: file.exists(),
                parsed: show.value(&file.parsed),
                config: show.value(&with_defaults(&file.resolved)),
                valid: file.valid(),
                raw: show.text(&file),
                hash: file.hash,
                issues: file.issues,
                warnings: file.warnings,
                legacy_issues: vec![],
            })
        }))
    }
}

/// What a form needs to edit the configuration.
enum ConfigSchemaGet {}
impl Rpc for ConfigSchemaGet {
    const NAME: &'static str = "config.schema";
    const ACCESS: Access = Access::Admin;
    type Params = NoParams;
    type Reply = ConfigSchema;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<ConfigSchema>> {
        let world = core.world.clone();
        Ok(Answer::read(move || Ok(ConfigSchema::new(world.version(), call.now.unix_ms))))
    }
}

/// What a caller may see.
struct Show {
    masked: bool,
}

impl Show {
    fn to(protocol: u32, world: &World, file: &File) -> Show {
        let wanted = world.config.config.gateway.redact || file.config.gateway.redact;
        Show { masked: protocol >= 4 || wanted }
    }
    fn value(&self, value: &Value) -> Value {
        if self.masked { merge::mask(value) } else { value.clone() }
    }
    /// The authored text with masks in it; null where that cannot be told apart from what must not be seen.
    fn text(&self, file: &File) -> Option<String> {
        let raw = file.raw.clone()?;
        match self.masked {
            false => Some(raw),
            true => crate::config::edit::rewrite(&raw, &merge::mask(&file.parsed), &file.parsed).ok(),
        }
    }
}

/// What clients find in `config` though nobody has written it. Reference.
fn with_defaults(config: &Value) -> Value {
    let defaults = json!({
        "agents": { "defaults": { "maxConcurrent": 4, "subagents": { "maxConcurrent": 8 } } },
        "messages": { "ackReactionScope": "group-mentions" },
        "commands": { "native": "auto", "nativeSkills": "auto" },
    });
    let mut out = config.clone();
    fill(&mut out, &defaults);
    out
}

fn fill(value: &mut Value, defaults: &Value) {
    let (Value::Object(value), Value::Object(defaults)) = (value, defaults) else { return };
    for (key, default) in defaults {
        match value.get_mut(key) {
            Some(it) => fill(it, default),
            None => _ = value.insert(key.clone(), default.clone()),
        }
    }
}

shaped! {
    struct ConfigSetParams { raw = "raw": NonEmpty, base_hash = "baseHash": Option<NonEmpty> }
}

shaped! {
    struct ConfigPatchParams {
        raw = "raw": NonEmpty, base_hash = "baseHash": Option<NonEmpty>, session_key = "sessionKey": Option<Text<0, { usize::MAX }>>,
        note = "note": Option<Text<0, { usize::MAX }>>, restart_delay_ms = "restartDelayMs": Option<Int<0>>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ConfigSetReply {
    ok: bool,
    path: String,
    config: Value,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ConfigPatchReply {
    ok: bool,
    path: String,
    config: Value,
    restart: Restart,
    sentinel: SentinelReply,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Restart {
    ok: bool,
    pid: u32,
    signal: &'static str,
    delay_ms: u64,
    reason: &'static str,
    mode: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SentinelReply {
    path: String,
    payload: Sentinel,
}

/// Successful writes of each client, so that a loop somewhere does not wear out the disk.
#[derive(Default)]
pub struct Writes(BTreeMap<String, VecDeque<u64>>);

impl Writes {
    /// # Errors
    /// When there were too many in the last minute.
    fn allow(&mut self, client: &str, now: Now) -> RpcResult<()> {
        self.0.retain(|_, times| {
            times.retain(|it| now.mono_ms - it < CONFIG_WRITES_WINDOW_MS);
            !times.is_empty()
        });
        let Some(times) = self.0.get(client).filter(|it| it.len() >= CONFIG_WRITES_MAX) else {
            return Ok(());
        };
        let wait_ms = CONFIG_WRITES_WINDOW_MS - (now.mono_ms - times.front().copied().unwrap_or(now.mono_ms));
        let text = format!(
            "{CONFIG_WRITES_MAX} configuration writes a minute are the limit; try again in {} s",
            wait_ms.div_ceil(1000)
        );
        Err(RpcError::unavailable(text).retry_after(wait_ms))
    }
    fn count(&mut self, client: String, now: Now) {
        self.0.entry(client).or_default().push_back(now.mono_ms);
    }
}

/// The device, or else the kind of client: there is no other name that outlives a connection.
fn client(core: &Core, call: Call) -> String {
    let ready = core.clients.get(&call.conn).and_then(|it| it.ready());
    ready.map_or_else(String::new, |it| it.device_id.clone().unwrap_or_else(|| it.client_id.as_str().into()))
}

/// How the text that was sent becomes the new document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Replace,
    Merge,
}

/// One write, on its way from the caller to the file.
struct Write {
    method: &'static str,
    how: How,
    raw: String,
    base_hash: Option<NonEmpty>,
    who: String,
    protocol: u32,
    unix_ms: i64,
}

impl Write {
    /// The reference's order: base, syntax, form, what stands there now, what would stand there.
    fn run(&self, world: &World) -> RpcResult<(Written, Value)> {
        let base = File::load(&world.paths, &world.env);
        self.check_base(&base)?;
        let sent = json5::parse(&self.raw).map_err(|err| RpcError::invalid(format!("SyntaxError: {err}")))?;
        let sent = sent.value();
        if self.how == How::Merge && !sent.is_object() {
            return Err(RpcError::invalid(format!("{} raw must be an object", self.method)));
        }
        if self.how == How::Merge && !base.valid() {
            return Err(RpcError::invalid("invalid config; fix before patching"));
        }
        if !sent.is_object() {
            return Err(invalid(&[Issue::new("", "Invalid input: expected object")]));
        }
        let refused = |err: merge::Refusal| RpcError::invalid(err.to_string());
        let sent = merge::restore(&sent, &base.parsed).map_err(refused)?;
        let new = match self.how {
            How::Replace => sent,
            How::Merge => merge::patch(&base.parsed, &sent).map_err(refused)?,
        };
        // Plain JSON is what programs send: then the comments of the file stay. What a person typed stands as typed.
        let typed = serde_json::from_str::<serde::de::IgnoredAny>(&self.raw).is_err();
        let change = Change {
            paths: &world.paths,
            env: &world.env,
            base: &base,
            who: &format!("{} by {}", self.method, self.who),
            unix_ms: self.unix_ms,
            force: false,
            authored: (self.how == How::Replace && typed).then_some(self.raw.as_str()),
        };
        let written = change.write(&new).map_err(|err| match err {
            WriteError::Invalid(issues) => invalid(&issues),
            WriteError::Drops => RpcError::invalid(
                "this would drop more than half of the configuration; drop less at once, or edit the file itself",
            ),
            WriteError::Changed => changed(),
            WriteError::Busy => RpcError::busy(1000),
            WriteError::File(text) => RpcError::unavailable(text),
            WriteError::Edit(err) => RpcError::invalid(err.to_string()),
            WriteError::Refused(err) => RpcError::invalid(err.to_string()),
        })?;
        let shown =
            Show::to(self.protocol, world, &written.file).value(&with_defaults(&written.file.resolved));
        Ok((written, shown))
    }

    fn check_base(&self, base: &File) -> RpcResult<()> {
        match &self.base_hash {
            _ if !base.exists() => Ok(()),
            None => Err(RpcError::invalid("config base hash required; re-run config.get and retry")),
            Some(it) if it.0 != base.hash => Err(changed()),
            Some(_) => Ok(()),
        }
    }
}

fn changed() -> RpcError {
    RpcError::invalid("config changed since last load; re-run config.get and retry")
}

fn invalid(issues: &[Issue]) -> RpcError {
    RpcError::invalid("invalid config").details(json!({ "issues": issues }))
}

/// Changes the file as this gateway sees fit: a value that is null goes. Where files are written.
///
/// # Errors
/// As `config.patch`.
pub(super) fn patch(world: &World, patch: &Value, method: &'static str, unix_ms: i64) -> RpcResult<()> {
    let base = File::load(&world.paths, &world.env);
    let write = Write {
        method,
        how: How::Merge,
        raw: patch.to_string(),
        base_hash: Some(Text(base.hash)),
        who: method.to_owned(),
        protocol: 3,
        unix_ms,
    };
    write.run(world).map(drop)
}

/// Runs `write` where files are written, then `then` on the core.
fn start<T: Send + 'static>(
    core: &mut Core,
    call: Call,
    write: impl FnOnce(String) -> Write,
    finish: impl FnOnce(&Arc<World>, &Value) -> RpcResult<T> + Send + 'static,
    then: impl FnOnce(&mut Core, Now) + Send + 'static,
) -> RpcResult<Answer<T>> {
    let client = client(core, call);
    core.config_writes.allow(&client, call.now)?;
    let (write, world) = (write(client.clone()), core.world.clone());
    Ok(Answer::Stored(Box::new(move |_| {
        let outcome = write.run(&world).and_then(|(_, shown)| finish(&world, &shown));
        Box::new(move |core: &mut Core, now: Now| {
            let reply = outcome?;
            core.config_writes.count(client, now);
            reload::written(core, now);
            then(core, now);
            Ok(reply)
        }) as Finish<T>
    })))
}

enum ConfigSet {}
impl Rpc for ConfigSet {
    const NAME: &'static str = "config.set";
    const ACCESS: Access = Access::Admin;
    type Params = ConfigSetParams;
    type Reply = ConfigSetReply;
    fn call(core: &mut Core, call: Call, params: ConfigSetParams) -> RpcResult<Answer<ConfigSetReply>> {
        let write = |who| Write {
            method: Self::NAME,
            how: How::Replace,
            raw: params.raw.0,
            base_hash: params.base_hash,
            who,
            protocol: call.protocol,
            unix_ms: call.now.unix_ms,
        };
        let finish = |world: &Arc<World>, config: &Value| {
            Ok(ConfigSetReply {
                ok: true,
                path: world.paths.config.display().to_string(),
                config: config.clone(),
            })
        };
        start(core, call, write, finish, |_, _| {})
    }
}

/// `config.patch` and `config.apply`: a write, then a restart that the caller is told of.
fn write_and_restart(
    core: &mut Core,
    call: Call,
    method: &'static str,
    how: How,
    params: ConfigPatchParams,
) -> RpcResult<Answer<ConfigPatchReply>> {
    let delay_ms =
        params.restart_delay_ms.map_or(RESTART_DELAY_MS, |it| (it.0 as u64).min(RESTART_DELAY_MS_MAX));
    let (session_key, note) = (params.session_key, params.note);
    let write = |who| Write {
        method,
        how,
        raw: params.raw.0,
        base_hash: params.base_hash,
        who,
        protocol: call.protocol,
        unix_ms: call.now.unix_ms,
    };
    let finish = move |world: &Arc<World>, config: &Value| {
        let path = world.paths.config.display().to_string();
        let text = |it: Option<Text<0, { usize::MAX }>>| {
            it.map(|it| it.0.trim().to_owned()).filter(|it| !it.is_empty())
        };
        let payload = Sentinel {
            kind: "config-apply",
            status: "ok",
            ts: call.now.unix_ms,
            session_key: text(session_key),
            message: text(note),
            doctor_hint: "Run: openclaw doctor --non-interactive",
            stats: Stats { mode: method, root: path.clone() },
        };
        sentinel::write(&world.paths.state, &payload).map_err(RpcError::unavailable)?;
        Ok(ConfigPatchReply {
            ok: true,
            path,
            config: config.clone(),
            restart: Restart {
                ok: true,
                pid: std::process::id(),
                signal: "SIGUSR1",
                delay_ms,
                reason: method,
                mode: "emit",
            },
            sentinel: SentinelReply {
                path: sentinel::path(&world.paths.state).display().to_string(),
                payload,
            },
        })
    };
    let then = move |core: &mut Core, now: Now| {
        reload::restart_at(core, now.mono_ms + delay_ms, method.to_owned(), now)
    };
    start(core, call, write, finish, then)
}

enum ConfigPatch {}
impl Rpc for ConfigPatch {
    const NAME: &'static str = "config.patch";
    const ACCESS: Access = Access::Admin;
    type Params = ConfigPatchParams;
    type Reply = ConfigPatchReply;
    fn call(core: &mut Core, call: Call, params: ConfigPatchParams) -> RpcResult<Answer<ConfigPatchReply>> {
        write_and_restart(core, call, Self::NAME, How::Merge, params)
    }
}

enum ConfigApply {}
impl Rpc for ConfigApply {
    const NAME: &'static str = "config.apply";
    const ACCESS: Access = Access::Admin;
    type Params = ConfigPatchParams;
    type Reply = ConfigPatchReply;
    fn call(core: &mut Core, call: Call, params: ConfigPatchParams) -> RpcResult<Answer<ConfigPatchReply>> {
        write_and_restart(core, call, Self::NAME, How::Replace, params)
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
