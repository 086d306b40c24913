//! `tasks`: each task has one worker at any time, also if workers are killed, frozen or restarted.

use std::collections::BTreeSet;

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

fn config(tasks: &[&str]) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "tasks.config",
            "namespace": "default",
            "labels": { "incumbent.dev/group": "tasks" },
        },
        "data": { "tasks": tasks.join("\n") },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_tasks_of_a_worker_that_dies_or_freezes_go_to_another_and_do_not_come_back() {
    let stage = Stage::new().await;
    stage.server.create(config(&ALL)).unwrap();

    let mut first = stage.start(TASKS, &["a"]);
    assert_eq!(works_on(&mut first, 6).await.len(), 6);
    let mut second = stage.start(TASKS, &["b"]);
    let mut third = stage.start(TASKS, &["c"]);
    // A fair share is two; one more or one less is balanced enough.
    let (of_second, of_third) = tokio::join!(works_on(&mut second, 1), works_on(&mut third, 1));
    assert!(of_second.is_disjoint(&of_third), "{of_second:?} and {of_third:?}");

    // The allocator is killed: another allocates, and shares its tasks out.
    first.kill();
    let (of_second, of_third) = tokio::join!(works_on(&mut second, 3), works_on(&mut third, 3));
    assert!(of_second.is_disjoint(&of_third), "{of_second:?} and {of_third:?}");
    assert_eq!(of_second.len() + of_third.len(), ALL.len());

    // One is frozen: the other works for both.
    second.send(Signal::STOP);
    assert_eq!(works_on(&mut third, 6).await.len(), 6);
    second.news();
    // It wakes and touches no task: its work has ended, or the watchdog ends the process.
    second.send(Signal::CONT);
    third.interrupt();
    let mut fourth = stage.start(TASKS, &["d"]);
    works_on(&mut fourth, 2).await;
    second.kill();
    assert_eq!(works_on(&mut fourth, 6).await.len(), 6);
}
