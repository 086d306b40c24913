//! The time by which a replica decides.

use std::time::Duration;

use super::moment::Moment;
use crate::time::{Instant, Now};

/// A replica's own wall clock, held within five seconds of the API server's.
///
/// A replica whose wall clock is ahead would run a tick too early. If it were a year ahead, the schedule would be silent
/// for a year, because a tick never runs twice. The server's time is the `Date` of its last answer, plus the time that
/// has passed since on the clock that never jumps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedClock {
    server: Option<(Moment, Instant)>,
}

/// How far the own clock may be from that of the API server.
const TOLERANCE: Duration = Duration::from_secs(5);

impl TrustedClock {
    /// Learns the time from an answer of the API server that has just come.
    ///
    /// The server rounds down to whole seconds, and has sent the answer some time ago. So this clock is never ahead of
    /// the server's.
    pub fn learn(&mut self, now: Instant, date: Moment) {
        self.server = Some((date, now));
    }

    /// The current time; `None` before the first answer.
    pub fn now(&self, now: Now) -> Option<Moment> {
        let (date, at) = self.server?;
        let server = date + now.instant.saturating_since(at);
        Some(Moment::from(now.wall).clamp(server - TOLERANCE, server + TOLERANCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    fn now(seconds: u64, wall: i64) -> Now {
        Now {
            instant: Instant::new(Duration::from_secs(seconds)),
            wall: WallTime::from_unix_micros(wall * 1_000_000),
        }
    }

    fn at(seconds: i64) -> Option<Moment> {
        Some(Moment::from_unix_micros(seconds * 1_000_000))
    }

    #[test]
    fn the_own_clock_counts_within_five_seconds_of_the_servers() {
        let mut clock = TrustedClock::default();
        assert_eq!(clock.now(now(1, 1000)), None, "no answer has come");
        clock.learn(now(1, 0).instant, at(1000).unwrap());
        assert_eq!(clock.now(now(1, 1003)), at(1003));
        assert_eq!(clock.now(now(1, 1600)), at(1005), "it is ahead");
        assert_eq!(clock.now(now(1, 400)), at(995), "it is behind");
        assert_eq!(clock.now(now(31, 1033)), at(1033), "the server's time is carried forward");
        assert_eq!(clock.now(now(31, 9000)), at(1035));
    }
}
