//! Kubernetes Events on the lock, as client-go's electors write them: for `kubectl describe` and `kubectl
//! events`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use incumbent_core::Identity;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::stored::Stored;

/// Writes Events in the background. An election never waits for one, and none is tried twice.
#[derive(Clone)]
pub(crate) struct Events {
    api: Api,
    identity: Identity,
    /// Whoever turned Events on wants to know, once, that they cannot be written.
    has_warned: Arc<AtomicBool>,
}

impl Events {
    pub(crate) fn new(api: Api, identity: Identity) -> Self {
        Self { api, identity, has_warned: Arc::default() }
    }

    /// Records that this candidate did `what` to the lock, which is `stored` as far as it is known.
    pub(crate) fn record(&self, what: &str, stored: Option<&Stored>) -> JoinHandle<()> {
        let object = stored.map_or(Value::Null, Stored::object);
        let (events, event) = (self.clone(), self.event(what, &object));
        tokio::spawn(async move {
            let lock = events.api.lock();
            let path = format!("/api/v1/namespaces/{}/events", lock.namespace());
            let written = events.api.requests().send(Method::POST, &path, Some(&event)).await;
            if let Err(failure) = written
                && !events.has_warned.swap(true, Ordering::Relaxed)
            {
                let hint = failure
                    .hint("the account needs the verb create on events; or leave Events off");
                tracing::warn!(%lock, error = failure.message, hint, "cannot write Events");
            }
        })
    }

    fn event(&self, what: &str, object: &Value) -> Value {
        let (lock, now) = (self.api.lock(), jiff::Timestamp::now());
        let metadata = &object["metadata"];
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                // A name has room for 253 characters; the time makes it one of its own.
                "name": format!("{:.230}.{:016x}", lock.name(), now.as_nanosecond()),
                "namespace": lock.namespace(),
            },
            "involvedObject": {
                "apiVersion": object["apiVersion"],
                "kind": object["kind"],
                "name": lock.name(),
                "namespace": lock.namespace(),
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": "Normal",
            "reason": "LeaderElection",
            "message": format!("{} {what}", self.identity),
            "source": { "component": "incumbent" },
            "reportingComponent": "incumbent",
            "reportingInstance": format!("{:.128}", self.identity.as_str()),
            "firstTimestamp": format!("{now:.0}"),
            "lastTimestamp": format!("{now:.0}"),
            "count": 1,
        })
    }
}
