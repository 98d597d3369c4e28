//! `channels`: the chat networks as the gateway sees them, and the accounts that the configuration names.
use super::args::{Calls, command};
use super::text::{ago, list, table};
use super::{Context, fail, say};
use crate::base::clock::Clock;
use crate::channels::{About, Account, CHANNELS, Channel, named};
use crate::config::write::Change;
use crate::config::{DEFAULT_ACCOUNT, File, normal_id};
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// chat networks
#[derive(FromArgs)]
#[argh(subcommand, name = "channels", help_triggers("-h", "--help", "help"))]
pub struct Channels {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
    Status(Status),
    Add(Add),
    Remove(Remove),
    Login(Login),
    Logout(Logout),
    Logs(Logs),
}

command! {
    /// accounts of every channel and their state
    #[argh(subcommand, name = "status")]
    Status {
        /// ask the networks too
        #[argh(switch)]
        probe: bool,
    }
}

/// accounts that the configuration and the environment name
#[derive(FromArgs)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// put an account into the configuration, or change it
#[derive(FromArgs)]
#[argh(subcommand, name = "add", help_triggers("-h", "--help", "help"))]
struct Add {
    /// the network, as telegram
    #[argh(option, arg_name = "name", default = "String::from(\"telegram\")")]
    channel: String,
    /// the account (default: the network's own)
    #[argh(option, arg_name = "id")]
    account: Option<String>,
    /// what it is called
    #[argh(option, arg_name = "name")]
    name: Option<String>,
    /// the bot's token
    #[argh(option, arg_name = "token")]
    token: Option<String>,
    /// a file that holds the token
    #[argh(option, arg_name = "path")]
    token_file: Option<String>,
    /// take the token of the environment
    #[argh(switch)]
    use_env: bool,
}

/// switch an account off, or take it out of the configuration
#[derive(FromArgs)]
#[argh(subcommand, name = "remove", help_triggers("-h", "--help", "help"))]
struct Remove {
    /// the network, as telegram
    #[argh(option, arg_name = "name", default = "String::from(\"telegram\")")]
    channel: String,
    /// the account (default: the network's own)
    #[argh(option, arg_name = "id")]
    account: Option<String>,
    /// take it out, instead of switching it off
    #[argh(switch)]
    delete: bool,
}

/// sign an account in
#[derive(FromArgs)]
#[argh(subcommand, name = "login", help_triggers("-h", "--help", "help"))]
struct Login {
    /// the network, as telegram
    #[argh(option, arg_name = "name", default = "String::from(\"telegram\")")]
    channel: String,
    /// the account
    #[argh(option, arg_name = "id")]
    account: Option<String>,
}

command! {
    /// sign an account out: its token leaves the configuration
    #[argh(subcommand, name = "logout")]
    Logout {
        /// the network, as telegram
        #[argh(option, arg_name = "name", default = "String::from(\"telegram\")")]
        channel: String,
        /// the account
        #[argh(option, arg_name = "id")]
        account: Option<String>,
    }
}

command! {
    /// what the gateway's log says of channels
    #[argh(subcommand, name = "logs")]
    Logs {
        /// one network, or all
        #[argh(option, arg_name = "name", default = "String::from(\"all\")")]
        channel: String,
        /// lines to show (default 200)
        #[argh(option, arg_name = "n", default = "200")]
        lines: usize,
    }
}

impl Channels {
    pub fn run(&self, context: &Context) -> ExitCode {
        let done = match &self.command {
            Command::Status(it) => {
                let link = it.link();
                let params = json!({ "probe": it.probe, "timeoutMs": link.timeout_ms() });
                return context.show(context.call(link, "channels.status", Some(params)), it.json, text);
            }
            Command::Logout(it) => {
                let params = json!({ "channel": it.channel, "accountId": it.account });
                let mut params = params;
                if let Some(map) = params.as_object_mut() {
                    map.retain(|_, it| !it.is_null());
                }
                return context.show(
                    context.call(it.link(), "channels.logout", Some(params)),
                    it.json,
                    signed_out,
                );
            }
            Command::Logs(it) => return it.run(context),
            Command::List(it) => return it.run(context),
            Command::Add(it) => it.run(context),
            Command::Remove(it) => it.run(context),
            Command::Login(it) => it.run(context),
        };
        match done {
            Ok(said) => say(&said),
            Err((said, status)) => fail(&said, status),
        }
    }
}

/// What is said, or what is wrong and the exit code.
type Done = Result<String, (String, u8)>;

fn network(name: &str) -> Result<&'static dyn Channel, (String, u8)> {
    let known = CHANNELS.iter().map(|it| it.meta().id).collect::<Vec<_>>().join(", ");
    named(&name.trim().to_lowercase())
        .ok_or_else(|| (format!("Unknown channel {name:?}: there is {known}."), 2))
}

fn about(context: &Context, file: &File) -> About {
    About {
        config: file.resolved.clone(),
        mentions: file.config.mentions.clone(),
        env: context.env.clone(),
        paths: context.paths.clone(),
        program: context.program(),
    }
}

/// Where an account stands in the configuration: below `channels`.
fn section<'v>(root: &'v mut Value, channel: &str, account: Option<&str>) -> &'v mut Value {
    let at = &mut root["channels"][channel];
    let Some(account) = account.map(normal_id).filter(|it| it != DEFAULT_ACCOUNT) else { return at };
    let accounts = &mut at["accounts"];
    // As the file spells it.
    let spelled = accounts.as_object().and_then(|it| it.keys().find(|it| normal_id(it) == account).cloned());
    &mut accounts[spelled.unwrap_or(account)]
}

fn write(context: &Context, file: &File, new: &Value, who: &str) -> Result<(), (String, u8)> {
    let change = Change {
        paths: &context.paths,
        env: &context.env,
        base: file,
        who,
        unix_ms: Clock::start().now().unix_ms,
        force: false,
        authored: None,
    };
    change.write(new).map(drop).map_err(|err| (err.to_string(), 1))
}

impl Add {
    fn run(&self, context: &Context) -> Done {
        let meta = network(&self.channel)?.meta();
        if self.token.is_none() && self.token_file.is_none() && !self.use_env {
            return Err((
                "Give --token, --token-file or --use-env. A bot's token comes from @BotFather.".into(),
                2,
            ));
        }
        let file = context.config();
        let mut new = Value::clone(&file.resolved);
        let at = section(&mut new, meta.id, self.account.as_deref());
        for (name, value) in
            [("botToken", &self.token), ("tokenFile", &self.token_file), ("name", &self.name)]
        {
            if let Some(value) = value {
                at[name] = value.trim().into();
            }
        }
        at["enabled"] = true.into();
        write(context, &file, &new, "channels add")?;
        let account = self.account.as_deref().map_or_else(|| DEFAULT_ACCOUNT.to_owned(), normal_id);
        Ok(format!(
            "{} account {account} is configured. A running gateway takes it up by itself; `{} channels status --probe` shows it.",
            meta.label,
            context.program()
        ))
    }
}

impl Remove {
    fn run(&self, context: &Context) -> Done {
        let meta = network(&self.channel)?.meta();
        let file = context.config();
        let mut new = Value::clone(&file.resolved);
        let account = self.account.as_deref().map_or_else(|| DEFAULT_ACCOUNT.to_owned(), normal_id);
        let known = meta_accounts(context, &file, meta.id).iter().any(|it| it.id == account);
        if !known {
            return Err((
                format!(
                    "{} has no account {account:?}: see `{} channels list`.",
                    meta.label,
                    context.program()
                ),
                1,
            ));
        }
        if !self.delete {
            section(&mut new, meta.id, Some(&account))["enabled"] = false.into();
            write(context, &file, &new, "channels remove")?;
            return Ok(format!("{} account {account} is switched off; --delete takes it out.", meta.label));
        }
        let at = &mut new["channels"][meta.id];
        if account == DEFAULT_ACCOUNT {
            let map = at.as_object_mut().into_iter();
            map.for_each(|it| {
                it.retain(|name, _| !["botToken", "tokenFile", "name"].contains(&name.as_str()))
            });
        }
        if let Some(map) = at["accounts"].as_object_mut() {
            map.retain(|name, _| normal_id(name) != account);
        }
        if at["accounts"].as_object().is_none_or(serde_json::Map::is_empty)
            && let Some(map) = at.as_object_mut()
        {
            map.shift_remove("accounts");
        }
        write(context, &file, &new, "channels remove --delete")?;
        Ok(format!("{} account {account} is out of the configuration.", meta.label))
    }
}

impl Login {
    fn run(&self, context: &Context) -> Done {
        let meta = network(&self.channel)?.meta();
        let file = context.config();
        let account = self.account.as_deref().map_or_else(|| DEFAULT_ACCOUNT.to_owned(), normal_id);
        let found = meta_accounts(context, &file, meta.id).into_iter().find(|it| it.id == account);
        let hint = format!(
            "get a token from @BotFather and run `{} channels add --channel {} --token TOKEN`",
            context.program(),
            meta.id
        );
        let Some(found) = found.filter(|it| it.configured) else {
            return Err((format!("{} account {account} has no token: {hint}.", meta.label), 1));
        };
        let said = (found.probe)(10_000).probe;
        match said["ok"] == true {
            true => Ok(format!(
                "{} account {account} is signed in as @{}.",
                meta.label,
                said["bot"]["username"].as_str().unwrap_or("?")
            )),
            false => Err((
                format!(
                    "{} does not take the token of {account}: {}; {hint}.",
                    meta.label,
                    said["error"].as_str().unwrap_or("no answer")
                ),
                1,
            )),
        }
    }
}

fn meta_accounts(context: &Context, file: &File, channel: &str) -> Vec<Account> {
    named(channel).map(|it| it.accounts(&about(context, file))).unwrap_or_default()
}

impl List {
    fn run(&self, context: &Context) -> ExitCode {
        let file = context.config();
        let all: Vec<Account> = CHANNELS.iter().flat_map(|it| it.accounts(&about(context, &file))).collect();
        if self.json {
            let one = |it: &Account| json!({ "channel": it.channel, "accountId": it.id, "enabled": it.enabled, "configured": it.configured, "tokenSource": it.facts.get("tokenSource"), "name": it.facts.get("name") });
            return say(&format!("{:#}", json!({ "accounts": all.iter().map(one).collect::<Vec<_>>() })));
        }
        if all.is_empty() {
            return say(&format!(
                "No channels are configured: `{} channels add --channel telegram --token TOKEN` adds one.",
                context.program()
            ));
        }
        let row = |it: &Account| {
            let word = |name: &str| it.facts.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let state = match (it.enabled, it.configured) {
                (false, _) => "off",
                (true, false) => "not configured",
                (true, true) => "configured",
            };
            vec![
                it.channel.to_owned(),
                it.id.clone(),
                state.to_owned(),
                word("tokenSource"),
                word("name"),
                word("lastError"),
            ]
        };
        say(&table(
            &["CHANNEL", "ACCOUNT", "STATE", "TOKEN", "NAME", "PROBLEM"],
            &all.iter().map(row).collect::<Vec<_>>(),
        ))
    }
}

impl Logs {
    fn run(&self, context: &Context) -> ExitCode {
        let wanted = self.channel.trim().to_lowercase();
        let answer =
            context.call(self.link(), "logs.tail", Some(json!({ "limit": 5000, "maxBytes": 1_000_000 })));
        let answer = match answer {
            Ok(it) => it,
            Err(trouble) => return context.report(&trouble),
        };
        let of = |line: &&str| line.contains("\"channels\"") || line.contains("channels");
        let named = |line: &&str| wanted == "all" || line.to_lowercase().contains(&wanted);
        let lines: Vec<&str> =
            list(&answer, "lines").iter().filter_map(Value::as_str).filter(of).filter(named).collect();
        let last = &lines[lines.len().saturating_sub(self.lines)..];
        match self.json {
            true => {
                say(&format!("{:#}", json!({ "file": answer["file"], "channel": wanted, "lines": last })))
            }
            false if last.is_empty() => say("The log says nothing of channels."),
            false => say(&last.join("\n")),
        }
    }
}

fn signed_out(answer: &Value) -> String {
    let account = answer["accountId"].as_str().unwrap_or(DEFAULT_ACCOUNT);
    match (answer["cleared"] == true, answer["envToken"] == true) {
        (_, true) => format!("{account} stays signed in: its token is in the environment."),
        (true, false) => format!("{account} is signed out."),
        (false, false) => format!("{account} had no token in the configuration."),
    }
}

fn text(answer: &Value) -> String {
    let unix_ms = answer["ts"].as_i64().unwrap_or(0);
    let mut lines = vec!["Gateway reachable.".to_owned()];
    for id in list(answer, "channelOrder").iter().filter_map(Value::as_str) {
        let label = answer["channelLabels"][id].as_str().unwrap_or(id);
        for account in list(&answer["channelAccounts"], id) {
            let flags = ["enabled", "configured", "linked", "running", "connected"];
            let set: Vec<&str> = flags.into_iter().filter(|flag| account[*flag] == true).collect();
            let state = if set.is_empty() { "not configured".to_owned() } else { set.join(", ") };
            let times = [("polled", "lastPollAt"), ("in", "lastInboundAt"), ("out", "lastOutboundAt")];
            let times = times.iter().filter(|it| account[it.1].is_i64());
            let times: String =
                times.map(|it| format!(", {}:{}", it.0, ago(&account[it.1], unix_ms))).collect();
            let bot = account["probe"]["bot"]["username"].as_str().map(|it| format!(", works as @{it}"));
            let probe = account["probe"]["error"].as_str().map(|it| format!(", probe failed: {it}"));
            let error = account["lastError"].as_str().map(|it| format!(", error: {it}")).unwrap_or_default();
            let absent: String = list(&account["audit"], "groups")
                .iter()
                .filter(|it| it["ok"] == false)
                .filter_map(|it| {
                    Some(format!(", group {}: {}", it["chatId"].as_str()?, it["error"].as_str()?))
                })
                .collect();
            let account = account["accountId"].as_str().unwrap_or("default");
            let probed = bot.or(probe).unwrap_or_default();
            lines.push(format!("- {label} {account}: {state}{times}{probed}{absent}{error}"));
        }
    }
    if lines.len() == 1 {
        lines.push("No channels are configured.".to_owned());
    }
    lines.join("\n")
}
