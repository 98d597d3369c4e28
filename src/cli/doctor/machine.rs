//! Findings about the machine: disk, its wear, the clock.
use super::Finding;
use crate::base::clock::{Clock, date};
use crate::base::limits::{DISK_FREE_BYTES_LOW, DISK_FREE_BYTES_MIN};
use crate::base::{files, sys};
use crate::cli::Context;
use crate::config::File;
use std::path::{Path, PathBuf};

/// Nobody ran this program before (2026-01-01).
const CLOCK_UNSET_BEFORE_MS: i64 = 1_767_225_600_000;

pub fn look(context: &Context) -> Vec<Finding> {
    let state = &context.paths.state;
    // What is not there yet will be on the file system of what is.
    let there = state.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
    let mut found = vec![];
    if let Ok(it) = sys::disk_space(there) {
        found.extend(disk(it.free_bytes, state));
    }
    let mounts = files::read_proc(Path::new("/proc/self/mounts")).unwrap_or_default();
    if let Some(card) =
        std::fs::canonicalize(there).ok().and_then(|it| Mount::of(&mounts, &it)).and_then(Card::of)
    {
        let level = File::load(&context.paths, &context.env)
            .or_last_good(&context.paths, &context.env)
            .resolved["logging"]["level"]
            .as_str()
            .map(str::to_owned);
        let life = files::read_proc(&PathBuf::from(format!("/sys/block/{}/device/life_time", card.disk)));
        found.extend(wear(&card, level.as_deref(), &life.unwrap_or_default(), &context.program()));
    }
    found.extend(clock(Clock::start().now().unix_ms));
    found
}

fn disk(free: u64, state: &Path) -> Option<Finding> {
    let text = format!("Only {} MiB are free where {} is.", free >> 20, state.display());
    let fix = format!("du -xh {} | sort -h | tail   # and remove what you do not need", state.display());
    match free {
        _ if free < DISK_FREE_BYTES_MIN => Some(Finding::error(
            "disk.full",
            format!("{text} The gateway refuses what it cannot store."),
            fix,
        )),
        _ if free < DISK_FREE_BYTES_LOW => Some(Finding::warning("disk.low", text, fix)),
        _ => None,
    }
}

/// A line of /proc/self/mounts.
struct Mount<'t> {
    device: &'t str,
    options: &'t str,
}

impl<'t> Mount<'t> {
    /// The deepest mount that holds `path`.
    fn of(mounts: &'t str, path: &Path) -> Option<Mount<'t>> {
        let fields = mounts.lines().map(|it| it.split(' ').collect::<Vec<_>>());
        let holds = fields.filter(|it| it.len() > 3 && path.starts_with(it[1]));
        let it = holds.max_by_key(|it| it[1].len())?;
        Some(Mount { device: it[0], options: it[3] })
    }
}

/// An SD card or eMMC.
struct Card {
    /// `mmcblk0`
    disk: String,
    /// Every read writes the time of it.
    atime: bool,
}

impl Card {
    fn of(mount: Mount) -> Option<Card> {
        let name = mount.device.strip_prefix("/dev/")?;
        let number: String = name.strip_prefix("mmcblk")?.chars().take_while(char::is_ascii_digit).collect();
        let calm = ["noatime", "relatime", "ro"];
        Some(Card {
            disk: format!("mmcblk{number}"),
            atime: !mount.options.split(',').any(|it| calm.contains(&it)),
        })
    }
}

/// `life` is two hex numbers in tenths of the life that is used up, as eMMC tells it; SD cards tell nothing.
fn wear(card: &Card, level: Option<&str>, life: &str, program: &str) -> Vec<Finding> {
    let mut found = vec![];
    let used = life
        .split_whitespace()
        .filter_map(|it| u8::from_str_radix(it.trim_start_matches("0x"), 16).ok())
        .max();
    if let Some(used) = used.filter(|it| *it >= 9) {
        let text =
            format!("/dev/{} has used up {} % of its life.", card.disk, (u32::from(used) * 10).min(100));
        found.push(Finding::warning(
            "disk.worn",
            text,
            "copy the state folder to another disk, and replace this one",
        ));
    }
    if card.atime {
        let text = format!("/dev/{} is a flash card, and mounted so that every read is a write.", card.disk);
        found.push(Finding::warning("disk.atime", text, "add noatime to its line in /etc/fstab, and reboot"));
    }
    if let Some(level) = level.filter(|it| ["debug", "trace"].contains(it)) {
        let text = format!("The log of level {level} is written to a flash card, which wears.");
        found.push(Finding::warning("disk.log", text, format!("{program} config set logging.level info")));
    }
    found
}

fn clock(unix_ms: i64) -> Option<Finding> {
    (unix_ms < CLOCK_UNSET_BEFORE_MS).then(|| {
        let text = format!(
            "The clock says {}: it is not set; certificates and device signatures fail by it.",
            date(unix_ms)
        );
        Finding::error("clock.unset", text, "sudo timedatectl set-ntp true")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(found: impl IntoIterator<Item = Finding>) -> Vec<&'static str> {
        found.into_iter().map(|it| it.code).collect()
    }

    #[test]
    fn a_disk_that_fills_up() {
        let at = |mib: u64| codes(disk(mib << 20, Path::new("/s")));
        assert_eq!((at(5), at(100), at(5000)), (vec!["disk.full"], vec!["disk.low"], vec![]));
    }
    #[test]
    fn a_clock_that_is_not_set() {
        assert_eq!(codes(clock(0)), ["clock.unset"]);
        assert_eq!(codes(clock(1_795_408_906_299)), [] as [&str; 0]);
    }
    #[test]
    fn a_flash_card() {
        let mounts = "/dev/mmcblk0p2 / ext4 rw 0 0\n/dev/sda1 /home ext4 rw,noatime 0 0\ntmpfs /home/pi/tmp tmpfs rw 0 0\n";
        let card = |path: &str| Mount::of(mounts, Path::new(path)).and_then(Card::of);
        assert!(card("/home/pi/.openclaw").is_none() && card("/home/pi/tmp/x").is_none());
        let it = card("/var/lib/openclaw").unwrap();
        assert_eq!(it.disk, "mmcblk0");
        assert_eq!(
            codes(wear(&it, Some("debug"), "0x02 0x0a\n", "gatewayd")),
            ["disk.worn", "disk.atime", "disk.log"]
        );
        let calm = Card { atime: false, ..it };
        assert_eq!(codes(wear(&calm, Some("info"), "", "gatewayd")), [] as [&str; 0]);
    }
}
