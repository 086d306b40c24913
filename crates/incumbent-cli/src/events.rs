//! The Events that electors write about a lock.

use std::time::Duration;

use anyhow::Context;
use incumbent::Lock;
use serde_json::Value;

/// What electors said of `lock`, newest last. The API server keeps Events for an hour or so.
pub(crate) async fn of(client: &kube::Client, lock: &Lock) -> anyhow::Result<Vec<Value>> {
    let kind = if lock.key().is_some() { "ConfigMap" } else { "Lease" };
    let path = format!(
        "/api/v1/namespaces/{}/events?limit=500&fieldSelector=involvedObject.kind%3D{kind},\
         involvedObject.name%3D{},reason%3DLeaderElection",
        lock.namespace(),
        lock.name()
    );
    let request = http::Request::get(path).body(Vec::new())?;
    let answer = tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await;
    let mut list = answer.context("no answer in time")?.context("cannot read Events")?;
    let Value::Array(mut events) = list["items"].take() else { return Ok(Vec::new()) };
    events.sort_by_key(|event| at(event).map(str::to_owned));
    Ok(events)
}

/// When it was last so.
pub(crate) fn at(event: &Value) -> Option<&str> {
    ["lastTimestamp", "eventTime", "firstTimestamp"].iter().find_map(|field| event[field].as_str())
}

const PATIENCE: Duration = Duration::from_secs(5);
