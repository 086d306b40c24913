//! The members that may be given tasks, and what all pages together should say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::Wishes;
use crate::group::balance::Worker;
use crate::group::table::{PageIndex, SeatTerm, TaskName};
use crate::identity::Identity;
use crate::seat::SeatInfo;

/// A member that may be given tasks, and the term that it would get them for.
pub(super) struct Hand<'a> {
    pub(super) worker: Worker,
    pub(super) term: SeatTerm,
    pub(super) lease_duration: Duration,
    pub(super) address: Option<String>,
    pub(super) info: &'a SeatInfo,
}

/// What all pages together should say.
pub(super) struct Plan<'a> {
    pub(super) wished: &'a Wishes,
    pub(super) wanted: &'a BTreeMap<TaskName, Identity>,
    /// The same for each page of the table.
    pub(super) wanted_on: BTreeMap<PageIndex, Vec<(&'a TaskName, &'a Identity)>>,
    pub(super) hands: BTreeMap<Identity, Hand<'a>>,
}

impl Plan<'_> {
    /// Whether the owner is to stop this task: another member should have it, or it is not wanted any more.
    pub(super) fn moves(&self, owner: &SeatTerm, task: &TaskName) -> bool {
        match self.wanted.get(task) {
            Some(wanted) => *wanted != owner.member,
            None => !self.wished.tasks.contains_key(task),
        }
    }
}

impl Hand<'_> {
    /// About how long its header is, and no less.
    pub(super) fn bytes(&self) -> usize {
        term_bytes(&self.term, self.address.as_deref())
    }
}

/// Unusual bytes are written as three.
pub(super) fn term_bytes(term: &SeatTerm, address: Option<&str>) -> usize {
    let texts = [term.member.as_str(), term.seat.0.as_str(), address.unwrap_or_default()];
    texts.map(str::len).iter().sum::<usize>() * 3 + 100
}

/// A task, with the words around its name.
pub(super) fn task_bytes(task: &TaskName) -> usize {
    task.as_str().len() + 80
}
