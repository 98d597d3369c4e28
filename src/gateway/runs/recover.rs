//! A new life keeps the promises of the last one: what was accepted and has no answer is begun, or gone on with.
use super::request::{Kind, Request};
use super::{Sink, enqueue, insert, pump, wait};
use crate::base::clock::Now;
use crate::gateway::{Core, commands};
use crate::store::stores::Stores;
use serde_json::Value;

/// What the journal holds.
struct Found {
    requests: Vec<Request>,
    answers: Vec<(String, i64, Value)>,
}

/// Before anything that the store thread does for a client, so that nothing is accepted before it is known.
pub fn begin(core: &mut Core) {
    core.store(look, |core, found, now| match found {
        Ok(it) => go_on(core, it, now),
        Err(err) => log::error!(target: "agent", "{err}: messages of the last life may wait in it"),
    });
}

fn look(stores: &mut Stores) -> Result<Found, String> {
    let unix_ms = stores.now().unix_ms;
    let journal = stores.accepted().map_err(|err| err.to_string())?;
    let answers = journal.answers().map(|(key, at, it)| (key.to_owned(), at, it.clone())).collect();
    let mut requests = vec![];
    for pending in journal.pending() {
        let Ok(mut request) = serde_json::from_value::<Request>(pending.request) else {
            log::error!(target: "agent", "{}: what was accepted cannot be read, and is given up", pending.key);
            journal.end(&pending.key, None, unix_ms).map_err(|err| err.to_string())?;
            continue;
        };
        // What a command came to is looked for in any case: that it was begun may not have reached the disk.
        request.lives = pending.begun.max(u32::from(request.command.is_some()));
        requests.push(request);
    }
    Ok(Found { requests, answers })
}

fn go_on(core: &mut Core, found: Found, now: Now) {
    for (key, at, value) in found.answers {
        if let (Some((_, run_id)), Some(status)) = (key.split_once(':'), wait::Status::kept(&value["wait"])) {
            wait::ended(core, run_id, status, now);
        }
        core.runs.answers.put(&key, value, at);
    }
    for request in found.requests {
        log::info!(target: "agent", "going on with {} in {}, accepted by the last life", request.run_id, request.key);
        let sinks = if request.kind == Kind::Chat { vec![Sink::Chat] } else { vec![] };
        // What was accepted is neither refused nor interrupted by what was accepted behind it.
        let is_command = request.command.is_some();
        let run = insert(core, request, sinks);
        match is_command {
            true => commands::carry_out(core, run, now),
            false => drop(enqueue(core, run)),
        }
    }
    pump(core, now);
}
