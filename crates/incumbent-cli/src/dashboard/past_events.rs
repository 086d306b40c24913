//! What Events tell of the time before the dashboard began to look.

use std::collections::BTreeMap;

use incumbent::Lock;
use serde_json::Value;

use crate::runtime::events;

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
    let mut told = PastEvents::default();
    match events::of_all(client, namespace).await {
        Ok(events) => {
            for event in events {
                let about = &event["involvedObject"];
                let text = |field: &str| about[field].as_str().unwrap_or_default().to_owned();
                let place = (text("namespace"), text("kind"), text("name"));
                told.of.entry(place).or_default().push(event);
            }
        }
        Err(failure) => tracing::debug!(error = failure.message, "no Events of the past"),
    }
    told
}

fn place(lock: &Lock) -> (String, String, String) {
    let kind = if lock.key().is_some() { "ConfigMap" } else { "Lease" };
    (lock.namespace().to_owned(), kind.to_owned(), lock.name().to_owned())
}
