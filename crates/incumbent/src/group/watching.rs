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

/// How often and how long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Before the next try, after a failure.
    pub(super) retry_period: Duration,
    /// For how long an open watch may show nothing. Then another is opened: a connection may be dead without a word.
    pub(super) patience: Duration,
}

/// Lists and watches until the driver is gone.
pub(super) async fn follow(
    requests: Requests,
    clock: Clock,
    selection: Selection,
    pace: Pace,
    notes: mpsc::WeakUnboundedSender<Note>,
) {
    let watcher = Watcher {
        collection: selection.kind.collection_path(Some(&selection.namespace)),
        filter: format!("labelSelector={GROUP_LABEL}%3D{}", selection.group),
        requests,
        clock,
        patience: pace.patience,
        kind: selection.kind,
        notes,
    };
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

struct Watcher {
    requests: Requests,
    clock: Clock,
    patience: Duration,
    kind: LockKind,
    collection: String,
    filter: String,
    notes: mpsc::WeakUnboundedSender<Note>,
}

/// How a watch ended.
struct End {
    /// Where the next one continues. `None` where a list is needed first.
    resume_after: Option<u64>,
    has_failed: bool,
}

impl Watcher {
    fn tell(&self, shown: Shown) {
        if let Some(notes) = self.notes.upgrade() {
            let _ = notes.send(Note::Shown(self.kind, Box::new(shown)));
        }
    }

    fn is_alone(&self) -> bool {
        self.notes.upgrade().is_none_or(|notes| notes.is_closed())
    }

    /// Lists, from the server's cache: a member never goes below what it has seen.
    async fn list(&self) -> Option<u64> {
        let Self { collection, filter, .. } = self;
        let path = format!("{collection}?{filter}&resourceVersion=0");
        match self.requests.list(&path).await {
            Ok(list) => {
                let (revision, objects) = listed(&list)?;
                self.tell(Shown::Listed(revision, objects));
                Some(revision)
            }
            Err(failure) => {
                tracing::debug!(%collection, error = failure.message, "cannot list");
                self.tell(Shown::Refused("list", failure));
                None
            }
        }
    }

    /// Watches for as long as the server lets it.
    async fn watch(&self, from: u64) -> End {
        let Self { collection, filter, .. } = self;
        let (filter, after) = (format!("&{filter}"), from.to_string());
        let events = match self.requests.watch(collection, &filter, Some(&after)).await {
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
                    self.tell(Shown::Gone(shown.name, shown.revision));
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

fn listed(list: &Value) -> Option<(u64, Vec<Value>)> {
    let revision = list["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    let objects = list["items"].as_array().cloned().unwrap_or_default();
    Some((revision, objects))
}
