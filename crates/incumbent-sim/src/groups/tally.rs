//! Counts of what happened, so that nothing is tested in vain.

use crate::tally::counted;

counted! {
    /// What can go wrong.
    GroupFault {
        /// A request or its answer is lost.
        RequestLost => "request lost",
        /// A write reaches the server after its sender has given up.
        RequestLate => "request late",
        /// The server refuses a request.
        Refused => "refused",
        /// A watch breaks, and a list takes its place.
        WatchBroken => "watch broken",
        /// A list from an old cache.
        StaleList => "stale list",
        /// A watch delivers long after the fact.
        WatchLag => "watch lag",
        /// A watch shows nothing for a long time.
        WatchBlind => "watch blind",
        /// A process is killed.
        Crash => "crash",
        /// The allocator and a member are killed together.
        CrashOfTwo => "crash of two",
        /// A process leaves as asked.
        Leave => "leave",
        /// A process can reach nothing.
        CutOff => "cut off",
        /// The server is away.
        ServerAway => "server away",
        /// Work takes long to stop.
        SlowStop => "slow stop",
        /// Work does not stop.
        StuckWork => "stuck work",
        /// An allocator acts although its process does not lead.
        RogueAllocator => "rogue allocator",
        /// A page is deleted by hand.
        PageDeleted => "page deleted",
        /// A page is edited into nonsense.
        PageEdited => "page edited",
        /// An old copy of a page is written back.
        PageOldCopy => "page old copy",
        /// Page 0 is deleted, and created by hand with another number of pages.
        PageRecreated => "page recreated",
        /// A label is put on a page.
        PageTouched => "page touched",
        /// A seat is deleted by hand.
        SeatDeleted => "seat deleted",
        /// A seat loses the group's label.
        SeatUnlabelled => "seat unlabelled",
        /// A seat is emptied by hand: nothing of the term is left in it.
        SeatCleared => "seat cleared",
        /// A page loses the group's label.
        PageUnlabelled => "page unlabelled",
        /// A seat is created by hand.
        SeatByHand => "seat by hand",
        /// A second process takes the name of a first.
        Namesake => "namesake",
        /// The allocators' Lease is deleted by hand.
        LockDeleted => "lock deleted",
        /// The list of tasks changes.
        ListEdited => "list edited",
        /// A member wants no tasks for a while.
        Drain => "drain",
        /// Clocks run at different speeds.
        ClockRates => "clock rates",
    }
}

counted! {
    /// What has to happen, for the properties to mean something.
    Step {
        /// A task was started.
        Started => "started",
        /// A task was stopped.
        Stopped => "stopped",
        /// A member prepared a task that was to move to it.
        Prepared => "prepared",
        /// A task was started where it was prepared.
        StartedPrepared => "started prepared",
        /// A preparation ended before it was done.
        PreparationEnded => "preparation ended",
        /// A task was revoked.
        Revoked => "revoked",
        /// A task was given to another member after a release.
        Moved => "moved",
        /// A seat was vacated by an allocator.
        Vacated => "vacated",
        /// A seat was created by an allocator.
        SeatCreated => "seat created",
        /// The creation of a seat was refused, because it exists.
        SeatExists => "seat exists",
        /// All seats were listed.
        Listed => "listed",
        /// A page was opened.
        Opened => "opened",
        /// A page of another table was deleted.
        PageRemoved => "page removed",
        /// A page that could not be read was emptied.
        PageEmptied => "page emptied",
        /// A write to a page met a conflict.
        PageConflict => "page conflict",
        /// A seat said that it had released pages.
        Released => "released",
        /// A seat said that something still runs.
        Exception => "exception",
        /// A seat said that its member leaves, and something still runs.
        LeavingException => "leaving with an exception",
        /// A process was ended because its work did not stop in time.
        Killed => "killed",
        /// A write of an allocator landed after it had given up.
        LandedLate => "landed late",
    }
}

/// Counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTally {
    faults: [u64; GroupFault::TABLE.len()],
    steps: [u64; Step::TABLE.len()],
    /// How often an old copy of a page excused something.
    pub excused: u64,
    /// Simulated events.
    pub events: u64,
}

impl GroupTally {
    /// Nothing has happened yet.
    pub const NOTHING: Self = Self {
        faults: [0; GroupFault::TABLE.len()],
        steps: [0; Step::TABLE.len()],
        excused: 0,
        events: 0,
    };

    pub(crate) fn fault(&mut self, fault: GroupFault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn step(&mut self, step: Step) {
        self.steps[step as usize] += 1;
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.faults.iter_mut().zip(other.faults) {
            *sum += count;
        }
        for (sum, count) in self.steps.iter_mut().zip(other.steps) {
            *sum += count;
        }
        self.events += other.events;
        self.excused += other.excused;
    }

    /// The faults that happened, with how often.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = GroupFault::TABLE.iter().zip(self.faults);
        counts.map(|((_, name), count)| (*name, count)).filter(|(_, count)| *count > 0)
    }

    /// The steps that happened, with how often.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Step::TABLE.iter().zip(self.steps);
        counts.map(|((_, name), count)| (*name, count)).filter(|(_, count)| *count > 0)
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let faults = GroupFault::TABLE.iter().map(|(_, name)| *name).zip(self.faults);
        let steps = Step::TABLE.iter().map(|(_, name)| *name).zip(self.steps);
        faults.chain(steps).filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}
