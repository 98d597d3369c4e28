//! Time as a value: it arrives as an argument, so that pure code never asks for it.
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since this process started; never goes back.
    pub mono_ms: u64,
    /// Milliseconds since 1970; what people and peers call the time. May jump.
    pub unix_ms: i64,
}

/// The only source of [`Now`]: made once at start, copied to the threads.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is where time enters the program")]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }
    #[expect(clippy::disallowed_methods, reason = "this is where time enters the program")]
    pub fn now(&self) -> Now {
        // A clock before 1970 (a board without a battery) counts as 1970.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: self.start.elapsed().as_millis() as u64, unix_ms: unix.as_millis() as i64 }
    }
    /// The moment `mono_ms`, for waiting on a channel.
    pub fn instant(&self, mono_ms: u64) -> Instant {
        self.start + std::time::Duration::from_millis(mono_ms)
    }
}

/// `2026-11-23T08:41:30.123Z`, the form JavaScript writes.
pub fn iso(unix_ms: i64) -> String {
    let t = time::OffsetDateTime::from_unix_timestamp_nanos(unix_ms as i128 * 1_000_000)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (h, m, s, ms) = t.time().as_hms_milli();
    format!("{}T{h:02}:{m:02}:{s:02}.{ms:03}Z", date(unix_ms))
}

/// `2026-11-23` (UTC).
pub fn date(unix_ms: i64) -> String {
    let t = time::OffsetDateTime::from_unix_timestamp_nanos(unix_ms as i128 * 1_000_000)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!("{:04}-{:02}-{:02}", t.year(), u8::from(t.month()), t.day())
}

/// Milliseconds since 1970 of `2026-11-23T08:41:30.123Z` (UTC, what [`iso`] writes); None for any other form.
pub fn parse_iso(text: &str) -> Option<i64> {
    let (day, rest) = text.split_once('T')?;
    let mut day = day.splitn(3, '-').map(|it| it.parse::<i32>().ok());
    let (y, mo, d) = (day.next()??, day.next()??, day.next()??);
    let mut clock = rest.strip_suffix('Z')?.splitn(3, ':');
    let (h, m) = (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
    let (s, ms) = clock.next()?.split_once('.')?;
    let date = time::Date::from_calendar_date(y, time::Month::try_from(mo as u8).ok()?, d as u8).ok()?;
    let time = time::Time::from_hms_milli(h, m, s.parse().ok()?, ms.parse().ok()?).ok()?;
    Some((date.with_time(time).assume_utc().unix_timestamp_nanos() / 1_000_000) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn iso_round_trips() {
        assert_eq!(iso(1_795_408_906_299), "2026-11-23T04:41:46.299Z");
        assert_eq!(parse_iso("2026-11-23T04:41:46.299Z"), Some(1_795_408_906_299));
        assert_eq!(parse_iso("yesterday"), None);
    }
}
