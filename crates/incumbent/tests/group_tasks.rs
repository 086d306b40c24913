//! What a task promises to the program that runs it, and what a member keeps up: over a real API server, in paused time.

mod support;

use std::time::Duration;

use http::Method;
use incumbent::{Clock, Group, GroupBuilder, Task, Tasks};
use incumbent_apiserver::ApiServer;
use serde_json::json;
use support::{Line, Recorder, State, client, client_on, request, seconds};

/// Another member gets a task only when the last that holds it has dropped it, however long that takes.
#[tokio::test(start_paused = true)]
async fn a_revoked_task_is_invalid_at_once_and_moves_when_it_is_dropped() {
    let server = ApiServer::new();
    let mut john = builder(client(&server), "john").build().unwrap();
    let task = std::sync::Arc::new(next_task(&mut john).await);
    let mut jane = builder(client(&server), "jane").build().unwrap();
    seconds(3.0).await;
    assert!(task.is_valid());
    john.handle().drain(true);
    tokio::time::timeout(Duration::from_secs(2), task.revoked()).await.unwrap();
    assert!(!task.is_valid(), "it is revoked");
    assert_eq!(task.valid_for(), Duration::ZERO);

    let works_on = task.clone();
    drop(task);
    let none = tokio::time::timeout(Duration::from_secs(40), jane.next_task()).await;
    assert!(none.is_err(), "its work has not stopped: {none:?}");
    let token = works_on.fencing_token();
    drop(works_on);
    let moved = next_task(&mut jane).await;
    assert!(moved.fencing_token() > token);
    drop(moved);
    tokio::join!(john.leave(), jane.leave());
}

/// By its own clock, and without a word from anywhere.
#[tokio::test(start_paused = true)]
async fn a_task_is_valid_no_longer_than_its_seat() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let task = next_task(&mut john).await;
    seconds(5.0).await;
    line.set(State::Silent);
    assert!(task.is_valid());
    let (left, cut) = (task.valid_for(), tokio::time::Instant::now());
    while cut.elapsed() < Duration::from_secs(10) {
        seconds(0.1).await;
        let rest = left.saturating_sub(cut.elapsed());
        assert!(task.valid_for() <= rest, "{:?} of {rest:?} are left", task.valid_for());
    }
    assert!(!task.is_valid(), "the renew deadline of the seat has passed");
    tokio::time::timeout(Duration::from_millis(1), task.revoked()).await.unwrap();
    drop(task);
    line.set(State::Whole);
    john.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_seat_gets_its_label_back_with_the_next_renewal() {
    let server = ApiServer::new();
    let mut john = builder(client(&server), "john").build().unwrap();
    let task = next_task(&mut john).await;
    let unlabelled = json!({ "metadata": { "labels": { "incumbent.dev/group": null } } });
    let seat = "/apis/coordination.k8s.io/v1/namespaces/default/leases/indexers.john";
    let seen = request(&server, Method::PATCH, seat, Some(unlabelled)).await;
    assert!(seen["metadata"]["labels"]["incumbent.dev/group"].is_null(), "{seen}");
    seconds(6.0).await;
    let seen = request(&server, Method::GET, seat, None).await;
    assert_eq!(seen["metadata"]["labels"]["incumbent.dev/group"], "indexers");
    assert!(task.is_valid(), "it cost nothing");
    drop(task);
    john.leave().await;
}

/// A connection may be dead without a word: what it would have shown is not to be missed for ever.
#[tokio::test(start_paused = true)]
async fn a_watch_of_the_table_that_stays_silent_is_opened_again() {
    let (server, recorder) = (ApiServer::new(), Recorder::default());
    let mut john = builder(recorder.client(&server), "john").build().unwrap();
    let task = next_task(&mut john).await;
    let tables = || {
        let watches = recorder.watches().into_iter();
        watches.filter(|watch| watch.contains("/configmaps?")).count()
    };
    let before = tables();
    seconds(300.0).await;
    assert_eq!(tables(), before, "bookmarks show that it is alive");
    server.faults().add("freeze=continue,resource=configmaps".parse().unwrap());
    seconds(100.0).await;
    assert_eq!(tables(), before + 1, "in five leases");
    assert!(task.is_valid(), "it cost nothing");
    server.faults().clear();
    drop(task);
    john.leave().await;
}

/// A conflict is answered by a read. Where each write conflicts, something in between answers so.
#[tokio::test(start_paused = true)]
async fn writes_that_all_conflict_are_no_busy_loop() {
    let (server, recorder) = (ApiServer::new(), Recorder::default());
    let mut john = builder(recorder.client(&server), "john").build().unwrap();
    let task = next_task(&mut john).await;
    let mut jane = builder(client(&server), "jane").build().unwrap();
    seconds(5.0).await;
    server.faults().add("verb=write,resource=configmaps,error=409".parse().unwrap());
    let before = recorder.sent().len();
    john.handle().drain(true);
    seconds(30.0).await;
    let sent = recorder.sent().len() - before;
    // A write and a read each retry period of two seconds, and the renewals.
    assert!((20..80).contains(&sent), "{sent} requests in 30 s");
    server.faults().clear();
    task.revoked().await;
    drop(task);
    drop(next_task(&mut jane).await);
    tokio::join!(john.leave(), jane.leave());
}

/// Its process may end then, and others need not wait until that lease is over.
#[tokio::test(start_paused = true)]
async fn a_member_has_left_only_when_it_has_given_up_the_allocators_lease_too() {
    let server = ApiServer::new();
    let mut john = builder(client(&server), "john").build().unwrap();
    let task = next_task(&mut john).await;
    seconds(5.0).await;
    let slow = "verb=update,resource=leases,name=indexers,latency=1s";
    server.faults().add(slow.parse().unwrap());
    drop(task);
    john.leave().await;
    server.faults().clear();
    for lease in ["indexers", "indexers.john"] {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/{lease}");
        let lease = request(&server, Method::GET, &path, None).await;
        assert_eq!(lease["spec"]["holderIdentity"].as_str().unwrap_or_default(), "", "{lease}");
    }
}

/// The next allocator has timed all seats by then.
#[tokio::test(start_paused = true)]
async fn the_tasks_of_an_allocator_and_a_member_that_die_together_move_within_lease_and_a_second() {
    let server = ApiServer::new();
    let tasks = || Tasks::named((0..8).map(|task| format!("t{task}")));
    let (mut lines, mut handles) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c", "d"] {
        let line = Line::to(&server);
        let builder = builder(client_on(&server, &line), name).tasks(tasks());
        let mut group = builder.build().unwrap();
        lines.push(line);
        handles.push(group.handle());
        tokio::spawn(async move {
            while let Ok(task) = group.next_task().await {
                tokio::spawn(async move { task.revoked().await });
            }
        });
        // Each joins the waitlist before the next.
        seconds(1.0).await;
    }
    seconds(5.0).await;
    let owners = async || {
        let members = handles[1].members().await.unwrap().into_iter();
        let owners = members.filter(|member| !member.tasks.is_empty());
        owners.map(|member| (member.name, member.tasks.len())).collect::<Vec<_>>()
    };
    assert_eq!(owners().await.len(), 4);
    lines[0].set(State::Silent);
    lines[3].set(State::Silent);
    seconds(16.0).await;
    assert_eq!(owners().await, [("b".to_owned(), 4), ("c".to_owned(), 4)]);
}

/// Page 0 opens last: once it is open, another page would wait for the longest lease of 60 s.
#[tokio::test(start_paused = true)]
async fn all_pages_of_a_first_table_assign_their_tasks_at_once() {
    let server = ApiServer::new();
    let tasks = Tasks::named((0..1_000).map(|task| format!("task-{task:0>20}")));
    let group = builder(client(&server), "john").tasks(tasks).build().unwrap();
    let handle = group.handle();
    let run =
        tokio::spawn(group.run_until(std::future::pending::<()>(), |_| std::future::pending()));
    seconds(1.0).await;
    assert_eq!(handle.status().own, 1_000);
    run.abort();
}

async fn next_task(group: &mut Group) -> Task {
    let task = tokio::time::timeout(Duration::from_secs(30), group.next_task()).await;
    task.expect("it is assigned").unwrap()
}

fn builder(client: kube::Client, name: &str) -> GroupBuilder {
    Group::builder(client, "default", "indexers")
        .member(name)
        .tasks(Tasks::named(["eu"]))
        .clock(Clock::tokio())
}
