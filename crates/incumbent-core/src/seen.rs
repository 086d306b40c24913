//! What one candidate knows of the lock, and since when.

use std::time::Duration;

use crate::identity::{Identity, Session};
use crate::message::Sighting;
use crate::record::{FencingToken, Record, Snapshot, Stamp, Uid};
use crate::time::{Instant, WallTime};

/// The newest known version of the lock, and the timer that a follower keeps for it.
///
/// Only this process's own clock is used. From the holder's timestamps all we learn is *that* the
/// record changed, never *when*.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    lock: Lock,
    /// Newest known revision, of the lock or of its deletion.
    revision: u64,
    /// The holder of a lock that was deleted may work on until here, and has nobody to tell it.
    barred_until: Instant,
    /// Highest token ever seen, so that it survives the deletion of the lock.
    highest_token: FencingToken,
    /// How often another process was seen to acquire or renew under our identity.
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
        /// When a change of the heartbeat was last received here.
        changed_at: Instant,
        /// How long after that the holder's term is over.
        patience: Duration,
        /// Until here may work on whoever held it by an earlier version, and has not released it.
        earlier_until: Instant,
        /// When a change of the line of those who wait was last received here.
        line_changed_at: Instant,
    },
}

/// Who looks: what it knows of itself, and takes for granted when it reads a record.
#[derive(Clone, Copy)]
pub(crate) struct Observer<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) session: Session,
    /// The renew times of its own writes that records may show.
    pub(crate) stamps: &'a [WallTime],
    /// For records that do not state a lease duration.
    pub(crate) default_patience: Duration,
}

impl Observer<'_> {
    /// Whether `record` is one's own. The session alone is no proof: a foreign program of the same name
    /// takes the record for its own, renews it, and leaves our session where it was.
    pub(crate) fn is_own(&self, record: &Record) -> bool {
        record.session == Some(self.session)
            && self.stamps.iter().any(|stamp| record.renewed == Some(Stamp::At(*stamp)))
    }
}

/// How a version became known.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    /// By a watch, which may replay and re-order; or by one's own write. Counts only if newer.
    Event,
    /// By a read. Where nothing newer became known since it was sent, the answer counts even if its
    /// revision is lower: then history itself went back, as after a restored backup.
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
        let stated = |record: &Record| record.lease_duration.unwrap_or(observer.default_patience);
        let mut changed_at = now;
        let mut patience = stated(&new.record);
        let mut earlier_until = Instant::START;
        let mut line_changed_at = now;
        match &self.lock {
            Lock::Present {
                snapshot: old,
                changed_at: since,
                patience: before,
                earlier_until: until,
                line_changed_at: line_since,
            } if old.version.uid == new.version.uid && new.version.revision > self.revision => {
                if old.record.waitlist == new.record.waitlist {
                    line_changed_at = *line_since;
                }
                // What is past is forgotten.
                earlier_until = if *until > now { *until } else { Instant::START };
                if old.record.same_heartbeat(&new.record) {
                    changed_at = *since;
                    patience = patience.max(*before);
                } else {
                    // A holder that shortens its lease does not know yet that we have seen it.
                    if old.record.is_held() && stated(&old.record) < Duration::MAX {
                        patience = patience.max(stated(&old.record));
                    }
                    // A term that goes on is covered by its newer sign of life.
                    let ends_at = *since + *before;
                    let is_covered = old.record.same_term(&new.record) && ends_at <= now + patience;
                    let may_work = old.record.session != Some(observer.session)
                        && self.ended_at(&old.record).is_none();
                    if old.record.is_held() && may_work && !is_covered && *before < Duration::MAX {
                        earlier_until = earlier_until.max(ends_at);
                    }
                    // An old copy that was written back: its release knows nothing of a term after it.
                    if new.record.is_held() && new.record.last_token < old.record.last_token {
                        self.barred_until = self.barred_until.max(earlier_until);
                    }
                    let in_our_name = new.record.holder.as_ref() == Some(observer.identity);
                    if in_our_name && new.record.session != Some(observer.session) {
                        self.namesake_beats = self.namesake_beats.saturating_add(1);
                    }
                }
            }
            // Another object, or an older version of this one: history went back.
            Lock::Present { .. } => self.bar(now),
            Lock::Unknown | Lock::Missing { .. } => {}
        }
        if !new.record.is_held() {
            // A vacant record says that all terms before it were released, if it knows of them: it may
            // be one of a restored backup, which was edited since.
            earlier_until = Instant::START;
            if self.snapshot().is_some_and(|old| !new.record.may_follow(&old.record)) {
                self.bar(now);
            }
        }
        self.revision = new.version.revision;
        self.highest_token = self.highest_token.max(new.record.last_token);
        self.lock = Lock::Present {
            snapshot: Box::new(new),
            changed_at,
            patience,
            earlier_until,
            line_changed_at,
        };
    }

    pub(crate) fn learn_gone(&mut self, now: Instant, revision: Option<u64>, origin: Origin) {
        // A read that finds nothing says no revision: it counts as what was known when it was sent.
        let news = match (revision, origin) {
            (Some(revision), origin) => self.is_news(revision, origin),
            (None, Origin::Read { known }) => known == self.revision,
            (None, Origin::Event) => false,
        };
        if news {
            self.bar(now);
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
    pub(crate) fn sighting(&self) -> Sighting {
        match self.snapshot().map(|lock| &lock.record) {
            None if !self.is_known() => Sighting::Unknown,
            Some(record) if record.is_held() => Sighting::Held {
                holder: record.holder.clone(),
                token: record.token(),
                expires_at: self.expires_at(),
            },
            _ => Sighting::Vacant,
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

    /// When the running term is over, as far as a follower can tell.
    pub(crate) fn expires_at(&self) -> Instant {
        match &self.lock {
            Lock::Present { changed_at, patience, snapshot, .. } if snapshot.record.is_held() => {
                let silent_until = *changed_at + *patience;
                let ended_at = self.ended_at(&snapshot.record).unwrap_or(silent_until);
                ended_at.min(silent_until).max(self.earlier_until())
            }
            _ => Instant::START,
        }
    }

    /// When the terms of earlier versions are over.
    pub(crate) fn earlier_until(&self) -> Instant {
        match &self.lock {
            Lock::Present { earlier_until, .. } => *earlier_until,
            Lock::Unknown | Lock::Missing { .. } => Instant::START,
        }
    }

    /// From when on `observer` may take the lock, provided that no work of its own is running. Of a lock
    /// that is free, since when it has been.
    pub(crate) fn free_at(&self, observer: Observer<'_>) -> Instant {
        let free_at = match &self.lock {
            // Nobody else's term, unless an old copy of one's own record was written over it.
            Lock::Present { snapshot, .. } if observer.is_own(&snapshot.record) => {
                self.earlier_until()
            }
            Lock::Present { snapshot, .. } if snapshot.record.is_held() => self.expires_at(),
            Lock::Present { changed_at, .. } => *changed_at,
            Lock::Unknown | Lock::Missing { .. } => Instant::START,
        };
        free_at.max(self.barred_until)
    }

    /// Since when the line of those who wait is as it is.
    pub(crate) fn line_changed_at(&self) -> Instant {
        match &self.lock {
            Lock::Present { line_changed_at, .. } => *line_changed_at,
            Lock::Unknown | Lock::Missing { .. } => Instant::START,
        }
    }

    /// The object that is known, or was before it was deleted.
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
            // The lock was made anew where none was left. A replay would show the object that is gone.
            Origin::Event => {
                let is_missing = matches!(self.lock, Lock::Missing { .. });
                is_missing && self.last_uid().is_some_and(|last| *last != new.version.uid)
            }
            // History has come just as far as before. Where even the object is the same, its record differs.
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

    /// The lock as we knew it is gone. Whoever held it may not know yet, and may have renewed since we last
    /// looked, so a whole term is waited out.
    fn bar(&mut self, now: Instant) {
        if let Lock::Present { patience, snapshot, .. } = &self.lock
            && snapshot.record.is_held()
            && *patience < Duration::MAX
        {
            self.barred_until = self.barred_until.max(now + *patience).max(self.earlier_until());
        }
    }
}
