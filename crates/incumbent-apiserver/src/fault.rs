//! Injected faults: what fails, for which requests, how often, and for how long.
//!
//! Without faults, a request costs one read of an atomic number here.

mod syntax;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::request::Verb;

pub(crate) use syntax::duration as parse_duration;
pub use syntax::{Fault, FaultError};

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The request arrives later.
    Latency(Span),
    /// The caller gets this code. With a span, the request is applied all the same after it, as
    /// upstream may do after a timeout.
    Error { code: u16, retry_after: u32, applied: Option<Span> },
    /// The request is neither applied nor answered.
    LoseRequest(Silence),
    /// The request is applied after this span, but not answered.
    LoseAnswer(Silence, Span),
    /// A partition: requests are lost, and open watches send nothing.
    LoseEverything(Silence),
    /// The request is applied later, even if the caller has given up by then.
    Late(Span),
    /// Watches stay open and send nothing, not even bookmarks.
    Freeze(Thaw),
}

/// A duration, drawn evenly between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
}

/// What a caller without an answer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The connection stays open, and nothing arrives.
    #[default]
    Hang,
    /// The connection is closed.
    Close,
}

/// What a frozen watch does when the fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thaw {
    /// It sends the events that it kept back.
    Continue,
    /// It ends with 410, and the client has to list again.
    Expire,
}

/// The properties of a request by which faults select it. A watch keeps them while it is open.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) verb: Verb,
    pub(crate) user: String,
    /// The name of the service, or the `User-Agent` header.
    pub(crate) client: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The connection broke before the answer was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server closed the connection")]
pub struct Disconnected;

/// What happens to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    #[default]
    Answer,
    Error {
        code: u16,
        retry_after: u32,
        applied: Option<Duration>,
    },
    LoseRequest(Silence),
    LoseAnswer(Silence, Duration),
    Late(Duration),
}

/// A fault that was added to a server.
#[derive(Clone, Debug)]
pub struct ActiveFault {
    id: u64,
    fault: Arc<Fault>,
    hits: Arc<AtomicU64>,
    until: Option<Instant>,
}

impl ActiveFault {
    /// The number by which the server knows it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The fault itself.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The number of requests and watches that it has hit; still readable after it ended.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// The time until it ends by itself. `None` if it stays until it is removed.
    pub fn time_left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }
}

/// The faults of one server.
pub(crate) struct Registry {
    /// The number of faults, so that a request needs no lock while there are none.
    count: AtomicUsize,
    /// The number of restarts; a watch that was opened before the last one is broken.
    life: AtomicU64,
    inner: Mutex<Inner>,
    /// Wakes frozen watches after a change.
    changes: watch::Sender<()>,
    /// The time until which listeners keep their port closed.
    outages: watch::Sender<Option<Instant>>,
}

struct Inner {
    latest: u64,
    active: Vec<ActiveFault>,
    rng: Rng,
}

impl Registry {
    pub(crate) fn new(seed: u64) -> Self {
        let inner = Inner { latest: 0, active: Vec::new(), rng: Rng::with_seed(seed) };
        Self {
            count: AtomicUsize::new(0),
            life: AtomicU64::new(0),
            inner: Mutex::new(inner),
            changes: watch::Sender::new(()),
            outages: watch::Sender::new(None),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    pub(crate) fn add(&self, fault: Fault) -> ActiveFault {
        let mut inner = self.lock();
        inner.latest += 1;
        let until = fault.lasts.and_then(|lasts| Instant::now().checked_add(lasts));
        let hits = Arc::default();
        let active = ActiveFault { id: inner.latest, fault: Arc::new(fault), hits, until };
        inner.active.push(active.clone());
        self.changed(&inner);
        active
    }

    /// Removes a fault; false if it was not there.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut inner = self.lock();
        let before = inner.active.len();
        inner.active.retain(|active| active.id != id);
        self.changed(&inner);
        inner.active.len() < before
    }

    /// Removes all faults, and returns their number.
    pub(crate) fn clear(&self) -> usize {
        let mut inner = self.lock();
        let count = std::mem::take(&mut inner.active).len();
        self.changed(&inner);
        count
    }

    pub(crate) fn list(&self) -> Vec<ActiveFault> {
        let mut inner = self.lock();
        self.drop_ended(&mut inner);
        inner.active.clone()
    }

    /// Draws what happens to a request.
    pub(crate) fn plan(&self, scope: &Scope) -> Plan {
        let mut inner = self.lock();
        self.drop_ended(&mut inner);
        let Inner { active, rng, .. } = &mut *inner;
        let mut plan = Plan::default();
        for active in active.iter().filter(|active| active.fault.matches(scope)) {
            let is_open = plan.outcome == Outcome::Answer;
            let is_latency = matches!(active.fault.effect, Effect::Latency(_));
            // The first fault that decides the outcome wins, and only that one counts a hit.
            if (is_open || is_latency)
                && active.fault.rate.draws(rng)
                && active.fault.effect.add_to(&mut plan, rng)
            {
                active.hit();
            }
        }
        plan
    }

    /// Waits until this watch may send again, and returns how it continues.
    pub(crate) async fn thaw(&self, scope: &Scope) -> Thaw {
        let mut changes = self.changes.subscribe();
        let mut thaw = Thaw::Continue;
        let mut counted = 0;
        while let Some(silencer) = self.silencer(scope, thaw) {
            if silencer.id > counted {
                silencer.hit();
                counted = silencer.id;
            }
            if silencer.fault.effect == Effect::Freeze(Thaw::Expire) {
                thaw = Thaw::Expire;
            }
            let changed = async { drop(changes.changed().await) };
            match silencer.until {
                None => changed.await,
                Some(until) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(until) => {}
                },
            }
        }
        thaw
    }

    /// Whether a fault keeps this watch silent.
    pub(crate) fn is_frozen(&self, scope: &Scope) -> bool {
        !self.is_empty() && self.silencer(scope, Thaw::Continue).is_some()
    }

    /// The fault that keeps a watch silent; one that makes it expire comes first.
    fn silencer(&self, scope: &Scope, known: Thaw) -> Option<ActiveFault> {
        let mut inner = self.lock();
        self.drop_ended(&mut inner);
        let fits = |active: &&ActiveFault| {
            active.fault.effect.silences_watches() && active.fault.matches_watch(scope)
        };
        let expires = |active: &&ActiveFault| {
            known == Thaw::Continue && active.fault.effect == Effect::Freeze(Thaw::Expire)
        };
        let mut all = inner.active.iter().filter(fits);
        let first = all.clone().find(expires);
        first.or_else(|| all.next()).cloned()
    }

    /// Whether a fault closed the connection of this watch.
    pub(crate) fn is_cut(&self, scope: &Scope) -> bool {
        !self.is_empty() && self.lock().active.iter().any(|active| active.fault.cuts(scope))
    }

    /// Counts a restart; the server answers again after `down`.
    pub(crate) fn restart(&self, down: Duration) {
        self.life.fetch_add(1, Ordering::AcqRel);
        self.outages.send_replace(Instant::now().checked_add(down));
        self.changes.send_replace(());
    }

    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    pub(crate) fn outages(&self) -> watch::Receiver<Option<Instant>> {
        self.outages.subscribe()
    }

    pub(crate) fn is_down(&self) -> bool {
        self.life() > 0 && self.outages.borrow().is_some_and(|until| Instant::now() < until)
    }

    fn drop_ended(&self, inner: &mut Inner) {
        let now = Instant::now();
        let before = inner.active.len();
        inner.active.retain(|active| !active.is_over(now));
        if inner.active.len() < before {
            self.changed(inner);
        }
    }

    fn changed(&self, inner: &Inner) {
        self.count.store(inner.active.len(), Ordering::Release);
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("active", &self.lock().active).finish_non_exhaustive()
    }
}

impl Effect {
    /// Adds the effect to a plan. False if it has none on requests.
    fn add_to(&self, plan: &mut Plan, rng: &mut Rng) -> bool {
        plan.outcome = match *self {
            Self::Latency(span) => {
                plan.delay = plan.delay.saturating_add(span.draw(rng));
                return true;
            }
            Self::Freeze(_) => return false,
            Self::Error { code, retry_after, applied } => {
                let applied = applied.map(|span| span.draw(rng));
                Outcome::Error { code, retry_after, applied }
            }
            Self::LoseRequest(silence) | Self::LoseEverything(silence) => {
                Outcome::LoseRequest(silence)
            }
            Self::LoseAnswer(silence, span) => Outcome::LoseAnswer(silence, span.draw(rng)),
            Self::Late(span) => Outcome::Late(span.draw(rng)),
        };
        true
    }

    fn silences_watches(&self) -> bool {
        matches!(self, Self::Freeze(_) | Self::LoseEverything(Silence::Hang))
    }
}

impl Span {
    pub(crate) fn new(range: RangeInclusive<Duration>) -> Self {
        Self { shortest: *range.start(), longest: *range.end() }
    }

    fn draw(self, rng: &mut Rng) -> Duration {
        let spread = self.longest.saturating_sub(self.shortest);
        self.shortest.saturating_add(spread.mul_f64(rng.f64()))
    }
}
