//! The kubelet's reports of many processes, by one watch of their Pods.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use incumbent_core::{Container, Identity, Session};
use serde_json::Value;
use tokio::sync::watch;

use super::kubelet::terminations;
use crate::requests::Requests;
use crate::stream::Seen;

/// The processes whose end somebody waits for, each in its container.
pub(crate) type Suspects = BTreeMap<Identity, (Session, Container)>;

/// Tells of each of `suspects` that the kubelet reports to have ended, perhaps more than once, until nobody listens.
///
/// The account needs the verb `watch` on `pods`.
pub(crate) async fn watch_for_ends(
    requests: Requests,
    namespace: String,
    mut suspects: watch::Receiver<Suspects>,
    mut tell: impl FnMut(&Identity, Session) -> bool,
) {
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let mut over = BTreeMap::new();
    loop {
        match requests.watch(&pods, "", None).await {
            Ok(events) => {
                over.clear();
                let mut events = pin!(events);
                loop {
                    let pod = tokio::select! {
                        changed = suspects.changed() => match changed {
                            Ok(()) => None,
                            Err(_) => return,
                        },
                        event = events.next() => match event {
                            Some(Ok(Seen::Present(shown) | Seen::Gone(shown))) => shown.object().ok(),
                            Some(Ok(Seen::Bookmark(_))) => None,
                            _ => break,
                        },
                    };
                    keep(&mut over, pod);
                    let known = suspects.borrow_and_update().clone();
                    for (member, session) in ended(&known, &over) {
                        if !tell(member, session) {
                            return;
                        }
                    }
                }
            }
            Err(failure) if failure.is_forbidden() => {
                let hint = "the account needs watch on pods; or leave kubelet_reports off";
                let error = failure.message;
                tracing::warn!(
                    namespace,
                    error,
                    hint,
                    "no early end of a term by the kubelet's report"
                );
                return;
            }
            Err(_) if suspects.has_changed().is_err() => return,
            Err(_) => {}
        }
        requests.clock().sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
    }
}

/// Remembers a Pod in which a container has terminated, because the process in it may become known later.
fn keep(over: &mut BTreeMap<String, Value>, pod: Option<Value>) {
    let Some(pod) = pod.filter(|pod| terminations(pod).next().is_some()) else { return };
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    over.insert(uid, pod);
}

fn ended<'a>(
    suspects: &'a Suspects,
    over: &BTreeMap<String, Value>,
) -> impl Iterator<Item = (&'a Identity, Session)> {
    suspects.iter().filter_map(|(member, (session, container))| {
        let pod = over.get(&container.pod_uid)?;
        let has_ended = terminations(pod).any(|told| container.has_ended(&told));
        has_ended.then_some((member, *session))
    })
}

const PAUSE: Duration = Duration::from_secs(1);
