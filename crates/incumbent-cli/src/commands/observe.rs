//! Commands that look at elections and change nothing.

pub(crate) mod check;
#[cfg(unix)]
pub(crate) mod dashboard;
pub(crate) mod get;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod members;
pub(crate) mod schedules;
pub(crate) mod status;
pub(crate) mod wait;
pub(crate) mod watch;
