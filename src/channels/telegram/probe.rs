//! What a status shows of the bot: asked by a worker, while its threads go on.
use super::api::{Api, Failure};
use super::settings::Settings;
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::limits::TELEGRAM_AUDIT_MAX;
use crate::channels::Probed;
use serde_json::{Value, json};

/// Who the bot is, or why nobody knows, and whether it is where it is to hear everything; blocks at most `ms`.
pub fn look(settings: &Settings, ms: u64) -> Probed {
    let (cancel, clock) = (Cancel::new(), Clock::start());
    let Some(token) = &settings.token else {
        let probe = json!({ "ok": false, "status": null, "error": "no token" });
        return Probed { probe, audit: audit(settings, None) };
    };
    let api = Api::new(&settings.root, token, super::proxy(settings), &cancel);
    let until_ms = clock.now().mono_ms + ms;
    let call = |method: &str, params: &Value| {
        let left = until_ms.saturating_sub(clock.now().mono_ms);
        api.call(method, params, left.max(1))
    };
    let (probe, bot) = match bot(&call) {
        Ok(mut it) => {
            (it["ok"], it["status"], it["error"]) = (true.into(), Value::Null, Value::Null);
            let id = it["bot"]["id"].as_i64();
            (it, id)
        }
        Err(failure) => {
            let code = Some(failure.code()).filter(|it| *it > 0);
            (json!({ "ok": false, "status": code, "error": failure.to_string() }), None)
        }
    };
    let begun = clock.now().mono_ms;
    let member = |chat: &str, bot| {
        let is = call("getChatMember", &json!({ "chat_id": super::say::chat_id(chat), "user_id": bot }))?;
        Ok(is["status"].as_str().map(str::to_owned))
    };
    let asked = bot.map(|bot| move |chat: &str| member(chat, bot));
    let mut audit = audit(settings, asked.as_ref().map(|it| it as &Member));
    if let Some(it) = &mut audit {
        it["elapsedMs"] = (clock.now().mono_ms - begun).into();
    }
    Probed { probe, audit }
}

type Member<'m> = dyn Fn(&str) -> Result<Option<String>, Failure> + 'm;
type Call<'c> = dyn Fn(&str, &Value) -> Result<Value, Failure> + 'c;

/// `getMe`, and what a status shows of it.
fn bot(call: &Call) -> Result<Value, Failure> {
    let me = call("getMe", &json!({}))?;
    let hook = call("getWebhookInfo", &json!({})).unwrap_or_default();
    Ok(json!({
        "bot": {
            "id": me["id"], "username": me["username"],
            "canJoinGroups": me["can_join_groups"], "canReadAllGroupMessages": me["can_read_all_group_messages"],
            "supportsInlineQueries": me["supports_inline_queries"],
        },
        "webhook": { "url": hook["url"], "hasCustomCert": hook["has_custom_certificate"] },
    }))
}

/// Whether the bot is in each group where it is to answer what does not name it. Shape of the reference; None when there is no such group.
/// `member` asks what the bot is there.
fn audit(settings: &Settings, member: Option<&Member>) -> Option<Value> {
    let all = settings.groups.iter().flatten();
    let open = all.filter(|it| !it.1.disabled && it.1.must_be_addressed == Some(false));
    let (any, named): (Vec<&str>, Vec<&str>) = open.map(|it| it.0.as_str()).partition(|it| *it == "*");
    if any.is_empty() && named.is_empty() {
        return None;
    }
    let (numbers, names): (Vec<&str>, Vec<&str>) =
        named.into_iter().partition(|it| it.parse::<i64>().is_ok());
    let one = |chat: &&str, member: &Member| {
        let (status, error) = match member(chat) {
            Ok(status) => {
                let is_there = matches!(status.as_deref(), Some("creator" | "administrator" | "member"));
                (status, (!is_there).then(|| "bot not in group".to_owned()))
            }
            Err(Failure::Refused { text, .. }) => (None, Some(text)),
            Err(failure) => (None, Some(failure.to_string())),
        };
        json!({ "chatId": chat, "ok": error.is_none(), "status": status, "error": error, "matchKey": chat, "matchSource": "id" })
    };
    let groups: Vec<Value> = match member {
        Some(member) => numbers.iter().take(TELEGRAM_AUDIT_MAX).map(|it| one(it, member)).collect(),
        None => vec![],
    };
    let ok = match member {
        Some(_) => groups.iter().all(|it| it["ok"] == true),
        None => names.is_empty() && any.is_empty(),
    };
    Some(json!({
        "ok": ok, "checkedGroups": groups.len(), "unresolvedGroups": names.len(),
        "hasWildcardUnmentionedGroups": !any.is_empty(), "groups": groups, "elapsedMs": 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::of;
    use super::*;

    #[test]
    fn groups_that_the_bot_must_be_in() {
        let settings = |groups: Value| of(json!({ "groups": groups }), None).remove(0);
        let open = json!({ "requireMention": false });
        let member = |chat: &str| match chat {
            "-1" => Ok(Some("member".to_owned())),
            "-2" => Ok(Some("left".to_owned())),
            _ => Err(Failure::Refused {
                code: 400,
                text: "Bad Request: chat not found".into(),
                retry_after: None,
                moved_to: None,
            }),
        };
        let quiet = json!({ "-1": {}, "-2": { "requireMention": true }, "-3": { "requireMention": false, "enabled": false } });
        assert_eq!(audit(&settings(quiet), Some(&member)), None);
        let some = settings(json!({ "-1": open, "-2": open, "-3": open, "@team": open, "*": {} }));
        let it = audit(&some, Some(&member)).unwrap();
        assert_eq!(
            it["groups"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| (&it["status"], &it["error"]))
                .collect::<Vec<_>>(),
            [
                (&json!("member"), &Value::Null),
                (&json!("left"), &json!("bot not in group")),
                (&Value::Null, &json!("Bad Request: chat not found")),
            ]
        );
        assert_eq!(
            (&it["ok"], &it["checkedGroups"], &it["unresolvedGroups"], &it["hasWildcardUnmentionedGroups"]),
            (&json!(false), &json!(3), &json!(1), &json!(false))
        );
        // Nobody can be asked.
        let it = audit(&settings(json!({ "*": open })), None).unwrap();
        assert_eq!((&it["ok"], &it["hasWildcardUnmentionedGroups"]), (&json!(false), &json!(true)));
        assert_eq!(audit(&settings(json!({ "-1": open })), None).unwrap()["ok"], true);
    }
}
