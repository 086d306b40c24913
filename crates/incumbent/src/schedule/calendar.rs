//! Cron patterns, and the ticks that they make in a time zone.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use croner::Cron;
use incumbent_core::schedule::{Calendar, Moment};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Reads cron patterns, and remembers the last one.
#[derive(Debug, Default)]
pub(super) struct CronCalendar {
    last: Mutex<Option<Arc<Pattern>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    zone_name: String,
    cron: Cron,
    zone: TimeZone,
    /// It names times of day. A pattern with a wildcard in hour or minute follows real time instead.
    is_fixed: bool,
}

/// Why a schedule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Pattern(String),
    Zone(String),
}

impl Calendar for CronCalendar {
    fn next(&self, pattern: &str, zone: &str, after: Moment) -> Option<Moment> {
        let after = Timestamp::from_microsecond(after.unix_micros()).ok()?;
        let next = self.pattern(pattern, zone)?.next(after)?;
        Some(Moment::from_unix_micros(next.as_microsecond()))
    }

    fn civil(&self, zone: &str, tick: Moment) -> Option<String> {
        let zone = TimeZone::get(zone).ok()?;
        let tick = Timestamp::from_microsecond(tick.unix_micros()).ok()?;
        let civil = zone.to_datetime(tick);
        let is_second_pass = match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Fold { after, .. } => zone.to_offset(tick) == after,
            _ => false,
        };
        Some(if is_second_pass { format!("{civil} again") } else { civil.to_string() })
    }
}

impl CronCalendar {
    fn pattern(&self, text: &str, zone: &str) -> Option<Arc<Pattern>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|it| it.text == text && it.zone_name == zone) {
            return Some(Arc::clone(known));
        }
        *last = Pattern::read(text, zone).ok().map(Arc::new);
        last.clone()
    }
}

impl Pattern {
    pub(super) fn read(text: &str, zone_name: &str) -> Result<Self, Unreadable> {
        let cron = Cron::from_str(text).map_err(|error| Unreadable::Pattern(error.to_string()))?;
        let zone = TimeZone::get(zone_name).map_err(|_| Unreadable::Zone(zone_name.to_owned()))?;
        let is_fixed = is_fixed(text);
        Ok(Self { text: text.to_owned(), zone_name: zone_name.to_owned(), cron, zone, is_fixed })
    }

    /// The first instant after `after` that the pattern names. `None` if there is none.
    ///
    /// Local time rises steadily from one change of the clocks to the next. Between two changes, the search is in local
    /// time, and each match has one instant. Each change that comes before the match is looked at once.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = Timestamp::from_second(after.as_microsecond().div_euclid(1_000_000)).ok()?;
        let (mut from, mut offset) = (after, self.zone.to_offset(after));
        let mut civil = match self.end_of_doubled_hour(after) {
            Some(end) => self.find(end, true)?,
            None => self.find(offset.to_datetime(after), false)?,
        };
        loop {
            let instant = offset.to_timestamp(civil).ok()?;
            let change = self.zone.following(from).next();
            let Some(change) = change.filter(|change| change.timestamp() <= instant) else {
                return Some(instant);
            };
            from = change.timestamp();
            let (ends, begins) = (offset.to_datetime(from), change.offset().to_datetime(from));
            if self.is_fixed && civil < begins {
                // The clocks skip this local time.
                return Some(from);
            }
            let begins = if self.is_fixed { begins.max(ends) } else { begins };
            if civil < begins || begins < ends {
                civil = self.find(begins, true)?;
            }
            offset = change.offset();
        }
    }

    /// If `after` is in the second pass of a doubled hour, and each time of day counts once: the local time at which
    /// that pass ends.
    fn end_of_doubled_hour(&self, after: Timestamp) -> Option<DateTime> {
        if !self.is_fixed {
            return None;
        }
        let change = self.zone.preceding(after + SignedDuration::from_nanos(1)).next()?.timestamp();
        let before = self.zone.to_offset(change - SignedDuration::from_nanos(1));
        let end = before.to_datetime(change);
        Some(end).filter(|end| self.zone.to_datetime(after) < *end)
    }

    /// The first local time from `from` on that the pattern names; `from` itself only if it is inclusive.
    fn find(&self, from: DateTime, is_inclusive: bool) -> Option<DateTime> {
        #[cfg(test)]
        tests::SEARCHES.set(tests::SEARCHES.get() + 1);
        self.cron.find_next_occurrence(&from, is_inclusive).ok()
    }
}

/// Whether the pattern names hours and minutes, and so means times of day. Otherwise, it is a rhythm.
fn is_fixed(text: &str) -> bool {
    if let Some(nickname) = text.trim().strip_prefix('@') {
        return !nickname.eq_ignore_ascii_case("hourly");
    }
    let fields: Vec<_> = text.split_whitespace().collect();
    let first = usize::from(fields.len() > 5);
    let times = fields.iter().skip(first).take(2);
    !times.copied().any(|field| field.contains(['*', '?', '/']))
}

#[cfg(test)]
mod tests;
