//! `agents`: the agents of this machine's configuration; needs no gateway.
use super::text::{list, word};
use super::{Context, say};
use crate::gateway::{World, sessions};
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// configured agents
#[derive(FromArgs)]
#[argh(subcommand, name = "agents", help_triggers("-h", "--help", "help"))]
pub struct Agents {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
}

/// the agents, their workspaces and folders
#[derive(FromArgs)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Agents {
    pub fn run(&self, context: &Context) -> ExitCode {
        let Command::List(it) = &self.command;
        let rows = rows(&context.world());
        if it.json { say(&format!("{rows:#}")) } else { say(&text(&rows)) }
    }
}

fn rows(world: &World) -> Value {
    let agents = &world.config.config.agents;
    let row = |id: String| {
        let bindings =
            list(&world.config.resolved, "bindings").iter().filter(|it| it["agentId"] == *id).count();
        let mut row = json!({
            "id": id,
            "workspace": sessions::workspace(world, &id),
            "agentDir": world.paths.agent(&id).join("agent"),
            "bindings": bindings,
            "isDefault": id == agents.default_id(),
        });
        if let Some(name) = agents.get(&id).and_then(|it| it.name.as_deref()) {
            row["name"] = name.into();
        }
        row
    };
    sessions::agent_ids(world).into_iter().map(row).collect()
}

fn text(rows: &Value) -> String {
    let mut lines = vec!["Agents:".to_owned()];
    for it in rows.as_array().into_iter().flatten() {
        let default = if it["isDefault"] == true { " (default)" } else { "" };
        lines.push(format!("- {}{default}", word(it, "id")));
        lines.push(format!("  Workspace: {}", word(it, "workspace")));
        lines.push(format!("  Agent dir: {}", word(it, "agentDir")));
        lines.push(format!("  Routing rules: {}", it["bindings"]));
    }
    lines.join("\n")
}
