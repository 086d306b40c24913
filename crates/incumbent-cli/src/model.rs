//! Pure: a lock as people read it, the terms of the past, and what needs attention.

pub(crate) mod diagnosis;
pub(crate) mod event;
pub(crate) mod format;
pub(crate) mod group_changes;
pub(crate) mod group_diagnosis;
pub(crate) mod group_row;
pub(crate) mod group_status;
pub(crate) mod lock_row;
pub(crate) mod lock_status;
pub(crate) mod schedule_row;
pub(crate) mod term_history;
pub(crate) mod time_bounds;
