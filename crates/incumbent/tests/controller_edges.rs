//! Controllers: owners without a namespace, and the end of a term that waits for a reconcile.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use incumbent::controller::{Action, Controller, watcher};
use incumbent::{BoxError, Clock};
use incumbent_apiserver::ApiServer;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::{builder, client, request, seconds};
use tokio::sync::oneshot;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn an_owner_without_a_namespace_is_not_reconciled_twice_at_a_time() {
    let server = ApiServer::new();
    let labels = json!({ "example.com/tenant": "yes" });
    let tenant = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "tenant", "labels": labels },
    });
    let tenant = server.create(tenant).unwrap();
    let owner = json!([{
        "apiVersion": "v1", "kind": "Namespace", "name": "tenant", "uid": tenant["metadata"]["uid"],
    }]);
    let metadata = json!({ "name": "child", "namespace": "default", "ownerReferences": owner });
    server
        .create(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }))
        .unwrap();
    let (running, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let labelled = watcher::Config::default().labels("example.com/tenant");
    let children: Api<ConfigMap> = Api::all(client(&server));
    let controller = Controller::<Namespace>::new(Api::all(client(&server)), labelled)
        .owns(children, watcher::Config::default());
    let mut john = builder(client(&server), "john").clock(Clock::tokio()).build().unwrap();
    let (own, counted) = (Arc::clone(&running), Arc::clone(&begun));
    let reconcile = move |_, _| {
        let (running, begun) = (Arc::clone(&own), Arc::clone(&counted));
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "it runs twice at a time");
            sleep(Duration::from_secs(10)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, BoxError>(Action::await_change())
        }
    };
    let run = tokio::spawn(async move {
        controller.run_until(&mut john, sleep(Duration::from_secs(120)), reconcile).await
    });
    seconds(60.0).await;
    let before = begun.load(Ordering::SeqCst);
    let patch = |text: &str| json!({ "metadata": { "annotations": { "example.com/note": text } } });
    let child = "/api/v1/namespaces/default/configmaps/child";
    for (path, text) in [("/api/v1/namespaces/tenant", "a"), (child, "b")] {
        request(&server, Method::PATCH, path, Some(patch(text))).await;
        seconds(1.0).await;
        assert_eq!(running.load(Ordering::SeqCst), 1);
    }
    seconds(30.0).await;
    assert_eq!(begun.load(Ordering::SeqCst), before + 2, "once for each change");
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_reconcile_begins_after_a_shutdown_was_asked_for() {
    let server = ApiServer::new();
    for name in ["slow", "quick"] {
        server.create(object(name)).unwrap();
    }
    let labelled = watcher::Config::default().labels("example.com/greet");
    let controller =
        Controller::<ConfigMap>::new(Api::default_namespaced(client(&server)), labelled);
    let mut john = builder(client(&server), "john").clock(Clock::tokio()).build().unwrap();
    let (shutdown, end) = oneshot::channel::<()>();
    let (quick, slow) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&quick), Arc::clone(&slow));
    let run = tokio::spawn(async move {
        let reconcile = |object: Arc<ConfigMap>, leadership: Arc<incumbent::Leadership>| {
            let (quick, slow) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
            async move {
                if object.name_any() == "quick" {
                    quick.fetch_add(1, Ordering::SeqCst);
                } else if leadership.finish(sleep(Duration::from_secs(4))).await.is_some() {
                    slow.fetch_add(1, Ordering::SeqCst);
                }
                Ok::<_, BoxError>(Action::await_change())
            }
        };
        controller.run_until(&mut john, end, reconcile).await
    });
    seconds(30.0).await;
    let before = (quick.load(Ordering::SeqCst), slow.load(Ordering::SeqCst));
    set(&server, "slow", "2").await;
    seconds(1.0).await;
    shutdown.send(()).unwrap();
    seconds(0.1).await;
    set(&server, "quick", "2").await;
    run.await.unwrap().unwrap();
    let after = (quick.load(Ordering::SeqCst), slow.load(Ordering::SeqCst));
    assert_eq!(after, (before.0, before.1 + 1), "what ran was finished, and nothing began");
}

fn object(name: &str) -> Value {
    let labels = json!({ "example.com/greet": "yes" });
    let metadata = json!({ "name": name, "namespace": "default", "labels": labels });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "v": "1" } })
}

async fn set(server: &ApiServer, name: &str, value: &str) {
    let path = format!("/api/v1/namespaces/default/configmaps/{name}");
    request(server, Method::PATCH, &path, Some(json!({ "data": { "v": value } }))).await;
}
