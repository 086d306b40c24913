//! The stream of events that answers a watch.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::answer::{Bookmarks, WatchStart};
use crate::fault::{Disconnected, Thaw};
use crate::form::Form;
use crate::hub::{News, Registration};
use crate::object::{Object, to_json};
use crate::random;
use crate::resources::Resource;
use crate::state::Shared;
use crate::status::Status;
use crate::store::ChangeKind;
use crate::table::partial;

/// The body of a watch: one line of JSON per event.
pub(crate) struct WatchBody {
    resource: &'static Resource,
    form: Form,
    shared: Arc<Shared>,
    /// The existing objects, which are sent before changes.
    initial: VecDeque<(ChangeKind, Arc<Object>)>,
    /// Lines that follow the initial events.
    first: VecDeque<Bytes>,
    live: Option<Live>,
    thaw: Option<Pin<Box<dyn Future<Output = Thaw> + Send + Sync>>>,
}

impl fmt::Debug for WatchBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchBody").field("live", &self.live).finish_non_exhaustive()
    }
}

/// The part of a watch that receives changes.
#[derive(Debug)]
struct Live {
    shared: Arc<Shared>,
    registration: Registration,
    end: Pin<Box<Sleep>>,
    bookmark: Option<Pin<Box<Sleep>>>,
}

impl WatchBody {
    /// A stream of the initial events, followed by the changes of the registration.
    pub(crate) fn new(
        start: WatchStart,
        form: Form,
        shared: &Arc<Shared>,
        registration: Option<Registration>,
    ) -> Self {
        let resource = start.resource;
        let mut first = VecDeque::new();
        if let Some(error) = &start.error {
            first.push_back(line("ERROR", &to_json(error)));
        }
        if start.marks_initial_end {
            first.push_back(bookmark(resource, form, start.version, Some(INITIAL_END)));
        }
        let live = registration.map(|registration| {
            let now = Instant::now();
            let end = now + timeout(start.timeout_seconds);
            let wanted = start.bookmarks == Bookmarks::Wanted;
            Live {
                shared: shared.clone(),
                registration,
                end: Box::pin(sleep_until(end)),
                bookmark: next_bookmark(now, end).filter(|_| wanted),
            }
        });
        let initial = start.initial.into();
        Self { resource, form, shared: shared.clone(), initial, first, live, thaw: None }
    }

    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Disconnected>>> {
        if self.live.as_ref().is_some_and(Live::is_broken) {
            return self.end(Some(Err(Disconnected)));
        }
        if ready!(self.poll_thaw(context)) == Thaw::Expire {
            let why = Status::expired("The resourceVersion for the provided watch is too old.");
            let last = line("ERROR", &to_json(&why));
            return self.end(Some(Ok(Frame::data(last))));
        }
        if let Some((kind, object)) = self.initial.pop_front() {
            let object = self.form.object(self.resource, &object, self.shared.now());
            return Poll::Ready(Some(Ok(Frame::data(line(name(kind), &object)))));
        }
        if let Some(line) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(line))));
        }
        let Some(live) = &mut self.live else { return Poll::Ready(None) };
        let Some(news) = ready!(live.poll(context)) else {
            let broken = live.is_broken().then_some(Err(Disconnected));
            return self.end(broken);
        };
        let line = news.line(self.resource, self.form, &self.shared);
        Poll::Ready(Some(Ok(Frame::data(line))))
    }

    /// Ends the stream after `last`.
    fn end(
        &mut self,
        last: Option<Result<Frame<Bytes>, Disconnected>>,
    ) -> Poll<Option<Result<Frame<Bytes>, Disconnected>>> {
        self.initial.clear();
        self.first.clear();
        self.live = None;
        Poll::Ready(last)
    }

    /// Ready unless a fault keeps this watch silent.
    fn poll_thaw(&mut self, context: &mut Context<'_>) -> Poll<Thaw> {
        let Some(live) = &self.live else { return Poll::Ready(Thaw::Continue) };
        let (shared, scope) = (&self.shared, &live.registration.scope);
        if self.thaw.is_none() && shared.faults.is_frozen(scope) {
            let (shared, scope) = (shared.clone(), scope.clone());
            self.thaw = Some(Box::pin(async move { shared.faults.thaw(&scope).await }));
        }
        let Some(thaw) = &mut self.thaw else { return Poll::Ready(Thaw::Continue) };
        let thaw = ready!(thaw.as_mut().poll(context));
        self.thaw = None;
        Poll::Ready(thaw)
    }
}

impl Live {
    /// The next news. `None` if the watch has timed out or fallen behind.
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
            state.hub.bookmark(&self.registration, version);
            drop(state);
            // The new timer has to be polled once to register the waker.
            context.waker().wake_by_ref();
        }
        self.registration.poll_news(context)
    }

    /// Whether a restart or a fault broke the connection.
    fn is_broken(&self) -> bool {
        let faults = &self.shared.faults;
        faults.life() != self.registration.life || faults.is_cut(&self.registration.scope)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().hub.remove(&self.registration);
    }
}

impl News {
    fn line(&self, resource: &Resource, form: Form, shared: &Shared) -> Bytes {
        match self {
            Self::Bookmark(version) => bookmark(resource, form, *version, None),
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

/// A last bookmark is sent this long before the end, so that the next watch starts close to it.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// The annotation of the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

fn next_bookmark(now: Instant, end: Instant) -> Option<Pin<Box<Sleep>>> {
    let last = end.checked_sub(LAST_BOOKMARK).filter(|last| *last > now)?;
    Some(Box::pin(sleep_until(last.min(now + BOOKMARK_INTERVAL))))
}

/// The timeout that the client asks for, or a random one between 30 and 60 minutes, so that clients do not all
/// return at once.
fn timeout(seconds: Option<u64>) -> Duration {
    /// A year: short enough to be added to any time.
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

fn bookmark(resource: &Resource, form: Form, version: u64, annotation: Option<&str>) -> Bytes {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(annotation) = annotation {
        metadata["annotations"] = json!({annotation: "true"});
    }
    let object = json!({
        "kind": resource.kind.name, "apiVersion": resource.kind.api_version(), "metadata": metadata,
    });
    let object = match (form, object) {
        (Form::Metadata, Value::Object(fields)) => partial(&fields),
        (_, object) => object,
    };
    line("BOOKMARK", &to_json(&object))
}
