//! One module for each command, in the groups of the help.

pub(crate) mod control;
pub(crate) mod dev;
pub(crate) mod observe;
pub(crate) mod participate;
pub(crate) mod setup;
