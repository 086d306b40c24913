//! The open watches, and the delivery of changes to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;

use crate::answer::WatchStart;
use crate::fault::Scope;
use crate::selector::Selection;
use crate::store::{Change, ChangeKind};

/// All open watches, by topic.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    latest: u64,
    watchers: HashMap<Topic, HashMap<u64, Watcher>>,
}

/// The objects that a watch can match at most. If a thousand candidates watch a thousand locks, a change of one lock
/// reaches only the watchers of that lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Topic {
    table: &'static str,
    namespace: Option<String>,
    name: Option<String>,
}

/// Identifies a watch.
#[derive(Clone, Debug)]
struct WatchId {
    topic: Topic,
    number: u64,
}

#[derive(Debug)]
struct Watcher {
    selection: Selection,
    /// The initial events of the watch contain all changes up to this version.
    after: u64,
    sender: mpsc::Sender<News>,
    /// The weight of the changes that were sent and not read yet.
    unread: Arc<AtomicUsize>,
    scope: Arc<Scope>,
}

/// What the hub sends to a watcher.
#[derive(Debug)]
pub(crate) enum News {
    Change(ChangeKind, Arc<Change>),
    /// All changes up to this version have been sent.
    Bookmark(u64),
}

/// The receiving end of a watch.
#[derive(Debug)]
pub(crate) struct Registration {
    id: WatchId,
    receiver: mpsc::Receiver<News>,
    unread: Arc<AtomicUsize>,
    pub(crate) scope: Arc<Scope>,
    /// The life of the server in which the watch was opened.
    pub(crate) life: u64,
}

impl Registration {
    /// The next news. `None` once the hub has closed the watch.
    pub(crate) fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<Option<News>> {
        let news = ready!(self.receiver.poll_recv(context));
        if let Some(News::Change(_, change)) = &news {
            self.unread.fetch_sub(change.object.weight(), Ordering::Relaxed);
        }
        Poll::Ready(news)
    }
}

/// The most changes that a watcher may leave unread. Then its stream ends, and it has to list again.
const MOST_UNREAD: usize = 1024;

/// The most bytes that a watcher may leave unread: a few ConfigMaps of the maximum size.
const HEAVIEST_UNREAD: usize = 16 * 1024 * 1024;

impl Hub {
    pub(crate) fn open(&self) -> usize {
        self.watchers.values().map(HashMap::len).sum()
    }

    pub(crate) fn add(&mut self, start: &WatchStart, scope: Arc<Scope>, life: u64) -> Registration {
        let (sender, receiver) = mpsc::channel(MOST_UNREAD);
        self.latest += 1;
        let selection = start.selection.clone();
        let topic = Topic {
            table: start.resource.table,
            namespace: selection.namespace.clone(),
            name: selection.name().map(str::to_owned),
        };
        let id = WatchId { topic, number: self.latest };
        let unread = Arc::new(AtomicUsize::new(0));
        let (after, unread_too, scope_too) = (start.version, unread.clone(), scope.clone());
        let watcher = Watcher { selection, after, sender, unread: unread_too, scope: scope_too };
        self.watchers.entry(id.topic.clone()).or_default().insert(id.number, watcher);
        Registration { id, receiver, unread, scope, life }
    }

    pub(crate) fn remove(&mut self, registration: &Registration) {
        let id = &registration.id;
        if let Some(watchers) = self.watchers.get_mut(&id.topic) {
            watchers.remove(&id.number);
            if watchers.is_empty() {
                self.watchers.remove(&id.topic);
            }
        }
    }

    /// Sends a change to all watchers that match it. Never waits: a watcher that falls behind is closed.
    pub(crate) fn publish(&mut self, table: &'static str, change: &Arc<Change>) {
        let (namespace, name) = (change.object.namespace(), change.object.name());
        for (is_in_namespace, is_named) in
            [(true, true), (true, false), (false, true), (false, false)]
        {
            let topic = Topic {
                table,
                namespace: is_in_namespace.then(|| namespace.to_owned()),
                name: is_named.then(|| name.to_owned()),
            };
            if let Some(watchers) = self.watchers.get_mut(&topic) {
                watchers.retain(|_, watcher| watcher.send(change));
                if watchers.is_empty() {
                    self.watchers.remove(&topic);
                }
            }
        }
    }

    /// Closes the watches that match.
    pub(crate) fn close(&mut self, whose: impl Fn(&Scope) -> bool) {
        self.watchers.retain(|_, watchers| {
            watchers.retain(|_, watcher| !whose(&watcher.scope));
            !watchers.is_empty()
        });
    }

    /// Queues a bookmark behind everything that was sent before.
    pub(crate) fn bookmark(&mut self, registration: &Registration, version: u64) {
        let id = &registration.id;
        let watchers = self.watchers.get(&id.topic);
        if let Some(watcher) = watchers.and_then(|watchers| watchers.get(&id.number)) {
            // A full queue already contains newer versions.
            let _ = watcher.sender.try_send(News::Bookmark(version));
        }
    }
}

impl Watcher {
    /// Returns false if the watcher has fallen behind.
    fn send(&self, change: &Arc<Change>) -> bool {
        if change.object.version() <= self.after {
            return true;
        }
        let Some(kind) = change.as_seen_by(&self.selection) else { return true };
        let weight = change.object.weight();
        let unread = self.unread.fetch_add(weight, Ordering::Relaxed);
        // A single change is always accepted, however large it is.
        (unread == 0 || unread + weight <= HEAVIEST_UNREAD)
            && self.sender.try_send(News::Change(kind, change.clone())).is_ok()
    }
}
