//! What Events tell of the time before the dashboard began to look.

use std::collections::BTreeMap;
use std::time::Duration;

use incumbent::Lock;
use serde_json::Value;

/// What Events told of each object.
#[derive(Debug, Default)]
pub(crate) struct PastEvents {
    /// By namespace, kind and name.
    of: BTreeMap<(String, String, String), Vec<Value>>,
}

impl PastEvents {
    pub(crate) fn of(&self, lock: &Lock) -> &[Value] {
        // An Event is about an object, and does not say which of several keys of a ConfigMap it means.
        let is_usual = !lock.to_string().contains(':');
        let found = is_usual.then(|| self.of.get(&place(lock))).flatten();
        found.map_or(&[], Vec::as_slice)
    }
}

/// The Events of elections in a namespace, or in all. None, where they may not be read or do not come.
pub(crate) async fn tell(client: &kube::Client, namespace: Option<&str>) -> PastEvents {
    let query = "fieldSelector=reason%3DLeaderElection&limit=2000";
    let mut told = PastEvents::default();
    match fetch(client, namespace, query).await {
        Ok(events) => {
            for event in events {
                let about = &event["involvedObject"];
                let text = |field: &str| about[field].as_str().unwrap_or_default().to_owned();
                let place = (text("namespace"), text("kind"), text("name"));
                told.of.entry(place).or_default().push(event);
            }
        }
        Err(error) => tracing::debug!(error, "no Events of the past"),
    }
    told
}

async fn fetch(
    client: &kube::Client,
    namespace: Option<&str>,
    query: &str,
) -> Result<Vec<Value>, String> {
    let path = match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/events?{query}"),
        None => format!("/api/v1/events?{query}"),
    };
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await;
    let mut list = answer
        .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
        .map_err(|error| error.to_string())?;
    match list["items"].take() {
        Value::Array(events) => Ok(events),
        _ => Ok(Vec::new()),
    }
}

fn place(lock: &Lock) -> (String, String, String) {
    let kind = if lock.key().is_some() { "ConfigMap" } else { "Lease" };
    (lock.namespace().to_owned(), kind.to_owned(), lock.name().to_owned())
}

/// What is nice to have is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(5);
