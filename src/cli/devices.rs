//! `devices`: the clients that are paired, or ask to be. Without a running gateway the state folder itself is changed: so a first device
//! is let in on a machine that nobody sits at.
use super::args::{Calls, command};
use super::call::Trouble;
use super::lock::StateLock;
use super::rpc::{As, Failure};
use super::target::{self, Source};
use super::text::{ago, list, printable, table, word, words};
use super::{Context, fail};
use crate::base::clock::Clock;
use crate::base::ids::os_entropy;
use crate::gateway::methods::devices::offline;
use crate::store::devices::{self, Devices as Stored};
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// paired devices and their tokens
#[derive(FromArgs)]
#[argh(subcommand, name = "devices", help_triggers("-h", "--help", "help"))]
pub struct Devices {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
    Approve(Approve),
    Reject(Reject),
    Remove(Remove),
    Rotate(Rotate),
    Revoke(Revoke),
}

command! {
    /// devices that ask to be paired, and those that are
    #[argh(subcommand, name = "list")]
    List {}
}
command! {
    /// let a device in that asks to be paired
    #[argh(subcommand, name = "approve")]
    Approve {
        /// the request, as `devices list` shows it
        #[argh(positional)]
        request_id: Option<String>,
        /// the newest request
        #[argh(switch)]
        latest: bool,
    }
}
command! {
    /// turn a device away that asks to be paired
    #[argh(subcommand, name = "reject")]
    Reject {
        /// the request, as `devices list` shows it
        #[argh(positional)]
        request_id: String,
    }
}
command! {
    /// forget a paired device
    #[argh(subcommand, name = "remove")]
    Remove {
        /// the device
        #[argh(positional)]
        device_id: String,
    }
}
command! {
    /// give a device a new token, and make the old one worth nothing
    #[argh(subcommand, name = "rotate")]
    Rotate {
        /// the device
        #[argh(option, arg_name = "id")]
        device: String,
        /// the role, operator or node
        #[argh(option)]
        role: String,
        /// cut the device down to this scope (may be given again)
        #[argh(option)]
        scope: Vec<String>,
    }
}
command! {
    /// make a device's token worth nothing
    #[argh(subcommand, name = "revoke")]
    Revoke {
        /// the device
        #[argh(option, arg_name = "id")]
        device: String,
        /// the role, operator or node
        #[argh(option)]
        role: String,
    }
}

impl Devices {
    pub fn run(&self, context: &Context) -> ExitCode {
        match &self.command {
            Command::List(it) => {
                let answer = ask(context, it, "device.pair.list", json!({}));
                context.show(answer, it.json, |it| text(it, Clock::start().now().unix_ms))
            }
            Command::Approve(it) => it.run(context),
            Command::Reject(it) => {
                let answer = ask(context, it, "device.pair.reject", json!({ "requestId": it.request_id }));
                context.show(answer, it.json, |it| format!("Rejected device {}", word(it, "deviceId")))
            }
            Command::Remove(it) => {
                let answer = ask(context, it, "device.pair.remove", json!({ "deviceId": it.device_id }));
                context.show(answer, it.json, |it| format!("Removed device {}", word(it, "deviceId")))
            }
            Command::Rotate(it) => {
                let mut params = json!({ "deviceId": it.device, "role": it.role });
                if !it.scope.is_empty() {
                    params["scopes"] = json!(it.scope);
                }
                // As the reference prints it: scripts read the token of their own device here.
                context.show(ask(context, it, "device.token.rotate", params), true, Value::to_string)
            }
            Command::Revoke(it) => {
                let params = json!({ "deviceId": it.device, "role": it.role });
                context.show(ask(context, it, "device.token.revoke", params), true, Value::to_string)
            }
        }
    }
}

impl Approve {
    fn run(&self, context: &Context) -> ExitCode {
        let id = match (&self.request_id, self.latest) {
            (Some(id), false) => Ok(id.clone()),
            (None, true) => self.latest(context),
            (Some(_), true) => return fail("Give either a request or --latest.", 2),
            (None, false) => {
                let name = context.program();
                return fail(
                    &format!(
                        "Which one? `{name} devices list` shows the requests; --latest takes the newest."
                    ),
                    2,
                );
            }
        };
        let answer = id.and_then(|id| ask(context, self, "device.pair.approve", json!({ "requestId": id })));
        context.show(answer, self.json, |it| {
            let device = &it["device"];
            let (id, roles, scopes) =
                (word(device, "deviceId"), words(device, "roles"), words(device, "scopes"));
            format!("Approved {} ({id})\nRoles: {roles}\nScopes: {}", name(device), printable(&scopes))
        })
    }

    fn latest(&self, context: &Context) -> Result<String, Trouble> {
        let answer = ask(context, self, "device.pair.list", json!({}))?;
        let newest = list(&answer, "pending").first().and_then(|it| it["requestId"].as_str());
        newest.map(str::to_owned).ok_or_else(|| {
            Trouble::from(Failure::Other(
                "no device asks to be paired: let it connect, and try again within five minutes".into(),
            ))
        })
    }
}

/// Asks the gateway; when none runs on this machine, does what it would do.
fn ask(context: &Context, it: &impl Calls, method: &str, params: Value) -> Result<Value, Trouble> {
    let link = it.link();
    let target = target::resolve(&link, &context.config().config, context)
        .map_err(|text| Trouble::from(Failure::Other(text)))?;
    let failure = match context.open_at(&target, As::Cli, link.timeout_ms()) {
        Ok(mut client) => return Ok(client.call(method, Some(params), false)?),
        Err(failure) => failure,
    };
    match (&failure, target.source) {
        // Whoever holds the folder is a gateway, if one that does not answer.
        (Failure::NobodyThere(_), Source::Local) => match StateLock::take(&context.paths.state) {
            Ok(lock) => alone(context, &lock, method, params).map_err(|it| Failure::Other(it).into()),
            Err(_) => Err(context.explain(failure, &target)),
        },
        _ => Err(context.explain(failure, &target)),
    }
}

/// With the state folder to itself.
fn alone(context: &Context, _: &StateLock, method: &str, params: Value) -> Result<Value, String> {
    let state = &context.paths.state;
    let before = Stored::load(&devices::dir(state))?;
    let mut devices = before.clone();
    let unix_ms = Clock::start().now().unix_ms;
    let answer = offline(&mut devices, method, params, unix_ms, &mut os_entropy())?;
    devices.save(&devices::dir(state), &before)?;
    if devices != before {
        fail(&format!("No gateway runs here: {} was changed.", state.join("devices").display()), 0);
    }
    Ok(answer)
}

fn name(it: &Value) -> String {
    printable(it["displayName"].as_str().unwrap_or(word(it, "clientId")))
}

fn text(answer: &Value, now: i64) -> String {
    let (pending, paired) = (list(answer, "pending"), list(answer, "paired"));
    let mut parts = vec![];
    if !pending.is_empty() {
        let row = |it: &Value| {
            vec![
                word(it, "requestId").into(),
                name(it),
                word(it, "role").into(),
                words(it, "scopes"),
                word(it, "remoteIp").into(),
                ago(&it["ts"], now),
            ]
        };
        let rows: Vec<_> = pending.iter().map(row).collect();
        let head = ["Request", "Device", "Role", "Scopes", "IP", "Requested"];
        parts.push(format!("Pending ({})\n{}", rows.len(), table(&head, &rows)));
    }
    if !paired.is_empty() {
        let token = |it: &Value| match it["revokedAtMs"].is_null() {
            true => word(it, "role").to_owned(),
            false => format!("{} (revoked)", word(it, "role")),
        };
        let tokens = |it: &Value| list(it, "tokens").iter().map(token).collect::<Vec<_>>().join(", ");
        let row = |it: &Value| {
            vec![
                name(it),
                words(it, "roles"),
                words(it, "scopes"),
                tokens(it),
                word(it, "remoteIp").into(),
                word(it, "deviceId").into(),
            ]
        };
        let rows: Vec<_> = paired.iter().map(row).collect();
        let head = ["Device", "Roles", "Scopes", "Tokens", "IP", "Id"];
        parts.push(format!("Paired ({})\n{}", rows.len(), table(&head, &rows)));
    }
    if parts.is_empty() { "No device pairing entries.".into() } else { parts.join("\n\n") }
}
