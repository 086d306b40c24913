//! Counts of what happened, so that no property holds only because nothing happened.

/// A kind of fault. The seed decides which faults occur, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
#[allow(missing_docs, reason = "each is said in words by its name in the table below")]
pub enum Fault {
    RequestLost,
    AnswerLost,
    AnswerLate,
    WriteLandsLate,
    WriteLandsVeryLate,
    ConflictFromNowhere,
    TooManyRequests,
    InternalError,
    Unavailable,
    GatewayTimeout,
    StaleRead,
    EventLost,
    EventTwice,
    EventLate,
    WatchSilent,
    WatchBroken,
    WatchExpired,
    ServerRestart,
    ServerAway,
    ConflictStorm,
    CutOff,
    Forbidden,
    Crash,
    Pause,
    Stall,
    MachinePause,
    WallJump,
    StubbornWork,
    Withdrawal,
    LabelEdit,
    HolderCleared,
    HolderReplaced,
    MadeVacant,
    LeaseShortened,
    OldCopyWritten,
    LockDeleted,
    BackupRestored,
    LineEdited,
    HandOverAsked,
    ElectionPaused,
    ForeignCandidate,
    Namesake,
    PollingOnly,
    ClockRates,
    WallStandsStill,
    MixedTimings,
    Priorities,
    EndProven,
}

impl Fault {
    /// All faults, with their names.
    pub const TABLE: [(Self, &'static str); 48] = [
        (Self::RequestLost, "request lost"),
        (Self::AnswerLost, "answer lost"),
        (Self::AnswerLate, "answer late"),
        (Self::WriteLandsLate, "write lands late"),
        (Self::WriteLandsVeryLate, "write lands very late"),
        (Self::ConflictFromNowhere, "409 from nowhere"),
        (Self::TooManyRequests, "429"),
        (Self::InternalError, "500"),
        (Self::Unavailable, "503"),
        (Self::GatewayTimeout, "504"),
        (Self::StaleRead, "stale read"),
        (Self::EventLost, "watch event lost"),
        (Self::EventTwice, "watch event twice"),
        (Self::EventLate, "watch event late"),
        (Self::WatchSilent, "watch silent"),
        (Self::WatchBroken, "watch broken"),
        (Self::WatchExpired, "410"),
        (Self::ServerRestart, "server restart"),
        (Self::ServerAway, "server away"),
        (Self::ConflictStorm, "409 to all writes"),
        (Self::CutOff, "cut off"),
        (Self::Forbidden, "permission taken away"),
        (Self::Crash, "crash"),
        (Self::Pause, "process paused"),
        (Self::Stall, "runtime blocked"),
        (Self::MachinePause, "machine paused unnoticed"),
        (Self::WallJump, "wall clock jumps"),
        (Self::StubbornWork, "work refuses to stop"),
        (Self::Withdrawal, "withdrawal"),
        (Self::LabelEdit, "label edited"),
        (Self::HolderCleared, "holder cleared"),
        (Self::HolderReplaced, "holder replaced"),
        (Self::MadeVacant, "made vacant by hand"),
        (Self::LeaseShortened, "lease shortened"),
        (Self::OldCopyWritten, "old copy written back"),
        (Self::LockDeleted, "lock deleted"),
        (Self::BackupRestored, "backup restored"),
        (Self::LineEdited, "line edited"),
        (Self::HandOverAsked, "hand-over asked"),
        (Self::ElectionPaused, "paused"),
        (Self::ForeignCandidate, "foreign candidate"),
        (Self::Namesake, "namesake"),
        (Self::PollingOnly, "polling only"),
        (Self::ClockRates, "clock rates differ"),
        (Self::WallStandsStill, "wall clock stands still"),
        (Self::MixedTimings, "timings differ"),
        (Self::Priorities, "priorities differ"),
        (Self::EndProven, "status of a Pod seen"),
    ];
}

/// An outcome that must occur at least once in many seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs, reason = "each is said in words by its name in the table below")]
pub enum Outcome {
    Term,
    Renewal,
    LostByDeadline,
    LostToChange,
    LostWithLock,
    Released,
    NothingToRelease,
    LeftToExpire,
    EndedByWatchdog,
    LateWriteApplied,
    LateWriteRefused,
    AnswerToCloser,
    NamesakeReported,
    ForeignTerm,
    StoreWrite,
    OldTokenRefused,
    BesideFrozen,
    BesideUnknown,
    BesideUnseen,
    BesideVacated,
    BesideForeign,
    BesideVoid,
    ForgottenToken,
    SilentWatchReplaced,
    CampaignWithdrawn,
    Joined,
    InTurn,
    HandedOver,
    Succession,
    LaterStart,
    NoProof,
    Settled,
}

impl Outcome {
    /// All outcomes, with their names.
    pub const TABLE: [(Self, &'static str); 32] = [
        (Self::Term, "terms"),
        (Self::Renewal, "renewals"),
        (Self::LostByDeadline, "lost by the clock"),
        (Self::LostToChange, "lost to a changed record"),
        (Self::LostWithLock, "lost with the lock"),
        (Self::Released, "released"),
        (Self::NothingToRelease, "nothing to release"),
        (Self::LeftToExpire, "left to expire"),
        (Self::EndedByWatchdog, "ended by the watchdog"),
        (Self::LateWriteApplied, "late writes applied"),
        (Self::LateWriteRefused, "late writes refused"),
        (Self::AnswerToCloser, "answers nobody waits for"),
        (Self::NamesakeReported, "namesakes reported"),
        (Self::ForeignTerm, "foreign terms"),
        (Self::StoreWrite, "writes to the store"),
        (Self::OldTokenRefused, "old tokens refused"),
        (Self::BesideFrozen, "excused overlaps: with a machine that stood still"),
        (
            Self::BesideUnknown,
            "excused overlaps: of a newcomer, after a deletion or a shortened lease",
        ),
        (Self::BesideUnseen, "excused overlaps: of one behind, after an old state came back"),
        (Self::BesideVacated, "excused overlaps: after the lock was made vacant by hand"),
        (Self::BesideForeign, "excused overlaps: by a foreign candidate's own rules"),
        (Self::BesideVoid, "excused overlaps: of one that succeeds an excused one"),
        (Self::ForgottenToken, "tokens that nobody remembered"),
        (Self::SilentWatchReplaced, "silent watches replaced"),
        (Self::CampaignWithdrawn, "campaigns withdrawn"),
        (Self::Joined, "places taken in line"),
        (Self::InTurn, "heads of the line that acquired"),
        (Self::HandedOver, "leaders that handed over when asked"),
        (Self::Succession, "ended holders succeeded early"),
        (Self::LaterStart, "ends proven by a later start"),
        (Self::NoProof, "statuses that prove nothing"),
        (Self::Settled, "healed elections"),
    ];
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
