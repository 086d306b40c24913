//! Controllers that reconcile only while their candidate leads.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use incumbent::controller::{Action, Controller, watcher};
use incumbent::{BoxError, Clock, Error, Leadership, LeadershipStatus};
use incumbent_apiserver::{ApiServer, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::{Line, State, builder, client, client_on, request, seconds, stored};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn object(name: &str) -> Value {
    let labels = json!({ "example.com/greet": "yes" });
    let metadata = json!({ "name": name, "namespace": "default", "labels": labels });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "v": "1" } })
}

async fn set(server: &ApiServer, name: &str, value: &str) {
    let patch = json!({ "data": { "v": value } });
    request(server, Method::PATCH, &format!("{MAPS}/{name}"), Some(patch)).await;
}

async fn delete(server: &ApiServer, name: &str) {
    request(server, Method::DELETE, &format!("{MAPS}/{name}"), None).await;
}

/// What one replica has reconciled, in order: the name of the object, and what it said.
type Log = Arc<Mutex<Vec<(String, String)>>>;

fn take(log: &Log) -> Vec<(String, String)> {
    let mut taken = std::mem::take(&mut *log.lock().unwrap());
    taken.sort();
    taken
}

fn said(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn value_of(object: &ConfigMap) -> String {
    object.data.as_ref().and_then(|data| data.get("v")).cloned().unwrap_or_default()
}

/// One replica: a candidate on `line`, and a controller.
struct Replica {
    log: Log,
    status: LeadershipStatus,
    shutdown: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Error>>,
}

fn controller(client: kube::Client) -> Controller<ConfigMap> {
    let labelled = watcher::Config::default().labels("example.com/greet");
    Controller::new(Api::default_namespaced(client), labelled)
}

async fn note(object: Arc<ConfigMap>, log: Log) -> Result<Action, BoxError> {
    log.lock().unwrap().push((object.name_any(), value_of(&object)));
    Ok(Action::await_change())
}

impl Replica {
    /// Its reconciles do nothing but note the object.
    fn start(server: &ApiServer, name: &str) -> Self {
        Self::start_with(server, name, controller(client(server)), note)
    }

    fn start_with<F>(
        server: &ApiServer,
        name: &str,
        controller: Controller<ConfigMap>,
        reconcile: impl Fn(Arc<ConfigMap>, Log) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Action, BoxError>> + Send + 'static,
    {
        let candidate = builder(client(server), name).clock(Clock::tokio());
        Self::of(candidate, controller, reconcile)
    }

    fn of<F>(
        candidate: incumbent::Builder,
        controller: Controller<ConfigMap>,
        reconcile: impl Fn(Arc<ConfigMap>, Log) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Action, BoxError>> + Send + 'static,
    {
        let mut candidate = candidate.build().unwrap();
        let log = Log::default();
        let (status, own) = (candidate.leadership_status(), Arc::clone(&log));
        let (shutdown, end) = oneshot::channel::<()>();
        let run = tokio::spawn(async move {
            let reconcile = |object, _: Arc<Leadership>| reconcile(object, Arc::clone(&own));
            controller.run_until(&mut candidate, end, reconcile).await
        });
        Self { log, status, shutdown, run }
    }

    async fn stop(self) {
        let _ = self.shutdown.send(());
        self.run.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_has_a_warm_cache_and_reconciles_each_object_once() {
    let server = ApiServer::new();
    for name in ["a", "b", "c"] {
        server.create(object(name)).unwrap();
    }
    let john = Replica::start(&server, "john");
    seconds(1.0).await;
    let jane = Replica::start(&server, "jane");
    seconds(5.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1"), ("b", "1"), ("c", "1")]));

    set(&server, "b", "2").await;
    delete(&server, "c").await;
    server.create(object("d")).unwrap();
    seconds(1.0).await;
    assert_eq!(take(&john.log), said(&[("b", "2"), ("d", "1")]));
    assert_eq!(take(&jane.log), [], "it only follows");

    let lists = server.requests().of(Verb::List);
    john.stop().await;
    seconds(1.0).await;
    assert_eq!(take(&jane.log), said(&[("a", "1"), ("b", "2"), ("d", "1")]));
    assert_eq!(server.requests().of(Verb::List), lists, "its cache was complete");
    set(&server, "a", "3").await;
    seconds(1.0).await;
    assert_eq!(take(&jane.log), said(&[("a", "3")]));
    jane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_term_that_begins_again_in_one_process_queues_everything_once_more() {
    let server = ApiServer::new();
    for name in ["a", "b"] {
        server.create(object(name)).unwrap();
    }
    let line = Line::to(&server);
    let john = builder(client_on(&server, &line), "john").clock(Clock::tokio());
    let john = Replica::of(john, controller(client(&server)), |object, log| async move {
        log.lock().unwrap().push((object.name_any(), value_of(&object)));
        Ok(Action::requeue(Duration::from_secs(12)))
    });
    seconds(5.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1"), ("b", "1")]));

    // The term ends at 15 s at the latest. What was to be reconciled again at 12 s and 24 s is not.
    line.set(State::Silent);
    seconds(6.0).await;
    take(&john.log);
    seconds(9.0).await;
    assert!(!john.status.is_leading());
    take(&john.log);
    set(&server, "b", "2").await;
    seconds(20.0).await;
    assert_eq!(take(&john.log), []);

    line.set(State::Whole);
    while !john.status.is_leading() {
        seconds(0.1).await;
    }
    seconds(1.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1"), ("b", "2")]));
    seconds(12.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1"), ("b", "2")]), "this term's own requeue");
    john.stop().await;
}

/// Notes whether the lock is still held when a reconcile ends.
struct Ends(LeadershipStatus, Arc<Mutex<Vec<bool>>>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0.is_leading());
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_dropped_while_the_lock_is_held() {
    let server = ApiServer::new();
    for name in ["a", "b"] {
        server.create(object(name)).unwrap();
    }
    let mut candidate = support::candidate(&server, "john");
    let (status, ends) = (candidate.leadership_status(), Arc::<Mutex<Vec<bool>>>::default());
    let (shutdown, end) = oneshot::channel::<()>();
    let noted = Arc::clone(&ends);
    let controller = controller(client(&server));
    let run = tokio::spawn(async move {
        let reconcile = |_, _| {
            let ends = Ends(status.clone(), Arc::clone(&noted));
            async move {
                let _ends = ends;
                std::future::pending().await
            }
        };
        controller.run_until(&mut candidate, end, reconcile).await
    });
    seconds(5.0).await;
    assert_eq!(*ends.lock().unwrap(), [false; 0]);
    shutdown.send(()).unwrap();
    run.await.unwrap().unwrap();
    assert_eq!(*ends.lock().unwrap(), [true; 2]);
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "");
}

/// Who worked, and from when to when.
type Span = (&'static str, Instant, Instant);

/// In real time, on several threads: a reconcile that is in the middle of something keeps the lock until it yields.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_reconcile_of_the_next_leader_begins_before_the_last_one_has_stopped() {
    let server = ApiServer::new();
    server.create(object("a")).unwrap();
    let spans = Arc::<Mutex<Vec<Span>>>::default();
    let start = |name: &'static str| {
        let spans = Arc::clone(&spans);
        let candidate = builder(client(&server), name).clock(Clock::system());
        Replica::of(candidate, controller(client(&server)), move |_, log| {
            let spans = Arc::clone(&spans);
            async move {
                log.lock().unwrap().push(("a".to_owned(), String::new()));
                loop {
                    let began = Instant::now();
                    std::thread::sleep(Duration::from_millis(300));
                    spans.lock().unwrap().push((name, began, Instant::now()));
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let john = start("john");
    while john.log.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let jane = start("jane");
    tokio::time::sleep(Duration::from_millis(400)).await;
    john.stop().await;
    while jane.log.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    jane.stop().await;
    let spans = spans.lock().unwrap();
    let of = |name| spans.iter().filter(move |(who, ..)| *who == name);
    let last_of_john = of("john").map(|(_, _, end)| *end).max().unwrap();
    let first_of_jane = of("jane").map(|(_, began, _)| *began).min().unwrap();
    assert!(last_of_john <= first_of_jane, "{spans:?}");
}

/// In real time: its thread is busy, so that nothing but the watchdog can notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_reconcile_that_does_not_stop_in_time_meets_the_watchdog() {
    let server = ApiServer::new();
    server.create(object("a")).unwrap();
    let line = Line::to(&server);
    let overrun = Arc::<AtomicBool>::default();
    let noted = Arc::clone(&overrun);
    let candidate = builder(client_on(&server, &line), "john").clock(Clock::system());
    let candidate = candidate.lease_duration(Duration::from_secs(2));
    let candidate = candidate.on_overrun(move |_| noted.store(true, Ordering::SeqCst));
    let stop = Arc::clone(&overrun);
    let john = Replica::of(candidate, controller(client(&server)), move |_, log| {
        let stop = Arc::clone(&stop);
        async move {
            log.lock().unwrap().push(("a".to_owned(), String::new()));
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(Action::await_change())
        }
    });
    while john.log.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!overrun.load(Ordering::SeqCst));
    line.set(State::Silent);
    let noticed = async {
        while !overrun.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.unwrap();
    line.set(State::Whole);
    john.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_candidate_campaigns_only_once_its_cache_is_complete() {
    let server = ApiServer::new();
    server.create(object("a")).unwrap();
    let line = Line::to(&server);
    let fault = format!("client={},verb=list,error=500", line.client());
    let fault = server.faults().add(fault.parse().unwrap());
    let john = Replica::start_with(&server, "john", controller(client_on(&server, &line)), note);
    seconds(10.0).await;
    assert!(!john.status.is_leading(), "it could not reconcile anything");
    let jane = Replica::start(&server, "jane");
    seconds(5.0).await;
    assert!(jane.status.is_leading());
    server.faults().remove(&fault);
    seconds(60.0).await;
    jane.stop().await;
    seconds(1.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1")]));
    john.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_wait_for_the_cache() {
    let server = ApiServer::new();
    server.faults().add("verb=list,error=500".parse().unwrap());
    let john = Replica::start(&server, "john");
    seconds(10.0).await;
    john.stop().await;
}

/// A watch that breaks and has to begin with a list, in two parts.
#[tokio::test(start_paused = true)]
async fn no_change_is_missed_that_only_a_list_shows() {
    let server = ApiServer::new();
    let names: Vec<String> = (0..700).map(|number| format!("o{number:03}")).collect();
    for name in &names {
        server.create(object(name)).unwrap();
    }
    let line = Line::to(&server);
    let latest: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let own = Arc::clone(&latest);
    let controller = controller(client_on(&server, &line));
    let john = Replica::start_with(&server, "john", controller, move |object, _| {
        own.lock().unwrap().insert(object.name_any(), value_of(&object));
        async { Ok(Action::await_change()) }
    });
    seconds(20.0).await;
    assert_eq!(latest.lock().unwrap().len(), 700);

    let freeze = format!("client={},freeze=expire", line.client());
    let freeze = server.faults().add(freeze.parse().unwrap());
    // In the first part of the list, and in the second.
    for name in ["o001", "o650"] {
        set(&server, name, "2").await;
    }
    for name in ["new", "o000-new", "z-new"] {
        server.create(object(name)).unwrap();
    }
    seconds(5.0).await;
    assert_eq!(latest.lock().unwrap()["o001"], "1");
    // Each part of the list takes its time.
    let slow = format!("client={},verb=list,latency=500ms..500ms", line.client());
    server.faults().add(slow.parse().unwrap());
    server.faults().remove(&freeze);
    seconds(60.0).await;
    let latest = latest.lock().unwrap().clone();
    let shown = |name: &str| latest.get(name).map(String::as_str);
    assert_eq!((shown("o001"), shown("o650")), (Some("2"), Some("2")));
    for name in ["new", "o000-new", "z-new"] {
        assert_eq!(shown(name), Some("1"), "{name}");
    }
    john.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_is_reconciled_when_one_that_it_owns_changes_or_disappears() {
    let server = ApiServer::new();
    let owner = server.create(object("a")).unwrap();
    let child = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "a-child", "namespace": "default", "ownerReferences": [{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": owner["metadata"]["uid"],
        }] },
    });
    server.create(child.clone()).unwrap();
    let line = Line::to(&server);
    let children: Api<ConfigMap> = Api::default_namespaced(client_on(&server, &line));
    let controller = controller(client(&server)).owns(children, watcher::Config::default());
    let john = Replica::start_with(&server, "john", controller, note);
    seconds(5.0).await;
    assert!(!take(&john.log).is_empty());
    set(&server, "a-child", "2").await;
    seconds(1.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1")]));
    delete(&server, "a-child").await;
    seconds(1.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1")]));

    // It disappears where no event shows it.
    server.create(child).unwrap();
    seconds(1.0).await;
    take(&john.log);
    let freeze = format!("client={},freeze=expire", line.client());
    let freeze = server.faults().add(freeze.parse().unwrap());
    delete(&server, "a-child").await;
    seconds(1.0).await;
    assert_eq!(take(&john.log), []);
    server.faults().remove(&freeze);
    seconds(60.0).await;
    assert_eq!(take(&john.log), said(&[("a", "1")]));
    john.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_fails_is_repeated_after_growing_pauses() {
    let server = ApiServer::new();
    server.create(object("a")).unwrap();
    let times: Arc<Mutex<Vec<tokio::time::Instant>>> = Arc::default();
    let own = Arc::clone(&times);
    let controller = controller(client(&server));
    let john = Replica::start_with(&server, "john", controller, move |_, _| {
        own.lock().unwrap().push(tokio::time::Instant::now());
        let is_done = own.lock().unwrap().len() == 4;
        async move {
            match is_done {
                true => Ok(Action::await_change()),
                false => Err("not yet".into()),
            }
        }
    });
    seconds(60.0).await;
    let times = times.lock().unwrap().clone();
    let pauses: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4]);
    john.stop().await;
}
