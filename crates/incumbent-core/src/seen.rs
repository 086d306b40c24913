//! What one candidate knows of the lock, and since when.

use std::time::Duration;

use crate::identity::{Identity, Session};
use crate::message::Observed;
use crate::record::{FencingToken, Record, Snapshot, Stamp, Uid};
use crate::time::{Instant, WallTime};

/// The newest known version of the lock, and the timer that a follower keeps for it.
///
/// Only this process's own clock is used. From the holder's timestamps all we learn is *that* the
/// record changed, never *when*.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    lock: Lock,
    /// The newest known revision, of the lock or of its deletion.
    revision: u64,
    /// Until here the holder of a deleted lock may still work, because nothing tells it of the deletion.
    barred_until: Instant,
    /// Until here another process may work, whose term is in a version that is lost.
    others_until: Instant,
    /// Highest token ever seen, so that it survives the deletion of the lock.
    highest_token: FencingToken,
    /// How often another process acquired or renewed under our identity.
    namesake_beats: u32,
    /// The last process that is known to have ended, and since when that is known.
    ended: Option<(Session, Instant)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Lock {
    /// Never read.
    Unknown,
    Missing {
        /// The last object that was known, if any was.
        last: Option<Uid>,
    },
    Present {
        snapshot: Box<Snapshot>,
        timer: Timer,
    },
}

/// When the terms that a version of the lock tells of are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Timer {
    /// When a change of the heartbeat was last received here.
    changed_at: Instant,
    /// How long after that the holder's term is over.
    patience: Duration,
    /// The holder of an earlier version, who has not released it, may work until here.
    earlier_until: Instant,
    /// When a change of the waitlist was last received here.
    waitlist_changed_at: Instant,
}

/// The candidate that reads a record: what it knows of itself, and assumes.
#[derive(Clone, Copy)]
pub(crate) struct Observer<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) session: Session,
    /// The renew times of its own writes that records may show.
    pub(crate) own_renew_times: &'a [WallTime],
    /// For records that do not state a lease duration.
    pub(crate) default_patience: Duration,
}

impl Observer<'_> {
    /// How long the holder asks others to wait.
    fn patience_with(&self, record: &Record) -> Duration {
        record.lease_duration.unwrap_or(self.default_patience)
    }

    /// Whether `record` is its own. The session alone is no proof: a foreign program of the same name
    /// takes the record for its own, renews it, and leaves our session where it was.
    pub(crate) fn is_own(&self, record: &Record) -> bool {
        record.session == Some(self.session)
            && self.own_renew_times.iter().any(|stamp| record.renewed == Some(Stamp::At(*stamp)))
    }
}

/// How a version became known.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    /// By a watch, which may replay and reorder, or by its own write. Counts only if newer.
    Event,
    /// By a read. If nothing newer became known since it was sent, the answer counts even if its
    /// revision is lower: then history went back, as after a restored backup.
    Read {
        /// The newest revision that was known when the read was sent.
        known: u64,
    },
}

impl Seen {
    pub(crate) const NOTHING: Self = Self {
        lock: Lock::Unknown,
        revision: 0,
        barred_until: Instant::START,
        others_until: Instant::START,
        highest_token: FencingToken(0),
        namesake_beats: 0,
        ended: None,
    };

    pub(crate) fn learn(
        &mut self,
        now: Instant,
        new: Snapshot,
        origin: Origin,
        observer: Observer<'_>,
    ) {
        if !self.is_news(new.version.revision, origin) && !self.is_other(&new, origin) {
            return;
        }
        let timer = self.timer_for(now, &new, observer);
        let barred_until = self.barred_by(now, &new, timer);
        self.bar(barred_until, observer.session);
        let namesake_beats = u32::from(self.is_beat_of_namesake(&new, observer));
        self.namesake_beats = self.namesake_beats.saturating_add(namesake_beats);
        self.revision = new.version.revision;
        self.highest_token = self.highest_token.max(new.record.last_token);
        self.lock = Lock::Present { snapshot: Box::new(new), timer };
    }

    /// No candidate may lead until then. What is known of the lock is about to be replaced.
    fn bar(&mut self, until: Instant, own: Session) {
        if until <= self.barred_until && until <= self.others_until {
            return;
        }
        self.barred_until = self.barred_until.max(until);
        let holder = self.snapshot().and_then(|lock| lock.record.session);
        // Its own version may stand before one of another that is not over.
        let others = if holder == Some(own) { self.earlier_until() } else { until };
        self.others_until = self.others_until.max(others);
    }

    /// The record and the timer of which `new` is a newer version. `None` where it is another object, or an older
    /// version of this one: then history went back.
    fn predecessor_of(&self, new: &Snapshot) -> Option<(&Record, Timer)> {
        match &self.lock {
            Lock::Present { snapshot: old, timer }
                if old.version.uid == new.version.uid && new.version.revision > self.revision =>
            {
                Some((&old.record, *timer))
            }
            _ => None,
        }
    }

    fn timer_for(&self, now: Instant, new: &Snapshot, observer: Observer<'_>) -> Timer {
        let new_timer = Timer {
            changed_at: now,
            patience: observer.patience_with(&new.record),
            earlier_until: Instant::START,
            waitlist_changed_at: now,
        };
        let Some((old, before)) = self.predecessor_of(new) else { return new_timer };
        let mut timer = new_timer;
        if old.waitlist == new.record.waitlist {
            timer.waitlist_changed_at = before.waitlist_changed_at;
        }
        if old.same_heartbeat(&new.record) {
            timer.changed_at = before.changed_at;
            timer.patience = timer.patience.max(before.patience);
        } else if old.is_held() && observer.patience_with(old) < Duration::MAX {
            // A holder that shortens its lease does not know yet that we have seen it.
            timer.patience = timer.patience.max(observer.patience_with(old));
        }
        // A vacant record says that all terms before it were released.
        if new.record.is_held() {
            timer.earlier_until = self.earlier_work(now, &new.record, timer.patience, observer);
        }
        timer
    }

    /// Until when a holder may work that the version before `new` tells of, or one before that. What is past is
    /// forgotten.
    fn earlier_work(
        &self,
        now: Instant,
        new: &Record,
        patience: Duration,
        observer: Observer<'_>,
    ) -> Instant {
        let Lock::Present { snapshot, timer: before } = &self.lock else { return Instant::START };
        let old = &snapshot.record;
        let known = if before.earlier_until > now { before.earlier_until } else { Instant::START };
        if old.same_heartbeat(new) {
            return known;
        }
        let ends_at = before.changed_at + before.patience;
        // The newer sign of life of a term that continues covers it.
        let is_covered = old.same_term(new) && ends_at <= now + patience;
        let may_work = old.session != Some(observer.session) && self.ended_at(old).is_none();
        if old.is_held() && may_work && !is_covered && before.patience < Duration::MAX {
            return known.max(ends_at);
        }
        known
    }

    /// Until when no candidate may lead because of `new`, which may not know of a term that is still running.
    fn barred_by(&self, now: Instant, new: &Snapshot, timer: Timer) -> Instant {
        let Some(old) = self.snapshot().map(|lock| &lock.record) else { return Instant::START };
        let went_back = self.predecessor_of(new).is_none();
        // A vacant record may be one of a restored backup, which was edited since.
        let is_unaware_release = !new.record.is_held() && !new.record.may_follow(old);
        if went_back || is_unaware_release {
            return self.work_of_lost_version(now);
        }
        // An old copy that was written back: its release knows nothing of a term after it.
        if new.record.is_held() && new.record.last_token < old.last_token {
            return timer.earlier_until;
        }
        Instant::START
    }

    fn is_beat_of_namesake(&self, new: &Snapshot, observer: Observer<'_>) -> bool {
        let Some((old, _)) = self.predecessor_of(new) else { return false };
        !old.same_heartbeat(&new.record)
            && new.record.holder.as_ref() == Some(observer.identity)
            && new.record.session != Some(observer.session)
    }

    pub(crate) fn learn_gone(
        &mut self,
        now: Instant,
        revision: Option<u64>,
        origin: Origin,
        own: Session,
    ) {
        // A read that finds nothing states no revision. It counts for the revision that was known when it was sent.
        let news = match (revision, origin) {
            (Some(revision), origin) => self.is_news(revision, origin),
            (None, Origin::Read { known }) => known == self.revision,
            (None, Origin::Event) => false,
        };
        if news {
            self.bar(self.work_of_lost_version(now), own);
            self.revision = revision.unwrap_or(self.revision);
            self.lock = Lock::Missing { last: self.last_uid().cloned() };
        }
    }

    /// There is proof that the process of `session` has ended: its term is over.
    pub(crate) fn learn_ended(&mut self, now: Instant, session: Session) {
        if self.ended.is_none_or(|(known, _)| known != session) {
            self.ended = Some((session, now));
        }
    }

    /// Since when it is known that the holder's process has ended.
    fn ended_at(&self, record: &Record) -> Option<Instant> {
        self.ended.filter(|(session, _)| record.session == Some(*session)).map(|(_, at)| at)
    }

    /// The lock, where it is known to exist.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        match &self.lock {
            Lock::Present { snapshot, .. } => Some(snapshot),
            Lock::Unknown | Lock::Missing { .. } => None,
        }
    }

    /// Who holds the lock, as far as is known.
    pub(crate) fn observed(&self) -> Observed {
        match self.snapshot().map(|lock| &lock.record) {
            None if !self.is_known() => Observed::Unknown,
            Some(record) if record.is_held() => Observed::Held {
                holder: record.holder.clone(),
                token: record.token(),
                expires_at: self.expires_at(),
            },
            _ => Observed::Vacant,
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.lock != Lock::Unknown
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn highest_token(&self) -> FencingToken {
        self.highest_token
    }

    /// Forgets namesakes of the past.
    pub(crate) fn forget_namesakes(&mut self) {
        self.namesake_beats = 0;
    }

    /// Whether another living process uses our identity. One heartbeat is no proof of life: it may be
    /// the last write of our own predecessor, landing late.
    pub(crate) fn has_namesake(&self) -> bool {
        self.namesake_beats > 1
    }

    /// When the running term ends, as far as a follower can tell.
    pub(crate) fn expires_at(&self) -> Instant {
        match &self.lock {
            Lock::Present { snapshot, timer } if snapshot.record.is_held() => {
                let silent_until = timer.changed_at + timer.patience;
                let ended_at = self.ended_at(&snapshot.record).unwrap_or(silent_until);
                ended_at.min(silent_until).max(self.earlier_until())
            }
            _ => Instant::START,
        }
    }

    /// When the terms of others are over that are in no version which is known now.
    pub(crate) fn others_until(&self) -> Instant {
        self.others_until.max(self.earlier_until())
    }

    /// When the terms of earlier versions are over.
    pub(crate) fn earlier_until(&self) -> Instant {
        match &self.lock {
            Lock::Present { timer, .. } => timer.earlier_until,
            Lock::Unknown | Lock::Missing { .. } => Instant::START,
        }
    }

    /// From when `observer` may take the lock, provided that its own work does not run. For a free lock,
    /// since when it has been free.
    pub(crate) fn free_at(&self, observer: Observer<'_>) -> Instant {
        let free_at = match &self.lock {
            // No other process's term, unless an old copy of its own record was written over one.
            Lock::Present { snapshot, .. } if observer.is_own(&snapshot.record) => {
                self.earlier_until()
            }
            Lock::Present { snapshot, .. } if snapshot.record.is_held() => self.expires_at(),
            Lock::Present { timer, .. } => timer.changed_at,
            Lock::Unknown | Lock::Missing { .. } => Instant::START,
        };
        free_at.max(self.barred_until)
    }

    /// Since when the waitlist has not changed.
    pub(crate) fn waitlist_changed_at(&self) -> Instant {
        match &self.lock {
            Lock::Present { timer, .. } => timer.waitlist_changed_at,
            Lock::Unknown | Lock::Missing { .. } => Instant::START,
        }
    }

    /// The known object, or the last one before a deletion.
    fn last_uid(&self) -> Option<&Uid> {
        match &self.lock {
            Lock::Present { snapshot, .. } => Some(&snapshot.version.uid),
            Lock::Missing { last } => last.as_ref(),
            Lock::Unknown => None,
        }
    }

    /// Whether history went back, although the revision is no lower than what is known.
    fn is_other(&self, new: &Snapshot, origin: Origin) -> bool {
        match origin {
            // The lock was created again after it was gone. A replay would show the object that is gone.
            Origin::Event => {
                let is_missing = matches!(self.lock, Lock::Missing { .. });
                is_missing && self.last_uid().is_some_and(|last| *last != new.version.uid)
            }
            // History has reached the same revision again. If even the object is the same, its record differs.
            Origin::Read { known } => {
                known == self.revision
                    && new.version.revision == self.revision
                    && self.snapshot().is_none_or(|lock| lock != new)
            }
        }
    }

    fn is_news(&self, revision: u64, origin: Origin) -> bool {
        match origin {
            Origin::Event => revision > self.revision,
            Origin::Read { known } => {
                revision > self.revision || (known == self.revision && revision < self.revision)
            }
        }
    }

    /// The lock as we knew it is gone. Its holder may not know yet, and may have renewed since we last looked, so a
    /// whole term is waited out.
    fn work_of_lost_version(&self, now: Instant) -> Instant {
        match &self.lock {
            Lock::Present { timer, snapshot }
                if snapshot.record.is_held() && timer.patience < Duration::MAX =>
            {
                (now + timer.patience).max(self.earlier_until())
            }
            _ => Instant::START,
        }
    }
}
