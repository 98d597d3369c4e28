//! The models of one configuration and the keys to them, shared by all runs.
use super::catalog::Catalog;
use super::keys::{Keys, profiles_path};
use crate::base::files;
use crate::base::limits::STATE_BYTES_MAX;
use crate::config::{Env, File, Paths};
use crate::wire::proxy::Proxies;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

pub struct Models {
    pub catalog: Catalog,
    pub proxies: Proxies,
    config: Arc<File>,
    paths: Paths,
    env: Env,
    /// By agent; which of them rest is everybody's to know.
    keys: Mutex<BTreeMap<String, Held>>,
}

struct Held {
    keys: Keys,
    /// When the profiles were last written, in milliseconds since 1970.
    profiles_ms: i64,
}

impl Models {
    pub fn new(config: Arc<File>, paths: Paths, env: Env) -> Models {
        let catalog = Catalog::read(&config.resolved, paths.is_dev());
        let proxies = Proxies::of(|name| env.get(name));
        Models { catalog, proxies, config, paths, env, keys: Mutex::new(BTreeMap::new()) }
    }
    /// For a configuration that was read again: keys that are known already keep their rest.
    pub fn renewed(&self, config: Arc<File>) -> Models {
        let models = Models::new(config, self.paths.clone(), self.env.clone());
        let keys = std::mem::take(&mut *self.held());
        // Collected again when next asked for.
        let keys = keys.into_iter().map(|(id, it)| (id, Held { profiles_ms: i64::MIN, ..it })).collect();
        Models { keys: Mutex::new(keys), ..models }
    }
    /// Something with an agent's keys. Reads its profiles when they have changed: runs and jobs only.
    pub fn with_keys<T>(&self, agent_id: &str, now_ms: i64, work: impl FnOnce(&mut Keys) -> T) -> T {
        let profiles_ms = files::modified_ms(&profiles_path(&self.paths, agent_id));
        let mut all = self.held();
        let old = all.get(agent_id);
        if old.is_none_or(|it| it.profiles_ms != profiles_ms) {
            let keys = self.collect(agent_id, old.map(|it| &it.keys), now_ms);
            all.insert(agent_id.to_owned(), Held { keys, profiles_ms });
        }
        work(&mut all.get_mut(agent_id).expect("it was inserted above").keys)
    }
    fn collect(&self, agent_id: &str, old: Option<&Keys>, now_ms: i64) -> Keys {
        let path = profiles_path(&self.paths, agent_id);
        let profiles = match files::read(&path, STATE_BYTES_MAX) {
            Ok(bytes) => bytes.map_or(Value::Null, |it| {
                serde_json::from_slice(&it).unwrap_or_else(|err| {
                    log::warn!(target: "agent", "{} is not used: {err}", path.display());
                    Value::Null
                })
            }),
            Err(err) => {
                log::warn!(target: "agent", "cannot read {}: {err}", path.display());
                Value::Null
            }
        };
        let mut keys = Keys::collect(&self.catalog, &self.config.resolved, &profiles, &self.env, now_ms);
        if let Some(old) = old {
            keys.keep_rests_of(old);
        }
        keys
    }
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.keys.lock().unwrap_or_else(|it| it.into_inner())
    }
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}
