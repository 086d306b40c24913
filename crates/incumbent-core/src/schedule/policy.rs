//! Policies for ticks that cannot simply run.

use std::time::Duration;

/// The policies of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policies {
    /// What happens to ticks past their deadline.
    pub catch_up: CatchUp,
    /// How long after its instant a tick may begin without being late.
    pub deadline: Duration,
    /// What happens to a tick that is due during a run.
    pub overlap: Overlap,
    /// What happens to the tick of a run whose process died, or that was stopped.
    pub on_death: OnDeath,
    /// How often a failed run is tried again, until the next tick or the deadline.
    pub retries: u32,
    /// Each tick begins up to this much after its instant. The delay of a tick is the same in each replica.
    pub jitter: Duration,
}

/// What happens to ticks past their deadline. Ticks within it run in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CatchUp {
    /// They are missed.
    None,
    /// They are missed, except for the newest of all ticks that are due.
    Last,
    /// The newest of them run, the oldest first, and the others are missed.
    All(u32),
}

/// What happens to a tick that is due during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overlap {
    /// It is skipped.
    Forbid,
    /// It waits for the end of the run.
    Queue,
    /// The run is stopped, and its tick does not run again. The tick that is due runs next. Ticks that were due when the
    /// run began wait for their turn.
    Replace,
}

/// What happens to the tick of a run whose process died, or that was stopped in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnDeath {
    /// Its tick does not run again: at most once.
    InDoubt,
    /// Its tick runs again, within the deadline: at least once.
    Again,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            catch_up: CatchUp::Last,
            deadline: Duration::from_secs(60),
            overlap: Overlap::Forbid,
            on_death: OnDeath::InDoubt,
            retries: 0,
            jitter: Duration::ZERO,
        }
    }
}
