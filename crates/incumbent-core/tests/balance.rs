//! Who should own what: `balance` on members and tasks of all sorts, and the numbers of moves that it promises.

use std::collections::BTreeMap;

use incumbent_core::group::{Task, TaskName, Worker, balance};
use incumbent_core::{FencingToken, Identity};
use proptest::prelude::*;
use proptest::sample::{Index, select};

type Owners = BTreeMap<TaskName, Identity>;
type Tasks = BTreeMap<TaskName, Task>;

// What is promised of every input.

proptest! {
    #[test]
    fn every_listed_task_has_an_owner_that_takes_tasks(input in any_input()) {
        let wanted = input.balance();
        prop_assert!(wanted.keys().all(|task| input.tasks.contains_key(task)));
        if input.workers.iter().any(|worker| worker.takes_tasks) {
            prop_assert_eq!(wanted.len(), input.tasks.len());
        }
        for (task, owner) in &wanted {
            let owner = input.worker(owner).unwrap();
            prop_assert!(owner.takes_tasks || input.current.get(task) == Some(&owner.name));
        }
    }

    #[test]
    fn the_result_is_left_as_it_is(input in any_input()) {
        let current = input.balance();
        let again = Input { current: current.clone(), ..input };
        prop_assert_eq!(again.balance(), current);
    }

    #[test]
    fn the_result_is_left_as_it_is_where_the_lower_bound_is_out_of_reach(input in weighted_tasks()) {
        let current = input.balance();
        let again = Input { current: current.clone(), ..input };
        prop_assert_eq!(again.balance(), current);
    }

    #[test]
    fn the_order_of_the_workers_does_not_matter(input in any_input(), swaps in any::<[(Index, Index); 8]>()) {
        let mut shuffled = input.clone();
        for (one, other) in swaps {
            let count = shuffled.workers.len();
            shuffled.workers.swap(one.index(count), other.index(count));
        }
        prop_assert_eq!(shuffled.balance(), input.balance());
    }

    #[test]
    fn no_task_with_an_owner_moves_when_none_may(input in any_input()) {
        let input = Input { may_move: false, ..input };
        let wanted = input.balance();
        for (task, owner) in input.owned() {
            prop_assert_eq!(&wanted[task], owner);
        }
    }

    #[test]
    fn while_two_versions_run_only_tasks_move_whose_owner_takes_none(input in two_versions()) {
        let wanted = input.balance();
        for (task, owner) in input.owned() {
            let pin = input.pin_of(&input.tasks[task]);
            if input.is_taker(owner) || pin == Some(owner) {
                prop_assert_eq!(&wanted[task], owner);
            }
        }
    }

    #[test]
    fn while_two_versions_run_tasks_go_to_the_newer_one(input in two_versions()) {
        let versions = input.versions();
        let (_, newest) = versions.iter().map(|(version, joined)| (joined, version)).max().unwrap();
        let wanted = input.balance();
        for (task, owner) in &wanted {
            if input.current.get(task) == Some(owner) {
                continue;
            }
            match input.pin_of(&input.tasks[task]) {
                Some(pin) => prop_assert_eq!(owner, pin),
                None => prop_assert_eq!(&input.worker(owner).unwrap().version, newest),
            }
        }
    }

    #[test]
    fn a_pinned_task_goes_where_it_is_pinned(input in one_version()) {
        let wanted = input.balance();
        for (task, asked) in &input.tasks {
            if let Some(pin) = input.pin_of(asked) {
                prop_assert_eq!(&wanted[task], pin);
            }
        }
    }

    #[test]
    fn a_member_without_capacity_has_only_pinned_tasks_while_others_have_one(input in one_version()) {
        let wanted = input.balance();
        for (task, owner) in &wanted {
            let is_pinned = input.pin_of(&input.tasks[task]) == Some(owner);
            prop_assert!(is_pinned || input.is_taker(owner) || input.takers().count() == 0);
        }
    }
}

// Tasks of equal weight: the bounds hold, with as few moves as there can be.

proptest! {
    #[test]
    fn no_member_has_much_more_or_less_than_its_share(input in equal_tasks()) {
        let loads = input.loads(&input.balance());
        for worker in input.takers() {
            let (least, most) = input.bounds(worker);
            let load = loads[&worker.name];
            prop_assert!((least..=most).contains(&load), "{}: {load} of {least}..={most}", worker.name);
        }
    }

    #[test]
    fn nothing_moves_while_all_are_within_bounds(input in equal_tasks()) {
        let settled = Input { current: input.balance(), ..input };
        // Away from the middle, but not out of bounds.
        let mut current = settled.current.clone();
        let mut loads = settled.loads(&current);
        for task in settled.tasks.keys() {
            let donor = current[task].clone();
            let (least, _) = settled.bounds(settled.worker(&donor).unwrap());
            let receiver = settled.takers().find(|worker| loads[&worker.name] < settled.bounds(worker).1);
            let Some(receiver) = receiver.filter(|_| loads[&donor] > least) else { continue };
            *loads.get_mut(&donor).unwrap() -= 1;
            *loads.get_mut(&receiver.name).unwrap() += 1;
            current.insert(task.clone(), receiver.name.clone());
        }
        let skewed = Input { current: current.clone(), ..settled };
        prop_assert_eq!(skewed.balance(), current);
    }

    #[test]
    fn no_fewer_moves_would_do(input in equal_tasks()) {
        let wanted = input.balance();
        let moved = input.current.iter().filter(|(task, owner)| wanted[*task] != **owner).count();
        prop_assert_eq!(moved as u64, input.fewest_moves());
    }
}

// Tasks of different weights, which not every balance can be reached with.

proptest! {
    #[test]
    fn no_member_has_more_than_its_share_and_its_lightest_task(input in weighted_tasks()) {
        let wanted = input.balance();
        let loads = input.loads(&wanted);
        for worker in input.takers() {
            let own = wanted.iter().filter(|(_, owner)| **owner == worker.name);
            let lightest = own.map(|(task, _)| u64::from(input.tasks[task].weight)).min().unwrap_or(0);
            let (share, all) = input.share(worker);
            let load = loads[&worker.name];
            prop_assert!(10 * load * all <= 11 * share || (load - lightest) * all < share);
        }
    }

    #[test]
    fn no_single_move_would_help_a_member_that_has_too_little(input in weighted_tasks()) {
        let wanted = input.balance();
        let loads = input.loads(&wanted);
        let surplus = |worker: &Worker| {
            let (share, all) = input.share(worker);
            i128::from(loads[&worker.name] * all) - i128::from(share)
        };
        let lightest = input.tasks.values().map(|task| i128::from(task.weight)).min().unwrap();
        for poor in input.takers() {
            let (share, all) = input.share(poor);
            let one = lightest * i128::from(all);
            if 10 * loads[&poor.name] * all >= 9 * share || surplus(poor) + one > 0 {
                continue;
            }
            for (task, owner) in &wanted {
                let weight = i128::from(input.tasks[task].weight) * i128::from(all);
                prop_assert!(weight >= surplus(input.worker(owner).unwrap()) - surplus(poor));
            }
        }
    }
}

// Single cases.

#[test]
fn as_many_members_as_tasks_have_one_each() {
    for count in 2..10 {
        let mut input = Input::of(members(1), vec![1; count]);
        input.settle();
        for joins in 1..count {
            input.workers.push(member(joins, "1"));
            input.settle();
        }
        assert_eq!(input.loads(&input.current).into_values().collect::<Vec<_>>(), vec![1; count]);
    }
}

#[test]
fn heavy_tasks_are_spread_before_light_ones() {
    let mut input = Input::of(members(2), [6, 5, 4, 3, 2, 1, 1]);
    input.settle();
    assert_eq!(input.loads(&input.current).into_values().collect::<Vec<_>>(), [11, 11]);
}

#[test]
fn a_member_of_twice_the_capacity_has_twice_the_load() {
    let mut workers = members(3);
    workers[1].capacity = 2;
    let mut input = Input::of(workers, [1; 100]);
    input.settle();
    assert_eq!(input.loads(&input.current).into_values().collect::<Vec<_>>(), [25, 50, 25]);
}

#[test]
fn members_share_what_is_not_pinned_when_one_is_filled_by_pins() {
    let mut input = Input::of(members(2), [1; 100]);
    for task in input.tasks.values_mut().take(80) {
        task.pin = Identity::new("m0000");
    }
    input.settle();
    assert_eq!(input.loads(&input.current).into_values().collect::<Vec<_>>(), [80, 20]);
    input.workers.push(member(2, "1"));
    assert_eq!(input.settle(), 9);
    assert_eq!(input.loads(&input.current).into_values().collect::<Vec<_>>(), [80, 11, 9]);
}

#[test]
fn a_task_without_an_owner_saves_a_move_if_it_can() {
    // Shares of 100, 100 and 5. The first member lacks more tasks than the last, but is within its bounds.
    let mut input = Input::of(members(3), [1; 205]);
    for (worker, capacity) in input.workers.iter_mut().zip([20, 20, 1]) {
        worker.capacity = capacity;
    }
    let owners = [(0, 91), (1, 109), (2, 3)];
    let owners = owners.into_iter().flat_map(|(owner, count)| std::iter::repeat_n(owner, count));
    input.current =
        owners.enumerate().map(|(task, owner)| (task_name(task), worker_name(owner))).collect();
    assert_eq!(input.settle(), 0);
    assert_eq!(input.loads(&input.current).into_values().collect::<Vec<_>>(), [91, 109, 5]);
}

#[test]
fn a_pin_to_an_absent_or_draining_member_is_ignored() {
    for takes_tasks in [true, false] {
        let mut input = Input::of(members(3), [1; 9]);
        input.settle();
        let before = input.current.clone();
        input.workers.push(Worker { takes_tasks, ..member(3, "1") });
        for task in input.tasks.values_mut().take(2) {
            task.pin = Identity::new(if takes_tasks { "absent" } else { "m0003" });
        }
        input.workers.truncate(if takes_tasks { 3 } else { 4 });
        assert_eq!(input.balance(), before);
    }
}

#[test]
fn a_task_stays_with_a_draining_member_until_another_takes_tasks() {
    let mut input = Input::of(members(1), [1; 3]);
    input.settle();
    input.workers[0].takes_tasks = false;
    assert_eq!(input.balance(), input.current);
    input.workers.push(member(1, "1"));
    assert!(input.balance().values().all(|owner| owner.as_str() == "m0001"));
}

#[test]
fn a_task_without_an_owner_is_left_out_while_no_member_takes_tasks() {
    let mut input = Input::of(members(2), [1; 3]);
    input.workers.iter_mut().for_each(|worker| worker.takes_tasks = false);
    assert_eq!(input.balance(), Owners::new());
    input.workers.clear();
    assert_eq!(input.balance(), Owners::new());
}

#[test]
fn members_without_capacity_share_the_tasks_when_there_are_no_others() {
    let mut input = Input::of(members(2), [1; 4]);
    input.workers.iter_mut().for_each(|worker| worker.capacity = 0);
    input.settle();
    assert_eq!(input.loads(&input.current).into_values().collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn an_old_member_that_restarts_in_place_does_not_make_its_version_the_newer_one() {
    let mut workers = members(3);
    workers[2].version = "2".to_owned();
    workers[0].joined = FencingToken(100);
    let input = Input::of(workers, [1; 5]);
    assert!(input.balance().values().all(|owner| owner.as_str() == "m0002"));
}

// The numbers that the design promises.

#[test]
fn a_member_that_joins_moves_about_its_share() {
    let table = [(10, 1_000, 91), (100, 1_000, 10), (100, 4_096, 41), (1_000, 4_096, 5)];
    for (count, tasks, most) in table {
        let mut input = Input::of(members(count), vec![1; tasks]);
        input.settle();
        input.workers.push(member(count, "1"));
        let moves = input.settle();
        let loads = input.loads(&input.current);
        let mean = tasks as f64 / (count + 1) as f64;
        let most_loaded = *loads.values().max().unwrap() as f64;
        println!(
            "{count} members, {tasks} tasks: {moves} moves, at most {:.2} of the mean",
            most_loaded / mean
        );
        assert!(moves <= most, "{moves} moves");
        assert!(most_loaded <= (mean * 1.10).max(mean + 1.0));
    }
}

#[test]
fn a_rolling_restart_moves_each_task_little_more_than_once() {
    for (count, tasks) in [(2, 10), (3, 60), (10, 1_000), (100, 1_000)] {
        for joins_first in [true, false] {
            let moves = rollout(count, tasks, joins_first) as f64 / tasks as f64;
            let order = if joins_first { "a new one joins first" } else { "one at a time" };
            println!("{count} members, {tasks} tasks, {order}: {moves:.3} moves a task");
            assert!(moves <= 1.0 + 2.0 / count as f64, "{count} members, {order}: {moves}");
        }
    }
}

/// Replaces one member after the other, and counts the moves until all is even again.
fn rollout(count: usize, tasks: usize, joins_first: bool) -> usize {
    let mut input = Input::of(members(count), vec![1; tasks]);
    input.settle();
    let mut moves = 0;
    for old in 0..count {
        let newcomer = member(count + old, "2");
        if joins_first {
            input.workers.push(newcomer.clone());
            moves += input.settle();
        }
        input.workers.retain(|worker| worker.name != member(old, "1").name);
        moves += input.settle();
        if !joins_first {
            input.workers.push(newcomer);
            moves += input.settle();
        }
    }
    moves
}

#[derive(Clone, Debug)]
struct Input {
    workers: Vec<Worker>,
    tasks: Tasks,
    current: Owners,
    may_move: bool,
}

impl Input {
    /// Tasks of these weights, none of which has an owner.
    fn of(workers: Vec<Worker>, weights: impl IntoIterator<Item = u32>) -> Self {
        let task = |(index, weight)| (task_name(index), Task { weight, pin: None });
        let tasks = weights.into_iter().enumerate().map(task).collect();
        Self { workers, tasks, current: Owners::new(), may_move: true }
    }

    fn balance(&self) -> Owners {
        balance(&self.workers, &self.tasks, &self.current, self.may_move)
    }

    /// Makes the wanted owners the current ones. Returns how many tasks have changed owners.
    fn settle(&mut self) -> usize {
        let before = std::mem::take(&mut self.current);
        self.current = balance(&self.workers, &self.tasks, &before, self.may_move);
        before.iter().filter(|(task, owner)| self.current.get(task) != Some(owner)).count()
    }

    fn worker(&self, name: &Identity) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.name == *name)
    }

    /// The tasks whose owner is present.
    fn owned(&self) -> impl Iterator<Item = (&TaskName, &Identity)> {
        let is_listed = |task: &TaskName| self.tasks.contains_key(task);
        let is_owned = move |(task, owner): &(&TaskName, &Identity)| {
            is_listed(task) && self.worker(owner).is_some()
        };
        self.current.iter().filter(is_owned)
    }

    /// The members that may be given any task.
    fn takers(&self) -> impl Iterator<Item = &Worker> {
        let willing = || self.workers.iter().filter(|worker| worker.takes_tasks);
        let any_capacity = willing().any(|worker| worker.capacity > 0);
        willing().filter(move |worker| worker.capacity > 0 || !any_capacity)
    }

    fn is_taker(&self, name: &Identity) -> bool {
        self.takers().any(|worker| worker.name == *name)
    }

    /// The versions of the takers, with the token of the earliest member.
    fn versions(&self) -> BTreeMap<&str, FencingToken> {
        let mut versions = BTreeMap::new();
        for worker in self.takers() {
            let joined = versions.entry(worker.version.as_str()).or_insert(worker.joined);
            *joined = worker.joined.min(*joined);
        }
        versions
    }

    fn pin_of<'a>(&self, task: &'a Task) -> Option<&'a Identity> {
        let pin = task.pin.as_ref()?;
        self.worker(pin)?.takes_tasks.then_some(pin)
    }

    /// The load of each member.
    fn loads(&self, owners: &Owners) -> BTreeMap<Identity, u64> {
        let none = self.workers.iter().map(|worker| (worker.name.clone(), 0));
        let mut loads: BTreeMap<_, _> = none.collect();
        for (task, owner) in owners {
            if let Some(load) = loads.get_mut(owner) {
                *load += u64::from(self.tasks[task].weight);
            }
        }
        loads
    }

    /// The fair share of a member, as a fraction.
    fn share(&self, worker: &Worker) -> (u64, u64) {
        let all: u64 = self.tasks.values().map(|task| u64::from(task.weight)).sum();
        let capacity: u64 = self.takers().map(|worker| u64::from(worker.capacity)).sum();
        (all * u64::from(worker.capacity), capacity)
    }

    /// The least and the most tasks that it may have where all weigh one.
    fn bounds(&self, worker: &Worker) -> (u64, u64) {
        let (share, all) = self.share(worker);
        let most = (11 * share / (10 * all)).max(share.div_ceil(all));
        let least = (9 * share).div_ceil(10 * all).min(share / all);
        (least, most)
    }

    /// The fewest tasks that must change owners where all weigh one and none is pinned.
    fn fewest_moves(&self) -> u64 {
        let stays = |owner: &Identity| self.is_taker(owner);
        let kept = self.current.iter().filter(|(_, owner)| stays(owner));
        let kept: Owners = kept.map(|(task, owner)| (task.clone(), owner.clone())).collect();
        let forced = self.current.len() - kept.len();
        let loads = self.loads(&kept);
        let (mut above, mut below) = (0, 0);
        for worker in self.takers() {
            let (least, most) = self.bounds(worker);
            above += loads[&worker.name].saturating_sub(most);
            below += least.saturating_sub(loads[&worker.name]);
        }
        let free = (self.tasks.len() - kept.len()) as u64;
        forced as u64 + above.max(below.saturating_sub(free))
    }
}

fn members(count: usize) -> Vec<Worker> {
    (0..count).map(|index| member(index, "1")).collect()
}

/// The member of this number, which joined after all of lower numbers.
fn member(index: usize, version: &str) -> Worker {
    Worker {
        name: worker_name(index),
        capacity: 1,
        version: version.to_owned(),
        joined: FencingToken(index as u64 + 1),
        takes_tasks: true,
    }
}

fn worker_name(index: usize) -> Identity {
    Identity::new(format!("m{index:04}")).unwrap()
}

fn task_name(index: usize) -> TaskName {
    TaskName::new(format!("task-{index:05}")).unwrap()
}

/// Members that drain, have no capacity or run another version; pins to members that are there or not; owners too.
fn any_input() -> impl Strategy<Value = Input> {
    let worker =
        (0..=3_u32, select(vec!["1", "1", "1", "2"]), 0..1_000_u64, prop::bool::weighted(0.85));
    let workers = prop::collection::vec(worker, 1..8);
    let pin = prop::option::weighted(0.2, 0..9_usize);
    let task = (1..=6_u32, pin, prop::option::weighted(0.8, 0..9_usize));
    let tasks = prop::collection::vec(task, 0..40);
    (workers, tasks, any::<bool>(), any::<bool>())
        .prop_map(|(workers, tasks, is_mixed, may_move)| {
            let worker =
                |(index, (capacity, version, joined, takes_tasks)): (usize, (_, &str, u64, _))| {
                    let version = if is_mixed { version } else { "1" };
                    // Different in each, so that which version is the newer one does not rest on a tie.
                    let joined = FencingToken(joined * 10 + index as u64);
                    Worker { capacity, joined, takes_tasks, ..member(index, version) }
                };
            let workers: Vec<_> = workers.into_iter().enumerate().map(worker).collect();
            let mut input = Input { may_move, ..Input::of(workers, []) };
            for (index, (weight, pin, owner)) in tasks.into_iter().enumerate() {
                let pin = pin.map(worker_name);
                input.tasks.insert(task_name(index), Task { weight, pin });
                input.current.extend(owner.map(|owner| (task_name(index), worker_name(owner))));
            }
            input
        })
        .prop_filter("a member takes tasks", |input| input.takers().count() > 0)
}

fn one_version() -> impl Strategy<Value = Input> {
    any_input().prop_map(|mut input| {
        input.workers.iter_mut().for_each(|worker| worker.version = "1".to_owned());
        Input { may_move: true, ..input }
    })
}

/// At least one member of each version takes tasks.
fn two_versions() -> impl Strategy<Value = Input> {
    any_input().prop_map(|mut input| {
        for version in ["1", "2"] {
            let index = input.workers.len();
            let joined = FencingToken(input.workers[0].joined.0 * 7 % 1_000 * 10 + index as u64);
            input.workers.push(Worker { joined, ..member(index, version) });
        }
        input
    })
}

/// No pins, one version, and at least one member that can take tasks.
fn unpinned(weights: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Input> {
    let worker = (prop_oneof![Just(1_u32), 0..=20_u32], prop::bool::weighted(0.9));
    let workers = prop::collection::vec(worker, 1..12);
    let skewed = prop_oneof![0..14_usize, 0..3_usize];
    let task = (weights, prop::option::weighted(0.9, skewed));
    let tasks = prop_oneof![
        prop::collection::vec(task.clone(), 1..30),
        prop::collection::vec(task, 1..150)
    ];
    (workers, tasks).prop_map(|(workers, tasks)| {
        let worker = |(index, (capacity, takes_tasks))| Worker {
            capacity,
            takes_tasks,
            ..member(index, "1")
        };
        let mut workers: Vec<_> = workers.into_iter().enumerate().map(worker).collect();
        workers[0] =
            Worker { capacity: workers[0].capacity.max(1), takes_tasks: true, ..member(0, "1") };
        let mut input = Input::of(workers, tasks.iter().map(|(weight, _)| *weight));
        for (index, (_, owner)) in tasks.into_iter().enumerate() {
            input.current.extend(owner.map(|owner| (task_name(index), worker_name(owner))));
        }
        input
    })
}

fn equal_tasks() -> impl Strategy<Value = Input> {
    unpinned(1..=1)
}

fn weighted_tasks() -> impl Strategy<Value = Input> {
    unpinned(1..=50)
}
