//! What a driver publishes of its election, for those who follow.

use incumbent_core::{Elector, Identity, Sighting};

/// The leader and the waitlist, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) sighting: Sighting,
    pub(crate) address: Option<String>,
    pub(crate) line: Vec<Identity>,
}

impl View {
    pub(crate) const UNKNOWN: Self =
        Self { sighting: Sighting::Unknown, address: None, line: Vec::new() };

    pub(crate) fn of(elector: &Elector) -> Self {
        let record = elector.record();
        let waiters = record.iter().flat_map(|record| record.waitlist.waiters());
        Self {
            sighting: elector.sighting(),
            address: record.and_then(|record| record.card.address.clone()),
            line: waiters.map(|waiter| waiter.identity.clone()).collect(),
        }
    }
}
