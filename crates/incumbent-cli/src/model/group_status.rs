//! What is true of a group, by what evidence: the one judgement that all commands show. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use incumbent::group_survey::{
    GroupView, PageState, PageView, SeatView, TaskKind, TaskView, UnownedView,
};
use incumbent::survey::{ObservedLock, Registration, State};
use jiff::Timestamp;

use crate::model::format::name;
use crate::model::lock_status::{Evidence, LockStatus, since};

#[cfg(test)]
mod tests;

/// What is known of a group at one moment.
#[derive(Clone, Debug)]
pub(crate) struct GroupStatus {
    /// What is true of the allocators' Lease. `None` if it does not exist.
    pub(crate) allocator: Option<LockStatus>,
    pub(crate) kind: Option<TaskKind>,
    pub(crate) list: List,
    pub(crate) members: Vec<MemberStatus>,
    pub(crate) tasks: Vec<TaskStatus>,
    pub(crate) is_frozen: bool,
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
    /// The members' program names them: a task that the table does not name cannot be seen.
    Program,
}

/// A member, or the seat that one has left.
#[derive(Clone, Debug)]
pub(crate) struct MemberStatus {
    pub(crate) name: String,
    pub(crate) seat: LockStatus,
    pub(crate) address: Option<String>,
    pub(crate) capacity: Option<u32>,
    pub(crate) version: Option<String>,
    pub(crate) zone: Option<String>,
    /// Why it should have no tasks, or others.
    pub(crate) wishes: Vec<String>,
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
    /// The table gives it to a member of which nothing can be seen.
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
        if list != List::Program {
            let unowned = view.unowned.iter();
            tasks.extend(unowned.map(|task| unowned_status(view, task, now)));
            tasks.sort_by_key(|task| in_order(&task.name));
        }
        Self {
            allocator: view.allocator.as_ref().map(|lock| LockStatus::of(lock, now)),
            kind: view.kind,
            list,
            members: view.seats.iter().map(|seat| member_status(view, seat, now)).collect(),
            tasks,
            is_frozen: view.config.as_ref().is_some_and(|config| config.is_frozen),
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
        match () {
            () if !self.is_visible => "Unknown",
            () if self.stuck().next().is_some() => "Stuck",
            () if self.waiting().next().is_some() => "Moving",
            () if self.tasks.is_empty() => "Empty",
            () => "Settled",
        }
    }

    /// Whether all tasks that are known have an owner that was seen to live.
    pub(crate) fn is_surely_assigned(&self, task: Option<&str>) -> bool {
        let mut asked =
            self.tasks.iter().filter(|known| task.is_none_or(|task| known.name == task));
        let is_met = |known: &TaskStatus| match known.state {
            TaskState::Assigned | TaskState::Late => {
                let owner =
                    self.members.iter().find(|member| Some(&member.name) == known.owner.as_ref());
                owner.is_some_and(|owner| owner.seat.is_surely_led())
            }
            // A permit may be free, unless it is asked for by name.
            TaskState::Free => task.is_none(),
            _ => false,
        };
        let any = asked.clone().next().is_some();
        self.is_visible && any && asked.all(is_met)
    }

    /// Whether looking longer may make this more certain.
    pub(crate) fn is_open(&self) -> bool {
        // Where no wall clock says whether a term is over, looking for as long as it lasts does.
        let by_clocks =
            |seat: &LockStatus| matches!(seat.evidence, Evidence::Clocks | Evidence::Nothing);
        let is_undecided = |task: &TaskStatus| task.waits.is_some() && !task.is_stuck(self.bound);
        self.members.iter().any(|member| by_clocks(&member.seat))
            || self.allocator.as_ref().is_some_and(by_clocks)
            || self.tasks.iter().any(is_undecided)
    }
}

impl TaskStatus {
    fn is_stuck(&self, bound: Duration) -> bool {
        self.waits.is_some_and(|waits| waits.at_least > bound)
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
    let Some(config) = &view.config else { return List::Program };
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

fn member_status(view: &GroupView, seat: &SeatView, now: Timestamp) -> MemberStatus {
    let drained = view.config.iter().any(|config| config.drained.contains(&seat.member));
    let declines = seat.declined.len();
    let wishes = [
        drained.then(|| "drained".to_owned()),
        seat.is_draining.then(|| "draining".to_owned()),
        seat.is_leaving.then(|| "leaving".to_owned()),
        (declines > 0).then(|| format!("declines {declines}")),
    ];
    let own = || view.tasks.iter().filter(|task| task.owner == seat.member);
    MemberStatus {
        name: name(&seat.member),
        seat: LockStatus::of(&seat.lock, now),
        address: seat.lock.view.address.as_deref().map(name),
        capacity: seat.capacity,
        version: seat.version.as_deref().map(name),
        zone: seat.zone.as_deref().map(name),
        wishes: wishes.into_iter().flatten().collect(),
        tasks: own().count(),
        stopping: own().filter(|task| task.revoked.is_some()).count(),
    }
}

fn task_status(view: &GroupView, task: &TaskView, now: Timestamp) -> TaskStatus {
    let term = term_of(view, task, now);
    let since_written = |page: u8| view.page(page).and_then(|page| written_for(page.written, now));
    let (state, waits, because) = match (term, task.revoked) {
        (Term::Over { waits, because }, _) => (TaskState::Lost, Some(waits), Some(because)),
        (_, Some(revoked)) => {
            let waits = Waits::longer(task.seen_for, since_written(task.page));
            (TaskState::Stopping, Some(waits), Some(stop_reason(view, task, revoked)))
        }
        (Term::Held, None) => (TaskState::Assigned, None, None),
        (Term::Late, None) => (TaskState::Late, None, Some("its owner has not renewed in time")),
        (Term::Unknown, None) => {
            (TaskState::Unknown, None, Some("its owner's seat cannot be seen"))
        }
    };
    TaskStatus {
        name: name(&task.name),
        state,
        owner: Some(name(&task.owner)),
        address: task.address.as_deref().map(name),
        token: Some(task.fencing_token.0),
        waits,
        pin: pin(view, &task.name),
        because,
    }
}

fn unowned_status(view: &GroupView, task: &UnownedView, now: Timestamp) -> TaskStatus {
    let page_view = view.page(task.page);
    // It was listed and had no owner when the later of both was written, and neither has changed since.
    let listed = match view.kind.is_some_and(|kind| kind.count().is_some()) {
        true => Some(Duration::MAX),
        false => view.config.as_ref().and_then(|config| written_for(config.written, now)),
    };
    let page_written = page_view.map(|page| written_for(page.written, now));
    let by_clock = match page_written {
        Some(written) => written.zip(listed).map(|(page, list)| page.min(list)),
        None => listed,
    };
    let because = match page_view.map(|page| &page.state) {
        Some(PageState::Unreadable(_)) => Some("its page of the table cannot be read"),
        Some(PageState::NotOpen) => Some("its page of the table is not open yet"),
        Some(PageState::OtherTable) => Some("its page belongs to another table"),
        Some(PageState::Missing) => Some("its page of the table is missing"),
        None => Some("there is no table"),
        _ => None,
    };
    let is_permit = matches!(view.kind, Some(TaskKind::Permits(_)));
    TaskStatus {
        name: name(&task.name),
        state: if is_permit { TaskState::Free } else { TaskState::Unowned },
        owner: None,
        address: None,
        token: None,
        waits: (!is_permit).then(|| Waits::longer(task.seen_for, by_clock)),
        pin: pin(view, &task.name),
        because: because.filter(|_| !is_permit),
    }
}

fn pin(view: &GroupView, task: &str) -> Option<String> {
    view.config.as_ref()?.pins.get(task).map(|member| name(member))
}

/// What a task waits for that its owner was asked to stop.
fn stop_reason(view: &GroupView, task: &TaskView, revoked: u64) -> &'static str {
    let Some(seat) = view.seat(&task.owner) else { return "its owner's seat cannot be seen" };
    let has_released = seat.released.get(&task.page).is_some_and(|version| *version > revoked);
    match has_released || seat.is_leaving {
        _ if seat.still_running.contains(&task.name) => "its work still runs",
        true => "it has stopped; the allocator is to assign it",
        false => "its owner has not confirmed that it stopped",
    }
}

/// What is true of the term that a task was given to.
enum Term {
    Held,
    Late,
    Unknown,
    Over { waits: Waits, because: &'static str },
}

fn term_of(view: &GroupView, task: &TaskView, now: Timestamp) -> Term {
    let none = Waits { at_least: Duration::ZERO, evidence: Evidence::Record };
    let Some(seat) = view.seat(&task.owner) else {
        return match view.blind.is_empty() {
            true => Term::Over { waits: none, because: "its owner's seat does not exist" },
            false => Term::Unknown,
        };
    };
    let holds = seat.lock.view.token == Some(task.term) && seat.lock.view.holder.is_some();
    if seat.uid != task.seat || !holds {
        // A vacant seat keeps the token of its last term; another term has a higher one.
        let because = "its owner's term has ended";
        return match seat.uid != task.seat || seat.last_token >= task.term {
            true => Term::Over { waits: ended_for(&seat.lock, now), because },
            false => Term::Unknown,
        };
    }
    match seat.lock.state {
        State::Held | State::Claimed => Term::Held,
        State::Late => Term::Late,
        State::Expired => {
            let waits = ended_for(&seat.lock, now);
            Term::Over { waits, because: "its owner does not renew its seat any more" }
        }
        _ => Term::Unknown,
    }
}

/// For how long the last term on a seat has been over, at least.
fn ended_for(seat: &ObservedLock, now: Timestamp) -> Waits {
    let by_clock = seat.view.renewed.map(|renewed| since(renewed, now));
    match seat.state {
        State::Expired if seat.is_certain => {
            Waits { at_least: seat.over_for.unwrap_or_default(), evidence: Evidence::Watched }
        }
        State::Expired => {
            let lease = seat.view.lease_duration.unwrap_or(A_LEASE);
            let over = by_clock.unwrap_or_default().saturating_sub(lease);
            Waits { at_least: over, evidence: Evidence::Clocks }
        }
        // Its last write was the one that made it vacant, or that began the next term.
        _ => Waits::longer(seat.beat_age.unwrap_or(seat.looked_for), by_clock),
    }
}

impl Waits {
    /// The longer of what was seen and what clocks say: each of both is too short rather than too long.
    fn longer(seen: Duration, by_clock: Option<Duration>) -> Self {
        match by_clock.filter(|by_clock| *by_clock > seen) {
            Some(at_least) => Self { at_least, evidence: Evidence::Clocks },
            None => Self { at_least: seen, evidence: Evidence::Watched },
        }
    }

    /// With `~` where it rests on wall clocks.
    pub(crate) fn mark(self) -> &'static str {
        if self.evidence == Evidence::Clocks { "~" } else { "" }
    }
}

/// How long ago that was, at least: the API server states whole seconds.
fn written_for(written: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    written.map(|written| since(written, now).saturating_sub(Duration::from_secs(1)))
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
