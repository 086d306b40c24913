//! How long work may take to stop when an answer has expired.

use std::time::Duration;

use incumbent::Timing;

/// The time between the renew deadline and the stop deadline. Most of it is the application's, the rest is spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopTime {
    /// Each answer says that work may take so long to stop.
    pub(crate) budget: Duration,
    /// The sidecar releases what is left so long before the stop deadline. After that, the watchdog reports an overrun.
    spare: Duration,
}

impl StopTime {
    pub(crate) fn of(timing: &Timing) -> Self {
        let whole = timing.stop_deadline().saturating_sub(timing.renew_deadline());
        let spare = SPARE.min(whole / 2);
        Self { budget: whole.saturating_sub(spare), spare }
    }

    /// For how much longer work may run, at most, that has to stop within this time. No answer that is valid, and no
    /// time to stop that it states, ends later: both count from the last renewal.
    pub(crate) fn left(self, stop_within: Duration) -> Duration {
        stop_within.saturating_sub(self.spare)
    }
}

/// Enough to notice the end and to release, where the machine is not overloaded.
const SPARE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(lease_ms: u64, renew_deadline_ms: u64) -> Timing {
        let [lease, deadline] = [lease_ms, renew_deadline_ms].map(Duration::from_millis);
        Timing::new(lease, deadline, deadline / 5).unwrap()
    }

    #[test]
    fn what_an_answer_states_has_ended_when_the_sidecar_releases() {
        for timing in
            [timing(15_000, 10_000), timing(1000, 667), timing(1000, 970), timing(1000, 979)]
        {
            let stop_time = StopTime::of(&timing);
            // Counted from the last renewal, as all of these.
            let valid_until = timing.renew_deadline();
            let released_at = stop_time.left(timing.stop_deadline());
            assert!(valid_until + stop_time.budget <= released_at, "{timing:?}: {stop_time:?}");
            assert!(released_at < timing.stop_deadline(), "{timing:?}: before the watchdog looks");
            assert!(!stop_time.budget.is_zero(), "{timing:?}");
        }
    }
}
