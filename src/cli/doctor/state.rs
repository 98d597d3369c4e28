//! Findings about the state folder.
use super::Finding;
use super::repair::Repair;
use crate::base::limits::STATE_BYTES_MAX;
use crate::base::{accounts, files, sys};
use crate::cli::Context;
use crate::store::sessions::of_a_later_version;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Transcripts of so many of the newest sessions are looked for. Ours: older ones may have been tidied away.
const SESSIONS_LOOKED_AT: usize = 20;

pub fn look(context: &Context) -> Vec<Finding> {
    let (program, state) = (context.program(), &context.paths.state);
    let shown = state.display();
    let Ok(meta) = std::fs::metadata(state) else {
        return elsewhere(context).into_iter().collect();
    };
    let mut found = vec![];
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let text = format!("{shown} is open to others (mode {mode:o}); it holds keys and conversations.");
        found.push(
            Finding::warning("state.permissions", text, format!("chmod 700 {shown}"))
                .by(Repair::Mode(state.clone(), 0o700)),
        );
    }
    if meta.uid() != sys::uid() {
        let (owner, us) = (accounts::name_of(meta.uid()), accounts::name_of(sys::uid()));
        let text = format!(
            "{shown} belongs to {owner}, and this is {us}: one of the two cannot write what the other wrote."
        );
        found.push(Finding::warning("state.owner", text, format!("sudo chown -R {us}: {shown}")));
    }
    let probe = state.join(".doctor");
    if let Err(err) = files::write_atomic(&probe, b"").and_then(|()| files::remove(&probe)) {
        let text = format!("Nothing can be written to {shown}: {err}.");
        found.push(Finding::error(
            "state.unwritable",
            text,
            format!("df -h {shown}; mount | grep ' ro'; ls -ld {shown}"),
        ));
    }
    found.extend(secrets(state));
    found.extend(old_layout(context));
    for name in files::names(state).iter().filter(|it| it.contains(".corrupt-")) {
        let text = format!("{shown}/{name} could not be read one day, and was put aside.");
        found.push(Finding::info("state.aside", text, format!("look at it, then: rm '{shown}/{name}'")));
    }
    found.extend(sessions(context, &program));
    for path in of_a_later_version(state) {
        let text = format!(
            "{} holds conversations of a later OpenClaw: they stay there, and this gateway begins new ones.",
            path.display()
        );
        let fix = format!("go on with that OpenClaw, or: {program} gateway   # without them");
        found.push(Finding::warning("sessions.newer", text, fix));
    }
    found
}

/// No state folder here, but one under a name of old.
fn elsewhere(context: &Context) -> Option<Finding> {
    let state = context.paths.state.display();
    let old =
        [".clawdbot", ".moltbot"].into_iter().map(|it| context.paths.home.join(it)).find(|it| it.is_dir())?;
    let text =
        format!("{state} is missing, and {} is there: it holds what an earlier product knew.", old.display());
    Some(Finding::error("state.elsewhere", text, format!("mv {} {state}", old.display())))
}

/// Files with secrets that others may read.
fn secrets(state: &Path) -> Vec<Finding> {
    let mut found = vec![];
    for name in
        [".env", "credentials", "identity", "identity/device.json", "identity/device-auth.json", "devices"]
    {
        let path = state.join(name);
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
            let text = format!("{} is open to others (mode {mode:o}); it holds secrets.", path.display());
            let fix = format!("chmod {wanted:o} {}", path.display());
            found.push(Finding::warning("state.secrets", text, fix).by(Repair::Mode(path, wanted)));
        }
    }
    found
}

/// Folders that once were for the only agent.
fn old_layout(context: &Context) -> Vec<Finding> {
    let (state, agent) = (&context.paths.state, context.paths.agent("main"));
    let mut found = vec![];
    for (from, to) in
        [(state.join("sessions"), agent.join("sessions")), (state.join("agent"), agent.join("agent"))]
    {
        if !from.is_dir() {
            continue;
        }
        let text = format!(
            "{} is where an earlier version kept what now belongs to {}.",
            from.display(),
            to.display()
        );
        let fix = format!("mkdir -p {} && mv {} {}", agent.display(), from.display(), to.display());
        let finding = Finding::warning("state.layout", text, fix);
        // What is there already is not mixed with it.
        found.push(if files::names(&to).is_empty() { finding.by(Repair::Move(from, to)) } else { finding });
    }
    found
}

/// Sessions whose transcript is not where they say.
fn sessions(context: &Context, program: &str) -> Vec<Finding> {
    let mut found = vec![];
    for agent in files::names(&context.paths.state.join("agents")) {
        let dir = context.paths.agent(&agent).join("sessions");
        let store = dir.join("sessions.json");
        let text = match files::read_text(&store, STATE_BYTES_MAX) {
            Ok(Some(it)) => it,
            Ok(None) => continue,
            Err(err) => {
                let text = format!("{} cannot be read: {err}.", store.display());
                found.push(Finding::error("sessions.unreadable", text, format!("ls -l {}", store.display())));
                continue;
            }
        };
        let Ok(Value::Object(all)) = serde_json::from_str::<Value>(&text) else {
            let text = format!(
                "{} is no JSON object; it is put aside when the gateway next reads it.",
                store.display()
            );
            found.push(Finding::error(
                "sessions.broken",
                text,
                format!("mv {0} {0}.broken", store.display()),
            ));
            continue;
        };
        let mut newest: Vec<(&String, &Value)> = all.iter().collect();
        newest.sort_by_key(|it| std::cmp::Reverse(it.1["updatedAt"].as_i64()));
        let lost = newest.iter().take(SESSIONS_LOOKED_AT).filter(|(_, entry)| {
            let named = entry["sessionFile"].as_str().map(|it| dir.join(it));
            let own = entry["sessionId"].as_str().map(|it| dir.join(format!("{it}.jsonl")));
            let told =
                entry["inputTokens"].as_u64().unwrap_or(0) + entry["outputTokens"].as_u64().unwrap_or(0) > 0;
            told && named.or(own).is_some_and(|it| !it.exists())
        });
        let lost: Vec<&str> = lost.map(|it| it.0.as_str()).collect();
        if !lost.is_empty() {
            let text =
                format!("The agent {agent} has sessions whose transcript is gone: {}.", lost.join(", "));
            found.push(Finding::warning(
                "sessions.lost",
                text,
                format!("{program} sessions --json   # then /reset in each"),
            ));
        }
    }
    found
}
