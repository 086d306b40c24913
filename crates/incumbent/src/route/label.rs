//! The leader's label on its Pod.

use http::Method;
use incumbent_core::FencingToken;
use serde_json::{Value, json};

use super::marked::{Marked, Trouble};
use crate::lock::escaped_pointer;
use crate::lock_api::LockApi;

/// The label of one election, as one Pod sets and heals it.
///
/// A Pod has the label only together with an annotation of the same key, which holds the token. The
/// annotation stays when the label goes. So each write changes the Pod, and one that is still on its
/// way is refused, for it names an older resourceVersion.
pub(super) struct Label {
    pub(super) marked: Marked,
    pods: String,
    pod: String,
    has_warned: bool,
}

impl Label {
    pub(super) fn new(api: LockApi, key: String, namespace: String, pod: String) -> Self {
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        Self { marked: Marked::new(api, key, RULE), pods, pod, has_warned: false }
    }

    /// The key of the label, and of the annotation with the token.
    fn key(&self) -> &str {
        self.marked.annotation()
    }

    /// Takes the label from those who have it from older terms, and sets it on one's own Pod.
    pub(super) async fn show(&mut self, ours: FencingToken) -> Result<(), Trouble> {
        // Also where the others cannot be seen, the leader shows itself.
        let healed = self.heal(ours).await;
        self.set(ours).await?;
        healed
    }

    async fn heal(&mut self, ours: FencingToken) -> Result<(), Trouble> {
        let selector = self.key().replace('/', "%2F");
        let path = format!("{}?labelSelector={selector}", self.pods);
        let list = self.marked.read(&path).await?.unwrap_or_default();
        for pod in list["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            if name == self.pod {
                continue;
            }
            match self.marked.token(pod) {
                Ok(None) | Err(_) => self.warn_of_a_foreign_label(name),
                Ok(Some(theirs)) if theirs > ours => {
                    self.marked.tell_of_higher(&format!("pod/{name}"), ours, theirs);
                }
                Ok(Some(theirs)) => self.patch(pod, Value::Null, theirs).await?,
            }
        }
        Ok(())
    }

    async fn set(&mut self, ours: FencingToken) -> Result<(), Trouble> {
        let Some(pod) = self.own_pod().await? else {
            return Err(self.trouble("it does not exist"));
        };
        self.warn_of_readiness(&pod);
        let has_label = !pod["metadata"]["labels"][self.key()].is_null();
        match self.token(&pod)? {
            None if has_label => {
                self.warn_of_a_foreign_label(&self.pod.clone());
                Ok(())
            }
            // A later term, of another process in this Pod.
            Some(seen) if seen > ours => {
                self.marked.tell_of_higher(&format!("pod/{}", self.pod), ours, seen);
                Ok(())
            }
            Some(seen) if seen == ours && has_label => Ok(()),
            _ => self.patch(&pod, json!("true"), ours).await,
        }
    }

    /// Takes the label off one's own Pod, and makes sure that no write of this term comes after.
    pub(super) async fn clear(&mut self, ours: FencingToken) -> Result<(), Trouble> {
        let Some(pod) = self.own_pod().await? else { return Ok(()) };
        let has_label = !pod["metadata"]["labels"][self.key()].is_null();
        match self.token(&pod)? {
            None if has_label => Ok(()),
            // The next leader, of another process in this Pod, has been there already.
            Some(seen) if seen > ours => Ok(()),
            Some(seen) if seen == ours && !has_label => Ok(()),
            _ => self.patch(&pod, Value::Null, ours).await,
        }
    }

    fn token(&self, pod: &Value) -> Result<Option<FencingToken>, Trouble> {
        self.marked.token(pod).map_err(|error| error.on(&format!("pod/{}", self.pod)))
    }

    async fn own_pod(&self) -> Result<Option<Value>, Trouble> {
        self.marked.read(&format!("{}/{}", self.pods, self.pod)).await
    }

    /// Changes exactly the version of `pod` that was read.
    async fn patch(&self, pod: &Value, label: Value, token: FencingToken) -> Result<(), Trouble> {
        let metadata = &pod["metadata"];
        let patch = json!({ "metadata": {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "labels": { self.key(): label },
            "annotations": { self.key(): token.to_string() },
        }});
        let name = metadata["name"].as_str().unwrap_or_default();
        let path = format!("{}/{name}", self.pods);
        let label = format!("/metadata/labels/{}", escaped_pointer(self.key()));
        self.marked.write((Method::PATCH, &path), &patch, &[label]).await
    }

    fn trouble(&self, what: &str) -> Trouble {
        let message = format!("{}/{}: {what}", self.pods, self.pod);
        let hint = "set POD_NAME and POD_NAMESPACE by the downward API";
        Trouble { message, hint, is_race: false }
    }

    /// A selector of a ReplicaSet may need it: without the label, the Pod would be replaced.
    fn warn_of_a_foreign_label(&mut self, pod: &str) {
        let hint = "remove it from the Pod template: the leader sets it by itself";
        self.warn(pod, hint, "another program set the leader's label: it is left alone");
    }

    fn warn_of_readiness(&mut self, pod: &Value) {
        if readiness_asks_who_leads(pod) {
            let hint = "a rolling update waits for Pods that are ready: let the probe ask whether the \
                        Pod can take part, and the label say who leads";
            self.warn(&self.pod.clone(), hint, "a readiness probe asks who leads");
        }
    }

    fn warn(&mut self, pod: &str, hint: &str, what: &str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(lock = %self.marked.lock(), pod, key = self.key(), hint, "{what}");
        }
    }
}

const RULE: &str = "the account needs the verbs get, list and patch on pods";

/// Of a probe only its path can be seen, so a good guess is all there is.
fn readiness_asks_who_leads(pod: &Value) -> bool {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut paths =
        containers.filter_map(|container| container["readinessProbe"]["httpGet"]["path"].as_str());
    paths.any(|path| {
        let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
        path.rsplit('/').next() == Some("leader")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readiness_probe_that_asks_who_leads_is_seen_and_no_other() {
        let asks = |probe: &str, path: &str| {
            let probed = json!({ "name": "app", probe: { "httpGet": { "path": path } } });
            readiness_asks_who_leads(&json!({ "spec": { "containers": [{}, probed] } }))
        };
        for path in ["/leader", "/leader/", "/api/leader?verbose"] {
            assert!(asks("readinessProbe", path), "{path}");
            assert!(!asks("livenessProbe", path), "{path}");
        }
        for path in ["/readyz", "/leaders", "/leader/address", ""] {
            assert!(!asks("readinessProbe", path), "{path}");
        }
        assert!(!readiness_asks_who_leads(&json!({})));
    }
}
