//! The driver's watch, and whether it can be believed.
//!
//! A watch may be silent without a word: a connection that hangs, a proxy that buffers. Then the driver reads, or
//! opens another.

use std::time::Duration;

use incumbent_core::{Elector, Follow, Instant, Observed};

use crate::follow::{News, Subscription};
use crate::lock::Lock;

pub(crate) struct WatchHealth {
    news: Subscription,
    /// When the open watch last showed something, or a read looked into it. None where no watch is open.
    heard: Option<Instant>,
    /// A revision that is known by other ways, and since when. A watch that does not show it in time, or a
    /// newer one, is silent: a connection that hangs, a proxy that buffers.
    ahead: Option<(u64, Instant)>,
}

/// What is due about a watch that should have shown something by now.
pub(super) enum Silence {
    /// It has not shown what is known by other ways: the next is not believed to continue from here.
    Distrusted,
    /// It may just be quiet: a read looks into it once.
    Doubted,
}

impl WatchHealth {
    pub(crate) fn new(news: Subscription) -> Self {
        Self { news, heard: None, ahead: None }
    }

    pub(super) async fn next(&mut self) -> Option<News> {
        self.news.next().await
    }

    /// The driver knows this revision: it need not be told of it again.
    pub(super) fn knows(&self, revision: u64) {
        self.news.knows(revision);
    }

    /// A request has shown this revision.
    pub(super) fn learn(&mut self, revision: u64, now: Instant) {
        if self.heard.is_some() && self.ahead.is_none() && !self.news.has_shown(revision) {
            self.ahead = Some((revision, now));
        }
    }

    /// A watch is open now, or no longer is.
    pub(super) fn follow(&mut self, follow: Follow, now: Instant) {
        self.heard = (follow == Follow::Watch).then_some(now);
        self.ahead = None;
    }

    /// The watch has shown something.
    pub(super) fn show(&mut self, now: Instant) {
        self.forgive();
        self.heard = self.heard.map(|_| now);
    }

    /// When something is due about the watch, unless it shows something before.
    pub(super) fn deadline(&self, elector: &Elector) -> Option<Instant> {
        let retry_period = elector.config().timing.retry_period();
        let distrusts_at = self.ahead.map(|(_, since)| since);
        distrusts_at.or_else(|| self.silent_since(elector)).map(|since| since + retry_period)
    }

    /// Since when an open watch should have shown something: it was silent for a lease, and what it showed of a
    /// leader's term is over. A vacant lock stays silent, and is read once in each lease duration.
    fn silent_since(&self, elector: &Elector) -> Option<Instant> {
        let silent_at = self.heard? + elector.config().timing.lease_duration();
        let silent_at = match elector.observed() {
            Observed::Held { expires_at, .. } => silent_at.max(expires_at),
            Observed::Unknown | Observed::Vacant => silent_at,
        };
        elector.term().is_none().then_some(silent_at)
    }

    /// What is due now. A watch that has shown in the meantime what it was waited for is ignored.
    pub(super) fn check(&mut self, elector: &Elector, now: Instant) -> Option<Silence> {
        self.forgive();
        self.deadline(elector).filter(|deadline| now >= *deadline)?;
        Some(match self.ahead {
            Some(_) => Silence::Distrusted,
            None => Silence::Doubted,
        })
    }

    fn forgive(&mut self) {
        self.ahead = self.ahead.filter(|(revision, _)| !self.news.has_shown(*revision));
    }

    /// A read looks into it now.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// The watch has not shown in time what is known by other ways.
    pub(super) fn distrust(&mut self) {
        if let Some((revision, _)) = self.ahead {
            self.news.distrust(revision);
        }
        (self.heard, self.ahead) = (None, None);
    }

    /// Subscribes again, after the driver has not listened for too long.
    pub(super) fn renew(&mut self, lock: &Lock, retry_period: Duration) {
        self.news.renew(lock, retry_period);
        (self.heard, self.ahead) = (None, None);
    }
}
