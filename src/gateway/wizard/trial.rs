//! Whether what was answered works: one real call each. Blocks: for workers, and for the command line.
use super::{Answers, write};
use crate::agent::catalog::Catalog;
use crate::agent::http::{Patience, Post, Wire};
use crate::agent::model::{Message, Part, Role, TurnRequest};
use crate::agent::{TurnError, http, providers};
use crate::base::cancel::Cancel;
use crate::base::limits::{MODEL_CONNECT_MS, WIZARD_TRIAL_MS};
use crate::base::secret::Secret;
use crate::config::Env;
use crate::wire::proxy::Proxies;
use serde_json::Value;

fn wire(env: &Env) -> Wire {
    let patience = Patience {
        connect_ms: MODEL_CONNECT_MS,
        first_byte_ms: WIZARD_TRIAL_MS,
        idle_ms: WIZARD_TRIAL_MS,
        total_ms: WIZARD_TRIAL_MS,
    };
    Wire::new(patience, Proxies::of(|name| env.get(name)))
}

/// Asks the model for one word.
///
/// # Errors
/// Why it did not answer.
pub fn model(answers: &Answers, document: &Value, env: &Env) -> Result<String, String> {
    let name = answers.model.as_deref().unwrap_or_default();
    let catalog = Catalog::read(&write::document(answers, document)?, false);
    let told = |err: TurnError| err.explain(&answers.provider);
    let model = catalog.find(&format!("{}/{name}", answers.provider)).map_err(told)?;
    let known = || catalog.variables(&answers.provider).iter().find_map(|it| env.get(it).map(str::to_owned));
    let key = answers.key.clone().or_else(known).map(Secret::new);
    let target = catalog.target(&model, key).map_err(told)?;
    let request = TurnRequest {
        model: model.model,
        messages: vec![Message {
            role: Role::User,
            parts: vec![Part::Text("Answer with the word OK.".into())],
        }],
        ..TurnRequest::default()
    };
    providers::run(&target, &request, &wire(env), &Cancel::new(), &mut |_| {}).map_err(told)?;
    Ok(format!("The model {}/{name} answers.", answers.provider))
}

/// Asks Telegram who the bot is.
///
/// # Errors
/// Why it did not say.
pub fn telegram(answers: &Answers, document: &Value, env: &Env) -> Result<String, String> {
    let token = answers.telegram.as_deref().unwrap_or_default();
    let root = document
        .pointer("/channels/telegram/apiRoot")
        .and_then(Value::as_str)
        .unwrap_or("https://api.telegram.org");
    let post = Post {
        url: format!("{}/bot{token}/getMe", root.trim_end_matches('/')),
        headers: vec![("content-type".into(), "application/json".into())],
        body: b"{}".to_vec(),
    };
    let told = |err: TurnError| {
        let said = match (err.status, &*err.reason) {
            (Some(status), reason) => format!("Telegram refuses the token ({status} {reason})"),
            (None, reason) => format!("Telegram cannot be reached {reason}"),
        };
        // The token is a part of the address.
        said.trim_end().replace(token, "***")
    };
    let bytes = http::post(&post, &wire(env), &Cancel::new()).and_then(|mut it| it.whole()).map_err(told)?;
    let said: Value =
        serde_json::from_slice(&bytes).map_err(|err| format!("the answer is no JSON: {err}"))?;
    match said["result"]["username"].as_str() {
        Some(name) => Ok(format!("The bot is @{name}.")),
        None => Err("the answer names no bot".to_owned()),
    }
}
