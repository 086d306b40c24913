//! The durations of an election and the inequalities between them.
//!
//! ```text
//! sent_at        renew_deadline            lease_duration × (1 − rate error)   lease_duration
//!    │── may lead ──────┤── stop_budget: work stops ──┤── clock error ──────────────┤
//!    │                  │                             │                             │
//!  renewal         stops leading              work has stopped,           a follower that saw the
//!  leaves                                     or is ended by force        renewal may take over
//! ```

use std::fmt;
use std::time::Duration;

/// The durations of an election, checked against each other.
///
/// Defaults are client-go's 15 s / 10 s / 2 s, with a renewal every 5 s. One number scales them
/// all: [`Timing::from_lease_duration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
    renew_interval: Duration,
    request_timeout: Duration,
    stop_budget: Duration,
    clock_error: ClockError,
}

impl Timing {
    /// 15 s / 10 s / 2 s: client-go's, and this crate's, default.
    pub fn standard() -> Self {
        Self::preset(15_000, 10_000, 2_000)
    }

    /// 5 s / 3 s / 0.5 s: a demo, a local network, work that must move on at once.
    pub fn fast() -> Self {
        Self::preset(5_000, 3_000, 500)
    }

    /// 137 s / 107 s / 26 s, OpenShift's choice, for an API server that may be away for half a minute at
    /// any time, and a minute with luck.
    pub fn patient() -> Self {
        Self::preset(137_000, 107_000, 26_000)
    }

    /// 270 s / 240 s / 60 s, OpenShift's choice for a cluster of one node, whose API server may be away for
    /// minutes whenever it restarts: over a minute at any time, and nearly three with luck.
    pub fn single_node() -> Self {
        Self::preset(270_000, 240_000, 60_000)
    }

    /// Scales the standard timing to another lease duration.
    ///
    /// # Errors
    /// Where the lease duration is not a whole number of seconds above zero.
    pub fn from_lease_duration(lease_duration: Duration) -> Result<Self, TimingError> {
        if lease_duration.as_secs() > LONGEST_LEASE {
            return Err(TimingError::TooLong { lease_duration });
        }
        Self::new(lease_duration, lease_duration * 2 / 3, lease_duration * 2 / 15)
    }

    /// Takes client-go's three durations and derives the others.
    ///
    /// The renew interval becomes a third of the lease duration, at most half of the renew deadline;
    /// the request time-out half of what is then left before the renew deadline; the stop budget all
    /// that is left before others may lead.
    ///
    /// # Errors
    /// Where the durations do not fit into each other; the error names the numbers and the reason.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, TimingError> {
        if renew_deadline >= lease_duration {
            return Err(TimingError::NoTimeToStop { lease_duration, renew_deadline });
        }
        let renew_interval = (lease_duration / 3).min(renew_deadline / 2);
        let clock_error = ClockError::default();
        let stop_budget = clock_error.shorten(lease_duration).saturating_sub(renew_deadline);
        Self {
            lease_duration,
            renew_deadline,
            retry_period,
            renew_interval,
            request_timeout: (renew_deadline - renew_interval) / 2,
            stop_budget,
            clock_error,
        }
        .checked()
    }

    /// Sets how often a healthy leader renews.
    ///
    /// # Errors
    /// Where a renewal could not be answered before the renew deadline.
    pub fn with_renew_interval(self, renew_interval: Duration) -> Result<Self, TimingError> {
        Self { renew_interval, ..self }.checked()
    }

    /// Sets how long one request may take before its outcome counts as unknown.
    ///
    /// # Errors
    /// Where the request would not fit before the renew deadline.
    pub fn with_request_timeout(self, request_timeout: Duration) -> Result<Self, TimingError> {
        Self { request_timeout, ..self }.checked()
    }

    /// States how long the work may need to stop once leadership is lost. A timing that leaves it
    /// less is refused. By default the work gets all the time there is.
    ///
    /// # Errors
    /// Where the work could then still run when another candidate may lead.
    pub fn with_stop_budget(self, stop_budget: Duration) -> Result<Self, TimingError> {
        Self { stop_budget, ..self }.checked()
    }

    /// Sets by how much, in tenths of a percent, the rates of two machines' clocks may differ. What that
    /// takes away is taken from the stop budget.
    ///
    /// # Errors
    /// Where no time to stop would be left.
    pub fn with_clock_error_permille(self, permille: u32) -> Result<Self, TimingError> {
        let clock_error = ClockError { permille: permille.min(1000) };
        let room = clock_error.shorten(self.lease_duration).saturating_sub(self.renew_deadline);
        Self { clock_error, stop_budget: self.stop_budget.min(room), ..self }.checked()
    }

    /// How long followers wait, counted from when they saw the last renewal.
    pub const fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// How long a leader may act, counted from when its last successful renewal was sent.
    pub const fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// How long to wait before the next try after a failure, and between two polls.
    pub const fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// How often a healthy leader renews, counted from request to request.
    pub const fn renew_interval(&self) -> Duration {
        self.renew_interval
    }

    /// How long one request may take before its outcome counts as unknown.
    pub const fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// How long the work has to stop after the renew deadline.
    pub const fn stop_budget(&self) -> Duration {
        self.stop_budget
    }

    /// When, counted from the sending of the last successful renewal, the work has stopped or is
    /// ended by force: the lease duration less the error of both clocks.
    ///
    /// The whole error is on the leader's side, because foreign followers wait for exactly the lease
    /// duration.
    pub fn stop_deadline(&self) -> Duration {
        self.clock_error.shorten(self.lease_duration)
    }

    fn preset(lease_ms: u64, deadline_ms: u64, retry_ms: u64) -> Self {
        let [lease, deadline, retry] = [lease_ms, deadline_ms, retry_ms].map(Duration::from_millis);
        Self::new(lease, deadline, retry).expect("presets are covered by a test")
    }

    fn checked(self) -> Result<Self, TimingError> {
        let Self { lease_duration, renew_deadline, retry_period, renew_interval, .. } = self;
        let Self { request_timeout, stop_budget, clock_error, .. } = self;
        if lease_duration.subsec_nanos() != 0 || lease_duration.is_zero() {
            return Err(TimingError::NotWholeSeconds { lease_duration });
        }
        if lease_duration.as_secs() > LONGEST_LEASE {
            return Err(TimingError::TooLong { lease_duration });
        }
        for (name, duration) in [
            ("renew deadline", renew_deadline),
            ("retry period", retry_period),
            ("renew interval", renew_interval),
            ("request time-out", request_timeout),
        ] {
            if duration.is_zero() {
                return Err(TimingError::Zero { name });
            }
        }
        if clock_error.permille >= 1000 {
            return Err(TimingError::ClockError { permille: clock_error.permille });
        }
        for (name, pause) in [("renew interval", renew_interval), ("retry period", retry_period)] {
            if pause.saturating_add(request_timeout) > renew_deadline {
                return Err(TimingError::NoTimeToRenew {
                    name,
                    pause,
                    request_timeout,
                    renew_deadline,
                });
            }
        }
        if stop_budget.is_zero() {
            return Err(TimingError::NoTimeToStop { lease_duration, renew_deadline });
        }
        if renew_deadline.saturating_add(stop_budget) > self.stop_deadline() {
            return Err(TimingError::StopsTooLate {
                lease_duration,
                renew_deadline,
                stop_budget,
                clock_error: lease_duration - self.stop_deadline(),
            });
        }
        Ok(self)
    }
}

/// Records hold the seconds as a signed 32-bit number.
const LONGEST_LEASE: u64 = i32::MAX as u64;

impl Default for Timing {
    fn default() -> Self {
        Self::standard()
    }
}

/// How far apart the *rates* of two clocks may be, in tenths of a percent.
///
/// NTP slews a clock by at most 0.05 %; the default of 2 % leaves room for a bad oscillator on both
/// sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClockError {
    permille: u32,
}

impl ClockError {
    fn shorten(self, duration: Duration) -> Duration {
        duration - duration / 1000 * self.permille
    }
}

impl Default for ClockError {
    fn default() -> Self {
        Self { permille: 20 }
    }
}

/// Why a set of durations cannot be used; each variant carries the numbers that clash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimingError {
    /// Records count the lease duration in whole seconds.
    NotWholeSeconds {
        /// What was asked for.
        lease_duration: Duration,
    },
    /// Records hold at most 2³¹−1 seconds.
    TooLong {
        /// What was asked for.
        lease_duration: Duration,
    },
    /// A duration is zero.
    Zero {
        /// Which one.
        name: &'static str,
    },
    /// The error of the clocks is 100 % or more.
    ClockError {
        /// What was asked for, in tenths of a percent.
        permille: u32,
    },
    /// A request that is sent on time could be answered too late.
    NoTimeToRenew {
        /// Which pause comes before the request.
        name: &'static str,
        /// That pause.
        pause: Duration,
        /// How long the request may take.
        request_timeout: Duration,
        /// By when it must be answered.
        renew_deadline: Duration,
    },
    /// No time is left between the leader's last moment and its successor's first.
    NoTimeToStop {
        /// When a successor may begin.
        lease_duration: Duration,
        /// When the leader stops.
        renew_deadline: Duration,
    },
    /// The work could still run when a successor begins.
    StopsTooLate {
        /// When a successor may begin.
        lease_duration: Duration,
        /// When the leader stops.
        renew_deadline: Duration,
        /// How long its work may take to stop.
        stop_budget: Duration,
        /// What the error of the clocks takes away.
        clock_error: Duration,
    },
}

impl fmt::Display for TimingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWholeSeconds { lease_duration } => write!(
                f,
                "lease duration {lease_duration:?} is not a whole number of seconds above zero, and \
                 Kubernetes records whole seconds"
            ),
            Self::TooLong { lease_duration } => write!(
                f,
                "lease duration {lease_duration:?} is longer than the 2147483647 s that a record \
                 can hold"
            ),
            Self::Zero { name } => write!(f, "{name} is zero, and nothing happens in no time"),
            Self::ClockError { permille } => {
                write!(f, "clock error of {permille} ‰ leaves nothing of the lease duration")
            }
            Self::NoTimeToRenew { name, pause, request_timeout, renew_deadline } => write!(
                f,
                "{name} {pause:?} + request time-out {request_timeout:?} exceed the renew deadline \
                 {renew_deadline:?}, so one slow answer would cost the leadership"
            ),
            Self::NoTimeToStop { lease_duration, renew_deadline } => write!(
                f,
                "renew deadline {renew_deadline:?} leaves no time to stop within the lease duration \
                 {lease_duration:?}, and a leader must have stopped before others may start"
            ),
            Self::StopsTooLate { lease_duration, renew_deadline, stop_budget, clock_error } => {
                write!(
                    f,
                    "renew deadline {renew_deadline:?} + stop budget {stop_budget:?} + clock error \
                 {clock_error:?} exceed the lease duration {lease_duration:?}, so work could still \
                 run when another leads"
                )
            }
        }
    }
}

impl std::error::Error for TimingError {}
