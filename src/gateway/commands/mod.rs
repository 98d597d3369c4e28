//! Commands in a chat: `/status`, `/model`, `/new` and the others. What is typed behind a slash is carried out here, without a model.
//!
//! ```text
//! chat.send ─► given? ─► promised (as a message is) ─► store thread ─┬─► answer in the transcript ─► chat final
//!                                                                    └─► a run: /new, /compact, words behind /think high
//! ```
//!
//! * A command runs while its session is being answered, and disturbs nothing there: its answer is told to no model.
//! * It is promised and answered once, like a message: a crash in between carries it out in the next life.
pub mod authority;
mod conversation;
pub mod parse;
#[cfg(test)]
mod parse_tests;
mod settings;
mod shown;

use super::runs::request::Request;
use super::runs::{self, RunRef, commanded};
use super::send_policy::may_send;
use super::{Core, World, reload, sessions};
use crate::agent::run::{End, Failure};
use crate::base::clock::Now;
use crate::base::ids::{self, ConnId};
use crate::base::limits::RUN_LIVES_MAX;
use crate::protocol::scope::Access;
use crate::store::agent_sessions::{AgentSessions, Behind, Trouble};
use crate::store::history::injected;
use crate::store::index::Slot;
use crate::store::stores::Stores;
use crate::store::{entry, transcript};
use authority::{Sender, may};
use parse::{Command, Row, parse};
use serde_json::{Map, Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Who gives a command with this message; None when it is none.
pub fn given(core: &Core, conn: ConnId, message: &str, has_images: bool) -> Option<Sender> {
    let ready = core.clients.get(&conn)?.ready()?;
    let owner = ready.scopes.allow(Access::Admin);
    // `commands.text` counts for channels that show commands of their own. This one shows none, and its button for a new
    // conversation types `/new`. Reference.
    let sender =
        Sender { channel: "webchat".into(), id: ready.client_id.as_str().to_owned(), allowed: true, owner };
    given_by(core, sender, message, has_images)
}

/// As [`given`], by somebody who is known already.
pub fn given_by(core: &Core, sender: Sender, message: &str, has_images: bool) -> Option<Sender> {
    let (command, _) = parse(message, &core.world.config.config.session)?;
    // Images go with a message, and only these leave one.
    (!has_images || matches!(command, Command::New(_) | Command::Once(..))).then_some(sender)
}

/// What comes of the first look.
enum Next {
    /// It is in the transcript.
    Said(Value),
    /// An earlier life has said it.
    Answered,
    /// It is said, and then the gateway starts over.
    Restart(Value),
    /// What is to be read before anything is said; by a worker.
    Read(Box<dyn FnOnce() -> String + Send>),
    /// A message is left for the model.
    Run(Box<Request>),
}

/// A command that was promised.
pub fn carry_out(core: &mut Core, run: RunRef, now: Now) {
    let Some(request) = commanded::begin(core, run, now) else { return };
    let (depth, chats) = (core.runs.depth(&request.key), core.runs.chats(&request.key));
    let scene = Scene { depth, chats, world: core.world.clone(), request };
    let (work, later) = (scene.clone(), scene);
    core.store(
        move |stores| whole(stores, |it| work.carry_out(it)),
        move |core, next, now| go_on(core, run, later, next, now),
    );
}

fn go_on(core: &mut Core, run: RunRef, scene: Scene, next: Result<Next, Trouble>, now: Now) {
    match next {
        Ok(Next::Said(message)) => commanded::say(core, run, Ok(message), now),
        Ok(Next::Answered) => commanded::answered(core, run, now),
        Ok(Next::Restart(message)) => {
            commanded::say(core, run, Ok(message), now);
            reload::restart_at(core, now.mono_ms, "/restart".into(), now);
        }
        Ok(Next::Read(job)) => core.job(job, move |core, text, _| say(core, run, scene, move |_| text)),
        Ok(Next::Run(request)) => commanded::goes_on(core, run, *request, now),
        Err(err) => commanded::say(core, run, Err(err.to_string()), now),
    }
}

/// A mistake of ours becomes the command's error: its key must not stay in flight.
fn whole<T>(stores: &mut Stores, work: impl FnOnce(&mut Stores) -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(|| work(stores))).unwrap_or_else(|_| {
        stores.forget();
        Err(Trouble::Disk("the command could not be carried out: see the gateway's log".into()))
    })
}

/// Says what `text` makes of the session.
fn say(
    core: &mut Core,
    run: RunRef,
    scene: Scene,
    text: impl FnOnce(&Map<String, Value>) -> String + Send + 'static,
) {
    let work = move |stores: &mut Stores| {
        let entry = scene.entry(stores)?;
        scene.say(stores, &text(&entry))
    };
    core.store(
        move |stores| whole(stores, work),
        move |core, said, now| commanded::say(core, run, said.map_err(|it| it.to_string()), now),
    );
}

/// A run that only folded its conversation has ended.
pub fn folded(core: &mut Core, run: RunRef, end: &End) {
    let Some(request) = commanded::request(core, run) else { return };
    let scene = Scene { depth: 0, chats: 0, world: core.world.clone(), request };
    let (compacted, model) = (end.compacted, end.model.clone());
    let failure = match &end.outcome {
        Err(Failure::Failed(text) | Failure::Refused(text) | Failure::Unfit(text)) => Some(text.clone()),
        _ => None,
    };
    let world = scene.world.clone();
    say(core, run, scene, move |_| conversation::folded(&world, compacted, model, failure));
}

/// Where a command is carried out: on the store thread.
#[derive(Clone)]
struct Scene {
    world: Arc<World>,
    request: Request,
    /// Runs of the session: under way, or waiting.
    depth: usize,
    /// Those of them that are messages of a chat.
    chats: usize,
}

impl Scene {
    fn carry_out(&self, stores: &mut Stores) -> Result<Next, Trouble> {
        let Some((command, row)) = parse(&self.request.message, &self.world.config.config.session) else {
            // The configuration has changed since it was promised.
            return self.run(stores, self.request.clone());
        };
        if self.request.lives > 0 && self.is_answered(stores)? {
            return Ok(Next::Answered);
        }
        if self.request.lives > RUN_LIVES_MAX {
            let text =
                format!("the process ended {} times during this, which is now given up", self.request.lives);
            return Err(Trouble::Refused(text));
        }
        let (key, unix_ms) = (self.request.kind.key(&self.request.run_id), stores.now().unix_ms);
        let tried = stores.accepted()?.begun(&key, unix_ms);
        tried.unwrap_or_else(|err| log::error!(target: "agent", "{key}: {err}"));
        if !self.may(row) {
            let text = format!(
                "🚫 /{} is for the owner of this gateway: connect as an operator with the scope operator.admin, or see commands.ownerAllowFrom.",
                row.name
            );
            return self.answer(stores, &text);
        }
        let text = match &command {
            Command::New(words) => return self.begin_anew(stores, words),
            Command::Compact(wish) => return self.compact(stores, wish),
            Command::Once(setting, word, words) => return self.once(stores, *setting, word, words),
            Command::Restart => return self.restart(stores),
            Command::Usage(word) if word == "cost" => return self.cost(stores),
            Command::Help => shown::help(self),
            Command::Commands => shown::all(self),
            Command::WhoAmI => shown::who(self),
            Command::Status => self.status(stores)?,
            Command::Context(word) => self.context(stores, word)?,
            Command::Models(provider) => self.models(provider),
            Command::Set(setting, word) => self.set(stores, *setting, word)?,
            Command::Usage(word) => self.usage(stores, word)?,
            Command::Queue(words) => self.queue(stores, words)?,
            Command::Send(word) => self.send(stores, word)?,
            Command::Activation(word) => self.activation(stores, word)?,
            Command::Elevated => shown::ELEVATED.to_owned(),
            Command::Off(name) => shown::off(name),
            Command::Misused(row) => shown::usage(row),
        };
        self.answer(stores, &text)
    }
    fn may(&self, row: &Row) -> bool {
        let sender = self.request.command.as_ref();
        sender.is_some_and(|it| may(row.who, it, &self.world.config.config.commands))
    }

    // The session.

    fn open<'s>(
        &self,
        stores: &'s mut Stores,
    ) -> Result<(&'s mut AgentSessions, Now, &'s mut ids::Entropy), Trouble> {
        stores.open(&self.world.session_store(&self.request.agent_id), &self.request.agent_id)
    }
    /// The session's entry; made when there is none, and anew when the conversation is over, as a message would do it.
    fn entry(&self, stores: &mut Stores) -> Result<Map<String, Value>, Trouble> {
        let (sessions, now, entropy) = self.open(stores)?;
        let before = sessions.index().get(&self.request.key).map(Slot::entry);
        let is_named = |it: &Map<String, Value>| it.get("sessionId").is_some_and(Value::is_string);
        // Nothing begins anew beneath a run.
        let goes_on = |it: &Map<String, Value>| {
            self.depth > 0 || runs::begin::is_fresh(&self.world, &self.request, it, now)
        };
        let after = match before {
            Some(entry) if is_named(&entry) && goes_on(&entry) => {
                sessions.note(
                    &self.request.key,
                    |it| drop(it.insert("updatedAt".into(), now.unix_ms.into())),
                    now,
                );
                return Ok(entry);
            }
            Some(entry) if is_named(&entry) => entry::reset(Some(&entry), &ids::uuid(entropy), now.unix_ms),
            other => {
                let mut entry = other.unwrap_or_default();
                entry.insert("sessionId".into(), ids::uuid(entropy).into());
                entry.insert("updatedAt".into(), now.unix_ms.into());
                entry.insert("systemSent".into(), false.into());
                entry.extend(self.request.entry.clone());
                entry
            }
        };
        sessions.change(&self.request.key, |_, _| Ok(after), now)
    }
    /// Changes the entry, durably; a value that is null goes.
    fn change(&self, stores: &mut Stores, fields: &[(&str, Value)]) -> Result<(), Trouble> {
        let mut entry = self.entry(stores)?;
        let (sessions, now, _) = self.open(stores)?;
        entry.insert("updatedAt".into(), now.unix_ms.into());
        for (name, value) in fields {
            match value {
                Value::Null => drop(entry.shift_remove(*name)),
                it => drop(entry.insert((*name).to_owned(), it.clone())),
            }
        }
        sessions.change(&self.request.key, |_, _| Ok(entry), now).map(drop)
    }

    // The answer.

    fn is_answered(&self, stores: &mut Stores) -> Result<bool, Trouble> {
        let Some(file) = self.open(stores)?.0.transcript(&self.request.key) else { return Ok(false) };
        transcript::has_aside(&file, &self.request.run_id)
            .map_err(|err| Trouble::Disk(format!("cannot read {}: {err}", file.display())))
    }
    fn answer(&self, stores: &mut Stores, text: &str) -> Result<Next, Trouble> {
        self.entry(stores)?;
        self.say(stores, text).map(Next::Said)
    }
    /// Puts it into the transcript, durably.
    fn say(&self, stores: &mut Stores, text: &str) -> Result<Value, Trouble> {
        let cwd = sessions::workspace(&self.world, &self.request.agent_id).display().to_string();
        let (sessions, now, entropy) = self.open(stores)?;
        let message = injected(text, None, now.unix_ms);
        let entries = transcript::aside(&self.request.run_id, message.clone());
        sessions.append(&self.request.key, &cwd, Behind::Leaf, &entries, now, entropy)?;
        Ok(message)
    }
    /// What is left for the model takes the command's place among what was promised.
    fn run(&self, stores: &mut Stores, request: Request) -> Result<Next, Trouble> {
        let config = &self.world.config.config;
        let (sessions, _, _) = self.open(stores)?;
        let entry = sessions.index().get(&request.key).map(|it| Value::Object(it.entry()));
        if !may_send(&config.session.send_policy, &request.key, entry.as_ref()) {
            return self.answer(stores, "🚫 This session does not answer: /send on lets it.");
        }
        if self.chats > config.queue.cap && !config.queue.drop_old {
            return self.answer(
                stores,
                "⏳ Too many messages wait in this session: try again in a moment, or /stop.",
            );
        }
        let request = Request { command: None, lives: 0, ..request };
        let (key, unix_ms) = (request.kind.key(&request.run_id), stores.now().unix_ms);
        let promised = stores.accepted()?.accept(&key, json!(request), unix_ms);
        promised.map_err(|err| Trouble::Disk(format!("the message could not be stored: {err}")))?;
        Ok(Next::Run(Box::new(request)))
    }
    fn restart(&self, stores: &mut Stores) -> Result<Next, Trouble> {
        if !self.world.config.config.restart_allowed {
            return self.answer(
                stores,
                "🚫 /restart is switched off: set commands.restart to true in the configuration.",
            );
        }
        if self.request.lives > 0 {
            return self.answer(stores, "♻️ The gateway has started over.");
        }
        self.entry(stores)?;
        self.say(stores, "♻️ The gateway starts over as soon as nothing is being answered.")
            .map(Next::Restart)
    }
}
