//! What a driver publishes of its election, for those who follow.

use incumbent_core::{Elector, Identity, Observed, Uid};

/// The leader and the waitlist, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) observed: Observed,
    pub(crate) address: Option<String>,
    pub(crate) waitlist: Vec<Identity>,
    /// The table that the lock of a group names.
    pub(crate) table: Option<Uid>,
    /// The object that the lock is.
    pub(crate) uid: Option<Uid>,
}

impl View {
    pub(crate) const UNKNOWN: Self = Self {
        observed: Observed::Unknown,
        address: None,
        waitlist: Vec::new(),
        table: None,
        uid: None,
    };

    pub(crate) fn of(elector: &Elector) -> Self {
        let record = elector.record();
        let waiters = record.iter().flat_map(|record| record.waitlist.waiters());
        Self {
            observed: elector.observed(),
            address: record.and_then(|record| record.holder_info.address.clone()),
            waitlist: waiters.map(|waiter| waiter.identity.clone()).collect(),
            table: record.and_then(|record| record.table.clone()),
            uid: elector.version().map(|version| version.uid.clone()),
        }
    }
}
