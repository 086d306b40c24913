//! A page of the table that is full: one warning says which, and no task that has an owner loses it.
//!
//! A process of its own: one test has all callsites to itself.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Method;
use incumbent::{Clock, FencingToken, Group, Task, Tasks};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use support::log::Log;
use support::{client, request, seconds};
use tokio::sync::oneshot;
use tracing_subscriber::filter::LevelFilter;

const CONFIG: &str = "/api/v1/namespaces/default/configmaps/indexers.config";

/// Which tasks have begun, in order, each with its token.
type Begun = Arc<Mutex<Vec<(String, FencingToken)>>>;

#[tokio::test(start_paused = true)]
async fn a_full_page_is_told_once_and_costs_no_task_its_owner() {
    let (log, _guard) = Log::start(LevelFilter::WARN);
    let server = ApiServer::new();
    let labels = json!({ "incumbent.dev/group": "indexers" });
    let metadata = json!({ "name": "indexers.config", "namespace": "default", "labels": labels });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "tasks": "zu\nzw\n" },
    });
    server.create(config).unwrap();
    let begun = Begun::default();
    let group = Group::builder(client(&server), "default", "indexers").member("john").events(true);
    let group = group.tasks(Tasks::config_map()).clock(Clock::tokio()).build().unwrap();
    let handle = group.handle();
    let (stop, stopped) = oneshot::channel();
    let begin = Arc::clone(&begun);
    let run = tokio::spawn(group.run_until(stopped, move |task: Arc<Task>| {
        begin.lock().unwrap().push((task.name().to_owned(), task.fencing_token()));
        std::future::pending()
    }));
    seconds(30.0).await;
    assert_eq!(handle.status().own, 2);

    // The table has one page, for as many tasks as were listed then.
    let list = async |tasks: usize| {
        let names: String = (0..tasks).map(|task| format!("{task:0>253}\n")).collect();
        let edited = json!({ "data": { "tasks": format!("{names}zu\nzw\n") } });
        request(&server, Method::PATCH, CONFIG, Some(edited)).await;
        seconds(30.0).await;
    };
    list(900).await;
    let status = handle.status();
    let [page] = &status.full[..] else { panic!("{:?}", status.full) };
    assert_eq!((page.config_map.as_str(), page.tasks), ("indexers.tasks", status.unowned));
    assert_eq!(status.own + status.unowned, 902);
    assert!((100..200).contains(&status.unowned), "{}", status.unowned);
    let numbers = handle.open_metrics();
    let without_room = format!(
        r#"incumbent_group_tasks_without_room{{namespace="default",group="indexers",page="indexers.tasks"}} {}"#,
        page.tasks
    );
    assert!(numbers.lines().any(|line| line == without_room), "{numbers}");
    let trouble = status.trouble.unwrap();
    assert!(trouble.contains("no room for more tasks in configmap/indexers.tasks"), "{trouble}");
    assert!(trouble.contains("list fewer tasks"), "{trouble}");
    list(901).await;
    assert_eq!(handle.status().full[0].tasks, page.tasks + 1);
    let told = log.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("indexers.tasks") && told[0].contains("hint"), "{told:?}");
    let warnings = events(&server).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!((&warnings[0]["type"], &warnings[0]["count"]), (&json!("Warning"), &json!(1)));
    let message = warnings[0]["message"].as_str().unwrap();
    assert!(message.contains("no room in indexers.tasks for"), "{message}");

    list(700).await;
    let status = handle.status();
    assert_eq!((status.own, status.unowned, status.full), (702, 0, vec![]));
    assert_eq!(status.trouble, None);
    let mut starts = BTreeMap::new();
    for (task, _) in begun.lock().unwrap().iter() {
        *starts.entry(task.clone()).or_insert(0) += 1;
    }
    assert_eq!((starts["zu"], starts["zw"]), (1, 1), "they have never stopped");
    assert!(starts.values().all(|starts| *starts == 1), "nor has any other");
    let _ = stop.send(());
    run.await.unwrap().unwrap();
}

/// The Events about full pages.
async fn events(server: &ApiServer) -> Vec<Value> {
    let events = request(server, Method::GET, "/api/v1/namespaces/default/events", None).await;
    let events = events["items"].as_array().unwrap().iter();
    events.filter(|event| event["reason"] == "PageFull").cloned().collect()
}
