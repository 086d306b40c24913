//! What a member of a group logs of trouble. A process of its own: one test has all callsites to itself.

mod support;

use http::Method;
use incumbent::{Clock, Group, Tasks};
use incumbent_apiserver::ApiServer;
use serde_json::json;
use support::log::Log;
use support::{client, request, seconds};
use tracing_subscriber::filter::LevelFilter;

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_is_logged_once_each_time() {
    let (log, _guard) = Log::start(LevelFilter::WARN);
    let server = ApiServer::new();
    let path = "/api/v1/namespaces/default/configmaps/indexers.config";
    let metadata = json!({ "name": "indexers.config", "namespace": "default" });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "tasks": "eu\n" },
    });
    server.create(config).unwrap();
    let group = Group::builder(client(&server), "default", "indexers").member("john");
    let group = group.tasks(Tasks::config_map()).clock(Clock::tokio()).build().unwrap();
    let run =
        tokio::spawn(group.run_until(std::future::pending::<()>(), |_| std::future::pending()));
    seconds(2_000.0).await;
    let told = log.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the list of tasks is not read"), "{told:?}");
    let label = json!({ "metadata": { "labels": { "incumbent.dev/group": "indexers" } } });
    request(&server, Method::PATCH, path, Some(label)).await;
    for wrong in ["eu weight=many\n", "eu\neu\n"] {
        request(&server, Method::PATCH, path, Some(json!({ "data": { "tasks": wrong } }))).await;
        // Longer than a watch lives.
        seconds(2_000.0).await;
        let told = log.take();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("the configuration stays as it was"), "{told:?}");
    }
    run.abort();
}
