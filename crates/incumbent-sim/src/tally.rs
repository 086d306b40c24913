//! Counts of what happened, so that no property holds only because nothing happened.

/// An enum of what is counted, each variant with its name in words.
macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is described by its name in words")]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            /// All of them, with their names.
            pub const TABLE: &'static [(Self, &'static str)] = &[$((Self::$variant, $text),)*];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(Self::TABLE[*self as usize].1)
            }
        }
    };
}
pub(crate) use counted;

counted! {
    /// A kind of fault. The seed decides which faults occur, and how often.
    #[derive(PartialOrd, Ord)]
    Fault {
        RequestLost => "request lost",
        AnswerLost => "answer lost",
        AnswerLate => "answer late",
        WriteLandsLate => "write lands late",
        WriteLandsVeryLate => "write lands very late",
        ConflictFromNowhere => "409 from nowhere",
        TooManyRequests => "429",
        InternalError => "500",
        Unavailable => "503",
        GatewayTimeout => "504",
        StaleRead => "stale read",
        EventLost => "watch event lost",
        EventTwice => "watch event twice",
        EventLate => "watch event late",
        WatchSilent => "watch silent",
        WatchBroken => "watch broken",
        WatchExpired => "410",
        ServerRestart => "server restart",
        ServerAway => "server away",
        ConflictStorm => "409 to all writes",
        CutOff => "cut off",
        Forbidden => "permission taken away",
        Crash => "crash",
        Pause => "process paused",
        Stall => "runtime blocked",
        MachinePause => "machine paused unnoticed",
        WallJump => "wall clock jumps",
        StubbornWork => "work refuses to stop",
        Withdrawal => "withdrawal",
        LabelEdit => "label edited",
        HolderCleared => "holder cleared",
        HolderReplaced => "holder replaced",
        MadeVacant => "made vacant by hand",
        LeaseShortened => "lease shortened",
        OldCopyWritten => "old copy written back",
        LockDeleted => "lock deleted",
        BackupRestored => "backup restored",
        LineEdited => "line edited",
        HandOverAsked => "hand-over asked",
        ElectionPaused => "paused",
        ForeignCandidate => "foreign candidate",
        Namesake => "namesake",
        PollingOnly => "polling only",
        ClockRates => "clock rates differ",
        WallStandsStill => "wall clock stands still",
        MixedTimings => "timings differ",
        Priorities => "priorities differ",
        EndProven => "status of a Pod seen",
    }
}

counted! {
    /// An outcome that must occur at least once in many seeds.
    Outcome {
        Term => "terms",
        Renewal => "renewals",
        LostByDeadline => "lost by the clock",
        LostToChange => "lost to a changed record",
        LostWithLock => "lost with the lock",
        Released => "released",
        NothingToRelease => "nothing to release",
        LeftToExpire => "left to expire",
        EndedByWatchdog => "ended by the watchdog",
        LateWriteApplied => "late writes applied",
        LateWriteRefused => "late writes refused",
        AnswerToCloser => "answers nobody waits for",
        NamesakeReported => "namesakes reported",
        ForeignTerm => "foreign terms",
        StoreWrite => "writes to the store",
        OldTokenRefused => "old tokens refused",
        BesideFrozen => "excused overlaps: with a machine that stood still",
        BesideUnknown => "excused overlaps: of a newcomer, after a deletion or a shortened lease",
        BesideUnseen => "excused overlaps: of one behind, after an old state came back",
        BesideVacated => "excused overlaps: after the lock was made vacant by hand",
        BesideForeign => "excused overlaps: by a foreign candidate's own rules",
        BesideVoid => "excused overlaps: of one that succeeds an excused one",
        ForgottenToken => "tokens that nobody remembered",
        SilentWatchReplaced => "silent watches replaced",
        CampaignWithdrawn => "campaigns withdrawn",
        Joined => "places taken in line",
        InTurn => "heads of the line that acquired",
        HandedOver => "leaders that handed over when asked",
        Succession => "ended holders succeeded early",
        LaterStart => "ends proven by a later start",
        NoProof => "statuses that prove nothing",
        Settled => "healed elections",
    }
}

/// Counts of events, faults and outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Simulated events: requests, answers, watch events, timers, acts of the work, faults.
    pub events: u64,
    faults: [u64; Fault::TABLE.len()],
    outcomes: [u64; Outcome::TABLE.len()],
}

impl Tally {
    /// Nothing has happened yet.
    pub const NOTHING: Self =
        Self { events: 0, faults: [0; Fault::TABLE.len()], outcomes: [0; Outcome::TABLE.len()] };

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        let faults = self.faults.iter_mut().zip(&other.faults);
        let outcomes = self.outcomes.iter_mut().zip(&other.outcomes);
        faults.chain(outcomes).for_each(|(sum, count)| *sum += count);
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        self.outcomes[outcome as usize] += 1;
    }

    /// How often `outcome` occurred.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// The faults that happened, and how often.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Fault::TABLE.iter().map(|(fault, name)| (*name, self.faults[*fault as usize]));
        all.filter(|(_, count)| *count > 0)
    }

    /// All outcomes, and how often each occurred.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::TABLE.iter().map(|(outcome, name)| (*name, self.outcomes[*outcome as usize]))
    }

    /// The faults and outcomes that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let faults = Fault::TABLE.iter().map(|(fault, name)| (*name, self.faults[*fault as usize]));
        faults
            .chain(self.outcomes())
            .filter(|(_, count)| *count == 0)
            .map(|(name, _)| name)
            .collect()
    }
}
