//! What commands show: the state of a session, its context, its cost, and the commands themselves.
use super::conversation::share;
use super::parse::{GROUPS, ROWS, Row};
use super::{Scene, World};
use crate::agent::model::ModelRef;
use crate::base::clock;
use crate::config::QueueMode;
use crate::gateway::methods::usage::{self, Totals};
use crate::store::agent_sessions::Trouble;
use crate::store::sessions::updated_at;
use crate::store::stores::Stores;
use crate::store::transcript;
use serde_json::{Map, Value};
use std::path::Path;

/// What `/elevated` says.
pub(super) const ELEVATED: &str = "🛡 Elevated: not offered here. Its gate is tools.elevated (enabled, and allowFrom.webchat); \
    commands run as tools.exec.security and tools.exec.ask say.";

/// Of a command that is known, and not offered.
pub(super) fn off(name: &str) -> String {
    let instead = match name {
        "config" => "edit the configuration file, or use `gatewayd config`",
        "debug" => "set logging.level, or start with --verbose",
        _ => "ask the agent to run it",
    };
    format!("🚫 /{name} is off (commands.{name}), and this gateway has none to switch on: {instead}.")
}

/// How a command is used.
pub(super) fn usage(row: &Row) -> String {
    format!("Usage: {} — {}", row.usage(), row.says)
}

fn offered<'s>(scene: &'s Scene, group: &'static str) -> impl Iterator<Item = &'static Row> + 's {
    ROWS.iter().filter(move |it| it.group == group && !it.says.starts_with("not offered") && scene.may(it))
}

/// The commands, a line a group.
pub(super) fn help(scene: &Scene) -> String {
    let mut out = "ℹ️ Commands".to_owned();
    for group in GROUPS {
        let all: Vec<String> = offered(scene, group).map(Row::usage).collect();
        if !all.is_empty() {
            out.push_str(&format!("\n{group}: {}", all.join(" · ")));
        }
    }
    out + "\n/commands says what each of them does."
}

/// Every command, a line each.
pub(super) fn all(scene: &Scene) -> String {
    let mut out = "ℹ️ All commands".to_owned();
    for group in GROUPS {
        let mut rows = offered(scene, group).peekable();
        if rows.peek().is_some() {
            out.push_str(&format!("\n\n{group}"));
        }
        for row in rows {
            let aliases: Vec<String> = row.aliases.iter().map(|it| format!("/{it}")).collect();
            let also =
                if aliases.is_empty() { String::new() } else { format!(" (also {})", aliases.join(", ")) };
            out.push_str(&format!("\n{} — {}{also}", row.usage(), row.says));
        }
    }
    out + "\n\nWords behind /think, /verbose, /reasoning and /model with their choice make it count for that message alone."
}

pub(super) fn who(scene: &Scene) -> String {
    let Some(sender) = &scene.request.command else { return String::new() };
    let rights = if sender.owner { "everything" } else { "all but the owner's commands" };
    format!(
        "👤 Channel: {}\nUser id: {}\nMay give: {rights}\nSession: {}",
        sender.channel, sender.id, scene.request.key
    )
}

/// `950`, `9.0k`, `64k`, `1.2M`.
pub(super) fn short(tokens: u64) -> String {
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..9_950 => format!("{:.1}k", tokens as f64 / 1e3),
        9_950..999_500 => format!("{:.0}k", tokens as f64 / 1e3),
        _ => format!("{:.1}M", tokens as f64 / 1e6),
    }
}

fn ago(ms: i64) -> String {
    match ms / 60_000 {
        ..1 => "just now".into(),
        minutes @ 1..60 => format!("{minutes} min ago"),
        minutes @ 60..2880 => format!("{} h ago", minutes / 60),
        minutes => format!("{} days ago", minutes / 1440),
    }
}

/// Enough of a key to know it by: nothing of a short one.
fn masked(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    match chars.len() {
        20.. => chars[..3].iter().chain(['…'].iter()).chain(&chars[chars.len() - 4..]).collect(),
        _ => "…".into(),
    }
}

impl Scene {
    /// Which key a model is asked with, masked, and where it comes from; or what is missing.
    pub(super) fn key(&self, model: &ModelRef, unix_ms: i64) -> Result<String, String> {
        let models = &self.world.models;
        let shown = models.with_keys(&self.request.agent_id, unix_ms, |keys| {
            keys.first(&model.provider).map(|it| format!("{} ({})", masked(it.secret.expose()), it.id))
        });
        match shown {
            Some(it) => Ok(it),
            None => {
                models.catalog.target(model, None).map(|_| "none needed".into()).map_err(|err| err.reason)
            }
        }
    }
    pub(super) fn status(&self, stores: &mut Stores) -> Result<String, Trouble> {
        let key = &self.request.key;
        let before = self.open(stores)?.0.index().get(key).map_or(0, crate::store::index::Slot::updated_at);
        let (entry, unix_ms) = (self.entry(stores)?, stores.now().unix_ms);
        let config = &self.world.config.config;
        let number = |name: &str| entry.get(name).and_then(Value::as_u64);
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let mut lines = vec![format!("🦀 gatewayd {}", self.world.version())];
        let chosen = self.chosen(&entry, unix_ms);
        lines.push(match &chosen {
            Ok(model) => {
                let key = self.key(model, unix_ms).unwrap_or_else(|_| "missing".into());
                format!("🧠 Model: {model} · 🔑 {key}")
            }
            Err(err) => format!("🧠 Model: {err}"),
        });
        if let (Some(input), Some(output)) = (number("inputTokens"), number("outputTokens")) {
            lines.push(format!("🧮 Tokens: {} in / {} out", short(input), short(output)));
        }
        let model = chosen.ok();
        let window =
            model.map_or(0, |it| self.world.models.catalog.window(&it, config.agents.context_tokens));
        let used = share(number("totalTokens").unwrap_or(0), window);
        lines
            .push(format!("📚 Context: {used} · 🧹 Compactions: {}", number("compactionCount").unwrap_or(0)));
        let since = Some(before).filter(|it| *it > 0).unwrap_or_else(|| updated_at(&entry));
        lines.push(format!("🧵 Session: {key} • updated {}", ago(unix_ms - since)));
        let level = |field: &str| self.level_in_force(field, &entry, unix_ms);
        lines.push(format!(
            "⚙️ Runtime: direct · Think: {} · Verbose: {} · Reasoning: {}",
            level("thinkingLevel"),
            level("verboseLevel"),
            level("reasoningLevel"),
        ));
        let configured = config.queue.mode_of(self.request.channel.as_deref());
        let mode = text("queueMode").and_then(QueueMode::of_word).unwrap_or(configured);
        lines.push(format!("🪢 Queue: {} (depth {})", mode.word(), self.depth));
        if text("sendPolicy") == Some("deny") {
            lines.push("📮 Send: off (/send on)".into());
        }
        Ok(lines.join("\n"))
    }
    pub(super) fn context(&self, stores: &mut Stores, word: &str) -> Result<String, Trouble> {
        let entry = self.entry(stores)?;
        let report = entry.get("systemPromptReport").filter(|it| it.is_object());
        Ok(match (report, word) {
            (_, "help") => "📚 /context shows sizes, /context list the files, /context detail the tools too, /context json everything.".into(),
            (None, _) => "📚 No model has been asked in this session yet: say something first.".into(),
            (Some(it), "json") => serde_json::to_string_pretty(it).unwrap_or_default(),
            (Some(it), word) => context(it, &entry, word),
        })
    }
}

fn context(report: &Value, entry: &Map<String, Value>, word: &str) -> String {
    let number = |at: &Value| at.as_u64().unwrap_or(0);
    // Four characters a token, as everywhere.
    let size = |chars: u64| format!("{} chars (~{} tokens)", short(chars), short(chars / 4));
    let prompt = &report["systemPrompt"];
    let mut lines = vec![
        format!("📚 System prompt: {}", size(number(&prompt["chars"]))),
        format!("Workspace files: {}", size(number(&prompt["projectContextChars"]))),
        format!("Tool schemas: {}", size(number(&report["tools"]["schemaChars"]))),
    ];
    if let Some(total) = entry.get("totalTokens").and_then(Value::as_u64) {
        let window = entry.get("contextTokens").and_then(Value::as_u64).unwrap_or(0);
        lines.push(format!("Last question in all: {} tokens", share(total, window)));
    }
    let files = report["injectedWorkspaceFiles"].as_array();
    if matches!(word, "list" | "detail") {
        for file in files.into_iter().flatten() {
            let name = file["name"].as_str().unwrap_or_default();
            lines.push(match (file["missing"] == true, file["truncated"] == true) {
                (true, _) => format!("• {name}: not there"),
                (_, true) => format!(
                    "• {name}: {}, cut from {}",
                    size(number(&file["injectedChars"])),
                    number(&file["rawChars"])
                ),
                _ => format!("• {name}: {}", size(number(&file["injectedChars"]))),
            });
        }
    }
    let tools = report["tools"]["entries"].as_array();
    if word == "detail" {
        for tool in tools.into_iter().flatten() {
            let name = tool["name"].as_str().unwrap_or_default();
            let chars = number(&tool["summaryChars"]) + number(&tool["schemaChars"]);
            lines.push(format!("• tool {name}: {}", size(chars)));
        }
    }
    lines.join("\n")
}

/// What this session cost, today, and thirty days. Reads every transcript: for a worker.
pub(super) fn cost(world: &World, transcript: Option<&Path>, unix_ms: i64) -> String {
    let messages = transcript.map(|it| transcript::last_messages(it, usize::MAX));
    let messages = messages.and_then(Result::ok).unwrap_or_default();
    let session = Totals::of(messages.iter());
    let all = usage::cost(world, 30, unix_ms);
    let today = clock::date(unix_ms);
    let today = all.daily.into_iter().find(|it| it.date == today).map(|it| it.totals).unwrap_or_default();
    let line = |title: &str, it: &Totals| {
        let dollars = if it.total_cost < 0.01 {
            format!("{:.4}", it.total_cost)
        } else {
            format!("{:.2}", it.total_cost)
        };
        let partial =
            if it.missing_cost_entries > 0 { " (without answers whose price nobody says)" } else { "" };
        format!("{title}: ${dollars} · {} tokens{partial}", short(it.total_tokens))
    };
    [line("💸 This session", &session), line("Today", &today), line("30 days", &all.totals)].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        let short = [0, 999, 1000, 9_949, 9_950, 64_000, 200_000, 999_499, 999_500, 1_250_000].map(short);
        assert_eq!(short, ["0", "999", "1.0k", "9.9k", "10k", "64k", "200k", "999k", "1.0M", "1.2M"]);
        let minutes = [-5, 0, 1, 59, 60, 119, 2879, 2880].map(|it| ago(it * 60_000));
        let want = [
            "just now",
            "just now",
            "1 min ago",
            "59 min ago",
            "1 h ago",
            "1 h ago",
            "47 h ago",
            "2 days ago",
        ];
        assert_eq!(minutes, want);
    }
    #[test]
    fn keys_are_hardly_shown() {
        assert_eq!(masked("short-secret-key"), "…");
        assert_eq!(masked("key-0123456789abcdef-tail"), "key…tail");
    }
}
