//! What the kubelet reports of containers, in the status of their Pods.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use incumbent_core::{Container, ContainerReport};
use serde_json::Value;

use crate::api::{Api, only};
use crate::clock::Clock;
use crate::error::Error;
use crate::identity;
use crate::stream::Seen;

/// Waits until the kubelet has reported that this start of a container has terminated; for ever, where it
/// never does.
pub(super) async fn has_terminated(api: &Api, pod_uid: &str, name: &str, report: &ContainerReport) {
    loop {
        let pods = format!("/api/v1/namespaces/{}/pods", report.namespace);
        match api.watch_in(&pods, &only(&report.pod), None).await {
            Ok(events) => {
                let mut events = pin!(events);
                while let Some(Ok(event)) = events.next().await {
                    let (Seen::Present(shown) | Seen::Gone(shown)) = event else { continue };
                    let Ok(pod) = shown.object() else { continue };
                    if says_terminated(&pod, pod_uid, name, &report.id) {
                        return;
                    }
                }
            }
            Err(trouble) => give_up_if_forbidden(api, &trouble.error).await,
        }
        api.clock().sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
    }
}

/// Whether the status says that the container with this id has terminated.
///
/// Such a statement stays true for ever, so that an old copy of the status cannot mislead. That another
/// id is running says nothing: in an old copy it may be the one before. `ContainerStatusUnknown` is the
/// kubelet's word for a container that it has lost sight of.
fn says_terminated(pod: &Value, pod_uid: &str, name: &str, id: &str) -> bool {
    let is_over = |state: &Value| {
        let over = &state["terminated"];
        over["containerID"] == id && over["reason"] != "ContainerStatusUnknown"
    };
    let mut named = statuses(pod).filter(|status| status["name"] == name);
    pod["metadata"]["uid"] == pod_uid
        && named.any(|status| is_over(&status["state"]) || is_over(&status["lastState"]))
}

/// An init container with a restart policy is a sidecar.
fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["containerStatuses", "initContainerStatuses"];
    lists.into_iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten())
}

/// Finds out under which id the kubelet reports of this process's own container.
///
/// The status may be behind, and show the start before this one as running. So the container has to be
/// [`SETTLED`] before it is asked for, and what runs must not have started before it did.
pub(super) async fn look_up(api: &Api, clock: Clock, own: Option<&Container>) -> Option<Container> {
    let own = own?;
    if own.report.is_some() {
        return Some(own.clone());
    }
    let ticks = own.start.as_ref()?.ticks;
    let started = Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND));
    let age = || clock.instant().since_start().saturating_sub(started);
    let started_at = jiff::Timestamp::now().as_second() - age().as_secs().cast_signed() - 1;
    clock.sleep(SETTLED.saturating_sub(age())).await;
    let (namespace, pod) = own_pod(api)?;
    loop {
        match api.fetch(&format!("/api/v1/namespaces/{namespace}/pods/{pod}")).await {
            Ok(Some(object)) => {
                if let Some(id) = running_id(&object, own, started_at) {
                    let report = ContainerReport { namespace, pod, id };
                    return Some(Container { report: Some(report), ..own.clone() });
                }
            }
            Ok(None) => {}
            Err(error) => give_up_if_forbidden(api, &error).await,
        }
        clock.sleep(SETTLED).await;
    }
}

fn running_id(pod: &Value, own: &Container, started_at: i64) -> Option<String> {
    let status = statuses(pod).find(|status| status["name"] == own.name.as_str())?;
    let since: jiff::Timestamp = status["state"]["running"]["startedAt"].as_str()?.parse().ok()?;
    let id = status["containerID"].as_str().filter(|id| !id.is_empty())?;
    let is_own = pod["metadata"]["uid"] == own.pod_uid.as_str() && since.as_second() >= started_at;
    is_own.then(|| id.to_owned())
}

/// A Pod's host has the Pod's name, unless it is told otherwise; then the uid does not match.
fn own_pod(api: &Api) -> Option<(String, String)> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let namespace = set("POD_NAMESPACE").unwrap_or_else(|| api.own_namespace().to_owned());
    let pod = set("POD_NAME").or_else(|| set("HOSTNAME")).or_else(identity::host_name)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let fits = [&namespace, &pod].into_iter().all(|name| name.bytes().all(is_plain));
    fits.then_some((namespace, pod))
}

async fn give_up_if_forbidden(api: &Api, error: &Error) {
    if let Error::Forbidden { .. } = error {
        let hint = "the account needs get and watch on pods; or leave kubelet_reports off";
        tracing::warn!(lock = %api.lock(), %error, hint, "no early takeover by the kubelet's report");
        pending().await
    }
}

const PAUSE: Duration = Duration::from_secs(1);

/// By then the kubelet has long told the API server which start of the container is running.
const SETTLED: Duration = Duration::from_secs(30);

/// USER_HZ, which Linux shows to programs on all machines that Kubernetes runs on.
const TICKS_PER_SECOND: u64 = 100;
