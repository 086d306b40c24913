//! What a member knows of its group, for those who ask. It reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::group::{Kind, Page, PageIndex, TaskName};
use incumbent_core::{FencingToken, Identity, Instant};

/// The owner of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The member.
    pub member: String,
    /// Where it can be reached, if it says so.
    pub address: Option<String>,
    /// The token that it works with.
    pub fencing_token: FencingToken,
    /// Whether it has been asked to stop, so that another member gets the task.
    pub is_revoked: bool,
    /// How long this answer is valid without further news.
    pub valid_for: Duration,
}

/// A member that holds its seat, or owns tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Its name.
    pub name: String,
    /// Where it can be reached, if it says so.
    pub address: Option<String>,
    /// How much it can do, compared with others. Zero if nothing shows its seat.
    pub capacity: u32,
    /// The version of its program, if it says so.
    pub version: Option<String>,
    /// Where it runs, if it says so.
    pub zone: Option<String>,
    /// Whether it gives its tasks to others: it drains, is unhealthy, or leaves.
    pub is_draining: bool,
    /// Its tasks.
    pub tasks: Vec<String>,
}

/// The current state of a group, as far as one member knows it, for metrics and status pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// How many tasks, slots or permits there are. `None` if the list was not read yet.
    pub tasks: Option<usize>,
    /// How many tasks run in this member. Tasks that were asked to stop count until they have
    /// stopped.
    pub own: usize,
    /// How many of the listed tasks have no owner. A permit without an owner is free, and does not count.
    pub unowned: usize,
    /// Tasks that have been without an owner, or with an owner that was asked to stop, for too
    /// long.
    pub stuck: Vec<StuckTask>,
    /// How many times a task has moved from one member to another since this member started.
    pub moves: u64,
    /// The version of the table: the highest `resourceVersion` of its pages. `None` if there is none.
    pub generation: Option<u64>,
    /// Whether this member writes the table.
    pub allocates: bool,
    /// Pages of the table that have no room for all of their tasks. Only the allocator knows of them.
    pub full: Vec<FullPage>,
    /// What prevents this member, or the allocator in it, from working, with a hint. `None` if
    /// nothing does.
    pub trouble: Option<String>,
}

/// A page of the table that has no room for all of its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FullPage {
    /// The ConfigMap that it is.
    pub config_map: String,
    /// How many listed tasks have no owner because they find no room on it.
    pub tasks: usize,
}

/// A task that has waited for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StuckTask {
    /// Its name.
    pub name: String,
    /// The member that was asked to stop and has not confirmed that it did. `None` if the task has
    /// no owner.
    pub owner: Option<String>,
    /// How long this member has known that.
    pub waits_for: Duration,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    pages: BTreeMap<PageIndex, (u64, Arc<Page>)>,
    wanted: Option<Wanted>,
    /// The tasks of the group: of the kind and number that page 0 says, whatever this member would have.
    listed: Option<BTreeSet<TaskName>>,
    /// When the watch of the table showed that it lives.
    heard: Instant,
    own: usize,
    moves: u64,
    /// Who had each task last.
    last_owners: BTreeMap<TaskName, Identity>,
    /// Tasks without an owner, or whose owner was asked to stop, and since when.
    waiting: BTreeMap<TaskName, Waiting>,
    allocates: bool,
    full: Vec<FullPage>,
    trouble: Option<String>,
    trouble_of_list: Option<String>,
    /// What is wrong with the list of objects, each with what it is about.
    trouble_of_objects: BTreeMap<&'static str, String>,
}

/// What this member would make of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    kind: Kind,
    /// The tasks, where they have names.
    names: Vec<TaskName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    /// The owner that was asked to stop, and the token that it works with.
    owner: Option<(Identity, FencingToken)>,
    since: Instant,
}

impl Board {
    pub(super) fn show(&mut self, now: Instant, index: PageIndex, page: Option<(u64, Page)>) {
        let page = page.map(|(revision, page)| (revision, Arc::new(page)));
        let kind = self.kind();
        let before = match &page {
            Some(page) => self.pages.insert(index, page.clone()),
            None => self.pages.remove(&index),
        };
        if let Some((_, page)) = &page {
            self.count(now, page);
        }
        if let Some((_, before)) = before {
            self.count_lost(now, &before, page.as_ref().map(|(_, page)| &**page));
        }
        if self.kind() != kind {
            self.list_again(now);
        }
    }

    pub(super) fn list(&mut self, now: Instant, kind: Kind, names: impl Iterator<Item = TaskName>) {
        self.wanted = Some(Wanted { kind, names: names.collect() });
        self.list_again(now);
    }

    fn list_again(&mut self, now: Instant) {
        self.listed = self.tasks();
        let listed = self.listed.clone().filter(|_| self.tasks_need_owners()).unwrap_or_default();
        self.waiting.retain(|task, waiting| waiting.owner.is_some() || listed.contains(task));
        let pages: Vec<_> = self.pages.values().map(|(_, page)| Arc::clone(page)).collect();
        let owned: BTreeSet<_> = pages.iter().flat_map(|page| names(page)).collect();
        for task in listed.iter().filter(|task| !owned.contains(task)) {
            self.wait(now, task, None);
        }
    }

    /// What the tasks of the table are, as its page 0 says.
    pub(super) fn kind(&self) -> Option<Kind> {
        let (_, page) = self.pages.get(&PageIndex::FIRST)?;
        page.shape().map(|shape| shape.kind)
    }

    /// What the tasks of the table are, or of the one that this member would make.
    fn kind_of_tasks(&self) -> Option<Kind> {
        self.kind().or_else(|| self.wanted.as_ref().map(|wanted| wanted.kind))
    }

    /// A permit without an owner is free.
    fn tasks_need_owners(&self) -> bool {
        !matches!(self.kind_of_tasks(), Some(Kind::Permits(_)))
    }

    fn tasks(&self) -> Option<BTreeSet<TaskName>> {
        match self.kind_of_tasks()? {
            Kind::Named => {
                let wanted = self.wanted.as_ref();
                let wanted = wanted.filter(|wanted| wanted.kind == Kind::Named)?;
                Some(wanted.names.iter().cloned().collect())
            }
            kind => Some(kind.tasks().collect()),
        }
    }

    /// In which way the table differs from what this member would have, which changes nothing of the table.
    pub(super) fn difference(&self) -> Option<String> {
        let (table, wanted) = (self.kind()?, self.wanted.as_ref()?.kind);
        (table != wanted).then(|| {
            format!(
                "the table has {}, and this program asks for {}: the table counts, so use the same number in all \
                 programs; to change it, stop all members and delete page 0 of the table, the ConfigMap GROUP.tasks",
                words_of(table),
                words_of(wanted)
            )
        })
    }

    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Returns whether it has changed.
    pub(super) fn run(&mut self, own: usize) -> bool {
        std::mem::replace(&mut self.own, own) != own
    }

    pub(super) fn allocate(&mut self, allocates: bool) {
        self.allocates = allocates;
    }

    pub(super) fn fill(&mut self, full: Vec<FullPage>) {
        self.full = full;
    }

    pub(super) fn full(&self) -> &[FullPage] {
        &self.full
    }

    /// Returns whether it is news.
    pub(super) fn tell(&mut self, trouble: Option<&str>) -> bool {
        let is_news = self.trouble.as_deref() != trouble;
        self.trouble = trouble.map(str::to_owned);
        is_news
    }

    /// Returns whether it is news.
    pub(super) fn tell_of_list(&mut self, trouble: Option<String>) -> bool {
        let is_news = self.trouble_of_list != trouble;
        self.trouble_of_list = trouble;
        is_news
    }

    /// Returns whether it is news.
    pub(super) fn tell_of_objects(&mut self, about: &'static str, trouble: Option<String>) -> bool {
        let before = match trouble.clone() {
            Some(trouble) => self.trouble_of_objects.insert(about, trouble),
            None => self.trouble_of_objects.remove(about),
        };
        before != trouble
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.values().all(|(_, page)| page.orders.is_empty())
    }

    /// Counts moves to this page, and since when its tasks wait.
    fn count(&mut self, now: Instant, page: &Page) {
        for (term, _, task, given) in page.entries() {
            let before = self.last_owners.get(task);
            if before != Some(&term.member) {
                self.moves += u64::from(before.is_some());
                self.last_owners.insert(task.clone(), term.member.clone());
            }
            match given.revoked {
                Some(_) => self.wait(now, task, Some((term.member.clone(), given.token))),
                None => drop(self.waiting.remove(task)),
            }
        }
    }

    /// Tasks of an earlier content of a page have no owner any more, if no page names them.
    fn count_lost(&mut self, now: Instant, before: &Page, after: Option<&Page>) {
        let kept: BTreeSet<_> = after.into_iter().flat_map(names).collect();
        for task in names(before).filter(|task| !kept.contains(task)) {
            if self.pages.values().any(|(_, page)| page.owner_of(task).is_some()) {
                continue;
            }
            let is_listed = self.listed.as_ref().is_some_and(|listed| listed.contains(task));
            match is_listed && self.tasks_need_owners() {
                true => self.wait(now, task, None),
                false => drop(self.waiting.remove(task)),
            }
        }
    }

    /// A task has no owner, or one that was asked to stop. If that is known, it has waited since then.
    fn wait(&mut self, now: Instant, task: &TaskName, owner: Option<(Identity, FencingToken)>) {
        if self.waiting.get(task).is_none_or(|known| known.owner != owner) {
            self.waiting.insert(task.clone(), Waiting { owner, since: now });
        }
    }

    /// Who owns the task. `None` also where too long ago something was heard of the table, or where this member has had
    /// no seat for so long that it may be cut off: it is valid for `seat_valid_for`.
    pub(super) fn owner_of(
        &self,
        now: Instant,
        task: &TaskName,
        seat_valid_for: Duration,
    ) -> Option<Owner> {
        let heard_until = self.heard + LONGEST_SILENCE;
        let valid_for = heard_until.saturating_since(now).min(seat_valid_for);
        if valid_for.is_zero() {
            return None;
        }
        let mut pages = self.pages.values();
        let (term, order, given) = pages.find_map(|(_, page)| page.owner_of(task))?;
        Some(Owner {
            member: term.member.to_string(),
            address: order.address.clone(),
            fencing_token: given.token,
            is_revoked: given.revoked.is_some(),
            valid_for,
        })
    }

    /// The tasks of each member, with its address.
    pub(super) fn members(&self) -> BTreeMap<String, GroupMember> {
        let mut members: BTreeMap<String, GroupMember> = BTreeMap::new();
        for (term, order, task, _) in self.pages.values().flat_map(|(_, page)| page.entries()) {
            let name = term.member.to_string();
            let known = members.entry(name.clone()).or_default();
            known.name = name;
            known.address.clone_from(&order.address);
            known.tasks.push(task.to_string());
        }
        members
    }

    pub(super) fn status(&self, now: Instant, bound: Duration) -> GroupStatus {
        let unowned = self.waiting.values().filter(|waiting| waiting.owner.is_none());
        GroupStatus {
            tasks: self.listed.as_ref().map(BTreeSet::len),
            own: self.own,
            unowned: unowned.count(),
            stuck: self.stuck(now, bound),
            moves: self.moves,
            generation: self.pages.values().map(|(revision, _)| *revision).max(),
            allocates: self.allocates,
            full: self.full.clone(),
            trouble: self.troubles().next(),
        }
    }

    fn troubles(&self) -> impl Iterator<Item = String> {
        let of_list = self.trouble_of_list.iter().chain(self.trouble_of_objects.values());
        of_list.chain(&self.trouble).cloned().chain(self.difference())
    }

    pub(super) fn stuck(&self, now: Instant, bound: Duration) -> Vec<StuckTask> {
        let waiting = self.waiting.iter().map(|(task, Waiting { owner, since })| StuckTask {
            name: task.to_string(),
            owner: owner.as_ref().map(|(member, _)| member.to_string()),
            waits_for: now.saturating_since(*since),
        });
        waiting.filter(|task| task.waits_for >= bound).collect()
    }

    /// When the next task will be stuck, if nothing changes.
    pub(super) fn next_stuck_at(&self, now: Instant, bound: Duration) -> Option<Instant> {
        let moments = self.waiting.values().map(|waiting| waiting.since + bound);
        moments.filter(|moment| *moment > now).min()
    }
}

fn words_of(kind: Kind) -> String {
    match kind {
        Kind::Named => "tasks with names".to_owned(),
        Kind::Slots(count) => format!("{count} slots"),
        Kind::Permits(count) => format!("{count} permits"),
    }
}

/// The tasks that have an owner on this page.
fn names(page: &Page) -> impl Iterator<Item = &TaskName> {
    page.entries().map(|(_, _, task, _)| task)
}

/// How long the watch of the table may show nothing. The API server sends a bookmark about once a minute, so that a watch
/// that is silent for longer may be broken.
const LONGEST_SILENCE: Duration = Duration::from_secs(75);

#[cfg(test)]
mod tests;
