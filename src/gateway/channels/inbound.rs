//! From words on a chat network to a run: whose conversation it is, what the model is told, and the promise on disk.
//!
//! ```text
//! Heard ─► route, command?, place among all ─► store: promised, offset ─► taken(n) ─► runs
//!                                                      └─ not meant for us: kept for context
//! ```
use super::outbound;
use crate::agent::conversation::Image;
use crate::agent::envelope::{Envelope, enveloped};
use crate::base::clock::Now;
use crate::base::files;
use crate::base::ids::base64;
use crate::base::limits::{ATTACHMENT_BYTES_MAX, CHANNEL_ORDERS_MAX, OVERHEARD_CHARS_MAX};
use crate::channels::{Acks, Action, Heard, Inbound, Key, MediaKind, Said, Target, What, Words, named};
use crate::config::PeerKind;
use crate::gateway::commands::authority::Sender;
use crate::gateway::routing::{self, Origin, Route, Thread};
use crate::gateway::runs::abort::{is_stop_word, stop_chat};
use crate::gateway::runs::accept::{Compose, Counted, Given, Overheard, accept_counted};
use crate::gateway::runs::events::Stop;
use crate::gateway::runs::request::{Kind, Reply, Request};
use crate::gateway::runs::{self, RunRef, Sink};
use crate::gateway::{Core, commands};
use crate::store::sessions::updated_at;
use serde_json::{Map, Value, json};

/// What comes of one of them.
enum Plan {
    Run(Box<Counted>),
    /// It is done with.
    Nothing,
}

/// In order, as many as there is room for.
pub fn heard(core: &mut Core, mut heard: Heard, now: Now) {
    let mut plans = vec![];
    for it in &mut heard.inbound {
        // Nothing is begun any more: the next life takes it. Nor where answers pile up: the network keeps it meanwhile.
        if core.is_leaving() || core.channels.waiting(&heard.account) >= CHANNEL_ORDERS_MAX {
            break;
        }
        match plan(core, &heard.account, it, now) {
            Some(plan) => plans.push(plan),
            None => break,
        }
    }
    let taken = plans.len();
    let runs: Vec<(usize, Counted)> = (0..)
        .zip(plans)
        .filter_map(|(at, it)| if let Plan::Run(it) = it { Some((at, *it)) } else { None })
        .collect();
    let mut acks: Vec<(RunRef, Action)> = runs
        .iter()
        .filter_map(|(at, it)| Some((it.run, ack(core, &heard.inbound[*at], &it.request.agent_id)?)))
        .collect();
    let (say, keep, account) = (heard.taken, heard.keep, heard.account);
    accept_counted(core, runs, taken, keep, move |core, taken, given, now| {
        for (run, given) in given {
            let ack = acks.iter().position(|it| it.0 == run).map(|at| acks.swap_remove(at).1);
            if let (Given::Accepted, Some(action)) = (&given, ack) {
                outbound::order_quietly(core, &account, action);
            }
            after(core, run, given, now);
        }
        // Its threads have ended otherwise.
        let _ = say.try_send(taken);
    });
}

/// None when there is no room for it now.
fn plan(core: &mut Core, account: &Key, inbound: &mut Inbound, now: Now) -> Option<Plan> {
    let route = route(core, account, inbound);
    if let What::Said(it) = &mut inbound.what {
        it.addressed |= core.world.config.config.mentions.mean(&route.agent_id, &it.text);
    }
    let said = match &inbound.what {
        What::Note(line) => {
            super::note(core, &route.session_key, line.clone());
            return Some(Plan::Nothing);
        }
        What::Said(it) => it,
    };
    let acked = said.takes_ack_back && ack(core, inbound, &route.agent_id).is_some();
    let reply = Reply { acked, ..reply(account, inbound, said) };
    if is_stop_word(&said.text) && said.allowed && (said.addressed || said.text.starts_with('/')) {
        stop(core, account, &route, &reply, now);
        return Some(Plan::Nothing);
    }
    let sender = Sender {
        channel: account.0.to_owned(),
        id: said.sender_id.clone(),
        allowed: said.allowed,
        owner: false,
    };
    let command = commands::given_by(core, sender, &said.text, !said.media.is_empty());
    let is_command = command.is_some();
    let request = Request { command, ..request(core, account, inbound, said, &route, reply, now) };
    let run = runs::reserve(core, request.clone(), vec![Sink::Chat]).ok()?;
    let compose = compose(core, account, inbound, said, &route, is_command);
    let source = format!("{}:{}", account.0, account.1);
    Some(Plan::Run(Box::new(Counted { run, request, source, number: inbound.number, compose })))
}

fn route(core: &Core, account: &Key, inbound: &Inbound) -> Route {
    let thread = match (&inbound.topic, &inbound.thread) {
        (Some(topic), _) => Some(Thread::Topic(topic)),
        (None, Some(thread)) => Some(Thread::Replies(thread)),
        (None, None) => None,
    };
    let origin = Origin {
        channel: account.0,
        account: Some(&account.1),
        peer: Some((inbound.chat, &inbound.peer)),
        thread,
        ..Origin::default()
    };
    routing::route(&origin, &core.world.config.config)
}

fn reply(account: &Key, inbound: &Inbound, said: &Said) -> Reply {
    Reply {
        channel: account.0.to_owned(),
        account: account.1.clone(),
        to: inbound.peer.clone(),
        thread: inbound.topic.clone().or_else(|| inbound.thread.clone()),
        reply_to: said.reply_to.then(|| said.message_id.clone()),
        message: Some(said.message_id.clone()),
        acked: false,
    }
}

/// `/stop`: at once, and not kept. Said again it stops nothing more.
fn stop(core: &mut Core, account: &Key, route: &Route, reply: &Reply, now: Now) {
    let stopped = stop_chat(core, &route.session_key, Stop::Command, now);
    let text = if stopped.is_empty() { "Nothing is being answered." } else { "⚙️ Stopped." };
    let words = Words {
        target: Target { to: reply.to.clone(), thread: reply.thread.clone() },
        text: text.to_owned(),
        media: vec![],
        reply_to: reply.reply_to.clone(),
        buttons: None,
        silent: false,
        as_voice: false,
    };
    outbound::order_quietly(core, account, Action::Send(words));
}

/// What a session's entry keeps of where it is.
fn entry(account: &Key, inbound: &Inbound, said: &Said) -> Map<String, Value> {
    let to = format!("{}:{}", account.0, inbound.peer);
    let (kind, from) = match inbound.chat {
        PeerKind::Direct => ("direct", to.clone()),
        _ => (
            "group",
            format!(
                "{}:group:{}{}",
                account.0,
                inbound.peer,
                inbound.topic.as_ref().map_or(String::new(), |it| format!(":topic:{it}"))
            ),
        ),
    };
    let thread = inbound.topic.as_ref().or(inbound.thread.as_ref());
    let mut delivery = json!({ "channel": account.0, "to": to, "accountId": account.1 });
    let mut fields = vec![
        ("chatType", json!(kind)),
        ("lastChannel", json!(account.0)),
        ("lastTo", json!(to)),
        ("lastAccountId", json!(account.1)),
        (
            "origin",
            json!({ "label": label(inbound, said), "provider": account.0, "surface": account.0, "chatType": kind, "from": from, "to": to, "accountId": account.1 }),
        ),
    ];
    if let Some(thread) = thread {
        delivery["threadId"] = thread.as_str().into();
        fields.push(("lastThreadId", json!(thread)));
    }
    fields.push(("deliveryContext", delivery));
    if inbound.chat != PeerKind::Direct {
        fields.push(("channel", json!(account.0)));
        fields.push(("groupId", json!(inbound.peer)));
        fields.extend(said.title.as_ref().map(|it| ("subject", json!(it))));
    }
    fields.into_iter().map(|it| (it.0.to_owned(), it.1)).collect()
}

/// The person, or the group, as the model is told. Reference.
fn label(inbound: &Inbound, said: &Said) -> String {
    match (inbound.chat, &said.title) {
        (PeerKind::Direct, _) => format!("{} id:{}", said.sender_name, said.sender_id),
        (_, title) => {
            let topic = inbound.topic.as_ref().map_or(String::new(), |it| format!(" topic:{it}"));
            let name = title.as_ref().map_or_else(|| "group".to_owned(), Clone::clone);
            format!("{name} id:{}{topic}", inbound.peer)
        }
    }
}

fn request(
    core: &Core,
    account: &Key,
    inbound: &Inbound,
    said: &Said,
    route: &Route,
    reply: Reply,
    now: Now,
) -> Request {
    let agents = &core.world.config.config.agents;
    Request {
        kind: Kind::Chat,
        run_id: format!("{}:{}:{}", account.0, account.1, inbound.number),
        session_key: Some(route.session_key.clone()),
        key: route.session_key.clone(),
        agent_id: route.agent_id.clone(),
        // A command; words are put together where the session is known.
        message: said.text.clone(),
        extra_system_prompt: said.system_prompt.clone(),
        tools: said.tools.clone(),
        timeout_ms: agents.timeout_ms,
        channel: Some(account.0.to_owned()),
        entry: entry(account, inbound, said),
        reply: Some(reply),
        accepted_at: now.unix_ms,
        ..Request::default()
    }
}

/// Puts the message together once the session's entry is known; the line to keep when it is not meant for us.
fn compose(
    core: &Core,
    account: &Key,
    inbound: &Inbound,
    said: &Said,
    route: &Route,
    is_command: bool,
) -> Compose {
    let (world, inbound, said) = (core.world.clone(), inbound.clone(), said.clone());
    let overheard = if inbound.chat == PeerKind::Direct {
        vec![]
    } else {
        core.channels.overheard.all(&route.session_key)
    };
    let channel = named(account.0).map_or(account.0, |it| it.meta().label);
    Box::new(move |request, entry, lines| {
        if is_command {
            return None;
        }
        let activation = entry.and_then(|it| it.get("groupActivation")).and_then(Value::as_str);
        let must = match activation {
            Some("always") => false,
            Some("mention") => true,
            _ => said.must_be_addressed,
        };
        let words = words(&said);
        if inbound.chat != PeerKind::Direct && must && !said.addressed {
            let short: String = words.chars().take(OVERHEARD_CHARS_MAX).collect();
            let line = format!("{}: {short} [id:{}]", said.sender_name, said.message_id);
            return Some(Overheard { line, most: said.history_max });
        }
        let body = match inbound.chat {
            PeerKind::Direct => words,
            _ => format!("{}: {words}", said.sender_name),
        };
        let from = label(&inbound, &said);
        let previous_ms = entry.map(updated_at).filter(|it| *it > 0);
        let about = Envelope { channel, from: Some(&from), at_ms: Some(said.at_ms), previous_ms };
        let text = enveloped(&body, &about, &world.zones);
        let now = lines.iter().filter(|it| it.0 == request.key).map(|it| it.1.clone());
        let overheard: Vec<String> = overheard.into_iter().chain(now).collect();
        request.message = match overheard.is_empty() {
            true => text,
            false => format!(
                "[Said here since your last answer, for context]\n{}\n\n[To be answered now]\n{text}",
                overheard.join("\n")
            ),
        };
        request.images = images(&said);
        None
    })
}

/// The words, what they answer, and where files that came along lie.
fn words(said: &Said) -> String {
    let mut text = said.text.clone();
    for it in &said.media {
        let name = it
            .name
            .as_ref()
            .filter(|_| it.kind != MediaKind::Sticker)
            .map_or(String::new(), |it| format!(" {it:?}"));
        let emoji = it
            .name
            .as_ref()
            .filter(|_| it.kind == MediaKind::Sticker)
            .map_or(String::new(), |it| format!(" {it}"));
        let line = match &it.local {
            Some(path) => format!(
                "{}{emoji} [media attached: {} ({}){name}]",
                it.kind.placeholder(),
                path.display(),
                it.mime.as_deref().unwrap_or("application/octet-stream")
            ),
            None => format!("{}{emoji}{name}", it.kind.placeholder()),
        };
        text = if text.is_empty() { line } else { format!("{text}\n{line}") };
    }
    format!("{}{text}{}", said.before, said.behind)
}

/// What a model can look at.
fn images(said: &Said) -> Vec<Image> {
    let mut out = vec![];
    for it in said.media.iter().filter(|it| matches!(it.kind, MediaKind::Image | MediaKind::Sticker)) {
        let Some(path) = &it.local else { continue };
        if let Ok(Some(bytes)) = files::read(path, ATTACHMENT_BYTES_MAX as u64) {
            let mime = crate::agent::media::sniff(&bytes).unwrap_or("image/jpeg");
            out.push(Image { mime_type: mime.to_owned(), data: base64(&bytes) });
        }
    }
    out
}

/// What was promised begins; what was not meant for us is kept.
fn after(core: &mut Core, run: RunRef, given: Given, now: Now) {
    let Some(request) = runs::request_of(core, run) else { return };
    match given {
        Given::Accepted => {
            core.channels.overheard.take(&request.key);
            runs::accepted(core, run, now);
        }
        Given::Overheard(it) => {
            runs::forget(core, run);
            core.channels.overheard.push(&request.key, it.line, it.most);
        }
        // It is being answered, or was, by this life or one before.
        Given::Known => runs::forget(core, run),
        Given::Refused(why) => {
            runs::forget(core, run);
            log::info!(target: "channels", "{}: not answered: {}", request.run_id, why.message);
        }
    }
}

/// What shows that a message was taken, where nothing else is configured. Reference.
const ACK: &str = "👀";

/// The reaction to what was taken: `messages.ackReaction`, else the agent's own emoji.
fn ack(core: &Core, inbound: &Inbound, agent_id: &str) -> Option<Action> {
    let What::Said(said) = &inbound.what else { return None };
    let wanted = match said.acks {
        Acks::Never => false,
        Acks::IfAddressed => said.addressed,
        Acks::Always => true,
    };
    let config = &core.world.config.config;
    let own = || config.agents.get(agent_id).and_then(|it| it.identity.emoji.clone());
    let emoji = config.ack_reaction.clone().or_else(own).unwrap_or_else(|| ACK.to_owned());
    let target = Target { to: inbound.peer.clone(), thread: None };
    (wanted && !emoji.is_empty()).then(|| Action::React {
        target,
        message_id: said.message_id.clone(),
        emoji: Some(emoji),
    })
}
