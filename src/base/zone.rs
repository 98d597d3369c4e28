//! Time zones: what clocks on a wall show at an instant, and which instants a wall clock may mean.
//!
//! Reads the compiled files of the system (TZif, RFC 9636), and the rule for the years behind their last entry. Leap seconds are left out,
//! as everywhere in Unix time. A local time is a number here: seconds since 1970 as if the wall were in UTC.
//!
//! ```text
//! let zone = Zone::load("Europe/Vienna")?;
//! zone.local(now_s)                  // offset, name, and the wall's own seconds
//! zone.instant(midnight_on_the_wall) // a wall that skips it shows it later, one that shows it twice means the first
//! ```
use super::files;
use super::limits::ZONE_BYTES_MAX;
use super::posix_zone::Rule;
use std::path::Path;

/// Where the system keeps them.
const DIR: &str = "/usr/share/zoneinfo";
/// The zone of the machine; a link into [`DIR`].
const HOST: &str = "/etc/localtime";
/// Further from UTC than any zone ever was, in seconds; RFC 9636 allows 26 hours.
const OFFSET_MAX: i32 = 26 * 3600;

/// One of the times a zone has known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// East of UTC.
    pub offset_s: i32,
    /// `CET`, or `+01` where people have no word for it.
    pub name: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: Box<str>,
    /// From when on, and which kind; in order.
    changes: Vec<(i64, u8)>,
    /// Never empty. The first one is in force before all changes.
    kinds: Vec<Kind>,
    /// Behind the last change.
    rule: Option<Rule>,
}

/// What a wall clock means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instants {
    One(i64),
    /// The clock was turned back: it showed this twice.
    Two(i64, i64),
    /// The clock was turned forward over this. The instant is where a clock that was not turned would have shown it.
    None(i64),
}

/// A wall clock at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local<'z> {
    /// Seconds since 1970 as if the wall were in UTC.
    pub wall_s: i64,
    pub kind: &'z Kind,
}

impl Zone {
    pub fn utc() -> Zone {
        let kind = Kind { offset_s: 0, name: "UTC".into() };
        Zone { name: "UTC".into(), changes: vec![], kinds: vec![kind], rule: None }
    }
    /// A zone by its IANA name, from the system's folder.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name or the file.
    pub fn load(name: &str) -> Result<Zone, String> {
        Zone::load_from(Path::new(DIR), name)
    }
    /// As [`Zone::load`], from another folder.
    ///
    /// # Errors
    /// As [`Zone::load`].
    pub fn load_from(dir: &Path, name: &str) -> Result<Zone, String> {
        if matches!(name.to_ascii_uppercase().as_str(), "UTC" | "GMT" | "ETC/UTC" | "Z") {
            return Ok(Zone::utc());
        }
        if !is_name(name) {
            return Err(format!("{name:?} is no time zone: it should look like Europe/Vienna"));
        }
        // Aliases are links within the folder, and sometimes out of it. It is the system's own, and a name cannot leave it.
        match files::read(&dir.join(name), ZONE_BYTES_MAX) {
            Ok(Some(bytes)) => Zone::parse(name, &bytes)
                .ok_or_else(|| format!("{} is no time zone file", dir.join(name).display())),
            Ok(None) if files::names(dir).is_empty() => {
                Err(format!("there are no time zones on this machine: install tzdata ({name})"))
            }
            Ok(None) => Err(format!("this machine knows no time zone {name}")),
            Err(err) => Err(format!("cannot read the time zone {name}: {err}")),
        }
    }
    /// The zone of this machine. `tz` is the environment's TZ: a name, a path, or a rule like `CET-1CEST,M3.5.0,M10.5.0/3`.
    ///
    /// # Errors
    /// What is wrong; it is then UTC.
    pub fn host(tz: Option<&str>) -> Result<Zone, String> {
        let Some(tz) = tz.map(|it| it.trim_start_matches(':')).filter(|it| !it.is_empty()) else {
            let real = std::fs::canonicalize(HOST).unwrap_or_default();
            let name = real.strip_prefix(DIR).ok().and_then(Path::to_str).unwrap_or("local");
            return match files::read(Path::new(HOST), ZONE_BYTES_MAX) {
                Ok(Some(bytes)) => {
                    Zone::parse(name, &bytes).ok_or_else(|| format!("{HOST} is no time zone file"))
                }
                Ok(None) => Ok(Zone::utc()),
                Err(err) => Err(format!("cannot read {HOST}: {err}")),
            };
        };
        if let Some(path) = tz.strip_prefix(DIR) {
            return Zone::load(path.trim_start_matches('/'));
        }
        match Zone::load(tz) {
            Ok(zone) => Ok(zone),
            Err(err) => Zone::of_rule(tz).ok_or(err),
        }
    }
    /// A zone that has always followed one POSIX rule.
    pub fn of_rule(text: &str) -> Option<Zone> {
        let rule = Rule::parse(text)?;
        Some(Zone {
            name: text.into(),
            changes: vec![],
            kinds: vec![rule.kind_of_winter()],
            rule: Some(rule),
        })
    }
    /// A compiled file; None when it is none.
    pub fn parse(name: &str, bytes: &[u8]) -> Option<Zone> {
        let head = Head::read(bytes)?;
        let old = &bytes[Head::BYTES..];
        if head.version == 0 {
            return head.zone(name, old, 4).map(|it| it.0);
        }
        // The first block is for readers that know no 64 bits.
        let new = old.get(head.bytes(4)..)?;
        let (mut zone, rest) = Head::read(new)?.zone(name, &new[Head::BYTES..], 8)?;
        let footer = rest.strip_prefix(b"\n")?;
        let footer = std::str::from_utf8(&footer[..footer.iter().position(|it| *it == b'\n')?]).ok()?;
        if !footer.is_empty() {
            zone.rule = Some(Rule::parse(footer)?);
        }
        Some(zone)
    }
    pub fn name(&self) -> &str {
        &self.name
    }
    /// What is in force at an instant (seconds since 1970).
    pub fn kind_at(&self, unix_s: i64) -> &Kind {
        let before = self.changes.partition_point(|it| it.0 <= unix_s);
        match (&self.rule, self.changes.get(before.wrapping_sub(1))) {
            (Some(rule), _) if before == self.changes.len() => rule.kind_at(unix_s),
            (_, Some((_, kind))) => &self.kinds[usize::from(*kind)],
            (_, None) => &self.kinds[0],
        }
    }
    pub fn local(&self, unix_s: i64) -> Local<'_> {
        let kind = self.kind_at(unix_s);
        Local { wall_s: unix_s.saturating_add(kind.offset_s.into()), kind }
    }
    /// Every instant at which a wall clock shows `wall_s`.
    pub fn instants(&self, wall_s: i64) -> Instants {
        let reach = i64::from(OFFSET_MAX);
        let (mut from, end) = (wall_s.saturating_sub(reach), wall_s.saturating_add(reach));
        // What clocks that were never turned would show; the first one comes from before any turn that matters.
        let mut offsets = vec![self.kind_at(from).offset_s];
        while let Some((at, kind)) = self.next_change(from).filter(|it| it.0 <= end) {
            offsets.push(kind.offset_s);
            from = at;
        }
        let shown = |offset: &i32| {
            let at = wall_s.saturating_sub((*offset).into());
            (self.kind_at(at).offset_s == *offset).then_some(at)
        };
        let mut found: Vec<i64> = offsets.iter().filter_map(shown).collect();
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [at] => Instants::One(at),
            [first, .., last] => Instants::Two(first, last),
            [] => Instants::None(self.skipped(wall_s, &offsets)),
        }
    }
    /// The one instant a wall clock means: of two the first; one that is skipped is as far behind the turn as it was asked behind it.
    pub fn instant(&self, wall_s: i64) -> i64 {
        match self.instants(wall_s) {
            Instants::One(at) | Instants::Two(at, _) | Instants::None(at) => at,
        }
    }
    /// Where the clock of before the turn would have shown it.
    fn skipped(&self, wall_s: i64, offsets: &[i32]) -> i64 {
        let over = offsets.windows(2).find_map(|it| {
            let [at, turned] = [it[0], it[1]].map(|it| wall_s.saturating_sub(it.into()));
            // Turned forward, in between: after the turn by the old clock, before it by the new one.
            (it[1] > it[0] && self.kind_at(at).offset_s == it[1] && self.kind_at(turned).offset_s == it[0])
                .then_some(at)
        });
        over.unwrap_or_else(|| wall_s.saturating_sub(offsets[0].into()))
    }
    /// The first change behind an instant, and what is in force from then on.
    pub fn next_change(&self, unix_s: i64) -> Option<(i64, &Kind)> {
        let next = self.changes.partition_point(|it| it.0 <= unix_s);
        match (self.changes.get(next), &self.rule) {
            (Some((at, kind)), _) => Some((*at, &self.kinds[usize::from(*kind)])),
            (None, Some(rule)) => rule.next_change(unix_s),
            (None, None) => None,
        }
    }
}

/// A name that stays in the folder: segments of letters, digits, `_`, `-` and `+`.
fn is_name(text: &str) -> bool {
    let segment = |it: &str| {
        !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'+'))
    };
    text.len() <= 64 && text.split('/').all(segment)
}

/// The numbers in front of a block.
struct Head {
    version: u8,
    has_utc: usize,
    has_std: usize,
    leaps: usize,
    changes: usize,
    kinds: usize,
    chars: usize,
}

impl Head {
    const BYTES: usize = 44;
    fn read(bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..Head::BYTES)?;
        let number = |n: usize| {
            let at = 20 + 4 * n;
            bytes[at..at + 4].try_into().ok().map(|it| u32::from_be_bytes(it) as usize)
        };
        // Anything larger than the largest file is a lie, and small numbers cannot overflow below.
        let count = |n: usize| number(n).filter(|it| *it as u64 <= ZONE_BYTES_MAX);
        bytes.starts_with(b"TZif").then_some(())?;
        Some(Head {
            version: bytes[4],
            has_utc: count(0)?,
            has_std: count(1)?,
            leaps: count(2)?,
            changes: count(3)?,
            kinds: count(4).filter(|it| *it <= 256)?,
            chars: count(5)?,
        })
    }
    /// Of a block whose times take `wide` bytes each.
    fn bytes(&self, wide: usize) -> usize {
        let rest = self.kinds * 6 + self.chars + self.leaps * (wide + 4) + self.has_std + self.has_utc;
        self.changes * (wide + 1) + rest
    }
    /// The zone, and what stands behind its block.
    fn zone<'b>(&self, name: &str, bytes: &'b [u8], wide: usize) -> Option<(Zone, &'b [u8])> {
        let (block, rest) = bytes.split_at_checked(self.bytes(wide))?;
        let (times, block) = block.split_at(self.changes * wide);
        let (which, block) = block.split_at(self.changes);
        let (kinds, block) = block.split_at(self.kinds * 6);
        let chars = &block[..self.chars];
        let time = |it: &[u8]| match *it {
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        };
        let kind = |it: &[u8]| {
            let offset_s = i32::from_be_bytes(it[..4].try_into().ok()?);
            let name = chars.get(usize::from(it[5])..)?;
            let name = std::str::from_utf8(&name[..name.iter().position(|it| *it == 0)?]).ok()?;
            (offset_s.abs() <= OFFSET_MAX).then(|| Kind { offset_s, name: name.into() })
        };
        let kinds: Vec<Kind> = kinds.chunks(6).map(kind).collect::<Option<_>>()?;
        let changes: Vec<(i64, u8)> = times.chunks(wide).map(time).zip(which.iter().copied()).collect();
        let known = !kinds.is_empty() && changes.iter().all(|it| usize::from(it.1) < kinds.len());
        let in_order = changes.windows(2).all(|it| it[0].0 < it[1].0);
        (known && in_order).then(|| (Zone { name: name.into(), changes, kinds, rule: None }, rest))
    }
}
