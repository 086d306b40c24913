//! Whole schedules over the API server, in paused time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request};
use incumbent::{BoxError, Candidate, Clock, Error, Lock, OnDeath, Schedule, ScheduleControl};
use incumbent_apiserver::ApiServer;
use serde_json::Value;
use tokio::task::LocalSet;
use tokio::time::sleep;

/// The runs that began, each with its tick in seconds and its attempt.
type Runs = Rc<RefCell<Vec<(i64, u32)>>>;

const MINUTE: Duration = Duration::from_secs(60);

/// One server and one clock for all replicas.
#[derive(Clone)]
struct World {
    server: ApiServer,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        Self { server: ApiServer::new(), clock: Clock::tokio() }
    }
}

fn candidate(world: &World, name: &str) -> Candidate {
    let World { server, clock } = world;
    let client = kube::Client::new(server.service(), "default");
    Candidate::builder(client, Lock::config_map("default", "jobs"))
        .identity(name)
        .clock(*clock)
        .build()
        .unwrap()
}

/// One replica, until it is aborted or the time is over.
async fn replica(world: World, name: &str, schedule: Schedule, length: Duration, runs: Runs) {
    let mut candidate = candidate(&world, name);
    let shutdown = sleep(length);
    let work = |run: incumbent::ScheduledRun| {
        let runs = runs.clone();
        async move {
            runs.borrow_mut().push((run.tick_millis() / 1000, run.attempt()));
            sleep(Duration::from_secs(2)).await;
            Ok::<(), BoxError>(())
        }
    };
    schedule.run_until(shutdown, &mut candidate, work).await.unwrap();
    candidate.leave().await;
}

async fn record(World { server, .. }: &World, name: &str) -> Value {
    let client = kube::Client::new(server.service(), "default");
    let path = "/api/v1/namespaces/default/configmaps/jobs";
    let request = Request::builder().method(Method::GET).uri(path).body(Vec::new()).unwrap();
    let object: Value = client.request(request).await.unwrap();
    serde_json::from_str(object["data"][format!("{name}.schedule")].as_str().unwrap()).unwrap()
}

fn rises_by(runs: &[(i64, u32)], seconds: i64) -> bool {
    runs.windows(2).all(|pair| pair[1].0 - pair[0].0 == seconds)
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn three_replicas_run_each_tick_once_while_they_end_one_after_the_other() {
    let world = World::new();
    let runs = Runs::default();
    let set = LocalSet::new();
    for (name, minutes) in [("john", 10), ("paul", 20), ("george", 30)] {
        let schedule = Schedule::every("report", MINUTE);
        set.spawn_local(replica(world.clone(), name, schedule, minutes * MINUTE, runs.clone()));
    }
    set.await;
    let record = record(&world, "report").await;
    let runs = runs.borrow();
    assert!((29..=30).contains(&runs.len()), "{runs:?}");
    assert!(rises_by(&runs, 60), "{runs:?}");
    assert!(runs.iter().all(|(_, attempt)| *attempt == 1), "{runs:?}");
    assert_eq!(record["ran"], runs.len());
    assert_eq!((&record["missed"], &record["skipped"]), (&0.into(), &0.into()));
    assert_eq!(record["last"].as_array().unwrap().len(), 16);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_run_of_a_dead_leader_is_in_doubt_or_runs_again() {
    for (on_death, attempts) in [(OnDeath::InDoubt, 1), (OnDeath::Again, 2)] {
        let world = World::new();
        let runs = Runs::default();
        let schedule = Schedule::every("report", 10 * MINUTE).on_death(on_death);
        let set = LocalSet::new();
        let dies = |name, length| {
            let (world, schedule, runs) = (world.clone(), schedule.clone(), runs.clone());
            set.spawn_local(async move {
                replica(world, name, schedule, length, runs).await;
            })
        };
        let first = dies("john", 100 * MINUTE);
        set.run_until(async {
            while runs.borrow().is_empty() {
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        // Dead in the middle of the run: nothing is released, and nothing is recorded.
        world.server.faults().add("verb=update,drop=request".parse().unwrap());
        first.abort();
        set.run_until(sleep(Duration::from_secs(1))).await;
        world.server.faults().clear();
        let second = dies("paul", MINUTE);
        set.run_until(async { second.await.unwrap() }).await;
        let record = record(&world, "report").await;
        assert_eq!(runs.borrow().len(), attempts, "{on_death:?}: {record}");
        let outcomes: Vec<_> =
            record["last"].as_array().unwrap().iter().map(|run| &run["outcome"]).collect();
        assert_eq!(outcomes.last().unwrap(), &"in-doubt", "{record}");
        assert_eq!(record["ran"], 1);
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_end_that_cannot_be_recorded_holds_the_lock_no_longer_than_the_lease() {
    for fault in ["verb=update,error=500", "verb=update,drop=answer"] {
        let world = World::new();
        let World { server, clock } = world.clone();
        let (told, mut noted) = tokio::sync::mpsc::unbounded_channel();
        let client = kube::Client::new(server.service(), "default");
        let builder = Candidate::builder(client, Lock::config_map("default", "jobs")).clock(clock);
        let builder =
            builder.identity("john").on_overrun(move |_| told.send(()).unwrap_or_default());
        let mut candidate = builder.build().unwrap();
        let ran = Cell::new(0);
        let work = |_| async {
            ran.set(ran.get() + 1);
            server.faults().add(fault.parse().unwrap());
            Ok::<(), BoxError>(())
        };
        let schedule = Schedule::every("report", 60 * MINUTE);
        let heal = async {
            while ran.get() == 0 {
                sleep(Duration::from_millis(100)).await;
            }
            sleep(MINUTE).await;
            server.faults().clear();
            sleep(MINUTE).await;
        };
        schedule.run_until(heal, &mut candidate, work).await.unwrap();
        candidate.leave().await;
        let record = record(&world, "report").await;
        assert_eq!(ran.get(), 1, "{fault}: {record}");
        assert!(noted.try_recv().is_err(), "{fault}: it held the lock too long");
        assert_eq!(record["last"][0]["outcome"], "succeeded", "{fault}: {record}");
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_schedule_is_suspended_resumed_and_run_out_of_turn() {
    let world = World::new();
    let runs = Runs::default();
    let set = LocalSet::new();
    let schedule = Schedule::every("report", MINUTE);
    set.spawn_local(replica(world.clone(), "john", schedule, 30 * MINUTE, runs.clone()));
    let client = kube::Client::new(world.server.service(), "default");
    let lock = Lock::config_map("default", "jobs");
    let control = ScheduleControl::new(client.clone(), lock.clone(), "report").unwrap();
    let set_up = async {
        sleep(5 * MINUTE).await;
        assert!(control.suspend("jane, for the migration").await.unwrap());
        assert!(!control.suspend("john").await.unwrap());
        let before = runs.borrow().len();
        assert!((4..=5).contains(&before), "{before}");
        sleep(5 * MINUTE).await;
        assert_eq!(runs.borrow().len(), before);
        assert!(control.run_now().await.unwrap());
        sleep(MINUTE / 2).await;
        assert_eq!(runs.borrow().len(), before + 1);
        let missing = ScheduleControl::new(client, lock, "other").unwrap().suspend("jane").await;
        assert!(matches!(missing, Err(Error::Missing { .. })), "{missing:?}");
    };
    set.run_until(set_up).await;
    let record = record(&world, "report").await;
    assert_eq!(record["suspended"]["by"], "jane, for the migration");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn what_cannot_be_a_schedule_is_refused_at_the_start() {
    let world = World::new();
    let candidate = candidate(&world, "john");
    let refused = |schedule: Schedule| schedule.runner(&candidate).unwrap_err().to_string();
    assert_eq!(refused(Schedule::cron("report", "0 0 30 2 *")), "\"0 0 30 2 *\" never comes");
    assert!(refused(Schedule::cron("report", "0 0 * *")).contains("is not a cron pattern"));
    let nowhere = Schedule::cron("report", "0 0 * * *").time_zone("Europe/Nowhere");
    assert_eq!(refused(nowhere), "there is no time zone \"Europe/Nowhere\"");
    assert!(refused(Schedule::every("report", MINUTE / 1000)).contains("cannot run every 60ms"));
    assert!(refused(Schedule::every("a/b", MINUTE)).contains("cannot be the name"));
    let client = kube::Client::new(world.server.service(), "default");
    let lease = Candidate::builder(client, Lock::lease("default", "jobs"));
    let lease = lease.clock(Clock::tokio()).build().unwrap();
    let error = Schedule::every("report", MINUTE).runner(&lease).unwrap_err();
    assert!(error.to_string().contains("has no room for the record"), "{error}");
}
