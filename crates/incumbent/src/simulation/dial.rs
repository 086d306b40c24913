//! What a machine's clock shows at any true time: its own rate, its own start, and times at which it stood
//! still.

use std::time::Duration;

use incumbent_core::Instant;

/// The clocks of one machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    /// From then on,
    since: Duration,
    /// when it showed this,
    shown: Duration,
    /// it has run faster than true time by so many millionths,
    ppm: i64,
    /// What the wall clock shows beyond that, in microseconds.
    wall: i64,
}

impl Dial {
    pub(super) fn new(now: Duration, shown: Duration, ppm: i64, wall: i64) -> Self {
        Self { since: now, shown, ppm, wall }
    }

    pub(super) fn shows(&self, now: Duration) -> Instant {
        let passed = nanos(now.saturating_sub(self.since));
        let counted = passed * (MILLION + i128::from(self.ppm)) / MILLION;
        Instant::new(self.shown + duration(counted))
    }

    /// The first moment at which the clock shows `moment`.
    pub(super) fn true_time(&self, moment: Instant) -> Duration {
        let left = nanos(moment.since_start().saturating_sub(self.shown));
        if left == 0 {
            return Duration::ZERO;
        }
        let rate = MILLION + i128::from(self.ppm);
        let passed = (left * MILLION + rate - 1) / rate;
        self.since.saturating_add(duration(passed))
    }

    pub(super) fn wall(&self, now: Duration) -> i64 {
        let shown = self.shows(now).since_start().as_micros();
        YEAR_2026 + self.wall + i64::try_from(shown).unwrap_or(i64::MAX / 4)
    }

    /// From `now` on until `until` it shows the same.
    pub(super) fn freeze(&mut self, now: Duration, until: Duration) {
        (self.shown, self.since) = (self.shows(now).since_start(), until);
    }

    pub(super) fn turn_wall(&mut self, by: i64) {
        self.wall += by;
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / MILLION / 4)
}

fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

const MILLION: i128 = 1_000_000;

/// 2026-01-01T00:00:00Z in microseconds.
const YEAR_2026: i64 = 1_767_225_600_000_000;
