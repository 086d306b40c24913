//! Cron patterns, and the ticks that they make in a time zone.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use croner::Cron;
use incumbent_core::schedule::{Calendar, Moment};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Reads cron patterns, and keeps the last one.
#[derive(Debug, Default)]
pub(super) struct CronCalendar {
    last: Mutex<Option<Pattern>>,
}

#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    zone_name: String,
    cron: Cron,
    zone: TimeZone,
    /// It names single times of day. What has a wildcard in hour or minute goes by real time instead.
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
    fn pattern(&self, text: &str, zone: &str) -> Option<Pattern> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|it| it.text == text && it.zone_name == zone) {
            return Some(known.clone());
        }
        *last = Pattern::read(text, zone).ok();
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

    /// The first instant after `after` that the pattern names. `None` if it never comes.
    ///
    /// The pattern is searched in local time, which rises from one match to the next, and each local time is then
    /// mapped to the instants at which it comes: none or the end of the gap where clocks go forward, one or both where
    /// they go back. A search by instants would go back and forth in a doubled hour.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let shift = self.shift_around(after);
        let from = self.zone.to_datetime(after).checked_sub(shift).ok()?;
        let mut civil = self.cron.find_next_occurrence(&from, true).ok()?;
        let mut best: Option<Timestamp> = None;
        loop {
            let (first, second) = self.instants(civil)?;
            if best.is_some_and(|best| first.is_some_and(|first| first >= best)) {
                return best;
            }
            let later = [first, second].into_iter().flatten().filter(|instant| *instant > after);
            best = best.into_iter().chain(later).min();
            if shift.is_zero() && best.is_some() {
                return best;
            }
            civil = match self.cron.find_next_occurrence(&civil, false) {
                Ok(next) => next,
                Err(_) => return best,
            };
        }
    }

    /// How far local time goes back or forth near `around`; zero for most of the year.
    fn shift_around(&self, around: Timestamp) -> SignedDuration {
        let day = SignedDuration::from_hours(26);
        let (from, until) = (
            around.saturating_sub(day).unwrap_or(around),
            around.saturating_add(day).unwrap_or(around),
        );
        let mut shift = SignedDuration::ZERO;
        let mut offset = self.zone.to_offset(from);
        for transition in self.zone.following(from).take_while(|it| it.timestamp() <= until) {
            shift = shift.max(transition.offset().duration_since(offset).abs());
            offset = transition.offset();
        }
        if shift.is_zero() { shift } else { shift + SignedDuration::from_secs(1) }
    }

    /// When local time is `civil`. The first does not fall as `civil` rises.
    fn instants(&self, civil: DateTime) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
        let instant = |offset: jiff::tz::Offset| offset.to_timestamp(civil).ok();
        Some(match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => (Some(instant(offset)?), None),
            AmbiguousOffset::Gap { before, .. } => {
                // By the offset before, the local time that never comes is an instant after the gap's.
                let inside = instant(before)?;
                let end = self.zone.preceding(inside + SignedDuration::from_nanos(1)).next();
                (end.map(|end| end.timestamp()).filter(|_| self.is_fixed), None)
            }
            AmbiguousOffset::Fold { before, .. } if self.is_fixed => (Some(instant(before)?), None),
            AmbiguousOffset::Fold { before, after } => {
                (Some(instant(before)?), Some(instant(after)?))
            }
        })
    }
}

/// Whether hours and minutes are named, so that the pattern means times of day, and not a rhythm.
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
