//! Commands that prepare and check what an election rests on.

pub(crate) mod completion;
pub(crate) mod doctor;
pub(crate) mod man;
pub(crate) mod manifests;
pub(crate) mod timings;
