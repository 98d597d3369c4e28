//! Who is paired: true once it is on disk, and only then.
//!
//! * [`Core::devices`] is what the disk holds: a change is made to a copy, written, and taken over when that worked. But when a token was
//!   last used goes to disk with the next change, so that a connection costs no write.
//! * One write at a time; what comes meanwhile goes to disk together behind it, so that no change undoes another.
use super::{Core, Phase, Ready};
use crate::base::clock::Now;
use crate::base::ids::{ConnId, Entropy};
use crate::base::limits::JOBS_MAX;
use crate::store::devices::{self, Devices};
use crate::store::stores::Stores;

/// Runs on the core when its turn to be written has come.
pub type Change = Box<dyn FnOnce(&mut Devices, &mut Entropy) -> Told + Send>;
/// Runs on the core behind its [`Change`], with what came of the write.
pub type Told = Box<dyn FnOnce(&mut Core, Result<(), String>, Now) + Send>;

/// Changes on their way to disk.
#[derive(Default)]
pub struct Changes {
    waiting: Vec<Change>,
    writing: bool,
}

impl Core {
    /// Whether one more change may wait for its turn.
    pub fn may_change_devices(&self) -> bool {
        self.device_changes.waiting.len() < JOBS_MAX
    }

    pub fn change_devices(&mut self, change: Change) {
        self.device_changes.waiting.push(change);
        if !self.device_changes.writing {
            self.write_devices();
        }
    }

    fn write_devices(&mut self) {
        let changes = std::mem::take(&mut self.device_changes.waiting);
        self.device_changes.writing = !changes.is_empty();
        if changes.is_empty() {
            return;
        }
        let (mut devices, before) = (self.devices.clone(), self.devices.clone());
        let dir = devices::dir(&self.world.paths.state);
        let told: Vec<Told> = changes.into_iter().map(|it| it(&mut devices, &mut self.entropy)).collect();
        let write = move |_: &mut Stores| (devices.save(&dir, &before), devices);
        self.store(write, move |core, (saved, devices), now| {
            let mut before = Devices::default();
            match &saved {
                Ok(()) => before = std::mem::replace(&mut core.devices, devices),
                Err(err) => log::error!(target: "pairing", "{err}"),
            }
            told.into_iter().for_each(|it| it(core, saved.clone(), now));
            core.close_unpaired(&before);
            core.write_devices();
        });
    }

    /// Who is no longer what it was connected as hears no more.
    fn close_unpaired(&mut self, before: &Devices) {
        let live = |devices: &Devices, id: &str, role: &str| {
            let token = devices.paired.get(id).and_then(|it| it.tokens.get(role));
            token.is_some_and(|it| it.revoked_at_ms.is_none())
        };
        let mut over = vec![];
        for (id, device) in &before.paired {
            if !self.devices.paired.contains_key(id) {
                over.push((id, None, "device removed"));
            }
            let roles =
                device.tokens.keys().filter(|it| live(before, id, it) && !live(&self.devices, id, it));
            over.extend(roles.map(|it| (id, Some(it.as_str()), "device token revoked")));
        }
        for (id, role, reason) in over {
            self.close_device(id, role, reason);
        }
    }

    /// Closes the connections of a device in a role, or in all.
    pub fn close_device(&mut self, device_id: &str, role: Option<&str>, reason: &str) {
        self.close_those(reason, |it| {
            it.device_id.as_deref() == Some(device_id) && role.is_none_or(|role| it.role.as_str() == role)
        });
    }

    /// The shared secret is another: whoever came in by the old one goes, also while its pairing is being written.
    pub fn close_shared(&mut self) {
        let reason = "gateway secret changed";
        self.close_those(reason, |it| it.by_secret);
        let pairing: Vec<ConnId> = (self.clients.iter())
            .filter(|it| matches!(it.1.phase, Phase::Pairing { .. }))
            .map(|it| *it.0)
            .collect();
        pairing.into_iter().for_each(|it| self.close(it, 1008, reason));
    }

    fn close_those(&mut self, reason: &str, those: impl Fn(&Ready) -> bool) {
        let conns: Vec<ConnId> =
            (self.clients.iter()).filter(|it| it.1.ready().is_some_and(&those)).map(|it| *it.0).collect();
        if !conns.is_empty() {
            log::info!(target: "pairing", "{reason}: {} connections closed", conns.len());
        }
        conns.into_iter().for_each(|it| self.close(it, 1008, reason));
    }

    /// A device came in by its own token.
    pub(super) fn device_used(&mut self, device_id: &str, role: &str, now: Now) {
        let device = self.devices.paired.get_mut(device_id);
        if let Some(it) = device.and_then(|it| it.tokens.get_mut(role)) {
            it.last_used_at_ms = Some(now.unix_ms);
        }
    }
}
