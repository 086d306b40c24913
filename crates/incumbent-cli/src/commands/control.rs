//! Commands that ask something of an election or of a group.

pub(crate) mod claim;
pub(crate) mod freeze;
pub(crate) mod groups;
pub(crate) mod move_task;
pub(crate) mod pause;
pub(crate) mod step_down;
