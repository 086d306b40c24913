//! What a member says of itself and of its group, and what it does when it is not well, drains or dies.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use incumbent::{
    Clock, Container, ContainerReport, ContainerStart, FenceError, Group, GroupBuilder,
    GroupHandle, Mark, Task, Tasks,
};
use incumbent_apiserver::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use support::{Line, State, client, client_on, request, seconds};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

#[tokio::test(start_paused = true)]
async fn members_say_what_they_are_and_what_they_run() {
    let server = ApiServer::new();
    let john = builder(client(&server), "john").address("john:80").capacity(3).version("v1");
    let john = Running::start(john.zone("z1"));
    let jane = Running::start(builder(client(&server), "jane").version("v1"));
    seconds(5.0).await;
    for handle in [&john.handle, &jane.handle] {
        let members = handle.members().await.unwrap();
        let said: Vec<_> = members
            .iter()
            .map(|member| {
                let texts = [&member.address, &member.version, &member.zone].map(Option::as_deref);
                (member.name.as_str(), member.capacity, texts, member.tasks.len())
            })
            .collect();
        let john = ("john", 3, [Some("john:80"), Some("v1"), Some("z1")], 3);
        assert_eq!(said, [("jane", 1, [None, Some("v1"), None], 1), john]);
    }
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_well_gives_its_tasks_away_until_it_is_well_again() {
    let server = ApiServer::new();
    let (health, is_well) = watch::channel(false);
    let john = Running::start(builder(client(&server), "john").health(is_well));
    let jane = Running::start(builder(client(&server), "jane"));
    seconds(5.0).await;
    assert_eq!((john.own(), jane.own()), (0, 4), "it begins unwell");
    health.send_replace(true);
    seconds(5.0).await;
    let back = john.own();
    assert!((1..=2).contains(&back) && back + jane.own() == 4, "{back}");
    assert_eq!(jane.handle.status().moves, back as u64);
    health.send_replace(false);
    seconds(5.0).await;
    assert_eq!((john.own(), jane.own()), (0, 4));
    // Both have to want tasks: what is well may drain.
    john.handle.drain(true);
    health.send_replace(true);
    seconds(5.0).await;
    assert_eq!((john.own(), jane.own()), (0, 4));
    john.handle.drain(false);
    seconds(5.0).await;
    assert_eq!(john.own() + jane.own(), 4);
    assert!(john.own() > 0);
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_an_owner_expires_when_the_member_may_be_cut_off() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let john = Running::start(builder(client_on(&server, &line), "john"));
    let jane = Running::start(builder(client(&server), "jane"));
    seconds(5.0).await;
    let owner = john.handle.owner_of("t1").unwrap();
    assert!(owner.valid_for <= Duration::from_secs(10), "{owner:?}");
    // It stays good while nothing happens, for longer than a watch lives.
    seconds(1_000.0).await;
    let renewed = john.handle.owner_of("t1").unwrap();
    assert_eq!(renewed.fencing_token, owner.fencing_token);
    line.set(State::Silent);
    seconds(renewed.valid_for.as_secs_f64() + 0.001).await;
    assert_eq!(john.handle.owner_of("t1"), None);
    // No other member owns it before that.
    assert_eq!(
        jane.handle.owner_of("t1").map(|owner| owner.fencing_token),
        Some(owner.fencing_token)
    );
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_table_whose_watch_falls_silent_is_listed_again() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let john = Running::start(builder(client_on(&server, &line), "john"));
    seconds(5.0).await;
    assert!(john.handle.owner_of("t1").is_some());
    line.set(State::WatchesSilent);
    for _ in 0..10 {
        seconds(80.0).await;
        assert!(john.handle.owner_of("t1").is_some());
    }
    john.leave().await;
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_stop_is_stuck_and_told_by_one_event() {
    let server = ApiServer::new();
    let group = builder(client(&server), "john").events(true).build().unwrap();
    let handle = group.handle();
    let (tasks, mut kept) = mpsc::unbounded_channel();
    let john = tokio::spawn(async move {
        let mut group = group;
        while let Ok(task) = group.next_task().await {
            let _ = tasks.send(task);
        }
    });
    let jane = Running::start(builder(client(&server), "jane"));
    seconds(5.0).await;
    let before: Vec<Task> = std::iter::from_fn(|| kept.try_recv().ok()).collect();
    seconds(20.0).await;
    assert!(before.iter().all(Task::is_valid) || !handle.status().stuck.is_empty());
    handle.drain(true);
    seconds(18.0).await;
    let status = handle.status();
    assert_eq!((status.tasks, status.unowned), (Some(4), 0));
    seconds(2.0).await;
    let stuck = handle.status().stuck;
    assert!(!stuck.is_empty());
    assert!(stuck.iter().all(|task| task.owner.as_deref() == Some("john")), "{stuck:?}");
    assert!(stuck.iter().all(|task| task.waits_for >= Duration::from_secs(19)), "{stuck:?}");
    seconds(200.0).await;
    let events = request(&server, Method::GET, "/api/v1/namespaces/default/events", None).await;
    let of = |reason: &str| {
        let events = events["items"].as_array().unwrap().iter();
        events.filter(|event| event["reason"] == reason).cloned().collect::<Vec<Value>>()
    };
    let warnings = of("TasksStuck");
    assert!((1..=2).contains(&warnings.len()), "{warnings:?}");
    assert_eq!(warnings[0]["type"], "Warning");
    assert_eq!(warnings[0]["involvedObject"]["name"], "indexers.tasks");
    assert!(warnings[0]["message"].as_str().unwrap().contains("john, which was asked to stop"));
    let assigned = of("TasksAssigned");
    assert!((1..=4).contains(&assigned.len()), "{assigned:?}");
    assert!(assigned[0]["message"].as_str().unwrap().contains("assigned"), "{assigned:?}");
    drop(before);
    while let Ok(task) = kept.try_recv() {
        drop(task);
    }
    seconds(5.0).await;
    assert_eq!(handle.status().stuck, []);
    assert_eq!(jane.own(), 4);
    jane.leave().await;
    john.abort();
}

/// Name and type of each metric of groups that the documentation lists.
fn documented_metrics() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `incumbent_group_"));
    let row = |row: &str| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().unwrap().trim_end_matches('`').to_owned();
        (name, cells.next().unwrap().to_owned())
    };
    rows.map(row).collect()
}

/// The metrics of a group, without what they have in common: name and value.
fn metrics(handle: &GroupHandle) -> BTreeMap<String, u64> {
    let text = handle.open_metrics();
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let labels = r#"{namespace="default",group="indexers"}"#;
        let name = series.strip_prefix("incumbent_group_").unwrap().strip_suffix(labels);
        (name.unwrap_or_else(|| panic!("{line}")).to_owned(), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[tokio::test(start_paused = true)]
async fn the_numbers_of_a_group_are_those_that_the_documentation_lists() {
    let server = ApiServer::new();
    let john = Running::start(builder(client(&server), "john"));
    seconds(5.0).await;
    let served = john.handle.open_metrics();
    let types = served.lines().filter_map(|line| line.strip_prefix("# TYPE incumbent_group_"));
    let types: BTreeMap<_, _> = types
        .map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => (format!("{name}_total"), "counter".to_owned()),
            (name, kind) => (name.to_owned(), kind.to_owned()),
        })
        .collect();
    assert_eq!(types, documented_metrics());
    for (name, _) in types.iter().filter(|(_, kind)| *kind == "gauge") {
        assert!(served.contains(&format!("# HELP incumbent_group_{name} ")), "{name}");
    }
    let jane = Running::start(builder(client(&server), "jane"));
    seconds(5.0).await;
    let (johns, janes) = (metrics(&john.handle), metrics(&jane.handle));
    let both = |name: &str| (johns[name], janes[name]);
    assert_eq!(both("tasks"), (4, 4));
    assert_eq!(both("owned_tasks"), (2, 2));
    assert_eq!(both("unowned_tasks"), (0, 0));
    assert_eq!(both("moves_total"), (2, 2));
    assert_eq!(both("allocating"), (1, 0));
    assert_eq!((both("stuck_tasks"), both("trouble")), ((0, 0), (0, 0)));
    let status = john.handle.status();
    assert_eq!(both("generation"), (status.generation.unwrap(), status.generation.unwrap()));
    // Nothing that is not known is a number.
    let lists = builder(client(&server), "kate").tasks(Tasks::config_map());
    let kate = Running::start(lists);
    assert_eq!(metrics(&kate.handle).keys().filter(|name| name.ends_with("tasks")).count(), 2);
    for member in [john, jane, kate] {
        member.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_fences_its_writes() {
    let server = ApiServer::new();
    let metadata = json!({ "name": "t1", "namespace": "default" });
    let state = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    server.create(state).unwrap();
    let states: Api<ConfigMap> = Api::default_namespaced(client(&server));
    let mut john = builder(client(&server), "john").tasks(Tasks::named(["t1"])).build().unwrap();
    let old = john.next_task().await.unwrap();
    old.fenced(&states).replace("t1", |state| set(state, "john")).await.unwrap();
    john.handle().drain(true);
    let mut jane = builder(client(&server), "jane").tasks(Tasks::named(["t1"])).build().unwrap();
    old.revoked().await;
    let refused = old.fenced(&states).replace("t1", |state| set(state, "late")).await;
    assert!(matches!(refused, Err(FenceError::NotOwner { .. })), "{refused:?}");
    let token = old.fencing_token();
    drop(old);
    let new = jane.next_task().await.unwrap();
    assert!(new.fencing_token() > token);
    let stored = new.fenced(&states).replace("t1", |state| set(state, "jane")).await.unwrap();
    let annotations = stored.metadata.annotations.unwrap();
    assert_eq!(annotations["incumbent.dev/fencing-token"], new.fencing_token().to_string());
    drop(new);
}

fn set(state: &mut ConfigMap, by: &str) {
    state.data.get_or_insert_default().insert("by".into(), by.into());
}

const MARK: Mark = Mark(0x0f8e_2a61_c4d9_4b7e_a3b5_d2c1_908f_7e6d);

fn container(pod_uid: &str, ticks: u64) -> Container {
    let [boot_id, file, name] = ["b-1", &format!("f{ticks}"), "app"].map(str::to_owned);
    let start = ContainerStart { boot_id, sandbox: 4_026_532_178, file, ticks };
    let [namespace, pod] = ["default", "app-0"].map(str::to_owned);
    let report = Some(ContainerReport { namespace, pod, mark: MARK });
    Container { pod_uid: pod_uid.to_owned(), name, start: Some(start), report }
}

/// How long the tasks of john have no owner when he dies and the kubelet reports this.
async fn jane_waits(reported: &str, heeds: bool) -> Duration {
    let server = ApiServer::new();
    let metadata = json!({ "name": "app-0", "namespace": "default" });
    let spec = json!({ "containers": [{ "name": "app", "image": "app" }] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    let pod = server.create(pod).unwrap();
    let container = container(pod["metadata"]["uid"].as_str().unwrap(), 100);
    let jane = builder(client(&server), "jane").kubelet_reports(heeds).container(None);
    let jane = Running::start(jane);
    seconds(3.0).await;
    let line = Line::to(&server);
    let john = builder(client_on(&server, &line), "john").container(Some(container));
    let john = Running::start(john);
    seconds(10.0).await;
    assert!(john.own() > 0, "there is something to take over");
    line.set(State::Silent);
    let before = tokio::time::Instant::now();
    let over = json!({ "exitCode": 137, "reason": "Error", "message": reported });
    let status = json!({
        "name": "app", "image": "app", "imageID": "", "ready": false, "restartCount": 0,
        "containerID": "containerd://c1", "state": { "terminated": over },
    });
    let path = "/api/v1/namespaces/default/pods/app-0/status";
    let body = json!({ "status": { "containerStatuses": [status] } }).to_string().into_bytes();
    let report = Request::builder().method(Method::PATCH).uri(path);
    let report = report.header("Content-Type", "application/merge-patch+json").body(body).unwrap();
    client(&server).request::<Value>(report).await.unwrap();
    while jane.own() < 4 {
        seconds(0.01).await;
    }
    let waited = before.elapsed();
    john.run.abort();
    jane.leave().await;
    waited
}

#[tokio::test(start_paused = true)]
async fn the_kubelets_report_of_a_death_frees_the_tasks_at_once() {
    let waited = jane_waits(&format!("\n{MARK}\n"), true).await;
    assert!(waited <= Duration::from_millis(200), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_such_report_waits_for_the_lease() {
    for (reported, heeds) in [(Mark(7).to_string(), true), (MARK.to_string(), false)] {
        let waited = jane_waits(&format!("\n{reported}\n"), heeds).await;
        assert!(waited >= Duration::from_secs(9), "{waited:?}");
    }
}

/// Work that is never stopped by itself.
struct Running {
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), incumbent::Error>>,
    handle: GroupHandle,
}

impl Running {
    fn start(builder: GroupBuilder) -> Self {
        let group = builder.build().unwrap();
        let handle = group.handle();
        let (stop, stopped) = oneshot::channel();
        let work = |_: Arc<Task>| std::future::pending();
        let run = tokio::spawn(group.run_until(stopped, work));
        Self { stop, run, handle }
    }

    fn own(&self) -> usize {
        self.handle.status().own
    }

    async fn leave(self) {
        let _ = self.stop.send(());
        self.run.await.unwrap().unwrap();
    }
}

fn builder(client: kube::Client, name: &str) -> GroupBuilder {
    Group::builder(client, "default", "indexers")
        .member(name)
        .tasks(Tasks::named(["t1", "t2", "t3", "t4"]))
        .clock(Clock::tokio())
}
