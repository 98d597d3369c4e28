//! Where an agent may send from a conversation: `tools.message.crossContext`. Pure.
//!
//! A run that nobody on a network has asked for belongs to no conversation there, and is free. Reactions go anywhere: they say nothing.
use crate::agent::tools::MessageRules;
use crate::channels::{Key, Target};
use crate::gateway::runs::request::Reply;

/// Actions that say something, or unsay it. Reference; `edit` and `delete` since its newest releases.
const GUARDED: [&str; 5] = ["send", "poll", "sticker", "edit", "delete"];

/// What stands around a text that is sent elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marker {
    pub prefix: String,
    pub suffix: String,
}

/// Judges what a run that belongs to `bound` wants done elsewhere; the marker that its text gets.
///
/// # Errors
/// Why not, and which key would allow it.
pub fn judge(
    rules: &MessageRules,
    bound: Option<&Reply>,
    action: &str,
    account: &Key,
    target: &Target,
) -> Result<Marker, String> {
    let Some(bound) = bound.filter(|_| GUARDED.contains(&action)) else { return Ok(Marker::default()) };
    let (channel, here) = (account.0, format!("{}:{}", bound.channel, bound.to));
    if bound.channel != channel {
        if !rules.across_providers {
            return Err(format!(
                "Cross-context messaging denied: this conversation is on {}, and tools.message.crossContext.allowAcrossProviders does not allow {action} on {channel}",
                bound.channel
            ));
        }
    } else if bound.account == account.1 && bound.to == target.to {
        return Ok(Marker::default());
    } else if !rules.within_provider {
        return Err(format!(
            "Cross-context messaging denied: tools.message.crossContext.allowWithinProvider is false, so that {action} is for this conversation alone ({here}), not for {channel}:{}",
            target.to
        ));
    }
    let filled = |it: &String| it.replace("{channel}", &here);
    let marker = rules.marker.as_ref().filter(|_| action == "send");
    Ok(marker.map(|it| Marker { prefix: filled(&it.0), suffix: filled(&it.1) }).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tools::ToolsConfig;
    use serde_json::{Value, json};

    /// Each line: `tools.message`, the conversation (channel, account, chat) or null, the action, where it goes, and `ok`, the prefix and
    /// suffix of the marker as `prefix|suffix`, or the key that the refusal names.
    #[test]
    fn from_here_to_there() {
        let table = include_str!("../../../tests/data/cross-context.jsonl");
        let mut cases = 0;
        for line in table.lines().filter(|it| !it.starts_with('#') && !it.is_empty()) {
            let case: Value = serde_json::from_str(line).unwrap();
            let word = |at: usize, n: usize| case[at][n].as_str().unwrap().to_owned();
            let bound = case[1].is_array().then(|| Reply {
                channel: word(1, 0),
                account: word(1, 1),
                to: word(1, 2),
                ..Reply::default()
            });
            let rules = ToolsConfig::read(&json!({ "tools": { "message": case[0] } }), "main").message;
            let account =
                (["telegram", "whatsapp"].into_iter().find(|it| *it == word(3, 0)).unwrap(), word(3, 1));
            let target = Target { to: word(3, 2), thread: None };
            let found = match judge(&rules, bound.as_ref(), case[2].as_str().unwrap(), &account, &target) {
                Ok(it) if it == Marker::default() => "ok".to_owned(),
                Ok(it) => format!("{}|{}", it.prefix, it.suffix),
                Err(text) => text,
            };
            let wanted = case[4].as_str().unwrap();
            let is = if wanted.starts_with("tools.") { found.contains(wanted) } else { found == wanted };
            assert!(is, "{line}: {found}");
            cases += 1;
        }
        assert!(cases >= 20, "{cases}");
    }
}
