//! What a driver publishes of its election, for those who follow.

use incumbent_core::{Elector, Identity, Observed};

/// The leader and the waitlist, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) observed: Observed,
    pub(crate) address: Option<String>,
    pub(crate) waitlist: Vec<Identity>,
}

impl View {
    pub(crate) const UNKNOWN: Self =
        Self { observed: Observed::Unknown, address: None, waitlist: Vec::new() };

    pub(crate) fn of(elector: &Elector) -> Self {
        let record = elector.record();
        let waiters = record.iter().flat_map(|record| record.waitlist.waiters());
        Self {
            observed: elector.observed(),
            address: record.and_then(|record| record.holder_info.address.clone()),
            waitlist: waiters.map(|waiter| waiter.identity.clone()).collect(),
        }
    }
}
