//! Commands that ask something of an election.

pub(crate) mod claim;
pub(crate) mod pause;
pub(crate) mod step_down;
