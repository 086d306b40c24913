//! The ticks of a spec.

use std::time::Duration;

use super::moment::Moment;
use super::record::{ScheduleRecord, Spec, When};

/// Reads cron patterns. The result depends only on the pattern and the time zone data.
pub trait Calendar {
    /// The first instant after `after` at which the pattern is due in this zone. `None` if it is never due again, or
    /// if the pattern or the zone cannot be read.
    fn next(&self, pattern: &str, zone: &str, after: Moment) -> Option<Moment>;

    /// The local time of `tick`, with a mark that distinguishes the two passes of a doubled hour. `None` if the zone
    /// cannot be read.
    fn civil(&self, zone: &str, tick: Moment) -> Option<String>;
}

/// Everything besides its spec that a schedule's ticks depend on.
#[derive(Clone, Copy)]
pub struct Timetable<'a> {
    /// Reads cron patterns.
    pub calendar: &'a dyn Calendar,
    /// The name of the schedule.
    pub name: &'a str,
    /// Each tick begins up to this much after its instant.
    pub jitter: Duration,
}

/// Ticks that are due.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// They rise.
    pub(super) ticks: Vec<Moment>,
    /// Whether there are others after them, because these are [`MOST_TICKS`].
    pub(super) has_more: bool,
    /// The first tick that is not due yet, if these are all.
    pub(super) next: Option<Moment>,
}

/// No step looks at more ticks than this. A schedule of each second that had no leader for a year has 31 million.
const MOST_TICKS: usize = 20_000;

impl Timetable<'_> {
    /// The first tick after `after`.
    pub fn next(&self, spec: &Spec, after: Moment) -> Option<Moment> {
        let next = match &spec.when {
            When::Cron { pattern, zone } => self.calendar.next(pattern, zone, after),
            When::Every { period, anchor } => next_on_grid(*period, *anchor, after),
        };
        // With a calendar that does not advance, a search would not end.
        next.filter(|next| *next > after)
    }

    /// When `tick` may begin. Its jitter is a hash of name and tick, and is not part of the tick's identity.
    pub fn due_at(&self, tick: Moment) -> Moment {
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        let share = hash(self.name, tick).checked_rem(jitter).unwrap_or(0);
        tick + Duration::from_micros(share)
    }

    /// The local time of `tick`, if the spec has a time zone.
    pub(super) fn civil(&self, spec: &Spec, tick: Moment) -> Option<String> {
        match &spec.when {
            When::Cron { zone, .. } => self.calendar.civil(zone, tick),
            When::Every { .. } => None,
        }
    }

    /// The ticks after the record's floor that are due at `until`. One that is not yet due holds back those after it.
    pub(super) fn due(&self, record: &ScheduleRecord, until: Moment) -> Due {
        let mut due = Due::default();
        let mut last = record.floor;
        while let Some(tick) = self.next(&record.spec, last) {
            last = tick;
            if self.due_at(tick) > until {
                due.next = Some(tick);
                break;
            }
            if due.ticks.len() == MOST_TICKS {
                due.has_more = true;
                break;
            }
            if !self.has_passed_by_another_clock(record, tick) {
                due.ticks.push(tick);
            }
        }
        due
    }

    /// Whether a tick after the record's floor has become due after `since`, and is due at `until`.
    pub(super) fn is_due_since(
        &self,
        record: &ScheduleRecord,
        since: Moment,
        until: Moment,
    ) -> bool {
        // The jitter of a tick is at most this.
        let mut last = record.floor.max(since - self.jitter);
        while let Some(tick) = self.next(&record.spec, last) {
            last = tick;
            let due_at = self.due_at(tick);
            if due_at > until {
                return false;
            }
            if due_at > since && !self.has_passed_by_another_clock(record, tick) {
                return true;
            }
        }
        false
    }

    /// Whether the tick at the floor has the same local time: then it is the same tick, by other time zone data.
    fn has_passed_by_another_clock(&self, record: &ScheduleRecord, tick: Moment) -> bool {
        let Some(civil) = &record.floor_civil else { return false };
        self.civil(&record.spec, tick).as_ref() == Some(civil)
    }
}

fn next_on_grid(period: Duration, anchor: Moment, after: Moment) -> Option<Moment> {
    let period = i128::try_from(period.as_micros()).ok().filter(|period| *period > 0)?;
    let (anchor, after) = (i128::from(anchor.unix_micros()), i128::from(after.unix_micros()));
    let next = after - (after - anchor).rem_euclid(period) + period;
    i64::try_from(next).ok().map(Moment::from_unix_micros)
}

/// FNV-1a.
fn hash(name: &str, tick: Moment) -> u64 {
    let bytes = name.bytes().chain(tick.unix_micros().to_le_bytes());
    let mixed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The high bits are mixed better than the low ones.
    mixed ^ (mixed >> 32)
}
