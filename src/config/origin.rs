//! Where the value of a key comes from: the file, an included one, the environment, or the program itself.
use super::document::{Document, position};
use super::edit::INCLUDE;
use super::merge::is_secret;
use super::place::Place;
use super::{Env, File, Paths, json5};
use crate::base::{files, limits::CONFIG_BYTES_MAX};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Origin {
    /// Written in a file, the main one or an included one. Lines and columns count from 1.
    File {
        file: PathBuf,
        line: usize,
        column: usize,
        /// The environment variables that the text names.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        variables: Vec<String>,
    },
    /// Included files are merged into it.
    Included { files: Vec<PathBuf> },
    /// An environment variable decides.
    Env { variable: String },
    /// Nobody says anything, and the gateway uses this.
    Default,
    /// Nobody says anything.
    Unset,
}

/// The variables that decide a key themselves: path, name without prefix, and whether it wins over the file.
const VARIABLES: &[(&str, &str, bool)] = &[
    ("gateway.port", "GATEWAY_PORT", true),
    ("canvasHost.port", "CANVAS_HOST_PORT", true),
    ("gateway.auth.token", "GATEWAY_TOKEN", false),
    ("gateway.auth.password", "GATEWAY_PASSWORD", false),
];

/// The value in force, secrets included, and where it comes from.
pub fn of(place: &Place, file: &File, paths: &Paths, env: &Env) -> (Option<Value>, Origin) {
    let path = place.names().join(".");
    let variable = VARIABLES.iter().find(|it| it.0 == path);
    let from_env = variable.and_then(|(_, name, wins)| Some((*wins, env.openclaw(name)?, name)));
    let from_file = place.get(&file.resolved);
    match from_env {
        Some((wins, text, name)) if wins || from_file.is_none() => {
            let set =
                |prefix: &str| env.get(&format!("{prefix}_{name}")).is_some_and(|it| !it.trim().is_empty());
            let prefix = if set("OPENCLAW") { "OPENCLAW" } else { "CLAWDBOT" };
            let value = text
                .parse::<u16>()
                .map_or_else(|_| text.into(), |it| if wins { it.into() } else { text.into() });
            (Some(value), Origin::Env { variable: format!("{prefix}_{name}") })
        }
        _ => match from_file {
            Some(value) => (Some(value.clone()), written(place, file, paths)),
            None => match default(&path, paths) {
                Some(value) => (Some(value), Origin::Default),
                None => (None, Origin::Unset),
            },
        },
    }
}

/// The place in the text that says it.
fn written(place: &Place, file: &File, paths: &Paths) -> Origin {
    let names = place.names();
    let raw = file.raw.as_deref().unwrap_or("{}");
    let Ok(main) = json5::parse(raw) else { return Origin::Unset };
    let found = |document: &Document, text: &str, of: &Path, names: &[String]| {
        let node = names.iter().try_fold(&document.root, |node, name| node.get(name))?;
        let (line, column) = position(text, node.span.start);
        let variables = references(&node.value(), names);
        Some(Origin::File { file: of.to_owned(), line, column, variables })
    };
    if let Some(origin) = found(&main, raw, &paths.config, &names) {
        return origin;
    }
    // Where the main file ends and the included ones begin.
    let mut node = &main.root;
    let mut include = 0;
    for (depth, name) in names.iter().enumerate() {
        if node.get(INCLUDE).is_some() {
            include = depth;
        }
        match node.get(name) {
            Some(next) => node = next,
            None => break,
        }
    }
    for start in include..names.len() {
        for path in file.source.included.iter().rev() {
            let text = files::read_text(path, CONFIG_BYTES_MAX).ok().flatten().unwrap_or_default();
            let document = json5::parse(&text);
            if let Some(origin) = document.ok().and_then(|it| found(&it, &text, path, &names[start..])) {
                return origin;
            }
        }
    }
    Origin::Included { files: file.source.included.clone() }
}

/// Names of the variables that a value refers to.
fn references(value: &Value, names: &[String]) -> Vec<String> {
    let path: Vec<&str> = names.iter().map(String::as_str).collect();
    match value {
        Value::String(text) => {
            text.split("${").skip(1).filter_map(|it| it.split_once('}').map(|it| it.0.to_owned())).collect()
        }
        Value::Object(map) if is_secret(&path) && map.get("source").is_some_and(|it| it == "env") => {
            map.get("id").and_then(Value::as_str).map(str::to_owned).into_iter().collect()
        }
        _ => vec![],
    }
}

/// What the gateway uses when nobody says anything. Reference, "known defaults".
pub fn default(path: &str, paths: &Paths) -> Option<Value> {
    Some(match path {
        "gateway.port" => paths.port(None, &Env::default(), None).into(),
        "gateway.bind" => "loopback".into(),
        "gateway.controlUi.enabled" | "cron.enabled" | "canvasHost.enabled" | "canvasHost.liveReload" => {
            true.into()
        }
        "gateway.http.endpoints.chatCompletions.enabled" | "gateway.http.endpoints.responses.enabled" => {
            false.into()
        }
        "gateway.reload.mode" => "hybrid".into(),
        "gateway.reload.debounceMs" => 300.into(),
        "gateway.tailscale.mode" => "off".into(),
        "hooks.path" => "/hooks".into(),
        "hooks.maxBodyBytes" => 262_144.into(),
        "session.scope" => "per-sender".into(),
        "session.mainKey" => "main".into(),
        "cron.store" => json!(paths.state.join("cron/jobs.json")),
        "cron.maxConcurrentRuns" => 1.into(),
        "commands.native" | "commands.nativeSkills" => "auto".into(),
        "commands.restart" => false.into(),
        "messages.ackReactionScope" => "group-mentions".into(),
        "agents.defaults.maxConcurrent" => 4.into(),
        "agents.defaults.subagents.maxConcurrent" => 8.into(),
        "agents.defaults.heartbeat.every" => "30m".into(),
        "agents.defaults.heartbeat.target" => "last".into(),
        "agents.defaults.heartbeat.ackMaxChars" => 300.into(),
        "agents.defaults.timeoutSeconds" => 600.into(),
        "agents.defaults.contextTokens" => 200_000.into(),
        "agents.defaults.workspace" => json!(paths.workspace()),
        "logging.level" | "logging.consoleLevel" => "info".into(),
        "logging.redactSensitive" => "tools".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn where_it_stands() {
        let dir = std::env::temp_dir().join(format!("gatewayd-origin-{}", std::process::id()));
        let mut env =
            Env::from([("HOME", dir.to_str().unwrap()), ("T", "secret"), ("OPENCLAW_GATEWAY_PASSWORD", "p")]);
        let paths = Paths::resolve(&env, Some("dev"));
        let text = "{\n  gateway: { auth: { token: '${T}' }, mode: 'local' },\n  agents: { $include: 'agents.json5' },\n}";
        files::write_atomic(&paths.config, text.as_bytes()).unwrap();
        let agents = paths.state.join("agents.json5");
        files::write_atomic(&agents, b"{\n\n list: [{ id: 'a' }] }").unwrap();
        let ask = |path: &str, env: &Env| {
            let file = File::load(&paths, env);
            assert!(file.valid(), "{:?}", file.issues);
            of(&Place::parse(path).unwrap(), &file, &paths, env)
        };
        let at = |file: &Path, line, column, variables: &[&str]| {
            let variables = variables.iter().map(|it| (*it).to_owned()).collect();
            Origin::File { file: file.to_owned(), line, column, variables }
        };
        assert_eq!(ask("gateway.mode", &env), (Some(json!("local")), at(&paths.config, 2, 45, &[])));
        assert_eq!(
            ask("gateway.auth.token", &env),
            (Some(json!("secret")), at(&paths.config, 2, 29, &["T"]))
        );
        assert_eq!(ask("agents.list[0].id", &env), (Some(json!("a")), at(&agents, 3, 15, &[])));
        let variable = |name: &str| Origin::Env { variable: name.to_owned() };
        assert_eq!(
            ask("gateway.auth.password", &env),
            (Some(json!("p")), variable("OPENCLAW_GATEWAY_PASSWORD"))
        );
        assert_eq!(ask("gateway.port", &env), (Some(json!(19001)), Origin::Default));
        env.set("CLAWDBOT_GATEWAY_PORT", "7");
        assert_eq!(ask("gateway.port", &env), (Some(json!(7)), variable("CLAWDBOT_GATEWAY_PORT")));
        assert_eq!(ask("gateway.publicOrigin", &env), (None, Origin::Unset));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn defaults_are_values_that_may_stand_there() {
        let paths = Paths::resolve(&Env::default(), None);
        let mut known = 0;
        for keys::Line { path, .. } in keys::lines() {
            let Some(value) = default(path, &paths) else { continue };
            let mut document = Value::Null;
            Place::parse(path).unwrap().set(&mut document, value).unwrap();
            assert_eq!(keys::check(&document), [], "{path}");
            known += 1;
        }
        assert!(known >= 28, "{known}: a default whose key is not in the table");
    }
}
