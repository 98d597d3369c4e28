//! `config.get`: the configuration as it is on disk and as it is in force.
use crate::config::{File, Issue};
use crate::gateway::Core;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::RpcResult;
use crate::protocol::scope::Access;
use crate::protocol::types::NoParams;
use serde::Serialize;
use serde_json::{Map, Value};

pub const METHODS: &[Method] = &[Method::of::<ConfigGet>()];

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ConfigGetReply {
    path: String,
    exists: bool,
    /// The text; null when there is no file, or when the caller may not see secrets.
    raw: Option<String>,
    parsed: Value,
    valid: bool,
    config: Value,
    /// Lower-case hex SHA-256 of the text.
    hash: String,
    issues: Vec<Issue>,
    warnings: Vec<Issue>,
    legacy_issues: Vec<Issue>,
}

/// Protocol 3: the admin's, in full. Protocol 4: any reader's, with secrets masked.
enum ConfigGet {}
impl Rpc for ConfigGet {
    const NAME: &'static str = "config.get";
    const ACCESS: Access = Access::Admin;
    const ACCESS_V4: Access = Access::Read;
    type Params = NoParams;
    type Reply = ConfigGetReply;
    fn call(core: &mut Core, call: Call, _: NoParams) -> RpcResult<Answer<ConfigGetReply>> {
        let (paths, env) = (core.world.paths.clone(), core.world.env.clone());
        let masked = call.protocol >= 4;
        Ok(Answer::read(move || {
            let file = File::load(&paths, &env);
            let show = |value: &Value| if masked { mask(value.clone(), "") } else { value.clone() };
            Ok(ConfigGetReply {
                path: paths.config.display().to_string(),
                exists: file.exists(),
                parsed: show(&file.parsed),
                config: show(&file.resolved),
                valid: file.valid(),
                hash: file.hash,
                issues: file.issues,
                warnings: vec![],
                legacy_issues: vec![],
                raw: file.raw.filter(|_| !masked),
            })
        }))
    }
}

/// What stands for a secret; the reference's word, so that its clients know it.
const SENTINEL: &str = "__OPENCLAW_REDACTED__";

/// Replaces every text under a key that names a secret.
fn mask(value: Value, key: &str) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().map(|(key, it)| (key.clone(), mask(it, &key))).collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(|it| mask(it, key)).collect()),
        Value::String(text) if is_secret(key) && !text.is_empty() => SENTINEL.into(),
        other => other,
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["token", "password", "secret", "apikey"].iter().any(|it| key.ends_with(it)) || key == "authorization"
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn secrets_are_masked_and_numbers_are_not() {
        let value = serde_json::json!({ "gateway": { "auth": { "token": "s", "mode": "token" } }, "contextTokens": 5, "a": [{ "apiKey": "k" }] });
        let want = serde_json::json!({ "gateway": { "auth": { "token": SENTINEL, "mode": "token" } }, "contextTokens": 5, "a": [{ "apiKey": SENTINEL }] });
        assert_eq!(mask(value, ""), want);
    }
}
