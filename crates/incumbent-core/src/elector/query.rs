//! What a candidate knows of the election, for its caller.

use super::{Config, Elector, State};
use crate::message::{HandOverReason, Observed, Term};
use crate::record::{HandOver, Record, Version};

impl Elector {
    /// The running term, if this candidate leads.
    pub fn term(&self) -> Option<Term> {
        match &self.state {
            State::Leading(active) => Some(active.term),
            _ => None,
        }
    }

    /// Whether this candidate only follows: it does not want to lead, and has nothing to give back.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Who holds the lock, as far as this candidate knows.
    pub fn observed(&self) -> Observed {
        self.seen.observed()
    }

    /// Whether this candidate wants to lead, and does not.
    pub fn is_campaigning(&self) -> bool {
        matches!(self.state, State::Campaigning { .. })
    }

    /// Whether the request in flight only joins or leaves the waitlist. Its refusal does not keep this candidate from
    /// leading.
    pub fn is_editing_the_waitlist(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|sent| sent.purpose.is_of_waitlist())
    }

    /// How many are before this candidate in the line. `None` where it is not in the line.
    pub fn rank(&self) -> Option<usize> {
        self.record()?.waitlist.rank_of(&self.config.identity, self.config.session)
    }

    /// What the lock says, as far as this candidate knows.
    pub fn record(&self) -> Option<&Record> {
        self.seen.snapshot().map(|lock| &lock.record)
    }

    /// Whether this candidate leads and is asked to hand over: by an edit of the lock, or because
    /// one of a higher priority waits. It may act until it has.
    ///
    /// A higher priority counts only once a term is a lease duration old, so that a candidate which keeps
    /// failing does not take the lead away from others more often than that.
    pub fn asked_to_hand_over(&self) -> Option<HandOverReason> {
        let State::Leading(active) = &self.state else { return None };
        let (record, identity) = (self.record()?, &self.config.identity);
        match &record.hand_over {
            Some(HandOver::To(to)) if to == identity => {}
            Some(HandOver::To(to)) => return Some(HandOverReason::Requested(Some(to.clone()))),
            Some(HandOver::ToNext) => return Some(HandOverReason::Requested(None)),
            None => {}
        }
        if record.is_paused(identity) {
            return Some(HandOverReason::Paused);
        }
        let is_settled = self.latest >= active.since + self.config.timing.lease_duration();
        let head = record.waitlist.waiters().first().filter(|_| is_settled)?;
        let goes_before = head.priority > self.config.priority;
        goes_before.then(|| HandOverReason::Priority(head.identity.clone()))
    }

    /// The newest known version of the lock: the one that the next replace will be based on.
    pub fn version(&self) -> Option<&Version> {
        self.seen.snapshot().map(|lock| &lock.version)
    }

    /// Whether another living process was seen to use this candidate's identity.
    pub fn has_namesake(&self) -> bool {
        self.seen.has_namesake()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
