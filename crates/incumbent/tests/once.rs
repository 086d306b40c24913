//! Work that runs once, however many processes ask for it.

mod support;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use incumbent::{BoxError, Clock, Lock, Once, OnceOutcome, OnceRun, OnceState};
use incumbent_apiserver::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use support::{client, seconds};
use tokio::task::JoinSet;

#[tokio::test(start_paused = true)]
async fn one_of_many_runs_it_and_all_get_its_result() {
    let server = ApiServer::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let mut asking = JoinSet::new();
    for number in 0..5 {
        let (once, runs) = (once(&server, &format!("replica-{number}")), Arc::clone(&runs));
        asking.spawn(async move {
            let work = async |run: OnceRun| {
                assert!(run.is_valid());
                assert_eq!(run.key(), "invoice-4711");
                tokio::time::sleep(Duration::from_secs(30)).await;
                let runs = runs.fetch_add(1, Ordering::SeqCst) + 1;
                Ok(format!("receipt {runs}"))
            };
            once.run("invoice-4711", work).await.unwrap()
        });
    }
    let outcomes = asking.join_all().await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    for outcome in &outcomes {
        assert!(matches!(outcome, OnceOutcome::Done(_)), "{outcome:?}");
        assert_eq!(outcome.record().result.as_deref(), Some("receipt 1"));
        assert_eq!(outcome.record(), outcomes[0].record());
    }
    let later = once(&server, "late").run("invoice-4711", never_run).await.unwrap();
    assert_eq!(&later, &outcomes[0]);
    let other = once(&server, "late").run("invoice-4712", async |_| Ok(())).await.unwrap();
    assert_eq!((other.record().by.as_str(), &other.record().result), ("late", &None));
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_run_again_only_where_that_is_asked_for() {
    let server = ApiServer::new();
    let fail = async |_: OnceRun| Err::<(), BoxError>("it rains".into());
    let outcome = once(&server, "john").run("a", fail).await.unwrap();
    let OnceOutcome::Failed(record) = &outcome else { panic!("{outcome:?}") };
    assert_eq!((record.error.as_deref(), record.exit_code), (Some("it rains"), None));
    assert_eq!(once(&server, "jane").run("a", never_run).await.unwrap(), outcome);
    let again = once(&server, "jane").at_least_once(true);
    let outcome = again.run("a", async |_| Ok(())).await.unwrap();
    assert!(matches!(&outcome, OnceOutcome::Done(record) if record.by == "jane"), "{outcome:?}");
    assert!(outcome.record().token > record.token);
}

#[tokio::test(start_paused = true)]
async fn a_death_in_the_middle_leaves_a_doubt_that_a_person_settles() {
    let server = ApiServer::new();
    for (key, is_done) in [("a", true), ("b", false)] {
        die_in_the_middle(&server, key).await;
        let jane = once(&server, "jane");
        assert_eq!(jane.look(key).await.unwrap().unwrap().state, OnceState::Running);
        assert!(!jane.settle(key, true).await.unwrap(), "it may run right now");
        let outcome = jane.run(key, never_run).await.unwrap();
        let OnceOutcome::InDoubt(record) = outcome else { panic!("{outcome:?}") };
        assert_eq!(record.by, "john");
        assert!(jane.settle(key, is_done).await.unwrap());
        let ran = Arc::new(AtomicUsize::new(0));
        let work = async |_: OnceRun| {
            ran.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let outcome = jane.run(key, work).await.unwrap();
        assert!(matches!(outcome, OnceOutcome::Done(_)), "{outcome:?}");
        assert_eq!(ran.load(Ordering::SeqCst), usize::from(!is_done));
    }
    die_in_the_middle(&server, "c").await;
    let outcome = once(&server, "jane").at_least_once(true).run("c", async |_| Ok(())).await;
    assert!(matches!(outcome.unwrap(), OnceOutcome::Done(record) if record.by == "jane"));
}

#[tokio::test(start_paused = true)]
async fn work_whose_leadership_is_lost_stops_and_is_in_doubt() {
    let server = ApiServer::new();
    let john = once(&server, "john");
    let maps: Api<ConfigMap> = Api::namespaced(client(&server), "default");
    let stopped = Arc::new(AtomicUsize::new(0));
    let work = async |_: OnceRun| {
        if stopped.load(Ordering::SeqCst) > 0 {
            return Ok(()); // It was begun a second time.
        }
        let _on_drop = OnDrop(Arc::clone(&stopped));
        maps.delete("tasks", &Default::default()).await?;
        pending::<Result<(), BoxError>>().await
    };
    let outcome = john.run("a", work).await.unwrap();
    assert!(matches!(&outcome, OnceOutcome::InDoubt(record) if record.by == "john"), "{outcome:?}");
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_recorded_is_tried_beyond_the_lease_without_an_overrun() {
    let server = ApiServer::new();
    let overruns = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&overruns);
    let john = once(&server, "john").candidate(move |builder| {
        let noted = Arc::clone(&noted);
        builder.identity("john").on_overrun(move |_| {
            noted.fetch_add(1, Ordering::SeqCst);
        })
    });
    let work = async |_: OnceRun| {
        server.faults().add("verb=update,error=500".parse().unwrap());
        Ok("receipt 1".to_owned())
    };
    let mut running = std::pin::pin!(john.run("a", work));
    let minute = tokio::time::timeout(Duration::from_secs(60), &mut running).await;
    assert!(minute.is_err(), "{minute:?}");
    assert_eq!(overruns.load(Ordering::SeqCst), 0);
    server.faults().clear();
    let outcome = running.await.unwrap();
    assert!(matches!(&outcome, OnceOutcome::Done(_)), "{outcome:?}");
    assert_eq!(once(&server, "jane").run("a", never_run).await.unwrap(), outcome);
}

#[tokio::test(start_paused = true)]
async fn results_of_four_kibibytes_are_stored_and_a_longer_one_is_not() {
    let server = ApiServer::new();
    let once = once(&server, "john");
    let most = 4 * 1024 - 2; // and two quotation marks
    for (key, length) in [("a", most), ("b", most + 1)] {
        let outcome = once.run(key, async |_| Ok("x".repeat(length))).await.unwrap();
        let OnceOutcome::Done(record) = outcome else { panic!("{outcome:?}") };
        assert_eq!(record.result.map(|result| result.len()), (length == most).then_some(most));
    }
    // The longest error is not longer than what was kept free for a result.
    let error = "\u{1}".repeat(10_000);
    let outcome = once.run("c", async |_| Err::<(), BoxError>(error.as_str().into())).await;
    let record = outcome.unwrap().record().clone();
    assert_eq!(record.error.map(|error| error.len()), Some(512));
    assert_eq!(once.look("c").await.unwrap().unwrap().state, OnceState::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_task_counts_as_never_run_when_its_time_is_over() {
    let server = ApiServer::new();
    let john = once(&server, "john");
    let first = john.run("a", async |_| Ok(())).await.unwrap();
    std::thread::sleep(Duration::from_millis(2));
    let hour = john.clone().ttl(Duration::from_secs(3600));
    assert_eq!(hour.run("a", never_run).await.unwrap(), first);
    let second = john.ttl(Duration::from_millis(1)).run("a", async |_| Ok(())).await.unwrap();
    assert!(second.record().token > first.record().token);
}

#[tokio::test(start_paused = true)]
async fn the_config_map_is_created_and_a_lease_has_no_room_for_a_record() {
    let server = ApiServer::new();
    let outcome = once(&server, "john").run("a", async |_| Ok(())).await.unwrap();
    assert!(matches!(outcome, OnceOutcome::Done(_)), "{outcome:?}");
    let lease = Once::new(client(&server), Lock::lease("default", "tasks"));
    let error = lease.run("a", never_run).await.unwrap_err();
    assert!(error.to_string().contains("has no room for a record"), "{error}");
}

async fn never_run(_: OnceRun) -> Result<(), BoxError> {
    panic!("it was run already")
}

/// John begins, and ends without having said how.
async fn die_in_the_middle(server: &ApiServer, key: &'static str) {
    let john = once(server, "john");
    let running = tokio::spawn(async move {
        let work = async |_: OnceRun| pending::<Result<(), BoxError>>().await;
        let _ = john.run(key, work).await;
    });
    seconds(5.0).await;
    running.abort();
    seconds(1.0).await;
}

struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn once(server: &ApiServer, identity: &str) -> Once {
    let identity = identity.to_owned();
    Once::new(client(server), Lock::config_map("default", "tasks"))
        .candidate(move |builder| builder.identity(identity.clone()))
        .clock(Clock::tokio())
}
