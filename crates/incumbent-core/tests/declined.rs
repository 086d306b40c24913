//! Tasks that members decline go to others, and do not circulate.

use std::collections::{BTreeMap, BTreeSet};

use incumbent_core::group::{Task, TaskName, Worker, balance, without_declined};
use incumbent_core::{FencingToken, Identity};
use proptest::prelude::*;

type Owners = BTreeMap<TaskName, Identity>;

#[derive(Clone, Debug)]
struct Input {
    workers: Vec<Worker>,
    tasks: BTreeMap<TaskName, Task>,
    declined: BTreeMap<Identity, BTreeSet<TaskName>>,
    current: Owners,
}

impl Input {
    fn of(members: usize, tasks: usize) -> Self {
        let tasks = (0..tasks).map(|index| (task(index), Task::default())).collect();
        let workers = (0..members).map(worker).collect();
        let mut input = Self { workers, tasks, declined: BTreeMap::new(), current: Owners::new() };
        input.settle();
        input
    }

    fn decline(&mut self, member: usize, index: usize) {
        self.declined.entry(name(member)).or_default().insert(task(index));
    }

    fn next(&self) -> Owners {
        let declined = self.declined.iter().collect();
        let tasks = without_declined(&self.workers, &declined, &self.tasks, &self.current);
        balance(&self.workers, &tasks, &self.current, true)
    }

    /// Moves the tasks, and returns how many have moved.
    fn settle(&mut self) -> usize {
        let next = self.next();
        let moved = next.iter().filter(|(task, owner)| self.current.get(*task) != Some(owner));
        let moved = moved.count();
        self.current = next;
        moved
    }

    fn owner(&self, index: usize) -> &str {
        self.current[&task(index)].as_str()
    }

    fn declines(&self, member: &Identity, task: &TaskName) -> bool {
        self.declined.get(member).is_some_and(|declined| declined.contains(task))
    }
}

fn worker(index: usize) -> Worker {
    Worker {
        name: name(index),
        capacity: 1,
        version: String::new(),
        joined: FencingToken(index as u64 + 1),
        takes_tasks: true,
    }
}

fn name(index: usize) -> Identity {
    Identity::new(format!("m{index}")).unwrap()
}

fn task(index: usize) -> TaskName {
    TaskName::new(format!("t{index}")).unwrap()
}

#[test]
fn a_declined_task_visits_each_member_and_then_stays() {
    let mut input = Input::of(3, 6);
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        let owner = input.owner(0).to_owned();
        assert!(seen.insert(owner.clone()), "{owner} gets it a second time");
        input.decline(owner[1..].parse().unwrap(), 0);
        let moved = input.settle();
        assert_eq!(input.owner(0) == owner, seen.len() == 3, "{moved} moves");
    }
    assert_eq!(input.settle(), 0);
}

#[test]
fn a_declined_task_moves_and_another_one_at_most_in_exchange() {
    let mut input = Input::of(4, 8);
    let owner = input.owner(5).to_owned();
    input.decline(owner[1..].parse().unwrap(), 5);
    assert_eq!(input.settle(), 2);
    assert_ne!(input.owner(5), owner);
    assert_eq!(input.settle(), 0, "and does not come back to even out the loads");
}

#[test]
fn what_people_pin_stays_there_though_it_is_declined() {
    let mut input = Input::of(2, 2);
    input.tasks.insert(task(0), Task { pin: Some(name(1)), ..Task::default() });
    input.decline(1, 0);
    input.settle();
    assert_eq!(input.owner(0), "m1");
}

#[test]
fn a_member_that_may_not_be_given_tasks_does_not_get_those_that_others_decline() {
    let mut input = Input::of(3, 1);
    let owner: usize = input.owner(0)[1..].parse().unwrap();
    input.decline(owner, 0);
    let others: Vec<_> = (0..3).filter(|member| *member != owner).collect();
    input.workers[others[0]].takes_tasks = false;
    input.workers[others[1]].capacity = 0;
    assert_eq!(input.settle(), 0);
    assert_eq!(input.owner(0), format!("m{owner}"));
}

#[test]
fn while_two_versions_run_nothing_moves_because_it_is_declined() {
    let mut input = Input::of(2, 2);
    let owner = input.owner(0)[1..].parse().unwrap();
    input.decline(owner, 0);
    input.workers[1].version = "2".to_owned();
    assert_eq!(input.settle(), 0);
}

fn any_input() -> impl Strategy<Value = Input> {
    let workers = prop::collection::vec((0..=2_u32, prop::bool::weighted(0.85)), 1..6);
    let tasks = prop::collection::vec((1..=4_u32, prop::option::weighted(0.8, 0..7_usize)), 0..20);
    let declined = prop::collection::vec((0..7_usize, 0..20_usize), 0..12);
    (workers, tasks, declined).prop_map(|(workers, tasks, declined)| {
        let of =
            |(index, (capacity, takes_tasks))| Worker { capacity, takes_tasks, ..worker(index) };
        let mut input = Input::of(0, 0);
        input.workers = workers.into_iter().enumerate().map(of).collect();
        for (index, (weight, owner)) in tasks.into_iter().enumerate() {
            input.tasks.insert(task(index), Task { weight, ..Task::default() });
            input.current.extend(owner.map(|owner| (task(index), name(owner))));
        }
        for (member, index) in declined {
            input.decline(member, index);
        }
        input
    })
}

proptest! {
    #[test]
    fn what_is_settled_stays_settled(mut input in any_input()) {
        input.settle();
        prop_assert_eq!(input.settle(), 0);
    }

    #[test]
    fn a_task_is_with_a_member_that_takes_it_if_there_is_one(mut input in any_input()) {
        input.settle();
        let able = input.workers.iter().filter(|worker| worker.takes_tasks && worker.capacity > 0);
        let able: Vec<_> = able.map(|worker| worker.name.clone()).collect();
        for (task, owner) in &input.current {
            if able.iter().any(|member| !input.declines(member, task)) {
                prop_assert!(!input.declines(owner, task), "{} is with {}", task, owner);
            }
        }
    }

    #[test]
    fn nothing_changes_where_nothing_is_declined(mut input in any_input()) {
        input.declined.clear();
        let plain = balance(&input.workers, &input.tasks, &input.current, true);
        prop_assert_eq!(input.next(), plain);
    }
}
