//! What agents want done on networks with their tool `message`: where it goes, whether it may, and what comes of it.
//!
//! ```text
//! asked ─► broadcast? ─► no target and no conversation: where its session last heard from ─► account ─► may it? ─► outbound
//! ```
//!
//! * What is sent takes the way of the methods `send` and `message.action`: a network that is down refuses at once, nothing waits.
//! * It is asked for once. After a crash nobody knows what came of it, and the model is told so.
use super::context::{self, Marker};
use super::directives::{self, ReplyTo};
use super::mirror;
use super::outbound::{self, Doing};
use super::wished::{Unfit, Wished};
use crate::agent::tools::MessageRules;
use crate::agent::tools::message::{Post, SAID_HERE};
use crate::base::clock::Now;
use crate::base::limits::BROADCAST_TARGETS_MAX;
use crate::channels::{Action, Words};
use crate::gateway::runs::accept::spoken_last;
use crate::gateway::runs::request::Reply;
use crate::gateway::runs::{self, RunRef};
use crate::gateway::{Core, sessions};
use crate::store::stores::Stores;
use serde_json::{Map, Value, json};

/// An action, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Wish {
    pub args: Value,
    pub rules: MessageRules,
    pub agent_id: String,
    /// Canonical.
    pub session_key: String,
    /// The conversation that the run answers.
    pub home: Option<Reply>,
    /// Nothing more is done once it has ended.
    pub run: Option<RunRef>,
}

const DRY_RUN: &str = "dryRun";

/// What the network answers, or a sentence that says why it was not done.
pub type Then = Box<dyn FnOnce(&mut Core, Result<Value, String>, Now) + Send>;

/// A run asks.
pub fn on_asked(core: &mut Core, run: RunRef, post: Post, now: Now) {
    let home = runs::reply_of(core, run).cloned();
    let wish = Wish {
        args: Value::Object(post.args),
        rules: post.rules,
        agent_id: post.agent_id,
        session_key: post.session_key,
        home,
        run: Some(run),
    };
    // Nobody hears it when the run is over.
    let then = move |_: &mut Core, answer, _| drop(post.answer.try_send(answer));
    begin(core, wish, Box::new(then), now);
}

/// Does it, or has it done.
pub fn begin(core: &mut Core, wish: Wish, then: Then, now: Now) {
    if Wished(&wish.args).text(&["action"]).as_deref() == Some("broadcast") {
        return match targets(core, &wish) {
            Ok(targets) => broadcast(core, wish, targets, vec![], then, now),
            Err(text) => then(core, Err(text), now),
        };
    }
    if wish.home.is_some() || wished_target(&wish).is_some() {
        return act(core, &wish, wish.home.as_ref(), then, now);
    }
    let (world, key, agent_id) = (core.world.clone(), wish.session_key.clone(), wish.agent_id.clone());
    let look = move |stores: &mut Stores| {
        let all = stores.existing(&world.session_store(&agent_id), &agent_id).ok().flatten()?;
        spoken_last(&Value::Object(all.index().get(&key)?.entry()))
    };
    core.store(look, move |core, last, now| act(core, &wish, last.as_ref(), then, now));
}

fn wished_target(wish: &Wish) -> Option<String> {
    Wished(&wish.args).text(&["target", "to", "channelId", "chatId"])
}

/// `home` is where it goes without a target.
fn act(core: &mut Core, wish: &Wish, home: Option<&Reply>, then: Then, now: Now) {
    if wish.run.is_some_and(|it| !core.runs.is_wanted(it)) {
        return then(core, Err("stopped: the run was aborted".into()), now);
    }
    match plan(core, wish, home) {
        Err(text) => then(core, Err(text), now),
        Ok(doing) if doing.reply.contains_key(DRY_RUN) => then(core, Ok(Value::Object(doing.reply)), now),
        Ok(doing) => outbound::call_then(
            core,
            doing,
            Box::new(move |core, result, now| then(core, result.map_err(|it| it.message), now)),
            now,
        ),
    }
}

fn plan(core: &Core, wish: &Wish, home: Option<&Reply>) -> Result<Doing, String> {
    let wished = Wished(&wish.args);
    let name =
        wished.text(&["action"]).ok_or("action must say what to do: send, poll, react, edit, delete …")?;
    let channel = network(core, &wished, home)?;
    let home = home.filter(|it| it.channel == channel);
    let to = wished_target(wish).or_else(|| home.map(|it| it.to.clone()));
    let to = to.ok_or_else(|| format!("Action {name} requires a target."))?;
    let account = wished.text(&["accountId"]).or_else(|| home.map(|it| it.account.clone()));
    let found = outbound::find(core, "unsupported channel", &channel, account.as_deref(), &to);
    let mut found = found.map_err(|it| it.message)?;
    let same = home.filter(|it| it.account == found.account.1 && it.to == found.target.to);
    // Who names the chat of a topic means the topic.
    let thread = wished.text(&["threadId", "messageThreadId"]).or(found.target.thread.take());
    found.target.thread = thread.or_else(|| same?.thread.clone());
    let here = same.filter(|it| it.thread == found.target.thread);
    // Nobody on a network has asked for what is only to be delivered there.
    let bound = wish.home.as_ref().filter(|it| it.message.is_some());
    let marker = context::judge(&wish.rules, bound, &name, &found.account, &found.target)?;
    let mut action = action(&wished, &name, &found, here)?;
    core.channels.may(&found.account, &name, &action)?;
    let mut reply = Map::new();
    reply.insert("ok".into(), true.into());
    reply.insert("channel".into(), found.account.0.into());
    reply.insert("action".into(), name.as_str().into());
    let is_dry = wished.is(DRY_RUN);
    if is_dry {
        reply.insert(DRY_RUN.into(), true.into());
        reply.insert("to".into(), found.target.to.as_str().into());
    }
    let mut mirror = None;
    if let Action::Send(words) = &mut action {
        obey(words, here, &marker)?;
        if here.is_some() && wish.home.is_some() && !words.text.is_empty() && !is_dry {
            reply.insert(SAID_HERE.into(), words.text.as_str().into());
        }
        // A run's own session has the call itself.
        mirror = mirror::in_chat(core, &wish.agent_id, &found.account, &action)
            .filter(|it| it.key() != wish.session_key);
    }
    Ok(Doing { account: found.account, action, reply, mirror })
}

/// The network that is meant: the one that is named, that of the conversation, the only one.
fn network(core: &Core, wished: &Wished<'_>, home: Option<&Reply>) -> Result<String, String> {
    let named = wished.text(&["channel", "provider"]).map(|it| it.to_lowercase());
    if let Some(it) = named.or_else(|| home.map(|it| it.channel.clone())) {
        return Ok(it);
    }
    match core.channels_in_use()[..] {
        [] => Err("no chat network is configured".into()),
        [only] => Ok(only.to_owned()),
        ref all => Err(format!("channel must say which network: {}", all.join(", "))),
    }
}

fn action(
    wished: &Wished<'_>,
    name: &str,
    found: &outbound::Found,
    here: Option<&Reply>,
) -> Result<Action, String> {
    let asked = here.and_then(|it| it.message.as_ref()).filter(|_| name == "react");
    if let (Some(message), None) = (asked, wished.text(&["messageId"])) {
        let mut params = wished.0.clone();
        params["messageId"] = message.as_str().into();
        return action(&Wished(&params), name, found, None);
    }
    wished.action(name, &found.target).map_err(|it| match it {
        Unfit::Missing(param) => format!("{param} required"),
        Unfit::Wrong(text) => text,
    })
}

/// Carries out what the model has written into the text, and marks it.
fn obey(words: &mut Words, here: Option<&Reply>, marker: &Marker) -> Result<(), String> {
    // Some models write the end of a line as JSON does, within JSON.
    let text = match words.text.contains('\n') {
        true => std::mem::take(&mut words.text),
        false => words.text.replace("\\n", "\n"),
    };
    let said = directives::read(&[text]);
    words.media.extend(said.media);
    if said.texts.is_empty() && words.media.is_empty() {
        return Err("message required".into());
    }
    words.as_voice |= said.as_voice;
    let meant = match said.reply_to {
        Some(ReplyTo::Message(id)) => Some(id),
        Some(ReplyTo::Current) => here.and_then(|it| it.message.clone()),
        None => None,
    };
    words.reply_to = words.reply_to.take().or(meant);
    words.text = format!("{}{}{}", marker.prefix, said.texts.join("\n\n"), marker.suffix);
    Ok(())
}

// Broadcasts.

/// Everybody, and on which networks.
fn targets(core: &Core, wish: &Wish) -> Result<Vec<(String, String)>, String> {
    if !wish.rules.broadcast {
        return Err("Broadcast is disabled. Set tools.message.broadcast.enabled to true.".into());
    }
    let wished = Wished(&wish.args);
    let all = wished.list(&["targets"]);
    if all.is_empty() || all.len() > BROADCAST_TARGETS_MAX {
        return Err(format!("targets must be 1 to {BROADCAST_TARGETS_MAX} chats"));
    }
    let named = wished.text(&["channel"]).map(|it| it.to_lowercase()).filter(|it| it != "all");
    let channels = match named {
        Some(it) => vec![it],
        None => core.channels_in_use().into_iter().map(str::to_owned).collect(),
    };
    let of = |channel: &String| all.iter().map(|it| (channel.clone(), it.clone())).collect::<Vec<_>>();
    // From the last to the first: they are taken from the end.
    Ok(channels.iter().flat_map(of).rev().collect())
}

/// One after the other; what came of those before is in `results`.
fn broadcast(
    core: &mut Core,
    wish: Wish,
    mut targets: Vec<(String, String)>,
    mut results: Vec<Value>,
    then: Then,
    now: Now,
) {
    let Some((channel, target)) = targets.pop() else {
        return then(core, Ok(json!({ "results": results })), now);
    };
    let mut one = wish.clone();
    for name in ["targets", "to", "channelId", "chatId"] {
        one.args.as_object_mut().and_then(|it| it.shift_remove(name));
    }
    one.args["action"] = "send".into();
    one.args["channel"] = channel.as_str().into();
    one.args["target"] = target.as_str().into();
    let home = wish.home.clone();
    let next = move |core: &mut Core, result: Result<Value, String>, now: Now| {
        results.push(match result {
            Ok(it) => json!({ "channel": channel, "to": target, "ok": true, "result": it }),
            Err(text) => json!({ "channel": channel, "to": target, "ok": false, "error": text }),
        });
        broadcast(core, wish, targets, results, then, now);
    };
    act(core, &one, home.as_ref(), Box::new(next), now);
}

/// The wish of somebody who is in no conversation, for a session of that agent.
pub fn of_owner(core: &Core, place: &sessions::Place, args: Map<String, Value>) -> Wish {
    let rules = crate::agent::tools::ToolsConfig::read(&core.world.config.resolved, &place.agent_id).message;
    Wish {
        args: Value::Object(args),
        rules,
        agent_id: place.agent_id.clone(),
        session_key: place.key.clone(),
        home: None,
        run: None,
    }
}
