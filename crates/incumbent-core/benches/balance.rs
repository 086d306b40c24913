//! What it costs an allocator to find the wanted owners, in the largest group that the design allows.

use std::collections::BTreeMap;

use divan::Bencher;
use incumbent_core::group::{Task, TaskName, Worker, balance};
use incumbent_core::{FencingToken, Identity};

fn main() {
    divan::main();
}

const WORKERS: usize = 1_000;
const TASKS: usize = 10_000;

/// The heaviest task; at 1 all are equal.
const WEIGHTS: [u32; 2] = [1, 1_000];

#[divan::bench(args = WEIGHTS)]
fn none_has_an_owner(bencher: Bencher, heaviest: u32) {
    let (workers, tasks) = (workers(), tasks(heaviest));
    bencher.bench(|| balance(&workers, &tasks, &BTreeMap::new(), true));
}

#[divan::bench(args = WEIGHTS)]
fn nothing_has_changed(bencher: Bencher, heaviest: u32) {
    let (workers, tasks) = (workers(), tasks(heaviest));
    let current = balance(&workers, &tasks, &BTreeMap::new(), true);
    bencher.bench(|| balance(&workers, &tasks, &current, true));
}

#[divan::bench(args = WEIGHTS)]
fn one_has_all(bencher: Bencher, heaviest: u32) {
    let (workers, tasks) = (workers(), tasks(heaviest));
    let current = balance(&workers[..1], &tasks, &BTreeMap::new(), true);
    bencher.bench(|| balance(&workers, &tasks, &current, true));
}

#[divan::bench(args = WEIGHTS)]
fn half_have_joined(bencher: Bencher, heaviest: u32) {
    let (workers, tasks) = (workers(), tasks(heaviest));
    let current = balance(&workers[..WORKERS / 2], &tasks, &BTreeMap::new(), true);
    bencher.bench(|| balance(&workers, &tasks, &current, true));
}

fn workers() -> Vec<Worker> {
    let worker = |index: usize| Worker {
        name: Identity::new(format!("worker-{index}")).unwrap(),
        capacity: 1 + index as u32 % 4,
        version: "1".to_owned(),
        joined: FencingToken(index as u64),
        takes_tasks: true,
    };
    (0..WORKERS).map(worker).collect()
}

fn tasks(heaviest: u32) -> BTreeMap<TaskName, Task> {
    let task = |index: usize| {
        // Any spread that does not follow the names.
        let weight = 1 + (index as u32).wrapping_mul(2_654_435_761) % heaviest;
        (TaskName::new(format!("task-{index}")).unwrap(), Task { weight, pin: None })
    };
    (0..TASKS).map(task).collect()
}
