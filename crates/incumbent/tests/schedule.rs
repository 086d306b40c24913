//! Whole schedules over the API server, in paused time.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request};
use incumbent::{
    BoxError, Candidate, CatchUp, Clock, Error, Lock, OnDeath, Overlap, Schedule, ScheduleControl,
    Timing,
};
use incumbent_apiserver::ApiServer;
use jiff::Timestamp;
use serde_json::{Value, json};
use support::between::{self, Fate};
use support::log::Log;
use tokio::task::LocalSet;
use tokio::time::sleep;
use tracing_subscriber::filter::LevelFilter;

/// The runs that began, each with its tick in seconds and its attempt.
type Runs = Rc<RefCell<Vec<(i64, u32)>>>;

const MINUTE: Duration = Duration::from_secs(60);

/// Where tokio's clock begins.
const NEW_YEAR: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// One server and one clock for all replicas.
#[derive(Clone)]
struct World {
    server: ApiServer,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let clock = Clock::tokio();
        let start = clock.instant();
        let date = move || {
            let since = clock.instant().saturating_since(start);
            NEW_YEAR + since
        };
        Self { server: ApiServer::builder().clock(date).build(), clock }
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
        let suspended = record(&world, "report").await;
        assert_eq!(suspended["suspended"]["by"], "jane, for the migration");
        assert!(control.resume().await.unwrap());
        assert!(!control.resume().await.unwrap());
        let resumed = record(&world, "report").await;
        assert!(resumed["suspended"].is_null(), "{resumed}");
        assert!((5..=6).contains(&resumed["passedSuspended"].as_u64().unwrap()), "{resumed}");
        sleep(5 * MINUTE).await;
        let later = &runs.borrow()[before + 1..];
        assert!((4..=5).contains(&later.len()) && rises_by(later, 60), "{later:?}");
        let first = Timestamp::from_second(later[0].0).unwrap();
        let resumed_at: Timestamp = resumed["floor"].as_str().unwrap().parse().unwrap();
        assert!(first > resumed_at, "nothing is caught up: {resumed}, {later:?}");
    };
    set.run_until(set_up).await;
    let record = record(&world, "report").await;
    assert_eq!((&record["missed"], &record["skipped"]), (&0.into(), &0.into()));
    // The run out of turn is no tick.
    assert_eq!(record["ran"], runs.borrow().len() - 1, "{record}");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn people_who_use_the_former_name_are_told_the_new_one() {
    let world = World::new();
    let (runs, set) = (Runs::default(), LocalSet::new());
    let schedule = Schedule::every("report", MINUTE);
    set.run_until(replica(world.clone(), "john", schedule, 3 * MINUTE, runs.clone())).await;
    let schedule = Schedule::every("summary", MINUTE).renamed_from("report");
    set.run_until(replica(world.clone(), "paul", schedule, 3 * MINUTE, runs.clone())).await;
    assert!(rises_by(&runs.borrow(), 60), "{runs:?}");
    let before = record(&world, "report").await;
    assert_eq!(before["movedTo"], "summary");
    let client = kube::Client::new(world.server.service(), "default");
    let lock = Lock::config_map("default", "jobs");
    let control = ScheduleControl::new(client, lock, "report").unwrap();
    let answers = [control.suspend("jane").await, control.run_now().await, control.resume().await];
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.hint(), "it was renamed to summary: use that name", "{error}");
    }
    assert_eq!(record(&world, "report").await, before);
}

/// The record is written by hand before the replica starts.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_record_that_cannot_be_read_stops_the_schedule_and_the_log_says_what_to_do() {
    for (name, reason) in [("report", "unreadable"), ("former", "old-unreadable")] {
        let world = World::new();
        let (log, _guard) = Log::start(LevelFilter::WARN);
        let key = format!("{name}.schedule");
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "namespace": "default", "name": "jobs" },
            "data": { key.clone(): "{" },
        });
        world.server.create(map).unwrap();
        let runs = Runs::default();
        let schedule = Schedule::every("report", MINUTE).renamed_from("former");
        replica(world.clone(), "john", schedule, 5 * MINUTE, runs.clone()).await;
        assert_eq!(runs.borrow().len(), 0);
        let lines = log.take();
        let told: Vec<_> = lines.iter().filter(|line| line.contains("reason=")).collect();
        assert_eq!(told.len(), 1, "{lines:#?}");
        for words in ["schedule=\"report\"", &format!("reason=\"{reason}\""), "hint=", &key] {
            assert!(told[0].contains(words), "{words}: {told:?}");
        }
        let client = kube::Client::new(world.server.service(), "default");
        let lock = Lock::config_map("default", "jobs");
        let control = ScheduleControl::new(client, lock, name).unwrap();
        let error = control.suspend("jane").await.unwrap_err();
        assert!(error.hint().contains(&key), "{error:?}");
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_run_makes_way_for_the_next_tick_and_does_not_run_again() {
    let world = World::new();
    let runs = Runs::default();
    let schedule = Schedule::every("report", MINUTE)
        .overlap(Overlap::Replace)
        .on_death(OnDeath::Again)
        .deadline(10 * MINUTE);
    let mut candidate = candidate(&world, "john");
    let work = |run: incumbent::ScheduledRun| {
        runs.borrow_mut().push((run.tick_millis() / 1000, run.attempt()));
        std::future::pending::<Result<(), BoxError>>()
    };
    schedule.run_until(sleep(10 * MINUTE), &mut candidate, work).await.unwrap();
    candidate.leave().await;
    let record = record(&world, "report").await;
    let runs = runs.borrow();
    assert!((9..=10).contains(&runs.len()) && rises_by(&runs, 60), "{runs:?}");
    assert!(runs.iter().all(|(_, attempt)| *attempt == 1), "{runs:?}");
    let outcomes: Vec<_> =
        record["last"].as_array().unwrap().iter().map(|run| &run["outcome"]).collect();
    assert_eq!(outcomes[0], "stopped", "{record}");
    assert!(outcomes[1..].iter().all(|outcome| *outcome == "replaced"), "{record}");
}

/// The scheduler heard of the term before it sent the request. Renewals have extended it since.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_run_whose_begin_is_answered_late_starts_if_the_term_is_still_valid() {
    let world = World::new();
    let mut is_first = true;
    let rule = move |passing: &between::Passing| {
        let begins = passing.method == Method::PUT && passing.body.contains(r#"\"run\":"#);
        match begins && std::mem::take(&mut is_first) {
            true => Fate::AnswerLate(Duration::from_millis(2800)),
            false => Fate::Forward(passing.body.clone()),
        }
    };
    let client = between::client(&world.server, rule);
    let builder = Candidate::builder(client, Lock::config_map("default", "jobs"));
    let timing = Timing::from_lease_duration(Duration::from_secs(3)).unwrap();
    let mut candidate = builder.identity("john").clock(world.clock).timing(timing).build().unwrap();
    let runs = Runs::default();
    let work = |run: incumbent::ScheduledRun| {
        runs.borrow_mut().push((run.tick_millis() / 1000, run.attempt()));
        async { Ok(()) }
    };
    let schedule = Schedule::every("report", MINUTE);
    schedule.run_until(sleep(2 * MINUTE), &mut candidate, work).await.unwrap();
    candidate.leave().await;
    assert!(runs.borrow().iter().all(|(_, attempt)| *attempt == 1), "{runs:?}");
    assert!((1..=2).contains(&runs.borrow().len()), "{runs:?}");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_deadline_that_a_crash_outlasts_is_warned_of() {
    let world = World::new();
    let (log, _guard) = Log::start(LevelFilter::WARN);
    let candidate = candidate(&world, "john");
    let warnings = |schedule: Schedule| {
        drop(schedule.runner(&candidate).unwrap());
        log.take().into_iter().filter(|line| line.contains("deadline")).collect::<Vec<_>>()
    };
    let short = || Schedule::every("report", MINUTE).deadline(Duration::from_secs(19));
    let told = warnings(short());
    assert_eq!(told.len(), 1, "{told:?}");
    for words in ["schedule=\"report\"", "deadline=\"19s\"", "set a deadline of 20s or more"] {
        assert!(told[0].contains(words), "{words}: {told:?}");
    }
    assert_eq!(warnings(short().deadline(Duration::from_secs(20))), [""; 0]);
    // Ticks past their deadline run all the same, unless they are to run again.
    let all = || short().catch_up(CatchUp::All(100));
    assert_eq!(warnings(all()), [""; 0]);
    assert_eq!(warnings(all().on_death(OnDeath::Again)).len(), 1);
}

/// What is written is read back as it is. Otherwise it would be corrected for ever.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_period_is_stored_exactly_or_refused() {
    let world = World::new();
    let john = candidate(&world, "john");
    let century = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    for wrong in [
        Duration::ZERO,
        Duration::from_millis(999),
        Duration::from_micros(1_500_001),
        Duration::from_nanos(1_000_000_001),
        century + Duration::from_secs(1),
        Duration::MAX,
    ] {
        let error = Schedule::every("report", wrong).runner(&john).unwrap_err();
        assert_eq!(error.to_string(), format!("a schedule cannot run every {wrong:?}"));
    }
    for wrong in [i64::MIN, i64::MAX] {
        let schedule = Schedule::every("report", MINUTE).anchor_millis(wrong);
        let error = schedule.runner(&john).unwrap_err().to_string();
        assert!(error.contains("is no date"), "{error}");
    }
    for (index, right) in [Duration::from_millis(1500), century].into_iter().enumerate() {
        let name = format!("report{index}");
        let schedule = Schedule::every(&name, right).anchor_millis(-1);
        let before = world.server.requests().of(incumbent_apiserver::Verb::Update);
        replica(world.clone(), "john", schedule, Duration::from_secs(8), Runs::default()).await;
        let writes = world.server.requests().of(incumbent_apiserver::Verb::Update) - before;
        assert!(writes < 12, "{writes} for {right:?}");
        assert!(record(&world, &name).await["floor"].is_string());
    }
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
