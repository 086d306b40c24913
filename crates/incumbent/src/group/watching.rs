//! A list and a watch of what carries the group's label, again and again.

use std::time::Duration;

use futures_util::StreamExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::mpsc;

use super::note::Shown;
use crate::clock::Clock;
use crate::lock::{GROUP_LABEL, LockKind};
use crate::requests::Requests;
use crate::stream::Seen;

/// Which objects.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// The path of all of the kind.
    pub(super) collection: String,
    /// What the API server makes the selection of, behind a `&`.
    pub(super) filter: String,
    /// How a list is asked for, behind the `?`: from which version on, or in parts.
    pub(super) list: &'static str,
    /// What of each object is kept while the parts of a list come in.
    pub(super) keep: fn(Value) -> Value,
}

impl Selection {
    /// What carries the label of this group.
    pub(super) fn of_group(kind: LockKind, namespace: &str, group: &str) -> Self {
        Self {
            collection: kind.collection_path(Some(namespace)),
            filter: format!("&labelSelector={GROUP_LABEL}%3D{group}"),
            // From the server's cache: a member never goes below what it has seen.
            list: "resourceVersion=0",
            keep: |object| object,
        }
    }
}

/// How often and how long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Before the next try, after a failure.
    pub(super) retry_period: Duration,
    /// For how long an open watch may show nothing. Then another is opened: a connection may be dead without a word.
    pub(super) patience: Duration,
}

/// Lists and watches until the listener is gone.
pub(super) async fn follow<N>(
    requests: Requests,
    clock: Clock,
    selection: Selection,
    pace: Pace,
    notes: mpsc::WeakUnboundedSender<N>,
    note: impl Fn(Shown) -> N,
) {
    let watcher = Watcher { requests, clock, patience: pace.patience, selection, notes, note };
    let retry_period = pace.retry_period;
    let mut after = None;
    while !watcher.is_alone() {
        let from = match after.take() {
            Some(from) => Some(from),
            None => watcher.list().await,
        };
        let pause = match from {
            Some(from) => {
                let opened = watcher.watch(from).await;
                after = opened.resume_after;
                if opened.has_failed { retry_period } else { retry_period / 20 }
            }
            None => retry_period,
        };
        clock.sleep(pause.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
    }
}

struct Watcher<N, F> {
    requests: Requests,
    clock: Clock,
    patience: Duration,
    selection: Selection,
    notes: mpsc::WeakUnboundedSender<N>,
    note: F,
}

/// How a watch ended.
struct End {
    /// Where the next one continues. `None` where a list is needed first.
    resume_after: Option<u64>,
    has_failed: bool,
}

impl<N, F: Fn(Shown) -> N> Watcher<N, F> {
    fn tell(&self, shown: Shown) {
        if let Some(notes) = self.notes.upgrade() {
            let _ = notes.send((self.note)(shown));
        }
    }

    fn is_alone(&self) -> bool {
        self.notes.upgrade().is_none_or(|notes| notes.is_closed())
    }

    /// Lists all of them. All parts of a list are as of one version.
    async fn list(&self) -> Option<u64> {
        let Selection { collection, filter, list, keep } = &self.selection;
        let (mut objects, mut after) = (Vec::new(), String::new());
        loop {
            match self.requests.list(&format!("{collection}?{list}{filter}{after}")).await {
                Ok(mut part) => {
                    let (revision, more) = listed(&mut part)?;
                    objects.extend(more.into_iter().map(keep));
                    let next = part["metadata"]["continue"].as_str().unwrap_or_default();
                    if next.is_empty() {
                        self.tell(Shown::Listed(revision, objects));
                        return Some(revision);
                    }
                    after = format!("&continue={}", utf8_percent_encode(next, NON_ALPHANUMERIC));
                }
                Err(failure) => {
                    tracing::debug!(%collection, error = failure.message, "cannot list");
                    self.tell(Shown::Refused("list", failure));
                    return None;
                }
            }
        }
    }

    /// Watches for as long as the server lets it.
    async fn watch(&self, from: u64) -> End {
        let Selection { collection, filter, .. } = &self.selection;
        let after = from.to_string();
        let events = match self.requests.watch(collection, filter, Some(&after)).await {
            Ok(events) => events,
            Err(failure) => {
                tracing::debug!(%collection, error = failure.message, "cannot watch");
                self.tell(Shown::Refused("watch", failure));
                return End { resume_after: None, has_failed: true };
            }
        };
        self.tell(Shown::Opened);
        let mut events = std::pin::pin!(events);
        let mut newest = from;
        while !self.is_alone() {
            let Some(event) = self.clock.timeout(self.patience, events.next()).await else {
                tracing::debug!(%collection, "the watch is silent");
                return End { resume_after: Some(newest), has_failed: false };
            };
            match event {
                Some(Ok(Seen::Present(shown))) => {
                    newest = shown.revision;
                    if let Ok(object) = shown.object() {
                        self.tell(Shown::Present(object));
                    }
                }
                Some(Ok(Seen::Gone(shown))) => {
                    newest = shown.revision;
                    if let Ok(object) = shown.object() {
                        self.tell(Shown::Gone(object, newest));
                    }
                }
                Some(Ok(Seen::Bookmark(revision))) => {
                    newest = revision.parse().unwrap_or(newest);
                    self.tell(Shown::Alive);
                }
                // After a watch that ended as it should, the next one continues where it was.
                None => return End { resume_after: Some(newest), has_failed: false },
                Some(Ok(Seen::Expired)) => return End { resume_after: None, has_failed: false },
                Some(Err(error)) => {
                    tracing::debug!(%collection, %error, "the watch broke");
                    return End { resume_after: None, has_failed: true };
                }
            }
        }
        End { resume_after: None, has_failed: false }
    }
}

fn listed(list: &mut Value) -> Option<(u64, Vec<Value>)> {
    let revision = list["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    match list["items"].take() {
        Value::Array(objects) => Some((revision, objects)),
        _ => Some((revision, Vec::new())),
    }
}
