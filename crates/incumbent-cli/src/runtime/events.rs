//! The Events that electors write about a lock.

use std::time::Duration;

use anyhow::Context;
use http::Method;
use incumbent::Lock;
use incumbent::requests::Requests;
use serde_json::Value;

use crate::model::event::at;
use crate::model::time_bounds::TimeBounds;

/// What electors said of `lock`, newest last. The API server keeps Events for an hour or so.
pub(crate) async fn of(client: &kube::Client, lock: &Lock) -> anyhow::Result<Vec<Value>> {
    let kind = if lock.key().is_some() { "ConfigMap" } else { "Lease" };
    let path = format!(
        "/api/v1/namespaces/{}/events?limit=500&fieldSelector=involvedObject.kind%3D{kind},\
         involvedObject.name%3D{},reason%3DLeaderElection",
        lock.namespace(),
        lock.name()
    );
    let answer = Requests::new(client.clone()).ask(Method::GET, &path, None, PATIENCE).await;
    let list = answer.outcome.map_err(|failure| failure.into_error(lock, "list"));
    let mut list = list.context("cannot read Events")?;
    let Value::Array(mut events) = list["items"].take() else { return Ok(Vec::new()) };
    events.sort_by_key(|event| at(event).map(TimeBounds::mostly));
    Ok(events)
}

const PATIENCE: Duration = Duration::from_secs(5);
