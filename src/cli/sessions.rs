//! `sessions`: the conversations, as the gateway tells them; from its files while none runs here.
use super::args::{Calls, command};
use super::call::Trouble;
use super::rpc::{As, Failure};
use super::target::{self, Source};
use super::text::{ago, list, table, thousands, word};
use super::{Context, fail};
use crate::base::clock::Clock;
use crate::gateway::{World, sessions};
use crate::store::sessions::read;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

command! {
    /// list the conversations, newest first
    #[argh(subcommand, name = "sessions")]
    Sessions {
        /// only those of the last minutes
        #[argh(option, arg_name = "minutes")]
        active: Option<u32>,
        /// read this sessions.json, and ask no gateway
        #[argh(option, arg_name = "path")]
        store: Option<PathBuf>,
    }
}

/// Fields of a row, as the reference's command prints them, behind `key`, `kind`, `updatedAt` and `ageMs`.
const FIELDS: [&str; 15] = [
    "sessionId",
    "systemSent",
    "abortedLastRun",
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "responseUsage",
    "groupActivation",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "model",
    "contextTokens",
    "label",
];

/// Rows of `sessions.list`, the store's name, and the context window of a session that says none.
struct Found {
    path: String,
    rows: Vec<Value>,
    context_tokens: Value,
}

impl Sessions {
    pub fn run(&self, context: &Context) -> ExitCode {
        if self.active == Some(0) {
            return fail("--active 0: give at least 1 minute.", 2);
        }
        let unix_ms = Clock::start().now().unix_ms;
        let answer = self.find(context, unix_ms).map(|it| self.answer(it, unix_ms));
        context.show(answer, self.json, |it| text(it, unix_ms))
    }

    /// From the one who owns the files, if there is one: what it holds in memory is newer than they are.
    fn find(&self, context: &Context, unix_ms: i64) -> Result<Found, Trouble> {
        let world = context.world();
        if let Some(store) = &self.store {
            let store = std::path::absolute(store).unwrap_or_else(|_| store.clone());
            let agent_id = world.config.config.agents.default_id().to_owned();
            return Ok(from_files(&world, &[(agent_id, store)], unix_ms)?);
        }
        let link = self.link();
        let target = target::resolve(&link, &world.config.config, context).map_err(Failure::Other)?;
        match context.open_at(&target, As::Cli, link.timeout_ms()) {
            Ok(mut client) => {
                let params = json!({ "includeGlobal": true, "includeUnknown": true });
                let answer = client.call("sessions.list", Some(params), false)?;
                Ok(Found {
                    path: word(&answer, "path").to_owned(),
                    rows: list(&answer, "sessions").to_vec(),
                    context_tokens: answer["defaults"]["contextTokens"].clone(),
                })
            }
            Err(Failure::NobodyThere(_)) if target.source == Source::Local => {
                let store = |it: String| (it.clone(), world.session_store(&it));
                let mut stores: Vec<_> = sessions::agent_ids(&world).into_iter().map(store).collect();
                // Agents may share one.
                stores.dedup_by(|a, b| a.1 == b.1);
                Ok(from_files(&world, &stores, unix_ms)?)
            }
            Err(failure) => Err(context.explain(failure, &target)),
        }
    }

    fn answer(&self, found: Found, unix_ms: i64) -> Value {
        let since = self.active.map(|it| unix_ms - i64::from(it) * 60_000);
        let mut rows = found.rows;
        rows.retain(|it| since.is_none_or(|since| updated_at(it) >= since));
        rows.sort_by_key(|it| std::cmp::Reverse(updated_at(it)));
        let rows: Vec<Value> = rows.iter().map(|it| row(it, &found.context_tokens, unix_ms)).collect();
        json!({ "path": found.path, "count": rows.len(), "activeMinutes": self.active, "sessions": rows })
    }
}

/// The rows of store files, each with the agent whose it is, made as the gateway makes them.
fn from_files(world: &World, stores: &[(String, PathBuf)], unix_ms: i64) -> Result<Found, Failure> {
    let mut rows = vec![];
    for (agent_id, path) in stores {
        let index = read(path, agent_id).map_err(Failure::Other)?;
        let default = sessions::model(&world.models, agent_id, unix_ms);
        rows.extend(index.iter().map(|(key, slot)| {
            let entry = slot.entry();
            Value::Object(sessions::row(key, &entry, &sessions::model_of(&entry, &default)))
        }));
    }
    let path = if let [(_, one)] = stores { one.display().to_string() } else { "(multiple)".to_owned() };
    let context_tokens = json!(sessions::defaults(world, unix_ms).context_tokens);
    Ok(Found { path, rows, context_tokens })
}

/// Milliseconds since 1970 of a row's last change; 0 when it says none.
fn updated_at(row: &Value) -> i64 {
    row["updatedAt"].as_f64().map_or(0, |it| it as i64)
}

fn row(it: &Value, context_tokens: &Value, unix_ms: i64) -> Value {
    let updated = Some(updated_at(it)).filter(|it| *it > 0);
    let mut out = json!({
        "key": it["key"], "kind": it["kind"], "updatedAt": updated, "ageMs": updated.map(|it| unix_ms - it),
    });
    for name in FIELDS {
        if !it[name].is_null() {
            out[name] = it[name].clone();
        }
    }
    if out["contextTokens"].is_null() {
        out["contextTokens"] = context_tokens.clone();
    }
    out
}

fn text(answer: &Value, unix_ms: i64) -> String {
    let mut lines = vec![format!("Store: {}", word(answer, "path"))];
    let rows: Vec<_> = list(answer, "sessions").iter().map(|it| cells(it, unix_ms)).collect();
    lines.push(match (rows.is_empty(), answer["activeMinutes"].as_u64()) {
        (true, None) => "No conversation yet.".to_owned(),
        (true, Some(minutes)) => format!("No conversation in the last {minutes} min."),
        (false, _) => table(&["Session", "Kind", "Age", "Model", "Tokens", "Settings"], &rows),
    });
    lines.join("\n")
}

fn cells(it: &Value, unix_ms: i64) -> Vec<String> {
    let window = it["contextTokens"].as_u64().unwrap_or(0);
    let tokens = it["totalTokens"].as_u64().map_or("-".to_owned(), |total| {
        let percent = (total * 100).checked_div(window).map(|it| format!(" ({it}%)"));
        format!("{}{}", thousands(total), percent.unwrap_or_default())
    });
    let settings = [
        ("thinkingLevel", "think"),
        ("verboseLevel", "verbose"),
        ("reasoningLevel", "reasoning"),
        ("elevatedLevel", "elevated"),
        ("responseUsage", "usage"),
        ("groupActivation", "activation"),
        ("label", "label"),
    ];
    let mut settings: Vec<String> = settings
        .iter()
        .filter_map(|(name, short)| it[name].as_str().map(|value| format!("{short}:{value}")))
        .collect();
    if it["abortedLastRun"] == true {
        settings.push("aborted".to_owned());
    }
    vec![
        word(it, "key").to_owned(),
        word(it, "kind").to_owned(),
        ago(&it["updatedAt"], unix_ms),
        word(it, "model").to_owned(),
        tokens,
        settings.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    use crate::cli::tests::context;
    use argh::FromArgs;

    const NOW: i64 = 1_795_478_400_000;

    fn listed(context: &Context, words: &[&str]) -> Value {
        let it = Sessions::from_args(&["sessions"], words).ok().unwrap();
        it.answer(it.find(context, NOW).unwrap(), NOW)
    }
    /// Shapes as measured on the reference's command.
    #[test]
    fn a_store_file_becomes_the_references_rows() {
        let home = TempDir::new();
        let context = context(home.path());
        let store =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state-reference/sessions.json");
        let store = store.to_str().unwrap();
        let all = listed(&context, &["--store", store]);
        assert_eq!(
            (&all["path"], &all["count"], &all["activeMinutes"]),
            (&store.into(), &3.into(), &Value::Null)
        );
        assert_eq!(
            all["sessions"][0].to_string(),
            r#"{"key":"agent:main:tree","kind":"direct","updatedAt":1795478327461,"ageMs":72539,"sessionId":"9fd19fbe-b7cf-4384-9cd3-b1828b98f64c","systemSent":true,"abortedLastRun":false,"thinkingLevel":"low","inputTokens":11,"outputTokens":7,"totalTokens":11,"model":"claude-opus-4-5","contextTokens":128000,"label":"tree"}"#
        );
        assert_eq!(all["sessions"][1]["elevatedLevel"], "full");
        assert_eq!(all["sessions"][1]["contextTokens"], 200_000);
        assert_eq!(listed(&context, &["--store", store, "--active", "4"])["count"], 2);
        let shown = text(&all, NOW);
        assert!(
            shown.contains("agent:main:tree") && shown.contains("11 (0%)") && shown.contains("think:low")
        );
        let none = listed(&context, &["--store", "/nowhere/sessions.json"]);
        assert_eq!((&none["count"], text(&none, NOW).lines().count()), (&0.into(), 2));
    }
}
