//! Watches: who is told of which change, and the stream that tells it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::answer::{Bookmarks, WatchStart};
use crate::form::Form;
use crate::object::to_json;
use crate::random;
use crate::resources::Resource;
use crate::selector::Selection;
use crate::server::Shared;
use crate::store::{Change, ChangeKind};

/// Everybody who watches, by table.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    latest: u64,
    tables: HashMap<&'static str, HashMap<u64, Watcher>>,
}

/// Tells a watch apart from all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchId {
    table: &'static str,
    number: u64,
}

#[derive(Debug)]
struct Watcher {
    selection: Selection,
    /// Changes up to this version were told when the watch began.
    after: u64,
    sender: mpsc::Sender<News>,
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) enum News {
    Change(ChangeKind, Arc<Change>),
    /// All changes up to this version have been told.
    Bookmark(u64),
}

/// As many changes as a watcher may be behind; then its stream ends and it has to list again.
const MOST_UNREAD: usize = 1024;

impl Hub {
    pub(crate) fn open(&self) -> usize {
        self.tables.values().map(HashMap::len).sum()
    }

    pub(crate) fn add(&mut self, start: &WatchStart) -> (WatchId, mpsc::Receiver<News>) {
        let (sender, receiver) = mpsc::channel(MOST_UNREAD);
        self.latest += 1;
        let id = WatchId { table: start.resource.table, number: self.latest };
        let selection = start.selection.clone();
        let watcher = Watcher { selection, after: start.version, sender };
        self.tables.entry(id.table).or_default().insert(id.number, watcher);
        (id, receiver)
    }

    pub(crate) fn remove(&mut self, id: WatchId) {
        if let Some(watchers) = self.tables.get_mut(id.table) {
            watchers.remove(&id.number);
        }
    }

    /// Tells of a change. Never waits: a watcher that does not keep up is let go.
    pub(crate) fn tell(&mut self, table: &'static str, change: &Arc<Change>) {
        let Some(watchers) = self.tables.get_mut(table) else { return };
        let (namespace, name) = (change.object.namespace(), change.object.name());
        watchers.retain(|_, watcher| {
            let Selection { namespace: wanted, .. } = &watcher.selection;
            // With a thousand candidates watching a thousand locks, most are out by now.
            if wanted.as_deref().is_some_and(|wanted| wanted != namespace)
                || watcher.selection.name().is_some_and(|wanted| wanted != name)
                || change.object.version() <= watcher.after
            {
                return true;
            }
            let Some(kind) = change.as_seen_by(&watcher.selection) else { return true };
            watcher.sender.try_send(News::Change(kind, change.clone())).is_ok()
        });
    }

    /// Queues a bookmark behind everything that was told before.
    fn bookmark(&mut self, id: WatchId, version: u64) {
        let watcher = self.tables.get(id.table).and_then(|watchers| watchers.get(&id.number));
        if let Some(watcher) = watcher {
            // Where there is no room there is no lack of versions either.
            let _ = watcher.sender.try_send(News::Bookmark(version));
        }
    }
}

/// The body of a watch: one line of JSON for each event.
#[derive(Debug)]
pub(crate) struct WatchBody {
    resource: &'static Resource,
    form: Form,
    shared: Arc<Shared>,
    /// What is told before anything new.
    first: VecDeque<Bytes>,
    live: Option<Live>,
}

/// The part of a watch that goes on.
#[derive(Debug)]
struct Live {
    shared: Arc<Shared>,
    id: WatchId,
    receiver: mpsc::Receiver<News>,
    end: Pin<Box<Sleep>>,
    bookmark: Option<Pin<Box<Sleep>>>,
}

impl WatchBody {
    /// Tells what is there, and then what comes in over the receiver.
    pub(crate) fn new(
        start: WatchStart,
        form: Form,
        shared: &Arc<Shared>,
        registration: Option<(WatchId, mpsc::Receiver<News>)>,
    ) -> Self {
        let resource = start.resource;
        let now = shared.now();
        let initial = start.initial.iter();
        let told = initial.map(|(kind, object)| {
            let object = form.object(resource, object, now);
            line(name(*kind), &object)
        });
        let mut first: VecDeque<Bytes> = told.collect();
        if let Some(error) = &start.error {
            first.push_back(line("ERROR", &to_json(error)));
        }
        if start.marks_initial_end {
            first.push_back(bookmark(resource, start.version, Some(INITIAL_END)));
        }
        let live = registration.map(|(id, receiver)| {
            let now = Instant::now();
            let end = now + timeout(start.timeout_seconds);
            let wanted = start.bookmarks == Bookmarks::Wanted;
            Live {
                shared: shared.clone(),
                id,
                receiver,
                end: Box::pin(sleep_until(end)),
                bookmark: next_bookmark(now, end).filter(|_| wanted),
            }
        });
        Self { resource, form, shared: shared.clone(), first, live }
    }

    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(line) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(line))));
        }
        let Some(live) = &mut self.live else { return Poll::Ready(None) };
        let news = ready!(live.poll(context));
        if news.is_none() {
            self.live = None;
        }
        let line = news.map(|news| news.line(self.resource, self.form, &self.shared));
        Poll::Ready(line.map(|line| Ok(Frame::data(line))))
    }
}

impl Live {
    /// The next news; none when the watch has run its time, or was too slow.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<News>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(timer) = &mut self.bookmark
            && timer.as_mut().poll(context).is_ready()
        {
            self.bookmark = next_bookmark(Instant::now(), self.end.deadline());
            let mut state = self.shared.lock();
            let version = state.world.store.version();
            state.hub.bookmark(self.id, version);
            drop(state);
            // The new timer has to know whom to wake.
            context.waker().wake_by_ref();
        }
        self.receiver.poll_recv(context)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().hub.remove(self.id);
    }
}

impl News {
    fn line(&self, resource: &Resource, form: Form, shared: &Shared) -> Bytes {
        match self {
            Self::Bookmark(version) => bookmark(resource, *version, None),
            Self::Change(kind, change) => {
                let make = || {
                    let object = form.object(resource, &change.object_as(*kind), shared.now());
                    line(name(*kind), &object)
                };
                let is_usual = form == Form::Json && resource.conversion.is_none();
                let is_shared = is_usual && *kind == change.kind;
                if is_shared { change.line.get_or_init(make).clone() } else { make() }
            }
        }
    }
}

/// Upstream's interval.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// One more bookmark comes so long before the end, so that the next watch starts near it.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// The annotation of the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

fn next_bookmark(now: Instant, end: Instant) -> Option<Pin<Box<Sleep>>> {
    let last = end.checked_sub(LAST_BOOKMARK).filter(|last| *last > now)?;
    Some(Box::pin(sleep_until(last.min(now + BOOKMARK_INTERVAL))))
}

/// As asked; else somewhere between half an hour and an hour, so that not all come back at once.
fn timeout(seconds: Option<u64>) -> Duration {
    /// Longer than anybody waits, and short enough to be added to a time.
    const LONGEST: u64 = 365 * 86_400;
    let seconds = seconds.unwrap_or_else(|| 1800 + random::below(1800));
    Duration::from_secs(seconds.min(LONGEST))
}

fn name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "ADDED",
        ChangeKind::Modified => "MODIFIED",
        ChangeKind::Deleted => "DELETED",
    }
}

fn line(kind: &str, object: &Bytes) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

fn bookmark(resource: &Resource, version: u64, annotation: Option<&str>) -> Bytes {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(annotation) = annotation {
        metadata["annotations"] = json!({annotation: "true"});
    }
    let object: Value = json!({
        "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata,
    });
    line("BOOKMARK", &to_json(&object))
}
