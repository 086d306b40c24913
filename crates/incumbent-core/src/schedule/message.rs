//! Everything that crosses the boundary between a [`Scheduler`](super::Scheduler) and its caller.

use std::time::Duration;

use super::moment::Moment;
use super::record::{Outcome, Run, ScheduleRecord};
use crate::identity::Session;
use crate::message::Term;
use crate::record::{FencingToken, Version};
use crate::time::Instant;

/// One version of the object that holds the election and the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleObject {
    /// Which version it is.
    pub version: Version,
    /// The term that is running in it.
    pub term: Option<(FencingToken, Session)>,
    /// The schedule.
    pub schedule: StoredSchedule,
    /// The schedule under its former name; missing if it was never renamed.
    pub was: StoredSchedule,
}

/// The record of a schedule in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredSchedule {
    /// There is none.
    Missing,
    /// It cannot be understood. Nothing runs, and nothing is written over it.
    Unreadable,
    /// This.
    Readable(Box<ScheduleRecord>),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleEvent {
    /// Time has passed. Always harmless.
    Wake,
    /// A term of this process has begun, or was extended.
    Term(Term),
    /// The term is over. A run that is in progress is being stopped; [`ScheduleEvent::Ended`] says when it has.
    TermOver,
    /// An answer of the API server to any request has just come, with this `Date`.
    Date(Moment),
    /// A watch or another request has shown this version of the object.
    Observed(ScheduleObject),
    /// The answer to the request in flight. If none comes by the request's deadline, pass [`ScheduleReply::Unknown`].
    Reply(ScheduleReply),
    /// The run that was started here is over, and nothing of it is left.
    Ended(Outcome),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleReply {
    /// To a read: the object.
    Found(ScheduleObject),
    /// There is no such object.
    Missing,
    /// The replace was applied; this is what is stored now.
    Written(ScheduleObject),
    /// The replace was not applied: another write came first.
    Conflict,
    /// The request was certainly not applied.
    Refused {
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The outcome is unknown: the request may have been applied, or may be applied later.
    Unknown,
}

/// Everything that the caller has to do after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ScheduleOrders {
    /// Send this now. There is never a second one before the reply to the first.
    pub request: Option<ScheduleRequest>,
    /// Start this run if the term is still valid. Otherwise, pass [`ScheduleEvent::Ended`] at once.
    pub start: Option<Start>,
    /// Stop the run that is in progress: another is due.
    pub stop: bool,
    /// The trouble that the schedule is in, as long as it lasts.
    pub trouble: Option<Trouble>,
    /// When to call again, if nothing else happens before.
    pub wake: Instant,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRequest {
    /// What to ask.
    pub operation: ScheduleOperation,
    /// Give up waiting for the answer at this moment and reply [`ScheduleReply::Unknown`].
    pub deadline: Instant,
}

/// What to ask of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleOperation {
    /// Read the object, from the store itself, not from a cache.
    Read,
    /// Replace exactly version `base`, with all else in it as it is.
    Replace {
        /// The only version that may be replaced.
        base: Version,
        /// The new record.
        record: Box<ScheduleRecord>,
        /// The new record under the former name, if the schedule is renamed.
        was: Option<Box<ScheduleRecord>>,
    },
}

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub run: Run,
    /// How long after its instant it begins; zero if it begins before.
    pub late: Duration,
}

/// Why a schedule does not work, or does not work as this process describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The record cannot be understood.
    Unreadable,
    /// The stored spec is another one, of the same revision. It is replaced by that of this leader.
    SameRevision,
    /// The stored spec is of a higher revision. It counts.
    HigherRevision,
    /// The stored spec has no tick any more, or cannot be read here.
    NoTicks,
    /// The schedule has this name now.
    Moved(String),
    /// The record was changed or removed by another client during a run.
    Changed,
    /// What is stored is not what was written. If the run differs, it did not start.
    Altered,
    /// The schedule was renamed, and the record under its former name cannot be understood.
    OldUnreadable,
    /// No answer of the API server has a `Date`.
    NoDate,
}

impl Trouble {
    /// The trouble in one word, as logs and metrics write it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::SameRevision => "same-revision",
            Self::HigherRevision => "higher-revision",
            Self::NoTicks => "no-ticks",
            Self::Moved(_) => "moved",
            Self::Changed => "changed",
            Self::Altered => "altered",
            Self::OldUnreadable => "old-unreadable",
            Self::NoDate => "no-date",
        }
    }
}
