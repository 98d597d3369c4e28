//! Who may talk, and what is meant for us. Asked before anything else is done with an update; pure.
use super::api::Bot;
use super::people::{Group, People};
use super::settings::{Buttons, DmPolicy, GroupPolicy, Reactions, Settings};
use super::update::{ChatKind, Message, Update, What};
use serde_json::Value;

/// What becomes of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing; and why, for the log.
    Drop(&'static str),
    /// Somebody new: told a code, and otherwise nothing.
    Pair,
    Hear(Hear),
}

/// How an update counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hear {
    /// May give commands.
    pub allowed: bool,
    pub addressed: bool,
    pub must_be_addressed: bool,
    pub system_prompt: Option<String>,
    pub tools: Option<Value>,
}

/// `paired`: who was let in by a code; it counts for direct chats alone.
pub fn admit(update: &Update, settings: &Settings, bot: &Bot, paired: &[i64]) -> Verdict {
    let Some(person) = update.from.as_ref().map(|it| it.id).or_else(|| anonymous(update, settings)) else {
        return Verdict::Drop("nobody said it");
    };
    if person == bot.id || update.from.as_ref().is_some_and(|it| it.is_bot) {
        return Verdict::Drop("a bot said it");
    }
    let verdict = match update.chat.kind {
        ChatKind::Private => direct(update, settings, person, paired),
        ChatKind::Group => group(update, settings, person),
        ChatKind::Channel => Verdict::Drop("a channel"),
    };
    let Verdict::Hear(mut hear) = verdict else { return verdict };
    match &update.what {
        What::Message(message) | What::Edited(message) => {
            if for_another_bot(message, bot) {
                return Verdict::Drop("a command for another bot");
            }
            let answers_us =
                message.answers.as_ref().and_then(|it| it.from.as_ref()).is_some_and(|it| it.id == bot.id);
            hear.addressed |= message.names_bot || answers_us;
        }
        What::Callback { .. } => {
            let direct = update.chat.kind == ChatKind::Private;
            let fits = match settings.buttons {
                Buttons::Off => false,
                Buttons::Direct => direct,
                Buttons::Group => !direct,
                Buttons::All => true,
                Buttons::Allowed => hear.allowed,
            };
            if !fits {
                return Verdict::Drop("inlineButtons does not allow it");
            }
            hear.addressed = true;
        }
        What::Reaction { .. } if settings.reactions == Reactions::Off => {
            return Verdict::Drop("reactionNotifications is off");
        }
        What::Reaction { .. } => {}
    }
    Verdict::Hear(hear)
}

/// Nobody in particular (an admin who hides, a channel that writes to its group): only where everybody may talk.
fn anonymous(update: &Update, settings: &Settings) -> Option<i64> {
    let open = update.chat.kind == ChatKind::Group && settings.group_policy == GroupPolicy::Open;
    open.then_some(0)
}

fn direct(update: &Update, settings: &Settings, person: i64, paired: &[i64]) -> Verdict {
    let mut allowed = settings.allow.has(person);
    let hear = |allowed| Verdict::Hear(Hear { allowed, addressed: true, ..Hear::default() });
    match settings.dm_policy {
        DmPolicy::Disabled => Verdict::Drop("dmPolicy is disabled"),
        DmPolicy::Open => hear(allowed),
        DmPolicy::Allowlist if allowed => hear(true),
        DmPolicy::Allowlist => Verdict::Drop("not in allowFrom"),
        DmPolicy::Pairing => {
            allowed |= paired.contains(&person);
            match &update.what {
                _ if allowed => hear(true),
                What::Message(_) => Verdict::Pair,
                _ => Verdict::Drop("not paired"),
            }
        }
    }
}

fn group(update: &Update, settings: &Settings, person: i64) -> Verdict {
    if settings.group_policy == GroupPolicy::Disabled {
        return Verdict::Drop("groupPolicy is disabled");
    }
    let none = Group::default();
    let id = update.chat.id.to_string();
    let (own, any) = match &settings.groups {
        None => (None, None),
        Some(map) => (map.get(&id), map.get("*")),
    };
    if settings.groups.is_some() && own.is_none() && any.is_none() {
        return Verdict::Drop("not among groups");
    }
    let group = own.or(any).unwrap_or(&none);
    let topic = topic(update).and_then(|it| group.topics.get(&it.to_string())).unwrap_or(&none);
    if group.disabled || topic.disabled {
        return Verdict::Drop("the group or its topic is disabled");
    }
    let listed = topic.allow.as_ref().or(group.allow.as_ref());
    let people: &People = listed.unwrap_or(&settings.group_allow);
    let allowed = person != 0 && people.has(person);
    let must = listed.is_some() || settings.group_policy == GroupPolicy::Allowlist;
    if must && !allowed {
        return Verdict::Drop("not in groupAllowFrom");
    }
    let prompts =
        [&group.system_prompt, &topic.system_prompt].into_iter().flatten().cloned().collect::<Vec<_>>();
    let any_must = any.and_then(|it| it.must_be_addressed);
    Verdict::Hear(Hear {
        allowed,
        addressed: false,
        must_be_addressed: topic.must_be_addressed.or(group.must_be_addressed).or(any_must).unwrap_or(true),
        system_prompt: Some(prompts.join("\n\n")).filter(|it| !it.is_empty()),
        tools: group.tools_for(person).or_else(|| any?.tools_for(person)).cloned(),
    })
}

/// The forum topic that an update belongs to. The first one has no number in its messages.
pub fn topic(update: &Update) -> Option<i64> {
    let thread = match &update.what {
        What::Message(it) | What::Edited(it) => it.thread,
        What::Callback { thread, .. } => *thread,
        // It does not say.
        What::Reaction { .. } => return None,
    };
    update.chat.is_forum.then(|| thread.unwrap_or(1))
}

/// `/status@otherbot`.
fn for_another_bot(message: &Message, bot: &Bot) -> bool {
    let word = message.text.split_whitespace().next().unwrap_or_default();
    let named = word.strip_prefix('/').and_then(|it| it.split_once('@'));
    named.is_some_and(|it| !bot.username.is_empty() && it.1.to_lowercase() != bot.username)
}

#[cfg(test)]
mod tests {
    use super::super::{settings, update};
    use super::*;
    use serde_json::json;

    fn bot() -> Bot {
        Bot { id: 100, username: "ourbot".into() }
    }
    fn verdict(section: Value, update: Value, paired: &[i64]) -> String {
        let settings = &settings::tests::of(section, None)[0];
        match admit(&update::read(&update, "ourbot").unwrap(), settings, &bot(), paired) {
            Verdict::Drop(_) => "drop".into(),
            Verdict::Pair => "pair".into(),
            Verdict::Hear(it) => format!(
                "{}{}",
                if it.allowed { "A" } else { "-" },
                if it.addressed || !it.must_be_addressed { "!" } else { "." }
            ),
        }
    }
    fn direct(from: i64) -> Value {
        json!({ "update_id": 1, "message": { "message_id": 1, "date": 1, "text": "hi", "chat": { "id": from, "type": "private" }, "from": { "id": from } } })
    }
    fn group(from: i64, text: &str) -> Value {
        json!({ "update_id": 1, "message": { "message_id": 1, "date": 1, "text": text, "chat": { "id": -5, "type": "supergroup" }, "from": { "id": from } } })
    }

    #[test]
    fn direct_chats() {
        for (section, from, paired, want) in [
            (json!({}), 7, &[][..], "pair"),
            (json!({}), 7, &[7], "A!"),
            (json!({ "allowFrom": [7] }), 7, &[], "A!"),
            (json!({ "dmPolicy": "allowlist", "allowFrom": [8] }), 7, &[], "drop"),
            (json!({ "dmPolicy": "allowlist" }), 7, &[7], "drop"),
            (json!({ "dmPolicy": "open" }), 7, &[], "-!"),
            (json!({ "dmPolicy": "open", "allowFrom": ["*"] }), 7, &[], "A!"),
            (json!({ "dmPolicy": "disabled", "allowFrom": [7] }), 7, &[7], "drop"),
            (json!({ "allowFrom": ["*"] }), 100, &[], "drop"),
        ] {
            assert_eq!(verdict(section.clone(), direct(from), paired), want, "{section} {from}");
        }
    }
    #[test]
    fn groups() {
        let open = json!({ "groupPolicy": "open" });
        for (section, text, want) in [
            (json!({}), "hi @ourbot", "drop"),
            (json!({ "allowFrom": [7] }), "hi @ourbot", "A!"),
            (json!({ "allowFrom": [7], "groupAllowFrom": [8] }), "hi @ourbot", "drop"),
            (json!({ "groupAllowFrom": [7] }), "hi", "A."),
            (open.clone(), "hi", "-."),
            (open.clone(), "/status@otherbot", "drop"),
            (open.clone(), "/status@OurBot", "-!"),
            (json!({ "groupPolicy": "open", "groups": { "-6": {} } }), "@ourbot", "drop"),
            (json!({ "groupPolicy": "open", "groups": { "*": { "requireMention": false } } }), "hi", "-!"),
            (
                json!({ "groupPolicy": "open", "groups": { "*": { "requireMention": false }, "-5": { "requireMention": true } } }),
                "hi",
                "-.",
            ),
            (json!({ "groupPolicy": "open", "groups": { "-5": { "allowFrom": [8] } } }), "@ourbot", "drop"),
            (json!({ "groupPolicy": "open", "groups": { "-5": { "enabled": false } } }), "@ourbot", "drop"),
            (json!({ "groupPolicy": "disabled" }), "@ourbot", "drop"),
        ] {
            // Whom a code let in is nobody in a group.
            assert_eq!(verdict(section.clone(), group(7, text), &[7]), want, "{section} {text}");
        }
    }
    #[test]
    fn topics_have_rules_of_their_own() {
        let section = json!({ "groupPolicy": "open", "groups": { "-5": { "requireMention": true, "topics": { "9": { "requireMention": false }, "1": { "enabled": false } } } } });
        let mut in_topic = group(7, "hi");
        in_topic["message"]["chat"]["is_forum"] = true.into();
        assert_eq!(verdict(section.clone(), in_topic.clone(), &[]), "drop", "the first topic");
        in_topic["message"]["message_thread_id"] = 9.into();
        assert_eq!(verdict(section.clone(), in_topic.clone(), &[]), "-!");
        in_topic["message"]["message_thread_id"] = 8.into();
        assert_eq!(verdict(section, in_topic, &[]), "-.");
    }
    /// The other kinds follow the same rule.
    #[test]
    fn buttons_and_reactions_are_admitted_like_words() {
        let chat = json!({ "id": 7, "type": "private" });
        let callback = json!({ "update_id": 1, "callback_query": { "id": "c", "data": "x", "from": { "id": 7 }, "message": { "message_id": 1, "chat": chat } } });
        let reaction = json!({ "update_id": 1, "message_reaction": { "message_id": 1, "chat": chat, "user": { "id": 7 }, "old_reaction": [], "new_reaction": [] } });
        for update in [callback, reaction] {
            assert_eq!(verdict(json!({}), update.clone(), &[]), "drop", "no code for a click");
            assert_eq!(verdict(json!({ "dmPolicy": "allowlist" }), update.clone(), &[]), "drop");
            assert_eq!(verdict(json!({ "allowFrom": [7] }), update, &[]), "A!");
        }
    }
}
