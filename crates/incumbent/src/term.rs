//! One term, as all threads see it: the driver that renews it, the work that asks, the watchdog.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use incumbent_core::{Asked, FencingToken, Instant, Loss, Release, Term};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::lock::Lock;

/// The state of one term.
///
/// The deadlines are plain atomics, so that asking costs a few nanoseconds and needs nobody: neither
/// the driver nor the runtime has to be alive for the answer to turn to "no" in time.
pub(crate) struct TermState {
    lock: Lock,
    token: FencingToken,
    clock: Clock,
    /// Nanoseconds on the clock; zero once the term is over.
    valid_until: AtomicU64,
    stop_by: AtomicU64,
    /// Work may be running: the handle is alive.
    working: AtomicBool,
    ended: watch::Sender<Option<Loss>>,
    /// Somebody wants another leader.
    asked: watch::Sender<Option<Asked>>,
    on_overrun: OnOverrun,
}

/// What the watchdog has to do about a term.
pub(crate) enum Due {
    /// Nothing before this moment.
    At(Instant),
    /// Nothing any more: the work has ended.
    Over,
    /// The work still runs, and has to be ended by force.
    Overrun(Overrun),
}

/// Work that was still running when its lease was over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overrun {
    /// In which election.
    pub lock: Lock,
    /// The token of the term that is over.
    pub token: FencingToken,
    /// How long after the last moment this is. More than a few milliseconds say that the whole process
    /// (or machine) had been paused, and its work with it.
    pub late_by: Duration,
}

/// How a term ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was lost; the work is told to stop.
    Lost(Loss),
    /// The work had stopped, and the leadership was given back.
    Released(Release),
}

/// What is done about work that overran.
pub(crate) type OnOverrun = Arc<dyn Fn(Overrun) + Send + Sync>;

impl TermState {
    pub(crate) fn new(lock: Lock, term: Term, clock: Clock, on_overrun: OnOverrun) -> Arc<Self> {
        Arc::new(Self {
            lock,
            token: term.token,
            clock,
            valid_until: nanos(term.valid_until).into(),
            stop_by: nanos(term.stop_by).into(),
            working: true.into(),
            ended: watch::Sender::new(None),
            asked: watch::Sender::new(None),
            on_overrun,
        })
    }

    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    pub(crate) fn token(&self) -> FencingToken {
        self.token
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn valid_until(&self) -> Instant {
        instant(self.valid_until.load(Ordering::Acquire))
    }

    pub(crate) fn valid_for(&self) -> Duration {
        self.valid_until().saturating_since(self.clock.instant())
    }

    pub(crate) fn stop_by(&self) -> Instant {
        instant(self.stop_by.load(Ordering::Acquire))
    }

    /// Why the term was lost, if it was.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.ended.borrow().clone()
    }

    /// Waits until the term is lost. Needs nobody to say so: the deadline counts by itself.
    pub(crate) async fn lost(&self) -> Loss {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(loss) = ended.borrow_and_update().clone() {
                return loss;
            }
            let valid_until = self.valid_until();
            if self.clock.instant() >= valid_until {
                return Loss::DeadlinePassed;
            }
            tokio::select! {
                biased;
                _ = ended.changed() => {}
                () = self.clock.sleep_until(valid_until) => {}
            }
        }
    }

    pub(crate) fn ask(&self, asked: Option<Asked>) {
        self.asked.send_if_modified(|known| {
            let differs = *known != asked;
            *known = asked;
            differs
        });
    }

    /// Waits until this leader is asked to hand over.
    pub(crate) async fn asked(&self) -> Asked {
        let mut asked = self.asked.subscribe();
        loop {
            if let Some(asked) = asked.borrow_and_update().clone() {
                return asked;
            }
            if asked.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The term goes on for longer. A term that is over stays over.
    pub(crate) fn renew(&self, term: Term) {
        let now = nanos(self.clock.instant());
        let renewed = self.valid_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| {
            (until > now).then_some(nanos(term.valid_until).max(until))
        });
        if renewed.is_ok() {
            self.stop_by.fetch_max(nanos(term.stop_by), Ordering::AcqRel);
        }
    }

    /// The lock is given back. Whatever still holds the leadership, which nothing should, may not act.
    pub(crate) fn revoke(&self) {
        self.valid_until.store(0, Ordering::Release);
    }

    pub(crate) fn end(&self, loss: Loss) {
        self.revoke();
        if !self.working.load(Ordering::Acquire) {
            return; // Given back is not lost.
        }
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(loss);
            first
        });
    }

    /// The work has ended: the handle is gone.
    pub(crate) fn work_ended(&self) {
        if self.valid_for().is_zero() {
            self.end(Loss::DeadlinePassed);
        }
        self.working.store(false, Ordering::Release);
        self.revoke();
    }

    pub(crate) fn on_overrun(&self) -> &(dyn Fn(Overrun) + Send + Sync) {
        &*self.on_overrun
    }

    /// Ends the term if it is over by now, and says what is due.
    pub(crate) fn check(&self) -> Due {
        let now = self.clock.instant();
        let (valid_until, stop_by) = (self.valid_until(), self.stop_by());
        // Read after the deadlines: work that ended meanwhile has set them to zero, and is not late.
        if !self.working.load(Ordering::Acquire) {
            return Due::Over;
        }
        if now < valid_until {
            return Due::At(valid_until);
        }
        self.end(Loss::DeadlinePassed);
        if now < stop_by {
            return Due::At(stop_by);
        }
        let late_by = now.saturating_since(stop_by);
        Due::Overrun(Overrun { lock: self.lock.clone(), token: self.token, late_by })
    }
}

/// The term of a candidate that its work has now, if it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct CurrentTerm(Arc<Mutex<Weak<TermState>>>);

impl CurrentTerm {
    pub(crate) fn set(&self, term: &Arc<TermState>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(term);
    }

    pub(crate) fn get(&self) -> Option<Arc<TermState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.get().is_some_and(|term| !term.valid_for().is_zero())
    }
}

impl fmt::Debug for TermState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TermState").field("lock", &self.lock).field("token", &self.token).finish()
    }
}

/// Ends the process, because work that cannot be stopped would run beside the next leader's.
pub(crate) fn abort(overrun: Overrun) {
    eprintln!(
        "incumbent: the work under {} (token {}) still ran at the end of its lease; this process ends \
         now, so that no two lead",
        overrun.lock, overrun.token
    );
    std::process::abort();
}

fn nanos(moment: Instant) -> u64 {
    u64::try_from(moment.since_start().as_nanos()).unwrap_or(u64::MAX)
}

fn instant(nanos: u64) -> Instant {
    Instant::new(Duration::from_nanos(nanos))
}
