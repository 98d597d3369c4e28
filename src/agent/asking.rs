//! One call of a run to a model: with which key, with what, and what comes of it.
use super::error::{ErrorKind, TurnError};
use super::http::{Patience, Wire};
use super::keys::{Key, Keys, Pick};
use super::model::{Answer, Delta, Done, Message, ModelRef, Part, Thinking, ToolSpec, TurnRequest};
use super::providers;
use super::task::{Around, Brought, Event, Task};
use crate::base::cancel::Cancel;

/// What a run asks models with.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub task: &'a Task,
    pub around: &'a Around,
    pub cancel: &'a Cancel,
    /// The clock's, when the run must have ended.
    pub deadline_ms: u64,
    pub thinking: Thinking,
}

/// What one call tells a model.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub system: &'a str,
    pub messages: &'a [Message],
    pub tools: &'a [ToolSpec],
    pub brought: &'a Brought,
}

impl Asking<'_> {
    /// One call; the id of the key it used. `alone`: there is no other model to ask.
    pub(super) fn call(
        &self,
        model: &ModelRef,
        alone: bool,
        told: Told<'_>,
        answer: &mut Answer,
        emit: &mut dyn FnMut(Event),
    ) -> (Option<String>, Result<Done, TurnError>) {
        let (models, agent_id, now) = (&self.around.models, &self.task.agent_id, self.around.clock.now());
        let key = match models.with_keys(agent_id, now.unix_ms, |keys| pick(keys, model, alone, now.unix_ms))
        {
            Ok(it) => it,
            Err(err) => return (None, Err(err)),
        };
        let key_id = key.as_ref().map(|it| it.id.clone());
        let target = match models.catalog.target(model, key.map(|it| it.secret)) {
            Ok(it) => it,
            Err(err) => return (key_id, Err(err)),
        };
        let params = models.catalog.params(model);
        let mut request = TurnRequest {
            model: model.model.clone(),
            system: told.system.to_owned(),
            messages: told.messages.to_vec(),
            tools: told.tools.to_vec(),
            tool_choice: told.brought.tool_choice.clone(),
            thinking: if target.reasoning { self.thinking } else { Thinking::Off },
            max_tokens: told.brought.max_tokens.or(params.max_tokens),
            temperature: told.brought.temperature.or(params.temperature),
        };
        if !models.catalog.takes_images(model) {
            leave_images_out(&mut request.messages);
        }
        // The run's own end is the timer's; this is for a server that the timer does not reach.
        let left_ms = self.deadline_ms.saturating_sub(now.mono_ms) + 1_000;
        let wire = Wire::new(Patience { total_ms: left_ms, ..Patience::default() }, models.proxies.clone());
        let result = providers::run(&target, &request, &wire, self.cancel, &mut |delta| {
            answer.push(&delta);
            match delta {
                Delta::Text(text) => emit(Event::Text(text)),
                Delta::Thinking(text) => emit(Event::Thinking(text)),
                _ => {}
            }
        });
        if let (Ok(_), Some(id)) = (&result, &key_id) {
            models.with_keys(agent_id, now.unix_ms, |keys| keys.worked(&model.provider, id));
        }
        (key_id, result)
    }
}

fn pick(keys: &mut Keys, model: &ModelRef, alone: bool, now_ms: i64) -> Result<Option<Key>, TurnError> {
    match keys.pick(&model.provider, now_ms) {
        Pick::Use(key) => Ok(Some(key.clone())),
        Pick::None => Ok(None),
        // Better asked than refused unasked, when there is nobody else.
        Pick::Rest { .. } if alone => Ok(keys.first(&model.provider).cloned()),
        Pick::Rest { until_ms } => {
            let retry_after_ms = Some((until_ms - now_ms).max(0) as u64);
            Err(TurnError::new(ErrorKind::RateLimit { retry_after_ms }, ""))
        }
    }
}

fn leave_images_out(messages: &mut [Message]) {
    for message in messages {
        for part in &mut message.parts {
            if let Part::Image { mime, .. } = part {
                *part = Part::Text(format!("[an image ({mime}) that this model cannot see]"));
            }
        }
    }
}
