//! What the parts of a member tell its driver.

use std::collections::BTreeSet;
use std::sync::Arc;

use incumbent_core::group::TaskName;
use incumbent_core::{Identity, Session, Uid};
use serde_json::Value;

use super::troubles::Trouble;
use crate::answer::Failure;
use crate::error::Error;
use crate::leadership::Leadership;
use crate::lock::LockKind;

/// Something that happened.
pub(crate) enum Note {
    /// The watch of the table, or of the seats.
    Shown(LockKind, Box<Shown>),
    /// A term on the seat has begun.
    Started {
        seat: Uid,
        leadership: Arc<Leadership>,
    },
    /// It is over.
    Over,
    /// The seat is given up for good.
    Left,
    /// The member cannot take part: it cannot hold its seat, and nothing of it runs.
    Failed(Error),
    /// The member cannot compete to be the allocator. Its tasks may be running.
    CannotAllocate(Error),
    /// The member has competed to be the allocator for a while, and no error came.
    Competes,
    /// What the allocators' Lease says, and whether this member is one of the next allocators.
    Lock {
        table: Option<Uid>,
        is_next: bool,
    },
    /// Whether this member is the allocator.
    Allocates(bool),
    /// The work of a task has stopped.
    Stopped(TaskName),
    /// The preparation of this number is done.
    Prepared(TaskName, u64),
    Leave,
    Drain(bool),
    /// Whether the member declines this task.
    Decline(TaskName, bool),
    /// Whether the member is well.
    Health(bool),
    /// There is proof that this process of this member has ended.
    Ended(Identity, Session),
    /// The objects that are the tasks.
    Objects(Sight),
    /// The list of tasks exists, and no watch shows it.
    HiddenConfig,
    /// Something did not work.
    Trouble(Box<Trouble>),
}

/// What a list or a watch shows.
pub(super) enum Shown {
    /// All objects, as of a version.
    Listed(u64, Vec<Value>),
    /// One object.
    Present(Value),
    /// One object is shown no longer, as of a version. This is what it was last.
    Gone(Value, u64),
    /// The watch is open.
    Opened,
    /// Nothing new, as of now.
    Alive,
    /// It is refused to `list`, or to `watch`.
    Refused(&'static str, Failure),
}

/// What is seen of the objects that are the tasks.
#[derive(Debug)]
pub(crate) enum Sight {
    /// The tasks, and how many objects are none because there are too many.
    Listed(BTreeSet<TaskName>, usize),
    /// A watch of them is open.
    Opened,
    /// It is refused to `list`, or to `watch`.
    Refused(&'static str, Failure),
}
