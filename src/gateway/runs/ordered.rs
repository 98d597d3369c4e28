//! Runs that something outside asked for, in a session of their own: the main session is told what came of them.
use super::request::{Kind, Order, Request};
use super::{Answer, Known, Run, accept, known, reserve};
use crate::agent::model::ModelRef;
use crate::agent::run::{End, Failure};
use crate::agent::untrusted;
use crate::base::clock::Now;
use crate::base::limits::SUMMARY_CHARS_MAX;
use crate::gateway::methods::system::wake;
use crate::gateway::{Core, sessions};
use crate::protocol::error::{RpcError, RpcResult};
use serde_json::json;

/// Accepts it, and says so once it is durable. One with a run id that came before is the one that came before.
pub fn begin(
    core: &mut Core,
    request: Request,
    now: Now,
    told: impl FnOnce(&mut Core, RpcResult<()>, Now) + Send + 'static,
) {
    if !matches!(known(core, Kind::Agent, &request.run_id, now), Known::New) {
        return told(core, Ok(()), now);
    }
    match reserve(core, request.clone(), vec![]) {
        Ok(run) => accept::accept(core, run, request, |core, promised, now| {
            told(core, promised.map(drop), now);
        }),
        Err(err) => told(core, Err(err), now),
    }
}

/// The fields that make a session use this model for one message.
///
/// # Errors
/// It may not be used.
pub fn with_model(core: &Core, request: &mut Request, name: &str) -> RpcResult<()> {
    let models = &core.world.models;
    let default = models.catalog.unnamed(true);
    let found =
        sessions::named_model(models, &request.agent_id, name, &default).map_err(RpcError::invalid)?;
    let ModelRef { provider, model } = found;
    request.once.insert("providerOverride".into(), json!(provider));
    request.once.insert("modelOverride".into(), json!(model));
    Ok(())
}

/// It has ended: a line for the main session, which is woken.
pub(super) fn report(core: &mut Core, run: &Run, order: &Order, end: &End, answer: &Answer, now: Now) {
    // A model that refuses has an answer for whoever called, and none for the main session.
    let refused = match &end.outcome {
        Err(Failure::Refused(text)) => Some(text),
        _ => answer.error.as_ref().map(|it| &it.message),
    };
    let said = end.texts.iter().rev().map(|it| it.trim()).find(|it| !it.is_empty());
    let (kind, text) = refused.map_or((":", said.unwrap_or("ok")), |it| (" (error):", it));
    let text = format!("{}{kind} {}", order.name, untrusted::line(text, SUMMARY_CHARS_MAX));
    log::info!(target: "hooks", "{} {} has ended in {}", order.name, run.request.run_id, run.request.key);
    if let Some(keep) = wake(core, &text, order.wake, now) {
        core.keep_in_the_background(keep);
    }
}
