//! Following an election without taking part.

use std::time::Duration;

use incumbent_core::{FencingToken, Identity, Instant, Sighting};
use tokio::sync::watch;

use crate::clock::Clock;

/// Who leads, as far as is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leader {
    /// Nobody can say: nothing was heard, or not for as long as the last leader's term could last.
    Unknown,
    /// Nobody.
    Nobody,
    /// This one.
    Known {
        /// Its identity.
        identity: Identity,
        /// Its fencing token, where it writes one.
        token: Option<FencingToken>,
        /// For how long this answer is good, if nothing more is heard.
        valid_for: Duration,
    },
}

impl Leader {
    /// The leader's identity, if there is one and it is known.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Known { identity, .. } => Some(identity),
            Self::Unknown | Self::Nobody => None,
        }
    }
}

/// Follows an election.
#[derive(Clone, Debug)]
pub struct Observer {
    sightings: watch::Receiver<Sighting>,
    clock: Clock,
    last: Distinct,
}

/// What distinguishes one leader from the next, from none, and from nobody knows.
type Distinct = (bool, Option<(Identity, Option<FencingToken>)>);

impl Observer {
    pub(crate) fn new(sightings: watch::Receiver<Sighting>, clock: Clock) -> Self {
        let last = distinct(&as_of(&sightings.borrow(), clock.instant()));
        Self { sightings, clock, last }
    }

    /// Who leads now. Turns to [`Leader::Unknown`] by itself rather than to repeat a stale answer.
    pub fn leader(&self) -> Leader {
        as_of(&self.sightings.borrow(), self.clock.instant())
    }

    /// Waits until something else is true than what it returned last (at first: than what was true when
    /// the observer was made): somebody else leads, nobody does, or nobody can say any more.
    ///
    /// `None` when the candidate that this observer came from is gone.
    pub async fn changed(&mut self) -> Option<Leader> {
        loop {
            let expiry = match &*self.sightings.borrow_and_update() {
                Sighting::Held { expires_at, .. } => *expires_at,
                Sighting::Unknown | Sighting::Vacant => Instant::new(Duration::MAX),
            };
            let now = self.leader();
            if distinct(&now) != self.last {
                self.last = distinct(&now);
                return Some(now);
            }
            let expiry = match now {
                Leader::Unknown => Instant::new(Duration::MAX),
                _ => expiry,
            };
            tokio::select! {
                changed = self.sightings.changed() => changed.ok()?,
                () = self.clock.sleep_until(expiry) => {}
            }
        }
    }
}

fn distinct(leader: &Leader) -> Distinct {
    match leader {
        Leader::Unknown => (false, None),
        Leader::Nobody => (true, None),
        Leader::Known { identity, token, .. } => (true, Some((identity.clone(), *token))),
    }
}

fn as_of(sighting: &Sighting, now: Instant) -> Leader {
    match sighting {
        Sighting::Unknown => Leader::Unknown,
        Sighting::Vacant => Leader::Nobody,
        Sighting::Held { expires_at, .. } if now >= *expires_at => Leader::Unknown,
        Sighting::Held { holder: None, .. } => Leader::Nobody,
        Sighting::Held { holder: Some(holder), token, expires_at } => Leader::Known {
            identity: holder.clone(),
            token: *token,
            valid_for: expires_at.saturating_since(now),
        },
    }
}
