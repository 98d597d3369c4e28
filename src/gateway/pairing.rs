//! Who is paired: true once it is on disk, and only then.
//!
//! * [`Core::devices`] is what the disk holds: a change is made to a copy, written, and taken over when that worked.
//! * One write at a time; what comes meanwhile goes to disk together behind it, so that no change undoes another.
use super::Core;
use crate::base::clock::Now;
use crate::base::ids::Entropy;
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
        let (mut devices, state) = (self.devices.clone(), self.world.paths.state.clone());
        let told: Vec<Told> = changes.into_iter().map(|it| it(&mut devices, &mut self.entropy)).collect();
        let write = move |_: &mut Stores| (devices::save(&state, &devices), devices);
        self.store(write, move |core, (saved, devices), now| {
            match &saved {
                Ok(()) => core.devices = devices,
                Err(err) => log::error!(target: "pairing", "{err}"),
            }
            told.into_iter().for_each(|it| it(core, saved.clone(), now));
            core.write_devices();
        });
    }
}
