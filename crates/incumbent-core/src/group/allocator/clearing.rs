//! Which seats nobody needs any more.

use std::collections::BTreeSet;
use std::time::Duration;

use super::message::Ask;
use super::{Allocator, Seat, View, onlooker};
use crate::identity::Identity;
use crate::record::Stamp;
use crate::time::WallTime;

impl Allocator {
    /// Deletes a seat that has been vacant for a day and that no page names. It asks for no wake-up of its own.
    ///
    /// It decides nothing about tasks: a term that a page may yet name is over, because the seat is vacant in the very
    /// version that is deleted. So it may go by a wall clock, which knows of the time before this allocator.
    pub(super) fn clear_away(&self, wall: WallTime) -> Option<Ask> {
        let orders = self.pages.readable().flat_map(|(_, _, page)| page.orders.keys());
        let named: BTreeSet<&Identity> = orders.map(|term| &term.member).collect();
        let mut seats = self.seats.iter().filter(|(member, _)| !named.contains(member));
        seats.find_map(|(member, seat)| {
            let lock = seat.seen.snapshot().filter(|_| seat.view == View::Watched)?;
            let is_due = !lock.record.is_held() && self.is_old(seat, wall);
            is_due.then(|| Ask::DeleteSeat { member: member.clone(), base: lock.version.clone() })
        })
    }

    /// Whether a vacant seat has been so for a day, of which this allocator has seen a minute: a wall clock that jumps
    /// deletes nothing that was given up just now.
    fn is_old(&self, seat: &Seat, wall: WallTime) -> bool {
        let seen_for = self.latest.saturating_since(seat.seen.free_at(onlooker(&self.settings)));
        let record = seat.seen.snapshot().map(|lock| &lock.record);
        let vacant_for = match record.and_then(|record| record.renewed.as_ref()) {
            Some(Stamp::At(vacated)) => wall.saturating_since(*vacated),
            // No member has ever held it, or it does not say when.
            _ => seen_for,
        };
        seen_for >= LEAST_SEEN && vacant_for >= KEPT
    }
}

/// A member that comes back within a day finds its seat.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

const LEAST_SEEN: Duration = Duration::from_secs(60);
