//! What is true of a group, by what evidence: the one judgement that all commands show. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use incumbent::group_survey::{
    ConfigView, GroupView, PageState, PageView, SeatView, TaskKind, TaskView,
};
use incumbent::survey::{Registration, State};
use jiff::Timestamp;

use self::tasks::{task_status, unowned_status};
use crate::model::format::name;
use crate::model::lock_status::{Evidence, LockStatus};

mod tasks;
#[cfg(test)]
mod tests;

/// What is known of a group at one moment.
#[derive(Clone, Debug)]
pub(crate) struct GroupStatus {
    /// What is true of the allocators' Lease. `None` if it does not exist.
    pub(crate) allocator: Option<LockStatus>,
    /// Whom that Lease names, in full.
    pub(crate) allocator_name: Option<String>,
    pub(crate) kind: Option<TaskKind>,
    pub(crate) list: List,
    /// In the order of their names.
    pub(crate) members: Vec<MemberStatus>,
    pub(crate) tasks: Vec<TaskStatus>,
    /// Whether people ask that tasks stay. `None` if members do not read what `GROUP.config` says.
    pub(crate) is_frozen: Option<bool>,
    /// The ConfigMaps of the pages whose tasks cannot be seen.
    pub(crate) hidden_pages: Vec<String>,
    /// For how long a task may wait before it counts as stuck.
    pub(crate) bound: Duration,
    /// Whether the table can be seen.
    pub(crate) is_visible: bool,
}

/// Where the list of tasks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// The table says how many slots or permits there are.
    Numbered,
    /// `GROUP.config` lists the tasks. So many tasks of the table are not in it.
    Config { unlisted: usize },
    /// The caller names the tasks that the members' program names.
    Given,
    /// The members' program names them: a task that the table does not name cannot be seen.
    Program,
    /// Members keep what they read of `GROUP.config` before it got a mistake, or lost its label.
    Unread,
}

/// A member, or the seat that one has left.
#[derive(Clone, Debug)]
pub(crate) struct MemberStatus {
    /// In full, not as people are to see it.
    pub(crate) name: String,
    pub(crate) seat: LockStatus,
    pub(crate) address: Option<String>,
    pub(crate) capacity: Option<u32>,
    pub(crate) version: Option<String>,
    pub(crate) zone: Option<String>,
    /// Why it should have no tasks, or others.
    pub(crate) wishes: Vec<String>,
    /// Whether an allocator gives tasks to it.
    pub(crate) takes_tasks: bool,
    /// How many tasks the table gives to it, those that it was asked to stop among them.
    pub(crate) tasks: usize,
    pub(crate) stopping: usize,
}

/// A task, and who has it.
#[derive(Clone, Debug)]
pub(crate) struct TaskStatus {
    pub(crate) name: String,
    pub(crate) state: TaskState,
    pub(crate) owner: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) token: Option<u64>,
    /// For how long nobody may work on it, or its owner has been asked to stop.
    pub(crate) waits: Option<Waits>,
    /// The member that prepares it, and is to have it next.
    pub(crate) next: Option<String>,
    /// The member that people want to have it.
    pub(crate) pin: Option<String>,
    /// More about the state, in a few words.
    pub(crate) because: Option<&'static str>,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TaskState {
    /// The table gives it to a member that holds its seat.
    Assigned,
    /// The same, and the member has not renewed for two thirds of its term.
    Late,
    /// It cannot be seen whether it has an owner that holds its seat.
    Unknown,
    /// A permit that no member has.
    Free,
    /// Its owner was asked to stop.
    Stopping,
    /// The table gives it to a term that is over.
    Lost,
    /// The table gives it to no member.
    Unowned,
}

/// For how long a task has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// No shorter than this.
    pub(crate) at_least: Duration,
    /// Whether this process has seen it, or clocks say so.
    pub(crate) evidence: Evidence,
}

impl GroupStatus {
    pub(crate) fn of(view: &GroupView, now: Timestamp, bound: Option<Duration>) -> Self {
        let list = list(view);
        let mut tasks: Vec<_> =
            view.tasks.iter().map(|task| task_status(view, task, now)).collect();
        if list.is_known() {
            let unowned = view.unowned.iter();
            tasks.extend(unowned.map(|task| unowned_status(view, list, task, now)));
            tasks.sort_by_key(|task| in_order(&task.name));
        }
        let mut loads: BTreeMap<&str, Load> = BTreeMap::new();
        for task in &view.tasks {
            let load = loads.entry(&task.owner).or_default();
            load.tasks += 1;
            load.stopping += usize::from(task.revoked.is_some());
        }
        let load = |member: &str| loads.get(member).copied().unwrap_or_default();
        let members = view.seats.iter();
        let members = members.map(|seat| member_status(view, seat, load(&seat.member), now));
        let is_hidden = |page: &&PageView| !matches!(page.state, PageState::Open);
        let hidden_pages = view.pages.iter().filter(is_hidden);
        Self {
            allocator: view.allocator.as_ref().map(|lock| LockStatus::of(lock, now)),
            allocator_name: view.allocator.as_ref().and_then(|lock| lock.view.holder.clone()),
            kind: view.kind,
            list,
            members: members.collect(),
            tasks,
            is_frozen: match &view.config {
                Some(config) => config.is_obeyed().then_some(config.is_frozen),
                None => Some(false),
            },
            hidden_pages: hidden_pages.map(|page| page.config_map.clone()).collect(),
            bound: bound.unwrap_or_else(|| usual_bound(view)),
            is_visible: view.blind.is_empty(),
        }
    }

    /// The members that hold their seats.
    pub(crate) fn present(&self) -> impl Iterator<Item = &MemberStatus> {
        self.members.iter().filter(|member| member.seat.is_led())
    }

    /// The tasks on which nobody may work, or that are to move.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &TaskStatus> {
        self.tasks.iter().filter(|task| task.waits.is_some())
    }

    /// Those that have waited for too long.
    pub(crate) fn stuck(&self) -> impl Iterator<Item = &TaskStatus> {
        self.waiting().filter(|task| task.is_stuck(self.bound))
    }

    pub(crate) fn count(&self, state: TaskState) -> usize {
        self.tasks.iter().filter(|task| task.state == state).count()
    }

    /// In one word.
    pub(crate) fn word(&self) -> &'static str {
        let is_hidden = !self.list.is_known() && !self.hidden_pages.is_empty();
        match () {
            () if !self.is_visible => "Unknown",
            () if self.stuck().next().is_some() => "Stuck",
            () if is_hidden || self.count(TaskState::Unknown) > 0 => "Unknown",
            () if self.waiting().next().is_some() => "Moving",
            () if self.tasks.is_empty() => "Empty",
            () => "Settled",
        }
    }

    /// Why it is unknown whether each task has an owner. `None` if everything that this takes can be seen.
    pub(crate) fn doubt(&self) -> Option<String> {
        if !self.is_visible {
            return Some("the table or the seats cannot be seen".to_owned());
        }
        let mut unknown = self.tasks.iter().filter(|task| task.state == TaskState::Unknown);
        if let Some(first) = unknown.next() {
            let count = 1 + unknown.count();
            let because = first.because.unwrap_or("its owner's seat cannot be seen");
            let task_name = name(&first.name);
            return Some(format!(
                "of {count} tasks it is unknown, for example of {task_name}: {because}"
            ));
        }
        match (self.list, self.hidden_pages.first()) {
            (List::Program, Some(page)) => Some(format!(
                "no member obeys configmap/{page} as far as can be seen, and only the members' program names its tasks"
            )),
            (List::Program, None) => Some(
                "only the members' program names the tasks, and one that is not in the table cannot be seen".to_owned(),
            ),
            (List::Unread, _) => Some(
                "members do not read GROUP.config as it is, so which tasks they have cannot be seen"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether these tasks, or all that the group has, have owners that were seen to live.
    pub(crate) fn is_surely_assigned(&self, tasks: &[String]) -> bool {
        match tasks {
            [] => self.doubt().is_none() && self.are_known_ones_assigned(),
            tasks => {
                let known = |name: &String| self.tasks.iter().find(|task| task.name == *name);
                // A permit may be free, unless it is asked for by name.
                let is_met = |task: &TaskStatus| {
                    task.state != TaskState::Free && self.is_assigned_or_free(task)
                };
                self.is_visible && tasks.iter().all(|name| known(name).is_some_and(is_met))
            }
        }
    }

    /// The same of the tasks that are known, whether there may be more or not.
    pub(crate) fn are_known_ones_assigned(&self) -> bool {
        let mut tasks = self.tasks.iter();
        let all_are = tasks.all(|task| self.is_assigned_or_free(task));
        self.is_visible && !self.tasks.is_empty() && all_are
    }

    fn is_assigned_or_free(&self, task: &TaskStatus) -> bool {
        match task.state {
            TaskState::Assigned | TaskState::Late => {
                let owner = task.owner.as_ref().and_then(|owner| self.member(owner));
                owner.is_some_and(|owner| owner.seat.is_surely_led())
            }
            TaskState::Free => true,
            _ => false,
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&MemberStatus> {
        let found = self.members.binary_search_by(|member| member.name.as_str().cmp(name));
        found.ok().map(|index| &self.members[index])
    }

    /// Whether this member is surely not there. If seats cannot be seen, that is unknown.
    pub(crate) fn is_absent(&self, name: &str) -> bool {
        let may_be_there =
            |member: &MemberStatus| member.seat.is_led() || member.seat.state == State::Unknown;
        let is_hidden = self.hidden_owners().any(|owner| owner == name);
        self.is_visible && !is_hidden && !self.member(name).is_some_and(may_be_there)
    }

    /// Whether each member that holds its seat is seen to do so.
    pub(crate) fn knows_members(&self) -> bool {
        let is_judged = |member: &MemberStatus| member.seat.state != State::Unknown;
        let all_are = self.members.iter().all(is_judged);
        self.is_visible && all_are && self.hidden_owners().next().is_none()
    }

    /// Owners of tasks of which it is unknown whether they hold their seats.
    pub(crate) fn hidden_owners(&self) -> impl Iterator<Item = &str> {
        let unknown = self.tasks.iter().filter(|task| task.state == TaskState::Unknown);
        unknown.filter_map(|task| task.owner.as_deref())
    }

    /// Whether looking longer may make this more certain.
    pub(crate) fn is_open(&self) -> bool {
        // Where no wall clock says whether a term is over, looking for as long as it lasts does.
        let is_unsure = |seat: &LockStatus| {
            matches!(seat.evidence, Evidence::Clocks | Evidence::Nothing)
                || seat.state == State::Late
        };
        let is_undecided = |task: &TaskStatus| task.waits.is_some() && !task.is_stuck(self.bound);
        self.members.iter().any(|member| is_unsure(&member.seat))
            || self.allocator.as_ref().is_some_and(is_unsure)
            || self.tasks.iter().any(is_undecided)
    }
}

impl TaskStatus {
    fn is_stuck(&self, bound: Duration) -> bool {
        self.waits.is_some_and(|waits| waits.at_least > bound)
    }
}

impl List {
    /// Whether all tasks of the group are known.
    pub(crate) fn is_known(self) -> bool {
        !matches!(self, Self::Program | Self::Unread)
    }
}

impl TaskState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Assigned => "Assigned",
            Self::Late => "Late",
            Self::Unknown => "Unknown",
            Self::Free => "Free",
            Self::Stopping => "Stopping",
            Self::Lost => "Lost",
            Self::Unowned => "Unowned",
        }
    }
}

/// The longest lease of a member, and two retry periods: 19 s with the usual timing.
fn usual_bound(view: &GroupView) -> Duration {
    let leases = view.seats.iter().filter(|seat| seat.lock.view.registration == Registration::Term);
    let longest = leases.filter_map(|seat| seat.lock.view.lease_duration).max();
    let lease = longest.unwrap_or(A_LEASE);
    lease + lease.mul_f64(4.0 / 15.0)
}

const A_LEASE: Duration = Duration::from_secs(15);

/// Where the tasks are listed, as far as can be told.
fn list(view: &GroupView) -> List {
    if view.kind.is_some_and(|kind| kind.count().is_some()) {
        return List::Numbered;
    }
    if view.expected.is_some() {
        return List::Given;
    }
    let Some(config) = &view.config else { return List::Program };
    if !config.is_obeyed() {
        return List::Unread;
    }
    let Some(listed) = &config.tasks else { return List::Program };
    let is_unlisted = |task: &&TaskView| task.revoked.is_none() && !listed.contains(&task.name);
    let unlisted: Vec<_> = view.tasks.iter().filter(is_unlisted).collect();
    // The allocator has written the page since, and left them there: it goes by another list.
    let is_later = |page: &PageView| page.written.zip(config.written).is_some_and(|(p, c)| p > c);
    let is_kept = |task: &&TaskView| view.page(task.page).is_some_and(is_later);
    match unlisted.iter().any(is_kept) {
        true => List::Program,
        false => List::Config { unlisted: unlisted.len() },
    }
}

/// What people ask for, if members read it.
pub(crate) fn obeyed(view: &GroupView) -> Option<&ConfigView> {
    view.config.as_ref().filter(|config| config.is_obeyed())
}

/// How many tasks the table gives to a member.
#[derive(Clone, Copy, Default)]
struct Load {
    tasks: usize,
    stopping: usize,
}

fn member_status(view: &GroupView, seat: &SeatView, load: Load, now: Timestamp) -> MemberStatus {
    let drained = obeyed(view).is_some_and(|config| config.drained.contains(&seat.member));
    let declines = seat.declined.len();
    let wishes = [
        drained.then(|| "drained".to_owned()),
        seat.is_draining.then(|| "draining".to_owned()),
        seat.is_leaving.then(|| "leaving".to_owned()),
        (declines > 0).then(|| format!("declines {declines}")),
    ];
    MemberStatus {
        name: seat.member.clone(),
        seat: LockStatus::of(&seat.lock, now),
        address: seat.lock.view.address.as_deref().map(name),
        capacity: seat.capacity,
        version: seat.version.as_deref().map(name),
        zone: seat.zone.as_deref().map(name),
        wishes: wishes.into_iter().flatten().collect(),
        takes_tasks: !drained && !seat.is_draining && !seat.is_leaving,
        tasks: load.tasks,
        stopping: load.stopping,
    }
}

/// Numbers by their size, names by their letters.
fn in_order(name: &str) -> (u64, String) {
    let number = name.parse().ok().filter(|number: &u64| number.to_string() == name);
    (number.unwrap_or(u64::MAX), name.to_owned())
}

/// How many members run each version, where they say so.
pub(crate) fn versions(status: &GroupStatus) -> BTreeMap<String, usize> {
    let mut versions = BTreeMap::new();
    for version in status.present().filter_map(|member| member.version.clone()) {
        *versions.entry(version).or_default() += 1;
    }
    versions
}
