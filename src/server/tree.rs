//! Tells when a file below some folders changes: a thread that exists only while somebody wants to hear of it.
//!
//! * What the canvas host does not show (hidden names, links) is not watched.
//! * It says nothing before the tree has lain still for a moment, so that a build makes one reload.
use super::Input;
use crate::base::clock::Clock;
use crate::base::limits::{CANVAS_FOLDERS_MAX, CANVAS_STILL_MS, CANVAS_STILL_MS_MAX, THREAD_STACK_BYTES};
use crate::base::{files, sys};
use crossbeam_channel::Sender;
use inotify::{EventMask, Inotify, WatchMask};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::Builder;

/// Room for a few dozen events; what does not fit comes with the next read.
const EVENTS_BYTES: usize = 4096;

/// Dropping it ends the thread.
pub(super) struct Tree {
    _alive: PipeWriter,
}

impl Tree {
    /// The first root is made when it is not there. None when the system has no room for this: pages then do not reload.
    pub fn watch(roots: &[PathBuf], clock: Clock, tell: Sender<Vec<Input>>) -> Option<Tree> {
        let roots = roots.to_vec();
        let started = io::pipe().and_then(|(end, alive)| {
            let work = move || {
                if let Err(err) = run(&roots, clock, &end, &tell) {
                    log::warn!(target: "canvas", "pages do not load again by themselves any more: {err}");
                }
            };
            Builder::new().name("canvas".into()).stack_size(THREAD_STACK_BYTES).spawn(work)?;
            Ok(Tree { _alive: alive })
        });
        started
            .inspect_err(|err| log::warn!(target: "canvas", "pages do not load again by themselves: {err}"))
            .ok()
    }
}

fn run(roots: &[PathBuf], clock: Clock, end: &PipeReader, tell: &Sender<Vec<Input>>) -> io::Result<()> {
    let mut inotify = walk(roots)?;
    loop {
        let (mut seen, mut wait_ms, mut since) = (Seen::default(), u64::MAX, None);
        loop {
            let [ended, some] = sys::poll([Some(end.as_fd()), Some(inotify.as_fd())], wait_ms)?;
            if ended {
                return Ok(());
            }
            if some {
                seen.take(&mut inotify);
            } else if since.is_some() {
                break;
            }
            let now_ms = clock.now().mono_ms;
            if now_ms.saturating_sub(*since.get_or_insert(now_ms)) > CANVAS_STILL_MS_MAX {
                break;
            }
            wait_ms = CANVAS_STILL_MS;
        }
        if seen.folders {
            // What changes meanwhile is in what the pages load afterwards.
            inotify = walk(roots)?;
        }
        if seen.files && tell.send(vec![Input::CanvasTouched]).is_err() {
            return Ok(());
        }
    }
}

/// Watches every folder that is shown.
fn walk(roots: &[PathBuf]) -> io::Result<Inotify> {
    let inotify = Inotify::init()?;
    if let Some(first) = roots.first() {
        files::make_dir(first)?;
    }
    let mask = WatchMask::CLOSE_WRITE
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::ONLYDIR;
    let (mut todo, mut count) = (roots.to_vec(), 0);
    while let Some(folder) = todo.pop() {
        match inotify.watches().add(&folder, mask) {
            Ok(_) => count += 1,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => {
                log::warn!(target: "canvas", "changes in {} are not seen: {err}", folder.display());
                continue;
            }
        }
        let names = files::names(&folder).into_iter().filter(|it| !it.starts_with('.'));
        let below =
            names.map(|it| folder.join(it)).filter(|it| it.symlink_metadata().is_ok_and(|it| it.is_dir()));
        todo.extend(below);
        if count + todo.len() > CANVAS_FOLDERS_MAX {
            log::warn!(target: "canvas", "more than {CANVAS_FOLDERS_MAX} folders: changes in some are not seen (canvasHost.liveReload=false watches none)");
            todo.truncate(CANVAS_FOLDERS_MAX.saturating_sub(count));
        }
    }
    Ok(inotify)
}

/// What has happened.
#[derive(Default)]
struct Seen {
    files: bool,
    /// There are others than before.
    folders: bool,
}

impl Seen {
    fn take(&mut self, inotify: &mut Inotify) {
        let mut buffer = [0; EVENTS_BYTES];
        // An error is nothing to read.
        let Ok(events) = inotify.read_events(&mut buffer) else { return };
        for event in events {
            let itself =
                event.mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::Q_OVERFLOW);
            if event.mask.contains(EventMask::IGNORED) || event.name.is_none() && !itself {
                continue;
            }
            let hidden = event.name.is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
            // A file that was made is told of when it is written, unless it was linked there.
            self.files |= !hidden;
            self.folders |= !hidden && (itself || event.mask.contains(EventMask::ISDIR));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    use crossbeam_channel::{Receiver, bounded};
    use std::time::Duration;

    fn told(from: &Receiver<Vec<Input>>) -> bool {
        from.recv_timeout(Duration::from_secs(10)).is_ok_and(|it| matches!(it[..], [Input::CanvasTouched]))
    }

    #[test]
    fn changes_are_told_of_once_each() {
        let dir = TempDir::new();
        let root = dir.path().join("ws/canvas");
        let (to, from) = bounded(64);
        let tree = Tree::watch(&[root.clone(), dir.path().join("none")], Clock::start(), to).unwrap();
        // It is watched once it is there, and a burst of writes is told of once, twice when a moment lies between.
        while !root.is_dir() {
            std::thread::yield_now();
        }
        let write = |name: &str| drop(std::fs::File::create(root.join(name)).unwrap());
        let mut tries = 0;
        while from.is_empty() {
            write(&format!("a{tries}"));
            tries += 1;
            std::thread::yield_now();
        }
        while from.recv_timeout(Duration::from_millis(3 * CANVAS_STILL_MS)).is_ok() {}
        write(".hidden");
        std::fs::create_dir_all(root.join("sub/deep")).unwrap();
        assert!(told(&from), "a new folder");
        write("sub/deep/page.html");
        assert!(told(&from), "a file in it");
        std::fs::remove_file(root.join("sub/deep/page.html")).unwrap();
        assert!(told(&from), "which is gone");
        std::fs::remove_dir_all(&root).unwrap();
        assert!(told(&from), "all of it");
        while from.recv_timeout(Duration::from_millis(3 * CANVAS_STILL_MS)).is_ok() {}
        write("again");
        assert!(told(&from), "it was made anew");
        drop(tree);
        assert!(
            from.iter().all(|it| matches!(it[..], [Input::CanvasTouched])),
            "the thread ends, and with it the channel"
        );
    }
}
