//! What can be counted of an election, for the metrics of the program.
//!
//! This crate keeps no numbers and knows no format. It tells on a separate thread, so that nothing
//! that counts can hold an election up.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use incumbent_core::FencingToken;

use crate::lock::Lock;
use crate::term::Ending;

/// Counts what happens in elections; see [`Builder::metrics`](crate::Builder::metrics).
///
/// It receives only events. Ask for the current state when your metrics are read, so that it is
/// never outdated: whether the candidate leads, under which token and for how long
/// ([`LeadershipStatus`](crate::LeadershipStatus)), which candidate leads and how many wait
/// ([`Observer`](crate::Observer)).
///
/// All methods are called one after the other, for all candidates of the process, on a separate
/// thread. A slow implementation delays no election; while it is more than 1,024 events behind,
/// further events are dropped. An implementation that panics is not called again. Both are logged,
/// once.
pub trait Metrics: Send + Sync + 'static {
    /// A request for the lock was answered, or given up.
    fn request(&self, lock: &Lock, exchange: &Exchange) {
        let _ = (lock, exchange);
    }

    /// A term of this candidate has begun.
    fn term_began(&self, lock: &Lock, token: FencingToken) {
        let _ = (lock, token);
    }

    /// A term of this candidate has ended.
    fn term_ended(&self, lock: &Lock, ending: &Ending) {
        let _ = (lock, ending);
    }

    /// The leader has changed, to this candidate or to another; this includes the first leader that
    /// is seen.
    fn leader_changed(&self, lock: &Lock) {
        let _ = lock;
    }
}

impl<M: Metrics + ?Sized> Metrics for Arc<M> {
    fn request(&self, lock: &Lock, exchange: &Exchange) {
        (**self).request(lock, exchange);
    }

    fn term_began(&self, lock: &Lock, token: FencingToken) {
        (**self).term_began(lock, token);
    }

    fn term_ended(&self, lock: &Lock, ending: &Ending) {
        (**self).term_ended(lock, ending);
    }

    fn leader_changed(&self, lock: &Lock) {
        (**self).leader_changed(lock);
    }
}

/// A request that an election has sent, and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchange {
    /// RBAC's verb: `get`, `create` or `update`.
    pub verb: &'static str,
    /// The HTTP status; `None` if no complete answer arrived in time.
    pub code: Option<u16>,
    /// The time from sending it until its answer arrived or was given up.
    pub latency: Duration,
    /// Whether the candidate led when the answer arrived. A leader's healthy renewal is a single
    /// `update`; if it first needs a `get`, something disturbed it.
    pub while_leading: bool,
}

/// Tells one implementation, where there is one.
#[derive(Clone, Default)]
pub(crate) struct Meter(Option<Arc<Sink>>);

struct Sink {
    metrics: Box<dyn Metrics>,
    has_panicked: AtomicBool,
    has_missed: AtomicBool,
}

/// Something that is told.
#[derive(Debug)]
pub(crate) enum Event {
    Request(Exchange),
    TermBegan(FencingToken),
    TermEnded(Ending),
    LeaderChanged,
}

impl Meter {
    pub(crate) fn new(metrics: impl Metrics) -> Self {
        Self(Some(Arc::new(Sink {
            metrics: Box::new(metrics),
            has_panicked: false.into(),
            has_missed: false.into(),
        })))
    }

    /// Leaves the event to the thread that tells. Never waits.
    pub(crate) fn tell(&self, lock: &Lock, event: Event) {
        let Some(sink) = &self.0 else { return };
        let was_taken = queue().is_some_and(|queue| {
            queue.try_send(Told { to: sink.clone(), lock: lock.clone(), event }).is_ok()
        });
        if !was_taken && !sink.has_missed.swap(true, Ordering::Relaxed) {
            tracing::warn!(%lock, "the metrics fall behind: some events are not counted");
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.0.is_some()).finish()
    }
}

struct Told {
    to: Arc<Sink>,
    lock: Lock,
    event: Event,
}

/// One thread for all candidates; none where the system has no more to give.
fn queue() -> Option<&'static SyncSender<Told>> {
    static QUEUE: OnceLock<Option<SyncSender<Told>>> = OnceLock::new();
    let start = || {
        let (queue, events) = sync_channel(MOST_WAITING);
        let thread = thread::Builder::new().name("incumbent-metrics".to_owned());
        thread.spawn(move || tell_all(&events)).is_ok().then_some(queue)
    };
    QUEUE.get_or_init(start).as_ref()
}

fn tell_all(events: &Receiver<Told>) {
    for Told { to, lock, event } in events {
        if to.has_panicked.load(Ordering::Relaxed) {
            continue;
        }
        let tell = AssertUnwindSafe(|| match &event {
            Event::Request(exchange) => to.metrics.request(&lock, exchange),
            Event::TermBegan(token) => to.metrics.term_began(&lock, *token),
            Event::TermEnded(ending) => to.metrics.term_ended(&lock, ending),
            Event::LeaderChanged => to.metrics.leader_changed(&lock),
        });
        if catch_unwind(tell).is_err() {
            to.has_panicked.store(true, Ordering::Relaxed);
            tracing::warn!(%lock, "the metrics have panicked, and get no further events");
        }
    }
}

/// An hour of one election, or one renewal of each of a thousand.
const MOST_WAITING: usize = 1024;
