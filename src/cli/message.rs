//! `message`: words, polls and reactions to somebody on a chat network, through the gateway.
use super::args::{Calls, command};
use super::text::list;
use super::{Context, fail};
use crate::base::ids::{os_entropy, uuid};
use argh::FromArgs;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// say something on a chat network
#[derive(FromArgs)]
#[argh(subcommand, name = "message", help_triggers("-h", "--help", "help"))]
pub struct Message {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Send(Send),
    Poll(Poll),
    React(React),
    Edit(Edit),
    Delete(Delete),
    Read(Read),
}

/// A command about a place on a network.
macro_rules! about {
    ($(#[$($meta:tt)*])* $name:ident { $($own:tt)* }) => {
        command! {
            $(#[$($meta)*])*
            $name {
                $($own)*
                /// chat network (default: the only one there is)
                #[argh(option, arg_name = "name")]
                channel: Option<String>,
                /// account of the network
                #[argh(option, arg_name = "id")]
                account: Option<String>,
                /// whom or where: a chat id or @name
                #[argh(option, short = 't', arg_name = "dest")]
                target: String,
                /// print what would be asked, and ask nothing
                #[argh(switch)]
                dry_run: bool,
            }
        }
        impl About for $name {
            fn place(&self) -> (Option<&str>, Option<&str>, &str, bool) {
                (self.channel.as_deref(), self.account.as_deref(), &self.target, self.dry_run)
            }
        }
    };
}

/// Channel, account, target; and whether to do nothing.
trait About: Calls {
    fn place(&self) -> (Option<&str>, Option<&str>, &str, bool);
}

about! {
    /// send a message
    #[argh(subcommand, name = "send")]
    Send {
        /// what to say
        #[argh(option, short = 'm', arg_name = "text")]
        message: Option<String>,
        /// file of the workspace, or address, to send along
        #[argh(option, arg_name = "path")]
        media: Option<String>,
        /// rows of buttons, as JSON
        #[argh(option, arg_name = "json")]
        buttons: Option<String>,
        /// message to answer
        #[argh(option, arg_name = "id")]
        reply_to: Option<String>,
        /// topic of the group
        #[argh(option, arg_name = "id")]
        thread_id: Option<String>,
        /// without a sound
        #[argh(switch)]
        silent: bool,
    }
}
about! {
    /// ask a question with answers to choose from
    #[argh(subcommand, name = "poll")]
    Poll {
        /// the question
        #[argh(option, arg_name = "text")]
        poll_question: String,
        /// an answer (2 to 12 of them)
        #[argh(option, arg_name = "text")]
        poll_option: Vec<String>,
        /// more than one may be chosen
        #[argh(switch)]
        poll_multi: bool,
        /// how long it is open
        #[argh(option, arg_name = "hours")]
        poll_duration_hours: Option<u32>,
    }
}
about! {
    /// react to a message
    #[argh(subcommand, name = "react")]
    React {
        /// the message
        #[argh(option, arg_name = "id")]
        message_id: String,
        /// the reaction; without it ours is taken away
        #[argh(option, arg_name = "emoji")]
        emoji: Option<String>,
        /// take the reaction away
        #[argh(switch)]
        remove: bool,
    }
}
about! {
    /// change a message of the bot
    #[argh(subcommand, name = "edit")]
    Edit {
        /// the message
        #[argh(option, arg_name = "id")]
        message_id: String,
        /// what it is to say
        #[argh(option, short = 'm', arg_name = "text")]
        message: String,
    }
}
about! {
    /// delete a message
    #[argh(subcommand, name = "delete")]
    Delete {
        /// the message
        #[argh(option, arg_name = "id")]
        message_id: String,
    }
}
about! {
    /// read what was said in a chat
    #[argh(subcommand, name = "read")]
    Read {
        /// messages to show
        #[argh(option, arg_name = "n")]
        limit: Option<u32>,
    }
}

impl Message {
    pub fn run(&self, context: &Context) -> ExitCode {
        let done = match &self.command {
            Command::Send(it) => it.run(context),
            Command::Poll(it) => it.run(context),
            Command::React(it) => {
                let emoji = it.emoji.as_ref().filter(|_| !it.remove);
                act(context, it, "react", json!({ "messageId": it.message_id, "emoji": emoji }))
            }
            Command::Edit(it) => {
                act(context, it, "edit", json!({ "messageId": it.message_id, "message": it.message }))
            }
            Command::Delete(it) => act(context, it, "delete", json!({ "messageId": it.message_id })),
            Command::Read(it) => act(context, it, "read", json!({ "limit": it.limit })),
        };
        done.unwrap_or_else(|wrong| fail(&wrong, 2))
    }
}

/// The channel that is meant; the only one that the gateway has, when none is named.
fn channel(context: &Context, it: &impl About) -> Result<String, String> {
    if let Some(name) = it.place().0.map(str::trim).filter(|it| !it.is_empty()) {
        return Ok(name.to_lowercase());
    }
    let status =
        context.call(it.link(), "channels.status", Some(json!({}))).map_err(|err| err.to_string())?;
    let all: Vec<&str> = list(&status, "channelOrder").iter().filter_map(Value::as_str).collect();
    match all[..] {
        [only] => Ok(only.to_owned()),
        [] => Err("No chat network is configured: see `channels add --help`.".into()),
        _ => Err(format!("Which network? Give --channel: {}.", all.join(", "))),
    }
}

fn ask(context: &Context, it: &impl About, method: &str, mut params: Value) -> Result<ExitCode, String> {
    let (_, account, _, dry_run) = it.place();
    params["channel"] = channel(context, it)?.into();
    if let Some(account) = account {
        params["accountId"] = account.into();
    }
    params["idempotencyKey"] = uuid(&mut os_entropy()).into();
    if dry_run {
        return Ok(context.show(Ok(json!({ "method": method, "params": params })), true, Value::to_string));
    }
    Ok(context.show(context.call(it.link(), method, Some(params)), it.json(), text))
}

fn act(context: &Context, it: &impl About, action: &str, mut params: Value) -> Result<ExitCode, String> {
    params["to"] = it.place().2.into();
    if let Some(map) = params.as_object_mut() {
        map.retain(|_, it| !it.is_null());
    }
    ask(context, it, "message.action", json!({ "action": action, "params": params }))
}

fn text(answer: &Value) -> String {
    match answer["messageId"].as_str() {
        Some(id) => format!("Done: message {id}."),
        None => "Done.".to_owned(),
    }
}

impl Send {
    fn run(&self, context: &Context) -> Result<ExitCode, String> {
        let message = self.message.clone().unwrap_or_default();
        if message.trim().is_empty() && self.media.is_none() {
            return Err("Nothing to send: give --message or --media.".into());
        }
        let buttons = self.buttons.as_ref().map(|it| {
            serde_json::from_str::<Value>(it).map_err(|err| format!("--buttons is no JSON: {err}"))
        });
        let buttons = buttons.transpose()?;
        let is_plain = buttons.is_none()
            && self.reply_to.is_none()
            && self.thread_id.is_none()
            && !self.silent
            && !message.is_empty();
        if is_plain {
            // What the original's gateway knows too.
            let mut params = json!({ "to": self.target, "message": message });
            if let Some(media) = &self.media {
                params["mediaUrl"] = media.as_str().into();
            }
            return ask(context, self, "send", params);
        }
        let mut params = Map::new();
        for (name, value) in
            [("media", &self.media), ("replyTo", &self.reply_to), ("threadId", &self.thread_id)]
        {
            params.extend(value.as_ref().map(|it| (name.to_owned(), it.as_str().into())));
        }
        params.insert("message".into(), message.into());
        params.insert("silent".into(), self.silent.into());
        params.extend(buttons.map(|it| ("buttons".to_owned(), it)));
        act(context, self, "send", params.into())
    }
}

impl Poll {
    fn run(&self, context: &Context) -> Result<ExitCode, String> {
        if !(2..=12).contains(&self.poll_option.len()) {
            return Err("Give 2 to 12 times --poll-option.".into());
        }
        let most = if self.poll_multi { self.poll_option.len() } else { 1 };
        let mut params = json!({ "to": self.target, "question": self.poll_question, "options": self.poll_option, "maxSelections": most });
        if let Some(hours) = self.poll_duration_hours {
            params["durationHours"] = hours.into();
        }
        ask(context, self, "poll", params)
    }
}
