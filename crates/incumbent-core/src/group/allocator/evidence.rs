//! When a task has no owner any more (G3). Each evidence stays true for ever.

use std::time::Duration;

use super::{Allocator, Seat, View, onlooker};
use crate::group::table::{Assignment, PageIndex, SeatTerm, TaskName};
use crate::time::Instant;

/// What is known of a term that the table, or a list of seats, names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is over.
    Over,
    /// It is over at this moment: its seat is gone, and its lease is waited out.
    OverAt(Instant),
    /// Nothing shows that it is over.
    Running,
    /// Nothing shows its seat: whether the seat exists has to be found out.
    Unseen,
}

impl Allocator {
    /// Whether the term is over (G3b, G3c).
    pub(super) fn fate_of(&self, term: &SeatTerm, lease_duration: Duration) -> Fate {
        let Some(seat) = self.seats.get(&term.member) else { return Fate::Unseen };
        let Some(lock) = seat.seen.snapshot() else { return Fate::Unseen };
        let record = &lock.record;
        if lock.version.uid == term.seat {
            let has_higher = record.last_token > term.token;
            let is_vacant = !record.is_held() && record.last_token >= term.token;
            // The record was cleared by hand since the term began. The member notices that within its lease.
            let is_cleared = !record.is_held() && lock.version.revision > term.token.0;
            return match seat.view {
                _ if has_higher || is_vacant => Fate::Over,
                _ if is_cleared => {
                    // It may have been empty before the term as well, so that this version is the first that shows it.
                    let free_at = seat.seen.free_at(onlooker(&self.settings));
                    self.over_at(free_at.max(seat.version_since) + lease_duration)
                }
                View::Unseen => Fate::Unseen,
                View::Watched | View::ReadAt(_) => Fate::Running,
            };
        }
        // Names are unique: an object of that name which is newer than the term shows that the term's seat is gone.
        if lock.version.revision > term.token.0 {
            return self.over_at(seat.known_since + lease_duration);
        }
        match seat.view {
            View::Unseen => Fate::Unseen,
            View::Watched | View::ReadAt(_) => Fate::Running,
        }
    }

    fn over_at(&self, end: Instant) -> Fate {
        if end <= self.latest { Fate::Over } else { Fate::OverAt(end) }
    }

    /// Whether the owner has released the task, and still holds the very term (G3a, G3a').
    pub(super) fn is_released(
        &self,
        term: &SeatTerm,
        index: PageIndex,
        task: &TaskName,
        assignment: Assignment,
    ) -> bool {
        let info = self.seats.get(&term.member).and_then(|seat| seat.info_of(term));
        info.is_some_and(|info| info.has_released(index, task, assignment.revoked))
    }
}

impl Seat {
    /// What the member says under this very term.
    pub(super) fn info_of(&self, term: &SeatTerm) -> Option<&crate::seat::SeatInfo> {
        let lock = self.seen.snapshot()?;
        let is_of_term = lock.version.uid == term.seat && lock.record.token() == Some(term.token);
        lock.record.holder_info.seat.as_ref().filter(|_| is_of_term)
    }
}
