//! The line of those who wait.
//!
//! It is a hint about order and never a right: whoever acquires does so by replacing the version that it
//! judged free, whatever the line says. So nothing here can make two lead, and an absurd line costs time.

use std::time::Duration;

use crate::identity::{Identity, Session};

/// Who waits, first come first, behind those of a higher priority. Has at most
/// [`CAPACITY`](Self::CAPACITY) places; who finds none waits outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Waitlist(Vec<Waiter>);

/// A place in the line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// Its name, as people read it.
    pub identity: Identity,
    /// The process. `None` where somebody else put the name there: then whoever bears it is meant.
    pub session: Option<Session>,
    /// Who has a higher one goes before; zero unless somebody says otherwise.
    pub priority: i32,
}

impl Waitlist {
    /// A hundred may wait; sixteen names are enough for the next handovers, and fit into an annotation
    /// that people read.
    pub const CAPACITY: usize = 16;

    /// How long who is in the line holds back for each who is before it: what a dead head of the line costs.
    ///
    /// Longer than a write and the event of it usually take, so that who comes in order meets no
    /// conflict; where they take longer, the order may suffer, and nothing else. The same for all
    /// timings: candidates of different ones stand in one line.
    pub const STEP: Duration = Duration::from_millis(100);

    /// The line of these, in this order, as far as there are places.
    pub fn new(waiters: impl IntoIterator<Item = Waiter>) -> Self {
        Self(waiters.into_iter().take(Self::CAPACITY).collect())
    }

    /// Who waits, the head of the line first.
    pub fn waiters(&self) -> &[Waiter] {
        &self.0
    }

    /// How many are before the process of this name: its rank. `None` where it is not in the line.
    pub fn rank_of(&self, identity: &Identity, session: Session) -> Option<usize> {
        self.0.iter().position(|waiter| waiter.is(identity, session))
    }

    /// Whether `newcomer` would get a place.
    pub(crate) fn has_room_for(&self, priority: i32) -> bool {
        self.0.len() < Self::CAPACITY || self.0.last().is_some_and(|last| last.priority < priority)
    }

    /// The line with `newcomer` at the end of those of its priority.
    pub(crate) fn joined_by(&self, newcomer: Waiter) -> Self {
        let place = self.0.partition_point(|waiter| waiter.priority >= newcomer.priority);
        let mut line = self.0.clone();
        line.insert(place, newcomer);
        Self::new(line)
    }

    /// The line without the process of this name.
    pub(crate) fn left_by(&self, identity: &Identity, session: Session) -> Self {
        self.filter(|waiter| !waiter.is(identity, session))
    }

    /// The line without other processes of this name: those that ran before this one.
    pub(crate) fn without_predecessors_of(&self, identity: &Identity) -> Self {
        self.filter(|waiter| waiter.identity != *identity)
    }

    /// The line behind the first `served` places.
    pub(crate) fn after(&self, served: usize) -> Self {
        Self(self.0.get(served..).unwrap_or_default().to_vec())
    }

    /// The line with `identity` at its head, whether it was in it or not.
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
