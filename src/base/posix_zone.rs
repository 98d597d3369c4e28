//! The rule of a time zone for years to come, as POSIX writes it: `CET-1CEST,M3.5.0,M10.5.0/3`.
use super::zone::Kind;
use time::{Date, Month};

const DAY_S: i64 = 86_400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    winter: Kind,
    summer: Option<Summer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Summer {
    kind: Kind,
    start: Turn,
    end: Turn,
}

/// A day of every year, and the time on the wall, in seconds from that day's start; may be negative or over a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    day: Day,
    wall_s: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    /// 1 to 365; the 29th of February has no number.
    Julian(u16),
    /// 0 to 365.
    Ordinal(u16),
    /// Month, week (5 is the last), day (0 is Sunday).
    Weekday(u8, u8, u8),
}

impl Rule {
    pub fn parse(text: &str) -> Option<Rule> {
        let mut at = Cursor(text);
        let winter = Kind { name: at.name()?, offset_s: 0 };
        let west = at.time(24)?;
        let winter = Kind { offset_s: -west as i32, ..winter };
        if at.0.is_empty() {
            return Some(Rule { winter, summer: None });
        }
        let name = at.name()?;
        let west = if at.0.starts_with(',') { west - 3600 } else { at.time(24)? };
        let (start, end) = (at.turn()?, at.turn()?);
        let summer = Summer { kind: Kind { name, offset_s: -west as i32 }, start, end };
        at.0.is_empty().then_some(Rule { winter, summer: Some(summer) })
    }
    pub fn kind_of_winter(&self) -> Kind {
        self.winter.clone()
    }
    pub fn kind_at(&self, unix_s: i64) -> &Kind {
        let turns = self.turns(unix_s);
        turns.iter().rfind(|it| it.0 <= unix_s).map_or(&self.winter, |it| it.1)
    }
    pub fn next_change(&self, unix_s: i64) -> Option<(i64, &Kind)> {
        let turns = self.turns(unix_s);
        let mut now = self.kind_at(unix_s);
        // A rule that says "summer, always" turns without changing anything.
        turns.into_iter().filter(|it| it.0 > unix_s).find(|it| std::mem::replace(&mut now, it.1) != it.1)
    }
    /// The turns of the years around an instant, in order.
    fn turns(&self, unix_s: i64) -> Vec<(i64, &Kind)> {
        let Some(summer) = &self.summer else { return vec![] };
        let year =
            time::OffsetDateTime::from_unix_timestamp(unix_s).map_or(1970, |it| it.year()).clamp(-9990, 9990);
        let mut turns = vec![];
        for year in year - 1..=year + 2 {
            turns.push((summer.end.wall_s(year) - i64::from(summer.kind.offset_s), &self.winter));
            turns.push((summer.start.wall_s(year) - i64::from(self.winter.offset_s), &summer.kind));
        }
        // Of two at once the start counts: that is how a rule writes summer all year round.
        turns.sort_by_key(|it| it.0);
        turns.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                *kept = *next;
            }
            same
        });
        turns
    }
}

impl Turn {
    fn wall_s(self, year: i32) -> i64 {
        let first = |month: Month| Date::from_calendar_date(year, month, 1).expect("years are clamped");
        let start = first(Month::January);
        let day = match self.day {
            Day::Ordinal(n) => i64::from(n),
            Day::Julian(n) => i64::from(n) - 1 + i64::from(n >= 60 && time::util::is_leap_year(year)),
            Day::Weekday(month, week, weekday) => {
                let month = Month::try_from(month).expect("checked when read");
                let first = first(month);
                let ahead = (7 + weekday - first.weekday().number_days_from_sunday()) % 7;
                let mut in_month = ahead + (week - 1) * 7;
                if in_month >= month.length(year) {
                    in_month -= 7;
                }
                i64::from(first.ordinal()) - 1 + i64::from(in_month)
            }
        };
        let days = i64::from(
            start.to_julian_day() - Date::from_ordinal_date(1970, 1).expect("a date").to_julian_day(),
        );
        (days + day) * DAY_S + self.wall_s
    }
}

struct Cursor<'t>(&'t str);

impl Cursor<'_> {
    fn skip(&mut self, what: char) -> bool {
        let rest = self.0.strip_prefix(what);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
    /// Three letters or more, or anything readable in `<>`.
    fn name(&mut self) -> Option<Box<str>> {
        let quoted = self.skip('<');
        let inside = |c: char| {
            if quoted { c.is_ascii_alphanumeric() || matches!(c, '+' | '-') } else { c.is_ascii_alphabetic() }
        };
        let end = self.0.find(|c| !inside(c)).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        self.0 = rest;
        ((3..=16).contains(&name.len()) && (!quoted || self.skip('>'))).then(|| name.into())
    }
    fn number(&mut self, max: u16) -> Option<u16> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits.parse().ok().filter(|it| *it <= max)
    }
    /// `[+-]h[h][:mm[:ss]]`, in seconds.
    fn time(&mut self, hours_max: u16) -> Option<i64> {
        let sign = if self.skip('-') { -1 } else { 1 };
        if sign == 1 {
            self.skip('+');
        }
        let mut seconds = i64::from(self.number(hours_max)?) * 3600;
        for unit in [60, 1] {
            if !self.skip(':') {
                break;
            }
            seconds += i64::from(self.number(59)?) * unit;
        }
        Some(sign * seconds)
    }
    /// `,day[/time]`; the time is 02:00 when it is not said, and up to a week away (RFC 9636).
    fn turn(&mut self) -> Option<Turn> {
        self.skip(',').then_some(())?;
        let day = if self.skip('M') {
            let month = self.number(12)?;
            let week = self.skip('.').then(|| self.number(5))??;
            let day = self.skip('.').then(|| self.number(6))??;
            (month >= 1 && week >= 1).then_some(Day::Weekday(month as u8, week as u8, day as u8))?
        } else if self.skip('J') {
            Day::Julian(self.number(365).filter(|it| *it >= 1)?)
        } else {
            Day::Ordinal(self.number(365)?)
        };
        let wall_s = if self.skip('/') { self.time(167)? } else { 2 * 3600 };
        Some(Turn { day, wall_s })
    }
}
