//! The record of a schedule.

use std::time::Duration;

use super::moment::Moment;
use crate::identity::Session;
use crate::record::FencingToken;

/// The record of one schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRecord {
    /// When it is due.
    pub spec: Spec,
    /// The newest tick that was decided. It never falls.
    pub floor: Moment,
    /// The local time of the tick at `floor`, if the spec has a time zone. A replica with other time zone data would
    /// find the same local time at another instant.
    pub floor_civil: Option<String>,
    /// The run that has begun, and whose end is not recorded.
    pub run: Option<Run>,
    /// The newest runs that have ended, the newest first; at most 16.
    pub last: Vec<Past>,
    /// What happened to the ticks up to `floor`.
    pub counts: Counts,
    /// When a run last began that succeeded.
    pub last_success: Option<Moment>,
    /// Set if the schedule is suspended: no tick is due.
    pub suspended: Option<Suspension>,
    /// The request for a run out of turn that is waiting.
    pub asked: Option<Asked>,
    /// The schedule has this name now: nothing runs under the old one.
    pub moved_to: Option<String>,
}

/// How many runs that have ended a record keeps.
const MOST_PAST_RUNS: usize = 16;

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The rule.
    pub when: When,
    /// Of two specs, the one with the higher revision counts.
    pub revision: u64,
}

/// The rule that makes the ticks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// A cron pattern in a time zone.
    Cron {
        /// Five fields, or six with seconds first.
        pattern: String,
        /// The name of the zone in the tz database.
        zone: String,
    },
    /// Each `period`, counted from `anchor` in both directions.
    Every {
        /// Never zero.
        period: Duration,
        /// One of the ticks.
        anchor: Moment,
    },
}

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tick {
    /// The scheduled instant.
    At(Moment),
    /// A run out of turn, by the number and the moment of the request for it.
    Asked {
        /// Drawn at random by the client that asked.
        id: u64,
        /// When it asked.
        at: Moment,
    },
}

/// A run that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Why it begins.
    pub tick: Tick,
    /// Counts from 1. No two starts share tick and attempt.
    pub attempt: u32,
    /// How many earlier attempts have failed.
    pub failures: u32,
    /// The term under which it runs.
    pub token: FencingToken,
    /// The process that runs it.
    pub session: Session,
    /// When the first attempt began, by the clock of its leader.
    pub first: Moment,
    /// When this attempt began.
    pub began: Moment,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Past {
    /// Which.
    pub run: Run,
    /// When it ended; for a run in doubt, when that was noticed.
    pub ended: Moment,
    /// How.
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It ended by itself, with success.
    Succeeded,
    /// It ended by itself without success.
    Failed,
    /// It was stopped in the middle, because the leadership was lost or given up.
    Stopped,
    /// It was stopped, or was not started, because a later tick was due.
    Replaced,
    /// It was recorded, and never started.
    Unstarted,
    /// The process that ran it died. How far it came is unknown.
    InDoubt,
}

/// What happened to ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// A run began.
    pub ran: u64,
    /// No replica led by the tick's deadline.
    pub missed: u64,
    /// An earlier run was still in progress.
    pub skipped: u64,
    /// The schedule was suspended.
    pub suspended: u64,
}

/// The suspension of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suspension {
    /// Since when.
    pub since: Moment,
    /// Who suspended it, and perhaps why: for people.
    pub by: String,
}

/// A request for a run out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Drawn at random by the client that asks.
    pub id: u64,
    /// When it asks.
    pub at: Moment,
}

impl ScheduleRecord {
    /// A new schedule, whose ticks up to `floor` do not count.
    pub fn new(spec: Spec, floor: Moment) -> Self {
        Self {
            spec,
            floor,
            floor_civil: None,
            run: None,
            last: Vec::new(),
            counts: Counts::default(),
            last_success: None,
            suspended: None,
            asked: None,
            moved_to: None,
        }
    }

    /// Moves the run to those that ended.
    pub(super) fn close(&mut self, outcome: Outcome, ended: Moment) {
        let Some(run) = self.run.take() else { return };
        if outcome == Outcome::Succeeded {
            self.last_success = self.last_success.max(Some(run.began));
        }
        self.last.insert(0, Past { run, ended, outcome });
        self.last.truncate(MOST_PAST_RUNS);
    }
}

impl Tick {
    /// When the run should have begun.
    pub fn moment(self) -> Moment {
        match self {
            Self::At(at) | Self::Asked { at, .. } => at,
        }
    }
}

impl Run {
    /// The next attempt at the same tick.
    pub(super) fn again(&self, token: FencingToken, session: Session, now: Moment) -> Self {
        let attempt = self.attempt.saturating_add(1);
        Self { attempt, token, session, began: now, ..self.clone() }
    }
}

impl Outcome {
    /// The outcome in one word, as records, logs and metrics write it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Replaced => "replaced",
            Self::Unstarted => "unstarted",
            Self::InDoubt => "in-doubt",
        }
    }
}

impl Counts {
    /// How many ticks were decided.
    pub fn total(self) -> u64 {
        self.ran + self.missed + self.skipped + self.suspended
    }
}
