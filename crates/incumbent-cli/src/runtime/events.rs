//! The Events that electors write about a lock.

use std::time::Duration;

use anyhow::Context;
use http::Method;
use incumbent::Lock;
use incumbent::requests::{Failure, Requests};
use serde_json::Value;

use crate::model::event::at;
use crate::model::time_bounds::TimeBounds;

/// What electors said of `lock`, newest last. The API server keeps Events for an hour or so.
pub(crate) async fn of(client: &kube::Client, lock: &Lock) -> anyhow::Result<Vec<Value>> {
    let kind = if lock.key().is_some() { "ConfigMap" } else { "Lease" };
    let query = format!(
        "limit=500&fieldSelector=involvedObject.kind%3D{kind},involvedObject.name%3D{},\
         reason%3DLeaderElection",
        lock.name()
    );
    let listed = list(client, Some(lock.namespace()), &query).await;
    let mut events =
        listed.map_err(|failure| failure.into_error(lock, "list")).context("cannot read Events")?;
    events.sort_by_key(|event| at(event).map(TimeBounds::mostly));
    Ok(events)
}

/// What the allocators of a group said of its table, and of their own election, newest last.
pub(crate) async fn of_group(
    client: &kube::Client,
    namespace: &str,
    group: &str,
) -> anyhow::Result<Vec<Value>> {
    let mut events = Vec::new();
    for (kind, name) in [("ConfigMap", format!("{group}.tasks")), ("Lease", group.to_owned())] {
        let query = format!(
            "limit=500&fieldSelector=involvedObject.kind%3D{kind},involvedObject.name%3D{name}"
        );
        let listed = list(client, Some(namespace), &query).await;
        let listed =
            listed.map_err(|failure| failure.into_error(&Lock::lease(namespace, group), "list"));
        events.extend(listed.context("cannot read Events")?);
    }
    events.sort_by_key(|event| at(event).map(TimeBounds::mostly));
    Ok(events)
}

/// What electors said of all locks of a namespace, or of the cluster.
pub(crate) async fn of_all(
    client: &kube::Client,
    namespace: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    list(client, namespace, "fieldSelector=reason%3DLeaderElection&limit=2000").await
}

async fn list(
    client: &kube::Client,
    namespace: Option<&str>,
    query: &str,
) -> Result<Vec<Value>, Failure> {
    let path = match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/events?{query}"),
        None => format!("/api/v1/events?{query}"),
    };
    let answer = Requests::new(client.clone()).ask(Method::GET, &path, None, PATIENCE).await;
    Ok(match answer.outcome?["items"].take() {
        Value::Array(events) => events,
        _ => Vec::new(),
    })
}

const PATIENCE: Duration = Duration::from_secs(5);
