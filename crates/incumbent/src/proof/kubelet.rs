//! What the kubelet reports of containers, in the status of their Pods.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use incumbent_core::{Container, ContainerReport, Termination};
use serde_json::Value;

use super::container;
use crate::answer::Failure;
use crate::identity;
use crate::lock_api::LockApi;
use crate::requests::only;
use crate::stream::Seen;

/// Waits until the kubelet has reported that this start of a container has terminated; for ever, where it
/// never does.
pub(super) async fn has_terminated(api: &LockApi, container: &Container, report: &ContainerReport) {
    loop {
        let pods = format!("/api/v1/namespaces/{}/pods", report.namespace);
        match api.requests().watch(&pods, &only(&report.pod), None).await {
            Ok(events) => {
                let mut events = pin!(events);
                while let Some(Ok(event)) = events.next().await {
                    let (Seen::Present(shown) | Seen::Gone(shown)) = event else { continue };
                    let Ok(pod) = shown.object() else { continue };
                    if terminations(&pod).any(|told| container.has_ended(&told)) {
                        return;
                    }
                }
            }
            Err(failure) => give_up_if_forbidden(api, &failure).await,
        }
        api.clock().sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
    }
}

/// All that the status says of containers that have terminated, now or before they were started again.
pub(super) fn terminations(pod: &Value) -> impl Iterator<Item = Termination<'_>> {
    let metadata = &pod["metadata"];
    let is_mirror = !metadata["annotations"]["kubernetes.io/config.mirror"].is_null();
    let states = statuses(pod)
        .flat_map(|status| ["state", "lastState"].map(|state| (status, &status[state])));
    states.filter_map(move |(status, state)| {
        let over = state.get("terminated").filter(|over| over.is_object())?;
        Some(Termination {
            pod_uid: metadata["uid"].as_str()?,
            is_mirror,
            container: status["name"].as_str()?,
            reason: over["reason"].as_str().unwrap_or_default(),
            message: over["message"].as_str().unwrap_or_default(),
        })
    })
}

/// An init container with a restart policy is a sidecar. Ephemeral containers leave a message, too.
fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    lists.into_iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten())
}

/// This process's own container, with where the kubelet will report its end. It leaves the mark for that.
///
/// Blocks, because it writes to a file. `None` where process 1 is not the container's own, or where
/// `claimed` was not found out by this process itself.
pub(super) fn introduce(api: &LockApi, claimed: &Container) -> Option<Container> {
    let own = container::own().filter(|own| own.container == *claimed)?;
    if own.container.start.is_none() {
        let hint = "hostPID, shareProcessNamespace or hostIPC, or process 1 is another user's: followers \
                    wait for the lease";
        tracing::warn!(lock = %api.lock(), hint, "kubelet_reports has no effect in this Pod");
        return None;
    }
    let (namespace, pod) = own_pod(api)?;
    let report = ContainerReport { namespace, pod, mark: container::own_mark()? };
    Some(Container { report: Some(report), ..claimed.clone() })
}

/// A Pod's host has the Pod's name, unless it is told otherwise; then the uid does not match.
fn own_pod(api: &LockApi) -> Option<(String, String)> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let namespace =
        set("POD_NAMESPACE").unwrap_or_else(|| api.requests().own_namespace().to_owned());
    let pod = set("POD_NAME").or_else(|| set("HOSTNAME")).or_else(identity::host_name)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let fits = [&namespace, &pod].into_iter().all(|name| name.bytes().all(is_plain));
    fits.then_some((namespace, pod))
}

async fn give_up_if_forbidden(api: &LockApi, failure: &Failure) {
    if failure.is_forbidden() {
        let hint = "the account needs watch on pods; or leave kubelet_reports off";
        let error = &failure.message;
        tracing::warn!(lock = %api.lock(), error, hint, "no early takeover by the kubelet's report");
        pending().await
    }
}

const PAUSE: Duration = Duration::from_secs(1);
