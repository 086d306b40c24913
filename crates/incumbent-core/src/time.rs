//! Time as plain numbers, so that a test, a simulator and a model checker can make any moment.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A moment on this process's own clock, as the time since a fixed start.
///
/// The clock must never go back and must advance while the machine is suspended
/// (on Linux, `CLOCK_BOOTTIME`). Every decision is taken on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The start of the clock.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment that is `since_start` after the start of the clock.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long after the start of the clock this is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Saturates: a moment too far away to be written down is "never".
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Wall-clock time in microseconds since 1970, written into records for people and for other
/// programs.
///
/// It has no order on purpose: wall clocks jump, so no decision about safety may compare them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// The time that is `microseconds` after 1970-01-01T00:00:00Z.
    pub const fn from_unix_micros(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; zero where it was not. Clocks of two machines differ, so it decides nothing about
    /// safety.
    pub(crate) const fn saturating_since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(if micros > 0 { micros.cast_unsigned() } else { 0 })
    }

    /// This time, or the microsecond after `previous` where this is not later.
    ///
    /// A renewal that repeats the last renew time is no change: the API server stores nothing, and
    /// followers see no heartbeat. So renew times rise within a term, whatever the wall clock does.
    pub(crate) const fn rising_from(self, previous: Self) -> Self {
        if self.0 > previous.0 { self } else { Self(previous.0.saturating_add(1)) }
    }
}

/// The two readings that each step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Decides everything.
    pub instant: Instant,
    /// Is copied into records. It decides nothing but which seats of a group are old enough to be cleared away.
    pub wall: WallTime,
}

/// A span of time. The caller picks the moment within it at which to wake.
///
/// Chance stays outside this crate: a driver draws from the window so that candidates spread, and a
/// model checker tries its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Waking earlier than this is harmless and useless.
    pub earliest: Instant,
    /// Waking later than this loses time, never safety.
    pub latest: Instant,
}

impl Window {
    pub(crate) const fn at(moment: Instant) -> Self {
        Self { earliest: moment, latest: moment }
    }

    pub(crate) fn from(earliest: Instant, width: Duration) -> Self {
        Self { earliest, latest: earliest + width }
    }

    /// The same window, moved so that neither end lies before that of `other`.
    pub(crate) fn not_before(self, other: Self) -> Self {
        Self { earliest: self.earliest.max(other.earliest), latest: self.latest.max(other.latest) }
    }

    /// The same window, cut short so that the caller does not sleep past `moment`.
    pub(crate) fn not_after(self, moment: Instant) -> Self {
        Self { earliest: self.earliest.min(moment), latest: self.latest.min(moment) }
    }
}

/// What the types forbid. Beside each, the same with the one difference that makes it right.
///
/// Wall clocks of others decide nothing, so these times have no order.
/// ```compile_fail,E0369
/// # use incumbent_core::WallTime;
/// fn is_over(renewed: WallTime, now: WallTime) -> bool {
///     renewed < now
/// }
/// ```
/// ```
/// # use incumbent_core::Instant;
/// fn is_over(deadline: Instant, now: Instant) -> bool {
///     deadline < now
/// }
/// ```
///
/// Two versions are equal or not. Only revisions of one object say which is newer.
/// ```compile_fail,E0369
/// # use incumbent_core::Version;
/// fn is_old(one: &Version, other: &Version) -> bool {
///     one < other
/// }
/// ```
/// ```
/// # use incumbent_core::Version;
/// fn is_old(one: &Version, other: &Version) -> bool {
///     one.uid == other.uid && one.revision < other.revision
/// }
/// ```
#[cfg(doctest)]
struct Misuse;
