//! A list and a watch of what carries the group's label, again and again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;

use super::note::{Note, Shown};
use crate::clock::Clock;
use crate::lock::{GROUP_LABEL, LockKind};
use crate::requests::Requests;
use crate::stream::Seen;

/// Which objects.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) kind: LockKind,
    pub(super) namespace: Arc<str>,
    pub(super) group: Arc<str>,
}

/// Lists and watches until nobody listens.
pub(super) async fn follow(
    requests: Requests,
    clock: Clock,
    selection: Selection,
    retry_period: Duration,
    notes: mpsc::WeakUnboundedSender<Note>,
) {
    let collection = selection.kind.collection_path(Some(&selection.namespace));
    let filter = format!("labelSelector={GROUP_LABEL}%3D{}", selection.group);
    let tell = |shown: Shown| {
        let note = Note::Shown(selection.kind, Box::new(shown));
        notes.upgrade().is_some_and(|notes| notes.send(note).is_ok())
    };
    let mut after: Option<u64> = None;
    loop {
        if after.is_none() {
            // From the server's cache: a member never goes below what it has seen.
            let path = format!("{collection}?{filter}&resourceVersion=0");
            match requests.list(&path).await.map(|list| listed(&list)) {
                Ok(Some((revision, objects))) => {
                    after = Some(revision);
                    if !tell(Shown::Listed(revision, objects)) {
                        return;
                    }
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::debug!(%collection, error = failure.message, "cannot list");
                    if !tell(Shown::Refused(failure)) {
                        return;
                    }
                }
            }
        }
        let Some(from) = after.take() else {
            pause(clock, retry_period).await;
            continue;
        };
        let (filter, from_text) = (format!("&{filter}"), from.to_string());
        let mut events = match requests.watch(&collection, &filter, Some(&from_text)).await {
            Ok(events) => std::pin::pin!(events),
            Err(failure) => {
                tracing::debug!(%collection, error = failure.message, "cannot watch");
                pause(clock, retry_period).await;
                continue;
            }
        };
        let mut newest = from;
        // A watch that ended as it should goes on where it was.
        after = loop {
            let note = match events.next().await {
                Some(Ok(Seen::Present(shown))) => {
                    newest = shown.revision;
                    shown.object().ok().map(Shown::Present)
                }
                Some(Ok(Seen::Gone(shown))) => {
                    newest = shown.revision;
                    Some(Shown::Gone(shown.name, shown.revision))
                }
                Some(Ok(Seen::Bookmark(revision))) => {
                    newest = revision.parse().unwrap_or(newest);
                    None
                }
                None => break Some(newest),
                Some(Ok(Seen::Expired)) => break None,
                Some(Err(error)) => {
                    tracing::debug!(%collection, %error, "the watch broke");
                    break None;
                }
            };
            if note.is_some_and(|note| !tell(note)) {
                return;
            }
        };
        pause(clock, retry_period / 20).await;
    }
}

fn listed(list: &Value) -> Option<(u64, Vec<Value>)> {
    let revision = list["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    let objects = list["items"].as_array().cloned().unwrap_or_default();
    Some((revision, objects))
}

async fn pause(clock: Clock, period: Duration) {
    clock.sleep(period.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
}
