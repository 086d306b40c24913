//! What a page says next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::evidence::Fate;
use super::hand::{Hand, Plan, task_bytes, term_bytes};
use super::message::{Ask, Excess, Wishes};
use super::plan::Earliest;
use super::preparing::{Moving, Preparation};
use super::{Allocator, View};
use crate::group::balance::{Worker, balance, hand_out, without_declined};
use crate::group::table::{Assignment, Kind, Order, Page, PageIndex, SeatTerm, TaskName};
use crate::identity::Identity;
use crate::record::{FencingToken, Version};
use crate::time::Instant;

impl Allocator {
    /// Replaces a page whose tasks are not where they should be.
    pub(super) fn change_a_page(&mut self, earliest: &mut Earliest) -> Option<Ask> {
        self.time_preparations();
        let mut full = BTreeMap::new();
        let ask = self.page_to_change(earliest, &mut full);
        // Where a page is to be written, the pages after it were not looked at.
        if ask.is_none() {
            self.full_pages = full;
        }
        ask
    }

    /// `full` learns of the pages that have no room for all of their tasks.
    fn page_to_change(
        &self,
        earliest: &mut Earliest,
        full: &mut BTreeMap<PageIndex, usize>,
    ) -> Option<Ask> {
        // Nothing is begun that the network cannot carry. What runs goes on, and what has no owner gets one.
        let hands = self.hands();
        let is_too_large = self.excess_with(hands.len()).is_some();
        if !self.has_entries() && is_too_large {
            return None;
        }
        self.wait_for_ends(earliest);
        self.wait_for_preparations(&hands, earliest);
        let wished = self.wished();
        let may_move = !wished.is_frozen && !is_too_large;
        let wanted = self.wanted(&wished, &hands, may_move, earliest);
        let plan =
            Plan { wished: &wished, wanted: &wanted, wanted_on: self.on_pages(&wanted), hands };
        let may_assign_at = self.settles_at();
        let is_settled = may_assign_at <= self.latest;
        if !is_settled {
            earliest.at(may_assign_at);
        }
        let mut pages: Vec<_> = self.pages.readable().collect();
        // Of two pages that wait, the one that was not just written.
        pages.sort_by_key(|(index, version, _)| (version.revision, *index));
        pages.into_iter().find_map(|(index, version, page)| {
            let may_assign = is_settled && self.may_assign(index, version, page, earliest);
            let (next, left_out) = self.next_content((index, version, page), &plan, may_assign);
            if left_out > 0 {
                full.insert(index, left_out);
            }
            if next.orders == page.orders && next.is_open == page.is_open {
                return None;
            }
            if self.next_move > self.latest && !gives(&next, page) {
                earliest.at(self.next_move);
                return None;
            }
            Some(Ask::ReplacePage { index, base: version.clone(), page: next })
        })
    }

    /// What is wanted, for each page: so that not every page looks at all tasks.
    fn on_pages<'a>(
        &self,
        wanted: &'a BTreeMap<TaskName, Identity>,
    ) -> BTreeMap<PageIndex, Vec<(&'a TaskName, &'a Identity)>> {
        let mut on_pages: BTreeMap<_, Vec<_>> = BTreeMap::new();
        if let Some((_, shape)) = self.pages.table() {
            for (task, member) in wanted {
                on_pages.entry(shape.page_of(task)).or_default().push((task, member));
            }
        }
        on_pages
    }

    /// The seats of some owners are gone, and their leases are waited out.
    fn wait_for_ends(&self, earliest: &mut Earliest) {
        let orders = self.pages.readable().flat_map(|(_, _, page)| &page.orders);
        for (term, order) in orders.filter(|(_, order)| !order.tasks.is_empty()) {
            if let Fate::OverAt(end) = self.fate_of(term, order.lease_duration) {
                earliest.at(end);
            }
        }
    }

    /// Members that live, by name.
    fn hands(&self) -> BTreeMap<Identity, Hand<'_>> {
        let hands = self.seats.iter().filter_map(|(name, seat)| {
            let lock = seat.seen.snapshot().filter(|_| seat.view != View::Unseen)?;
            let is_alive = lock.record.is_held() && self.latest < seat.seen.expires_at();
            let record = Some(&lock.record).filter(|_| is_alive)?;
            let info = record.holder_info.seat.as_ref()?;
            let (token, lease_duration) = (record.token()?, record.lease_duration?);
            let term = SeatTerm { member: name.clone(), seat: lock.version.uid.clone(), token };
            let worker = Worker {
                name: name.clone(),
                capacity: info.capacity,
                version: info.version.clone(),
                joined: token,
                takes_tasks: !info.is_leaving && !info.is_draining && !self.is_drained(name),
            };
            let address = record.holder_info.address.clone();
            Some((name.clone(), Hand { worker, term, lease_duration, address, info }))
        });
        hands.collect()
    }

    /// Whether people want this member to have no tasks.
    fn is_drained(&self, member: &Identity) -> bool {
        self.wishes.as_ref().is_some_and(|wishes| wishes.drained.contains(member))
    }

    /// Who should run what.
    fn wanted(
        &self,
        wished: &Wishes,
        hands: &BTreeMap<Identity, Hand<'_>>,
        may_move: bool,
        earliest: &mut Earliest,
    ) -> BTreeMap<TaskName, Identity> {
        // A member that joins hardly ever joins alone.
        let moves_at = self.joined_at + JOIN_WAIT;
        let may_move = may_move && moves_at <= self.latest;
        if moves_at > self.latest {
            earliest.at(moves_at);
        }
        let workers: Vec<Worker> = hands.values().map(|hand| hand.worker.clone()).collect();
        let entries = || self.pages.readable().flat_map(|(_, _, page)| page.entries());
        let mut current: BTreeMap<TaskName, Identity> = entries()
            .filter(|(term, _, _, assignment)| assignment.revoked.is_none() && !self.leaves(term))
            .map(|(term, _, task, _)| (task.clone(), term.member.clone()))
            .collect();
        if !wished.is_frozen {
            current.extend(self.moves_under_way(hands));
        }
        match wished.kind {
            Kind::Named | Kind::Slots(_) => {
                let declined = hands.iter().map(|(member, hand)| (member, &hand.info.declined));
                let declined = declined.collect();
                let tasks = without_declined(&workers, &declined, &wished.tasks, &current);
                balance(&workers, &tasks, &current, may_move)
            }
            Kind::Permits(_) => {
                let revoked = entries().filter(|entry| {
                    entry.3.revoked.is_some() && !self.has_ended(PageIndex::FIRST, *entry)
                });
                let (busy, still_held): (_, BTreeSet<&TaskName>) =
                    revoked.map(|(term, _, permit, _)| (term.member.clone(), permit)).unzip();
                // Nothing has to be waited for before a free one can be had.
                let (later, at_once): (Vec<_>, Vec<_>) =
                    wished.tasks.keys().cloned().partition(|permit| still_held.contains(permit));
                hand_out(&workers, at_once.into_iter().chain(later), &current, &busy)
            }
        }
    }

    /// Whether the member leaves: its tasks go to others, also while nothing else moves.
    fn leaves(&self, term: &SeatTerm) -> bool {
        let info = self.seats.get(&term.member).and_then(|seat| seat.info_of(term));
        info.is_some_and(|info| info.is_leaving)
    }

    /// A table without entries waits until no more members join, but not for long.
    fn settles_at(&self) -> Instant {
        let quiet = self.joined_at.max(self.active_since) + START_QUIET;
        match self.has_entries() {
            true => Instant::START,
            false => quiet.min(self.active_since + START_WAIT),
        }
    }

    fn has_entries(&self) -> bool {
        self.pages.readable().any(|(_, _, page)| !page.orders.is_empty())
    }

    /// Whether what is wanted would send too much. Then no task moves, and a table without entries stays so.
    pub fn excess(&self) -> Option<Excess> {
        self.excess_with(self.hands().len())
    }

    fn excess_with(&self, members: usize) -> Option<Excess> {
        let wishes = self.fitting_wishes()?;
        let shape = self.pages.table().map_or_else(|| self.shape_of_a_new_table(), |(_, it)| it);
        let pages = usize::from(shape.pages);
        let tasks = shape.kind.count().map_or(wishes.tasks.len(), usize::from);
        // A page names each member that owns one of its tasks; neighbouring slots have one owner.
        let (names, headers) = match shape.kind {
            Kind::Named => (wishes.names_bytes(), (pages * members).min(tasks)),
            Kind::Slots(_) => (members * 24, members + pages),
            Kind::Permits(_) => (tasks * 24, tasks.min(members)),
        };
        // A member that joins gets its share, and each task of it may be on a different page.
        let written = tasks.div_ceil(members.max(1)).min(pages);
        let bytes = (names + headers * 100) * members * written / pages;
        (bytes > Excess::MOST_BYTES).then_some(Excess { tasks, members, bytes })
    }

    /// Pages that have no room for all of their tasks, and how many of these have no owner for that reason.
    pub fn full_pages(&self) -> &BTreeMap<PageIndex, usize> {
        &self.full_pages
    }

    /// What a page is to say, and how many tasks find no room on it.
    fn next_content(
        &self,
        (index, version, page): (PageIndex, &Version, &Page),
        plan: &Plan<'_>,
        may_assign: bool,
    ) -> (Page, usize) {
        let mut next = Page { orders: BTreeMap::new(), replaces: version.revision, ..page.clone() };
        let mut room = MOST_BYTES.saturating_sub(page.bytes());
        for (term, order, task, assignment) in page.entries() {
            // An entry on the wrong page was never obeyed.
            if !self.is_here(index, task) || self.has_ended(index, (term, order, task, assignment))
            {
                continue;
            }
            if !plan.moves(term, task) {
                next.keep(term, order, task, assignment);
                continue;
            }
            let is_revoked = assignment.revoked.is_some();
            let moving = Moving { task, is_revoked, next: &next };
            let preparation = self.preparation((index, version, page), moving, plan, &mut room);
            let waits = preparation.as_ref().is_some_and(|preparation| !preparation.is_over);
            let revokes = (!waits).then_some(version.revision);
            let revoked = assignment.revoked.or(revokes);
            next.keep(term, order, task, Assignment { revoked, ..assignment });
            if let Some(Preparation { hand, since, .. }) = preparation {
                next.order_of(hand).next.insert(task.clone(), since);
            }
        }
        if !may_assign {
            return (next, 0);
        }
        next.is_open = true;
        let left_out = self.give(&mut next, (index, version, page), plan);
        (next, left_out)
    }

    /// Gives each task of this page that has no owner to the member that should have it. Returns how many find no room.
    fn give(
        &self,
        next: &mut Page,
        (index, version, page): (PageIndex, &Version, &Page),
        plan: &Plan<'_>,
    ) -> usize {
        // One token for all that is given in one write (G5).
        let token = FencingToken(version.revision.max(page.highest_token.0.saturating_add(1)));
        let owned: BTreeSet<TaskName> =
            next.entries().map(|(_, _, task, _)| task.clone()).collect();
        let wanted = plan.wanted_on.get(&index).into_iter().flatten().copied();
        let mut missing: Vec<_> = wanted.filter(|(task, _)| !owned.contains(task)).collect();
        // A task that moves keeps its place: no new task takes it, and the entry of its new owner may be longer.
        let had_owner: BTreeSet<&TaskName> = page.entries().map(|(_, _, task, _)| task).collect();
        missing.sort_by_key(|(task, _)| !had_owner.contains(task));
        let mut room = MOST_BYTES.saturating_sub(next.bytes());
        let mut left_out = 0;
        for (task, member) in missing {
            let Some(hand) = plan.hands.get(member) else { continue };
            room = room.saturating_sub(task_bytes(task));
            if !next.orders.contains_key(&hand.term) {
                room = room.saturating_sub(hand.bytes());
            }
            if room == 0 && !had_owner.contains(task) {
                left_out += 1;
                continue;
            }
            next.order_of(hand).tasks.insert(task.clone(), Assignment { token, revoked: None });
            next.highest_token = token;
        }
        left_out
    }

    fn is_here(&self, index: PageIndex, task: &TaskName) -> bool {
        self.pages.table().is_some_and(|(_, shape)| shape.page_of(task) == index)
    }

    /// Whether the task of this entry of page `index` has no owner any more.
    fn has_ended(
        &self,
        index: PageIndex,
        (term, order, task, assignment): (&SeatTerm, &Order, &TaskName, Assignment),
    ) -> bool {
        self.fate_of(term, order.lease_duration) == Fate::Over
            || self.is_released(term, index, task, assignment)
    }
}

impl Page {
    /// About how long its text is, and no less.
    pub(super) fn bytes(&self) -> usize {
        let orders = self.orders.iter();
        let terms = orders.map(|(term, order)| term_bytes(term, order.address.as_deref()));
        let tasks = self.entries().map(|(_, _, task, _)| task);
        let tasks = tasks.chain(self.preparations().map(|(_, task, _)| task));
        terms.sum::<usize>() + tasks.map(task_bytes).sum::<usize>()
    }

    fn keep(&mut self, term: &SeatTerm, order: &Order, task: &TaskName, assignment: Assignment) {
        let (tasks, next) = Default::default();
        let empty = || Order { tasks, next, ..order.clone() };
        let kept = self.orders.entry(term.clone()).or_insert_with(empty);
        kept.tasks.insert(task.clone(), assignment);
    }

    fn order_of(&mut self, hand: &Hand<'_>) -> &mut Order {
        self.orders.entry(hand.term.clone()).or_insert_with(|| Order {
            lease_duration: hand.lease_duration,
            address: hand.address.clone(),
            tasks: BTreeMap::new(),
            next: BTreeMap::new(),
        })
    }
}

/// Whether `next` assigns a task that is not assigned so on `page`.
fn gives(next: &Page, page: &Page) -> bool {
    next.highest_token > page.highest_token
}

/// A longer page takes no new tasks: a ConfigMap holds a mebibyte, and each change of it goes to each member.
pub(super) const MOST_BYTES: usize = 250 * 1024;

/// How long tasks stay where they are after a member has joined.
const JOIN_WAIT: Duration = Duration::from_secs(1);

/// A new table waits until no member has joined for this long,
const START_QUIET: Duration = Duration::from_millis(100);

/// and no longer than this.
const START_WAIT: Duration = Duration::from_secs(1);
