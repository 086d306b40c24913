//! An observer of an election that does not take part in it.

use std::time::Duration;

use crate::identity::{Identity, Session};
use crate::message::{Observation, Observed};
use crate::record::{Record, Snapshot, Version};
use crate::seen::{Observer, Origin, Seen};
use crate::time::Instant;

/// What an observer knows of a lock: a follower's timer, without a candidate.
///
/// It sends no requests, and nothing that it knows makes a process leader. The caller passes it what
/// reads and watches show, each with the moment at which the answer came in.
#[derive(Clone, Debug)]
pub struct ObserverState {
    seen: Seen,
    nobody: Identity,
    default_patience: Duration,
    looking_since: Option<Instant>,
    last_beat: Option<Instant>,
}

impl ObserverState {
    /// An observer that has seen nothing yet. `default_patience` is the lease duration of records that do
    /// not state one.
    pub fn new(default_patience: Duration) -> Self {
        Self {
            seen: Seen::NOTHING,
            nobody: Identity::new("nobody").expect("it is a name"),
            default_patience,
            looking_since: None,
            last_beat: None,
        }
    }

    /// A watch showed a version of the lock, or that it is gone. A version older than the known one is
    /// ignored.
    pub fn observe(&mut self, now: Instant, observation: Observation) {
        match observation {
            Observation::Present(snapshot) => self.learn(now, snapshot, Origin::Event),
            Observation::Gone { revision } => {
                self.seen.learn_gone(now, Some(revision), Origin::Event, NO_SESSION);
            }
        }
    }

    /// A read found this, and nothing was observed since the read was sent. It is the newest, even if its
    /// revision is lower.
    pub fn find(&mut self, now: Instant, snapshot: Snapshot) {
        let known = self.seen.revision();
        self.learn(now, snapshot, Origin::Read { known });
    }

    fn learn(&mut self, now: Instant, snapshot: Snapshot, origin: Origin) {
        let before = self.record().cloned();
        let nobody = Observer {
            identity: &self.nobody,
            session: NO_SESSION,
            own_renew_times: &[],
            default_patience: self.default_patience,
        };
        self.seen.learn(now, snapshot, origin, nobody);
        self.looking_since.get_or_insert(now);
        if let (Some(before), Some(after)) = (before, self.record())
            && !before.same_heartbeat(after)
        {
            self.last_beat = Some(now);
        }
    }

    /// Who holds the lock, as far as an observer can know.
    pub fn observed(&self) -> Observed {
        self.seen.observed()
    }

    /// The newest version known, with what it says.
    pub fn record(&self) -> Option<&Record> {
        self.seen.snapshot().map(|lock| &lock.record)
    }

    /// The newest version known.
    pub fn version(&self) -> Option<&Version> {
        self.seen.snapshot().map(|lock| &lock.version)
    }

    /// When it first saw something. `None` where it has seen nothing yet.
    pub fn looking_since(&self) -> Option<Instant> {
        self.looking_since
    }

    /// When a sign of life last *came in*: an acquisition, a renewal or a release. `None` where
    /// the record has not changed since the first look, which proves nothing about its holder.
    pub fn last_beat(&self) -> Option<Instant> {
        self.last_beat
    }
}

/// No candidate draws it: it is one of 2¹²⁸ sessions.
const NO_SESSION: Session = Session(0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Stamp, Uid};
    use crate::time::WallTime;

    fn at(seconds: u64) -> Instant {
        Instant::new(Duration::from_secs(seconds))
    }

    fn lock(revision: u64, holder: &str, renewed: i64) -> Snapshot {
        let record = Record {
            holder: Identity::new(holder),
            lease_duration: Some(Duration::from_secs(15)),
            renewed: Some(Stamp::At(WallTime::from_unix_micros(renewed))),
            ..Record::default()
        };
        Snapshot { version: Version { uid: Uid("u".to_owned()), revision }, record }
    }

    fn expiry(observer_state: &ObserverState) -> Instant {
        match observer_state.observed() {
            Observed::Held { expires_at, .. } => expires_at,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_look_proves_nothing_and_a_change_does() {
        let mut observer_state = ObserverState::new(Duration::from_secs(15));
        assert_eq!(observer_state.observed(), Observed::Unknown);
        observer_state.find(at(100), lock(5, "john", 1));
        assert_eq!((observer_state.last_beat(), expiry(&observer_state)), (None, at(115)));
        observer_state.observe(at(103), Observation::Present(lock(6, "john", 2)));
        assert_eq!((observer_state.last_beat(), expiry(&observer_state)), (Some(at(103)), at(118)));
    }

    #[test]
    fn an_edit_of_something_else_is_no_sign_of_life() {
        let mut observer_state = ObserverState::new(Duration::from_secs(15));
        observer_state.find(at(100), lock(5, "john", 1));
        observer_state.observe(at(110), Observation::Present(lock(6, "john", 1)));
        assert_eq!((observer_state.last_beat(), expiry(&observer_state)), (None, at(115)));
        assert_eq!(observer_state.version().map(|version| version.revision), Some(6));
    }

    #[test]
    fn an_event_of_the_past_counts_for_nothing_and_a_read_that_went_back_does() {
        let mut observer_state = ObserverState::new(Duration::from_secs(15));
        observer_state.find(at(100), lock(7, "john", 3));
        observer_state.observe(at(101), Observation::Present(lock(6, "jane", 2)));
        assert_eq!(observer_state.version().map(|version| version.revision), Some(7));
        observer_state.find(at(102), lock(6, "jane", 2));
        assert_eq!(observer_state.version().map(|version| version.revision), Some(6));
    }

    #[test]
    fn a_lock_that_is_gone_is_nobodys() {
        let mut observer_state = ObserverState::new(Duration::from_secs(15));
        observer_state.find(at(100), lock(5, "john", 1));
        observer_state.observe(at(101), Observation::Gone { revision: 8 });
        assert_eq!((observer_state.observed(), observer_state.record()), (Observed::Vacant, None));
    }
}
