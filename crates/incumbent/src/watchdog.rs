//! The last line: work that still runs when others may lead is ended by force.
//!
//! A thread of its own, because a runtime that is starved or blocked is just what it must notice. It
//! sleeps on the boot-time clock and looks at all running terms when the nearest deadline passes; a
//! renewal moves the deadline without waking it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use incumbent_core::Instant;

use crate::term::{Due, Overrun, TermState, abort};

/// Guards `term` until its work has ended.
pub(crate) fn guard(term: &Arc<TermState>) {
    #[cfg(test)]
    if let Some(host) = term.clock().host() {
        return host.guard(term.clone());
    }
    if term.clock().is_tokio() {
        tokio::spawn(guard_on_tokio(term.clone()));
    } else {
        Watchdog::global().add(term.clone());
    }
}

/// The same under a test's paused time, where no thread could know what time it is.
async fn guard_on_tokio(term: Arc<TermState>) {
    loop {
        match term.check() {
            Due::At(deadline) => term.clock().sleep_until(deadline).await,
            Due::Over => return,
            Due::Overrun(overrun) => return end_work(&term, overrun),
        }
    }
}

/// Ends the work by the means that the caller has chosen. If these fail, the process ends.
pub(crate) fn end_work(term: &TermState, overrun: Overrun) {
    let action = || (term.on_overrun())(overrun.clone());
    if catch_unwind(AssertUnwindSafe(action)).is_err() {
        abort(overrun);
    }
}

/// The terms that are guarded; knows neither thread nor timer.
#[derive(Default)]
pub(crate) struct Guarded(Mutex<Vec<Arc<TermState>>>);

struct Watchdog {
    guarded: Guarded,
    alarm: alarm::Alarm,
}

impl Watchdog {
    fn global() -> &'static Self {
        static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
        static THREAD: OnceLock<()> = OnceLock::new();
        let watchdog = WATCHDOG
            .get_or_init(|| Self { guarded: Guarded::default(), alarm: alarm::Alarm::new() });
        THREAD.get_or_init(|| {
            thread::Builder::new()
                .name("incumbent-watchdog".to_owned())
                .stack_size(256 << 10)
                .spawn(|| watchdog.watch())
                .expect("a thread can be started: without the watchdog nobody may lead");
        });
        watchdog
    }

    /// The thread does the rest: also what is due already is not done on the caller's.
    fn add(&self, term: Arc<TermState>) {
        self.guarded.add(term);
        self.alarm.set(Some(Instant::START + Duration::from_nanos(1)));
    }

    fn watch(&self) -> ! {
        loop {
            self.alarm.wait();
            let overruns = self.guarded.look(|next| self.alarm.set(next));
            // Nobody waits for the list while work is being ended.
            for (term, overrun) in overruns {
                end_work(&term, overrun);
            }
        }
    }
}

impl Guarded {
    pub(crate) fn add(&self, term: Arc<TermState>) {
        self.terms().push(term);
    }

    /// Tells every term what time it is, forgets those that are over, and sets the alarm for the next, which
    /// no term that is added meanwhile can miss. Returns those whose work has to be ended.
    pub(crate) fn look(
        &self,
        set_alarm: impl FnOnce(Option<Instant>),
    ) -> Vec<(Arc<TermState>, Overrun)> {
        let mut next: Option<Instant> = None;
        let mut overruns = Vec::new();
        let mut terms = self.terms();
        terms.retain(|term| match term.check() {
            Due::At(deadline) => {
                next = next.into_iter().chain([deadline]).min();
                true
            }
            Due::Over => false,
            Due::Overrun(overrun) => {
                overruns.push((term.clone(), overrun));
                false
            }
        });
        set_alarm(next);
        overruns
    }

    /// A panic while the list was locked leaves it whole, and somebody must go on watching it.
    fn terms(&self) -> MutexGuard<'_, Vec<Arc<TermState>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A timer on the boot-time clock: it goes off on time also after the machine was suspended.
#[cfg(target_os = "linux")]
mod alarm {
    use std::os::fd::OwnedFd;

    use incumbent_core::Instant;
    use rustix::io::read;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    pub(super) struct Alarm(OwnedFd);

    impl Alarm {
        pub(super) fn new() -> Self {
            let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC);
            Self(timer.expect("a timer can be made: without the watchdog nobody may lead"))
        }

        pub(super) fn set(&self, at: Option<Instant>) {
            // All zero disarms the timer; a moment in the past sets it off at once.
            let since = at.map_or(std::time::Duration::ZERO, Instant::since_start);
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec {
                tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: since.subsec_nanos().into(),
            };
            let spec = Itimerspec { it_interval: zero, it_value: value };
            timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &spec)
                .expect("a valid time can be set");
        }

        pub(super) fn wait(&self) {
            // An interrupted read is a wake-up too many, and harmless.
            let _ = read(&self.0, &mut [0_u8; 8]);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod alarm {
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use incumbent_core::Instant;

    use crate::clock::Clock;

    /// Looks at least every half second, because the wait may stop while the machine is suspended.
    pub(super) struct Alarm {
        at: Mutex<Option<Instant>>,
        changed: Condvar,
    }

    impl Alarm {
        pub(super) fn new() -> Self {
            Self { at: Mutex::new(None), changed: Condvar::new() }
        }

        pub(super) fn set(&self, at: Option<Instant>) {
            *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
            self.changed.notify_one();
        }

        pub(super) fn wait(&self) {
            let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
            match *at {
                None => drop(self.changed.wait(at)),
                Some(moment) => {
                    let left = moment.saturating_since(Clock::system().instant());
                    let nap = left.min(Duration::from_millis(500));
                    drop(self.changed.wait_timeout(at, nap));
                }
            }
        }
    }
}
