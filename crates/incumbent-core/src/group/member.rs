//! One member: which tasks it may run, and what it may say that it has released.

use std::collections::BTreeMap;
use std::time::Duration;

use super::known::{KnownPages, PageVersion};
use super::table::{PageIndex, SeatTerm, TaskName};
use crate::identity::Identity;
use crate::record::{FencingToken, Uid};
use crate::seat::{Released, SeatInfo};
use crate::time::Instant;

/// One process that takes part in a group.
///
/// It does not hold its seat itself: the caller runs an [`Elector`](crate::Elector) for that, and says when a term
/// begins and when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    name: Identity,
    info: SeatInfo,
    pages: KnownPages,
    term: Option<SeatTerm>,
    running: BTreeMap<TaskName, Running>,
    preparing: BTreeMap<TaskName, Preparing>,
    /// What the seat says, or will say with the next write of the elector.
    published: SeatInfo,
    /// No release is published before this.
    next_release: Instant,
    /// Since when there is a release that is worth a write.
    releasable_since: Option<Instant>,
    latest: Instant,
}

/// Work that has been started and has not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Running {
    token: FencingToken,
    is_stopping: bool,
}

/// A task that the table asks this member to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Preparing {
    page: PageIndex,
    /// The version that was replaced when it was asked.
    since: u64,
    is_done: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed. Always harmless.
    Wake,
    /// A watch showed a version of a page.
    Page(PageIndex, PageVersion),
    /// A watch showed that a page was deleted, at this version.
    PageGone(PageIndex, u64),
    /// A list showed these pages and no others.
    Listed {
        /// The version of the list.
        revision: u64,
        /// The pages.
        pages: Vec<(PageIndex, PageVersion)>,
    },
    /// A term on the seat has begun.
    Started {
        /// The object that the seat is.
        seat: Uid,
        /// The token of the term.
        token: FencingToken,
    },
    /// The term on the seat is over, for whatever reason.
    Over,
    /// The work on this task has stopped, and nothing of it runs any more.
    Stopped(TaskName),
    /// This task is prepared.
    Prepared(TaskName),
    /// The member wants to leave for good.
    Leave,
    /// The member wants no tasks for now, or wants them again.
    Drain(bool),
    /// The member declines this task for now, or takes it again.
    Decline(TaskName, bool),
}

/// Everything that the caller has to do after a step, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[must_use]
pub struct Orders {
    /// Stop the work on these tasks, and say [`Event::Stopped`] for each.
    pub stop: Vec<TaskName>,
    /// Stop preparing these tasks, if that is not done yet.
    pub end_preparing: Vec<TaskName>,
    /// Start the work on these tasks.
    pub start: Vec<(TaskName, FencingToken)>,
    /// Prepare these tasks, and say [`Event::Prepared`] for each. Their owner still works on them.
    pub prepare: Vec<TaskName>,
    /// Write this to the seat: at once during a term, with the acquiring write before one.
    pub publish: Option<SeatInfo>,
    /// When to call again, if nothing else happens before.
    pub wake: Option<Instant>,
}

impl Member {
    /// A member that knows nothing yet and runs nothing.
    pub fn new(name: Identity, info: SeatInfo) -> Self {
        Self {
            name,
            published: info.clone(),
            info,
            pages: KnownPages::default(),
            term: None,
            running: BTreeMap::new(),
            preparing: BTreeMap::new(),
            next_release: Instant::START,
            releasable_since: None,
            latest: Instant::START,
        }
    }

    /// Says what to do next. It cannot fail, and calling it early or twice is harmless.
    pub fn step(&mut self, now: Instant, event: Event) -> Orders {
        self.learn(now, event);
        self.settle()
    }

    /// Takes in what happened, and says nothing yet: of many tasks that stop at a time, each [`step`](Self::step) would look at
    /// all tasks again. The caller has to call `step` afterwards.
    pub fn learn(&mut self, now: Instant, event: Event) {
        self.latest = self.latest.max(now);
        match event {
            Event::Wake => {}
            Event::Page(index, page) => {
                self.pages.learn(index, page);
            }
            Event::PageGone(index, revision) => {
                self.pages.learn_gone(index, revision);
            }
            Event::Listed { revision, pages } => {
                self.pages.learn_list(revision, pages);
            }
            Event::Started { seat, token } => {
                self.term = Some(SeatTerm { member: self.name.clone(), seat, token });
            }
            Event::Over => self.term = None,
            Event::Stopped(task) => {
                self.running.remove(&task);
            }
            Event::Prepared(task) => {
                if let Some(preparing) = self.preparing.get_mut(&task) {
                    preparing.is_done = true;
                }
            }
            Event::Leave => self.leave(),
            Event::Drain(is_draining) => self.info.is_draining = is_draining,
            Event::Decline(task, true) => self.decline(task),
            Event::Decline(task, false) => {
                self.info.declined.remove(&task);
            }
        }
    }

    /// Whether nothing runs: only then may the seat be given up, or acquired again.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether a term runs on the seat.
    pub fn has_term(&self) -> bool {
        self.term.is_some()
    }

    /// What the seat is to say when the next term begins.
    pub fn published(&self) -> &SeatInfo {
        &self.published
    }

    /// The tasks that run, with their tokens. Those that are asked to stop are among them.
    pub fn running(&self) -> impl Iterator<Item = (&TaskName, FencingToken)> {
        self.running.iter().map(|(task, running)| (task, running.token))
    }

    fn leave(&mut self) {
        if !self.info.is_leaving {
            self.info.is_leaving = true;
            // Work that stops by then costs no write: the seat is released instead.
            self.next_release = self.next_release.max(self.latest + RELEASE_INTERVAL);
        }
    }

    /// What does not fit into the seat is not said, and the task stays here.
    fn decline(&mut self, task: TaskName) {
        let bytes = self.info.declined.iter().chain([&task]).map(|task| task.as_str().len() + 3);
        if bytes.sum::<usize>() <= MOST_DECLINED_BYTES {
            self.info.declined.insert(task);
        }
    }

    fn settle(&mut self) -> Orders {
        let given = self.given();
        let mut orders = Orders::default();
        for (task, running) in &mut self.running {
            if !running.is_stopping && given.get(task) != Some(&running.token) {
                running.is_stopping = true;
                orders.stop.push(task.clone());
            }
        }
        for (task, token) in given {
            if !self.running.contains_key(&task) {
                self.running.insert(task.clone(), Running { token, is_stopping: false });
                orders.start.push((task, token));
            }
        }
        self.prepare(&mut orders);
        orders.publish = self.release(&mut orders.wake);
        orders
    }

    /// Begins and ends preparations as the newest pages ask. One that is done is remembered for as long as it is asked for.
    fn prepare(&mut self, orders: &mut Orders) {
        let mut known = std::mem::take(&mut self.preparing);
        for (task, new) in self.to_prepare() {
            let is_done = known.remove(&task).map(|known| known.is_done);
            if is_done.is_none() {
                orders.prepare.push(task.clone());
            }
            self.preparing.insert(task, Preparing { is_done: is_done.unwrap_or(false), ..new });
        }
        orders.end_preparing = known.into_keys().collect();
    }

    /// What the newest pages ask the present term to prepare.
    fn to_prepare(&self) -> BTreeMap<TaskName, Preparing> {
        let prepares = self.info.prepares_within.is_some() && !self.info.is_leaving;
        let Some(term) = self.term.as_ref().filter(|_| prepares) else { return BTreeMap::new() };
        let Some((_, shape)) = self.pages.table() else { return BTreeMap::new() };
        let orders = self
            .pages
            .readable()
            .filter_map(|(page, _, content)| content.orders.get(term).map(|order| (page, order)));
        let tasks = orders.flat_map(|(page, order)| {
            let next = order.next.iter().filter(move |(task, _)| shape.page_of(task) == page);
            next.map(move |(task, since)| {
                (task.clone(), Preparing { page, since: *since, is_done: false })
            })
        });
        tasks.filter(|(task, _)| !self.running.contains_key(task)).collect()
    }

    /// The tasks that the newest pages give to the present term, without those that are revoked.
    fn given(&self) -> BTreeMap<TaskName, FencingToken> {
        let Some(term) = self.term.as_ref().filter(|_| !self.info.is_leaving) else {
            return BTreeMap::new();
        };
        let Some((_, shape)) = self.pages.table() else { return BTreeMap::new() };
        let orders = self
            .pages
            .readable()
            .filter_map(|(index, _, page)| page.orders.get(term).map(|order| (index, order)));
        let tasks = orders.flat_map(|(index, order)| {
            order.tasks.iter().filter(move |(task, assignment)| {
                assignment.revoked.is_none() && shape.page_of(task) == index
            })
        });
        tasks.map(|(task, assignment)| (task.clone(), assignment.token)).collect()
    }

    /// What to write to the seat now.
    fn release(&mut self, wake: &mut Option<Instant>) -> Option<SeatInfo> {
        // Between two terms, what still runs was given to the earlier one.
        if self.term.is_none() && !self.is_idle() {
            return None;
        }
        let (released, prepared) = (self.released(), self.prepared());
        let info = SeatInfo { released, prepared, ..self.info.clone() };
        if info == self.published || !fits(&info.released) {
            return None;
        }
        if self.term.is_some() {
            if !self.is_worth_a_write(&info) {
                self.releasable_since = None;
                return None;
            }
            let since = *self.releasable_since.get_or_insert(self.latest);
            let is_last = info.released.exceptions.is_empty();
            let complete_at = if is_last { since } else { since + STOPS_TOGETHER };
            let at = self.next_release.max(complete_at);
            if self.latest < at {
                *wake = Some(at);
                return None;
            }
            self.next_release = self.latest + RELEASE_INTERVAL;
        }
        self.releasable_since = None;
        self.published = info.clone();
        Some(info)
    }

    /// What may truthfully be said at this moment.
    fn released(&self) -> Released {
        let is_given = |running: &Running| !running.is_stopping;
        let exceptions = self.running.iter().filter(|(_, running)| !is_given(running));
        let pages = (0..=u8::MAX).map(PageIndex).filter_map(|index| {
            let page = self.pages.newest(index)?;
            Some((index, page.version.revision))
        });
        Released {
            pages: pages.collect(),
            exceptions: exceptions.map(|(task, _)| task.clone()).collect(),
        }
    }

    /// For each page on which something is to be prepared: up to the first that is not done yet.
    fn prepared(&self) -> BTreeMap<PageIndex, u64> {
        let mut prepared = BTreeMap::new();
        for Preparing { page, since, is_done } in self.preparing.values() {
            let newest = || self.pages.newest(*page).map_or(0, |page| page.version.revision);
            let until = prepared.entry(*page).or_insert_with(newest);
            if !is_done {
                *until = (*until).min(*since);
            }
        }
        prepared.into_iter().take(MOST_PREPARED_PAGES).collect()
    }

    /// Whether an allocator waits for what `info` says and the seat does not.
    fn is_worth_a_write(&self, info: &SeatInfo) -> bool {
        let said = &self.published;
        let wish = |info: &SeatInfo| (info.is_leaving, info.is_draining, info.declined.clone());
        if wish(said) != wish(info) {
            return true;
        }
        if !said.released.exceptions.is_subset(&info.released.exceptions) {
            return true;
        }
        let mut preparing = self.preparing.values();
        if preparing.any(|Preparing { page, since, .. }| {
            info.has_prepared(*page, *since) && !said.has_prepared(*page, *since)
        }) {
            return true;
        }
        let said = |index| said.released.pages.get(&index).copied().unwrap_or_default();
        // What this member cannot read may be a closed page to an allocator that knows less of the past.
        if self.pages.unreadable().any(|(index, revision)| said(index) < revision) {
            return true;
        }
        let waits_to_open = self.pages.readable().any(|(_, _, page)| !page.is_open);
        self.pages.readable().any(|(index, version, page)| {
            // G8 asks for page 0 and for the page, also where page 0 is open already.
            (waits_to_open && said(index) < version.revision)
                || self.revoked_on(page).any(|(task, revoked)| {
                    said(index) <= revoked && !info.released.exceptions.contains(task)
                })
        })
    }

    /// The tasks of the present term that are revoked, also those that were never started.
    fn revoked_on<'a>(
        &'a self,
        page: &'a super::table::Page,
    ) -> impl Iterator<Item = (&'a TaskName, u64)> {
        let order = self.term.as_ref().and_then(|term| page.orders.get(term));
        let tasks = order.into_iter().flat_map(|order| &order.tasks);
        tasks.filter_map(|(task, assignment)| Some((task, assignment.revoked?)))
    }
}

/// Releases of one member are at least this far apart, so that many tasks that stop one after the other do not cost a
/// write each.
pub(super) const RELEASE_INTERVAL: Duration = Duration::from_millis(50);

/// A release waits this long for the other tasks that are asked to stop: those of one table write stop within it,
/// unless their work takes time. A task that misses it waits for [`RELEASE_INTERVAL`].
const STOPS_TOGETHER: Duration = Duration::from_millis(2);

/// Of a seat's 4 KiB. What has been released has three quarters.
const MOST_DECLINED_BYTES: usize = 512;

/// A seat says of no more pages what is prepared. That takes another 448 bytes.
const MOST_PREPARED_PAGES: usize = 16;

/// Whether the seat can hold it. What does not fit is not said at all.
fn fits(released: &Released) -> bool {
    const MOST_BYTES: usize = 3 * 1024;
    let names: usize = released.exceptions.iter().map(|task| task.as_str().len() + 3).sum();
    names + released.pages.len() * 28 <= MOST_BYTES
}
