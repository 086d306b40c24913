//! A run, as seen by its work.

use std::time::Duration;

use incumbent_core::FencingToken;
use incumbent_core::schedule::{Run, Start, Tick};
use tokio::sync::watch;

/// One run of a schedule.
#[derive(Clone, Debug)]
pub struct ScheduledRun {
    run: Run,
    late: Duration,
    stop: watch::Receiver<bool>,
}

impl ScheduledRun {
    pub(super) fn new(start: &Start, stop: watch::Receiver<bool>) -> Self {
        Self { run: start.run.clone(), late: start.late, stop }
    }

    /// The scheduled instant, in milliseconds since 1970. For a run out of turn, the time of the request for it.
    ///
    /// It is the same for each attempt. Send it as a key, so that the receiver can discard duplicates.
    pub fn tick_millis(&self) -> i64 {
        self.run.tick.moment().unix_micros().div_euclid(1000)
    }

    /// The fencing token of the leader's term. Send it with each write, so that your storage can reject writes of a former
    /// leader.
    pub fn fencing_token(&self) -> FencingToken {
        self.run.token
    }

    /// The number of this attempt at the tick, from 1.
    pub fn attempt(&self) -> u32 {
        self.run.attempt
    }

    /// How long after its instant the run began.
    pub fn late(&self) -> Duration {
        self.late
    }

    /// Whether it is a run out of turn, as [`ScheduleControl::run_now`](crate::ScheduleControl::run_now) requests it.
    pub fn is_out_of_turn(&self) -> bool {
        matches!(self.run.tick, Tick::Asked { .. })
    }

    /// Waits until the run has to stop, because the leadership is lost or given up, or the next tick replaces the run.
    pub async fn asked_to_stop(&self) {
        let mut stop = self.stop.clone();
        // If the runner was dropped, the run has to stop, too.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
