//! Who watches what, and how news reach each watcher.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;

use crate::answer::WatchStart;
use crate::fault::Scope;
use crate::selector::Selection;
use crate::store::{Change, ChangeKind};

/// Everybody who watches, by what they watch.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    latest: u64,
    watchers: HashMap<Topic, HashMap<u64, Watcher>>,
}

/// What a watch is about at most: a thousand candidates that watch a thousand locks are a
/// thousand topics, and a change is told to those of its own only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Topic {
    table: &'static str,
    namespace: Option<String>,
    name: Option<String>,
}

/// Tells a watch apart from all others.
#[derive(Clone, Debug)]
struct WatchId {
    topic: Topic,
    number: u64,
}

#[derive(Debug)]
struct Watcher {
    selection: Selection,
    /// Changes up to this version were told when the watch began.
    after: u64,
    sender: mpsc::Sender<News>,
    /// The weight of what was sent and not read yet.
    unread: Arc<AtomicUsize>,
    scope: Arc<Scope>,
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) enum News {
    Change(ChangeKind, Arc<Change>),
    /// All changes up to this version have been told.
    Bookmark(u64),
}

/// The way from the hub to one watcher.
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
    /// The next news; none once the hub has ended the watch.
    pub(crate) fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<Option<News>> {
        let news = ready!(self.receiver.poll_recv(context));
        if let Some(News::Change(_, change)) = &news {
            self.unread.fetch_sub(change.object.weight(), Ordering::Relaxed);
        }
        Poll::Ready(news)
    }
}

/// As many changes as a watcher may be behind; then its stream ends and it has to list again.
const MOST_UNREAD: usize = 1024;

/// As many bytes as a watcher may be behind: some ConfigMaps of the greatest size.
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

    /// Tells of a change. Never waits: a watcher that does not keep up is let go.
    pub(crate) fn tell(&mut self, table: &'static str, change: &Arc<Change>) {
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
                watchers.retain(|_, watcher| watcher.tell(change));
                if watchers.is_empty() {
                    self.watchers.remove(&topic);
                }
            }
        }
    }

    /// Ends these watches.
    pub(crate) fn let_go(&mut self, whose: impl Fn(&Scope) -> bool) {
        self.watchers.retain(|_, watchers| {
            watchers.retain(|_, watcher| !whose(&watcher.scope));
            !watchers.is_empty()
        });
    }

    /// Queues a bookmark behind everything that was told before.
    pub(crate) fn bookmark(&mut self, registration: &Registration, version: u64) {
        let id = &registration.id;
        let watchers = self.watchers.get(&id.topic);
        if let Some(watcher) = watchers.and_then(|watchers| watchers.get(&id.number)) {
            // Where there is no room there is no lack of versions either.
            let _ = watcher.sender.try_send(News::Bookmark(version));
        }
    }
}

impl Watcher {
    /// False if it did not keep up.
    fn tell(&self, change: &Arc<Change>) -> bool {
        if change.object.version() <= self.after {
            return true;
        }
        let Some(kind) = change.as_seen_by(&self.selection) else { return true };
        let weight = change.object.weight();
        let unread = self.unread.fetch_add(weight, Ordering::Relaxed);
        // One change is never too much, however heavy it is.
        (unread == 0 || unread + weight <= HEAVIEST_UNREAD)
            && self.sender.try_send(News::Change(kind, change.clone())).is_ok()
    }
}
