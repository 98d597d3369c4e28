//! `health`: the gateway's own snapshot of itself.
use super::Context;
use super::args::{Calls, command};
use super::text::{age, list, word};
use serde_json::{Value, json};
use std::process::ExitCode;

command! {
    /// what the gateway says of itself: agents, channels, sessions
    #[argh(subcommand, name = "health")]
    Health {
        /// probe the channels too
        #[argh(switch)]
        verbose: bool,
    }
}

impl Health {
    pub fn run(&self, context: &Context) -> ExitCode {
        let params = self.verbose.then(|| json!({ "probe": true }));
        context.show(context.call(self.link(), "health", params), self.json, text)
    }
}

/// `Telegram: configured, running`, one line a channel in the gateway's own order.
pub fn channel_lines(health: &Value) -> Vec<String> {
    let line = |id: &str| {
        let (label, it) = (health["channelLabels"][id].as_str().unwrap_or(id), &health["channels"][id]);
        let flags = ["configured", "linked", "running", "connected"];
        let set: Vec<&str> = flags.into_iter().filter(|flag| it[*flag] == true).collect();
        let state = if set.is_empty() { "not configured".to_owned() } else { set.join(", ") };
        let probe = match (&it["probe"]["ok"], &it["probe"]["error"]) {
            (Value::Bool(true), _) => " · probe ok".to_owned(),
            (Value::Bool(false), error) => {
                format!(" · probe failed: {}", error.as_str().unwrap_or("no reason given"))
            }
            _ => String::new(),
        };
        let error = it["lastError"].as_str().map(|it| format!(" · {it}")).unwrap_or_default();
        format!("{label}: {state}{probe}{error}")
    };
    let order = list(health, "channelOrder").iter().filter_map(Value::as_str);
    order.map(line).collect()
}

fn text(health: &Value) -> String {
    let mut lines = channel_lines(health);
    let agents = list(health, "agents");
    let named = |it: &Value| match it["isDefault"] == true {
        true => format!("{} (default)", word(it, "agentId")),
        false => word(it, "agentId").to_owned(),
    };
    let join = |of: &dyn Fn(&Value) -> String| agents.iter().map(of).collect::<Vec<_>>().join(", ");
    lines.push(format!("Agents: {}", join(&named)));
    let beat = |it: &Value| format!("{} ({})", word(&it["heartbeat"], "every"), word(it, "agentId"));
    lines.push(format!("Heartbeat interval: {}", join(&beat)));
    for agent in agents {
        let (id, sessions) = (word(agent, "agentId"), &agent["sessions"]);
        lines.push(format!(
            "Session store ({id}): {} ({} entries)",
            word(sessions, "path"),
            sessions["count"].as_u64().unwrap_or(0)
        ));
        for row in list(sessions, "recent") {
            let age = row["age"].as_u64().map_or("-".into(), |it| format!("{} ago", age(it)));
            lines.push(format!("- {} ({age})", word(row, "key")));
        }
    }
    lines
        .extend(list(health, "warnings").iter().filter_map(Value::as_str).map(|it| format!("Warning: {it}")));
    lines.join("\n")
}
