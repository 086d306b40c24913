//! The dead man's switch: the process ends unless the watchdog attends to what is due.
//!
//! The watchdog takes locks, allocates, and starts threads for the code of the program. Work that hangs may hold up
//! each of these. This thread does none of that. It reads the clock and numbers that are
//! never freed, takes no lock, allocates nothing, opens no file, and says nothing.
//!
//! It looks several times at a deadline that has passed. A process that was paused as a whole is not ended for
//! it: after a pause, its watchdog gets time to run, too.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use incumbent_core::Instant;

use crate::clock::{Clock, nanos};

/// All deadlines of this process.
static DEADLINES: OnceLock<Box<Slot>> = OnceLock::new();

/// The place of one deadline. Places are used again and never freed, so that reading one needs no lock.
#[derive(Default)]
struct Slot {
    is_taken: AtomicBool,
    /// In nanoseconds on the clock; zero where nothing is due.
    due: AtomicU64,
    /// The value of `due` that was found missed, how often to look at it again, and when. Only the thread
    /// writes these.
    missed: AtomicU64,
    looks: AtomicU64,
    look_at: AtomicU64,
    next: OnceLock<Box<Self>>,
}

/// A deadline that must be moved or cleared in time.
pub(crate) struct Deadline(&'static Slot);

impl Deadline {
    /// One that is never due until it is set.
    pub(crate) fn new() -> Self {
        let mut place = &DEADLINES;
        loop {
            let slot = place.get_or_init(Box::default);
            if !slot.is_taken.swap(true, Ordering::AcqRel) {
                return Self(slot);
            }
            place = &slot.next;
        }
    }

    /// The process ends where this is still due [`PATIENCE`] after the thread has found it missed.
    pub(crate) fn set(&self, due: Instant) {
        self.0.due.store(nanos(due).max(1), Ordering::SeqCst);
        if let Some(thread) = THREAD.get() {
            thread.unpark();
        }
    }

    /// Moves it further away. One that was cleared stays so.
    pub(crate) fn extend(&self, due: Instant) {
        let due = nanos(due);
        let later = |known: u64| (known != 0).then_some(known.max(due));
        let _ = self.0.due.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    pub(crate) fn clear(&self) {
        self.0.due.store(0, Ordering::SeqCst);
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.clear();
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// The thread that looks, once it runs.
static THREAD: OnceLock<Thread> = OnceLock::new();

/// Starts the thread, where it does not run yet.
///
/// # Errors
/// Where the system has no thread to give. It may have one later.
pub(crate) fn start() -> io::Result<()> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if THREAD.get().is_none() {
        let thread = thread::Builder::new().name("incumbent-dead".to_owned()).stack_size(STACK);
        let _ = THREAD.set(thread.spawn(|| watch())?.thread().clone());
    }
    Ok(())
}

/// The standard library needs a part of it for itself; this thread needs next to nothing.
const STACK: usize = 128 << 10;

fn watch() -> ! {
    loop {
        // Read before the deadlines: none is held against a moment at which it was not yet attended to.
        let now = nanos(Clock::system().instant());
        match look(&DEADLINES, now) {
            Look::Quiet => thread::park(),
            Look::At(next) => thread::park_timeout(Duration::from_nanos(next.saturating_sub(now))),
            Look::Missed => end_process(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Missed,
    /// Nothing before this moment.
    At(u64),
    Quiet,
}

fn look(first: &OnceLock<Box<Slot>>, now: u64) -> Look {
    let mut worst = Look::Quiet;
    let mut place = first;
    while let Some(slot) = place.get() {
        worst = worst.min(slot.look(now));
        place = &slot.next;
    }
    worst
}

impl Slot {
    fn look(&self, now: u64) -> Look {
        let due = self.due.load(Ordering::SeqCst);
        if due == 0 {
            return Look::Quiet;
        }
        if now < due {
            return Look::At(due);
        }
        let mut looks = self.looks.load(Ordering::Relaxed);
        let mut look_at = self.look_at.load(Ordering::Relaxed);
        let is_news = self.missed.swap(due, Ordering::Relaxed) != due;
        if is_news || now >= look_at {
            looks = if is_news { LOOKS } else { looks.saturating_sub(1) };
            look_at = now.saturating_add(BETWEEN);
            self.looks.store(looks, Ordering::Relaxed);
            self.look_at.store(look_at, Ordering::Relaxed);
        }
        if looks > 0 { Look::At(look_at) } else { Look::Missed }
    }
}

/// A watchdog that is healthy gets that long to be scheduled and to act, also on a machine that is overloaded.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A pause costs one of them, however long it is.
const LOOKS: u64 = 4;

/// From one to the next, in nanoseconds.
const BETWEEN: u64 = PATIENCE.as_nanos() as u64 / LOOKS;

/// By the signal that nothing can catch: a handler of SIGABRT may hang as well.
fn end_process() -> ! {
    #[cfg(unix)]
    {
        use rustix::process::{Signal, getpid, kill_process};
        let _ = kill_process(getpid(), Signal::KILL);
    }
    // Process 1 of a container ignores its own SIGKILL, but not this.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Deadline {
        pub(crate) fn due(&self) -> Option<Instant> {
            let due = self.0.due.load(Ordering::SeqCst);
            (due != 0).then(|| Instant::new(Duration::from_nanos(due)))
        }
    }

    #[test]
    fn places_are_used_again() {
        for _ in 0..10_000 {
            drop(Deadline::new());
        }
        let mut places = 0;
        let mut place = &DEADLINES;
        while let Some(slot) = place.get() {
            places += 1;
            place = &slot.next;
        }
        // Other tests of this process have some, too.
        assert!(places < 5_000, "{places}");
    }

    /// A time, counted in the time between two looks.
    fn at(moment: u64) -> u64 {
        moment * BETWEEN
    }

    fn slot(due: u64) -> Slot {
        Slot { due: at(due).into(), ..Slot::default() }
    }

    #[test]
    fn a_deadline_is_missed_only_if_it_was_seen_to_be_late_several_times() {
        let slot = slot(10);
        assert_eq!(slot.look(at(10) - 1), Look::At(at(10)));
        assert_eq!(slot.look(at(10)), Look::At(at(11)));
        assert_eq!(slot.look(at(11) - 1), Look::At(at(11)));
        assert_eq!(slot.look(at(11)), Look::At(at(12)));
        // The whole process was paused: that is one look, and the watchdog gets its time.
        assert_eq!(slot.look(at(500)), Look::At(at(501)));
        assert_eq!(slot.look(at(501)), Look::At(at(502)));
        assert_eq!(slot.look(at(502)), Look::Missed);
    }

    #[test]
    fn a_deadline_that_was_moved_or_cleared_after_it_had_passed_is_not_held_against_the_process() {
        let slot = slot(10);
        for now in 10..14 {
            assert_eq!(slot.look(at(now)), Look::At(at(now + 1)));
        }
        slot.due.store(at(20), Ordering::SeqCst);
        assert_eq!(slot.look(at(15)), Look::At(at(20)));
        assert_eq!(slot.look(at(21)), Look::At(at(22)), "the patience begins again");
        slot.due.store(0, Ordering::SeqCst);
        assert_eq!(slot.look(at(30)), Look::Quiet);
    }

    #[test]
    fn one_that_is_missed_among_many_is_found_and_else_the_next_one_counts() {
        let chain = OnceLock::new();
        let mut place = &chain;
        for due in [0, 30, 20, 40, 0] {
            place = &place.get_or_init(|| Box::new(slot(due))).next;
        }
        assert_eq!(look(&chain, at(10)), Look::At(at(20)));
        for now in 20..24 {
            assert_eq!(look(&chain, at(now)), Look::At(at(now + 1)));
        }
        assert_eq!(look(&chain, at(24)), Look::Missed);
    }

    #[test]
    fn a_deadline_that_was_cleared_is_not_extended_by_a_renewal_that_comes_late() {
        let deadline = Deadline::new();
        let far = Instant::new(Duration::from_secs(u32::MAX.into()));
        deadline.set(far);
        deadline.extend(far + Duration::from_secs(1));
        assert_eq!(deadline.0.due.load(Ordering::SeqCst), nanos(far + Duration::from_secs(1)));
        deadline.extend(far);
        assert_eq!(deadline.0.due.load(Ordering::SeqCst), nanos(far + Duration::from_secs(1)));
        deadline.clear();
        deadline.extend(far);
        assert_eq!(deadline.0.due.load(Ordering::SeqCst), 0);
    }
}
