//! Kubernetes Events on the lock, as client-go's electors write them: for `kubectl describe` and `kubectl
//! events`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use incumbent_core::Identity;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::lock_api::LockApi;
use crate::stored::Stored;

/// Whether somebody should look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

/// Writes Events in the background. An election never waits for one, and none is tried twice.
#[derive(Clone)]
pub(crate) struct Events {
    api: LockApi,
    identity: Identity,
    /// A user who turned Events on wants to know, once, that they cannot be written.
    has_warned: Arc<AtomicBool>,
}

impl Events {
    pub(crate) fn new(api: LockApi, identity: Identity) -> Self {
        Self { api, identity, has_warned: Arc::default() }
    }

    /// Records that this candidate did `what` to the lock, which is `stored` as far as it is known.
    pub(crate) fn record(&self, what: &str, stored: Option<&Stored>) -> JoinHandle<()> {
        self.tell(Kind::Normal, "LeaderElection", what, stored)
    }

    /// The same of another kind, for another reason.
    pub(crate) fn tell(
        &self,
        kind: Kind,
        reason: &'static str,
        what: &str,
        stored: Option<&Stored>,
    ) -> JoinHandle<()> {
        let object = stored.map_or(Value::Null, Stored::object);
        let (events, event) = (self.clone(), self.event(kind, reason, what, &object));
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

    fn event(&self, kind: Kind, reason: &'static str, what: &str, object: &Value) -> Value {
        let (lock, now) = (self.api.lock(), jiff::Timestamp::now());
        let message = format!("{} {what}", cut(self.identity.as_str(), LONGEST_NAME));
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
            "type": format!("{kind:?}"),
            "reason": reason,
            // The API server asks for these four, and bounds them, because there is an eventTime.
            "action": reason,
            "reportingComponent": "incumbent",
            "reportingInstance": cut(self.identity.as_str(), LONGEST_INSTANCE),
            "message": cut(&message, LONGEST_MESSAGE),
            // In microseconds, as in the lock's record. The other two have whole seconds, for programs that
            // know nothing else.
            "eventTime": format!("{now:.6}"),
            "firstTimestamp": format!("{now:.0}"),
            "lastTimestamp": format!("{now:.0}"),
            "source": { "component": "incumbent" },
            "count": 1,
        })
    }
}

/// As much of it as has room in so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

const LONGEST_INSTANCE: usize = 128;

/// A message has room for 1024 bytes.
const LONGEST_MESSAGE: usize = 1024;

const LONGEST_NAME: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_between_two_characters() {
        assert_eq!(cut("john", 128), "john");
        assert_eq!(cut("ab\u{20ac}", 5), "ab\u{20ac}");
        assert_eq!(cut("ab\u{20ac}", 4), "ab");
    }
}
