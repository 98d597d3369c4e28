//! What the store thread owns: the sessions of every agent, opened when first asked for, and the journal of accepted messages.
use super::accepted::Accepted;
use super::agent_sessions::{AgentSessions, Trouble};
use super::deliveries::Deliveries;
use crate::base::clock::{Clock, Now};
use crate::base::ids::Entropy;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub struct Stores {
    clock: Clock,
    entropy: Entropy,
    journal: PathBuf,
    accepted: Option<Accepted>,
    deliveries: Option<Deliveries>,
    /// By store file: agents may share one.
    sessions: BTreeMap<PathBuf, AgentSessions>,
    /// What was wrong with store files, each a sentence; for `health`.
    damage: Vec<String>,
}

impl Stores {
    /// `journal` is the file of [`Accepted`].
    pub fn new(journal: PathBuf, clock: Clock, entropy: Entropy) -> Stores {
        Stores {
            clock,
            entropy,
            journal,
            accepted: None,
            deliveries: None,
            sessions: BTreeMap::new(),
            damage: vec![],
        }
    }
    /// The journal of accepted messages, opened when first asked for.
    ///
    /// # Errors
    /// The disk.
    pub fn accepted(&mut self) -> Result<&mut Accepted, Trouble> {
        let named = |err| Trouble::Disk(format!("cannot use {}: {err}", self.journal.display()));
        let opened = match self.accepted.take() {
            Some(it) => it,
            None => Accepted::open(&self.journal, self.clock.now().unix_ms).map_err(named)?,
        };
        Ok(self.accepted.insert(opened))
    }
    /// The journal of answers that are to be sent, beside the other one; opened when first asked for.
    ///
    /// # Errors
    /// The disk.
    pub fn deliveries(&mut self) -> Result<&mut Deliveries, Trouble> {
        let path = self.journal.with_file_name("deliveries.jsonl");
        let named = |err| Trouble::Disk(format!("cannot use {}: {err}", path.display()));
        let opened = match self.deliveries.take() {
            Some(it) => it,
            None => Deliveries::open(&path, self.clock.now().unix_ms).map_err(named)?,
        };
        Ok(self.deliveries.insert(opened))
    }
    pub fn entropy(&mut self) -> &mut Entropy {
        &mut self.entropy
    }
    pub fn now(&self) -> Now {
        self.clock.now()
    }
    /// The sessions in a store file. `agent_id` completes keys that were written without one.
    ///
    /// # Errors
    /// A file that cannot be read, in which case nothing may be written in its place.
    pub fn sessions(&mut self, path: &Path, agent_id: &str) -> Result<&mut AgentSessions, Trouble> {
        if !self.sessions.contains_key(path) {
            let unix_ms = self.now().unix_ms;
            let (opened, damage) = AgentSessions::open(path, agent_id, unix_ms).map_err(Trouble::Disk)?;
            if let Some(it) = damage {
                log::error!("{it}");
                self.damage.push(it.to_string());
            }
            self.sessions.insert(path.to_owned(), opened);
        }
        Ok(self.sessions.get_mut(path).expect("it was inserted above"))
    }
    /// As [`Stores::sessions`], for who only reads: None when there is no such file, which then takes no memory either.
    ///
    /// # Errors
    /// As [`Stores::sessions`].
    pub fn existing(&mut self, path: &Path, agent_id: &str) -> Result<Option<&AgentSessions>, Trouble> {
        match self.sessions.contains_key(path) || path.exists() {
            true => self.sessions(path, agent_id).map(|it| Some(&*it)),
            false => Ok(None),
        }
    }
    /// The sessions in a store file that is open.
    pub fn opened(&self, path: &Path) -> Option<&AgentSessions> {
        self.sessions.get(path)
    }
    /// As [`Stores::sessions`], with what a change needs beside them.
    ///
    /// # Errors
    /// As [`Stores::sessions`].
    pub fn open(
        &mut self,
        path: &Path,
        agent_id: &str,
    ) -> Result<(&mut AgentSessions, Now, &mut Entropy), Trouble> {
        self.sessions(path, agent_id)?;
        let now = self.now();
        let sessions = self.sessions.get_mut(path).expect("it was opened above");
        Ok((sessions, now, &mut self.entropy))
    }
    pub fn damage(&self) -> &[String] {
        &self.damage
    }
    /// When notes want to be written, on the monotonic clock; None while none waits.
    pub fn due_ms(&self) -> Option<u64> {
        self.sessions.values().filter_map(AgentSessions::due_ms).min()
    }
    /// Writes the notes whose time has come, or all of them.
    pub fn save(&mut self, all: bool) {
        let now = self.now();
        for it in self.sessions.values_mut() {
            if it.due_ms().is_some_and(|due| all || due <= now.mono_ms)
                && let Err(err) = it.save(now)
            {
                log::error!("{err}");
            }
        }
    }
    /// Forgets what is in memory: after a panic nobody knows how whole it is. It is read again when asked for.
    pub fn forget(&mut self) {
        self.sessions.clear();
        self.accepted = None;
        self.deliveries = None;
    }
}
