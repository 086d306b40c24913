//! Alarms of the kernel, which also reach a process that stands still.
//!
//! A process that was stopped reads no clock. But the kernel's timers continue, and two signals act on a stopped process
//! before it runs: SIGCONT, which wakes it, and SIGKILL, which also ends one that a debugger holds.

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use super::deadlines::Moment;

/// Sends this very process a signal at a moment of the boot-time clock. Ends when it is dropped.
pub(crate) struct KernelTimer(Timer);

impl KernelTimer {
    /// Wakes this process if it is stopped then; again and again, in case it is stopped again.
    pub(crate) fn that_wakes() -> Option<Self> {
        Self::new(Signal::SIGCONT)
    }

    /// Kills this process, which cannot do what it had to do then.
    pub(crate) fn that_kills() -> Option<Self> {
        Self::new(Signal::SIGKILL)
    }

    /// None where the kernel has no such timers.
    fn new(signal: Signal) -> Option<Self> {
        let event = SigEvent::new(SigevNotify::SigevSignal { signal, si_value: 0 });
        Timer::new(ClockId::CLOCK_BOOTTIME, event).ok().map(Self)
    }

    /// Goes off at that moment and not at an earlier one; never, where there is none.
    pub(crate) fn set(&mut self, at: Moment) {
        // Zero would stand for "never", too.
        let nanos = if at == Moment::MAX { 0 } else { at.clamp(1, LATEST) };
        let spec = |nanos: u64| {
            let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            TimeSpec::new(seconds.cast_signed(), rest.cast_signed())
        };
        let expiration = Expiration::IntervalDelayed(spec(nanos), spec(AGAIN));
        let _ = self.0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME);
    }
}

/// The kernel counts signed.
const LATEST: Moment = i64::MAX as Moment;

/// Often enough that whoever stops a process again and again changes nothing.
const AGAIN: Moment = 20_000_000;
