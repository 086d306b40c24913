//! `tasks`: each has one worker at any time, whoever is killed or frozen.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;
use serde_json::json;

use crate::stage::{Process, Stage};

const TASKS: &str = env!("CARGO_BIN_EXE_tasks");
const ALL: [&str; 6] = ["task-1", "task-2", "task-3", "task-4", "task-5", "task-6"];

/// Reads until the worker has worked on this many tasks since its last word, and says on which.
async fn works_on(worker: &mut Process, how_many: usize) -> BTreeSet<String> {
    let mut tasks = BTreeSet::new();
    while tasks.len() < how_many {
        tasks.insert(worker.says("task-").await);
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_tasks_of_a_worker_that_dies_or_freezes_go_to_another_and_do_not_come_back() {
    let stage = Stage::new().await;
    let metadata = json!({ "name": "tasks", "namespace": "default" });
    let data: BTreeMap<_, _> = ALL.iter().map(|task| (task, "")).collect();
    let table =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    stage.server.create(table).unwrap();

    // The first leads, and has all tasks: they are not taken away from who works.
    let mut leader = stage.start(TASKS, &["a"]);
    assert_eq!(works_on(&mut leader, 6).await.len(), 6);
    let mut second = stage.start(TASKS, &["b"]);
    second.says("ready").await;
    let mut third = stage.start(TASKS, &["c"]);
    third.says("ready").await;

    // It is killed: one of the others leads, finds out, and shares the tasks out.
    leader.kill();
    let (of_second, of_third) = tokio::join!(works_on(&mut second, 3), works_on(&mut third, 3));
    assert!(of_second.is_disjoint(&of_third), "{of_second:?} and {of_third:?}");
    assert_eq!(of_second.len() + of_third.len(), ALL.len());

    // One is frozen: the other works for both.
    second.send(Signal::STOP);
    assert_eq!(works_on(&mut third, 6).await.len(), 6);
    second.catch_up();
    // It wakes, and touches no task: the watchdog ends it, unless its work has ended by itself before that.
    second.send(Signal::CONT);
    match second.line().await.as_deref() {
        None => {
            second = stage.start(TASKS, &["b"]);
            second.says("ready").await;
        }
        said => assert_eq!(said, Some("ready")),
    }
    third.interrupt();
    assert_eq!(works_on(&mut second, 6).await.len(), 6);
}
