//! The clock that leadership is measured with.

use std::future::Future;
use std::time::Duration;

use incumbent_core::{Instant, Now, WallTime};

#[cfg(test)]
use crate::simulation::HostClock;

/// The clock that every "do I lead?" reads.
///
/// On Linux, it is `CLOCK_BOOTTIME`, which keeps running while the machine is suspended.
/// `std::time::Instant` and tokio's timers stop during suspend, so a leader that wakes up would
/// believe, for up to a lease, that no time has passed. On other systems, it is the standard
/// library's monotonic clock, which may stop during suspend; [`Clock::counts_suspend`] says so.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    System,
    Tokio {
        start: tokio::time::Instant,
    },
    #[cfg(test)]
    Simulated(HostClock),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Tokio's clock, for tests under `tokio::time::pause`, where a lease of fifteen seconds passes
    /// in no time. Do not use it in production, because it stops while the machine is suspended.
    ///
    /// A candidate with this clock draws all its random numbers from the generator of the thread that builds
    /// and runs it, so a test repeats an election when it calls `fastrand::seed` first.
    ///
    /// # Panics
    /// When read outside of a tokio runtime whose time is paused or running.
    pub fn tokio() -> Self {
        Self(Source::Tokio { start: tokio::time::Instant::now() })
    }

    /// Whether the clock counts the time while the machine is suspended.
    pub fn counts_suspend(&self) -> bool {
        matches!(self.0, Source::System) && cfg!(target_os = "linux")
    }

    /// The current time.
    pub fn instant(&self) -> Instant {
        match self.0 {
            Source::System => Instant::new(system::since_start()),
            Source::Tokio { start } => Instant::new(A_DAY + start.elapsed()),
            #[cfg(test)]
            Source::Simulated(host) => host.instant(),
        }
    }

    /// Both readings that a step of the election takes.
    pub(crate) fn now(&self) -> Now {
        let wall = match self.0 {
            Source::System => jiff::Timestamp::now().as_microsecond(),
            Source::Tokio { .. } => YEAR_2026 + self.instant().since_start().as_micros() as i64,
            #[cfg(test)]
            Source::Simulated(host) => host.wall(),
        };
        Now { instant: self.instant(), wall: WallTime::from_unix_micros(wall) }
    }

    /// The wall clock, for people.
    pub(crate) fn timestamp(&self) -> jiff::Timestamp {
        let micros = self.now().wall.unix_micros();
        jiff::Timestamp::from_microsecond(micros).unwrap_or_default()
    }

    /// Whether it is the machine's, and not a test's.
    pub(crate) fn is_system(&self) -> bool {
        matches!(self.0, Source::System)
    }

    pub(crate) fn is_tokio(&self) -> bool {
        matches!(self.0, Source::Tokio { .. })
    }

    /// The clock of one simulated machine.
    #[cfg(test)]
    pub(crate) fn simulated(host: HostClock) -> Self {
        Self(Source::Simulated(host))
    }

    /// The simulated machine whose clock this is.
    #[cfg(test)]
    pub(crate) fn host(&self) -> Option<HostClock> {
        match self.0 {
            Source::Simulated(host) => Some(host),
            _ => None,
        }
    }

    /// Sleeps until about `moment`. A task that is woken reads the clock again: a timer may be late.
    pub(crate) async fn sleep_until(&self, moment: Instant) {
        #[cfg(test)]
        if let Source::Simulated(host) = self.0 {
            return host.sleep_until(moment).await;
        }
        // Tokio's timers cannot hold "never"; waking once a day for nothing is harmless.
        tokio::time::sleep(moment.saturating_since(self.instant()).min(A_DAY)).await;
    }

    /// Sleeps for about `duration`.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.instant() + duration).await;
    }

    /// Waits for `future`, for `duration` at most.
    pub(crate) async fn timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(duration) => None,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// Nanoseconds on the clock, for an atomic.
pub(crate) fn nanos(moment: Instant) -> u64 {
    u64::try_from(moment.since_start().as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn instant(nanos: u64) -> Instant {
    Instant::new(Duration::from_nanos(nanos))
}

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// 2026-01-01T00:00:00Z: a test's wall clock starts where a reader can follow it.
const YEAR_2026: i64 = 1_767_225_600_000_000 - 24 * 60 * 60 * 1_000_000;

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn since_start() -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    pub(super) fn since_start() -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed() + Duration::from_secs(1)
    }
}
