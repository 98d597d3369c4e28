//! Findings about what agents need: sign-ins that end, skills that lack something.
use super::Finding;
use crate::agent::keys::profiles_path;
use crate::base::clock::{Clock, date};
use crate::cli::Context;
use crate::cli::models_status::profiles;
use crate::cli::text::{age, word};
use crate::config::File;
use crate::gateway::{World, sessions, skills};
use crate::store;

pub fn look(context: &Context) -> Vec<Finding> {
    let file = File::load(&context.paths, &context.env).or_last_good(&context.paths, &context.env);
    let world = World {
        program: context.program(),
        ..World::new(file, context.paths.clone(), context.env.clone(), 0)
    };
    let unix_ms = Clock::start().now().unix_ms;
    let mut found: Vec<Finding> =
        sessions::agent_ids(&world).iter().flat_map(|it| sign_ins(context, it, unix_ms)).collect();
    found.extend(lacking(&world));
    found
}

/// Profiles whose time is over, or will be within a day.
fn sign_ins(context: &Context, agent: &str, unix_ms: i64) -> Vec<Finding> {
    let (program, path) = (context.program(), profiles_path(&context.paths, agent));
    let all = match store::read_json(&path) {
        Ok(it) => it.unwrap_or_default(),
        Err(err) => {
            let text = format!("The agent {agent} is without its keys: {err}.");
            return vec![Finding::error(
                "auth.unreadable",
                text,
                format!("ls -l {0}; cat {0}", path.display()),
            )];
        }
    };
    let fix =
        format!("{program} configure --section model   # or sign in again with the program that wrote it");
    let about = |row: &serde_json::Value| {
        let (id, ends) = (word(row, "label"), row["expiresAt"].as_i64().unwrap_or(0));
        match word(row, "status") {
            "expired" => {
                let text = format!(
                    "The sign-in {id} of the agent {agent} ended on {}, and is not used.",
                    date(ends)
                );
                Some(Finding::warning("auth.expired", text, fix.clone()))
            }
            "expiring" => {
                let left = age(ends.saturating_sub(unix_ms) as u64);
                let text =
                    format!("The sign-in {id} of the agent {agent} ends in {left}; it is not renewed here.");
                Some(Finding::warning("auth.expiring", text, fix.clone()))
            }
            _ => None,
        }
    };
    profiles(&all, unix_ms).iter().filter_map(about).collect()
}

/// Skills that are wanted and could not be used. Those for other systems are left alone.
fn lacking(world: &World) -> Option<Finding> {
    let parts = |it: &skills::Requirements| {
        let named = |what: &str, all: &[String], joint: &str| {
            (!all.is_empty()).then(|| format!("{what} {}", all.join(joint)))
        };
        let all = [
            named("the program", &it.bins, ", "),
            named("the program", &it.any_bins, " or "),
            named("the variable", &it.env, ", "),
            named("the setting", &it.config, ", "),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let all = skills::of_all(world);
    let wanted = all.iter().filter(|it| !it.disabled && it.missing.os.is_empty());
    let lacks: Vec<(&str, String)> =
        wanted.map(|it| (it.skill_key.as_str(), parts(&it.missing))).filter(|it| !it.1.is_empty()).collect();
    let first = lacks.first()?.0;
    let list: Vec<String> = lacks.iter().map(|(name, what)| format!("{name} ({what})")).collect();
    let text = format!("Skills lack what they ask for: {}.", list.join("; "));
    let fix = format!(
        "install it, or name the variable in .env; or: {} config set skills.entries.{first}.enabled false",
        world.program
    );
    Some(Finding::info("skills.missing", text, fix))
}
