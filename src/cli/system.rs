//! `system`: presence, wake events and heartbeats.
use super::args::{Calls, command};
use super::{Context, fail};
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// presence, wake events, heartbeats
#[derive(FromArgs)]
#[argh(subcommand, name = "system", help_triggers("-h", "--help", "help"))]
pub struct System {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Presence(Presence),
    Event(Event),
    Heartbeat(Heartbeat),
}

command! {
    /// who is connected
    #[argh(subcommand, name = "presence")]
    Presence {}
}
command! {
    /// queue a system event for the main session
    #[argh(subcommand, name = "event")]
    Event {
        /// what happened
        #[argh(option)]
        text: String,
        /// now or next-heartbeat (default)
        #[argh(option, default = "\"next-heartbeat\".to_owned()")]
        mode: String,
    }
}

/// the heartbeat of the agents
#[derive(FromArgs)]
#[argh(subcommand, name = "heartbeat", help_triggers("-h", "--help", "help"))]
struct Heartbeat {
    #[argh(subcommand)]
    command: HeartbeatCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum HeartbeatCommand {
    Last(Last),
    Enable(Enable),
    Disable(Disable),
}

command! {
    /// the last heartbeat
    #[argh(subcommand, name = "last")]
    Last {}
}
command! {
    /// let heartbeats run (until the gateway restarts)
    #[argh(subcommand, name = "enable")]
    Enable {}
}
command! {
    /// hold heartbeats (until the gateway restarts)
    #[argh(subcommand, name = "disable")]
    Disable {}
}

impl System {
    pub fn run(&self, context: &Context) -> ExitCode {
        let print = |it: &dyn Calls, method: &str, params: Option<Value>| {
            context.show(context.call(it.link(), method, params), true, Value::to_string)
        };
        match &self.command {
            Command::Presence(it) => print(it, "system-presence", None),
            Command::Event(it) => it.run(context),
            Command::Heartbeat(it) => match &it.command {
                HeartbeatCommand::Last(it) => print(it, "last-heartbeat", None),
                HeartbeatCommand::Enable(it) => print(it, "set-heartbeats", Some(json!({ "enabled": true }))),
                HeartbeatCommand::Disable(it) => {
                    print(it, "set-heartbeats", Some(json!({ "enabled": false })))
                }
            },
        }
    }
}

impl Event {
    fn run(&self, context: &Context) -> ExitCode {
        if self.text.trim().is_empty() {
            return fail("--text is empty: say what happened", 2);
        }
        if !["now", "next-heartbeat"].contains(&&*self.mode) {
            return fail(&format!("--mode {}: use now or next-heartbeat", self.mode), 2);
        }
        let answer = context.call(self.link(), "wake", Some(json!({ "mode": self.mode, "text": self.text })));
        context.show(answer, self.json, |_| "ok".into())
    }
}
