//! All that crosses the boundary between an [`Elector`](crate::Elector) and its caller.

use std::time::Duration;

use crate::identity::{Identity, Session};
use crate::record::{FencingToken, HolderInfo, Record, Snapshot, Uid, Version};
use crate::time::{Instant, Window};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed. Always harmless, at any moment.
    Wake,
    /// The answer to the request in flight. It comes by the request's deadline, as
    /// [`Reply::Unknown`] if need be.
    Reply(Reply),
    /// A watch showed a version of the lock, or that it is gone.
    Observed(Observation),
    /// How changes of the lock are learnt from now on.
    Follow(Follow),
    /// The caller wants to lead.
    Campaign,
    /// The caller no longer wants to lead, *and its work has stopped*.
    Release,
    /// The same, and this candidate should lead next.
    HandOver(Identity),
    /// There is proof that the process of this session has ended, with all work that it did.
    ///
    /// Silence, unreadiness or absence is no proof.
    Ended(Session),
    /// What this candidate says of itself when it leads has changed. Its next write carries it.
    Introduce(HolderInfo),
    /// The same, and others wait for it: a leader renews at once.
    Publish(HolderInfo),
    /// The table of the group whose allocators share this lock. A leader renews at once to name it.
    Name(Uid),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// To a read: the lock.
    Found(Snapshot),
    /// There is no such object.
    Missing,
    /// The create or replace was applied; this is what is stored now.
    Written(Snapshot),
    /// The create or replace was not applied: another write came first (409).
    Conflict,
    /// The request was certainly not applied: no permission, no connection, too many requests.
    Refused {
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The outcome is unknown: the request may have been applied, or may be applied later.
    Unknown,
}

/// What a watch shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is never more than one of them about")]
pub enum Observation {
    /// The lock as it is.
    Present(Snapshot),
    /// The lock was deleted.
    Gone {
        /// The revision of the deletion.
        revision: u64,
    },
}

/// How changes of the lock are learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Follow {
    /// A watch is open: no polling.
    Watch,
    /// No watch: a read every retry period.
    Poll,
}

/// Everything the caller has to do after a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Output {
    /// Send this now. There is never a second one before the reply to the first.
    pub request: Option<Request>,
    /// The change of leadership to report, if there is one.
    pub change: Option<Change>,
    /// When to call again, if nothing else happens before.
    pub wake: Option<Window>,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// What to ask.
    pub operation: Operation,
    /// Give up waiting for the answer at this moment and reply [`Reply::Unknown`].
    pub deadline: Instant,
}

/// What to ask of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read the lock, from the store itself, not from a cache.
    Read,
    /// Create the lock with this (vacant) record.
    Create(Record),
    /// Replace exactly version `base`, by uid and resourceVersion, so that it says `record`.
    Replace {
        /// The only version that may be replaced.
        base: Version,
        /// What it says then.
        record: Record,
    },
}

/// A change of this candidate's leadership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A term begins.
    Started(Term),
    /// The term was extended.
    Renewed(Term),
    /// The term is over. The work must stop now; [`Input::Release`] says that it has.
    Lost(Loss),
    /// Answers [`Input::Release`].
    Released(Release),
}

/// One uninterrupted term of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The number to hand to your storage.
    pub token: FencingToken,
    /// Until when the leader may act, unless the term is renewed before.
    pub valid_until: Instant,
    /// By when its work must have stopped: after that, others may lead.
    pub stop_by: Instant,
}

/// Who holds the lock, as far as this candidate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It was not read yet.
    Unknown,
    /// It has no holder.
    Vacant,
    /// A term is running.
    Held {
        /// `None` where the name was taken out of the record while the term was running.
        holder: Option<Identity>,
        /// The token of the running term, where the holder writes one.
        token: Option<FencingToken>,
        /// When the term is over unless it is renewed before.
        expires_at: Instant,
    },
}

/// Why a leader is asked to hand over. It may act until it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandOverReason {
    /// A request asks for another leader: this one, or the next on the waitlist.
    Requested(Option<Identity>),
    /// The leader is paused.
    Paused,
    /// A candidate with a higher priority waits.
    Priority(Identity),
}

/// Why a term is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// No renewal succeeded before the renew deadline.
    DeadlinePassed,
    /// The record no longer says what this process wrote: another holder, or an edit by hand of what
    /// others go by.
    RecordChanged {
        /// The holder that it names now.
        holder: Option<Identity>,
    },
    /// The lock was deleted, and perhaps created again.
    LockGone,
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Release {
    /// The lock is free for the next candidate.
    Done,
    /// There was nothing to release: the lock is not this process's (any more).
    NotHeld,
    /// The lock was left to expire: the work had overrun, or the API server could not be reached in
    /// time.
    LeftToExpire,
}

impl HandOverReason {
    /// The reason in one word, as logs write it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Requested(_) => "requested",
            Self::Paused => "paused",
            Self::Priority(_) => "priority",
        }
    }
}

impl Loss {
    /// The reason in one word, as logs and metrics write it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline-passed",
            Self::RecordChanged { .. } => "record-changed",
            Self::LockGone => "lock-gone",
        }
    }
}

impl Release {
    /// How it ended in one word, as logs and metrics write it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Done => "released",
            Self::NotHeld | Self::LeftToExpire => "left-to-expire",
        }
    }
}
