//! One term, as all threads see it: the driver that renews it, the work that asks, the watchdog.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use incumbent_core::{FencingToken, HandOverReason, Instant, Loss, Release, Term};
use tokio::sync::watch;

use crate::abort::abort;
use crate::clock::{Clock, instant, nanos};
use crate::dead_man::Deadline;
use crate::lock::Lock;

/// The state of one term.
///
/// The deadlines are plain atomics, so that asking costs a few nanoseconds and needs no other task: neither
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
    /// Another leader is requested.
    asked: watch::Sender<Option<HandOverReason>>,
    pieces: watch::Sender<Pieces>,
    on_overrun: OnOverrun,
    /// Set while the watchdog guards the term: the process ends if the watchdog does not act in time.
    deadline: Deadline,
}

/// Pieces of work that a hand-over waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Pieces {
    running: usize,
    /// The leadership is about to be handed over.
    are_closed: bool,
    /// One was not begun because of that.
    was_refused: bool,
}

/// One piece of work that runs, until this is dropped.
pub(crate) struct Piece(Arc<TermState>);

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.pieces.send_modify(|pieces| pieces.running -= 1);
    }
}

/// What the watchdog has to do about a term.
pub(crate) enum Due {
    /// Nothing before this moment.
    At(Instant),
    /// The term is lost. The work has until this moment to stop.
    Stopping(Instant),
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
    /// The token of the term that has ended.
    pub token: FencingToken,
    /// How late this is. If it is more than a few milliseconds, the whole process (or machine) had
    /// been paused, together with its work.
    pub late_by: Duration,
    term: Weak<TermState>,
}

/// How a term ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was lost, and the work is asked to stop.
    Lost(Loss),
    /// The work had stopped, and the leadership was released.
    Released(Release),
}

impl Ending {
    /// Why the term ended, in one word, as in logs and metrics: `released`, `left-to-expire`,
    /// `deadline-passed`, `record-changed` or `lock-gone`. Later versions may add more.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Lost(loss) => loss.reason(),
            Self::Released(release) => release.reason(),
        }
    }
}

impl Overrun {
    /// Whether the work has stopped by now, so that its [`Leadership`](crate::Leadership) has been
    /// dropped.
    pub fn work_has_ended(&self) -> bool {
        self.term.upgrade().is_none_or(|term| !term.is_working())
    }

    /// Ends this process at once, by SIGABRT. This is what happens without
    /// [`Builder::on_overrun`](crate::Builder::on_overrun).
    ///
    /// It writes one line to stderr, unless that would block, and needs nothing else: no lock, no
    /// memory, no other thread. So it works even if the work hangs on any of these.
    pub fn abort(&self) -> ! {
        abort(format_args!(
            "the work under {} (token {}) still ran at the end of its lease; this process ends now, so that no \
             two lead",
            self.lock, self.token
        ))
    }
}

/// What is done about work that overran.
#[derive(Clone)]
pub(crate) enum OnOverrun {
    Abort,
    Call(Arc<dyn Fn(Overrun) + Send + Sync>),
}

/// How long an `on_overrun` may take; with the switch's patience, five seconds. Others lead meanwhile, and what does
/// not return has ended nothing.
const ACTION_TIME: Duration = Duration::from_secs(4);

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
            pieces: watch::Sender::new(Pieces::default()),
            on_overrun,
            deadline: Deadline::new(),
        })
    }

    /// From now on the process ends if nothing attends to work that overruns.
    pub(crate) fn arm(&self) {
        self.deadline.set(self.stop_by());
    }

    /// The overrun is attended to, and that may take so long; not if the work has ended meanwhile.
    pub(crate) fn attend(&self) {
        self.deadline.extend(self.clock.instant() + ACTION_TIME);
    }

    /// The overrun was attended to: the work can do no more harm.
    pub(crate) fn attended(&self) {
        self.deadline.clear();
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

    /// Zero once the term is over, and then for ever. A caller that was told "no" is never told "yes" again, also
    /// where a renewal is just being noted down.
    pub(crate) fn valid_for(&self) -> Duration {
        loop {
            let until = self.valid_until.load(Ordering::Acquire);
            let left = instant(until).saturating_since(self.clock.instant());
            let is_over = left.is_zero() && until != 0;
            if !is_over || self.expire(until) {
                return left;
            }
        }
    }

    /// Ends the term that lasted until `until`; not if it was renewed meanwhile.
    fn expire(&self, until: u64) -> bool {
        self.valid_until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_working(&self) -> bool {
        self.working.load(Ordering::Acquire)
    }

    pub(crate) fn stop_by(&self) -> Instant {
        instant(self.stop_by.load(Ordering::Acquire))
    }

    /// Why the term was lost, if it was.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.ended.borrow().clone()
    }

    /// Waits until the term is lost. Needs no notification: the deadline counts by itself.
    pub(crate) async fn lost(&self) -> Loss {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(loss) = ended.borrow_and_update().clone() {
                return loss;
            }
            let valid_for = self.valid_for();
            if valid_for.is_zero() {
                return Loss::DeadlinePassed;
            }
            let valid_until = self.clock.instant() + valid_for;
            tokio::select! {
                biased;
                _ = ended.changed() => {}
                () = self.clock.sleep_until(valid_until) => {}
            }
        }
    }

    pub(crate) fn ask(&self, asked: Option<HandOverReason>) {
        self.asked.send_if_modified(|known| {
            let differs = *known != asked;
            *known = asked;
            differs
        });
    }

    /// Waits until this leader is asked to hand over.
    pub(crate) async fn asked(&self) -> HandOverReason {
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

    /// Whether another candidate is to lead.
    pub(crate) fn is_to_be_handed_over(&self) -> bool {
        self.asked.borrow().is_some() || self.pieces.borrow().are_closed
    }

    /// Begins a piece of work that a hand-over waits for; none once a hand-over was asked for.
    pub(crate) fn begin_piece(self: &Arc<Self>) -> Option<Piece> {
        let mut begins = !self.is_to_be_handed_over();
        self.pieces.send_modify(|pieces| {
            begins &= !pieces.are_closed;
            match begins {
                true => pieces.running += 1,
                false => pieces.was_refused = true,
            }
        });
        begins.then(|| Piece(self.clone()))
    }

    /// From now on no piece of work begins. Waits until those that run have ended.
    pub(crate) async fn finish_pieces(&self) {
        self.pieces.send_modify(|pieces| pieces.are_closed = true);
        let mut pieces = self.pieces.subscribe();
        // The sender is our own.
        let _ = pieces.wait_for(|pieces| pieces.running == 0).await;
    }

    /// Whether a piece of work did not begin because of a hand-over.
    pub(crate) fn refused_a_piece(&self) -> bool {
        self.pieces.borrow().was_refused
    }

    /// The term continues for longer. A term that is over stays over.
    pub(crate) fn renew(&self, term: Term) {
        let now = nanos(self.clock.instant());
        let renewed = self.valid_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| {
            (until > now).then_some(nanos(term.valid_until).max(until))
        });
        if renewed.is_ok() {
            self.stop_by.fetch_max(nanos(term.stop_by), Ordering::AcqRel);
            self.deadline.extend(self.stop_by());
        }
    }

    /// The lock is released. Whatever still holds the leadership, which nothing should, may not act.
    pub(crate) fn revoke(&self) {
        self.valid_until.store(0, Ordering::Release);
    }

    pub(crate) fn end(&self, loss: Loss) {
        self.revoke();
        if !self.is_working() {
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
        self.deadline.clear();
    }

    pub(crate) fn on_overrun(&self) -> &OnOverrun {
        &self.on_overrun
    }

    /// Says what is due now. It reads the clock and the deadlines, and changes nothing.
    pub(crate) fn check(self: &Arc<Self>) -> Due {
        let now = self.clock.instant();
        let (valid_until, stop_by) = (self.valid_until(), self.stop_by());
        // Read after the deadlines: work that ended meanwhile has set them to zero, and is not late.
        if !self.is_working() {
            return Due::Over;
        }
        if now < valid_until {
            return Due::At(valid_until);
        }
        if now < stop_by {
            return Due::Stopping(stop_by);
        }
        let late_by = now.saturating_since(stop_by);
        let (lock, token, term) = (self.lock.clone(), self.token, Arc::downgrade(self));
        Due::Overrun(Overrun { lock, token, late_by, term })
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

#[cfg(test)]
mod tests;
