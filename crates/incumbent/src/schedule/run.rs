//! A run, as the code that it runs sees it.

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

    /// The scheduled instant, in milliseconds since 1970. For a run out of turn, when it was asked for.
    ///
    /// It is the same for each attempt, so it names what is done: hand it on as a key, and the receiver can discard
    /// what it has already.
    pub fn tick_millis(&self) -> i64 {
        self.run.tick.moment().unix_micros().div_euclid(1000)
    }

    /// The number to hand to your storage with each write, so that it can refuse runs of a former leader.
    pub fn fencing_token(&self) -> FencingToken {
        self.run.token
    }

    /// Which attempt at this tick it is. The first is 1.
    pub fn attempt(&self) -> u32 {
        self.run.attempt
    }

    /// How long after its instant it began.
    pub fn late(&self) -> Duration {
        self.late
    }

    /// Whether somebody asked for it out of turn.
    pub fn is_out_of_turn(&self) -> bool {
        matches!(self.run.tick, Tick::Asked { .. })
    }

    /// Waits until the run has to stop: the leadership is lost or given up, or the next tick takes its place.
    pub async fn asked_to_stop(&self) {
        let mut stop = self.stop.clone();
        // The runner is gone: so is what it was to run.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
