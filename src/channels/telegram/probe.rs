//! What a status shows of the bot: asked by a worker, while its threads go on.
use super::api::{Api, Failure};
use super::settings::Settings;
use crate::base::cancel::Cancel;
use serde_json::{Value, json};

/// Who the bot is, or why nobody knows; blocks at most `ms` for each call.
pub fn look(settings: &Settings, ms: u64) -> Value {
    let cancel = Cancel::new();
    let Some(token) = &settings.token else {
        return json!({ "ok": false, "status": null, "error": "no token" });
    };
    let api = Api::new(&settings.root, token, super::proxy(settings), &cancel);
    match probe(&api, ms) {
        Ok(mut it) => {
            it["ok"] = true.into();
            it["status"] = Value::Null;
            it["error"] = Value::Null;
            it
        }
        Err(failure) => {
            let code = Some(failure.code()).filter(|it| *it > 0);
            json!({ "ok": false, "status": code, "error": failure.to_string() })
        }
    }
}

/// `getMe`, and what a status shows of it.
///
/// # Errors
/// See [`Failure`].
fn probe(api: &Api, ms: u64) -> Result<Value, Failure> {
    let me = api.call("getMe", &json!({}), ms)?;
    let hook = api.call("getWebhookInfo", &json!({}), ms).unwrap_or_default();
    Ok(json!({
        "bot": {
            "id": me["id"], "username": me["username"],
            "canJoinGroups": me["can_join_groups"], "canReadAllGroupMessages": me["can_read_all_group_messages"],
            "supportsInlineQueries": me["supports_inline_queries"],
        },
        "webhook": { "url": hook["url"], "hasCustomCert": hook["has_custom_certificate"] },
    }))
}
