//! `agent`: one turn of an agent, run by the gateway.
//!
//! * The gateway answers twice on one id: `accepted` at once, and how the run ended. No answer of this command's is the first.
//! * Nothing runs here: without a gateway there is no turn.
use super::call::Trouble;
use super::rpc::{As, Client, Failure};
use super::target::{self, Link, TIMEOUT_MS};
use super::text::list;
use super::{Context, fail, print, say};
use crate::base::ids;
use crate::config::{Config, normal_id};
use crate::gateway::sessions::main_key;
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// The default of `--timeout`, seconds, where `agents.defaults.timeoutSeconds` says nothing. Reference: 600.
const TIMEOUT_S: u64 = 600;
/// How much longer than the run its answer is waited for, seconds. Reference: 30.
const GRACE_S: u64 = 30;
/// Reference: sent when no channel is named, and used with --deliver alone.
const CHANNEL: &str = "whatsapp";

/// let an agent answer a message
#[derive(FromArgs)]
#[argh(subcommand, name = "agent", help_triggers("-h", "--help", "help"))]
pub struct Agent {
    /// what to say to the agent
    #[argh(option, short = 'm', arg_name = "text")]
    message: String,
    /// person whose session it is, as +15555550123
    #[argh(option, short = 't', arg_name = "number")]
    to: Option<String>,
    /// session to go on with
    #[argh(option, arg_name = "id")]
    session_id: Option<String>,
    /// agent to ask, in its main session
    #[argh(option, arg_name = "id")]
    agent: Option<String>,
    /// off, minimal, low, medium or high
    #[argh(option, arg_name = "level")]
    thinking: Option<String>,
    /// on or off: what the session tells of tools, from now on
    #[argh(option, arg_name = "on|off")]
    verbose: Option<String>,
    /// send the answer to the channel too
    #[argh(switch)]
    deliver: bool,
    /// channel of the conversation (default whatsapp)
    #[argh(option, arg_name = "name", default = "CHANNEL.to_owned()")]
    channel: String,
    /// send the answer to this person or group instead
    #[argh(option, arg_name = "target")]
    reply_to: Option<String>,
    /// send the answer through this channel instead
    #[argh(option, arg_name = "name")]
    reply_channel: Option<String>,
    /// send the answer from this account of the channel
    #[argh(option, arg_name = "id")]
    reply_account: Option<String>,
    /// not supported: the gateway runs agents
    #[argh(switch)]
    local: bool,
    /// give up after this long (default 600 or agents.defaults.timeoutSeconds)
    #[argh(option, arg_name = "seconds")]
    timeout: Option<u32>,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Agent {
    pub fn run(&self, context: &Context) -> ExitCode {
        if let Some(wrong) = self.wrong() {
            return fail(&wrong, 2);
        }
        let file = context.config();
        let configured = file.resolved.pointer("/agents/defaults/timeoutSeconds").and_then(Value::as_u64);
        let timeout_s = self.timeout.map(u64::from).or(configured).unwrap_or(TIMEOUT_S);
        let mut client = match self.connect(context, &file.config) {
            Ok(it) => it,
            Err(trouble) => return fail(&format!("The message was not sent: {trouble}"), 1),
        };
        let answer = self.prepare(&mut client, &file.config).and_then(|key| {
            client.set_timeout((timeout_s + GRACE_S) * 1000);
            let id = ids::uuid(&mut ids::os_entropy());
            client.call("agent", Some(self.params(key.as_deref(), timeout_s, &id)), true)
        });
        let status = match answer {
            Ok(payload) => self.show(&payload),
            Err(failure) => self.failed(&failure),
        };
        client.close();
        status
    }

    /// A wrong command line, in words.
    fn wrong(&self) -> Option<String> {
        let blank = |it: &Option<String>| it.as_deref().is_none_or(|it| it.trim().is_empty());
        let text = if self.local {
            "--local is not supported: start the gateway, it runs the agents."
        } else if self.message.trim().is_empty() {
            "--message is empty: say something to the agent."
        } else if blank(&self.to) && blank(&self.session_id) && blank(&self.agent) {
            "Which session? Give --agent, --to or --session-id."
        } else if self.timeout == Some(0) {
            "--timeout 0: give at least 1 second."
        } else {
            return None;
        };
        Some(text.to_owned())
    }

    fn connect(&self, context: &Context, config: &Config) -> Result<Client, Trouble> {
        let target = target::resolve(&Link::default(), config, context).map_err(Failure::Other)?;
        let client = context.open_at(&target, As::Cli, TIMEOUT_MS);
        let mut client = client.map_err(|it| context.explain(it, &target))?;
        client.watch_signals().map_err(|err| Failure::Other(format!("cannot watch for Ctrl-C: {err}")))?;
        Ok(client)
    }

    /// The key of the session, where one is known; with --verbose, set there first.
    fn prepare(&self, client: &mut Client, config: &Config) -> Result<Option<String>, Failure> {
        let mut key = self.session_key(config);
        if let (Some(id), None) = (given(&self.session_id), given(&self.agent)) {
            match client.call("sessions.resolve", Some(json!({ "sessionId": id })), false) {
                Ok(it) => key = it["key"].as_str().map(str::to_owned).or(key),
                // A new one, then.
                Err(Failure::Refused { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        if let Some(level) = given(&self.verbose) {
            let unknown = || Failure::Other("--verbose: there is no such session yet; give --agent".into());
            let patch = json!({ "key": key.as_ref().ok_or_else(unknown)?, "verboseLevel": level });
            client.call("sessions.patch", Some(patch), false)?;
        }
        Ok(key)
    }

    fn session_key(&self, config: &Config) -> Option<String> {
        match (given(&self.agent), given(&self.to)) {
            (Some(agent), _) => Some(main_key(&normal_id(agent), false)),
            (None, Some(_)) => Some(main_key(config.agents.default_id(), config.session.global)),
            (None, None) => None,
        }
    }

    /// In the order and with the defaults of the reference's command.
    fn params(&self, session_key: Option<&str>, timeout_s: u64, idempotency_key: &str) -> Value {
        let mut params = json!({ "message": self.message.trim() });
        let agent = given(&self.agent).map(normal_id);
        let channel = self.channel.trim().to_lowercase();
        let reply_channel = given(&self.reply_channel).map(str::to_lowercase);
        for (name, value) in [
            ("agentId", agent.as_deref()),
            ("to", given(&self.to)),
            ("replyTo", given(&self.reply_to)),
            ("sessionId", given(&self.session_id)),
            ("sessionKey", session_key),
            ("thinking", given(&self.thinking)),
        ] {
            if let Some(value) = value {
                params[name] = value.into();
            }
        }
        params["deliver"] = self.deliver.into();
        params["channel"] = if channel.is_empty() { CHANNEL.into() } else { channel.into() };
        let late =
            [("replyChannel", reply_channel.as_deref()), ("replyAccountId", given(&self.reply_account))];
        for (name, value) in late {
            if let Some(value) = value {
                params[name] = value.into();
            }
        }
        params["timeout"] = timeout_s.into();
        params["idempotencyKey"] = idempotency_key.into();
        params
    }

    fn show(&self, payload: &Value) -> ExitCode {
        say(&if self.json { format!("{payload:#}") } else { text(payload) });
        if payload["result"]["meta"]["aborted"] == true {
            fail("The run was aborted.", 0);
        }
        match payload["status"].as_str() {
            None | Some("ok") => ExitCode::SUCCESS,
            Some(status) => fail(&format!("The run failed: {status}."), 1),
        }
    }

    fn failed(&self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::Signal(signal) => {
                let status = u8::try_from(128 + signal).unwrap_or(1);
                fail("Interrupted. A run that has begun goes on at the gateway.", status)
            }
            Failure::Refused { message, payload, .. } if !payload.is_null() => {
                if self.json {
                    print(&format!("{payload:#}"));
                }
                fail(&format!("The run failed: {message}"), 1)
            }
            Failure::Refused { message, .. } => fail(&format!("The agent did not run: {message}"), 1),
            Failure::Timeout(_) => {
                fail(&format!("No answer: {failure}. A run that has begun goes on at the gateway."), 1)
            }
            Failure::Closed { .. } => fail(&format!("No answer: {failure}"), 1),
            other => fail(&format!("The agent did not run: {other}"), 1),
        }
    }
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|it| !it.is_empty())
}

/// What the agent said: texts, and `MEDIA:` lines for what comes with them; else how the run ended.
fn text(payload: &Value) -> String {
    let mut lines = vec![];
    for it in list(&payload["result"], "payloads") {
        let said = it["text"].as_str().map(str::trim_end).filter(|it| !it.is_empty());
        lines.extend(said.map(str::to_owned));
        let several = list(it, "mediaUrls");
        let media = if several.is_empty() { std::slice::from_ref(&it["mediaUrl"]) } else { several };
        lines.extend(media.iter().filter_map(Value::as_str).map(|it| format!("MEDIA:{it}")));
    }
    if lines.is_empty() {
        let summary = payload["summary"].as_str().filter(|it| !it.is_empty());
        return summary.unwrap_or("The agent gave no answer.").to_owned();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_for_tests;

    fn agent(words: &str) -> Agent {
        Agent::from_args(&["agent"], &words.split(' ').collect::<Vec<_>>()).ok().unwrap()
    }
    fn params(words: &str, config: Value) -> Value {
        let it = agent(words);
        it.params(it.session_key(&read_for_tests(&config)).as_deref(), 600, "u")
    }
    /// As measured on the reference's command.
    #[test]
    fn params_are_the_references() {
        let none = json!({});
        assert_eq!(
            params("-m hi --agent MAIN", none.clone()).to_string(),
            r#"{"message":"hi","agentId":"main","sessionKey":"agent:main:main","deliver":false,"channel":"whatsapp","timeout":600,"idempotencyKey":"u"}"#
        );
        let all = "--message hi --agent main --thinking high --verbose on --deliver --channel TG --reply-to x \
                   --reply-channel slack --reply-account acc --timeout 5 --to +1555 --session-id s";
        assert_eq!(
            params(all, none.clone()).to_string(),
            r##"{"message":"hi","agentId":"main","to":"+1555","replyTo":"x","sessionId":"s","sessionKey":"agent:main:main","thinking":"high","deliver":true,"channel":"tg","replyChannel":"slack","replyAccountId":"acc","timeout":600,"idempotencyKey":"u"}"##
        );
        let key = |words: &str, config: Value| params(words, config).get("sessionKey").cloned();
        assert_eq!(key("-m hi --session-id s", none.clone()), None);
        assert_eq!(key("-m hi -t +1555", none), Some("agent:main:main".into()));
        let global = json!({ "session": { "scope": "global" } });
        assert_eq!(key("-m hi -t +1555", global.clone()), Some("global".into()));
        assert_eq!(key("-m hi --agent main", global), Some("agent:main:main".into()));
        let listed = json!({ "agents": { "list": [{ "id": "ops" }, { "id": "zed", "default": true }] } });
        assert_eq!(key("-m hi -t +1555", listed.clone()), Some("agent:zed:main".into()));
        assert_eq!(key("-m hi --agent ops", listed), Some("agent:ops:main".into()));
    }
    #[test]
    fn wrong_lines_say_what_to_do() {
        for (words, about) in [
            ("-m hi --agent main --local", "start the gateway"),
            ("-m hi", "--session-id"),
            ("-m hi --to=", "--session-id"),
            ("-m hi --agent main --timeout 0", "at least 1"),
        ] {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let words = super::super::args::arrange(&words).unwrap();
            let it = Agent::from_args(&["agent"], &words).ok().unwrap();
            assert!(it.wrong().unwrap().contains(about), "{words:?}");
        }
        let blank = Agent { message: "  ".into(), ..agent("-m x --agent main") };
        assert!(blank.wrong().unwrap().contains("--message is empty"));
        assert_eq!(agent("-m x --agent main").wrong(), None);
    }
    /// As measured on the reference's command.
    #[test]
    fn what_is_printed() {
        let result = |payloads: Value| json!({ "summary": "completed", "result": { "payloads": payloads } });
        let all = json!([
            { "text": "a" }, { "text": "b\n\n" }, { "text": null, "mediaUrl": "u1" },
            { "text": "  t", "mediaUrls": ["u2", "u3"], "mediaUrl": "u2" },
        ]);
        assert_eq!(text(&result(all)), "a\nb\nMEDIA:u1\n  t\nMEDIA:u2\nMEDIA:u3");
        assert_eq!(text(&result(json!([]))), "completed");
        assert_eq!(text(&json!({ "status": "ok" })), "The agent gave no answer.");
    }
}
