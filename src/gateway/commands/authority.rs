//! Who may give which command. One rule for all channels.
use crate::config::Commands;
use serde::{Deserialize, Serialize};

/// Whom a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Anyone,
    /// Whom the channel lets in: a client with `operator.write`.
    Allowed,
    /// `commands.ownerAllowFrom`, and clients with `operator.admin`.
    Owner,
}

/// Who gave a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    pub channel: String,
    /// Among those of the channel; of a client its `client.id`.
    pub id: String,
    pub allowed: bool,
    pub owner: bool,
}

pub fn may(who: Who, sender: &Sender, rules: &Commands) -> bool {
    match who {
        Who::Anyone => true,
        Who::Allowed => sender.allowed || rules.for_all || is_owner(sender, rules),
        Who::Owner => is_owner(sender, rules),
    }
}

fn is_owner(sender: &Sender, rules: &Commands) -> bool {
    let id = sender.id.to_lowercase();
    let names = |it: &String| *it == "*" || *it == id || *it == format!("{}:{id}", sender.channel);
    // A client's id says which program it is, not who sits before it.
    sender.owner || sender.channel != "webchat" && rules.owners.iter().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_of_people() {
        let person = |channel: &str, id: &str, allowed| Sender {
            channel: channel.into(),
            id: id.into(),
            allowed,
            owner: false,
        };
        let rules = |for_all, owners: &[&str]| Commands {
            for_all,
            owners: owners.iter().map(|it| (*it).to_owned()).collect(),
        };
        let client = person("webchat", "cli", true);
        let admin = Sender { owner: true, ..client.clone() };
        for (sender, rules, want) in [
            (&client, rules(false, &[]), [true, true, false]),
            // Everybody can call their program `cli`.
            (&client, rules(false, &["cli", "webchat:cli", "*"]), [true, true, false]),
            (&admin, rules(false, &[]), [true, true, true]),
            (&person("telegram", "7", false), rules(false, &["8"]), [true, false, false]),
            (&person("telegram", "7", false), rules(true, &[]), [true, true, false]),
            (&person("telegram", "7", false), rules(false, &["telegram:7"]), [true, true, true]),
            (&person("telegram", "7", false), rules(false, &["signal:7"]), [true, false, false]),
            (&person("signal", "Ann", true), rules(false, &["ann"]), [true, true, true]),
            (&person("signal", "ann", false), rules(false, &["*"]), [true, true, true]),
        ] {
            let got = [Who::Anyone, Who::Allowed, Who::Owner].map(|it| may(it, sender, &rules));
            assert_eq!(got, want, "{sender:?} {rules:?}");
        }
    }
}
