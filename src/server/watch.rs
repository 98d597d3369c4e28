//! Tells when a file changes: inotify on the folders, because editors replace files rather than write them.
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

/// Room for a few dozen events; what does not fit comes with the next read.
const EVENTS_BYTES: usize = 4096;

pub(super) struct Watch {
    inotify: Inotify,
    /// The names that matter, by folder.
    files: Vec<(WatchDescriptor, OsString)>,
}

impl Watch {
    pub fn new() -> io::Result<Watch> {
        Ok(Watch { inotify: Inotify::init()?, files: vec![] })
    }
    /// Watches these files and no others. A folder that is not there is not watched: nothing in it was read either.
    pub fn set(&mut self, files: &[PathBuf]) {
        let old = std::mem::take(&mut self.files);
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::CREATE
            | WatchMask::DELETE;
        for file in files {
            let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { continue };
            match self.inotify.watches().add(folder, mask) {
                Ok(watch) => self.files.push((watch, name.to_owned())),
                Err(err) => {
                    log::warn!(target: "config", "changes in {} are not seen: {err}", folder.display());
                }
            }
        }
        for (watch, _) in old {
            if !self.files.iter().any(|it| it.0 == watch) {
                // Its folder may be gone, and the watch with it.
                let _ = self.inotify.watches().remove(watch);
            }
        }
    }
    /// Takes all that has happened; whether any of it concerns a watched file.
    pub fn drain(&mut self) -> bool {
        let (mut touched, mut buffer) = (false, [0; EVENTS_BYTES]);
        while let Ok(events) = self.inotify.read_events(&mut buffer) {
            for event in events {
                let named = |it: &(WatchDescriptor, OsString)| {
                    it.0 == event.wd && event.name.is_some_and(|name| name == it.1)
                };
                // Too many at once: some may have been ours.
                touched |= event.mask.contains(EventMask::Q_OVERFLOW) || self.files.iter().any(named);
            }
        }
        touched
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}
