//! Faults: what goes wrong on purpose, for whom, how often, and until when.
//!
//! A server without faults reads one atomic number for each request, and nothing else of this.

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
    /// The request comes in so much later.
    Latency(Span),
    /// The caller gets this code; where a span is given, the request is applied after it all the
    /// same, as upstream may do after a time-out.
    Error { code: u16, retry_after: u32, applied: Option<Span> },
    /// The request is never applied, and never answered.
    LoseRequest(Silence),
    /// The request is applied after this span, and never answered.
    LoseAnswer(Silence, Span),
    /// A partition: requests are lost, and open watches show nothing.
    LoseEverything(Silence),
    /// The request is applied so much later, even if the caller has given up by then.
    Late(Span),
    /// Watches are open and show nothing, not even bookmarks.
    Freeze(Thaw),
}

/// A time, drawn evenly from these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
}

/// How it looks to a caller who gets no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The connection stays open, and nothing comes.
    #[default]
    Hang,
    /// The connection is closed.
    Close,
}

/// What a watch does once it may show something again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thaw {
    /// It tells what it kept back.
    Continue,
    /// It ends with 410, and the client has to list anew.
    Expire,
}

/// Who asks for what; a watch has it as long as it is open.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) verb: Verb,
    pub(crate) user: String,
    /// What the service is named, else the `User-Agent` header.
    pub(crate) client: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The connection broke before the answer was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server closed the connection")]
pub struct Disconnected;

/// What becomes of one request.
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

/// A fault that was added to a server, for as long as anybody holds it.
#[derive(Clone, Debug)]
pub struct ActiveFault {
    id: u64,
    fault: Arc<Fault>,
    hits: Arc<AtomicU64>,
    until: Option<Instant>,
}

impl ActiveFault {
    /// Its number, by which it is removed.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What it does.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// How many requests and watches it has hit so far; also after its end.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How long it will go on; nothing if that is until it is removed.
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
    /// How many there are, so that a request learns without a lock that there are none.
    count: AtomicUsize,
    /// Counts restarts; a watch of an earlier life is broken.
    life: AtomicU64,
    inner: Mutex<Inner>,
    /// Tells frozen watches that something changed.
    changes: watch::Sender<()>,
    /// Tells listeners until when the port is closed.
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

    /// Whether there was such a fault.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut inner = self.lock();
        let before = inner.active.len();
        inner.active.retain(|active| active.id != id);
        self.changed(&inner);
        inner.active.len() < before
    }

    /// Returns how many there were.
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

    /// Draws what becomes of a request.
    pub(crate) fn plan(&self, scope: &Scope) -> Plan {
        let mut inner = self.lock();
        self.drop_ended(&mut inner);
        let Inner { active, rng, .. } = &mut *inner;
        let mut plan = Plan::default();
        for active in active.iter().filter(|active| active.fault.fits(scope)) {
            let is_open = plan.outcome == Outcome::Answer;
            let is_latency = matches!(active.fault.effect, Effect::Latency(_));
            // Of those that decide the outcome the first one does, and only that has hit.
            if (is_open || is_latency)
                && active.fault.rate.draws(rng)
                && active.fault.effect.add_to(&mut plan, rng)
            {
                active.hit();
            }
        }
        plan
    }

    /// Waits until this watch may show something again, and says how it goes on.
    pub(crate) async fn thaw(&self, scope: &Scope) -> Thaw {
        let mut changes = self.changes.subscribe();
        let mut thaw = Thaw::Continue;
        let mut counted = 0;
        while let Some(frost) = self.frost(scope, thaw) {
            if frost.id > counted {
                frost.hit();
                counted = frost.id;
            }
            if frost.fault.effect == Effect::Freeze(Thaw::Expire) {
                thaw = Thaw::Expire;
            }
            let changed = async { drop(changes.changed().await) };
            match frost.until {
                None => changed.await,
                Some(until) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(until) => {}
                },
            }
        }
        thaw
    }

    /// Whether this watch may not show anything now.
    pub(crate) fn is_frozen(&self, scope: &Scope) -> bool {
        !self.is_empty() && self.frost(scope, Thaw::Continue).is_some()
    }

    /// What keeps a watch silent: at first what makes it expire, if anything does.
    fn frost(&self, scope: &Scope, known: Thaw) -> Option<ActiveFault> {
        let mut inner = self.lock();
        self.drop_ended(&mut inner);
        let fits = |active: &&ActiveFault| {
            active.fault.effect.silences_watches() && active.fault.fits_watch(scope)
        };
        let expires = |active: &&ActiveFault| {
            known == Thaw::Continue && active.fault.effect == Effect::Freeze(Thaw::Expire)
        };
        let mut all = inner.active.iter().filter(fits);
        let first = all.clone().find(expires);
        first.or_else(|| all.next()).cloned()
    }

    /// Whether the watch of this scope was ended by closing its connection.
    pub(crate) fn is_cut(&self, scope: &Scope) -> bool {
        !self.is_empty() && self.lock().active.iter().any(|active| active.fault.cuts(scope))
    }

    /// Ends this life; the next begins after `down`.
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
    /// Whether there was anything to add.
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
