//! The keys of each provider: where they come from, in which order they are tried, and which of them rest after a failure. Pure.
//!
//! Order: `models.providers.*.apiKey`, the agent's `auth-profiles.json`, the usual environment variables.
use super::catalog::Catalog;
use super::error::ErrorKind;
use crate::base::limits::{
    BILLING_REST_HOURS, BILLING_REST_HOURS_MAX, FAILURE_WINDOW_HOURS, KEY_REST_MS, KEY_REST_MS_MAX,
};
use crate::base::secret::Secret;
use crate::config::{Env, Paths};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const HOUR_MS: f64 = 3_600_000.0;

/// `<state>/agents/<id>/agent/auth-profiles.json`; its whole tree is what [`Keys::collect`] takes.
pub fn profiles_path(paths: &Paths, agent_id: &str) -> PathBuf {
    paths.agent(agent_id).join("agent/auth-profiles.json")
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Config,
    Profile,
    Env,
}

#[derive(Debug, Clone)]
pub struct Key {
    /// The profile's id, the variable's name, or `config`.
    pub id: String,
    pub source: Source,
    pub secret: Secret,
    failures: u32,
    failed_at_ms: i64,
    rests_until_ms: i64,
}

#[derive(Debug)]
pub struct Keys {
    all: BTreeMap<String, Vec<Key>>,
    billing_hours: f64,
    billing_hours_by_provider: BTreeMap<String, f64>,
    billing_hours_max: f64,
    window_hours: f64,
}

#[derive(Debug)]
pub enum Pick<'k> {
    Use(&'k Key),
    /// All keys rest; the first is back then.
    Rest {
        until_ms: i64,
    },
    /// There is none, and perhaps none is needed.
    None,
}

impl Keys {
    /// `root` is the resolved configuration, `profiles` the content of the profiles file. Times are milliseconds since 1970.
    pub fn collect(catalog: &Catalog, root: &Value, profiles: &Value, env: &Env, now_ms: i64) -> Keys {
        let cooldowns = root.pointer("/auth/cooldowns").unwrap_or(&Value::Null);
        let hours = |name: &str, otherwise| cooldowns.get(name).and_then(Value::as_f64).unwrap_or(otherwise);
        let by_provider = cooldowns.get("billingBackoffHoursByProvider").and_then(Value::as_object);
        let by_provider =
            by_provider.into_iter().flatten().filter_map(|(k, v)| Some((k.to_lowercase(), v.as_f64()?)));
        let mut keys = Keys {
            all: BTreeMap::new(),
            billing_hours: hours("billingBackoffHours", BILLING_REST_HOURS),
            billing_hours_by_provider: by_provider.collect(),
            billing_hours_max: hours("billingMaxHours", BILLING_REST_HOURS_MAX),
            window_hours: hours("failureWindowHours", FAILURE_WINDOW_HOURS),
        };
        for provider in catalog.providers() {
            let (own, variables) = catalog.key_places(provider);
            let mut found: Vec<Key> =
                own.map(|it| Key::new("config", Source::Config, it.clone())).into_iter().collect();
            found.extend(profile_keys(provider, root, profiles, env, now_ms));
            let set =
                |name: &'static str| Some((name, env.get(name).map(str::trim).filter(|it| !it.is_empty())?));
            let variables = variables.iter().copied().filter_map(set);
            found.extend(
                variables.map(|(name, text)| Key::new(name, Source::Env, Secret::new(text.to_owned()))),
            );
            keys.all.insert(provider.to_owned(), found);
        }
        keys
    }
    /// Keys that are known already keep their rest: for a configuration that was read again.
    pub fn keep_rests_of(&mut self, old: &Keys) {
        for (provider, keys) in &mut self.all {
            for key in keys {
                let known = old.all.get(provider).into_iter().flatten().find(|it| it.secret == key.secret);
                if let Some(known) = known {
                    *key = Key { id: key.id.clone(), source: key.source, ..known.clone() };
                }
            }
        }
    }
    /// The keys of a provider in the order in which they are tried, those that rest among them.
    pub fn of(&self, provider: &str) -> &[Key] {
        self.all.get(provider).map_or(&[], Vec::as_slice)
    }
    pub fn any(&self) -> bool {
        self.all.values().any(|it| !it.is_empty())
    }
    pub fn pick(&self, provider: &str, now_ms: i64) -> Pick<'_> {
        let all = self.of(provider);
        if let Some(key) = all.iter().find(|it| it.rests_until_ms <= now_ms) {
            return Pick::Use(key);
        }
        let back = all.iter().map(|it| it.rests_until_ms).min();
        back.map_or(Pick::None, |until_ms| Pick::Rest { until_ms })
    }
    /// The first key of a provider, resting or not.
    pub fn first(&self, provider: &str) -> Option<&Key> {
        self.all.get(provider)?.first()
    }
    pub fn worked(&mut self, provider: &str, id: &str) {
        if let Some(key) = self.get(provider, id) {
            (key.failures, key.rests_until_ms) = (0, 0);
        }
    }
    /// Only what the key is to blame for makes it rest.
    pub fn failed(&mut self, provider: &str, id: &str, kind: ErrorKind, now_ms: i64) {
        let hours = self.billing_hours_by_provider.get(provider).copied().unwrap_or(self.billing_hours);
        let (max, window_ms) = (self.billing_hours_max, (self.window_hours * HOUR_MS) as i64);
        let Some(key) = self.get(provider, id) else { return };
        let earlier = if now_ms - key.failed_at_ms < window_ms { key.failures } else { 0 };
        let rest_ms = match kind {
            ErrorKind::Billing => ((hours * 2f64.powi(earlier.min(30) as i32)).min(max) * HOUR_MS) as i64,
            ErrorKind::Auth | ErrorKind::RateLimit { .. } => {
                let asked = if let ErrorKind::RateLimit { retry_after_ms: Some(ms) } = kind { ms } else { 0 };
                let usual = KEY_REST_MS.saturating_mul(5i64.saturating_pow(earlier));
                // A server that asks for a year is not believed.
                usual.max(i64::try_from(asked).unwrap_or(i64::MAX)).min(KEY_REST_MS_MAX)
            }
            _ => return,
        };
        (key.failures, key.failed_at_ms) = (earlier + 1, now_ms);
        key.rests_until_ms = now_ms + rest_ms;
    }
    fn get(&mut self, provider: &str, id: &str) -> Option<&mut Key> {
        self.all.get_mut(provider)?.iter_mut().find(|it| it.id == id)
    }
}

impl Key {
    fn new(id: &str, source: Source, secret: Secret) -> Key {
        Key { id: id.to_owned(), source, secret, failures: 0, failed_at_ms: 0, rests_until_ms: 0 }
    }
    /// Milliseconds since 1970; in the past for a key that does not rest.
    pub fn rests_until_ms(&self) -> i64 {
        self.rests_until_ms
    }
}

/// The profiles of a provider in their order: `auth.order`, else the file's, else subscriptions before keys.
fn profile_keys(provider: &str, root: &Value, profiles: &Value, env: &Env, now_ms: i64) -> Vec<Key> {
    let Some(all) = profiles.get("profiles").and_then(Value::as_object) else { return vec![] };
    let order = [root.pointer("/auth/order"), profiles.get("order")];
    let order = order.into_iter().flatten().find_map(|it| it.get(provider)?.as_array());
    let mut ids: Vec<&str> = match order {
        Some(order) => order.iter().filter_map(Value::as_str).collect(),
        None => all.keys().map(String::as_str).collect(),
    };
    if order.is_none() {
        let rank = |id: &&str| match all[*id]["type"].as_str() {
            Some("oauth") => 0,
            Some("token") => 1,
            _ => 2,
        };
        ids.sort_by_key(|id| (rank(id), *id));
    }
    let of = |id: &str| {
        let profile = all
            .get(id)
            .filter(|it| it["provider"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(provider)))?;
        let (field, reference) = match profile["type"].as_str()? {
            "oauth" => ("access", "accessRef"),
            "token" => ("token", "tokenRef"),
            "api_key" => ("key", "keyRef"),
            _ => return None,
        };
        let expires = profile["expires"].as_f64().filter(|it| *it > 0.0);
        let plain = profile[field].as_str().map(str::trim).filter(|it| !it.is_empty());
        let named =
            || env.get(profile[reference]["id"].as_str().filter(|_| profile[reference]["source"] == "env")?);
        let secret = plain.or_else(named).filter(|_| expires.is_none_or(|it| it > now_ms as f64))?;
        let mut key = Key::new(id, Source::Profile, Secret::new(secret.to_owned()));
        let stats = profiles.get("usageStats").and_then(|it| it.get(id)).unwrap_or(&Value::Null);
        let until =
            ["cooldownUntil", "disabledUntil"].iter().filter_map(|it| stats[it].as_f64()).fold(0.0, f64::max);
        key.rests_until_ms = until as i64;
        Some(key)
    };
    ids.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    fn keys(root: &Value, profiles: &Value, env: &Env) -> Keys {
        Keys::collect(&Catalog::read(root, false), root, profiles, env, 1_000)
    }
    /// The ids in the order in which they are tried, by failing one after the other.
    fn order(mut keys: Keys, provider: &str) -> Vec<String> {
        let mut out = vec![];
        while let Pick::Use(key) = keys.pick(provider, 1_000) {
            let id = key.id.clone();
            keys.failed(provider, &id, ErrorKind::Auth, 1_000);
            out.push(id);
        }
        out
    }
    fn profiles() -> Value {
        json!({"version": 1, "profiles": {
            "openai:b": {"type": "api_key", "provider": "openai", "key": "key-bbbb"},
            "openai:a": {"type": "api_key", "provider": "openai", "keyRef": {"source": "env", "id": "REF"}},
            "openai:sub": {"type": "oauth", "provider": "OpenAI", "access": "key-oooo", "expires": 5_000},
            "openai:old": {"type": "token", "provider": "openai", "token": "key-tttt", "expires": 999},
            "groq:x": {"type": "api_key", "provider": "groq", "key": "key-gggg"},
        }, "usageStats": {"groq:x": {"cooldownUntil": 2_000}}})
    }
    #[test]
    fn where_keys_come_from() {
        let env = Env::from([("OPENAI_API_KEY", " key-eeee "), ("REF", "key-rrrr"), ("GROQ_API_KEY", "")]);
        let root = json!({"models": {"providers": {"openai": {"apiKey": "key-cccc"}}}});
        let all = ["config", "openai:sub", "openai:a", "openai:b", "OPENAI_API_KEY"];
        assert_eq!(order(keys(&root, &profiles(), &env), "openai"), all);
        let ordered = json!({"auth": {"order": {"openai": ["openai:b", "openai:none", "openai:sub"]}}});
        assert_eq!(
            order(keys(&ordered, &profiles(), &env), "openai"),
            ["openai:b", "openai:sub", "OPENAI_API_KEY"]
        );
        let found = keys(&root, &profiles(), &env);
        assert!(matches!(found.pick("groq", 1_999), Pick::Rest { until_ms: 2_000 }));
        assert!(matches!(found.pick("groq", 2_000), Pick::Use(key) if key.secret.expose() == "key-gggg"));
        assert!(matches!(found.pick("xai", 0), Pick::None));
        assert!(found.any() && !keys(&json!({}), &Value::Null, &Env::default()).any());
    }
    #[test]
    fn rests_grow_and_end() {
        let root = json!({"auth": {"cooldowns": {"billingBackoffHoursByProvider": {"xai": 1}}}});
        let mut found = keys(&root, &Value::Null, &Env::from([("XAI_API_KEY", "key-xxxx")]));
        let mut now = 1_000;
        let mut rest = |found: &mut Keys, kind| {
            found.failed("xai", "XAI_API_KEY", kind, now);
            let Pick::Rest { until_ms } = found.pick("xai", now) else { return 0 };
            let rest = until_ms - now;
            now = until_ms;
            rest
        };
        let limit = ErrorKind::RateLimit { retry_after_ms: None };
        assert_eq!([0; 4].map(|_| rest(&mut found, limit)), [60_000, 300_000, 1_500_000, 3_600_000]);
        found.worked("xai", "XAI_API_KEY");
        assert_eq!(rest(&mut found, ErrorKind::RateLimit { retry_after_ms: Some(90_000) }), 90_000);
        assert_eq!(rest(&mut found, ErrorKind::Network), 0);
        assert_eq!(rest(&mut found, ErrorKind::Billing), 2 * 3_600_000);
        assert_eq!(rest(&mut found, ErrorKind::RateLimit { retry_after_ms: Some(u64::MAX) }), 3_600_000);
        let mut again = keys(&root, &Value::Null, &Env::from([("XAI_API_KEY", "key-xxxx")]));
        found.failed("xai", "XAI_API_KEY", ErrorKind::Auth, 9_000_000_000);
        again.keep_rests_of(&found);
        assert!(matches!(again.pick("xai", 9_000_000_000), Pick::Rest { until_ms: 9_000_060_000 }));
    }
}
