//! Counts events, so that a test notices when it has checked nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use incumbent_core::Release;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    FirstStarted,
    SecondStarted,
    ThirdStarted,
    /// A term began after the previous term was released.
    Handover,
    /// A term began after the lease of another candidate had expired.
    Takeover,
    /// A term began after the lease of the candidate's own process from before a crash had expired.
    StartAfterRestart,
    /// A term began on a record that the candidate's own write of unknown outcome had left.
    Adoption,
    Lost,
    Released,
    NothingToRelease,
    LeftToExpire,
    LeaderCrashed,
    Conflict,
    LateWrite,
    LateNews,
    Overrun,
}

impl Event {
    pub(crate) fn started(index: usize) -> Self {
        [Self::FirstStarted, Self::SecondStarted, Self::ThirdStarted][index]
    }
}

#[derive(Default)]
pub(crate) struct Tally([AtomicU64; Event::Overrun as usize + 1]);

impl Tally {
    pub(crate) fn count(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_if(&self, happened: bool, event: Event) {
        if happened {
            self.count(event);
        }
    }

    pub(crate) fn count_release(&self, release: Release) {
        self.count(match release {
            Release::Done => Event::Released,
            Release::NotHeld => Event::NothingToRelease,
            _ => Event::LeftToExpire,
        });
    }

    pub(crate) fn has(&self, event: Event) -> bool {
        self.0[event as usize].load(Ordering::Relaxed) > 0
    }
}
