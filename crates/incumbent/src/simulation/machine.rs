//! One simulated machine: its clock, its timers, and the runtime and the watchdog of the process on it.
//!
//! Nothing here sleeps. The runtime has no timers of its own, so that code which waits without its [`Clock`]
//! panics. What waits is listed by deadline, and the world runs the machine when its own clock shows that time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use incumbent_core::Instant;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::dial::Dial;
use crate::term::TermState;
use crate::watchdog::{Terms, do_here};

thread_local! {
    static MACHINES: RefCell<Vec<State>> = const { RefCell::new(Vec::new()) };
}

/// Forgets the machines of an earlier trial on this thread.
pub(super) fn reset() {
    MACHINES.with_borrow_mut(Vec::clear);
}

/// What the code that runs on a machine may know of it: a number, by which it is found on this thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock(usize);

/// What a machine's clock shows, and what waits for it.
struct State {
    dial: Dial,
    /// True time, as far as this machine has come. Ahead of the world's where it stood still in the midst of a
    /// run.
    now: Duration,
    timers: BTreeMap<(Instant, u64), Waker>,
    latest: u64,
    guarded: Arc<Mutex<Terms>>,
    terms: Vec<Weak<TermState>>,
    alarm: Option<Instant>,
    rng: Rng,
    /// How rarely it stands still between two looks at the clock: once in so many.
    stalls: Option<Stalls>,
    stalled: Vec<(Duration, Duration)>,
}

/// How often, and for how long at most, a machine stands still between two looks at its clock.
#[derive(Clone, Copy)]
pub(super) struct Stalls {
    pub(super) once_in: u32,
    pub(super) longest: Duration,
}

fn with<T>(number: usize, look: impl FnOnce(&mut State) -> T) -> T {
    MACHINES.with_borrow_mut(|machines| look(&mut machines[number]))
}

impl HostClock {
    pub(crate) fn instant(self) -> Instant {
        with(self.0, |state| {
            state.maybe_stall();
            state.dial.shows(state.now)
        })
    }

    pub(crate) fn wall(self) -> i64 {
        with(self.0, |state| state.dial.wall(state.now))
    }

    /// True time on this machine, which only its judge may know.
    pub(super) fn true_now(self) -> Duration {
        with(self.0, |state| state.now)
    }

    pub(super) fn number(self) -> usize {
        self.0
    }

    pub(crate) async fn sleep_until(self, moment: Instant) {
        Sleep { clock: self, moment, id: None }.await;
    }

    /// Has the watchdog of this process look after `term`.
    pub(crate) fn guard(self, term: Arc<TermState>) {
        let guarded = with(self.0, |state| {
            state.alarm = Some(Instant::START);
            state.terms.push(Arc::downgrade(&term));
            state.guarded.clone()
        });
        guarded.lock().expect("nothing panics with it").add(term);
    }
}

impl State {
    fn maybe_stall(&mut self) {
        let Some(Stalls { once_in, longest }) = self.stalls else { return };
        if self.rng.u32(..once_in) == 0 {
            let span = longest.mul_f64(self.rng.f64());
            self.stalled.push((self.now, self.now + span));
            self.now += span;
        }
    }
}

/// A timer is late by up to a millisecond, as real ones are.
const LATENESS: u64 = 1_000_000;

struct Sleep {
    clock: HostClock,
    moment: Instant,
    id: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (number, moment, id) = (self.clock.0, self.moment, self.id);
        with(number, |state| {
            if let Some(waker) = id.and_then(|id| state.timers.get_mut(&id)) {
                waker.clone_from(context.waker());
                return Poll::Pending;
            }
            if id.is_some() || state.dial.shows(state.now) >= moment {
                return Poll::Ready(());
            }
            state.latest += 1;
            let late = Duration::from_nanos(state.rng.u64(..LATENESS));
            let id = (moment + late, state.latest);
            state.timers.insert(id, context.waker().clone());
            self.id = Some(id);
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Dropped with its waker outside of the borrow: a waker may drop a task, and that its own timers.
            let waker = MACHINES.with_borrow_mut(|machines| {
                machines.get_mut(self.clock.0).and_then(|state| state.timers.remove(&id))
            });
            drop(waker);
        }
    }
}

/// A machine with one process on it.
pub(super) struct Machine {
    pub(super) clock: HostClock,
    runtime: Option<Runtime>,
    idle: Arc<Notify>,
    seed: u64,
    /// The process stands still until then.
    pub(super) stopped_until: Option<Duration>,
    /// Its runtime does, and its watchdog does not.
    pub(super) blocked_until: Option<Duration>,
}

impl Machine {
    pub(super) fn new(dial: Dial, now: Duration, mut rng: Rng, stalls: Option<Stalls>) -> Self {
        let seed = rng.u64(..);
        let number = MACHINES.with_borrow_mut(|machines| {
            machines.push(State {
                dial,
                now,
                timers: BTreeMap::new(),
                latest: 0,
                guarded: Arc::default(),
                terms: Vec::new(),
                alarm: None,
                rng,
                stalls,
                stalled: Vec::new(),
            });
            machines.len() - 1
        });
        let idle = Arc::new(Notify::new());
        let is_idle = idle.clone();
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || is_idle.notify_one())
            .build()
            .expect("a runtime can be made");
        Self {
            clock: HostClock(number),
            runtime: Some(runtime),
            idle,
            seed,
            stopped_until: None,
            blocked_until: None,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.runtime.is_some()
    }

    /// Does something as this process, without running it.
    pub(super) fn enter<T>(&mut self, act: impl FnOnce() -> T) -> Option<T> {
        let _inside = self.runtime.as_ref()?.enter();
        let usual = std::mem::replace(&mut self.seed, 0);
        let outer = fastrand::get_seed();
        fastrand::seed(usual);
        let done = act();
        self.seed = fastrand::get_seed();
        fastrand::seed(outer);
        Some(done)
    }

    /// When it has something to do by itself, in true time.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        if !self.is_alive() {
            return None;
        }
        with(self.clock.0, |state| {
            let timer = state.timers.first_key_value().map(|((moment, _), _)| *moment);
            let true_time = |moment| state.dial.true_time(moment);
            let blocked_until = self.blocked_until.unwrap_or_default();
            let timer = timer.map(|at| true_time(at).max(blocked_until));
            let alarm = state.alarm.map(true_time);
            let at = timer.into_iter().chain(alarm).min()?;
            Some(at.max(state.now).max(self.stopped_until.unwrap_or_default()))
        })
    }

    /// Whether it can run at `now`.
    pub(super) fn runs_at(&self, now: Duration) -> bool {
        let is_stopped = self.stopped_until.is_some_and(|until| now < until);
        self.is_alive() && !is_stopped && with(self.clock.0, |state| state.now <= now)
    }

    /// Runs all that is due at `now` until there is nothing more to do. Returns when it stood still meanwhile.
    pub(super) fn run(&mut self, now: Duration, watchdog_first: bool) -> Vec<(Duration, Duration)> {
        let is_blocked = self.blocked_until.is_some_and(|until| now < until);
        let (number, clock) = (self.clock.0, self.clock);
        with(number, |state| state.now = state.now.max(now));
        if watchdog_first {
            self.bark();
        }
        if !is_blocked {
            let due = with(number, |state| {
                let later = state.timers.split_off(&(state.dial.shows(state.now), u64::MAX));
                std::mem::replace(&mut state.timers, later)
            });
            due.into_values().for_each(Waker::wake);
            self.run_until_idle();
        }
        self.bark();
        with(clock.0, |state| std::mem::take(&mut state.stalled))
    }

    fn run_until_idle(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let outer = fastrand::get_seed();
        fastrand::seed(self.seed);
        runtime.block_on(self.idle.notified());
        self.seed = fastrand::get_seed();
        fastrand::seed(outer);
        self.runtime = Some(runtime);
    }

    /// The watchdog's thread, where its alarm has gone off.
    fn bark(&mut self) {
        let number = self.clock.0;
        loop {
            let guarded = with(number, |state| {
                let is_due = state.alarm.is_some_and(|at| state.dial.shows(state.now) >= at);
                is_due.then(|| {
                    state.alarm = None;
                    state.guarded.clone()
                })
            });
            let Some(guarded) = guarded else { return };
            let look = guarded.lock().expect("nothing panics with it").look();
            with(number, |state| state.alarm = look.next);
            do_here(look);
        }
    }

    /// When a process that cannot run at `now` can do so again.
    pub(super) fn free_at(&self, now: Duration) -> Option<Duration> {
        let busy_until = with(self.clock.0, |state| state.now);
        let until = [Some(busy_until), self.stopped_until, self.blocked_until];
        until.into_iter().flatten().max().filter(|until| *until > now && self.is_alive())
    }

    /// How far it has come.
    pub(super) fn now(&self, now: Duration) -> Duration {
        with(self.clock.0, |state| state.now.max(now))
    }

    pub(super) fn turn(&mut self, turn: impl FnOnce(&mut Dial)) {
        with(self.clock.0, |state| turn(&mut state.dial));
    }

    /// The tokens of the terms that are valid at `now`, as its clock shows it; none where it stands still.
    pub(super) fn valid_terms(&self, now: Duration) -> Vec<u64> {
        if !self.runs_at(now) {
            return Vec::new();
        }
        with(self.clock.0, |state| {
            let now = state.dial.shows(now);
            state.terms.retain(|term| term.strong_count() > 0);
            let terms = state.terms.iter().filter_map(Weak::upgrade);
            terms.filter(|term| term.valid_until() > now).map(|term| term.token().0).collect()
        })
    }

    /// Nothing keeps it from running any more.
    pub(super) fn heal(&mut self) {
        (self.stopped_until, self.blocked_until) = (None, None);
        with(self.clock.0, |state| state.stalls = None);
    }

    /// Ends the process from one moment to the next.
    pub(super) fn kill(&mut self, now: Duration) {
        with(self.clock.0, |state| {
            state.now = state.now.max(now);
            // What ends with it takes no time.
            state.stalls = None;
        });
        if let Some(runtime) = self.runtime.take() {
            let outer = fastrand::get_seed();
            drop(runtime);
            fastrand::seed(outer);
        }
        with(self.clock.0, |state| state.alarm = None);
    }
}
