//! The last line: work that still runs when others may lead is ended by force.
//!
//! [`Terms`] decides what is due and when to look again, by the terms' own clocks. A separate thread does
//! what is due, because a runtime that is starved or blocked is just what it must notice. It sleeps on the
//! boot-time clock; a renewal moves the deadline without waking it.
//!
//! That thread runs no code of the program. Each `on_overrun` gets its own thread, so that a slow one holds up
//! no other election. So do the wakers of tasks that wait for a loss. Should the thread be held up all the same,
//! by the allocator for example, [the dead man's switch](crate::dead_man) ends the process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use incumbent_core::{Instant, Loss};

use crate::abort::abort;
use crate::clock::Clock;
use crate::dead_man;
use crate::error::Error;
use crate::term::{Due, OnOverrun, Overrun, TermState};

/// Something that guards terms, and runs. Nothing leads without one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guard {
    Thread(&'static Watchdog),
    /// Under a test's paused time, where no thread could know what time it is.
    Tokio,
    /// On a simulated machine, whose world says when the watchdog's thread runs.
    #[cfg(test)]
    Simulated(crate::simulation::HostClock),
}

impl Guard {
    /// Makes sure that the watchdog of this process runs.
    ///
    /// # Errors
    /// Where the system has no thread or no timer to give. It may have one later.
    pub(crate) fn start(clock: Clock) -> Result<Self, Error> {
        #[cfg(test)]
        if let Some(host) = clock.host() {
            return Ok(Self::Simulated(host));
        }
        if clock.is_tokio() {
            return Ok(Self::Tokio);
        }
        let watchdog = dead_man::start().and_then(|()| Watchdog::start());
        watchdog.map(Self::Thread).map_err(|error| Error::NoWatchdog { message: error.to_string() })
    }

    /// Guards `term` until its work has ended.
    pub(crate) fn guard(self, term: &Arc<TermState>) {
        match self {
            Self::Tokio => drop(tokio::spawn(guard_on_tokio(term.clone()))),
            Self::Thread(watchdog) => {
                term.arm();
                watchdog.add(term.clone());
            }
            #[cfg(test)]
            Self::Simulated(host) => host.guard(term.clone()),
        }
    }
}

async fn guard_on_tokio(term: Arc<TermState>) {
    let clock = term.clock();
    let mut terms = Terms::default();
    terms.add(term);
    loop {
        let look = terms.look();
        let next = look.next;
        do_here(look);
        match next {
            Some(next) => clock.sleep_until(next).await,
            None => return,
        }
    }
}

/// Does what is due where it is called. For the clocks of tests, which no thread knows.
pub(crate) fn do_here(look: Look) {
    for (term, overrun) in look.overruns {
        match term.on_overrun() {
            OnOverrun::Abort => overrun.abort(),
            OnOverrun::Call(action) => run(&term, &**action, overrun),
        }
    }
    look.lost.iter().for_each(tell_loss);
}

/// The terms that are guarded. It decides what is due and does none of it.
#[derive(Debug, Default)]
pub(crate) struct Terms(Vec<Arc<TermState>>);

/// What is due, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) next: Option<Instant>,
    /// Work that has to be ended by force. Their terms are guarded no more: an action is taken once.
    pub(crate) overruns: Vec<(Arc<TermState>, Overrun)>,
    /// Terms that are over, and whose work is still to hear of it.
    pub(crate) lost: Vec<Arc<TermState>>,
    /// Terms whose work has ended. The last owner of a term may run code of the program when it drops it.
    pub(crate) ended: Vec<Arc<TermState>>,
}

impl Terms {
    pub(crate) fn add(&mut self, term: Arc<TermState>) {
        self.0.push(term);
    }

    /// Asks each term what is due by its clock, and forgets those that need no guard any more.
    pub(crate) fn look(&mut self) -> Look {
        let mut look = Look::default();
        self.0.retain(|term| {
            let next = match term.check() {
                Due::At(deadline) => deadline,
                Due::Stopping(deadline) => {
                    look.lost.push(term.clone());
                    deadline
                }
                Due::Over => {
                    look.ended.push(term.clone());
                    return false;
                }
                Due::Overrun(overrun) => {
                    look.overruns.push((term.clone(), overrun));
                    look.lost.push(term.clone());
                    return false;
                }
            };
            look.next = look.next.into_iter().chain([next]).min();
            true
        });
        look
    }
}

/// Wakes the tasks that wait for the loss. Their own timers may be late, after the machine was suspended.
fn tell_loss(term: &Arc<TermState>) {
    term.end(Loss::DeadlinePassed);
}

/// Ends the work by the means that the program has chosen. If these fail, the process ends.
fn run(term: &TermState, action: &(dyn Fn(Overrun) + Send + Sync), overrun: Overrun) {
    term.attend();
    if catch_unwind(AssertUnwindSafe(|| action(overrun.clone()))).is_err() {
        overrun.abort();
    }
    term.attended();
}

/// The same on a separate thread. If none can be started, the process ends.
fn run_apart(term: Arc<TermState>, overrun: Overrun) {
    let OnOverrun::Call(action) = term.on_overrun().clone() else { overrun.abort() };
    let thread = thread::Builder::new().name("incumbent-overrun".to_owned());
    let also = overrun.clone();
    if thread.spawn(move || run(&term, &*action, overrun)).is_err() {
        also.abort();
    }
}

/// Wakers and destructors are code of the program. Without a thread, the tasks' own timers tell them.
fn tell_apart(lost: Vec<Arc<TermState>>, ended: Vec<Arc<TermState>>) {
    if lost.is_empty() && ended.is_empty() {
        return;
    }
    let thread = thread::Builder::new().name("incumbent-loss".to_owned());
    let _ = thread.spawn(move || {
        lost.iter().for_each(tell_loss);
        drop(ended);
    });
}

#[derive(Debug)]
pub(crate) struct Watchdog {
    terms: Mutex<Terms>,
    alarm: alarm::Alarm,
}

impl Watchdog {
    fn start() -> io::Result<&'static Self> {
        static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
        static HAS_THREAD: Mutex<bool> = Mutex::new(false);
        let mut has_thread = HAS_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
        let watchdog = match WATCHDOG.get() {
            Some(watchdog) => watchdog,
            None => {
                let alarm = alarm::Alarm::new()?;
                WATCHDOG.get_or_init(|| Self { terms: Mutex::default(), alarm })
            }
        };
        if !*has_thread {
            let thread = thread::Builder::new().name("incumbent-watchdog".to_owned());
            thread.stack_size(256 << 10).spawn(|| watchdog.watch())?;
            *has_thread = true;
        }
        Ok(watchdog)
    }

    /// The thread does the rest: also what is due already is not done on the caller's.
    fn add(&self, term: Arc<TermState>) {
        self.terms().add(term);
        self.set_alarm(Some(Instant::START + Duration::from_nanos(1)));
    }

    fn watch(&self) -> ! {
        let _guard = EndsTheProcess;
        loop {
            if let Err(error) = self.alarm.wait() {
                broken(&error);
            }
            // Nothing waits for the list while the code of the program runs. Force comes before words.
            let look = self.look();
            for (term, overrun) in look.overruns {
                run_apart(term, overrun);
            }
            tell_apart(look.lost, look.ended);
        }
    }

    fn look(&self) -> Look {
        let mut terms = self.terms();
        let look = terms.look();
        self.set_alarm(look.next);
        look
    }

    fn set_alarm(&self, at: Option<Instant>) {
        if let Err(error) = self.alarm.set(at) {
            broken(&error);
        }
    }

    /// A panic while the list was locked leaves it whole, and the terms in it must still be guarded.
    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing would end the work of this process any more. A program may close files that are not its own: the
/// dead man's switch ends the process where another file then has this number, and reading it blocks.
fn broken(error: &io::Error) -> ! {
    abort(format_args!(
        "the watchdog's timer failed ({error}); this process ends now, because it must not lead"
    ));
}

/// The watchdog's loop has no end. Where a panic leaves it, the process ends.
struct EndsTheProcess;

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        abort(format_args!(
            "the watchdog panicked; this process ends now, because it must not lead"
        ));
    }
}

/// A timer on the boot-time clock: it goes off on time also after the machine was suspended.
#[cfg(target_os = "linux")]
mod alarm {
    use std::io;
    use std::os::fd::OwnedFd;

    use incumbent_core::Instant;
    use rustix::io::{Errno, read};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    #[derive(Debug)]
    pub(super) struct Alarm(OwnedFd);

    impl Alarm {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?))
        }

        pub(super) fn set(&self, at: Option<Instant>) -> io::Result<()> {
            // All zero disarms the timer; a moment in the past sets it off at once.
            let since = at.map_or(std::time::Duration::ZERO, Instant::since_start);
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec {
                tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: since.subsec_nanos().into(),
            };
            let spec = Itimerspec { it_interval: zero, it_value: value };
            timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &spec)?;
            Ok(())
        }

        pub(super) fn wait(&self) -> io::Result<()> {
            match read(&self.0, &mut [0_u8; 8]) {
                // An interrupted read is a wake-up too many, and harmless.
                Ok(8) | Err(Errno::INTR) => Ok(()),
                Ok(_) => Err(io::ErrorKind::InvalidData.into()),
                Err(error) => Err(error.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod alarm {
    use std::io;
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use incumbent_core::Instant;

    use crate::clock::Clock;

    /// Looks at least every half second, because the wait may stop while the machine is suspended.
    #[derive(Debug)]
    pub(super) struct Alarm {
        at: Mutex<Option<Instant>>,
        changed: Condvar,
    }

    impl Alarm {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self { at: Mutex::new(None), changed: Condvar::new() })
        }

        pub(super) fn set(&self, at: Option<Instant>) -> io::Result<()> {
            *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
            self.changed.notify_one();
            Ok(())
        }

        pub(super) fn wait(&self) -> io::Result<()> {
            let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
            match *at {
                None => drop(self.changed.wait(at)),
                Some(moment) => {
                    let left = moment.saturating_since(Clock::system().instant());
                    let nap = left.min(Duration::from_millis(500));
                    drop(self.changed.wait_timeout(at, nap));
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
