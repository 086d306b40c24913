//! True time, which no simulated process can read, and the clocks that the processes do read.

use std::time::Duration;

use incumbent_core::{Instant, Now, WallTime};

/// True time in microseconds since the start of the run.
pub(crate) type Micros = u64;

pub(crate) fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The two clocks of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// What the boot-time clock showed at the start of the run.
    offset_nanos: u64,
    /// How fast it runs, in millionths of true time.
    rate: u64,
    /// How long the machine stood still without its clock noticing.
    unnoticed: Micros,
    wall_offset: i64,
    /// The wall clock moves in steps of this size. With steps of more than one, it stands still
    /// between them.
    wall_step: i64,
}

impl Clock {
    pub(crate) fn new(offset_nanos: u64, rate: u64, wall_offset: i64, wall_step: i64) -> Self {
        Self { offset_nanos, rate, unnoticed: 0, wall_offset, wall_step }
    }

    pub(crate) fn now(&self, at: Micros) -> Now {
        let wall = 1_767_225_600_000_000 + self.wall_offset + at.cast_signed();
        let wall = WallTime::from_unix_micros(wall / self.wall_step * self.wall_step);
        Now { instant: self.instant(at), wall }
    }

    pub(crate) fn instant(&self, at: Micros) -> Instant {
        let ran = at.saturating_sub(self.unnoticed) * self.rate / 1000;
        Instant::new(Duration::from_nanos(self.offset_nanos + ran))
    }

    /// The first moment at which this clock shows `instant` or later, unless the machine is frozen
    /// before.
    pub(crate) fn when(&self, instant: Instant) -> Micros {
        let nanos = u64::try_from(instant.since_start().as_nanos()).unwrap_or(u64::MAX / 2000);
        let ran = nanos.saturating_sub(self.offset_nanos).min(u64::MAX / 2000) * 1000;
        ran.div_ceil(self.rate) + self.unnoticed
    }

    pub(crate) fn jump_wall(&mut self, by: i64) {
        self.wall_offset += by;
    }

    /// The machine stands still for `pause`, and its clock with it.
    pub(crate) fn freeze(&mut self, pause: Micros) {
        self.unnoticed += pause;
    }

    /// The machine continues earlier than planned, by `left`.
    pub(crate) fn thaw(&mut self, left: Micros) {
        self.unnoticed -= left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_first_at_which_the_clock_shows_it() {
        for rate in [990_100, 1_000_000, 1_009_900] {
            let clock = Clock::new(77, rate, 0, 1);
            for at in (0..2_000_000_000).step_by(77_777_777) {
                let shown = clock.instant(at);
                let when = clock.when(shown);
                assert!(clock.instant(when) >= shown && when <= at);
                assert!(when == 0 || clock.instant(when - 1) < shown);
            }
        }
    }
}
