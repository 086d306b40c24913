//! Commands that ask something of an election, a group or a schedule.

pub(crate) mod claim;
pub(crate) mod freeze;
pub(crate) mod groups;
pub(crate) mod move_task;
pub(crate) mod pause;
pub(crate) mod schedules;
pub(crate) mod step_down;
