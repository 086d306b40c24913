//! The waitlist: candidates that wait, in order.
//!
//! It is a hint about order and never a right: a candidate acquires by replacing the version that it
//! judged free, whatever the waitlist says. So nothing here can make two lead; an absurd waitlist costs time.

use std::time::Duration;

use crate::identity::{Identity, Session};

/// The candidates that wait, first come first, behind those of a higher priority. It has at most
/// [`CAPACITY`](Self::CAPACITY) places; a candidate that finds none waits without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Waitlist(Vec<Waiter>);

/// A place on the waitlist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// Its name, as people read it.
    pub identity: Identity,
    /// The process. `None` where another program put the name there: then it means every process of that name.
    pub session: Option<Session>,
    /// A candidate with a higher one goes first. Zero by default.
    pub priority: i32,
}

impl Waitlist {
    /// A hundred may wait; sixteen names are enough for the next handovers, and fit into an annotation
    /// that people read.
    pub const CAPACITY: usize = 16;

    /// How long a candidate holds back for each one before it: what a dead head of the waitlist costs.
    ///
    /// Longer than a write and its event usually take, so that candidates that come in order meet no
    /// conflict. Where they take longer, the order may suffer, and nothing else. It is the same for all
    /// timings, because candidates with different ones share a waitlist.
    pub const STEP: Duration = Duration::from_millis(100);

    /// The waitlist of these, in this order, as far as there are places.
    pub fn new(waiters: impl IntoIterator<Item = Waiter>) -> Self {
        Self(waiters.into_iter().take(Self::CAPACITY).collect())
    }

    /// The candidates that wait, the head of the waitlist first.
    pub fn waiters(&self) -> &[Waiter] {
        &self.0
    }

    /// How many are before this process: its rank. `None` where it is not on the waitlist.
    pub fn rank_of(&self, identity: &Identity, session: Session) -> Option<usize> {
        self.0.iter().position(|waiter| waiter.is(identity, session))
    }

    /// Whether `newcomer` would get a place.
    pub(crate) fn has_room_for(&self, priority: i32) -> bool {
        self.0.len() < Self::CAPACITY || self.0.last().is_some_and(|last| last.priority < priority)
    }

    /// The waitlist with `newcomer` at the end of those of its priority.
    pub(crate) fn joined_by(&self, newcomer: Waiter) -> Self {
        let place = self.0.partition_point(|waiter| waiter.priority >= newcomer.priority);
        let mut line = self.0.clone();
        line.insert(place, newcomer);
        Self::new(line)
    }

    /// The waitlist without this process.
    pub(crate) fn left_by(&self, identity: &Identity, session: Session) -> Self {
        self.filter(|waiter| !waiter.is(identity, session))
    }

    /// The waitlist without other processes of this name, which ran before this one.
    pub(crate) fn without_predecessors_of(&self, identity: &Identity) -> Self {
        self.filter(|waiter| waiter.identity != *identity)
    }

    /// The waitlist behind the first `served` places.
    pub(crate) fn after(&self, served: usize) -> Self {
        Self(self.0.get(served..).unwrap_or_default().to_vec())
    }

    /// The waitlist with `identity` at its head, whether it was on it or not.
    pub(crate) fn headed_by(&self, identity: &Identity) -> Self {
        let named = |waiter: &&Waiter| waiter.identity == *identity;
        let head = self.0.iter().find(named).cloned().unwrap_or_else(|| Waiter {
            identity: identity.clone(),
            session: None,
            priority: 0,
        });
        let others = self.0.iter().filter(|waiter| !named(waiter)).cloned();
        Self::new(std::iter::once(head).chain(others))
    }

    fn filter(&self, keep: impl Fn(&Waiter) -> bool) -> Self {
        Self(self.0.iter().filter(|waiter| keep(waiter)).cloned().collect())
    }
}

impl Waiter {
    fn is(&self, identity: &Identity, session: Session) -> bool {
        self.session.map_or(self.identity == *identity, |known| known == session)
    }
}
