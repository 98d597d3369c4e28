//! What agents may do on Telegram: `actions`, `reactionLevel` and `capabilities.inlineButtons`.
use super::settings::Buttons;
use crate::channels::{Action, Words};
use serde_json::{Value, json};

/// As an account is configured.
#[derive(Debug, Clone, Default)]
pub struct May {
    /// By the keys of `actions`; those that are absent are on, but `sticker`.
    actions: Value,
    reaction_level: Option<String>,
}

impl May {
    pub fn read(at: &Value) -> May {
        May {
            actions: at["actions"].clone(),
            reaction_level: at["reactionLevel"].as_str().map(str::to_owned),
        }
    }
    /// # Errors
    /// Which key forbids it.
    pub fn check(&self, buttons: Buttons, name: &str, action: &Action) -> Result<(), String> {
        let (key, usual) = match (name, action) {
            ("sticker", _) => ("sticker", false),
            (_, Action::Send(_) | Action::Poll { .. }) => ("sendMessage", true),
            (_, Action::React { .. }) => ("reactions", true),
            (_, Action::Edit { .. }) => ("editMessage", true),
            (_, Action::Delete { .. }) => ("deleteMessage", true),
        };
        if self.actions[key].as_bool() != Some(true) && !(usual && self.actions[key].is_null()) {
            return Err(format!("channels.telegram.actions.{key} does not allow it: set it to true"));
        }
        match action {
            Action::React { .. } if matches!(self.reaction_level.as_deref(), Some("off" | "ack")) => Err(
                "channels.telegram.reactionLevel does not allow it: set it to \"minimal\" or \"extensive\""
                    .into(),
            ),
            Action::Send(Words { buttons: Some(rows), target, .. }) if *rows != json!([]) => {
                let is_group = target.to.starts_with('-');
                match buttons {
                    Buttons::Off => Err("off"),
                    Buttons::Direct if is_group => Err("dm"),
                    Buttons::Group if !is_group => Err("group"),
                    _ => Ok(()),
                }
                .map_err(|it| {
                    format!("channels.telegram.capabilities.inlineButtons is {it:?}: no buttons there")
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::Target;

    fn send(to: &str, buttons: Option<Value>) -> Action {
        let target = Target { to: to.into(), thread: None };
        let (text, media) = ("x".to_owned(), vec![]);
        Action::Send(Words { target, text, media, reply_to: None, buttons, silent: false, as_voice: false })
    }
    #[test]
    fn what_is_forbidden_names_its_key() {
        let target = || Target { to: "7".into(), thread: None };
        let react = Action::React { target: target(), message_id: "1".into(), emoji: None };
        let edit = Action::Edit { target: target(), message_id: "1".into(), text: "x".into() };
        let delete = Action::Delete { target: target(), message_id: "1".into() };
        let rows = || Some(json!([[{ "text": "a", "callback_data": "b" }]]));
        for (at, buttons, name, action, key) in [
            (json!({}), Buttons::Off, "send", send("7", None), ""),
            (json!({}), Buttons::Off, "react", react.clone(), ""),
            (json!({}), Buttons::Off, "edit", edit.clone(), ""),
            (json!({}), Buttons::Off, "sticker", send("7", None), "actions.sticker"),
            (json!({ "actions": { "sticker": true } }), Buttons::Off, "sticker", send("7", None), ""),
            (
                json!({ "actions": { "sendMessage": false } }),
                Buttons::All,
                "send",
                send("7", None),
                "actions.sendMessage",
            ),
            (
                json!({ "actions": { "reactions": false } }),
                Buttons::All,
                "react",
                react.clone(),
                "actions.reactions",
            ),
            (
                json!({ "actions": { "deleteMessage": false } }),
                Buttons::All,
                "delete",
                delete,
                "actions.deleteMessage",
            ),
            (
                json!({ "actions": { "editMessage": false } }),
                Buttons::All,
                "edit",
                edit,
                "actions.editMessage",
            ),
            (json!({ "reactionLevel": "ack" }), Buttons::All, "react", react.clone(), "reactionLevel"),
            (json!({ "reactionLevel": "extensive" }), Buttons::All, "react", react, ""),
            (json!({}), Buttons::Off, "send", send("7", rows()), "inlineButtons"),
            (json!({}), Buttons::Off, "send", send("7", Some(json!([]))), ""),
            (json!({}), Buttons::Direct, "send", send("7", rows()), ""),
            (json!({}), Buttons::Direct, "send", send("-7", rows()), "inlineButtons"),
            (json!({}), Buttons::Group, "send", send("7", rows()), "inlineButtons"),
            (json!({}), Buttons::Allowed, "send", send("-7", rows()), ""),
        ] {
            let found = May::read(&at).check(buttons, name, &action);
            let is =
                found.as_ref().map_or_else(|it| !key.is_empty() && it.contains(key), |()| key.is_empty());
            assert!(is, "{at} {name}: {found:?}");
        }
    }
}
