//! Tasks that are prepared where they move to, while their owner still works.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use incumbent::group_survey::GroupSurvey;
use incumbent::{Clock, Group, GroupBuilder, Task, Tasks};
use incumbent_apiserver::ApiServer;
use support::{client, seconds};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const TASKS: [&str; 4] = ["eu", "us", "ap", "jp"];

#[tokio::test(start_paused = true)]
async fn the_owner_works_until_the_next_one_is_prepared() {
    let server = ApiServer::new();
    let log = Log::default();
    let john = Running::start(&server, "john", &log, |builder| builder);
    seconds(5.0).await;
    let jane = Running::start(&server, "jane", &log, |builder| {
        builder.prepare(Duration::from_secs(30), prepare(&log, Duration::from_secs(7)))
    });
    seconds(30.0).await;
    for task in log.tasks("jane", "starts") {
        let prepares = log.at("jane", "prepares", &task);
        let is_prepared = log.at("jane", "has prepared", &task);
        let stops = log.at("john", "stops", &task);
        let starts = log.at("jane", "starts", &task);
        assert_eq!(is_prepared - prepares, Duration::from_secs(7));
        assert!(stops >= is_prepared, "{task} stops at {stops:?}, prepared at {is_prepared:?}");
        assert!(starts - stops < Duration::from_secs(1), "{task} is away for {:?}", starts - stops);
    }
    assert_eq!(log.tasks("jane", "starts").len(), 2);
    assert_eq!(log.tasks("jane", "prepares").len(), 2, "only what moves is prepared");
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_preparation_that_does_not_end_delays_a_move_by_its_limit() {
    let server = ApiServer::new();
    let log = Log::default();
    let john = Running::start(&server, "john", &log, |builder| builder);
    seconds(5.0).await;
    let jane = Running::start(&server, "jane", &log, |builder| {
        builder.prepare(Duration::from_secs(4), prepare(&log, Duration::from_secs(3600)))
    });
    seconds(30.0).await;
    let tasks = log.tasks("jane", "starts");
    assert_eq!(tasks.len(), 2);
    for task in tasks {
        let waited = log.at("john", "stops", &task) - log.at("jane", "prepares", &task);
        assert!((3.9..5.0).contains(&waited.as_secs_f64()), "{task} waited for {waited:?}");
        log.at("jane", "does not prepare", &task);
    }
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_a_preparation_when_the_owner_leaves() {
    let server = ApiServer::new();
    let log = Log::default();
    let john = Running::start(&server, "john", &log, |builder| builder);
    seconds(5.0).await;
    let jane = Running::start(&server, "jane", &log, |builder| {
        builder.prepare(Duration::from_secs(3600), prepare(&log, Duration::from_secs(3600)))
    });
    seconds(10.0).await;
    assert_eq!(log.tasks("jane", "starts"), [] as [String; 0]);
    let clock = Clock::tokio();
    let survey =
        GroupSurvey::start_with(client(&server), "default", "indexers", clock).await.unwrap();
    let next = survey.view().tasks.into_iter().filter_map(|task| task.next).collect::<Vec<_>>();
    assert_eq!(next, ["jane", "jane"], "people see who prepares what");
    let left_at = Instant::now();
    john.leave().await;
    seconds(2.0).await;
    assert_eq!(log.tasks("jane", "starts").len(), TASKS.len());
    for task in TASKS {
        assert!(log.at("jane", "starts", task) - left_at < Duration::from_secs(2));
    }
    jane.leave().await;
}

/// What each member did to which task, and when.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Entry>>>);

/// The member, what it did, and to which task.
type Entry = (Instant, &'static str, &'static str, String);

impl Log {
    fn note(&self, member: &'static str, what: &'static str, task: &str) {
        self.0.lock().unwrap().push((Instant::now(), member, what, task.to_owned()));
    }

    fn tasks(&self, member: &str, what: &str) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let entries = log.iter().filter(|entry| (entry.1, entry.2) == (member, what));
        entries.map(|entry| entry.3.clone()).collect()
    }

    /// When it happened last.
    fn at(&self, member: &str, what: &str, task: &str) -> Instant {
        let log = self.0.lock().unwrap();
        let mut entries = log.iter().rev();
        let entry = entries.find(|entry| (entry.1, entry.2, &*entry.3) == (member, what, task));
        entry.unwrap_or_else(|| panic!("{member} {what} {task}? {log:?}")).0
    }
}

/// A preparation of Jane's that takes this long.
fn prepare(
    log: &Log,
    takes: Duration,
) -> impl Fn(String) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync + 'static {
    let log = log.clone();
    move |task| {
        let log = log.clone();
        Box::pin(async move {
            log.note("jane", "prepares", &task);
            let mut ending =
                Ending { log: &log, member: "jane", what: "does not prepare", task: &task };
            tokio::time::sleep(takes).await;
            ending.what = "has prepared";
        })
    }
}

/// Notes it when it is dropped.
struct Ending<'a> {
    log: &'a Log,
    member: &'static str,
    what: &'static str,
    task: &'a str,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.log.note(self.member, self.what, self.task);
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), incumbent::Error>>,
}

impl Running {
    fn start(
        server: &ApiServer,
        name: &'static str,
        log: &Log,
        adjust: impl Fn(GroupBuilder) -> GroupBuilder,
    ) -> Self {
        let builder = Group::builder(client(server), "default", "indexers").member(name);
        let builder = builder.tasks(Tasks::named(TASKS)).clock(Clock::tokio());
        let group = adjust(builder).build().unwrap();
        let (stop, stopped) = oneshot::channel();
        let log = log.clone();
        let work = move |task: Arc<Task>| {
            let log = log.clone();
            async move {
                log.note(name, "starts", task.name());
                let _ending = Ending { log: &log, member: name, what: "stops", task: task.name() };
                std::future::pending().await
            }
        };
        let run = tokio::spawn(group.run_until(stopped, work));
        Self { stop, run }
    }

    async fn leave(self) {
        let _ = self.stop.send(());
        self.run.await.unwrap().unwrap();
    }
}
