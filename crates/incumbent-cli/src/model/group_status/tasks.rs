//! What is true of a task, and for how long at least it has waited. Pure.

use std::time::Duration;

use incumbent::group_survey::{
    GroupView, HiddenSeat, PageState, PageView, SeatView, TaskKind, TaskView, UnownedView,
};
use incumbent::survey::{LockView, State};
use jiff::Timestamp;

use super::{A_LEASE, List, TaskState, TaskStatus, Waits, obeyed};
use crate::model::format::name;
use crate::model::lock_status::{Evidence, since};

pub(super) fn task_status(view: &GroupView, task: &TaskView, now: Timestamp) -> TaskStatus {
    let since_written = |page: u8| view.page(page).and_then(|page| written_for(page.written, now));
    let (state, waits, because) = match (term_of(view, task, now), task.revoked) {
        (Term::Over { waits, because }, _) => (TaskState::Lost, Some(waits), Some(because)),
        (_, Some(revoked)) => {
            let waits = Waits::longer(task.seen_for, since_written(task.page));
            (TaskState::Stopping, Some(waits), Some(stop_reason(view, task, revoked)))
        }
        (Term::Held, None) => (TaskState::Assigned, None, None),
        (Term::Late, None) => (TaskState::Late, None, Some("its owner has not renewed in time")),
        (Term::Unknown(because), None) => (TaskState::Unknown, None, Some(because)),
    };
    TaskStatus {
        name: task.name.clone(),
        state,
        owner: Some(task.owner.clone()),
        address: task.address.as_deref().map(name),
        token: Some(task.fencing_token.0),
        waits,
        next: task.next.clone(),
        pin: pin(view, &task.name),
        because,
    }
}

pub(super) fn unowned_status(
    view: &GroupView,
    list: List,
    task: &UnownedView,
    now: Timestamp,
) -> TaskStatus {
    let is_permit = matches!(view.kind, Some(TaskKind::Permits(_)));
    let state = match (task.is_seen, is_permit) {
        (false, _) => TaskState::Unknown,
        (true, true) => TaskState::Free,
        (true, false) => TaskState::Unowned,
    };
    let page = view.page(task.page);
    let because = match page.map(|page| &page.state) {
        Some(PageState::Unreadable(_)) => Some("its page of the table cannot be read"),
        Some(PageState::NotOpen) => Some("its page of the table is not open yet"),
        Some(PageState::OtherTable) => Some("its page belongs to another table"),
        Some(PageState::Missing) => Some("its page of the table is missing"),
        Some(PageState::Open) => None,
        Some(_) => Some("its page of the table cannot be seen"),
        None => Some("there is no table"),
    };
    let waits = || Waits::longer(task.seen_for, unowned_by_clock(view, list, page, now));
    TaskStatus {
        name: task.name.clone(),
        state,
        owner: None,
        address: None,
        token: None,
        waits: (state == TaskState::Unowned).then(waits),
        next: None,
        pin: pin(view, &task.name),
        because: because.filter(|_| state != TaskState::Free),
    }
}

/// It was listed and had no owner when the later of both was written, and neither has changed since.
fn unowned_by_clock(
    view: &GroupView,
    list: List,
    page: Option<&PageView>,
    now: Timestamp,
) -> Option<Duration> {
    let listed = match list {
        List::Numbered => Some(Duration::MAX),
        List::Config { .. } => {
            view.config.as_ref().and_then(|config| written_for(config.written, now))
        }
        List::Given | List::Program | List::Unread => None,
    };
    let without = match page {
        // Until there was a page 0 of this table, the page may have counted.
        Some(page) if page.state == PageState::OtherTable => {
            let first = view.page(0).and_then(|first| written_for(created(first), now));
            written_for(page.written, now).zip(first).map(|(page, first)| page.min(first))
        }
        Some(page) => written_for(page.written, now),
        // Where there was an allocator, there may have been a table.
        None if view.allocator.is_some() => None,
        None => Some(Duration::MAX),
    };
    without.zip(listed).map(|(without, listed)| without.min(listed))
}

fn created(page: &PageView) -> Option<Timestamp> {
    page.object["metadata"]["creationTimestamp"].as_str()?.parse().ok()
}

fn pin(view: &GroupView, task: &str) -> Option<String> {
    obeyed(view)?.pins.get(task).cloned()
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
    Unknown(&'static str),
    Over { waits: Waits, because: &'static str },
}

fn term_of(view: &GroupView, task: &TaskView, now: Timestamp) -> Term {
    let Some(seat) = view.seat(&task.owner) else {
        return match view.hidden_seats.get(&task.owner) {
            Some(HiddenSeat::Missing) => {
                let waits = Waits::longer(task.ended_for.unwrap_or_default(), None);
                Term::Over { waits, because: "its owner's seat does not exist" }
            }
            Some(HiddenSeat::Unlabelled) => {
                Term::Unknown("its owner's seat has no label until the member renews it")
            }
            _ => Term::Unknown("its owner's seat cannot be seen"),
        };
    };
    let lock = &seat.lock.view;
    if seat.uid != task.seat || lock.token != Some(task.term) || lock.holder.is_none() {
        let by_clock = ended_at(seat, task).map(|ended| since(ended, now));
        let waits = Waits::longer(task.ended_for.unwrap_or_default(), by_clock);
        // A vacant seat keeps the token of its last term; another term has a higher one.
        return match seat.uid != task.seat || seat.last_token >= task.term {
            true => Term::Over { waits, because: "its owner's term has ended" },
            false => Term::Unknown("its owner's seat shows an earlier term"),
        };
    }
    match seat.lock.state {
        State::Held | State::Claimed => Term::Held,
        State::Late => Term::Late,
        State::Expired => Term::Over {
            waits: expired_for(seat, lock, now),
            because: "its owner does not renew its seat any more",
        },
        _ => Term::Unknown("it is unknown whether its owner still renews its seat"),
    }
}

/// When a term was over at the latest, by the clock of the API server or of the member that wrote it.
fn ended_at(seat: &SeatView, task: &TaskView) -> Option<Timestamp> {
    let lock = &seat.lock.view;
    match &lock.holder {
        _ if seat.uid != task.seat => lock.created,
        Some(_) => lock.acquired,
        // The last write was the one that made it vacant.
        None => lock.renewed,
    }
}

/// For how long a member has been silent beyond its term, at least.
fn expired_for(seat: &SeatView, lock: &LockView, now: Timestamp) -> Waits {
    if seat.lock.is_certain {
        let at_least = seat.lock.over_for.unwrap_or_default();
        return Waits { at_least, evidence: Evidence::Watched };
    }
    let silent_for = lock.renewed.map(|renewed| since(renewed, now)).unwrap_or_default();
    let lease = lock.lease_duration.unwrap_or(A_LEASE);
    Waits { at_least: silent_for.saturating_sub(lease), evidence: Evidence::Clocks }
}

impl Waits {
    /// The longer of what was seen and what clocks say: each of both is too short rather than too long.
    pub(super) fn longer(seen: Duration, by_clock: Option<Duration>) -> Self {
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
