//! What goes out: calls that a client waits for, and answers of runs.
use super::directives::{self, ReplyTo};
use super::mirror::Mirror;
use crate::agent::tools::message::SaidHere;
use crate::base::clock::Now;
use crate::base::limits::{CHANNEL_ORDERS_MAX, ERROR_CHARS_MAX};
use crate::channels::{Action, Command, Key, Order, Target, Trouble, Vitals, named};
use crate::gateway::runs::request::{Reply, Request};
use crate::gateway::ws_log::Asked;
use crate::gateway::{Core, Effect};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::store::deliveries::Delivery;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Calls that an account is at.
#[derive(Default)]
pub struct Outbound {
    next: u64,
    calls: BTreeMap<u64, Call>,
}

struct Call {
    account: Key,
    /// `send:<idempotency key>`; None where no client waits.
    key: Option<String>,
    asked: Vec<Asked>,
    then: Option<Then>,
    /// Of the reply: what the network does not say.
    reply: Map<String, Value>,
    mirror: Option<Mirror>,
}

/// Somebody in here hears what comes of it.
pub type Then = Box<dyn FnOnce(&mut Core, RpcResult<Value>, Now) + Send>;

/// Something to be done on a network.
pub struct Doing {
    pub account: Key,
    pub action: Action,
    /// Of the answer: what the network does not say.
    pub reply: Map<String, Value>,
    /// Where it is repeated once it was sent.
    pub mirror: Option<Mirror>,
}

/// Where a client wants something said, as it was found.
pub struct Found {
    pub account: Key,
    pub target: Target,
}

/// The account and the chat that are meant.
///
/// # Errors
/// The reference's texts; `NOT_LINKED` for an account that is not signed in, `UNAVAILABLE` for one that is down.
pub fn find(
    core: &Core,
    unsupported: &str,
    channel: &str,
    account: Option<&str>,
    to: &str,
) -> RpcResult<Found> {
    let Some(network) = named(channel).filter(|_| core.channels.has(channel)) else {
        return Err(RpcError::invalid(format!("{unsupported}: {channel}")));
    };
    let label = network.meta().label;
    let target = network.target(to).map_err(|err| {
        RpcError::invalid(format!("Error: Delivering to {label} requires target <chatId>: {err}"))
    })?;
    let account = account.map(str::trim).filter(|it| !it.is_empty()).map(crate::config::normal_id);
    let account =
        account.or_else(|| core.channels.default_of(channel).map(str::to_owned)).unwrap_or_default();
    let Some((key, entry)) = core.channels.find(channel, &account) else {
        return Err(RpcError::invalid(format!("unknown {label} account: {account}")));
    };
    let (settings, vitals) = (&entry.account, &entry.vitals);
    if !settings.configured {
        let why = vitals.last_error().unwrap_or_else(|| format!("set channels.{channel}.botToken"));
        return Err(RpcError::not_linked(format!("{label} account {account} is not signed in: {why}")));
    }
    if !entry.started {
        return Err(RpcError::unavailable(format!(
            "{label} account {account} is switched off: set channels.{channel}.enabled to true"
        )));
    }
    if Vitals::is(&vitals.refused) {
        let why = vitals.last_error().unwrap_or_default();
        return Err(RpcError::not_linked(format!("{label} account {account} is not signed in: {why}")));
    }
    Ok(Found { account: key.clone(), target })
}

/// Has an account do something that a client waits for. Whoever asks the same again meanwhile hears the same answer.
///
/// # Errors
/// Too much is under way.
pub fn call(core: &mut Core, key: &str, doing: Doing, asked: &Asked) -> RpcResult<()> {
    if core.channels.outbound.calls.len() >= CHANNEL_ORDERS_MAX {
        return Err(RpcError::busy(1000));
    }
    order(core, doing, Some(key.to_owned()), vec![asked.clone()], None);
    Ok(())
}

/// The same for somebody in here.
pub fn call_then(core: &mut Core, doing: Doing, then: Then, now: Now) {
    match core.channels.outbound.calls.len() >= CHANNEL_ORDERS_MAX {
        true => then(core, Err(RpcError::busy(1000)), now),
        false => order(core, doing, None, vec![], Some(then)),
    }
}

/// Whether this key was asked for before; the client has, or will have, its answer.
pub fn came_before(core: &mut Core, key: &str, asked: &Asked, now: Now) -> bool {
    if let Some(it) = core.channels.outbound.calls.values_mut().find(|it| it.key.as_deref() == Some(key)) {
        it.asked.push(asked.clone());
        return true;
    }
    let Some(answer) = core.channels.answers.get(key, now.unix_ms).cloned() else { return false };
    core.answer_again(asked, &answer, now);
    true
}

/// Has an account do something of which nobody hears.
pub fn order_quietly(core: &mut Core, account: &Key, action: Action) {
    if core.channels.outbound.calls.len() < CHANNEL_ORDERS_MAX {
        let doing = Doing { account: account.clone(), action, reply: Map::new(), mirror: None };
        order(core, doing, None, vec![], None);
    }
}

fn order(core: &mut Core, doing: Doing, key: Option<String>, asked: Vec<Asked>, then: Option<Then>) {
    let Doing { account, action, reply, mirror } = doing;
    let outbound = &mut core.channels.outbound;
    outbound.next += 1;
    let id = outbound.next;
    outbound.calls.insert(id, Call { account: account.clone(), key, asked, then, reply, mirror });
    core.effects.push(Effect::Channel(Command::Order(account, Box::new(Order::Call { call: id, action }))));
}

/// An account ends: what it was at is not waited for.
pub fn abandon(core: &mut Core, account: &Key, now: Now) {
    let of = core.channels.outbound.calls.iter().filter(|it| it.1.account == *account);
    for call in of.map(|it| *it.0).collect::<Vec<_>>() {
        let text = "the channel stops, for its configuration has changed: it may have been sent";
        answered(core, call, Err(Trouble::Unavailable(text.into())), now);
    }
}

/// A call has come to something.
pub fn answered(core: &mut Core, call: u64, result: Result<Value, Trouble>, now: Now) {
    let Some(call) = core.channels.outbound.calls.remove(&call) else { return };
    let (payload, error) = match result {
        Ok(it) => {
            let mut reply = call.reply;
            reply.extend(it.as_object().cloned().unwrap_or_default());
            reply.retain(|_, it| !it.is_null());
            if let Some(it) = call.mirror {
                it.keep(core);
            }
            (Value::Object(reply), None)
        }
        Err(trouble) => {
            let error = match trouble {
                Trouble::NotLinked(text) => RpcError::not_linked(text),
                Trouble::Refused(text) => RpcError::invalid(format!("Error: {text}")),
                Trouble::Unavailable(text) => RpcError::unavailable(text),
            };
            if call.key.is_none() && call.then.is_none() {
                log::warn!(target: "channels", "{}", error.message);
            }
            (Value::Null, Some(error))
        }
    };
    for asked in &call.asked {
        let reply = raw(&payload);
        core.answer(asked, error.clone().map_or(Ok(&*reply), Err), now);
    }
    if let Some(then) = call.then {
        return then(core, error.map_or(Ok(payload), Err), now);
    }
    // What was refused may be put right and asked again.
    let is_final = error.as_ref().is_none_or(|it| it.code == crate::protocol::error::Code::Unavailable);
    if let Some(key) = call.key.filter(|_| is_final) {
        core.channels.answers.put(&key, json!({ "payload": payload, "error": error }), now.unix_ms);
    }
}

// Answers of runs.

/// What an answer lacks that is for a channel which is there.
pub fn needs_target(core: &Core, channel: &str) -> Option<String> {
    let label = named(channel).filter(|_| core.channels.has(channel))?.meta().label;
    Some(format!("Delivering to {label} requires target <chatId>"))
}

/// Whether an answer can be delivered there: the account is one of ours.
pub fn knows(core: &Core, reply: &Reply) -> bool {
    core.channels.find(&reply.channel, &reply.account).is_some()
}

/// The chat of a run that somebody on a channel waits for.
fn place(core: &Core, request: &Request) -> Option<(Key, Target)> {
    let reply = request.reply.as_ref()?;
    let (key, entry) = core.channels.find(&reply.channel, &reply.account)?;
    entry.started.then(|| (key.clone(), Target { to: reply.to.clone(), thread: reply.thread.clone() }))
}

/// A run has begun: its chat is shown that.
pub fn working(core: &mut Core, request: &Request) {
    if let Some((key, target)) = place(core, request) {
        let order = Order::Working { run: request.kind.key(&request.run_id), target };
        core.effects.push(Effect::Channel(Command::Order(key, Box::new(order))));
    }
}

/// What an answer says so far.
pub fn draft(core: &mut Core, request: &Request, text: &str) {
    if text.is_empty() || "NO_REPLY".starts_with(text) || text.starts_with("[[") {
        return;
    }
    if let Some((key, target)) = place(core, request) {
        let reply_to = request.reply.as_ref().and_then(|it| it.reply_to.clone());
        let order =
            Order::Draft { run: request.kind.key(&request.run_id), target, reply_to, text: text.to_owned() };
        core.effects.push(Effect::Channel(Command::Order(key, Box::new(order))));
    }
}

/// A run has ended, and this is to be delivered, if anything is. It is durable.
pub fn done(core: &mut Core, request: &Request, delivery: Option<Delivery>) {
    let Some((key, _)) = place(core, request) else { return };
    if let Some(it) = delivery {
        core.effects.push(Effect::Channel(Command::Order(key.clone(), Box::new(Order::Deliver(it)))));
    }
    let order = Order::Done { run: request.kind.key(&request.run_id) };
    core.effects.push(Effect::Channel(Command::Order(key, Box::new(order))));
}

/// What is to be said to who asked; None when there is nothing. What the run has said there with its tools is not said again: where that
/// was the last thing it did, it was the answer, and what follows only speaks of it.
pub fn delivery(
    request: &Request,
    said: &[String],
    said_here: &SaidHere,
    error: Option<&str>,
) -> Option<Delivery> {
    let reply = request.reply.as_ref()?;
    let mut answer = directives::read(said);
    if let Some(before) = said_here.last {
        answer.texts = directives::read(said.get(..before).unwrap_or(said)).texts;
    }
    answer.texts.retain(|it| !said_here.has(it));
    if let Some(text) = error {
        let short: String = text.trim_start_matches("Error: ").chars().take(ERROR_CHARS_MAX).collect();
        answer.texts.push(format!("⚠️ {short}"));
    }
    if answer.texts.is_empty() && answer.media.is_empty() {
        return None;
    }
    let reply_to = match answer.reply_to {
        Some(ReplyTo::Current) => reply.message.clone(),
        Some(ReplyTo::Message(id)) => Some(id),
        None => reply.reply_to.clone(),
    };
    Some(Delivery {
        id: request.kind.key(&request.run_id),
        channel: reply.channel.clone(),
        account: reply.account.clone(),
        to: reply.to.clone(),
        thread: reply.thread.clone(),
        reply_to,
        after: reply.message.clone(),
        texts: answer.texts,
        media: answer.media,
        silent: false,
        as_voice: answer.as_voice,
        acked: reply.acked,
    })
}
