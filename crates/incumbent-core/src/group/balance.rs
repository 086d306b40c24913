//! Which member should own which task.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::table::TaskName;
use crate::identity::Identity;
use crate::record::FencingToken;

mod declined;
mod loads;
mod permits;

pub use declined::without_declined;
use loads::Loads;
pub use permits::hand_out;

/// A member as the balance sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// The member. No two workers have the same name.
    pub name: Identity,
    /// How much it can do, compared with others. A member of capacity 0 is given a task only if it is pinned there, or
    /// if no member has a capacity.
    pub capacity: u32,
    /// The version of the program that it runs.
    pub version: String,
    /// The token of its term. A member that joined later has a higher one.
    pub joined: FencingToken,
    /// Whether it may be given tasks: not while it drains or leaves.
    pub takes_tasks: bool,
}

/// What people ask for one task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// How much work it is, compared with others. Zero counts as one.
    pub weight: u32,
    /// The member that should own it. Ignored while that member is absent or takes no tasks.
    pub pin: Option<Identity>,
}

impl Default for Task {
    fn default() -> Self {
        Self { weight: 1, pin: None }
    }
}

/// The owner that each of `tasks` should have.
///
/// `current` holds the tasks that have an owner, except those that are being revoked. An owner that is not among
/// `workers` counts as none. A member that leaves has stopped its tasks, so leave them out of `current`: they are then
/// placed even when `may_move` is false.
///
/// A task stays with its owner, unless
///
/// - the owner takes no tasks,
/// - it is pinned to another member that takes tasks, or
/// - a member has too much: more than 1.10 of its fair share, and at least that share without the lightest of its
///   tasks; or too little: less than 0.90 of its share, and at most that share with one more task. A fair share goes by
///   capacity. Then tasks move from the most loaded to the least loaded, as few as possible. Each move makes the loads
///   more even, and a second call with the result changes nothing. Of two members with two tasks, each gets one.
///
/// A member whose pinned tasks alone exceed its share keeps those, and the others share the rest. Where tasks have
/// different weights, the lower bound may be out of reach: then the moves end when no single one is an improvement.
///
/// While members of two versions take tasks, only a task without an owner, or whose owner takes none, gets a new one: a
/// member of the newer version, where it is not pinned. The newer version is the one whose earliest member joined last,
/// so that a restart of one old member does not make the old version the newer one. In a rollback the version that is
/// being removed counts as newer: tasks of its members move more than once, and nothing else goes wrong.
///
/// If `may_move` is false, only tasks without an owner are placed.
///
/// A task is missing from the result if it has no owner and no member takes tasks. Tasks of a draining member stay with
/// it until another member takes tasks.
pub fn balance(
    workers: &[Worker],
    tasks: &BTreeMap<TaskName, Task>,
    current: &BTreeMap<TaskName, Identity>,
    may_move: bool,
) -> BTreeMap<TaskName, Identity> {
    let crew = Crew::new(workers);
    let mut owners = BTreeMap::new();
    let mut unplaced = Vec::new();
    for (name, task) in tasks {
        let owner = current.get(name).and_then(|owner| crew.find(owner));
        match owner.filter(|owner| !may_move || crew.keeps(*owner, task)) {
            Some(owner) => {
                owners.insert(name, owner);
            }
            None => unplaced.push((name, task)),
        }
    }
    if !crew.receivers.is_empty() {
        unplaced.sort_by_cached_key(|(name, task)| (Reverse(task.weight), name.number(), *name));
        assign(&crew, tasks, &mut owners, &unplaced, may_move && !crew.is_mixed);
    }
    let named =
        |(name, owner): (&TaskName, usize)| (name.clone(), crew.workers[owner].name.clone());
    owners.into_iter().map(named).collect()
}

/// Gives each of `unplaced` an owner, and evens the loads out if it may.
fn assign<'a>(
    crew: &Crew<'_>,
    tasks: &'a BTreeMap<TaskName, Task>,
    owners: &mut BTreeMap<&'a TaskName, usize>,
    unplaced: &[(&'a TaskName, &'a Task)],
    may_even_out: bool,
) {
    let capacities = crew.receivers.iter().map(|worker| crew.capacity(*worker));
    let mut loads = Loads::new(crew.workers.len(), crew.receivers.iter().copied().zip(capacities));
    for (name, owner) in &*owners {
        let task = &tasks[*name];
        loads.add(*owner, name, task.weight, crew.pin_of(task).is_some());
    }
    let mut free = Vec::new();
    for &(name, task) in unplaced {
        match crew.pin_of(task) {
            Some(pin) => {
                loads.add(pin, name, task.weight, true);
                owners.insert(name, pin);
            }
            None => free.push((name, task.weight)),
        }
    }
    owners.extend(loads.place(&free));
    if may_even_out {
        owners.extend(loads.even_out());
    }
}

/// The members, in the order of their names, and what follows from all of them together.
struct Crew<'a> {
    workers: Vec<&'a Worker>,
    /// Those that may be given any task.
    takers: BTreeSet<usize>,
    /// The takers that are given tasks without an owner: those of the newer version.
    receivers: Vec<usize>,
    /// Whether the takers run more than one version.
    is_mixed: bool,
}

impl<'a> Crew<'a> {
    fn new(workers: &'a [Worker]) -> Self {
        let mut workers: Vec<_> = workers.iter().collect();
        workers.sort_by_key(|worker| (&worker.name, worker.joined));
        let willing = workers.iter().enumerate().filter(|(_, worker)| worker.takes_tasks);
        let (able, spare): (Vec<_>, Vec<_>) = willing.partition(|(_, worker)| worker.capacity > 0);
        let takers = if able.is_empty() { spare } else { able };

        let mut earliest: BTreeMap<&str, FencingToken> = BTreeMap::new();
        for (_, worker) in &takers {
            let joined = earliest.entry(&worker.version).or_insert(worker.joined);
            *joined = worker.joined.min(*joined);
        }
        let newest =
            earliest.iter().max_by_key(|(_, joined)| **joined).map(|(version, _)| *version);
        let is_newest = |worker: &Worker| newest.is_some_and(|newest| newest == worker.version);
        let receivers = takers.iter().filter(|(_, worker)| is_newest(worker));
        Self {
            receivers: receivers.map(|(index, _)| *index).collect(),
            is_mixed: earliest.len() > 1,
            takers: takers.iter().map(|(index, _)| *index).collect(),
            workers,
        }
    }

    fn find(&self, name: &Identity) -> Option<usize> {
        self.workers.binary_search_by_key(&name, |worker| &worker.name).ok()
    }

    /// Where members without a capacity take tasks because no member has one, they are equal.
    fn capacity(&self, worker: usize) -> u32 {
        self.workers[worker].capacity.max(1)
    }

    /// The member to which `task` is pinned, if that takes tasks.
    fn pin_of(&self, task: &Task) -> Option<usize> {
        let pin = self.find(task.pin.as_ref()?)?;
        self.workers[pin].takes_tasks.then_some(pin)
    }

    /// Whether `owner` may keep `task` when tasks may move.
    fn keeps(&self, owner: usize, task: &Task) -> bool {
        if self.takers.is_empty() {
            return true;
        }
        match self.pin_of(task) {
            Some(pin) if pin == owner => true,
            Some(_) if !self.is_mixed => false,
            _ => self.takers.contains(&owner),
        }
    }
}
