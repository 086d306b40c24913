//! Moments in UTC.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::time::WallTime;

/// A moment in UTC, in microseconds since 1970: a tick, or the time by which a replica decides.
///
/// Unlike a [`WallTime`], it has an order. Safety does not depend on it: the record decides that a tick begins once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// The moment that is `microseconds` after 1970-01-01T00:00:00Z.
    pub const fn from_unix_micros(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }
}

impl From<WallTime> for Moment {
    fn from(wall: WallTime) -> Self {
        Self(wall.unix_micros())
    }
}

/// Saturates.
impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

/// Saturates.
impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
