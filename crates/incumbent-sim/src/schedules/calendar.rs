//! Local time in a zone whose offset changes once, at a moment on which two versions of the data disagree.

use incumbent_core::schedule::{Calendar, Moment};

use crate::clock::Micros;

/// Microseconds since 1970 at the start of a run, as `Clock` shows them.
const START: i64 = 1_767_225_600_000_000;

/// The true moment.
pub(super) fn moment(at: Micros) -> Moment {
    Moment::from_unix_micros(START + at.cast_signed())
}

/// One version of the time zone data.
///
/// A pattern is a number of seconds: its ticks are the multiples of it in local time. Local time is UTC, and from
/// `shift_at` on `shift` ahead of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ZoneData {
    /// In seconds since the start.
    pub(super) shift_at: i64,
    pub(super) shift: i64,
}

impl ZoneData {
    fn next_second(self, period: i64, after: i64) -> i64 {
        let on_grid = |after: i64, shift: i64| {
            let local = after + shift;
            local - local.rem_euclid(period) + period - shift
        };
        let shift_at = START / 1_000_000 + self.shift_at;
        let before = on_grid(after, 0);
        if before < shift_at { before } else { on_grid(after.max(shift_at - 1), self.shift) }
    }
}

impl Calendar for ZoneData {
    fn next(&self, pattern: &str, _: &str, after: Moment) -> Option<Moment> {
        let period = pattern.parse().ok().filter(|period| *period > 0)?;
        let after = after.unix_micros().div_euclid(1_000_000);
        Some(Moment::from_unix_micros(self.next_second(period, after) * 1_000_000))
    }

    fn civil(&self, _: &str, tick: Moment) -> Option<String> {
        let since_start = tick.unix_micros() / 1_000_000 - START / 1_000_000;
        let is_shifted = since_start >= self.shift_at;
        let local = since_start + if is_shifted { self.shift } else { 0 };
        let is_doubled = is_shifted && local < self.shift_at;
        Some(format!("{local}{}", if is_doubled { " again" } else { "" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_is_the_one_that_brute_force_finds() {
        for (shift_at, shift) in [(1000, 300), (1000, -300), (1200, 300), (1001, 0)] {
            let data = ZoneData { shift_at, shift };
            let start = START / 1_000_000;
            let is_due = |second: i64| {
                let local = second + if second - start >= shift_at { shift } else { 0 };
                local.rem_euclid(600) == 0
            };
            for after in start..start + 4000 {
                let brute = (after + 1..).find(|second| is_due(*second)).unwrap();
                assert_eq!(data.next_second(600, after), brute, "{data:?} after {after}");
            }
        }
    }
}
