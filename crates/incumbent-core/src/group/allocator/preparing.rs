//! When an owner is asked to stop a task because its successor is prepared.
//!
//! Nothing here decides who owns a task: a preparation only delays the write that asks the owner to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Allocator;
use super::hand::{Hand, Plan, task_bytes};
use super::plan::Earliest;
use crate::group::table::{Kind, Page, PageIndex, SeatTerm, TaskName};
use crate::identity::Identity;
use crate::record::Version;
use crate::time::Instant;

/// A task that another member should have.
pub(super) struct Moving<'a> {
    pub(super) task: &'a TaskName,
    pub(super) is_revoked: bool,
    /// What the page says next, as far as that is decided.
    pub(super) next: &'a Page,
}

/// How the next owner of a task prepares it.
pub(super) struct Preparation<'a> {
    pub(super) hand: &'a Hand<'a>,
    /// The version that was replaced when the next owner was asked to.
    pub(super) since: u64,
    /// Whether it is prepared, or had enough time.
    pub(super) is_over: bool,
}

impl Allocator {
    /// The preparation of a task that moves; `None` if it moves without one, as permits do, which are alike. `room` is
    /// what the page has left for lines that ask for one.
    pub(super) fn preparation<'a>(
        &self,
        (index, version, page): (PageIndex, &Version, &Page),
        Moving { task, is_revoked, next }: Moving<'_>,
        plan: &'a Plan<'a>,
        room: &mut usize,
    ) -> Option<Preparation<'a>> {
        if matches!(plan.wished.kind, Kind::Permits(_)) {
            return None;
        }
        let hand = plan.hands.get(plan.wanted.get(task)?)?;
        let limit = hand.info.prepares_within.filter(|_| hand.worker.takes_tasks)?;
        let order = page.orders.get(&hand.term);
        if let Some(since) = order.and_then(|order| order.next.get(task)) {
            let ends_at = self.preparation_ends_at(&hand.term, task, limit);
            let is_over = hand.info.has_prepared(index, *since) || ends_at <= self.latest;
            return Some(Preparation { hand, since: *since, is_over });
        }
        let is_named = order.is_some() || next.orders.contains_key(&hand.term);
        let bytes = task_bytes(task) + if is_named { 0 } else { hand.bytes() };
        if is_revoked || *room < bytes {
            return None;
        }
        *room -= bytes;
        Some(Preparation { hand, since: version.revision, is_over: false })
    }

    /// Tasks that move to a member that still prepares them, or has done so: they count as that member's when loads are
    /// compared, so that a move which has begun is not planned a second time, to another member.
    pub(super) fn moves_under_way(
        &self,
        hands: &BTreeMap<Identity, Hand<'_>>,
    ) -> impl Iterator<Item = (TaskName, Identity)> {
        let preparations = self.pages.readable().flat_map(|(_, _, page)| page.preparations());
        let live = preparations.filter(|(term, ..)| {
            let hand = hands.get(&term.member).filter(|hand| hand.term == **term);
            hand.is_some_and(|hand| hand.worker.takes_tasks)
        });
        live.map(|(term, task, _)| (task.clone(), term.member.clone()))
    }

    /// Notes when each preparation became known.
    pub(super) fn time_preparations(&mut self) {
        let preparations = self.pages.readable().flat_map(|(_, _, page)| page.preparations());
        let known: BTreeSet<(SeatTerm, TaskName)> =
            preparations.map(|(term, task, _)| (term.clone(), task.clone())).collect();
        self.preparing.retain(|preparation, _| known.contains(preparation));
        for preparation in known {
            self.preparing.entry(preparation).or_insert(self.latest);
        }
    }

    /// Some preparations take longer than they may.
    pub(super) fn wait_for_preparations(
        &self,
        hands: &BTreeMap<Identity, Hand<'_>>,
        earliest: &mut Earliest,
    ) {
        for (term, task) in self.preparing.keys() {
            let hand = hands.get(&term.member).filter(|hand| hand.term == *term);
            let Some(limit) = hand.and_then(|hand| hand.info.prepares_within) else { continue };
            let ends_at = self.preparation_ends_at(term, task, limit);
            if ends_at > self.latest {
                earliest.at(ends_at);
            }
        }
    }

    fn preparation_ends_at(&self, term: &SeatTerm, task: &TaskName, limit: Duration) -> Instant {
        let begun = self.preparing.get(&(term.clone(), task.clone()));
        *begun.unwrap_or(&self.latest) + limit
    }
}
