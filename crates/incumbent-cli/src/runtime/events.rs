//! The Events that electors write about a lock.

use std::time::Duration;

use anyhow::Context;
use http::Method;
use incumbent::Lock;
use incumbent::requests::Requests;
use jiff::Timestamp;
use serde_json::Value;

use crate::model::time_bounds::When;

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
    events.sort_by_key(|event| at(event).map(When::mostly));
    Ok(events)
}

/// When it was last so.
pub(crate) fn at(event: &Value) -> Option<When> {
    times(event).pop()
}

/// When it was so, as precisely as it says; where it stands for many, the first and the last time.
pub(crate) fn times(event: &Value) -> Vec<When> {
    let time = |time: &Value| time.as_str()?.parse::<Timestamp>().ok();
    let exact = |time_of: &Value| time(time_of).map(When::at);
    let coarse = |time_of: &Value| time(time_of).map(When::in_second);
    let (first, last) = match exact(&event["eventTime"]) {
        Some(first) => (Some(first), exact(&event["series"]["lastObservedTime"])),
        None => (coarse(&event["firstTimestamp"]), coarse(&event["lastTimestamp"])),
    };
    first.into_iter().chain(last).collect()
}

const PATIENCE: Duration = Duration::from_secs(5);
