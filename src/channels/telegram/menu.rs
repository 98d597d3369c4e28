//! The menu of commands that Telegram shows.
use super::api::Api;
use super::settings::Settings;
use crate::base::limits::TELEGRAM_CALL_MS;
use serde_json::{Value, json};

/// Commands of the gateway that are worth a place in the menu.
const OURS: [(&str, &str); 10] = [
    ("help", "What there is"),
    ("status", "Model, session and usage"),
    ("new", "Begin a new conversation"),
    ("stop", "Stop the answer under way"),
    ("compact", "Fold the conversation"),
    ("model", "Show or choose the model"),
    ("think", "How hard the model thinks"),
    ("usage", "What answers cost"),
    ("activation", "When a group is answered"),
    ("whoami", "Your own number"),
];
/// Bot API.
const ENTRIES_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 256;

/// Ours first; what has the name of one of ours is left out.
fn entries(settings: &Settings) -> Vec<Value> {
    let ours = OURS.iter().filter(|_| settings.native_commands).map(|it| (it.0, it.1));
    let custom = settings.custom_commands.iter().map(|it| (it.0.as_str(), it.1.as_str()));
    let custom = custom.filter(|it| OURS.iter().all(|ours| ours.0 != it.0));
    let short = |text: &str| text.chars().take(DESCRIPTION_CHARS_MAX).collect::<String>();
    ours.chain(custom)
        .take(ENTRIES_MAX)
        .map(|it| json!({ "command": it.0, "description": short(it.1) }))
        .collect()
}

/// A menu is no reason not to run: what fails is only said.
pub fn set(api: &Api, settings: &Settings) {
    let entries = entries(settings);
    let done = match entries.is_empty() {
        true => api.call("deleteMyCommands", &json!({}), TELEGRAM_CALL_MS),
        false => api.call("setMyCommands", &json!({ "commands": entries }), TELEGRAM_CALL_MS),
    };
    if let Err(failure) = done {
        log::warn!(target: "channels", "telegram {}: the menu of commands could not be set: {failure}", settings.account);
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::of;
    use super::*;

    #[test]
    fn what_is_shown() {
        let custom = json!([{ "command": "/Backup", "description": "Git backup" }, { "command": "status", "description": "mine" }, { "command": "no-good", "description": "x" }]);
        let names = |section: Value| {
            entries(&of(section, None)[0])
                .iter()
                .map(|it| it["command"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(json!({ "customCommands": custom })).len(), OURS.len() + 1);
        assert_eq!(names(json!({ "customCommands": custom, "commands": { "native": false } })), ["backup"]);
    }
}
