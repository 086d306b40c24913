//! All that crosses the boundary between an [`Allocator`](super::Allocator) and its caller.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::group::balance::Task;
use crate::group::known::PageVersion;
use crate::group::table::{Kind, Page, PageIndex, SeatTerm, TaskName};
use crate::identity::{Identity, Session};
use crate::message::Observation;
use crate::record::{Record, Snapshot, Uid, Version};
use crate::time::Instant;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Happening {
    /// Time has passed. Always harmless.
    Wake,
    /// The answer to the request in flight. It comes by the request's deadline, as [`Answer::Unknown`] if need be.
    Answer(Answer),
    /// A watch showed a version of a page.
    Page(PageIndex, PageVersion),
    /// A watch showed that a page was deleted, at this version.
    PageGone(PageIndex, u64),
    /// A list showed these pages and no others.
    PagesListed {
        /// The version of the list.
        revision: u64,
        /// The pages.
        pages: Vec<(PageIndex, PageVersion)>,
    },
    /// A watch by label showed a version of a seat, or that it is shown no longer.
    Seat(Identity, Observation),
    /// A list by label, of this version, showed these seats and no others.
    SeatsListed((u64, Vec<(Identity, Snapshot)>)),
    /// There is proof that this process of this member has ended, with all work that it did.
    Ended(Identity, Session),
    /// The allocators' Lease names this table.
    Lease {
        /// The uid of its page 0.
        table: Option<Uid>,
    },
    /// What is wanted has changed.
    Wishes(Wishes),
    /// Whether this allocator is to write: whether its process leads the group.
    Active(bool),
}

/// What people want of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wishes {
    /// What the tasks of a new table are to be. A table that is there keeps what its page 0 says (G9).
    pub kind: Kind,
    /// The tasks, where they have names. Of numbered tasks, those whose weight or pin matters.
    pub tasks: BTreeMap<TaskName, Task>,
    /// Members that get no tasks, and whose tasks go to others. A preference, as a pin is.
    pub drained: BTreeSet<Identity>,
    /// Whether tasks stay where they are as long as their owner lives.
    pub is_frozen: bool,
    /// Whether many more tasks may be listed later: then a new table has room for as many as a group may have.
    pub may_grow: bool,
}

impl Wishes {
    /// About how long the names of all tasks are in a table.
    pub(super) fn names_bytes(&self) -> usize {
        self.tasks.keys().map(|task| task.as_str().len() + 24).sum()
    }
}

/// Everything that the caller has to do after a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Sought {
    /// Send this now. There is never a second one before the answer to the first.
    pub ask: Option<Ask>,
    /// When to call again, if nothing else happens before.
    pub wake: Option<Instant>,
    /// The table that the allocators' Lease has to name, if it does not: no page opens before it does.
    pub table: Option<Uid>,
}

/// A table that would send too much to its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Excess {
    /// How many tasks are wanted.
    pub tasks: usize,
    /// How many members there are.
    pub members: usize,
    /// About how many bytes the API server would send for one member that joins.
    pub bytes: usize,
}

impl Excess {
    /// The most bytes, 64 MiB: more than half a second of a fast network.
    pub const MOST_BYTES: usize = 64 << 20;
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is never more than one of them about")]
pub enum Ask {
    /// Create this page.
    CreatePage(PageIndex, Page),
    /// Replace exactly version `base`, by uid and resourceVersion.
    ReplacePage {
        /// Which page.
        index: PageIndex,
        /// The only version that may be replaced.
        base: Version,
        /// What it says then.
        page: Page,
    },
    /// Delete exactly version `base`, by uid and resourceVersion.
    DeletePage {
        /// Which page.
        index: PageIndex,
        /// The only version that may be deleted.
        base: Version,
    },
    /// Read this page, from the store itself, not from a cache.
    ReadPage(PageIndex),
    /// Create the seat of this member, vacant, with the group's label.
    CreateSeat(Identity),
    /// Read the seat of this member by name, from the store itself, not from a cache.
    ReadSeat(Identity),
    /// Replace exactly version `base` of this seat by a vacant one, and put the group's label back.
    VacateSeat {
        /// Whose seat.
        member: Identity,
        /// The only version that may be replaced.
        base: Version,
        /// What it says then.
        record: Record,
    },
    /// Delete exactly version `base` of this seat, by uid and resourceVersion.
    DeleteSeat {
        /// Whose seat.
        member: Identity,
        /// The only version that may be deleted.
        base: Version,
    },
    /// List all Leases of the namespace, without a label selector and without a version, so that the list is no older
    /// than this request, all parts of one snapshot.
    ListSeats,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is never more than one of them about")]
pub enum Answer {
    /// The page, as it was read, or as it is stored after the create or replace.
    Page(PageVersion),
    /// The page or the seat was deleted.
    Deleted,
    /// The seat, as it was read, or as it is stored after the create or replace.
    Seat(Snapshot),
    /// All seats.
    Seats(SeatList),
    /// There is no such object.
    Missing,
    /// The write was not applied: another one came first, or the object exists (409).
    Conflict,
    /// The request was certainly not applied.
    Refused {
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The outcome is unknown: the request may have been applied, or may be applied later.
    Unknown,
}

/// What a list of all Leases of the namespace shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeatList {
    /// Every Lease `GROUP.MEMBER` that is held and whose record is that of a member.
    pub held: Vec<HeldSeat>,
    /// The allocators' Lease is among them, and has never named a table.
    pub is_before_any_table: bool,
}

/// A seat that is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeldSeat {
    /// The term.
    pub term: SeatTerm,
    /// Its lease duration.
    pub lease_duration: Duration,
}
