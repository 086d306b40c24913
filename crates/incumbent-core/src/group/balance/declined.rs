//! Tasks that members decline, because their work fails there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Crew, Task, Worker};
use crate::group::table::TaskName;
use crate::identity::Identity;

/// The tasks as [`balance`](super::balance) is to see them, so that each declined task is with a member that does not
/// decline it.
///
/// A declined task is pinned to another member. So `balance` needs no rule for it: a pinned task does not move to even
/// out loads, and does not come back to a member that declines it. A task that has to move goes to the
/// member that has the least to do for its capacity.
///
/// A task stays with its owner if each member declines it: otherwise it would circulate. The pins of people count more
/// than what members decline. While members of two versions take tasks, nothing moves for this reason.
pub fn without_declined<'a>(
    workers: &[Worker],
    declined: &BTreeMap<&Identity, &BTreeSet<TaskName>>,
    tasks: &'a BTreeMap<TaskName, Task>,
    current: &BTreeMap<TaskName, Identity>,
) -> Cow<'a, BTreeMap<TaskName, Task>> {
    let names: BTreeSet<&TaskName> = declined.values().copied().flatten().collect();
    let crew = Crew::new(workers);
    if names.is_empty() || crew.is_mixed {
        return Cow::Borrowed(tasks);
    }
    let mut loads = BTreeMap::new();
    for (name, owner) in current {
        let weight = tasks.get(name).map_or(0, |task| u64::from(task.weight));
        *loads.entry(owner).or_insert(0) += weight;
    }
    let mut pinned = tasks.clone();
    for name in names {
        let Some(task) = pinned.get_mut(name).filter(|task| crew.pin_of(task).is_none()) else {
            continue;
        };
        let declines = |taker: &usize| {
            let declined = declined.get(&crew.workers[*taker].name);
            declined.is_some_and(|declined| declined.contains(name))
        };
        let load = |taker: &usize| {
            let worker = crew.workers[*taker];
            let load = loads.get(&worker.name).copied().unwrap_or_default();
            // As whole numbers: the first digits behind the point are enough to compare by.
            (load * 1_000 / u64::from(crew.capacity(*taker)), *taker)
        };
        let owner = current.get(name).and_then(|owner| crew.find(owner));
        let owner = owner.filter(|owner| crew.takers.contains(owner));
        let willing = || crew.takers.iter().copied().filter(|taker| !declines(taker));
        let next = owner
            .filter(|owner| !declines(owner))
            .or_else(|| willing().min_by_key(load))
            .or(owner)
            .or_else(|| crew.takers.iter().copied().min_by_key(load));
        let next = next.map(|next| &crew.workers[next].name);
        if let Some(next) = next {
            *loads.entry(next).or_insert(0) += u64::from(task.weight);
            task.pin = Some(next.clone());
        }
    }
    Cow::Owned(pinned)
}
