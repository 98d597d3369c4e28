//! The answers, on disk: the configuration, the key, the folder of the agent.
use super::{Answers, Wizard};
use crate::agent::{keys, workspace};
use crate::base::limits::STATE_BYTES_MAX;
use crate::base::{files, ids};
use crate::config::place::Place;
use crate::config::write::Change;
use crate::config::{Env, File, Paths};
use crate::gateway::{World, sessions};
use serde_json::{Value, json};

/// What the answers make of a document: only what was answered is in it.
pub fn document(answers: &Answers, old: &Value) -> Result<Value, String> {
    let mut new = old.clone();
    let mut set = |path: &str, value: Value| Place::parse(path).and_then(|it| it.set(&mut new, value));
    let texts = [
        ("gateway.remote.url", &answers.remote_url),
        ("gateway.remote.token", &answers.remote_token),
        ("gateway.bind", &answers.bind),
        ("gateway.auth.token", &answers.token),
        ("agents.defaults.workspace", &answers.workspace),
        ("channels.telegram.botToken", &answers.telegram),
    ];
    if answers.mode_asked {
        set("gateway.mode", if answers.remote { "remote" } else { "local" }.into())?;
    }
    for (path, text) in texts {
        if let Some(text) = text {
            set(path, text.as_str().into())?;
        }
    }
    if let Some(port) = answers.port {
        set("gateway.port", port.into())?;
    }
    if answers.token.is_some() {
        set("gateway.auth.mode", "token".into())?;
    }
    if answers.telegram.is_some() {
        set("channels.telegram.enabled", true.into())?;
    }
    if let Some(model) = &answers.model {
        let provider = &answers.provider;
        set("agents.defaults.model.primary", format!("{provider}/{model}").into())?;
        if let Some(url) = &answers.base_url {
            let api = if provider == "ollama" { "ollama" } else { "openai-completions" };
            let place = format!("models.providers.{provider}");
            let models = old.pointer(&format!("/models/providers/{provider}/models"));
            let mut models = models.and_then(Value::as_array).cloned().unwrap_or_default();
            if !models.iter().any(|it| it["id"] == model.as_str()) {
                models.push(json!({ "id": model, "name": model }));
            }
            set(&format!("{place}.baseUrl"), url.as_str().into())?;
            set(&format!("{place}.api"), api.into())?;
            set(&format!("{place}.models"), models.into())?;
        }
    }
    Ok(new)
}

/// Writes everything; answers what was done. Blocks.
///
/// # Errors
/// A sentence.
pub fn write(wizard: &Wizard, paths: &Paths, env: &Env, who: &str, unix_ms: i64) -> Result<String, String> {
    let mut answers = wizard.answers.clone();
    let base = File::load(paths, env);
    let given = ["GATEWAY_TOKEN", "GATEWAY_PASSWORD"].iter().any(|it| env.openclaw(it).is_some());
    let auth = &base.resolved["gateway"]["auth"];
    let secured = given || auth["token"].is_string() || auth["password"].is_string();
    if wizard.makes_token() && answers.token.is_none() && !secured {
        answers.token = Some(ids::token(&mut ids::os_entropy()));
    }
    let new = document(&answers, &base.resolved)?;
    if let Some(key) = &answers.key {
        save_key(paths, &answers.provider, key)?;
    }
    let change = Change { paths, env, base: &base, who, unix_ms, force: false, authored: None };
    let written =
        change.write(&new).map_err(|err| format!("{} was not changed: {err}", paths.config.display()))?;
    let mut said = match written.changed.is_empty() {
        true => format!("Nothing had to be changed in {}.", paths.config.display()),
        false => format!("Wrote {}: {}.", paths.config.display(), written.changed.join(", ")),
    };
    if !answers.remote {
        let world = World::new(written.file, paths.clone(), env.clone(), 0);
        let agent = world.config.config.agents.default_id().to_owned();
        let folder = sessions::workspace(&world, &agent);
        let made =
            files::make_dir(&paths.agent(&agent).join("sessions")).and_then(|()| workspace::make(&folder));
        made.map_err(|err| format!("cannot make {}: {err}", folder.display()))?;
        said.push_str(&format!("\nThe agent works in {}.", folder.display()));
    }
    Ok(said)
}

/// Beside the keys that are there, in the reference's file and form.
fn save_key(paths: &Paths, provider: &str, key: &str) -> Result<(), String> {
    let path = keys::profiles_path(paths, "main");
    let failed = |err: &dyn std::fmt::Display| format!("cannot keep the key in {}: {err}", path.display());
    let old = files::read(&path, STATE_BYTES_MAX).map_err(|err| failed(&err))?;
    let mut all: Value = match old {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|err| failed(&err))?,
        None => json!({ "version": 1, "profiles": {} }),
    };
    if !all["profiles"].is_object() {
        return Err(failed(&"it has no profiles"));
    }
    all["profiles"][format!("{provider}:default")] =
        json!({ "type": "api_key", "provider": provider, "key": key });
    files::write_atomic(&path, format!("{all:#}\n").as_bytes()).map_err(|err| failed(&err))
}
