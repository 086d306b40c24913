//! Which member should have which permit.

use std::collections::{BTreeMap, BTreeSet};

use super::Worker;
use crate::group::table::TaskName;
use crate::identity::Identity;

/// The owner that each of `permits` should have: first come, first served, and at most one for each member.
///
/// `current` holds the permits that have an owner, except those that are being revoked. `busy` are the members that
/// still hold something that is being revoked; they get nothing before that is released. An owner that is not among
/// `workers` counts as none.
///
/// A permit stays with its owner. If the owner takes no tasks, it goes to the member that has waited longest, as soon as
/// there is one. Members without capacity get no permits.
pub fn hand_out(
    workers: &[Worker],
    permits: impl IntoIterator<Item = TaskName>,
    current: &BTreeMap<TaskName, Identity>,
    busy: &BTreeSet<Identity>,
) -> BTreeMap<TaskName, Identity> {
    let mut waiting: Vec<&Worker> = workers
        .iter()
        .filter(|worker| worker.takes_tasks && worker.capacity > 0 && !busy.contains(&worker.name))
        .collect();
    waiting.sort_by_key(|worker| (worker.joined, &worker.name));
    let find = |name: &Identity| workers.iter().find(|worker| worker.name == *name);

    let (mut owners, mut held_back) = (BTreeMap::new(), BTreeMap::new());
    let mut holders = BTreeSet::new();
    let mut free = Vec::new();
    for permit in permits {
        let owner = current.get(&permit).and_then(find);
        match owner.filter(|owner| holders.insert(&owner.name)) {
            Some(owner) if owner.takes_tasks => {
                owners.insert(permit, owner.name.clone());
            }
            Some(owner) => {
                held_back.insert(permit, owner.name.clone());
            }
            None => free.push(permit),
        }
    }
    let mut waiting = waiting.into_iter().filter(|worker| !holders.contains(&worker.name));
    owners.extend(free.into_iter().zip(waiting.by_ref().map(|worker| worker.name.clone())));
    for (permit, owner) in held_back {
        owners.insert(permit, waiting.next().map_or(owner, |worker| worker.name.clone()));
    }
    owners
}
