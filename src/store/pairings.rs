//! `paired.json` and `pending.json` of one folder: who is paired, and who asks to be. Devices and nodes are kept so.
use super::{read_json, write_json};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::path::Path;

/// Both files. Keyed by the id of who it is and by request id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pairings<Paired, Pending> {
    pub paired: BTreeMap<String, Paired>,
    pub pending: BTreeMap<String, Pending>,
}

impl<Paired, Pending> Pairings<Paired, Pending>
where
    Paired: Serialize + DeserializeOwned + PartialEq,
    Pending: Serialize + DeserializeOwned + PartialEq,
{
    /// # Errors
    /// A sentence that names the file: who is paired, and for what, must never be guessed.
    pub fn load(dir: &Path) -> Result<Pairings<Paired, Pending>, String> {
        Ok(Pairings { paired: map(&dir.join("paired.json"))?, pending: map(&dir.join("pending.json"))? })
    }
    /// Writes what is not as `before`, which is on disk: a request to be paired does not wear the other file out.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn save(&self, dir: &Path, before: &Pairings<Paired, Pending>) -> Result<(), String> {
        // What is paired first: a request that is gone before that would be lost.
        if self.paired != before.paired {
            write_json(&dir.join("paired.json"), &self.paired)?;
        }
        if self.pending != before.pending {
            write_json(&dir.join("pending.json"), &self.pending)?;
        }
        Ok(())
    }
}

fn map<T: DeserializeOwned>(path: &Path) -> Result<BTreeMap<String, T>, String> {
    let Some(value) = read_json(path)? else { return Ok(BTreeMap::new()) };
    serde_json::from_value(value).map_err(|err| format!("cannot read {}: {err}", path.display()))
}
