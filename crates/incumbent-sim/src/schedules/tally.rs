//! Counts of what happened, so that nothing is tested in vain.

use crate::tally::counted;

counted! {
    /// What can go wrong.
    ScheduleFault {
        /// A request or its answer is lost.
        RequestLost => "request lost",
        /// A request reaches the server after its sender has given up.
        RequestLate => "request late",
        /// A write reaches the server twice.
        Doubled => "doubled",
        /// The server refuses a request.
        Refused => "refused",
        /// A replica is killed, with its run.
        Crash => "crash",
        /// A replica is frozen.
        Freeze => "freeze",
        /// A replica can reach nothing.
        CutOff => "cut off",
        /// The server is away.
        ServerAway => "server away",
        /// The wall clock of a replica steps.
        ClockStep => "clock step",
        /// The clock of the server steps.
        ServerClockStep => "server clock step",
        /// A leader is asked to hand over.
        HandOver => "hand over",
        /// There is a pause between the answer and the start of the run.
        SlowStart => "slow start",
        /// A run does not stop before the watchdog ends it.
        StuckRun => "stuck run",
        /// A run fails.
        RunFails => "run fails",
        /// A new version of the program has another spec.
        Rollout => "rollout",
        /// A person suspends the schedule.
        Suspend => "suspend",
        /// A person asks for a run out of turn.
        Ask => "ask",
        /// The record is deleted by hand.
        RecordDeleted => "record deleted",
        /// The object is deleted by hand.
        ObjectDeleted => "object deleted",
        /// An old copy of the record is written back.
        RecordRestored => "record restored",
        /// Another client writes a label.
        Touched => "touched",
    }
}

counted! {
    /// What has to happen so that the properties mean something.
    ScheduleStep {
        /// A run started.
        Started => "started",
        /// A run started as another attempt.
        AnotherAttempt => "another attempt",
        /// A run out of turn started.
        OutOfTurn => "out of turn",
        /// A run ended by itself.
        Ended => "ended",
        /// A run was stopped, because the term was over or the next tick was due.
        Stopped => "stopped",
        /// A run was recorded as stopped for the next tick.
        Replaced => "replaced",
        /// The watchdog ended a run.
        Killed => "killed",
        /// A run was recorded, and not started.
        Unstarted => "unstarted",
        /// A run was put in doubt.
        InDoubt => "in doubt",
        /// One write ended a run and began another.
        EndedAndBegan => "ended and began",
        /// The end of a run was recorded by a replica that did not lead.
        EndedWithoutTerm => "ended without a term",
        /// A tick was missed.
        Missed => "missed",
        /// A tick was skipped.
        Skipped => "skipped",
        /// A tick passed while the schedule was suspended.
        PassedSuspended => "passed suspended",
        /// A leader wrote its own spec.
        NewSpec => "new spec",
        /// A record was created.
        Created => "created",
        /// A leader put back a floor that it remembered.
        FloorPutBack => "floor put back",
        /// A write met a conflict.
        Conflict => "conflict",
        /// A write landed after its sender had given up.
        LandedLate => "landed late",
        /// A tick was refused because its local time had passed already.
        CivilDouble => "civil double",
    }
}

/// Counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleTally {
    faults: [u64; ScheduleFault::TABLE.len()],
    steps: [u64; ScheduleStep::TABLE.len()],
    /// Ticks that were decided.
    pub ticks: u64,
    /// Writes of the record by replicas.
    pub writes: u64,
    /// Simulated events.
    pub events: u64,
}

impl ScheduleTally {
    /// Nothing has happened yet.
    pub const NOTHING: Self = Self {
        faults: [0; ScheduleFault::TABLE.len()],
        steps: [0; ScheduleStep::TABLE.len()],
        ticks: 0,
        writes: 0,
        events: 0,
    };

    pub(crate) fn fault(&mut self, fault: ScheduleFault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn step(&mut self, step: ScheduleStep) {
        self.steps[step as usize] += 1;
    }

    /// How many faults there were.
    pub(crate) fn disturbances(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.faults.iter_mut().zip(other.faults) {
            *sum += count;
        }
        for (sum, count) in self.steps.iter_mut().zip(other.steps) {
            *sum += count;
        }
        self.ticks += other.ticks;
        self.writes += other.writes;
        self.events += other.events;
    }

    /// The faults that happened, with how often.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = ScheduleFault::TABLE.iter().zip(self.faults);
        counts.map(|((_, name), count)| (*name, count)).filter(|(_, count)| *count > 0)
    }

    /// The steps that happened, with how often.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = ScheduleStep::TABLE.iter().zip(self.steps);
        counts.map(|((_, name), count)| (*name, count)).filter(|(_, count)| *count > 0)
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let faults = ScheduleFault::TABLE.iter().map(|(_, name)| *name).zip(self.faults);
        let steps = ScheduleStep::TABLE.iter().map(|(_, name)| *name).zip(self.steps);
        faults.chain(steps).filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}
